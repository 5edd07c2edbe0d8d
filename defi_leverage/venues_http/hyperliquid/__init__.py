"""Hyperliquid: perps of the exchange itself and of every builder-deployed (HIP-3) dex, over its public HTTP interface.

Every dex is a venue: cross positions of an account share that dex's margin, an isolated position is an account of its
own. Of a unified account one balance backs the cross positions on all dexs in the same coin: these are one account, at
the first of these dexs, and set aside where the option `dexs` leaves out some that it may be on. Portfolio margin and
the discontinued dex abstraction are set aside, with the reason: what backs such an account is not in the replies.

Every account's replies must bear each other out: value, margin used, maintenance margin and liquidation prices are
computed from its positions and margin tiers and compared, of a unified account also what its balance leaves after
maintenance; an account that differs is set aside, too. An agent wallet holds nothing: of listed accounts that are empty
on every dex, the role is asked, and an agent is set aside with the account that it acts for. Margin in a coin that is
no dollar sets a dex's accounts aside: profits are paid in that coin, whose price is not in the replies.

Funding is paid every hour at once, so that nothing is owed in between; the rate is positive where longs pay shorts.
What the liquidator vault (HLP) can bear is not published as a figure: `insurance_fund_usd` states it, for the
exchange's own dex; left out, it is missing in the tables, and losses go to auto-deleveraging at once.

Sources, all of hyperliquid.gitbook.io/hyperliquid-docs: for-developers/api/info-endpoint (perpetuals, spot),
for-developers/api/rate-limits, trading/margining, trading/margin-tiers, trading/liquidations, trading/funding,
trading/auto-deleveraging, trading/account-abstraction-modes.
"""

from defi_leverage.http_api import Budget, HttpApi
from defi_leverage.protocols import Progress
from defi_leverage.reading import Reading
from defi_leverage.venues_http import HttpVenue, Network
from defi_leverage.venues_http.hyperliquid.accounts import read_accounts
from defi_leverage.venues_http.hyperliquid.markets import WEIGHT, read_dexs
from defi_leverage.venues_http.hyperliquid.pools import build_readings

__all__ = ["ADDRESS", "BUDGET", "NETWORKS", "OPTIONS", "read_http"]

NETWORKS = {
    # HyperEVM's CAIP-2 chain: HyperCore, where the perps are, has the same accounts, and no name of its own.
    "mainnet": Network("https://api.hyperliquid.xyz", "eip155:999"),
    "testnet": Network("https://api.hyperliquid-testnet.xyz", "eip155:998"),
}
BUDGET = Budget(1200, 60, heaviest=WEIGHT["userRole"])
ADDRESS = r"0x[0-9a-fA-F]{40}"
OPTIONS = {"dexs": "texts", "insurance_fund_usd": "amount"}


async def read_http(api: HttpApi, venue: HttpVenue, progress: Progress | None = None) -> tuple[Reading, ...]:
    """One reading for each dex that has accounts of the list, or markets that they hold.

    Raises ReaderError where the interface does not answer, or lacks a field.
    """
    start = api.now()
    dexs = await read_dexs(api, venue)
    users, failed = await read_accounts(api, venue, dexs, progress)
    window = (start, api.now())
    return build_readings(venue, NETWORKS[venue.network].chain, dexs, users, failed, window)
