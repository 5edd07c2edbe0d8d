"""Which venue's liquidations cost another venue's lenders or owners how much."""

from typing import Any, Literal

import numpy as np
import pandas as pd

from defi_leverage.contagion.book import compile_book
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.losses import leave_alone, venue_losses
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.graph.dependency import node_name
from defi_leverage.snapshot import Snapshot

__all__ = ["EDGE_COLUMNS", "MEASURES", "contagion_edges", "contagion_graph_edges", "contagion_matrix"]

MEASURES = ("lender_loss_usd", "collateral_loss_usd", "seized_usd")
EDGE_COLUMNS = ("source_venue_id", "target_venue_id", "usd", "share_of_target")


def contagion_matrix(
    snapshot: Snapshot,
    scenario: Scenario,
    measure: Literal["lender_loss_usd", "collateral_loss_usd", "seized_usd"] = "lender_loss_usd",
) -> pd.DataFrame:
    """Extra loss of venue v (column) that liquidations at venue u (row) cause in a scenario, USD, by venue_id.

    M[u, v] = loss of v in the scenario - loss of v in the same scenario where nobody at u is liquidated: what u's
    forced sales, its purchases and its bad debt do to v. Below 0 where v is better off for them (u's liquidators buy
    what v's accounts hold). M[u, u] is what u's own liquidations cost u, which is below 0 where they save its lenders
    from a falling price. The entries of a column do not add up to its loss: two venues may only together, or each
    alone, do the damage. Losses, by `measure`:

    - lender_loss_usd: what the venue's lenders lose (`losses.venue_losses`)
    - collateral_loss_usd: fall in the market value of what was supplied at the venue before the shock
    - seized_usd: collateral seized at the venue

    `attrs['loss_usd']`: the loss of every venue with all liquidations, by venue_id. One run for the whole and one for
    each venue that liquidates. Raises ValueError for an unknown measure, and what `run_contagion` raises.
    """
    if measure not in MEASURES:
        raise ValueError(f"unknown measure {measure!r}; use one of {', '.join(MEASURES)}")
    book = compile_book(snapshot)
    result = run_contagion(snapshot, scenario, book)
    whole = _loss_by_venue(result, measure)
    matrix = pd.DataFrame(0.0, index=whole.index.rename("source_venue_id"), columns=whole.index.rename("venue_id"))
    active = set(result.liquidations["venue_id"]) | set(result.bad_debt["venue_id"])
    for number, venue in enumerate(book.venue_ids):
        if venue in active:
            without = leave_alone(book, book.account_venue == number)
            matrix.loc[venue] = whole - _loss_by_venue(run_contagion(snapshot, scenario, without), measure)
    matrix.attrs["loss_usd"] = whole.to_dict()
    return matrix


def contagion_edges(matrix: pd.DataFrame, minimum_usd: float = 1.0) -> pd.DataFrame:
    """The matrix as a long table, EDGE_COLUMNS, the largest effect first; without its diagonal and smaller effects.

    `share_of_target`: of the target's whole loss (nan where that is 0). Raises ValueError for a negative minimum.
    """
    if not minimum_usd >= 0:
        raise ValueError(f"minimum_usd {minimum_usd} must not be negative")
    loss: dict[str, float] = matrix.attrs.get("loss_usd", {})
    rows = []
    for source, row in matrix.to_dict("index").items():
        for target, usd in row.items():
            if source != target and abs(usd) >= minimum_usd:
                whole = float(loss.get(str(target), np.nan))
                rows.append((source, target, float(usd), float(usd) / whole if whole > 0 else float("nan")))
    table = pd.DataFrame(rows, columns=list(EDGE_COLUMNS))
    order = table.assign(size=table["usd"].abs()).sort_values(
        ["size", "source_venue_id", "target_venue_id"], ascending=[False, True, True]
    )
    return table.loc[order.index].reset_index(drop=True)


def contagion_graph_edges(edges: pd.DataFrame) -> list[tuple[str, str, str, dict[str, Any]]]:
    """`contagion_edges` as edges for `graph.build_graph`'s graph: `graph.add_edges_from(contagion_graph_edges(edges))`.

    Venue to venue, kind 'causes', level 'contagion' (so that no sum over market edges counts them), usd, and the share
    of the target's loss where it is known; the key is also the id.
    """
    found = []
    for row in edges.to_dict("records"):
        source, target = node_name("venue", row["source_venue_id"]), node_name("venue", row["target_venue_id"])
        key = f"{source} causes {target}"
        attributes: dict[str, Any] = {"id": key, "kind": "causes", "usd": float(row["usd"]), "level": "contagion"}
        if np.isfinite(row["share_of_target"]):
            attributes["share_of_target"] = float(row["share_of_target"])
        found.append((source, target, key, attributes))
    return found


def _loss_by_venue(result: ContagionResult, measure: str) -> "pd.Series[float]":
    book = result.book
    index = pd.Index(book.venue_ids, name="venue_id")
    if measure == "lender_loss_usd":
        return venue_losses(result)
    if measure == "seized_usd":
        return result.liquidations.groupby("venue_id")["seized_usd"].sum().reindex(index, fill_value=0.0).astype(float)
    fall = (result.price_path[0] - result.price_path[-1])[book.leg_asset]
    venue = book.account_venue[book.leg_account]
    lost = np.bincount(venue, weights=np.where(book.is_debt, 0.0, book.amount * fall), minlength=len(index))
    return pd.Series(lost, index=index)
