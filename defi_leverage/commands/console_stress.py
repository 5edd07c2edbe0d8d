"""What people see of a stress test: tables of the same plain values that --json prints."""

from typing import Any

from defi_leverage.commands.console import (
    SCENARIOS,
    Column,
    Rows,
    change,
    count,
    price,
    print_table,
    print_text,
    text,
    usd,
    warnings_of,
)

__all__ = ["print_stress"]

_MATRIX_COLUMNS = 7  # of a grid, in a terminal of 80 columns

CURVE: tuple[Column, ...] = (
    ("price", "price_usd", price),
    ("change", "change", change),
    ("accounts", "accounts", count),
    ("collateral", "collateral_usd", usd),
    ("debt", "debt_usd", usd),
)
MEASURES: tuple[Column, ...] = (("measure", "measure", text), ("usd", "usd", usd))
LOSSES: tuple[Column, ...] = (
    ("", "name", text),
    ("accounts", "accounts", count),
    ("repaid", "repaid_usd", usd),
    ("seized", "seized_usd", usd),
    ("bad debt", "bad_debt_usd", usd),
)


def print_stress(found: dict[str, Any], brief: bool = False) -> None:
    """Print what a stress test found: its sets of scenarios, measures, reverse tests and notes, and, unless `brief`,
    its curves and who bears the worst loss.
    """
    sets: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in found["scenarios"]:
        sets.setdefault((row["kind"], row["set"] if row["kind"] != "window" else "of history"), []).append(row)
    for (kind, name), rows in sets.items():
        depths = list(dict.fromkeys(row["depth_multiplier"] for row in rows))
        if kind != "grid":
            print_table(f"{kind.capitalize()} {name}", SCENARIOS, rows)
            continue
        for depth in depths:
            title = f"Grid {name}: bad debt" + (f", depth x{depth:g}" if depth != 1 else "")
            print_table(title, *_matrix([row for row in rows if row["depth_multiplier"] == depth]))
    for row in found["risk"]:
        print_table(
            f"{row['set']}, depth x{row['depth_multiplier']:g}" if row["depth_multiplier"] != 1 else row["set"],
            MEASURES,
            [{"measure": label, "usd": row[key]} for label, key in _measures(row["confidence"])],
            f"{row['not_converged']:,.0f} draws did not converge." if row["not_converged"] else "",
        )
    for asset_id in dict.fromkeys(row["asset_id"] for row in found["curves"] if not brief):
        rows = [row for row in found["curves"] if row["asset_id"] == asset_id]
        print_table(f"Below health factor 1 at prices of {rows[0]['symbol']}, before any sale", CURVE, rows)
    if found["worst"] and not brief:
        for by in dict.fromkeys(row["by"] for row in found["worst"]["losses"]):
            rows = [row for row in found["worst"]["losses"] if row["by"] == by]
            print_table(f"{found['worst']['scenario']}: losses by {by}", LOSSES, rows)
    for row in found["reverse"]:
        along = ", ".join(f"{asset} {change(size)}" for asset, size in row["shocks"].items())
        print_text(f"Smallest shock: {along or 'none'}. {row['note']}.")
    if notes := stress_note(found):
        print_text(notes, style="yellow")
    if not brief:
        print_text("Files: " + ", ".join(found["files"]))


def _matrix(rows: Rows) -> tuple[tuple[Column, ...], Rows]:
    """Columns and rows of a grid's bad debt: a row a change of the first asset, a column one of the second."""
    changes: list[float] = list(dict.fromkeys(row["second_change"] for row in rows))
    if len(changes) > _MATRIX_COLUMNS:
        return SCENARIOS, rows
    cells: dict[float, dict[str, Any]] = {}
    for row in rows:
        line = cells.setdefault(row["change"], {"change": change(row["change"])})
        line[str(row["second_change"])] = row["bad_debt_usd"]
    columns = tuple((change(second), str(second), usd) for second in changes)
    return (("", "change", text), *columns), list(cells.values())


def _measures(confidence: float) -> tuple[tuple[str, str], ...]:
    level = f"{confidence:.4g}"
    return (
        (f"VaR {level} of insolvency", "value_at_risk_usd"),
        (f"LaR {level}: liquidations", "liquidations_at_risk_usd"),
        (f"VaR {level} of bad debt", "bad_debt_var_usd"),
        ("  its 95 % interval, from", "bad_debt_var_low_usd"),
        ("  to", "bad_debt_var_high_usd"),
        (f"expected shortfall {level} of bad debt", "bad_debt_es_usd"),
        ("mean bad debt", "bad_debt_mean_usd"),
        ("worst bad debt", "bad_debt_worst_usd"),
    )


def stress_note(found: dict[str, Any]) -> str:
    """What must be said of a stress test beside its figures."""
    notes = [f"{what}: not run: {why}" for what, why in found["refused"].items()]
    if found["interrupted"]:
        notes.append(f"Interrupted: {found['finished']:,} of {found['requested']:,} scenarios are finished.")
    return "\n".join([*notes, *warnings_of([*found["scenarios"], {"toxic": found["toxic"]}])])
