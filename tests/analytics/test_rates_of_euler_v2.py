"""The rate models of Euler's vaults by hand, and against the stand-ins' rates before and after a withdrawal."""

import asyncio
import json
import math
from typing import Any

import pytest

from defi_leverage.analytics.rate_curves import borrow_rate
from defi_leverage.analytics.rates import rates_after_withdrawal
from defi_leverage.chain import open_chain
from defi_leverage.fixed_point import RAY, SECONDS_PER_YEAR, WAD
from defi_leverage.protocols import euler_v2
from defi_leverage.protocols.euler_v2.rate_curves import (
    ALL,
    HIGHEST_RATE,
    adaptive_curve,
    adaptive_rate,
    linear_kink,
    linear_rate,
)
from defi_leverage.reading import Deployment
from defi_leverage.snapshot import Snapshot, from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import transaction
from tests.devnet.session import Devnet

ADAPTIVE_UNIT = SECONDS_PER_YEAR / WAD  # its rates are whole numbers of 1e-18 a second
LINEAR = {"baseRate": 5, "slope1": 2, "slope2": 30, "kink": ALL // 2}
LOANS = [(ALL, 0), (ALL - 4, 4), (0, ALL), (0, 7), (0, 0)]
LINEAR_RATES = [5, 13, 5 + 2 * (ALL // 2) + 30 * (ALL - ALL // 2), 5 + 2 * (ALL // 2) + 30 * (ALL - ALL // 2), 5]
TENTH = WAD // 10
AT_TARGET = 10**9 * 10**9  # 1e9 in wad a second, 3.15 % a year
ADAPTIVE = {
    "TARGET_UTILIZATION": 8 * TENTH,
    "CURVE_STEEPNESS": 4 * WAD,
    "ADJUSTMENT_SPEED": 40 * WAD // SECONDS_PER_YEAR,
    "MIN_RATE_AT_TARGET": 10**8,
    "MAX_RATE_AT_TARGET": 2 * 10**10,
}
ADAPTIVE_LOANS = [(10, 0), (6, 4), (2, 8), (1, 9), (0, 10)]
ADAPTIVE_RATES = [AT_TARGET // 4, AT_TARGET * 5 // 8, AT_TARGET, AT_TARGET * 5 // 2, 4 * AT_TARGET]


def known(**constants: Any) -> dict[str, Any]:
    """What a model answers to every getter: None where it has none."""
    return dict.fromkeys((*LINEAR, *ADAPTIVE)) | constants


def test_linear_rates_by_hand() -> None:
    """5 and twice the units up to the kink, 30 times those above; the last loans are none."""
    assert [linear_rate(list(LINEAR.values()), *one) for one in LOANS] == LINEAR_RATES
    assert linear_rate([0, 1, 1, ALL], 2, 1) == ALL // 3  # cut off to whole units
    model, curve = linear_kink(known(**LINEAR), LOANS, LINEAR_RATES) or ("", {})
    assert (model, curve["base"], curve["multiplier"]) == ("jump", 5 * SECONDS_PER_YEAR, 2 * ALL * SECONDS_PER_YEAR)
    assert borrow_rate(model, {name: value / RAY for name, value in curve.items()}, 1.0) == pytest.approx(
        LINEAR_RATES[2] * SECONDS_PER_YEAR / RAY
    )


def test_adaptive_rates_by_hand() -> None:
    """A quarter of the rate at target at no use, four times it at full use; halfway to either, the mean of the ends."""
    assert [adaptive_rate(AT_TARGET, 8 * TENTH, 4 * WAD, *one) for one in ADAPTIVE_LOANS] == ADAPTIVE_RATES
    model, curve = adaptive_curve(known(**ADAPTIVE), AT_TARGET, ADAPTIVE_LOANS, ADAPTIVE_RATES) or ("", {})
    parameters = {name: value / RAY for name, value in curve.items()}
    assert model == "adaptive_curve"
    assert parameters == pytest.approx(
        {
            "rate_at_target": 0.031536,
            "target": 0.8,
            "steepness": 4.0,
            "speed": 40.0,
            "lowest": 0.0031536,
            "highest": 0.63072,
        }
    )
    assert borrow_rate(model, parameters, 0.9) == pytest.approx(2.5 * 0.031536)


@pytest.mark.parametrize("at", range(5))
def test_rates_beside_the_curve_are_another_model_s(at: int) -> None:
    """One unit is enough, as is a rate or a constant that the model does not answer."""
    for change in (1, None):
        linear = [rate if n != at else change and rate + change for n, rate in enumerate(LINEAR_RATES)]
        adaptive = [rate if n != at else change and rate + change for n, rate in enumerate(ADAPTIVE_RATES)]
        assert linear_kink(known(**LINEAR), LOANS, linear) is None
        assert adaptive_curve(known(**ADAPTIVE), AT_TARGET, ADAPTIVE_LOANS, adaptive) is None
    name = list(ADAPTIVE)[at]
    assert adaptive_curve(known(**ADAPTIVE) | {name: None}, AT_TARGET, ADAPTIVE_LOANS, ADAPTIVE_RATES) is None
    assert linear_kink(known(**ADAPTIVE), LOANS, LINEAR_RATES) is None
    assert adaptive_curve(known(**LINEAR), AT_TARGET, ADAPTIVE_LOANS, ADAPTIVE_RATES) is None


def test_a_curve_beyond_the_highest_rate_that_a_vault_takes_is_none() -> None:
    for base, taken in ((HIGHEST_RATE, True), (HIGHEST_RATE + 1, False)):
        constants = known(baseRate=base, slope1=0, slope2=0, kink=ALL)
        assert (linear_kink(constants, [(1, 1)], [base]) is not None) == taken
    for most, taken in ((HIGHEST_RATE // 10**9 // 4, True), (HIGHEST_RATE // 10**9 // 4 + 1, False)):
        constants = known(**ADAPTIVE | {"MAX_RATE_AT_TARGET": most})
        assert (adaptive_curve(constants, AT_TARGET, ADAPTIVE_LOANS, ADAPTIVE_RATES) is not None) == taken


class Vaults:
    """The devnet's vaults with rate models of their own."""

    def __init__(self, devnet: Devnet) -> None:
        self.devnet, self.told = devnet, devnet.description.protocols["euler_v2"]

    def address(self, key: str) -> str:
        found: str = self.told["vaults"][key]["address"]
        return found

    def give(self, key: str, model: str, timestamp: int | None = None) -> None:
        call = transaction(OWNER, self.address(key), "setInterestRateModel(address)", self.told["models"][model])
        self.devnet.send_many([call], timestamp)

    def read(self, timestamp: int | None = None) -> Snapshot:
        """The snapshot at the head, or in an empty block of a later time."""
        deployment = Deployment("euler_v2", "Euler", self.told["address"], self.told["first_block"])

        async def scan() -> Snapshot:
            async with open_chain("devnet", self.devnet.chain_id, [self.devnet.url], "latest") as chain:
                return from_readings(await euler_v2.read(chain, deployment))

        before = self.devnet.snapshot()
        if timestamp is not None:
            self.devnet.mine(timestamp)
        found = asyncio.run(scan())
        self.devnet.revert(before)
        return found

    def lent(self, snapshot: Snapshot, key: str) -> dict[str, Any]:
        """The vault's row in the table `rates`."""
        venue, asset = (f"eip155:{self.devnet.chain_id}{end}" for end in
                        (f":{self.address(key)}", f"/erc20:{self.told['vaults'][key]['asset']}"))  # fmt: skip
        rates = snapshot.rates
        (row,) = rates[(rates["venue_id"] == venue) & (rates["asset_id"] == asset)].to_dict("records")
        return {str(name): value for name, value in row.items()}

    def charged(self, key: str) -> float:
        """What the vault itself charges from now on, a year."""
        rate = self.devnet.call(self.address(key), "interestRate()", "(uint256)")[0]
        return float(rate * SECONDS_PER_YEAR / RAY)


on_the_chain = pytest.mark.devnet("euler_v2")


@on_the_chain
@pytest.mark.parametrize(
    ("key", "model", "places"), [("USDC", "kink", 6), ("USDC", "adaptive", 6), ("WETHloop", "adaptive", 18)]
)
def test_rates_before_and_after_a_withdrawal(devnet: Devnet, key: str, model: str, places: int) -> None:
    """A lender leaves nine tenths of what is there, five days after the model has come."""
    vaults = Vaults(devnet)
    vaults.give(key, model)
    timestamp = devnet.head()[1] + 5 * 86_400
    snapshot = vaults.read(timestamp)
    lent = vaults.lent(snapshot, key)
    parameters = json.loads(lent["rate_parameters"])
    assert lent["rate_model"] == {"kink": "jump", "adaptive": "adaptive_curve"}[model]
    lender = next(leg for leg in lenders(snapshot, lent["venue_id"]))
    amount = int(min(lender[1], 0.9 * lent["available"]) * 10**places)
    share = amount / 10**places / (lent["borrowed"] + lent["available"])
    found = rates_after_withdrawal(snapshot, {lent["asset_id"]: share}).set_index("venue_id").loc[lent["venue_id"]]
    # IRMLinearKink cuts its utilisation off to 2^-32, the adaptive model its rate to 1e-18 a second
    unit = parameters["jump_multiplier"] / ALL if model == "kink" else 3 * ADAPTIVE_UNIT

    before = devnet.snapshot()
    devnet.send_many([transaction(OWNER, vaults.address(key), "touch()")], timestamp)
    assert found["borrow_rate_before"] == pytest.approx(vaults.charged(key), rel=1e-9, abs=unit)
    devnet.revert(before)
    withdraw = ("withdraw(uint256,address,address)", amount, lender[0], lender[0])
    devnet.send_many([transaction(lender[0], vaults.address(key), *withdraw)], timestamp)
    charged = vaults.charged(key)
    assert found["borrow_rate_after"] == pytest.approx(charged, rel=1e-9, abs=unit)
    touched = vaults.lent(vaults.read(), key)
    assert touched["borrow_rate"] == pytest.approx(charged, rel=1e-12)
    assert found["supply_rate_after"] == pytest.approx(touched["supply_rate"], rel=1e-9, abs=unit)
    assert found["utilisation_after"] > found["utilisation_before"] + 0.1


def lenders(snapshot: Snapshot, venue_id: str) -> list[tuple[str, float]]:
    """Who lends there and how many tokens, the largest first."""
    legs = snapshot.legs[snapshot.legs["weight"] == 0]
    venue = legs["account_id"].map(snapshot.accounts.set_index("account_id")["venue_id"])
    legs = legs[venue == venue_id].sort_values("amount", ascending=False)
    return [
        (str(account).split("@")[0].rsplit(":", 1)[1], float(amount))
        for account, amount in zip(legs["account_id"], legs["amount"], strict=True)
    ]


@on_the_chain
def test_the_rate_at_target_has_moved_to_the_block(devnet: Devnet) -> None:
    """From 8 % at 40 a year times how far the use of USDC is from 85 %, for ten days: exp(-40 * gap * 10 / 365)."""
    vaults = Vaults(devnet)
    vaults.give("USDC", "adaptive")
    lent = vaults.lent(vaults.read(), "USDC")
    used = lent["borrowed"] / (lent["borrowed"] + lent["available"])
    assert used < 0.85
    later = vaults.lent(vaults.read(devnet.head()[1] + 10 * 86_400), "USDC")
    start, end = (json.loads(row["rate_parameters"])["rate_at_target"] for row in (lent, later))
    assert start == pytest.approx(0.08, rel=1e-9)
    assert end / start == pytest.approx(math.exp(40 * (used - 0.85) / 0.85 * 10 / 365), rel=1e-3)


@on_the_chain
def test_vaults_of_other_models_have_no_curve(devnet: Devnet) -> None:
    """A model with IRMLinearKink's constants and other rates beyond 99 %; one beyond the cap; no model and a rate."""
    vaults = Vaults(devnet)
    vaults.give("USDC", "bent")
    vaults.give("WETHloop", "excessive")
    snapshot = vaults.read()
    for key in ("USDC", "WETHloop", "WETH"):
        lent = vaults.lent(snapshot, key)
        assert (lent["rate_model"], lent["borrow_rate"] > 0) == ("", True)
    idle = vaults.lent(snapshot, "DAI")  # without a model: 0, whatever is borrowed
    assert (idle["rate_model"], idle["borrow_rate"]) == ("jump", 0)
    assert borrow_rate("jump", json.loads(idle["rate_parameters"]), 0.97) == 0
