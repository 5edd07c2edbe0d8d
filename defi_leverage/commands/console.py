"""What people see: rich tables of the same plain values that --json prints."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

__all__ = ["print_run", "print_scan", "print_table", "print_text", "scenario_note", "usd", "warnings_of"]

Rows = Sequence[dict[str, Any]]
Column = tuple[str, str, Callable[[Any], str]]
"""Header, key of the row, and how its value is written."""

_MISSING = "-"
_CHAIN = re.compile(r"^[a-z0-9-]+:[a-zA-Z0-9-]+:")  # of a CAIP-10 identifier
_ADDRESS = re.compile(r"(0x[0-9a-fA-F]{4})[0-9a-fA-F]{32,60}([0-9a-fA-F]{4})")
_SHOWN_ROWS = 25


def usd(value: float | None) -> str:
    """USD for people: $1.23M, $456, -$7.8K; '-' where it is missing."""
    if value is None:
        return _MISSING
    size, sign = abs(value), "-" if value < 0 else ""
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if size >= limit * 0.99995:
            return f"{sign}${size / limit:,.2f}{unit}"
    return f"{sign if size >= 0.005 else ''}${size:,.2f}" if size < 100 else f"{sign}${size:,.0f}"


def price(value: float | None) -> str:
    """A price in full: $2,345.67, or four digits after the point below 10."""
    return _MISSING if value is None else f"${value:,.4f}" if abs(value) < 10 else f"${value:,.2f}"


def count(value: int | None) -> str:
    """A whole number with thousands separators."""
    return _MISSING if value is None else f"{value:,}"


def share(value: float | None) -> str:
    """A fraction as a percentage."""
    return _MISSING if value is None else f"{value:.1%}"


def change(value: float | None) -> str:
    """A relative change, with its sign."""
    return _MISSING if value is None else f"{value * 100:+.4g} %" if value else "0 %"


def factor(value: float | None) -> str:
    """A ratio such as leverage or a health factor."""
    return _MISSING if value is None else f"{value:,.2f}" if abs(value) < 1e4 else f"{value:,.3g}"


def health(value: float | None) -> str:
    """A health factor, with the digits that tell 0.999 from 1."""
    return "-" if value is None else f"{value:,.4f}"


def digits(value: float | None) -> str:
    """A number of any size, in three digits."""
    return _MISSING if value is None else f"{value:.3g}"


def text(value: Any) -> str:
    """Text as it is; '-' where there is none."""
    return str(value) if value not in (None, "") else _MISSING


def account(value: str | None) -> str:
    """Whose account it is, the address cut short; the venue stands beside it, and --json has the whole."""
    return _MISSING if value is None else _ADDRESS.sub(r"\1…\2", _CHAIN.sub("", value).partition("@")[0])


def yes(value: bool) -> str:
    """A truth value."""
    return "yes" if value else "no"


VENUES: tuple[Column, ...] = (
    ("venue", "venue", text),
    ("block", "block", count),
    ("accounts", "read", count),
    ("failed", "failed", count),
    ("supplied", "supplied_usd", usd),
    ("borrowed", "debt_usd", usd),
)
LOOPS: tuple[Column, ...] = (
    ("loop", "loop", text),
    ("accounts", "accounts", count),
    ("notional", "notional_usd", usd),
    ("equity", "equity_usd", usd),
    ("leverage", "leverage", factor),
    ("lowest HF", "lowest_health_factor", health),
)
SCENARIOS: tuple[Column, ...] = (
    ("scenario", "scenario", text),
    ("rounds", "rounds", count),
    ("accounts", "accounts_liquidated", count),
    ("liquidated", "seized_usd", usd),
    ("bad debt", "bad_debt_usd", usd),
    ("amplification", "amplification", factor),
)
ROUNDS: tuple[Column, ...] = (
    ("round", "round", count),
    ("accounts", "accounts", count),
    ("repaid", "repaid_usd", usd),
    ("seized", "seized_usd", usd),
    ("fee", "protocol_fee_usd", usd),
    ("bad debt", "bad_debt_usd", usd),
)
HAIRCUTS: tuple[Column, ...] = (
    ("supply share", "symbol", text),
    ("venue", "venue_id", text),
    ("haircut", "haircut", share),
)
PRICES: tuple[Column, ...] = (
    ("asset", "symbol", text),
    ("before", "before_usd", price),
    ("shocked", "shocked_usd", price),
    ("final", "final_usd", price),
)
CLUSTERS: tuple[Column, ...] = (
    ("#", "rank", count),
    ("cluster", "cluster", text),
    ("critical fall", "critical_fall", text),
    ("peak", "peak_branching_ratio", factor),
    ("forced sales", "forced_sales_usd", usd),
    ("bad debt", "bad_debt_usd", usd),
)
CLUSTERS_NOTE = (
    "critical fall: the smallest that sustains itself (branching ratio 1) or passes the bound on bad debt; "
    "peak: the largest branching ratio; forced sales and bad debt: after the reference fall, 30 % unless configured."
)
EDGES: tuple[Column, ...] = (
    ("edges", "kind", text),
    ("level", "level", text),
    ("number", "number", count),
    ("usd", "usd", usd),
)
STRUCTURAL_LOOPS: tuple[Column, ...] = (
    ("loop", "loop", text),
    ("venues", "venues", count),
    ("can flow round", "usd", usd),
    ("a turn", "loan_to_value", share),
    ("limit", "limit_leverage", factor),
    ("claims / base", "multiplier", factor),
    ("run whole by", "owners", count),
)
LOOP_ACCOUNTS: tuple[Column, ...] = (
    ("account", "account_id", account),
    ("loop", "loop", text),
    ("equity", "equity_usd", usd),
    ("leverage", "leverage", factor),
    ("axis", "axis", text),
    ("to HF 1", "move_to_liquidation", change),
    ("net carry", "net_carry", change),
    ("days left", "days_to_liquidation", factor),
)
LOOK_THROUGH: tuple[Column, ...] = (
    ("", "name", text),
    ("base", "base_usd", usd),
    ("claims", "claims_usd", usd),
    ("debt", "debt_usd", usd),
    ("equity", "equity_usd", usd),
    ("direct", "direct_leverage", factor),
    ("looked through", "look_through_leverage", factor),
)
FINANCED: tuple[Column, ...] = (
    ("venue", "venue", text),
    ("collateral", "asset", text),
    ("value", "collateral_usd", usd),
    ("borrowed", "financed_usd", usd),
    ("share", "financed_share", share),
    ("of it here", "financed_here_usd", usd),
    ("owners", "owners", count),
)
FLOWS: tuple[Column, ...] = (
    ("borrowed at", "source_venue", text),
    ("asset", "source_asset", text),
    ("collateral at", "venue", text),
    ("as", "asset", text),
    ("usd", "usd", usd),
    ("owners", "owners", count),
)
EFFECTS: tuple[Column, ...] = (
    ("liquidations at", "source", text),
    ("cost", "target", text),
    ("usd", "usd", usd),
    ("of its loss", "share_of_target", share),
)
CHANGES: tuple[Column, ...] = (
    ("", "name", text),
    ("change", "change", text),
    ("before", "usd_before", usd),
    ("after", "usd_after", usd),
    ("growth", "growth", share),
)
BANDS: tuple[Column, ...] = (("from", "from", text), ("to", "to", text), ("accounts", "accounts", count))
CROSSINGS: tuple[Column, ...] = (
    ("account", "account_id", account),
    ("crossed", "crossed", text),
    ("from", "band_before", text),
    ("to", "band_after", text),
    ("debt", "debt_usd_after", usd),
    ("health factor", "health_factor_after", health),
)
MEASURES: dict[str, tuple[str, tuple[Column, ...]]] = {
    "venues": (
        "Leverage of venues, of accounts with positive equity",
        (
            ("venue", "venue", text),
            ("owe", "levered_accounts", count),
            ("exposure", "exposure_usd", usd),
            ("equity", "equity_usd", usd),
            ("leverage", "leverage", factor),
            ("most", "maximum_leverage", factor),
            ("room", "headroom", share),
            ("no equity", "negative_equity_accounts", count),
        ),
    ),
    "markets": (
        "Perp markets",
        (
            ("venue", "venue", text),
            ("market", "symbol", text),
            ("long", "open_interest_long_usd", usd),
            ("short", "open_interest_short_usd", usd),
            ("skew", "imbalance", share),
            ("funding", "funding_rate", share),
            ("margin", "margin_ratio", share),
            ("leverage", "leverage", factor),
            ("read", "read_share", share),
        ),
    ),
    "positions": (
        "Leverage of accounts",
        (
            ("account", "account_id", account),
            ("venue", "venue", text),
            ("exposure", "exposure_usd", usd),
            ("equity", "equity_usd", usd),
            ("leverage", "leverage", factor),
            ("at most", "maximum_leverage", factor),
            ("headroom", "headroom", share),
        ),
    ),
    "prices": (
        "Liquidation prices, one asset moving alone",
        (
            ("account", "account_id", account),
            ("venue", "venue", text),
            ("asset", "symbol", text),
            ("move", "move_to_liquidation", share),
            ("price", "liquidation_price_usd", price),
            ("volatilities", "distance", factor),
        ),
    ),
    "concentration": (
        "Concentration among owners",
        (
            ("side", "side", text),
            ("venue", "venue", text),
            ("asset", "symbol", text),
            ("owners", "owners", count),
            ("value", "usd", usd),
            ("HHI", "hhi", health),
            ("Gini", "gini", factor),
            ("top 10", "top10_share", share),
        ),
    ),
    "dependency": (
        "Dependency on borrowers and suppliers",
        (
            ("venue", "venue", text),
            ("asset", "symbol", text),
            ("borrowed", "borrowed_usd", usd),
            ("of liquidity", "borrowed_share", share),
            ("top supplier", "largest_supplier_share", share),
            ("top borrower", "largest_borrower_share", share),
        ),
    ),
    "decay": (
        "Carry and decay of leverage, a year, of equity; half-life in years",
        (
            ("account", "account_id", account),
            ("venue", "venue", text),
            ("leverage", "leverage", factor),
            ("carry", "net_carry", share),
            ("drag", "rebalancing_drag", share),
            ("decay", "decay", share),
            ("half-life", "half_life_years", factor),
        ),
    ),
    "references": (
        "Leverage of clusters against references",
        (
            ("cluster", "cluster", text),
            ("leverage", "leverage", factor),
            ("x Kelly", "times_kelly", factor),
            ("x target", "times_target", factor),
            ("x 1/gap", "times_gap", factor),
            ("gap risk", "gap_probability", share),
        ),
    ),
}
LEVERAGE_HISTORY: tuple[Column, ...] = (
    ("time", "time", text),
    ("leverage", "leverage", factor),
    ("return", "price_return", change),
    ("volatility", "volatility", share),
)
LEVERAGE_CYCLE: tuple[Column, ...] = (
    ("alpha", "alpha", digits),
    ("b", "b", factor),
    ("R²", "r_squared", factor),
    ("scans", "points", count),
    ("leverage", "actual_leverage", factor),
    ("critical", "critical_leverage", factor),
    ("headroom", "headroom", share),
)
QUANTILES: tuple[Column, ...] = (
    ("", "name", text),
    *((f"{name[1:]} %", name, factor) for name in ("p10", "p25", "p50", "p75", "p90", "p99")),
)


def print_table(title: str, columns: Sequence[Column], rows: Rows, note: str = "") -> None:
    """Print the first rows on stdout, numbers to the right; a note below where there is one."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD)
    names = next((key for _, key, write in columns if write in (text, account)), "")
    for header, key, write in columns:
        number = write not in (text, account, yes)
        # What a row is about keeps room where the terminal is narrow, and no word is broken that fits.
        whole = [write(row.get(key)) for row in rows[:_SHOWN_ROWS]] if not number else []
        longest = max((len(part) for cell in whole for part in ([cell] if key == names else cell.split())), default=0)
        room = min(17, longest) or None
        table.add_column(header, justify="right" if number else "left", no_wrap=number, overflow="fold", min_width=room)
    for row in rows[:_SHOWN_ROWS]:
        table.add_row(*(Text(write(row.get(key))) for _, key, write in columns))
    console = Console()
    console.print()
    console.print(f"[bold]{escape(title)}[/bold]" + ("" if rows else ": none"), highlight=False)
    if rows:
        console.print(table)
    if len(rows) > _SHOWN_ROWS:
        console.print(f"... and {len(rows) - _SHOWN_ROWS:,} more; --json lists all")
    if note:
        console.print(Text(note, style="yellow"))


def print_text(line: str, whole: bool = False, style: str = "") -> None:
    """Print one paragraph on stdout; a `whole` one is not broken into lines, so that a path can be copied."""
    Console().print(Text(line, style=style), soft_wrap=whole)


def print_scan(found: dict[str, Any]) -> None:
    """Print what `describe_scan` found."""
    missing = [f"{row['venue']}: {row['why']}" for row in found["venues"] if row["why"]]
    rows = [row | {"block": row["block"] or None} for row in found["venues"]]
    print_table("Venues", VENUES, rows, "\n".join([*window_notes(rows), *missing]))
    leverage = found["leverage"]
    rows = [{"name": name.replace("_", " "), **leverage[name]} for name in ("leverage", "health_factor")]
    print_table("Borrowers with positive equity, quantiles", QUANTILES, rows)
    print_text(
        f"{leverage['accounts']:,} accounts, {leverage['borrowers']:,} with debt, aggregate leverage "
        f"{factor(leverage['aggregate_leverage'])}. Below health factor 1: {leverage['liquidatable_accounts']:,}. "
        f"Negative equity: {leverage['negative_equity_accounts']:,} ({usd(leverage['negative_equity_usd'])})."
    )
    print_text(f"Snapshot: {found['snapshot']}", whole=True)


def window_notes(venues: Rows) -> list[str]:
    """When venues that are at no block were read, and how far that is from the chains' blocks."""
    notes = []
    for row in venues:
        if row["window_start"]:
            skew, when = row["skew_seconds"], f"from {row['window_start']} to {row['window_end']}"
            apart = "" if skew is None else f", up to {skew:,.0f} s away from the chains' block"
            notes.append(f"{row['venue']}: not pinned to a block; read {when}{apart}.")
    return notes


def print_run(found: dict[str, Any]) -> None:
    """Print what `summarize` found."""
    print_scan(found)
    if found["loops"] is not None:
        print_table("Loops", LOOPS, found["loops"])
    print_table("Scenarios", SCENARIOS, found["scenarios"], scenario_note(found["scenarios"]))
    if found["clusters"] is not None:
        print_clusters(found["clusters"])


def print_clusters(clusters: Rows) -> None:
    """Print clusters, the trigger with its critical fall."""
    rows = [
        row | {"critical_fall": f"{row['trigger']} {share(row['critical_shock'])}" if row["critical_by"] else "none"}
        for row in clusters
    ]
    print_table("Systemic leverage clusters", CLUSTERS, rows, CLUSTERS_NOTE)


def scenario_note(scenarios: Rows) -> str:
    """What must be said of scenarios beside their figures."""
    notes = [f"{row['scenario']}: not run: {row['error']}" for row in scenarios if row.get("error")]
    before = max((row.get("liquidatable_before") or 0 for row in scenarios), default=0)
    if before:
        notes.append(f"{before:,} accounts are below 1 before any shock; every scenario liquidates them too.")
    return "\n".join([*notes, *warnings_of(scenarios)])


def warnings_of(scenarios: Rows) -> list[str]:
    """One line for each kind of warning that runs carry, with the names of what it is about."""
    notes = []
    unfinished = [row for row in scenarios if row.get("converged") is False]
    if unfinished:
        worst = max(row.get("residual") or 0.0 for row in unfinished)
        moving = f"; prices still moved by up to {worst:.2%} in the last round" if worst else ""
        notes.append(f"Did not converge{moving}: {_some(row['scenario'] for row in unfinished)}.")
    for key, what in (
        ("exhausted", "Stopped where liquidators would have to buy more than the pool holds of {}"),
        ("missing_depth", "No market depth is configured for {}: their prices could not react"),
        ("beyond_range", "More was traded than the market's depth is known for, its rule is carried on: {}"),
        ("toxic", "By these terms a liquidation lowers the account's health (toxic): {}"),
    ):
        names = sorted({name for row in scenarios for name in _names(row.get(key))})
        if names:
            notes.append(what.format(_some(names)) + ".")
    return notes


def _names(value: Any) -> list[str]:
    """The names in a list, or in one text that commas divide."""
    return [name for name in value.split(", ") if name] if isinstance(value, str) else list(value or [])


def _some(names: Iterable[str], most: int = 6) -> str:
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most:,} more" if len(every) > most else "")
