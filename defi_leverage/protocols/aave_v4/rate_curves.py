"""What a hub of Aave v4 charges for an asset at every usage: the drawn rate, by the asset's interest rate strategy.

Usage is what all spokes have drawn of it over that, what lies in the hub and what is swept away to be reinvested;
deficits do not count. Who draws pays the drawn rate on shares of the debt, and on more shares for the risk of the
collateral: that premium is not in the rate, but suppliers have it.

Source: aave/aave-v4, AssetInterestRateStrategy.sol (calculateInterestRate) and AssetLogic.sol (updateDrawnRate). A
strategy is asked along the whole curve: one that has the data and other rates has no curve here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import BPS, RAY, mul_div_down, ray_div_ceil, ray_mul_ceil
from defi_leverage.questions import ask_each
from defi_leverage.reading import RateCurve

__all__ = ["Loans", "drawn_rate", "kinked_curve", "read_curves"]

_BPS_RAY = RAY // BPS
_PERCENT = (0, 1, 10, 30, 50, 70, 80, 85, 90, 95, 98, 99, 100)
_OTHERS = (
    (RAY, RAY, 0, 2 * RAY),
    (RAY, RAY, 3 * RAY, 0),
    (0, 9 * RAY, RAY, RAY),
)  # with deficits, with swept liquidity

Usage = tuple[int, int, int, int]  # liquidity, drawn, deficit, swept


@dataclass(frozen=True, slots=True)
class Loans:
    """What a hub has lent of an asset, in raw units: `bearing` is debt that bears the drawn rate, drawn or premium, and
    `added` what suppliers own. `fee` in bps.
    """

    strategy: str
    liquidity: int
    drawn: int
    swept: int
    deficit: int
    bearing: int
    added: int
    fee: int

    @property
    def total(self) -> int:
        """What the drawn part is divided by."""
        return self.liquidity + self.drawn + self.swept

    @property
    def premium(self) -> int:
        """In ray, by how much what suppliers earn now exceeds usage times the drawn rate, before the fee."""
        if not self.drawn or not self.added:
            return 0
        return mul_div_down(self.bearing * self.total, RAY, self.drawn * self.added) - RAY


async def read_curves(
    chain: Chain, lent: Mapping[tuple[str, int], Loans], chain_name: str
) -> dict[tuple[str, int], RateCurve]:
    """The curves of these assets, by hub and number there, of which the hub's strategy is known."""
    asked = {
        key: [*_along(), *_OTHERS, (loans.liquidity, loans.drawn, loans.deficit, loans.swept)]
        for key, loans in lent.items()
    }
    questions = {
        (hub, asset): [
            (lent[hub, asset].strategy, "getInterestRateData", (asset,)),
            *((lent[hub, asset].strategy, "calculateInterestRate", (asset, *usage)) for usage in usages),
        ]
        for (hub, asset), usages in asked.items()
    }
    found: dict[tuple[str, int], RateCurve] = {}
    for key, (data, *rates) in (await ask_each(chain, load_abi("aave_v4"), questions)).items():
        curve, loans = kinked_curve(data, asked[key], rates), lent[key]
        if curve is not None:
            found[key] = RateCurve(
                model="kinked",
                parameters_ray={**curve, "fee": loans.fee * _BPS_RAY, "premium": loans.premium},
                supplied_raw=loans.total,
                borrowed_raw=loans.drawn,
                available_raw=loans.liquidity,
                pool=f"{chain_name}:{key[0]}/{key[1]}",
            )
    return found


def _along() -> list[Usage]:
    return [(RAY - used, used, 0, 0) for used in (RAY * percent // 100 for percent in _PERCENT)]


def kinked_curve(
    data: Sequence[int] | None, usages: Sequence[Usage], rates: Sequence[int | None]
) -> Mapping[str, int] | None:
    """The curve's parameters in ray, where a strategy has `data` and its `rates` at these usages."""
    if data is None or not 0 < data[0] < BPS or list(rates) != [drawn_rate(data, *usage) for usage in usages]:
        return None
    return {name: bps * _BPS_RAY for name, bps in zip(("optimal", "base", "slope1", "slope2"), data, strict=True)}


def drawn_rate(data: Sequence[int], liquidity: int, drawn: int, deficit: int, swept: int) -> int:  # noqa: ARG001
    """In ray a year, rounded up at each step; `data` in bps: optimal usage, base rate, growth before it and after."""
    optimal, base, before, after = (bps * _BPS_RAY for bps in data)
    if not drawn:
        return base
    usage = ray_div_ceil(drawn, liquidity + drawn + swept)
    if usage <= optimal:
        return base + ray_div_ceil(ray_mul_ceil(before, usage), optimal)
    return base + before + ray_div_ceil(ray_mul_ceil(after, usage - optimal), RAY - optimal)
