"""Liquidation rules of perpetual futures: maintenance margin, fee, insurance fund, auto-deleveraging.

A position leg is one whose weight is not 1: a long is collateral of weight 1 - m, a short is debt of weight 1 + m, m
being the maintenance margin ratio. Legs of weight 1 are margin, and what a position owes or is owed at entry. With
`haircut_margin`, collateral of less weight is margin too where it has a liquidation bonus, which positions have not.
"""

import numpy as np
from numpy.typing import NDArray

from defi_leverage.contagion.absorb_rules import Absorption, Vaults, draw

__all__ = ["auto_deleverage", "perp_full", "perp_partial"]

Array = NDArray[np.float64]


def auto_deleverage(loss: float, equity: Array, pro_rata: float = 1.0) -> Array:
    """What each winner loses of its equity (USD, in the order of the queue) to a loss that nothing else covers.

    By queue (`pro_rata` 0) the first gives all it has before the second gives anything; pro rata (1) all give the same
    share; in between, that share of the loss is levied pro rata and the rest by queue. Nobody loses more than its
    equity. Source: Chitra, Autodeleveraging: Impossibilities and Optimization, arXiv 2512.01112 (2025).
    """
    equity = np.maximum(equity, 0.0)
    total = float(equity.sum())
    if total <= 0 or loss <= 0:
        return np.zeros_like(equity)
    loss = min(loss, total)
    evenly = equity * (pro_rata * loss / total)
    queue = equity - evenly
    reached = np.cumsum(queue) - queue
    return evenly + np.clip((1 - pro_rata) * loss - reached, 0.0, queue)


def perp_full(
    accounts: Vaults,
    liquidation_fee: float = 0.0,
    insurance_fund_usd: float = 0.0,
    pro_rata: float = 1.0,
    deleverage: float = 1.0,
    haircut_margin: float = 0.0,
) -> Absorption:
    """The whole account is closed at the mark price; what is left after the fee is paid out to the owner.

    Longs are sold and shorts bought back in the market. The fee (a share of the notional, at most the equity) goes to
    the insurance fund, which pays where equity is negative, accounts by account_id; what it cannot pay is levied on the
    equity of accounts with the opposite position (`auto_deleverage`; `pro_rata` 0 is by queue, most leveraged first;
    nobody where `deleverage` is 0), out of all their collateral in proportion: margin and, of a long, the position
    shrink, a short stays; the rest is bad debt. Source: Hyperliquid documentation, Liquidations and
    Auto-deleveraging (closed when equity falls below the maintenance margin; opposite side ranked by profit and
    leverage, of which legs tell the leverage only). The fee and the fund ahead of deleveraging are common practice of
    such venues, not one venue's rule. A fee of 1 takes all margin that is left: Synthetix PerpsV2.
    """
    levy, positions = pro_rata if deleverage else None, _positions(accounts, haircut_margin)
    return _close(accounts, positions, np.ones(len(accounts.has_takers)), liquidation_fee, insurance_fund_usd, levy)


def perp_partial(
    accounts: Vaults,
    close_fraction: float = 0.2,
    partial_above_usd: float = 1e5,
    liquidation_fee: float = 0.0,
    insurance_fund_usd: float = 0.0,
    pro_rata: float = 1.0,
    deleverage: float = 1.0,
    whole_below: float = 0.0,
    fund_share: float = 1.0,
    fee_is_owed: float = 0.0,
    haircut_margin: float = 0.0,
) -> Absorption:
    """Positions of more than 100,000 USD of notional are closed by a fifth a round; all else as `perp_full`.

    What the part closed gains or loses goes to the margin, so that the rest has more of it; an account whose equity or
    margin cannot pay for that is closed whole. Source: Hyperliquid documentation, Liquidations (20 % first for
    positions above 100k USDC).

    Where `whole_below` is set, an account with less than that share of its maintenance margin is closed whole, and one
    with more of it in part, though its margin cannot pay. The fund gets `fund_share` of the fee, the liquidator the
    rest; with `fee_is_owed` the fee is due in full: what equity does not pay of it is a loss of the venue, and of an
    account below zero the fund gets nothing. Source: Perpetual Protocol v2 AccountBalance.getLiquidatablePositionSize
    and ClearingHouse._liquidate, with 0.5, above 100 USD, 0.5, 0.5 and 1.
    """
    position, notional = positions = _positions(accounts, haircut_margin)
    # Of an account that was levied of all its equity, rounding leaves some, which pays for nothing.
    large = (notional > partial_above_usd) & (accounts.collateral > accounts.debt * (1 + 1e-12))
    if whole_below:
        signed = np.where(accounts.is_debt, -1.0, 1.0) * accounts.value
        requirement = accounts.total(accounts.value * np.abs(1 - accounts.weight), position)
        missing = -accounts.total(signed * accounts.weight, np.ones_like(position))  # to a health factor of 1
        large = (notional > partial_above_usd) & (requirement - missing >= whole_below * requirement)
    fraction = np.where(large, close_fraction, 1.0)
    levy = pro_rata if deleverage else None
    return _close(accounts, positions, fraction, liquidation_fee, insurance_fund_usd, levy, fund_share, fee_is_owed)


def _positions(accounts: Vaults, haircut_margin: float) -> tuple[NDArray[np.bool_], Array]:
    """Position legs, and the notional of every account."""
    legs = np.where(accounts.is_debt, accounts.weight > 1, accounts.weight < 1)
    if haircut_margin:
        legs &= accounts.is_debt | (accounts.bonus <= 0)
    return legs, accounts.total(accounts.value, legs)


def _close(
    accounts: Vaults,
    positions: tuple[NDArray[np.bool_], Array],
    fraction: Array,
    liquidation_fee: float,
    insurance_fund_usd: float,
    pro_rata: float | None,
    fund_share: float = 1.0,
    fee_is_owed: float = 0.0,
) -> Absorption:
    position, notional = positions
    equity = accounts.collateral - accounts.debt
    margin = accounts.total(accounts.value, ~position & ~accounts.is_debt)
    owed = accounts.total(accounts.value, ~position & accounts.is_debt)
    closed = accounts.value * np.where(position, fraction[accounts.owner], 0.0)
    fee = np.clip(equity, 0.0, liquidation_fee * fraction * notional)
    cash = accounts.total(closed, ~accounts.is_debt) - accounts.total(closed, accounts.is_debt) - fee
    whole = (fraction >= 1) | (cash + margin < 0)
    fee = np.where(whole, np.clip(equity, 0.0, liquidation_fee * notional), fee)
    to_debt = np.divide(np.clip(cash, 0.0, owed), owed, out=np.zeros_like(owed), where=owed > 0)
    of_margin = np.divide(np.clip(-cash, 0.0, margin), margin, out=np.zeros_like(margin), where=margin > 0)
    settled = np.where(accounts.is_debt, to_debt[accounts.owner], of_margin[accounts.owner])
    taken = np.where(position, closed, accounts.value * settled)
    taken = np.where(whole[accounts.owner], accounts.value, taken)
    due = liquidation_fee * np.where(whole, 1.0, fraction) * notional if fee_is_owed else fee
    loss = np.where(whole, np.maximum(-equity, 0.0), 0.0) + due - fee
    needed = loss - fund_share * np.where(fee_is_owed * equity < 0, 0.0, due)
    drawn = draw(needed, insurance_fund_usd - accounts.drawn)
    none = np.zeros_like(equity)
    return Absorption(
        taken=taken,
        trades=position,
        bad=np.maximum(needed - drawn, 0.0),
        moved_debt=none,
        moved_collateral=none,
        bought=accounts.total(taken, accounts.is_debt),
        credit=np.where(whole, np.maximum(equity - fee, 0.0), np.maximum(cash - owed, 0.0)),
        drawn=drawn,
        pro_rata=pro_rata,
    )
