"""How a vault's borrow rate follows the utilisation of the token that it lends, at Fluid's liquidity layer.

The layer holds the liquidity of a token for all vaults, the lending protocol and the DEXes together. Its borrow rate is
straight lines between a rate at no utilisation, at one kink (version 1) or two (version 2), and at 100 %, and goes on
beyond; utilisation is all that is borrowed over all that is supplied, with interest. A vault charges it times its own
magnifier. The layer cuts utilisation and rate to a basis point, so that what it stores is up to one below the curve,
and the steepest line's rise over one more; it stores them when they have moved by a threshold, or after a day. All that
it holds is available: the limits that slow down each lender's withdrawals are not counted.

Suppliers share what with-interest borrowers pay, less the fee. Where nobody supplies or borrows free of interest that
is borrow rate * utilisation * (1 - fee) of the layer; `fee` is what that leaves out of the vault's own, larger or
smaller, rate (below 0 where the vault charges less than the layer pays). Else there is none: what suppliers get then
depends on which of them withdraw.

Source: Instadapp/fluid-contracts-public libraries/liquidityCalcs.sol (calcBorrowRateFromUtilization,
calcExchangePrices), liquidity/userModule/main.sol (operate), periphery/resolvers/liquidity/main.sol
(getOverallTokenData), vault (_getExchangePricesAndRates).
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import BPS, RAY
from defi_leverage.protocols.fluid.vaults import NATIVE, Vault
from defi_leverage.questions import ask
from defi_leverage.reading import RateCurve

__all__ = ["read_curves"]

_ONE = 10**12  # EXCHANGE_PRICES_PRECISION
_LOST = Fraction(1, 10**7)  # of a basis point, by the layer's slopes of twelve decimals

_Points = Sequence[tuple[int, int]]  # utilisation and borrow rate in bps, from no utilisation to 100 %


async def read_curves(chain: Chain, resolver: str, vaults: Iterable[Vault]) -> dict[str, RateCurve]:
    """The curve of each vault's debt, by vault.

    Left out are those whose layer does not describe the token, and those of which the layer's stored rate is not what
    the curve says at the stored utilisation, or the vault's is not that times its magnifier.
    """
    abi, known = load_abi("fluid"), list(vaults)
    (layer,) = await ask(chain, abi, [(resolver, "LIQUIDITY_RESOLVER", ())])
    if layer is None:
        return {}
    pools = sorted({(vault.liquidity, vault.debt.address) for vault in known})
    described = await ask(chain, abi, [(layer, "getOverallTokenData", (token,)) for _, token in pools])
    balances = await ask(chain, load_abi("erc20"), [(token, "balanceOf", (holder,)) for holder, token in pools])
    found = {pool: told for pool, *told in zip(pools, described, balances, strict=True)}
    curves = {}
    for vault in known:
        data, balance = found[vault.liquidity, vault.debt.address]
        curve = _curve(vault, data, balance, f"eip155:{chain.chain_id}:{vault.liquidity}") if data else None
        if curve is not None:
            curves[vault.address] = curve
    return curves


def _curve(vault: Vault, data: Any, balance: int | None, pool: str) -> RateCurve | None:
    rate, _, fee, used, _, _, *amounts, _, rates = data
    supply_price, borrow_price, raw_supply, free_supply, raw_borrow, free_borrow, supplied, borrowed, revenue = amounts
    points = _points(vault.debt.address, rates)
    sums = raw_supply * supply_price // _ONE + free_supply, raw_borrow * borrow_price // _ONE + free_borrow
    if points is None or sums != (supplied, borrowed):
        return None
    follows = -_LOST <= _rate(points, used) - rate <= 1 + _LOST
    if not follows or vault.borrow_rate != rate * vault.borrow_magnifier // BPS:
        return None
    if vault.debt.address == NATIVE:
        balance = max(0, supplied + revenue - borrowed)  # which is how the resolver finds the revenue
    if balance is None:
        return None
    model, named = _parameters(points, vault.borrow_magnifier)
    if vault.borrow_magnifier and not free_supply and not free_borrow:
        named["fee"] = RAY - (BPS - fee) * RAY // vault.borrow_magnifier
    return RateCurve(model, named, supplied, borrowed, min(balance, supplied), pool)


def _points(token: str, rates: Any) -> _Points | None:
    """The corners of the curve, None for versions and parameters that the layer does not take."""
    version, one, two = rates
    token_named, *rest = {1: one, 2: two}.get(version, (None,))
    if token_named != token:
        return None
    used, charged = (0, *rest[:version], BPS), rest[version:]
    rises = all(low < high for low, high in pairwise(used))
    return list(zip(used, charged, strict=True)) if rises else None


def _rate(points: _Points, used: int) -> Fraction:
    """The borrow rate in bps; a kink belongs to the line that begins there, and the last goes on."""
    at = max(place for place, (corner, _) in enumerate(points[:-1]) if corner <= used)
    (left, low), (right, high) = points[at : at + 2]
    return low + Fraction((high - low) * (used - left), right - left)


def _parameters(points: _Points, magnifier: int) -> tuple[str, dict[str, int]]:
    slopes = [
        (high - low) * magnifier * RAY // (BPS * (right - left)) for (left, low), (right, high) in pairwise(points)
    ]
    base, kinks = points[0][1] * magnifier * RAY // BPS**2, [corner * RAY // BPS for corner, _ in points[1:-1]]
    named = {"base": base, "multiplier": slopes[0], "kink": kinks[0], "jump_multiplier": slopes[-1]}
    if len(kinks) == 1:
        return "jump", named
    return "two_kinks", named | {"base2": 0, "multiplier2": slopes[1], "kink2": kinks[1]}
