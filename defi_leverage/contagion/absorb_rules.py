"""Liquidation rules that close whole accounts: Comet, Maker, Liquity v1 and v2, crvUSD. Plain functions, by name.

Such a rule sees all legs of the venue's accounts below 1 (`Vaults`) and answers what is taken of each leg and who pays
(`Absorption`). What a venue can absorb (reserves, a stability pool, an insurance fund, room for auctions) is given out
in one order: accounts by account_id, venues by venue_id.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Absorption", "Vaults", "comet", "crvusd", "draw", "liquity_v1", "liquity_v2", "maker"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Vaults:
    """Accounts of one venue below 1, by account_id, with their legs of debt and of collateral that counts.

    Per leg: owner (position of its account), is_debt, value and initial (USD at the feed prices of the round, of what
    is there and of what was there at the start of the run), weight, bonus. Per account: has_takers, whether another
    account of the venue with the same collateral and debt is healthy. `drawn`: USD that the venue's buffer has paid so
    far (negative: gained); `busy`: USD that venues of this rule already have at auction in this round. `is_cash`, per
    leg: collateral in the very asset that the account owes (default: none); `bands`, per account: how many bands high
    its other collateral lies, nan where it does not say (default: all), 0 where no band of it will be sold.
    """

    owner: NDArray[np.int64]
    is_debt: NDArray[np.bool_]
    value: Array
    initial: Array
    weight: Array
    bonus: Array
    has_takers: NDArray[np.bool_]
    drawn: float = 0.0
    busy: float = 0.0
    is_cash: NDArray[np.bool_] | None = None
    bands: Array | None = None

    def total(self, values: Array, legs: NDArray[np.bool_]) -> Array:
        """Sums by account of `values` over the chosen legs."""
        sums = np.bincount(self.owner[legs], weights=values[legs], minlength=len(self.has_takers))
        return sums.astype(np.float64)

    @property
    def debt(self) -> Array:
        """USD of debt by account."""
        return self.total(self.value, self.is_debt)

    @property
    def collateral(self) -> Array:
        """USD of collateral by account."""
        return self.total(self.value, ~self.is_debt)


class Absorption(NamedTuple):
    """What a rule does, in USD at the feed prices of the round.

    Per leg: `taken` of it, and whether what is taken `trades`, that is, reaches the market. Per account, of the debt
    taken: `bad` (nobody pays), `moved_debt` (other accounts take it over, with `moved_collateral`), `bought` (has to be
    bought in the market; the rest is paid by the venue's buffer or settled within the venue). `credit`: owed to the
    owner outside these legs. `drawn`: paid by the venue's buffer (negative: gained). `put_up`: at auction. `pro_rata`:
    if not None, bad debt is levied on the opposite positions first, pro rata to equity (1) or by queue (0).
    """

    taken: Array
    trades: NDArray[np.bool_]
    bad: Array
    moved_debt: Array
    moved_collateral: Array
    bought: Array
    credit: Array
    drawn: Array
    put_up: float = 0.0
    pro_rata: float | None = None


def draw(needed: Array, room: float) -> Array:
    """What a buffer of `room` USD pays of each need in turn, as far as it goes; a negative need fills it."""
    if np.maximum(needed, 0.0).sum() <= room:
        return needed
    paid = np.zeros_like(needed)
    for place, need in enumerate(needed):
        paid[place] = min(need, max(room, 0.0))
        room -= paid[place]
    return paid


def _share(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def comet(
    accounts: Vaults,
    liquidation_factor: float = 0.93,
    store_front_price_factor: float = 0.5,
    reserves_usd: float = 0.0,
) -> Absorption:
    """absorb(): all collateral is seized and the whole debt closed, whatever their values.

    The account is credited the value of each collateral times its liquidation factor (1 / (1 + the leg's bonus), or
    `liquidation_factor` where the leg gives none); what that leaves after the debt becomes its supply of the base asset
    (`credit`). The protocol sells what it seized at the store-front discount, store_front_price_factor * (1 -
    liquidation factor), and its reserves take the difference; beyond the reserves it is bad debt. Buyers are taken to
    come at once and to sell on, whatever the reserves' target. Source: Compound III Comet.sol, absorbInternal and
    quoteCollateral; deployments set a store-front price factor of 0.5 to 0.6.
    """
    factor = np.where(accounts.bonus > 0, 1 / (1 + accounts.bonus), liquidation_factor)
    debt, held = accounts.debt, ~accounts.is_debt
    credited = accounts.total(accounts.value * factor, held)
    proceeds = accounts.total(accounts.value * (1 - store_front_price_factor * (1 - factor)), held)
    surplus = np.maximum(credited - debt, 0.0)
    needed = debt + surplus - proceeds
    drawn = draw(needed, reserves_usd - accounts.drawn)
    none = np.zeros_like(debt)
    return Absorption(
        taken=accounts.value,
        trades=np.ones(len(accounts.owner), bool),
        bad=np.maximum(needed - drawn, 0.0),
        moved_debt=none,
        moved_collateral=none,
        bought=proceeds,
        credit=surplus,
        drawn=drawn,
    )


def maker(
    accounts: Vaults,
    liquidation_penalty: float = 0.13,
    hole_usd: float = float("inf"),
    global_hole_usd: float = float("inf"),
    dust_usd: float = 0.0,
    auction_discount: float = 0.0,
    surplus_usd: float = 0.0,
) -> Absorption:
    """bark(): a vault goes to auction whole, or as much of it as the limits on debt at auction leave room for.

    Room is min(hole of the ilk, global hole) less the debt with penalty (tab) already at auction in this round, vaults
    by account_id, ilks (venues) by venue_id; auctions are taken to end within the round. A rest of debt below
    `dust_usd` goes too; a part below it waits. The auction sells at `auction_discount` under the oracle until the tab
    (debt * (1 + penalty), the leg's bonus or `liquidation_penalty`) is raised; the rest of the collateral stays with
    the owner.
    A debt that is not raised is paid by the system's surplus (`surplus_usd`, which penalties fill), else it is bad.
    Source: MakerDAO dss Dog.bark (Hole, Dirt, hole, dirt, chop, dust) and Clipper.take.
    """
    debt, collateral = accounts.debt, accounts.collateral
    bonus = np.zeros_like(debt)
    np.maximum.at(bonus, accounts.owner, np.where(accounts.is_debt, 0.0, accounts.bonus))
    chop = 1 + np.where(bonus > 0, bonus, liquidation_penalty)
    closed, room = debt.copy(), min(hole_usd, global_hole_usd - accounts.busy)
    if (debt * chop).sum() > room:
        for place in range(len(debt)):
            part = min(debt[place], max(room, 0.0) / chop[place])
            if part < debt[place]:
                whole = part > 0 and debt[place] - part < dust_usd
                part = debt[place] if whole else part * (part >= dust_usd)
            closed[place] = part
            room -= part * chop[place]
    share = _share(closed, debt)
    proceeds = np.minimum(collateral * share * (1 - auction_discount), closed * chop)
    needed = closed - proceeds
    drawn = draw(needed, surplus_usd - accounts.drawn)
    of_collateral = _share(proceeds / (1 - auction_discount), collateral)
    none = np.zeros_like(debt)
    return Absorption(
        taken=accounts.value * np.where(accounts.is_debt, share[accounts.owner], of_collateral[accounts.owner]),
        trades=np.ones(len(accounts.owner), bool),
        bad=np.maximum(needed - drawn, 0.0),
        moved_debt=none,
        moved_collateral=none,
        bought=proceeds,
        credit=none,
        drawn=drawn,
        put_up=float((closed * chop).sum()),
    )


def liquity_v1(accounts: Vaults, stability_pool_usd: float = 0.0, gas_compensation: float = 0.005) -> Absorption:
    """The stability pool burns the debt and receives all of the collateral pro rata; other troves take over the rest.

    0.5 % of the collateral compensates the liquidator. What the pool has no deposits for is redistributed to the other
    troves pro rata to their collateral; where no other is healthy, the trove stays. The last trove always stays,
    whatever the pool has. The pool's depositors are taken to sell what they receive; nobody has to buy the debt.
    Recovery mode is not modelled. Source: Liquity v1 TroveManager._liquidateNormalMode,
    _getOffsetAndRedistributionVals, _redistributeDebtAndColl, _requireMoreThanOneTroveInSystem.
    """
    debt, collateral = accounts.debt, accounts.collateral
    offset, moved = _offset(accounts, debt, stability_pool_usd)
    closed = offset + moved
    taken = np.where(closed > 0, collateral, 0.0)
    return _troves(accounts, offset, moved, taken, taken * (1 - gas_compensation) * _share(moved, debt))


def liquity_v2(
    accounts: Vaults,
    stability_pool_usd: float = 0.0,
    gas_compensation: float = 0.005,
    pool_penalty: float = 0.05,
    redistribution_penalty: float = 0.1,
) -> Absorption:
    """As v1, but the pool receives at most the debt plus 5 %, the other troves at most the debt plus 10 %.

    (20 % for staked ETH.) The gas compensation is of the pool's part alone: what is redistributed pays none. Not
    modelled: that it does in forks of the code before pull request 889 (May 2025); the compensation's cap of 2 units of
    collateral. The surplus, which a redistribution may use up, stays with the owner. A trove that redemptions have left
    without debt takes over its part of a redistribution, too; here the others take over that part. Source: Liquity v2
    (bold) TroveManager, _getOffsetAndRedistributionVals and _getCollPenaltyAndSurplus; Constants.sol
    (LIQUIDATION_PENALTY_SP_*, LIQUIDATION_PENALTY_REDISTRIBUTION_*, COLL_GAS_COMPENSATION_DIVISOR).
    """
    debt, collateral = accounts.debt, accounts.collateral
    offset, moved = _offset(accounts, debt, stability_pool_usd)
    for_pool = collateral * _share(offset, debt)
    gas = for_pool * gas_compensation
    to_pool = np.minimum(for_pool - gas, offset * (1 + pool_penalty))
    for_others = np.where(moved > 0, collateral - gas - to_pool, 0.0)
    to_others = np.minimum(for_others, moved * (1 + redistribution_penalty))
    return _troves(accounts, offset, moved, gas + to_pool + to_others, to_others)


def _offset(accounts: Vaults, debt: Array, pool_usd: float) -> tuple[Array, Array]:
    """Debt that the pool burns, and debt that other troves take over; neither where the rest has nowhere to go.

    The last trove of all, where none is healthy, cannot be liquidated even by a pool that covers it.
    """
    room, offset, left = pool_usd - accounts.drawn, np.zeros_like(debt), len(debt)
    for place, owed in enumerate(debt):
        part = min(owed, max(room, 0.0))
        if accounts.has_takers[place] or (part == owed and left > 1):
            offset[place], left = part, left - 1
        room -= offset[place]
    return offset, np.where(accounts.has_takers, debt - offset, 0.0)


def _troves(
    accounts: Vaults, offset: Array, moved: Array, collateral_taken: Array, moved_collateral: Array
) -> Absorption:
    of_debt = _share(offset + moved, accounts.debt)
    of_collateral = _share(collateral_taken, accounts.collateral)
    none = np.zeros_like(offset)
    return Absorption(
        taken=accounts.value * np.where(accounts.is_debt, of_debt[accounts.owner], of_collateral[accounts.owner]),
        trades=np.ones(len(accounts.owner), bool),
        bad=none,
        moved_debt=moved,
        moved_collateral=moved_collateral,
        bought=none,
        credit=none,
        drawn=offset,
    )


def crvusd(
    accounts: Vaults,
    bands: float = 10,
    amplification: float = 100,
    liquidation_discount: float = 0.06,
    jump: float = 0.0,
) -> Absorption:
    """Soft liquidation band by band while the price falls through an account's bands, then hard liquidation.

    Modelled: an account's collateral lies in as many bands as it says (its mode, `bands:N`, else `bands`), each
    (1 - 1/A) as high as the one above (A: `amplification`), filled alike; N need not be whole: the lowest band then is
    less high. The leg's weight is such that HF = 1 where the price meets the upper edge of what is not sold yet; what
    an account has sold before is collateral in the asset it owes, of weight 1. Below that edge, the share of a band
    that the price has passed is sold, linearly within a band, at the band's geometric mean price (arbitrage keeps up;
    Curve's own x_down), or, by the share `jump`, at what LLAMMA pays where the oracle jumps there at once,
    p^3 / (p_up * p_down). The stablecoin is set against the debt; beyond it, it is credited. Hard liquidation: once
    (stablecoin + x_down of what is left) * (1 - discount) is below the debt, all that is left is seized and the debt
    repaid as far as that is worth. 1 - discount is 1 / (1 + the leg's bonus), or 1 - `liquidation_discount` where the
    leg gives none. `bands:0` is a loan that the controller lets be liquidated whole, or that is all sold: hard, as soon
    as it is below 1, and at the price as it is. Not modelled: buying back when the price recovers, fees, the oracle's
    moving average, interest. Source: Curve AMM.vy (_p_oracle_up, _p_current_band, get_x_down) and Controller.vy
    (_health, liquidate).
    """
    is_cash = np.zeros(len(accounts.owner), bool) if accounts.is_cash is None else accounts.is_cash
    held = ~accounts.is_debt & ~is_cash
    debt, cash = accounts.debt, accounts.total(accounts.value, is_cash)
    collateral = accounts.total(accounts.value, held)
    first_collateral = accounts.total(accounts.initial, held)
    first_debt = accounts.total(accounts.initial, accounts.is_debt)
    weighted = accounts.initial * accounts.weight
    uncovered = accounts.total(weighted, accounts.is_debt) - accounts.total(weighted, is_cash)
    price = _share(accounts.total(weighted, held), uncovered)[:, None]  # in units of the upper edge of what is unsold
    known = np.full(len(debt), np.nan) if accounts.bands is None else accounts.bands
    height = np.where(np.isnan(known), float(int(bands)), known)[:, None]
    number, ratio = np.arange(np.ceil(height).max(initial=1.0)), 1 - 1 / amplification
    size = np.clip(height - number, 0.0, 1.0)  # of each band: the lowest may be less high, those below it are none
    with np.errstate(divide="ignore", invalid="ignore"):
        top, bottom, mean = ratio**number, ratio ** (number + size), ratio ** (number + size / 2)
        passed = np.where(size > 0, np.clip((top - price) / (top - bottom), 0.0, 1.0), 0.0)
        gone = (1 - _share(collateral, first_collateral))[:, None] * height
        before = np.where(size > 0, np.clip((gone - number) / size, 0.0, 1.0), 0.0)
        pays = (1 - jump) * mean + jump * np.minimum(mean, price**3 / mean**2)
        received, unsold = np.where(price > 0, (pays / price, mean / price), 0.0)  # what is worthless pays nothing
    sold = np.where(passed - before > 1e-12, passed - before, 0.0)  # less is the rounding of what was sold before
    left = 1 - np.maximum(passed, before)
    a_band = first_collateral[:, None] * np.divide(size, height, out=np.zeros_like(size), where=height > 0)
    proceeds = np.nan_to_num(sold * received * a_band).sum(axis=1)
    soft_sold = np.minimum((sold * a_band).sum(axis=1), collateral)
    soft_repaid = np.minimum(debt, proceeds)
    owed, stablecoin = debt - soft_repaid, np.maximum(first_debt - debt, 0.0) + soft_repaid
    bonus = np.zeros_like(debt)
    np.maximum.at(bonus, accounts.owner[held], accounts.bonus[held])
    keep = np.where(bonus > 0, 1 / (1 + bonus), 1 - liquidation_discount)
    protected = (cash + stablecoin + np.nan_to_num(left * unsold * a_band).sum(axis=1)) * keep
    hard = (owed > 0) & ((height[:, 0] == 0) | (protected < owed + stablecoin))
    kept = np.where(hard, 0.0, collateral - soft_sold)
    bad = np.where(hard, np.maximum(owed - (collateral - soft_sold) - cash, 0.0), 0.0)
    closed = np.where(hard, debt, soft_repaid)
    of_debt, of_collateral = _share(closed, debt), 1 - _share(kept, collateral)
    of_held = np.where(is_cash, hard[accounts.owner], of_collateral[accounts.owner])
    none = np.zeros_like(debt)
    return Absorption(
        taken=accounts.value * np.where(accounts.is_debt, of_debt[accounts.owner], of_held),
        trades=~is_cash,
        bad=bad,
        moved_debt=none,
        moved_collateral=none,
        bought=np.maximum(closed - bad - np.where(hard, cash, 0.0), 0.0),
        credit=proceeds - soft_repaid,
        drawn=none,
    )
