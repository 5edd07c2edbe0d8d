"""USD prices and feeds of Euler's vaults, from the ways that their oracles take to the unit of account.

A way that begins with exchange rates is a `ratio` of the feed that the rest of it makes (a share of a wstETH vault: of
ETH / USD); one of fixed rates alone is `fixed`; any other follows the `market` of its token. Where the unit of account
is a token, its price in USD is added: that of the way to the dollar, among all vaults of the factory, that the most of
that very token relies on. Without such a way, what is counted in the unit has no price in USD.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from defi_leverage.protocols.euler_v2.oracles import Route, route_value
from defi_leverage.protocols.euler_v2.vaults import Vault
from defi_leverage.reading import FeedReading

__all__ = ["USD", "Relying", "VaultFeeds", "choose_dollar_routes", "make_feeds", "make_vault_feeds"]

USD = "0x0000000000000000000000000000000000000348"  # ISO 4217: 840
_FARTHEST = 2  # a dollar price beyond this factor from the one that counts is an oracle's fault, or a trap


@dataclass(frozen=True, slots=True)
class Relying:
    """That so many whole tokens are priced by a route to a unit of account."""

    route: Route
    unit: str
    amount: Fraction


@dataclass(frozen=True, slots=True)
class VaultFeeds:
    """The feeds of a vault's asset and of its collaterals, the priced token's first and then those it is a ratio of.

    `problem`: why there are none.
    """

    asset: tuple[FeedReading, ...] = ()
    collaterals: Mapping[str, tuple[FeedReading, ...]] | None = None
    problem: str = ""


def choose_dollar_routes(relying: Iterable[Relying]) -> dict[str, Route]:
    """By token, the way to the dollar that counts: one that follows a market first, then what the most relies on.

    A way to another unit is led on from that unit, where a way from it is known; several units deep.
    """
    listed = list(relying)
    chosen: dict[str, Route] = {}
    while True:
        weights: dict[str, dict[Route, Fraction]] = {}
        for item in listed:
            onwards = chosen.get(item.unit, ()) if item.unit != USD else ()
            if item.unit != USD and not onwards:
                continue
            route, amount = (*item.route, *onwards), item.amount
            for at, hop in enumerate(route[: len(item.route)]):
                if hop.source not in chosen:
                    known = weights.setdefault(hop.source, {})
                    known[route[at:]] = known.get(route[at:], Fraction(0)) + amount
                amount *= hop.value
        if not weights:
            return chosen
        for token, known in weights.items():
            chosen[token] = max(sorted(known, key=_feed_key), key=lambda route: (_follows_market(route), known[route]))


def make_feeds(route: Route, chain_name: str) -> tuple[FeedReading, ...]:
    """The feed of a way to the dollar that is not empty, then the one that it is a ratio of."""
    rates = next((at for at, hop in enumerate(route) if hop.kind != "rate"), len(route))
    asset_id = f"{chain_name}/erc20:{route[0].source}"
    price = route_value(route)
    if not price:
        return ()
    feed_id = f"{asset_id}@{_feed_key(route)}"
    source = " * ".join(hop.label for hop in route)
    if 0 < rates < len(route):
        (base,) = make_feeds(route[rates:], chain_name)
        ratio = route_value(route[:rates])
        own = FeedReading(
            feed_id,
            asset_id,
            price.numerator,
            price.denominator,
            "ratio",
            base.feed_id,
            ratio.numerator,
            ratio.denominator,
            source,
        )
        return (own, base)
    kind = "market" if _follows_market(route) else "fixed"
    return (FeedReading(feed_id, asset_id, price.numerator, price.denominator, kind, source=source),)  # type: ignore[arg-type]


def make_vault_feeds(
    vault: Vault, routes: Mapping[str, Route | None], dollars: Mapping[str, Route], chain_name: str
) -> VaultFeeds:
    """The feeds of a vault; `routes` are those of its oracle, by token: its asset, and the collaterals that are held.

    A vault that lends nothing and whose oracle says nothing takes the way of its asset that counts.
    """
    asset = vault.asset
    onwards: Route = () if vault.unit == USD else dollars.get(vault.unit, ())
    whole: dict[str, Route] = {}
    for token, route in routes.items():
        if route is None:
            if token == asset.address and not vault.borrows and asset.address in dollars:
                whole[token] = dollars[token]
                continue
            name = asset.symbol if token == asset.address else token
            return VaultFeeds(problem=f"its oracle does not price {name}")
        if vault.unit != USD and not onwards:
            return VaultFeeds(problem=f"no oracle leads from its unit of account {vault.unit} to a price in USD")
        whole[token] = (*route, *onwards)
    own = route_value(whole[asset.address])
    known = dollars.get(asset.address)
    if known and not route_value(known) / _FARTHEST < own < route_value(known) * _FARTHEST:
        told = f"{asset.symbol} at {float(own):.6g} USD, where it is {float(route_value(known)):.6g}"
        return VaultFeeds(problem=f"its oracle has {told}")
    made = {token: make_feeds(route, chain_name) for token, route in whole.items()}
    return VaultFeeds(made[asset.address], {token: feeds for token, feeds in made.items() if token != asset.address})


def _follows_market(route: Route) -> bool:
    return any(hop.kind == "market" for hop in route)


def _feed_key(route: Route) -> str:
    return "*".join(hop.contract for hop in route)
