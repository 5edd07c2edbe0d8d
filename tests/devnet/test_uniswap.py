"""The pool's bytecode keeps to x*y=k, whichever of its tokens comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .artifacts import AAVE_3_0, Artifacts
from .build import OWNER
from .chain import Deployer
from .plans import MAX_UINT
from .tokens import DECIMALS, PRICE_UNIT
from .uniswap import FEE, FEE_UNIT, open_pool

if TYPE_CHECKING:
    from .session import Devnet

pytestmark = pytest.mark.devnet

PRICE, RESERVE = 3_000.0, 50_000
WETH_UNIT = 10 ** DECIMALS["WETH"]


def tokens_in_order(devnet: Devnet, *, base_is_first: bool) -> dict[str, str]:
    """WETH, and a new USDC whose address lies above or below WETH's: addresses decide which token a pool has first."""
    deployer = Deployer(devnet.chain, Artifacts(AAVE_3_0), OWNER)
    while True:
        usdc = deployer.deploy("MintableERC20", "USDC", "USDC", DECIMALS["USDC"])
        if (int(devnet.tokens["WETH"], 16) < int(usdc, 16)) == base_is_first:
            return {"WETH": devnet.tokens["WETH"], "USDC": usdc}


@pytest.mark.parametrize("base_is_first", [True, False])
def test_a_full_range_pool_is_a_constant_product(devnet: Devnet, *, base_is_first: bool) -> None:
    pool = open_pool(devnet.chain, OWNER, tokens_in_order(devnet, base_is_first=base_is_first), PRICE, RESERVE)
    assert pool.base_is_first == base_is_first
    assert pool.price() == pytest.approx(PRICE, abs=1 / PRICE_UNIT)
    assert pool.reserve() / WETH_UNIT == pytest.approx(RESERVE, rel=1e-12)
    devnet.mint("WETH", OWNER, 10 * RESERVE * WETH_UNIT)
    sold = 0
    for amount in (1_234, 7_000, 20_000):
        devnet.send_many([pool.sell(OWNER, amount * WETH_UNIT)])
        sold += amount
        traded = RESERVE + sold * (1 - FEE / FEE_UNIT)
        assert pool.price() == pytest.approx(PRICE * (RESERVE / traded) ** 2, rel=1e-11)
        assert pool.reserve() / WETH_UNIT == pytest.approx(traded, rel=1e-12)


@pytest.mark.parametrize("base_is_first", [True, False])
def test_a_sale_stops_at_its_limit(devnet: Devnet, *, base_is_first: bool) -> None:
    pool = open_pool(devnet.chain, OWNER, tokens_in_order(devnet, base_is_first=base_is_first), PRICE, RESERVE)
    devnet.mint("WETH", OWNER, 10 * RESERVE * WETH_UNIT)
    devnet.send_many([pool.sell(OWNER, MAX_UINT >> 1, down_to=0.8 * PRICE)])
    assert pool.price() == pytest.approx(0.8 * PRICE, abs=1 / PRICE_UNIT)
    assert pool.reserve() / WETH_UNIT == pytest.approx(RESERVE / 0.8**0.5, rel=1e-12)
