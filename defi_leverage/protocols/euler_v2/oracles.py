"""What Euler's oracles are made of: the way from a token to the unit of account, hop by hop.

Interfaces: euler-xyz/euler-price-oracle, EulerRouter.resolveOracle (a vault's shares are priced by convertToAssets,
then its asset by an adapter), CrossAdapter (two adapters in a row) and the adapters' names. Hops have kinds: `rate`
follows no market (convertToAssets, the adapters of exchange rates, a Chainlink feed whose description says "exchange
rate" or "net asset value"), `fixed` never moves (FixedRateOracle), any other follows a market. An oracle that is not a
router, or whose hops do not give its price, is one hop that follows the market.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any, Literal

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import one_line
from defi_leverage.protocols._tokens import read_tokens
from defi_leverage.protocols.morpho_blue.oracles import is_exchange_rate
from defi_leverage.questions import NOBODY, ask, ask_all, probe

__all__ = ["Hop", "Pair", "Route", "read_routes", "route_value"]

_RATES = frozenset({"LidoOracle", "LidoFundamentalOracle", "RateProviderOracle"})
_TOLD = ("name", "base", "quote", "cross", "oracleBaseCross", "oracleCrossQuote", "feed")
_DEEPEST = 4  # cross adapters within cross adapters
_FINE = 10**9  # so many whole tokens are quoted
_TOLERATED = Fraction(1, 10**9)
_NO_DECIMALS = 18  # what the adapters take for a token that does not answer, and for currencies (BaseAdapter)
_LONGEST_LABEL = 80

Pair = tuple[str, str, str]  # oracle, token, unit of account


@dataclass(frozen=True, slots=True)
class Hop:
    """One price on the way: whole `target` for a whole `source`, by a contract."""

    contract: str
    source: str
    target: str
    value: Fraction
    kind: Literal["rate", "fixed", "market"]
    label: str


Route = tuple[Hop, ...]


def route_value(route: Iterable[Hop]) -> Fraction:
    """Whole units at the end for a whole token at the beginning."""
    return prod((hop.value for hop in route), start=Fraction(1))


async def read_routes(chain: Chain, pairs: Iterable[Pair]) -> dict[Pair, Route]:
    """The way of each pair that its oracle quotes; a token that is the unit itself has an empty one."""
    wanted = sorted(pair for pair in set(pairs) if pair[0] != NOBODY)
    places = await _read_places(chain, {token for _, token, unit in wanted for token in (token, unit)})
    amounts = {pair: _FINE * 10 ** places[pair[1]] for pair in wanted}
    asked = [pair for pair in wanted if pair[1] != pair[2]]
    quotes = await ask_all(
        chain, load_abi("euler_v2"), [(o, "getQuote", (amounts[o, t, u], t, u)) for o, t, u in asked]
    )
    resolved = await ask_all(
        chain, load_abi("euler_v2"), [(o, "resolveOracle", (amounts[o, t, u], t, u)) for o, t, u in asked]
    )
    inner = {
        pair: (answer[0], answer[1], answer[3])
        for pair, quote, answer in zip(asked, quotes, resolved, strict=True)
        if quote and quote[0] and answer and answer[2] == pair[2]
    }
    told: dict[str, dict[str, Any]] = {}
    legs = {pair: [(adapter, base, pair[2])] if adapter != NOBODY else [] for pair, (_, base, adapter) in inner.items()}
    for _ in range(_DEEPEST):
        unknown = sorted({adapter for parts in legs.values() for adapter, _, _ in parts} - told.keys())
        if not unknown:
            break
        told |= await probe(chain, load_abi("euler_v2"), unknown, _TOLD)
        legs = {pair: [leg for part in parts for leg in _parts(part, told)] for pair, parts in legs.items()}
    hops = await _read_hops(chain, {leg for parts in legs.values() for leg in parts}, told)
    places |= await _read_places(chain, {base for _, base, _ in inner.values()} - places.keys())
    routes: dict[Pair, Route] = {pair: () for pair in wanted if pair[1] == pair[2]}
    for pair, quote in zip(asked, quotes, strict=True):
        if not quote or not quote[0]:
            continue
        oracle, token, unit = pair
        whole = Fraction(quote[0], _FINE * 10 ** places[unit])
        found: list[Hop | None] = []
        if pair in inner:
            amount, base, _ = inner[pair]
            if base != token and amount:
                rate = Fraction(amount, _FINE * 10 ** places[base])
                found.append(Hop(token, token, base, rate, "rate", "convertToAssets"))
            found += [hops.get(leg) for leg in legs[pair]]
        known = tuple(hop for hop in found if hop is not None)
        if not known or len(known) < len(found) or abs(route_value(known) - whole) > whole * _TOLERATED:
            known = (Hop(oracle, token, unit, whole, "market", f"oracle {oracle}, which is not taken apart"),)
        routes[pair] = known
    return routes


def _parts(leg: Pair, told: Mapping[str, Mapping[str, Any]]) -> list[Pair]:
    """The two adapters of a cross adapter, in the order of the direction asked for; else the adapter itself."""
    adapter, source, target = leg
    found = told.get(adapter)
    if not found or found["name"] != "CrossAdapter" or None in (found["cross"], found["base"]):
        return [leg]
    first, second = found["oracleBaseCross"], found["oracleCrossQuote"]
    if first is None or second is None:
        return [leg]
    if source != found["base"]:
        first, second = second, first
    return [(first, source, found["cross"]), (second, found["cross"], target)]


async def _read_hops(chain: Chain, legs: set[Pair], told: dict[str, dict[str, Any]]) -> dict[Pair, Hop]:
    abi = load_abi("euler_v2")
    wanted = sorted(legs)
    places = await _read_places(chain, {token for _, source, target in wanted for token in (source, target)})
    told |= await probe(chain, abi, sorted({leg[0] for leg in wanted} - told.keys()), _TOLD)
    feeds = sorted({told[adapter]["feed"] for adapter, _, _ in wanted} - {None, NOBODY})
    described = dict(zip(feeds, await ask(chain, abi, [(feed, "description", ()) for feed in feeds]), strict=True))
    amounts = [_FINE * 10 ** places[source] for _, source, _ in wanted]
    quotes = await ask(
        chain,
        abi,
        [(a, "getQuote", (n, source, target)) for (a, source, target), n in zip(wanted, amounts, strict=True)],
    )
    hops = {}
    for leg, quote in zip(wanted, quotes, strict=True):
        if quote:
            adapter, source, target = leg
            name = str(told[adapter]["name"] or "")
            description = one_line(str(described.get(told[adapter]["feed"]) or ""))[:_LONGEST_LABEL]
            kind: Literal["rate", "fixed", "market"] = "market"
            if name == "FixedRateOracle":
                kind = "fixed"
            elif name in _RATES or is_exchange_rate(description):
                kind = "rate"
            value = Fraction(quote, _FINE * 10 ** places[target])
            label = description or f"{one_line(name)[:_LONGEST_LABEL]} {adapter}".strip()
            hops[leg] = Hop(adapter, source, target, value, kind, label)
    return hops


async def _read_places(chain: Chain, tokens: set[str]) -> dict[str, int]:
    found = await read_tokens(chain, tokens)
    return {address: token.decimals if not token.problem else _NO_DECIMALS for address, token in found.items()}
