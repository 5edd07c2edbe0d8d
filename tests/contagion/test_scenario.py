"""Scenarios and the text of shocks."""

import pytest

from defi_leverage.contagion.scenario import Scenario, parse_change, parse_shocks
from defi_leverage.errors import ScenarioError


@pytest.mark.parametrize(
    ("text", "change"), [("-30%", -0.3), ("-0.3", -0.3), ("+5 %", 0.05), ("0", 0.0), (".5%", 0.005), ("-1e-3", -0.001)]
)
def test_changes(text: str, change: float) -> None:
    assert parse_change(text) == pytest.approx(change)


@pytest.mark.parametrize("text", ["", "thirty", "30%%", "1.2.3", "-30 percent", "nan", "inf"])
def test_text_that_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match="is not a change"):
        parse_change(text)


@pytest.mark.parametrize("text", ["-100%", "-1", "-150%"])
def test_changes_that_leave_no_price_are_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match="above -100 %"):
        parse_change(text)


def test_shocks_of_assets_and_feeds() -> None:
    asset = "eip155:1/erc20:0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"
    shocks, feeds = parse_shocks(["WETH=-30%", f"{asset}=-0.1", "feed:wstETH=-5%"])
    assert shocks == {"WETH": -0.3, asset: -0.1}
    assert feeds == {"wstETH": -0.05}


@pytest.mark.parametrize(("texts", "problem"), [(["WETH"], "ASSET=CHANGE"), (["A=-1%", "A=-2%"], "shocked twice")])
def test_shocks_of_another_form_are_refused(texts: list[str], problem: str) -> None:
    with pytest.raises(ScenarioError, match=problem):
        parse_shocks(texts)


@pytest.mark.parametrize(
    "arguments",
    [
        {"shocks": {"ETH": -1.0}},
        {"shocks": {"ETH": float("nan")}},
        {"shocks": {"ETH": 1e308}},
        {"feed_shocks": {"ETH": float("inf")}},
        {"depth_multiplier": 0.0},
        {"max_rounds": 0},
    ],
)
def test_scenarios_out_of_range_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ScenarioError):
        Scenario(**arguments)  # type: ignore[arg-type]
