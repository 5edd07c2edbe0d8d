"""The rate channel of contagion: lenders withdraw, utilisation and with it borrow rates rise, and loops stop paying.

No price moves and nobody is liquidated at once; but a loop whose carry has turned negative is unwound, or interest
eats its health. What is withdrawn of a market is bounded by what it has available. Nobody repays or lends for the
higher rate, so that the rates that follow are an upper bound.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from defi_leverage.analytics.rate_curves import borrow_rate, drifted_parameters, supply_rate, utilisation
from defi_leverage.errors import ScenarioError
from defi_leverage.graph.carry import account_carry, own_yields
from defi_leverage.graph.loops import loop_accounts
from defi_leverage.health import account_health
from defi_leverage.schema import complete_table
from defi_leverage.snapshot import Snapshot, resolve_asset

__all__ = [
    "loops_after_withdrawal",
    "parse_withdrawals",
    "rates_after_withdrawal",
    "with_own_yields",
    "with_rates",
    "withdrawable_assets",
]

MARKET_COLUMNS = (
    "venue_id",
    "asset_id",
    "symbol",
    "rate_model",
    "rate_parameters",
    "pool",
    "borrowed",
    "available",
    "supplied",
    "withdrawn",
    "exhausted",
    "utilisation_before",
    "utilisation_after",
    "contract_rate",
    "borrow_rate_before",
    "borrow_rate_after",
    "borrow_rate_mean",
    "supply_rate_after",
    "supply_rate_mean",
)
LOOP_COLUMNS = (
    "account_id",
    "loop",
    "venue_id",
    "debt_usd",
    "equity_usd",
    "health_factor",
    "net_carry_before",
    "net_carry_after",
    "days_before",
    "days_after",
    "turns_negative",
    "liquidates",
)
_DAYS = 365
_APART = 0.05  # of the venue's own rate: more is said


def parse_withdrawals(texts: "list[str]") -> dict[str, float]:
    """Shares of what is supplied by asset, from texts such as 'USDC=20%' or 'USDC=0.2'.

    Raises ScenarioError for text of another form, a share outside (0, 1], or an asset named twice.
    """
    shares: dict[str, float] = {}
    for text in texts:
        name, _, amount = (part.strip() for part in text.rpartition("="))
        try:
            share = float(amount.removesuffix("%")) / (100 if amount.endswith("%") else 1)
        except ValueError:
            share = float("nan")
        if not name or not 0 < share <= 1:
            raise ScenarioError(
                f"withdrawal {text!r}: write it as ASSET=SHARE of what is supplied, above 0 and at most 100 %, "
                "such as USDC=20%"
            )
        if name in shares:
            raise ScenarioError(f"withdrawal {text!r}: {name} is named twice; name it once")
        shares[name] = share
    return shares


def withdrawable_assets(snapshot: Snapshot) -> list[str]:
    """The asset_ids that some market lends along a known curve: what `rates_after_withdrawal` can take."""
    lent = _lent(snapshot)
    return [str(asset) for asset in lent.loc[_known(lent), "asset_id"].unique()]


def _lent(snapshot: Snapshot) -> pd.DataFrame:
    """The markets whose suppliers can withdraw; what is minted has none, and nobody pays the rate of an idle one."""
    rates = snapshot.rates[(snapshot.rates["venue_id"] != "") & (snapshot.rates["rate_model"] != "fixed")]
    return rates[rates["borrowed"].isna() | (rates["borrowed"] > 0)]


def _known(lent: pd.DataFrame) -> "pd.Series[bool]":
    return (lent["rate_model"] != "") & lent["borrowed"].notna() & lent["available"].notna()


def rates_after_withdrawal(
    snapshot: Snapshot, withdrawals: Mapping[str, float], horizon_days: float = 30.0
) -> pd.DataFrame:
    """One row for each market that lends a withdrawn asset, largest first; rates a year, amounts in tokens.

    `withdrawals`: by symbol or asset_id, the share of what is supplied that leaves every market of the asset.
    Columns: pool, where several markets lend the liquidity of one (its amounts then stand in the row of each);
    withdrawn, and exhausted where that is all that is available and less than was wanted; contract_rate (the
    venue's own, as of its last update, or for Morpho on average since) beside borrow_rate_before (the curve's, at the
    utilisation of the snapshot), borrow_rate_after (at once) and borrow_rate_mean (on average over `horizon_days`, in
    which Morpho's curve itself moves); what suppliers get, likewise. Markets whose curve is not known are left out and
    named in `attrs["notices"]`, as are those that charge something else than their curve says today.

    Raises ScenarioError where nothing is withdrawn, a share is not in (0, 1], an asset is named twice (by its symbol
    and its asset_id), no market of an asset has a curve, or the horizon is not positive and finite; SnapshotError for
    unknown assets and broken parameters.
    """
    if not 0 < horizon_days < math.inf:
        raise ScenarioError(f"horizon_days {horizon_days:g} must be above 0 and finite, such as 30")
    if not withdrawals:
        raise ScenarioError("no withdrawal is named; name an asset and the share of it that leaves, such as USDC=20%")
    symbols = dict(zip(snapshot.assets["asset_id"], snapshot.assets["symbol"], strict=True))
    rows: list[dict[str, object]] = []
    notices: list[str] = []
    for name, share in withdrawals.items():
        if not 0 < share <= 1:
            raise ScenarioError(f"withdrawal {name}={share}: a share must be above 0 and at most 1")
        asset_id = resolve_asset(snapshot, name)
        if any(row["asset_id"] == asset_id for row in rows):
            raise ScenarioError(f"withdrawal {name}={share:g}: {asset_id} is named twice; name it once")
        lent = _lent(snapshot)
        lent = lent[lent["asset_id"] == asset_id]
        known = _known(lent)
        if not known.any():
            raise ScenarioError(
                f"withdrawal {name}: no market of this snapshot that lends it has a rate curve; scan again with a "
                "reader that reads one, or fill rates.rate_model, rate_parameters, borrowed and available"
            )
        if len(lent) - known.sum():
            left_out = ", ".join(lent.loc[~known, "venue_id"].head(5))
            notices.append(f"{symbols[asset_id]}: {int((~known).sum())} markets without a rate curve: {left_out}")
        for row in lent[known].to_dict("records"):
            rows.append(_market_row({str(key): value for key, value in row.items()}, share, horizon_days / _DAYS))
            rows[-1]["symbol"] = symbols[asset_id]
    found = pd.DataFrame(rows, columns=list(MARKET_COLUMNS))
    price = found["asset_id"].map(snapshot.assets.set_index("asset_id")["price_usd"])
    found = found.iloc[np.argsort(-(found["borrowed"] * price).to_numpy(float), kind="stable")].reset_index(drop=True)
    apart = (found["borrow_rate_before"] - found["contract_rate"]).abs()
    notices += [
        f"{row['symbol']} at {row['venue_id']}: the curve says {row['borrow_rate_before']:.2%}, the venue charges "
        f"{row['contract_rate']:.2%}: it was last touched long ago, or does not follow its curve"
        for row in found[apart > _APART * found["contract_rate"].abs() + 1e-4].to_dict("records")
    ]
    found.attrs["notices"] = notices
    return found


def _market_row(row: "dict[str, object]", share: float, years: float) -> "dict[str, object]":
    borrowed, available = float(str(row["borrowed"])), float(str(row["available"]))
    model, parameters = str(row["rate_model"]), json.loads(str(row["rate_parameters"]))
    reported = float(str(row["supplied"]))
    supplied = borrowed + available if math.isnan(reported) else reported
    wanted = share * supplied
    withdrawn = min(wanted, available)
    before = utilisation(borrowed, available, 0.0, reported)
    after = utilisation(borrowed, available, withdrawn, reported)
    now = borrow_rate(model, parameters, after)
    mean = borrow_rate(model, drifted_parameters(model, parameters, after, years)[0], after)
    return {
        **{name: row[name] for name in ("venue_id", "asset_id", "rate_model", "rate_parameters", "pool")},
        "borrowed": borrowed,
        "available": available,
        "supplied": supplied,
        "withdrawn": withdrawn,
        "exhausted": withdrawn < wanted,
        "utilisation_before": before,
        "utilisation_after": after,
        "contract_rate": row["borrow_rate"],
        "borrow_rate_before": borrow_rate(model, parameters, before),
        "borrow_rate_after": now,
        "borrow_rate_mean": mean,
        "supply_rate_after": supply_rate(parameters, after, now),
        "supply_rate_mean": supply_rate(parameters, after, mean),
    }


def with_own_yields(snapshot: Snapshot, yields: Mapping[str, float]) -> Snapshot:
    """The snapshot with what assets (symbols or asset_ids) earn by themselves a year, such as a staking yield of 0.03.

    Rows of `rates` without a venue, in place of those that it has. Raises SnapshotError for unknown assets, and
    ScenarioError where one is given twice, by its symbol and its asset_id.
    """
    known: dict[str, float] = {}
    for name, value in yields.items():
        asset_id = resolve_asset(snapshot, name)
        if asset_id in known:
            raise ScenarioError(f"own yield {name}={value:g}: {asset_id} is given twice; give it one yield")
        known[asset_id] = value
    kept = snapshot.rates[~((snapshot.rates["venue_id"] == "") & snapshot.rates["asset_id"].isin(list(known)))]
    given = complete_table("rates", pd.DataFrame({"asset_id": list(known), "supply_rate": list(known.values())}))
    return replace(snapshot, rates=pd.concat([kept, given], ignore_index=True)) if known else snapshot


def with_rates(snapshot: Snapshot, markets: pd.DataFrame, when: str = "after") -> Snapshot:
    """The snapshot with the rates of `rates_after_withdrawal` in place of its own: `when` is after or mean."""
    keys = ["venue_id", "asset_id"]
    new = markets.set_index(keys)
    at = pd.MultiIndex.from_frame(snapshot.rates[keys])
    found = at.isin(new.index)
    rates = snapshot.rates.copy()
    for side in ("borrow_rate", "supply_rate"):
        rates.loc[found, side] = new[f"{side}_{when}"].reindex(at[found]).to_numpy(float)
    return replace(snapshot, rates=rates)


def loops_after_withdrawal(
    snapshot: Snapshot, markets: pd.DataFrame, horizon_days: float = 30.0, minimum_share: float = 0.8
) -> pd.DataFrame:
    """One row for each loop account of which a rate moves, largest debt first; USD, rates a year, days.

    `markets`: of `rates_after_withdrawal`, with the same horizon. net_carry and days (to liquidation by interest alone)
    as `graph.carry.account_carry` has them; days_after at the mean rates of the horizon, so that it is exact up to
    there. turns_negative: the carry was not negative and is; liquidates: the account was not below 1, and interest
    brings it there within the horizon now but not before. nan carries (rates that are missing) turn nothing, and are
    counted in `attrs["notices"]`.
    """
    members = loop_accounts(snapshot, minimum_share)
    before = account_carry(snapshot)
    after, slow = (account_carry(with_rates(snapshot, markets, when)) for when in ("after", "mean"))
    touched = _accounts_of(snapshot, markets)
    members = members[members["account_id"].isin(touched)]
    found = members[["account_id", "loop", "venue_id", "debt_usd"]].reset_index(drop=True)
    health = account_health(snapshot).loc[found["account_id"]]
    found["equity_usd"] = health["equity_usd"].to_numpy(float)
    found["health_factor"] = health["health_factor"].to_numpy(float)
    at = found["account_id"]
    found["net_carry_before"] = before["net_carry"].loc[at].to_numpy(float)
    found["net_carry_after"] = after["net_carry"].loc[at].to_numpy(float)
    found["days_before"] = before["days_to_liquidation"].loc[at].to_numpy(float)
    found["days_after"] = slow["days_to_liquidation"].loc[at].to_numpy(float)
    found["turns_negative"] = (found["net_carry_before"] >= 0) & (found["net_carry_after"] < 0)
    in_time = (found["days_after"] <= horizon_days) & ~(found["days_before"] <= horizon_days)
    found["liquidates"] = in_time & (found["health_factor"] >= 1)
    found = found.sort_values("debt_usd", ascending=False, kind="stable", ignore_index=True)[list(LOOP_COLUMNS)]
    missing = found.loc[found["net_carry_before"].isna() | found["net_carry_after"].isna(), "account_id"]
    why = "their equity is not positive, or a rate of their assets is missing"
    if unknown := _without_own_yield(snapshot, set(missing)):
        why += f"; give what {', '.join(unknown)} earns by itself"
    found.attrs["notices"] = [f"{len(missing)} loop accounts have no carry: {why}"] if len(missing) else []
    return found


def _without_own_yield(snapshot: Snapshot, accounts: set[str]) -> list[str]:
    """Symbols of what these accounts hold or owe, of which it is not known what it earns by itself."""
    legs = snapshot.legs[(snapshot.legs["amount"] > 0) & snapshot.legs["account_id"].isin(list(accounts))]
    own = own_yields(snapshot)
    symbols = snapshot.assets.set_index("asset_id")["symbol"]
    return sorted({str(symbols[asset]) for asset in legs["asset_id"].unique() if math.isnan(own[asset])})


def _accounts_of(snapshot: Snapshot, markets: pd.DataFrame) -> set[str]:
    """Accounts with a leg of any amount in one of the markets."""
    legs = snapshot.legs[snapshot.legs["amount"] > 0]
    venue = legs["account_id"].map(snapshot.accounts.set_index("account_id")["venue_id"])
    keys = pd.MultiIndex.from_arrays([venue, legs["asset_id"]])
    chosen = keys.isin(pd.MultiIndex.from_frame(markets[["venue_id", "asset_id"]]))
    return set(legs.loc[chosen, "account_id"].tolist())
