"""ERC-4626 vaults stacked three deep over USDC, and two that hold each other through a liquidity pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from ...chain import deploy, transaction
from ...plans import MAX_UINT
from .pool import create_pool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...artifacts import Artifact
    from ...chain import Chain, Transaction
    from .. import Site

LAYERS = (("Yield USDC", "yUSDC", 12), ("Staked Yield USDC", "syUSDC", 0), ("Boosted Staked Yield USDC", "bsyUSDC", 3))
"""Name, symbol and decimals offset, from the bottom up: shares have 18, 18 and 21 decimals."""
GIFT_PART = 61
"""What part of the owner's deposit each vault gets as yield."""
_SEED_SHARES = 1_000_000 * 10**21  # the shares of that vault have 21 decimals
_SEED_USDC = 700_000 * 10**6


def deploy_stack(site: Site, compiled: Mapping[str, Artifact]) -> dict[str, str]:
    """Vaults by symbol, the lowest first, each holding the one below it."""
    asset, vaults = site.tokens["USDC"], {}
    for name, symbol, offset in LAYERS:
        asset = vaults[symbol] = deploy(site.chain, site.owner, compiled["ShareVault"], asset, name, symbol, offset)
    return vaults


def deposit_through(
    chain: Chain, asset: str, vaults: Sequence[str], amounts: Mapping[str, int], *, mint: bool = False
) -> dict[str, int]:
    """Put users' tokens into the lowest vault, those shares into the next; the shares that come out at the top."""
    held = dict(amounts)
    for level, vault in enumerate(vaults):
        before = balances(chain, vault, held)
        steps: list[Transaction] = []
        for user, amount in held.items():
            if mint and level == 0:
                steps.append(transaction(user, asset, "mint(address,uint256)", user, amount))
            steps.append(transaction(user, asset, "approve(address,uint256)", vault, MAX_UINT))
            steps.append(transaction(user, vault, "deposit(uint256,address)", amount, user))
        chain.send(steps)
        after = balances(chain, vault, held)
        held, asset = {user: after[user] - before[user] for user in held}, vault
    return held


def donate_yield(site: Site, vaults: Sequence[str], usdc: int) -> None:
    """Bring USDC of the owner's into every vault as yield: as shares of the vault below, or as it is in the lowest."""
    chain, owner, below = site.chain, site.owner, site.tokens["USDC"]
    chain.send([transaction(owner, below, "mint(address,uint256)", owner, usdc)])
    amount = usdc
    for vault in vaults:
        gift = amount // GIFT_PART
        # The deposit first: a gift to an empty vault would be nobody's.
        chain.send(
            [
                transaction(owner, below, "approve(address,uint256)", vault, MAX_UINT),
                transaction(owner, vault, "deposit(uint256,address)", amount - gift, owner),
                transaction(owner, below, "transfer(address,uint256)", vault, gift),
            ]
        )
        below, amount = vault, balances(chain, vault, [owner])[owner]


def balances(chain: Chain, token: str, users: Mapping[str, int] | Sequence[str]) -> dict[str, int]:
    """What users hold of a token."""
    return {user: chain.call(token, "balanceOf(address)", "(uint256)", user)[0] for user in users}


def deploy_cycle(site: Site, compiled: Mapping[str, Artifact], factory: str) -> dict[str, str]:
    """Two vaults in a circle: "outer" holds shares of a pool of "inner" and USDC, and "inner" holds "outer".

    All three are real ERC-4626 and Uniswap v2 contracts, and USDC in the pool is what there is behind them. Only the
    first shares of "inner" are minted from nothing (SeededVault): a circle cannot have a first deposit.
    """
    chain, owner, usdc = site.chain, site.owner, site.tokens["USDC"]
    founder = site.account("founder")
    inner = first_contract_of(founder)
    pool = create_pool(site, factory, inner, usdc)
    outer = deploy(chain, owner, compiled["ShareVault"], pool.address, "Outer vault", "OUTER", 0)
    seeded = deploy(chain, founder, compiled["SeededVault"], outer, "Inner vault", "INNER", 3, _SEED_SHARES)
    if seeded != inner:
        raise RuntimeError(f"the inner vault is at {seeded}, not at {inner}")
    chain.send(
        [
            transaction(founder, usdc, "mint(address,uint256)", founder, _SEED_USDC),
            *pool.provide(founder, {inner: _SEED_SHARES * 2 // 3, usdc: _SEED_USDC}),
        ]
    )
    liquidity = balances(chain, pool.address, [founder])[founder]
    shares = deposit_through(chain, pool.address, [outer], {founder: liquidity * 9 // 10})[founder]
    chain.send(
        [
            transaction(founder, pool.address, "transfer(address,uint256)", outer, liquidity // 37),
            transaction(founder, outer, "transfer(address,uint256)", inner, shares * 3 // 5),
        ]
    )
    return {"outer": outer, "inner": inner, "pool": pool.address}


def first_contract_of(sender: str) -> str:
    """Where a fresh address's first contract will be: the hash of the RLP list of the address and nonce 0."""
    return to_checksum_address(keccak(b"\xd6\x94" + bytes.fromhex(sender[2:]) + b"\x80")[-20:])
