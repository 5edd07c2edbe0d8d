"""A real collapse: xUSD, deUSD and sdeUSD on Morpho Blue in November 2025, which oracles did not see.

Recorded by github.com/290-byte/morpho-risk-case-study @ f4fbbfd: block6_vault_full_allocations.csv has what 19 vaults
supplied to 188 markets shortly before; block5_borrower_positions.csv every position of the markets in question in
February 2026, after months of interest on loans that nobody repays; block2 the share prices of the vaults. Nobody was
liquidated, and lenders lost what their borrowers' collateral was no longer worth.

Two vaults realised the loss in their share price: Relend USDC and MEV Capital USDC. Besides, the loss depended on who
left in time: the largest lender of sdeUSD when the allocations were taken, Hyperithm USDC Degen, withdrew its 14.8M USD
a few days before (block3_stress_comparison.csv of the same source: alloc_at_depeg_usd 0, share price unhurt).
"""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from defi_leverage.contagion.book import compile_book
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.losses import account_shortfalls
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.networks.shortfall import insolvency_at_market, lender_losses
from defi_leverage.snapshot import Snapshot

pytestmark = pytest.mark.validation

DATA = Path(
    os.environ.get("DEFI_LEVERAGE_VALIDATION_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data"))
)
FAILED = ("xUSD", "deUSD", "sdeUSD")
COLLAPSE = Scenario("collapse", dict.fromkeys(FAILED, -0.9999))
SDEUSD_MARKET = "0x0f9563442d64ab3bd3bcb27058db0b0d4046a4c46f0acd811dacae9551d2b129"
DEUSD_MARKET = "0xbd1ad3b968f5f0552dbd8cf1989a62881407c5cccf9e49fb3657c8731caf0c1f"
XUSD_MARKET = "0x9e90aec7d768403dacc9dd0d8320307fda3f980eed4df43e3e52168a1c667709"
LEFT_IN_TIME = "Hyperithm USDC Degen"
# block3_stress_comparison.csv, column alloc_at_depeg_usd
AT_THE_DEPEG = {"Relend USDC": 4_424_443.0, "MEV Capital USDC": 2_592_674.0, "Avantgarde USDC Core": 332_917.0}
AT_THE_DEPEG |= {"1337 USDC": 239_743.0, LEFT_IN_TIME: 0.0}


def recorded(name: str) -> pd.DataFrame:
    path = DATA / "morpho_xusd" / name
    if not path.exists():
        pytest.skip(f"{path} is missing; set DEFI_LEVERAGE_VALIDATION_DATA to the folder that has it")
    return pd.read_csv(path)


def book(supplies: pd.DataFrame, borrowers: pd.DataFrame) -> Snapshot:
    """Markets as venues whose oracles stand still.

    `supplies`: owner, market, loan, usd. `borrowers`: owner, market, collateral, loan, lltv, tokens, oracle_usd, debt.
    A coin has a feed a market, at that market's oracle price, and the market price of 1 USD before the shock.
    """
    coins = sorted({*supplies["loan"], *borrowers["loan"], *borrowers["collateral"], *FAILED})
    feeds = [{"feed_id": coin, "asset_id": coin, "price_usd": 1.0, "kind": "fixed"} for coin in coins]
    priced = borrowers.drop_duplicates("market")
    feeds += [
        {"feed_id": market, "asset_id": coin, "price_usd": max(price, 1e-9), "kind": "fixed"}
        for market, coin, price in zip(priced["market"], priced["collateral"], priced["oracle_usd"], strict=True)
    ]
    markets = sorted({*supplies["market"], *borrowers["market"]})
    accounts, legs = [], []
    for row in supplies.to_dict("records"):
        account: dict[str, Any] = {"account_id": f"{row['owner']}@{row['market']}", "owner": row["owner"]}
        accounts.append(account | {"venue_id": row["market"]})
        leg = {"account_id": account["account_id"], "side": "collateral", "asset_id": row["loan"]}
        legs.append(leg | {"feed_id": row["loan"], "amount": row["usd"], "weight": 0.0})
    for row in borrowers.to_dict("records"):
        account = {"account_id": f"{row['owner']} borrows@{row['market']}", "owner": f"{row['owner']} borrows"}
        accounts.append(account | {"venue_id": row["market"]})
        leg = {"account_id": account["account_id"], "side": "collateral", "asset_id": row["collateral"]}
        legs.append(leg | {"feed_id": row["market"], "amount": row["tokens"], "weight": row["lltv"]})
        leg = {"account_id": account["account_id"], "side": "debt", "asset_id": row["loan"]}
        legs.append(leg | {"feed_id": row["loan"], "amount": row["debt"], "weight": 1.0})
    venues = {"venue_id": markets, "protocol": "morpho_blue", "liquidation_rule": "morpho_blue"}
    return Snapshot.from_tables(
        {
            "assets": pd.DataFrame({"asset_id": coins, "symbol": coins, "price_usd": 1.0}),
            "feeds": pd.DataFrame(feeds),
            "venues": pd.DataFrame(venues),
            "accounts": pd.DataFrame(accounts),
            "legs": pd.DataFrame(legs),
        }
    )


def loss_by_vault(snapshot: Snapshot) -> "pd.Series[float]":
    result = run_contagion(snapshot, COLLAPSE)
    assert result.liquidations.empty
    losses = insolvency_at_market(snapshot, result).losses
    return lender_losses(snapshot, losses).set_index("owner")["loss_usd"]


@pytest.fixture(scope="module")
def allocations() -> pd.DataFrame:
    table = recorded("block6_vault_full_allocations.csv")
    assert (len(table), table["vault_address"].nunique(), table["market_unique_key"].nunique()) == (612, 19, 188)
    return table


def before_the_collapse(allocations: pd.DataFrame) -> Snapshot:
    """What the vaults supplied, all of it lent (as it was when the markets froze) against collateral at its limit.

    A market's borrowers are not recorded for that day: one of them owes what the vaults supplied, at its LLTV.
    """
    names = ["collateral_symbol", "loan_symbol"]
    supplied = allocations[allocations["supply_assets_usd"] > 0].fillna(dict.fromkeys(names, "?"))
    supplies = pd.DataFrame(
        {
            "owner": supplied["vault_name"],
            "market": supplied["market_unique_key"],
            "loan": "lent " + supplied["loan_symbol"],
            "usd": supplied["supply_assets_usd"],
        }
    )
    markets = supplied.groupby("market_unique_key").agg(
        collateral=("collateral_symbol", "first"),
        loan=("loan_symbol", "first"),
        lltv=("lltv", "first"),
        debt=("supply_assets_usd", "sum"),
    )
    markets = markets[(markets["lltv"] > 0) & (markets["collateral"] != "?")].reset_index(names="market")
    lltv = markets["lltv"] / 1e18
    tokens = markets["debt"] / lltv * (1 + 1e-9)  # not below 1 by rounding
    borrowers = markets.assign(loan="lent " + markets["loan"], lltv=lltv, tokens=tokens, oracle_usd=1.0, owner="one")
    return book(supplies, borrowers)


def test_the_vaults_that_lost_money_come_first(allocations: pd.DataFrame) -> None:
    """Of the vaults that were still there, Relend and MEV Capital, in this order; what they had at the depeg, to 9 %.

    The recorded loss of share price is met with the deposits that were left at its lowest: -98.5 % of Relend (recorded:
    -98.4 %) and -4.4 % of MEV Capital (recorded: -3.1 %; its curator said about 3.6 %).
    """
    loss = loss_by_vault(before_the_collapse(allocations))
    assert loss.index[:3].tolist() == [LEFT_IN_TIME, "Relend USDC", "MEV Capital USDC"]
    stayed = loss.drop(LEFT_IN_TIME)
    assert stayed.index[:2].tolist() == ["Relend USDC", "MEV Capital USDC"]
    for vault in ("Relend USDC", "MEV Capital USDC", "Avantgarde USDC Core"):
        assert stayed[vault] == pytest.approx(AT_THE_DEPEG[vault], rel=0.09)
    prices = recorded("block2_share_price_summary.csv")
    prices = prices[prices["chain"] == "ethereum"].set_index("vault_name")
    fell = prices["max_drawdown_pct"].sort_values(ascending=False)
    assert fell.index[:2].tolist() == ["Relend USDC", "MEV Capital USDC"]
    assert fell.iloc[2] == pytest.approx(0, abs=1e-9)  # nobody else's share price fell
    left = prices["tvl_at_trough_usd"].astype(float)
    predicted = {vault: stayed[vault] / (left[vault] + stayed[vault]) for vault in fell.index[:2]}
    assert predicted == pytest.approx({"Relend USDC": 0.985, "MEV Capital USDC": 0.0439}, abs=5e-4)
    assert predicted["Relend USDC"] == pytest.approx(fell["Relend USDC"], abs=0.002)
    assert predicted["MEV Capital USDC"] == pytest.approx(fell["MEV Capital USDC"], abs=0.013)


def test_only_the_failed_coins_lose(allocations: pd.DataFrame) -> None:
    """What is lost is what was supplied against them, but for the hundredth of a percent that they are still worth."""
    loss = loss_by_vault(before_the_collapse(allocations))
    failed = allocations[allocations["is_toxic_market"]].groupby("vault_name")["supply_assets_usd"].sum()
    failed = failed[failed > 0]
    assert loss.to_dict() == pytest.approx((failed * (1 - 1e-4 / 0.915)).to_dict(), rel=1e-4)


@pytest.fixture(scope="module")
def left_behind(allocations: pd.DataFrame) -> Snapshot:
    """Every recorded borrower and lender of February 2026 in the markets of the failed coins."""
    positions = recorded("block5_borrower_positions.csv")
    positions["market"] = positions["market_unique_key"]
    names = dict(zip(allocations["vault_address"], allocations["vault_name"], strict=True))
    decimals = positions["collateral_symbol"].map({"xUSD": 6, "deUSD": 18, "sdeUSD": 18})
    tokens = positions["collateral_raw"].astype(float) / 10.0**decimals
    # ORACLE_PRICE_SCALE 1e36: the price of a raw unit of collateral in raw units of the loan (USDC, 6 decimals)
    oracle = positions["oracle_price_raw"] / 10.0 ** (36 + 6 - decimals)
    borrows = positions["borrow_assets_raw"].astype(float) / 1e6
    owing = pd.DataFrame(
        {
            "owner": positions["user_address"],
            "market": positions["market"],
            "collateral": positions["collateral_symbol"],
            "loan": "USDC",
            "lltv": positions["lltv_raw"].astype(float) / 1e18,
            "tokens": tokens,
            "oracle_usd": oracle,
            "debt": borrows,
        }
    )[borrows > 0]
    supplying = pd.DataFrame(
        {
            "owner": positions["user_address"].map(names).fillna(positions["user_address"]),
            "market": positions["market"],
            "loan": "USDC",
            "usd": positions["supply_assets_raw"].astype(float) / 1e6,
        }
    )[positions["supply_assets_raw"].astype(float) > 0]
    return book(supplying, owing)


def test_the_positions_left_behind(left_behind: Snapshot) -> None:
    """Who holds the loss of the sdeUSD market, with the interest that it still earns: 47 % Relend, 30 % MEV Capital.

    By then its oracle answered 0, so that the loss is bad debt; under the constant oracle of xUSD/USDC most of it is a
    shortfall at the market.
    """
    result = run_contagion(left_behind, COLLAPSE)
    losses = insolvency_at_market(left_behind, result).losses
    by_market = losses.groupby("venue_id")["usd"].sum()
    debt = left_behind.legs[left_behind.legs["side"] == "debt"].merge(left_behind.accounts, on="account_id")
    owed = debt.groupby("venue_id")["amount"].sum()
    for market in (SDEUSD_MARKET, XUSD_MARKET):
        assert by_market[market] <= owed[market]
    assert by_market[SDEUSD_MARKET] == pytest.approx(owed[SDEUSD_MARKET], rel=1e-3)
    lenders = lender_losses(left_behind, losses[losses["venue_id"] == SDEUSD_MARKET]).set_index("owner")["loss_usd"]
    assert lenders.index[:2].tolist() == ["Relend USDC", "MEV Capital USDC"]
    assert lenders["Relend USDC"] / lenders.sum() == pytest.approx(0.471, abs=0.001)
    assert lenders["MEV Capital USDC"] / lenders.sum() == pytest.approx(0.299, abs=0.001)
    assert LEFT_IN_TIME not in lenders.index


def test_shortfalls_at_the_oracle_are_the_bad_debt_that_the_protocol_reports(left_behind: Snapshot) -> None:
    """Morpho's own figure values collateral at the oracle: equal to 0.1 %; of sdeUSD, the largest, it knows nothing."""
    book_ = compile_book(left_behind)
    short = account_shortfalls(book_, book_.amount, book_.feed_price[book_.leg_feed])
    at_oracle = pd.Series(short).groupby(book_.venue_ids[book_.account_venue]).sum()
    reported = recorded("block1_markets_graphql.csv").set_index("market_id")["bad_debt_usd"]
    for market in (XUSD_MARKET, DEUSD_MARKET):
        assert at_oracle[market] == pytest.approx(reported[market], rel=1e-3)
    assert reported[SDEUSD_MARKET] == 0
    assert at_oracle[SDEUSD_MARKET] > 5.5e7
