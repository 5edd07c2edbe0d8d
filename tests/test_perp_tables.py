"""The tables of perps: from integers, by hand, and what a snapshot refuses."""

from typing import Any

import pytest

from defi_leverage.errors import SnapshotError
from defi_leverage.fixed_point import WAD
from defi_leverage.reading import (
    AccountReading,
    AssetReading,
    FeedReading,
    LegReading,
    MarketReading,
    PerpMarketReading,
    PerpReading,
    Reading,
    VenueReading,
)
from defi_leverage.snapshot import Snapshot, from_readings

INDEX, USD = "eip155:1/perp:BTC", "eip155:1/erc20:0xU"


def reading(**changes: object) -> Reading:
    """A short of 2 BTC from 60,000 with 10,000 of margin, at 61,000; it is owed 50 of funding and owes 3 of fees."""
    short = PerpReading(INDEX, -2 * 10**8, 60_000 * WAD, 5 * 10**16, -50 * WAD, 3 * WAD, 62_000 * WAD)
    legs = (
        LegReading("debt", INDEX, "index", 2 * 10**8, 105 * 10**16),
        LegReading("collateral", USD, "usd", 130_050 * 10**6, WAD),
        LegReading("debt", USD, "usd", 3 * 10**6, WAD),
    )
    market = {"funding_rate_wad": WAD // 10, "tiers": ((0, 5 * 10**16, 0), (10**6 * WAD, 10**17, WAD))}
    return Reading(
        chain="eip155:1",
        block_number=1,
        block_hash="0x",
        block_timestamp=0,
        venue=VenueReading("eip155:1:0xV", "perps", "Perps", "0xV", 0, "perp_full"),
        assets=(AssetReading(INDEX, "iBTC", 8, "index"), AssetReading(USD, "USDx", 6, "usd")),
        feeds=(FeedReading("index", INDEX, 61_000, 1), FeedReading("usd", USD, 1, 1, "fixed")),
        backing=(),
        markets=(MarketReading(INDEX, 0, 2 * 10**8, 0), MarketReading(USD, 130_050 * 10**6, 3 * 10**6, 0)),
        accounts=(AccountReading("0xA", "isolated", None, 8_047 * WAD, 6_100 * WAD, legs, perps=(short,)),),
        found=1,
        perp_markets=(PerpMarketReading(INDEX, 5 * 10**7, 2 * 10**8, **(market | changes)),),  # type: ignore[arg-type]
    )


def test_a_short_by_hand() -> None:
    snapshot = from_readings([reading()])
    (row,) = snapshot.perps.to_dict("records")
    assert row == {
        "account_id": "eip155:1:0xA@0xV",
        "asset_id": INDEX,
        "size": -2.0,
        "entry_price_usd": 60_000.0,
        "accrued_funding_usd": -50.0,
        "accrued_fees_usd": 3.0,
        "liquidation_price_usd": 62_000.0,
        "maintenance_ratio": 0.05,
        "leverage": pytest.approx(122_000 / 8_047),
    }
    account = snapshot.accounts.iloc[0]
    assert account["health_factor"] != account["health_factor"]  # none is reported
    assert (account["health_factor_raw"], account["collateral_base_raw"]) == ("", str(8_047 * WAD))


def test_a_market_by_hand() -> None:
    """Longs pay 10 % a year: a long earns and a short pays minus that."""
    snapshot = from_readings([reading()])
    (row,) = snapshot.perp_markets.to_dict("records")
    assert (row["open_interest_long"], row["open_interest_short"], row["skew"]) == (0.5, 2.0, -1.5)
    assert row["maintenance_tiers"] == "[[0.0, 0.05, 0.0], [1000000.0, 0.1, 1.0]]"
    rates = snapshot.rates.set_index("asset_id").loc[INDEX]
    assert (rates["supply_rate"], rates["borrow_rate"]) == (-0.1, -0.1)
    assert rates["utilisation"] != rates["utilisation"]
    assert from_readings([reading(funding_rate_wad=None)]).rates.empty


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("perp_markets", "maintenance_tiers", "{}", "maintenance_tiers: not a JSON list"),
        ("perp_markets", "auto_deleveraging", "some", "not one of none, queue, pro_rata"),
        ("perps", "maintenance_ratio", 5.0, "must be 0..1"),
        ("perps", "account_id", "nobody", "not found in accounts.account_id"),
    ],
)
def test_what_a_snapshot_refuses(table: str, column: str, value: Any, message: str) -> None:
    tables = from_readings([reading()]).tables
    tables[table] = tables[table].assign(**{column: value})
    with pytest.raises(SnapshotError, match=message):
        Snapshot.from_tables(tables)
