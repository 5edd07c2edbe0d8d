"""Margin in synths: what it is worth before its discount, which releases of the perps market find in two ways.

Until commit 96b2ee9 of Synthetixio/synthetix-v3 (PerpsCollateralConfiguration.valueInUsd) it is what a sale would pay,
less its fees (quoteSellExactIn); in npm @synthetixio/perps-market 3.13.0 it is the price of the feed for sales
(indexPrice). Which of them a deployment does is told by its own totalCollateralValue, account by account.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols._perps import words
from defi_leverage.protocols._tokens import read_tokens
from defi_leverage.protocols.synthetix_v3_perps.arithmetic import Discount
from defi_leverage.protocols.synthetix_v3_perps.system import STALE, System
from defi_leverage.questions import NOBODY, ask, ask_all

__all__ = ["Held", "Synth", "Worth", "likelier", "read_margin"]

Held = tuple[int, int]  # account, synth
Worth = Mapping[Held, int | None]  # USD times 1e18, None where the spot market does not say

_SELL, _DEFAULT_TOLERANCE = 2, 0


@dataclass(frozen=True, slots=True)
class Synth:
    """A synth that is margin: USD of one, times 1e18, as the perps market values it, and its discount."""

    id: int
    address: str
    symbol: str
    price: int
    discount: Discount


async def read_margin(
    chain: Chain, system: System, amounts: Mapping[Held, int], told: Mapping[int, int]
) -> tuple[dict[int, Synth | str], Worth]:
    """The synths that accounts have as margin, or why one cannot be valued, and what each amount is worth.

    `told`: of each account, what the contract says that its synths are worth together.
    """
    ids = sorted({synth for _, synth in amounts})
    if not ids:
        return {}, {}
    if not system.spot:
        return dict.fromkeys(ids, "give the spot market of the system (spot_market), which values synths"), {}
    prices, worth = await _value(chain, system, ids, amounts, told)
    abi = load_abi("synthetix_v3_perps")
    addresses = await ask(chain, abi, [(system.spot, "getSynth", (synth,)) for synth in ids])
    tokens = await read_tokens(chain, [address for address in addresses if address not in (None, NOBODY)])
    scales = await ask(chain, abi, [(system.spot, "getMarketSkewScale", (synth,)) for synth in ids])
    terms = await ask_all(chain, abi, [(system.address, "getCollateralConfigurationFull", (synth,)) for synth in ids])
    found: dict[int, Synth | str] = {}
    for synth, address, scale, term in zip(ids, addresses, scales, terms, strict=True):
        price = prices[synth]
        if address in (None, NOBODY) or term is None or scale is None:
            found[synth] = "it is no synth of the spot market, or has no terms as margin"
        elif not price:
            found[synth] = STALE
        else:
            # until 96b2ee9 what is called the upper limit was the least, since 3.13.0 it is the most
            _, limit, other, scalar = term
            discount = Discount(scale, scalar, min(limit, other), max(limit, other))
            found[synth] = Synth(synth, address, tokens[address].symbol, price, discount)
    return found, worth


def likelier(first: Worth, second: Worth, told: Mapping[int, int]) -> bool:
    """Whether `first` is what the contract does: it gives as many accounts' sums as `second`, or more."""
    return _reproduced(first, told) >= _reproduced(second, told)


def _reproduced(worth: Worth, told: Mapping[int, int]) -> int:
    sums: dict[int, int | None] = {}
    for (account, _), usd in worth.items():
        before = sums.get(account, 0)
        sums[account] = None if usd is None or before is None else before + usd
    return sum(usd is not None and told.get(account) == usd for account, usd in sums.items())


async def _value(
    chain: Chain, system: System, ids: list[int], amounts: Mapping[Held, int], told: Mapping[int, int]
) -> tuple[dict[int, int | None], Worth]:
    """The price of one of each synth, and what each amount is worth."""
    abi = load_abi("synthetix_v3_perps")
    asked = [(system.spot, "indexPrice", (synth, _SELL, _DEFAULT_TOLERANCE)) for synth in ids]
    prices = dict(zip(ids, await ask(chain, abi, asked), strict=True))
    by_price = {
        (account, of): None if (price := prices[of]) is None else amount * price // WAD
        for (account, of), amount in amounts.items()
    }
    if told and _reproduced(by_price, told) == len(told):
        return prices, by_price
    sales = await _quote(chain, system, [*((synth, WAD) for synth in ids), *((of[1], amounts[of]) for of in amounts)])
    by_sale = dict(zip(amounts, sales[len(ids) :], strict=True))
    if told and likelier(by_price, by_sale, told):
        return prices, by_price
    return dict(zip(ids, sales, strict=False)), by_sale


async def _quote(chain: Chain, system: System, amounts: Iterable[tuple[int, int]]) -> list[int | None]:
    """USD that the spot market would pay for each (synth, amount); None where it does not say."""
    abi, signature, listed = load_abi("synthetix_v3_perps"), "quoteSellExactIn(uint128,uint256,uint8)", list(amounts)
    answers = await chain.call([(system.spot, abi.encode(signature, *of, _DEFAULT_TOLERANCE)) for of in listed])
    if listed and not any(answers):  # before prices had a tolerance
        plain = "quoteSellExactIn(uint128,uint256)"
        answers = await chain.call([(system.spot, abi.encode(plain, *of)) for of in listed])
    return [words(answer)[0] if answer and len(answer) >= 32 else None for answer in answers]
