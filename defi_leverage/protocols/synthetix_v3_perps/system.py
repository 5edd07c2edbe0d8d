"""The contracts of a Synthetix v3 perps system: its markets and the synths that it takes as margin."""

from dataclasses import dataclass
from functools import partial

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError, one_line
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import deployment_error
from defi_leverage.protocols._perps import words
from defi_leverage.protocols._tokens import read_tokens
from defi_leverage.protocols.synthetix_v3_perps.arithmetic import Discount, MarginTerms
from defi_leverage.questions import NOBODY, ask, ask_all
from defi_leverage.reading import Deployment

__all__ = ["STALE", "Market", "Synth", "System", "find_system", "quote", "read_markets", "read_synths"]

_error = partial(
    deployment_error,
    remedy="Give the proxy of a Synthetix v3 perps market, its spot market, and a block after both were deployed.",
)

STALE = (
    "its price cannot be read at this block; where it is stale the contract asks for a new one (ERC-7412 "
    "OracleDataRequired): take a block just after somebody brought it"
)
_DEFAULT_TOLERANCE = 0


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


@dataclass(frozen=True, slots=True)
class Synth:
    """A synth that is margin: USD of one as the spot market would pay, times 1e18, and its discount."""

    id: int
    address: str
    symbol: str
    price: int
    discount: Discount


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


async def read_synths(chain: Chain, system: System, ids: set[int]) -> dict[int, Synth | str]:
    """The synths that accounts have as margin, each with its price, or why it cannot be valued."""
    abi, wanted = load_abi("synthetix_v3_perps"), sorted(ids)
    if not wanted:
        return {}
    if not system.spot:
        why = "give the spot market of the system (spot_market), which values synths"
        return dict.fromkeys(wanted, why)
    addresses = await ask(chain, abi, [(system.spot, "getSynth", (synth,)) for synth in wanted])
    tokens = await read_tokens(chain, [address for address in addresses if address not in (None, NOBODY)])
    scales = await ask(chain, abi, [(system.spot, "getMarketSkewScale", (synth,)) for synth in wanted])
    terms = await ask_all(
        chain, abi, [(system.address, "getCollateralConfigurationFull", (synth,)) for synth in wanted]
    )
    prices = await quote(chain, system, [(synth, WAD) for synth in wanted])
    found: dict[int, Synth | str] = {}
    for synth, address, scale, term, price in zip(wanted, addresses, scales, terms, prices, strict=True):
        if address in (None, NOBODY) or term is None or scale is None:
            found[synth] = "it is no synth of the spot market, or has no terms as margin"
        elif not price:
            found[synth] = STALE
        else:
            _, least, most, scalar = term
            discount = Discount(scale, scalar, least, most)
            found[synth] = Synth(synth, address, tokens[address].symbol, price, discount)
    return found


async def quote(chain: Chain, system: System, amounts: list[tuple[int, int]]) -> list[int | None]:
    """USD that the spot market would pay for each (synth, amount); None where it does not say."""
    abi, signature = load_abi("synthetix_v3_perps"), "quoteSellExactIn(uint128,uint256,uint8)"
    answers = await chain.call([(system.spot, abi.encode(signature, *of, _DEFAULT_TOLERANCE)) for of in amounts])
    if amounts and not any(answers):  # before prices had a tolerance
        plain = "quoteSellExactIn(uint128,uint256)"
        answers = await chain.call([(system.spot, abi.encode(plain, *of)) for of in amounts])
    return [words(answer)[0] if answer and len(answer) >= 32 else None for answer in answers]
