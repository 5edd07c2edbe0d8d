"""config.toml: what is read, and the one line that each mistake gets."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import pandas as pd
import pytest

from defi_leverage.config import expand_urls, load_config
from defi_leverage.config_keys import SCENARIO, STRESS
from defi_leverage.config_values import parse_block
from defi_leverage.contagion.impact import compile_impact, price_factor
from defi_leverage.contagion.liquidation import LIQUIDATION_RULES
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ConfigError
from defi_leverage.market import apply_config, known_figures
from defi_leverage.protocols import reader_names
from defi_leverage.schema import load_schema
from defi_leverage.store import load_snapshot
from defi_leverage.stress.plan import Draws, PriceSource, ReverseSearch, StressPlan
from defi_leverage.stress.run import run_plan
from tests.books import make_snapshot

ROOT = Path(__file__).parent.parent
CHAIN = """
[chains.ethereum]
chain_id = 1
rpc_urls = ["https://one.example/v2/${SECRET_KEY}", "https://two.example/topsecret"]
[[chains.ethereum.aave_v3]]
name = "Core"
address = "0x2f39d218133AFaB8F2B819B1066c7E434Ad94E9e"
first_block = 16291127
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_the_default_configuration_is_the_repository_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config()
    assert config.path.samefile(ROOT / "config.toml")
    assert (config.source, config.output, config.block, config.chains) == ("sample", Path("out"), "finalized", ())
    assert len(config.depth) >= 5
    assert len(config.scenarios) >= 3


def test_a_config_toml_in_the_working_folder_is_found_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(tmp_path, "block = 7")
    monkeypatch.chdir(tmp_path)
    assert load_config().block == 7


def test_the_shipped_ethereum_section_works_uncommented_and_without_keys(tmp_path: Path) -> None:
    text = (ROOT / "config.toml").read_text()
    first = text.index("# [chains.ethereum]")
    section = text[first : text.index("# -----", first)]
    config = load_config(write(tmp_path, "\n".join(line.removeprefix("# ") for line in section.splitlines())))
    (chain,) = config.chains
    assert chain.chain_id == 1
    assert [item.name for item in chain.deployments] == ["Core", "Prime", "EtherFi"]
    assert all(url.startswith("https://") for url in expand_urls(chain, {}))


def test_urls_are_expanded_from_the_environment_and_stay_out_of_the_repr(tmp_path: Path) -> None:
    (chain,) = load_config(write(tmp_path, CHAIN)).chains
    assert expand_urls(chain, {"SECRET_KEY": "k"})[0] == "https://one.example/v2/k"
    assert "example" not in repr(chain)
    with pytest.raises(ConfigError, match="variable SECRET_KEY is not set; set it, or remove the URL"):
        expand_urls(chain, {})


def test_a_byte_order_mark_is_forgiven(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "\ufeffblock = 7")).block == 7


@pytest.mark.parametrize(
    "url",
    [
        "two.example/topsecret",
        "wss://two.example/topsecret",
        "https://two.example:99999/topsecret",
        "https:///topsecret",
        "https://two.example/topsecret/${NAME",
    ],
)
def test_a_bad_url_is_not_shown(url: str, tmp_path: Path) -> None:
    (chain,) = load_config(write(tmp_path, CHAIN.replace("https://two.example/topsecret", url))).chains
    with pytest.raises(ConfigError, match=r"rpc_urls\[2\]: not an http") as caught:
        expand_urls(chain, {"SECRET_KEY": "k"})
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sourc = 'sample'", r"config\.toml: sourc is not a known key; did you mean source\?"),
        ("[[depth]]\nasset = 'A'\nmodle = 'x'", r"depth\[1\]\.modle is not a known key; did you mean model\?"),
        (
            "[[depth]]\nasset='A'\ndepth_2pct_usd=1\n[[depth]]\nasset=3\ndepth_2pct_usd=1",
            r"depth\[2\]\.asset = 3: must be text",
        ),
        ("[[depth]]\nasset = 'A'", r"depth\[1\]: give either depth_2pct_usd or parameters"),
        ("[[depth]]\nasset = 'A'\ndepth_2pct_usd = -1", r"depth\[1\]\.depth_2pct_usd = -1: must be a number above 0"),
        ("[[depth]]\nasset = 'A'\ndepth_2pct_usd = inf", r"depth\[1\]\.depth_2pct_usd = inf: must be a number above 0"),
        ("[depth]\nasset = 'A'", r"depth must be written as \[\[depth\]\]"),
        ("block = 'newest'", r"block = 'newest': must be latest, finalized or a block number"),
        ("block = -1", "block = -1: must be latest, finalized or a block number"),
        ("source = 'chain'", "source = 'chain': must be one of sample, chains"),
        ("source = 'chains'", "there is no .chains.NAME. table"),
        ("source = ", "not valid TOML"),
        ("[[scenarios]]\nname='x'\nshocks={WETH='-130%'}", r"scenarios\[1\]: shocks\.WETH: .*must be above -100 %"),
        ("[[scenarios]]\nname='x'\nshocks={WETH=-1.0}", r"scenarios\[1\]: shock WETH: .*must be above -100 %"),
        ("[[scenarios]]\nname='x'\nshocks={WETH=nan}", r"scenarios\[1\]: shocks\.WETH: nan is not a change"),
        (f"[[scenarios]]\nname='x'\nshocks={{WETH=1{'0' * 400}}}", r"shocks\.WETH: 10+ is not a change"),
        (f"[clusters]\nthreshold=1{'0' * 400}", r"clusters\.threshold = 10+: must be a number above 0"),
        ("[clusters]\nband = 5", r"clusters\.band = 5: must be a fall as a fraction between 0 and 1"),
        ("[measures]\nwithdrawal = '120%'", r"measures\.withdrawal = '120%': must be a share above 0 and at most 1"),
        ("[measures]\nvolatility = {WETH = 'high'}", r"measures\.volatility = .*must be a number or a percentage"),
        ("[measures]\nvolatility = {WETH = -0.6}", r"measures\.volatility = .*: WETH must be at least 0"),
        ("[measures]\ntarget_volatility = 0", r"measures\.target_volatility = 0: must be above 0"),
        ("[measures]\ngap = '100%'", r"measures\.gap = '100%': must be a fall as a fraction between 0 and 1"),
        ("[measures]\nmean_jump = '5%'", r"measures\.jumps_per_year and measures\.mean_jump belong together"),
        ("[measures]\ngaps = 0.2", r"measures\.gaps is not a known key; did you mean gap\?"),
        ("[own_yields]\nwstETH = true", r"own_yields = .*: must be a number or a percentage"),
        ("output = '~nobody-of-this-name/out'", "output = .*: names no user of this machine"),
        ("chains = 3", r"chains: must be a table such as \[chains\.ethereum\]"),
        (
            "[[depth]]\nasset='A'\nparameters={depht=1}",
            r"depth\[1\]\.parameters: exponential takes .*depth",
        ),
        (
            "[[depth]]\nasset='A'\nmodel='constant_product'\nparameters={depth=1}",
            r"depth\[1\]\.parameters: constant_product takes .*reserve",
        ),
        ("[[scenarios]]\nshocks={WETH=-0.1}", r"scenarios\[1\]\.name is missing; add it"),
        ("[scenarios]\nname='x'", r"scenarios must be written as \[\[scenarios\]\]"),
        (
            "[[scenarios]]\nname='x'\nrate_shock={}",
            r"scenarios\[1\]\.rate_shock is not a known key.* mean rate_shocks\?",
        ),
        (
            "[[scenarios]]\nname='x'\narrival='slow'",
            r"scenarios\[1\]\.arrival = 'slow': must be one of gap, continuous",
        ),
        ("[[scenarios]]\nname='x'\nsteps=4", r"scenarios\[1\]\.steps does nothing unless arrival is .continuous.; set"),
        ("[[scenarios]]\nname='x'\ngas_usd=4", r"scenarios\[1\]\.gas_usd does nothing unless liquidators is .rational"),
        ("[[scenarios]]\nname='x'\nrate_shocks={USDC='x'}", r"scenarios\[1\]: rate_shocks\.USDC: 'x' is not a change"),
        (
            "[[scenarios]]\nname='x'\nstale_rounds=-1",
            r"scenarios\[1\]\.stale_rounds = -1: must be a whole number of at",
        ),
        ("[[scenarios]]\nname='x'\nfrozen_feeds=[3]", r"scenarios\[1\]\.frozen_feeds = \[3\]: must be a list of texts"),
        ("[stress]\nlader=['WETH=-5%']", r"stress\.lader is not a known key; did you mean ladders\?"),
        ("[stress]\nladders=['WETH']", r"stress\.ladders\[1\]: 'WETH': write it as ASSET=FIRST:LAST:STEP"),
        (
            "[stress]\ndepth_multipliers=[1, 1]",
            r"stress\.depth_multipliers = \[1, 1\]: must be a list of numbers, each",
        ),
        (
            "[stress]\nwindows=['5 Aug 2024']",
            r"stress\.windows needs a price history; name its files in stress\.prices",
        ),
        ("[stress.draws]\nseed=1", r"stress\.draws\.count is missing; add it"),
        (
            "[stress.draws]\ncount=9\nhorizon='soon'",
            r"stress\.draws\.horizon = 'soon': must be a duration such as 30min",
        ),
        ("[stress.base]\nsteps=3", r"stress\.base\.steps does nothing unless arrival"),
        (
            "[stress.reverse_search]\nlargest=1.5",
            r"stress\.reverse_search\.largest = 1\.5: must be a fall as a fraction",
        ),
        ("[stress]\ncurves=['WETH,WBTC']", r"stress\.curves\[1\]: 'WETH,WBTC': a curve is of one asset"),
        ("[[scenarios]]\nname='x'\nshocks={WETH=true}", r"shocks\.WETH: True is not a change"),
        ("[[scenarios]]\nname='x'\nbuy_debt=1", r"scenarios\[1\]\.buy_debt = 1: must be true or false"),
        (
            CHAIN.replace("rpc_urls", "rpc_url"),
            r"chains\.ethereum\.rpc_url is not a known key; did you mean rpc_urls\?",
        ),
        (CHAIN.replace("aave_v3", "aave3"), r"chains\.ethereum\.aave3 is not a known key; did you mean aave_v3\?"),
        (CHAIN.replace("chain_id = 1", "chain_id = '1'"), r"chains\.ethereum\.chain_id = '1': must be a whole number"),
        (
            CHAIN.replace("first_block", "first_blok"),
            r"aave_v3\[1\]\.first_blok is not a known key; did you mean first_block",
        ),
        (CHAIN.replace("Ad94E9e", "Ad94E9"), r"aave_v3\[1\]\.address = '0x\w+': must be an address"),
        (
            CHAIN.split("[[", maxsplit=1)[0],
            r"chains\.ethereum names no protocol; add one such as \[\[chains\.ethereum\.",
        ),
    ],
)
def test_mistakes(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(write(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_every_switch_of_a_scenario_has_its_key(tmp_path: Path) -> None:
    text = """
    [[scenarios]]
    name = "all"
    shocks = { WETH = "-20%" }
    feed_shocks = { wstETH = -0.05 }
    depth_multiplier = 0.5
    sell_collateral = false
    buy_debt = false
    max_rounds = 7
    arrival = "continuous"
    steps = 5
    liquidators = "rational"
    gas_usd = 30
    rate_shocks = { USDC = "10%" }
    stale_rounds = 2
    frozen_feeds = ["WBTC"]
    """
    (scenario,) = load_config(write(tmp_path, text)).scenarios
    expected = Scenario(
        "all", {"WETH": -0.2}, {"wstETH": -0.05}, 0.5, False, False, 7, "continuous", 5, "rational", 30.0,
        {"USDC": 0.1}, 2, ("WBTC",),
    )  # fmt: skip
    assert scenario == expected
    assert {field.name for field in fields(Scenario)} == set(SCENARIO)
    assert load_config(write(tmp_path, "[[scenarios]]\nname = 'x'")).scenarios == (Scenario("x"),)


def test_every_part_of_a_stress_test_has_its_key(tmp_path: Path) -> None:
    text = (ROOT / "config.toml").read_text()
    first, last = text.index("[stress]"), text.index("# ----- Clusters")
    stress = "\n".join(line.removeprefix("# ").removeprefix("#") for line in text[first:last].splitlines())
    plan = load_config(write(tmp_path, stress)).stress  # with what is commented out
    assert not {field.name for field in fields(StressPlan)} - {"search"} ^ set(STRESS) - {"reverse_search"}
    assert plan.windows[-1] == ("2023-03-10", "2023-03-13")
    assert plan.base == Scenario("as it stands", liquidators="rational", gas_usd=50.0)
    assert (plan.draws, plan.search) == (Draws(1000, copula_dof=4, marginal_dof=4), ReverseSearch())
    assert plan.prices == PriceSource(("prices.csv",), proxies={"WETH": "ETH"}, unmoved=("USDC", "DAI"))
    assert plan.depth_multipliers == (1.0, 0.5)
    assert load_config(write(tmp_path, "")).stress == StressPlan()
    assert StressPlan().empty


def test_the_shipped_stress_test_fits_the_sample() -> None:
    plan = load_config(ROOT / "config.toml").stress
    assert not run_plan(load_snapshot("sample"), replace(plan, losses=())).refused


def test_a_secret_never_shows_in_a_type_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"chains\.ethereum\.rpc_urls: must be a list") as caught:
        load_config(write(tmp_path, CHAIN.replace('["https://one', '[3, "https://one')))
    assert "topsecret" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"other\.toml: no such file"):
        load_config(tmp_path / "other.toml")


def test_blocks() -> None:
    assert [parse_block(text) for text in ("latest", "finalized", "12", 12)] == ["latest", "finalized", 12, 12]
    with pytest.raises(ConfigError, match="block 'soon' is not"):
        parse_block("soon")


def test_the_words_of_the_file_are_those_of_the_schema() -> None:
    words = {(column.table, column.name): column.values for columns in load_schema().values() for column in columns}
    text = (ROOT / "defi_leverage" / "config_keys.py").read_text()
    for word in (*words["backing", "kind"], *words["feeds", "kind"]):
        assert f'"{word}"' in text
    assert "aave_v3" in reader_names()
    assert "aave_v3" in LIQUIDATION_RULES


# ----- what the configuration lays over a snapshot


def test_depth_of_2_percent_moves_the_price_2_percent(tmp_path: Path) -> None:
    book = make_snapshot({"WETH": 2000.0, "USDC": 1.0}, [({"WETH": 10}, {"USDC": 10000})])
    for model in ("linear", "square_root", "exponential", "constant_product", "piecewise"):
        config = load_config(write(tmp_path, f'[[depth]]\nasset="WETH"\nmodel="{model}"\ndepth_2pct_usd=1e6'))
        (row,) = apply_config(book, config).depth.to_dict("records")
        impact = compile_impact(model, json.loads(row["parameters"]))
        assert price_factor(impact, 500.0) == pytest.approx(0.98)
        assert (row["asset_id"], row["quote"], row["model"]) == ("WETH", "USD", model)


def test_a_pool_is_described_by_numbers_and_lists(tmp_path: Path) -> None:
    book = make_snapshot({"WETH": 2000.0, "USDC": 1.0}, [({"WETH": 10}, {"USDC": 10000})])
    parameters = "{ price = 2000, ranges = [[1500, 2500.5, 1e6], [1000, 1500, 2e5]] }"
    text = f'[[depth]]\nasset="WETH"\nmodel="uniswap_v3"\nparameters={parameters}'
    (row,) = apply_config(book, load_config(write(tmp_path, text))).depth.to_dict("records")
    assert json.loads(row["parameters"]) == {"price": 2000, "ranges": [[1500, 2500.5, 1e6], [1000, 1500, 2e5]]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('model="uniswap_v3"\ndepth_2pct_usd=1e6', r"depth\[1\]\.depth_2pct_usd: uniswap_v3 does not follow from"),
        (
            'model="stableswap"\nparameters={balances=[1, "x"]}',
            r"depth\[1\]\.parameters .*balances must be a number or",
        ),
        (
            'model="stableswap"\nparameters={balances=[1, 2]}',
            r"depth\[1\]\.parameters: stableswap takes .*amplification",
        ),
        ("parameters={depth=-1}", r"depth\[1\]\.parameters: depth -1 must be positive"),
        ("parameters={}", r"depth\[1\]\.parameters: exponential takes the parameter 'depth'"),
    ],
)
def test_depth_that_makes_no_sense_is_refused_with_its_row(row: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, f'[[depth]]\nasset="WETH"\n{row}'))


def test_backing_takes_the_first_underlying_there_is_and_the_ratio_of_prices(tmp_path: Path) -> None:
    wst_eth = '[[backing]]\nasset="wstETH"\nunderlying=["ETH","WETH"]\nkind="staked"\n'
    r_eth = '[[backing]]\nasset="rETH"\nunderlying="ETH"\nkind="staked"'
    text = wst_eth + r_eth
    book = make_snapshot({"WETH": 2000.0, "wstETH": 2400.0, "rETH": 2200.0}, [({"wstETH": 10}, {"WETH": 5})])
    (row,) = apply_config(book, load_config(write(tmp_path, text))).backing.to_dict("records")
    assert (row["asset_id"], row["underlying_id"], row["units"]) == ("wstETH", "WETH", 1.2)


def test_backing_that_was_read_is_kept(tmp_path: Path) -> None:
    text = '[[backing]]\nasset="wstETH"\nunderlying="WETH"\nkind="staked"'
    book = make_snapshot(
        {"WETH": 2000.0, "wstETH": 2400.0}, [({"wstETH": 10}, {"WETH": 5})], backing={"wstETH": ("WETH", 1.19)}
    )
    (row,) = apply_config(book, load_config(write(tmp_path, text))).backing.to_dict("records")
    assert row["units"] == 1.19


def test_a_feed_is_made_a_ratio_feed(tmp_path: Path) -> None:
    book = make_snapshot({"WETH": 2000.0, "weETH": 2100.0}, [({"weETH": 10}, {"WETH": 5})])
    config = load_config(write(tmp_path, '[[feeds]]\nasset="weETH"\nkind="ratio"\nbase=["ETH","WETH"]'))
    feeds = apply_config(book, config).feeds.set_index("feed_id")
    assert feeds.loc[["weETH"], ["kind", "base_feed_id", "ratio"]].to_numpy().tolist() == [["ratio", "WETH", 1.05]]
    assert feeds.loc["WETH", "kind"] == "market"
    wrong = load_config(write(tmp_path, '[[feeds]]\nasset="weETH"\nkind="ratio"\nbase="ETH"'))
    with pytest.raises(ConfigError, match="weETH is to be a ratio feed on ETH, which has no feed"):
        apply_config(book, wrong)


def test_figures_of_measures_are_fractions_or_percentages(tmp_path: Path) -> None:
    text = "[measures]\nvolatility = {WETH = '60%', USDC = 0}\nrisk_free_rate = '-0.5%'\ngap = '20%'\nrate_days = 7"
    measures = load_config(write(tmp_path, text)).measures
    assert (measures.volatility, measures.risk_free_rate) == ({"WETH": 0.6, "USDC": 0.0}, -0.005)
    assert (measures.gap, measures.rate_days, measures.withdrawal) == (0.2, 7.0, 0.2)
    assert math.isnan(measures.target_volatility)


def test_own_yields_and_figures_go_by_symbol_or_asset_id(tmp_path: Path) -> None:
    book = make_snapshot({"WETH": 2000.0, "wstETH": 2400.0}, [({"wstETH": 10}, {"WETH": 5})])
    twins = [book.assets.iloc[[1]].assign(asset_id=name, symbol="stX") for name in ("one", "other")]  # two chains
    book = replace(book, assets=pd.concat([book.assets, *twins], ignore_index=True))
    text = "own_yields = {stX = '3%', other = 0.04, LINK = 1}\n[measures]\nvolatility = {stX = 0.6, LINK = 1}"
    config = load_config(write(tmp_path, text))
    earned = apply_config(book, config).rates
    assert dict(zip(earned["asset_id"], earned["supply_rate"], strict=True)) == {"one": 0.03, "other": 0.04}
    assert earned["venue_id"].tolist() == ["", ""]
    assert known_figures(book, config.measures).volatility == {"one": 0.6, "other": 0.6}


def test_the_default_list_fits_any_snapshot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    book = make_snapshot({"XYZ": 2.0, "stETH": 2000.0, "ETH": 2001.0}, [({"XYZ": 10}, {"stETH": 0.005})])
    applied = apply_config(book, load_config())
    assert applied.backing[["asset_id", "underlying_id"]].to_numpy().tolist() == [["stETH", "ETH"]]
    assert sorted(applied.depth["asset_id"]) == ["ETH", "stETH"]
    assert applied.depth.set_index("asset_id").loc["stETH", "quote"] == "ETH"
