"""Where an Aave v2 market's contracts are, and its reserves in the terms that it shares with v3."""

from dataclasses import replace
from functools import partial
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.protocols import deployment_error, root_contract
from defi_leverage.protocols.aave_v2.rate_curves import read_curves
from defi_leverage.protocols.aave_v3.pool import Pool
from defi_leverage.protocols.aave_v3.reserves import Reserve, describe_reserves
from defi_leverage.questions import NOBODY, ask
from defi_leverage.reading import Deployment

__all__ = ["find_pool", "read_reserves"]

_error = partial(
    deployment_error, remedy="Give the market's LendingPoolAddressesProvider, and a block after it was deployed."
)

# Where each member of v3's ReserveData, up to the strategy, stands in v2's (DataTypes.sol of both).
_V3_ORDER = (0, 1, 3, 2, 4, 5, 6, 11, 7, 8, 9, 10)
_STRATEGY = 10


async def find_pool(chain: Chain, deployment: Deployment) -> Pool:
    """The pool and oracle behind a LendingPoolAddressesProvider; `revision` is LENDINGPOOL_REVISION.

    Raises ReaderError where the address is not one.
    """
    abi = load_abi("aave_v2")
    provider = await root_contract(chain, deployment, _error)
    pool, oracle = await ask(chain, abi, [(provider, "getLendingPool", ()), (provider, "getPriceOracle", ())])
    if pool in (None, NOBODY):
        raise _error(chain, deployment, "names no lending pool")
    if oracle in (None, NOBODY):
        raise _error(chain, deployment, "names no price oracle")
    revision, reserves = await ask(chain, abi, [(pool, "LENDINGPOOL_REVISION", ()), (pool, "getReservesList", ())])
    if revision is None or reserves is None:
        raise _error(chain, deployment, f"names a pool {pool} that is not one of Aave v2")
    # What the prices are in is not the pool's to say: see `base_currency`.
    return Pool(pool, oracle, revision, price_scale=0, has_liquid_categories=False, has_deficit=False)


async def read_reserves(chain: Chain, pool: Pool) -> tuple[list[Reserve], dict[str, str]]:
    """The market's reserves, and the assets not even the pool describes, with the reason. v2 has no caps."""
    abi = load_abi("aave_v2")
    assets = (await ask(chain, abi, [(pool.address, "getReservesList", ())]))[0] or ()
    described = await ask(chain, abi, [(pool.address, "getReserveData", (asset,)) for asset in assets])
    reserves, missing = await describe_reserves(chain, pool, assets, [_in_v3_order(data) for data in described])
    strategies = {asset: data[_STRATEGY] for asset, data in zip(assets, described, strict=True) if data is not None}
    curves = await read_curves(chain, strategies, reserves)
    return [replace(reserve, curve=curves.get(reserve.asset)) for reserve in reserves], missing


def _in_v3_order(data: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    return None if data is None else tuple(data[at] for at in _V3_ORDER)
