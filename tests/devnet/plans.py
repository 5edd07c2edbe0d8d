"""What an account does: the steps of a plan, and the transactions they become."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from .aave_parameters import category, reserve
from .chain import Transaction, transaction
from .tokens import DECIMALS, FINAL, Prices

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .aave import Market

MAX_UINT = 2**256 - 1
STABLE_RATE, VARIABLE_RATE = 1, 2


class Kind(StrEnum):
    """What sort of position an account holds at the end."""

    WHALE = "whale"
    SUPPLIER = "supplier"
    EMODE_LOOPER = "emode_looper"
    FLASH_LOOPER = "flash_looper"
    STABLE_LOOPER = "stable_looper"
    PLAIN_LOOPER = "plain_looper"
    ETH_BORROWER = "eth_borrower"
    BTC_BORROWER = "btc_borrower"
    ETH_SHORT = "eth_short"
    MIXED = "mixed"
    COLLATERAL_OFF = "collateral_off"
    COLLATERAL_OFF_BORROWER = "collateral_off_borrower"
    DUST = "dust"
    DUST_BORROWER = "dust_borrower"
    LIQUIDATABLE = "liquidatable"
    LIQUIDATED = "liquidated"
    LIQUIDATOR = "liquidator"
    BAD_DEBT = "bad_debt"
    ATOKEN_DONOR = "atoken_donor"
    ATOKEN_ONLY = "atoken_only"
    ATOKEN_BORROWER = "atoken_borrower"
    GIFTED = "gifted"
    GIVER = "giver"
    DELEGATOR = "delegator"
    DELEGATEE = "delegatee"
    EMPTIED = "emptied"
    REPAID = "repaid"
    STABLE_RATE_BORROWER = "stable_rate_borrower"
    CATEGORY_PRICED = "category_priced"


class Do(StrEnum):
    """A step's verb."""

    MINT = "mint"
    SUPPLY = "supply"
    """Mint, approve and supply, for ``other`` when it is set."""
    REDEPOSIT = "redeposit"
    """Approve and supply tokens the account has."""
    BORROW = "borrow"
    """Borrow, on behalf of ``other`` when it is set."""
    BORROW_STABLE = "borrow_stable"
    SELL = "sell"
    """Send tokens to the counterparty of a swap."""
    REPAY = "repay"
    """Mint, approve and repay."""
    WITHDRAW = "withdraw"
    ENTER_CATEGORY = "enter_category"
    COLLATERAL_OFF = "collateral_off"
    SEND_ATOKEN = "send_atoken"
    DELEGATE = "delegate"
    LIQUIDATE = "liquidate"
    """Mint, approve and repay debt of ``other`` in ``symbol`` against WETH, taken as aTokens when ``amount`` is 1."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing an account does."""

    verb: Do
    symbol: str = ""
    amount: int = 0
    other: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """An account and what it does in each wave, by the wave's name."""

    address: str
    kind: Kind
    steps: dict[str, tuple[Step, ...]]
    turns: int = 0


@dataclass(frozen=True)
class Opening:
    """Amounts of a new position."""

    supplies: dict[str, int]
    borrows: dict[str, int] = field(default_factory=dict)

    def steps(self, borrow: Do = Do.BORROW) -> tuple[Step, ...]:
        """Supplies first, then borrows."""
        supplies = (Step(Do.SUPPLY, symbol, amount) for symbol, amount in self.supplies.items())
        return (*supplies, *(Step(borrow, symbol, amount) for symbol, amount in self.borrows.items()))


def open_position(
    collateral: Mapping[str, float], debt: Mapping[str, float], health: float, at: Prices, category_id: int = 0
) -> Opening:
    """Position with a given health factor at the FINAL prices, or a higher one where the loan-to-value limit asks so.

    ``collateral`` holds USD values, ``debt`` the shares of each asset in the whole debt.
    """
    supplies = {symbol: FINAL.units(symbol, usd) for symbol, usd in collateral.items()}
    backing = sum(usd * _limits(symbol, category_id)[1] for symbol, usd in collateral.items())
    power = sum(_usd(at, symbol, units) * _limits(symbol, category_id)[0] for symbol, units in supplies.items())
    total = backing / health
    owed_now = sum(total * share * at.usd(symbol) / FINAL.usd(symbol) for symbol, share in debt.items())
    total *= min(1.0, 0.9985 * power / owed_now)
    return Opening(supplies, {symbol: FINAL.units(symbol, total * share) for symbol, share in debt.items()})


def transactions(
    plan: Plan, wave: str, market: Market, tokens: Mapping[str, str], approved: set[tuple[str, str]]
) -> Iterator[Transaction]:
    """Transactions of a plan's steps in one wave. ``approved`` remembers which tokens an account let the pool take."""
    for step in plan.steps.get(wave, ()):
        yield from _step(plan.address, step, market, tokens, approved)


def _step(
    user: str, step: Step, market: Market, tokens: Mapping[str, str], approved: set[tuple[str, str]]
) -> Iterator[Transaction]:
    pool, symbol, amount, other = market.pool, step.symbol, step.amount, step.other
    token = tokens.get(symbol, "")
    if step.verb in {Do.MINT, Do.SUPPLY, Do.REPAY}:
        yield transaction(user, token, "mint(address,uint256)", user, amount)
    if step.verb is Do.LIQUIDATE:
        yield transaction(user, token, "mint(address,uint256)", user, 10**10 * 10 ** DECIMALS[symbol])
    if step.verb in {Do.SUPPLY, Do.REDEPOSIT, Do.REPAY, Do.LIQUIDATE} and (user, symbol) not in approved:
        approved.add((user, symbol))
        yield transaction(user, token, "approve(address,uint256)", pool, MAX_UINT)
    match step.verb:
        case Do.SUPPLY | Do.REDEPOSIT:
            yield transaction(user, pool, "supply(address,uint256,address,uint16)", token, amount, other or user, 0)
        case Do.BORROW | Do.BORROW_STABLE:
            rate = VARIABLE_RATE if step.verb is Do.BORROW else STABLE_RATE
            arguments = (token, amount, rate, 0, other or user)
            yield transaction(user, pool, "borrow(address,uint256,uint256,uint16,address)", *arguments)
        case Do.SELL:
            yield transaction(user, token, "transfer(address,uint256)", other, amount)
        case Do.REPAY:
            signature = "repay(address,uint256,uint256,address)"
            # all of it where the account holds a reserve for the interest, else just the amount
            paid = MAX_UINT if other == "all" else amount
            yield transaction(user, pool, signature, token, paid, VARIABLE_RATE, user)
        case Do.WITHDRAW:
            yield transaction(user, pool, "withdraw(address,uint256,address)", token, amount, user)
        case Do.ENTER_CATEGORY:
            yield transaction(user, pool, "setUserEMode(uint8)", amount)
        case Do.COLLATERAL_OFF:
            yield transaction(user, pool, "setUserUseReserveAsCollateral(address,bool)", token, False)
        case Do.SEND_ATOKEN:
            yield transaction(user, market.a_tokens[symbol], "transfer(address,uint256)", other, amount)
        case Do.DELEGATE:
            debt_token = market.variable_debt_tokens[symbol]
            yield transaction(user, debt_token, "approveDelegation(address,uint256)", other, amount)
        case Do.LIQUIDATE:
            signature = "liquidationCall(address,address,address,uint256,bool)"
            yield transaction(user, pool, signature, tokens["WETH"], token, other, MAX_UINT, bool(amount))


def _limits(symbol: str, category_id: int) -> tuple[float, float]:
    limits = category(category_id)
    if limits is not None and symbol in limits.assets:
        return limits.ltv / 10_000, limits.threshold / 10_000
    own = reserve(symbol)
    return own.ltv / 10_000, own.threshold / 10_000


def _usd(prices: Prices, symbol: str, units: int) -> float:
    return float(units / 10 ** DECIMALS[symbol]) * prices.usd(symbol)
