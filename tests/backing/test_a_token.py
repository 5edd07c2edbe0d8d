"""aTokens: the layouts of Aave v2 and v3 by hand, and the bytecode of v3.0 and v3.2 on the devnet."""

from typing import TYPE_CHECKING

import pytest

from defi_leverage.backing.claims import Claim, Token
from defi_leverage.backing.families.a_token import read
from defi_leverage.chain import open_chain
from tests.backing.fake_chain import FakeChain, address, token

if TYPE_CHECKING:
    from tests.devnet.session import Devnet

POOL, USDC = address(0x100), address(0x200)
A, STABLE, VARIABLE = token(3, "aUSDC", 6), token(4), token(5)


def describe(layout: str) -> FakeChain:
    fake = FakeChain()
    for listed in (A, STABLE, VARIABLE):
        fake.answers(listed.address, "a_token", UNDERLYING_ASSET_ADDRESS=USDC, POOL=POOL)
    tokens = [int(listed.address, 16) for listed in (A, STABLE, VARIABLE)]
    words = [1] * 7 + ([*tokens, 0, 0] if layout == "v2" else [9, *tokens, 0])
    fake.says(POOL, "a_token", "getReserveData", (USDC,), tuple(words))
    return fake


@pytest.mark.parametrize("layout", ["v2", "v3"])
async def test_the_reserves_own_a_token_and_no_debt_token(layout: str) -> None:
    found = await read(describe(layout).chain, [A, STABLE, VARIABLE, token(6)])
    assert set(found) == {A.address}
    assert found[A.address].claims == (Claim(USDC, 1, 1, "deposited", f"aToken of {POOL}", (POOL,)),)
    assert found[A.address].asset_kind == "supply_share"


async def test_a_token_that_only_claims_to_be_one_is_in_doubt() -> None:
    fake, liar = describe("v3"), token(9)
    fake.answers(liar.address, "a_token", UNDERLYING_ASSET_ADDRESS=USDC, POOL=POOL)
    finding = (await read(fake.chain, [liar]))[liar.address]
    assert finding.claims == ()
    assert "does not know it" in finding.doubt


@pytest.mark.devnet
async def test_both_releases_on_the_devnet(devnet: "Devnet") -> None:
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        for deployment in devnet.deployments.values():
            kinds = (deployment.a_tokens, deployment.stable_debt_tokens, deployment.variable_debt_tokens)
            listed = [Token(contract, symbol, 18) for kind in kinds for symbol, contract in kind.items()]
            found = await read(chain, listed)
            assert set(found) == set(deployment.a_tokens.values())
            for symbol, contract in deployment.a_tokens.items():
                (claim,) = found[contract].claims
                assert (claim.underlying, claim.issuers) == (devnet.tokens[symbol], (deployment.pool,))
