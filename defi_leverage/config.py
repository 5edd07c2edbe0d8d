"""config.toml -> frozen Config: what to scan, and what a chain does not tell (depth, backing, scenarios).

Each table of the file is described by a mapping of its keys. An unknown key, a wrong type or a missing value is one
ConfigError that names the file, the key's full path (the rows of a [[table]] count from 1) and the remedy.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from defi_leverage.analytics.figures import Figures
from defi_leverage.config_http import HttpVenueConfig, read_http_venues
from defi_leverage.config_keys import CHAIN, CLUSTERS, DEPLOYMENT, MEASURES, OPTION_KINDS, ROOT, ROWS
from defi_leverage.config_scenarios import read_scenario, read_stress
from defi_leverage.config_values import Key, nearest, read_rows, read_table
from defi_leverage.contagion.impact import compile_impact, depth_parameters
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.deployments import known_deployments
from defi_leverage.errors import ConfigError, ScenarioError
from defi_leverage.protocols import reader_names, reader_options
from defi_leverage.reading import Deployment
from defi_leverage.rpc_faults import mask_url
from defi_leverage.stress.plan import StressPlan

__all__ = [
    "BackingConfig",
    "ChainConfig",
    "Config",
    "DepthConfig",
    "FeedConfig",
    "HttpVenueConfig",
    "expand_urls",
    "load_config",
]


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """One chain. `rpc_urls` are as written, `${NAME}` and all (see `expand_urls`), and stay out of the repr."""

    name: str
    chain_id: int
    rpc_urls: tuple[str, ...] = field(repr=False)
    deployments: tuple[Deployment, ...]


@dataclass(frozen=True, slots=True)
class DepthConfig:
    """Market depth: USD sold that lowers the price by 2 %, or the impact model's own parameters in whole tokens.

    `quote`: what the sale pays out, the first of these that a snapshot has; USD where it has none.
    """

    asset: str
    model: str
    quote: tuple[str, ...]
    depth_2pct_usd: float | None
    parameters: Mapping[str, Any] | None
    source: str


@dataclass(frozen=True, slots=True)
class BackingConfig:
    """`asset` is a claim on the first of `underlying` that a snapshot has; `units` None: the ratio of the prices."""

    asset: str
    underlying: tuple[str, ...]
    units: float | None
    kind: str
    source: str


@dataclass(frozen=True, slots=True)
class FeedConfig:
    """What kind of oracle feed prices an asset; a ratio feed follows the feed of the first of `base` there is."""

    asset: str
    kind: str
    base: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration file. `clusters` are keyword arguments of `find_clusters`, `own_yields` yearly, by asset."""

    path: Path
    source: str
    output: Path
    block: str | int
    chains: tuple[ChainConfig, ...]
    depth: tuple[DepthConfig, ...]
    backing: tuple[BackingConfig, ...]
    feeds: tuple[FeedConfig, ...]
    scenarios: tuple[Scenario, ...]
    stress: StressPlan
    clusters: Mapping[str, Any]
    measures: Figures = field(default_factory=Figures)
    own_yields: Mapping[str, float] = field(default_factory=dict)
    read_backing: bool = True
    read_owners: bool = True
    venues: tuple[HttpVenueConfig, ...] = ()


def expand_urls(chain: ChainConfig, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The chain's URLs with `${NAME}` replaced. Raises ConfigError for a variable that is not set, or a bad URL."""

    def replace(match: re.Match[str]) -> str:
        if not environment.get(match[1]):
            raise ConfigError(
                f"chains.{chain.name}.rpc_urls: the environment variable {match[1]} is not set; set it, or remove the "
                "URL that uses it",
                variable=match[1],
            )
        return environment[match[1]]

    urls = tuple(re.sub(r"\$\{([^}]*)\}", replace, url) for url in chain.rpc_urls)
    for position, url in enumerate(urls, start=1):
        if mask_url(url) == "***" or "${" in url:
            raise ConfigError(  # the URL itself may hold a key
                f"chains.{chain.name}.rpc_urls[{position}]: not an http:// or https:// URL with a host, or a "
                "${NAME} in it has no end; correct it"
            )
    return urls


def load_config(path: "str | Path | None" = None) -> Config:
    """Read `path`, else ./config.toml, else the configuration that comes with the package.

    Raises ConfigError that names the file, the key and the remedy.
    """
    file = Path(path) if path is not None else _default_path()
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; correct --config, or leave it out for the default") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    try:
        return _read_config(tables, file)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}", **error.attributes) from None


def _default_path() -> Path:
    here = Path(__file__).parent
    candidates = (Path("config.toml"), here / "config.toml", here.parent / "config.toml")  # the last: a source checkout
    return next((path for path in candidates if path.is_file()), candidates[0])


def _read_config(tables: dict[str, Any], file: Path) -> Config:
    values = read_table(tables, ROOT, "")
    chains = tuple(_read_chain(name, table) for name, table in values.pop("chains").items())
    venues = read_http_venues(values.pop("venues"), file.parent)
    if values["source"] == "chains" and not chains and not venues:
        raise ConfigError('source is "chains" but there is no [chains.NAME] table; add one, or set source = "sample"')
    clusters = read_table(values.pop("clusters"), CLUSTERS, "clusters.")
    measures = read_table(values.pop("measures"), MEASURES, "measures.")
    if (measures["jumps_per_year"] is None) != (measures["mean_jump"] is None):
        raise ConfigError("measures.jumps_per_year and measures.mean_jump belong together; give both, or neither")
    scenarios = values.pop("scenarios")
    if not isinstance(scenarios, list):
        raise ConfigError("scenarios must be written as [[scenarios]]")
    stress = read_stress(values.pop("stress"), "stress")
    rows = {name: read_rows(values.pop(name), keys, name) for name, keys in ROWS.items()}
    for position, row in enumerate(rows["depth"], start=1):
        if (row["depth_2pct_usd"] is None) == (row["parameters"] is None):
            raise ConfigError(f"depth[{position}]: give either depth_2pct_usd or parameters")
        given = "parameters" if row["depth_2pct_usd"] is None else "depth_2pct_usd"
        try:
            if given == "parameters":
                compile_impact(row["model"], row["parameters"])
            else:
                depth_parameters(row["model"], row["depth_2pct_usd"], price_usd=1.0)
        except ScenarioError as error:
            raise ConfigError(f"depth[{position}].{given}: {error}") from None
    return Config(
        path=file,
        chains=chains,
        venues=venues,
        depth=tuple(DepthConfig(**row) for row in rows["depth"]),
        backing=tuple(BackingConfig(**row) for row in rows["backing"]),
        feeds=tuple(FeedConfig(**row) for row in rows["feeds"]),
        scenarios=tuple(read_scenario(row, f"scenarios[{number}]") for number, row in enumerate(scenarios, start=1)),
        stress=stress,
        measures=Figures(**{name: value for name, value in measures.items() if value is not None}),
        clusters={name: value for name, value in clusters.items() if value is not None},
        **values,
    )


def _read_chain(name: str, table: Any) -> ChainConfig:
    where = f"chains.{name}"
    protocols = {protocol: Key(lambda rows: rows, []) for protocol in reader_names()}
    values = read_table(table, {**CHAIN, **protocols}, f"{where}.")
    deployments = [
        item
        for label in dict.fromkeys(values["deployments"])
        for item in _find_deployments(label, values["chain_id"], f"{where}.deployments")
    ]
    for protocol in protocols:
        if values[protocol]:
            deployments += _read_deployments(protocol, values[protocol], f"{where}.{protocol}")
    if not deployments:
        raise ConfigError(
            f'{where} names no protocol; add one such as [[{where}.{reader_names()[0]}]], or deployments = ["aave_v3"]'
        )
    repeated = {(item.protocol, item.address.lower()) for item in deployments}
    if len(repeated) < len(deployments):
        raise ConfigError(f"{where} names the same protocol and address twice; remove one")
    return ChainConfig(name, values["chain_id"], values["rpc_urls"], tuple(deployments))


def _find_deployments(label: str, chain_id: int, where: str) -> list[Deployment]:
    """The known deployments that a label names: "aave_v3 Core", or all of a protocol's on the chain by "aave_v3"."""
    here = [item for known_id, item in known_deployments() if known_id == chain_id and item.protocol in reader_names()]
    labels = list(dict.fromkeys(name for item in here for name in (item.protocol, f"{item.protocol} {item.name}")))
    found = [item for item in here if label in (item.protocol, f"{item.protocol} {item.name}")]
    if not found:
        remedy = nearest(label, labels) if labels else "none is known there: add a [[table]] of the protocol"
        raise ConfigError(f"{where}: no deployment {label!r} is known on chain {chain_id}; {remedy}", key=where)
    return found


def _read_deployments(protocol: str, rows: Any, where: str) -> list[Deployment]:
    options = {name: OPTION_KINDS[kind] for name, kind in reader_options(protocol).items()}
    return [
        Deployment(
            protocol,
            **{name: row[name] for name in DEPLOYMENT},
            options={name: row[name] for name in options if row[name] is not None},
        )
        for row in read_rows(rows, {**DEPLOYMENT, **options}, where)
    ]
