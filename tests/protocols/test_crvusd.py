"""The crvUSD and LlamaLend reader against stand-ins of factories, controllers, LLAMMAs, vaults and oracles.

The stand-ins (tests/devnet/protocols/crvusd) keep bands with shares, an interest-bearing grid, loans and their list as
the originals do, and get_x_down and health in the original's integer arithmetic, written anew. They do not swap: bands
are sold and bought back at their geometric mean price. `arithmetic.x_down` is compared with them band by band, with
the shares that the original keeps private.
"""

from fractions import Fraction
from typing import Any

import pytest

from defi_leverage.abi import load_abi
from defi_leverage.backing.minted import minted_backing
from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import crvusd
from defi_leverage.protocols.crvusd.arithmetic import DEAD_SHARES, Band, remaining_bands, x_down
from defi_leverage.protocols.crvusd.readings import bands_mode
from defi_leverage.reading import AccountReading, Deployment, FeedReading, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet.protocols.crvusd import DISCOUNT
from tests.devnet.session import Devnet
from tests.protocols.bent_answers import bend

pytestmark = pytest.mark.devnet("crvusd")

SENDER = "0x00000000000000000000000000000000000B0B0B"
SOUND = {"weth", "wbtc", "wsteth_lend", "short", "short_btc", "savings"}


def told_of(devnet: Devnet) -> dict[str, Any]:
    told: dict[str, Any] = devnet.description.protocols["crvusd"]
    return told


async def read(devnet: Devnet, *addresses: str) -> dict[str, Reading]:
    """Readings by the builder's key of the market, or by the factory's address."""
    told = told_of(devnet)
    keys = {market["controller"]: key for key, market in told["markets"].items()}
    found: dict[str, Reading] = {}
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        for address in addresses or (told["mint"], told["lend"]):
            deployment = Deployment("crvusd", "crvUSD", address, told["first_block"])
            for reading in await crvusd.read(chain, deployment):
                found[keys.get(reading.venue.address, reading.venue.address)] = reading
    return found


def amounts(account: AccountReading) -> tuple[int, int, int]:
    """Raw collateral in bands, raw stablecoin that the AMM has got for it, raw debt."""
    owed = {leg.asset_id for leg in account.legs if leg.side == "debt"}
    held = [leg for leg in account.legs if leg.side == "collateral"]
    return (
        sum(leg.amount_raw for leg in held if leg.asset_id not in owed),
        sum(leg.amount_raw for leg in held if leg.asset_id in owed),
        sum(leg.amount_raw for leg in account.legs if leg.side == "debt"),
    )


def ratio_of(account: AccountReading) -> int:
    """What the contract reports of it, as an integer."""
    assert account.health_factor_raw is not None
    return account.health_factor_raw


def accounts(reading: Reading) -> dict[str, AccountReading]:
    return {account.address: account for account in reading.accounts}


def price(feed: FeedReading) -> Fraction:
    return Fraction(feed.price_raw, feed.price_scale)


async def test_every_loan_is_the_controller_s_to_the_wei(devnet: Devnet) -> None:
    told = told_of(devnet)
    devnet.mine(devnet.head()[1] + 300_000)
    readings = await read(devnet)
    states = {"whole": 0, "soft": 0, "sold": 0, "below": 0}
    for key in SOUND:
        reading, market = readings[key], told["markets"][key]
        assert (reading.failed, reading.gaps) == ({}, {})
        users = [account["address"] for account in told["accounts"] if account["market"] == key]
        assert accounts(reading).keys() == set(users)
        assert reading.found == len(users)
        for user, account in accounts(reading).items():
            (state,) = devnet.call(market["controller"], "user_state(address)", "(uint256[4])", user)
            assert amounts(account) == state[:3]
            (health,) = devnet.call(market["controller"], "health(address,bool)", "(int256)", user, True)
            assert ratio_of(account) == WAD + health
            assert account.debt_base_raw == state[2]
            states["below"] += health < 0
            states["whole" if not state[1] else "soft" if state[0] else "sold"] += 1
            bands = account.mode.removeprefix("bands:")
            assert (bands == "0") == (state[0] == 0 or health < 0)
            if bands == "0":
                continue
            if state[1] == 0:
                assert bands == str(state[3])
            elif state[0]:
                assert 0 < float(bands) < state[3]
    assert sum(states.values()) - states["below"] >= 60
    assert states["soft"] >= 8
    assert states["sold"] >= 1
    assert states["below"] >= 1


async def test_x_down_is_the_amm_s_to_the_wei(devnet: Devnet) -> None:
    """Of every loan, with the shares of its bands; at this price, in the midst of its bands, below and above them."""
    told = told_of(devnet)
    for eth in (3_000, 2_700, 3_400):
        devnet.set_price("WETH", eth)
        for key in ("weth", "wbtc", "short"):
            market = told["markets"][key]["amm"]
            (oracle,) = devnet.call(market, "price_oracle()", "(uint256)")
            (active,) = devnet.call(market, "active_band()", "(int256)")
            for account in told["accounts"]:
                if account["market"] != key:
                    continue
                user = account["address"]
                ((first, last),) = devnet.call(market, "read_user_tick_numbers(address)", "(int256[2])", user)
                if last - first > 11 or (key == "weth" and int(user, 16) % 3):  # a third of the many, and short ones
                    continue
                (top,) = devnet.call(market, "p_oracle_up(int256)", "(uint256)", first)
                bands = []
                for number in range(first, last + 1):
                    held = [devnet.call(market, f"bands_{coin}(int256)", "(uint256)", number)[0] for coin in ("x", "y")]
                    held = [held[0] if number <= active else 0, held[1] if number >= active else 0]
                    share = devnet.call(market, "sharesOf(address,uint256)", "(uint256)", user, number - first)[0]
                    total = devnet.call(market, "totalShares(int256)", "(uint256)", number)[0]
                    bands.append(Band(held[0], held[1], share, total + DEAD_SHARES))
                (expected,) = devnet.call(market, "get_x_down(address)", "(uint256)", user)
                assert x_down(bands, top, oracle, 100) == expected, (key, user, eth)


def test_x_down_by_hand() -> None:
    """Collateral above whose bands the price stands is worth the geometric means; stablecoin below them is itself."""
    top = 1_000 * WAD
    held = [Band(0, 2 * WAD), Band(0, 2 * WAD)]
    expected = 2 * (1000 * 990) ** 0.5 + 2 * (990 * 980.1) ** 0.5
    assert x_down(held, top, 1_200 * WAD, 100) / WAD == pytest.approx(expected, rel=1e-15)
    assert x_down([Band(5 * WAD, 0)], top, 900 * WAD, 100) == 5 * WAD
    assert x_down([], top, 900 * WAD, 100) == 0
    half, height = remaining_bands(Band(0, WAD), top, 3, 100)
    assert (half, height) == (top, 4 * WAD)
    mean = (1000 * 990) ** 0.5
    edge, height = remaining_bands(Band(int(mean * WAD), WAD), top, 3, 100)
    assert edge / WAD == pytest.approx(995, rel=1e-12)
    assert height / WAD == pytest.approx(3.5, rel=1e-12)
    assert remaining_bands(Band(WAD, 0), top, 0, 100) == (990 * WAD, 0)


def test_heights_in_bands_are_plain_numbers() -> None:
    """The last of a loan's collateral, too, lies in a band: 0 means something else."""
    heights = [0, 1, 4 * 10**13, WAD, 5 * WAD // 2, 50 * WAD]
    wanted = ["0", "0.000001", "0.00004", "1", "2.5", "50"]
    assert [bands_mode(height) for height in heights] == [f"bands:{height}" for height in wanted]


async def test_a_health_factor_of_legs_is_one_where_what_is_unsold_begins(devnet: Devnet) -> None:
    """For loans above their bands: at the upper edge of the highest. The controller's own view is beside it."""
    told, readings = told_of(devnet), await read(devnet)
    snapshot = from_readings(list(readings.values()))
    result = run_contagion(snapshot, Scenario("calm", max_rounds=1))
    factors = dict(zip(result.book.account_ids, result.health_before, strict=True))
    checked = 0
    for key in SOUND:
        reading, market = readings[key], told["markets"][key]
        (oracle,) = devnet.call(market["amm"], "price_oracle()", "(uint256)")
        for user, account in accounts(reading).items():
            factor = factors[f"eip155:31337:{user}@{reading.venue.address}"]
            ((first, _),) = devnet.call(market["amm"], "read_user_tick_numbers(address)", "(int256[2])", user)
            (top,) = devnet.call(market["amm"], "p_oracle_up(int256)", "(uint256)", first)
            collateral, stablecoin, debt = amounts(account)
            if ratio_of(account) < WAD or not collateral:
                assert factor == pytest.approx(ratio_of(account) / WAD, rel=1e-9)
                assert account.mode == "bands:0"
            elif not stablecoin:
                assert factor == pytest.approx(oracle / top, rel=1e-9)
                checked += 1
    assert checked >= 40
    thin = accounts(readings["weth"])[next(a["address"] for a in told["accounts"] if a["kind"] == "thin")]
    collateral, stablecoin, debt = amounts(thin)
    assert (collateral, ratio_of(thin)) == (0, stablecoin * (WAD - DISCOUNT) // debt)
    assert stablecoin > debt > stablecoin * (WAD - DISCOUNT) // WAD
    hand = accounts(readings["weth"])[told["hand"]]
    assert amounts(hand)[:2] == (10 * WAD, 0)
    assert amounts(hand)[2] == pytest.approx(12_000 * WAD, rel=1e-2)
    (leg, debt_leg) = hand.legs
    assert leg.liquidation_bonus_wad / WAD == pytest.approx(0.06 / 0.94)  # the discount of 6 %
    assert (debt_leg.weight_wad, hand.mode) == (WAD, "bands:4")


async def test_what_may_be_liquidated_whole_leaves_what_it_is_not_worth(devnet: Devnet) -> None:
    """Without any fall: no band of such a loan can be sold at a price that the oracle has left behind."""
    told, weth = told_of(devnet), (await read(devnet))["weth"]
    calm = Scenario("calm", max_rounds=1, sell_collateral=False, buy_debt=False)
    result = run_contagion(from_readings([weth]), calm)
    left = dict(zip(result.bad_debt["account_id"], result.bad_debt["amount"], strict=True))
    (oracle,) = devnet.call(told["markets"]["weth"]["amm"], "price_oracle()", "(uint256)")
    short = {}
    for user, account in accounts(weth).items():
        collateral, stablecoin, debt = amounts(account)
        if ratio_of(account) < WAD and (missing := debt - stablecoin - collateral * oracle // WAD) > 0:
            short[f"eip155:31337:{user}@{weth.venue.address}"] = missing / WAD
    assert {account: amount for account, amount in left.items() if amount} == pytest.approx(short)
    assert len(short) == 1


async def test_a_fall_sells_what_lies_in_the_bands_that_it_passes(devnet: Devnet) -> None:
    """Loans near the price against the AMM's own get_x_down: once the price has fallen through all of a loan's bands
    slowly, it has what x_down said before, and is liquidated whole where that falls short."""
    told, readings = told_of(devnet), await read(devnet)
    snapshot = from_readings([readings["weth"]])
    result = run_contagion(snapshot, Scenario("ETH -35 %", {"WETH": -0.35}, sell_collateral=False, buy_debt=False))
    legs = result.legs.assign(owner=result.legs["account_id"].str.extract(r":(0x[0-9A-Fa-f]{40})@", expand=False))
    debt = legs[legs["side"] == "debt"].set_index("owner")["amount_after"]
    compared = 0
    market = told["markets"]["weth"]["amm"]
    for user, account in accounts(readings["weth"]).items():
        ((_, last),) = devnet.call(market, "read_user_tick_numbers(address)", "(int256[2])", user)
        (bottom,) = devnet.call(market, "p_oracle_up(int256)", "(uint256)", last + 1)
        if bottom < 1_950 * WAD or ratio_of(account) < WAD or amounts(account)[0] < WAD:
            continue
        _, stablecoin, owed = amounts(account)
        down = account.collateral_base_raw
        if abs(down * 0.94 / owed - 1) < 0.005:
            continue
        # what soft liquidation gets is set against the debt; what the AMM held before stays beside it
        left = max(0.0, owed - (down - stablecoin)) if down * 0.94 >= owed else 0.0
        assert debt[user] * WAD == pytest.approx(left, abs=0.005 * owed)
        compared += 1
    assert compared >= 8


async def test_feeds_have_the_unit_and_kind_of_their_oracle(devnet: Devnet) -> None:
    told, readings = told_of(devnet), await read(devnet)
    kinds = {key: [feed.kind for feed in readings[key].feeds] for key in SOUND}
    assert kinds == {
        "weth": ["market", "fixed", "market"],
        "wbtc": ["market", "fixed", "market"],
        "wsteth_lend": ["market", "market"],
        "short": ["market", "market"],
        "short_btc": ["market", "market"],
        "savings": ["ratio", "fixed", "market", "market"],
    }
    for key in SOUND:
        (oracle,) = devnet.call(told["markets"][key]["oracle"], "price()", "(uint256)")
        held, borrowed = readings[key].feeds[:2]
        assert price(held) / price(borrowed) == Fraction(oracle, WAD)
    savings = readings["savings"].feeds
    assert savings[0].base_feed_id == savings[2].feed_id
    assert Fraction(savings[0].ratio_raw, savings[0].ratio_scale) == Fraction(108, 100)
    usd = from_readings(list(readings.values())).assets.set_index("symbol")["price_usd"].to_dict()
    wanted = {"WETH": 3_000, "WBTC": 90_000, "wstETH": 3_540, "crvUSD": 0.998, "sDAI": 1.08, "DAI": 1}
    assert {symbol: usd[symbol] for symbol in wanted} == pytest.approx(wanted)


async def test_what_lent_coins_are_is_said_and_minted_ones_are_backed_by_their_markets_alone(devnet: Devnet) -> None:
    told, readings = told_of(devnet), await read(devnet)
    assert {readings[key].venue.protocol for key in ("weth", "wbtc")} == {"crvusd"}
    assert {readings[key].venue.protocol for key in SOUND - {"weth", "wbtc"}} == {"llamalend"}
    lent = readings["wsteth_lend"]
    (share,) = lent.backing
    vault = told["markets"]["wsteth_lend"]["vault"]
    (worth,) = devnet.call(vault, "convertToAssets(uint256)", "(uint256)", WAD)
    assert (share.asset_id.rsplit(":", 1)[1], share.kind) == (vault, "deposited")
    assert share.units_raw * WAD // share.units_scale == worth
    borrowed = lent.markets[1]
    (total,) = devnet.call(vault, "totalAssets()", "(uint256)")
    assert borrowed.supply_raw - total == sum(amounts(account)[1] for account in lent.accounts)
    (apr,) = devnet.call(vault, "lend_apr()", "(uint256)")
    assert borrowed.supply_rate_ray == apr * 10**9
    assert borrowed.borrow_rate_ray == 3 * 10**9 * 365 * 86_400 * 10**9
    minted = readings["weth"].markets[1]
    assert minted.borrow_cap_raw == 200_000_000 * WAD
    owed = sum(amounts(account)[2] for account in readings["weth"].accounts)
    assert owed == pytest.approx(minted.borrow_raw, rel=1e-15)
    held = [sum(amounts(account)[place] for account in readings["weth"].accounts) for place in (0, 1)]
    assert held == [readings["weth"].markets[0].supply_raw, minted.supply_raw]  # what the AMM holds, without its fees
    assert minted_backing(list(readings.values())) == []  # of crvUSD on Ethereum alone


async def test_a_share_of_a_vault_of_few_decimals_is_as_exact_as_its_totals(devnet: Devnet) -> None:
    """1e18 shares are some 75,000 units of WBTC: the price of one is no finer than 1e-5."""
    told, readings = told_of(devnet), await read(devnet)
    (share,) = readings["short_btc"].backing
    vault = told["markets"]["short_btc"]["vault"]
    (total,), (supply,) = (devnet.call(vault, name, "(uint256)") for name in ("totalAssets()", "totalSupply()"))
    assert share.units_raw / share.units_scale == pytest.approx(total / 1e8 / (supply / 1e18), rel=1e-13)


async def test_coins_that_soft_liquidation_got_back_back_no_coin(
    devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, readings = told_of(devnet), await read(devnet)
    coin = f"eip155:31337/erc20:{told['crvusd']}"
    monkeypatch.setattr(
        "defi_leverage.backing.minted._coins", lambda reading: {coin} & {a.asset_id for a in reading.assets}
    )
    weth = readings["weth"]
    (row,) = minted_backing([weth])
    out = sum(max(0, amounts(account)[2] - amounts(account)[1]) for account in weth.accounts)
    held = sum(leg.amount_raw for account in weth.accounts for leg in account.legs[:1] if leg.liquidation_bonus_wad)
    assert row.asset_id == coin
    assert Fraction(row.units_raw, row.units_scale) == Fraction(held, out)
    assert sum(amounts(account)[1] for account in weth.accounts) > 10_000 * WAD


async def test_broken_markets_are_named_and_their_loans_set_aside(devnet: Devnet) -> None:
    told, readings = told_of(devnet), await read(devnet)
    (why,) = readings[told["mint"]].gaps.values()
    assert why == "its price oracle reverts"
    (why,) = readings[told["lend"]].gaps.values()
    assert why == "neither of its tokens is the factory's stablecoin: no price in USD"
    for root in (told["mint"], told["lend"]):
        assert len(readings[root].failed) == readings[root].found == 2
    assert not from_readings(list(readings.values())).complete


async def test_a_loan_that_is_not_reproduced_is_set_aside(devnet: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    told = told_of(devnet)
    bend(monkeypatch, load_abi("crvusd").encode("health", told["hand"], True))
    readings = await read(devnet, told["mint"])
    assert set(readings["weth"].failed) == {told["hand"]}
    assert "where the controller has" in readings["weth"].failed[told["hand"]]


async def test_without_an_aggregator_the_coin_has_no_price(devnet: Devnet) -> None:
    """LlamaLend whose only oracle with one is gone: what is lent at the coin's market price is left out by name."""
    told = told_of(devnet)
    devnet.transact(SENDER, told["markets"]["savings"]["oracle"], "breakDown()")
    readings = await read(devnet, told["lend"])
    assert readings.keys() == {told["lend"]}
    whys = sorted(readings[told["lend"]].gaps.values())
    assert whys[:2] == [
        "its price oracle reverts",
        "neither of its tokens is the factory's stablecoin: no price in USD",
    ]
    assert whys[2] == whys[3] == "no oracle of its factory names an aggregator: no price of the stablecoin in USD"


@pytest.mark.parametrize(
    ("address", "fault"), [("0x12", "is not an address"), (SENDER, "does not answer as a factory")]
)
async def test_another_address_is_refused(devnet: Devnet, address: str, fault: str) -> None:
    with pytest.raises(ReaderError, match=fault):
        await read(devnet, address)
