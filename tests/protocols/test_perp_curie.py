"""The Curie reader against the bytecode of Perpetual Protocol v2: cross-margin accounts, WETH margin, liquidity."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.chain import open_chain
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.health import account_health
from defi_leverage.protocols import perp_curie
from defi_leverage.protocols._tokens import Token
from defi_leverage.protocols.perp_curie.accounts import Holder, Holding, assess_holder
from defi_leverage.protocols.perp_curie.markets import Margin, Market, System
from defi_leverage.reading import AccountReading, Deployment, Reading
from defi_leverage.snapshot import from_readings
from tests.contagion.test_real_perps import fall_on_curie
from tests.devnet.calldata import decode_result, encode_call
from tests.devnet.session import Devnet

DAY = 86_400


def told(devnet: Devnet) -> dict[str, Any]:
    found: dict[str, Any] = devnet.description.protocols["perp_curie"]
    return found


async def read(devnet: Devnet, **changes: Any) -> Reading:
    (reads,) = told(devnet)["reads"]
    values = {key: reads[key] for key in ("name", "address", "first_block")} | changes
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        return await perp_curie.read(chain, Deployment("perp_curie", **values))


def views(devnet: Devnet, contract: str, signature: str, accounts: list[AccountReading], *more: str) -> list[int]:
    """The first result of a view for each account, by plain eth_call."""
    to = told(devnet)[contract]
    messages = [{"to": to, "data": "0x" + encode_call(signature, a.address, *more).hex()} for a in accounts]
    answers = devnet.chain.session.batch(("eth_call", (message, "latest")) for message in messages)
    return [decode_result("(int256)", answer)[0] for answer in answers]


def of_kind(devnet: Devnet, kind: str) -> set[str]:
    return {account["address"] for account in told(devnet)["accounts"] if account["kind"] == kind}


@pytest.mark.devnet("perp_curie")
class TestDevnet:
    async def test_every_account_is_the_clearing_house_s(self, devnet: Devnet) -> None:
        reading = await read(devnet)
        assert (reading.failed, reading.gaps) == ({}, {})
        accounts = list(reading.accounts)
        assert {account.address for account in accounts} == {found["address"] for found in told(devnet)["accounts"]}
        value = views(devnet, "clearing_house", "getAccountValue(address)", accounts)
        requirement = views(devnet, "account_balance", "getMarginRequirementForLiquidation(address)", accounts)
        funding = views(devnet, "exchange", "getAllPendingFundingPayment(address)", accounts)
        for place, account in enumerate(accounts):
            # the vault cuts the value to the settlement token's six decimals
            assert abs(account.collateral_base_raw - value[place]) < 10**12
            assert account.debt_base_raw == requirement[place]
            assert sum(perp.accrued_funding_usd_wad for perp in account.perps) == funding[place]
        for symbol, base in told(devnet)["markets"].items():
            sizes = views(devnet, "account_balance", "getTotalPositionSize(address,address)", accounts, base)
            for account, size in zip(accounts, sizes, strict=True):
                own = [perp.size_raw for perp in account.perps if perp.asset_id.endswith(base)]
                assert sum(own) == size, symbol

    async def test_accounts_under_water_too(self, devnet: Devnet) -> None:
        """After a fall of a tenth some account values are negative."""
        fall_on_curie(devnet)
        reading = await read(devnet)
        assert not reading.failed
        accounts = list(reading.accounts)
        value = views(devnet, "clearing_house", "getAccountValue(address)", accounts)
        assert sum(found < 0 for found in value) >= 2
        assert all(abs(a.collateral_base_raw - v) < 10**12 for a, v in zip(accounts, value, strict=True))

    async def test_the_crowd(self, devnet: Devnet) -> None:
        by_address = {account.address: account for account in (await read(devnet)).accounts}
        counts: Counter[str] = Counter()
        for account in by_address.values():
            counts["liquidatable"] += account.collateral_base_raw < account.debt_base_raw
            counts["cross"] += len(account.perps) == 2
            for perp in account.perps:
                counts["long" if perp.size_raw > 0 else "short"] += 1
        assert counts["liquidatable"] >= 5
        assert counts["cross"] >= 16
        assert min(counts["long"], counts["short"]) >= 30
        weth = f"eip155:{devnet.chain_id}/erc20:{devnet.tokens['WETH']}"
        for address in of_kind(devnet, "weth_margin"):
            (leg,) = [leg for leg in by_address[address].legs if leg.asset_id == weth]
            assert (leg.side, leg.weight_wad, leg.liquidation_bonus_wad) == ("collateral", 7 * 10**17, WAD // 9)
        for address in of_kind(devnet, "maker") | of_kind(devnet, "making_trader"):
            assert any(perp.accrued_fees_usd_wad < 0 for perp in by_address[address].perps)
        for address in of_kind(devnet, "closed") | of_kind(devnet, "idle"):
            assert not by_address[address].perps

    async def test_legs_give_the_equity_and_the_health_of_the_contracts(self, devnet: Devnet) -> None:
        reading = await read(devnet)
        health = account_health(from_readings([reading]))
        weighs_less = of_kind(devnet, "weth_margin")
        for row, account in zip(health.to_dict("records"), reading.accounts, strict=True):
            assert (row["health_factor"] < 1) == (account.collateral_base_raw < account.debt_base_raw)
            if account.address not in weighs_less:  # the contracts count WETH at 70 %
                assert row["equity_usd"] == pytest.approx(account.collateral_base_raw / WAD, rel=1e-12, abs=1e-9)

    async def test_the_health_factor_is_one_at_the_liquidation_price(self, devnet: Devnet) -> None:
        """Of every position, in accounts with one and with two markets, all else unchanged."""
        reading = await read(devnet)
        snapshot = from_readings([reading])
        tables = snapshot.tables
        tried: Counter[tuple[int, bool]] = Counter()
        for row in snapshot.perps.dropna(subset=["liquidation_price_usd"]).to_dict("records"):
            feeds = snapshot.feeds.assign(
                price_usd=snapshot.feeds["price_usd"].mask(
                    snapshot.feeds["asset_id"] == row["asset_id"], row["liquidation_price_usd"]
                )
            )
            moved = type(snapshot)(**{**tables, "feeds": feeds})
            assert account_health(moved).loc[row["account_id"], "health_factor"] == pytest.approx(1, rel=1e-9)
            markets = int((snapshot.perps["account_id"] == row["account_id"]).sum())
            tried[markets, row["size"] > 0] += 1
        assert {(1, True), (1, False), (2, True), (2, False)} <= set(tried)

    async def test_funding_is_positive_where_longs_pay(self, devnet: Devnet) -> None:
        """The pools stand above the index, and what a long owes grows by the rate, ten minutes at a time."""
        before = await read(devnet)
        devnet.mine(devnet.head()[1] + 600)
        after = await read(devnet)
        rows = from_readings([after]).perp_markets.set_index("asset_id")
        rates = dict(zip(rows.index, rows["funding_rate"], strict=True))
        assert min(rates.values()) > 0
        then = {(a.address, p.asset_id): p.accrued_funding_usd_wad for a in before.accounts for p in a.perps}
        makers = of_kind(devnet, "maker") | of_kind(devnet, "wide_maker") | of_kind(devnet, "making_trader")
        prices = {feed.asset_id: feed.price_raw / feed.price_scale for feed in after.feeds}
        seen = 0
        for account in after.accounts:
            for perp in account.perps if account.address not in makers else ():
                paid = (perp.accrued_funding_usd_wad - then[account.address, perp.asset_id]) / WAD
                rate, price = rates[perp.asset_id], prices[perp.asset_id]
                assert paid == pytest.approx(
                    rate * perp.size_raw / WAD * price * 600 / (365 * DAY), rel=1e-6, abs=1e-12
                )
                seen += 1
        assert seen > 50

    async def test_the_markets_rows(self, devnet: Devnet) -> None:
        reading = await read(devnet)
        snapshot = from_readings([reading])
        for row in snapshot.perp_markets.to_dict("records"):
            assert row["open_interest_long"] == pytest.approx(
                row["open_interest_short"]
            )  # everybody's other side is here
            assert row["open_interest_long"] > 1
            assert row["maintenance_tiers"] == "[[0.0, 0.0625, 0.0]]"
            assert (row["maximum_leverage"], row["insurance_fund_usd"]) == (10, pytest.approx(2e6))
        leverage = snapshot.perps.groupby("account_id")["leverage"].sum()
        account = next(a for a in reading.accounts if len(a.perps) == 2)
        notional = account.debt_base_raw / 0.0625
        own = f"{reading.chain}:{account.address}@{reading.venue.address}"
        assert leverage[own] == pytest.approx(notional / account.collateral_base_raw)

    async def test_another_address(self, devnet: Devnet) -> None:
        with pytest.raises(ReaderError, match="names no AccountBalance"):
            await read(devnet, address=told(devnet)["registry"])
        with pytest.raises(ReaderError, match="is not an address"):
            await read(devnet, address="0x12")


SYSTEM = System(
    clearing_house="0x1",
    account_balance="0x2",
    exchange="0x3",
    order_book="0x4",
    vault="0x5",
    registry="0x6",
    collateral_manager="0x7",
    quote=Token("0xA", "vUSD", 18),
    settlement=Token("0xB", "USDC", 6),
    initial_ratio=100_000,
    maintenance_ratio=62_500,
    penalty_ratio=25_000,
    maximum_funding_rate=100_000,
    twap_interval=900,
    insurance_fund=0,
)
MARKETS = {"0xE": Market(Token("0xE", "vETH", 18), 2_000 * WAD, True, 0)}


POSITION = Holding(10 * WAD, -21_000 * WAD, 5 * WAD, 2 * WAD)
HOLDER = Holder("0x1", balance=3_000 * 10**6, holdings={"0xE": POSITION})


def holder(value: int, requirement: int, unrealized: int, **more: Any) -> Holder:
    return replace(HOLDER, value=value, requirement=requirement, unrealized=unrealized, **more)


def test_an_account_by_hand() -> None:
    """10 ETH long for 21,000, now 20,000; 3,000 USDC, 5 of funding owed, 2 of fees due: 1,997, at least 1,250."""
    found = assess_holder(holder(1_997 * WAD, 1_250 * WAD, -1_000 * WAD), SYSTEM, MARKETS, {}, "c")
    assert isinstance(found, AccountReading)
    legs = {(leg.asset_id, leg.side): (leg.amount_raw, leg.weight_wad) for leg in found.legs}
    assert legs == {
        ("c/erc20:0xE", "collateral"): (10 * WAD, 9_375 * 10**14),
        ("c/erc20:0xB", "collateral"): (3_000 * 10**6, WAD),
        ("c/erc20:0xA", "collateral"): (2 * WAD, WAD),
        ("c/erc20:0xA", "debt"): (21_005 * WAD, WAD),
    }
    (perp,) = found.perps
    assert perp.entry_price_usd_wad == 2_100 * WAD
    # 747 above the requirement, over 10 * (1 - 0.0625)
    assert perp.liquidation_price_usd_wad == pytest.approx((2_000 - 747 / 9.375) * WAD)


@pytest.mark.parametrize(
    ("figures", "more", "message"),
    [
        ((1_996 * WAD, 1_250 * WAD, -1_000 * WAD), {}, "its value is 1997"),
        ((1_997 * WAD, 1_251 * WAD, -1_000 * WAD), {}, "its requirement is 1250"),
        ((1_997 * WAD, 1_250 * WAD, 0), {}, "its profit is -1000"),
        ((0, 0, 0), {"holdings": {"0xF": Holding(1, 1, 0, 0)}}, "has a position in 0xF: no market"),
        ((0, 0, 0), {"margin": {"0xC": 1}}, "has margin in 0xC, of which no price is known"),
        ((0, 0, 0), {"fault": "its account cannot be read"}, "cannot be read"),
    ],
)
def test_an_account_that_is_not_reproduced_is_set_aside(
    figures: tuple[int, int, int], more: dict[str, Any], message: str
) -> None:
    found = assess_holder(holder(*figures, **more), SYSTEM, MARKETS, {}, "c")
    assert isinstance(found, str)
    assert message in found


def test_other_margin_counts_by_its_ratio() -> None:
    """2 WETH at 1,500 count 2,100 of 3,000."""
    margin = {"0xC": Margin(Token("0xC", "WETH", 18), 1_500 * 10**8, 10**8, 700_000, 100_000)}
    figures = (1_097 * WAD, 1_250 * WAD, -1_000 * WAD)
    found = assess_holder(holder(*figures, balance=0, margin={"0xC": 2 * WAD}), SYSTEM, MARKETS, margin, "c")
    assert isinstance(found, AccountReading)
    assert found.collateral_base_raw == 1_097 * WAD
    assert ("c/erc20:0xC", 7 * 10**17, WAD // 9) in [
        (leg.asset_id, leg.weight_wad, leg.liquidation_bonus_wad) for leg in found.legs
    ]


@settings(max_examples=100)
@given(
    sizes=st.lists(st.integers(10**12, 10**22) | st.integers(-(10**22), -(10**12)), min_size=1, max_size=3),
    paid=st.floats(0.2, 3),
    balance=st.integers(-(10**12), 10**13),
    realized=st.integers(-(10**21), 10**21),
    funding=st.integers(-(10**20), 10**20),
)
def test_the_health_factor_is_one_where_equity_is_the_margin_requirement(
    sizes: list[int], paid: float, balance: int, realized: int, funding: int
) -> None:
    """Long and short, up to three markets in one account: weighted collateral less debt is equity less requirement."""
    prices = {f"0x{place}": (700 + 31 * place) * WAD for place in range(len(sizes))}
    markets = {base: Market(Token(base, base, 18), price, True, 0) for base, price in prices.items()}
    holdings = {
        base: Holding(size, -round(paid * 1000) * size * price // (1000 * WAD), funding, 7)
        for (base, price), size in zip(prices.items(), sizes, strict=True)
    }
    values = [
        abs(size) * prices[base] // WAD * (1 if size > 0 else -1) for base, size in zip(prices, sizes, strict=True)
    ]
    unrealized = sum(values) + sum(held.notional for held in holdings.values())
    requirement = sum(map(abs, values)) * SYSTEM.maintenance_ratio // 10**6
    value = balance * 10**12 + unrealized + realized - (funding - 7) * len(sizes)
    found = assess_holder(
        Holder("0x1", balance, realized, holdings, {}, value // 10**12 * 10**12, requirement, unrealized),
        SYSTEM,
        markets,
        {},
        "c",
    )
    assert isinstance(found, AccountReading)
    unit = {f"c/erc20:{base}": Fraction(price, WAD) for base, price in prices.items()}
    unit |= {"c/erc20:0xA": Fraction(1), "c/erc20:0xB": Fraction(10**12)}
    above = sum(
        (1 if leg.side == "collateral" else -1) * leg.amount_raw * unit[leg.asset_id] * Fraction(leg.weight_wad, WAD)
        for leg in found.legs
    )
    assert Fraction(-4) <= above - (value - requirement) <= 4
