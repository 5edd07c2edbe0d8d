"""Fire sales of Cont & Schaanning (2017): computed figures, a plain loop as reference, and what must always hold."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array

from defi_leverage.contagion.impact import compile_impact, price_factor
from defi_leverage.networks.fire_sales import FireSale, market_depth_usd, overlap_matrix, price_drop, run_fire_sale

Floats = NDArray[np.float64]
bounded = settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
seeds = st.integers(0, 2**32 - 1)

DEPTH = float(market_depth_usd(50, 0.02))  # c = .4, tau = 20


def two_banks(shock: float, **changes: float) -> FireSale:
    """Pi = (90, 70), C = (4, 4.5), illiquid (10, 20), a shock on A's illiquid assets, lmax = 33.3, ltgt = .95 lmax."""
    settings_ = {"leverage_limit": 33.3, "leverage_target": 0.95 * 33.3} | changes
    return run_fire_sale([[90], [70]], [10, 20], [4, 4.5], [10 * shock, 0], DEPTH, **settings_)  # type: ignore[arg-type]


def test_the_computed_example() -> None:
    assert pytest.approx(4472.136, abs=5e-4) == DEPTH
    ran = two_banks(0.2)
    assert ran.converged
    assert ran.residual == 0
    first, second = (ran.banks[ran.banks["bank"] == bank] for bank in (0, 1))
    assert first["round"].tolist() == [1, 2, 3]
    assert first["leverage"].iloc[0] == pytest.approx(98 / 2)
    assert first["sold_share"].tolist() == pytest.approx([0.385889, 0.315088, 0.145351], abs=5e-7)
    assert second["sold_share"].tolist() == [0, 0, 0]
    assert ran.markets["price_drop"].tolist() == pytest.approx([0.007706, 0.003819, 0.001201], abs=5e-7)
    assert first["loss_usd"].tolist() == pytest.approx([0.559716, 0.176466, 0.041661], abs=5e-7)
    assert second["loss_usd"].tolist() == pytest.approx([0.539411, 0.265291, 0.083076], abs=5e-7)
    assert first["equity_usd"].tolist() == pytest.approx([1.440284, 1.263819, 1.222157], abs=5e-7)
    assert second["equity_usd"].tolist() == pytest.approx([3.960589, 3.695299, 3.612223], abs=5e-7)
    assert first["holdings_usd"].tolist() == pytest.approx([54.8441, 37.4199, 31.9425], abs=5e-5)
    assert second["holdings_usd"].tolist() == pytest.approx([69.4606, 69.1953, 69.1122], abs=5e-5)
    assert ran.leverage[0] == pytest.approx(32.682, abs=5e-4)
    assert ran.markets["price"].iloc[-1] == pytest.approx(0.987317, abs=5e-7)
    assert ran.equity_usd.tolist() == ran.banks["equity_usd"].tail(2).tolist()


@pytest.mark.parametrize("shock", [0.0, 0.05])
def test_a_small_shock_sells_nothing(shock: float) -> None:
    ran = two_banks(shock)
    assert ran.converged
    assert ran.banks.empty
    assert ran.markets.empty
    assert ran.banks.columns.tolist()[:3] == ["round", "bank", "leverage"]
    assert ran.equity_usd.tolist() == [4 - 10 * shock, 4.5]


def test_a_run_cut_short_says_what_is_left() -> None:
    ran = two_banks(0.2, max_rounds=1)
    assert not ran.converged
    assert len(ran.markets) == 1
    assert ran.residual == pytest.approx(0.315088 * 54.8441 / (54.8441 + 69.4606), rel=1e-5)


def test_a_bank_without_equity_sells_all_and_the_price_keeps_its_floor() -> None:
    ran = run_fire_sale([[1e9], [10]], [10, 0], [5, 10], [5, 0], DEPTH, leverage_limit=33, leverage_target=30)
    assert ran.banks["leverage"].iloc[0] == np.inf
    assert ran.banks["sold_share"].iloc[0] == 1
    assert ran.markets["price"].tolist() == pytest.approx([0.5])
    assert ran.equity_usd.tolist() == pytest.approx([0, 5])
    assert ran.holdings_usd.toarray().ravel().tolist() == pytest.approx([0, 5])
    assert ran.converged  # A is insolvent still, with nothing left to sell


def test_price_drop_is_one_over_depth_for_the_first_dollar_and_stops_at_the_floor() -> None:
    assert float(price_drop(1e-6, DEPTH, 1.0, 1.0, 0.5)) == pytest.approx(1e-6 / DEPTH, rel=1e-6)
    assert float(price_drop(1e12, DEPTH, 0.8, 1.0, 0.5)) == pytest.approx(1 - 0.5 / 0.8)
    assert float(price_drop(10.0, DEPTH, 0.5, 1.0, 0.5)) == 0


def test_cifuentes_ferrucci_shin_price() -> None:
    """p = exp(-alpha * sold): alpha = 1.053605 makes 10 % sold a 10 % fall; the limit of no floor is the same curve."""
    impact = compile_impact("exponential", {"depth": 1 / 1.053605})
    assert float(price_factor(impact, 0.1)) == pytest.approx(0.9, abs=5e-8)
    assert 1 - float(price_drop(0.1, 1 / 1.053605, 1.0, 1.0, 0.0)) == pytest.approx(0.9, abs=5e-8)


def test_overlap_by_hand_and_as_the_first_order_loss() -> None:
    """Banks (90, 0), (70, 20) in markets of depth 1000 and 100."""
    overlap = overlap_matrix([[90, 0], [70, 20]], [1000, 100]).toarray()
    np.testing.assert_allclose(overlap, [[8.1, 6.3], [6.3, 8.9]])
    ran = run_fire_sale(
        [[90, 0], [70, 20]], [10, 20], [100 / 10.005, 50], 0, [1e6, 1e5], leverage_limit=10, leverage_target=9.99
    )
    sold = ran.banks["sold_share"].iloc[0]
    assert 0 < sold < 0.01
    assert ran.banks["loss_usd"].iloc[1] == pytest.approx(sold * overlap[0, 1] / 1000, rel=1e-3)


def random_banks(seed: int) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    banks, assets = int(rng.integers(1, 7)), int(rng.integers(1, 5))
    holdings = rng.lognormal(3, 1, (banks, assets)) * (rng.random((banks, assets)) < 0.7)
    illiquid = rng.lognormal(2, 1, banks)
    price = rng.uniform(0.8, 1.2, assets)
    return {
        "holdings_usd": holdings,
        "illiquid_usd": illiquid,
        "equity_usd": (holdings.sum(axis=1) + illiquid) / rng.uniform(5, 40, banks),
        "loss_usd": illiquid * rng.uniform(0, 0.3, banks),
        "depth_usd": rng.lognormal(7, 1, assets),
        "leverage_limit": rng.uniform(20, 35, banks),
        "price": price,
        "floor_price": price * rng.uniform(0, 0.9, assets),
    }


def loop_reference(book: dict[str, Floats], a: float, rounds: int) -> tuple[list[float], list[float], list[float]]:
    """The equations, a bank and an asset at a time: equity, prices, and shares sold in the order of the table."""
    pi, price = book["holdings_usd"].tolist(), book["price"].tolist()
    banks, assets = range(len(pi)), range(len(price))
    illiquid = [float(book["illiquid_usd"][i] - book["loss_usd"][i]) for i in banks]
    equity = [max(float(book["equity_usd"][i] - book["loss_usd"][i]), 0.0) for i in banks]
    limit, start, shares = book["leverage_limit"].tolist(), book["price"].tolist(), []
    for _ in range(rounds):
        gamma = [0.0 for _ in banks]
        for i in banks:
            held = sum(pi[i])
            if held > 0 and (equity[i] == 0 or (held + illiquid[i]) / equity[i] > limit[i]):
                gamma[i] = min(1.0, (held + illiquid[i] - 0.95 * limit[i] * equity[i]) / held)
        if not any(gamma):
            break
        shares.extend(gamma)
        psi = []
        for m in assets:
            floor, sold = float(book["floor_price"][m]), sum(gamma[i] * pi[i][m] for i in banks)
            delta = (1 - floor / start[m]) * float(book["depth_usd"][m])
            psi.append((1 - floor / price[m]) * (1 - float(np.exp(-sold / delta))))
        for i in banks:
            equity[i] = max(equity[i] - (1 - (1 - a) * gamma[i]) * sum(pi[i][m] * psi[m] for m in assets), 0.0)
            pi[i] = [pi[i][m] * (1 - gamma[i]) * (1 - psi[m]) for m in assets]
        price = [price[m] * (1 - psi[m]) for m in assets]
    return equity, price, shares


@bounded
@given(seeds, st.sampled_from([0.0, 0.5, 1.0]))
def test_any_book_as_a_plain_loop_has_it(seed: int, execution: float) -> None:
    book = random_banks(seed)
    target = 0.95 * book["leverage_limit"]
    ran = run_fire_sale(**book, leverage_target=target, execution=execution, max_rounds=50)
    equity, price, shares = loop_reference(book, execution, 50)
    np.testing.assert_allclose(ran.equity_usd, equity, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ran.banks["sold_share"], shares, rtol=1e-7, atol=1e-12)
    last = ran.markets["price"].to_numpy(float)[-len(price) :] if len(ran.markets) else book["price"]
    np.testing.assert_allclose(last, price, rtol=1e-9)
    assert (last >= book["floor_price"] * (1 - 1e-12)).all()
    order = np.random.default_rng(seed).permutation(len(equity))
    per_bank = {name: values[order] for name, values in book.items() if len(values) == len(equity)}
    mixed = book | {name: per_bank[name] for name in per_bank if name not in ("depth_usd", "price", "floor_price")}
    mixed["holdings_usd"] = csr_array(book["holdings_usd"][order])
    again = run_fire_sale(**mixed, leverage_target=target[order], execution=execution, max_rounds=50)
    np.testing.assert_allclose(again.equity_usd, ran.equity_usd[order], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"leverage_target": 40.0}, "leverage_target: element 0 must be at most leverage_limit"),
        ({"floor_price": 1.0}, "floor_price: element 0 must be below the price"),
        ({"execution": 2.0}, "execution 2.0 must be in"),
        ({"price": float("nan")}, "price: element 0"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        two_banks(0.2, **changes)


def test_more_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="loss_usd: element 1 must not exceed illiquid_usd"):
        run_fire_sale([[1], [1]], 1, 1, [0, 2], DEPTH, leverage_limit=3, leverage_target=2)
    with pytest.raises(ValueError, match="depth_usd: element 0 must be positive"):
        overlap_matrix([[1], [1]], 0)
