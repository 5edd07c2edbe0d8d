"""What a cluster consists of: its accounts, and what they have in sum."""

from typing import Any

import pandas as pd

from defi_leverage.contagion.result import ContagionResult
from defi_leverage.graph.look_through import look_through_leverage
from defi_leverage.health import account_health
from defi_leverage.snapshot import Snapshot

__all__ = [
    "MEMBER_COLUMNS",
    "account_holdings",
    "describe_members",
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
