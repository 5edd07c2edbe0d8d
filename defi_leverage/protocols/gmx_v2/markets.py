"""The markets of a GMX v2 venue: their terms and totals, and what the reader says of each."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import SECONDS_PER_YEAR, WAD
from defi_leverage.protocols._perps import words
from defi_leverage.protocols.gmx_v2.arithmetic import FLOAT, Stored, Terms
from defi_leverage.protocols.gmx_v2.keys import key
from defi_leverage.protocols.gmx_v2.prices import PricedToken
from defi_leverage.protocols.gmx_v2.venue import Venue
from defi_leverage.questions import ask, ask_all

__all__ = ["Market", "Sides", "funding_rate", "leverage_wad", "prices_of", "read_markets"]

# Words of getMarketInfo: behind the market, two borrowing and eight base factors; the last.
_LONGS_PAY, _FUNDING_FACTOR, _IS_DISABLED = 14, 15, 28
_PERCENT = FLOAT // 100


@dataclass(frozen=True, slots=True)
class Sides:
    """Something that longs and shorts have apart."""

    long: int
    short: int

    def of(self, is_long: bool) -> int:
        """The side of a position."""
        return self.long if is_long else self.short


@dataclass(frozen=True, slots=True)
class Market:
    """One market: what its positions follow, its two collateral tokens (which may be one), terms and totals.

    `stored` and `collateral` are by collateral token, the first also by side; `open_interest` in raw index tokens.
    `funding_rate`: a year's times 1e30, of what longs pay, negative where shorts do; None where it is not told. `adl`:
    what is to be said of auto-deleveraging, by side, where it is on or may be switched on.
    """

    address: str
    index: PricedToken
    long: PricedToken
    short: PricedToken
    terms: Terms
    most_leverage_factor: int
    liquidation_fee_factor: int
    open_interest: Sides
    funding_rate: int | None
    stored: dict[tuple[str, bool], Stored]
    collateral: dict[str, int]
    pool: dict[str, int]
    adl: dict[str, str]
    is_disabled: bool

    @property
    def tokens(self) -> dict[str, PricedToken]:
        """The collateral tokens by address."""
        return {token.address: token for token in (self.long, self.short)}

    def props(self) -> tuple[str, str, str, str]:
        """Market.Props, as the reader takes it."""
        return self.address, self.index.address, self.long.address, self.short.address

    def prices(self) -> tuple[tuple[int, int], ...]:
        """MarketUtils.MarketPrices, the least price the same as the largest."""
        return prices_of(self.index, self.long, self.short)


async def read_markets(
    chain: Chain, venue: Venue, listed: list[tuple[str, str, str, str]], tokens: dict[str, PricedToken], forced: bool
) -> list[Market]:
    """The listed markets, all of whose tokens have prices; `forced`: liquidation has a factor of its own (2.2)."""
    return await asyncio.gather(*(_read_market(chain, venue, market, tokens, forced) for market in listed))


async def _read_market(
    chain: Chain, venue: Venue, listed: tuple[str, str, str, str], tokens: dict[str, PricedToken], forced: bool
) -> Market:
    abi, store = load_abi("gmx_v2"), venue.store
    market, index, long, short = listed
    pair = list(dict.fromkeys((long, short)))
    places = [(token, is_long) for token in pair for is_long in (True, False)]
    wanted: dict[Any, bytes] = {
        "usd": key("MIN_COLLATERAL_USD"),
        "open": key("MIN_COLLATERAL_FACTOR", market),
        "forced": key("MIN_COLLATERAL_FACTOR_FOR_LIQUIDATION", market),
        "impact": key("MAX_POSITION_IMPACT_FACTOR_FOR_LIQUIDATIONS", market),
        "fee": key("LIQUIDATION_FEE_FACTOR", market),
        ("borrowed", True): key("CUMULATIVE_BORROWING_FACTOR", market, True),
        ("borrowed", False): key("CUMULATIVE_BORROWING_FACTOR", market, False),
    }
    for token in pair:
        wanted["pool", token] = key("POOL_AMOUNT", market, token)
    names = ("OPEN_INTEREST_IN_TOKENS", "OPEN_INTEREST", "COLLATERAL_SUM", "FUNDING_FEE_AMOUNT_PER_SIZE")
    for token, is_long in places:
        for name in names:
            wanted[name, token, is_long] = key(name, market, token, is_long)
    answers = await ask(chain, abi, [(store, "getUint", (of,)) for of in wanted.values()])
    value = {name: answer or 0 for name, answer in zip(wanted, answers, strict=True)}

    def total(name: str, is_long: bool) -> int:
        return sum(value[name, token, is_long] for token in pair)

    quoted = tuple(tokens[token] for token in (index, long, short))
    (info,) = await chain.call([(venue.reader, abi.encode("getMarketInfo", store, prices_of(*quoted), market))])
    told = words(info or b"")
    sides = (True, False)
    adl = await ask_all(
        chain, abi, [(venue.reader, "getAdlState", (store, market, side, prices_of(*quoted))) for side in sides]
    )
    switched = await ask(chain, abi, [(store, "getBool", (key("IS_ADL_ENABLED", market, side),)) for side in sides])
    interest = Sides(total("OPEN_INTEREST", True), total("OPEN_INTEREST", False))
    return Market(
        address=market,
        index=quoted[0],
        long=quoted[1],
        short=quoted[2],
        terms=Terms(value["forced" if forced else "open"], value["usd"], value["impact"]),
        most_leverage_factor=value["open"],
        liquidation_fee_factor=value["fee"],
        open_interest=Sides(total("OPEN_INTEREST_IN_TOKENS", True), total("OPEN_INTEREST_IN_TOKENS", False)),
        funding_rate=funding_rate(told, interest, forced),
        stored={
            (token, side): Stored(value["borrowed", side], value["FUNDING_FEE_AMOUNT_PER_SIZE", token, side])
            for token, side in places
        },
        collateral={token: sum(value["COLLATERAL_SUM", token, side] for side in (True, False)) for token in pair},
        pool={token: value["pool", token] for token in pair},
        adl={
            name: why
            for name, state, is_on in zip(("longs", "shorts"), adl, switched, strict=True)
            if (why := _deleveraging(state, bool(is_on)))
        },
        is_disabled=len(told) > _IS_DISABLED and bool(told[_IS_DISABLED]),
    )


def funding_rate(told: Sequence[int], interest: Sides, of_payers: bool) -> int | None:
    """A year's funding of those who pay it, times 1e30: positive where longs do. `told`: the words of getMarketInfo.

    The factor a second is of those who pay since v2.2 (`of_payers`), before of the larger side, whoever pays. Source:
    MarketUtils.getNextFundingAmountPerSize; gmx-io/gmx-synthetics changelogs/v2.2.md, internal logic changes, 6.
    """
    if len(told) <= _FUNDING_FACTOR:
        return None
    longs_pay = bool(told[_LONGS_PAY])
    paying = interest.of(longs_pay)
    if not paying:
        return 0
    rate = told[_FUNDING_FACTOR] * SECONDS_PER_YEAR
    rate = rate if of_payers else rate * max(interest.long, interest.short) // paying
    return rate if longs_pay else -rate


def _deleveraging(state: "tuple[int, bool, int, int] | None", is_on: bool) -> str:
    """What is to be said of a side. A keeper switches it on; while profit is allowed, nobody is closed even then."""
    if state is None:
        return "it is on" if is_on else ""
    _, is_exceeded, profit, allowed = state
    if not is_on and not is_exceeded:
        return ""
    how = "it is on" if is_exceeded else "it is on, and closes nobody for now"
    how = how if is_on else "it is off, and a keeper may switch it on"
    shares = (share / _PERCENT for share in (profit, allowed))
    return "{}: their profit is {:.2f} % of the pool, allowed are {:.2f} %".format(how, *shares)


def prices_of(index: PricedToken, long: PricedToken, short: PricedToken) -> tuple[tuple[int, int], ...]:
    """MarketUtils.MarketPrices of three tokens, the least price the same as the largest."""
    return tuple((token.price, token.price) for token in (index, long, short))


def leverage_wad(factor: int) -> int | None:
    """Most leverage at which a position is opened, from the margin that it must have."""
    return FLOAT * WAD // factor if factor else None
