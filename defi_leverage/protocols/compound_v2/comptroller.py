"""What a Compound v2 comptroller is made of, and which of the family's ways it goes."""

from dataclasses import dataclass
from functools import partial

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import deployment_error, root_contract
from defi_leverage.questions import NOBODY, ask
from defi_leverage.reading import Deployment

__all__ = ["Comptroller", "find_comptroller"]

_error = partial(
    deployment_error,
    remedy="Give the comptroller (the Unitroller) of a Compound v2 market, and a block after it was deployed.",
)


@dataclass(frozen=True, slots=True)
class Comptroller:
    """A comptroller's contracts and constants; shares times 1e18, addresses "" where there is none.

    Compound v2 and most forks have one liquidation incentive, weigh collateral with the collateral factor, and leave
    the protocol's share of a seizure to the cToken. Venus' core pool has a liquidation threshold and incentive by
    market, e-mode pools that replace them, debt in VAI, and one contract that alone may liquidate and keeps a share of
    the incentive.
    """

    address: str
    markets: tuple[str, ...]
    oracle: str
    close_factor: int
    incentive: int | None  # 1 included; None where each market has its own
    has_pools: bool
    vai_controller: str
    vai: str
    treasury_share: int | None  # of the incentive; None where the cToken takes a share of the seizure


async def find_comptroller(chain: Chain, deployment: Deployment) -> Comptroller:
    """The comptroller at the deployment's address.

    Raises ReaderError where the address is not one, and for Venus' isolated pools, whose arithmetic is another one.
    """
    abi = load_abi("compound_v2")
    address = await root_contract(chain, deployment, _error)
    names = ("getAllMarkets", "oracle", "closeFactorMantissa", "liquidationIncentiveMantissa", "corePoolId")
    more = ("vaiController", "liquidatorContract", "minLiquidatableCollateral")
    markets, oracle, close_factor, incentive, core_pool, vai_controller, liquidator, isolated = await ask(
        chain, abi, [(address, name, ()) for name in (*names, *more)]
    )
    if markets is None or oracle in (None, NOBODY) or close_factor is None:
        raise _error(chain, deployment, "names no markets, no price oracle or no close factor")
    if isolated is not None:
        raise _error(chain, deployment, "is an isolated pool of Venus, which this reader cannot read,")
    vai_controller = "" if vai_controller in (None, NOBODY) else vai_controller
    vai = treasury_share = None
    if vai_controller:
        (vai,) = await ask(chain, abi, [(vai_controller, "getVAIAddress", ())])
    if liquidator not in (None, NOBODY):
        (treasury_share,) = await ask(chain, abi, [(liquidator, "treasuryPercentMantissa", ())])
        if treasury_share is None:
            raise _error(chain, deployment, f"has a liquidator {liquidator} that names no treasuryPercentMantissa, and")
    if treasury_share is not None and incentive is not None:
        # Before incentives by market the Liquidator kept its part of what was repaid, not of the incentive.
        treasury_share = treasury_share * WAD // (incentive - WAD) if incentive > WAD else 0
    return Comptroller(
        address=address,
        markets=tuple(markets),
        oracle=oracle,
        close_factor=close_factor,
        incentive=incentive,
        has_pools=core_pool is not None,
        vai_controller=vai_controller,
        vai=vai or "",
        treasury_share=treasury_share,
    )
