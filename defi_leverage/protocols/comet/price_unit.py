"""What the prices of a Comet are in. The contract does not say: every feed has 8 decimals, and that is all it asks for.

The feeds' descriptions name it: "COMP / USD", "wstETH / ETH price feed". A base token's constant feed (WETH at 1) names
none; then the collaterals' decide. USD or not, that is what a whole unit of the prices is worth; where it is not USD,
the option `unit_usd_feed` says how much, the Chainlink aggregator "ETH / USD" for a Comet whose prices are in ETH.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError, one_line
from defi_leverage.protocols.morpho_blue.oracles import is_exchange_rate, unit_of
from defi_leverage.questions import ask
from defi_leverage.reading import Deployment

__all__ = ["DOLLAR", "Unit", "find_unit"]

DOLLAR = "USD"


@dataclass(frozen=True, slots=True)
class Unit:
    """One whole unit of the prices is `usd_raw / usd_scale` USD, by `feed` ("" where the prices are USD)."""

    symbol: str
    usd_raw: int = 1
    usd_scale: int = 1
    feed: str = ""


async def find_unit(chain: Chain, deployment: Deployment, base: str, collaterals: Iterable[str]) -> Unit:
    """The unit of the prices; `base` and `collaterals` are the feeds' descriptions.

    Raises ReaderError where nothing names one unit, where it has no price in USD, or where `unit_usd_feed` prices
    another one.
    """
    named = unit_of(base) or _only({unit_of(text) for text in collaterals if not is_exchange_rate(text)} - {""})
    feed = deployment.options.get("unit_usd_feed")
    if not feed:
        if named == DOLLAR:
            return Unit(DOLLAR)
        known = f"are in {named}" if named else "are in a unit that none of its feeds names"
        raise ReaderError(
            f"the prices of {deployment.address} {known}. Add unit_usd_feed = the Chainlink aggregator that prices "
            f"that unit ({named or 'ETH'} / USD) to the deployment.",
            address=deployment.address,
        )
    found = Unit(*await _read_feed(chain, checksum_address(feed)), checksum_address(feed))
    if named and named.upper() != found.symbol.upper():
        raise ReaderError(
            f"the prices of {deployment.address} are in {named}, and unit_usd_feed {feed} prices {found.symbol}. "
            + ("Leave it out." if named == DOLLAR else f"Give the aggregator of {named} / USD."),
            address=deployment.address,
        )
    return found


def _only(units: set[str]) -> str:
    return units.pop() if len(units) == 1 else ""


async def _read_feed(chain: Chain, feed: str) -> tuple[str, int, int]:
    names = ("description", "latestRoundData", "decimals")
    description, round_data, decimals = await ask(chain, load_abi("comet"), [(feed, name, ()) for name in names])
    pair = [side.strip() for side in one_line(description or "").split("/")]
    if len(pair) != 2 or pair[1].upper() != DOLLAR or not round_data or round_data[1] <= 0 or decimals is None:
        raise ReaderError(
            f"unit_usd_feed {feed} is no feed in USD that answers ({one_line(description or '')!r}). Give a Chainlink "
            "aggregator such as ETH / USD.",
            address=feed,
        )
    return pair[0], round_data[1], 10**decimals
