"""crvUSD and LlamaLend: every loan of every market of one factory at one block, with its bands.

Each controller is a venue of its own, of protocol `crvusd` where it mints the coin and `llamalend` where it lends. Root
addresses are the ControllerFactory of crvUSD (markets that mint it) and the OneWayLendingFactory of LlamaLend (each
market lends what its vault has). A loan's health follows from the AMM's get_x_down, the debt, the loan's own discount
and the price above its bands, and is compared with the controller's health(user, false) and health(user, true); a loan
that differs is set aside. How a loan in soft liquidation becomes legs is said in `readings`, where USD come from in
`price_feeds`, how rates follow utilisation in `rate_curves`.

Loans are listed by the controller itself. What an account owns of a band is not public: its bands are taken to be
filled alike, as they are when it is opened, and `gaps` counts the loans for which that is not so. Not read: LlamaLend's
second version (2026), peg keepers, leverage contracts, who lends to the vaults.
"""

from functools import partial

from defi_leverage.abi import checksum_address
from defi_leverage.chain import Chain
from defi_leverage.protocols import Progress, deployment_error, silence
from defi_leverage.protocols.crvusd.loans import read_loans
from defi_leverage.protocols.crvusd.markets import find_factory, read_markets
from defi_leverage.protocols.crvusd.price_feeds import find_stablecoin_price, make_feeds
from defi_leverage.protocols.crvusd.rate_curves import read_policies
from defi_leverage.protocols.crvusd.readings import left_out_reading, market_reading, read_lent
from defi_leverage.reading import Deployment, Reading

__all__ = ["read"]

_error = partial(
    deployment_error,
    remedy="Give the address of crvUSD's ControllerFactory or of LlamaLend's OneWayLendingFactory, and a block "
    "after its first market.",
)


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> tuple[Reading, ...]:
    """One reading for each market of the factory at `deployment.address`, at the chain's pinned block.

    `collateral_base_raw` and `debt_base_raw` are get_x_down and the debt, in raw borrowed tokens. Markets that cannot
    be read or valued are together in one more reading, that of the factory, as its `gaps`, with their loans in
    `failed`. Raises ReaderError where the address is no factory of these or has no market, ChainError where the chain
    does not answer.
    """
    tell = progress or silence
    try:
        factory = await find_factory(chain, checksum_address(deployment.address))
    except ValueError:
        raise _error(chain, deployment, "is not an address") from None
    if factory is None:
        raise _error(chain, deployment, "does not answer as a factory")
    if not factory.controllers:
        raise _error(chain, deployment, "has no market yet")
    markets = await read_markets(chain, factory)
    policies = {} if factory.mints else await read_policies(chain, markets)
    coin = find_stablecoin_price([market for market in markets if not market.problem])
    readings: list[Reading] = []
    gaps: dict[str, str] = {}
    failed: dict[str, str] = {}
    for market in markets:
        loans = await read_loans(chain, market, tell)
        feeds = market.problem or make_feeds(market, factory, coin, f"eip155:{chain.chain_id}")
        if isinstance(feeds, str) or loans is None:
            why = feeds if isinstance(feeds, str) else "its controller does not list its loans"
            gaps[f"{market.name} {market.controller}"] = why
            failed |= {f"{loan.user} in {market.controller}": why for loan in loans or []}
            continue
        lent = await read_lent(chain, market)
        policy = policies.get(market.controller)
        readings.append(market_reading(chain, deployment, factory, market, feeds, loans, lent, policy))
    if gaps:
        readings.append(left_out_reading(chain, deployment, factory, gaps, failed))
    return tuple(readings)
