"""The contracts of a Synthetix v3 perps system and its markets."""

from dataclasses import dataclass
from functools import partial

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError, one_line
from defi_leverage.protocols import deployment_error
from defi_leverage.protocols.synthetix_v3_perps.arithmetic import MarginTerms
from defi_leverage.questions import NOBODY, ask, ask_all
from defi_leverage.reading import Deployment

__all__ = ["STALE", "Market", "System", "find_system", "read_markets"]

_error = partial(
    deployment_error,
    remedy="Give the proxy of a Synthetix v3 perps market, its spot market, and a block after both were deployed.",
)

STALE = (
    "its price cannot be read at this block; where it is stale the contract asks for a new one (ERC-7412 "
    "OracleDataRequired): take a block just after somebody brought it"
)


@dataclass(frozen=True, slots=True)
class System:
    """The perps market's proxy, the NFT of its accounts, and the spot market whose synths are margin ("" if none)."""

    address: str
    accounts: str
    spot: str


@dataclass(frozen=True, slots=True)
class Market:
    """One market; figures 1e-18, the funding rate a day's, positive where longs pay shorts.

    `problem`: why its positions cannot be valued, "" where they can.
    """

    id: int
    symbol: str
    price: int
    long: int
    short: int
    funding_rate: int
    terms: MarginTerms
    problem: str = ""


async def find_system(chain: Chain, deployment: Deployment) -> System:
    """The system at the deployment's address. Raises ReaderError where it is none."""
    abi = load_abi("synthetix_v3_perps")
    spot = str(deployment.options.get("spot_market") or "")
    try:
        address, spot = checksum_address(deployment.address), checksum_address(spot) if spot else ""
    except ValueError:
        raise _error(chain, deployment, f"or its spot market {spot!r} is not an address") from None
    (accounts,) = await ask(chain, abi, [(address, "getAccountTokenAddress", ())])
    if accounts in (None, NOBODY):
        raise _error(chain, deployment, "names no token of its accounts")
    return System(address, accounts, spot)


async def read_markets(chain: Chain, system: System) -> list[Market]:
    """Every market of the system, in its order. Raises ReaderError where it lists none."""
    abi, at = load_abi("synthetix_v3_perps"), system.address
    (ids,) = await ask(chain, abi, [(at, "getMarkets", ())])
    if not ids:
        raise ReaderError(f"{at} lists no perps markets on {chain.name} at block {chain.block.number}.", address=at)
    names = await ask_all(chain, abi, [(at, "metadata", (market,)) for market in ids])
    summaries = await ask(chain, abi, [(at, "getMarketSummary", (market,)) for market in ids])
    funding = await ask_all(chain, abi, [(at, "getFundingParameters", (market,)) for market in ids])
    margins = await ask_all(chain, abi, [(at, "getLiquidationParameters", (market,)) for market in ids])
    found = []
    for place, market in enumerate(ids):
        name, summary, scale, margin = names[place], summaries[place], funding[place], margins[place]
        symbol = one_line(name[1]) if name else ""
        problem = ""
        if scale is None or margin is None:
            problem = "its settings are not there"
        elif summary is None or not summary[5]:
            problem = STALE
        skew, size, _, rate, _, price = summary or (0,) * 6
        initial, least, scalar, _, fixed = margin or (0,) * 5
        terms = MarginTerms(scale[0] if scale else 0, initial, least, scalar, fixed)
        long = (size + skew) // 2
        found.append(Market(market, symbol or f"market {market}", price, long, size - long, rate, terms, problem))
    return found
