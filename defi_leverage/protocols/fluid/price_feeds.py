"""USD prices and feeds of Fluid's vaults, whose oracles know only debt for collateral.

One feed in USD, of the chain's own coin, is given (`eth_usd_feed`); from there the oracles lead from token to token, at
each step by the vault that holds the most of the token. A vault's collateral is a `ratio` of another token's feed where
its oracle names exchange rates alone as its sources, or where its price over that token's is what the collateral's own
contract says (to 1e-6); else it is taken to follow its market.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from defi_leverage.protocols.fluid.vaults import NATIVE, RATE_SCALE, Vault
from defi_leverage.reading import FeedReading

__all__ = ["Dollar", "collateral_feed", "dollar_feed", "price_tokens"]

_TOLERATED = Fraction(1, 10**6)

Dollar = tuple[Fraction, str]  # USD for a whole token, and where that comes from


def quotient(vault: Vault) -> Fraction:
    """Whole debt tokens for a whole collateral token, as the vault's oracle answers."""
    return Fraction(vault.price * 10**vault.collateral.decimals, RATE_SCALE * 10**vault.debt.decimals)


def price_tokens(vaults: Iterable[Vault], native: Dollar) -> dict[str, Dollar]:
    """USD by token; one that no vault leads to is left out."""
    sound = [vault for vault in vaults if not vault.problem]
    prices = {NATIVE: native}
    while True:
        nearest: dict[str, tuple[int, str, Dollar]] = {}
        for vault in sound:
            for token, other, rate, amount in (
                (vault.collateral, vault.debt, quotient(vault), vault.supply),
                (vault.debt, vault.collateral, 1 / quotient(vault), vault.borrow),
            ):
                known = prices.get(other.address)
                if token.address not in prices and known:
                    source = f"oracle of the vault {vault.address} and {other.symbol} at {known[1]}"
                    offer = (amount, vault.address, (known[0] * rate, source))
                    nearest[token.address] = max(nearest.get(token.address, offer), offer, key=lambda item: item[:2])
        if not nearest:
            return prices
        prices |= {token: price for token, (_, _, price) in nearest.items()}


def dollar_feed(token: str, asset_id: str, resolver: str, prices: Mapping[str, Dollar]) -> FeedReading:
    """The feed that a token's debts are valued with: its price in USD, which follows its market."""
    price, source = prices[token]
    return FeedReading(f"{asset_id}@{resolver}", asset_id, price.numerator, price.denominator, source=source)


def collateral_feed(
    vault: Vault, vaults: Sequence[Vault], feeds: Mapping[str, FeedReading], asset_id: str
) -> tuple[FeedReading, ...]:
    """The feed of a vault's collateral, and the one that it is a ratio of; `feeds` are those in USD, by token."""
    debt = feeds[vault.debt.address]
    price = quotient(vault) * Fraction(debt.price_raw, debt.price_scale)
    feed_id, base = f"{asset_id}@{vault.address}", _base(vault, vaults)
    if base is None or base not in feeds:
        source = f"oracle of the vault {vault.address}, whose sources are not known: taken to follow the market"
        return (FeedReading(feed_id, asset_id, price.numerator, price.denominator, source=source),)
    under = feeds[base]
    ratio = price / Fraction(under.price_raw, under.price_scale)
    source = f"oracle of the vault {vault.address}, an exchange rate"
    own = FeedReading(
        feed_id,
        asset_id,
        price.numerator,
        price.denominator,
        "ratio",
        under.feed_id,
        ratio.numerator,
        ratio.denominator,
        source,
    )
    return own, under


def _base(vault: Vault, vaults: Sequence[Vault]) -> str | None:
    """The token whose price the collateral's is an exchange rate of."""
    if vault.is_rate:
        return vault.debt.address
    if not vault.own_rate:
        return None
    rate = Fraction(vault.own_rate, 10**18)
    others = {
        other.collateral.address: quotient(other)
        for other in vaults
        if not other.problem and other.debt == vault.debt and other.collateral != vault.collateral
    }
    for token, price in ({vault.debt.address: Fraction(1)} | others).items():
        if abs(quotient(vault) / price / rate - 1) <= _TOLERATED:
            return token
    return None
