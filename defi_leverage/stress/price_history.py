"""Price histories: a user's table of prices put on one clock, and the joint returns of a window of it.

Prices are USD a whole token, times UTC. Nothing is interpolated: a price that is missing or too old stays missing, and
what needs it is refused by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from defi_leverage.errors import ScenarioError

__all__ = ["HISTORICAL_WINDOWS", "Span", "Window", "align_prices", "log_returns", "window_returns", "worst_windows"]

Span = tuple[str | pd.Timestamp, str | pd.Timestamp]


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, both ends included (ISO 8601, UTC), and where its dates come from."""

    start: str
    end: str
    source: str


HISTORICAL_WINDOWS: Mapping[str, Window] = {
    "19 May 2021": Window(
        "2021-05-19T00:00Z",
        "2021-05-20T00:00Z",
        "The Straits Times, 26 May 2021, 'Making sense of the bitcoin crash': the fall of 18 to 19 May",
    ),
    "UST May 2022": Window(
        "2022-05-07T00:00Z",
        "2022-05-14T00:00Z",
        "DefiLlama wiki, 'LUNA Collapse in May 2022': first depeg on 7 May, all lost within the week",
    ),
    "stETH June 2022": Window(
        "2022-06-09T00:00Z",
        "2022-06-16T00:00Z",
        "Nansen, report on the stETH/ETH de-peg, 29 June 2022; i2 Intelligence, 'stETH depeg': selling from Thursday "
        "9 June, Celsius stopped withdrawals on 12 June",
    ),
    "5 Aug 2024": Window(
        "2024-08-04T00:00Z",
        "2024-08-06T00:00Z",
        "RockawayX, 'Crypto Market Sell-off: A Deeper Look into August 5th's Decline', August 2024",
    ),
}

_COLUMNS = {
    "timestamp": ("timestamp", "time", "datetime", "date"),
    "asset": ("asset", "symbol"),
    "price": ("price", "price_usd", "usd_price"),
}
_FIRST_MS, _LAST_MS = 1e11, 1e14  # as seconds, 1e11 is the year 5138; as milliseconds, 1973


def align_prices(prices: pd.DataFrame, step: str = "1h", max_age: str = "2h") -> pd.DataFrame:
    """Prices on one clock: a row every `step` (UTC), a column an asset, in it the last price seen by then.

    `prices` is long: columns timestamp (seconds or milliseconds since 1970, or ISO 8601; UTC where no zone is given),
    asset or symbol, and price, price_usd or USD_price, in any order of rows. A row without a price is no observation.
    A price older than `max_age` is missing (nan). Raises ScenarioError for a missing or doubled column, a time that
    is none, a price that is not positive and finite, or two prices of one asset at one time.
    """
    observed = _observations(prices)
    first, last = observed["time"].min().ceil(step), observed["time"].max().ceil(step)
    clock = pd.DataFrame({"time": pd.date_range(first, last, freq=step).as_unit("ms")})
    oldest = pd.Timedelta(max_age)
    columns = {
        str(asset): pd.merge_asof(clock, seen[["time", "price"]], on="time", tolerance=oldest)["price"].to_numpy()
        for asset, seen in observed.groupby("asset", sort=True)
    }
    return pd.DataFrame(columns, index=pd.DatetimeIndex(clock["time"], name="time"))


def _observations(prices: pd.DataFrame) -> pd.DataFrame:
    """Columns time, asset, price: the rows that have a price, sorted by time."""
    chosen = {}
    for name, accepted in _COLUMNS.items():
        found = [column for column in prices.columns if str(column).lower() in accepted]
        if len(found) != 1:
            raise ScenarioError(
                f"price history: one column of {', '.join(accepted)} is needed, it has {found or 'none'} "
                f"(of {', '.join(map(str, prices.columns))})"
            )
        chosen[name] = prices[found[0]]
    try:
        price = pd.to_numeric(chosen["price"])
    except (TypeError, ValueError) as error:
        raise ScenarioError(f"price history: {error}; leave the price empty where there is none") from None
    observed = pd.DataFrame({"asset": chosen["asset"].astype(str), "price": price})
    observed["time"] = _times(chosen["timestamp"])
    observed = observed[observed["price"].notna()].sort_values(["time", "asset"], kind="stable", ignore_index=True)
    if observed.empty:
        raise ScenarioError("price history: no row has a price")
    observed = observed.drop_duplicates()
    wrong = observed[~(observed["price"] > 0) | ~np.isfinite(observed["price"])]
    if len(wrong):
        row = wrong.iloc[0]
        raise ScenarioError(
            f"price history: {row['asset']} at {row['time']} has the price {row['price']}; {len(wrong)} such rows: "
            "correct them, or leave the price empty where there is none"
        )
    doubled = observed[observed.duplicated(["time", "asset"])]
    if len(doubled):
        row = doubled.iloc[0]
        raise ScenarioError(f"price history: {row['asset']} has two prices at {row['time']}; keep one")
    return observed


def _times(timestamp: pd.Series) -> pd.Series:
    """UTC times of seconds, milliseconds (told apart by size) or text."""
    try:
        if not pd.api.types.is_numeric_dtype(timestamp):
            times = pd.to_datetime(timestamp, utc=True, format="ISO8601").dt.as_unit("ms")
            if times.isna().any():
                raise ValueError("a row has no time")
            return times
        size = timestamp.to_numpy(float)
        if not (np.isfinite(size) & (size >= 0) & (size < _LAST_MS)).all():
            raise ValueError("a number is neither seconds nor milliseconds since 1970")
        milliseconds = np.where(size < _FIRST_MS, size * 1000, size).round().astype(np.int64)
        return pd.Series(pd.to_datetime(milliseconds, unit="ms", utc=True).as_unit("ms"), index=timestamp.index)
    except ValueError as error:
        raise ScenarioError(
            f"price history: timestamp: {error}; use seconds or milliseconds since 1970, or ISO 8601"
        ) from None


def window_returns(prices: pd.DataFrame, window: "str | Span", assets: Sequence[str] | None = None) -> pd.DataFrame:
    """Simple returns since the start of a window: a row an hour (the first is zero), a column an asset; fractions.

    `prices` from `align_prices`; `window` a name of HISTORICAL_WINDOWS, or its two ends; `assets`: the columns that
    are wanted, all by default. Each row is a joint shock of one moment. Raises ScenarioError for an unknown window or
    asset, a window outside the history, or a price that is missing in it.
    """
    start, end = _bounds(window)
    chosen = list(prices.columns if assets is None else assets)
    if unknown := [asset for asset in chosen if asset not in prices.columns]:
        raise ScenarioError(f"price history has no {', '.join(unknown)}; it has {', '.join(prices.columns)}")
    first, last = prices.index[0], prices.index[-1]
    if start < first or end > last:
        raise ScenarioError(
            f"price history covers {first} to {last}, not all of {start} to {end}; bring prices of that window"
        )
    rows = prices.loc[start:end, chosen]
    lacking = rows.isna().sum()
    if lacking.any():
        named = ", ".join(
            f"{asset} ({count} of {len(rows)}, first {rows.index[rows[asset].isna()][0]})"
            for asset, count in lacking[lacking > 0].items()
        )
        raise ScenarioError(
            f"prices are missing between {start} and {end}: {named}; bring them, leave the asset out, "
            "or accept older prices with a larger max_age",
            assets=list(lacking.index[lacking > 0]),
        )
    return rows / rows.iloc[0] - 1


def _bounds(window: "str | Span") -> tuple[pd.Timestamp, pd.Timestamp]:
    if isinstance(window, str):
        if window not in HISTORICAL_WINDOWS:
            raise ScenarioError(f"no window {window!r}; there are {', '.join(HISTORICAL_WINDOWS)}, or give two times")
        named = HISTORICAL_WINDOWS[window]
        window = (named.start, named.end)
    start, end = (pd.to_datetime(moment, utc=True) for moment in window)
    if not start < end:
        raise ScenarioError(f"window {window[0]} to {window[1]} must end after it starts")
    return start, end


def worst_windows(
    prices: pd.DataFrame, length: str, weights: Mapping[str, float], count: int = 1, max_missing: float = 0.02
) -> pd.DataFrame:
    """The `count` windows of `length` (such as '24h') with the lowest weighted return, worst first, none overlapping.

    `prices` from `align_prices`; `weights`: asset -> weight, such as its collateral in USD. Columns: start, end,
    weighted_return (sum(w * r) / sum(w)), and the return of each asset from start to end. Windows of which an end has
    no price are passed over, and refused by name where an asset lacks more than the share `max_missing` of them.
    """
    if unknown := [asset for asset in weights if asset not in prices.columns]:
        raise ScenarioError(f"price history has no {', '.join(unknown)}; it has {', '.join(prices.columns)}")
    total = sum(weights.values())
    if not total > 0 or min(weights.values()) < 0:
        raise ScenarioError(f"weights {dict(weights)} must not be negative, and not all zero")
    span, step = pd.Timedelta(length), prices.index[1] - prices.index[0]
    steps = int(span / step)
    if not 1 <= steps < len(prices):
        raise ScenarioError(f"length {length} must be at least one step of {step} and shorter than the history")
    chosen = prices[list(weights)]
    returns = _complete(chosen.shift(-steps).iloc[:-steps] / chosen.iloc[:-steps] - 1, max_missing)
    weighted = returns @ (pd.Series(dict(weights)) / total)
    starts: list[pd.Timestamp] = []
    for start in weighted.sort_values(kind="stable").index:
        if all(abs(start - other) >= span for other in starts):
            starts.append(start)
        if len(starts) == count:
            break
    found = returns.loc[starts].reset_index(names="start")
    found.insert(1, "end", found["start"] + span)
    found.insert(2, "weighted_return", weighted.loc[starts].to_numpy())
    return found


def log_returns(prices: pd.DataFrame, max_missing: float = 0.02) -> pd.DataFrame:
    """Log returns from one step to the next: the steps at which every asset has both prices.

    `prices` from `align_prices`. Raises ScenarioError that names the assets which lack more than the share
    `max_missing` of the steps.
    """
    grown = (prices / prices.shift()).iloc[1:]
    return _complete(pd.DataFrame(np.log(grown.to_numpy(float)), grown.index, grown.columns), max_missing)


def _complete(returns: pd.DataFrame, max_missing: float) -> pd.DataFrame:
    lacking = returns.isna().mean()
    if (lacking > max_missing).any():
        named = ", ".join(f"{asset} {share:.2%}" for asset, share in lacking[lacking > max_missing].items())
        raise ScenarioError(
            f"returns are missing in more than {max_missing:.2%} of the steps of the price history: {named}; "
            "choose a span that has them, leave the asset out, or raise max_missing"
        )
    return returns.dropna()
