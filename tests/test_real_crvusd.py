"""Real crvUSD loans of three LLAMMA markets (WETH, wstETH, WBTC) on Ethereum, block 19122585, 30 January 2024.

Recorded by Xenophon Labs (github.com/xenophonlabs/crvUSDrisk @ 7d17fa7) from Curve's subgraph. Loans are of the same
day, not of the same second, as the market's parameters, so debts and base prices are some interest apart.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.health_llamma import band_top, llamma_health, trade_to_oracle, x_down
from defi_leverage.protocols.crvusd.arithmetic import Band
from defi_leverage.protocols.crvusd.arithmetic import health as integer_health
from defi_leverage.protocols.crvusd.arithmetic import x_down as integer_x_down
from defi_leverage.snapshot import Snapshot
from tests.books import make_snapshot

pytestmark = pytest.mark.validation

DATA = Path(
    os.environ.get("DEFI_LEVERAGE_VALIDATION_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data"))
)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Market:
    amplification: float
    base_price: float
    oracle_price: float
    discount: float
    loans: pd.DataFrame

    def health(self, loans: pd.DataFrame) -> Array:
        """Of loans that hold one of the two coins only, their amount spread over their bands alike."""
        found = []
        for x_all, y_all, debt, n1, count in loans[["stablecoin", "collateral", "debt", "n1", "n"]].to_numpy(float):
            top = band_top(n1 + np.arange(count), self.base_price, self.amplification)
            x, y = np.full(len(top), x_all / count), np.full(len(top), y_all / count)
            down = x_down(x, y, top, self.oracle_price, self.amplification)
            found.append(float(llamma_health(debt, down, self.discount)))
        return np.array(found)


@pytest.fixture(scope="module", params=["WETH", "wstETH", "WBTC"])
def market(request: pytest.FixtureRequest) -> Market:
    """One market and its loans."""
    for path in sorted((DATA / "crvusd").glob("pool_metadata_*.json")):
        recorded = json.loads(path.read_text())
        pool = recorded["llamma_params"]
        if pool["collateral_symbol"] == request.param:
            loans = pd.DataFrame(recorded["userStates"])
            numbers = ["collateral", "stablecoin", "debt", "health", "n", "n1", "n2"]
            loans[numbers] = loans[numbers].astype(float)
            return Market(
                amplification=float(pool["A"]),
                base_price=float(pool["BASE_PRICE"]) * int(pool["rate_mul"]) / 1e18,
                oracle_price=float(pool["oracle_price"]),
                discount=float(recorded["controller_params"]["liquidation_discount"]),
                loans=loans[loans["debt"] > 0].reset_index(drop=True),
            )
    pytest.skip(
        f"{DATA / 'crvusd'} has no {request.param}; set DEFI_LEVERAGE_VALIDATION_DATA to the folder that has it"
    )


def test_recorded_health_of_loans_that_are_all_collateral(market: Market) -> None:
    """657 loans; what is left is the interest between two reads."""
    loans = market.loans[market.loans["stablecoin"] == 0]
    error = np.abs(market.health(loans) - loans["health"])
    assert len(loans) > 150
    assert np.median(error) < 4e-5
    assert np.quantile(error, 0.9) < 4e-4
    assert np.quantile(error, 0.98) < 2e-3


def test_recorded_health_of_loans_that_are_all_stablecoin(market: Market) -> None:
    """Loans below whose bands the price had stood: all was sold."""
    sold = market.loans[(market.loans["collateral"] == 0) & (market.loans["stablecoin"] > 0)]
    low = band_top(sold["n2"].to_numpy() + 1, market.base_price, market.amplification)
    sold = sold[low > market.oracle_price]
    assert len(sold) >= 1
    assert np.abs(market.health(sold) - sold["health"]).max() < 1e-3


def test_integers_and_floats_agree_on_recorded_loans(market: Market) -> None:
    """The reader's integer arithmetic on all loans that hold one coin, band by band, of more than a dollar."""
    one_coin = (market.loans["stablecoin"] == 0) | (market.loans["collateral"] == 0)
    loans = market.loans[one_coin & (market.loans["debt"] > 1)]
    floats, wad = market.health(loans), 10**18
    price, size = int(market.oracle_price * wad), int(market.amplification)
    for found, row in zip(floats, loans[["stablecoin", "collateral", "debt", "n1", "n"]].to_numpy(float), strict=True):
        x, y, debt, n1, count = row
        top = int(float(band_top(n1, market.base_price, market.amplification)) * wad)
        held = [Band(int(x / count * wad), int(y / count * wad))] * int(count)
        exact = integer_health(integer_x_down(held, top, price, size), int(debt * wad), int(market.discount * wad))
        assert exact / wad == pytest.approx(found, abs=1e-11)


def as_snapshot(market: Market, loans: pd.DataFrame, jump: float) -> Snapshot:
    """These loans at a venue of the `crvusd` rule: the weight makes HF 1 where the price meets the highest band."""
    positions = [({"ETH": held}, {"USD": owed}) for held, owed in loans[["collateral", "debt"]].to_numpy(float)]
    parameters = {"bands": float(loans["n"].iloc[0]), "amplification": market.amplification}
    parameters |= {"liquidation_discount": market.discount, "jump": jump}
    base = make_snapshot({"ETH": market.oracle_price, "USD": 1.0}, positions, rule="crvusd", parameters=parameters)
    top = band_top(loans["n1"].to_numpy(), market.base_price, market.amplification)
    weight = loans["debt"].to_numpy() / (loans["collateral"].to_numpy() * top)
    place = base.legs["account_id"].str[1:].astype(int)
    weights = np.where(base.legs["side"] == "debt", 1.0, weight[place])
    bonus = np.where(base.legs["side"] == "debt", 0.0, 1 / (1 - market.discount) - 1)
    legs = base.legs.assign(weight=weights, liquidation_bonus=bonus)
    return Snapshot.from_tables(base.tables | {"legs": legs})


@pytest.mark.parametrize("jump", [0.0, 1.0])
@pytest.mark.parametrize("fall", [0.15, 0.35])
def test_the_rule_does_to_these_loans_what_the_pool_does(market: Market, fall: float, jump: float) -> None:
    """Collateral left and stablecoin received after a slow fall of the price, or a jump, loan by loan.

    The rule sells linearly within a band, the pool does not quite: at most 0.3 % of a band's collateral (a slow fall)
    and 0.5 % of its worth (a jump) lie between them. Loans within 0.5 % of health 0 may fall either way.
    """
    price = market.oracle_price * (1 - fall)
    compared = 0
    for bands in (4, 10):
        loans = market.loans[(market.loans["stablecoin"] == 0) & (market.loans["n"] == bands)]
        above = band_top(loans["n1"].to_numpy(), market.base_price, market.amplification)
        fits = (above < market.oracle_price) & (loans["debt"] < loans["collateral"] * above)
        loans, above = loans[fits], above[fits]
        debt, held = loans["debt"].to_numpy(), loans["collateral"].to_numpy()[:, None]
        top = band_top(loans["n1"].to_numpy()[:, None] + np.arange(bands), market.base_price, market.amplification)
        x, y = np.zeros_like(top), np.broadcast_to(held / bands, top.shape)
        path = [price] if jump else np.geomspace(market.oracle_price, price, 1000).tolist()
        for step in path:
            x, y = trade_to_oracle(x, y, top, step, market.amplification)
        health = llamma_health(debt, x_down(x, y, top, price, market.amplification), market.discount)

        scenario = Scenario(shocks={"ETH": -fall}, sell_collateral=False, buy_debt=False)
        result = run_contagion(as_snapshot(market, loans, jump), scenario)
        names = [f"a{number}" for number in range(len(loans))]
        legs = result.legs.pivot(index="account_id", columns="asset_id", values="amount_after").loc[names]
        clear = np.abs(health) > 5e-3
        hard, soft = clear & (health < 0) & (above > price), clear & ((health > 0) | (above <= price))
        assert result.converged
        assert (legs["ETH"].to_numpy()[hard] == 0).all()
        assert (legs["USD"].to_numpy()[hard] == 0).all()
        difference = np.abs(legs["ETH"].to_numpy() - y.sum(axis=1))[soft] / (held[:, 0] / bands)[soft]
        assert difference.max() < 0.005
        received = np.minimum(x.sum(axis=1), debt)
        worth = np.abs(debt - legs["USD"].to_numpy() - received)[soft] / (debt / bands)[soft]
        assert worth.max() < 0.01
        compared += int((hard | (soft & (above > price))).sum())
    assert compared >= 10
