"""What measures need beyond a snapshot: figures that no chain tells, given by whoever asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Figures"]


@dataclass(frozen=True, slots=True)
class Figures:
    """Yearly fractions by asset (symbol or asset_id), and what is true of none in particular; nan is not known.

    `volatility`, `expected_return` (arithmetic drift): of the asset's price. `risk_free_rate`: yearly, of Kelly's.
    `target_volatility`: yearly, of equity. `gap`: a fall within one step, in (0, 1).
    `jumps_per_year`, jumps down, and `mean_jump`, their mean log size: both or neither. `horizon_days`: distances to
    liquidation are in volatilities over it. `withdrawal`: the share of what is supplied that leaves every lending
    market, in (0, 1], and `rate_days` for how long the rates that follow last. `history`: how many of the latest scans
    the leverage cycle is calibrated on, 0 for none.
    """

    volatility: Mapping[str, float] = field(default_factory=dict)
    expected_return: Mapping[str, float] = field(default_factory=dict)
    risk_free_rate: float = float("nan")
    target_volatility: float = float("nan")
    gap: float = float("nan")
    jumps_per_year: float = float("nan")
    mean_jump: float = float("nan")
    horizon_days: float = 1.0
    withdrawal: float = 0.2
    rate_days: float = 30.0
    history: int = 30
