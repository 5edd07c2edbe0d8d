"""A book with more assets: wrappers of those it has, which half of its accounts hold or owe in their place."""

from dataclasses import replace

import numpy as np

from defi_leverage.contagion.book import Book, Claim

__all__ = ["pad_book"]


def pad_book(book: Book, assets: int) -> Book:
    """`book` with wrappers of its first assets until there are `assets`; each asset has a feed of its own place.

    A wrapper is worth one unit of what it wraps, has a ratio feed and is sold as what it wraps. Every second account's
    legs in a wrapped asset become legs in the wrapper, so health factors and cascades stay as they are. Raises
    ValueError unless feeds and assets correspond one to one.
    """
    there = len(book.price)
    if not np.array_equal(np.sort(book.feed_asset), np.arange(there)) or not there <= assets <= 2 * there:
        raise ValueError(f"give a book with one feed an asset, and {there} to {2 * there} assets")
    count = assets - there
    wrapped, feeds = np.arange(count), np.argsort(book.feed_asset)[:count]
    moved = (book.leg_account % 2 == 1) & (book.leg_asset < count)
    feed_of = np.zeros(there, np.int64)
    feed_of[feeds] = there + np.arange(count)
    return replace(
        book,
        asset_ids=np.append(book.asset_ids, [f"w{name}" for name in book.asset_ids[wrapped]]),
        symbols=np.append(book.symbols, [f"w-{name}" for name in book.symbols[wrapped]]),
        feed_ids=np.append(book.feed_ids, [f"w-{name}" for name in book.feed_ids[feeds]]),
        leg_asset=np.where(moved, book.leg_asset + there, book.leg_asset).astype(np.int32),
        leg_feed=np.where(moved, feed_of[book.leg_feed], book.leg_feed).astype(np.int32),
        feed_price=np.append(book.feed_price, book.feed_price[feeds]),
        feed_asset=np.append(book.feed_asset, there + wrapped),
        feed_base=np.append(book.feed_base, feeds),
        follows_market=np.append(book.follows_market, np.zeros(count, bool)),
        ratio_feeds=(*book.ratio_feeds, *range(there, assets)),
        price=np.append(book.price, book.price[wrapped]),
        claim_groups=(
            *book.claim_groups,
            *((Claim(there + asset, ((asset, 1.0, -1),), float(book.price[asset])),) for asset in range(count)),
        ),
        routes=(*((there + asset, asset, 1.0) for asset in range(count)), *book.routes),
    )
