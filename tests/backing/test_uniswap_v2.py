"""Uniswap v2 pairs, in the arithmetic of UniswapV2Pair (burn, _mintFee)."""

from typing import TYPE_CHECKING, Any

import pytest

from defi_leverage.backing.claims import Finding, Token
from defi_leverage.backing.families.uniswap_v2 import fee_shares, read
from defi_leverage.chain import open_chain
from tests.backing.fake_chain import FakeChain, address, token

if TYPE_CHECKING:
    from tests.devnet.session import Devnet

FACTORY, WETH, USDC = address(0x100), address(0x200), address(0x300)
PAIR = token(2, "UNI-V2")


def describe(registered: str = PAIR.address, fee_to: str = "0x" + "00" * 20, **answers: Any) -> FakeChain:
    """9 WETH and 16,000 USDC, for shares of sqrt(9e18 * 16e9) as the first mint gives them."""
    values: dict[str, Any] = {
        "factory": FACTORY,
        "token0": WETH,
        "token1": USDC,
        "getReserves": (9 * 10**18, 16_000 * 10**6, 1_700_000_000),
        "totalSupply": 379_473_319_220_205,
        "kLast": 0,
    }
    values |= answers
    fake = FakeChain()
    fake.answers(PAIR.address, "uniswap_v2", **{name: value for name, value in values.items() if value is not None})
    fake.says(FACTORY, "uniswap_v2", "getPair", (values["token0"], values["token1"]), registered)
    fake.says(FACTORY, "uniswap_v2", "feeTo", (), fee_to)
    return fake


async def read_one(fake: FakeChain) -> Finding | None:
    return (await read(fake.chain, [PAIR, token(9)])).get(PAIR.address)


async def test_reserves_a_share() -> None:
    finding = await read_one(describe())
    assert finding is not None
    assert [(c.underlying, c.underlying_raw, c.token_raw, c.kind) for c in finding.claims] == [
        (WETH, 9 * 10**18, 379_473_319_220_205, "pooled"),
        (USDC, 16 * 10**9, 379_473_319_220_205, "pooled"),
    ]
    assert finding.asset_kind == "lp"


async def test_a_protocol_fee_that_is_due_dilutes_the_shares() -> None:
    # sqrt(k) grew from 100 to 120: 1000 * 20 / (5 * 120 + 100) = 28.57 shares
    assert fee_shares(120, 120, 100 * 100, 1000) == 28
    grown: dict[str, Any] = {"getReserves": (120, 120, 0), "totalSupply": 1000, "kLast": 10_000}
    charged, free = await read_one(describe(fee_to=address(5), **grown)), await read_one(describe(**grown))
    assert charged is not None
    assert free is not None
    assert (charged.claims[0].token_raw, free.claims[0].token_raw) == (1028, 1000)


@pytest.mark.parametrize(("reserves", "last"), [((120, 120), 0), ((90, 90), 10_000), ((100, 100), 10_000)])
def test_no_fee_without_growth(reserves: tuple[int, int], last: int) -> None:
    assert fee_shares(*reserves, last, 1000) == 0


@pytest.mark.parametrize(
    ("fake", "doubt"),
    [(describe(registered=address(7)), "for its pair"), (describe(totalSupply=0), "holds nothing")],
)
async def test_a_pair_that_its_factory_does_not_know_is_a_doubt(fake: FakeChain, doubt: str) -> None:
    finding = await read_one(fake)
    assert finding is not None
    assert finding.claims == ()
    assert doubt in finding.doubt


@pytest.mark.parametrize("missing", ["factory", "getReserves", "kLast"])
async def test_what_lacks_a_function_is_no_pair(missing: str) -> None:
    assert await read_one(describe(**dict[str, Any]({missing: None}))) is None


# ----- the bytecode


@pytest.mark.devnet("vaults")
@pytest.mark.parametrize("charged", [False, True])
async def test_a_claim_is_what_a_burn_pays(charged: bool, devnet: "Devnet") -> None:
    told = devnet.description.protocols["vaults"]
    pool = told["pool"]
    (factory,) = devnet.call(pool, "factory()", "(address)")
    (setter,) = devnet.call(factory, "feeToSetter()", "(address)")
    holder = next(a["address"] for a in told["market"]["accounts"] if a["kind"] == "liquidity_borrower")
    a_token = told["market"]["a_tokens"]["UNI-V2"]  # the market's shares are as good as any to burn
    (held,) = devnet.call(pool, "balanceOf(address)", "(uint256)", a_token)
    if charged:  # the fee is due on what the pool earns after the next change of liquidity
        devnet.transact(setter, factory, "setFeeTo(address)", address(5))
        devnet.transact(a_token, pool, "transfer(address,uint256)", pool, held // 100)
        devnet.transact(holder, pool, "burn(address)", holder)
        (weth, usdc) = (devnet.tokens[symbol] for symbol in ("WETH", "USDC"))
        first = int(weth, 16) < int(usdc, 16)
        devnet.transact(holder, weth, "mint(address,uint256)", holder, 10**20)
        devnet.transact(holder, weth, "transfer(address,uint256)", pool, 10**20)
        outs = (0, 10**11) if first else (10**11, 0)  # 100 WETH for 100,000 USDC: the pool gains
        devnet.transact(holder, pool, "swap(uint256,uint256,address,bytes)", *outs, address(6), b"")
        held -= held // 100
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        found = await read(chain, [Token(pool, "UNI-V2", 18), *(Token(t, "", 18) for t in devnet.tokens.values())])
    assert set(found) == {pool}
    claims = found[pool].claims
    assert sorted(claim.underlying for claim in claims) == sorted(devnet.tokens[s] for s in ("WETH", "USDC"))
    (supply,) = devnet.call(pool, "totalSupply()", "(uint256)")
    assert (claims[0].token_raw > supply) == charged
    devnet.transact(a_token, pool, "transfer(address,uint256)", pool, held)
    devnet.transact(holder, pool, "burn(address)", address(7))
    for claim in claims:
        (paid,) = devnet.call(claim.underlying, "balanceOf(address)", "(uint256)", address(7))
        assert paid == held * claim.underlying_raw // claim.token_raw
