"""The PerpsV2 reader against Synthetix' production bytecode: two isolated markets, longs, shorts and idle margin."""

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.chain import open_chain
from defi_leverage.config import load_config
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.health import account_health
from defi_leverage.market import apply_config
from defi_leverage.protocols import aave_v3, synthetix_perps_v2
from defi_leverage.protocols.synthetix_perps_v2.arithmetic import (
    Position,
    Terms,
    Tier,
    assess,
    tier_at_liquidation,
    tiers,
)
from defi_leverage.reading import AccountReading, Deployment, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet.calldata import decode_result, encode_call
from tests.devnet.session import Devnet

DAY = 86_400
ROOT = Path(__file__).resolve().parents[2]
TERMS = Terms(  # sETHPERP's, with the keepers' fees of the devnet
    buffer_ratio=75 * WAD // 10_000,
    premium_multiplier=15_625 * WAD // 10_000,
    skew_scale=10**6 * WAD,
    fee_ratio=35 * WAD // 10_000,
    minimum_fee=WAD,
    maximum_fee=30 * WAD,
    keeper_fee=2 * WAD,
)


def deployment(devnet: Devnet, **changes: Any) -> Deployment:
    (told,) = devnet.description.protocols["synthetix_perps_v2"]["reads"]
    return Deployment(
        "synthetix_perps_v2",
        **{"name": told["name"], "address": told["address"], "first_block": told["first_block"]} | changes,
    )


async def read(devnet: Devnet, **changes: Any) -> dict[str, Reading]:
    """Readings by the symbol of what the market follows."""
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        found = await synthetix_perps_v2.read(chain, deployment(devnet, **changes))
    return {reading.assets[0].symbol: reading for reading in found}


def settle_funding(devnet: Devnet) -> str:
    """The market in ETH, after its funding was recorded: what accrues from here on depends on the price."""
    told = devnet.description.protocols["synthetix_perps_v2"]
    market: str = told["markets"]["sETHPERP"]
    (idle,) = [a["address"] for a in told["accounts"] if (a["kind"], a["market"]) == ("idle", "sETHPERP")]
    devnet.transact(idle, market, "transferMargin(int256)", -WAD)
    return market


def views(devnet: Devnet, market: str, name: str, returns: str, accounts: list[AccountReading]) -> list[Any]:
    """The first result of a view for each account, by plain eth_call."""
    messages = [{"to": market, "data": "0x" + encode_call(f"{name}(address)", a.address).hex()} for a in accounts]
    answers = devnet.chain.session.batch(("eth_call", (message, "latest")) for message in messages)
    return [decode_result(returns, answer)[0] for answer in answers]


def entry(reading: Reading) -> dict[str, Any]:
    """The venue's row of perp_markets."""
    table = from_readings([reading]).perp_markets
    assert len(table) == 1
    return {str(name): value for name, value in table.iloc[0].items()}


@pytest.mark.devnet("synthetix_perps_v2")
class TestDevnet:
    async def test_every_account_is_the_market_s_to_the_last_wei(self, devnet: Devnet) -> None:
        told = devnet.description.protocols["synthetix_perps_v2"]
        readings = await read(devnet)
        assert set(readings) == {"sETH", "sBTC"}
        sides: Counter[str] = Counter()
        for reading in readings.values():
            assert (reading.failed, reading.gaps) == ({}, {})
            accounts, market = list(reading.accounts), reading.venue.address
            here = {a["address"] for a in told["accounts"] if told["markets"][a["market"]] == market}
            closed = {a["address"] for a in told["accounts"] if a["kind"] == "closed"}
            assert {account.address for account in accounts} == here - closed
            remaining = views(devnet, market, "remainingMargin", "(uint256,bool)", accounts)
            funding = views(devnet, market, "accruedFunding", "(int256,bool)", accounts)
            price = views(devnet, market, "liquidationPrice", "(uint256,bool)", accounts)
            can = views(devnet, market, "canLiquidate", "(bool)", accounts)
            size = views(devnet, market, "notionalValue", "(int256,bool)", accounts)
            for place, account in enumerate(accounts):
                assert max(account.collateral_base_raw, 0) == remaining[place]
                if not account.perps:
                    assert size[place] == 0
                    sides["idle"] += 1
                    continue
                (perp,) = account.perps
                assert perp.accrued_funding_usd_wad == -funding[place]
                assert (perp.liquidation_price_usd_wad or 0) == price[place]
                assert (account.collateral_base_raw <= account.debt_base_raw) == can[place]
                assert (perp.size_raw > 0) == (size[place] > 0)
                sides["long" if perp.size_raw > 0 else "short"] += 1
                sides["liquidatable"] += can[place]
        assert sides["long"] > 50
        assert sides["short"] > 30
        assert sides["idle"] >= 2
        assert sides["liquidatable"] >= 3

    async def test_legs_give_the_equity_and_the_health_of_the_market(self, devnet: Devnet) -> None:
        for reading in (await read(devnet)).values():
            health = account_health(from_readings([reading])).reset_index()
            can = views(devnet, reading.venue.address, "canLiquidate", "(bool)", list(reading.accounts))
            assert ((health["health_factor"] < 1) == pd.Series(can)).all()
            for row, account in zip(health.to_dict("records"), reading.accounts, strict=True):
                fixed = tier_fixed(reading, account)
                assert row["equity_usd"] == pytest.approx((account.collateral_base_raw - fixed) / WAD, abs=1e-9)

    async def test_a_price_below_the_liquidation_price_liquidates_and_one_above_does_not(self, devnet: Devnet) -> None:
        """Ten longs and ten shorts, in turn, at the price where the legs' health factor is 1, less and plus 1e-5."""
        market = settle_funding(devnet)
        reading = (await read(devnet))["sETH"]
        tried = Counter[bool]()
        for account in reading.accounts:
            at = price_of_health_one(account)
            long = bool(account.perps) and account.perps[0].size_raw > 0
            if not account.perps or not 500 < at < 5_000 or tried[long] >= 10:
                continue
            tried[long] += 1
            for step, liquidates in ((-1e-5, long), (1e-5, not long)):
                snapshot = devnet.snapshot()
                devnet.set_price("WETH", round(at * (1 + step), 8))
                can = devnet.call(market, "canLiquidate(address)", "(bool)", account.address)[0]
                devnet.revert(snapshot)
                assert can == liquidates, account.address
        assert tried == {True: 10, False: 10}

    async def test_funding_is_positive_where_longs_pay(self, devnet: Devnet) -> None:
        settle_funding(devnet)
        before = (await read(devnet))["sETH"]
        devnet.mine(devnet.head()[1] + 600)
        after = (await read(devnet))["sETH"]
        rate = entry(after)["funding_rate"]
        assert rate == pytest.approx(entry(before)["funding_rate"], rel=5e-3)
        assert rate > 0
        rates = from_readings([after]).rates
        assert rates["supply_rate"].tolist() == rates["borrow_rate"].tolist() == [-rate]
        price = before.feeds[0].price_raw / WAD
        then = {account.address: account.perps[0] for account in before.accounts if account.perps}
        for account in after.accounts:
            if account.perps:
                (perp,) = account.perps
                paid = (perp.accrued_funding_usd_wad - then[account.address].accrued_funding_usd_wad) / WAD
                assert paid == pytest.approx(rate * perp.size_raw / WAD * price * 600 / (365 * DAY), rel=5e-3)

    async def test_the_market_s_row(self, devnet: Devnet) -> None:
        for symbol, reading in (await read(devnet)).items():
            row = entry(reading)
            perps = from_readings([reading]).perps
            assert row["open_interest_long"] == pytest.approx(perps["size"].clip(lower=0).sum())
            assert row["open_interest_short"] == pytest.approx(-perps["size"].clip(upper=0).sum())
            skew = devnet.call(reading.venue.address, "marketSkew()", "(int128)")[0]
            assert row["skew"] == pytest.approx(skew / WAD)
            assert row["maximum_leverage"] == 55
            assert row["maintenance_tiers"] == str(
                [[0.0, 0.0075, 3.0], [1 / 0.0035, 0.011, 2.0], [30 / 0.0035, 0.0075, 32.0]]
            )
            assert row["auto_deleveraging"] == "none"
            (one,) = [
                a
                for a in reading.accounts
                if a.perps and a.perps[0].size_raw == max(p.size_raw for x in reading.accounts for p in x.perps)
            ]
            leverage = perps["leverage"].iloc[int(perps["size"].argmax())]
            price = reading.feeds[0].price_raw / WAD
            assert leverage == pytest.approx(one.perps[0].size_raw * price / one.collateral_base_raw)
            assert symbol == reading.perp_markets[0].asset_id.rpartition(":")[2]

    async def test_a_fall_of_the_token_reaches_lending_and_perps_alike(self, devnet: Devnet) -> None:
        """With the default configuration sETH is a claim on WETH, so that both fall and both sell in one market."""
        aave = devnet.deployments["aave_v3_0"]
        async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
            perps = await synthetix_perps_v2.read(chain, deployment(devnet))
            lending = await aave_v3.read(chain, Deployment("aave_v3", aave.name, aave.provider, aave.first_block))
        snapshot = apply_config(from_readings([lending, *perps]), load_config(ROOT / "config.toml"))
        eth, btc = (f"eip155:{devnet.chain_id}/perp:s{name}" for name in ("ETH", "BTC"))
        linked = snapshot.backing.set_index("asset_id").loc[[eth, btc], ["underlying_id", "units", "kind"]]
        tokens = [f"eip155:{devnet.chain_id}/erc20:{devnet.tokens[name]}" for name in ("WETH", "WBTC")]
        assert linked.to_numpy().tolist() == [[tokens[0], 1.0, "wraps"], [tokens[1], 1.0, "wraps"]]
        result = run_contagion(snapshot, Scenario("ETH -20 %", {"WETH": -0.2}, max_rounds=1))
        protocol = snapshot.accounts.set_index("account_id")["venue_id"].map(
            snapshot.venues.set_index("venue_id")["protocol"]
        )
        assert set(protocol.loc[result.liquidations["account_id"].unique()]) == {"aave_v3", "synthetix_perps_v2"}
        shocked = result.prices.loc[1]
        assert shocked[eth] == pytest.approx(2_400)
        assert shocked[btc] == pytest.approx(90_000)
        sold = result.liquidations.query("collateral_asset_id == @eth")["sold"].sum()
        assert sold > 0
        sales = dict(zip(result.book.asset_ids, result.net_sales, strict=True))
        assert sales[tokens[0]] > sold  # Aave's collateral too; short covering of few remains below it

    async def test_a_market_without_a_price_is_left_out_by_name(self, devnet: Devnet) -> None:
        devnet.set_price("WBTC", 0)
        readings = await read(devnet)
        assert set(readings) == {"sETH"}
        ((name, why),) = readings["sETH"].gaps.items()
        assert name.startswith("sBTCPERP 0x")
        assert why == "its price is invalid"
        devnet.set_price("WETH", 0)
        with pytest.raises(ReaderError, match="no market can be valued"):
            await read(devnet)

    @pytest.mark.parametrize(
        ("key", "message"),
        [("susd", "names no proxied markets"), ("resolver", "names no proxied"), ("", "is not an address")],
    )
    async def test_another_address(self, devnet: Devnet, key: str, message: str) -> None:
        address = devnet.description.protocols["synthetix_perps_v2"][key] if key else "0x12"
        with pytest.raises(ReaderError, match=message):
            await read(devnet, address=address)


def tier_fixed(reading: Reading, account: AccountReading) -> int:
    """The fixed part of the maintenance margin, a debt leg: what debt there is beyond entry and funding."""
    if not account.perps:
        return 0
    (perp,) = account.perps
    debt = sum(
        leg.amount_raw for leg in account.legs if leg.side == "debt" and leg.asset_id == reading.assets[1].asset_id
    )
    entered = perp.size_raw * (perp.entry_price_usd_wad or 0) // WAD if perp.size_raw > 0 else 0
    return debt - entered - max(perp.accrued_funding_usd_wad, 0)


def price_of_health_one(account: AccountReading) -> float:
    """The price of the position at which the weighted legs of both sides are equal."""
    usd = position = Fraction(0)
    for leg in account.legs:
        sign = 1 if leg.side == "collateral" else -1
        if ":s" in leg.asset_id:
            position = Fraction(sign * leg.amount_raw * leg.weight_wad, WAD * WAD)
        else:
            usd += Fraction(sign * leg.amount_raw, WAD)
    return float(-usd / position) if position else 0.0


@settings(max_examples=300)
@given(
    long=st.booleans(),
    entered=st.integers(10, 5_000),
    notional=st.integers(20, 2_000_000),
    margin=st.floats(0.02, 1.5),
    funding=st.floats(-0.05, 0.05),
    moved=st.floats(-0.9, 2.0),
)
def test_the_health_factor_is_below_one_exactly_where_a_position_can_be_liquidated(
    long: bool, entered: int, notional: int, margin: float, funding: float, moved: float
) -> None:
    """Through all three tiers: long and short, at any price."""
    size = notional * WAD // entered * (1 if long else -1)
    position = Position(round(notional * margin * 10**9) * 10**9, entered * WAD, size, 1)
    per_unit = round(funding * entered * 10**9) * 10**9
    paid = assess(position, TERMS, entered * WAD, per_unit).funding
    tier = tier_at_liquidation(position, TERMS, paid)
    price = round(entered * (1 + moved) * 10**9) * 10**9
    state = assess(position, TERMS, price, per_unit)
    value = Fraction(abs(size) * price, WAD)
    entry_value = Fraction(abs(size) * position.last_price, WAD)
    ratio = Fraction(tier.ratio, WAD)
    if long:
        above = value * (1 - ratio) + position.margin + paid - entry_value - tier.fixed
    else:
        above = entry_value + position.margin + paid - value * (1 + ratio) - tier.fixed
    if abs(above) > 1_000:  # wei: the contract rounds a few times
        assert (above < 0) == state.can_liquidate


def test_tiers_by_hand() -> None:
    """The flagger's fee is 1 sUSD up to a notional of 285.71, then 0.35 % of it, and 30 sUSD from 8,571.43 on."""
    found = tiers(TERMS, 0)
    assert [tier for _, tier in found] == [
        Tier(75 * 10**14, 3 * WAD),
        Tier(110 * 10**14, 2 * WAD),
        Tier(75 * 10**14, 32 * WAD),
    ]
    assert [float(start) / WAD for start, _ in found] == pytest.approx([0, 285.714285714, 8571.428571428])
    premium = 64 * 15_625 * 10**8  # 64 of a skew scale of a million, times 1.5625
    assert tiers(TERMS, -64 * WAD)[0][1].ratio == 75 * 10**14 + premium
    assert len(tiers(Terms(1, 1, WAD, 1, 5, 5, 0), WAD)) == 1


def test_a_position_by_hand() -> None:
    """10 ETH long from 2,000 with 1,000 of margin, at 1,950, having paid 1 sUSD of funding for each."""
    state = assess(Position(1_000 * WAD, 2_000 * WAD, 10 * WAD, 1), TERMS, 1_950 * WAD, -WAD)
    assert (state.funding, state.equity) == (-10 * WAD, 490 * WAD)
    # 0.75 % of 19,500, a fee of 30 and one of 2, and a premium of 10/1e6 * 1.5625 * 19,500
    assert state.requirement == 146_250 * 10**15 + 32 * WAD + 3_046_875 * 10**11
    assert not state.can_liquidate
    assert state.liquidation_price / WAD == pytest.approx(2_000 + (178.5546875 - 1_000) / 10 + 1)
    idle = assess(Position(WAD, 0, 0, 0), TERMS, WAD, 0)
    assert (idle.equity, idle.requirement, idle.can_liquidate) == (WAD, 0, False)
