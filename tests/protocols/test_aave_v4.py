"""The Aave v4 reader against a stand-in of a hub and a spoke; what it imitates is said in its Solidity files.

No bytecode of Aave v4 was to be had: the stand-in answers with the published ABI and arithmetic.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest

from defi_leverage.abi import load_abi
from defi_leverage.chain import open_chain
from defi_leverage.contagion.liquidation import aave_v4 as rule
from defi_leverage.contagion.liquidation import seize
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import RAY, WAD
from defi_leverage.protocols import aave_v4
from defi_leverage.protocols.aave_v4.health import NO_DEBT
from defi_leverage.reading import NO_CAP, AccountReading, Deployment, FeedReading, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.protocols.aave_v4 import BONUS_CONFIG, HAND
from tests.devnet.session import Devnet

devnet_tests = pytest.mark.devnet("aave_v4")

DATA = "((uint256,uint256,uint256,uint256,uint256,uint256,uint256))"
_BONUS = "getLiquidationBonus(uint256,address,uint256)"
_LIQUIDATE = "liquidationCall(uint256,uint256,address,bool)"
TERMS = {"target_health_factor": 1.05, "maximum_bonus_health_factor": 0.9, "minimum_bonus_share": 0.8}
PAYER = "0x00000000000000000000000000000000000B0B0B"


@dataclass(frozen=True)
class Scene:
    """The devnet's spoke, what its builder tells of it, and the reading at the head."""

    devnet: Devnet
    told: dict[str, Any]
    reading: Reading

    def view(self, signature: str, returns: str, *arguments: Any) -> tuple[Any, ...]:
        return self.devnet.call(self.told["address"], signature, returns, *arguments)

    @property
    def accounts(self) -> dict[str, AccountReading]:
        return {account.address: account for account in self.reading.accounts}

    def of_kind(self, kind: str) -> list[str]:
        return [account["address"] for account in self.told["accounts"] if account["kind"] == kind]

    def feed(self, feed_id: str) -> FeedReading:
        return next(feed for feed in self.reading.feeds if feed.feed_id == feed_id)

    def usd(self, feed_id: str, amount: int) -> float:
        feed = self.feed(feed_id)
        places = {asset.asset_id: asset.decimals for asset in self.reading.assets}[feed.asset_id]
        return float(Fraction(amount * feed.price_raw, feed.price_scale * 10**places))


async def read(devnet: Devnet, address: str = "", first_block: int | None = None) -> Reading:
    told = devnet.description.protocols["aave_v4"]
    deployment = Deployment("aave_v4", "Spoke", address or told["address"], first_block or told["first_block"])
    async with open_chain("devnet", devnet.chain_id, [devnet.url]) as chain:
        return await aave_v4.read(chain, deployment)


def health(account: AccountReading) -> float:
    assert account.health_factor_raw is not None
    return account.health_factor_raw / WAD


@pytest.fixture
async def scene(devnet: Devnet) -> Scene:
    return Scene(devnet, devnet.description.protocols["aave_v4"], await read(devnet))


@devnet_tests
def test_every_account_is_the_spoke_s_own_view_to_the_wei(scene: Scene) -> None:
    assert len(scene.accounts) >= 50
    for address, account in scene.accounts.items():
        _, _, factor, collateral, debt_ray, *_ = scene.view("getUserAccountData(address)", DATA, address)[0]
        assert account.health_factor_raw == factor
        assert account.collateral_base_raw == collateral
        assert account.debt_base_raw == -(-debt_ray // RAY)


@devnet_tests
def test_every_account_is_found(scene: Scene) -> None:
    known = {account["address"] for account in scene.told["accounts"]} - {scene.told["lost"]}
    assert scene.reading.found == len(known)
    assert scene.accounts.keys() | scene.reading.failed.keys() == known
    # received shares in a liquidation, and nothing else
    liquidator = scene.accounts[scene.told["liquidator"]]
    assert [(leg.side, leg.weight_wad) for leg in liquidator.legs] == [("collateral", 0)]
    assert liquidator.health_factor_raw == NO_DEBT


@devnet_tests
def test_legs_at_their_feeds_give_that_health_factor(scene: Scene) -> None:
    for account in scene.accounts.values():
        sums = {"collateral": 0.0, "debt": 0.0}
        for leg in account.legs:
            sums[leg.side] += scene.usd(leg.feed_id, leg.amount_raw) * leg.weight_wad / WAD
        if sums["debt"]:
            close = 1.1 if account.address in scene.of_kind("dust") else 1e-9  # debts are rounded up to a raw unit each
            assert sums["collateral"] / sums["debt"] == pytest.approx(health(account), rel=close)


@devnet_tests
def test_an_account_solved_by_hand(scene: Scene) -> None:
    """10 WETH and 0.0005 of interest at 3,000 USD, a factor of 78 %, 20,000 DAI without interest: 1.17 and a little."""
    account = scene.accounts[scene.told["hand"]]
    (held,) = [leg for leg in account.legs if leg.side == "collateral"]
    (owed,) = [leg for leg in account.legs if leg.side == "debt"]
    assert 0 <= held.amount_raw - HAND["collateral"] < 10**15  # what lenders earned since
    assert owed.amount_raw == HAND["debt"]
    assert held.weight_wad == 78 * 10**16
    assert account.health_factor_raw == held.amount_raw * 3_000 * 78 * 10**16 // HAND["debt"]
    assert account.debt_base_raw == 20_000 * 10**26
    assert (held.liquidation_bonus_wad, held.protocol_fee_wad) == (7 * 10**16, 10**17)


@devnet_tests
def test_positions_keep_their_dynamic_configuration(scene: Scene) -> None:
    """WETH's factor was lowered from 82 to 78 %: who acted before keeps 82 %, and the bonus of then."""
    weth = f"erc20:{scene.devnet.tokens['WETH']}"
    found = {
        kind: {
            (leg.weight_wad // 10**16, leg.liquidation_bonus_wad // 10**16)
            for address in scene.of_kind(kind)
            for leg in scene.accounts[address].legs
            if leg.asset_id.endswith(weth) and leg.side == "collateral"
        }
        for kind in ("liquidatable", "borrower", "mixed", "hand")
    }
    assert found["liquidatable"] == {(82, 6)}
    assert found["mixed"] == found["hand"] == {(78, 7)}


@devnet_tests
def test_premium_debt_is_part_of_the_debt(scene: Scene) -> None:
    usdc = scene.told["reserves"]["USDC"]
    mixed = scene.of_kind("mixed")[0]
    drawn, premium = scene.view(
        "getUserPosition(uint256,address)", "((uint120,uint120,int200,uint120,uint32))", usdc, mixed
    )[0][:2]
    assert premium == -(-drawn * 777 // 10_000)
    owed = sum(
        leg.amount_raw
        for leg in scene.accounts[mixed].legs
        if leg.side == "debt"
        and leg.feed_id.startswith(f"eip155:{scene.devnet.chain_id}/erc20:{scene.devnet.tokens['USDC']}")
    )
    plain = -(-drawn * scene.devnet.call(scene.told["hub"], "getAssetDrawnIndex(uint256)", "(uint256)", usdc)[0] // RAY)
    assert (owed - 40_000 * 10**6) / (plain - 40_000 * 10**6) == pytest.approx(1.0777, rel=1e-6)


@devnet_tests
def test_markets(scene: Scene) -> None:
    markets = {market.asset_id.rsplit(":", 1)[1]: market for market in scene.reading.markets}
    usdc, dai = (markets[scene.devnet.tokens[symbol]] for symbol in ("USDC", "DAI"))
    assert usdc.borrow_rate_ray == pytest.approx(0.06 * RAY)
    assert usdc.supply_rate_ray is not None
    # 6 % on what is drawn and the premiums, nine tenths of it to those who supply
    assert 0.9 * 0.06 < usdc.supply_rate_ray / RAY / (usdc.borrow_raw / usdc.supply_raw) < 0.9 * 0.06 * 1.25
    assert (usdc.supply_cap_raw, usdc.borrow_cap_raw) == (4 * 10**6 * 10**6, NO_CAP)
    assert dai.deficit_raw > 1_000 * 10**18  # what the position under water left
    assert (usdc.deficit_raw, dai.supply_rate_ray) == (0, 0)


@devnet_tests
def test_the_deficit_is_what_the_liquidation_left(scene: Scene) -> None:
    assert scene.told["lost"] not in scene.accounts
    assert scene.told["lost"] not in scene.reading.failed
    dai = next(m for m in scene.reading.markets if m.asset_id.endswith(scene.devnet.tokens["DAI"]))
    spoke = scene.devnet.call(
        scene.told["hub"],
        "getSpoke(uint256,address)",
        "((uint120,uint120,int200,uint120,uint40,uint40,uint24,bool,bool,uint200))",
        scene.told["reserves"]["DAI"],
        scene.told["address"],
    )[0]
    assert dai.deficit_raw == -(-spoke[9] // RAY)


@devnet_tests
async def test_interest_is_due_to_the_block(scene: Scene) -> None:
    devnet, later = scene.devnet, scene.devnet.head()[1] + 90 * 86_400
    before = devnet.snapshot()
    devnet.mine(later)
    pending = await read(devnet)
    devnet.revert(before)
    touches = [transaction(OWNER, scene.told["hub"], "accrue(uint256)", asset) for asset in range(5)]
    devnet.send_many(touches, later)
    booked = await read(devnet)
    assert [account.legs for account in booked.accounts] == [account.legs for account in pending.accounts]
    assert not booked.failed.keys() - scene.reading.failed.keys()


@devnet_tests
def test_a_reserve_without_a_price_is_left_out_by_name(scene: Scene) -> None:
    assert scene.reading.gaps == {"DEAD (reserve 5)": "the oracle reverts"}
    assert set(scene.reading.failed.values()) == {"uses DEAD: the oracle reverts"}
    assert scene.reading.failed.keys() == set(scene.of_kind("dead"))
    assert not any("DEAD" in asset.symbol for asset in scene.reading.assets)
    assert not from_readings([scene.reading]).complete
    # a mere supply of it has no leg, and fails nobody
    assert any(not account.legs for account in scene.accounts.values())


@devnet_tests
def test_kinds_of_feed(scene: Scene) -> None:
    kinds = {asset.symbol: scene.reading.feeds[at].kind for at, asset in enumerate(scene.reading.assets)}
    assert kinds == {"WETH": "market", "wstETH": "ratio", "WBTC": "market", "USDC": "market", "DAI": "market"}


@devnet_tests
def test_the_bonus_grows_as_the_spoke_says(scene: Scene) -> None:
    """getLiquidationBonus, in whole basis points."""
    user = scene.told["hand"]
    weth = scene.told["reserves"]["WETH"]
    for factor in (0.5, 0.9, 0.93, 0.97, 0.999, 1.0):
        seen = scene.view("getLiquidationBonus(uint256,address,uint256)", "(uint256)", weth, user, int(factor * WAD))[0]
        ours = rule(factor, 1e4, 1e4, 1e5, 0.07, 0.78, 0.1, **TERMS).bonus
        assert ours * 10_000 == pytest.approx(seen - 10_000, abs=1e-9)


@devnet_tests
async def test_liquidations_on_the_chain_are_the_rule_s(scene: Scene) -> None:
    """Everybody below 1 is liquidated in the same second as we read; repaid and seized are the rule's."""
    devnet, spoke, ids = scene.devnet, scene.told["address"], scene.told["reserves"]
    assert BONUS_CONFIG == (105 * 10**16, 9 * 10**17, 8000)
    parameters = scene.reading.venue.liquidation_parameters
    assert parameters == TERMS | {"minimum_leftover_usd": 1000.0}
    devnet.mint("USDC", PAYER, 10**14)
    devnet.transact(PAYER, devnet.tokens["USDC"], "approve(address,uint256)", scene.told["hub"], MAX_UINT)
    later = devnet.head()[1] + 3_600
    before = devnet.snapshot()
    devnet.mine(later)
    then = Scene(devnet, scene.told, await read(devnet))
    below = [account for account in then.accounts.values() if health(account) < 1]
    assert len(below) >= 6
    for account in below:
        (held,) = [leg for leg in account.legs if leg.side == "collateral"]
        (owed,) = [leg for leg in account.legs if leg.side == "debt"]
        devnet.revert(before)
        before = devnet.snapshot()
        call = transaction(PAYER, spoke, _LIQUIDATE, ids["WETH"], ids["USDC"], account.address, False)
        (receipt,) = devnet.send_many([call], later)
        data = next(
            log["data"] for log in receipt["logs"] if log["topics"][0] == load_abi("aave_v4").topic("LiquidationCall")
        )
        words = [int(data[2 + 64 * at : 66 + 64 * at], 16) for at in range(10)]
        debt, worth = then.usd(owed.feed_id, owed.amount_raw), then.usd(held.feed_id, held.amount_raw)
        terms = rule(
            health(account),
            debt,
            debt,
            worth,
            held.liquidation_bonus_wad / WAD,
            held.weight_wad / WAD,
            held.protocol_fee_wad / WAD,
            **parameters,
        )
        repaid, seized = seize(terms.repaid, debt, worth, terms.bonus)
        assert words[2] / owed.amount_raw == pytest.approx(repaid / debt, rel=1e-9)
        assert words[7] / held.amount_raw == pytest.approx(seized * (1 - terms.kept) / worth, rel=1e-9)


@devnet_tests
async def test_an_account_may_use_two_reserves_of_one_asset(scene: Scene) -> None:
    """USDC twice, at one source, with terms of their own: two legs with a feed each, in one snapshot.

    On chain two hubs would lend it; one hub of the stand-in does it, too.
    """
    devnet, spoke, hub = scene.devnet, scene.told["address"], scene.told["hub"]
    usdc, weth = scene.told["reserves"]["USDC"], scene.told["reserves"]["WETH"]
    second = len(scene.told["reserves"])
    devnet.mint("USDC", PAYER, 10**11)
    calls: list[tuple[Any, ...]] = [
        (OWNER, hub, "addAsset(address,uint96,uint16)", devnet.tokens["USDC"], 0, 0),
        (OWNER, hub, "setCaps(uint256,address,uint40,uint40)", second, spoke, 2**40 - 1, 2**40 - 1),
        (OWNER, spoke, "addReserve(address,uint16,(uint16,uint32,uint16))", hub, second, (7000, 10800, 0)),
        (OWNER, scene.told["oracle"], "setReserveSource(uint256,address)", second, devnet.feeds["USDC"]),
        (PAYER, devnet.tokens["USDC"], "approve(address,uint256)", hub, MAX_UINT),
        (PAYER, spoke, "supply(uint256,uint256,address,bool)", usdc, 6 * 10**9, PAYER, True),
        (PAYER, spoke, "supply(uint256,uint256,address,bool)", second, 4 * 10**9, PAYER, True),
        (PAYER, spoke, "borrow(uint256,uint256,address,uint256)", weth, 10**18, PAYER, 0),
    ]
    devnet.send_many([transaction(*call) for call in calls])
    later = Scene(devnet, scene.told, await read(devnet))
    (account,) = [account for account in later.reading.accounts if account.address.lower() == PAYER.lower()]
    legs = [leg for leg in account.legs if leg.side == "collateral"]
    assert [(leg.amount_raw, leg.weight_wad) for leg in legs] == [
        (pytest.approx(6 * 10**9, abs=1), 8 * WAD // 10),
        (4 * 10**9, 7 * WAD // 10),
    ]
    assert len({leg.asset_id for leg in legs}) == 1
    assert [later.feed(leg.feed_id).price_raw for leg in legs] == [later.feed(legs[0].feed_id).price_raw] * 2
    assert legs[1].feed_id == f"{legs[0].feed_id}#{second}"
    snapshot = from_readings([later.reading])
    assert snapshot.legs["account_id"].str.contains(account.address).sum() == 3


@devnet_tests
async def test_suspended_liquidations_are_named(scene: Scene) -> None:
    devnet, ids, spoke = scene.devnet, scene.told["reserves"], scene.told["address"]
    assert not [name for name in scene.reading.gaps if name.startswith("liquidations")]
    active = "setActive(uint256,address,bool,bool)"
    devnet.send_many(
        [
            transaction(OWNER, spoke, "setFlags(uint256,uint8)", ids["WBTC"], 1 | 4),
            transaction(OWNER, spoke, "setFlags(uint256,uint8)", ids["DAI"], 2 | 8),
            transaction(OWNER, scene.told["hub"], active, ids["USDC"], spoke, True, True),
            transaction(OWNER, scene.told["hub"], active, ids["WETH"], spoke, False, False),
        ]
    )
    gaps = (await read(devnet)).gaps
    found = {name: why.split(":")[0] for name, why in gaps.items() if name.startswith("liquidations")}
    assert found == {
        f"liquidations of WBTC (reserve {ids['WBTC']})": "the reserve is paused",
        f"liquidations of USDC (reserve {ids['USDC']})": "its hub has halted the spoke",
        f"liquidations of WETH (reserve {ids['WETH']})": "its hub has deactivated the spoke",
    }


@devnet_tests
async def test_late_first_block_is_a_gap(scene: Scene) -> None:
    late = await read(scene.devnet, first_block=scene.devnet.head()[0])
    assert "first_block" in late.gaps["accounts that no event names"]


@devnet_tests
async def test_what_is_no_spoke_is_an_error(scene: Scene) -> None:
    for address, fault in (
        (scene.told["hub"], "is not a spoke"),
        ("0x" + "11" * 20, "has no code"),
        ("x", "is not an"),
    ):
        with pytest.raises(ReaderError, match=f"{fault}.*address of a spoke"):
            await read(scene.devnet, address)


def test_debt_to_the_target_by_hand() -> None:
    """Debt 10,000, health 0.95, weight 0.8, bonus 5 % at 0.9 and half of that at 1: 3.75 % at 0.95.

    x = 10,000 (1.05 - 0.95) / (1.05 - 1.0375 * 0.8) = 1,000 / 0.22; then health is 1.05.
    """
    terms = rule(0.95, 1e4, 1e4, 11_875, 0.05, 0.8, 0.1, 1.05, 0.9, 0.5, 1000.0)
    assert terms.bonus == pytest.approx(0.0375)
    assert terms.repaid == pytest.approx(1_000 / 0.22)
    assert terms.kept == pytest.approx(0.1 * 0.0375 / 1.0375)
    repaid, seized = seize(terms.repaid, 1e4, 11_875, terms.bonus)
    assert (11_875 - seized) * 0.8 / (1e4 - repaid) == pytest.approx(1.05)


def test_no_dust_is_left() -> None:
    """Less than 1,000 USD of debt is repaid whole; less than 1,000 USD of collateral is taken whole."""
    assert rule(0.95, 1_500, 1_500, 1_781.25, 0.05, 0.8, 0.0, 1.05, 0.9, 0.5).repaid == 1_500  # 818 would be left
    # two debts of 10,000: 9,090.9 at 1.0375 is 9,431.8 of the 10,000 of this collateral, and 568.2 would be left
    terms = rule(0.95, 2e4, 2e4, 10_000, 0.05, 0.8, 0.0, 1.05, 0.9, 0.5)
    assert seize(terms.repaid, 2e4, 10_000, terms.bonus) == pytest.approx((10_000 / 1.0375, 10_000))


def test_at_and_below_the_health_factor_of_the_maximum_bonus() -> None:
    for factor in (0.9, 0.4, 0.0):
        assert rule(factor, 1e4, 1e4, 1e4, 0.07, 0.8, 0.0, 1.05, 0.9, 0.8).bonus == 0.07
