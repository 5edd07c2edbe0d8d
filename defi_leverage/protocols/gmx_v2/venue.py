"""The contracts of a GMX v2 venue, its markets and their terms, and what the reader says of each."""

import asyncio
from dataclasses import dataclass
from typing import Any

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import SECONDS_PER_YEAR, WAD
from defi_leverage.protocols._perps import words
from defi_leverage.protocols.gmx_v2.arithmetic import FLOAT, Stored, Terms
from defi_leverage.protocols.gmx_v2.keys import key
from defi_leverage.protocols.gmx_v2.prices import PricedToken
from defi_leverage.questions import NOBODY, ask, ask_all
from defi_leverage.reading import Deployment

__all__ = ["FULL", "PLAIN", "Market", "Sides", "Venue", "find_venue", "leverage_wad", "list_markets", "read_markets"]

FULL = (
    "isPositionLiquidatable(address,address,bytes32,(address,address,address,address),"
    "((uint256,uint256),(uint256,uint256),(uint256,uint256)),bool,bool)"
)
"""Release 2.2 and later."""
PLAIN = FULL.replace(",bool,bool)", ",bool)")
_LONGS_PAY, _FUNDING_FACTOR = 14, 15  # words of getMarketInfo: behind the market, two borrowing and eight base factors


@dataclass(frozen=True, slots=True)
class Venue:
    """The three contracts that a reading goes by."""

    store: str
    reader: str
    referrals: str


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
    of the sides whose winners are being closed, the profit and what is allowed, as shares of the pool times 1e30.
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
    adl: dict[str, tuple[int, int]]

    @property
    def tokens(self) -> dict[str, PricedToken]:
        """The collateral tokens by address."""
        return {token.address: token for token in (self.long, self.short)}

    def props(self) -> tuple[str, str, str, str]:
        """Market.Props, as the reader takes it."""
        return self.address, self.index.address, self.long.address, self.short.address

    def prices(self) -> tuple[tuple[int, int], ...]:
        """MarketUtils.MarketPrices, the least price the same as the largest."""
        return _prices(self.index, self.long, self.short)


def find_venue(chain: Chain, deployment: Deployment) -> Venue:
    """The venue's contracts. Raises ReaderError where one is not given or no address."""
    given = {
        "address": deployment.address,
        "reader_contract": deployment.options.get("reader_contract"),
        "referral_storage": deployment.options.get("referral_storage"),
    }
    for name, value in given.items():
        if not value:
            raise ReaderError(
                f"{deployment.name} on {chain.name} has no {name}: give the Reader and the ReferralStorage beside the "
                "DataStore (github.com/gmx-io/gmx-synthetics docs/contracts.json).",
                name=name,
            )
    try:
        return Venue(*(checksum_address(str(value)) for value in given.values()))
    except ValueError:
        raise ReaderError(f"{deployment.name} on {chain.name}: {given} are not all addresses.", **given) from None


async def list_markets(chain: Chain, venue: Venue) -> list[tuple[str, str, str, str]]:
    """Market token, index, long and short token of each market that has positions. Raises ReaderError without any."""
    abi = load_abi("gmx_v2")
    (count,) = await ask(chain, abi, [(venue.store, "getAddressCount", (key("MARKET_LIST"),))])
    (markets,) = await ask(chain, abi, [(venue.reader, "getMarkets", (venue.store, 0, count or 0))])
    if not count or not markets:
        raise ReaderError(
            f"{venue.store} lists no markets, or {venue.reader} does not read them, on {chain.name} at block "
            f"{chain.block.number}. Give a GMX v2 DataStore and its Reader, and a block after they were deployed.",
            address=venue.store,
            reader=venue.reader,
        )
    return [market for market in markets if market[1] != NOBODY]


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
    (info,) = await chain.call([(venue.reader, abi.encode("getMarketInfo", store, _prices(*quoted), market))])
    adl = await ask_all(
        chain, abi, [(venue.reader, "getAdlState", (store, market, side, _prices(*quoted))) for side in (True, False)]
    )
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
        funding_rate=_funding_rate(info, interest),
        stored={
            (token, side): Stored(value["borrowed", side], value["FUNDING_FEE_AMOUNT_PER_SIZE", token, side])
            for token, side in places
        },
        collateral={token: sum(value["COLLATERAL_SUM", token, side] for side in (True, False)) for token in pair},
        pool={token: value["pool", token] for token in pair},
        adl={
            name: (state[2], state[3])
            for name, state in zip(("longs", "shorts"), adl, strict=True)
            if state is not None and state[1]
        },
    )


def _funding_rate(info: bytes | None, interest: Sides) -> int | None:
    """A year's funding of those who pay it. The factor a second is of the larger side (getNextFundingAmountPerSize)."""
    told = words(info or b"")
    if len(told) <= _FUNDING_FACTOR:
        return None
    longs_pay = bool(told[_LONGS_PAY])
    paying = interest.of(longs_pay)
    if not paying:
        return 0
    rate = told[_FUNDING_FACTOR] * SECONDS_PER_YEAR * max(interest.long, interest.short) // paying
    return rate if longs_pay else -rate


def _prices(index: PricedToken, long: PricedToken, short: PricedToken) -> tuple[tuple[int, int], ...]:
    return tuple((token.price, token.price) for token in (index, long, short))


def leverage_wad(factor: int) -> int | None:
    """Most leverage at which a position is opened, from the margin that it must have."""
    return FLOAT * WAD // factor if factor else None
