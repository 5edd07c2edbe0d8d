"""A Comet's rate curves by hand, and against the stand-in's rates before and after a withdrawal."""

import asyncio
import json
from typing import Any

import pytest

from defi_leverage.analytics.rates import rates_after_withdrawal
from defi_leverage.chain import open_chain
from defi_leverage.fixed_point import RAY, SECONDS_PER_YEAR, WAD
from defi_leverage.protocols import comet
from defi_leverage.protocols.comet.rate_curves import confirm_curve, rate_at
from defi_leverage.reading import Deployment
from defi_leverage.snapshot import Snapshot, from_readings
from tests.devnet.chain import transaction
from tests.devnet.session import Devnet

LENDER = "0x000000000000000000000000000000000001e4DE"
CONTRACT_UNIT = SECONDS_PER_YEAR / WAD  # rates are whole numbers of 1e-18 a second
BORROW = (10**9, 2 * 10**9, 30 * 10**9, 8 * WAD // 10)  # base, slopes and kink, a second
SUPPLY = (0, 15 * 10**8, 20 * 10**9, 9 * WAD // 10)
PROBES = (0, WAD // 2, WAD, 11 * WAD // 10)
ANSWERS = {"borrow": [10**9, 2 * 10**9, 86 * 10**8, 116 * 10**8], "supply": [0, 75 * 10**7, 335 * 10**7, 535 * 10**7]}


def test_rates_by_hand() -> None:
    """1 + 2 * 0.8 + 30 * 0.2 = 8.6 at full use, and 3 more at 110 %; each product is cut off by itself."""
    assert [rate_at(BORROW, used) for used in PROBES] == ANSWERS["borrow"]
    assert [rate_at(SUPPLY, used) for used in PROBES] == ANSWERS["supply"]
    assert rate_at((7, 3, 3, WAD // 2), WAD // 2 - 1) == 8  # of 8.499999
    assert rate_at((7, 3, 3, WAD // 2), WAD) == 9  # 1.5 and 1.5, not 3


def test_the_parameters_are_yearly() -> None:
    curve = confirm_curve({"borrow": BORROW, "supply": SUPPLY}, ANSWERS, PROBES)
    assert curve is not None
    assert curve["jump_multiplier"] == 30 * 10**9 * SECONDS_PER_YEAR * 10**9
    assert curve["supply_multiplier"] == 15 * 10**8 * SECONDS_PER_YEAR * 10**9
    assert (curve["kink"], curve["supply_kink"], curve["supply_base"]) == (8 * RAY // 10, 9 * RAY // 10, 0)


@pytest.mark.parametrize("side", ["borrow", "supply"])
@pytest.mark.parametrize("at", range(4))
def test_rates_beside_the_curve_are_another_model_s(side: str, at: int) -> None:
    """One unit of 1e-18 a second is enough, as is a rate or a constant that the contract does not answer."""
    both: dict[str, Any] = {"borrow": BORROW, "supply": SUPPLY}
    answers = {name: list(rates) for name, rates in ANSWERS.items()}
    answers[side][at] += 1
    assert confirm_curve(both, answers, PROBES) is None
    silent: dict[str, Any] = {**ANSWERS, side: [None if n == at else rate for n, rate in enumerate(ANSWERS[side])]}
    assert confirm_curve(both, silent, PROBES) is None
    unknown: dict[str, Any] = {**both, side: [None if n == at else one for n, one in enumerate(both[side])]}
    assert confirm_curve(unknown, ANSWERS, PROBES) is None


def read(devnet: Devnet, key: str, timestamp: int | None = None) -> Snapshot:
    """The Comet's snapshot at the head, or in an empty block of a later time."""
    told = devnet.description.protocols["comet"]
    options = {"unit_usd_feed": devnet.feeds["WETH"]} if key == "weth" else {}
    deployment = Deployment("comet", "Compound", told["comets"][key]["address"], told["first_block"], options)

    async def scan() -> Snapshot:
        async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
            return from_readings([await comet.read(chain, deployment)])

    before = devnet.snapshot()
    if timestamp is not None:
        devnet.mine(timestamp)
    found = asyncio.run(scan())
    devnet.revert(before)
    return found


def charged(devnet: Devnet, address: str) -> tuple[float, float]:
    """What the contract takes of borrowers and pays suppliers from now on, a year."""
    (used,) = devnet.call(address, "getUtilization()", "(uint256)")
    borrow, supply = (
        devnet.call(address, f"{view}(uint256)", "(uint64)", used)[0] for view in ("getBorrowRate", "getSupplyRate")
    )
    return borrow * CONTRACT_UNIT, supply * CONTRACT_UNIT


@pytest.mark.devnet("comet", "maker")
@pytest.mark.parametrize(
    ("key", "base", "whole", "wanted"), [("usdc", "USDC", 10**6, 0.97), ("weth", "WETH", WAD, 0.6)]
)
def test_rates_before_and_after_a_withdrawal(devnet: Devnet, key: str, base: str, whole: int, wanted: float) -> None:
    """A lender leaves: of USDC until more is owed than suppliers own, as reserves are lent; of WETH below the kink."""
    address = devnet.description.protocols["comet"]["comets"][key]["address"]
    accounts = devnet.description.protocols["comet"]["accounts"]
    lender = next(x["address"] for x in accounts if (x["comet"], x["kind"]) == (key, "lender"))
    asset_id = f"eip155:{devnet.chain_id}/erc20:{devnet.tokens[base]}"
    timestamp = devnet.head()[1] + 5 * 86_400
    snapshot = read(devnet, key, timestamp)
    (lent,) = snapshot.rates[snapshot.rates["asset_id"] == asset_id].to_dict("records")
    assert lent["rate_model"] == "jump"
    (lends,) = devnet.call(address, "balanceOf(address)", "(uint256)", lender)
    amount = int(min(lends * wanted, lent["available"] * whole * 0.999))
    share = amount / whole / lent["supplied"]
    (foreseen,) = rates_after_withdrawal(snapshot, {asset_id: share}).to_dict("records")

    before = devnet.snapshot()
    devnet.send_many([transaction(LENDER, address, "accrueAccount(address)", LENDER)], timestamp)
    borrow, _ = charged(devnet, address)
    assert foreseen["borrow_rate_before"] == pytest.approx(borrow, rel=1e-9, abs=3 * CONTRACT_UNIT)
    devnet.revert(before)
    devnet.send_many(
        [transaction(lender, address, "withdraw(address,uint256)", devnet.tokens[base], amount)], timestamp
    )
    borrow, supply = charged(devnet, address)
    assert foreseen["borrow_rate_after"] == pytest.approx(borrow, rel=1e-9, abs=3 * CONTRACT_UNIT)
    assert foreseen["supply_rate_after"] == pytest.approx(supply, rel=1e-9, abs=3 * CONTRACT_UNIT)
    kink = json.loads(lent["rate_parameters"])["kink"]
    assert foreseen["utilisation_before"] < kink
    assert (foreseen["utilisation_after"] > 1) == (key == "usdc")
    assert (foreseen["utilisation_after"] < kink) == (key == "weth")
