"""cTokens, in the arithmetic of Compound v2's CToken (exchangeRateStoredInternal) and of Venus' isolated pools."""

from typing import Any

import pytest

from defi_leverage.backing.claims import NATIVE, Claim, Token
from defi_leverage.backing.families.c_token import read
from tests.backing.fake_chain import FakeChain, address, token

COMPTROLLER, DAI = address(0x100), address(0x200)
CDAI = token(2, "cDAI", 8)


def describe(listed: bool | None = True, **answers: Any) -> FakeChain:
    """100 DAI of cash, 50 lent, 10 of reserves for 7000 cDAI: a stored rate of 140e18 * 1e18 // 7000e8 = 2e26."""
    values: dict[str, Any] = {
        "comptroller": COMPTROLLER,
        "underlying": DAI,
        "isCToken": True,
        "exchangeRateStored": 2 * 10**26,
        "exchangeRateCurrent": 2 * 10**26 + 10**20,
        "getCash": 100 * 10**18,
        "totalBorrows": 50 * 10**18,
        "totalReserves": 10 * 10**18,
        "totalSupply": 7000 * 10**8,
    }
    values |= answers
    fake = FakeChain()
    fake.answers(CDAI.address, "c_token", **{name: value for name, value in values.items() if value is not None})
    if listed is not None:
        fake.says(COMPTROLLER, "c_token", "markets", (CDAI.address,), listed)
    return fake


async def read_one(fake: FakeChain, of: Token = CDAI) -> Any:
    return (await read(fake.chain, [of, token(9)])).get(of.address)


async def test_a_token_redeems_at_the_rate_of_the_block() -> None:
    finding = await read_one(describe())
    claim = Claim(DAI, 2 * 10**26 + 10**20, 10**18, "deposited", "exchangeRateCurrent", (COMPTROLLER,))
    assert finding.claims == (claim,)
    assert finding.asset_kind == "supply_share"


async def test_the_stored_rate_stands_in_where_interest_cannot_be_accrued() -> None:
    finding = await read_one(describe(exchangeRateCurrent=None))
    assert (finding.claims[0].underlying_raw, finding.claims[0].source) == (2 * 10**26, "exchangeRateStored")


async def test_ether_has_no_underlying() -> None:
    finding = await read_one(describe(underlying=None))
    assert finding.claims[0].underlying == NATIVE


async def test_bad_debt_of_an_isolated_pool_of_venus_counts() -> None:
    # 14 DAI of bad debt: (140 + 14)e18 * 1e18 // 7000e8 = 2.2e26
    assert (await read_one(describe(exchangeRateStored=22 * 10**25))).doubt
    known = describe(exchangeRateStored=22 * 10**25, badDebt=14 * 10**18, isCToken=None, isVToken=True)
    assert (await read_one(known)).claims


async def test_an_empty_market_has_its_initial_rate() -> None:
    fake = describe(totalSupply=0, getCash=0, totalBorrows=0, totalReserves=0)
    assert (await read_one(fake)).claims


@pytest.mark.parametrize(
    ("fake", "doubt"),
    [
        (describe(listed=False), "does not list it"),
        (describe(listed=None), "does not list it"),
        (describe(getCash=101 * 10**18), "is not (cash + borrows - reserves) / supply"),
        (describe(totalReserves=None), "is not (cash + borrows - reserves) / supply"),
    ],
)
async def test_what_does_not_add_up_is_a_doubt(fake: FakeChain, doubt: str) -> None:
    finding = await read_one(fake)
    assert finding.claims == ()
    assert doubt in finding.doubt


@pytest.mark.parametrize("missing", ["isCToken", "comptroller", "exchangeRateStored"])
async def test_what_lacks_a_function_is_no_c_token(missing: str) -> None:
    assert await read_one(describe(**{missing: None})) is None
