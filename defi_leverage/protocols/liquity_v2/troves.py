"""The troves of one branch of Liquity v2, compared with the contract's own arithmetic as far as it can be seen."""

from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import SECONDS_PER_YEAR, WAD
from defi_leverage.protocols import Progress
from defi_leverage.protocols._troves import Trove, collateral_ratio
from defi_leverage.questions import NOBODY, Question, ask_all, ask_list

__all__ = ["interest", "read_troves"]

_PART = 5_000  # troves between two reports of progress


def interest(debt: int, rate: int, since: int, now: int, shutdown: int) -> int:
    """Simple interest on a recorded debt from `since` to `now`, or to the shutdown where there was one (not 0).

    Source: TroveManager._getInterestPeriod and _calcInterest (debt * rate * seconds / year / 1e18, rounded down).
    """
    end = min(now, shutdown) if shutdown else now
    return debt * rate * max(0, end - since) // SECONDS_PER_YEAR // WAD


async def read_troves(
    chain: Chain, manager: str, nft: str, price: int, shutdown: int, progress: Progress
) -> list[Trove]:
    """Every trove of the branch's list that holds or owes anything."""
    abi = load_abi("liquity_v2")
    ids = await ask_list(chain, abi, manager, "getTroveIdsCount", "getTroveFromTroveIdsArray")
    if ids is None or None in ids:
        raise ReaderError(
            f"{manager} does not list its troves. Give the AddressesRegistry of one branch of Liquity v2."
        )
    troves = []
    progress("troves", 0, len(ids))
    for start in range(0, len(ids), _PART):
        part = ids[start : start + _PART]
        questions: list[Question] = [
            (manager, name, (id_,)) for id_ in part for name in ("Troves", "getLatestTroveData")
        ]
        questions += [(manager, "getCurrentICR", (id_, price)) for id_ in part]
        questions += [(nft, "ownerOf", (id_,)) for id_ in part]
        answers = await ask_all(chain, abi, questions)
        size = len(part)
        rows = zip(
            part,
            answers[: 2 * size : 2],
            answers[1 : 2 * size : 2],
            answers[2 * size : 3 * size],
            answers[3 * size :],
            strict=True,
        )
        for id_, recorded, latest, ratio, owner in rows:
            trove = _trove(f"0x{id_:064x}", recorded, latest, ratio, owner, (price, chain.block.timestamp, shutdown))
            if trove.problem or trove.debt or trove.collateral:
                troves.append(trove)
        progress("troves", start + size, len(ids))
    return troves


def _trove(
    name: str,
    recorded: tuple[Any, ...] | None,
    latest: tuple[Any, ...] | None,
    ratio: tuple[Any, ...] | None,
    owner: tuple[Any, ...] | None,
    scene: tuple[int, int, int],
) -> Trove:
    if recorded is None or latest is None or ratio is None or owner is None:
        return Trove(name, "", 0, 0, "it cannot be read")
    price, now, shutdown = scene
    debt, collateral, debt_gain, collateral_gain, accrued, recorded_debt, rate, _, fee, _ = latest[0]
    own_collateral, since, batch = recorded[1], recorded[5], recorded[8]
    expected = collateral_ratio(collateral, debt, price)
    checks = (
        ("debt", debt, recorded_debt + debt_gain + accrued + fee),
        ("collateral", collateral, own_collateral + collateral_gain),
        ("interest", accrued, interest(recorded_debt, rate, since, now, shutdown) if batch == NOBODY else accrued),
        ("ratio", ratio[0], expected),
    )
    wrong = [f"{what} {ours}, where the contract has {theirs}" for what, theirs, ours in checks if ours != theirs]
    return Trove(name, owner[0], collateral, debt, "; ".join(wrong))
