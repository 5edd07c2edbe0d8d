"""The commands that shock a snapshot: `shock` runs one scenario, `stress` a whole stress test."""
# ruff: noqa: PLC0415 - each command imports what it needs, so that --help answers at once.

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from defi_leverage.commands.options import (
    ConfigOption,
    JsonOption,
    SnapshotArgument,
    exit_interrupted,
    load_settings,
    open_snapshot,
    print_json,
)
from defi_leverage.errors import ConfigError

__all__ = ["shock", "stress"]

_SCENARIO, _SETS, _HISTORY, _OTHER = "Every scenario", "Sets of scenarios", "History and Monte Carlo", "Other tests"
_Texts = list[str] | None


def _option(name: str, panel: str, help: str, metavar: str | None = "NUMBER") -> Any:
    return typer.Option(name, metavar=metavar, help=help, rich_help_panel=panel, show_default=False)


def _flag(name: str, panel: str, help: str) -> Any:
    return _option(name, panel, help, None)


ShockOption = Annotated[
    _Texts,
    _option("--shock", _SCENARIO, "WETH=-30%, an asset_id=-0.3, or feed:wstETH=-5% for its oracle.", "ASSET=CHANGE"),
]
DepthOption = Annotated[float | None, _option("--depth-multiplier", _SCENARIO, "Scales every asset's market depth.")]
NoSellingOption = Annotated[bool, _flag("--no-selling", _SCENARIO, "Liquidators neither sell nor buy.")]
KeepOption = Annotated[bool, _flag("--keep-collateral", _SCENARIO, "Liquidators do not sell what they seize.")]
OwnFundsOption = Annotated[bool, _flag("--own-funds", _SCENARIO, "Liquidators do not buy what they repay.")]
RoundsOption = Annotated[int | None, _option("--max-rounds", _SCENARIO, "Stop here even if not converged (200).")]
ArrivalOption = Annotated[
    str | None, _option("--arrival", _SCENARIO, "The shock comes at once, or in --steps parts.", "gap|continuous")
]
StepsOption = Annotated[int | None, _option("--steps", _SCENARIO, "Parts of a continuous shock (20).")]
LiquidatorsOption = Annotated[
    str | None, _option("--liquidators", _SCENARIO, "rational: they pass over what does not pay.", "all|rational")
]
GasOption = Annotated[float | None, _option("--gas-usd", _SCENARIO, "What a liquidation costs rational liquidators.")]
RateOption = Annotated[_Texts, _option("--rate-shock", _SCENARIO, "All debt in the asset grows.", "ASSET=CHANGE")]
StaleOption = Annotated[
    int | None, _option("--stale-rounds", _SCENARIO, "Oracles show the market of N rounds ago.", "N")
]
FrozenOption = Annotated[_Texts, _option("--frozen-feed", _SCENARIO, "An oracle that stands still.", "ASSET|FEED")]


class TableFormat(StrEnum):
    """File formats of a stress report's tables."""

    parquet = "parquet"
    csv = "csv"


def shock(
    snapshot: SnapshotArgument,
    shocks: ShockOption = None,
    depth_multiplier: DepthOption = None,
    no_selling: NoSellingOption = False,
    keep_collateral: KeepOption = False,
    own_funds: OwnFundsOption = False,
    max_rounds: RoundsOption = None,
    arrival: ArrivalOption = None,
    steps: StepsOption = None,
    liquidators: LiquidatorsOption = None,
    gas_usd: GasOption = None,
    rate_shocks: RateOption = None,
    stale_rounds: StaleOption = None,
    frozen_feeds: FrozenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shock prices, or debt, and follow the liquidations to their end."""
    from defi_leverage.commands import console
    from defi_leverage.config_scenarios import read_scenario
    from defi_leverage.contagion.engine import run_contagion
    from defi_leverage.summary import plain

    if not shocks and not rate_shocks:
        raise ConfigError("shock needs --shock ASSET=CHANGE, such as --shock WETH=-30%, or --rate-shock")
    table = _scenario_table(
        shocks, depth_multiplier, no_selling, keep_collateral, own_funds, max_rounds, arrival, steps, liquidators,
        gas_usd, rate_shocks, stale_rounds, frozen_feeds,
    )  # fmt: skip
    name = ", ".join([*(shocks or []), *(f"rate {text}" for text in rate_shocks or [])])
    result = run_contagion(open_snapshot(snapshot), read_scenario(table, "shock", name))
    found = plain({**result.summary(), "by_round": result.rounds})
    if not print_json(found, as_json):
        console.print_table("Prices", console.PRICES, found["prices"])
        console.print_table("Rounds", console.ROUNDS, found["by_round"])
        console.print_table("Haircuts by bad debt", console.HAIRCUTS, found["haircuts"])
        console.print_table("Result", console.SCENARIOS, [found], console.scenario_note([found]))


def stress(
    snapshot: SnapshotArgument,
    ladders: Annotated[
        _Texts, _option("--ladder", _SETS, "WETH=-5%:-60%:-5% (first:last:step), or WETH,WBTC=-10%,-20%.", "AXIS")
    ] = None,
    grids: Annotated[
        _Texts, _option("--grid", _SETS, "'WETH=0%:-60%:-15% by WBTC=0%:-60%:-15%'", "'AXIS by AXIS'")
    ] = None,
    depth_multipliers: Annotated[
        list[float] | None, _option("--depth", _SETS, "Every scenario at this multiple of its depth; repeatable.")
    ] = None,
    prices: Annotated[
        list[str] | None,
        _option("--prices", _HISTORY, "Price history: timestamp, asset, price. CSV or Parquet; repeatable.", "FILE"),
    ] = None,
    windows: Annotated[
        _Texts, _option("--window", _HISTORY, "'5 Aug 2024', or '2022-06-09 to 2022-06-16'.", "WINDOW")
    ] = None,
    window_at: Annotated[
        str | None, _option("--window-at", _HISTORY, "The window's worst hour, or its last.", "trough|end")
    ] = None,
    draws: Annotated[int | None, _option("--draws", _HISTORY, "Monte Carlo draws of joint returns.")] = None,
    seed: Annotated[int | None, _option("--seed", _HISTORY, "Of the draws (1).")] = None,
    horizon: Annotated[str | None, _option("--horizon", _HISTORY, "Of the draws (24h).", "DURATION")] = None,
    copula_dof: Annotated[
        float | None, _option("--copula-dof", _HISTORY, "Student-t copula of that many degrees of freedom.")
    ] = None,
    marginal_dof: Annotated[
        float | None, _option("--marginal-dof", _HISTORY, "Student-t log returns, above 2; normal by default.")
    ] = None,
    shrinkage: Annotated[str | None, _option("--shrinkage", _HISTORY, "Of the covariance.", "ledoit_wolf|none")] = None,
    antithetic: Annotated[bool, _flag("--antithetic", _HISTORY, "Half of the draws mirror the others.")] = False,
    price_assets: Annotated[
        _Texts, _option("--price-asset", _HISTORY, "Use these of the price history alone.", "ASSET")
    ] = None,
    proxies: Annotated[
        _Texts, _option("--proxy", _HISTORY, "WETH=ETH: WETH takes the returns of ETH.", "ASSET=COLUMN")
    ] = None,
    unmoved: Annotated[_Texts, _option("--unmoved", _HISTORY, "Stands still; others need prices.", "ASSET")] = None,
    price_step: Annotated[
        str | None, _option("--price-step", _HISTORY, "Clock of the history (1h).", "DURATION")
    ] = None,
    max_age: Annotated[
        str | None, _option("--max-age", _HISTORY, "Older prices count as missing (2h).", "DURATION")
    ] = None,
    max_missing: Annotated[
        float | None, _option("--max-missing", _HISTORY, "Share of steps that may lack a price (0.02).")
    ] = None,
    reverse: Annotated[
        _Texts,
        _option(
            "--reverse",
            _OTHER,
            "Smallest shock that reaches a bound: 'bad_debt_share=1% along WETH', or 'along WETH=-1,WBTC=-0.8'.",
            "'MEASURE=BOUND along ASSETS'",
        ),
    ] = None,
    reverse_largest: Annotated[float | None, _option("--reverse-largest", _OTHER, "Largest fall tried (0.9).")] = None,
    reverse_steps: Annotated[int | None, _option("--reverse-steps", _OTHER, "Steps up to it (45).")] = None,
    reverse_tolerance: Annotated[
        float | None, _option("--reverse-tolerance", _OTHER, "Width of the answer (0.0001).")
    ] = None,
    curves: Annotated[
        _Texts, _option("--curve", _OTHER, "Liquidation at each price: WETH, or WETH=-90%:50%:1%.", "ASSET[=RANGE]")
    ] = None,
    confidence: Annotated[
        float | None, _option("--confidence", _OTHER, "Of VaR and expected shortfall (0.95).")
    ] = None,
    losses: Annotated[
        _Texts,
        _option("--losses", _OTHER, "venue, asset, account, round or none; repeatable (all but account).", "BY"),
    ] = None,
    draw_losses: Annotated[_Texts, _option("--draw-losses", _OTHER, "The same of each draw (none).", "BY")] = None,
    shocks: ShockOption = None,
    depth_multiplier: DepthOption = None,
    no_selling: NoSellingOption = False,
    keep_collateral: KeepOption = False,
    own_funds: OwnFundsOption = False,
    max_rounds: RoundsOption = None,
    arrival: ArrivalOption = None,
    steps: StepsOption = None,
    liquidators: LiquidatorsOption = None,
    gas_usd: GasOption = None,
    rate_shocks: RateOption = None,
    stale_rounds: StaleOption = None,
    frozen_feeds: FrozenOption = None,
    config: ConfigOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Default: 'stress' in the configured output.")
    ] = None,
    table_format: Annotated[TableFormat, typer.Option("--format", help="Of the tables.")] = TableFormat.parquet,
    as_json: JsonOption = False,
) -> None:
    """Run many scenarios and write what they lose: ladders, grids, history, Monte Carlo, reverse tests, price curves.

    Without any of the options that say what to run, the stress part of the configuration is run.
    """
    from defi_leverage.commands.console_stress import print_stress
    from defi_leverage.config_scenarios import read_stress
    from defi_leverage.logs import show_progress
    from defi_leverage.store import check_writable
    from defi_leverage.stress_job import stress_to_files

    settings = load_settings(config)
    base = _scenario_table(
        shocks, depth_multiplier, no_selling, keep_collateral, own_funds, max_rounds, arrival, steps, liquidators,
        gas_usd, rate_shocks, stale_rounds, frozen_feeds,
    )  # fmt: skip
    history = _given(
        files=prices, assets=price_assets, proxies=_pairs(proxies, "WETH=ETH"), unmoved=unmoved, step=price_step,
        max_age=max_age, max_missing=max_missing,
    )  # fmt: skip
    sampling = _given(
        count=draws, seed=seed, horizon=horizon, copula_dof=copula_dof, marginal_dof=marginal_dof, shrinkage=shrinkage,
        antithetic=antithetic or None, losses=draw_losses,
    )  # fmt: skip
    search = _given(largest=reverse_largest, steps=reverse_steps, tolerance=reverse_tolerance)
    table = _given(
        ladders=ladders, grids=grids, depth_multipliers=depth_multipliers, windows=windows, window_at=window_at,
        reverse=reverse, curves=curves, confidence=confidence, losses=losses, base=base, prices=history, draws=sampling,
        reverse_search=search,
    )  # fmt: skip
    if losses == ["none"]:
        table["losses"] = []
    plan = read_stress(table, "stress") if table else settings.stress
    if plan.empty:
        raise ConfigError(
            "nothing to run: give --ladder, --grid, --window, --draws, --reverse or --curve, or, with none of the "
            "other options either, write [stress] in the configuration"
        )
    loaded, folder = open_snapshot(snapshot), output or settings.output / "stress"
    check_writable(folder)  # before hours of cascades, not after
    with show_progress() as progress:
        found = stress_to_files(loaded, plan, folder, table_format.value, progress)
    if not print_json(found, as_json):
        print_stress(found)
    exit_interrupted(found, folder)


def _scenario_table(
    shocks: _Texts,
    depth_multiplier: float | None,
    no_selling: bool,
    keep_collateral: bool,
    own_funds: bool,
    max_rounds: int | None,
    arrival: str | None,
    steps: int | None,
    liquidators: str | None,
    gas_usd: float | None,
    rate_shocks: _Texts,
    stale_rounds: int | None,
    frozen_feeds: _Texts,
) -> dict[str, Any]:
    """The options of a scenario as the table that config.toml would have of it."""
    from defi_leverage.contagion.scenario import parse_shocks

    markets, feeds = parse_shocks(shocks or [])
    return _given(
        shocks=markets,
        feed_shocks=feeds,
        depth_multiplier=depth_multiplier,
        sell_collateral=False if no_selling or keep_collateral else None,
        buy_debt=False if no_selling or own_funds else None,
        max_rounds=max_rounds,
        arrival=arrival,
        steps=steps,
        liquidators=liquidators,
        gas_usd=gas_usd,
        rate_shocks=_pairs(rate_shocks, "USDC=10%"),
        stale_rounds=stale_rounds,
        frozen_feeds=frozen_feeds,
    )


def _pairs(texts: Iterable[str] | None, example: str) -> dict[str, str]:
    from defi_leverage.stress.notation import parse_pairs

    return parse_pairs(list(texts or []), example)


def _given(**values: Any) -> dict[str, Any]:
    """What was said: neither None nor empty."""
    return {name: value for name, value in values.items() if value not in (None, [], {})}
