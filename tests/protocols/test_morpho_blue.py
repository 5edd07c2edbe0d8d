"""The Morpho Blue reader against the contract compiled from its own source, on the devnet's markets."""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from defi_leverage.backing import read_backing
from defi_leverage.chain import open_chain
from defi_leverage.config import load_config
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import aave_v3, load_reader, morpho_blue
from defi_leverage.protocols.morpho_blue.arithmetic import NO_DEBT
from defi_leverage.reading import AccountReading, ClaimsReading, Deployment, FeedReading, Reading
from defi_leverage.scan import scan
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.calldata import decode_result
from tests.devnet.chain import Transaction, transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.protocols.morpho import BROKEN, FEE
from tests.devnet.protocols.morpho.contracts import Market
from tests.devnet.rpc import RpcError
from tests.devnet.session import Devnet

pytestmark = pytest.mark.devnet("morpho")

SCALE = 10**36
PAYER = "0x00000000000000000000000000000000000B0B0B"
MARKET = "(uint128,uint128,uint128,uint128,uint128,uint128)"
POSITION = "(uint256,uint128,uint128)"


@dataclass(frozen=True)
class Scene:
    """The devnet's Morpho, what its builder tells of it, and the readings at the devnet's head, by market."""

    devnet: Devnet
    told: dict[str, Any]
    readings: tuple[Reading, ...]

    @property
    def by_key(self) -> dict[str, Reading]:
        ends = {told["id"]: key for key, told in self.told["markets"].items()}
        return {
            ends[reading.venue.venue_id.rsplit("/", 1)[1]]: reading
            for reading in self.readings
            if "/" in reading.venue.venue_id
        }

    def market(self, key: str) -> Market:
        loan, collateral, oracle, irm, lltv = self.told["markets"][key]["params"]
        return Market(self.told["address"], "", "", loan, collateral, oracle, irm, lltv)

    def view(self, signature: str, returns: str, *arguments: Any) -> tuple[Any, ...]:
        return self.devnet.call(self.told["address"], signature, returns, *arguments)

    def position(self, key: str, user: str) -> tuple[int, int, int]:
        supply, borrow, collateral = self.view("position(bytes32,address)", POSITION, self.market(key).id, user)
        return supply, borrow, collateral

    def addresses(self) -> set[str]:
        others = {self.told["vault"], self.told["fee_recipient"], PAYER, OWNER}
        return {account["address"] for account in self.told["accounts"]} | others

    def try_call(self, tx: Transaction, returns: str) -> tuple[Any, ...] | str:
        """What a transaction would return at the head, or why it would revert."""
        message = {"from": tx.sender, "to": tx.to, "data": "0x" + tx.data.hex()}
        try:
            return decode_result(returns, self.devnet.rpc("eth_call", message, "latest"))
        except RpcError as error:
            return str(error)


async def read(devnet: Devnet, block: int | str = "latest", first_block: int | None = None) -> tuple[Reading, ...]:
    told = devnet.description.protocols["morpho"]
    deployment = Deployment("morpho_blue", "Morpho", told["address"], first_block or told["first_block"])
    async with open_chain("devnet", devnet.chain_id, [devnet.url], block) as chain:
        return await morpho_blue.read(chain, deployment)


@pytest.fixture
async def scene(devnet: Devnet) -> Scene:
    return Scene(devnet, devnet.description.protocols["morpho"], await read(devnet))


def leg(account: AccountReading, side: str, *, counts: bool = True) -> int:
    """The amount of an account's debt, of its collateral, or (not `counts`) of what it lends."""
    return sum(x.amount_raw for x in account.legs if x.side == side and bool(x.weight_wad) == counts)


def accounts(reading: Reading) -> dict[str, AccountReading]:
    return {account.address: account for account in reading.accounts}


def price(feed: FeedReading) -> Fraction:
    return Fraction(feed.price_raw, feed.price_scale)


def test_at_least_a_hundred_accounts_in_eight_markets(scene: Scene) -> None:
    assert set(scene.by_key) == scene.told["markets"].keys() - set(BROKEN)
    assert len(scene.readings) == len(scene.by_key) + 1
    assert sum(len(reading.accounts) for reading in scene.by_key.values()) > 120
    for reading in scene.by_key.values():
        assert (reading.failed, reading.gaps) == ({}, {})
        assert reading.found == len(reading.accounts)


async def test_authorisations_that_stand_link_their_owners(scene: Scene) -> None:
    """Two are given and one is taken back; what somebody without a position gives links nobody."""
    devnet, morpho = scene.devnet, scene.told["address"]
    before = {link for reading in scene.readings for link in reading.links}
    first, second = sorted(accounts(scene.by_key["weth_usdc"]))[:2]
    stranger = "0x" + "5a" * 20
    for owner, given in ((first, True), (second, True), (second, False), (stranger, True)):
        devnet.transact(owner, morpho, "setAuthorization(address,bool)", PAYER, given)
    links = {link for reading in await read(devnet) for link in reading.links} - before
    (link,) = links
    name = f"eip155:{devnet.chain_id}"
    assert (link.owner, link.kind) == (f"{name}:{first}", "morpho_authorisation")
    assert link.controller.lower() == f"{name}:{PAYER}".lower()
    assert scene.view("isAuthorized(address,address)", "(bool)", first, PAYER) == (True,)


def test_a_market_is_a_venue(scene: Scene) -> None:
    for key, reading in scene.by_key.items():
        market = scene.told["markets"][key]["id"]
        assert reading.venue.venue_id == f"eip155:{scene.devnet.chain_id}:{scene.told['address']}/{market}"
        assert reading.venue.address == scene.told["address"]
        assert reading.venue.liquidation_rule == "morpho_blue"
    snapshot = from_readings(scene.readings)
    # Somebody in two markets has two accounts, and each market its own bad debt.
    assert snapshot.accounts["account_id"].is_unique
    assert snapshot.accounts["owner"].duplicated().any()


def test_the_accounts_are_those_with_a_position(scene: Scene) -> None:
    for key, reading in scene.by_key.items():
        holders = {user for user in scene.addresses() if any(scene.position(key, user))}
        assert set(accounts(reading)) == holders | ({scene.told["fee_recipient"]} if key == "weth_usdc" else set())


async def test_totals_and_shares_are_the_contract_s_in_the_same_second(scene: Scene) -> None:
    """The state after accrueInterest at a time is what we read in an empty block of that time."""
    devnet, timestamp = scene.devnet, scene.devnet.head()[1] + 7 * 86_400 + 5
    before = devnet.snapshot()
    devnet.mine(timestamp)
    pending = Scene(devnet, scene.told, await read(devnet)).by_key
    devnet.revert(before)
    devnet.send_many([scene.market(key).call(PAYER, "accrueInterest", "") for key in pending], timestamp)
    for key, reading in pending.items():
        supply, supply_shares, borrow, borrow_shares, updated, _ = scene.view(
            "market(bytes32)", MARKET, scene.market(key).id
        )
        assert updated == timestamp
        (loan, *_) = reading.markets
        assert (loan.supply_raw, loan.borrow_raw, loan.cash_raw) == (supply, borrow, supply - borrow)
        for user, account in accounts(reading).items():
            lent, owed, collateral = scene.position(key, user)
            assert leg(account, "collateral", counts=False) == lent * (supply + 1) // (supply_shares + 10**6)
            assert leg(account, "debt") == -(-owed * (borrow + 1) // (borrow_shares + 10**6))
            assert leg(account, "collateral") == collateral
    assert scene.position("weth_usdc", scene.told["fee_recipient"])[0] > 0


def test_debt_is_what_repaying_it_costs(scene: Scene) -> None:
    """repay() of all shares, asked of the contract at the head, whose interest is pending."""
    count = 0
    for key, reading in scene.by_key.items():
        market = scene.market(key)
        mint = transaction(PAYER, market.loan, "mint(address,uint256)", PAYER, 10**30)
        approve = transaction(PAYER, market.loan, "approve(address,uint256)", market.morpho, MAX_UINT)
        timestamp = scene.devnet.head()[1]
        scene.devnet.send_many([mint, approve], timestamp)  # the same second: no more interest
        for user, account in accounts(reading).items():
            if debt := leg(account, "debt"):
                shares = scene.position(key, user)[1]
                types = ",uint256,uint256,address,bytes"
                repay = market.call(PAYER, "repay", types, 0, shares, user, b"")
                assert scene.try_call(repay, "(uint256,uint256)") == (debt, shares)
                count += 1
    assert count >= 100


def test_below_one_is_what_the_contract_lets_be_liquidated(scene: Scene) -> None:
    below = Counter[bool]()
    for key, reading in scene.by_key.items():
        market = scene.market(key)
        for user, account in accounts(reading).items():
            collateral, debt = leg(account, "collateral"), leg(account, "debt")
            (weight,) = {x.weight_wad for x in account.legs if x.weight_wad and x.side == "collateral"} or {0}
            if not debt:
                assert account.health_factor_raw == NO_DEBT
                continue
            (oracle_price,) = scene.devnet.call(market.oracle, "price()", "(uint256)")
            limit = collateral * oracle_price // SCALE * weight // WAD
            assert weight == market.lltv
            assert account.health_factor_raw == limit * WAD // debt
            assert (account.collateral_base_raw, account.debt_base_raw) == (collateral * oracle_price // SCALE, debt)
            answer = scene.try_call(market.liquidate(PAYER, user, repaid_shares=1), "(uint256,uint256)")
            assert account.health_factor_raw is not None
            is_below = account.health_factor_raw < WAD
            assert ("position is healthy" in answer) != is_below, (key, user, answer)
            below[is_below] += 1
    assert below[True] >= 3
    assert below[False] >= 90
    sunk = accounts(scene.by_key["weth_usdc"])[scene.told["under_water"]]
    assert sunk.collateral_base_raw < sunk.debt_base_raw


def test_the_computed_maximum_can_be_borrowed_and_no_more(scene: Scene) -> None:
    """Shares round up, so that what may be borrowed is one unit less (the contract's own comment on _isHealthy)."""
    tried = 0
    for key, reading in scene.by_key.items():
        market = scene.market(key)
        for user, account in accounts(reading).items():
            debt = leg(account, "debt")
            room = account.collateral_base_raw * market.lltv // WAD - debt
            if not debt or room < 10 or room > reading.markets[0].cash_raw:
                continue
            assert scene.try_call(market.borrow(user, room - 1), "(uint256,uint256)")[0] == room - 1
            assert "insufficient collateral" in scene.try_call(market.borrow(user, room + 1), "(uint256,uint256)")
            tried += 1
    assert tried >= 60


def test_a_vault_s_loans_add_up_to_its_total(scene: Scene) -> None:
    """MetaMorpho.totalAssets counts the interest due, as MorphoBalancesLib does."""
    vault = scene.told["vault"]
    lent = [
        leg(accounts(reading)[vault], "collateral", counts=False)
        for reading in scene.by_key.values()
        if vault in accounts(reading)
    ]
    assert len(lent) == 3
    assert sum(lent) == scene.devnet.call(vault, "totalAssets()", "(uint256)")[0] > 0


def test_realised_bad_debt_is_gone_from_the_market(scene: Scene) -> None:
    reading = scene.by_key["weth_usdc"]
    assert scene.told["bad_debtor"] not in accounts(reading)
    # The vault, which lends there, has lost: nobody took yield out of it.
    (worth,) = scene.devnet.call(scene.told["vault"], "convertToAssets(uint256)", "(uint256)", WAD)
    assert worth < 10**6


def test_totals_are_held_by_the_accounts(scene: Scene) -> None:
    coverage = from_readings(scene.readings).coverage.set_index("venue_id")
    assert coverage["unattributed_supply_usd"].abs().max() < 1e-4
    assert coverage["unattributed_borrow_usd"].abs().max() < 1e-4


def test_feeds_are_the_oracle_s_quotient_and_have_its_kind(scene: Scene) -> None:
    for key, reading in scene.by_key.items():
        feeds = {feed.feed_id: feed for feed in reading.feeds}
        market = scene.told["markets"][key]
        own = {feed_id.split("@")[0]: feed for feed_id, feed in feeds.items() if feed_id.endswith("@" + market["id"])}
        chain = f"eip155:{scene.devnet.chain_id}/erc20:"
        loan = own[chain + market["params"][0]]
        if len(market["kinds"]) == 1:
            assert [loan.kind] == market["kinds"]
            continue
        collateral = own[chain + market["params"][1]]
        assert [collateral.kind, loan.kind] == market["kinds"], key
        (answer,) = scene.devnet.call(market["params"][2], "price()", "(uint256)")
        units = {asset.asset_id: 10**asset.decimals for asset in reading.assets}
        expected = Fraction(answer, SCALE) * units[collateral.asset_id] / units[loan.asset_id]
        assert price(collateral) / price(loan) == expected
        for feed in feeds.values():
            if feed.kind == "ratio":
                ratio = Fraction(feed.ratio_raw, feed.ratio_scale)
                assert price(feeds[feed.base_feed_id]) * ratio == price(feed)
    usd = {
        asset_id: round(float(value), 2)
        for asset_id, value in from_readings(scene.readings).assets.set_index("symbol")["price_usd"].items()
    }
    assert usd | {"mmUSDC": 1, "PT-yUSDC": 1} == {
        "WETH": 3000,
        "wstETH": 3540,
        "WBTC": 90000,
        "USDC": 1,
        "DAI": 1,
        "mmUSDC": 1,
        "PT-yUSDC": 1,
    }


def test_ratio_feeds_name_what_they_follow(scene: Scene) -> None:
    base = {}
    for key in ("wsteth_weth", "wsteth_usdc", "pt_usdc", "share_dai"):
        reading = scene.by_key[key]
        feeds = {feed.feed_id: feed for feed in reading.feeds}
        (ratio,) = [feed for feed in feeds.values() if feed.kind == "ratio"]
        symbols = {asset.asset_id: asset.symbol for asset in reading.assets}
        base[key] = (symbols[ratio.asset_id], symbols[feeds[ratio.base_feed_id].asset_id])
    assert base == {
        "wsteth_weth": ("wstETH", "WETH"),
        "wsteth_usdc": ("wstETH", "WETH"),
        "pt_usdc": ("PT-yUSDC", "USDC"),
        "share_dai": ("mmUSDC", "USDC"),
    }


def test_a_depeg_of_wsteth_does_not_reach_its_markets(scene: Scene) -> None:
    snapshot = from_readings(scene.readings)
    calm, depeg, fault = (
        run_contagion(snapshot, Scenario(name, shocks, feed_shocks, max_rounds=1)).liquidations
        for name, shocks, feed_shocks in (
            ("calm", {}, {}),
            ("depeg", {"wstETH": -0.2}, {}),
            ("fault", {}, {"wstETH": -0.2}),
        )
    )
    assert set(depeg["account_id"]) == set(calm["account_id"])
    loopers = {name for name in fault["account_id"] if name.endswith(scene.told["markets"]["wsteth_weth"]["id"])}
    assert len(loopers) > 10


def test_rates(scene: Scene) -> None:
    for key, reading in scene.by_key.items():
        market = scene.market(key)
        state = scene.view("market(bytes32)", MARKET, market.id)
        (loan, *_) = reading.markets
        if key == "idle":
            assert (loan.supply_rate_ray, loan.borrow_rate_ray) == (0, 0)
            continue
        signature = f"borrowRateView((address,address,address,address,uint256),{MARKET})"
        (rate,) = scene.devnet.call(scene.told["irm"], signature, "(uint256)", market.params, state)
        assert loan.supply_rate_ray is not None
        assert loan.borrow_rate_ray is not None
        assert loan.borrow_rate_ray == rate * 365 * 86_400 * 10**9
        kept = 1 - Fraction(FEE, WAD) if key == "weth_usdc" else 1
        share = Fraction(loan.borrow_raw, loan.supply_raw)
        assert loan.supply_rate_ray == pytest.approx(float(loan.borrow_rate_ray * share * kept), rel=1e-12)


def test_broken_markets_are_named_and_their_accounts_set_aside(scene: Scene) -> None:
    left_out = scene.readings[-1]
    assert left_out.venue.venue_id == f"eip155:{scene.devnet.chain_id}:{scene.told['address']}"
    why = {
        key: reason
        for key in BROKEN
        for name, reason in left_out.gaps.items()
        if name.endswith(scene.told["markets"][key]["id"])
    }
    assert why.keys() == set(BROKEN)
    assert len(left_out.gaps) == len(BROKEN)
    assert "phantom debt" in why["dead"]
    assert why["reverting"] == "its oracle reverts"
    assert why["unpriced"] == "no oracle of Morpho leads from BAR to a price in USD"
    assert left_out.found == len(left_out.failed) == 2 * len(BROKEN)
    assert not from_readings(scene.readings).complete


async def test_backing_of_the_vault_s_shares_names_these_venues(scene: Scene) -> None:
    async with open_chain("devnet", scene.devnet.chain_id, [scene.devnet.url], "latest") as chain:
        claims: ClaimsReading = await read_backing(chain, scene.readings)
    rows = [row for row in claims.backing if row.asset_id.endswith(scene.told["vault"])]
    lending = {scene.by_key[key].venue.venue_id for key in ("weth_usdc", "wbtc_usdc")}
    assert {row.venue_id for row in rows} == lending | {""}  # what is idle is owed by nobody
    (worth,) = scene.devnet.call(scene.told["vault"], "convertToAssets(uint256)", "(uint256)", 10**30)
    assert sum(row.units_raw / row.units_scale for row in rows) == pytest.approx(worth / 10**18, rel=1e-9)
    snapshot = from_readings(scene.readings, (), [claims])
    assert set(snapshot.backing["kind"]) >= {"deposited"}


async def test_aave_and_morpho_are_one_snapshot(scene: Scene) -> None:
    devnet, market = scene.devnet, scene.devnet.deployments["aave_v3_2"]
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        deployment = Deployment("aave_v3", market.name, market.provider, market.first_block)
        aave = await aave_v3.read(chain, deployment)
    snapshot = from_readings([aave, *scene.readings])
    assert len(snapshot.venues) == 1 + len(scene.readings)
    assert snapshot.assets["symbol"].is_unique
    assert snapshot.accounts["owner"].duplicated().any()


def test_a_configured_scan_has_every_market(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "scan.toml"
    path.write_text(scene.devnet.config())
    snapshot = scan(load_config(path), "latest")
    found = snapshot.venues["protocol"].value_counts()
    assert (found["morpho_blue"], found["aave_v3"]) == (len(scene.readings), 2)
    assert not snapshot.complete
    rows = snapshot.coverage[snapshot.coverage["why"].str.contains("phantom debt")]
    assert rows["venue_id"].tolist() == [scene.readings[-1].venue.venue_id]


async def test_a_past_block(devnet: Devnet) -> None:
    block = devnet.mine()
    devnet.set_price("WETH", 2_400)
    past, present = await read(devnet, block), await read(devnet)
    factors = [
        {
            (reading.venue.venue_id, x.address): x.health_factor_raw or 0
            for reading in readings
            for x in reading.accounts
        }
        for readings in (past, present)
    ]
    assert past[0].block_number == block < present[0].block_number
    assert sum(factors[0][key] > factors[1][key] for key in factors[0]) > 40


async def test_accounts_that_no_event_names_are_missed(devnet: Devnet) -> None:
    told = devnet.description.protocols["morpho"]
    late = devnet.head()[0] - 60
    readings = Scene(devnet, told, await read(devnet, first_block=late)).readings
    gaps = {name: why for reading in readings for name, why in reading.gaps.items()}
    assert any(f"first_block {late} is too late" in why for why in gaps.values())


@pytest.mark.parametrize(
    ("address", "fault"),
    [("0x12", "is not an address"), (PAYER, "has no code"), ("token", r"does not answer feeRecipient\(\)")],
)
async def test_another_address_is_refused(devnet: Devnet, address: str, fault: str) -> None:
    deployment = Deployment("morpho_blue", "Morpho", devnet.tokens["WETH"] if address == "token" else address, 0)
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        with pytest.raises(ReaderError, match=fault):
            await load_reader("morpho_blue")(chain, deployment)
