"""Systemic leverage clusters: which assets bring each other down by liquidation, and how small a fall sets it off.

There is no standard definition of such a cluster; this one is ours. Around a state (prices after a shock), the gain
K[a, b] is the relative fall of b's market price per unit relative fall of a's, through the accounts whose health factor
crosses 1 in the next band of a's fall, what is seized from them, and price impact. A cluster is a strongly connected
component of K above a threshold. Its branching ratio is the Perron root of its block of K, in which a derived asset
falls only by what it loses against its backing (else one fall of ETH would count again as the fall of all that is made
of it): at 1 or more, a fall sustains itself. Its critical shock is the smallest fall, of one of its assets (the
trigger) or of all of them together, that takes the branching ratio to 1 or bad debt past a bound.

The gain has the form of the propagation matrix of Greenwood, Landier & Thesmar (2015), with liquidation at HF = 1 in
place of leverage targeting.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd

from defi_leverage.contagion.book import Book, Floats, Ints, compile_book
from defi_leverage.contagion.engine import (
    account_health_factors,
    feed_prices,
    impact_factors,
    liquidate,
    market_prices,
    net_sales,
    resolve_shocks,
    run_contagion,
)
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot

__all__ = ["CLUSTER_COLUMNS", "branching_ratio", "find_clusters", "gain_matrix"]

CLUSTER_COLUMNS = (
    "rank",
    "cluster",
    "assets",
    "venues",
    "critical_shock",
    "critical_by",
    "trigger",
    "branching_ratio",
    "peak_branching_ratio",
    "peak_at",
    "amplification",
    "forced_sales_usd",
    "bad_debt_usd",
    "accounts",
    "hhi",
    "top10_share",
    "collateral_usd",
    "debt_usd",
)

Progress = Callable[[int, int], None]


def gain_matrix(
    snapshot: Snapshot,
    shocks: Mapping[str, float] | None = None,
    band: float = 0.01,
    book: Book | None = None,
    *,
    inherited: bool = True,
) -> pd.DataFrame:
    """Gain K (rows: the asset that falls, columns: the asset that follows) at the prices after `shocks`.

    `shocks`: asset (symbol or asset_id) -> relative change of market price, as in a Scenario; `band`: the further fall,
    a fraction, in which accounts are liquidated once. `inherited`: whether a derived asset's fall includes that of its
    backing, as its price does; a branching ratio is taken without. K has no unit. Accounts already below 1 in the state
    do not count. Raises SnapshotError or ScenarioError for shocks that make no sense here.
    """
    _check_share("band", band)
    book = book or compile_book(snapshot)
    shock, _ = resolve_shocks(snapshot, Scenario(shocks=shocks or {}), book)
    gains = _gains(book, shock, np.arange(len(book.price)), band, inherited=inherited)
    index = pd.Index(book.asset_ids, name="asset_id")
    return pd.DataFrame(gains, index=index, columns=index)


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ScenarioError(f"{name} {value} must be a fraction above 0 and below 1")


def _gains(book: Book, shock: Floats, rows: Ints, band: float, *, inherited: bool) -> Floats:
    """Rows of the gain matrix at the state after `shock` (relative change by asset)."""
    no_sales = np.zeros(len(book.price))
    state_price = market_prices(book, shock, no_sales)
    state_feed = feed_prices(book, state_price)
    healthy = account_health_factors(book, book.amount, state_feed) >= 1
    gains = np.zeros((len(book.price), len(book.price)))
    for asset in rows:
        further = shock.copy()
        further[asset] = (1 + shock[asset]) * (1 - band) - 1
        price = market_prices(book, further, no_sales)
        feed = feed_prices(book, price)
        if np.array_equal(feed, state_feed):
            continue  # no oracle follows this asset's market price
        factors = account_health_factors(book, book.amount, feed)
        crossing = np.flatnonzero(healthy & (factors < 1))
        if crossing.size:
            sales = net_sales(book, liquidate(book, book.amount.copy(), feed, factors, crossing), price)
            left = market_prices(book, further, sales) / price if inherited else impact_factors(book, sales)
            gains[asset] = (1 - left) / band
    return np.nan_to_num(gains, neginf=-1 / band)  # purchases that empty a pool: as far as a price may rise


def branching_ratio(gain: Floats) -> float:
    """Perron root (spectral radius) of a gain matrix without inherited falls; prices that rise count as no gain."""
    if not gain.size:
        return 0.0
    return float(np.abs(np.linalg.eigvals(np.maximum(gain, 0.0))).max())


def find_clusters(
    snapshot: Snapshot,
    *,
    threshold: float = 0.05,
    band: float = 0.01,
    largest_fall: float = 0.6,
    reference_fall: float = 0.3,
    bad_debt_share: float = 0.01,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Systemic leverage clusters, ranked by critical shock (smallest first), then by forced sales.

    `threshold`: gains below it do not tie assets together; `band`: width of the finite difference, and step of the
    search; `largest_fall`: how deep states are searched; `bad_debt_share`: the bound on bad debt, as a share of all
    debt, whose passing is critical too. Gains are taken at every band of every asset's own fall, and their largest
    values decide which assets belong together.

    One row a cluster (CLUSTER_COLUMNS): `critical_shock` a fall as a positive fraction, nan if none up to
    `largest_fall`; `critical_by` 'branching ratio' or 'bad debt'; `trigger` the assets that fall; `branching_ratio` at
    today's prices; `peak_branching_ratio` and the fall `peak_at` which it occurs. After a fall of the trigger by
    `reference_fall`: amplification, forced sales (USD of seized collateral), bad debt (USD), accounts liquidated, the
    concentration of forced sales over accounts (HHI, share of the ten largest), and the collateral and debt (USD) that
    the accounts liquidated there have today. Raises ScenarioError for a threshold that is not positive, or a band or
    fall outside (0, 1).
    """
    if not threshold > 0:
        raise ScenarioError(f"threshold {threshold} must be above 0")
    for name, value in (("band", band), ("largest_fall", largest_fall), ("reference_fall", reference_fall)):
        _check_share(name, value)
    if band < 1e-4:
        raise ScenarioError(f"band {band} is below 0.0001; the search takes {largest_fall / band:,.0f} steps an asset")
    book = compile_book(snapshot)
    falls = np.arange(0.0, largest_fall + 1e-6 * band, band)
    assets = _falling_assets(book)
    steps, done = len(assets) * len(falls), 0
    largest = np.zeros((len(book.price), len(book.price)))
    for asset in assets:
        for fall in falls:
            shock = np.zeros(len(book.price))
            shock[asset] = -fall
            gains = _gains(book, shock, np.array([asset]), band, inherited=True)
            largest[asset] = np.maximum(largest[asset], gains[asset])
            done += 1
            if progress is not None:
                progress(done, steps)
    tied = nx.DiGraph([(int(a), int(b)) for a, b in np.argwhere(largest >= threshold)])
    rows = []
    for component in nx.strongly_connected_components(tied):
        members = np.array(sorted(component), np.int64)
        if len(members) > 1 or largest[members[0], members[0]] >= threshold:
            limits = {"band": band, "reference_fall": reference_fall, "bad_debt_share": bad_debt_share}
            rows.append(_describe(snapshot, book, members, falls=falls, **limits))
    table = pd.DataFrame(rows, columns=[name for name in CLUSTER_COLUMNS if name != "rank"])
    table = table.sort_values(
        ["critical_shock", "forced_sales_usd", "cluster"], ascending=[True, False, True], ignore_index=True
    )
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table


def _falling_assets(book: Book) -> Ints:
    """Assets whose fall can lower some health factor: a market feed follows them, or what is derived from them."""
    follows = np.zeros(len(book.price), bool)
    follows[book.feed_asset[book.follows_market]] = True
    for claim in reversed(book.claims):
        if follows[claim.asset]:
            follows[[base for base, *_ in claim.backing]] = True
    return np.flatnonzero(follows)


def _describe(
    snapshot: Snapshot,
    book: Book,
    members: Ints,
    *,
    falls: Floats,
    band: float,
    reference_fall: float,
    bad_debt_share: float,
) -> dict[str, Any]:
    value = book.amount * book.feed_price[book.leg_feed]
    all_debt = float(value[book.is_debt].sum())
    members = members[np.argsort(-_supplied_usd(book)[members], kind="stable")]

    def ratio_at(trigger: Ints, fall: float) -> float:
        shock = np.zeros(len(book.price))
        shock[trigger] = -fall
        return branching_ratio(_gains(book, shock, members, band, inherited=False)[np.ix_(members, members)])

    def cascade(trigger: Ints, fall: float) -> ContagionResult:
        return run_contagion(snapshot, Scenario("cluster", {str(book.asset_ids[a]): -fall for a in trigger}), book)

    def cause(trigger: Ints, fall: float) -> str:
        if ratio_at(trigger, fall) >= 1:
            return "branching ratio"
        return "bad debt" if cascade(trigger, fall).summary()["bad_debt_usd"] > bad_debt_share * all_debt else ""

    critical, critical_by, trigger = float("nan"), "", members
    for candidate in [members[[place]] for place in range(len(members))] + [members] * (len(members) > 1):
        nearer = falls if np.isnan(critical) else falls[falls < critical + band]
        found, by = _first_fall(partial(cause, candidate), nearer)
        if by and not found >= critical:
            critical, critical_by, trigger = found, by, candidate
    ratios = np.array([ratio_at(trigger, float(fall)) for fall in falls])
    peak = int(ratios.argmax())
    result = cascade(trigger, reference_fall)
    forced = result.liquidations
    venues = sorted(set(forced["venue_id"]))
    by_account = forced.groupby("account_id")["seized_usd"].sum().to_numpy(float) if len(forced) else np.zeros(0)
    share = np.sort(by_account / by_account.sum())[::-1] if by_account.sum() > 0 else np.zeros(0)
    touched = np.isin(book.account_ids, forced["account_id"].unique())[book.leg_account]
    names = dict(zip(snapshot.venues["venue_id"], snapshot.venues["name"], strict=True))
    venue_names = [names[venue] or venue for venue in venues]
    return {
        "cluster": f"{_symbols(book, members)} on {', '.join(venue_names) or 'no venue'}",
        "assets": ", ".join(str(book.asset_ids[asset]) for asset in members),
        "venues": ", ".join(venues),
        "critical_shock": critical,
        "critical_by": critical_by,
        "trigger": _symbols(book, trigger),
        "branching_ratio": float(ratios[0]),
        "peak_branching_ratio": float(ratios[peak]),
        "peak_at": float(falls[peak]),
        "amplification": result.amplification,
        "forced_sales_usd": float(forced["seized_usd"].sum()),
        "bad_debt_usd": float(result.summary()["bad_debt_usd"]),
        "accounts": int(by_account.size),
        "hhi": float((share**2).sum()),
        "top10_share": float(share[:10].sum()),
        "collateral_usd": float(value[touched & ~book.is_debt & (book.weight > 0)].sum()),
        "debt_usd": float(value[touched & book.is_debt].sum()),
    }


def _symbols(book: Book, assets: Ints) -> str:
    return " + ".join(str(book.symbols[asset]) for asset in assets)


def _supplied_usd(book: Book) -> Floats:
    legs = ~book.is_debt
    value = (book.amount * book.feed_price[book.leg_feed])[legs]
    return np.bincount(book.leg_asset[legs], weights=value, minlength=len(book.price)).astype(np.float64)


def _first_fall(cause: Callable[[float], str], falls: Floats, tolerance: float = 1e-4) -> tuple[float, str]:
    """The smallest fall with a cause: the first of `falls` that has one, bracketed with its predecessor, bisected."""
    for number, fall in enumerate(falls):
        if found := cause(float(fall)):
            low, high = float(falls[max(number - 1, 0)]), float(fall)
            while high - low > tolerance:
                middle = (low + high) / 2
                if middle_found := cause(middle):
                    high, found = middle, middle_found
                else:
                    low = middle
            return high, found
    return float("nan"), ""
