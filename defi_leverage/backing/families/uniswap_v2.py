"""Uniswap v2 pool shares, and those of its unchanged forks: reserves a share.

A share that is burnt gets its part of the pool's balances after the protocol's fee has been minted: 1/6 of the growth
of sqrt(k) since the last change of liquidity, where the factory's feeTo is set (UniswapV2Pair._mintFee). The claim is
on the reserves; what lies in the pool beyond them anyone may take (skim).
"""

from collections.abc import Sequence
from math import isqrt
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.backing.claims import Claim, Finding, Token
from defi_leverage.chain import Chain
from defi_leverage.questions import NOBODY, ask, probe

__all__ = ["fee_shares", "read"]


async def read(chain: Chain, tokens: Sequence[Token]) -> dict[str, Finding]:
    """The pairs among the tokens that their factory knows; one that it does not know is in doubt."""
    abi = load_abi("uniswap_v2")
    names = ("factory", "token0", "token1", "getReserves", "totalSupply", "kLast")
    answers = await probe(chain, abi, [token.address for token in tokens], names)
    pairs = {a: answer for a, answer in answers.items() if all(answer[name] is not None for name in names)}
    known = await ask(chain, abi, [(p["factory"], "getPair", (p["token0"], p["token1"])) for p in pairs.values()])
    fees = await ask(chain, abi, [(pair["factory"], "feeTo", ()) for pair in pairs.values()])
    return {
        address: _finding(address, pair, registered, fee_to)
        for (address, pair), registered, fee_to in zip(pairs.items(), known, fees, strict=True)
    }


def _finding(address: str, pair: dict[str, Any], registered: str | None, fee_to: str | None) -> Finding:
    if registered != address:
        return Finding(doubt=f"its factory {pair['factory']} has {registered} for its pair")
    (reserve0, reserve1, _), supply = pair["getReserves"], pair["totalSupply"]
    if not supply or not reserve0 or not reserve1:
        return Finding(doubt="it holds nothing")
    charged = fee_to not in (None, NOBODY)
    shares = supply + (fee_shares(reserve0, reserve1, pair["kLast"], supply) if charged else 0)
    return Finding(
        tuple(
            Claim(token, reserve, shares, "pooled", f"reserves {reserve} of {shares} shares")
            for token, reserve in ((pair["token0"], reserve0), (pair["token1"], reserve1))
        ),
        "lp",
    )


def fee_shares(reserve0: int, reserve1: int, k_last: int, supply: int) -> int:
    """Shares that the next burn mints to the protocol first (UniswapV2Pair._mintFee), in raw units."""
    root, last = isqrt(reserve0 * reserve1), isqrt(k_last)
    return supply * (root - last) // (5 * root + last) if 0 < last < root else 0
