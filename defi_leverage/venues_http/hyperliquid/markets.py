"""The perp dexs of Hyperliquid and their markets: prices, margin tiers, open interest, funding."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from defi_leverage.errors import ConfigError, ReaderError
from defi_leverage.http_api import HttpApi
from defi_leverage.venues_http import HttpVenue
from defi_leverage.venues_http._fields import entries, number, optional_number, text
from defi_leverage.venues_http._margin import Tier, tiers
from defi_leverage.venues_http._readings import HOURS_A_YEAR, Market

__all__ = ["WEIGHT", "Dex", "ask", "read_dexs"]

_LIGHT = ("l2Book", "allMids", "clearinghouseState", "orderStatus", "spotClearinghouseState", "exchangeStatus")
WEIGHT = dict.fromkeys(_LIGHT, 2) | {"userRole": 60}
"""Of an info request; every other one weighs 20. Source: Hyperliquid documentation, Rate limits and user limits."""

_SINGLE_TIER = 50
"""A margin table below this id has one tier, whose maximum leverage is the id. Source: Margin tiers."""


@dataclass(frozen=True, slots=True)
class Dex:
    """A perp dex; the exchange's own has the name "". `quote` is the coin of its margin, as token index and symbol."""

    name: str
    quote: int
    quote_symbol: str
    quote_token: str
    markets: dict[str, Market]

    @property
    def label(self) -> str:
        """The name to show."""
        return self.name or "main"


async def ask(api: HttpApi, kind: str, **parameters: Any) -> Any:
    """The reply to one info request."""
    return await api.post("/info", {"type": kind, **parameters}, WEIGHT.get(kind, 20), what=f"POST /info {kind}")


async def read_dexs(api: HttpApi, venue: HttpVenue) -> list[Dex]:
    """The dexs that the option `dexs` names ("main" is the exchange's own), else all.

    Raises ReaderError for a reply that makes no sense, ConfigError for a dex that there is not.
    """
    listed = entries(await ask(api, "perpDexs"), "", "perpDexs")
    # The first entry is null and stands for the exchange's own dex; another null would be a place without a dex.
    names = ["", *(text(dex, "name", "perpDexs") for dex in listed[1:] if dex is not None)]
    if listed[:1] != [None]:
        raise ReaderError("perpDexs: the first entry is not null, the exchange's own dex; update this package")
    wanted = venue.options.get("dexs")
    if wanted is not None:
        known = {name or "main" for name in names}
        if unknown := [name for name in wanted if name not in known]:
            raise ConfigError(f"{venue.name}: there is no dex {unknown[0]!r}; there are {', '.join(sorted(known))}")
        names = [name for name in names if (name or "main") in wanted]
    tokens = entries(await ask(api, "spotMeta"), "tokens", "spotMeta") if names else []
    known_tokens = {
        int(number(token, "index", "spotMeta.tokens")): (
            text(token, "name", "spotMeta.tokens"),
            text(token, "tokenId", "spotMeta.tokens"),
        )
        for token in tokens
    }
    return [await _read_dex(api, name, known_tokens) for name in names]


async def _read_dex(api: HttpApi, name: str, tokens: dict[int, tuple[str, str]]) -> Dex:
    where = f"metaAndAssetCtxs of {name or 'main'}"
    reply = entries(await ask(api, "metaAndAssetCtxs", dex=name), "", where)
    if len(reply) != 2:
        raise ReaderError(f"{where}: {len(reply)} parts, not the metadata and the contexts; update this package")
    meta, contexts = reply
    universe = entries(meta, "universe", where)
    if len(entries(contexts, "", where)) != len(universe):
        raise ReaderError(f"{where}: {len(universe)} markets and {len(contexts)} contexts; scan again")
    tables = {}
    for pair in entries(meta, "marginTables", where):
        if len(entries(pair, "", f"{where}: marginTables")) != 2:
            raise ReaderError(
                f"{where}: the field marginTables has {pair!r}, not an id and a table; update this package"
            )
        tables[int(number({"id": pair[0]}, "id", f"{where}: marginTables"))] = _read_table(pair[1], where)
    quote = int(number(meta, "collateralToken", where)) if "collateralToken" in meta else 0
    if quote not in tokens:
        raise ReaderError(f"{where}: its collateralToken {quote} is not in spotMeta; update this package")
    markets = {}
    for market, context in zip(universe, contexts, strict=True):
        coin = text(market, "name", where)
        markets[coin] = _read_market(coin, market, context, tables, f"{where}: {coin}")
    return Dex(name, quote, *tokens[quote], markets)


def _read_table(table: Any, where: str) -> tuple[Tier, ...]:
    rows = entries(table, "marginTiers", f"{where}: marginTables")
    found = [
        (number(row, "lowerBound", where, least=0), 1 / (2 * number(row, "maxLeverage", where, least=1)))
        for row in rows
    ]
    if not found or min(found)[0] != 0:
        raise ReaderError(f"{where}: the field marginTiers does not begin at 0; update this package")
    return tiers(found)


def _read_market(coin: str, market: Any, context: Any, tables: dict[int, tuple[Tier, ...]], where: str) -> Market:
    leverage = number(market, "maxLeverage", where, least=1)
    # The documentation's example has a table for every asset and no id for one: then the asset has one tier.
    table_id = int(number(market, "marginTableId", where)) if "marginTableId" in market else int(leverage)
    if table_id in tables:
        terms = tables[table_id]
    elif 0 < table_id < _SINGLE_TIER:
        terms = tiers([(Fraction(0), Fraction(1, 2 * table_id))])
    else:
        raise ReaderError(f"{where}: its margin table {table_id} is not in marginTables; update this package")
    if context is None:  # nothing is told of it: an account that holds it is set aside
        return Market(coin, coin, Fraction(0), None, None, terms, leverage)
    hourly = optional_number(context, "funding", where)
    price = optional_number(context, "markPx", where)
    return Market(
        coin=coin,
        symbol=coin,
        price=Fraction(0) if price is None else price,
        open_interest=optional_number(context, "openInterest", where, least=0),
        funding_rate=None if hourly is None else hourly * HOURS_A_YEAR,
        tiers=terms,
        maximum_leverage=leverage,
    )
