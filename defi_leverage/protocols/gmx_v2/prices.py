"""USD prices of a GMX venue's tokens. Its own are signed off chain and handed in with each order; a block keeps none.

In this order: 1. the Chainlink feed that the DataStore names for the token, unless it is older than the heartbeat
there, as the venue's own provider has it (ChainlinkPriceFeedUtils.getPriceFeedPrice); 2. the price of the
configuration, a list of `TOKEN=USD`, or `TOKEN=USD@DECIMALS` for a token that is no contract and has no feed. The least
and the largest price are one; a stable price (STABLE_PRICE) bounds what that provider makes of a feed and not prices
that are signed, and is left out. A feed is taken to follow its asset's market: what it is made of is not looked into.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ConfigError
from defi_leverage.protocols._tokens import read_tokens
from defi_leverage.protocols.gmx_v2.arithmetic import FLOAT
from defi_leverage.protocols.gmx_v2.keys import key
from defi_leverage.questions import NOBODY, ask, ask_all

__all__ = ["GivenPrice", "PricedToken", "parse_prices", "read_prices"]


@dataclass(frozen=True, slots=True)
class GivenPrice:
    """A price of the configuration: USD of a whole token; `decimals` None: the token's own."""

    usd: Decimal
    decimals: int | None


@dataclass(frozen=True, slots=True)
class PricedToken:
    """A token with its price: 1e-30 USD of one raw unit. `problem`: why it has none, "" where it has one.

    `is_contract`: it is an ERC-20 token, not a mere name of what positions follow.
    """

    address: str
    symbol: str
    decimals: int
    price: int
    source: str
    is_contract: bool
    problem: str = ""


def parse_prices(texts: Sequence[str], where: str) -> dict[str, GivenPrice]:
    """Prices of the configuration by token. Raises ConfigError for an entry that is none."""
    found = {}
    for text in texts:
        token, _, rest = text.partition("=")
        usd, _, decimals = rest.partition("@")
        try:
            price = Decimal(usd)
            given = GivenPrice(price, int(decimals) if decimals else None)
            if not price.is_finite() or price <= 0 or not 0 <= (given.decimals or 0) <= 30:
                raise ValueError
            found[checksum_address(token.strip())] = given
        except (ValueError, InvalidOperation):
            raise ConfigError(
                f"{where}: prices has {text!r}; write TOKEN=USD, or TOKEN=USD@DECIMALS, with the token's address.",
                prices=text,
            ) from None
    return found


async def read_prices(
    chain: Chain, store: str, tokens: Collection[str], given: Mapping[str, GivenPrice]
) -> dict[str, PricedToken]:
    """Every token, with its price or why it has none."""
    abi, wanted = load_abi("gmx_v2"), sorted(set(tokens))
    erc20 = await read_tokens(chain, wanted)
    feeds = await ask(chain, abi, [(store, "getAddress", (key("PRICE_FEED", token),)) for token in wanted])
    numbers = ("PRICE_FEED_MULTIPLIER", "PRICE_FEED_HEARTBEAT_DURATION")
    asked = await ask(chain, abi, [(store, "getUint", (key(name, token),)) for token in wanted for name in numbers])
    known = [feed or NOBODY for feed in feeds]
    rounds = await ask_all(chain, abi, [(feed, "latestRoundData", ()) for feed in known])
    places = await ask(chain, abi, [(feed, "decimals", ()) for feed in known])
    names = await ask(chain, abi, [(feed, "description", ()) for feed in known])
    found = {}
    for at, token in enumerate(wanted):
        is_contract = not erc20[token].problem
        multiplier, heartbeat = (value or 0 for value in asked[2 * at : 2 * at + 2])
        description, given_price = names[at] or "", given.get(token)
        price, why = _feed_price(known[at], rounds[at], multiplier, heartbeat, chain.block.timestamp)
        decimals = erc20[token].decimals if is_contract else _decimals(multiplier, places[at])
        source = f"{description or 'feed'} {known[at]}"
        if price is None and given_price is not None:
            decimals = decimals if decimals is not None else given_price.decimals
            if decimals is None:
                why = "it is no contract: write its price as TOKEN=USD@DECIMALS"
            else:
                price, source = int(given_price.usd.scaleb(30 - decimals)), "price of the configuration"
        symbol = erc20[token].symbol if is_contract or "/" not in description else description.split("/")[0].strip()
        problem = "" if price else f"{symbol} {token} has no price: {why}"
        found[token] = PricedToken(token, symbol, decimals or 0, price or 0, source, is_contract, problem)
    return found


def _feed_price(
    feed: str, last: "tuple[int, ...] | None", multiplier: int, heartbeat: int, now: int
) -> tuple[int | None, str]:
    if feed == NOBODY:
        return None, "the DataStore names no feed, nor the configuration a price"
    if last is None or last[1] <= 0 or not multiplier:
        return None, f"its feed {feed} gives none"
    if now - last[3] > heartbeat:
        return None, f"its feed {feed} is {now - last[3]} s old, more than its heartbeat of {heartbeat}"
    return last[1] * multiplier // FLOAT, ""


def _decimals(multiplier: int, of_feed: int | None) -> int | None:
    """Decimals of a token by its feed's multiplier, 10^(60 - the feed's - the token's); None where it is none such."""
    exponent = len(str(multiplier)) - 1
    decimals = 60 - (of_feed or 0) - exponent
    return decimals if of_feed is not None and multiplier == 10**exponent and 0 <= decimals <= 30 else None
