"""What a stress test found: its tables, and its summary in plain values."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from defi_leverage.stress.reverse import ReverseStress
from defi_leverage.stress.sweep import OUTCOME_COLUMNS

__all__ = ["PLACE_COLUMNS", "StressReport"]

PLACE_COLUMNS = ("number", "kind", "set", "scenario", "change", "second_change", "depth_multiplier")
_SHOWN_PRICES = 11  # of a curve in the summary


@dataclass(slots=True, eq=False)
class StressReport:
    """What a stress test found, as far as it came.

    `scenarios`: one row each: its number, the kind (ladder, grid, window, draws) and name of its set, its name, the
    `change` and `second_change` where it stands on a ladder or grid, its depth multiplier, and OUTCOME_COLUMNS.
    `shocks`: number and scenario, and a column an asset or 'feed:X'. `losses`: `loss_table`s with the number of the
    scenario, `by` (venue, asset, account, round) and `key`. `risk`: `risk_measures` of the draws, a row for each depth
    multiplier all of whose draws are there, with bounds of the VaR of bad debt (see `value_at_risk_interval`).
    `reverse`: the certificates. `curves`: `liquidation_curve`s, with asset_id and symbol. `refused`: what does not fit
    the snapshot, and why. `toxic`: liquidation terms that lower health (see `Book.toxic_terms`). `requested`: scenarios
    asked for; `interrupted`: what was running when the user stopped it.
    """

    confidence: float
    requested: int = 0
    interrupted: str = ""
    scenarios: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*PLACE_COLUMNS, *OUTCOME_COLUMNS]))
    shocks: pd.DataFrame = field(default_factory=pd.DataFrame)
    losses: pd.DataFrame = field(default_factory=pd.DataFrame)
    risk: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    reverse: list[ReverseStress] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    toxic: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether all that was asked for, and fits the snapshot, is there."""
        return not self.interrupted

    def _worst(self) -> dict[str, Any] | None:
        """The scenario with the most bad debt of those that losses were kept of, and its losses."""
        if self.losses.empty:
            return None
        kept = self.scenarios[self.scenarios["number"].isin(self.losses["number"])]
        worst = kept.sort_values("bad_debt_usd", kind="stable").iloc[-1]
        losses = self.losses[self.losses["number"] == worst["number"]].drop(columns=["number", "scenario"])
        return {"number": worst["number"], "scenario": worst["scenario"], "losses": losses}

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables that have rows, by name; `reverse` is every cascade that the searches ran."""
        tried = [item.evaluations.assign(search=number) for number, item in enumerate(self.reverse, start=1)]
        every = {
            "scenarios": self.scenarios,
            "shocks": self.shocks,
            "losses": self.losses,
            "risk": self.risk,
            "curves": self.curves,
            "reverse": pd.concat(tried, ignore_index=True) if tried else pd.DataFrame(),
        }
        return {name: table for name, table in every.items() if len(table)}

    def summary(self) -> dict[str, Any]:
        """Plain values and tables for a report. Of draws only the measures; curves at a few of their prices."""
        listed = self.scenarios[self.scenarios["kind"] != "draws"]
        return {
            "complete": self.complete,
            "interrupted": self.interrupted,
            "requested": self.requested,
            "finished": len(self.scenarios),
            "refused": self.refused,
            "toxic": self.toxic,
            "scenarios": listed,
            "worst": self._worst(),
            "confidence": self.confidence,
            "risk": self.risk,
            "curves": _thinned(self.curves),
            "reverse": [
                {
                    "measure": item.measure,
                    "bound": item.bound,
                    "direction": dict(item.direction),
                    "reached": item.reached,
                    "size": item.size,
                    "below": item.below,
                    "shocks": item.shocks,
                    "note": item.note,
                }
                for item in self.reverse
            ],
        }


def _thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """A few prices of each curve, both ends among them."""
    if curves.empty:
        return curves
    kept = [
        rows.index[np.unique(np.linspace(0, len(rows) - 1, _SHOWN_PRICES).round().astype(int))]
        for _, rows in curves.groupby("asset_id", sort=False)
    ]
    return curves.loc[np.concatenate(kept)]
