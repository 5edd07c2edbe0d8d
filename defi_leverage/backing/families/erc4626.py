"""ERC-4626 vault shares: a claim on what convertToAssets answers (EIP-4626).

convertToAssets is the vault's own view of a share, without fees and limits. Where a redemption pays less, or is not
possible at once (previewRedeem, cooldownDuration of Ethena's StakedUSDeV2), the source says so; a share that waits is
`staked`, for nobody can sell it as what it holds. A wrapped aToken (Aave's StataTokenV2, StaticATokenLM) answers
aToken(), and is owed by that aToken's pool.
"""

from collections.abc import Sequence
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.backing.claims import Claim, Finding, Token, rate_of
from defi_leverage.chain import Chain
from defi_leverage.questions import NOBODY, ask, probe

__all__ = ["read"]

_FINE = 10**12  # a larger amount than one share loses less to rounding
_TOLERATED = 100  # a vault whose supply converts to more than a hundredth off what it has is not understood


async def read(chain: Chain, tokens: Sequence[Token]) -> dict[str, Finding]:
    """The vaults among the tokens; one whose figures contradict each other is in doubt."""
    abi = load_abi("erc4626")
    names = ("asset", "totalAssets", "totalSupply", "cooldownDuration", "aToken")
    answers = await probe(chain, abi, [token.address for token in tokens], names)
    vaults = [token for token in tokens if _is_vault(answers[token.address])]
    amounts = {token.address: _amounts(token, answers[token.address]) for token in vaults}
    asked = [(token.address, "convertToAssets", (n,)) for token in vaults for n in amounts[token.address]]
    converted = iter(await ask(chain, abi, asked))
    redeemed = await ask(chain, abi, [(token.address, "previewRedeem", (10**token.decimals,)) for token in vaults])
    wrapped = sorted({answers[token.address]["aToken"] for token in vaults} - {None, NOBODY})
    pools = await probe(chain, abi, wrapped, ("POOL",))
    found = {}
    for token, redeem in zip(vaults, redeemed, strict=True):
        replies = [(n, next(converted)) for n in amounts[token.address]]
        answer = answers[token.address]
        pool = pools.get(answer["aToken"], {}).get("POOL")
        issuers = (token.address, *((pool,) if pool else ()))
        found[token.address] = _finding(token, answer, replies, redeem, issuers)
    return {address: finding for address, finding in found.items() if finding is not None}


def _is_vault(answer: dict[str, Any]) -> bool:
    return answer["asset"] not in (None, NOBODY) and None not in (answer["totalAssets"], answer["totalSupply"])


def _amounts(token: Token, answer: dict[str, Any]) -> list[int]:
    """Amounts of shares to convert, the whole supply first."""
    return [answer["totalSupply"], 10**token.decimals, 10**token.decimals * _FINE]


def _finding(
    token: Token,
    answer: dict[str, Any],
    replies: list[tuple[int, int | None]],
    redeem: int | None,
    issuers: tuple[str, ...],
) -> Finding | None:
    (supply, whole), (_, share), _ = replies
    if share is None:
        return None  # it has an asset and a total, and is no ERC-4626 vault
    total = answer["totalAssets"]
    if supply and whole == 0:
        return Finding(doubt="its whole supply converts to nothing")
    if answer["asset"] == token.address:
        return Finding(doubt="it is its own asset")
    if supply and whole is not None and abs(whole - total) * _TOLERATED > total + _TOLERATED:
        return Finding(doubt=f"its supply converts to {whole}, but it says that it has {total}")
    rate = rate_of(replies)
    if rate is None:
        return Finding(doubt=f"convertToAssets is not one rate: {', '.join(f'{n} -> {a}' for n, a in replies)}")
    amount, assets = rate
    source, kind = f"convertToAssets({amount})", "deposited"
    if redeem is not None and redeem < share - 1:
        source += f"; redeeming a share pays {redeem} instead of {share}"
    if answer["cooldownDuration"]:
        source += f"; redeemed after a cooldown of {answer['cooldownDuration']} s"
        kind = "staked"
    return Finding((Claim(answer["asset"], assets, amount, kind, source, issuers),), "vault_share")
