"""Which strategies the Aave v2 reader knows, on strategies written here; the real one is in test_real_rates_aave_v2.

They answer as DefaultReserveInterestRateStrategy of aave/protocol-v2, whose later releases read the aToken's balance
by themselves: no bytecode of those is at hand.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import decode, encode

from defi_leverage.abi import load_abi
from defi_leverage.chain import Call
from defi_leverage.fixed_point import RAY
from defi_leverage.protocols.aave_v2.rate_curves import Curve, read_curves
from defi_leverage.protocols.aave_v3.readings import market_readings
from defi_leverage.protocols.aave_v3.reserves import Reserve
from tests.backing.fake_chain import FakeChain, address

STRATEGY, ASSET, A_TOKEN = (address(n) for n in range(1, 4))
CURVE = (8 * RAY // 10, RAY // 100, 4 * RAY // 100, 60 * RAY // 100)
NAMES = ("OPTIMAL_UTILIZATION_RATE", "baseVariableBorrowRate", "variableRateSlope1", "variableRateSlope2")
OF_LIQUIDITY, OF_MOVES = (
    load_abi("aave_v2").function(f"calculateInterestRates({arguments})").selector
    for arguments in ("address" + 5 * ",uint256", "address,address" + 6 * ",uint256")
)
CASH, STABLE, VARIABLE = 100, 450, 450


class Strategies(FakeChain):
    """One strategy, of the first release or a later one, and what it adds to the rates of variable debt and supply."""

    def __init__(self, selector: bytes = OF_LIQUIDITY, borrow: int = 0, supply: int = 0, above: float = 0.0) -> None:
        super().__init__()
        self.selector, self.borrow, self.supply, self.above = selector, borrow, supply, above
        self.answers(STRATEGY, "aave_v2", **dict(zip(NAMES, CURVE, strict=True)))

    async def call(self, calls: Sequence[Call]) -> list[bytes | None]:
        plain = await super().call(calls)
        return [
            self.rates(data) if data.startswith(self.selector) else answer
            for (_, data), answer in zip(calls, plain, strict=True)
        ]

    def rates(self, data: bytes) -> bytes:
        if self.selector == OF_LIQUIDITY:
            asset, liquidity, stable, variable, stable_rate, fee = decode(["address", *["uint256"] * 5], data[4:])
        else:
            kinds = ["address", "address", *["uint256"] * 6]
            asset, a_token, added, taken, stable, variable, stable_rate, fee = decode(kinds, data[4:])
            assert a_token == A_TOKEN.lower()
            liquidity = CASH + added - taken
        assert asset == ASSET.lower()
        lent = stable + variable
        used = lent * RAY // (lent + liquidity) if lent else 0
        optimal, base, below, above = CURVE
        borrow = base + below * min(used, optimal) // optimal + above * max(used - optimal, 0) // (RAY - optimal)
        if used >= self.above * RAY:
            borrow += self.borrow
        paid = (stable * stable_rate + variable * borrow) // lent if lent else 0
        supply = paid * used // RAY * (10_000 - fee) // 10_000 + self.supply
        return encode(["uint256"] * 3, [supply, 0, borrow])


def reserve(**changes: Any) -> Reserve:
    """Nine tenths lent, half of it at a stable 7 %."""
    plain: dict[str, Any] = dict.fromkeys(Reserve.__dataclass_fields__, 0)
    plain |= {"asset": ASSET, "a_token": A_TOKEN, "configuration": 1_000 << 64, "cash": CASH, "curve": None}
    plain |= {"borrow": STABLE + VARIABLE, "stable_borrow": STABLE, "stable_rate": 7 * RAY // 100, "supply": 1_000}
    return Reserve(**(plain | changes))


async def curve(chain: FakeChain, strategy: str = STRATEGY, **changes: Any) -> Curve | None:
    return (await read_curves(chain.chain, {ASSET: strategy}, [reserve(**changes)])).get(ASSET)


@pytest.mark.parametrize("selector", [OF_LIQUIDITY, OF_MOVES])
async def test_a_strategy_of_either_release_is_known(selector: bytes) -> None:
    assert await curve(Strategies(selector)) == CURVE
    assert await curve(Strategies(selector), borrow=0, stable_borrow=0) == CURVE


@pytest.mark.parametrize("selector", [OF_LIQUIDITY, OF_MOVES])
@pytest.mark.parametrize(
    "other", [{"borrow": RAY // 10**8}, {"supply": RAY // 10**8}, {"borrow": RAY // 10**8, "above": 0.98}]
)
async def test_one_that_charges_otherwise_is_not(selector: bytes, other: dict[str, Any]) -> None:
    assert await curve(Strategies(selector, **other)) is None


async def test_one_that_does_not_answer_is_not() -> None:
    assert await curve(Strategies(b"\0\0\0\0")) is None
    assert await curve(Strategies(), strategy=address(9)) is None
    assert await curve(Strategies(), stable_rate=None) == CURVE  # only what suppliers get is not known


def test_stable_debt_in_what_suppliers_get() -> None:
    known = reserve(curve=CURVE)
    for one, expected in (
        (known, {"stable_share": RAY // 2, "stable_rate": 7 * RAY // 100, "fee": RAY // 10}),
        (replace(known, stable_rate=None), {}),
        (replace(known, stable_borrow=0), {"fee": RAY // 10}),
    ):
        (market,) = market_readings([one], {0: "asset"})
        assert market.curve is not None
        assert market.curve.model == "kinked"
        shape = dict(zip(("optimal", "base", "slope1", "slope2"), CURVE, strict=True))
        assert market.curve.parameters_ray == shape | expected
