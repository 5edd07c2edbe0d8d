"""What moves an oracle price: the kinds of price feed behind the reserves of an Aave market.

A feed's kind decides whether a fall of the asset's market price reaches the protocol at all. Aave's correlated-asset
adapters (CAPO) price a staked token as an exchange rate times the price of its base asset, so a discount on the staked
token's own market never shows. Interfaces: bgd-labs/aave-capo (PriceCapAdapterBase, PriceCapAdapterStable,
PendlePriceCapAdapter, FixedPriceAdapter), bgd-labs/cl-synchronicity-price-adapter, aave/gho-core (GhoOracle),
sparkdotfi/sparklend-advanced (the ExchangeRateOracle contracts, FixedPriceOracle).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.questions import probe
from defi_leverage.reading import FeedReading

__all__ = ["Priced", "read_feeds"]

_PROBES = (
    "latestAnswer",
    "description",
    "BASE_TO_USD_AGGREGATOR",
    "getRatio",
    "RATIO_DECIMALS",
    "ASSET_TO_USD_AGGREGATOR",
    "PENDLE_PRINCIPAL_TOKEN",
    "getCurrentDiscount",
    "ASSET_TO_PEG",
    "PEG_TO_BASE",
    "ACL_MANAGER",
    "price",
    "GHO_PRICE",
    "ethSource",
    "latestRound",
)
_DISCOUNT_SCALE = 10_000  # PendlePriceCapAdapter.PERCENTAGE_FACTOR

_Answers = Mapping[str, Any]  # function -> answer, None where the source does not have it


class Priced(Protocol):
    """What has a price from a source: a reserve of any release."""

    @property
    def index(self) -> int:
        """What tells it from the market's others."""

    @property
    def price(self) -> int:
        """The oracle's price, in its unit."""

    @property
    def source(self) -> str:
        """The contract that the price comes from."""


_Priced = TypeVar("_Priced", bound=Priced)


async def read_feeds(
    chain: Chain, reserves: Sequence[Priced], asset_ids: Mapping[int, str], price_scale: int
) -> dict[int, FeedReading]:
    """The feed of each reserve, by the reserve's index.

    A ratio feed points at the feed of the reserve that its base aggregator prices: the reserve with that very source,
    else one whose capped source reads that aggregator, else one whose source has the same description. Where there is
    none, the feed is taken to follow the market, and its `source` says so.
    """
    abi = load_abi("price_feeds")
    sources = await probe(chain, abi, sorted({reserve.source for reserve in reserves}), _PROBES)
    bases = {base for answers in sources.values() if (base := _base(answers)[0])}
    aggregators = await probe(chain, abi, sorted(bases), ("latestAnswer", "description"))
    feeds = {}
    for reserve in reserves:
        answers = sources[reserve.source]
        base, ratio, ratio_scale = _base(answers)
        if base and not ratio:  # the source does not say its ratio
            ratio, ratio_scale = reserve.price, aggregators[base]["latestAnswer"] or 1
        note, found = "", None
        if base and _explains(reserve.price, aggregators[base]["latestAnswer"], ratio, ratio_scale):
            found = _priced_by(base, aggregators[base]["description"], reserve, reserves, sources)
            if found is None:
                note = f"a ratio times {base}, which prices no other reserve: taken to follow the market"
        elif base:
            note = f"not its ratio times {base}: taken to follow the market"
        elif answers["PEG_TO_BASE"] and answers["ASSET_TO_PEG"]:
            note = f"market ratio {answers['ASSET_TO_PEG']} times {answers['PEG_TO_BASE']}"
        kind: Literal["market", "ratio", "fixed"] = "market"
        if found is not None:
            kind = "ratio"
            # The cap on the ratio, or the base reserve's own cap, makes the effective ratio differ from getRatio().
            if found.price * ratio // ratio_scale != reserve.price:
                ratio, ratio_scale = reserve.price, found.price
        elif _is_fixed(answers):
            kind = "fixed"
        asset_id = asset_ids[reserve.index]
        description = str(answers["description"] or "")
        feeds[reserve.index] = FeedReading(
            feed_id=f"{asset_id}@{reserve.source}",
            asset_id=asset_id,
            price_raw=reserve.price,
            price_scale=price_scale,
            kind=kind,
            base_feed_id=f"{asset_ids[found.index]}@{found.source}" if found is not None else "",
            ratio_raw=ratio if found is not None else 1,
            ratio_scale=ratio_scale if found is not None else 1,
            source=": ".join(part for part in (description or reserve.source, note) if part),
        )
    return feeds


def _base(answers: _Answers) -> tuple[str, int, int]:
    """The base aggregator and the ratio over its scale that the source multiplies it with, 0 where it does not say.

    "" where the source has no base.
    """
    ratio, decimals, discount = answers["getRatio"], answers["RATIO_DECIMALS"], answers["getCurrentDiscount"]
    if answers["BASE_TO_USD_AGGREGATOR"] and ratio is not None and ratio > 0 and decimals is not None:
        return answers["BASE_TO_USD_AGGREGATOR"], ratio, 10**decimals
    if answers["ASSET_TO_USD_AGGREGATOR"] and answers["PENDLE_PRINCIPAL_TOKEN"] and discount is not None:
        return answers["ASSET_TO_USD_AGGREGATOR"], max(0, _DISCOUNT_SCALE - discount), _DISCOUNT_SCALE
    if answers["ethSource"]:
        return answers["ethSource"], 0, 1
    return "", 1, 1


def _explains(price: int, base_answer: int | None, ratio: int, ratio_scale: int) -> bool:
    """Whether `price` is the base times the ratio, or less because the source caps the ratio."""
    if not base_answer or base_answer < 0:
        return False
    full = base_answer * ratio // ratio_scale
    return 0 < price <= full + 1  # PendlePriceCapAdapter rounds the discount, not the price


def _priced_by(
    aggregator: str,
    description: str | None,
    reserve: _Priced,
    reserves: Sequence[_Priced],
    sources: Mapping[str, _Answers],
) -> _Priced | None:
    """The reserve whose own price is that aggregator's."""
    others = [other for other in reserves if other.index != reserve.index and other.source != reserve.source]
    plain = [other for other in others if not _base(sources[other.source])[0]]
    ways = (
        [other for other in others if other.source == aggregator],
        [other for other in plain if sources[other.source]["ASSET_TO_USD_AGGREGATOR"] == aggregator],
        [other for other in plain if description and sources[other.source]["description"] == description],
    )
    return next((way[0] for way in ways if way), None)


def _is_fixed(answers: _Answers) -> bool:
    """Whether the source answers a stored constant: FixedPriceAdapter, FixedPriceOracle or GhoOracle.

    A price() of a source that also has rounds, a description or aggregators may be any price.
    """
    constant = answers["GHO_PRICE"]
    is_bare = answers["latestRound"] is None and answers["description"] is None and not answers["ASSET_TO_PEG"]
    if constant is None and (answers["ACL_MANAGER"] or is_bare):
        constant = answers["price"]
    return constant is not None and constant == answers["latestAnswer"]
