"""Hyperliquid's accounts sorted into margin pools, each account checked against the venue's own figures."""

from collections.abc import Iterator
from fractions import Fraction

from defi_leverage.reading import Reading
from defi_leverage.venues_http import HttpVenue
from defi_leverage.venues_http._fields import agrees
from defi_leverage.venues_http._margin import Position, liquidation_price
from defi_leverage.venues_http._readings import MarginAccount, Pool, build_reading, is_dollar, moved_prices
from defi_leverage.venues_http.hyperliquid.accounts import DexState, UserState, cross_maintenance
from defi_leverage.venues_http.hyperliquid.markets import Dex

__all__ = ["build_readings", "difference", "margin_accounts"]

_STANDARD = ("default", "disabled")
_SAME_PRICE = Fraction(1, 10**6)
_SAME_PRICE_UNIFIED = Fraction(1, 100)
"""Relative: a unified account's balance is in another reply than its positions, which may be a second older."""
_OUT_OF_REACH = 100
"""Times a price. The venue tells prices farther off than that: 487,000 times the mark of a short, in a record."""
_LARGE = {"mainnet": 100_000, "testnet": 10_000}
"""USDC from which a position is closed by a fifth first. Source: Hyperliquid documentation, Liquidations."""

_Account = tuple[str, str, MarginAccount | str]  # pool, name, and the account or why it is set aside


def build_readings(
    venue: HttpVenue,
    chain: str,
    dexs: list[Dex],
    users: list[UserState],
    set_aside: dict[str, str],
    window: tuple[int, int],
) -> tuple[Reading, ...]:
    """One reading for each dex with accounts, or with markets that they hold; the first has one in any case.

    `set_aside`: accounts that could not be read, and why; the first dex counts them. `window` in UTC seconds.
    """
    by_name = {dex.name: dex for dex in dexs}
    pools: dict[str, list[MarginAccount]] = {dex.label: [] for dex in dexs}
    failed: dict[str, dict[str, str]] = {dex.label: {} for dex in dexs}
    failed[dexs[0].label] |= set_aside
    clock = next((user.clock_gap for user in users if user.clock_gap), "")
    for user in users:
        for label, name, account in margin_accounts(user, by_name, whole="dexs" not in venue.options):
            if isinstance(account, MarginAccount):
                pools[label].append(account)
            else:
                failed[label][name] = account
    held = {position.coin for accounts in pools.values() for item in accounts for position in item.positions}
    markets = {coin: market for dex in dexs for coin, market in dex.markets.items()}
    readings = []
    for dex in dexs:
        accounts, listed = pools[dex.label], frozenset(held & dex.markets.keys())
        if accounts or failed[dex.label] or listed or dex is dexs[0]:
            gaps = moved_prices(accounts, markets) | ({"clock": clock} if clock else {})
            pool = _pool(venue, chain, dex, listed, failed[dex.label], gaps)
            readings.append(build_reading(pool, markets, accounts, window))
    return tuple(readings)


def _pool(
    venue: HttpVenue, chain: str, dex: Dex, listed: frozenset[str], failed: dict[str, str], gaps: dict[str, str]
) -> Pool:
    # The liquidator vault backs the exchange's own perps, not those of builders (documentation of trade.xyz).
    fund = None if dex.name else venue.options.get("insurance_fund_usd")
    return Pool(
        protocol="hyperliquid",
        name=f"{venue.name} {dex.label}",
        chain=chain,
        reference=f"hyperliquid-{dex.label}",
        address="",
        quote_id=f"{chain}/hltoken:{dex.quote_token}",
        quote_symbol=dex.quote_symbol,
        liquidation_rule="perp_partial",
        liquidation_parameters={
            "close_fraction": 0.2,
            "partial_above_usd": float(_LARGE[venue.network]),
            "pro_rata": 0.0,  # deleveraging is a queue, by profit and leverage
            **({} if fund is None else {"insurance_fund_usd": float(fund)}),
        },
        auto_deleveraging="queue",
        insurance_fund=None if fund is None else Fraction(fund),
        listed=listed,
        failed=failed,
        gaps=gaps,
    )


def margin_accounts(user: UserState, dexs: dict[str, Dex], whole: bool = True) -> Iterator[_Account]:
    """The margin accounts of one user, each with its pool and name, or in its place why it is set aside.

    `whole`: `dexs` are all that there are.
    """
    prices = {coin: market.price for dex in dexs.values() for coin, market in dex.markets.items()}
    quotes = {dex.label: dex.quote_symbol for dex in dexs.values()}
    for label, name, account in _all_accounts(user, dexs):
        held = account.positions if isinstance(account, MarginAccount) else ()
        without = [position.coin for position in held if prices[position.coin] <= 0]
        if isinstance(account, MarginAccount) and account.mode == "unified" and not whole:
            yield label, name, "its balance may back positions on other dexs; leave out the option dexs"
        elif held and not is_dollar(quotes[label]):
            yield label, name, f"its margin is {quotes[label]}, whose price in dollars is not in the venue's replies"
        else:
            yield label, name, f"{without[0]} has no mark price" if without else account


def _all_accounts(user: UserState, dexs: dict[str, Dex]) -> Iterator[_Account]:
    if user.mode not in (*_STANDARD, "unifiedAccount"):
        for name, state in user.dexs.items():
            if state.held:
                why = f"what backs an account in the mode {user.mode} is not in the venue's replies"
                yield dexs[name].label, user.user, why
        return
    for name, state in user.dexs.items():
        yield from _isolated_accounts(user, dexs[name], state)
        if user.mode in _STANDARD:
            yield from _cross_account(user, dexs[name], state)
    if user.mode == "unifiedAccount":
        yield from _unified_accounts(user, dexs)


def _isolated_accounts(user: UserState, dex: Dex, state: DexState) -> Iterator[_Account]:
    for item in state.held:
        if item.isolated_value is None:
            continue
        position, name = item.position, f"{user.user}/{item.position.coin}"
        if item.reported_value is None or not agrees(item.isolated_value, item.reported_value):
            yield dex.label, name, "marginUsed is not leverage.rawUsd plus the position's value"
            continue
        why = difference(item.isolated_value, (position,), _SAME_PRICE)
        margin = item.isolated_value - position.unrealized_pnl
        yield dex.label, name, why or MarginAccount(user.user, name, "isolated", margin, (position,))


def _cross_account(user: UserState, dex: Dex, state: DexState) -> Iterator[_Account]:
    positions = _cross(state)
    if not positions:
        return
    value = state.cross_raw_usd + sum((position.signed_notional for position in positions), Fraction(0))
    isolated = sum((item.isolated_value for item in state.held if item.isolated_value is not None), Fraction(0))
    ordered = state.used - state.cross_used - isolated  # the margin of isolated orders that rest in the book
    needed = cross_maintenance(state.held)
    for ours, theirs, name, parts in (
        (value, state.cross_value, "crossMarginSummary.accountValue", 0),
        (value + isolated + ordered, state.value, "marginSummary.accountValue", 0),
        (max(ordered, Fraction(0)), ordered, "marginSummary.totalMarginUsed less that of isolated positions", 0),
        (needed, state.cross_maintenance, "crossMaintenanceMarginUsed", len(positions)),
    ):
        if not agrees(ours, theirs, parts):
            yield dex.label, user.user, f"{name} is {float(theirs)!r}, its positions make it {float(ours)!r}"
            return
    margin = state.cross_value - sum((position.unrealized_pnl for position in positions), Fraction(0))
    why = difference(state.cross_value, positions, _SAME_PRICE)
    yield dex.label, user.user, why or MarginAccount(user.user, user.user, "cross", margin, positions)


def _unified_accounts(user: UserState, dexs: dict[str, Dex]) -> Iterator[_Account]:
    """One account a coin: the spot balance less isolated margin backs the cross positions on all dexs in that coin.

    It is in the pool of the first of these dexs. The balance counts the positions' profit already. Source: Account
    abstraction modes, Unified Account Ratio. Where the venue tells what the balance leaves after maintenance, that must
    be the balance less the maintenance margin and the isolated margin, but for a move of prices between two replies.
    """
    for quote in sorted({dexs[name].quote for name in user.dexs}):
        here = {name: state for name, state in user.dexs.items() if dexs[name].quote == quote}
        positions = tuple(position for state in here.values() for position in _cross(state))
        if not positions:
            continue
        label = next(dexs[name].label for name in here)
        held = [item for state in here.values() for item in state.held]
        needed = cross_maintenance(tuple(held))
        reported = sum((state.cross_maintenance for state in here.values()), Fraction(0))
        if not agrees(needed, reported, len(positions)):
            why = f"crossMaintenanceMarginUsed is {float(reported)!r}, its positions make it {float(needed)!r}"
            yield label, user.user, why
            continue
        total = None if user.spot is None else user.spot.totals.get(quote)
        if user.spot is None or total is None:
            yield label, user.user, f"spotClearinghouseState has no balance of the token {quote}, which is its margin"
            continue
        apart = [item for item in held if item.isolated_value is not None]
        isolated = sum((item.isolated_value or Fraction(0) for item in apart), Fraction(0))
        value = total - isolated
        margin = value - sum((position.unrealized_pnl for position in positions), Fraction(0))
        exposed = needed + sum((abs(item.position.signed_notional) for item in apart), Fraction(0))
        why = _left(total, isolated + needed, user.spot.available.get(quote), exposed)
        why = why or difference(value, positions, _SAME_PRICE_UNIFIED)
        yield label, user.user, why or MarginAccount(user.user, user.user, "unified", margin, positions)


def _left(total: Fraction, taken: Fraction, told: Fraction | None, exposed: Fraction) -> str:
    """What differs between what a balance leaves by our count and by the venue's, never below 0, in words; or "".

    `exposed`: USD that move with prices, at most as they do.
    """
    ours = max(total - taken, Fraction(0))
    if told is None or agrees(ours, told) or abs(ours - told) <= _SAME_PRICE_UNIFIED * exposed:
        return ""
    return f"tokenToAvailableAfterMaintenance is {float(told)!r}, its balance and positions make it {float(ours)!r}"


def difference(value: Fraction, positions: tuple[Position, ...], tolerance: Fraction) -> str:
    """What differs between the liquidation prices that the venue tells and ours, in words; "" where nothing does.

    A price that the venue leaves out must be out of reach by our count, too: it leaves out those that are not positive,
    or astronomically high. Else something backs the account that is not in its replies.
    """
    for position in positions:
        theirs = position.reported_liquidation_price
        ours = liquidation_price(value, positions, position)
        if theirs is None:
            if ours is not None and position.mark / _OUT_OF_REACH < ours < position.mark * _OUT_OF_REACH:
                return f"liquidationPx of {position.coin} is null, its margin makes it {float(ours)!r}"
        elif ours is None or abs(ours - theirs) > tolerance * theirs:
            computed = "none" if ours is None else f"{float(ours)!r}"
            return f"liquidationPx of {position.coin} is {float(theirs)!r}, its margin makes it {computed}"
    return ""


def _cross(state: DexState) -> tuple[Position, ...]:
    return tuple(item.position for item in state.held if item.isolated_value is None)
