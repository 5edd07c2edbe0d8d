import numpy as np
import pandas as pd
import pytest

from defi_leverage.health import account_health
from defi_leverage.synthetic import synthetic_book


def test_the_same_arguments_give_the_same_book() -> None:
    one, same, other = synthetic_book(500, seed=7), synthetic_book(500, seed=7), synthetic_book(500, seed=8)
    for name, table in one.tables.items():
        pd.testing.assert_frame_equal(table, same.tables[name])
    assert not one.legs.equals(other.legs)


@pytest.mark.parametrize("accounts", [0, 1, 3])
def test_small_books_are_valid(accounts: int) -> None:
    assert len(synthetic_book(accounts, seed=1).accounts) == accounts


def test_nobody_starts_liquidatable_unless_asked() -> None:
    health = account_health(synthetic_book(20_000, seed=1))
    borrowers = health[health["debt_usd"] > 0]
    assert borrowers["health_factor"].min() > 1
    assert 0.03 < (borrowers["health_factor"] < 1.02).mean() < 0.2
    asked = account_health(synthetic_book(20_000, seed=1, liquidatable_share=0.25))
    in_debt = asked[asked["debt_usd"] > 0]
    assert (in_debt["health_factor"] < 1).mean() == pytest.approx(0.25, abs=0.02)


def test_the_book_looks_like_a_lending_market() -> None:
    book = synthetic_book(30_000, seed=3)
    assert len(book.legs) / len(book.accounts) == pytest.approx(2.85, abs=0.05)
    health = account_health(book)
    # aggregate leverage of lending users is 1.4 to 1.9 (Heimbach & Huang, BIS Working Paper 1171)
    assert 1.3 < health["supplied_usd"].sum() / health["equity_usd"].sum() < 2.0
    largest = health["supplied_usd"].nlargest(300).sum() / health["supplied_usd"].sum()
    assert largest > 0.3
    assert (health["debt_usd"] == 0).mean() == pytest.approx(0.22, abs=0.02)
    assert set(book.accounts["mode"]) == {"cross", "emode:1", "emode:2", "emode:3"}
    assert set(book.depth["model"]) == {"exponential", "constant_product"}
    assert book.accounts["owner"].duplicated().any()
    assert book.complete


def test_reported_health_factor_is_the_computed_one() -> None:
    book = synthetic_book(2_000, seed=4)
    reported = book.accounts.set_index("account_id")["health_factor"]
    computed = account_health(book)["health_factor"]
    assert np.array_equal(np.isinf(reported), np.isinf(computed))
    borrowers = np.isfinite(computed)
    np.testing.assert_allclose(reported[borrowers], computed[borrowers], rtol=1e-12)


def test_derived_assets_are_priced_through_their_backing() -> None:
    book = synthetic_book(10, seed=1)
    price = book.assets.set_index("asset_id")["price_usd"]
    for row in book.backing.to_dict("records"):
        assert price[row["asset_id"]] == pytest.approx(price[row["underlying_id"]] * row["units"])
    assert (book.feeds.set_index("asset_id")["price_usd"] == price).all()


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="accounts=-1"):
        synthetic_book(-1, seed=1)
    with pytest.raises(ValueError, match="liquidatable_share=2"):
        synthetic_book(1, seed=1, liquidatable_share=2)
