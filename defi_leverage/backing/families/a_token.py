"""aTokens of Aave v2 and v3 and their forks: a unit is a claim on a unit of the underlying, owed by the pool.

An aToken rebases, so that its rate is one by construction (AToken.balanceOf is the scaled balance times the income
index). The pool must know the token as its aToken: the eighth word of getReserveData in v2, the ninth in v3
(DataTypes.ReserveData of aave/protocol-v2 and aave/aave-v3-core).
"""

from collections.abc import Sequence

from defi_leverage.abi import load_abi
from defi_leverage.backing.claims import Claim, Finding, Token
from defi_leverage.chain import Chain
from defi_leverage.questions import NOBODY, ask, probe

__all__ = ["read"]

_V2_TOKENS, _V3_TOKENS = range(7, 10), range(8, 11)  # aToken, stable debt, variable debt
_LARGEST_ID = 1 << 16  # in v3 the eighth word is the reserve's id


async def read(chain: Chain, tokens: Sequence[Token]) -> dict[str, Finding]:
    """The aTokens among the tokens. A debt token, which names a pool and an underlying as well, is none."""
    abi = load_abi("a_token")
    answers = await probe(chain, abi, [token.address for token in tokens], ("UNDERLYING_ASSET_ADDRESS", "POOL"))
    named = {
        address: (answer["POOL"], answer["UNDERLYING_ASSET_ADDRESS"])
        for address, answer in answers.items()
        if answer["POOL"] not in (None, NOBODY) and answer["UNDERLYING_ASSET_ADDRESS"] not in (None, NOBODY)
    }
    reserves = await ask(chain, abi, [(pool, "getReserveData", (asset,)) for pool, asset in named.values()])
    found = {}
    for (address, (pool, underlying)), words in zip(named.items(), reserves, strict=True):
        places = _places(words, address)
        if places == 0:
            claim = Claim(underlying, 1, 1, "deposited", f"aToken of {pool}", (pool,))
            found[address] = Finding((claim,), "supply_share")
        elif places is None:
            found[address] = Finding(doubt=f"it names the pool {pool}, which does not know it")
    return found


def _places(words: Sequence[int] | None, address: str) -> int | None:
    """0 for the reserve's aToken, 1 and 2 for its debt tokens, None for neither."""
    if words is None:
        return None
    tokens = _V3_TOKENS if words[7] < _LARGEST_ID else _V2_TOKENS
    return next((at for at, word in enumerate(tokens) if words[word] == int(address, 16)), None)
