"""Prices of gTrade's pairs. Its own are signed off chain and handed in with each order; a block keeps none.

In this order: 1. the price of the configuration, a list of `PAIR=PRICE` (`EUR/JPY=160`; `BTC=90000` is BTC/USD); 2. the
Chainlink feed that a pair names to check prices against, where it is the price as it is (feedCalculation DEFAULT of
IPairsStorage) and was written within a day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ConfigError, one_line
from defi_leverage.protocols.gains.arithmetic import PRICE
from defi_leverage.questions import NOBODY, ask, ask_all

__all__ = ["PricedPair", "parse_prices", "read_pairs"]

_OLDEST_S = 86_400
_DEFAULT = 0
_LARGEST = 2**64  # the contracts' type


@dataclass(frozen=True, slots=True)
class PricedPair:
    """A pair with its price times 1e10. `problem`: why it has none, "" where it has one."""

    index: int
    name: str
    price: int
    source: str
    problem: str = ""


def parse_prices(texts: Sequence[str], where: str) -> dict[str, int]:
    """Prices of the configuration times 1e10, by pair. Raises ConfigError for an entry that is none."""
    found = {}
    for text in texts:
        name, _, number = text.partition("=")
        pair = name.strip().upper()
        try:
            price = int(Decimal(number.strip()) * PRICE)
            if not pair or not 0 < price < _LARGEST:
                raise ValueError
        except (ValueError, OverflowError, InvalidOperation):
            raise ConfigError(
                f'{where}: prices has {text!r}; write PAIR=PRICE, as in "BTC=90000" or "EUR/JPY=160".', prices=text
            ) from None
        found[pair if "/" in pair else f"{pair}/USD"] = price
    return found


async def read_pairs(
    chain: Chain, diamond: str, wanted: Sequence[int], given: Mapping[str, int]
) -> dict[int, PricedPair]:
    """The wanted pairs by index, each with its price or why it has none."""
    abi = load_abi("gains")
    listed = await ask(chain, abi, [(diamond, "pairs", (index,)) for index in wanted])
    feeds = [NOBODY if pair is None or pair[2][2] != _DEFAULT else pair[2][0] for pair in listed]
    rounds = await ask_all(chain, abi, [(feed, "latestRoundData", ()) for feed in feeds])
    places = await ask(chain, abi, [(feed, "decimals", ()) for feed in feeds])
    found = {}
    for index, pair, feed, last, decimals in zip(wanted, listed, feeds, rounds, places, strict=True):
        name = f"pair {index}" if pair is None else one_line(f"{pair[0]}/{pair[1]}")[:40]
        price, source = given.get(name.upper(), 0), "price of the configuration"
        why = "" if price else _why(feed, last, decimals, chain.block.timestamp)
        if not price and not why and last is not None:
            price, source = last[1] * PRICE // 10**decimals, f"feed {feed}"
        found[index] = PricedPair(index, name, price, source, why and f"{name} has no price: {why}")
    return found


def _why(feed: str, last: "tuple[Any, ...] | None", decimals: int | None, now: int) -> str:
    if feed == NOBODY:
        return "neither the configuration nor a feed of the pair says it"
    if last is None or decimals is None or last[1] <= 0:
        return f"its feed {feed} gives none"
    age = now - last[3]
    return f"its feed {feed} is {age} s old, more than a day" if age > _OLDEST_S else ""
