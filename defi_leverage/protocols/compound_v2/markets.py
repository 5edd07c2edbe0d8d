"""The markets of a Compound v2 comptroller at the pinned block: one cToken and what it holds, each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import WAD
from defi_leverage.native_coins import NATIVE_COINS
from defi_leverage.protocols.compound_v2.comptroller import Comptroller
from defi_leverage.protocols.compound_v2.rate_curves import QUESTIONS, read_curves, read_pace, yearly
from defi_leverage.questions import decode, decode_symbol
from defi_leverage.reading import NO_CAP, RateCurve

__all__ = ["Market", "read_markets"]

_PRICE_DIGITS = 36  # getUnderlyingPrice is USD times 10**(36 - decimals) for a whole token

_ANSWERS = (
    ("underlying", "underlying"),
    ("rate", "exchangeRateStored"),
    ("supply", "totalSupply"),
    ("borrow", "totalBorrows"),
    ("cash", "getCash"),
    ("seize_share", "protocolSeizeShareMantissa"),
    *QUESTIONS,
)
# These accrue interest: in one eth_call with the others they would change what comes after them.
_ACCRUING = (("current_rate", "exchangeRateCurrent"), ("current_borrow", "totalBorrowsCurrent"))
_OF_COMPTROLLER = (
    ("threshold", "getLiquidationThreshold"),
    ("incentive", "getLiquidationIncentive"),
    ("supply_cap", "supplyCaps"),
    ("borrow_cap", "borrowCaps"),
)


@dataclass(frozen=True, slots=True)
class Market:
    """One cToken. Amounts in raw units; factors, incentive (1 included), shares and exchange rates times 1e18.

    An exchange rate is raw units of the underlying a raw unit of cToken. `current_*` are as after accrueInterest at the
    pinned block, None where that reverts; the rest is as stored, which is what the comptroller values accounts with.
    """

    index: int
    address: str
    symbol: str
    decimals: int
    underlying: str  # "" for the chain's own coin
    asset_reference: str  # the end of a CAIP-19 identifier
    asset_symbol: str
    asset_decimals: int
    price: int
    exchange_rate: int
    current_exchange_rate: int | None
    collateral_factor: int
    liquidation_threshold: int
    liquidation_incentive: int
    protocol_share: int  # of the incentive: what the liquidator does not get of it
    supply: int  # of cTokens
    borrow: int
    current_borrow: int | None
    cash: int
    supply_rate: int | None  # a year, times 1e27
    borrow_rate: int | None
    supply_cap: int  # of the underlying
    borrow_cap: int
    curve: RateCurve | None
    problem: str  # why the market cannot be valued; "" where it can

    @property
    def price_scale(self) -> int:
        """What the price is divided by for USD a whole token."""
        scale: int = 10 ** (_PRICE_DIGITS - self.asset_decimals)
        return scale


async def read_markets(chain: Chain, comptroller: Comptroller) -> list[Market]:
    """The comptroller's markets, in its order."""
    abi, erc20 = load_abi("compound_v2"), load_abi("erc20")
    tokens = comptroller.markets
    calls = []
    for token in tokens:
        calls += [(token, abi.encode(function)) for _, function in _ANSWERS]
        calls += [(token, erc20.encode("symbol")), (token, erc20.encode("decimals"))]
        calls += [(comptroller.oracle, abi.encode("getUnderlyingPrice", token))]
        calls += [(comptroller.address, abi.encode("markets", token))]
        calls += [(comptroller.address, abi.encode(function, token)) for _, function in _OF_COMPTROLLER]
    answers = await chain.call(calls)
    size = len(calls) // len(tokens) if tokens else 0
    found = []
    for start in range(0, len(answers), size or 1):
        of_market = iter(answers[start : start + size])
        row: dict[str, Any] = {key: decode(abi, function, next(of_market)) for key, function in _ANSWERS}
        row["symbol"], row["decimals"] = decode_symbol(next(of_market)), decode(erc20, "decimals", next(of_market))
        row["price"] = decode(abi, "getUnderlyingPrice", next(of_market))
        listed = next(of_market)
        row["factor"] = abi.decode("markets", listed)[1] if listed and len(listed) >= 64 else None
        row |= {key: decode(abi, function, next(of_market)) for key, function in _OF_COMPTROLLER}
        found.append(row)
    accrued = iter(await chain.call([(token, abi.encode(function)) for token in tokens for _, function in _ACCRUING]))
    for row in found:
        row |= {key: decode(abi, function, next(accrued)) for key, function in _ACCRUING}
    await _describe_assets(chain, found)
    pace = await read_pace(chain)
    for row, curve in zip(found, await read_curves(chain, found, pace), strict=True):
        row["curve"] = curve
    return [
        _market(index, token, row, comptroller, pace)
        for index, (token, row) in enumerate(zip(tokens, found, strict=True))
    ]


async def _describe_assets(chain: Chain, found: Sequence[dict[str, Any]]) -> None:
    """Add what the underlying is: a token, or the chain's own coin where the cToken's symbol says so."""
    erc20 = load_abi("erc20")
    reference, coin = NATIVE_COINS.get(chain.chain_id, ("", ""))
    with_token = [row for row in found if row["underlying"] is not None]
    functions = ("symbol", "decimals")
    answers = iter(
        await chain.call([(row["underlying"], erc20.encode(name)) for row in with_token for name in functions])
    )
    for row in found:
        if row["underlying"] is not None:
            row["asset_symbol"] = decode_symbol(next(answers))
            row["asset_decimals"] = decode(erc20, "decimals", next(answers))
            row["reference"] = f"erc20:{row['underlying']}"
        elif coin and row["symbol"].lower().endswith(coin.lower()):
            row |= {"asset_symbol": coin, "asset_decimals": 18, "reference": reference}
        else:
            row |= {"asset_symbol": "", "asset_decimals": None, "reference": ""}


def _market(index: int, token: str, row: Mapping[str, Any], comptroller: Comptroller, pace: tuple[int, int]) -> Market:
    symbol = row["symbol"] or f"{token[:6]}..{token[-4:]}"
    incentive = row["incentive"] if row["incentive"] is not None else comptroller.incentive
    decimals = row["asset_decimals"]
    problems = [
        (not row["reference"], "it has no underlying(), and is not known to hold the chain's own coin"),
        (decimals is None, "the underlying token does not answer decimals()"),
        (decimals is not None and decimals > _PRICE_DIGITS, f"its underlying has {decimals} decimals"),
        (row["decimals"] is None, "its token does not answer decimals()"),
        (row["price"] is None, "the oracle reverts"),
        (row["price"] == 0, "the oracle answers a price of 0"),
        (row["rate"] is None, "it does not answer its exchange rate"),
        (row["supply"] is None or row["borrow"] is None, "it does not answer its totals"),
        (row["factor"] is None, "the comptroller does not answer its collateral factor"),
        (incentive is None, "the comptroller does not answer its liquidation incentive"),
    ]
    factor, incentive = row["factor"] or 0, incentive or 0
    return Market(
        index=index,
        address=token,
        symbol=symbol,
        decimals=row["decimals"] or 0,
        underlying=row["underlying"] or "",
        asset_reference=row["reference"],
        asset_symbol=row["asset_symbol"] or symbol,
        asset_decimals=decimals or 0,
        price=row["price"] or 0,
        exchange_rate=row["rate"] or 0,
        current_exchange_rate=row["current_rate"],
        collateral_factor=factor,
        liquidation_threshold=row["threshold"] if row["threshold"] is not None else factor,
        liquidation_incentive=incentive,
        protocol_share=_protocol_share(row["seize_share"] or 0, incentive, comptroller),
        supply=row["supply"] or 0,
        borrow=row["borrow"] or 0,
        current_borrow=row["current_borrow"],
        cash=row["cash"] or 0,
        supply_rate=_yearly_of(row, "supply", pace),
        borrow_rate=_yearly_of(row, "borrow", pace),
        supply_cap=_cap(row["supply_cap"], comptroller),
        borrow_cap=_cap(row["borrow_cap"], comptroller),
        curve=row["curve"],
        problem=next((why for wrong, why in problems if wrong), ""),
    )


def _protocol_share(seize_share: int, incentive: int, comptroller: Comptroller) -> int:
    """Share of the incentive that the protocol keeps.

    A cToken keeps a share of all that is seized: share * (1 + bonus) / bonus of the bonus (CToken.seizeInternal). The
    Liquidator of Venus names its share of the incentive itself (Liquidator._splitLiquidationIncentive).
    """
    if comptroller.treasury_share is not None:
        return comptroller.treasury_share
    bonus = incentive - WAD
    return seize_share * incentive // bonus if bonus > 0 else 0


def _cap(cap: int | None, comptroller: Comptroller) -> int:
    """A cap as it binds: none where the comptroller has no such function, or where 0 stands for none.

    At Venus 0 closes the market (PolicyFacet.mintAllowed, borrowAllowed); elsewhere it is no cap
    (Comptroller.borrowAllowed of Compound v2).
    """
    return NO_CAP if cap is None or not (cap or comptroller.has_pools) else min(cap, NO_CAP)


def _yearly_of(row: Mapping[str, Any], side: str, pace: tuple[int, int]) -> int | None:
    by_second = row[f"{side}_by_second"]
    rate = row[f"{side}_by_block"] if by_second is None else by_second
    return None if rate is None else yearly(rate, by_second is not None, pace)
