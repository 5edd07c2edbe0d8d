"""Fixed-point arithmetic: hand cases, properties, and the figures of real contracts."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defi_leverage import fixed_point as fp
from defi_leverage.fixed_point import BPS, RAY, WAD, yearly_ray
from tests.devnet.session import Devnet

AMOUNTS = st.integers(0, 2**128 - 1)
INDICES = st.integers(RAY, 100 * RAY)
SCALED = [
    (fp.wad_mul, fp.wad_div, WAD),
    (fp.ray_mul, fp.ray_div, RAY),
    (fp.percent_mul, fp.percent_div, BPS),
]


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (fp.wad_mul, (5, WAD // 10), 1),  # 0.5 is rounded up
        (fp.wad_mul, (4, WAD // 10), 0),
        (fp.wad_div, (1, 3 * WAD), 0),
        (fp.wad_div, (2, 3), (2 * WAD + 1) // 3),
        (fp.ray_mul, (1, RAY // 2), 1),
        (fp.ray_mul, (1, RAY // 2 - 1), 0),
        (fp.ray_mul_floor, (1, 2 * RAY - 1), 1),
        (fp.ray_mul_ceil, (1, RAY + 1), 2),
        (fp.ray_mul_ceil, (7, RAY), 7),
        (fp.ray_div, (1, 2 * RAY), 1),
        (fp.ray_div_floor, (1, 2 * RAY), 0),
        (fp.ray_div_ceil, (1, 2 * RAY), 1),
        (fp.percent_mul, (1, 5_000), 1),
        (fp.percent_mul, (1, 4_999), 0),
        (fp.percent_mul_floor, (19_999, 1), 1),
        (fp.percent_mul_ceil, (10_001, 1), 2),
        (fp.percent_div, (1, 20_000), 1),
        (fp.percent_div_floor, (1, 20_000), 0),
        (fp.percent_div_ceil, (1, 30_000), 1),
        (fp.mul_div_down, (7, 3, 2), 10),
        (fp.mul_div_up, (7, 3, 2), 11),
        (fp.mul_div_up, (0, 3, 2), 0),
    ],
)
def test_hand_cases(function, arguments, expected):  # type: ignore[no-untyped-def]
    assert function(*arguments) == expected


@pytest.mark.parametrize(("multiply", "divide", "one"), SCALED)
@given(a=AMOUNTS, b=st.integers(1, 2**128 - 1))
def test_half_up_is_the_nearest(multiply, divide, one, a, b):  # type: ignore[no-untyped-def]
    for rounded, exact in ((multiply(a, b), Fraction(a * b, one)), (divide(a, b), Fraction(a * one, b))):
        assert -Fraction(1, 2) < rounded - exact <= Fraction(1, 2)


@given(a=AMOUNTS, b=INDICES)
def test_named_roundings_enclose_the_exact_value(a: int, b: int) -> None:
    families = (
        (fp.ray_mul_floor, fp.ray_mul, fp.ray_mul_ceil),
        (fp.ray_div_floor, fp.ray_div, fp.ray_div_ceil),
        (fp.percent_mul_floor, fp.percent_mul, fp.percent_mul_ceil),
        (fp.percent_div_floor, fp.percent_div, fp.percent_div_ceil),
    )
    for floor, nearest, ceil in families:
        assert floor(a, b) <= nearest(a, b) <= ceil(a, b) <= floor(a, b) + 1


@given(amount=AMOUNTS, index=INDICES)
def test_since_3_5_a_round_trip_never_favours_the_user(amount: int, index: int) -> None:
    """Source: Aave v3.5 features, 'Rounding improvements'."""
    assert fp.ray_mul_floor(fp.ray_div_floor(amount, index), index) <= amount
    assert fp.ray_mul_ceil(fp.ray_div_ceil(amount, index), index) >= amount


@given(rate=st.integers(0, 3 * RAY), seconds=st.integers(0, 5 * fp.SECONDS_PER_YEAR))
def test_compounding_is_at_least_linear(rate: int, seconds: int) -> None:
    linear = fp.linear_interest(rate, seconds)
    assert linear <= fp.compounded_interest(rate, seconds) <= fp.compounded_interest_v3_4(rate, seconds)


def test_a_year_of_interest() -> None:
    rate = RAY // 10
    assert fp.linear_interest(rate, fp.SECONDS_PER_YEAR) == RAY + rate
    # 1 + 0.1 + 0.1^2/2 + 0.1^3/6
    expected = RAY + rate + RAY // 200 + RAY // 6000
    assert abs(fp.compounded_interest_v3_4(rate, fp.SECONDS_PER_YEAR) - expected) <= 1
    # The older form cuts its third term to a few digits.
    assert fp.compounded_interest(rate, fp.SECONDS_PER_YEAR) == pytest.approx(expected, rel=1e-5)
    assert fp.compounded_interest(rate, 0) == fp.compounded_interest_v3_4(rate, 0) == RAY


def test_division_by_zero_raises() -> None:
    for divide in (fp.wad_div, fp.ray_div, fp.ray_div_floor, fp.ray_div_ceil, fp.percent_div):
        with pytest.raises(ZeroDivisionError):
            divide(1, 0)


RESERVE = "(uint256,uint128,uint128,uint128,uint128,uint128,uint40,uint16,address,address,address)"


@pytest.mark.devnet
@pytest.mark.parametrize("key", ["aave_v3_0", "aave_v3_2"])
def test_interest_is_that_of_the_pool(devnet: Devnet, key: str) -> None:
    pool = devnet.deployments[key].pool
    _, now = devnet.head()
    for token in devnet.tokens.values():
        reserve = devnet.call(pool, "getReserveData(address)", RESERVE, token)
        income_index, income_rate, debt_index, debt_rate, _, updated = reserve[1:7]
        assert now > updated
        income = devnet.call(pool, "getReserveNormalizedIncome(address)", "(uint256)", token)[0]
        debt = devnet.call(pool, "getReserveNormalizedVariableDebt(address)", "(uint256)", token)[0]
        assert fp.ray_mul(fp.linear_interest(income_rate, now - updated), income_index) == income
        assert fp.ray_mul(fp.compounded_interest(debt_rate, now - updated), debt_index) == debt


@pytest.mark.devnet
@pytest.mark.parametrize("key", ["aave_v3_0", "aave_v3_2"])
def test_balances_are_those_of_the_tokens(devnet: Devnet, key: str) -> None:
    market = devnet.deployments[key]
    checked = 0
    for tokens, index in (
        (market.a_tokens, "getReserveNormalizedIncome(address)"),
        (market.variable_debt_tokens, "getReserveNormalizedVariableDebt(address)"),
    ):
        for symbol, token in tokens.items():
            factor = devnet.call(market.pool, index, "(uint256)", devnet.tokens[symbol])[0]
            for account in market.accounts[::25]:
                scaled = devnet.call(token, "scaledBalanceOf(address)", "(uint256)", account.address)[0]
                balance = devnet.call(token, "balanceOf(address)", "(uint256)", account.address)[0]
                assert fp.ray_mul(scaled, factor) == balance
                checked += balance > 0
    assert checked > 20


@pytest.mark.devnet
@pytest.mark.parametrize("key", ["aave_v3_0", "aave_v3_2"])
def test_what_may_be_borrowed_is_that_of_the_pool(devnet: Devnet, key: str) -> None:
    market = devnet.deployments[key]
    for account in market.accounts[::5]:
        figures = "(uint256,uint256,uint256,uint256,uint256,uint256)"
        data = devnet.call(market.pool, "getUserAccountData(address)", figures, account.address)
        collateral, debt, available, threshold, ltv, health_factor = data
        assert available == max(0, fp.percent_mul(collateral, ltv) - debt)
        if debt:
            assert health_factor == fp.wad_div(fp.percent_mul(collateral, threshold), debt)


def test_a_rate_a_second_is_so_many_times_as_much_a_year() -> None:
    assert yearly_ray(3) == 3 * 31_536_000 * 10**9
