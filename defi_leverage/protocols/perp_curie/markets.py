"""Perpetual Protocol v2: the contracts behind a ClearingHouse, its markets, and the tokens that count as margin."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from defi_leverage.abi import address_in, load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import deployment_error, root_address
from defi_leverage.protocols._tokens import Token, read_tokens
from defi_leverage.questions import NOBODY, Question, ask, ask_each
from defi_leverage.reading import Deployment

__all__ = ["MILLION", "Margin", "Market", "System", "find_system", "read_margins", "read_markets"]

_error = partial(
    deployment_error,
    remedy="Give the ClearingHouse of Perpetual Protocol v2 (Curie), and a block after it was deployed.",
)

MILLION = 10**6
"""Ratios of Curie are parts per million."""
_PARTS = ("AccountBalance", "Exchange", "OrderBook", "Vault", "ClearingHouseConfig", "InsuranceFund", "QuoteToken")
_TWAP = 900  # Vault._COLLATERAL_TWAP_INTERVAL, seconds
_Q96 = 1 << 96


@dataclass(frozen=True, slots=True)
class System:
    """The contracts, and what holds for all markets; ratios in parts per million."""

    clearing_house: str
    account_balance: str
    exchange: str
    order_book: str
    vault: str
    registry: str
    collateral_manager: str
    quote: Token
    settlement: Token
    initial_ratio: int
    maintenance_ratio: int
    penalty_ratio: int
    maximum_funding_rate: int
    twap_interval: int
    insurance_fund: int | None  # raw settlement tokens; may be negative


@dataclass(frozen=True, slots=True)
class Market:
    """A base token: its price by which positions are valued (1e-18), and a day's funding as a share of it (wad)."""

    token: Token
    price: int
    is_open: bool
    funding_rate: int | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Margin:
    """A token other than the settlement token that counts as margin: price / price_scale, ratios per million."""

    token: Token
    price: int
    price_scale: int
    ratio: int
    discount: int


async def find_system(chain: Chain, deployment: Deployment) -> System:
    """The system of the ClearingHouse at the deployment's address. Raises ReaderError where it is none."""
    abi = load_abi("perp_curie")
    house = root_address(chain, deployment, _error)
    parts = await ask(chain, abi, [(house, f"get{name}", ()) for name in _PARTS])
    if any(part in (None, NOBODY) for part in parts):
        missing = ", ".join(name for name, part in zip(_PARTS, parts, strict=True) if part in (None, NOBODY))
        raise _error(chain, deployment, f"names no {missing}")
    balance, exchange, book, vault, config, fund, quote = parts
    registry, settlement, manager, decimals, initial, maintenance, penalty, funding, interval, capacity = await ask(
        chain,
        abi,
        [
            (exchange, "getMarketRegistry", ()),
            (vault, "getSettlementToken", ()),
            (vault, "getCollateralManager", ()),
            (vault, "decimals", ()),
            (config, "getImRatio", ()),
            (config, "getMmRatio", ()),
            (config, "getLiquidationPenaltyRatio", ()),
            (config, "getMaxFundingRate", ()),
            (config, "getTwapInterval", ()),
            (fund, "getInsuranceFundCapacity", ()),
        ],
    )
    if None in (registry, settlement, manager, decimals, initial, maintenance, penalty, funding, interval):
        raise _error(chain, deployment, "has parts that do not answer as those of Curie do")
    tokens = await read_tokens(chain, [quote, settlement])
    if problem := tokens[settlement].problem or tokens[quote].problem:
        raise _error(chain, deployment, f"counts in tokens that make no sense ({problem})")
    return System(
        clearing_house=house,
        account_balance=balance,
        exchange=exchange,
        order_book=book,
        vault=vault,
        registry=registry,
        collateral_manager=manager,
        quote=tokens[quote],
        settlement=tokens[settlement],
        initial_ratio=initial,
        maintenance_ratio=maintenance,
        penalty_ratio=penalty,
        maximum_funding_rate=funding,
        twap_interval=interval,
        insurance_fund=capacity,
    )


async def read_markets(chain: Chain, system: System, first_block: int) -> dict[str, Market]:
    """Every market that was ever added, by its base token.

    Positions of an open market are valued at its mark price, of a paused or closed one at the price kept then
    (AccountBalance._getReferencePrice). Funding a day: the market's time-weighted price less the index's, over the
    price, within the maximum (Exchange._getFundingGrowthGlobalAndTwaps).
    """
    abi = load_abi("perp_curie")
    topic = abi.topic("PoolAdded")
    logs = await chain.logs([system.registry], [[topic]], first_block)
    bases = sorted({address_in(log.topics[1]) for log in logs})
    tokens = await read_tokens(chain, bases)
    questions: dict[str, list[Question]] = {
        base: [
            (base, "isOpen", ()),
            (base, "isClosed", ()),
            (base, "getClosedPrice", ()),
            (base, "getPausedIndexPrice", ()),
            (system.account_balance, "getMarkPrice", (base,)),
            (system.exchange, "getSqrtMarketTwapX96", (base, system.twap_interval)),
            (base, "getIndexPrice", (system.twap_interval,)),
        ]
        for base in bases
    }
    markets = {}
    for base, answers in (await ask_each(chain, abi, questions)).items():
        is_open, is_closed, closed_at, paused_at, mark, root, index = answers
        price = mark if is_open else closed_at if is_closed else paused_at
        rate = None
        if is_open and price and root is not None and index:
            most = index * system.maximum_funding_rate // MILLION
            premium = (root * root // _Q96) * WAD // _Q96 - index
            rate = max(-most, min(most, premium)) * WAD // price
        problem = tokens[base].problem
        if not problem and (is_open is None or not price):
            problem = "it has no price"
        markets[base] = Market(tokens[base], price or 0, bool(is_open), rate if is_open else 0, problem)
    return markets


async def read_margins(chain: Chain, system: System, tokens: Iterable[str]) -> dict[str, Margin]:
    """The tokens that accounts have as margin beside the settlement token, those that have a price."""
    abi, manager = load_abi("perp_curie"), system.collateral_manager
    known = await read_tokens(chain, tokens)
    questions: dict[str, list[Question]] = {
        token: [
            (manager, "getPrice", (token, _TWAP)),
            (manager, "getPriceFeedDecimals", (token,)),
            (manager, "getCollateralConfig", (token,)),
        ]
        for token in known
    }
    margins = {}
    for address, (price, decimals, config) in (await ask_each(chain, abi, questions)).items():
        token = known[address]
        if not token.problem and price and decimals is not None and config is not None:
            margins[address] = Margin(token, price, 10**decimals, config[1], config[2])
    return margins
