"""Compound v2 and its forks, Venus' core pool among them: every account of one comptroller at one block.

Each account's liquidity and shortfall are computed from raw balances and compared with the comptroller's own
getAccountLiquidity; an account that is not reproduced to the last wei is set aside, never reported with other figures.
How accounts are enumerated, in spite of un-indexed events, is said in `accounts`.

Not modelled: forced liquidation (Venus) and deprecated markets (Compound), where healthy accounts may be liquidated;
markets in which liquidation or seizure is paused; who alone may liquidate. Venus' isolated pools are refused.
"""

from collections.abc import Sequence
from dataclasses import replace

from defi_leverage.chain import Chain
from defi_leverage.errors import ConfigError
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import Progress, silence
from defi_leverage.protocols.compound_v2.accounts import find_candidates, read_holders
from defi_leverage.protocols.compound_v2.comptroller import Comptroller, find_comptroller
from defi_leverage.protocols.compound_v2.health import Book, Holder, assess, mismatch
from defi_leverage.protocols.compound_v2.markets import Market, read_markets
from defi_leverage.protocols.compound_v2.price_feeds import read_feeds
from defi_leverage.protocols.compound_v2.readings import (
    assets_and_claims,
    check_dollars,
    market_gaps,
    market_totals,
    missing_accounts,
    vai_rows,
)
from defi_leverage.reading import AccountReading, Deployment, Reading, VenueReading

__all__ = ["OPTIONS", "read"]

OPTIONS = {"indices": "text"}
_INDICES = ("stored", "current")


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> Reading:
    """Every account of a comptroller, at the chain's pinned block.

    The deployment's option `indices`: what accounts hold and owe as the markets have stored it ("stored", the default),
    which is what the comptroller itself decides by, or with the interest up to the block ("current"), as right after
    accrueInterest in every market. Accounts are compared with the comptroller as stored either way. Totals are in 1e-18
    USD. A market that cannot be valued is in `gaps`; the accounts that have entered it, or owe it, are in `failed`.
    Rates are what the markets pay by the block, at the pace of the blocks before this one; how they follow what is
    lent is in `rates`. Raises ConfigError for another option, ReaderError where the address is not a comptroller of
    this family priced in USD, ChainError where the chain does not answer.
    """
    tell = progress or silence
    indices = deployment.options.get("indices", "stored")
    if indices not in _INDICES:
        raise ConfigError(f"indices of compound_v2 {deployment.address} is {indices!r}: write {' or '.join(_INDICES)}.")
    comptroller = await find_comptroller(chain, deployment)
    tell("markets", 0, 1)
    markets = await read_markets(chain, comptroller)
    tell("markets", 1, 1)
    current = indices == "current"
    if current:
        markets = [_with_current_rate(market) for market in markets]
    valued = [market for market in markets if not market.problem]
    check_dollars(valued, comptroller)
    candidates = await find_candidates(chain, comptroller, deployment.first_block, tell)
    holders = await read_holders(chain, comptroller, markets, candidates, tell, current=current)
    chain_name = f"eip155:{chain.chain_id}"
    asset_ids = {market.index: f"{chain_name}/{market.asset_reference}" for market in valued}
    feeds = await read_feeds(chain, comptroller, valued, asset_ids)
    vai_asset_id = f"{chain_name}/erc20:{comptroller.vai}" if comptroller.vai else ""
    book = Book(
        markets=markets,
        asset_ids=asset_ids,
        feed_ids={index: feed.feed_id for index, feed in feeds.items()},
        vai_asset_id=vai_asset_id,
        vai_feed_id=f"{vai_asset_id}@{comptroller.address}",
        current=current,
    )
    accounts, failed = _assess_all(holders, book)
    assets, backing = assets_and_claims(valued, book, feeds, chain_name)
    vai_assets, vai_feeds, vai_markets = vai_rows(comptroller, book, accounts)
    return Reading(
        chain=chain_name,
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=VenueReading(
            venue_id=f"{chain_name}:{comptroller.address}",
            protocol="compound_v2",
            name=deployment.name,
            address=deployment.address,
            revision=0,
            liquidation_rule="compound_v2",
            liquidation_parameters=_liquidation_parameters(comptroller),
        ),
        assets=(*assets, *vai_assets),
        feeds=(*feeds.values(), *vai_feeds),
        backing=tuple(backing),
        markets=(*market_totals(valued, book), *vai_markets),
        accounts=tuple(accounts),
        found=len(holders),
        failed=failed,
        gaps=market_gaps(markets) | missing_accounts(holders, valued, deployment.first_block),
    )


def _with_current_rate(market: Market) -> Market:
    """The market, with the fault that its interest cannot be accrued, where that is asked for."""
    lost = not market.problem and market.current_exchange_rate is None
    return replace(market, problem="its exchangeRateCurrent reverts") if lost else market


def _assess_all(holders: Sequence[Holder], book: Book) -> tuple[list[AccountReading], dict[str, str]]:
    """The accounts that we reproduce, and why the others failed."""
    accounts, failed = [], {}
    stored = replace(book, current=False)
    for holder in holders:
        if why := holder.fault or _unvalued(holder, book) or mismatch(holder, stored):
            failed[holder.address] = why
        else:
            accounts.append(assess(holder, book))
    return accounts, failed


def _unvalued(holder: Holder, book: Book) -> str:
    """Why an account cannot be valued: it has entered or owes a market that could not be read, or owes unknown VAI."""
    for index in sorted({*holder.entered, *holder.debts, *holder.unread}):
        market = book.markets[index]
        if market.problem and (index in holder.entered or index in holder.debts):
            return f"uses {market.symbol}: {market.problem}"
        if index in holder.unread and not market.problem:
            return f"its {market.symbol} balance cannot be read"
    if holder.vai and not book.vai_asset_id:
        return "owes VAI, whose controller names no token"
    return ""


def _liquidation_parameters(comptroller: Comptroller) -> dict[str, float]:
    """Of the rule compound_v2; incentives and what the protocol keeps of them are in the legs, as they differ."""
    incentive = 0.0 if comptroller.incentive is None else max(0, comptroller.incentive - WAD) / WAD
    close_factor = comptroller.close_factor / WAD
    return {"close_factor": close_factor, "liquidation_incentive": incentive, "protocol_share": 0.0}
