"""The Fluid reader against a stand-in of its resolvers; what it imitates is said in its Solidity files.

No bytecode of Fluid's was to be had: the stand-in answers in the resolvers' ABI. Its vaults liquidate by ratio instead
of by tick, and lazily, as Fluid's do.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from defi_leverage.abi import load_abi
from defi_leverage.chain import open_chain
from defi_leverage.contagion.liquidation import fluid as rule
from defi_leverage.contagion.liquidation import seize
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import RAY, WAD
from defi_leverage.protocols import fluid
from defi_leverage.protocols.fluid.price_feeds import price_tokens
from defi_leverage.protocols.fluid.vaults import _is_known_layout
from defi_leverage.reading import AccountReading, Deployment, FeedReading, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import transaction
from tests.devnet.protocols.fluid import HAND, TERMS
from tests.devnet.session import Devnet

devnet_tests = pytest.mark.devnet("fluid")


@dataclass(frozen=True)
class Scene:
    """The devnet's vaults, what their builder tells of them, and the readings at the head, by the builder's key."""

    devnet: Devnet
    told: dict[str, Any]
    readings: tuple[Reading, ...]

    @property
    def by_key(self) -> dict[str, Reading]:
        keys = {address: key for key, address in self.told["vaults"].items()}
        return {keys[r.venue.address]: r for r in self.readings if r.venue.address in keys}

    def of_kind(self, kind: str) -> dict[int, AccountReading]:
        kinds = {account["nft"]: account["kind"] for account in self.told["accounts"]}
        found = {number(a): a for reading in self.by_key.values() for a in reading.accounts}
        return {nft: account for nft, account in found.items() if kinds[nft] == kind}


def number(account: AccountReading) -> int:
    return int(account.address.removeprefix("nft:"))


def health(account: AccountReading) -> float:
    assert account.health_factor_raw is not None
    return account.health_factor_raw / WAD


def amounts(account: AccountReading) -> tuple[int, int]:
    sides = {leg.side: leg.amount_raw for leg in account.legs}
    return sides.get("collateral", 0), sides.get("debt", 0)


def price(feed: FeedReading) -> Fraction:
    return Fraction(feed.price_raw, feed.price_scale)


async def read(devnet: Devnet, address: str = "", **options: str) -> tuple[Reading, ...]:
    told = devnet.description.protocols["fluid"]
    deployment = Deployment("fluid", "Fluid", address or told["address"], 0, told["options"] | options)
    async with open_chain("devnet", devnet.chain_id, [devnet.url]) as chain:
        return await fluid.read(chain, deployment)


@pytest.fixture
async def scene(devnet: Devnet) -> Scene:
    return Scene(devnet, devnet.description.protocols["fluid"], await read(devnet))


@devnet_tests
def test_every_position_is_an_account_of_its_owner(scene: Scene) -> None:
    assert set(scene.by_key) == TERMS.keys() - {"smart", "broken"}
    assert sum(len(reading.accounts) for reading in scene.by_key.values()) >= 45
    for key, reading in scene.by_key.items():
        opened = {a["nft"]: a["owner"] for a in scene.told["accounts"] if a["vault"] == key}
        assert {number(account): account.owner for account in reading.accounts} == opened
        assert (reading.failed, reading.gaps, reading.found) == ({}, {}, len(opened))
    snapshot = from_readings(scene.readings)
    assert snapshot.accounts["account_id"].is_unique
    assert (snapshot.accounts["owner"] == f"eip155:{scene.devnet.chain_id}:{scene.told['several']}").sum() == 2


@devnet_tests
def test_a_position_solved_by_hand(scene: Scene) -> None:
    """2 WBTC at 90,000 USD, a threshold of 85 %, 100,000 USDC, no interest: 153,000 / 100,000."""
    (account,) = (a for a in scene.by_key["wbtc_usdc"].accounts if number(a) == scene.told["hand"])
    assert amounts(account) == (HAND["collateral"], HAND["debt"])
    assert account.health_factor_raw == 153 * 10**16
    assert (account.collateral_base_raw, account.debt_base_raw) == (180_000 * 10**6, 100_000 * 10**6)
    assert [(leg.weight_wad, leg.liquidation_bonus_wad) for leg in account.legs] == [
        (85 * 10**16, 3 * 10**16),
        (WAD, 0),
    ]


@devnet_tests
def test_liquidated_positions_are_settled_and_not_what_the_vault_stores(scene: Scene) -> None:
    vault = scene.told["vaults"]["eth_usdc"]
    supply_price, borrow_price = scene.devnet.call(vault, "exchangePrices()", "(uint256,uint256)")
    stale = 0
    for nft, account in (scene.of_kind("cut") | scene.of_kind("borrower")).items():
        if account not in scene.by_key["eth_usdc"].accounts:
            continue
        supply, borrow, _ = scene.devnet.call(vault, "stored(uint256)", "(uint256,uint256,uint256)", nft)
        kept = (supply * supply_price // 10**12, borrow * borrow_price // 10**12)
        raw = scene.devnet.call(vault, "latest(uint256)", "(uint256,uint256)", nft)
        assert amounts(account) == (raw[0] * supply_price // 10**12, raw[1] * borrow_price // 10**12)
        stale += amounts(account) != kept
        assert amounts(account)[1] <= kept[1]
    assert len(scene.of_kind("cut")) == 3
    assert stale >= 3


@devnet_tests
def test_dust_a_mere_supply_and_positions_below_one(scene: Scene) -> None:
    (dust,) = scene.of_kind("dust").values()
    assert amounts(dust)[1] == 1
    mere, _ = scene.of_kind("several").values()
    assert [leg.side for leg in mere.legs] == ["collateral"]
    assert mere.health_factor_raw == 2**256 - 1
    low = [health(account) for account in scene.of_kind("liquidatable").values()]
    assert len(low) == 3
    assert 0.95 < min(low) < max(low) < 1
    (sunk,) = scene.of_kind("under_water").values()
    assert health(sunk) < 0.92  # the threshold: the collateral is worth less than the debt


@devnet_tests
def test_legs_at_their_feeds_give_that_health_factor(scene: Scene) -> None:
    for reading in scene.by_key.values():
        feeds = {feed.feed_id: feed for feed in reading.feeds}
        places = {asset.asset_id: asset.decimals for asset in reading.assets}
        for account in reading.accounts:
            sums = {"collateral": Fraction(0), "debt": Fraction(0)}
            for leg in account.legs:
                usd = leg.amount_raw * price(feeds[leg.feed_id]) / 10 ** places[leg.asset_id]
                sums[leg.side] += usd * leg.weight_wad / WAD
            if sums["debt"]:
                assert float(sums["collateral"] / sums["debt"]) == pytest.approx(health(account), rel=1e-9)


@devnet_tests
def test_kinds_of_feed(scene: Scene) -> None:
    """By the sources that an oracle names, and by what wstETH itself says it is worth: both a rate of ETH."""
    for key, base in (("wsteth_eth", "slip44:60"), ("wsteth_usdc", "slip44:60")):
        reading = scene.by_key[key]
        feed = next(f for f in reading.feeds if f.asset_id.endswith(scene.told["tokens"]["wsteth"]))
        under = next(f for f in reading.feeds if f.feed_id == feed.base_feed_id)
        assert (feed.kind, under.kind) == ("ratio", "market")
        assert under.asset_id.endswith(base)
        assert Fraction(feed.ratio_raw, feed.ratio_scale) == Fraction(118, 100)
        assert price(feed) == price(under) * Fraction(118, 100) == 3_540
    kinds = {f.kind for key in ("eth_usdc", "wbtc_usdc") for f in scene.by_key[key].feeds}
    assert kinds == {"market"}
    usdc = next(f for f in scene.by_key["wbtc_usdc"].feeds if f.asset_id.endswith(scene.devnet.tokens["USDC"]))
    assert price(usdc) == 1
    assert usdc.source.startswith("oracle of the vault")
    assert usdc.source.endswith("ETH at ETH / USD")


@devnet_tests
def test_markets(scene: Scene) -> None:
    debt, collateral = scene.by_key["eth_usdc"].markets
    assert (debt.borrow_rate_ray, collateral.supply_rate_ray) == (6 * RAY // 100, 15 * RAY // 1000)
    held = [amounts(account) for account in scene.by_key["eth_usdc"].accounts]
    assert sum(supply for supply, _ in held) == pytest.approx(collateral.supply_raw, abs=len(held))
    assert sum(borrow for _, borrow in held) == pytest.approx(debt.borrow_raw, abs=len(held))


@devnet_tests
def test_what_is_not_read_is_left_out_by_name(scene: Scene) -> None:
    *_, rest = scene.readings
    vaults = scene.told["vaults"]
    assert rest.gaps[f"vault {vaults['smart']}"].startswith("its collateral or debt are shares of a Fluid DEX")
    assert rest.gaps[f"vault {vaults['broken']}"].startswith("the resolver does not describe it: its oracle reverts")
    assert len(rest.gaps) == 2
    assert len(rest.failed) == 4
    assert not from_readings(scene.readings).complete


@devnet_tests
async def test_a_liquidation_on_the_chain_is_the_rule_s(scene: Scene) -> None:
    """Everybody below 1 is brought to the threshold in the same second as we read."""
    devnet, key = scene.devnet, "eth_usdc"
    mine = [account["nft"] for account in scene.told["accounts"] if account["vault"] == key]
    later = devnet.head()[1] + 3_600
    before = devnet.snapshot()
    devnet.mine(later)
    then = Scene(devnet, scene.told, await read(devnet)).by_key[key]
    devnet.revert(before)
    devnet.send_many([transaction(OWNER, scene.told["vaults"][key], "liquidate(uint256[])", mine)], later)
    after = {a.address: amounts(a) for a in Scene(devnet, scene.told, await read(devnet)).by_key[key].accounts}
    parameters = then.venue.liquidation_parameters
    assert parameters == {"absorb_ratio": 0.95}
    below = [a for a in then.accounts if health(a) < 1 and health(a) * 0.95 > 0.92]  # above the limit it is absorbed
    assert len(below) == 3
    for account in below:
        supply, borrow = amounts(account)
        worth, debt = supply * 3_000 / 1e18, borrow / 1e6
        terms = rule(health(account), debt, debt, worth, 0.01, 0.92, 0.0, **parameters)
        repaid, seized = seize(terms.repaid, debt, worth, terms.bonus)
        assert borrow - after[account.address][1] == pytest.approx(repaid / debt * borrow, rel=1e-6)
        assert supply - after[account.address][0] == pytest.approx(seized / worth * supply, rel=1e-6)


@devnet_tests
async def test_wrong_addresses_are_errors_that_name_the_remedy(scene: Scene) -> None:
    usdc = scene.devnet.tokens["USDC"]
    with pytest.raises(ReaderError, match=r"lists no vaults.*VaultResolver"):
        await read(scene.devnet, usdc)
    with pytest.raises(ReaderError, match=r"does not answer getPositionsForNftIds.*positions_resolver"):
        await read(scene.devnet, positions_resolver=usdc)
    with pytest.raises(ReaderError, match=r"answers no price.*eth_usd_feed"):
        await read(scene.devnet, eth_usd_feed=usdc)
    with pytest.raises(ReaderError, match="'' is not an address"):
        await read(scene.devnet, positions_resolver="")


@devnet_tests
def test_an_answer_of_another_layout_is_known_by_its_exchange_prices(scene: Scene) -> None:
    """A resolver without Configs.lastUpdateTimestamp has everything behind it one word earlier."""
    vault = to_checksum_address(scene.told["vaults"]["eth_usdc"])
    abi = load_abi("fluid")
    call = {"to": scene.told["address"], "data": "0x" + abi.encode("getVaultEntireData", vault).hex()}
    answer = bytes.fromhex(scene.devnet.rpc("eth_call", call, "latest")[2:])
    before = 3 + 18 + 12  # words: of the vault itself, its constants, its configuration up to that time
    shifted = answer[: 32 * before] + answer[32 * (before + 1) :]
    known, other = (abi.decode("getVaultEntireData", data)[0] for data in (answer, shifted))
    assert _is_known_layout(vault, known)
    assert not _is_known_layout(vault, other)


def test_debt_to_the_threshold_by_hand() -> None:
    """Debt 10,000, collateral 12,000, threshold 0.8, penalty 5 %: x = (10,000 - 9,600) / (1 - 1.05 * 0.8) = 2,500."""
    terms = rule(0.96, 1e4, 1e4, 12_000, 0.05, 0.8, 0.0, 0.95)
    assert terms == pytest.approx((2_500, 0.05, 0.0))
    left = (12_000 - 2_500 * 1.05) * 0.8 / (1e4 - 2_500)
    assert left == pytest.approx(1)


def test_above_the_limit_a_position_is_absorbed_whole() -> None:
    # 0.8 / 0.84 is a ratio of 0.952
    assert rule(0.84, 1e4, 1e4, 10_500, 0.05, 0.8, 0.0, 0.95).repaid == 1e4
    assert rule(0.85, 1e4, 1e4, 10_625, 0.05, 0.8, 0.0, 0.95).repaid < 1e4
    assert rule(0.0, 1e4, 1e4, 0.0, 0.05, 0.8, 0.0).repaid == 1e4


def test_without_vaults_only_the_native_coin_has_a_price() -> None:
    assert list(price_tokens([], (Fraction(3_000), "feed")).values()) == [(Fraction(3_000), "feed")]
