"""The markets of a Compound v2 comptroller as assets, claims and totals of a reading."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from defi_leverage.dollar_symbols import USD_SYMBOLS
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols.compound_v2.comptroller import Comptroller
from defi_leverage.protocols.compound_v2.health import Book, Holder
from defi_leverage.protocols.compound_v2.markets import Market
from defi_leverage.reading import AccountReading, AssetReading, BackingReading, FeedReading, MarketReading

__all__ = ["assets_and_claims", "check_dollars", "market_gaps", "market_totals", "missing_accounts", "vai_rows"]

_TOLERATED = 1_000_000  # a millionth of what a market holds may be without an account
_DOLLAR = (1, 5)  # a dollar that the oracle prices is within a fifth and five of one


def assets_and_claims(
    markets: Sequence[Market], book: Book, feeds: Mapping[int, FeedReading], chain_name: str
) -> tuple[list[AssetReading], list[BackingReading]]:
    """The underlyings, the cTokens, and what each derived one is a claim on, in whole units."""
    assets: dict[str, AssetReading] = {}
    backing = []
    by_feed = {feed.feed_id: feed.asset_id for feed in feeds.values()}
    for market in markets:
        asset_id, feed = book.asset_ids[market.index], feeds[market.index]
        kind = "usd" if market.asset_symbol.lower() in USD_SYMBOLS else "token"
        if feed.kind == "ratio":
            base = by_feed[feed.base_feed_id]
            # The oracle's base of a yield-bearing dollar is often another dollar than the one it is a claim on.
            kind = "vault_share" if _is_dollar(base, markets, book) else "lst"
            if kind == "lst":
                backing.append(BackingReading(asset_id, base, feed.ratio_raw, feed.ratio_scale, "staked", feed.source))
        assets.setdefault(asset_id, AssetReading(asset_id, market.asset_symbol, market.asset_decimals, kind))
        share = f"{chain_name}/erc20:{market.address}"
        assets[share] = AssetReading(share, market.symbol, market.decimals, "supply_share")
        rate = book.exchange_rate(market)
        units = rate * 10**market.decimals, WAD * 10**market.asset_decimals
        backing.append(BackingReading(share, asset_id, *units, "deposited", "exchange rate of the cToken"))
    return list(assets.values()), backing


def _is_dollar(asset_id: str, markets: Iterable[Market], book: Book) -> bool:
    return any(book.asset_ids[m.index] == asset_id and m.asset_symbol.lower() in USD_SYMBOLS for m in markets)


def market_totals(markets: Sequence[Market], book: Book) -> list[MarketReading]:
    """Totals by underlying; where two markets share one, they are added up, without rates, curve or caps."""
    totals: dict[str, MarketReading] = {}
    for market in markets:
        asset_id = book.asset_ids[market.index]
        borrow = market.borrow
        if book.current and market.current_borrow is not None:
            borrow = market.current_borrow
        supply = market.supply * book.exchange_rate(market) // WAD
        if known := totals.get(asset_id):
            sums = known.supply_raw + supply, known.borrow_raw + borrow, known.cash_raw + market.cash
            totals[asset_id] = MarketReading(asset_id, *sums)
        else:
            totals[asset_id] = MarketReading(
                asset_id,
                supply,
                borrow,
                market.cash,
                supply_rate_ray=market.supply_rate,
                borrow_rate_ray=market.borrow_rate,
                supply_cap_raw=market.supply_cap,
                borrow_cap_raw=market.borrow_cap,
                curve=market.curve,
            )
    return list(totals.values())


def vai_rows(
    comptroller: Comptroller, book: Book, accounts: Sequence[AccountReading]
) -> tuple[list[AssetReading], list[FeedReading], list[MarketReading]]:
    """VAI, which the comptroller counts at one dollar, and what the accounts owe of it; nothing where nobody does."""
    owed = sum(
        leg.amount_raw for account in accounts for leg in account.legs if leg.asset_id == book.vai_asset_id != ""
    )
    if not owed:
        return [], [], []
    asset = AssetReading(book.vai_asset_id, "VAI", 18, "usd")
    source = f"{comptroller.address} counts VAI at one dollar"
    feed = FeedReading(book.vai_feed_id, book.vai_asset_id, WAD, WAD, "fixed", source=source)
    return [asset], [feed], [MarketReading(book.vai_asset_id, 0, owed, 0)]


def market_gaps(markets: Sequence[Market]) -> dict[str, str]:
    """Why markets cannot be valued, by symbol; a symbol that several have gets its address."""
    symbols = Counter(market.symbol for market in markets)
    return {
        market.symbol if symbols[market.symbol] == 1 else f"{market.symbol} {market.address}": market.problem
        for market in markets
        if market.problem
    }


def missing_accounts(holders: Sequence[Holder], markets: Sequence[Market], first_block: int) -> dict[str, str]:
    """That accounts were not found, where the balances of those that were fall short of the markets' totals."""
    tokens, debts = Counter[int](), Counter[int]()
    for holder in holders:
        tokens.update(holder.tokens)
        debts.update(holder.debts)
    short = []
    for market in markets:
        pairs = (("supply", tokens[market.index], market.supply), ("debt", debts[market.index], market.borrow))
        for name, held, total in pairs:
            if total - held > 1 + total // _TOLERATED:
                short.append((1 - held / total, f"{market.symbol} {name}"))
    if not short:
        return {}
    largest = ", ".join(f"{share:.2%} of the {name}" for share, name in sorted(short, reverse=True)[:3])
    more = f" and parts of {len(short) - 3} more" if len(short) > 3 else ""
    return {
        "accounts that no event names": f"they hold {largest}{more}; first_block {first_block} is too late, or the "
        "endpoint keeps back logs"
    }


def check_dollars(markets: Sequence[Market], comptroller: Comptroller) -> None:
    """Raises ReaderError where what is meant to be a dollar has a price that is not in dollars."""
    low, high = _DOLLAR
    dollars = [market for market in markets if market.asset_symbol.lower() in USD_SYMBOLS]
    off = [m for m in dollars if not m.price_scale * low < m.price * high <= m.price_scale * high * high]
    if dollars and len(off) == len(dollars):
        prices = ", ".join(f"{m.asset_symbol} {m.price / m.price_scale:g}" for m in off[:3])
        raise ReaderError(
            f"the oracle {comptroller.oracle} of {comptroller.address} does not price in USD: {prices}. This reader "
            "cannot convert such prices: take the deployment out of the configuration.",
            address=comptroller.address,
        )
