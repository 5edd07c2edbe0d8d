"""The markets of a gTrade collateral: open interest, funding, the most leverage."""

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import SECONDS_PER_YEAR, WAD
from defi_leverage.protocols.gains.accounts import units_of
from defi_leverage.protocols.gains.arithmetic import Trade
from defi_leverage.protocols.gains.prices import PricedPair
from defi_leverage.protocols.gains.vaults import Vault
from defi_leverage.questions import ask, ask_all
from defi_leverage.reading import PerpMarketReading

__all__ = ["read_perp_markets"]

_V10 = 2
_IS_ENABLED = 4  # place among the FundingFeeParams of IFundingFees


async def read_perp_markets(
    chain: Chain,
    diamond: str,
    vault: Vault,
    trades: list[Trade],
    pairs: dict[int, PricedPair],
    indices: dict[int, tuple[str, str]],
) -> tuple[tuple[PerpMarketReading, ...], dict[str, str]]:
    """Open interest of the trades themselves, compared with what the diamond counts for those since v10.

    Where funding is switched off, the diamond still answers with the last rate (FundingFeesUtils), which nobody pays.
    """
    abi, found, gaps = load_abi("gains"), [], {}
    (funding,) = await ask(
        chain, abi, [(diamond, "getPairFundingFeeParams", ([vault.index] * len(pairs), list(pairs)))]
    )
    if funding is None or len(funding) != len(pairs):
        funding = [None] * len(pairs)
    is_charged = [None if terms is None else terms[_IS_ENABLED] for terms in funding]
    rates = await ask_all(
        chain,
        abi,
        [(diamond, "getPairPendingAccFundingFees", (vault.index, index, pair.price)) for index, pair in pairs.items()],
    )
    most = await ask(chain, abi, [(diamond, "pairMaxLeverage", (index,)) for index in pairs])
    counted = await ask(chain, abi, [(diamond, "getPairOiAfterV10Token", (vault.index, index)) for index in pairs])
    insurance = vault.holds * vault.usd * WAD // 10 ** (vault.decimals + 8)
    for (index, pair), rate, charged, leverage, interest in zip(
        pairs.items(), rates, is_charged, most, counted, strict=True
    ):
        open_now = {
            side: [trade for trade in trades if trade.pair == index and trade.is_long == side] for side in (True, False)
        }
        for side, told in zip((True, False), interest or (), strict=False):
            units = sum(trade.size_tokens for trade in open_now[side] if trade.version >= _V10)
            if abs(units - told) * 10**6 > max(units, told):
                gaps[f"open interest of {pair.name} {'long' if side else 'short'} in {vault.symbol}"] = (
                    f"trades have {units / WAD:.6g} units per token, the diamond counts {told / WAD:.6g}"
                )
        totals = [sum(units_of(trade, vault.usd, vault.decimals) for trade in open_now[side]) for side in open_now]
        found.append(
            PerpMarketReading(
                asset_id=indices[index][0],
                open_interest_long_raw=totals[0],
                open_interest_short_raw=totals[1],
                funding_rate_wad=None if rate is None or charged is None else _a_year(rate[2]) * charged,
                maximum_leverage_wad=None if leverage is None else leverage * WAD // 1000,
                insurance_fund_usd_wad=insurance,
            )
        )
    return tuple(found), gaps


def _a_year(rate: int) -> int:
    """A year's funding of the notional (wad), of 1e-18 per cent a second."""
    return rate * SECONDS_PER_YEAR // 100
