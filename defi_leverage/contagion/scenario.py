"""Scenarios: which prices are shocked, and how the market answers."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from defi_leverage.errors import ScenarioError

__all__ = ["Scenario", "parse_change", "parse_shocks"]

_FEED_PREFIX = "feed:"
_LARGEST_CHANGE = 1e6  # beyond, products of prices leave the range of floats


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question to the engine.

    `shocks`: asset (symbol or asset_id) -> relative change of its market price (-0.3 is a fall of 30 %); for a derived
    asset (wstETH) it is the change of its basis, on top of what its backing does. `feed_shocks`: feed_id, or an asset
    for all its feeds -> relative change of the oracle's price alone, an oracle fault. `depth_multiplier` scales every
    market's depth. `sell_collateral` and `buy_debt` say whether liquidators sell what they seize and buy what they
    repay.

    `arrival`: the shock comes at once ("gap") or in `steps` equal parts ("continuous"), each once nobody is left to
    liquidate, so that liquidators keep up. `liquidators`: "all" liquidate whatever they may, "rational" ones only where
    what the seized collateral fetches exceeds what the repaid debt costs, both with slippage, by more than `gas_usd` a
    liquidation. `rate_shocks`: asset -> growth of all debt in it before the first round (0.1: by 10 %).
    `stale_rounds`: oracles show the market of that many rounds ago. `frozen_feeds`: feed_id, or an asset for all its
    feeds, that no longer follow anything. Raises ScenarioError for a change of -100 % or below, or one that is not
    finite, and for any other value that makes no sense.
    """

    name: str = "scenario"
    shocks: Mapping[str, float] = field(default_factory=dict)
    feed_shocks: Mapping[str, float] = field(default_factory=dict)
    depth_multiplier: float = 1.0
    sell_collateral: bool = True
    buy_debt: bool = True
    max_rounds: int = 200
    arrival: Literal["gap", "continuous"] = "gap"
    steps: int = 20
    liquidators: Literal["all", "rational"] = "all"
    gas_usd: float = 0.0
    rate_shocks: Mapping[str, float] = field(default_factory=dict)
    stale_rounds: int = 0
    frozen_feeds: Sequence[str] = ()

    def __post_init__(self) -> None:
        for kind, changes in (("shock", self.shocks), ("feed shock", self.feed_shocks)):
            for name, change in changes.items():
                _check_change(f"{kind} {name}", change)
        if not (0 < self.depth_multiplier < math.inf):
            raise ScenarioError(
                f"depth_multiplier {self.depth_multiplier} must be positive and finite; 1 leaves depth as it is"
            )
        if self.max_rounds < 1:
            raise ScenarioError(f"max_rounds {self.max_rounds} must be at least 1")
        for name, change in self.rate_shocks.items():
            _check_change(f"rate shock {name}", change)
        for what, value, known in (
            ("arrival", self.arrival, ("gap", "continuous")),
            ("liquidators", self.liquidators, ("all", "rational")),
        ):
            if value not in known:
                raise ScenarioError(f"{what} {value!r} is unknown; use {' or '.join(known)}")
        if self.steps < 1:
            raise ScenarioError(f"steps {self.steps} must be at least 1")
        if not 0 <= self.gas_usd < math.inf:
            raise ScenarioError(f"gas_usd {self.gas_usd} must be an amount of USD, such as 50")
        if self.stale_rounds < 0:
            raise ScenarioError(f"stale_rounds {self.stale_rounds} must not be negative")
        if isinstance(self.frozen_feeds, str):
            raise ScenarioError(f"frozen_feeds {self.frozen_feeds!r} must be a list of feeds, not a text")


def _check_change(where: str, change: float) -> None:
    if not math.isfinite(change):
        raise ScenarioError(f"{where}: {change} is not finite; write a change such as -30% or -0.3")
    if change > _LARGEST_CHANGE:
        raise ScenarioError(
            f"{where}: {change:.4g} is a rise by more than a millionfold; write +50% or 0.5 for one half"
        )
    if change <= -1:
        raise ScenarioError(
            f"{where}: {change:+.4g} ({change:+.0%}) leaves no price; a change must be above -100 %, such as -99.9%"
        )


def parse_change(text: str, where: str = "shock") -> float:
    """The relative change that '-30%' or '-0.3' means, as a fraction. Raises ScenarioError for anything else."""
    match = re.fullmatch(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%?)\s*", text)
    if match is None:
        raise ScenarioError(f"{where}: {text!r} is not a change; write it as -30% or -0.3")
    change = float(match[1]) / (100 if match[2] else 1)
    _check_change(where, change)
    return change


def parse_shocks(texts: Iterable[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Market shocks and feed shocks of arguments such as 'WETH=-30%' and 'feed:wstETH=-5%'.

    Raises ScenarioError for text of another form, an asset named twice or a change of -100 % or below.
    """
    shocks: dict[str, float] = {}
    feed_shocks: dict[str, float] = {}
    for text in texts:
        name, equals, change = text.rpartition("=")
        if not equals or not name.strip():
            raise ScenarioError(f"shock {text!r}: write it as ASSET=CHANGE, such as WETH=-30% or feed:wstETH=-5%")
        name = name.strip()
        target, key = (
            (feed_shocks, name.removeprefix(_FEED_PREFIX)) if name.startswith(_FEED_PREFIX) else (shocks, name)
        )
        if key in target:
            raise ScenarioError(f"shock {text!r}: {name} is shocked twice; give it one change")
        target[key] = parse_change(change, f"shock {text!r}")
    return shocks, feed_shocks
