"""What moves the prices of an Aave v2 market whose base currency is a token: the kinds that only such markets have.

Interfaces: bgd-labs/cl-synchronicity-price-adapter, CLSynchronicityPriceAdapterBaseToPeg (the quotient of two USD
feeds) and StETHtoETHSynchronicityPriceAdapter (a constant one, which prices stETH on Ethereum since June 2023).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.protocols.aave_v2.base_currency import BaseCurrency
from defi_leverage.protocols.aave_v3.price_feeds import read_feeds
from defi_leverage.protocols.aave_v3.reserves import Reserve
from defi_leverage.questions import probe
from defi_leverage.reading import FeedReading

__all__ = ["read_feeds_in_base"]

_Answers = Mapping[str, Any]  # function -> answer, None where the source does not have it


async def read_feeds_in_base(
    chain: Chain, reserves: Sequence[Reserve], asset_ids: Mapping[int, str], base: BaseCurrency
) -> dict[int, FeedReading]:
    """The feed of each reserve, by the reserve's index, in units of the base currency.

    Kinds are those of `aave_v3.price_feeds`; besides, a source that answers one base currency without being a feed with
    rounds, and one that divides a ratio of the base currency's USD feed by that feed, is a ratio: no depeg shows in it.
    """
    feeds = await read_feeds(chain, reserves, asset_ids, base.unit)
    own = next((reserve for reserve in reserves if reserve.asset == base.token), None)
    if own is None:
        return feeds
    abi = load_abi("price_feeds")
    sources = await probe(
        chain, abi, sorted({reserve.source for reserve in reserves}), ("ASSET_TO_PEG", "BASE_TO_PEG", "latestRound")
    )
    inner = await probe(
        chain,
        abi,
        sorted({answers["ASSET_TO_PEG"] for answers in sources.values() if answers["ASSET_TO_PEG"]}),
        ("BASE_TO_USD_AGGREGATOR", "ethSource"),
    )
    for reserve in reserves:
        # The base currency itself has no source, nor has an asset that the fallback oracle prices.
        if reserve.source != own.source and _is_ratio(reserve, sources[reserve.source], inner, base):
            feeds[reserve.index] = replace(
                feeds[reserve.index],
                kind="ratio",
                base_feed_id=feeds[own.index].feed_id,
                ratio_raw=reserve.price,
                ratio_scale=own.price,
            )
    return feeds


def _is_ratio(reserve: Reserve, answers: _Answers, inner: Mapping[str, _Answers], base: BaseCurrency) -> bool:
    if answers["ASSET_TO_PEG"]:
        above = inner[answers["ASSET_TO_PEG"]]
        return answers["BASE_TO_PEG"] in (above["BASE_TO_USD_AGGREGATOR"], above["ethSource"]) and bool(
            answers["BASE_TO_PEG"]
        )
    return reserve.price == base.unit and answers["latestRound"] is None
