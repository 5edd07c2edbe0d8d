"""What the oracles of Morpho Blue's markets are made of: feeds and exchange rates on either side of a quotient.

    price = SCALE_FACTOR * (vault rate * feed 1 * feed 2 of the collateral) / (the same of the loan token)

Interfaces: morpho-org/morpho-blue-oracles, MorphoChainlinkOracleV2 and its predecessor (VAULT instead of BASE_VAULT).
Both sides are in one unit, which the feeds' descriptions name: "ETH / USD" is in USD, as is "RedStone Price Feed for
ETH". A side without a feed counts as that unit itself. These are exchange rates, which follow no market: a vault's
convertToAssets; a feed whose description says "exchange rate", "net asset value" (Chainlink's and Morpho's own do),
"_FUNDAMENTAL" (RedStone's) or wstETH/stETH, which has no other price; Pendle's linear discount (PT,
baseDiscountPerYear). Aave's adapters (BASE_TO_USD_AGGREGATOR) are a rate times a feed. Any other feed is taken to
follow a market. An oracle of another make, or whose parts do not give its price to the last digit, is not taken apart.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import DecodeError, one_line
from defi_leverage.questions import NOBODY, ask, probe

__all__ = ["Oracle", "Part", "is_exchange_rate", "read_oracles", "unit_of"]

_FEEDS = ("BASE_FEED_1", "BASE_FEED_2", "QUOTE_FEED_1", "QUOTE_FEED_2")
_VAULTS = ("BASE_VAULT", "VAULT", "QUOTE_VAULT")
_SAMPLES = {vault: f"{vault}_CONVERSION_SAMPLE" for vault in _VAULTS}
_RATE = re.compile(r"exchange.?rate|net asset value|_fundamental|wsteth\s*/\s*steth$", re.IGNORECASE)
_REDSTONE_USD = re.compile(r"redstone price feed for [^/_\s]+$", re.IGNORECASE)
_UNIT = re.compile(r"/\s*([\w.₮]+)[^/]*$")
_LONGEST_DESCRIPTION = 80


@dataclass(frozen=True, slots=True)
class Part:
    """A factor of one side of an oracle: `value` in whole units, `is_rate` where it follows no market.

    `unit` is what it is in ("" where nothing says so), `underlying` the token that a vault's shares are a claim on.
    """

    contract: str
    value: Fraction
    description: str
    is_rate: bool
    unit: str = ""
    underlying: str = ""
    is_discount: bool = False


@dataclass(frozen=True, slots=True)
class Oracle:
    """An oracle taken apart. `unit` is what both sides are in, "" where that is not known."""

    collateral: tuple[Part, ...]
    loan: tuple[Part, ...]
    unit: str


async def read_oracles(chain: Chain, prices: Mapping[str, int]) -> dict[str, Oracle]:
    """The oracles that can be taken apart, by address; `prices` are what they answer."""
    abi = load_abi("morpho_blue")
    names = (*_FEEDS, *_VAULTS, *_SAMPLES.values(), "SCALE_FACTOR")
    answers = await probe(chain, abi, sorted(prices), names)
    known = {oracle: found for oracle, found in answers.items() if found["SCALE_FACTOR"] is not None}
    feeds = await _read_feeds(chain, {found[name] for found in known.values() for name in _FEEDS})
    vaults = await _read_vaults(
        chain, {(found[vault], found[sample]) for found in known.values() for vault, sample in _SAMPLES.items()}
    )
    taken_apart = {}
    for oracle, found in known.items():
        sides = [_side(found, feeds, vaults, first) for first in ("BASE", "QUOTE")]
        if all(side is not None for side in sides):
            (above, collateral), (below, loan) = sides  # type: ignore[misc]
            if below and found["SCALE_FACTOR"] * above // below == prices[oracle]:
                units = {part.unit for side in (collateral, loan) for part in side[-1:]} - {""}
                taken_apart[oracle] = Oracle(collateral, loan, units.pop() if len(units) == 1 else "")
    return taken_apart


def _side(
    found: Mapping[str, Any],
    feeds: Mapping[str, tuple[int, tuple[Part, ...]]],
    vaults: Mapping[tuple[str, int], tuple[int, Part]],
    first: str,
) -> tuple[int, tuple[Part, ...]] | None:
    """The raw product of a side, as the oracle multiplies it, and its parts; None where one cannot be read."""
    raw, parts = 1, []
    vault = "VAULT" if first == "BASE" and found["BASE_VAULT"] is None else f"{first}_VAULT"
    if found[vault] not in (None, NOBODY):
        key = found[vault], found[_SAMPLES[vault]]
        if key not in vaults:
            return None
        raw, part = vaults[key]
        parts.append(part)
    for name in (f"{first}_FEED_1", f"{first}_FEED_2"):
        if found[name] is None or (found[name] != NOBODY and found[name] not in feeds):
            return None
        if found[name] != NOBODY:
            raw *= feeds[found[name]][0]
            parts += feeds[found[name]][1]
    return raw, tuple(parts)


async def _read_feeds(chain: Chain, contracts: Iterable[str | None]) -> dict[str, tuple[int, tuple[Part, ...]]]:
    """Raw answer and parts of each feed that answers above zero."""
    abi, adapters = load_abi("morpho_blue"), load_abi("price_feeds")
    wanted = sorted({contract for contract in contracts if contract is not None} - {NOBODY})
    told = await probe(chain, abi, wanted, ("decimals", "description", "PT", "baseDiscountPerYear"))
    capped = await probe(chain, adapters, wanted, ("BASE_TO_USD_AGGREGATOR",))
    bases = {contract: found["BASE_TO_USD_AGGREGATOR"] for contract, found in capped.items()}
    under = await probe(chain, abi, sorted({base for base in bases.values() if base}), ("decimals", "description"))
    answers = await _latest(chain, [*wanted, *under])
    feeds = {}
    for contract in wanted:
        answer, told_of, base = answers[contract], told[contract], bases[contract]
        if not answer or told_of["decimals"] is None:
            continue
        value = Fraction(answer, 10 ** told_of["decimals"])
        description = one_line(told_of["description"] or "")[:_LONGEST_DESCRIPTION]
        is_discount = told_of["PT"] is not None and told_of["baseDiscountPerYear"] is not None
        unit = unit_of(description)
        is_rate = is_discount or is_exchange_rate(description)
        parts: tuple[Part, ...] = (Part(contract, value, description, is_rate, unit, "", is_discount),)
        if base and answers[base] and under[base]["decimals"] is not None:
            price = Fraction(answers[base] or 0, 10 ** under[base]["decimals"])
            inner = one_line(under[base]["description"] or "")[:_LONGEST_DESCRIPTION]
            parts = (
                Part(contract, value / price, description, is_rate=True),
                Part(base, price, inner, False, unit or unit_of(inner)),
            )
        feeds[contract] = (answer, parts)
    return feeds


async def _latest(chain: Chain, contracts: Sequence[str]) -> dict[str, int | None]:
    """latestRoundData's answer of each feed, None where it is not above zero."""
    abi = load_abi("morpho_blue")
    found: dict[str, int | None] = {}
    calls = [(contract, abi.encode("latestRoundData")) for contract in contracts]
    for contract, data in zip(contracts, await chain.call(calls), strict=True):
        try:
            answer = abi.decode("latestRoundData", data)[1] if data else 0
        except DecodeError:
            answer = 0
        found[contract] = answer if answer > 0 else None
    return found


async def _read_vaults(
    chain: Chain, wanted: Iterable[tuple[str | None, int | None]]
) -> dict[tuple[str, int], tuple[int, Part]]:
    """What each (vault, sample of shares) converts to: raw, and as a part."""
    abi = load_abi("morpho_blue")
    pairs = sorted((vault, sample) for vault, sample in wanted if vault not in (None, NOBODY) and sample)
    rates = await ask(chain, abi, [(str(vault), "convertToAssets", (sample,)) for vault, sample in pairs])
    told = await probe(chain, abi, sorted({str(vault) for vault, _ in pairs}), ("asset", "decimals"))
    tokens = await probe(
        chain, abi, sorted({found["asset"] for found in told.values() if found["asset"]}), ("decimals",)
    )
    vaults = {}
    for (vault, sample), assets in zip(pairs, rates, strict=True):
        asset, decimals = told[str(vault)]["asset"], told[str(vault)]["decimals"]
        places = tokens[asset]["decimals"] if asset else None
        if assets and decimals is not None and places is not None:
            value = Fraction(assets * 10**decimals, sample * 10**places)
            part = Part(str(vault), value, "convertToAssets", is_rate=True, underlying=asset)
            vaults[str(vault), int(sample)] = (assets, part)
    return vaults


def is_exchange_rate(description: str) -> bool:
    """Whether a feed that says this of itself follows no market."""
    return bool(_RATE.search(description))


def unit_of(description: str) -> str:
    """What a feed is in: of "ETH / USD" USD, of "wstETH/stETH exchange rate" stETH."""
    found = _UNIT.search(description)
    if found:
        return found.group(1).upper()
    return "USD" if _REDSTONE_USD.match(description) else ""
