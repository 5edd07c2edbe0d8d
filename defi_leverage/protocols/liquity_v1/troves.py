"""The troves of Liquity v1, with what redistributions have added, compared with the contract's own figures."""

from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import Progress
from defi_leverage.protocols._troves import Trove, collateral_ratio
from defi_leverage.questions import Question, ask_all, ask_list

__all__ = ["pending", "read_troves"]

_ACTIVE = 1  # TroveManager.Status
_PART = 5_000  # troves between two reports of progress


def pending(stake: int, now: int, then: int) -> int:
    """What a stake has gained of a redistribution sum since its snapshot (TroveManager.getPendingETHReward)."""
    return stake * (now - then) // WAD


async def read_troves(
    chain: Chain, manager: str, sum_eth: int, sum_debt: int, price: int, progress: Progress
) -> tuple[list[Trove], int]:
    """Every trove of the list of owners, and how many that list has. `sum_eth`, `sum_debt`: L_ETH and L_LUSDDebt."""
    abi = load_abi("liquity_v1")
    owners = await ask_list(chain, abi, manager, "getTroveOwnersCount", "getTroveFromTroveOwnersArray")
    if owners is None:
        raise ReaderError(f"{manager} does not list its troves. Give the address of Liquity v1's TroveManager.")
    known = [owner for owner in owners if owner is not None]
    functions = ("Troves", "rewardSnapshots", "getEntireDebtAndColl")
    troves = [
        Trove(f"trove {at}", "", 0, 0, "the list of owners does not say whose it is")
        for at, owner in enumerate(owners)
        if owner is None
    ]
    progress("troves", 0, len(known))
    for start in range(0, len(known), _PART):
        part = known[start : start + _PART]
        questions: list[Question] = [(manager, name, (owner,)) for owner in part for name in functions]
        questions += [(manager, "getCurrentICR", (owner, price)) for owner in part]
        answers = await ask_all(chain, abi, questions)
        ratios = answers[len(functions) * len(part) :]
        for place, (owner, ratio) in enumerate(zip(part, ratios, strict=True)):
            found = answers[len(functions) * place : len(functions) * (place + 1)]
            troves.append(_trove(owner, [*found, ratio], sum_eth, sum_debt, price))
        progress("troves", start + len(part), len(known))
    return troves, len(owners)


def _trove(owner: str, answers: list[tuple[Any, ...] | None], sum_eth: int, sum_debt: int, price: int) -> Trove:
    recorded, snapshot, entire, ratio = answers
    if recorded is None or snapshot is None or entire is None or ratio is None:
        return Trove(owner, "", 0, 0, "it cannot be read")
    debt, collateral, stake, status, _ = recorded
    if status == _ACTIVE:
        collateral += pending(stake, sum_eth, snapshot[0])
        debt += pending(stake, sum_debt, snapshot[1])
    problem = ""
    if (debt, collateral) != entire[:2]:
        problem = f"debt {debt} and collateral {collateral}, where the contract has {entire[0]} and {entire[1]}"
    elif collateral_ratio(collateral, debt, price) != ratio[0]:
        problem = f"ratio {collateral_ratio(collateral, debt, price)}, where the contract has {ratio[0]}"
    return Trove(owner, "", collateral, debt, problem)
