"""The open trades of a gTrade diamond, what each owes, and its liquidation price, as the contract's views tell them."""

from collections.abc import Mapping, Sequence

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError
from defi_leverage.protocols import Progress
from defi_leverage.protocols.gains.arithmetic import Held, Limits, Trade
from defi_leverage.protocols.gains.prices import PricedPair
from defi_leverage.questions import NOBODY, ask, ask_all

__all__ = ["find_trades", "name_of", "read_fees"]

_V10 = 2
_PAGE = 1000  # traders of one answer
_WHOLE = 10**18
_IS_TRADE = 0  # not a limit or stop order, which is nobody's position yet


async def find_trades(chain: Chain, diamond: str) -> tuple[list[Trade], dict[str, str]]:
    """Every open trade, and traders whose trades are not told, with why. Raises ReaderError for another release."""
    abi = load_abi("gains")
    (version, count) = await ask(
        chain, abi, [(diamond, "getCurrentContractsVersion", ()), (diamond, "getTradersCount", ())]
    )
    if version != _V10 or count is None:
        raise ReaderError(
            f"{diamond} is not a gTrade diamond of release v10 on {chain.name} at block {chain.block.number} (its "
            f"contracts' version is {version}). Give GNSMultiCollatDiamond, and a block since that release.",
            address=diamond,
            version=version,
        )
    # The end is the last index, included; an end of 0 means all.
    pages = [(start, start + _PAGE - 1) for start in range(0, count, _PAGE)]
    answers = await ask(chain, abi, [(diamond, "getTraders", page) for page in pages])
    lost = {
        f"traders {start} to {end}": "not told"
        for (start, end), page in zip(pages, answers, strict=True)
        if page is None
    }
    traders = list(dict.fromkeys(trader for page in answers for trader in page or () if trader != NOBODY))
    names = ("getTrades", "getTradeInfos", "getTradesLiquidationParams")
    told = await ask(chain, abi, [(diamond, name, (trader,)) for trader in traders for name in names])
    found: list[Trade] = []
    for at, trader in enumerate(traders):
        lists = told[3 * at : 3 * at + 3]
        if any(part is None for part in lists) or len({len(part) for part in lists}) != 1:
            lost[f"trades of {trader}"] = "the contract does not tell them, their infos and terms alike"
            continue
        for trade, info, limits in zip(*lists, strict=True):
            if trade[5] and trade[7] == _IS_TRADE:
                found.append(
                    Trade(
                        trader=checksum_address(trade[0]),
                        index=trade[1],
                        pair=trade[2],
                        leverage=trade[3],
                        is_long=trade[4],
                        collateral_index=trade[6],
                        collateral=trade[8],
                        open_price=trade[9],
                        is_counter=trade[12],
                        version=info[6],
                        limits=Limits(*limits),
                        size_tokens=trade[13],
                    )
                )
    return found, lost


async def read_fees(
    chain: Chain, diamond: str, trades: Sequence[Trade], pairs: Mapping[int, PricedPair], tell: Progress
) -> list[tuple[Held, int] | str]:
    """Of each trade what it owes and its liquidation price times 1e10, or why that is not told."""
    abi = load_abi("gains")
    tell("trades", 0, len(trades))
    prices = [pairs[trade.pair].price for trade in trades]
    fees = await ask(
        chain,
        abi,
        [
            (diamond, "getTradePendingHoldingFeesCollateral", (trade.trader, trade.index, price))
            for trade, price in zip(trades, prices, strict=True)
        ],
    )
    realised = await ask_all(
        chain, abi, [(diamond, "getTradeRealizedPnlCollateral", (trade.trader, trade.index)) for trade in trades]
    )
    at = await ask(
        chain,
        abi,
        [
            (diamond, "getTradeLiquidationPrice", (_input(trade, price),))
            for trade, price in zip(trades, prices, strict=True)
        ],
    )
    tell("trades", len(trades), len(trades))
    return [
        "the contract does not tell its fees or its liquidation price"
        if due is None or profit is None or price is None
        else (Held(due[0], due[1] + due[2], profit[2]), price)
        for due, profit, price in zip(fees, realised, at, strict=True)
    ]


def name_of(trade: Trade) -> str:
    """What the account of a trade is called: its trader, and the number that the trade has there."""
    return f"{trade.trader}-{trade.index}"


def _input(trade: Trade, price: int) -> tuple[object, ...]:
    """IBorrowingFees.LiqPriceInput for the trade as it is."""
    limits = trade.limits
    return (
        trade.collateral_index,
        trade.trader,
        trade.pair,
        trade.index,
        trade.open_price,
        trade.is_long,
        trade.collateral,
        trade.leverage,
        0,
        (
            limits.most_spread,
            limits.start_threshold,
            limits.end_threshold,
            limits.start_leverage,
            limits.end_leverage,
        ),
        price,
        trade.is_counter,
        _WHOLE,
        False,
    )
