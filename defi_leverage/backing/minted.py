"""Coins that a venue mints against collateral: what stands behind them, from the venue's own accounts.

Read off the readings, without a call. Each account's collateral stands behind its debts by their value, and what stands
behind the coin is set against all of it that the venues of the scan have lent: the rows of all venues add up.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from defi_leverage.reading import AccountReading, BackingReading, Reading

__all__ = ["MINTERS", "minted_backing"]

MINTERS: Mapping[str, frozenset[str]] = {
    "0x6B175474E89094C44Da98b954EedeAC495271d0F": frozenset({"maker"}),  # DAI
    "0xdC035D45d973E3EC169d2276DDab16f1e407384F": frozenset({"maker"}),  # USDS
    "0x5f98805A4E8be255a32880FDeC7F6728C6568bA0": frozenset({"liquity_v1"}),  # LUSD
    "0x6440f144b7e50D6a8439336510312d2F54beB01D": frozenset({"liquity_v2"}),  # BOLD
    "0xf939E0A03FB07F59A73314E73794Be0E57ac1b4E": frozenset({"crvusd"}),  # crvUSD
    "0x40D16FC0246aD3160Ccc09B8D0D3A2cD28aE6C2f": frozenset({"aave_v3"}),  # GHO
}
"""Coin on Ethereum -> the protocols that mint it. Elsewhere the same coins come over a bridge."""


def minted_backing(readings: Sequence[Reading]) -> list[BackingReading]:
    """Rows `minted_against`, one for each coin, venue and collateral; none where no venue of the scan mints."""
    behind: dict[tuple[str, str, str], Fraction] = {}  # coin, venue, collateral -> whole tokens
    owed: dict[str, Fraction] = {}  # coin -> whole coins
    for reading in readings:
        coins = _coins(reading)
        if not coins:
            continue
        decimals = {asset.asset_id: asset.decimals for asset in reading.assets}
        feeds = {feed.feed_id: Fraction(feed.price_raw, feed.price_scale) for feed in reading.feeds}
        for account in reading.accounts:
            for coin, (amount, share) in _debts(account, coins, decimals, feeds).items():
                owed[coin] = owed.get(coin, Fraction(0)) + amount
                for leg in account.legs:
                    if leg.side == "collateral" and leg.weight_wad:
                        key = coin, reading.venue.venue_id, leg.asset_id
                        held = share * leg.amount_raw / 10 ** decimals[leg.asset_id]
                        if leg.asset_id == coin:  # soft liquidation has got it back: it is no longer out
                            owed[coin] -= min(amount, held)
                        else:
                            behind[key] = behind.get(key, Fraction(0)) + held
    rows = []
    for (coin, venue_id, collateral), held in sorted(behind.items()):
        units = held / owed[coin] if owed[coin] else 0
        if units:
            rows.append(
                BackingReading(
                    coin, collateral, units.numerator, units.denominator, "minted_against", "accounts", venue_id
                )
            )
    return rows


def _coins(reading: Reading) -> set[str]:
    """The coins that the reading's venue mints."""
    venue = reading.venue
    listed = {asset.asset_id for asset in reading.assets}
    minted = {f"eip155:1/erc20:{coin}" for coin, by in MINTERS.items() if venue.protocol in by}
    return listed & minted


def _debts(
    account: AccountReading, coins: set[str], decimals: Mapping[str, int], feeds: Mapping[str, Fraction]
) -> dict[str, tuple[Fraction, Fraction]]:
    """Coin -> (whole coins that the account owes, their share of all its debt by value)."""
    amounts: dict[str, Fraction] = {}
    values: dict[str, Fraction] = {}
    for leg in account.legs:
        if leg.side == "debt" and leg.amount_raw:
            amount = Fraction(leg.amount_raw, 10 ** decimals[leg.asset_id])
            amounts[leg.asset_id] = amounts.get(leg.asset_id, Fraction(0)) + amount
            values[leg.asset_id] = values.get(leg.asset_id, Fraction(0)) + amount * feeds[leg.feed_id]
    total = sum(values.values(), Fraction(0))
    return {coin: (amounts[coin], values[coin] / total) for coin in amounts.keys() & coins if total}
