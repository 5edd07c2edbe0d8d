"""Euler's own arithmetic of an account's liquidity, and whether our legs and prices reproduce it.

Source: Euler Vault Kit, LiquidityUtils.calculateLiquidity and Liquidation.calculateMaxLiquidation. Euler liquidates at
a health of exactly 1, too, at no discount; the engine does below 1.
"""

from fractions import Fraction

from defi_leverage.fixed_point import BPS, WAD, mul_div_down
from defi_leverage.protocols.euler_v2.oracles import Route, route_value
from defi_leverage.protocols.euler_v2.positions import Borrower
from defi_leverage.protocols.euler_v2.vaults import Vault

__all__ = ["NO_DEBT", "health_factor", "mismatch"]

NO_DEBT = 2**256 - 1
_TOLERATED = Fraction(1, 10**9)


def health_factor(collateral: int, liability: int) -> int:
    """Collateral, weighted by its LTVs, over liability in wad, rounded down: 1 - discount (calculateMaxLiquidation)."""
    return mul_div_down(collateral, WAD, liability) if liability else NO_DEBT


def mismatch(
    borrower: Borrower, vault: Vault, places: dict[str, int], unit_places: int, routes: dict[str, Route]
) -> str:
    """Why an account is not reproduced: its legs to the wei, and that prices are the same for all amounts to 1e-9.

    `places`: decimals by token; `routes`: the ways of asset and collaterals to the unit of account.
    """
    weighted = sum(mul_div_down(quote, vault.ltvs[token], BPS) for token, quote in borrower.quotes.items())
    if (weighted, borrower.liability) != borrower.reported:
        return (
            f"not reproduced: collateral {weighted} and liability {borrower.liability}, where the vault has "
            f"{borrower.reported[0]} and {borrower.reported[1]}"
        )
    amounts = [(token, borrower.held[token], quote) for token, quote in borrower.quotes.items()]
    for token, amount, quote in (*amounts, (vault.asset.address, borrower.debt, borrower.liability)):
        raw_price = route_value(routes[token]) * 10**unit_places / 10 ** places[token]
        rounding = 2 + sum(
            2 * route_value(routes[token][at:]) * 10**unit_places / 10 ** places.get(hop.source, 18)
            for at, hop in enumerate(routes[token])
        )
        if abs(raw_price * amount - quote) > quote * _TOLERATED + rounding:
            return f"its oracle quotes {quote} for {amount} of {token}, which is not its price for other amounts"
    return ""
