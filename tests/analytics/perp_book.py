"""The perp accounts of Chitra (arXiv 2512.01112, 2025) as a snapshot: entry 1, mark 1, maintenance margin 0.1."""

import pandas as pd

from defi_leverage.snapshot import Snapshot

ACCOUNTS = {"A": (1.0, 2.0), "B": (1.0, 2 / 3), "C": (-4.0, 8 / 3), "D": (1.0, 2 / 19)}  # size (short below 0), margin


def perp_snapshot(funding_rate: float = 0.1, insolvent: bool = False) -> Snapshot:
    """Two venues; all of the four at `p`, whose market it tells; `insolvent` adds E with more loss than margin."""
    legs, perps = [], []
    held = ACCOUNTS | ({"E": (2.0, -0.5)} if insolvent else {})
    for name, (size, margin) in held.items():
        own, other = ("collateral", "debt") if size > 0 else ("debt", "collateral")
        legs += [(name, own, "X", abs(size), 0.9 if size > 0 else 1.1), (name, other, "USD", abs(size), 1.0)]
        legs.append((name, "collateral" if margin > 0 else "debt", "USD", abs(margin), 1.0))
        perps.append((name, "X", size, 0.1))
    keys = ["account_id", "side", "asset_id", "weight"]
    table = pd.DataFrame(legs, columns=["account_id", "side", "asset_id", "amount", "weight"])
    market = {"venue_id": "p", "asset_id": "X", "open_interest_long": 5.0, "open_interest_short": 5.0}
    return Snapshot.from_tables(
        {
            "assets": pd.DataFrame(
                {"asset_id": ["X", "USD"], "symbol": ["X", "USD"], "kind": ["index", "usd"], "price_usd": [1.0, 1.0]}
            ),
            "feeds": pd.DataFrame(
                {
                    "feed_id": ["X", "USD"],
                    "asset_id": ["X", "USD"],
                    "price_usd": [1.0, 1.0],
                    "kind": ["market", "fixed"],
                }
            ),
            "venues": pd.DataFrame(
                {"venue_id": ["p", "q"], "protocol": "test", "name": ["P", ""], "liquidation_rule": "perp_full"}
            ),
            "accounts": pd.DataFrame({"account_id": list(held), "venue_id": "p"}),
            "legs": pd.DataFrame(table.groupby(keys, as_index=False)["amount"].sum()),
            "perps": pd.DataFrame(perps, columns=["account_id", "asset_id", "size", "maintenance_ratio"]),
            "perp_markets": pd.DataFrame(
                [
                    market
                    | {"skew": 0.0, "funding_rate": funding_rate, "maximum_leverage": 8.0, "insurance_fund_usd": 1.0},
                    {"venue_id": "q", "asset_id": "X"},
                ]
            ),
        }
    )
