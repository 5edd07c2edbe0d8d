"""Morpho vaults (MetaMorpho 1.0 and 1.1 over Morpho Blue), with MorphoBalancesLib's interest worked out by hand."""

from typing import Any

import pytest

from defi_leverage.backing.claims import Finding
from defi_leverage.backing.families.morpho_vault import read
from tests.backing.fake_chain import FakeChain, address, token

MORPHO, USDC, WETH, IRM = address(0x100), address(0x200), address(0x300), address(0x400)
NOBODY = "0x" + "00" * 20
VAULT = token(2, "gtUSDC")
LOANS, IDLE = b"\x11" * 32, b"\x22" * 32
NOW = 1_700_000_000

# The lending market: 1,000,000 USDC supplied, 800,000 lent at 1e-9 a second, untouched for 1,000,000 s, a fee of 10 %.
# x = 1e-9 * 1e6 = 0.001: interest = 800,000e6 * (0.001 + 0.0005e-3 + 1.6666e-10) = 800,400,133 raw (rounded down)
# supply = 1,000,800,400,133; the fee is 80,040,013 raw, or 80,040,013 * (1e18 + 1e6) // (1,000,720,360,120 + 1) shares
ACCRUED = 1_000_800_400_133
FEE_SHARES = 80_040_013 * (10**18 + 10**6) // (1_000_800_400_133 - 80_040_013 + 1)


def describe(lost: int | None = None, total: int | None = None, **answers: Any) -> FakeChain:
    """A vault with a tenth of the lending market, 50,000 USDC idle, and 140,000 shares that are worth what it has."""
    fake = FakeChain(timestamp=NOW)
    lent = 10**17 * (ACCRUED + 1) // (10**18 + FEE_SHARES + 10**6)
    has = lent + 50_000 * 10**6 + (lost or 0) if total is None else total
    supply = 140_000 * 10**18
    values: dict[str, Any] = {
        "MORPHO": MORPHO,
        "withdrawQueueLength": 2,
        "asset": USDC,
        "totalAssets": has,
        "totalSupply": supply,
        "lostAssets": lost,
    }
    values |= answers
    fake.answers(VAULT.address, "morpho_vault", **{name: value for name, value in values.items() if value is not None})
    for at, market in enumerate((LOANS, IDLE)):
        fake.says(VAULT.address, "morpho_vault", "withdrawQueue", (at,), market)
    for amount in (supply, 10**18, 10**30):
        fake.says(VAULT.address, "morpho_vault", "convertToAssets", (amount,), amount * has // supply)
    lending = (USDC, WETH, address(0x500), IRM, 86 * 10**16)
    state = (10**12, 10**18, 8 * 10**11, 8 * 10**17, NOW - 1_000_000, 10**17)
    fake.says(MORPHO, "morpho_vault", "idToMarketParams", (LOANS,), lending)
    fake.says(MORPHO, "morpho_vault", "market", (LOANS,), state)
    fake.says(MORPHO, "morpho_vault", "position", (LOANS, VAULT.address), (10**17, 0, 0))
    fake.says(IRM, "morpho_vault", "borrowRateView", (lending, state), 10**9)
    fake.says(MORPHO, "morpho_vault", "idToMarketParams", (IDLE,), (USDC, NOBODY, NOBODY, NOBODY, 0))
    fake.says(MORPHO, "morpho_vault", "market", (IDLE,), (50_000 * 10**6, 50_000 * 10**12, 0, 0, NOW - 5, 0))
    fake.says(MORPHO, "morpho_vault", "position", (IDLE, VAULT.address), (50_000 * 10**12, 0, 0))
    return fake


async def read_one(fake: FakeChain) -> Finding | None:
    return (await read(fake.chain, [VAULT, token(9)])).get(VAULT.address)


async def test_a_share_is_a_claim_on_the_loans_of_each_market() -> None:
    finding = await read_one(describe())
    assert finding is not None
    assert finding.doubt == ""
    assert finding.asset_kind == "vault_share"
    loans, idle = finding.claims
    worth = [claim.underlying_raw / claim.token_raw * 140_000 * 10**18 for claim in finding.claims]
    assert worth[0] == pytest.approx((ACCRUED - 80_040_013) / 10, abs=2)
    assert worth[1] == pytest.approx(50_000 * 10**6, abs=2)
    assert (loans.kind, loans.issuers) == ("deposited", ("0x" + "11" * 32,))
    assert (idle.kind, idle.issuers) == ("deposited", ())
    assert {claim.underlying for claim in finding.claims} == {USDC}


async def test_what_was_lost_is_in_no_claim() -> None:
    finding = await read_one(describe(lost=30_000 * 10**6))
    assert finding is not None
    worth = sum(claim.underlying_raw / claim.token_raw * 140_000 * 10**18 for claim in finding.claims)
    assert worth == pytest.approx((ACCRUED - 80_040_013) / 10 + 50_000 * 10**6, abs=3)
    assert "30000000000 of" in finding.claims[0].source


@pytest.mark.parametrize(
    ("fake", "doubt"),
    [
        (describe(total=160_000 * 10**6), "its markets add up to"),
        (describe(withdrawQueueLength=3), "does not describe all markets"),
        (describe(asset=WETH), "lends another asset"),
    ],
)
async def test_a_vault_that_does_not_add_up_is_a_doubt(fake: FakeChain, doubt: str) -> None:
    finding = await read_one(fake)
    assert finding is not None
    assert finding.claims == ()
    assert doubt in finding.doubt


async def test_a_plain_vault_is_none() -> None:
    assert await read_one(describe(MORPHO=None)) is None
