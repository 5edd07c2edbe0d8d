"""LlamaLend's rate curves against stand-ins of its monetary policies: what AMMs are given, now and after a withdrawal.

The rates are whole units of 1e-18 a second: two of them, 6e-11 a year, and 1e-9 are what curves may be beside.
"""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.abi import load_abi
from defi_leverage.analytics.rate_curves import borrow_rate, hyperbolic_rate, semi_log_rate
from defi_leverage.analytics.rates import rates_after_withdrawal
from defi_leverage.chain import open_chain
from defi_leverage.protocols import crvusd
from defi_leverage.protocols._tokens import Token
from defi_leverage.protocols.crvusd.markets import Market
from defi_leverage.protocols.crvusd.rate_curves import Policy, lent_curve
from defi_leverage.reading import Deployment, MarketReading, Reading
from defi_leverage.snapshot import Snapshot, from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import transaction
from tests.devnet.protocols.crvusd import BOUNDS, HYPERBOLA
from tests.devnet.session import Devnet
from tests.protocols.bent_answers import bend

devnet_tests = pytest.mark.devnet("crvusd")

YEAR = 365 * 86_400
UNIT = YEAR / 10**18
RAY = 10**27
WAD = 10**18
COIN = "0x00000000000000000000000000000000000C0117"


def close_to(rate: float) -> Any:
    return pytest.approx(rate, rel=1e-9, abs=2 * UNIT)


def told_of(devnet: Devnet, key: str) -> dict[str, str]:
    told: dict[str, str] = devnet.description.protocols["crvusd"]["markets"][key]
    return told


def scan(devnet: Devnet) -> list[Reading]:
    told = devnet.description.protocols["crvusd"]

    async def read() -> list[Reading]:
        found: list[Reading] = []
        async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
            for address in (told["mint"], told["lend"]):
                found += await crvusd.read(chain, Deployment("crvusd", "Curve", address, told["first_block"]))
        return found

    return asyncio.run(read())


def borrowed_market(devnet: Devnet, readings: list[Reading], key: str) -> MarketReading:
    (reading,) = (r for r in readings if r.venue.address == told_of(devnet, key)["controller"])
    return reading.markets[1]


def row_of(devnet: Devnet, snapshot: Snapshot, key: str) -> dict[str, Any]:
    rates = snapshot.rates[snapshot.rates["venue_id"].str.endswith(told_of(devnet, key)["controller"])]
    (row,) = rates[rates["borrowed"] > 0].to_dict("records")
    return {str(name): value for name, value in row.items()}


def charged(devnet: Devnet, key: str) -> float:
    """What the AMM stores, a year."""
    return float(devnet.call(told_of(devnet, key)["amm"], "rate()", "(uint256)")[0] * UNIT)


def test_a_hyperbola_by_hand() -> None:
    """Half of 8 % at no use, 8 % at 80 %, 24 % at all, and 0.1 % more: u_inf = 1.6 / 1.5, A = 1/6 * u_inf / 1.5 ..."""
    pole = 1.6 / (1.6 - 0.2 * 0.5)
    scale = 0.5 * (pole - 0.8) * pole / 0.8
    curve = {"base": 0.08 * (0.5 - scale / pole) + 0.001, "scale": 0.08 * scale, "pole": pole}
    assert [borrow_rate("hyperbolic", curve, used) for used in (0, 0.8, 1)] == pytest.approx([0.041, 0.081, 0.241])
    assert borrow_rate("hyperbolic", curve | {"ceiling": 0.2, "fee": 0.0}, 1) == 0.2
    assert borrow_rate("hyperbolic", curve, 1.1) == float("inf")  # beyond the pole
    assert [n / WAD for n in HYPERBOLA[:2]] == pytest.approx([pole, scale])
    assert semi_log_rate(0.5, minimum=0.01, maximum=4.0, ceiling=0.15) == 0.15


@given(
    used=st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted), base=st.floats(0, 1), pole=st.floats(1.001, 9)
)
@settings(max_examples=20)
def test_a_higher_utilisation_never_costs_less(used: list[float], base: float, pole: float) -> None:
    low, high = (hyperbolic_rate(at, base=base, scale=0.01, pole=pole, ceiling=1.386) for at in used)
    assert 0 <= low <= high <= 1.386


def market(debt: int) -> Market:
    token = Token(COIN, "crvUSD", 18)
    return Market("", "", "", token, token, 100, 0, 0, "", "", 0, None, 0, 0, debt, None, 0, 0)


def test_only_a_policy_that_answers_what_its_curve_says_has_one() -> None:
    """80 of 100 borrowed between 1 % and 100 %: 0.01 * 100 ** 0.8 a year; of a hyperbola, to the wei."""
    low, high = 317_097_919, 31_709_791_900
    rate = int(low * 100**0.8)
    for answered, known in ((rate, True), (rate + 1, True), (rate + 20, False), (rate - 20, False)):
        curve = lent_curve(market(80), Policy(answered, COIN, (low, high), None), 20, 100)
        assert (curve is not None) == known
    curve = lent_curve(market(80), Policy(rate, COIN, (low, high), None), 20, 100)
    assert curve is not None
    assert curve.parameters_ray["minimum"] / RAY == pytest.approx(0.01, rel=1e-8)
    assert curve.parameters_ray["ceiling"] / RAY == pytest.approx(1.386, abs=5e-4)  # e ** 1.386: 300 % a year
    pole, scale, lowest = HYPERBOLA[:3]
    exact = 10**9 * lowest // WAD + scale * 10**9 // (pole - 8 * 10**17) + 7
    for answered, known in ((exact, True), (exact + 1, False)):
        policy = Policy(answered, COIN, None, (10**9, pole, scale, lowest, 7))
        assert (lent_curve(market(80), policy, 20, 100) is not None) == known
    assert lent_curve(market(80), None, 20, 100) is None
    assert lent_curve(market(80), Policy(rate, "0x" + "12" * 20, (low, high), None), 20, 100) is None
    assert lent_curve(market(0), Policy(low, COIN, (low, high), None), 0, 0) is not None  # nothing is lent yet
    kept_back = lent_curve(market(80), Policy(rate, COIN, (low, high), None), 20, 99)  # not all is the lenders'
    assert kept_back is not None
    assert "fee" not in kept_back.parameters_ray


@devnet_tests
def test_curves_are_those_of_known_policies(devnet: Devnet) -> None:
    readings = scan(devnet)
    curves = {key: borrowed_market(devnet, readings, key).curve for key in ("wsteth_lend", "savings", "short", "weth")}
    assert {key: curve.model if curve else "" for key, curve in curves.items()} == {
        "wsteth_lend": "semi_log",
        "savings": "hyperbolic",
        "short": "",  # its policy answers more than the curve that its functions name
        "weth": "fixed",
    }
    row = row_of(devnet, from_readings(readings), "wsteth_lend")
    assert {name: row[name] for name in ("pool", "available")} == {"pool": "", "available": 3_000_000}
    parameters = json.loads(row["rate_parameters"])
    assert (parameters["minimum"], parameters["maximum"]) == pytest.approx([bound * UNIT for bound in BOUNDS])
    minted = row_of(devnet, from_readings(readings), "weth")
    assert (
        json.loads(minted["rate_parameters"])["rate"] == minted["borrow_rate"] == pytest.approx(charged(devnet, "weth"))
    )


@devnet_tests
@pytest.mark.parametrize("key", ["wsteth_lend", "savings"])
@pytest.mark.parametrize("share", [0.01, 0.3])
def test_the_rates_before_and_after_a_withdrawal_are_those_of_the_policy(
    devnet: Devnet, key: str, share: float
) -> None:
    controller, vault = told_of(devnet, key)["controller"], told_of(devnet, key)["vault"]
    later = devnet.head()[1] + 5 * 86_400
    start = devnet.snapshot()
    devnet.mine(later)
    snapshot = from_readings(scan(devnet))
    devnet.revert(start)
    row = row_of(devnet, snapshot, key)
    found = rates_after_withdrawal(snapshot, {row["asset_id"]: share}).set_index("venue_id").loc[row["venue_id"]]
    assert not found["exhausted"]

    start = devnet.snapshot()
    devnet.send_many([transaction(OWNER, controller, "save_rate()")], later)
    assert found["borrow_rate_before"] == close_to(charged(devnet, key))
    devnet.revert(start)

    amount = round(float(found["withdrawn"]) * WAD)
    devnet.send_many([transaction(OWNER, vault, "withdraw(uint256)", amount)], later)
    assert found["borrow_rate_after"] == close_to(charged(devnet, key))
    apr = devnet.call(vault, "lend_apr()", "(uint256)")[0] / WAD
    assert found["supply_rate_after"] == close_to(apr)
    assert found["borrow_rate_after"] > found["borrow_rate_before"]


@devnet_tests
def test_other_policies_of_a_market(devnet: Devnet) -> None:
    """The yield of sUSDe in place of an AMM's rate; an average whose view is not what it will charge; none at all."""
    policies, controller = devnet.description.protocols["crvusd"]["policies"], told_of(devnet, "savings")["controller"]
    devnet.transact(OWNER, controller, "setPolicy(address)", policies["SusdePolicy"])
    snapshot = from_readings(scan(devnet))
    row = row_of(devnet, snapshot, "savings")
    found = rates_after_withdrawal(snapshot, {row["asset_id"]: 0.1}).set_index("venue_id").loc[row["venue_id"]]
    devnet.transact(OWNER, controller, "save_rate()")
    assert found["borrow_rate_before"] == pytest.approx(charged(devnet, "savings"), rel=1e-6)  # 12 s later
    for other in (policies["EmaPolicy"], "0x" + "00" * 20):
        devnet.transact(OWNER, controller, "setPolicy(address)", other)
        assert borrowed_market(devnet, scan(devnet), "savings").curve is None


@devnet_tests
def test_a_policy_whose_answer_is_another_has_no_curve(devnet: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    controller = told_of(devnet, "savings")["controller"]
    bend(monkeypatch, load_abi("crvusd_policies").encode("rate", controller))
    readings = scan(devnet)
    assert borrowed_market(devnet, readings, "savings").curve is None
    assert borrowed_market(devnet, readings, "wsteth_lend").curve is not None
