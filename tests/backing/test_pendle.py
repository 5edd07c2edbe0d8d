"""Pendle v2: PT-sUSDe and its SY, YT and market, with the figures worked out by hand."""

import math
from typing import Any

import pytest

from defi_leverage.backing.claims import NATIVE, Claim, Finding
from defi_leverage.backing.families.pendle import pt_to_asset_rate, read
from tests.backing.fake_chain import FakeChain, address, token

NOBODY = "0x" + "00" * 20
SY, PT, LP = token(2, "SY-sUSDe"), token(3, "PT-sUSDe"), token(4, "PENDLE-LPT")
YT, SUSDE, USDE = address(0x500), address(0x600), address(0x700)
NOW, YEAR = 1_700_000_000, 31_536_000
INDEX = 12 * 10**17  # 1.2 USDe a SY


def describe(expired: bool = False, yield_token: str = SUSDE, **state: Any) -> FakeChain:
    """300 SY and 500 PT for 600 shares, half a year before expiry, at an implied rate of ln(1 + 10 %)."""
    fake = FakeChain(timestamp=NOW)
    expiry = NOW - 1 if expired else NOW + YEAR // 2
    rate = round(math.log(1.1) * 10**18)
    fake.answers(SY.address, "pendle", yieldToken=yield_token, exchangeRate=INDEX, assetInfo=(0, USDE, 18))
    for amount in (10**18, 10**30):
        fake.says(SY.address, "pendle", "previewRedeem", (yield_token, amount), amount)
    fake.answers(PT.address, "pendle", SY=SY.address, YT=YT, expiry=expiry, isExpired=expired)
    fake.answers(YT, "pendle", SY=SY.address, PT=PT.address, pyIndexCurrent=INDEX, expiry=expiry, isExpired=expired)
    values = {"pt": 500 * 10**18, "sy": 300 * 10**18, "lp": 600 * 10**18} | state
    market = (values["pt"], values["sy"], values["lp"], NOBODY, 10**19, expiry, 10**15, 80, rate)
    fake.answers(LP.address, "pendle", readTokens=(SY.address, PT.address, YT), expiry=expiry, totalSupply=600 * 10**18)
    fake.says(LP.address, "pendle", "readState", (NOBODY,), market)
    return fake


async def read_all(fake: FakeChain) -> dict[str, Finding]:
    return await read(fake.chain, [SY, PT, LP, token(9)])


async def test_sy_is_its_yield_token() -> None:
    finding = (await read_all(describe()))[SY.address]
    assert finding.claims == (Claim(SUSDE, 10**30, 10**30, "wraps", f"previewRedeem({10**30})"),)


async def test_sy_of_ether() -> None:
    finding = (await read_all(describe(yield_token=NOBODY)))[SY.address]
    assert finding.claims[0].underlying == NATIVE


async def test_a_principal_token_is_one_unit_of_its_asset_in_sy() -> None:
    finding = (await read_all(describe()))[PT.address]
    (claim,) = finding.claims
    assert (claim.underlying, claim.underlying_raw, claim.token_raw) == (SY.address, 10**18, INDEX)  # 1 / 1.2 SY
    assert (claim.kind, finding.asset_kind) == ("staked", "pt")
    assert f"expires {NOW + YEAR // 2}" in claim.source


async def test_after_maturity_it_can_be_redeemed() -> None:
    found = await read_all(describe(expired=True))
    assert found[PT.address].claims[0].kind == "wraps"
    # at par with its asset: 1 PT for 1 / 1.2 SY
    assert (found[LP.address].quotes[0].quote_raw, found[LP.address].quotes[0].token_raw) == (10**18, INDEX)


async def test_a_pool_share_and_the_price_of_its_pt() -> None:
    finding = (await read_all(describe()))[LP.address]
    assert [(c.underlying, c.underlying_raw, c.token_raw, c.kind) for c in finding.claims] == [
        (SY.address, 300 * 10**18, 600 * 10**18, "pooled"),
        (PT.address, 500 * 10**18, 600 * 10**18, "pooled"),
    ]
    (quote,) = finding.quotes
    # exp(-ln(1.1) / 2) = 1 / sqrt(1.1) = 0.953463 of the asset, over 1.2 in SY
    assert quote.quote_raw / quote.token_raw == pytest.approx(1 / math.sqrt(1.1) / 1.2, rel=1e-12)
    assert "4.654 %" in finding.claims[0].source


@pytest.mark.parametrize(
    ("rate", "seconds", "price"), [(0, YEAR, 1.0), (10**17, 0, 1.0), (5 * 10**16, 2 * YEAR, 0.904837418035960)]
)
def test_the_discount_of_an_implied_rate(rate: int, seconds: int, price: float) -> None:
    assert pt_to_asset_rate(rate, seconds) / 10**18 == pytest.approx(price, rel=1e-15)


async def test_parts_that_do_not_point_at_each_other_are_a_doubt() -> None:
    fake = describe()
    fake.answers(YT, "pendle", PT=address(0x999))
    found = await read_all(fake)
    assert found[PT.address].claims == found[LP.address].claims == ()
    assert "does not point back" in found[PT.address].doubt
    assert "do not point at each other" in found[LP.address].doubt


async def test_a_market_that_counts_other_shares_is_a_doubt() -> None:
    found = await read_all(describe(lp=601 * 10**18))
    assert "for 601" in found[LP.address].doubt


async def test_an_sy_that_pays_nothing_is_a_doubt() -> None:
    fake = describe()
    for amount in (10**18, 10**30):
        fake.says(SY.address, "pendle", "previewRedeem", (SUSDE, amount), 0)
    assert (await read_all(fake))[SY.address].doubt
