"""The markets of a Morpho Blue contract at the pinned block, with the interest due."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.protocols._tokens import Token, read_tokens
from defi_leverage.protocols.morpho_blue.adaptive_curve import adapt_rate_at_target, adaptive_curve, utilisation
from defi_leverage.protocols.morpho_blue.arithmetic import Totals, accrue
from defi_leverage.questions import NOBODY, ask

__all__ = ["Market", "Token", "read_markets", "read_tokens"]


@dataclass(frozen=True, slots=True)
class Market:
    """One isolated market. `collateral` is None where the market has none: cash that a vault keeps idle.

    `totals` are those at the block, with the interest due, of which the fee recipient gets `fee_shares`; `rate` is the
    borrow rate in wad a second, `rate_at_target` that of AdaptiveCurveIrm at its target utilisation at the block's time
    (None: another model). `price` is the oracle's: raw loan tokens for 1e36 raw collateral tokens.
    """

    id: bytes
    loan: Token
    collateral: Token | None
    oracle: str
    lltv: int
    rate: int
    totals: Totals
    fee_shares: int
    price: int | None
    problem: str
    rate_at_target: int | None = None

    @property
    def key(self) -> str:
        """The market's id as hexadecimal."""
        return f"0x{self.id.hex()}"

    @property
    def name(self) -> str:
        """For people: wstETH/WETH 94.5%."""
        if self.collateral is None:
            return f"{self.loan.symbol} idle"
        return f"{self.collateral.symbol}/{self.loan.symbol} {self.lltv / 10**16:g}%"


async def read_markets(chain: Chain, morpho: str, ids: Iterable[bytes]) -> tuple[list[Market], dict[str, str]]:
    """The markets that anybody lends to, and those that the contract does not describe, with the reason.

    A market without loans is left out without a word: nothing in it can be liquidated or lost.
    """
    abi = load_abi("morpho_blue")
    wanted = sorted(ids)
    parameters = await ask(chain, abi, [(morpho, "idToMarketParams", (id_,)) for id_ in wanted])
    states = await ask(chain, abi, [(morpho, "market", (id_,)) for id_ in wanted])
    known = []
    gaps = {}
    for id_, params, state in zip(wanted, parameters, states, strict=True):
        if params is None or state is None or not state[4]:
            gaps[f"market 0x{id_.hex()}"] = "the contract does not describe it"
        elif state[0] or state[2]:
            known.append((id_, params, state))
    tokens = await read_tokens(chain, {token for _, params, _ in known for token in params[:2] if token != NOBODY})
    charging = [params[3] != NOBODY for _, params, _ in known]
    asked = [entry for entry, charges in zip(known, charging, strict=True) if charges]
    rates = iter(await ask(chain, abi, [(p[3], "borrowRateView", (p, state)) for _, p, state in asked]))
    targets = iter(await ask(chain, abi, [(p[3], "rateAtTarget", (id_,)) for id_, p, _ in asked]))
    prices = iter(await ask(chain, abi, [(params[2], "price", ()) for _, params, _ in known]))
    markets = [
        _market(
            id_,
            params,
            state,
            tokens,
            next(rates) if charges else 0,
            next(targets) if charges else None,
            next(prices),
            chain.block.timestamp,
        )
        for (id_, params, state), charges in zip(known, charging, strict=True)
    ]
    return markets, gaps


def _market(
    id_: bytes,
    params: tuple[Any, ...],
    state: tuple[Any, ...],
    tokens: dict[str, Token],
    rate: int | None,
    target: int | None,
    price: int | None,
    timestamp: int,
) -> Market:
    loan_address, collateral_address, oracle, _, lltv = params
    loan, collateral = tokens[loan_address], tokens.get(collateral_address)
    totals, fee_shares = accrue(Totals(*state), rate or 0, timestamp)
    problems = [
        (loan.problem, loan.problem),
        (collateral is not None and collateral.problem, collateral.problem if collateral else ""),
        (loan_address == collateral_address, "its collateral is its loan token"),
        (rate is None and totals.borrow, "its interest rate model reverts"),
        (collateral is not None and price is None, "its oracle reverts"),
        (collateral is not None and price == 0, "its oracle answers 0"),
        (collateral is None and totals.borrow, "it has debt and no collateral token"),
    ]
    return Market(
        id=id_,
        loan=loan,
        collateral=collateral,
        oracle=oracle,
        lltv=lltv,
        rate=rate or 0,
        totals=totals,
        fee_shares=fee_shares,
        price=price or None,
        problem=next((str(why) for wrong, why in problems if wrong), ""),
        rate_at_target=_rate_at_target(target, rate, Totals(*state), timestamp),
    )


def _rate_at_target(stored: int | None, rate: int | None, state: Totals, timestamp: int) -> int | None:
    """The rate at target as of `timestamp`, where the model charges exactly what AdaptiveCurveIrm would."""
    if stored is None:
        return None
    elapsed = timestamp - state.last_update
    average, now = adapt_rate_at_target(stored, utilisation(state), elapsed)
    return now if adaptive_curve(average, utilisation(state)) == rate else None
