"""A gTrade position as an account with weighted legs."""

from dataclasses import dataclass
from fractions import Fraction

from defi_leverage.fixed_point import WAD
from defi_leverage.protocols.gains.arithmetic import PRICE, Held, Terms, Trade, assess
from defi_leverage.protocols.gains.trades import name_of
from defi_leverage.reading import AccountReading, LegReading, PerpReading, Side

__all__ = ["Quote", "account_of", "units_of"]


@dataclass(frozen=True, slots=True)
class Quote:
    """The assets of a trade's legs, each with its feed, the collateral's price times 1e8, the pair's times 1e10."""

    index: tuple[str, str]
    collateral: tuple[str, str]
    dollar: tuple[str, str]
    collateral_usd: int
    decimals: int
    price: int


def units_of(trade: Trade, collateral_usd: int, decimals: int) -> int:
    """Size in 1e-18 units of the pair, each worth its price in dollars; `collateral_usd`: price times 1e8."""
    if not trade.open_price:
        return 0
    unit = int(10 ** (18 - decimals))
    return trade.size * collateral_usd * unit * PRICE // (trade.open_price * 10**8)


def account_of(trade: Trade, terms: Terms | str, told: "tuple[Held, int] | str", quote: Quote) -> AccountReading | str:
    """The trade as an account of its own, or why it is set aside.

    Long: units of the pair are collateral of weight 1 - m and their present worth is owed in dollars; short: their
    worth is collateral in dollars and the units are owed at weight 1 + m. Margin is collateral. Profit
    so far less fees due, fee and spread of closing is collateral in the same token, or a debt where it is negative.
    """
    if isinstance(terms, str) or isinstance(told, str):
        return terms if isinstance(terms, str) else str(told)
    held, price_told = told
    unit = 10 ** (18 - quote.decimals)
    state = assess(trade, terms, held, quote.price, price_told, unit, quote.collateral_usd)
    if isinstance(state, str):
        return state
    worth = state.units_wad * quote.price // PRICE
    gain = round(state.profit - held.owed - state.closing)
    own: Side = "collateral" if trade.is_long else "debt"
    weight = WAD - state.ratio_wad if trade.is_long else WAD + state.ratio_wad
    legs = (
        LegReading(own, *quote.index, state.units_wad, weight),
        LegReading("collateral", *quote.collateral, trade.collateral + max(gain, 0), WAD),
        LegReading("debt", *quote.collateral, max(-gain, 0), WAD),
        LegReading("collateral", *quote.dollar, 0 if trade.is_long else worth, WAD),
        LegReading("debt", *quote.dollar, (worth if trade.is_long else 0) + state.due_usd_wad, WAD),
    )
    in_usd = Fraction(unit * quote.collateral_usd, 10**8)
    at = state.liquidation_price
    return AccountReading(
        address=name_of(trade),
        mode="isolated",
        health_factor_raw=None,
        collateral_base_raw=round(state.equity * in_usd),
        debt_base_raw=round(state.requirement * in_usd),
        legs=tuple(leg for leg in legs if leg.amount_raw),
        owner=trade.trader,
        perps=(
            PerpReading(
                asset_id=quote.index[0],
                size_raw=state.units_wad if trade.is_long else -state.units_wad,
                entry_price_usd_wad=trade.open_price * (WAD // PRICE),
                maintenance_ratio_wad=state.ratio_wad,
                accrued_funding_usd_wad=round(held.funding * in_usd),
                accrued_fees_usd_wad=round(held.borrowing * in_usd),
                liquidation_price_usd_wad=None if at is None else int(at * WAD),
            ),
        ),
    )
