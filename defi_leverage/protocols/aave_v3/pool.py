"""Where an Aave v3 market's contracts are, and which release of the protocol they run."""

from dataclasses import dataclass
from functools import partial

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError
from defi_leverage.protocols import deployment_error, root_contract
from defi_leverage.questions import NOBODY, ask
from defi_leverage.reading import Deployment

__all__ = ["Pool", "find_pool"]

_error = partial(deployment_error, remedy="Give the market's PoolAddressesProvider, and a block after it was deployed.")

USD_UNIT = 10**8  # BASE_CURRENCY_UNIT of every market whose prices are USD


@dataclass(frozen=True, slots=True)
class Pool:
    """A market's contracts. `revision` is POOL_REVISION, which forks count in their own way.

    | POOL_REVISION | release | source |
    |---|---|---|
    | 1 to 3 | 3.0.x | aave/aave-v3-core |
    | 4 | 3.1 | aave-dao/aave-v3-origin |
    | 5 | 3.2 | the same, and the contract itself |
    | 6, 7 | 3.3 | the same, bgd-labs/protocol-v3.3-upgrade |
    | 8 | 3.4 | the deployed contract; docs/3.4 of the same says 7 |
    | 9 | 3.5 | the same, PoolInstance.sol |
    | 10 | 3.6 | the same, and the contract itself |
    | 11 | 3.7 | docs/3.7 of the same |
    """

    address: str
    oracle: str
    revision: int
    price_scale: int
    has_liquid_categories: bool  # 3.2 and later: an asset may be in several e-mode categories
    has_deficit: bool  # 3.3 and later: bad debt is recorded, and small positions are liquidated whole


async def find_pool(chain: Chain, deployment: Deployment) -> Pool:
    """The pool and oracle behind a PoolAddressesProvider.

    Raises ReaderError where the address is not one, or where the market's prices are not in USD.
    """
    abi = load_abi("aave_v3")
    provider = await root_contract(chain, deployment, _error)
    pool, oracle = await ask(chain, abi, [(provider, "getPool", ()), (provider, "getPriceOracle", ())])
    if pool in (None, NOBODY):
        raise _error(chain, deployment, "names no pool")
    if oracle in (None, NOBODY):
        raise _error(chain, deployment, "names no price oracle")
    revision, bitmap, reserves, currency, unit = await ask(
        chain,
        abi,
        [
            (pool, "POOL_REVISION", ()),
            (pool, "getEModeCategoryCollateralBitmap", (1,)),
            (pool, "getReservesList", ()),
            (oracle, "BASE_CURRENCY", ()),
            (oracle, "BASE_CURRENCY_UNIT", ()),
        ],
    )
    if revision is None or reserves is None:
        raise _error(chain, deployment, f"names a pool {pool} that is not one of Aave v3")
    if (currency, unit) != (NOBODY, USD_UNIT):
        raise ReaderError(
            f"the oracle {oracle} of {deployment.address} prices in units of {unit} of {currency}, not in 1e-8 USD. "
            "This reader cannot convert such prices: take the deployment out of the configuration.",
            address=deployment.address,
        )
    has_deficit = False
    if reserves:
        has_deficit = (await ask(chain, abi, [(pool, "getReserveDeficit", (reserves[0],))]))[0] is not None
    return Pool(pool, oracle, revision, unit, bitmap is not None, has_deficit)
