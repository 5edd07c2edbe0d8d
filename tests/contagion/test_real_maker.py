"""The round against Maker (the devnet's stand-ins): the same vaults put to auction and sold at the oracle's price."""

from typing import Any

import pytest

from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.protocols import maker
from defi_leverage.reading import Deployment
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import Transaction, transaction
from tests.devnet.protocols.maker import ILKS, RAD, key
from tests.devnet.session import Devnet
from tests.devnet.tokens import FINAL, set_answer

pytestmark = pytest.mark.devnet("comet", "maker")

KEEPER = "0x00000000000000000000000000000000000A11Ce"
BARK = "0x85258d09e1e4ef299ff3fc11e74af99563f022d21f3f940db982229dc2a3358c"
TAKE = "0x3df7b4cf179293b52e441a1edf35f4ccff4d3515e07e568fc076a3d721aae1b7"


async def predict(devnet: Devnet, timestamp: int, shocks: dict[str, float]) -> ContagionResult:
    """One round of the engine on all ilks as they stand at `timestamp`, before any price has moved."""
    told = devnet.description.protocols["maker"]
    before = devnet.snapshot()
    devnet.mine(timestamp)
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        deployment = Deployment("maker", "Maker", told["contracts"]["CHANGELOG"], told["first_block"])
        snapshot = from_readings(await maker.read(chain, deployment))
    devnet.revert(before)
    return run_contagion(snapshot, Scenario("drop", shocks, max_rounds=1))


def execute(
    devnet: Devnet, timestamp: int, shocks: dict[str, float], vaults: list[tuple[str, str]]
) -> dict[tuple[str, str], tuple[int, int, int]]:
    """The same drop, drips, pokes, barks in the order given, then every auction taken: (ilk, vault) -> due, paid, sold.

    Due and paid are rad, what is sold a wad. Nobody else who is below 1 fits into the limits after that.
    """
    told = devnet.description.protocols["maker"]
    at, chain = told["contracts"], devnet
    calls: list[Transaction] = [
        set_answer(OWNER, devnet.feeds["WETH"], FINAL.eth * (1 + shocks["WETH"])),
        set_answer(OWNER, devnet.feeds["WBTC"], FINAL.btc * (1 + shocks["WBTC"])),
        transaction(OWNER, at["MCD_VAT"], "suck(address,address,uint256)", OWNER, KEEPER, 10**8 * RAD),
    ]
    for ilk in ILKS:
        if ilk in told["clips"] and ilk not in told["broken"]:
            calls.append(transaction(KEEPER, at["MCD_JUG"], "drip(bytes32)", key(ilk)))
            calls.append(transaction(KEEPER, at["MCD_SPOT"], "poke(bytes32)", key(ilk)))
    chain.send_many(calls, timestamp)
    bark = "bark(bytes32,address,address)"
    barks = [transaction(KEEPER, at["MCD_DOG"], bark, key(ilk), urn, KEEPER) for ilk, urn in vaults]
    found: dict[tuple[str, str], tuple[int, int, int]] = {}
    kicked = []
    for (ilk, urn), receipt in zip(vaults, chain.send_many(barks, timestamp), strict=True):
        (log,) = [log for log in receipt["logs"] if log["topics"][0] == BARK]
        kicked.append((ilk, urn, int(log["data"][130:194], 16), int(log["topics"][3], 16)))
    takes = [transaction(KEEPER, told["clips"][ilk], "take(uint256)", sale) for ilk, _, _, sale in kicked]
    for (ilk, urn, due, _), receipt in zip(kicked, chain.send_many(takes, timestamp), strict=True):
        (log,) = [log for log in receipt["logs"] if log["topics"][0] == TAKE]
        found[ilk, urn] = (due, int(log["data"][66:130], 16), int(log["data"][130:194], 16))
    return found


@pytest.mark.parametrize("fall", [-0.03, -0.3])
async def test_a_round_equals_barks_and_takes(devnet: Devnet, fall: float) -> None:
    """After a small fall only ETH-B's own limit is in the way, after a large one that of all auctions together."""
    timestamp, shocks = devnet.head()[1] + 3600, {"WETH": fall, "WBTC": fall}
    result = await predict(devnet, timestamp, {**shocks, "wstETH": fall})
    rows: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items() if value is not None}
        for row in result.liquidations.to_dict("records")
        if row["repaid"] > 0
    ]
    bad = result.bad_debt.set_index("account_id")["amount"].to_dict()
    ordered = []
    for row in rows:
        owner, venue = row["account_id"].split("@")
        row |= {"urn": owner.rsplit(":", 1)[1], "ilk": venue.split("/")[1]}
        ordered.append((row["ilk"], row["urn"], row))
    ordered.sort(key=lambda item: (item[0], item[1]))
    found = execute(devnet, timestamp, shocks, [(ilk, urn) for ilk, urn, _ in ordered])
    parts = 0
    for ilk, urn, row in ordered:
        due, paid, sold = found[ilk, urn]
        closed = row["repaid"] + bad.get(row["account_id"], 0.0)
        assert closed == pytest.approx(due / RAD, rel=1e-9), (ilk, urn)
        assert row["bought"] == pytest.approx(paid / RAD, rel=1e-9)
        assert row["sold"] == pytest.approx(sold / 10**18, rel=1e-9)
        parts += (
            devnet.call(
                devnet.description.protocols["maker"]["contracts"]["MCD_VAT"],
                "urns(bytes32,address)",
                "(uint256,uint256)",
                key(ilk),
                urn,
            )[1]
            > 0
        )
    assert len(ordered) >= 4
    assert parts == (1 if fall == -0.03 else 2)  # of so many vaults there was room for a part only
    total = sum(due for due, _, _ in found.values()) / RAD * 1.13
    assert (total > 2_900_000) == (fall == -0.3)
    assert any(paid < due for due, paid, _ in found.values())  # under water
