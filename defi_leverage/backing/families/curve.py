"""Curve LP tokens: balances a share, as remove_liquidity pays them out: balances(i) * amount / totalSupply.

The pool is what Curve's MetaRegistry has for the LP token, else the token itself (pools since 2021 are their own LP
token), else its minter(). coins and balances take a uint256, or an int128 in the oldest pools. Fees of the DAO are not
in balances.
"""

from collections.abc import Mapping, Sequence

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.backing.claims import NATIVE, Claim, Finding, Token
from defi_leverage.chain import Chain
from defi_leverage.questions import NOBODY, Question, ask, probe

__all__ = ["read"]

_REGISTRIES = {1: "0xF98B45FA17DE75FB1aD0e7aFD971b0ca00e379fC"}
"""MetaRegistry by chain id; source: docs.curve.finance, AddressProvider.get_address(7)."""
_COIN = checksum_address("0x" + "ee" * 20)  # what Curve calls the native coin
_MOST_COINS = 8
_INDEX_TYPES = ("uint256", "int128")

_Holdings = list[tuple[str, int]]  # coin, balance


async def read(chain: Chain, tokens: Sequence[Token]) -> dict[str, Finding]:
    """The LP tokens among the tokens. One whose pool does not hold what it counts is in doubt."""
    pools = await _find_pools(chain, [token.address for token in tokens])
    holdings = await _holdings(chain, sorted(set(pools.values())))
    abi = load_abi("curve")
    pools = {token: pool for token, pool in pools.items() if pool in holdings}
    prices = await probe(chain, abi, sorted(set(pools.values())), ("get_virtual_price",))
    supplies = await probe(chain, abi, sorted(pools), ("totalSupply",))
    held = await _held(chain, {pool: holdings[pool] for pool in pools.values()})
    found = {}
    for token, pool in pools.items():
        if prices[pool]["get_virtual_price"] is None:
            continue  # balances and coins alone are not Curve's
        found[token] = _finding(pool, holdings[pool], supplies[token]["totalSupply"], held)
    return found


async def _find_pools(chain: Chain, tokens: Sequence[str]) -> dict[str, str]:
    """The pool that each token may be the share of."""
    abi = load_abi("curve")
    registry = _REGISTRIES.get(chain.chain_id)
    listed: list[str | None] = [None] * len(tokens)
    if registry:
        listed = await ask(chain, abi, [(registry, "get_pool_from_lp_token", (token,)) for token in tokens])
    minters = await probe(chain, abi, tokens, ("minter",))
    own = await ask(chain, abi, [(token, "coins(uint256)", (0,)) for token in tokens])
    found = {}
    for token, pool, coin in zip(tokens, listed, own, strict=True):
        minter = minters[token]["minter"]
        if pool not in (None, NOBODY):
            found[token] = str(pool)
        elif coin is not None:
            found[token] = token
        elif minter not in (None, NOBODY):
            found[token] = minter
    return found


async def _holdings(chain: Chain, pools: Sequence[str]) -> dict[str, _Holdings]:
    """The coins of each pool with their balances, in the order of their indices; at least two, or it is no pool."""
    abi = load_abi("curve")
    questions: list[Question] = [
        (pool, f"{name}({kind})", (at,))
        for pool in pools
        for kind in _INDEX_TYPES
        for at in range(_MOST_COINS)
        for name in ("coins", "balances")
    ]
    answers = iter(await ask(chain, abi, questions))
    found: dict[str, _Holdings] = {}
    for pool in pools:
        for _ in _INDEX_TYPES:
            pairs = [(next(answers), next(answers)) for _ in range(_MOST_COINS)]
            end = next((at for at, pair in enumerate(pairs) if None in pair or pair[0] == NOBODY), _MOST_COINS)
            if end >= 2:
                found.setdefault(pool, pairs[:end])
    return found


async def _held(chain: Chain, holdings: Mapping[str, _Holdings]) -> dict[tuple[str, str], int | None]:
    """What each pool holds of each token, by pool and coin."""
    pairs = [(pool, coin) for pool, coins in holdings.items() for coin, _ in coins if coin != _COIN]
    answers = await ask(chain, load_abi("erc20"), [(coin, "balanceOf", (pool,)) for pool, coin in pairs])
    return dict(zip(pairs, answers, strict=True))


def _finding(pool: str, holdings: _Holdings, supply: int | None, held: Mapping[tuple[str, str], int | None]) -> Finding:
    if not supply or not any(balance for _, balance in holdings):
        return Finding(doubt=f"the Curve pool {pool} holds nothing")
    for coin, balance in holdings:
        if coin != _COIN and (held[pool, coin] or 0) < balance:
            return Finding(doubt=f"the Curve pool {pool} counts {balance} of {coin} and holds {held[pool, coin]}")
    return Finding(
        tuple(
            Claim(NATIVE if coin == _COIN else coin, balance, supply, "pooled", f"balances({at}) of Curve pool {pool}")
            for at, (coin, balance) in enumerate(holdings)
            if balance
        ),
        "lp",
    )
