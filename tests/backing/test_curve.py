"""Curve LP tokens: 3pool and its 3CRV (int128, by the MetaRegistry), pools that are their own LP token, minters."""

from collections.abc import Mapping

import pytest

from defi_leverage.abi import checksum_address
from defi_leverage.backing.claims import NATIVE, Finding
from defi_leverage.backing.families.curve import read
from tests.backing.fake_chain import FakeChain, address, token

REGISTRY = "0xF98B45FA17DE75FB1aD0e7aFD971b0ca00e379fC"
ETHER = checksum_address("0x" + "ee" * 20)
POOL, DAI, USDC, USDT = address(0x100), address(0x200), address(0x300), address(0x400)
LP = token(2, "3Crv")


def add_pool(fake: FakeChain, pool: str, coins: Mapping[str, int], index: str = "uint256", held: int = 0) -> None:
    """A pool whose coins lie in it, and `held` more or less of each."""
    for at, (coin, balance) in enumerate(coins.items()):
        fake.says(pool, "curve", f"coins({index})", (at,), coin)
        fake.says(pool, "curve", f"balances({index})", (at,), balance)
        if coin != ETHER:
            fake.says(coin, "erc20", "balanceOf", (pool,), balance + held)
    fake.answers(pool, "curve", get_virtual_price=10**18 + 5)


async def read_one(fake: FakeChain) -> Finding | None:
    return (await read(fake.chain, [LP, token(9)])).get(LP.address)


def shares(finding: Finding | None) -> list[tuple[str, int, int]]:
    assert finding is not None
    assert finding.asset_kind == "lp"
    return [(claim.underlying, claim.underlying_raw, claim.token_raw) for claim in finding.claims]


async def test_an_old_pool_that_the_registry_knows() -> None:
    fake = FakeChain(chain_id=1)
    add_pool(fake, POOL, {DAI: 50 * 10**18, USDC: 30 * 10**6, USDT: 20 * 10**6}, "int128", held=7)
    fake.says(REGISTRY, "curve", "get_pool_from_lp_token", (LP.address,), POOL)
    fake.answers(LP.address, "curve", totalSupply=98 * 10**18)
    assert shares(await read_one(fake)) == [
        (DAI, 50 * 10**18, 98 * 10**18),
        (USDC, 30 * 10**6, 98 * 10**18),
        (USDT, 20 * 10**6, 98 * 10**18),
    ]


async def test_a_pool_that_is_its_own_share() -> None:
    fake = FakeChain()
    add_pool(fake, LP.address, {ETHER: 3 * 10**18, USDC: 5000 * 10**6, DAI: 0})
    fake.answers(LP.address, "curve", totalSupply=10**20)
    assert shares(await read_one(fake)) == [(NATIVE, 3 * 10**18, 10**20), (USDC, 5000 * 10**6, 10**20)]


async def test_a_share_names_its_pool_as_its_minter() -> None:
    fake = FakeChain()
    add_pool(fake, POOL, {USDC: 10**6, USDT: 10**6})
    fake.answers(LP.address, "curve", totalSupply=2 * 10**18, minter=POOL)
    assert len(shares(await read_one(fake))) == 2


async def test_a_minter_that_is_no_pool_makes_no_share() -> None:
    fake = FakeChain()
    fake.answers(LP.address, "curve", totalSupply=2 * 10**18, minter=POOL)  # CRV has a minter, too
    assert await read_one(fake) is None


async def test_coins_and_balances_alone_are_not_curves() -> None:
    fake = FakeChain()
    add_pool(fake, LP.address, {USDC: 10**6, USDT: 10**6})
    fake.answers(LP.address, "curve", totalSupply=10**18)
    fake.replies = {call: reply for call, reply in fake.replies.items() if reply != (10**18 + 5).to_bytes(32, "big")}
    assert await read_one(fake) is None


@pytest.mark.parametrize(("held", "supply", "doubt"), [(-1, 10**18, "and holds 999999"), (0, 0, "holds nothing")])
async def test_a_pool_that_does_not_hold_what_it_counts_is_a_doubt(held: int, supply: int, doubt: str) -> None:
    fake = FakeChain()
    add_pool(fake, LP.address, {USDC: 10**6, USDT: 10**6}, held=held)
    fake.answers(LP.address, "curve", totalSupply=supply)
    finding = await read_one(fake)
    assert finding is not None
    assert finding.claims == ()
    assert doubt in finding.doubt
