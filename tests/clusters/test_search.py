"""Gains along the way of a trigger, on a book where one market pulls another along and not the other way."""

import numpy as np
import pytest

from defi_leverage.clusters.crossings import prepare_crossings
from defi_leverage.clusters.search import ratios_at, search_sizes
from defi_leverage.contagion.book import compile_book
from tests.books import Position, make_snapshot


def test_what_others_do_among_themselves_is_no_ratio_of_this_cluster() -> None:
    """Who holds more BTC than ETH sells BTC when ETH falls, and then BTC alone would sustain its fall; ETH would not.

    The ratio of ETH is the one of a book without the market of BTC.
    """
    eth: list[Position] = [({"ETH": 1.0}, {"USD": 1600.0 * (1 - fall)}) for fall in np.linspace(0.001, 0.3, 40)]
    btc: list[Position] = [({"BTC": 1.0}, {"USD": 32e3 * (1 - fall)}) for fall in np.linspace(0.001, 0.3, 40)]
    bridge: list[Position] = [({"ETH": 1.0, "BTC": 0.06}, {"USD": 0.8 * 4400 * (1 - 0.002)})]
    prices, sizes = {"ETH": 2000.0, "BTC": 4e4, "USD": 1.0}, search_sizes(0.01, 0.2)[1:]
    found = []
    for depth in ({"ETH": 200.0, "BTC": 2.0}, {"ETH": 200.0}):
        book = compile_book(make_snapshot(prices, [*eth, *btc, *bridge], depth=depth))
        falling = list(book.symbols).index("ETH")
        found.append(ratios_at(prepare_crossings(book), [(falling, -1)], {falling: -1}, sizes, 0.01))
    assert found[0].max() > 0.1
    assert found[0] == pytest.approx(found[1], rel=1e-12)
