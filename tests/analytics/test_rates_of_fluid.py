"""Fluid's rate curves against a stand-in of its liquidity layer: the rate it stores, now and after a withdrawal."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.abi import load_abi
from defi_leverage.analytics.rate_curves import borrow_rate
from defi_leverage.analytics.rates import rates_after_withdrawal
from defi_leverage.chain import open_chain
from defi_leverage.fixed_point import BPS, RAY
from defi_leverage.protocols import fluid
from defi_leverage.protocols.fluid.rate_curves import _curve, _parameters, _points, _rate
from defi_leverage.reading import Deployment
from defi_leverage.snapshot import Snapshot, from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import transaction
from tests.devnet.protocols.fluid import NATIVE, OPERATE, POOLS
from tests.devnet.session import Devnet
from tests.protocols.bent_answers import bend

devnet_tests = pytest.mark.devnet("fluid")

ONE_BP = 1e-4
USDC = "0x00000000000000000000000000000000000005DC"
V2 = ((0, 0), (8500, 550), (9300, 800), (10_000, 4000))


def scan(devnet: Devnet) -> Snapshot:
    told = devnet.description.protocols["fluid"]

    async def read() -> Snapshot:
        async with open_chain("devnet", devnet.chain_id, [devnet.url]) as chain:
            return from_readings(
                await fluid.read(chain, Deployment("fluid", "Fluid", told["address"], 0, told["options"]))
            )

    return asyncio.run(read())


def lent(devnet: Devnet, snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    """The rows of the debts' markets, by the builder's key of the vault."""
    keys = {address: key for key, address in devnet.description.protocols["fluid"]["vaults"].items()}
    rows = snapshot.rates[snapshot.rates["rate_model"] != ""].to_dict("records")
    return {keys[row["venue_id"].rsplit(":", 1)[1]]: {str(name): row[name] for name in row} for row in rows}


def of_vault(devnet: Devnet, markets: pd.DataFrame, key: str) -> dict[str, Any]:
    vault = devnet.description.protocols["fluid"]["vaults"][key]
    (row,) = markets[markets["venue_id"].str.endswith(vault)].to_dict("records")
    return {str(name): value for name, value in row.items()}


def layer_data(devnet: Devnet, token: str) -> Any:
    call = {"to": devnet.description.protocols["fluid"]["layer"]}
    abi = load_abi("fluid")
    call["data"] = "0x" + abi.encode("getOverallTokenData", token).hex()
    return abi.decode("getOverallTokenData", bytes.fromhex(devnet.rpc("eth_call", call, "latest")[2:]))[0]


def touch(devnet: Devnet, token: str, withdrawn: int, timestamp: int | None = None) -> None:
    layer = devnet.description.protocols["fluid"]["layer"]
    devnet.send_many([transaction(OWNER, layer, OPERATE, token, -withdrawn, 0, 0, 0)], timestamp)


def test_corners_by_hand() -> None:
    """6 % at 86.6 %, a fifth of the way from 5.5 % at 85 % to 8 % at 93 %; beyond 93 %, 32 % more in 7 % of use."""
    assert [_rate(V2, used) for used in (0, 4250, 8500, 8660, 9300, 9650, 10_000)] == [
        0,
        275,
        550,
        600,
        800,
        2400,
        4000,
    ]
    model, parameters = _parameters(V2, 12_000)  # a vault at 1.2 times the layer's rate
    named = {name: value / RAY for name, value in parameters.items()}
    for used, rate in (
        (0.0, 0.0),
        (0.425, 0.0275),
        (0.866, 0.06),
        (0.93, 0.08),
        (0.965, 0.24),
        (1.0, 0.4),
        (1.1, 0.857143),
    ):
        assert borrow_rate(model, named, used) == pytest.approx(1.2 * rate, abs=1e-6)
    falling = ((0, 400), (5000, 100), (10_000, 100))  # a rate may decline before the kink
    model, parameters = _parameters(falling, 10_000)
    named = {name: value / RAY for name, value in parameters.items()}
    assert model == "jump"
    assert [borrow_rate(model, named, used) for used in (0, 0.25, 0.5, 1)] == pytest.approx([0.04, 0.025, 0.01, 0.01])


@given(
    st.integers(2, 3).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(1, BPS - 1), min_size=n - 1, max_size=n - 1, unique=True).map(sorted),
            st.lists(st.integers(0, 65_535), min_size=n + 1, max_size=n + 1),
            st.integers(0, BPS),
        )
    )
)
@settings(max_examples=40)
def test_the_curve_is_the_layer_s_lines(drawn: tuple[list[int], list[int], int]) -> None:
    kinks, rates, used = drawn
    points = list(zip((0, *kinks, BPS), rates, strict=True))
    model, parameters = _parameters(points, BPS)
    found = borrow_rate(model, {name: value / RAY for name, value in parameters.items()}, used / BPS)
    assert found == pytest.approx(float(_rate(points, used)) / BPS, rel=1e-9, abs=1e-9)


def curve(magnifier: int, stored: int = 600, token: str = USDC, free: int = 0, balance: int | None = 134) -> Any:
    """Of a vault at a layer that has lent 866 of 1000, and stored a rate in bps; the rate of its line is 600."""
    told = {"debt": SimpleNamespace(address=token), "borrow_magnifier": magnifier}
    vault: Any = SimpleNamespace(**told, borrow_rate=stored * magnifier // BPS)
    one = 10**12
    rates = (2, (token, 0, 0, 0, 0), (token, 8500, 9300, 0, 550, 800, 4000))
    amounts = (one, one, 1000 - free, free, 866, 0, 1000, 866, 5)
    return _curve(vault, (stored, 0, 1000, 8660, 0, 0, *amounts, BPS, rates), balance, "pool")


def test_shares_of_suppliers_and_what_is_available_by_hand() -> None:
    """The layer pays 90 %: of 1.25 times as much 72 %, of 0.8 times as much 112.5 %."""
    fees = {magnifier: curve(magnifier).parameters_ray["fee"] / RAY for magnifier in (10_000, 12_500, 8_000)}
    assert fees == pytest.approx({10_000: 0.1, 12_500: 0.28, 8_000: -0.125})
    for found in (curve(0), curve(10_000, free=1)):
        assert "fee" not in found.parameters_ray
    found = curve(10_000)
    assert (found.supplied_raw, found.borrowed_raw, found.available_raw, found.pool) == (1000, 866, 134, "pool")
    assert curve(10_000, balance=2000).available_raw == 1000  # more than is the suppliers'
    assert curve(10_000, token=NATIVE, balance=None).available_raw == 1000 - 866 + 5
    assert curve(10_000, balance=None) is None


def test_a_stored_rate_is_cut_to_a_basis_point_and_no_more() -> None:
    assert [curve(10_000, stored) is not None for stored in (598, 599, 600, 601)] == [False, True, True, False]


def test_data_that_is_no_curve() -> None:
    none = ("", 0, 0, 0, 0), ("", 0, 0, 0, 0, 0, 0)
    assert _points(USDC, (0, *none)) is None  # not configured
    assert _points(USDC, (3, *none)) is None  # a later version
    assert _points(USDC, (1, (NATIVE, 9000, 0, 250, 1000), none[1])) is None  # of another token
    assert _points(USDC, (1, (USDC, 10_000, 0, 250, 1000), none[1])) is None  # a kink at 100 %
    assert _points(USDC, (2, none[0], (USDC, 9300, 8500, 0, 550, 800, 4000))) is None
    assert _points(USDC, (2, none[0], (USDC, 8500, 9300, 0, 550, 800, 4000))) == list(V2)


@devnet_tests
def test_curves_are_the_layer_s_times_the_magnifier(devnet: Devnet) -> None:
    rows = lent(devnet, scan(devnet))
    assert {key: row["rate_model"] for key, row in rows.items()} == {
        "eth_usdc": "two_kinks",
        "wsteth_usdc": "two_kinks",
        "wbtc_usdc": "two_kinks",
        "wsteth_eth": "jump",
    }
    assert len({row["pool"] for row in rows.values()}) == 1
    pool = rows["eth_usdc"]["pool"]
    assert pool == f"eip155:{devnet.chain_id}:{devnet.description.protocols['fluid']['layer']}"
    parameters = {key: json.loads(row["rate_parameters"]) for key, row in rows.items()}
    # 90 % of the interest goes to suppliers; where the vault takes nothing of its borrowers there is no share of that
    assert parameters["eth_usdc"]["fee"] == pytest.approx(0.1)
    assert "fee" not in parameters["wbtc_usdc"]
    assert "fee" not in parameters["wsteth_eth"]  # a tenth of the ETH is lent free of interest
    assert borrow_rate("two_kinks", parameters["wbtc_usdc"], 0.99) == 0
    assert borrow_rate("jump", parameters["wsteth_eth"], 0.72) == pytest.approx(0.025)
    data = layer_data(devnet, devnet.tokens["USDC"])
    assert (rows["eth_usdc"]["supplied"], rows["eth_usdc"]["borrowed"]) == (data[12] / 1e6, data[13] / 1e6)
    held = devnet.call(devnet.tokens["USDC"], "balanceOf(address)", "(uint256)", pool.rsplit(":", 1)[1])[0]
    assert rows["eth_usdc"]["available"] == held / 1e6 == 13_400_000
    assert rows["wsteth_eth"]["available"] == 280  # of the chain's own coin, which no token contract counts


@devnet_tests
@pytest.mark.parametrize("key", ["eth_usdc", "wsteth_eth"])
def test_the_present_rate_is_on_the_curve(devnet: Devnet, key: str) -> None:
    """After a touch; before it, interest has brought the utilisation to where the stored rate does not follow yet."""
    token = devnet.tokens["USDC"] if key == "eth_usdc" else NATIVE
    touch(devnet, token, 10**6 if key == "eth_usdc" else 10**15)
    snapshot = scan(devnet)
    found = of_vault(devnet, rates_after_withdrawal(snapshot, {lent(devnet, snapshot)[key]["asset_id"]: 1e-9}), key)
    slope = 2.5 / 8 if key == "eth_usdc" else 1.25 * 2.5 / 90
    assert found["contract_rate"] > 0.02
    assert -1e-9 <= found["borrow_rate_before"] - found["contract_rate"] <= (1.25 + slope) * ONE_BP + ONE_BP


@devnet_tests
@pytest.mark.parametrize(
    ("key", "share"), [("eth_usdc", 0.05), ("eth_usdc", 0.12), ("wsteth_eth", 0.1), ("wsteth_eth", 0.25)]
)
def test_the_rate_after_a_withdrawal_is_the_one_foreseen(devnet: Devnet, key: str, share: float) -> None:
    """To a basis point that is cut off, and what the basis point of utilisation that is cut off is worth."""
    token, unit = (devnet.tokens["USDC"], 10**6) if key == "eth_usdc" else (NATIVE, 10**18)
    later = devnet.head()[1] + 86_400
    start = devnet.snapshot()
    devnet.mine(later)
    snapshot = scan(devnet)
    row = lent(devnet, snapshot)[key]
    devnet.revert(start)
    foreseen = of_vault(devnet, rates_after_withdrawal(snapshot, {row["asset_id"]: share}), key)
    assert not foreseen["exhausted"]
    touch(devnet, token, int(foreseen["withdrawn"] * unit), later)
    after = lent(devnet, scan(devnet))[key]
    data = layer_data(devnet, token)
    magnifier = 1.25 if key == "wsteth_eth" else 1.0
    corners, _, _ = POOLS["eth" if key == "wsteth_eth" else "usdc"]
    steepest = (corners[-1] - corners[-2]) / (BPS - corners[len(corners) // 2 - 2])
    assert data[3] == int(foreseen["utilisation_after"] * BPS + 1e-9)
    cut = magnifier * ONE_BP * (1 + steepest) + ONE_BP
    assert -1e-9 <= foreseen["borrow_rate_after"] - after["borrow_rate"] <= cut
    assert foreseen["borrow_rate_after"] > foreseen["borrow_rate_before"] + cut
    if key == "eth_usdc":  # what the layer pays its suppliers; with free supplies it is not known
        assert foreseen["supply_rate_after"] == pytest.approx(data[1] / BPS, abs=2 * cut)
    else:
        assert pd.isna(foreseen["supply_rate_after"])


@devnet_tests
def test_a_layer_that_charges_something_else_has_no_curve(devnet: Devnet) -> None:
    layer = devnet.description.protocols["fluid"]["layer"]
    devnet.transact(OWNER, layer, "setStoredRate(address,uint256)", devnet.tokens["USDC"], 603)
    assert lent(devnet, scan(devnet)).keys() == {"wsteth_eth"}


@devnet_tests
def test_a_vault_that_charges_something_else_than_its_layer_has_no_curve(
    devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    bend(monkeypatch, load_abi("fluid").encode("getOverallTokenData", NATIVE))  # its stored rate, one more than it is
    assert "wsteth_eth" not in lent(devnet, scan(devnet))


@devnet_tests
def test_without_an_answer_of_the_layer_there_is_no_curve(devnet: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    bend(monkeypatch, load_abi("fluid").encode("LIQUIDITY_RESOLVER"))
    assert lent(devnet, scan(devnet)) == {}
