"""The Maker reader on the devnet's vat, spotter, jug, dog and CDP manager: stand-ins.

See tests/devnet/protocols/maker for what they imitate and what not; no bytecode of Maker's was run.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.chain import open_chain
from defi_leverage.config import load_config
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import RAY, WAD
from defi_leverage.protocols import load_reader, maker
from defi_leverage.protocols.maker.arithmetic import NO_DEBT, debt_wad, dripped, health_factor, rpow, yearly_rate
from defi_leverage.protocols.maker.system import find_system, read_ilks
from defi_leverage.protocols.maker.vaults import find_candidates, missing_debt, read_notes, read_vaults
from defi_leverage.reading import AccountReading, Deployment, RateCurve, Reading
from defi_leverage.scan import scan
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import Transaction, transaction
from tests.devnet.protocols.maker import BASE, BROKEN, ILKS, RAD, key
from tests.devnet.rpc import RpcError
from tests.devnet.session import Devnet

PAYER = "0x00000000000000000000000000000000000B0B0B"
YEAR = 365 * 86_400
VAT_ILK = "(uint256,uint256,uint256,uint256,uint256)"


def test_powers_by_hand() -> None:
    """1.1^0 to 1.1^3 in a scale of 100, where each product is rounded half up: 1.21, then 1.21 * 1.1 = 1.331."""
    assert [rpow(110, n, 100) for n in range(4)] == [100, 110, 121, 133]
    assert rpow(105, 2, 100) == 110  # of 110.25
    assert rpow(101, 5, 10) == 1050804  # 10.1^2 -> 102.0, squared 10404.0, times 10.1
    assert rpow(0, 0) == RAY
    assert rpow(0, 5) == 0


@given(st.integers(RAY * 9 // 10, 2 * RAY), st.integers(0, 60))
@settings(max_examples=50)
def test_powers_are_powers(x: int, n: int) -> None:
    assert rpow(x, n) == pytest.approx(float(Fraction(x, RAY) ** n * RAY), rel=1e-12)


def test_a_year_at_five_per_cent() -> None:
    """1.000000001547125957863212448 a second is 5 % a year: published with the drip in Maker's own docs (jug)."""
    fee = 1000000001547125957863212448
    assert dripped(RAY, fee, YEAR) / RAY == pytest.approx(1.05, rel=1e-12)
    assert dripped(2 * RAY, fee, 0) == 2 * RAY
    assert yearly_rate(fee) / RAY == pytest.approx(0.0487901642, abs=1e-9)  # ln 1.05


def test_health_is_strict() -> None:
    """10 ETH at 2,000 and 150 %: spot 1,333.33; 13,333.33 may be owed, at a rate of 1.1 that is art of 12,121.21."""
    spot = 2_000 * RAY * 100 // 150
    most = 10 * WAD * spot // (RAY * 11 // 10)
    assert health_factor(10 * WAD, most, spot, RAY * 11 // 10) >= WAD
    assert health_factor(10 * WAD, most + 1, spot, RAY * 11 // 10) < WAD
    assert health_factor(3 * WAD, 4_000 * WAD, 4_000 * RAY // 3 + 1, RAY) == WAD
    assert health_factor(3 * WAD, 4_000 * WAD, 4_000 * RAY // 3, RAY) == WAD - 1
    assert health_factor(WAD, 0, spot, RAY) == NO_DEBT
    assert debt_wad(3, RAY // 2) == 2  # of 1.5


pytestmark = pytest.mark.devnet("comet", "maker")


@dataclass(frozen=True)
class Scene:
    """The devnet's Maker, what its builder tells of it, and the readings at the head; "" is what is left out."""

    devnet: Devnet
    told: dict[str, Any]
    readings: tuple[Reading, ...]

    @property
    def surplus(self) -> float:
        """USD of all sound ilks."""
        return float(sum(x.venue.liquidation_parameters.get("surplus_usd", 0.0) for x in self.readings))

    @property
    def by_ilk(self) -> dict[str, Reading]:
        return {reading.venue.venue_id.partition("/")[2]: reading for reading in self.readings}

    def accounts(self, ilk: str) -> dict[str, AccountReading]:
        return {account.address: account for account in self.by_ilk[ilk].accounts}

    def call(self, contract: str, signature: str, returns: str, *arguments: Any) -> tuple[Any, ...]:
        return self.devnet.call(self.told["contracts"][contract], signature, returns, *arguments)

    def vault(self, ilk: str, urn: str) -> tuple[int, int]:
        ink, art = self.call("MCD_VAT", "urns(bytes32,address)", "(uint256,uint256)", key(ilk), urn)
        return ink, art

    def of_kind(self, ilk: str, kind: str) -> list[dict[str, str]]:
        return [vault for vault in self.told["vaults"] if (vault["ilk"], vault["kind"]) == (ilk, kind)]

    def try_call(self, tx: Transaction) -> str:
        """ "" where a transaction would succeed at the head, else why it would revert."""
        try:
            self.devnet.rpc("eth_call", {"from": tx.sender, "to": tx.to, "data": "0x" + tx.data.hex()}, "latest")
        except RpcError as error:
            return str(error) or "reverts"
        return ""

    def drip(self, timestamp: int) -> None:
        jug = self.told["contracts"]["MCD_JUG"]
        self.devnet.send_many([transaction(PAYER, jug, "drip(bytes32)", key(ilk)) for ilk in ILKS], timestamp)


async def read(devnet: Devnet, first_block: int | None = None) -> Scene:
    told = devnet.description.protocols["maker"]
    deployment = Deployment("maker", "Maker", told["contracts"]["CHANGELOG"], first_block or told["first_block"])
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        return Scene(devnet, told, await maker.read(chain, deployment))


@pytest.fixture
async def scene(devnet: Devnet) -> Scene:
    return await read(devnet)


def leg(account: AccountReading, side: str) -> int:
    return sum(x.amount_raw for x in account.legs if x.side == side)


def factor(account: AccountReading) -> int:
    assert account.health_factor_raw is not None
    return account.health_factor_raw


def test_an_ilk_is_a_venue_and_a_vault_an_account(scene: Scene) -> None:
    assert set(scene.by_ilk) == ILKS.keys() - set(BROKEN) | {""}
    for ilk, reading in scene.by_ilk.items():
        told = {vault["urn"]: vault["owner"] for vault in scene.told["vaults"] if vault["ilk"] == ilk}
        assert {x.address: x.owner or x.address for x in reading.accounts} == told
        assert (reading.failed, reading.gaps) == ({}, {}) or not ilk
        assert reading.venue.liquidation_rule == "maker"
    assert sum(len(reading.accounts) for reading in scene.readings) >= 40
    snapshot = from_readings(scene.readings)
    assert snapshot.accounts["account_id"].is_unique
    first = snapshot.accounts["account_id"].str.contains(scene.told["vaults"][0]["urn"])
    assert snapshot.accounts.loc[first, "owner"].tolist() == [
        f"eip155:{scene.devnet.chain_id}:{scene.told['vaults'][0]['owner']}"
    ]


def test_every_way_to_a_vault_is_found(scene: Scene) -> None:
    """By the manager, by frob itself, and as the other side of a fork."""
    found = {account.address for reading in scene.readings for account in reading.accounts}
    for kind in ("vault", "raw", "fork_giver", "fork_taker", "dust", "no_debt"):
        vaults = scene.of_kind("ETH-A", kind)
        assert vaults
        assert {vault["urn"] for vault in vaults} <= found


async def test_debts_are_the_vat_s_once_somebody_drips(devnet: Devnet) -> None:
    """What drip() makes of the rate at a time is what we read in an empty block of that time."""
    timestamp = devnet.head()[1] + 11 * 86_400 + 3
    before = devnet.snapshot()
    devnet.mine(timestamp)
    pending = await read(devnet)
    devnet.revert(before)
    stale = {ilk: pending.call("MCD_VAT", "ilks(bytes32)", VAT_ILK, key(ilk))[1] for ilk in ILKS}
    pending.drip(timestamp)
    for ilk, reading in pending.by_ilk.items():
        if not ilk:
            continue
        total, rate, spot, line, _ = pending.call("MCD_VAT", "ilks(bytes32)", VAT_ILK, key(ilk))
        assert (rate > stale[ilk]) == (ilk != "PSM-USDC-A")
        for account in reading.accounts:
            ink, art = pending.vault(ilk, account.address)
            assert leg(account, "debt") == -(-art * rate // RAY)
            assert factor(account) == (ink * spot * WAD // (art * rate) if art else NO_DEBT)
        coin = reading.markets[1]
        assert (coin.borrow_raw, coin.borrow_cap_raw) == (-(-total * rate // RAY), line // RAY)
        assert coin.borrow_rate_ray == (BASE + ILKS[ilk][2]) * YEAR
        assert coin.curve == RateCurve("fixed", {"rate": coin.borrow_rate_ray})  # no lender withdraws
    assert (await read(devnet)).readings == tuple(
        _at(reading, again) for reading, again in zip(pending.readings, (await read(devnet)).readings, strict=True)
    )


def _at(reading: Reading, other: Reading) -> Reading:
    """A reading as of another block, and with what the fees have added to the system's surplus."""
    block = {name: getattr(other, name) for name in ("block_number", "block_hash", "block_timestamp")}
    return replace(reading, venue=other.venue, **block)


async def test_below_one_is_what_bark_takes_after_a_drip(devnet: Devnet) -> None:
    """All fees stored and no limit in the way: bark() of each vault, one by one, at the head."""
    devnet.transact(OWNER, (await read(devnet)).told["contracts"]["MCD_DOG"], _SET, key("ETH-B"), *_unlimited(devnet))
    timestamp = devnet.head()[1]
    before = await read(devnet)
    before.drip(timestamp)
    scene = await read(devnet)
    below = {True: 0, False: 0}
    for ilk, reading in scene.by_ilk.items():
        for account in reading.accounts:
            dog = scene.told["contracts"]["MCD_DOG"]
            error = scene.try_call(
                transaction(PAYER, dog, "bark(bytes32,address,address)", key(ilk), account.address, PAYER)
            )
            assert ("not-unsafe" in error) == (factor(account) >= WAD), (ilk, error)
            below[not error] += 1
    assert below[True] >= 3
    assert below[False] >= 40
    (sunk,) = scene.of_kind("ETH-A", "under_water")
    account = scene.accounts("ETH-A")[sunk["urn"]]
    assert account.collateral_base_raw < account.debt_base_raw


_SET = "set(bytes32,address,uint256,uint256)"


def _unlimited(devnet: Devnet) -> tuple[str, int, int]:
    return devnet.description.protocols["maker"]["clips"]["ETH-B"], 113 * WAD // 100, 10**9 * RAD


def test_figures_of_single_vaults_by_hand(scene: Scene) -> None:
    """7 WETH and 7 wei at 3,000; 25 million USDC against as many coins at 100 %, without a fee: exactly 1, healthy."""
    (vault,) = scene.of_kind("ETH-A", "no_debt")
    account = scene.accounts("ETH-A")[vault["urn"]]
    assert account.collateral_base_raw == 7 * 3_000 * WAD + 7 * 3_000 - 1  # spot has cut 1.3e-27 of the price off
    assert (factor(account), account.debt_base_raw) == (NO_DEBT, 0)
    assert [(x.amount_raw, x.weight_wad, x.liquidation_bonus_wad) for x in account.legs] == [
        (7 * WAD + 7, 100 * WAD // 145, 13 * WAD // 100)
    ]
    (psm,) = scene.by_ilk["PSM-USDC-A"].accounts
    assert [x.amount_raw for x in psm.legs] == [25_000_000 * 10**6, 25_000_000 * WAD]
    assert psm.health_factor_raw == WAD
    (dust,) = scene.of_kind("ETH-A", "dust")
    assert 100.5 * WAD < leg(scene.accounts("ETH-A")[dust["urn"]], "debt") < 100.7 * WAD


def test_the_computed_maximum_can_be_drawn_and_no_more(scene: Scene) -> None:
    """At the vat's own rate: the frob that takes a vault to the last unit, and one unit more of normalised debt."""
    tried = 0
    for vault in scene.told["vaults"]:
        ilk, urn = vault["ilk"], vault["urn"]
        if ilk in BROKEN or vault["kind"] not in ("raw", "fork_giver", "fork_taker"):
            continue
        ink, art = scene.vault(ilk, urn)
        _, rate, spot, _, _ = scene.call("MCD_VAT", "ilks(bytes32)", VAT_ILK, key(ilk))
        room = ink * spot // rate - art
        assert health_factor(ink, art + room, spot, rate) >= WAD > health_factor(ink, art + room + 1, spot, rate)
        frob = "frob(bytes32,address,address,address,int256,int256)"
        for dart, error in ((room, ""), (room + 1, "Vat/not-safe")):
            call = transaction(urn, scene.told["contracts"]["MCD_VAT"], frob, key(ilk), urn, urn, urn, 0, dart)
            assert error in scene.try_call(call)
            assert bool(scene.try_call(call)) == bool(error)
        tried += 1
    assert tried >= 6


def test_feeds(scene: Scene) -> None:
    """The price is what the vat has; a value set by hand stands still; the coin counts as par."""
    usd = {"ETH-A": 3_000, "ETH-B": 3_000, "WBTC-A": 90_000, "WSTETH-A": 3_540, "PSM-USDC-A": 1}
    for ilk, price in usd.items():
        feed, coin = scene.by_ilk[ilk].feeds
        _, _, spot, _, _ = scene.call("MCD_VAT", "ilks(bytes32)", VAT_ILK, key(ilk))
        assert Fraction(feed.price_raw, feed.price_scale) == Fraction(spot * ILKS[ilk][1], RAY * 100)
        assert feed.price_raw / feed.price_scale == pytest.approx(price, rel=1e-15)
        assert feed.kind == ("fixed" if ilk == "PSM-USDC-A" else "market")
        assert (coin.kind, coin.price_raw) == ("fixed", coin.price_scale)
    assert len({feed.feed_id for reading in scene.readings for feed in reading.feeds}) == 6


def test_wbtc_is_in_its_own_units(scene: Scene) -> None:
    """The vat counts everything in 18 decimals, the token in 8."""
    for account in scene.by_ilk["WBTC-A"].accounts:
        ink, _ = scene.vault("WBTC-A", account.address)
        assert leg(account, "collateral") * 10**10 == ink
    assert {asset.symbol: asset.decimals for asset in scene.by_ilk["WBTC-A"].assets} == {"WBTC": 8, "DAI": 18}


def test_liquidation_parameters(scene: Scene) -> None:
    parameters = {ilk: reading.venue.liquidation_parameters for ilk, reading in scene.by_ilk.items() if ilk}
    assert {ilk: found["hole_usd"] for ilk, found in parameters.items()} == {
        ilk: ILKS[ilk][4] for ilk in ILKS if ilk not in BROKEN
    }
    assert {found["global_hole_usd"] for found in parameters.values()} == {3_000_000}
    assert parameters["ETH-A"]["dust_usd"] == 100
    assert parameters["WSTETH-A"]["liquidation_penalty"] == 0.15
    # The one surplus is nowhere counted twice; broken ilks have a share in it, too.
    surplus = scene.call("MCD_VAT", "dai(address)", "(uint256)", scene.told["contracts"]["MCD_VOW"])[0]
    surplus -= scene.call("MCD_VAT", "sin(address)", "(uint256)", scene.told["contracts"]["MCD_VOW"])[0]
    total = sum(found["surplus_usd"] for found in parameters.values())
    assert 0.9 * surplus / RAD < total < surplus / RAD


async def test_auctions_under_way_and_stopped_ones_leave_no_room(devnet: Devnet) -> None:
    scene = await read(devnet)
    (victim,) = scene.of_kind("ETH-A", "liquidatable")
    contracts = scene.told["contracts"]
    devnet.transact(PAYER, contracts["MCD_DOG"], "bark(bytes32,address,address)", key("ETH-A"), victim["urn"], PAYER)
    devnet.transact(OWNER, scene.told["clips"]["WBTC-A"], "stop(uint256)", 1)
    again = await read(devnet)
    dirt = again.call("MCD_DOG", "Dirt()", "(uint256)")[0] / RAD
    assert dirt > 10_000
    parameters = {ilk: reading.venue.liquidation_parameters for ilk, reading in again.by_ilk.items() if ilk}
    assert parameters["ETH-A"]["hole_usd"] == pytest.approx(40_000_000 - dirt, rel=1e-12)
    assert parameters["ETH-B"]["global_hole_usd"] == pytest.approx(3_000_000 - dirt, rel=1e-12)
    assert parameters["WBTC-A"]["hole_usd"] == 0
    assert victim["urn"] not in again.accounts("ETH-A")


async def test_what_is_at_auction_is_not_lost(devnet: Devnet) -> None:
    """bark() makes all of a vault's debt bad; against it stands what the auction raises: the penalty is gained, and of
    a vault that is under water its collateral is all there is."""
    (await read(devnet)).drip(devnet.head()[1] + 12)
    before = await read(devnet)
    at = before.told["contracts"]
    bark = "bark(bytes32,address,address)"
    gained = 0.0
    for kind in ("liquidatable", "under_water"):
        (vault,) = before.of_kind("ETH-A", kind)
        account = before.accounts("ETH-A")[vault["urn"]]
        devnet.transact(PAYER, at["MCD_DOG"], bark, key("ETH-A"), vault["urn"], PAYER)
        gained += min(1.13 * account.debt_base_raw, account.collateral_base_raw) - account.debt_base_raw
    after = await read(devnet)
    assert after.surplus - before.surplus == pytest.approx(
        gained / WAD, abs=1.0
    )  # to fees, and the share of broken ilks
    for sale in (1, 2):
        keeper = transaction(OWNER, at["MCD_VAT"], "suck(address,address,uint256)", OWNER, PAYER, 10**6 * RAD)
        devnet.send_many([keeper, transaction(PAYER, before.told["clips"]["ETH-A"], "take(uint256)", sale)])
    assert (await read(devnet)).surplus == pytest.approx(after.surplus, abs=1.0)


def test_broken_ilks_are_named_and_their_vaults_set_aside(scene: Scene) -> None:
    left_out = scene.by_ilk[""]
    assert left_out.gaps == {
        "DEAD-A": "its price is 0: nobody can borrow against it, and nobody is liquidated",
        "LOW-A": "its liquidation ratio is below 1: more may be owed than is held",
        "NOGEM-A": "the ilk registry names no token for it",
    }
    assert left_out.found == len(left_out.failed) == 3
    assert not from_readings(scene.readings).complete


def test_totals_are_held_by_the_vaults(scene: Scene) -> None:
    coverage = from_readings(scene.readings).coverage
    assert coverage["unattributed_supply_usd"].abs().max() < 1e-6
    assert coverage["unattributed_borrow_usd"].abs().max() < 1e-6


async def test_ilks_that_no_note_names_are_missed(devnet: Devnet) -> None:
    """The vat knows what all of them owe."""
    late = devnet.head()[0] - 3
    (left_out,) = (await read(devnet, first_block=late)).readings
    assert left_out.gaps == {
        "ilks that no note names": f"they owe 100.00% of the debt; first_block {late} is too late, or the endpoint "
        "keeps back logs"
    }


async def test_vaults_that_no_note_names_are_missed(devnet: Devnet) -> None:
    """An ilk's vaults owe its whole debt."""
    told = devnet.description.protocols["maker"]
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        system = await find_system(chain, Deployment("maker", "Maker", told["contracts"]["CHANGELOG"], 0))
        notes = await read_notes(chain, system, told["first_block"], lambda *_: None)
        ilks = {ilk.name: ilk for ilk in await read_ilks(chain, system, notes)}
        vaults = await read_vaults(chain, system, find_candidates(notes), lambda *_: None)
    found = vaults[key("ETH-A")]
    assert missing_debt(ilks["ETH-A"], found) == 0
    assert ilks.keys() == ILKS.keys()
    hidden = max(found.values(), key=lambda vault: vault.art if vault else 0)
    assert hidden is not None
    fewer = {urn: vault for urn, vault in found.items() if vault is not hidden}
    assert missing_debt(ilks["ETH-A"], fewer) == hidden.art > 0


def test_a_configured_scan_has_every_ilk_and_both_comets(devnet: Devnet, tmp_path: Path) -> None:
    """With Aave beside them: one snapshot at one block, options and all; coins of one system are one asset."""
    path = tmp_path / "scan.toml"
    path.write_text(devnet.config())
    snapshot = scan(load_config(path), "latest")
    found = snapshot.venues["protocol"].value_counts()
    assert (found["maker"], found["comet"], found["aave_v3"]) == (6, 2, 2)
    price = snapshot.assets.set_index("symbol")["price_usd"]
    assert price[["DAI", "WETH", "wstETH"]].tolist() == [1, 3_000, pytest.approx(3_540)]
    # Some borrow in several places.
    owners = snapshot.accounts.merge(snapshot.venues[["venue_id", "protocol"]], on="venue_id")
    assert owners.groupby("owner")["protocol"].nunique().max() == 3


@pytest.mark.parametrize(
    ("address", "fault"),
    [("0x12", "is not an address"), (PAYER, "has no code"), ("token", "does not name MCD_VAT, MCD_SPOT")],
)
async def test_another_address_is_refused(devnet: Devnet, address: str, fault: str) -> None:
    target = devnet.tokens["WETH"] if address == "token" else address
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        with pytest.raises(ReaderError, match=fault):
            await load_reader("maker")(chain, Deployment("maker", "Maker", target, 0))
