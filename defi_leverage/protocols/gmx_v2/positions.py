"""The positions of a GMX v2 venue: the list of their keys, what the reader says of each, and their weighted legs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import Progress
from defi_leverage.protocols.gmx_v2.arithmetic import FLOAT, Position, View, assess
from defi_leverage.protocols.gmx_v2.keys import key, member_key
from defi_leverage.protocols.gmx_v2.layout import decode_position
from defi_leverage.protocols.gmx_v2.markets import Market
from defi_leverage.protocols.gmx_v2.venue import FULL, PLAIN, Venue
from defi_leverage.questions import NOBODY, ask, ask_all
from defi_leverage.reading import AccountReading, LegReading, PerpReading, Side

__all__ = ["Quote", "assess_position", "capped", "find_positions", "is_forced", "name_of", "read_positions"]

_PAGE = 1000  # keys of one answer
_TO_WAD = FLOAT // WAD


@dataclass(frozen=True, slots=True)
class Quote:
    """The assets of a market's legs, each with its feed: by collateral token, of the index, and the dollar."""

    collateral: Mapping[str, tuple[str, str]]
    index: tuple[str, str]
    dollar: tuple[str, str]


async def find_positions(chain: Chain, venue: Venue) -> dict[bytes, str | None]:
    """Every position's key with its market, None where it is not told."""
    abi, listed = load_abi("gmx_v2"), key("POSITION_LIST")
    (count,) = await ask(chain, abi, [(venue.store, "getBytes32Count", (listed,))])
    pages = [(listed, start, min(start + _PAGE, count or 0)) for start in range(0, count or 0, _PAGE)]
    found = await ask(chain, abi, [(venue.store, "getBytes32ValuesAt", page) for page in pages])
    keys = [position for page in found for position in page or ()]
    markets = await ask(
        chain, abi, [(venue.store, "getAddress", (member_key(position, "MARKET"),)) for position in keys]
    )
    return {position: None if at in (None, NOBODY) else at for position, at in zip(keys, markets, strict=True)}


async def is_forced(
    chain: Chain, venue: Venue, samples: Sequence[tuple[bytes, tuple[str, str, str, str], tuple[tuple[int, int], ...]]]
) -> bool:
    """Whether the reader knows liquidation apart from opening (release 2.2). False too where it answers neither way.

    `samples`: positions, each with its market and the market's prices; one may revert, so that several are asked.
    """
    answers = await chain.call(
        [
            (
                venue.reader,
                load_abi("gmx_v2").encode(name, venue.store, venue.referrals, sample, market, prices, *flags),
            )
            for name, flags in ((FULL, (True, True)), (PLAIN, (True,)))
            for sample, market, prices in samples
        ]
    )
    return any(answers[: len(samples)]) and not any(answers[len(samples) :])


async def read_positions(
    chain: Chain, venue: Venue, markets: Mapping[bytes, Market], forced: bool, tell: Progress
) -> dict[bytes, tuple[Position, View] | str]:
    """What the reader says of each position, or why it says nothing; by key, `markets` in their order."""
    abi, keys = load_abi("gmx_v2"), list(markets)
    name, flags = (FULL, (True, True)) if forced else (PLAIN, (True,))
    shared = (venue.store, venue.referrals)
    tell("positions", 0, len(keys))
    infos = await chain.call(
        [
            (venue.reader, abi.encode("getPositionInfoList", *shared, [of], [markets[of].prices()], NOBODY))
            for of in keys
        ]
    )
    views = await ask_all(
        chain,
        abi,
        [(venue.reader, name, (*shared, of, markets[of].props(), markets[of].prices(), *flags)) for of in keys],
    )
    tell("positions", len(keys), len(keys))
    found: dict[bytes, tuple[Position, View] | str] = {}
    for of, info, view in zip(keys, infos, views, strict=True):
        position = decode_position(info) if info else "the reader does not answer for it"
        if isinstance(position, str):
            found[of] = position
        elif position.key != of:
            found[of] = f"the reader answers for {name_of(position.key)} instead"
        elif view is None:
            found[of] = "the reader does not say whether it can be liquidated"
        else:
            found[of] = position, View(view[0], *view[2])
    return found


def assess_position(told: "tuple[Position, View] | str", market: Market, quote: Quote) -> AccountReading | str:
    """The position as an account of its own, or why it is set aside.

    Long: the index tokens are collateral of weight 1 - m, their cost is owed in dollars; short: the proceeds are
    collateral in dollars, the tokens are owed at weight 1 + m. Margin is collateral, funding due is owed in the same
    token; fees due, the fee and the price impact of closing are owed in dollars. The impact put off at the opening is
    index tokens, more or less of them.
    """
    if isinstance(told, str):
        return told
    position, view = told
    token = market.tokens.get(position.collateral_token)
    if position.market != market.address or token is None:
        return f"its collateral {position.collateral_token} is none of its market's"
    stored = market.stored[token.address, position.is_long]
    is_index = token.address == market.index.address
    state = assess(position, market.terms, stored, view, market.index.price, token.price, is_index)
    if isinstance(state, str):
        return state
    cost, proceeds = (position.size_usd, 0) if position.is_long else (0, position.size_usd)
    owed = cost + max(state.costs_usd, 0) + state.due_usd
    own: Side = "collateral" if position.is_long else "debt"
    weight = WAD - state.ratio_wad if position.is_long else WAD + state.ratio_wad
    held = quote.collateral[token.address]
    legs = (
        LegReading(own, *quote.index, state.tokens, weight),
        LegReading("collateral", *held, position.collateral, WAD),
        LegReading("debt", *held, position.funding_fee, WAD),
        LegReading("collateral", *quote.dollar, proceeds + max(-state.costs_usd, 0), WAD),
        LegReading("debt", *quote.dollar, owed, WAD),
    )
    claims = position.claimable_long * market.long.price + position.claimable_short * market.short.price
    unit = 10**market.index.decimals
    return AccountReading(
        address=name_of(position.key),
        mode="isolated",
        health_factor_raw=None,
        collateral_base_raw=state.equity_usd // _TO_WAD,
        debt_base_raw=state.requirement_usd // _TO_WAD,
        legs=tuple(leg for leg in legs if leg.amount_raw),
        owner=position.account,
        perps=(
            PerpReading(
                asset_id=quote.index[0],
                size_raw=position.size_tokens if position.is_long else -position.size_tokens,
                entry_price_usd_wad=position.size_usd * unit // (position.size_tokens * _TO_WAD),
                maintenance_ratio_wad=state.ratio_wad,
                accrued_funding_usd_wad=(position.funding_fee * token.price - claims) // _TO_WAD,
                accrued_fees_usd_wad=position.borrowing_fee * token.price // _TO_WAD,
                liquidation_price_usd_wad=_price_wad(state.liquidation_price, unit),
            ),
        ),
    )


def name_of(position: bytes) -> str:
    """What the account of a position is called: its key."""
    return "0x" + position.hex()


def _price_wad(price: Fraction | None, unit: int) -> int | None:
    return None if price is None else round(price * unit / _TO_WAD)


def capped(told: Sequence["tuple[Position, View] | str"]) -> int:
    """How many of these have a profit that the pool's cap cuts."""
    return sum(1 for one in told if not isinstance(one, str) and one[0].profit_usd != one[0].uncapped_profit_usd)
