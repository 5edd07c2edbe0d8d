"""A recorded Hyperliquid account (16 positions, cross and isolated): our measures are the figures of the venue."""

import numpy as np
import pytest

from defi_leverage.analytics.holdings import account_exposures
from defi_leverage.analytics.markets import market_measures
from defi_leverage.analytics.positions import liquidation_prices, position_measures
from defi_leverage.snapshot import from_readings
from tests.protocols import hyperliquid_replies as replies
from tests.protocols.hyperliquid_replies import USER
from tests.protocols.test_hyperliquid import exchange, read


async def test_the_measures_are_what_the_venue_tells() -> None:
    snapshot = from_readings(await read(exchange({(USER, ""): replies.RECORDED})))
    prices = liquidation_prices(snapshot)
    ours, venues = (prices[name].to_numpy(float) for name in ("liquidation_price_usd", "venue_liquidation_price_usd"))
    told = ~np.isnan(venues)
    assert told.sum() >= 10
    assert ours[told] == pytest.approx(venues[told], rel=1e-7)
    summary = replies.RECORDED["marginSummary"]
    notional = sum(float(entry["position"]["positionValue"]) for entry in replies.RECORDED["assetPositions"])
    exposures = account_exposures(snapshot)
    assert exposures["exposure_usd"].sum() == pytest.approx(notional, rel=1e-6)
    assert exposures["equity_usd"].sum() == pytest.approx(float(summary["accountValue"]), rel=1e-9)
    # a position's leverage in the table `perps` is its share of the account's
    of_account = snapshot.perps.groupby("account_id")["leverage"].sum()
    table = position_measures(snapshot).set_index("account_id")
    assert table["leverage"].to_dict() == pytest.approx(of_account.to_dict(), rel=1e-6)
    cross = exposures.index[exposures.index.str.contains(f"{USER}@")][0]
    assert exposures["required_equity_usd"].loc[cross] == pytest.approx(356978.709123, rel=1e-8)
    markets = market_measures(snapshot)
    assert markets["notional_usd"].sum() == pytest.approx(notional, rel=1e-6)
    assert (markets["positions"].sum(), markets["negative_equity_positions"].sum()) == (len(snapshot.perps), 0)
