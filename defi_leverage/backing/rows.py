"""What a walk found, as rows and assets of a reading: whole units, venues of the scan, and only what has a price."""

from collections.abc import Sequence, Set
from dataclasses import replace
from fractions import Fraction
from math import gcd

from defi_leverage.backing.claims import NATIVE, Claim, Token
from defi_leverage.backing.walk import Walk
from defi_leverage.dollar_symbols import USD_SYMBOLS
from defi_leverage.reading import AssetReading, BackingReading, Reading

__all__ = ["asset_name", "claim_rows", "keep_priced", "new_assets", "quote_rows"]


def claim_rows(walk: Walk, readings: Sequence[Reading]) -> list[BackingReading]:
    """The claims as rows, one for each underlying and venue; a token with an underlying that is not known has none."""
    rows: dict[tuple[str, str, str, str], BackingReading] = {}
    for address, finding in walk.findings.items():
        token = walk.tokens[address]
        if any(claim.underlying == NATIVE for claim in finding.claims) and walk.coin is None:
            walk.gaps[f"backing of {token.symbol} {address}"] = (
                f"a claim on a native coin of {walk.chain_name}, not known"
            )
        elif all(claim.underlying == NATIVE or claim.underlying in walk.tokens for claim in finding.claims):
            for row in (_row(walk, token, claim, readings) for claim in finding.claims):
                key = row.asset_id, row.underlying_id, row.kind, row.venue_id
                if row.asset_id != row.underlying_id:  # a wrapped coin that stands for the coin itself
                    rows[key] = _add(rows[key], row) if key in rows else row
    return list(rows.values())


def _add(first: BackingReading, second: BackingReading) -> BackingReading:
    """Two claims on the same thing, owed by the same venue, as one."""
    units = Fraction(first.units_raw, first.units_scale) + Fraction(second.units_raw, second.units_scale)
    source = first.source if first.source == second.source else f"{first.source}; {second.source}"
    return replace(first, units_raw=units.numerator, units_scale=units.denominator, source=source)


def _row(walk: Walk, token: Token, claim: Claim, readings: Sequence[Reading]) -> BackingReading:
    """A claim in whole units: underlying_raw / 10^d' for each token_raw / 10^d, cut by what is common to both."""
    decimals = 18 if claim.underlying == NATIVE else walk.tokens[claim.underlying].decimals
    raw, scale = claim.underlying_raw, claim.token_raw * 10**decimals
    common = gcd(10**token.decimals, scale)
    return BackingReading(
        asset_id=walk.asset_id(token.address),
        underlying_id=walk.asset_id(claim.underlying),
        units_raw=raw * (10**token.decimals // common),
        units_scale=scale // common,
        kind=claim.kind,
        source=claim.source,
        venue_id=_venue(claim.issuers, readings) if claim.kind == "deposited" else "",
    )


def _venue(issuers: Sequence[str], readings: Sequence[Reading]) -> str:
    """The one venue of the scan that an issuer names: by the end of its identifier, or by its address."""
    venues = [reading.venue for reading in readings]
    for issuer in issuers:
        name = issuer.lower()
        found = {v.venue_id for v in venues if v.venue_id.lower().endswith(name) or v.address.lower() == name}
        if len(found) == 1:
            return found.pop()
    return ""


def quote_rows(walk: Walk) -> list[BackingReading]:
    """What markets pay for a token, in whole units of another one."""
    return [
        _row(
            walk,
            walk.tokens[quote.token],
            Claim(quote.quote, quote.quote_raw, quote.token_raw, "pooled", quote.source),
            (),
        )
        for finding in walk.findings.values()
        for quote in finding.quotes
        if quote.token in walk.tokens and quote.quote in walk.tokens
    ]


def keep_priced(
    walk: Walk, rows: Sequence[BackingReading], priced: Set[str], discounted: Set[str]
) -> list[BackingReading]:
    """The rows of assets all of whose underlyings have a price; half a pool would be a wrong claim."""
    missing: dict[str, set[str]] = {}
    for row in rows:
        for asset_id in (row.asset_id, row.underlying_id):
            if asset_id not in priced:
                missing.setdefault(row.asset_id, set()).add(asset_id)
    for asset_id, lacking in missing.items():
        names = ", ".join(sorted(asset_name(walk, item) for item in lacking))
        reason = ": a PT before maturity, and no market of it was read" if lacking & discounted else ""
        walk.gaps[f"backing of {asset_name(walk, asset_id)}"] = f"left out: no price is known of {names}{reason}"
    return [row for row in rows if row.asset_id not in missing]


def new_assets(walk: Walk, rows: Sequence[BackingReading]) -> list[AssetReading]:
    """Assets that the rows need and no venue lists, and those whose kind is known better now, by their id."""
    found: dict[str, AssetReading] = {}
    for row in rows:
        for asset_id in (row.asset_id, row.underlying_id):
            address = walk.address_of(asset_id)
            finding = walk.findings.get(address)
            known = walk.assets.get(asset_id)
            kind = finding.asset_kind if finding else "token"
            if known is None:
                token = walk.tokens.get(address) or Token(NATIVE, walk.coin.symbol if walk.coin else "native coin", 18)
                if finding is None and token.symbol.lower() in USD_SYMBOLS:
                    kind = "usd"
                found[asset_id] = AssetReading(asset_id, token.symbol, token.decimals, kind)
            elif known.kind == "token" and kind != "token":
                found[asset_id] = AssetReading(asset_id, known.symbol, known.decimals, kind)
    return list(found.values())


def asset_name(walk: Walk, asset_id: str) -> str:
    """For people: symbol and address."""
    address = walk.address_of(asset_id)
    token = walk.tokens.get(address)
    known = walk.assets.get(asset_id)
    symbol = token.symbol if token else known.symbol if known else ""
    return f"{symbol} {address}" if symbol else asset_id
