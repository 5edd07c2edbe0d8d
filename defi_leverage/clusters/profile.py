"""What a cluster consists of, and what would be lost without it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from defi_leverage.contagion.book import Book, compile_book
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.losses import account_losses, leave_alone
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.graph.look_through import look_through_leverage
from defi_leverage.health import account_health
from defi_leverage.snapshot import Snapshot

__all__ = [
    "LEAVE_ONE_OUT_COLUMNS",
    "MEMBER_COLUMNS",
    "account_holdings",
    "describe_members",
    "leave_one_out",
    "list_members",
]

MEMBER_COLUMNS = (
    "account_id",
    "venue_id",
    "share",
    "seized_usd",
    "collateral_usd",
    "supplied_usd",
    "debt_usd",
    "equity_usd",
    "look_through_usd",
    "health_factor",
)
LEAVE_ONE_OUT_COLUMNS = ("loss_usd", "own_loss_usd", "spillover_usd", "leave_one_out_share")


def account_holdings(snapshot: Snapshot) -> pd.DataFrame:
    """What every account has today, by account_id, USD at the oracle's prices.

    venue_id, collateral_usd, supplied_usd, debt_usd, equity_usd, health_factor as `account_health` gives them, and
    look_through_usd, the base exposure behind the equity (`look_through_leverage` times equity, nan without a figure).
    """
    table = account_health(snapshot)[["collateral_usd", "supplied_usd", "debt_usd", "equity_usd", "health_factor"]]
    seen = look_through_leverage(snapshot, "account")
    venue = snapshot.accounts["venue_id"].to_numpy(object)
    return table.assign(venue_id=venue, look_through_usd=seen["look_through_leverage"] * seen["equity_usd"])


def list_members(result: ContagionResult, holdings: pd.DataFrame) -> pd.DataFrame:
    """Accounts that a reference run liquidates and that were at 1 or above before it, the largest forced sale first.

    `holdings`: of `account_holdings`. Columns MEMBER_COLUMNS: share of all these accounts' forced sales (USD seized),
    and what they have today. Accounts below 1 before any shock fall in every scenario and belong to no cluster.
    """
    forced = result.liquidations.groupby("account_id")["seized_usd"].sum()
    table = holdings.loc[forced.index]
    table = table.assign(seized_usd=forced.astype(float))[table["health_factor"] >= 1]
    whole = float(table["seized_usd"].sum())
    table["share"] = table["seized_usd"] / whole if whole > 0 else 0.0
    table = table.rename_axis("account_id").reset_index().sort_values("account_id")
    return table.sort_values("seized_usd", ascending=False, kind="stable", ignore_index=True)[list(MEMBER_COLUMNS)]


def describe_members(members: pd.DataFrame) -> dict[str, Any]:
    """One row of plain figures of `list_members`.

    accounts; hhi (sum of squared shares of forced sales), top10_share, top_accounts ('account 12.3 %', the three
    largest); collateral_usd, debt_usd and equity_usd of all; leverage (sum of supplied over sum of equity, both over
    the accounts with positive equity, never a mean of leverages), look_through_leverage (sum of base exposure over sum
    of equity, over those that have a figure), and how many accounts have no positive equity.
    """
    share = members["share"].to_numpy(float)
    solvent = members[members["equity_usd"] > 0]
    equity = float(solvent["equity_usd"].sum())
    seen = solvent[solvent["look_through_usd"].notna()]
    seen_equity = float(seen["equity_usd"].sum())
    top = zip(members["account_id"][:3], share[:3], strict=False)
    return {
        "accounts": len(members),
        "hhi": float((share**2).sum()),
        "top10_share": float(share[:10].sum()),
        "top_accounts": "; ".join(f"{account} {part:.1%}".replace("%", " %") for account, part in top),
        **{name: float(members[name].sum()) for name in ("collateral_usd", "debt_usd", "equity_usd")},
        "leverage": float(solvent["supplied_usd"].sum()) / equity if equity > 0 else float("nan"),
        "look_through_leverage": float(seen["look_through_usd"].sum()) / seen_equity
        if seen_equity > 0
        else float("nan"),
        "negative_equity_accounts": len(members) - len(solvent),
    }


def leave_one_out(
    snapshot: Snapshot,
    members: Mapping[str, Sequence[str]],
    scenarios: Sequence[Scenario],
    book: Book | None = None,
) -> pd.DataFrame:
    """How much of the system's loss vanishes without a cluster: one row a cluster, by its key in `members`.

    `members`: account_ids of each cluster; `scenarios`: the reference set. The loss is that of lenders
    (`losses.account_losses`), summed over all accounts and all scenarios. Each scenario is run twice: on the whole
    book, and on the book in which the cluster's accounts are never liquidated, so that nothing of theirs is sold.
    Columns LEAVE_ONE_OUT_COLUMNS, USD: loss_usd of the system; own_loss_usd, of that on the cluster's own accounts;
    spillover_usd, the loss on all other accounts that is not there without the cluster's forced sales (below 0 where
    its purchases help others more); leave_one_out_share, (own + spillover) / loss: what vanishes if the cluster's
    accounts are neither there to lose nor to sell. nan where the system loses nothing. Liquidation is suppressed
    rather than the accounts removed, because what they supply carries other accounts' loans and stays where it is.
    """
    book = book or compile_book(snapshot)
    runs = [run_contagion(snapshot, scenario, book) for scenario in scenarios]
    whole = [account_losses(run) for run in runs]
    touched = [set(run.liquidations["account_id"]) | set(run.bad_debt["account_id"]) for run in runs]
    rows: dict[str, tuple[float, float, float, float]] = {}
    for name, accounts in members.items():
        inside = np.isin(book.account_ids, list(accounts))
        others = leave_alone(book, inside)
        own, spillover, loss = 0.0, 0.0, 0.0
        for scenario, with_all, liquidated in zip(scenarios, whole, touched, strict=True):
            loss += float(with_all.sum())
            own += float(with_all[inside].sum())
            if not liquidated.isdisjoint(accounts):  # else there is nothing to leave alone
                without = account_losses(run_contagion(snapshot, scenario, others))
                spillover += float((with_all - without)[~inside].sum())
        rows[name] = (loss, own, spillover, (own + spillover) / loss if loss > 0 else float("nan"))
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(LEAVE_ONE_OUT_COLUMNS))
