"""The contracts of a GMX v2 venue, and the markets that it lists."""

from dataclasses import dataclass

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError
from defi_leverage.protocols.gmx_v2.keys import key
from defi_leverage.questions import NOBODY, ask
from defi_leverage.reading import Deployment

__all__ = ["FULL", "PLAIN", "Venue", "find_venue", "list_markets"]

FULL = (
    "isPositionLiquidatable(address,address,bytes32,(address,address,address,address),"
    "((uint256,uint256),(uint256,uint256),(uint256,uint256)),bool,bool)"
)
"""Release 2.2 and later."""
PLAIN = FULL.replace(",bool,bool)", ",bool)")


@dataclass(frozen=True, slots=True)
class Venue:
    """The three contracts that a reading goes by."""

    store: str
    reader: str
    referrals: str


def find_venue(chain: Chain, deployment: Deployment) -> Venue:
    """The venue's contracts. Raises ReaderError where one is not given or no address."""
    given = {
        "address": deployment.address,
        "reader_contract": deployment.options.get("reader_contract"),
        "referral_storage": deployment.options.get("referral_storage"),
    }
    for name, value in given.items():
        if not value:
            raise ReaderError(
                f"{deployment.name} on {chain.name} has no {name}: give the Reader and the ReferralStorage beside the "
                "DataStore (github.com/gmx-io/gmx-synthetics docs/contracts.json).",
                name=name,
            )
    try:
        return Venue(*(checksum_address(str(value)) for value in given.values()))
    except ValueError:
        raise ReaderError(f"{deployment.name} on {chain.name}: {given} are not all addresses.", **given) from None


async def list_markets(chain: Chain, venue: Venue) -> list[tuple[str, str, str, str]]:
    """Market token, index, long and short token of each market that has positions. Raises ReaderError without any."""
    abi = load_abi("gmx_v2")
    (count,) = await ask(chain, abi, [(venue.store, "getAddressCount", (key("MARKET_LIST"),))])
    (markets,) = await ask(chain, abi, [(venue.reader, "getMarkets", (venue.store, 0, count or 0))])
    if not count or not markets:
        raise ReaderError(
            f"{venue.store} lists no markets, or {venue.reader} does not read them, on {chain.name} at block "
            f"{chain.block.number}. Give a GMX v2 DataStore and its Reader, and a block after they were deployed.",
            address=venue.store,
            reader=venue.reader,
        )
    return [market for market in markets if market[1] != NOBODY]
