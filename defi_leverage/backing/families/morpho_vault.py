"""Morpho vault shares (MetaMorpho 1.0 and 1.1): a claim on the loans of each market that the vault supplies.

A share is worth convertToAssets, and that is split over the markets of the withdrawal queue by what the vault has in
each, with the interest due at the block (MorphoBalancesLib.expectedSupplyAssets of morpho-org/morpho-blue). Each part
is owed by that market's borrowers: `issuers` name the market; a market without collateral is idle cash. What
1.1 counts as lost (lostAssets) is in totalAssets and in no market: the claims fall short of convertToAssets by it, and
the source says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.backing.claims import Claim, Finding, Token, rate_of
from defi_leverage.chain import Chain
from defi_leverage.protocols.morpho_blue.arithmetic import Totals, accrue, assets_down
from defi_leverage.questions import NOBODY, ask, probe

__all__ = ["read"]

_FUNCTIONS = ("MORPHO", "withdrawQueueLength", "asset", "totalAssets", "totalSupply", "lostAssets")
_LONGEST_QUEUE = 100  # MetaMorpho allows 30 markets (ConstantsLib.MAX_QUEUE_LENGTH)
_FINE = 10**12
_TOLERATED = 10**6  # the markets must add up to the vault's total to a millionth

_Market = tuple[str, bytes]  # Morpho's address, the market's id


async def read(chain: Chain, tokens: Sequence[Token]) -> dict[str, Finding]:
    """The Morpho vaults among the tokens; one whose markets do not add up to its total is in doubt."""
    abi = load_abi("morpho_vault")
    answers = await probe(chain, abi, [token.address for token in tokens], _FUNCTIONS)
    vaults = {
        token: answers[token.address]
        for token in tokens
        if all(answers[token.address][name] is not None for name in _FUNCTIONS[:5])
    }
    lengths = {token: min(vault["withdrawQueueLength"], _LONGEST_QUEUE) for token, vault in vaults.items()}
    places = [(token, at) for token, length in lengths.items() for at in range(length)]
    ids = await ask(chain, abi, [(token.address, "withdrawQueue", (at,)) for token, at in places])
    queues: dict[Token, list[_Market]] = {token: [] for token in vaults}
    for (token, _), market_id in zip(places, ids, strict=True):
        if market_id is not None:
            queues[token].append((vaults[token]["MORPHO"], market_id))
    markets = await _read_markets(chain, sorted({market for queue in queues.values() for market in queue}))
    held = [(token, market) for token, queue in queues.items() for market in queue]
    positions = await ask(chain, abi, [(m, "position", (i, token.address)) for token, (m, i) in held])
    shares = {(token, market): found[0] for (token, market), found in zip(held, positions, strict=True) if found}
    amounts = {t: [v["totalSupply"], 10**t.decimals, 10**t.decimals * _FINE] for t, v in vaults.items()}
    asked = [(token, amount) for token, several in amounts.items() for amount in several]
    converted = await ask(chain, abi, [(token.address, "convertToAssets", (n,)) for token, n in asked])
    replies = dict(zip(asked, converted, strict=True))
    return {
        token.address: _finding(
            vault,
            {
                market: _worth(shares[token, market], markets[market]["totals"])
                for market in queues[token]
                if (token, market) in shares and market in markets
            },
            len(queues[token]),
            rate_of((amount, replies[token, amount]) for amount in amounts[token]),
            markets,
        )
        for token, vault in vaults.items()
    }


async def _read_markets(chain: Chain, markets: Sequence[_Market]) -> dict[_Market, dict[str, Any]]:
    """Supply of each market with the interest due at the block, and its tokens; left out where it does not answer."""
    abi = load_abi("morpho_vault")
    parameters = await ask(chain, abi, [(morpho, "idToMarketParams", (id_,)) for morpho, id_ in markets])
    states = await ask(chain, abi, [(morpho, "market", (id_,)) for morpho, id_ in markets])
    known = [
        (market, params, state)
        for market, params, state in zip(markets, parameters, states, strict=True)
        if params is not None and state is not None
    ]
    charging = [(params[3], "borrowRateView", (params, state)) for _, params, state in known if params[3] != NOBODY]
    rates = iter(await ask(chain, abi, charging))
    found = {}
    for market, params, state in known:
        rate = next(rates) if params[3] != NOBODY else 0
        if rate is not None or not state[2]:
            totals, _ = accrue(Totals(*state), rate or 0, chain.block.timestamp)
            found[market] = {"loan": params[0], "collateral": params[1], "totals": totals}
    return found


def _worth(shares: int, totals: Totals) -> int:
    return assets_down(shares, totals.supply, totals.supply_shares)


def _finding(
    vault: Mapping[str, Any],
    supplied: Mapping[_Market, int],
    queued: int,
    rate: tuple[int, int] | None,
    markets: Mapping[_Market, Mapping[str, Any]],
) -> Finding:
    total, lost, morpho = vault["totalAssets"], vault["lostAssets"] or 0, vault["MORPHO"]
    if len(supplied) < queued or vault["withdrawQueueLength"] > queued:
        return Finding(doubt=f"Morpho at {morpho} does not describe all markets of its withdrawal queue")
    if any(markets[market]["loan"] != vault["asset"] for market in supplied):
        return Finding(doubt="a market of its withdrawal queue lends another asset than the vault's")
    if abs(sum(supplied.values()) + lost - total) * _TOLERATED > total + 2 * _TOLERATED * (queued + 1):
        return Finding(doubt=f"its markets add up to {sum(supplied.values())}, and totalAssets says {total}")
    if rate is None or not any(supplied.values()):
        return Finding(doubt="it holds nothing, or convertToAssets is not one rate")
    amount, assets = rate
    note = f"; {lost} of {total} is lost" if lost else ""
    claims = []
    for (_, id_), worth in supplied.items():
        if not worth:
            continue
        market = "0x" + id_.hex()
        idle = markets[morpho, id_]["collateral"] == NOBODY
        source = f"{'idle' if idle else 'supplied'} in Morpho market {market}{note}"
        issuers = () if idle else (market,)
        claims.append(Claim(vault["asset"], assets * worth, amount * total, "deposited", source, issuers))
    return Finding(tuple(claims), "vault_share")
