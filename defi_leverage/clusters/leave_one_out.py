"""How much of the system's loss vanishes without a cluster."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from defi_leverage.contagion.batches import run_batch
from defi_leverage.contagion.book import Book, Bools, Floats, Ints
from defi_leverage.contagion.engine import with_grown_debt
from defi_leverage.contagion.layout import CompactBook, grow, lay_out
from defi_leverage.contagion.losses import account_losses, leave_alone, shortfall_changes
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.snapshot import Snapshot

__all__ = ["LEAVE_ONE_OUT_COLUMNS", "ReferenceLoss", "leave_one_out", "reference_loss"]

LEAVE_ONE_OUT_COLUMNS = ("loss_usd", "own_loss_usd", "spillover_usd", "leave_one_out_share")
_ROUNDING = 1e-12  # of all debt: less is what two sums of one figure may differ by


class ReferenceLoss(NamedTuple):
    """What a scenario does to the whole book: `loss` of every account's lenders, USD (`losses.account_losses`); which
    accounts it liquidates or leaves with bad debt (`reached`); debt that was bad before it (legs).
    """

    scenario: Scenario
    loss: Floats
    reached: Bools
    already_bad: Ints


def reference_loss(result: ContagionResult) -> ReferenceLoss:
    """What `leave_one_out` needs to know of a reference run."""
    reached = np.zeros(len(result.book.account_ids), bool)
    for done, bad, _ in result.rounds_recorded:
        reached[done.account] = True
        reached[bad["account"].to_numpy(np.int64)] = True
    already_bad = result.bad_before["leg"].to_numpy(np.int64)
    return ReferenceLoss(result.scenario, account_losses(result), reached, already_bad)


def leave_one_out(
    snapshot: Snapshot,
    members: Mapping[str, Sequence[str]],
    references: Sequence[ReferenceLoss],
    book: Book,
    compact: CompactBook | None = None,
) -> pd.DataFrame:
    """How much of the system's loss vanishes without a cluster: one row a cluster, by its key in `members`.

    `members`: account_ids of each cluster; `references`: the reference set, run on the whole book. The loss is that of
    lenders (`losses.account_losses`), summed over all accounts and all scenarios. Each scenario is run again on the
    book in which the cluster's accounts are never liquidated, so that nothing of theirs is sold; those of a cluster as
    one batch. Columns LEAVE_ONE_OUT_COLUMNS, USD: loss_usd of the system; own_loss_usd, of that on the cluster's own
    accounts; spillover_usd, the loss on all other accounts that is not there without the cluster's forced sales (below
    0 where its purchases help others more; 0 where it is below 1e-12 of all debt, which is rounding);
    leave_one_out_share, (own + spillover) / loss: what vanishes if the cluster's accounts are neither there to lose nor
    to sell. nan where the system loses nothing, or no more than such rounding. Liquidation is suppressed rather than
    the accounts removed, because what they supply carries other accounts' loans and stays where it is.
    """
    compact = compact or lay_out(book)
    index = pd.Index(book.account_ids)
    rounding = _ROUNDING * float((book.amount * book.feed_price[book.leg_feed])[book.is_debt].sum())
    rows: dict[str, tuple[float, float, float, float]] = {}
    for name, accounts in members.items():
        inside = index.isin(list(accounts))
        loss = sum(float(run.loss.sum()) for run in references)
        own = sum(float(run.loss[inside].sum()) for run in references)
        active = [run for run in references if run.reached[inside].any()]  # else there is nothing to leave alone
        without = _losses_of_others(snapshot, active, book, compact, inside) if active else 0.0
        spillover = sum(float(run.loss[~inside].sum()) for run in active) - without
        spillover = spillover if abs(spillover) > rounding else 0.0
        rows[name] = (loss, own, spillover, (own + spillover) / loss if loss > rounding else float("nan"))
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(LEAVE_ONE_OUT_COLUMNS))


def _losses_of_others(
    snapshot: Snapshot, references: Sequence[ReferenceLoss], book: Book, compact: CompactBook, inside: Bools
) -> float:
    """`account_losses` where those `inside` are left alone, over all others and all scenarios."""
    others, scenarios = leave_alone(book, inside), [run.scenario for run in references]
    # The kernels look only at accounts whose weighted debt exceeds what they hold, and that of those inside is now 0.
    cascades = run_batch(snapshot, scenarios, others, grow(compact, others), keep_legs=True)
    total = float(cascades.bad_debt_usd.sum())  # those who are never liquidated have none
    for run, (legs, left), price in zip(references, cascades.legs, cascades.price, strict=True):
        grown = with_grown_debt(snapshot, run.scenario, book)
        amount = grown.amount.copy()
        amount[legs] = left
        total += float(shortfall_changes(grown, amount, price, run.already_bad)[~inside].sum())
    return total
