"""The markets of a PerpsV2 manager: price, sizes, funding, and the terms on which positions are liquidated."""

from dataclasses import dataclass
from functools import partial

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import one_line
from defi_leverage.protocols import deployment_error, root_address
from defi_leverage.protocols.synthetix_perps_v2.arithmetic import Terms
from defi_leverage.questions import NOBODY, ask, ask_all
from defi_leverage.reading import Deployment

__all__ = ["Manager", "Market", "find_manager", "read_markets"]

_error = partial(
    deployment_error, remedy="Give the PerpsV2 manager (FuturesMarketManager), and a block after it was deployed."
)

_OF_MARKET = ("marketKey", "baseAsset", "assetPrice", "marketSizes", "currentFundingRate", "fundingSequenceLength")
_OF_KEY = ("skewScale", "maxLeverage", "liquidationBufferRatio", "liquidationPremiumMultiplier")
_OF_ALL = ("liquidationFeeRatio", "minKeeperFee", "maxKeeperFee", "keeperLiquidationFee")


@dataclass(frozen=True, slots=True)
class Manager:
    """The contract that lists the markets, where their settings are kept, and the token of their margin."""

    address: str
    settings: str
    susd: str
    markets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Market:
    """One market; all figures 1e-18, the funding rate a day's, positive where longs pay shorts.

    `next_funding`: what the sequence of funding per token would go on with at this block. `problem`: why its positions
    cannot be valued, "" where they can.
    """

    address: str
    key: str
    asset: str
    price: int
    long: int
    short: int
    funding_rate: int
    next_funding: int
    maximum_leverage: int
    terms: Terms
    problem: str = ""


async def find_manager(chain: Chain, deployment: Deployment) -> Manager:
    """The manager at the deployment's address. Raises ReaderError where it is none."""
    abi = load_abi("synthetix_perps_v2")
    address = root_address(chain, deployment, _error)
    markets, resolver = await ask(chain, abi, [(address, "allMarkets", (True,)), (address, "resolver", ())])
    if markets is None or resolver in (None, NOBODY):
        raise _error(chain, deployment, "names no proxied markets or no resolver")
    names = [name.encode().ljust(32, b"\0") for name in ("PerpsV2MarketSettings", "SynthsUSD")]
    settings, susd = await ask(chain, abi, [(resolver, "getAddress", (name,)) for name in names])
    if settings in (None, NOBODY) or susd in (None, NOBODY):
        raise _error(chain, deployment, "has a resolver that knows no PerpsV2MarketSettings or no SynthsUSD")
    (proxy,) = await ask(chain, abi, [(susd, "proxy", ())])
    return Manager(address, settings, susd if proxy in (None, NOBODY) else proxy, tuple(markets))


async def read_markets(chain: Chain, manager: Manager) -> list[Market]:
    """Every market of the manager, in its order; one that makes no sense has a `problem`."""
    abi = load_abi("synthetix_perps_v2")
    shared = await ask(chain, abi, [(manager.settings, name, ()) for name in _OF_ALL])
    asked = await ask_all(chain, abi, [(market, name, ()) for market in manager.markets for name in _OF_MARKET])
    unrecorded = await ask_all(chain, abi, [(market, "unrecordedFunding", ()) for market in manager.markets])
    rows = [asked[place * len(_OF_MARKET) :][: len(_OF_MARKET)] for place in range(len(manager.markets))]
    firsts = [[values[0] if values else None for values in row] for row in rows]
    keys = [first[0] or bytes(32) for first in firsts]
    lengths = [first[5] or 0 for first in firsts]
    last = [
        (market, "fundingSequence", (max(length - 1, 0),))
        for market, length in zip(manager.markets, lengths, strict=True)
    ]
    recorded = await ask(chain, abi, last)
    own = await ask(chain, abi, [(manager.settings, name, (key,)) for key in keys for name in _OF_KEY])
    found = []
    for place, (address, row) in enumerate(zip(manager.markets, rows, strict=True)):
        parameters = own[place * len(_OF_KEY) :][: len(_OF_KEY)]
        problem = ""
        if any(value is None for value in (*row, recorded[place], unrecorded[place])) or not lengths[place]:
            problem = "it does not answer what a PerpsV2 market does"
        elif any(value is None for value in (*parameters, *shared)) or not parameters[0]:
            problem = "its settings are not there"
        elif row[2] is None or row[2][1] or not row[2][0]:
            problem = "its price is invalid"
        found.append(_market(address, row, recorded[place], unrecorded[place], parameters, shared, problem))
    return found


def _market(
    address: str,
    row: "list[tuple[int, ...] | None]",
    recorded: int | None,
    unrecorded: "tuple[int, bool] | None",
    parameters: list[int | None],
    shared: list[int | None],
    problem: str,
) -> Market:
    key, asset, price, sizes, rate, _ = (values or (0, 0) for values in row)
    scale, leverage, buffer, multiplier = (value or 0 for value in parameters)
    fee_ratio, minimum, maximum, keeper = (value or 0 for value in shared)
    return Market(
        address=address,
        key=_text(key[0]) or address,
        asset=_text(asset[0]),
        price=price[0],
        long=sizes[0],
        short=sizes[1],
        funding_rate=rate[0],
        next_funding=(recorded or 0) + (unrecorded[0] if unrecorded else 0),
        maximum_leverage=leverage,
        terms=Terms(buffer, multiplier, scale, fee_ratio, minimum, maximum, keeper),
        problem=problem,
    )


def _text(name: "bytes | int") -> str:
    return one_line(name.rstrip(b"\0").decode("utf-8", "replace")) if isinstance(name, bytes) else ""
