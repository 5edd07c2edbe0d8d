"""Pendle: standardised yield (SY), principal tokens (PT) and pool shares (LP).

- An SY is a claim on what previewRedeem pays of its yield token.
- A PT is a claim on 1 / pyIndex of SY, one unit of the accounting asset at maturity (PendleYieldToken._redeemPY,
  PYIndex.assetToSy). Before maturity it is sold at a discount and cannot be redeemed alone: `staked`; then `wraps`.
- An LP share is a claim on its part of the market's SY and PT (MarketMathCore.removeLiquidity). The market's own price
  of the PT is that of its implied rate: PT / asset = exp(-lnImpliedRate * time to expiry / year), its ptToAssetRate at
  the block without an average (PendlePYOracleLib.getPtToAssetRateRaw); it comes along as a quote.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.backing.claims import NATIVE, Claim, Finding, Quote, Token, rate_of
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import SECONDS_PER_YEAR, WAD
from defi_leverage.questions import NOBODY, ask, probe

__all__ = ["pt_to_asset_rate", "read"]

_FINE = 10**12

_Answers = Mapping[str, Mapping[str, Any]]


async def read(chain: Chain, tokens: Sequence[Token]) -> dict[str, Finding]:
    """The SY, PT and LP tokens among the tokens; parts that do not point at each other are in doubt."""
    addresses = [token.address for token in tokens]
    found = await _read_sy(chain, tokens)
    found |= await _read_pt(chain, addresses)
    found |= await _read_lp(chain, addresses)
    return found


async def _read_sy(chain: Chain, tokens: Sequence[Token]) -> dict[str, Finding]:
    abi = load_abi("pendle")
    answers = await probe(chain, abi, [token.address for token in tokens], ("yieldToken", "exchangeRate", "assetInfo"))
    yields = [token for token in tokens if None not in answers[token.address].values()]
    asked = [(token, 10**token.decimals * factor) for token in yields for factor in (1, _FINE)]
    out = [answers[token.address]["yieldToken"] for token, _ in asked]
    replies = await ask(
        chain, abi, [(t.address, "previewRedeem", (to, n)) for (t, n), to in zip(asked, out, strict=True)]
    )
    found = {}
    for at, token in enumerate(yields):
        rate = rate_of((asked[i][1], replies[i]) for i in (2 * at, 2 * at + 1))
        if rate is None:
            found[token.address] = Finding(doubt="this SY does not say what its yield token redeems at")
            continue
        underlying = answers[token.address]["yieldToken"]
        claim = Claim(
            NATIVE if underlying == NOBODY else underlying, rate[1], rate[0], "wraps", f"previewRedeem({rate[0]})"
        )
        found[token.address] = Finding((claim,), "vault_share")
    return found


async def _describe_pts(chain: Chain, tokens: Sequence[str]) -> dict[str, dict[str, Any]]:
    """SY, YT, expiry and index of each principal token, and whether its parts point at each other."""
    abi = load_abi("pendle")
    answers = await probe(chain, abi, tokens, ("SY", "YT", "expiry", "isExpired"))
    principals = {a: answer for a, answer in answers.items() if None not in answer.values()}
    yield_tokens = sorted({answer["YT"] for answer in principals.values()})
    backs = await probe(chain, abi, yield_tokens, ("SY", "PT", "pyIndexCurrent"))
    return {
        address: dict(answer)
        | {"index": backs[answer["YT"]]["pyIndexCurrent"]}
        | {"whole": (backs[answer["YT"]]["SY"], backs[answer["YT"]]["PT"]) == (answer["SY"], address)}
        for address, answer in principals.items()
    }


async def _read_pt(chain: Chain, tokens: Sequence[str]) -> dict[str, Finding]:
    found = {}
    for address, pt in (await _describe_pts(chain, tokens)).items():
        if not pt["whole"] or not pt["index"]:
            found[address] = Finding(doubt=f"its yield token {pt['YT']} does not point back at it")
            continue
        source = f"pyIndexCurrent {pt['index']}; {'expired' if pt['isExpired'] else 'expires'} {pt['expiry']}"
        kind = "wraps" if pt["isExpired"] else "staked"
        found[address] = Finding((Claim(pt["SY"], WAD, pt["index"], kind, source),), "pt")
    return found


async def _read_lp(chain: Chain, tokens: Sequence[str]) -> dict[str, Finding]:
    abi = load_abi("pendle")
    markets = await probe(chain, abi, tokens, ("readTokens", "expiry", "totalSupply"))
    markets = {address: answer for address, answer in markets.items() if None not in answer.values()}
    states = await ask(chain, abi, [(address, "readState", (NOBODY,)) for address in markets])
    principals = await _describe_pts(chain, sorted({answer["readTokens"][1] for answer in markets.values()}))
    return {
        address: _lp_finding(answer, state, principals, chain.block.timestamp)
        for (address, answer), state in zip(markets.items(), states, strict=True)
    }


def _lp_finding(market: Mapping[str, Any], state: Any, principals: _Answers, now: int) -> Finding:
    sy, pt, yt = market["readTokens"]
    principal = principals.get(pt)
    if principal is None or not principal["whole"] or (principal["SY"], principal["YT"]) != (sy, yt):
        return Finding(doubt="it names SY, PT and YT that do not point at each other")
    if state is None:
        return Finding(doubt="it does not answer readState")
    total_pt, total_sy, total_lp, *_, rate = state
    if min(total_pt, total_sy, total_lp) <= 0 or total_lp != market["totalSupply"]:
        return Finding(
            doubt=f"it counts {total_pt} PT and {total_sy} SY for {total_lp} of {market['totalSupply']} shares"
        )
    price = pt_to_asset_rate(rate, max(0, market["expiry"] - now))
    percent = f"{100 * (1 - price / WAD):.4g} %"
    source = f"readState: {total_sy} SY, {total_pt} PT of {total_lp} shares; the PT is sold {percent} below its asset"
    quotes: tuple[Quote, ...] = ()
    if principal["index"]:
        # one PT is `price` of the asset, and one SY is the asset times its index: in raw units as PYIndex.assetToSy
        quotes = (Quote(pt, sy, price, principal["index"], f"implied rate of the Pendle market, {percent} discount"),)
    claims = (Claim(sy, total_sy, total_lp, "pooled", source), Claim(pt, total_pt, total_lp, "pooled", source))
    return Finding(claims, "lp", quotes=quotes)


def pt_to_asset_rate(ln_implied_rate: int, seconds: int) -> int:
    """Price of a PT in its accounting asset, in wad: exp(-rate * seconds / year), the rate in wad; 1 at expiry."""
    with localcontext() as context:
        context.prec = 40
        exponent = -Decimal(ln_implied_rate) * seconds / (SECONDS_PER_YEAR * WAD)
        return int(exponent.exp() * WAD)
