"""The rate curve of each Aave v2 reserve, out of the strategy that sets its rates.

DefaultReserveInterestRateStrategy says its parameters. They are tried on its own calculateInterestRates all along the
curve and on what is lent now: one that answers by the same names and charges otherwise is not known. The first release
asks calculateInterestRates for the liquidity (npm @aave/protocol-v2 1.0.1); later ones for what moves, and
read the aToken's balance themselves (aave/protocol-v2, DefaultReserveInterestRateStrategy.sol).

The curve is of variable debt. Stable debt keeps its rates, and suppliers get the average of both.
"""

from collections.abc import Mapping, Sequence

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import BPS, RAY, WAD
from defi_leverage.protocols.aave_v3.reserves import Reserve
from defi_leverage.questions import Question, ask_all, probe

__all__ = ["Curve", "read_curves"]

Curve = tuple[int, int, int, int]
"""Optimal utilisation, base rate, slopes below and above it, in ray: as `aave_v3.reserves.Reserve` has it."""

_PARAMETERS = ("OPTIMAL_UTILIZATION_RATE", "baseVariableBorrowRate", "variableRateSlope1", "variableRateSlope2")
_OF_LIQUIDITY = "calculateInterestRates(address,uint256,uint256,uint256,uint256,uint256)"
_OF_MOVES = "calculateInterestRates(address,address,uint256,uint256,uint256,uint256,uint256,uint256)"
_ROUNDING = 10**9  # ray: each product is rounded, some before they are divided

_State = tuple[int, int, int, int, int]  # liquidity, stable and variable debt, average stable rate in ray, fee in bps
_TRIALS: tuple[_State, ...] = tuple(((20 - lent) * WAD, 0, lent * WAD, 0, 0) for lent in range(21))


async def read_curves(chain: Chain, strategies: Mapping[str, str], reserves: Sequence[Reserve]) -> dict[str, Curve]:
    """The curve of each reserve, by its asset; those whose strategy (by asset) is of another kind are left out."""
    abi = load_abi("aave_v2")
    told = await probe(chain, abi, sorted(set(strategies.values())), _PARAMETERS)
    curves: dict[str, Curve] = {}
    for reserve in reserves:
        optimal, base, below, above = (told[strategies[reserve.asset]][name] for name in _PARAMETERS)
        if None not in (optimal, base, below, above):
            curves[reserve.asset] = optimal, base, below, above
    states = [(reserve, state) for reserve in reserves if reserve.asset in curves for state in _states(reserve)]
    questions: list[Question] = []
    for reserve, (liquidity, *debts) in states:
        moves = (reserve.a_token, liquidity, reserve.cash, *debts)  # what the aToken has leaves, and `liquidity` comes
        for function, arguments in ((_OF_LIQUIDITY, (liquidity, *debts)), (_OF_MOVES, moves)):
            questions.append((strategies[reserve.asset], function, (reserve.asset, *arguments)))
    answers = await ask_all(chain, abi, questions)
    for (reserve, state), of_liquidity, of_moves in zip(states, answers[::2], answers[1::2], strict=True):
        answer = of_liquidity or of_moves
        if reserve.asset in curves and not (answer and _agree(curves[reserve.asset], state, answer)):
            del curves[reserve.asset]
    return curves


def _states(reserve: Reserve) -> tuple[_State, ...]:
    """What the strategy is tried on: the reserve as it is, and every twentieth of the curve."""
    variable = reserve.borrow - reserve.stable_borrow
    return (
        (reserve.cash, reserve.stable_borrow, variable, reserve.stable_rate or 0, reserve.reserve_factor_bps),
        *_TRIALS,
    )


def _agree(curve: Curve, state: _State, answer: tuple[int, ...]) -> bool:
    """Whether the answer's rates of suppliers and of variable debt are those of the curve."""
    optimal, base, below, above = curve
    liquidity, stable, variable, stable_rate, fee = state
    lent = stable + variable
    used = RAY * lent // (liquidity + lent) if lent else 0
    if used > optimal:
        borrow = base + below + above * (used - optimal) // (RAY - optimal)
    else:
        borrow = base + (below * used // optimal if optimal else 0)
    paid = (variable * borrow + stable * stable_rate) // lent if lent else 0
    supply = paid * used * (BPS - fee) // (BPS * RAY)
    return all(abs(ours - theirs) <= _ROUNDING for ours, theirs in ((supply, answer[0]), (borrow, answer[2])))
