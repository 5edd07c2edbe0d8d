"""How people write stress tests: every form once, and what each mistake gets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.errors import ScenarioError
from defi_leverage.stress.notation import Axis, ReverseTarget, parse_axis, parse_grid, parse_target, parse_window


@pytest.mark.parametrize(
    ("text", "assets", "changes"),
    [
        ("WETH=-5%:-20%:-5%", ("WETH",), (-0.05, -0.1, -0.15, -0.2)),
        ("WETH=-5%:-20%:-10%", ("WETH",), (-0.05, -0.15)),
        ("WETH, feed:wstETH = -10%, -0.3", ("WETH", "feed:wstETH"), (-0.1, -0.3)),
        ("WETH=-20%:20%:20%,50%", ("WETH",), (-0.2, 0.0, 0.2, 0.5)),
        ("eip155:1/erc20:0xAb=-0.5", ("eip155:1/erc20:0xAb",), (-0.5,)),
        ("WETH=-10%:-10%:-5%", ("WETH",), (-0.1,)),
    ],
)
def test_an_axis(text: str, assets: tuple[str, ...], changes: tuple[float, ...]) -> None:
    assert parse_axis(text) == Axis(assets, changes)


@settings(max_examples=60, deadline=None)
@given(st.integers(-99, 300), st.integers(1, 40), st.integers(0, 30))
def test_a_range_has_its_first_its_last_and_even_steps(first: int, step: int, count: int) -> None:
    axis = parse_axis(f"A={first}%:{first + step * count}%:{step}%")
    assert axis.changes == tuple(round((first + step * number) / 100, 12) for number in range(count + 1))


def test_an_axis_without_changes_takes_the_default() -> None:
    assert parse_axis("WETH", default="-10%,10%") == Axis(("WETH",), (-0.1, 0.1))


def test_grids_targets_and_windows() -> None:
    assert parse_grid("A=0%,-10%  by B,C=-5%") == (Axis(("A",), (0.0, -0.1)), Axis(("B", "C"), (-0.05,)))
    assert parse_target("bad_debt_share = 1% along A=-1, B=-0.5") == ReverseTarget(
        "bad_debt_share", 0.01, {"A": -1.0, "B": -0.5}
    )
    assert parse_target("seized_usd=1e6 along A,B").direction == {"A": -1.0, "B": -1.0}
    assert parse_window("ust may 2022") == "UST May 2022"
    assert parse_window("2024-01-01 to 2024-01-02T12:00Z") == ("2024-01-01", "2024-01-02T12:00Z")


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_axis, "WETH", "write it as ASSET=FIRST:LAST:STEP"),
        (parse_axis, "=-5%", "write it as ASSET=FIRST:LAST:STEP"),
        (parse_axis, "A,A=-5%", "an asset is named twice"),
        (parse_axis, "A=-5%,-5%", "a change is given twice"),
        (parse_axis, "A=-5%:-9%", "is not a range"),
        (parse_axis, "A=-5%:-9%:0%", "do not lead from"),
        (parse_axis, "A=-5%:-9%:", "do not lead from"),
        (parse_axis, "A=-5%:-9%:1%", "do not lead from"),
        (parse_axis, "A=-5%:-120%:-5%", "a change must be above -100 %"),
        (parse_axis, "A=a:b:c", "'a' is not a change"),
        (parse_grid, "A=-5%", "write a grid as AXIS by AXIS"),
        (parse_grid, "A=-5% by B=-5% by C=-5%", "write a grid as AXIS by AXIS"),
        (parse_grid, "A,B=-5% by B=-5%", "B is on both sides"),
        (parse_target, "bad_debt_usd=1e6", "write it as MEASURE=BOUND along"),
        (parse_target, "bad_debt_usd=-1 along A", "write it as MEASURE=BOUND along"),
        (parse_target, "bad_debt_usd=1 along A,A", "'A' is no direction"),
        (parse_target, "bad_debt_usd=1 along A=x", "'A=x' is no direction"),
        (parse_window, "2024-01-01", "no window '2024-01-01'; there are 19 May 2021"),
    ],
)
def test_mistakes_name_the_text(parse: object, text: str, message: str) -> None:
    assert callable(parse)
    with pytest.raises(ScenarioError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
