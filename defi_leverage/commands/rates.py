"""Commands on what ends positions: the rate channel of withdrawals, and the scope of liquidations."""
# ruff: noqa: PLC0415 - each command imports what it needs, so that --help answers at once.

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defi_leverage.commands.options import JsonOption, SnapshotArgument, open_snapshot, parse_figures, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.figure import Figure

    from defi_leverage.snapshot import Snapshot

__all__ = ["rates", "scope"]

_LADDER = "-5%:-60%:-5%"
_Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Tables and a figure go here.")]


def rates(
    snapshot: SnapshotArgument,
    withdraw: Annotated[
        list[str], typer.Option("--withdraw", metavar="ASSET=SHARE", help="Of what is supplied, such as USDC=20%.")
    ],
    days: Annotated[float, typer.Option(help="How long the rates then last.")] = 30.0,
    own_yields: Annotated[
        list[str] | None,
        typer.Option("--own-yield", metavar="ASSET=RATE", help="What it earns by itself a year, such as wstETH=3%."),
    ] = None,
    output: _Output = None,
    as_json: JsonOption = False,
) -> None:
    """What borrow rates follow when lenders withdraw, and which loops stop paying or are liquidated by interest."""
    from defi_leverage.analytics.rates import (
        loops_after_withdrawal,
        parse_withdrawals,
        rates_after_withdrawal,
        with_own_yields,
    )
    from defi_leverage.commands import console
    from defi_leverage.plots.rates import plot_rate_curves
    from defi_leverage.summary import plain

    loaded = with_own_yields(open_snapshot(snapshot), parse_figures("--own-yield", own_yields))
    markets = rates_after_withdrawal(loaded, parse_withdrawals(withdraw), days)
    loops = loops_after_withdrawal(loaded, markets, days)
    notices = [*markets.attrs["notices"], *loops.attrs["notices"]]
    counted = {
        "loops": len(loops),
        "without_carry": int(loops[["net_carry_before", "net_carry_after"]].isna().any(axis=1).sum()),
        "turn_negative": int(loops["turns_negative"].sum()),
        "turn_negative_debt_usd": float(loops.loc[loops["turns_negative"], "debt_usd"].sum()),
        "liquidate": int(loops["liquidates"].sum()),
        "liquidate_debt_usd": float(loops.loc[loops["liquidates"], "debt_usd"].sum()),
    }
    hit = loops[loops["turns_negative"] | loops["liquidates"]]
    named = {"markets": _with_venue(loaded, markets), "loops": _with_venue(loaded, hit)}
    if output:
        _write(output, {"rates": markets, "rate_loops": loops}, "rates", partial(plot_rate_curves, markets), loaded)
    found = plain({"days": days, "summary": counted, **named, "notices": notices})
    if print_json(found, as_json):
        return
    market_columns: tuple[console.Column, ...] = (
        ("venue", "venue", console.text),
        ("asset", "symbol", console.text),
        ("withdrawn", "withdrawn", console.factor),
        ("used", "utilisation_before", console.share),
        ("then", "utilisation_after", console.share),
        ("rate", "borrow_rate_before", console.share),
        ("then", "borrow_rate_after", console.share),
        (f"{days:g}-day mean", "borrow_rate_mean", console.share),
    )
    loop_columns: tuple[console.Column, ...] = (
        ("account", "account_id", console.account),
        ("loop", "loop", console.text),
        ("debt", "debt_usd", console.usd),
        ("carry", "net_carry_before", console.share),
        ("then", "net_carry_after", console.share),
        ("days left", "days_before", console.factor),
        ("then", "days_after", console.factor),
    )
    dry = [f"{row['symbol']} on {row['venue']}" for row in found["markets"] if row["exhausted"]]
    limited = [f"Less was available than is wanted, and all of it is withdrawn: {', '.join(dry)}."] if dry else []
    console.print_table("Markets after the withdrawal", market_columns, found["markets"], "\n".join(limited))
    console.print_table("Loops that it ends", loop_columns, found["loops"], "\n".join(notices))
    console.print_text(
        f"Of {counted['loops'] - counted['without_carry']:,} loop accounts in these markets whose carry is known, "
        f"{counted['turn_negative']:,} turn negative "
        f"({console.usd(counted['turn_negative_debt_usd'])} of debt) and {counted['liquidate']:,} fall below a health "
        f"factor of 1 within {days:g} days by interest alone ({console.usd(counted['liquidate_debt_usd'])})."
    )


def scope(
    snapshot: SnapshotArgument,
    shock: Annotated[
        str,
        typer.Option(metavar="ASSET[=CHANGES]", help=f"WETH alone is WETH={_LADDER}; or WETH=-10%,-20%."),
    ],
    output: _Output = None,
    as_json: JsonOption = False,
) -> None:
    """Which accounts and collateral each venue could force closed at each size of a shock, and after its cascade."""
    from defi_leverage.analytics.scope import liquidation_scope
    from defi_leverage.commands import console
    from defi_leverage.plots.rates import plot_scope
    from defi_leverage.stress.notation import parse_axis
    from defi_leverage.stress.scenario_sets import ladder
    from defi_leverage.summary import plain

    loaded = open_snapshot(snapshot)
    axis = parse_axis(shock, _LADDER)
    reached = liquidation_scope(loaded, ladder(axis.assets, axis.changes))
    scenarios = [str(name) for name in reached.converged.index]
    unfinished = [name for name, done in zip(scenarios, reached.converged, strict=True) if not done]
    notices = [f"Did not converge: {', '.join(unfinished)}."] if unfinished else []
    tables = {name: _with_venue(loaded, getattr(reached, name)) for name in ("venues", "assets", "accounts")}
    if output:
        files = {f"scope_{name}": getattr(reached, name) for name in tables}
        _write(output, files, "scope", partial(plot_scope, reached.venues), loaded)
    found = plain({**tables, "notices": notices})
    if print_json(found, as_json):
        return
    stages = [tables["venues"][tables["venues"]["stage"] == stage] for stage in ("shock", "cascade")]
    both = stages[0].merge(stages[1], on=["scenario", "venue_id", "venue"], suffixes=("", "_after"))
    venue_columns: tuple[console.Column, ...] = (
        ("shock", "scenario", console.text),
        ("venue", "venue", console.text),
        ("now", "accounts", console.count),
        ("debt", "debt_usd", console.usd),
        ("share", "share_of_debt", console.share),
        ("then", "accounts_after", console.count),
        ("debt", "debt_usd_after", console.usd),
        ("share", "share_of_debt_after", console.share),
    )
    asset_columns: tuple[console.Column, ...] = (
        ("venue", "venue", console.text),
        ("collateral", "symbol", console.text),
        ("tokens", "amount", console.factor),
        ("value", "collateral_usd", console.usd),
        ("of all there", "share_of_collateral", console.share),
    )
    rows = plain({"rows": both[both["accounts_after"] > 0]})["rows"]
    console.print_table(
        "What venues could force closed: accounts now, then after the cascade", venue_columns, rows, "\n".join(notices)
    )
    largest = max(zip(axis.changes, scenarios, strict=True), key=lambda pair: abs(pair[0]))[1]
    assets = [row for row in found["assets"] if (row["scenario"], row["stage"]) == (largest, "cascade")]
    console.print_table(f"Collateral in scope after the cascade of {largest}", asset_columns, assets)


def _write(
    folder: Path,
    tables: "dict[str, pd.DataFrame]",
    name: str,
    plot: "Callable[[dict[str, str]], Figure]",
    snapshot: "Snapshot",
) -> None:
    """The tables as Parquet and the figure NAME.png."""
    from defi_leverage.plots.style import to_png
    from defi_leverage.store import encode_table, write_whole

    for table_name, table in tables.items():
        write_whole(folder / f"{table_name}.parquet", encode_table(table, "parquet"))
    figure = plot(dict(zip(snapshot.venues["venue_id"], snapshot.venues["name"], strict=True)))
    write_whole(folder / f"{name}.png", to_png(figure))


def _with_venue(snapshot: "Snapshot", table: "pd.DataFrame") -> "pd.DataFrame":
    """The table with the venue's readable name after its identifier."""
    names = dict(zip(snapshot.venues["venue_id"], snapshot.venues["name"], strict=True))
    named: Any = table.copy()
    at = list(table.columns).index("venue_id") + 1
    named.insert(at, "venue", [names.get(venue) or venue for venue in table["venue_id"]])
    return named  # type: ignore[no-any-return]
