"""cTokens of Compound v2 and its forks (Venus vTokens): exchangeRateCurrent / 1e18 raw units of the underlying each.

The rate with the interest of the block is what redeeming pays; where it reverts, the stored one is taken. The stored
rate must be (cash + borrows - reserves) / supply, as CToken.exchangeRateStoredInternal computes it; Venus' isolated
pools add badDebt. A cToken of the native coin has no underlying().
"""

from collections.abc import Sequence
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.backing.claims import NATIVE, Claim, Finding, Token
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import WAD
from defi_leverage.questions import NOBODY, ask, probe

__all__ = ["read"]

_FUNCTIONS = (
    "comptroller",
    "underlying",
    "isCToken",
    "isVToken",
    "exchangeRateStored",
    "getCash",
    "totalBorrows",
    "totalReserves",
    "badDebt",
    "totalSupply",
    "exchangeRateCurrent",  # last: it accrues interest, and would change what comes after it in one eth_call
)


async def read(chain: Chain, tokens: Sequence[Token]) -> dict[str, Finding]:
    """The cTokens among the tokens, owed by their comptroller's venue."""
    abi = load_abi("c_token")
    answers = await probe(chain, abi, [token.address for token in tokens], _FUNCTIONS)
    shaped = [
        address
        for address, answer in answers.items()
        if (answer["isCToken"] or answer["isVToken"])
        and answer["comptroller"] not in (None, NOBODY)
        and answer["exchangeRateStored"]
    ]
    listed = await ask(chain, abi, [(answers[a]["comptroller"], "markets", (a,)) for a in shaped])
    return {address: _finding(answers[address], known) for address, known in zip(shaped, listed, strict=True)}


def _finding(answer: dict[str, Any], listed: bool | None) -> Finding:
    comptroller, stored = answer["comptroller"], answer["exchangeRateStored"]
    if not listed:
        return Finding(doubt=f"its comptroller {comptroller} does not list it")
    if not _explained(answer):
        return Finding(doubt=f"its exchange rate {stored} is not (cash + borrows - reserves) / supply")
    rate, name = answer["exchangeRateCurrent"], "exchangeRateCurrent"
    if not rate:
        rate, name = stored, "exchangeRateStored"
    underlying = answer["underlying"] or NATIVE
    return Finding((Claim(underlying, rate, WAD, "deposited", name, (comptroller,)),), "supply_share")


def _explained(answer: dict[str, Any]) -> bool:
    supply, parts = answer["totalSupply"], [answer[name] for name in ("getCash", "totalBorrows", "totalReserves")]
    if supply is None or None in parts:
        return False
    if supply == 0:
        return True  # nothing to divide by: the rate is the initial one
    cash, borrows, reserves = parts
    worth = cash + borrows - reserves
    return answer["exchangeRateStored"] in (worth * WAD // supply, (worth + (answer["badDebt"] or 0)) * WAD // supply)
