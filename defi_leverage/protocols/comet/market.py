"""A Comet at the pinned block: its base asset with the interest due, and its collaterals."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import WAD, mul_div_down
from defi_leverage.protocols import deployment_error, root_contract
from defi_leverage.protocols.comet.arithmetic import Totals, accrue, present_value
from defi_leverage.protocols.comet.rate_curves import read_curve
from defi_leverage.questions import ask, decode_symbol
from defi_leverage.reading import Deployment

__all__ = ["PRICE_SCALE", "Asset", "Comet", "find_comet"]

_error = partial(
    deployment_error,
    remedy="Give the address of the Comet itself (cUSDCv3, say, a proxy), and a block after it was set up.",
)

PRICE_SCALE = 10**8  # PRICE_FEED_DECIMALS, which the constructor demands of every feed
_BASICS = (
    "baseToken",
    "baseTokenPriceFeed",
    "baseScale",
    "numAssets",
    "totalsBasic",
    "getUtilization",
    "getReserves",
    "storeFrontPriceFactor",
    "totalSupply",
)


@dataclass(frozen=True, slots=True)
class Asset:
    """The base asset (offset -1) or a collateral. `price` is the feed's, 0 where there is none; factors in wad.

    A collateral counts by `liquidate_factor` where it is judged whether the account may be absorbed, and is
    credited by `credit_factor` (liquidationFactor) when it is.
    """

    offset: int
    address: str
    symbol: str
    decimals: int
    feed: str
    price: int
    total: int
    cap: int
    liquidate_factor: int = 0
    credit_factor: int = 0
    problem: str = ""

    @property
    def bonus(self) -> int:
        """Collateral taken beyond the debt that it is credited for, in wad; 0 where nothing is credited."""
        return WAD * WAD // self.credit_factor - WAD if self.credit_factor else 0

    def value(self, amount: int) -> int:
        """What so many raw tokens are worth, in units of the feed's prices (mulPrice)."""
        return mul_div_down(amount, self.price, 10**self.decimals)


@dataclass(frozen=True, slots=True)
class Comet:
    """One deployment: `stored` totals, and those at the block; `reserves` and `cash` are raw base tokens.

    The contract judges accounts by the stored indices until somebody makes it accrue, as absorb() itself does first.
    """

    address: str
    symbol: str
    base: Asset
    collaterals: tuple[Asset, ...]
    stored: Totals
    totals: Totals
    supply_rate: int
    borrow_rate: int
    reserves: int
    cash: int
    store_front_factor: int
    curve: Mapping[str, int] | None  # of read_curve


async def find_comet(chain: Chain, deployment: Deployment) -> Comet:
    """The Comet behind a proxy's address. Raises ReaderError where there is none, or where its base has no price."""
    abi = load_abi("comet")
    address = await root_contract(chain, deployment, _error)
    answers = await ask(chain, abi, [(address, name, ()) for name in _BASICS])
    told = dict(zip(_BASICS, answers, strict=True))
    if any(told[name] is None for name in _BASICS) or not told["totalsBasic"][6] or not _is_power(told["baseScale"]):
        raise _error(chain, deployment, "is not a Comet, or not one that has been set up")
    token, feed = told["baseToken"], told["baseTokenPriceFeed"]
    infos = await ask(chain, abi, [(address, "getAssetInfo", (at,)) for at in range(told["numAssets"])])
    if None in infos:
        raise _error(chain, deployment, f"does not describe asset {infos.index(None)} of its {len(infos)}")
    feeds = [feed, *(info[2] for info in infos)]
    prices = await ask(chain, abi, [(address, "getPrice", (source,)) for source in feeds])
    if prices[0] is None:
        raise _error(chain, deployment, f"has a base asset without a price (feed {feed})")
    totals = await ask(chain, abi, [(address, "totalsCollateral", (info[1],)) for info in infos])
    rates = await ask(
        chain, abi, [(address, name, (told["getUtilization"],)) for name in ("getSupplyRate", "getBorrowRate")]
    )
    if None in rates or None in totals:
        raise _error(chain, deployment, "does not answer its rates or totals")
    symbols = await _symbols(chain, [address, token, *(info[1] for info in infos)])
    (cash,) = await ask(chain, load_abi("erc20"), [(token, "balanceOf", (address,))])
    if cash is None:
        raise _error(chain, deployment, f"has a base token {token} that does not answer balanceOf()")
    basic = told["totalsBasic"]
    stored = Totals(basic[0], basic[1], basic[4], basic[5], basic[6])
    now = chain.block.timestamp
    if present_value(stored.supply, accrue(stored, rates[0], rates[1], now)) != told["totalSupply"]:
        rates[0] = 0  # of late, where nobody borrows and the reserves are gone, suppliers earn nothing
    decimals = len(str(told["baseScale"])) - 1
    return Comet(
        address=address,
        symbol=symbols[0],
        base=Asset(-1, token, symbols[1], decimals, feed, prices[0], 0, 0),
        collaterals=tuple(map(_collateral, infos, symbols[2:], prices[1:], totals)),
        stored=stored,
        totals=accrue(stored, rates[0], rates[1], now),
        supply_rate=rates[0],
        borrow_rate=rates[1],
        reserves=told["getReserves"],
        cash=cash,
        store_front_factor=told["storeFrontPriceFactor"],
        curve=await read_curve(chain, address, told["getUtilization"]),
    )


def _collateral(info: tuple[Any, ...], symbol: str, price: int | None, totals: tuple[int, int]) -> Asset:
    offset, address, feed, scale, _, liquidate_factor, credit_factor, cap = info
    problems = (
        (not _is_power(scale), f"its scale {scale} is no power of ten"),
        (price is None, f"its price feed {feed} reverts or answers no price"),
        (bool(liquidate_factor) and 2 * credit_factor < WAD, "its liquidation factor is below one half"),
    )
    return Asset(
        offset=offset,
        address=address,
        symbol=symbol,
        decimals=len(str(scale)) - 1,
        feed=feed,
        price=price or 0,
        total=totals[0],
        cap=cap,
        liquidate_factor=liquidate_factor,
        credit_factor=credit_factor if 2 * credit_factor >= WAD else 0,
        problem=next((why for wrong, why in problems if wrong), ""),
    )


def _is_power(scale: int) -> bool:
    return scale > 0 and scale == 10 ** (len(str(scale)) - 1)


async def _symbols(chain: Chain, tokens: list[str]) -> list[str]:
    answers = await chain.call([(token, load_abi("erc20").encode("symbol")) for token in tokens])
    return [
        decode_symbol(answer) or f"{token[:6]}..{token[-4:]}" for token, answer in zip(tokens, answers, strict=True)
    ]
