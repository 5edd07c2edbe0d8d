"""Which interest rate models the Compound v2 reader knows, on models written here: no bytecode of these is at hand.

They answer as compound-finance/compound-protocol's JumpRateModelV2, LegacyJumpRateModelV2 and DAIInterestRateModelV3,
CREAM's TripleSlopeRateModel (its roof) and BENQI's JumpRateModel. Venus' own are in test_real_rates_compound.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from eth_abi.abi import decode

from defi_leverage.abi import load_abi
from defi_leverage.chain import Call
from defi_leverage.fixed_point import RAY, SECONDS_PER_YEAR, WAD
from defi_leverage.protocols.compound_v2.rate_curves import read_curves
from defi_leverage.reading import RateCurve
from tests.backing.fake_chain import FakeChain, address

MODEL, PACE = address(1), (120, 10)  # 12 seconds a block
BLOCKS = SECONDS_PER_YEAR // 12
BASE, MULTIPLIER, JUMP, KINK, FEE = 10**10, 3 * 10**11, 5 * 10**12, 8 * 10**17, WAD // 5
GET_BORROW_RATE = load_abi("compound_v2").function("getBorrowRate").selector


def jump(used: int) -> int:
    return BASE + MULTIPLIER * min(used, KINK) // WAD + JUMP * max(used - KINK, 0) // WAD


class Rates(FakeChain):
    """One model: what it says of itself, and the rate that it answers."""

    knows_reserves = True

    def __init__(self, unit: str = "PerBlock", rate: Callable[[int], int | None] = jump, error: bytes = b"") -> None:
        super().__init__()
        self.rate, self.error = rate, error
        parameters = {f"baseRate{unit}": BASE, f"multiplier{unit}": MULTIPLIER, f"jumpMultiplier{unit}": JUMP}
        self.answers(MODEL, "compound_v2", **parameters, kink=KINK)

    async def call(self, calls: Sequence[Call]) -> list[bytes | None]:
        return [
            self.borrow_rate(data) if data.startswith(GET_BORROW_RATE) else answer
            for (_, data), answer in zip(calls, await super().call(calls), strict=True)
        ]

    def borrow_rate(self, data: bytes) -> bytes | None:
        cash, borrows, reserves = decode(["uint256"] * 3, data[4:])
        reserves *= self.knows_reserves
        supplied = cash + borrows - reserves
        rate = self.rate(borrows * WAD // supplied if borrows and supplied else 0)
        return None if rate is None else self.error + rate.to_bytes(32, "big")


def market(**changes: Any) -> dict[str, Any]:
    """900 borrowed of 1,000 lent, beyond the kink, and 50 of reserves; a borrower pays 20 until now."""
    unit = 10**18
    present = jump(900 * WAD // 1_000)
    plain = {
        "rate_model": MODEL,
        "cash": 150 * unit,
        "borrow": 900 * unit,
        "reserves": 50 * unit,
        "reserve_factor": FEE,
        "current_borrow": 920 * unit,
        "borrow_by_block": present,
        "supply_by_block": present * 4 // 5 * 9 // 10,
        "borrow_by_second": None,
        "supply_by_second": None,
    }
    return plain | changes


async def curve(chain: FakeChain, pace: tuple[int, int] = PACE, **changes: Any) -> RateCurve | None:
    (found,) = await read_curves(chain.chain, [market(**changes)], pace)
    return found


async def test_parameters_and_amounts_by_hand() -> None:
    """Of the 20 that accrue the reserves get 4: 150 + 920 - 54 are supplied."""
    found = await curve(Rates())
    assert found is not None
    a_year = {"base": BASE, "multiplier": MULTIPLIER, "jump_multiplier": JUMP}
    assert found.parameters_ray == {name: rate * BLOCKS * 10**9 for name, rate in a_year.items()} | {
        "kink": 8 * RAY // 10,
        "fee": 2 * RAY // 10,
    }
    amounts = found.borrowed_raw, found.supplied_raw, found.available_raw
    assert (found.model, amounts) == ("jump", (920 * 10**18, 1_016 * 10**18, None))
    stored = await curve(Rates(), current_borrow=None)
    assert stored is not None
    assert (stored.borrowed_raw, stored.supplied_raw) == (900 * 10**18, 1_000 * 10**18)


async def test_a_legacy_model_answers_an_error_before_the_rate() -> None:
    assert await curve(Rates(error=bytes(32))) == await curve(Rates())
    assert await curve(Rates(error=(3).to_bytes(32, "big"))) is None
    assert await curve(Rates(error=bytes(64))) is None


async def test_rates_by_the_second_need_no_pace() -> None:
    told = market()
    changes = {f"{side}_by_second": told[f"{side}_by_block"] for side in ("borrow", "supply")}
    found = await curve(Rates("PerTimestamp"), (0, 0), **changes)
    assert found is not None
    assert found.parameters_ray["base"] == BASE * SECONDS_PER_YEAR * 10**9
    assert await curve(Rates(), (0, 0)) is None


async def test_a_model_that_departs_from_its_parameters_is_not_known() -> None:
    for roof in (88, 97):
        assert await curve(Rates(rate=lambda used, roof=roof: jump(min(used, roof * WAD // 100)))) is None  # type: ignore[misc]
    assert await curve(Rates(rate=lambda used: jump(used) + 4)) is None
    assert await curve(Rates(rate=lambda used: jump(used) + 3), borrow_by_block=jump(9 * WAD // 10) + 3) is not None


async def test_a_model_without_reserves_is_not_known() -> None:
    """As WhitePaperInterestRateModel of 2019: borrows / (cash + borrows)."""
    chain = Rates()
    chain.knows_reserves = False
    assert await curve(chain, borrow_by_block=jump(900 * WAD // 1_050)) is None
    assert await curve(chain, cash=100 * 10**18, reserves=0) is None


async def test_what_a_model_counts_above_one() -> None:
    capped = await curve(Rates(rate=lambda used: jump(min(used, WAD))))
    assert capped is not None
    assert capped.parameters_ray["utilisation_cap"] == RAY
    reverting = await curve(Rates(rate=lambda used: jump(used) if used <= WAD else None))
    assert reverting == await curve(Rates())
    assert await curve(Rates(rate=lambda used: jump(used) if used <= WAD else 0)) is None


async def test_suppliers_that_get_something_else_have_no_fee() -> None:
    """DAIInterestRateModelV3 adds the savings rate of what is not lent."""
    found, plain = await curve(Rates(), supply_by_block=market()["supply_by_block"] + 10**6), await curve(Rates())
    assert found is not None
    assert plain is not None
    assert found.parameters_ray.keys() == plain.parameters_ray.keys() - {"fee"}


@pytest.mark.parametrize(
    "changes",
    [
        {"borrow_by_block": jump(9 * WAD // 10) + 4},
        {"borrow_by_block": None},
        {"rate_model": None},
        {"rate_model": address(2)},
        {"reserves": None},
        {"reserve_factor": None},
        {"reserves": 1_050 * 10**18, "current_borrow": None, "borrow_by_block": BASE},  # nothing is left to lenders
    ],
)
async def test_a_market_of_which_too_little_is_known_has_no_curve(changes: dict[str, Any]) -> None:
    assert await curve(Rates(), **changes) is None
