"""ERC-4626 shares, in the arithmetic of OpenZeppelin's ERC4626 5.x: shares * (assets + 1) // (supply + 10**offset)."""

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.abi import checksum_address
from defi_leverage.backing.claims import Finding, Token, rate_of
from defi_leverage.backing.families.erc4626 import read
from defi_leverage.chain import open_chain
from tests.backing.fake_chain import FakeChain, add_vault, address, token

if TYPE_CHECKING:
    from tests.devnet.session import Devnet

USDC = token(1, "USDC", 6)
ONE = 10**18


async def read_one(fake: FakeChain, vault: Token) -> Finding | None:
    return (await read(fake.chain, [vault, USDC])).get(vault.address)


async def test_a_share_is_what_the_largest_amount_converts_to() -> None:
    # 1.1 USDC a share of 18 decimals: 10**30 shares convert to 10**30 * 1_100_000_000_001 // (10**24 + 1) raw USDC
    fake, vault = FakeChain(), token(2)
    add_vault(fake, vault, USDC.address, 1_100_000 * 10**6, 10**24)
    finding = await read_one(fake, vault)
    assert finding is not None
    (claim,) = finding.claims
    assert (claim.underlying, claim.kind, finding.asset_kind) == (USDC.address, "deposited", "vault_share")
    assert (claim.underlying_raw, claim.token_raw) == (1_100_000_000_000_999_999, 10**30)
    assert claim.underlying_raw / 10**6 / (claim.token_raw / ONE) == pytest.approx(1.1, rel=1e-11)


async def test_a_vault_that_refuses_large_amounts_is_read_at_its_supply() -> None:
    fake, vault = FakeChain(), token(2)  # some vaults refuse what cannot be there
    convert = lambda shares: shares * 3 // 2 if shares < 2**88 else None  # noqa: E731
    add_vault(fake, vault, USDC.address, 3 * 10**24, 2 * 10**24, convert=convert, preview=lambda shares: shares)
    finding = await read_one(fake, vault)
    assert finding is not None
    assert (finding.claims[0].underlying_raw, finding.claims[0].token_raw) == (3 * 10**24, 2 * 10**24)


async def test_where_redeeming_pays_less_the_source_says_so() -> None:
    fake, vault = FakeChain(), token(2)
    add_vault(fake, vault, USDC.address, 10**24, 10**24, preview=lambda shares: shares * 99 // 100)
    finding = await read_one(fake, vault)
    assert finding is not None
    assert "redeeming a share pays 990000000000000000 instead of 1000000000000000000" in finding.claims[0].source


async def test_a_share_that_waits_for_a_cooldown_is_staked() -> None:
    fake, vault = FakeChain(), token(2, "sUSDe")  # StakedUSDeV2 with its seven days
    add_vault(fake, vault, USDC.address, 12 * 10**23, 10**24, cooldownDuration=604_800)
    finding = await read_one(fake, vault)
    assert finding is not None
    assert finding.claims[0].kind == "staked"
    assert "after a cooldown of 604800 s" in finding.claims[0].source


async def test_a_wrapped_a_token_is_owed_by_its_pool() -> None:
    fake, vault = FakeChain(), token(2, "stataUSDC", 6)
    add_vault(fake, vault, USDC.address, 10**12, 10**12, aToken=address(7))
    fake.says(address(7), "erc4626", "POOL", (), address(8))
    finding = await read_one(fake, vault)
    assert finding is not None
    assert finding.claims[0].issuers == (vault.address, address(8))


@pytest.mark.parametrize(
    ("answers", "doubt"),
    [
        ({"convert": lambda shares: 2 * shares}, "but it says that it has"),
        ({"convert": lambda _: 0}, "converts to nothing"),
        ({"convert": lambda shares: 10**24 if shares == 10**24 else 5}, "is not one rate"),
        ({"asset": token(2).address}, "its own asset"),
    ],
)
async def test_figures_that_contradict_each_other_are_a_doubt(answers: dict[str, Any], doubt: str) -> None:
    fake, vault = FakeChain(), token(2)
    add_vault(fake, vault, answers.pop("asset", USDC.address), 10**24, 10**24, **answers)
    finding = await read_one(fake, vault)
    assert finding is not None
    assert finding.claims == ()
    assert doubt in finding.doubt


@pytest.mark.parametrize("missing", ["asset", "totalAssets", "totalSupply"])
async def test_what_lacks_a_function_is_no_vault(missing: str) -> None:
    fake, vault = FakeChain(), token(2)
    add_vault(fake, vault, USDC.address, 10**24, 10**24, **{missing: None})
    assert await read_one(fake, vault) is None


async def test_what_does_not_convert_is_no_vault() -> None:
    fake, vault = FakeChain(), token(2)  # an index fund with asset() and totals of its own
    fake.answers(vault.address, "erc4626", asset=USDC.address, totalAssets=5, totalSupply=5)
    assert await read_one(fake, vault) is None


@settings(max_examples=60)
@given(
    assets=st.integers(10**6, 10**27),
    supply=st.integers(10**12, 10**27),
    amounts=st.lists(st.integers(1, 10**30), min_size=1, max_size=4),
)
def test_every_rate_of_a_real_vault_is_one_rate(assets: int, supply: int, amounts: list[int]) -> None:
    answers = [(amount, amount * (assets + 1) // (supply + 1)) for amount in amounts]
    found = rate_of(answers)
    assert found is None or found == max(answers)
    assert (found is None) == (max(answers)[1] == 0)


# ----- OpenZeppelin's bytecode


@pytest.mark.devnet("vaults")
async def test_looking_through_three_vaults_is_redeeming_them_on_chain(devnet: "Devnet") -> None:
    told = devnet.description.protocols["vaults"]
    vaults = [checksum_address(vault) for vault in told["stack"].values()][::-1]
    (holder,) = told["holders"]["bsyUSDC"]
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        found = await read(chain, [Token(v, "", d) for v, d in zip(vaults, (21, 18, 18), strict=True)])
        market = [
            Token(t, "", 18) for t in (*devnet.tokens.values(), told["pool"], *told["market"]["a_tokens"].values())
        ]
        assert await read(chain, market) == {}
    (shares,) = devnet.call(vaults[0], "balanceOf(address)", "(uint256)", holder)
    amount, look_through = shares, Fraction(shares)
    for vault, asset in zip(vaults, [*vaults[1:], devnet.tokens["USDC"]], strict=True):
        (claim,) = found[vault].claims
        assert claim.underlying == asset
        look_through *= Fraction(claim.underlying_raw, claim.token_raw)
        devnet.transact(holder, vault, "redeem(uint256,address,address)", amount, holder, holder)
        (amount,) = devnet.call(asset, "balanceOf(address)", "(uint256)", holder)
    assert amount > 10**12  # raw USDC, so that one of them is less than what is asked for
    assert amount == pytest.approx(float(look_through), rel=1e-12)
