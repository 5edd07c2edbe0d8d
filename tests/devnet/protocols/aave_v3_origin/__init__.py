"""Aave v3.6 from its published Solidity: one market with the shared tokens and six of its own, four e-mode categories.

Of its own: weETH, collateral in an e-mode category alone; tBTC, isolated; GHO, siloed; PYUSD, paused, and LUSD, frozen
at the end; one that was dropped, so that the reserves' numbers have a hole. On chain two accounts are liquidated, one
of them into a deficit in two assets, of which a part is covered by who plays Umbrella; WBTC gets a loan-to-value of
zero in a category, and DAI leaves one, with positions in both.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...chain import transaction
from ...plans import MAX_UINT, VARIABLE_RATE
from .crowd import Position, draw_positions, lent_amounts, units
from .market import UMBRELLA, deploy_market

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from ...aave import Market
    from ...chain import Transaction
    from .. import Site

PART = 40  # transactions a block

_LIQUIDATION = "liquidationCall(address,address,address,uint256,bool)"
_SWITCH = "setUserUseReserveAsCollateral(address,bool)"


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploys the market, brings lenders and borrowers, and lets governance act on them."""
    market, tokens = deploy_market(site)
    desk = _Desk(site, market, tokens)
    positions = draw_positions(site.rng)
    accounts: dict[str, list[str]] = {}

    def enter(wave: str) -> None:
        calls: list[Transaction] = []
        for position in (one for one in positions if one.wave == wave):
            named = accounts.setdefault(position.kind, [])
            shared = position.kind == "borrower" and len(named) < 6
            user = site.shared_account(len(named)) if shared else site.account(f"{position.kind}:{len(named)}")
            named.append(user)
            calls += desk.open(user, position)
        desk.send(calls)

    yield "lenders"
    accounts["lender"] = [site.account(f"lender:{index}") for index in range(3)]
    for index, share in enumerate((5, 3, 2)):
        lent = {symbol: amount * share // 10 for symbol, amount in lent_amounts(positions).items()}
        more = {symbol: units(symbol, 400_000.0) for symbol in tokens if symbol not in lent}
        desk.send(desk.open(accounts["lender"][index], Position("lender", "lenders", lent | more, {})))
    yield "glitch"
    enter("glitch")
    victims = [site.account(f"liquidated:{index}") for index in range(2)]
    owed = ({"USDC": 0.85}, {"USDC": 1.07, "DAI": 0.12})
    for user, debts in zip(victims, owed, strict=True):
        borrows = {symbol: units(symbol, 60_000.0 * share) for symbol, share in debts.items()}
        desk.send(desk.open(user, Position("", "", {"WETH": units("WETH", 60_000.0)}, borrows)))
    accounts["liquidated"] = victims
    yield "rally"
    enter("rally")
    yield "slump"
    enter("slump")
    liquidator = site.account("liquidator:0")
    for index, user in enumerate(victims):
        desk.send(desk.funded(liquidator, "USDC", units("USDC", 100_000.0)))
        call = (tokens["WETH"], tokens["USDC"], user, MAX_UINT, index == 0)
        desk.send([transaction(liquidator, market.pool, _LIQUIDATION, *call)])
    accounts["liquidator"] = [liquidator]
    yield "late"
    enter("late")
    accounts |= _transfer_shares(desk)
    yield "touch"
    _cover_deficit(desk)
    treasurer = list(tokens.values())
    site.chain.send([transaction(site.owner, market.pool, "mintToTreasury(address[])", treasurer)])
    for user in accounts["borrower"][::3]:
        desk.send(desk.open(user, Position("", "", {"DAI": units("DAI", 500.0)}, {})))
    yield "settle"
    _govern(desk)
    for user in accounts["borrower"][1::3]:
        desk.send(desk.open(user, Position("", "", {"WETH": units("WETH", 700.0)}, {})))
    return {
        "market": asdict(market),
        "tokens": tokens,
        "accounts": accounts,
        "treasury": site.account("treasury"),
        "owner": site.owner,
        "umbrella": site.account("umbrella"),
        "reads": [site.reads("aave_v3", market.name, market.provider, market.first_block)],
    }


class _Desk:
    """Turns positions into transactions."""

    def __init__(self, site: Site, market: Market, tokens: Mapping[str, str]) -> None:
        self.site, self.market, self.tokens = site, market, tokens

    def send(self, calls: list[Transaction]) -> None:
        for start in range(0, len(calls), PART):
            self.site.chain.send(calls[start : start + PART])

    def funded(self, user: str, symbol: str, amount: int) -> list[Transaction]:
        token = self.tokens[symbol]
        return [
            transaction(user, token, "mint(address,uint256)", user, amount),
            transaction(user, token, "approve(address,uint256)", self.market.pool, MAX_UINT),
        ]

    def open(self, user: str, position: Position) -> list[Transaction]:
        pool, tokens = self.market.pool, self.tokens
        calls: list[Transaction] = []
        if position.category:
            calls.append(transaction(user, pool, "setUserEMode(uint8)", position.category))
        for symbol, amount in position.supplies.items():
            supply = ("supply(address,uint256,address,uint16)", tokens[symbol], amount, user, 0)
            calls += [*self.funded(user, symbol, amount), transaction(user, pool, *supply)]
        calls += [transaction(user, pool, _SWITCH, tokens[symbol], False) for symbol in position.off]
        calls += [transaction(user, pool, _SWITCH, tokens[symbol], True) for symbol in position.on]
        for symbol, amount in position.borrows.items():
            borrow = ("borrow(address,uint256,uint256,uint16,address)", tokens[symbol], amount, VARIABLE_RATE, 0, user)
            calls.append(transaction(user, pool, *borrow))
        return calls


def _transfer_shares(desk: _Desk) -> dict[str, list[str]]:
    """aTokens change hands; they are no collateral of who receives them until that account says so."""
    market, tokens, site = desk.market, desk.tokens, desk.site
    found: dict[str, list[str]] = {"atoken_donor": [], "atoken_only": [], "atoken_borrower": []}
    for index in range(6):
        donor, receiver = site.account(f"atoken_donor:{index}"), site.account(f"atoken_receiver:{index}")
        symbol = ("WETH", "wstETH", "USDC")[index % 3]
        sent = units(symbol, 40_000.0)
        calls = desk.open(donor, Position("", "", {symbol: 2 * sent}, {}))
        calls.append(transaction(donor, market.a_tokens[symbol], "transfer(address,uint256)", receiver, sent))
        if index % 2:
            calls.append(transaction(receiver, market.pool, _SWITCH, tokens[symbol], True))
            calls += desk.open(receiver, Position("", "", {}, {"DAI": units("DAI", 25_000.0)}))
        desk.send(calls)
        found["atoken_donor"].append(donor)
        found["atoken_borrower" if index % 2 else "atoken_only"].append(receiver)
    return found


def _cover_deficit(desk: _Desk) -> None:
    """Who plays Umbrella covers half of the deficit in DAI, and leaves the one in USDC."""
    site, market, dai = desk.site, desk.market, desk.tokens["DAI"]
    umbrella = site.account("umbrella")
    site.chain.send([transaction(site.owner, market.provider, "setAddress(bytes32,address)", UMBRELLA, umbrella)])
    (deficit,) = site.chain.call(market.pool, "getReserveDeficit(address)", "(uint256)", dai)
    desk.send(desk.open(umbrella, Position("", "", {"DAI": deficit}, {}, off=("DAI",))))
    cover = ("eliminateReserveDeficit(address,uint256)", dai, deficit // 2)
    site.chain.send([transaction(umbrella, market.pool, *cover)])


def _govern(desk: _Desk) -> None:
    """A pause, a freeze, a loan-to-value of zero and a member less in the categories."""
    tokens, market = desk.tokens, desk.market
    calls: tuple[tuple[Any, ...], ...] = (
        ("setReserveFreeze(address,bool)", tokens["LUSD"], True),
        ("setReservePause(address,bool)", tokens["PYUSD"], True),
        ("setAssetLtvzeroInEMode(address,uint8,bool)", tokens["WBTC"], 4, True),
        ("setAssetCollateralInEMode(address,uint8,bool)", tokens["DAI"], 3, False),
    )
    desk.site.chain.send(transaction(desk.site.owner, market.configurator, *call) for call in calls)
