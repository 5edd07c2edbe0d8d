"""Price histories: one clock, nothing filled silently, windows and their returns."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from defi_leverage.errors import ScenarioError
from defi_leverage.stress.price_history import (
    HISTORICAL_WINDOWS,
    align_prices,
    log_returns,
    window_returns,
    worst_windows,
)

HOUR = 3600
START = 1_600_000_000 - 1_600_000_000 % HOUR  # a full hour
DATA = Path(
    os.environ.get("DEFI_LEVERAGE_VALIDATION_DATA", str(Path(__file__).resolve().parents[3] / "shared" / "data"))
)


def long_table(prices: dict[str, list[float | None]], start: int = START) -> pd.DataFrame:
    rows = [
        {"timestamp": start + hour * HOUR, "asset": asset, "price": price}
        for asset, series in prices.items()
        for hour, price in enumerate(series)
    ]
    return pd.DataFrame(rows)


def test_seconds_milliseconds_and_text_are_the_same_history() -> None:
    seconds = pd.DataFrame({"timestamp": [START, START + HOUR], "asset": "ETH", "price": [100.0, 90.0]})
    milliseconds = seconds.assign(timestamp=seconds["timestamp"] * 1000)
    mixed = seconds.assign(timestamp=[START, (START + HOUR) * 1000])
    named = pd.DataFrame(
        {
            "Symbol": "ETH",
            "USD_price": [100.0, 90.0],
            "time": pd.to_datetime(seconds["timestamp"], unit="s").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )
    expected = align_prices(seconds)
    assert expected["ETH"].tolist() == [100.0, 90.0]
    assert expected.index.tolist() == list(pd.to_datetime([START, START + HOUR], unit="s", utc=True))
    for other in (milliseconds, mixed, named, seconds.iloc[::-1]):
        pd.testing.assert_frame_equal(align_prices(other), expected)


def test_an_hour_has_the_last_price_seen_by_then_while_it_is_young_enough() -> None:
    minutes = [-30, 20, 200]  # against the hour START
    prices = pd.DataFrame({"timestamp": [START + 60 * m for m in minutes], "asset": "ETH", "price": [1.0, 2.0, 3.0]})
    aligned = align_prices(prices, max_age="1h")["ETH"]
    np.testing.assert_array_equal(aligned, [1.0, 2.0, np.nan, np.nan, 3.0])
    np.testing.assert_array_equal(align_prices(prices, max_age="3h")["ETH"], [1.0, 2.0, 2.0, 2.0, 3.0])


def test_a_row_without_a_price_is_no_observation() -> None:
    aligned = align_prices(long_table({"ETH": [1.0, None, None, 4.0]}), max_age="30min")["ETH"]
    np.testing.assert_array_equal(aligned, [1.0, np.nan, np.nan, 4.0])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"price": [1.0, 0.0]}, "ETH at .* has the price 0.0"),
        ({"price": [1.0, -5.0]}, "has the price -5.0"),
        ({"price": [1.0, np.inf]}, "has the price inf"),
        ({"price": ["1.0", "n.a."]}, "leave the price empty"),
        ({"price": [np.nan, np.nan]}, "no row has a price"),
        ({"timestamp": [START, START]}, "two prices at"),
        ({"timestamp": [START, -1]}, "neither seconds nor milliseconds"),
        ({"timestamp": [START, 2e18]}, "neither seconds nor milliseconds"),
        ({"timestamp": ["yesterday", "today?"]}, "ISO 8601"),
        ({"timestamp": ["2024-08-05", None]}, "a row has no time"),
        ({"price_usd": [1.0, 2.0]}, "one column of price, price_usd, usd_price"),
    ],
)
def test_what_is_no_history_is_refused(change: dict[str, list[object]], problem: str) -> None:
    good = pd.DataFrame({"timestamp": [START, START + HOUR], "asset": "ETH", "price": [1.0, 2.0]})
    with pytest.raises(ScenarioError, match=problem):
        align_prices(good.assign(**change))  # type: ignore[arg-type]
    with pytest.raises(ScenarioError, match="one column of asset, symbol"):
        align_prices(good.drop(columns="asset"))


def test_returns_of_a_window_are_since_its_start() -> None:
    prices = align_prices(long_table({"ETH": [50.0, 100.0, 80.0, 90.0, 40.0], "BTC": [9.0, 10.0, 11.0, 5.0, 1.0]}))
    window = (str(prices.index[1]), str(prices.index[3]))
    returns = window_returns(prices, window)
    np.testing.assert_allclose(returns["ETH"], [0.0, -0.2, -0.1])
    np.testing.assert_allclose(returns["BTC"], [0.0, 0.1, -0.5])
    assert list(window_returns(prices, window, ["BTC"]).columns) == ["BTC"]


def test_missing_prices_of_a_window_are_named() -> None:
    table = long_table({"ETH": [1.0] * 6, "BTC": [1.0, None, None, None, 1.0, 1.0]})
    prices = align_prices(table, max_age="1h")
    whole = (str(prices.index[0]), str(prices.index[-1]))
    with pytest.raises(ScenarioError, match=r"prices are missing .*: BTC \(2 of 6, first") as error:
        window_returns(prices, whole)
    assert error.value.attributes["assets"] == ["BTC"]
    assert len(window_returns(prices, whole, ["ETH"])) == 6
    with pytest.raises(ScenarioError, match=r"covers .* not all of"):
        window_returns(prices, "UST May 2022")
    with pytest.raises(ScenarioError, match="no window 'Monday'; there are 19 May 2021"):
        window_returns(prices, "Monday")
    with pytest.raises(ScenarioError, match="has no LINK; it has"):
        window_returns(prices, whole, ["LINK"])
    with pytest.raises(ScenarioError, match="must end after it starts"):
        window_returns(prices, (whole[1], whole[0]))


def test_the_worst_windows_do_not_overlap() -> None:
    prices = align_prices(long_table({"ETH": [100, 100, 70, 50, 100, 100, 80, 100], "BTC": [10.0] * 8}))
    worst = worst_windows(prices, "2h", {"ETH": 3.0, "BTC": 1.0}, count=2)
    assert worst["start"].tolist() == [prices.index[1], prices.index[4]]
    assert worst["end"].tolist() == [prices.index[3], prices.index[6]]
    np.testing.assert_allclose(worst["ETH"], [-0.5, -0.2])
    np.testing.assert_allclose(worst["weighted_return"], [-0.375, -0.15])


def test_a_history_with_many_holes_is_refused_by_name() -> None:
    prices = align_prices(
        long_table({"ETH": [1.0, 2.0] * 50, "BTC": [1.0] * 50 + [None] * 25 + [1.0] * 25}), max_age="1h"
    )
    with pytest.raises(ScenarioError, match=r"BTC 25\.25%"):
        log_returns(prices)
    with pytest.raises(ScenarioError, match="BTC"):
        worst_windows(prices, "1h", {"BTC": 1.0})
    returns = log_returns(prices, max_missing=0.3)
    assert len(returns) == 99 - 25
    np.testing.assert_allclose(np.abs(returns["ETH"]), np.log(2))
    for weights in ({"LINK": 1.0}, {"ETH": 0.0}, {"ETH": 1.0, "BTC": -1.0}):
        with pytest.raises(ScenarioError):
            worst_windows(prices, "1h", weights)
    with pytest.raises(ScenarioError, match="length"):
        worst_windows(prices, "30min", {"ETH": 1.0})


def test_every_named_window_has_dates_in_order_and_a_source() -> None:
    assert list(HISTORICAL_WINDOWS) == ["19 May 2021", "UST May 2022", "stETH June 2022", "5 Aug 2024"]
    for window in HISTORICAL_WINDOWS.values():
        assert pd.Timestamp(window.start) < pd.Timestamp(window.end)
        assert window.source


def recorded(symbol: str) -> pd.DataFrame:
    path = DATA / "prices" / f"{symbol}_usd.csv"
    if not path.exists():
        pytest.skip(f"{path} is missing; set DEFI_LEVERAGE_VALIDATION_DATA to the folder that has it")
    return pd.read_csv(path)


def price_at(symbol: str, moment: str) -> float:
    """The last price at or before a moment, straight from the file."""
    table = recorded(symbol)
    unit = 1000 if table["timestamp"].max() > 1e11 else 1
    seen = table[(table["timestamp"] <= pd.Timestamp(moment).timestamp() * unit) & table["USD_price"].notna()]
    return float(seen["USD_price"].iloc[-1])


@pytest.mark.validation
@pytest.mark.parametrize(
    ("window", "symbols", "lowest"),
    [
        # The hourly lows of the file (aave-data @ bb4b9c9); ether traded at 1,874 within the hour on 19 May 2021.
        ("19 May 2021", ["WETH", "WBTC"], ("WETH", 2276.2130, "2021-05-19T14:00Z")),
        ("UST May 2022", ["WETH", "WBTC", "UST", "stETH"], ("UST", 0.0924302, "2022-05-13T13:00Z")),
        ("stETH June 2022", ["WETH", "stETH", "USDC"], ("stETH", 974.0163, "2022-06-15T11:00Z")),
        ("5 Aug 2024", ["wstETH"], ("wstETH", 2552.9058, "2024-08-05T07:00Z")),
    ],
)
def test_recorded_windows(window: str, symbols: list[str], lowest: tuple[str, float, str]) -> None:
    prices = align_prices(pd.concat([recorded(symbol) for symbol in symbols], ignore_index=True))
    returns = window_returns(prices, window)
    symbol, price, moment = lowest
    assert returns[symbol].idxmin() == pd.Timestamp(moment)
    start = HISTORICAL_WINDOWS[window].start
    assert returns[symbol].min() == pytest.approx(price / price_at(symbol, start) - 1, rel=1e-6)
    for other in symbols:
        expected = price_at(other, moment) / price_at(other, start) - 1
        assert returns[other].loc[pd.Timestamp(moment)] == pytest.approx(expected, rel=1e-12)


@pytest.mark.validation
def test_recorded_gaps_are_refused_by_name() -> None:
    """stETH has gaps of up to three hours in May 2021, and UST no prices at all before December."""
    table = pd.concat([recorded(symbol) for symbol in ("WETH", "stETH", "UST", "wstETH")], ignore_index=True)
    prices = align_prices(table)
    with pytest.raises(ScenarioError, match=r"UST \(25 of 25, first 2021-05-19 00:00.*wstETH \(25 of 25") as error:
        window_returns(prices, "19 May 2021")
    assert {"UST", "wstETH"} <= set(error.value.attributes["assets"])
    assert len(window_returns(align_prices(table, max_age="4h"), "19 May 2021", ["WETH", "stETH"])) == 25


@pytest.mark.validation
def test_the_worst_day_on_record_is_the_one_that_is_remembered() -> None:
    """2021-01 to 2023-02: the worst 24 hours of ether end with the crash of 19 May 2021."""
    prices = align_prices(recorded("WETH"))
    worst = worst_windows(prices, "24h", {"WETH": 1.0}).iloc[0]
    assert worst["end"].strftime("%Y-%m-%d") == "2021-05-19"
    assert worst["WETH"] == pytest.approx(
        price_at("WETH", str(worst["end"])) / price_at("WETH", str(worst["start"])) - 1
    )
    assert -0.45 < worst["WETH"] < -0.3
