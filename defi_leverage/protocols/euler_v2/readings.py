"""One vault of Euler as a reading: who owes it, who lends to it, its totals, its assets and feeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from defi_leverage.chain import Chain
from defi_leverage.dollar_symbols import USD_SYMBOLS
from defi_leverage.fixed_point import BPS, WAD
from defi_leverage.protocols import without_figures
from defi_leverage.protocols._tokens import Token
from defi_leverage.protocols.euler_v2.health import NO_DEBT, health_factor
from defi_leverage.protocols.euler_v2.positions import Borrower
from defi_leverage.protocols.euler_v2.price_feeds import VaultFeeds
from defi_leverage.protocols.euler_v2.vaults import Vault
from defi_leverage.questions import NOBODY
from defi_leverage.reading import (
    AccountReading,
    AssetReading,
    BackingReading,
    Deployment,
    FeedReading,
    LegReading,
    MarketReading,
    OwnerLink,
    RateCurve,
    Reading,
    VenueReading,
)

__all__ = [
    "Holdings",
    "Scene",
    "left_out_reading",
    "missing_accounts",
    "phantom_debt",
    "suspended_liquidations",
    "vault_reading",
]

_BPS_WAD = WAD // BPS
_SEIZABLE = 1  # the weight in wad of collateral that secures nothing but can be seized; 0 would say that it cannot
_TRANSFER, _LIQUIDATE = 1 << 4, 1 << 11  # operations that a hook can be on (Constants.sol)
_TOLERATED = 10**6  # a millionth of a vault's shares or debt may be without an account
_DEAD_COVER = 10  # a vault is dead where the collateral is worth less than a tenth of the debt,
_DEAD_CASH = 1000  # and less than a thousandth of its assets is there to be withdrawn
_NEGLIGIBLE_USD = 100

Holdings = Mapping[str, int]  # raw assets by account


@dataclass(frozen=True)
class Scene:
    """What all vaults of the factory share.

    `venues`: the vaults that are read. `tokens`: every token of a feed. `leading`: by asset, the feeds of the way to
    the dollar that counts. `claims`: raw assets for a whole share, times 1e9, of vaults that are read and say so.
    `owners`: who registered the accounts that begin with these 38 digits. `curves`: of the vaults whose rate model is
    known.
    """

    chain: Chain
    deployment: Deployment
    factory: str
    venues: Mapping[str, Vault]
    tokens: Mapping[str, Token]
    leading: Mapping[str, tuple[FeedReading, ...]]
    claims: Mapping[str, int]
    claim_scale: int
    owners: Mapping[str, str]
    curves: Mapping[str, RateCurve]

    @property
    def chain_name(self) -> str:
        """CAIP-2 of the chain."""
        return f"eip155:{self.chain.chain_id}"

    def asset_id(self, token: str) -> str:
        """CAIP-19 of a token."""
        return f"{self.chain_name}/erc20:{token}"

    def venue_id(self, vault: str) -> str:
        """CAIP-10 of a vault."""
        return f"{self.chain_name}:{vault}"


def phantom_debt(vault: Vault, borrowers: Sequence[Borrower], price: Fraction) -> str:
    """Why a vault is dead: nearly all of its debt is covered by nothing, and its lenders cannot leave.

    `price`: USD of a whole asset.
    """
    known = [one for one in borrowers if not one.fault and one.liability]
    covered = sum(Fraction(min(one.liability, sum(one.quotes.values())), one.liability) * one.debt for one in known)
    owed_usd = price * vault.borrows / 10**vault.asset.decimals
    if owed_usd < _NEGLIGIBLE_USD or covered * _DEAD_COVER >= vault.borrows or vault.cash * _DEAD_CASH >= vault.assets:
        return ""
    return (
        f"dead, with phantom debt: of {float(owed_usd):,.0f} USD owed {float(covered / vault.borrows):.2%} is covered "
        "by collateral, and nothing can be withdrawn"
    )


def suspended_liquidations(vault: Vault, borrowers: Sequence[Borrower], vaults: Mapping[str, Vault]) -> dict[str, str]:
    """Why nobody may be liquidated now, or only whom a hook lets pass: by the vault itself, and by collateral vaults.

    The contagion engine liquidates all the same. `vaults`: every vault in use. Source: Base.callHook, with OP_LIQUIDATE
    of the vault and OP_TRANSFER of the collateral's (Liquidation.executeLiquidation moves its shares).
    """
    held = sorted({token for one in borrowers for token in one.held} & vaults.keys())
    asked = [("liquidations", vault, _LIQUIDATE)] if borrowers else []
    asked += [(f"seizing {vaults[token].share.symbol} {token}", vaults[token], _TRANSFER) for token in held]
    return {
        what: f"{why}; scenarios liquidate nevertheless"
        for what, one, operation in asked
        if (why := _suspension(one, operation))
    }


def _suspension(vault: Vault, operation: int) -> str:
    if vault.hooked is None:
        return f"perhaps not possible: {vault.address} does not say what its hook is on"
    if not vault.hooked & operation:
        return ""
    if vault.hook_target == NOBODY:
        return f"switched off by {vault.address}"
    return f"up to the hook {vault.hook_target}, which is not read"


def missing_accounts(
    vault: Vault, shares: Mapping[str, int | None], borrowers: Sequence[Borrower], first_block: int
) -> dict[str, str]:
    """That accounts were not found, where shares or debts of those that were fall short of the vault's."""
    pairs = (
        ("supply", sum(amount or 0 for amount in shares.values()), vault.supply - vault.fees, 0),
        ("debt", sum(one.debt for one in borrowers), vault.borrows, 1 + len(borrowers)),
    )
    short = [
        f"{1 - held / total:.2%} of the {name}"
        for name, held, total, rounding in pairs
        if total - held > rounding + total // _TOLERATED
    ]
    if not short:
        return {}
    return {
        "accounts that no event names": f"they hold {' and '.join(short)}; first_block {first_block} is too late, or "
        "the endpoint keeps back logs"
    }


def vault_reading(
    scene: Scene,
    vault: Vault,
    feeds: VaultFeeds,
    borrowers: Sequence[Borrower],
    lent: Holdings,
    failed: Mapping[str, str],
    gaps: Mapping[str, str],
) -> Reading:
    """The reading of one vault that can be valued; `borrowers` are those that we reproduce."""
    loan = feeds.asset[0]
    held: dict[str, int] = {}
    legs: dict[str, list[LegReading]] = {}
    totals: dict[str, tuple[int, int]] = {}
    for one in borrowers:
        mine = legs.setdefault(one.account, [])
        totals[one.account] = one.reported
        for token, amount in sorted(one.held.items()):
            held[token] = held.get(token, 0) + amount
            feed = (feeds.collaterals or {})[token][0]
            weight = max(vault.ltvs[token] * _BPS_WAD, _SEIZABLE)
            mine.append(LegReading("collateral", feed.asset_id, feed.feed_id, amount, weight))
        mine.append(LegReading("debt", loan.asset_id, loan.feed_id, one.debt, WAD))
    for account, amount in lent.items():
        if amount:
            legs.setdefault(account, []).append(LegReading("collateral", loan.asset_id, loan.feed_id, amount, 0))
    own = [*feeds.asset, *(feed for token in sorted(held) for feed in (feeds.collaterals or {})[token])]
    assets, backing, behind = _assets(scene, own, sorted(held))
    own += behind
    # The first market feed of an asset is its market price: the one that the most of it relies on.
    leading = [scene.leading[feed.asset_id][0] for feed in own if feed.asset_id in scene.leading]
    leading = [feed for feed in leading if feed.kind == "market"]
    supply_rate, borrow_rate = vault.yearly_rates
    markets = [
        MarketReading(
            asset_id=loan.asset_id,
            supply_raw=vault.assets,
            borrow_raw=vault.borrows,
            cash_raw=vault.cash,
            supply_rate_ray=supply_rate,
            borrow_rate_ray=borrow_rate,
            supply_cap_raw=vault.supply_cap,
            borrow_cap_raw=vault.borrow_cap,
            curve=scene.curves.get(vault.address),
        )
    ]
    markets += [MarketReading(scene.asset_id(token), amount, 0, amount, 0, 0) for token, amount in sorted(held.items())]
    return Reading(
        chain=scene.chain_name,
        block_number=scene.chain.block.number,
        block_hash=scene.chain.block.hash,
        block_timestamp=scene.chain.block.timestamp,
        venue=_venue(scene, vault.address, f"{scene.deployment.name} {vault.share.symbol}", vault.discount),
        assets=assets,
        feeds=tuple({feed.feed_id: feed for feed in (*leading, *own)}.values()),
        backing=backing,
        markets=tuple(markets),
        accounts=tuple(
            AccountReading(
                address=account,
                mode="cross",
                health_factor_raw=health_factor(*totals[account]) if account in totals else NO_DEBT,
                collateral_base_raw=totals.get(account, (0, 0))[0],
                debt_base_raw=totals.get(account, (0, 0))[1],
                legs=tuple(legs[account]),
            )
            for account in sorted(legs)
        ),
        found=len(legs.keys() | failed.keys()),
        failed=dict(failed),
        links=tuple(
            OwnerLink(
                f"{scene.chain_name}:{account}", f"{scene.chain_name}:{owner}", "euler_subaccount", "OwnerRegistered"
            )
            for account in sorted(legs)
            if (owner := scene.owners.get(account[2:40].lower())) and owner != account
        ),
        gaps=dict(gaps),
    )


def _assets(
    scene: Scene, feeds: Sequence[FeedReading], collaterals: Sequence[str]
) -> tuple[tuple[AssetReading, ...], tuple[BackingReading, ...], list[FeedReading]]:
    """The tokens of these feeds; of shares of vaults that are read also the asset, and what a share is a claim on."""
    backing: list[BackingReading] = []
    behind: list[FeedReading] = []
    for share in collaterals:
        inner = scene.venues.get(share)
        if inner is None or share not in scene.claims:
            continue
        inner_id = scene.asset_id(inner.asset.address)
        if inner_id not in {feed.asset_id for feed in feeds}:
            if inner_id not in scene.leading:
                continue
            behind += scene.leading[inner_id]
        scale = scene.claim_scale * 10**inner.asset.decimals
        source = f"convertToAssets({scene.claim_scale * 10**inner.share.decimals})"
        backing.append(
            BackingReading(
                scene.asset_id(share), inner_id, scene.claims[share], scale, "deposited", source, scene.venue_id(share)
            )
        )
    listed: dict[str, AssetReading] = {}
    for feed in (*feeds, *behind):
        token = scene.tokens[feed.asset_id.rsplit(":", 1)[1]]
        kind = "usd" if token.symbol.lower() in USD_SYMBOLS else "token"
        if token.address in scene.venues:
            kind = "supply_share"
        elif feed.kind == "ratio":
            base = scene.tokens[feed.base_feed_id.split("@")[0].rsplit(":", 1)[1]]
            is_dollar = base.symbol.lower() in USD_SYMBOLS
            kind = "pt" if token.symbol.startswith("PT-") else "vault_share" if is_dollar else "lst"
        listed.setdefault(feed.asset_id, AssetReading(feed.asset_id, token.symbol, token.decimals, kind))
    return tuple(listed.values()), tuple(backing), behind


def left_out_reading(scene: Scene, gaps: dict[str, str], failed: dict[str, str]) -> Reading:
    """What is missing of the whole factory: a reading without figures."""
    return without_figures(
        scene.chain, _venue(scene, scene.factory, f"{scene.deployment.name}, vaults left out", 0), gaps, failed
    )


def _venue(scene: Scene, address: str, name: str, discount: int) -> VenueReading:
    return VenueReading(
        venue_id=scene.venue_id(address),
        protocol="euler_v2",
        name=name,
        address=address,
        revision=1,
        liquidation_rule="euler_v2",
        liquidation_parameters={"maximum_discount": discount / BPS},
    )
