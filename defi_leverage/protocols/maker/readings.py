"""What an ilk of Maker becomes in a reading: its vaults with their legs, its totals, its liquidation parameters."""

from collections.abc import Mapping
from dataclasses import dataclass

from defi_leverage.chain import Chain
from defi_leverage.dollar_symbols import USD_SYMBOLS
from defi_leverage.fixed_point import RAY, WAD, mul_div_down
from defi_leverage.protocols import without_figures
from defi_leverage.protocols.maker.arithmetic import debt_wad, health_factor, yearly_rate
from defi_leverage.protocols.maker.system import Ilk, System
from defi_leverage.protocols.maker.vaults import Vault, missing_debt
from defi_leverage.reading import (
    AccountReading,
    AssetReading,
    Deployment,
    FeedReading,
    LegReading,
    MarketReading,
    RateCurve,
    Reading,
    VenueReading,
)

__all__ = ["Scene", "ilk_reading", "left_out_reading"]

_RAD = 10**45
_WAD_DECIMALS = 18
Vaults = Mapping[str, Vault | None]  # by address; None where it cannot be read


@dataclass(frozen=True, slots=True)
class Scene:
    """What all ilks share; in rad, `debt` is all that is owed, `surplus` what pays for debt that auctions leave."""

    chain: Chain
    deployment: Deployment
    system: System
    coin_feed: FeedReading
    owners: Mapping[str, str]
    debt: int
    surplus: int

    @property
    def chain_name(self) -> str:
        """CAIP-2 of the chain."""
        return f"eip155:{self.chain.chain_id}"


def ilk_reading(scene: Scene, ilk: Ilk, feed: FeedReading, vaults: Vaults) -> Reading:
    """The reading of one ilk that can be valued."""
    assert ilk.gem is not None
    coin = scene.system.coin
    accounts = tuple(_account(scene, ilk, feed, urn, vault) for urn, vault in sorted(vaults.items()) if vault)
    collateral = sum(leg.amount_raw for account in accounts for leg in account.legs if leg.side == "collateral")
    owed, fee = debt_wad(ilk.art, ilk.rate), yearly_rate(ilk.fee)
    gaps = {}
    if (short := missing_debt(ilk, vaults)) > 0:
        gaps["vaults that no note names"] = (
            f"they owe {short / ilk.art:.2%} of the debt; first_block {scene.deployment.first_block} is too late, or "
            "the endpoint keeps back logs"
        )
    return Reading(
        chain=scene.chain_name,
        block_number=scene.chain.block.number,
        block_hash=scene.chain.block.hash,
        block_timestamp=scene.chain.block.timestamp,
        venue=_venue(scene, f"{scene.system.vat}/{ilk.name}", f"{scene.deployment.name} {ilk.name}", ilk),
        assets=(
            AssetReading(feed.asset_id, ilk.gem.symbol, ilk.gem.decimals, _kind(ilk.gem.symbol)),
            AssetReading(scene.coin_feed.asset_id, coin.symbol, coin.decimals, _kind(coin.symbol)),
        ),
        feeds=(feed, scene.coin_feed),
        backing=(),
        markets=(
            # The vat keeps no total of an ilk's collateral, and lends none of it.
            MarketReading(feed.asset_id, collateral, 0, collateral, 0, 0),
            MarketReading(
                asset_id=scene.coin_feed.asset_id,
                supply_raw=0,  # coins are minted, not lent
                borrow_raw=_units(owed, coin.decimals),
                cash_raw=0,
                borrow_rate_ray=fee,
                borrow_cap_raw=_units(ilk.line // RAY, coin.decimals),
                curve=RateCurve("fixed", {"rate": fee}),
            ),
        ),
        accounts=accounts,
        found=len(vaults),
        failed={urn: "its vault cannot be read" for urn, vault in vaults.items() if vault is None},
        gaps=gaps,
    )


def _account(scene: Scene, ilk: Ilk, feed: FeedReading, urn: str, vault: Vault) -> AccountReading:
    assert ilk.gem is not None
    owed = debt_wad(vault.art, ilk.rate)
    legs = []
    if vault.ink:
        # What the vat holds beyond the token's own unit can never be taken out.
        amount = _units(vault.ink, ilk.gem.decimals)
        weight = mul_div_down(WAD, RAY, ilk.mat)
        legs.append(LegReading("collateral", feed.asset_id, feed.feed_id, amount, weight, ilk.chop - WAD))
    if owed:
        amount = _units(owed, scene.system.coin.decimals)
        legs.append(LegReading("debt", scene.coin_feed.asset_id, scene.coin_feed.feed_id, amount, WAD))
    return AccountReading(
        address=urn,
        mode="isolated",
        health_factor_raw=health_factor(vault.ink, vault.art, ilk.spot, ilk.rate),
        collateral_base_raw=mul_div_down(vault.ink, feed.price_raw, feed.price_scale),
        debt_base_raw=mul_div_down(owed, scene.system.par, RAY),
        legs=tuple(legs),
        owner=scene.owners.get(urn, ""),
    )


def left_out_reading(scene: Scene, gaps: dict[str, str], failed: dict[str, str]) -> Reading:
    """What is missing of the whole system: a reading without figures."""
    return without_figures(
        scene.chain, _venue(scene, scene.system.vat, f"{scene.deployment.name}, ilks left out", None), gaps, failed
    )


def _venue(scene: Scene, reference: str, name: str, ilk: Ilk | None) -> VenueReading:
    return VenueReading(
        venue_id=f"{scene.chain_name}:{reference}",
        protocol="maker",
        name=name,
        address=scene.system.vat,
        revision=0,
        liquidation_rule="maker",
        liquidation_parameters=_liquidation_parameters(scene, ilk) if ilk else {},
    )


def _liquidation_parameters(scene: Scene, ilk: Ilk) -> dict[str, float]:
    """Of the rule `maker`: the room that auctions leave now. The one surplus is divided among ilks by their debt."""

    def usd(rad: int) -> float:
        return rad * scene.system.par / (_RAD * RAY)

    share = ilk.art * ilk.rate / scene.debt if scene.debt else 0.0
    return {
        "liquidation_penalty": (ilk.chop - WAD) / WAD,
        "hole_usd": usd(ilk.room),
        "global_hole_usd": usd(scene.system.room),
        "dust_usd": usd(ilk.dust),
        "surplus_usd": usd(scene.surplus) * share,
    }


def _units(wad: int, decimals: int) -> int:
    """A wad in raw units of a token, rounded down."""
    return mul_div_down(wad, 10**decimals, 10**_WAD_DECIMALS)


def _kind(symbol: str) -> str:
    return "usd" if symbol.lower() in USD_SYMBOLS else "token"
