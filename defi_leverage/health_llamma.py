"""Cited formulas of loans in LLAMMA, the soft-liquidating market of crvUSD and LlamaLend: x_down, y_up, health.

Collateral lies in bands of prices, each (A - 1) / A as high as the one above: band n reaches from `band_top(n)` down to
`band_top(n + 1)`. Bands are the last axis of every array of amounts; leading axes (loans) broadcast. Amounts are whole
tokens: x of the stablecoin, y of the collateral; prices are stablecoins a collateral token. Source: Curve
curve-stablecoin, AMM.vy (_p_oracle_up, _get_y0, get_xy_up) and Controller.vy (_health), in floats.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["band_top", "llamma_health", "trade_to_oracle", "x_down", "y_up"]

Array = NDArray[np.float64]


def band_top(band: "Array | int", base_price: float, amplification: float) -> Array:
    """Oracle price at the upper edge of a band: base_price * ((A - 1) / A)^n.

    `base_price` has grown with interest: BASE_PRICE * rate_mul. Source: AMM.vy, _p_oracle_up.
    """
    return np.asarray(base_price * (1 - 1 / amplification) ** np.asarray(band, float))


def trade_to_oracle(
    x: Array, y: Array, top: Array, oracle_price: "Array | float", amplification: float
) -> tuple[Array, Array]:
    """(x, y) of each band once arbitrage has taken its price to the oracle's, without fee.

    All of it is x where the oracle is below the band and y where it is above. (f + x) (g + y) is kept, with
    f = A y0 p^2 / p_up, g = (A - 1) y0 p_up / p, and y0 the root of p A y0^2 = y0 (p_up / p (A - 1) x + p^2 / p_up A y)
    + x y, all at the oracle price p and the band's upper edge p_up. `top`: that edge of each band. Source: AMM.vy,
    _get_y0 and get_xy_up ("trade" in this band to p_oracle).
    """
    x, y, top, price = np.broadcast_arrays(x, y, top, np.asarray(oracle_price, float))
    linear = (top / price) * (amplification - 1) * x + (price**2 / top) * amplification * y
    y0 = (linear + np.sqrt(linear**2 + 4 * amplification * price * x * y)) / (2 * amplification * price)
    some = y0 > 0
    f = np.where(some, amplification * y0 * price**2 / top, 1.0)
    g = np.where(some, (amplification - 1) * y0 * top / price, 1.0)
    kept = (f + x) * (g + y)
    bottom = top * (1 - 1 / amplification)
    y_within = np.maximum(np.sqrt(kept / price) - g, 0.0)
    x_within = np.maximum(kept / (g + y_within) - f, 0.0)
    above, under = price > top, price < bottom
    new_y = np.where(above, np.maximum(kept / f - g, 0.0), np.where(under, 0.0, y_within))
    new_x = np.where(under, np.maximum(kept / g - f, 0.0), np.where(above, 0.0, x_within))
    return np.where(some, new_x, 0.0), np.where(some, new_y, 0.0)


def x_down(x: Array, y: Array, top: Array, oracle_price: "Array | float", amplification: float) -> Array:
    """Stablecoin that a loan would hold once the price had fallen slowly through all its bands, one number a loan.

    What is y after `trade_to_oracle` is sold at the geometric mean price between here and its band's lower edge. For
    collateral alone, above the price: the sum of y * sqrt(p_up * p_down) over bands. Source: AMM.vy, get_x_down.
    """
    new_x, new_y = trade_to_oracle(x, y, top, oracle_price, amplification)
    bottom = top * (1 - 1 / amplification)
    mean = np.sqrt(bottom * np.clip(np.asarray(oracle_price, float), bottom, top))
    return np.asarray((new_x + new_y * mean).sum(axis=-1))


def y_up(x: Array, y: Array, top: Array, oracle_price: "Array | float", amplification: float) -> Array:
    """Collateral that a loan would hold once the price had risen slowly through all its bands. Source: get_y_up."""
    new_x, new_y = trade_to_oracle(x, y, top, oracle_price, amplification)
    bottom = top * (1 - 1 / amplification)
    mean = np.sqrt(top * np.clip(np.asarray(oracle_price, float), bottom, top))
    return np.asarray((new_y + new_x / mean).sum(axis=-1))


def llamma_health(
    debt: "Array | float",
    x_down_: "Array | float",
    liquidation_discount: float,
    collateral_up: "Array | float" = 0.0,
    price_above: "Array | float" = 0.0,
) -> Array:
    """Health of a loan, liquidated below 0: x_down * (1 - liquidation_discount) / debt - 1; inf without debt.

    The `full` variant adds what the price is above the loan's highest band, `price_above` (0 where it is not, or once
    the loan is in soft liquidation), times its collateral `y_up`, over its debt. Source: Controller.vy, _health.
    """
    worth = np.asarray(x_down_, float) * (1 - liquidation_discount) + np.asarray(price_above) * collateral_up
    worth, owed = np.broadcast_arrays(worth, np.asarray(debt, float))
    ratio = np.divide(worth, owed, out=np.full(owed.shape, np.inf), where=owed > 0)
    return np.asarray(ratio - 1)
