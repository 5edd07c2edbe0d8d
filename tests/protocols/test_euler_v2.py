"""The Euler v2 reader against a stand-in of the Euler Vault Kit; what it imitates is said in its Solidity files.

No bytecode of Euler's own was to be had: the stand-in answers with the kit's ABI and arithmetic, as published.
"""

import json
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest

from defi_leverage.abi import load_abi
from defi_leverage.chain import open_chain
from defi_leverage.contagion.liquidation import euler_v2 as rule
from defi_leverage.contagion.liquidation import seize
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import RAY, SECONDS_PER_YEAR, WAD
from defi_leverage.graph.owners import identify_owners
from defi_leverage.protocols import euler_v2
from defi_leverage.protocols._tokens import Token
from defi_leverage.protocols.euler_v2.health import NO_DEBT, health_factor, mismatch
from defi_leverage.protocols.euler_v2.oracles import Hop, Route
from defi_leverage.protocols.euler_v2.positions import Borrower
from defi_leverage.protocols.euler_v2.readings import phantom_debt
from defi_leverage.protocols.euler_v2.vaults import Limits, Vault, liquidation_ltv, resolve_cap
from defi_leverage.reading import NO_CAP, AccountReading, Deployment, FeedReading, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import TransactionRevertedError, transaction
from tests.devnet.protocols.euler_v2 import BROKEN, DISCOUNT_BPS, HAND
from tests.devnet.protocols.euler_v2.contracts import USD
from tests.devnet.session import Devnet
from tests.protocols.bent_answers import mute

pytestmark = pytest.mark.devnet("euler_v2")


@dataclass(frozen=True)
class Scene:
    """The devnet's vaults, what their builder tells of them, and the readings at the head, by the builder's key."""

    devnet: Devnet
    told: dict[str, Any]
    readings: tuple[Reading, ...]

    @property
    def by_key(self) -> dict[str, Reading]:
        keys = {told["address"]: key for key, told in self.told["vaults"].items()}
        return {keys[r.venue.address]: r for r in self.readings if r.venue.address in keys}

    def vault(self, key: str) -> str:
        address: str = self.told["vaults"][key]["address"]
        return address

    def view(self, key: str, signature: str, returns: str, *arguments: Any) -> Any:
        found = self.devnet.call(self.vault(key), signature, returns, *arguments)
        return found[0] if len(found) == 1 else found


async def read(devnet: Devnet, first_block: int | None = None, **changes: str) -> tuple[Reading, ...]:
    told = devnet.description.protocols["euler_v2"]
    address = changes.get("address", told["address"])
    deployment = Deployment("euler_v2", "Euler", address, first_block or told["first_block"])
    async with open_chain("devnet", devnet.chain_id, [devnet.url]) as chain:
        return await euler_v2.read(chain, deployment)


def health(account: AccountReading) -> float:
    assert account.health_factor_raw is not None
    return account.health_factor_raw / WAD


@pytest.fixture
async def scene(devnet: Devnet) -> Scene:
    return Scene(devnet, devnet.description.protocols["euler_v2"], await read(devnet))


def accounts(reading: Reading) -> dict[str, AccountReading]:
    return {account.address.lower(): account for account in reading.accounts}


def borrowers(reading: Reading) -> list[AccountReading]:
    return [account for account in reading.accounts if any(leg.side == "debt" for leg in account.legs)]


def feed(reading: Reading, feed_id: str) -> FeedReading:
    return next(feed for feed in reading.feeds if feed.feed_id == feed_id)


def test_every_borrower_is_found_and_none_set_aside(scene: Scene) -> None:
    assert set(scene.by_key) == scene.told["vaults"].keys() - {*BROKEN, "BAR", "empty"}
    assert sum(len(borrowers(reading)) for reading in scene.by_key.values()) >= 50
    for key, reading in scene.by_key.items():
        opened = {a["address"] for a in scene.told["accounts"] if a["debt"] == key and a["kind"] != "repaid"}
        assert {account.address.lower() for account in borrowers(reading)} == opened
        assert (reading.failed, reading.gaps, reading.found) == ({}, {}, len(reading.accounts))


def test_liquidity_is_the_vault_s_own_to_the_wei(scene: Scene) -> None:
    for key, reading in scene.by_key.items():
        for account in borrowers(reading):
            seen = scene.view(key, "accountLiquidity(address,bool)", "(uint256,uint256)", account.address, True)
            assert (account.collateral_base_raw, account.debt_base_raw) == tuple(seen)
            assert account.health_factor_raw == seen[0] * WAD // seen[1]
            debt = next(leg for leg in account.legs if leg.side == "debt")
            assert debt.amount_raw == scene.view(key, "debtOf(address)", "(uint256)", account.address)


def test_legs_at_their_feeds_give_that_health_factor(scene: Scene) -> None:
    """What the engine computes with, in exact fractions: prices in dollars, weights, amounts."""
    for reading in scene.by_key.values():
        places = {asset.asset_id: asset.decimals for asset in reading.assets}
        for account in borrowers(reading):
            sums = {"collateral": Fraction(0), "debt": Fraction(0)}
            for leg in account.legs:
                price = feed(reading, leg.feed_id)
                usd = Fraction(leg.amount_raw * price.price_raw, 10 ** places[leg.asset_id] * price.price_scale)
                sums[leg.side] += usd * leg.weight_wad / WAD
            ours = float(sums["collateral"] / sums["debt"])
            dust = 1e-5 if sums["debt"] < Fraction(1, 10**4) else 1e-9  # what the vault rounds off counts there
            assert ours == pytest.approx(health(account), rel=dust)


def test_an_account_solved_by_hand(scene: Scene) -> None:
    """10 WETH in an escrow at 3,000 USD, a liquidation LTV of 85 %, 20,000 DAI without interest: 25,500 / 20,000."""
    account = accounts(scene.by_key["DAI"])[scene.told["hand"]]
    assert account.health_factor_raw == 1_275 * 10**15
    assert (account.collateral_base_raw, account.debt_base_raw) == (25_500 * WAD, 20_000 * WAD)
    assert [(leg.side, leg.amount_raw, leg.weight_wad) for leg in account.legs] == [
        ("collateral", HAND["collateral"], 85 * 10**16),
        ("debt", HAND["debt"], WAD),
    ]


def test_dust_and_accounts_under_water(scene: Scene) -> None:
    usdc = scene.by_key["USDC"]
    kinds = {account["address"]: account["kind"] for account in scene.told["accounts"]}
    dust = [a for key in ("USDC", "DAI") for a in borrowers(scene.by_key[key]) if kinds[a.address.lower()] == "dust"]
    assert sorted(next(leg.amount_raw for leg in a.legs if leg.side == "debt") for a in dust) == [
        2,
        3,
    ]  # 1 and interest
    found: dict[str, list[float]] = {"under_water": [], "liquidatable": []}
    for account in borrowers(usdc):
        if (kind := kinds[account.address.lower()]) in found:
            found[kind].append(health(account))
    assert max(found["under_water"]) < 0.84  # the LTV: the collateral is worth less than the debt
    assert 0.84 < min(found["liquidatable"]) < max(found["liquidatable"]) < 1


def test_a_lowered_ltv_is_that_of_the_block(scene: Scene) -> None:
    wbtc = scene.vault("WBTC")
    _, target, initial, end, ramp = scene.view("USDC", "LTVFull(address)", "(uint16,uint16,uint16,uint48,uint32)", wbtc)
    now = scene.devnet.head()[1]
    assert (target, initial) == (6000, 8000)
    assert now < end
    by_hand = 6000 + 2000 * (end - now) // ramp
    weights = {
        leg.weight_wad
        for account in borrowers(scene.by_key["USDC"])
        for leg in account.legs
        if leg.asset_id.endswith(wbtc)
    }
    assert weights == {by_hand * 10**14}
    assert 6000 < by_hand < 8000


def test_the_ramp_by_hand() -> None:
    ramp = Limits(7000, 7500, 9000, 2_000, 1_000)
    assert [liquidation_ltv(ramp, at) for at in (1_000, 1_500, 1_999, 2_000, 9_999)] == [9000, 8250, 7501, 7500, 7500]
    raised = Limits(7000, 9500, 9000, 2_000, 1_000)  # a higher one counts at once
    assert liquidation_ltv(raised, 1_000) == 9500


def test_caps_by_hand(scene: Scene) -> None:
    assert resolve_cap(0) == NO_CAP
    assert resolve_cap((250 << 6) | 13) == 25 * 10**12  # 2.5e13, 25 million USDC
    market = scene.by_key["USDC"].markets[0]
    assert (market.supply_cap_raw, market.borrow_cap_raw) == (25 * 10**12, 12 * 10**12)
    assert scene.by_key["DAI"].markets[0].supply_cap_raw == NO_CAP


async def test_interest_is_due_to_the_block(scene: Scene) -> None:
    """Half a year later, in an empty block, debts are what touch() books in that second."""
    devnet, later = scene.devnet, scene.devnet.head()[1] + 180 * 86_400
    before = devnet.snapshot()
    devnet.mine(later)
    pending = Scene(devnet, scene.told, await read(devnet)).by_key
    devnet.revert(before)
    devnet.send_many([transaction(OWNER, scene.vault(key), "touch()") for key in pending], later)
    booked = Scene(devnet, scene.told, await read(devnet)).by_key
    for key, reading in booked.items():
        assert [(a.address, a.legs) for a in reading.accounts] == [(a.address, a.legs) for a in pending[key].accounts]
    grown = booked["USDC"].markets[0].borrow_raw / scene.by_key["USDC"].markets[0].borrow_raw
    assert grown == pytest.approx((1 + 0.07 / SECONDS_PER_YEAR) ** (180 * 86_400), rel=1e-6)


def test_rates(scene: Scene) -> None:
    market = scene.by_key["USDC"].markets[0]
    assert market.supply_rate_ray is not None
    assert market.borrow_rate_ray == pytest.approx(0.07 * RAY, rel=1e-9)
    used = market.borrow_raw / market.supply_raw
    assert market.supply_rate_ray == pytest.approx(0.07 * RAY * used * 0.9, rel=1e-9)  # a tenth is a fee


def test_kinds_of_feed(scene: Scene) -> None:
    """A wstETH loop counted in WETH feels neither ETH nor a depeg; DAI at a fixed rate does not move."""
    loop, usdc, dai = (scene.by_key[key] for key in ("WETHloop", "USDC", "DAI"))
    weth = next(leg for leg in borrowers(loop)[0].legs if leg.side == "debt").feed_id
    share = next(leg for leg in borrowers(loop)[0].legs if leg.side == "collateral").feed_id
    assert (feed(loop, weth).kind, feed(loop, weth).source) == ("market", "ETH / USD")
    assert (feed(loop, share).kind, feed(loop, share).base_feed_id) == ("ratio", weth)
    assert Fraction(feed(loop, share).ratio_raw, feed(loop, share).ratio_scale) == Fraction(118, 100)
    for reading in (loop, usdc, dai):
        for found in reading.feeds:
            if found.kind == "ratio":
                base = feed(reading, found.base_feed_id)
                product = Fraction(base.price_raw * found.ratio_raw, base.price_scale * found.ratio_scale)
                assert Fraction(found.price_raw, found.price_scale) == product
    assert {f.kind for f in dai.feeds if f.asset_id.endswith(scene.devnet.tokens["DAI"])} == {"fixed"}
    assert {f.kind for f in usdc.feeds if f.asset_id.endswith(scene.vault("WBTC"))} == {"ratio"}


def test_a_share_is_a_claim_on_its_own_vault(scene: Scene) -> None:
    claims = {claim.asset_id: claim for reading in scene.by_key.values() for claim in reading.backing}
    asset_id = f"eip155:{scene.devnet.chain_id}/erc20:{scene.vault('USDC')}"
    claim = claims[asset_id]
    assert claim.venue_id == f"eip155:{scene.devnet.chain_id}:{scene.vault('USDC')}"
    sample = 10**15
    converted = scene.view("USDC", "convertToAssets(uint256)", "(uint256)", sample)
    assert Fraction(claim.units_raw, claim.units_scale) == Fraction(converted, sample)
    assert 1.001 < converted / sample < 1.01  # interest has come


def test_every_share_has_one_account(scene: Scene) -> None:
    """Lenders' legs and the connector's, for what is pledged, are the vault's assets but for fees and rounding."""
    snapshot = from_readings(scene.readings)
    for key, reading in scene.by_key.items():
        lent = sum(
            leg.amount_raw
            for a in reading.accounts
            for leg in a.legs
            if leg.side == "collateral" and not leg.weight_wad
        )
        fees = scene.view(key, "accumulatedFees()", "(uint256)")
        owed_to_nobody = scene.view(key, "convertToAssets(uint256)", "(uint256)", fees)
        # shares and the virtual deposit of 1e6 divide the same assets
        assert 0 <= reading.markets[0].supply_raw - lent - owed_to_nobody <= 10**6 + len(reading.accounts)
    connector = accounts(scene.by_key["wstETH"])[scene.told["connector"].lower()]
    pledged = sum(
        leg.amount_raw
        for reading in scene.by_key.values()
        for account in reading.accounts
        for leg in account.legs
        if leg.asset_id.endswith(scene.vault("wstETH")) and leg.weight_wad and leg.side == "collateral"
    )
    assert connector.legs[0].amount_raw == scene.view("wstETH", "convertToAssets(uint256)", "(uint256)", pledged)
    assert connector.health_factor_raw == NO_DEBT
    assert snapshot.accounts["account_id"].is_unique


def test_sub_accounts_have_one_owner(scene: Scene) -> None:
    snapshot = from_readings(scene.readings)
    owners = identify_owners(snapshot)
    mine = [a["address"] for a in scene.told["accounts"] if a["kind"] == "several"]
    assert len(set(mine)) == 4
    found = {
        owners[account_id] for account_id in owners.index if account_id.split("@")[0].rsplit(":", 1)[1].lower() in mine
    }
    assert len(found) == 1
    links = {link.owner.lower(): link for link in scene.by_key["USDC"].links}
    chain = f"eip155:{scene.devnet.chain_id}"
    assert {links[f"{chain}:{address}"].controller.lower() for address in mine[1:]} == {
        f"{chain}:{scene.told['whale']}".lower()
    }
    assert f"{chain}:{mine[0]}" not in links  # its own account
    assert {link.kind for link in links.values()} == {"euler_subaccount"}
    shared = scene.devnet.description.deployments
    assert {account.address for market in shared.values() for account in market.accounts} & {
        account.address for account in scene.by_key["USDC"].accounts
    }


def test_broken_vaults_are_left_out_by_name(scene: Scene) -> None:
    *_, rest = scene.readings
    assert (rest.accounts, rest.markets) == ((), ())
    reasons = {name.split()[0]: why for name, why in rest.gaps.items()}
    assert reasons == {
        "eSTALE": "its oracle does not price STALE",
        "eFOO": f"no oracle leads from its unit of account {scene.told['vaults']['FOO']['asset']} to a price in USD",
        "eBAR": f"no oracle leads from its unit of account {scene.told['vaults']['FOO']['asset']} to a price in USD",
    }
    assert len(rest.failed) == sum(a["debt"] in BROKEN for a in scene.told["accounts"])
    snapshot = from_readings(scene.readings)
    assert not snapshot.complete


async def test_an_oracle_that_answers_again_is_read_again(scene: Scene) -> None:
    scene.devnet.send_many([transaction(OWNER, scene.told["stale_adapter"], "setStale(bool)", False)])
    healed = Scene(scene.devnet, scene.told, await read(scene.devnet)).by_key
    assert len(borrowers(healed["STALE"])) == 2


def test_an_account_that_is_not_reproduced_is_set_aside_with_the_reason() -> None:
    """One XUSD is one unit of account; 1,000 of collateral at an LTV of 90 %, 100 of debt."""
    share, asset = Token("0xC", "eX", 6), Token("0xA", "XUSD", 6)
    vault = Vault(share, asset, "0xE", "0xO", "0xU", 0, 0, 0, 0, 0, 0, 0, 0, None, None, {"0xC": 9000}, "")
    hops: dict[str, Route] = {token: (Hop("0xH", token, "0xU", Fraction(1), "market", ""),) for token in ("0xC", "0xA")}
    places = {"0xC": 6, "0xA": 6, "0xU": 6}

    def judge(quote: int, reported: tuple[int, int], amount: int = 10**9) -> str:
        borrower = Borrower("0x1", 10**8, {"0xC": amount}, {"0xC": quote}, 10**8, reported)
        return mismatch(borrower, vault, places, 6, hops)

    assert judge(10**9, (9 * 10**8, 10**8)) == ""
    assert judge(10**9, (9 * 10**8 + 1, 10**8)).startswith("not reproduced: collateral 900000000 and")
    assert judge(10**9 - 100, (9 * 10**8 - 90, 10**8)).endswith("which is not its price for other amounts")


def test_liquidations_as_the_vault_computes_them(scene: Scene) -> None:
    """checkLiquidation's repayment and yield, at prices on the cent, are what the engine's rule and `seize` give."""
    seen = 0
    for key in ("USDC", "WETHloop"):
        reading = scene.by_key[key]
        parameters = reading.venue.liquidation_parameters
        assert parameters == {"maximum_discount": DISCOUNT_BPS[key] / 10_000}
        for account in borrowers(reading):
            held = [leg for leg in account.legs if leg.side == "collateral" and leg.weight_wad]
            if health(account) >= 1 or len(held) != 1:
                continue
            collateral, debt = held[0], next(leg for leg in account.legs if leg.side == "debt")
            share = collateral.asset_id.rsplit(":", 1)[1]
            repaid, taken = scene.view(
                key, "checkLiquidation(address,address,address)", "(uint256,uint256)", OWNER, account.address, share
            )
            places = {asset.asset_id: asset.decimals for asset in reading.assets}
            usd = {
                leg.feed_id: leg.amount_raw / 10 ** places[leg.asset_id]
                * feed(reading, leg.feed_id).price_raw / feed(reading, leg.feed_id).price_scale
                for leg in (collateral, debt)
            }  # fmt: skip
            owed, worth = usd[debt.feed_id], usd[collateral.feed_id]
            terms = rule(health(account), owed, owed, worth, 0.0, collateral.weight_wad / WAD, 0.0, **parameters)
            ours = seize(terms.repaid, owed, worth, terms.bonus)
            assert ours[0] / owed * debt.amount_raw == pytest.approx(repaid, rel=1e-9, abs=2)
            assert ours[1] / worth * collateral.amount_raw == pytest.approx(taken, rel=1e-9, abs=2)
            seen += 1
    assert seen >= 5


def test_borrowing_the_computed_maximum_succeeds_and_more_reverts(scene: Scene) -> None:
    """By the borrow LTV, which the vault checks with >: one unit less than what it is worth."""
    devnet, account = scene.devnet, scene.told["hand"]
    room = HAND["collateral"] * 3_000 * 80 // 100 - HAND["debt"]
    vault = scene.vault("DAI")
    devnet.send_many([transaction(OWNER, vault, "borrow(uint256,address)", room - 1, account)])
    with pytest.raises(TransactionRevertedError):
        devnet.send_many([transaction(OWNER, vault, "borrow(uint256,address)", 1, account)])


def seizable(reading: Reading, share: str) -> list[tuple[AccountReading, int, int]]:
    return [
        (account, leg.amount_raw, leg.weight_wad)
        for account in borrowers(reading)
        for leg in account.legs
        if leg.side == "collateral" and leg.asset_id.endswith(share)
    ]


async def test_collateral_whose_ltv_has_come_down_to_0_can_be_seized(scene: Scene) -> None:
    """It secures nothing, and yet a liquidator takes it at the largest discount (Governance.setLTV says so)."""
    devnet, wbtc = scene.devnet, scene.vault("WBTC")
    devnet.send_many([transaction(OWNER, scene.vault("USDC"), "setLTV(address,uint16,uint16,uint32)", wbtc, 0, 0, 0)])
    readings = Scene(devnet, scene.told, await read(devnet)).by_key
    found = seizable(readings["USDC"], wbtc)
    assert len(found) == len(seizable(scene.by_key["USDC"], wbtc)) >= 8
    assert {weight for _, _, weight in found} == {1}
    alone = [(a, held) for a, held, _ in found if sum(leg.side == "collateral" for leg in a.legs) == 1]
    assert len(alone) >= 8
    kept = 1 - DISCOUNT_BPS["USDC"] / 10_000
    for account, held in alone:
        assert (account.health_factor_raw, account.collateral_base_raw) == (0, 0)
        check = "checkLiquidation(address,address,address)", "(uint256,uint256)"
        repaid, taken = scene.view("USDC", *check, OWNER, account.address, wbtc)
        worth = scene.devnet.call(
            scene.told["router"], "getQuote(uint256,address,address)", "(uint256)", held, wbtc, USD
        )[0]
        owed = next(leg.amount_raw for leg in account.legs if leg.side == "debt")
        assert repaid == pytest.approx(min(worth * kept * 10**6 / 10**18, owed), rel=1e-3)
        assert 0 < taken <= held
    snapshot = from_readings(tuple(readings.values()))
    ids = {f"eip155:{devnet.chain_id}:{a.address}@{readings['USDC'].venue.address}" for a, _ in alone}
    legs = snapshot.legs[snapshot.legs["account_id"].isin(ids) & (snapshot.legs["side"] == "collateral")]
    assert len(legs) == len(alone)
    assert (legs["weight"] > 0).all()  # what the engine seizes


async def test_a_collateral_without_a_price_is_its_holders_fault_alone(scene: Scene) -> None:
    """Who has pledged WBTC is set aside; with an LTV of 0 nobody asks for its price, and it is no collateral."""
    devnet, wbtc, usdc = scene.devnet, scene.vault("WBTC"), scene.vault("USDC")
    asked = "resolveOracle(uint256,address,address)", "(uint256,address,address,address)"
    adapter = devnet.call(scene.told["router"], *asked, 10**8, devnet.tokens["WBTC"], USD)[3]
    devnet.send_many([transaction(OWNER, adapter, "setStale(bool)", True)])
    holders = {account.address for account, _, _ in seizable(scene.by_key["USDC"], wbtc)}
    found = Scene(devnet, scene.told, await read(devnet)).by_key
    assert set(found["USDC"].failed) == holders
    others = {account.address for account in borrowers(scene.by_key["USDC"])} - holders
    assert {account.address for account in borrowers(found["USDC"])} == others
    assert len(others) >= 20
    devnet.send_many([transaction(OWNER, usdc, "setLTV(address,uint16,uint16,uint32)", wbtc, 0, 0, 0)])
    found = Scene(devnet, scene.told, await read(devnet)).by_key
    assert found["USDC"].failed == {}
    assert {account.address for account in borrowers(found["USDC"])} == others | holders
    assert seizable(found["USDC"], wbtc) == []


async def test_suspended_liquidations_are_named(scene: Scene) -> None:
    """Bit 11 is a liquidation at the debt's vault, bit 4 the transfer of the collateral's shares."""
    hook = "setHookConfig(address,uint32)"
    scene.devnet.send_many(
        [
            transaction(OWNER, scene.vault("USDC"), hook, "0x" + "00" * 20, 1 << 11),
            transaction(OWNER, scene.vault("WETH"), hook, scene.vault("DAI"), 1 << 4),
            transaction(OWNER, scene.vault("DAI"), hook, "0x" + "00" * 20, (1 << 15) - 1 - (1 << 11)),
        ]
    )
    found = Scene(scene.devnet, scene.told, await read(scene.devnet)).by_key
    by_hook = f"up to the hook {scene.vault('DAI')}, which is not read; scenarios liquidate nevertheless"
    assert found["USDC"].gaps == {
        "liquidations": f"switched off by {scene.vault('USDC')}; scenarios liquidate nevertheless",
        f"seizing eWETH {scene.vault('WETH')}": by_hook,
    }
    assert found["DAI"].gaps == found["WETHloop"].gaps == {}


async def test_what_a_vault_does_not_say_is_missing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    mute(monkeypatch, *(load_abi("euler_v2").function(name).selector for name in ("hookConfig", "convertToAssets")))
    usdc = Scene(scene.devnet, scene.told, await read(scene.devnet)).by_key["USDC"]
    assert usdc.gaps["liquidations"].startswith(f"perhaps not possible: {scene.vault('USDC')} does not say")
    assert usdc.backing == ()


def test_a_debt_worth_less_than_a_unit_of_account_is_not_a_fault() -> None:
    """Three raw units of a token at 1e-5: the vault counts a liability of 0, which nobody can liquidate."""
    share, asset = Token("0xC", "eX", 6), Token("0xA", "XPEPE", 18)
    vault = Vault(share, asset, "0xE", "0xO", "0xU", 0, 0, 0, 0, 0, 0, 0, 0, None, None, {"0xC": 9000}, "")
    hops: dict[str, Route] = {
        token: (Hop("0xH", token, "0xU", price, "market", ""),)
        for token, price in (("0xC", Fraction(1)), ("0xA", Fraction(1, 10**5)))
    }
    borrower = Borrower("0x1", 3, {"0xC": 10**6}, {"0xC": 10**18}, 0, (9 * 10**17, 0))
    assert mismatch(borrower, vault, {"0xC": 6, "0xA": 18, "0xU": 18}, 18, hops) == ""
    assert health_factor(*borrower.reported) == NO_DEBT


def test_phantom_debt_by_hand() -> None:
    token = Token("0xA", "XUSD", 6)
    vault = Vault(
        token, token, "0xE", "0xO", "0xU", 0, 10**12, 10**12, 10**12, 0, 0, 0, 0, None, None, {"0xC": 9000}, ""
    )
    covered = Borrower("0x1", 10**12, {"0xC": 1}, {"0xC": 5}, liability=100)
    why = phantom_debt(vault, [covered], Fraction(1))
    assert why.startswith("dead, with phantom debt: of 1,000,000 USD owed 5.00% is covered")
    sound = Borrower("0x1", 10**12, {"0xC": 1}, {"0xC": 20}, liability=100)
    assert phantom_debt(vault, [sound], Fraction(1)) == ""


async def test_late_first_block_is_a_gap(scene: Scene) -> None:
    late = Scene(scene.devnet, scene.told, await read(scene.devnet, scene.devnet.head()[0]))
    assert "first_block" in late.by_key["USDC"].gaps["accounts that no event names"]


async def test_what_is_no_factory_is_an_error(scene: Scene) -> None:
    for address, fault in (
        (scene.vault("USDC"), "keeps no list of vaults"),
        ("0x" + "11" * 20, "has no code"),
        ("nothing", "is not an address"),
    ):
        with pytest.raises(ReaderError, match=f"{fault}.*EVault factory"):
            await read(scene.devnet, address=address)


def test_parameters_of_the_rule_are_json(scene: Scene) -> None:
    for row in from_readings(scene.readings).venues["liquidation_parameters"]:
        assert set(json.loads(row)) == {"maximum_discount"}
