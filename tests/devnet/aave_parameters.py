"""Risk and rate parameters of the devnet's Aave markets, after those of Aave v3 on Ethereum."""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOL_FEE = 1_000  # share of the liquidation bonus, in basis points
STABLE_RATE_RESERVE = "DAI"  # only in 3.0


@dataclass(frozen=True, slots=True)
class Reserve:
    """Limits in basis points (the bonus with 100 % included), caps in whole tokens."""

    symbol: str
    ltv: int
    threshold: int
    bonus: int
    reserve_factor: int
    rates: tuple[float, float, float, float]
    """Optimal usage, base rate, first and second slope of the variable rate."""
    supply_cap: int
    borrow_cap: int
    is_borrowable: bool = True


@dataclass(frozen=True, slots=True)
class Category:
    """An e-mode category; ``has_price_source`` only where a release knows such sources."""

    identifier: int
    label: str
    ltv: int
    threshold: int
    bonus: int
    assets: tuple[str, ...]
    has_price_source: bool = False


RESERVES = (
    Reserve("WETH", 8050, 8300, 10500, 1500, (0.90, 0.0, 0.027, 0.80), 2_000_000, 1_800_000),
    Reserve("wstETH", 7850, 8100, 10600, 500, (0.80, 0.0025, 0.045, 0.80), 1_200_000, 100_000),
    Reserve("WBTC", 7300, 7800, 10500, 2000, (0.45, 0.0025, 0.04, 3.0), 43_000, 28_000),
    Reserve("USDC", 7500, 7800, 10450, 1000, (0.92, 0.0, 0.055, 0.40), 3_000_000_000, 2_700_000_000),
    Reserve("DAI", 6300, 7700, 10500, 2500, (0.92, 0.0, 0.05, 0.35), 338_000_000, 271_000_000),
)

ETH_CORRELATED = Category(1, "ETH correlated", 9300, 9500, 10100, ("WETH", "wstETH"))
STABLECOINS = Category(2, "Stablecoins", 9000, 9300, 10150, ("USDC", "DAI"))
BTC = Category(3, "BTC", 8500, 8800, 10300, ("WBTC",), has_price_source=True)
CATEGORIES = (ETH_CORRELATED, STABLECOINS, BTC)


def reserve(symbol: str) -> Reserve:
    """Parameters of one reserve."""
    return next(found for found in RESERVES if found.symbol == symbol)


def category(identifier: int) -> Category | None:
    """An e-mode category, or None for 0."""
    return next((found for found in CATEGORIES if found.identifier == identifier), None)
