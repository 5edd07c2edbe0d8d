"""Gains Network's gTrade, release v10: the trades of one diamond, each collateral with its vault a venue of its own.

A trade is an account of its own: margin is isolated. Trades, their fees and liquidation prices come from the diamond's
views, with prices that we hand in (`prices`); a trade whose liquidation price is not reproduced is set aside. Profit is
paid in collateral: legs have the profit so far in collateral, and what follows in dollars at its present price. So
equity is exact where the pair or the collateral moves; where both do, the product of the two moves is left out, and the
margin that must be left is in dollars of today. What a pair is worth in dollars is its price, whatever it is quoted in.

Signs: funding is positive where the trade owes it (getTradeFundingFeesCollateral), a rate where longs pay shorts; a
borrowing fee is owed to the vault. The vault is the other side of all trades: it takes what margin is left at a
liquidation, and bears what margin does not pay; what it holds is the insurance fund. Nobody is auto-deleveraged.
Maintenance margin depends on a trade's leverage and not on its notional, so that markets have no tiers. Liquidation
goes by the oracle's price as it is, without the price impact of the skew (TradingCallbacksUtils). Not modelled: price
impact of closing beyond the fixed spread, discounts of fees, orders that are not yet trades.
"""

from collections import defaultdict

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError
from defi_leverage.protocols import Progress, silence
from defi_leverage.protocols.gains.accounts import Quote, account_of
from defi_leverage.protocols.gains.arithmetic import PRICE, Held, Trade
from defi_leverage.protocols.gains.markets import read_perp_markets
from defi_leverage.protocols.gains.prices import PricedPair, parse_prices, read_pairs
from defi_leverage.protocols.gains.trades import find_trades, name_of, read_fees
from defi_leverage.protocols.gains.vaults import Vault, read_terms, read_vaults
from defi_leverage.questions import ask
from defi_leverage.reading import (
    AccountReading,
    AssetReading,
    Deployment,
    FeedReading,
    MarketReading,
    Reading,
    VenueReading,
)

__all__ = ["OPTIONS", "read"]

OPTIONS = {"prices": "texts"}
_PAUSED = 2  # TradingActivated of ITradingStorage: ACTIVATED, CLOSE_ONLY, PAUSED


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> tuple[Reading, ...]:
    """One reading for each collateral that has a price, at the chain's pinned block.

    Collaterals and pairs without a price are in `gaps` of the first one, with the number of their trades. Raises
    ConfigError for a price that is none, ReaderError where the contract is not such a diamond or nothing has a price,
    ChainError where the chain does not answer.
    """
    tell = progress or silence
    given = parse_prices(deployment.options.get("prices") or (), deployment.name)
    diamond = checksum_address(deployment.address)
    trades, gaps = await find_trades(chain, diamond)
    vaults = await read_vaults(chain, diamond)
    pairs = await read_pairs(chain, diamond, sorted({trade.pair for trade in trades}), given)
    without: defaultdict[str, int] = defaultdict(int)
    priced = []
    for trade in trades:
        vault = vaults.get(trade.collateral_index)
        problem = pairs[trade.pair].problem or ("its collateral is not listed" if vault is None else vault.problem)
        if problem:
            without[problem] += 1
        else:
            priced.append(trade)
    gaps |= {
        f"trades without a price {number}": f"{count} trades are left out: {why}"
        for number, (why, count) in enumerate(without.items(), 1)
    }
    gaps |= {f"collateral {vault.token}": vault.problem for vault in vaults.values() if vault.problem}
    if await ask(chain, load_abi("gains"), [(diamond, "getTradingActivated", ())]) == [_PAUSED]:
        gaps["trading"] = "it is paused: no trade is closed while it is, not by a liquidation either"
    sound = [vault for vault in vaults.values() if not vault.problem]
    if not sound:
        raise ReaderError(f"{diamond}: no collateral has a price ({'; '.join(gaps.values())}).", address=diamond)
    told = dict(zip(priced, await read_fees(chain, diamond, priced, pairs, tell), strict=True))
    readings = []
    for vault in sound:
        own = {trade: fees for trade, fees in told.items() if trade.collateral_index == vault.index}
        readings.append(await _reading(chain, deployment, diamond, vault, own, pairs, gaps))
        gaps = {}
    return tuple(readings)


async def _reading(
    chain: Chain,
    deployment: Deployment,
    diamond: str,
    vault: Vault,
    told: "dict[Trade, tuple[Held, int] | str]",
    pairs: dict[int, PricedPair],
    gaps: dict[str, str],
) -> Reading:
    chain_name = f"eip155:{chain.chain_id}"
    terms = await read_terms(chain, diamond, vault, told)
    own = {index: pairs[index] for index in sorted({trade.pair for trade in told})}

    def quoted(asset_id: str) -> tuple[str, str]:
        return asset_id, f"{asset_id}@{diamond}"

    held = quoted(f"{chain_name}/erc20:{vault.token}")
    dollar = quoted(f"{chain_name}/usd:{diamond}")
    indices = {index: quoted(f"{chain_name}/perp:{diamond}-{index}") for index in own}
    accounts: list[AccountReading] = []
    failed = {}
    for trade, fees in told.items():
        quote = Quote(indices[trade.pair], held, dollar, vault.usd, vault.decimals, own[trade.pair].price)
        found = account_of(trade, terms[trade], fees, quote)
        if isinstance(found, str):
            failed[name_of(trade)] = found
        else:
            accounts.append(found)
    markets, why = await read_perp_markets(chain, diamond, vault, list(told), own, indices)
    sums = _sums(accounts)
    return Reading(
        chain=chain_name,
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=VenueReading(
            venue_id=f"{chain_name}:{vault.address}",
            protocol="gains",
            name=f"{deployment.name} {vault.symbol}",
            address=vault.address,
            revision=10,
            liquidation_rule="perp_full",
            liquidation_parameters={
                "liquidation_fee": 1.0,  # all that is left goes to the vault
                "insurance_fund_usd": vault.holds * vault.usd / 10 ** (vault.decimals + 8),
                "deleverage": 0.0,
            },
        ),
        assets=(
            *(AssetReading(indices[index][0], pair.name, 18, "index") for index, pair in own.items()),
            AssetReading(held[0], vault.symbol, vault.decimals),
            AssetReading(dollar[0], "USD", 18, "usd"),
        ),
        feeds=(
            *(
                FeedReading(indices[index][1], indices[index][0], pair.price, PRICE, source=pair.source)
                for index, pair in own.items()
            ),
            FeedReading(held[1], held[0], vault.usd, 10**8, source=vault.source),
            FeedReading(dollar[1], dollar[0], 1, 1, "fixed", source="the dollar itself"),
        ),
        backing=(),
        markets=(
            *(
                MarketReading(
                    market.asset_id, market.open_interest_long_raw or 0, market.open_interest_short_raw or 0, 0
                )
                for market in markets
            ),
            MarketReading(held[0], sums[held[0], "collateral"], sums[held[0], "debt"], vault.holds),
            MarketReading(dollar[0], sums[dollar[0], "collateral"], sums[dollar[0], "debt"], 0),
        ),
        accounts=tuple(accounts),
        found=len(told),
        failed=failed,
        gaps=gaps | why,
        perp_markets=markets,
    )


def _sums(accounts: list[AccountReading]) -> defaultdict[tuple[str, str], int]:
    """Amounts of all legs by asset and side."""
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    for account in accounts:
        for leg in account.legs:
            sums[leg.asset_id, leg.side] += leg.amount_raw
    return sums
