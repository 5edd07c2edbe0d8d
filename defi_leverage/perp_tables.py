"""Rows of the tables `perps` and `perp_markets`, and the funding rates of perp markets, from a reading's integers.

Sign of funding, everywhere: a rate is positive where longs pay shorts; an accrued amount is positive where the position
owes it.
"""

import json
from collections.abc import Mapping
from typing import Any

from defi_leverage.fixed_point import WAD
from defi_leverage.reading import AccountReading, Reading

__all__ = ["funding_rate_rows", "perp_market_rows", "perp_rows"]

_Rows = list[dict[str, Any]]


def perp_rows(
    account_id: str, account: AccountReading, prices: Mapping[str, tuple[float, str]], decimals: Mapping[str, int]
) -> _Rows:
    """One row a position; leverage is its notional at the market price over the equity of the whole account.

    `prices`: USD of a whole asset and where that comes from; `decimals` by asset_id.
    """
    equity = account.collateral_base_raw / WAD
    rows = []
    for perp in account.perps:
        size = perp.size_raw / 10 ** decimals[perp.asset_id]
        notional = abs(size) * prices[perp.asset_id][0]
        rows.append(
            {
                "account_id": account_id,
                "asset_id": perp.asset_id,
                "size": size,
                "entry_price_usd": _known(perp.entry_price_usd_wad, WAD),
                "accrued_funding_usd": perp.accrued_funding_usd_wad / WAD,
                "accrued_fees_usd": perp.accrued_fees_usd_wad / WAD,
                "liquidation_price_usd": _known(perp.liquidation_price_usd_wad, WAD),
                "maintenance_ratio": perp.maintenance_ratio_wad / WAD,
                "leverage": notional / equity if equity > 0 else float("nan"),
            }
        )
    return rows


def perp_market_rows(reading: Reading, decimals: Mapping[str, int]) -> _Rows:
    """One row a perp market of the venue."""
    rows = []
    for market in reading.perp_markets:
        unit = 10 ** decimals[market.asset_id]
        long, short = _known(market.open_interest_long_raw, unit), _known(market.open_interest_short_raw, unit)
        rows.append(
            {
                "venue_id": reading.venue.venue_id,
                "asset_id": market.asset_id,
                "open_interest_long": long,
                "open_interest_short": short,
                "skew": long - short,
                "funding_rate": _known(market.funding_rate_wad, WAD),
                "maintenance_tiers": json.dumps([[value / WAD for value in tier] for tier in market.tiers]),
                "maximum_leverage": _known(market.maximum_leverage_wad, WAD),
                "insurance_fund_usd": _known(market.insurance_fund_usd_wad, WAD),
                "auto_deleveraging": market.auto_deleveraging,
            }
        )
    return rows


def funding_rate_rows(reading: Reading) -> _Rows:
    """Funding as rows of `rates`: what a long earns and a short pays is minus the funding rate."""
    return [
        {
            "venue_id": reading.venue.venue_id,
            "asset_id": market.asset_id,
            "supply_rate": -market.funding_rate_wad / WAD,
            "borrow_rate": -market.funding_rate_wad / WAD,
            "pool": "",
            "rate_model": "",
            "rate_parameters": "{}",
        }
        for market in reading.perp_markets
        if market.funding_rate_wad is not None
    ]


def _known(value: int | None, scale: int) -> float:
    return float("nan") if value is None else value / scale
