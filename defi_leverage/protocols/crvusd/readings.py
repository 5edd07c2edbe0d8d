"""A market of crvUSD or LlamaLend as a reading.

A loan's legs: the collateral that is not sold yet, the borrowed tokens that soft liquidation has got for the rest, and
the debt. The weight of the collateral is such that the health factor of the legs is 1 where the price meets the upper
edge of what is not sold yet, that is, where soft liquidation begins or goes on; what is sold counts in full. (At most
1: a loan that owes more than it holds is below 1 before its bands are reached.) The mode says how many bands high the
rest is, its bonus is d / (1 - d) of the loan's own liquidation discount d: so the rule `crvusd` knows a loan's bands.

The health factor that is reported is the controller's: 1 + health(user, true), below 1 where the loan may be liquidated
whole. Of such a loan, and of one that is all sold, the legs have just that, wherever the price is: what is sold counts
less the discount, and the mode is `bands:0`, for no band of it will be sold at the prices that it lies at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.dollar_symbols import USD_SYMBOLS
from defi_leverage.fixed_point import RAY, WAD, yearly_ray
from defi_leverage.protocols import without_figures
from defi_leverage.protocols._tokens import Token, read_tokens
from defi_leverage.protocols.crvusd.loans import Loan
from defi_leverage.protocols.crvusd.markets import Factory, Market
from defi_leverage.protocols.crvusd.price_feeds import MarketFeeds
from defi_leverage.protocols.crvusd.rate_curves import Policy, lent_curve, minted_curve
from defi_leverage.questions import ask
from defi_leverage.reading import (
    NO_CAP,
    AccountReading,
    AssetReading,
    BackingReading,
    Deployment,
    LegReading,
    MarketReading,
    Reading,
    VenueReading,
)

__all__ = ["Lent", "bands_mode", "left_out_reading", "market_reading", "read_lent"]

_MANY = 10**15  # whole shares: a new vault's is a thousandth of a token, few units of one with 8 decimals
_TOLERATED = 10**6  # a millionth of a market's debt may be in no loan: the total is rounded by itself


@dataclass(frozen=True, slots=True)
class Lent:
    """What a LlamaLend vault lends: raw totals, its yearly rate in wad, its share and raw assets for _MANY of it."""

    total: int
    cash: int
    rate: int | None
    share: Token
    assets: int


async def read_lent(chain: Chain, market: Market) -> Lent | None:
    """The vault of a market that lends, None where it has none or it does not answer."""
    if not market.vault:
        return None
    abi, erc20 = load_abi("crvusd"), load_abi("erc20")
    share = (await read_tokens(chain, [market.vault]))[market.vault]
    questions = [(market.vault, "totalAssets", ()), (market.vault, "lend_apr", ())]
    total, rate = await ask(chain, abi, questions)
    (assets,) = await ask(chain, abi, [(market.vault, "convertToAssets", (_MANY * 10**share.decimals,))])
    (cash,) = await ask(chain, erc20, [(market.borrowed.address, "balanceOf", (market.controller,))])
    if total is None or cash is None or not assets or share.problem:
        return None
    return Lent(total, cash, rate, share, assets)


def market_reading(
    chain: Chain,
    deployment: Deployment,
    factory: Factory,
    market: Market,
    feeds: MarketFeeds,
    loans: Sequence[Loan],
    lent: Lent | None,
    policy: Policy | None,
) -> Reading:
    """The reading of one market that can be valued."""
    sound = sorted((loan for loan in loans if not loan.problem), key=lambda loan: loan.user)
    assets, backing = _assets(chain, market, feeds, lent)
    collateral, borrowed = feeds.collateral.asset_id, feeds.borrowed.asset_id
    owned = lent.total if lent else 0
    borrow_rate = yearly_ray(market.rate)
    lend_rate = lent.rate * (RAY // WAD) if lent and lent.rate is not None else None
    held = market.held_collateral
    minted = minted_curve(market) if factory.mints else None
    curve = lent_curve(market, policy, lent.cash, lent.total) if lent else minted
    return Reading(
        chain=f"eip155:{chain.chain_id}",
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=_venue(chain, deployment, factory, market),
        assets=assets,
        feeds=tuple({feed.feed_id: feed for feed in (feeds.collateral, feeds.borrowed, *feeds.others)}.values()),
        backing=backing,
        markets=(
            MarketReading(collateral, held, 0, held, 0, 0, None, NO_CAP),
            MarketReading(
                borrowed,
                owned + market.held_borrowed,
                market.total_debt,
                lent.cash if lent else 0,
                0,
                lend_rate,
                borrow_rate,
                None,
                market.ceiling,
                curve,
            ),
        ),
        accounts=tuple(_account(market, loan, feeds) for loan in sound),
        found=len(loans),
        failed={loan.user: loan.problem for loan in loans if loan.problem},
        gaps=_gaps(market, factory, loans, lent),
    )


def _gaps(market: Market, factory: Factory, loans: Sequence[Loan], lent: Lent | None) -> dict[str, str]:
    gaps = {}
    owed = sum(loan.debt for loan in loans)
    if not any(loan.problem for loan in loans) and (market.total_debt - owed) * _TOLERATED > market.total_debt:
        gaps["loans that are in no list"] = f"they owe {1 - owed / market.total_debt:.2%} of the debt"
    if uneven := sum(loan.uneven for loan in loans):
        gaps["bands"] = f"{uneven} loans' bands are not filled alike: their soft liquidation is approximate"
    if lent is None and not factory.mints:
        gaps["vault"] = f"{market.vault} does not say what it lends"
    return gaps


def _account(market: Market, loan: Loan, feeds: MarketFeeds) -> AccountReading:
    collateral, borrowed = feeds.collateral, feeds.borrowed
    scale_y, scale_x = 10 ** (18 - market.collateral.decimals), 10 ** (18 - market.borrowed.decimals)
    whole = loan.health < 0 or not loan.top
    owed, price, sold, weight = loan.debt, loan.top, WAD, 0
    if whole:
        owed, price, sold = max(0, loan.debt * (loan.health + WAD) // WAD), market.price, WAD - loan.discount
        if loan.stablecoin and not loan.collateral:
            sold = min(WAD, -(-owed * WAD // loan.stablecoin))
    if loan.collateral:
        uncovered = max(0, owed - loan.stablecoin * sold // WAD) * scale_x
        # Not 0 of what is to be seized: that would be no collateral.
        weight = max(int(whole), min(WAD, uncovered * WAD * WAD // (loan.collateral * scale_y * price)))
    bonus = loan.discount * WAD // (WAD - loan.discount)
    legs = (
        LegReading("collateral", collateral.asset_id, collateral.feed_id, loan.collateral, weight, bonus),
        LegReading("collateral", borrowed.asset_id, borrowed.feed_id, loan.stablecoin, sold),
        LegReading("debt", borrowed.asset_id, borrowed.feed_id, loan.debt, WAD),
    )
    return AccountReading(
        address=loan.user,
        mode=bands_mode(0 if whole else loan.bands),
        health_factor_raw=loan.health + WAD,
        collateral_base_raw=loan.down,
        debt_base_raw=loan.debt,
        legs=tuple(leg for leg in legs if leg.amount_raw),
    )


def bands_mode(bands: int) -> str:
    """The mode that says how many bands high (wad) a loan's collateral lies: to 1e-6, no less than that, unless 0."""
    height = max(bands / WAD, 1e-6) if bands else 0.0
    return "bands:" + f"{height:.6f}".rstrip("0").rstrip(".")


def _assets(
    chain: Chain, market: Market, feeds: MarketFeeds, lent: Lent | None
) -> tuple[tuple[AssetReading, ...], tuple[BackingReading, ...]]:
    """The two tokens, what a ratio is of, and the share of the vault with what it is a claim on."""
    name = f"eip155:{chain.chain_id}"

    def asset(token: Token, kind: str = "") -> AssetReading:
        plain = "usd" if token.symbol.lower() in USD_SYMBOLS else "token"
        return AssetReading(f"{name}/erc20:{token.address}", token.symbol, token.decimals, kind or plain)

    listed = [asset(market.collateral, "vault_share" if feeds.underlying else ""), asset(market.borrowed)]
    backing = []
    if feeds.underlying:
        listed.append(asset(feeds.underlying))
    if lent:
        listed.append(asset(lent.share, "vault_share"))
        many = _MANY * 10**market.borrowed.decimals
        backing.append(
            BackingReading(
                listed[-1].asset_id, feeds.borrowed.asset_id, lent.assets, many, "deposited", "convertToAssets"
            )
        )
    return tuple({item.asset_id: item for item in reversed(listed)}.values())[::-1], tuple(backing)


def left_out_reading(
    chain: Chain, deployment: Deployment, factory: Factory, gaps: dict[str, str], failed: dict[str, str]
) -> Reading:
    """What is missing of the whole factory: a reading without figures."""
    return without_figures(chain, _venue(chain, deployment, factory, None), gaps, failed)


def _venue(chain: Chain, deployment: Deployment, factory: Factory, market: Market | None) -> VenueReading:
    address = market.controller if market else factory.address
    parameters = {}
    if market:
        parameters = {
            "amplification": float(market.amplification),
            "liquidation_discount": market.discount / WAD,
        }
    return VenueReading(
        venue_id=f"eip155:{chain.chain_id}:{address}",
        protocol="crvusd" if factory.mints else "llamalend",  # which lends the coin, and mints none
        name=f"{deployment.name} {market.name}" if market else f"{deployment.name}, markets left out",
        address=address,
        revision=1,  # of the controllers that are read here
        liquidation_rule="crvusd",
        liquidation_parameters=parameters,
    )
