"""Coins minted against collateral, from the accounts of the venue that mints them (GHO in Aave v3, DAI in Maker)."""

from dataclasses import replace
from fractions import Fraction

from defi_leverage.backing.claims import Token
from defi_leverage.backing.minted import MINTERS, minted_backing
from defi_leverage.reading import AccountReading, LegReading, Reading
from tests.backing.fake_chain import USD, address, asset_id, reading_of

GHO = Token("0x40D16FC0246aD3160Ccc09B8D0D3A2cD28aE6C2f", "GHO", 18)
DAI = Token("0x6B175474E89094C44Da98b954EedeAC495271d0F", "DAI", 18)
WETH, USDC = Token(address(2), "WETH", 18), Token(address(3), "USDC", 6)
LISTED = {GHO: USD, DAI: USD, WETH: 2000 * USD, USDC: USD}


def account(collateral: dict[Token, int], debt: dict[Token, int], weight: int = 8 * 10**17) -> AccountReading:
    def leg(side: str, of: Token, whole: int) -> LegReading:
        amount = whole * 10**of.decimals
        return LegReading(side, asset_id(of, 1), asset_id(of, 1), amount, weight)  # type: ignore[arg-type]

    legs = [leg("collateral", of, whole) for of, whole in collateral.items()]
    legs += [leg("debt", of, whole) for of, whole in debt.items()]
    return AccountReading(address(7), "cross", 10**18, 0, 0, tuple(legs))


def venue(*accounts: AccountReading, protocol: str = "aave_v3", at: int = 0xA) -> Reading:
    reading = reading_of(LISTED, 1, address(at), accounts=accounts)
    return replace(reading, venue=replace(reading.venue, protocol=protocol))


def test_collateral_stands_behind_debts_by_their_value() -> None:
    # A: 4 WETH behind 3000 GHO and 1000 USDC: 3 WETH for GHO. B: 1 WETH and 500 USDC behind 1000 GHO. 4000 GHO in all
    a = account({WETH: 4}, {GHO: 3000, USDC: 1000})
    b = account({WETH: 1, USDC: 500}, {GHO: 1000})
    rows = minted_backing([venue(a, b)])
    assert {row.underlying_id: Fraction(row.units_raw, row.units_scale) for row in rows} == {
        asset_id(WETH, 1): Fraction(4, 4000),
        asset_id(USDC, 1): Fraction(500, 4000),
    }
    assert {(row.asset_id, row.kind, row.venue_id) for row in rows} == {
        (asset_id(GHO, 1), "minted_against", f"eip155:1:{address(0xA)}")
    }


def test_the_rows_of_all_venues_add_up_to_one_coin() -> None:
    first = venue(account({WETH: 3}, {GHO: 3000}))
    second = venue(account({WETH: 1}, {GHO: 1000}), at=0xB)
    rows = minted_backing([first, second])
    assert [Fraction(row.units_raw, row.units_scale) for row in rows] == [Fraction(3, 4000), Fraction(1, 4000)]
    assert len({row.venue_id for row in rows}) == 2


def test_only_the_venue_that_mints_a_coin_stands_behind_it() -> None:
    owes_dai = account({WETH: 1}, {DAI: 1000})
    assert minted_backing([venue(owes_dai)]) == []  # Aave lends DAI
    (row,) = minted_backing([venue(owes_dai, protocol="maker")])
    assert (row.asset_id, Fraction(row.units_raw, row.units_scale)) == (asset_id(DAI, 1), Fraction(1, 1000))


def test_what_counts_for_nothing_and_accounts_without_debt_are_passed_over() -> None:
    idle = account({WETH: 9}, {})
    uncounted = account({WETH: 1}, {GHO: 1000}, weight=0)
    assert minted_backing([venue(idle, uncounted)]) == []


def test_the_coins_are_distinct() -> None:
    assert len({coin.lower() for coin in MINTERS}) == len(MINTERS) == 6
