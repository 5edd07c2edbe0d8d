"""The collaterals of a gTrade diamond with the vaults behind them, and what closing costs each trade."""

from dataclasses import dataclass

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.chain import Chain
from defi_leverage.protocols._tokens import read_tokens
from defi_leverage.protocols.gains.arithmetic import Held, Terms, Trade
from defi_leverage.questions import NOBODY, ask

__all__ = ["Vault", "read_terms", "read_vaults"]


@dataclass(frozen=True, slots=True)
class Vault:
    """A collateral with the vault behind it; `usd`: its price times 1e8. `problem`: why it is left out."""

    index: int
    token: str
    symbol: str
    decimals: int
    usd: int
    source: str
    address: str
    holds: int
    problem: str = ""


async def read_vaults(chain: Chain, diamond: str) -> dict[int, Vault]:
    """Every collateral by its index, with its price, its vault and what that holds, or why it is left out."""
    abi = load_abi("gains")
    (listed,) = await ask(chain, abi, [(diamond, "getCollaterals", ())])
    indices = range(1, len(listed or ()) + 1)
    names = ("getCollateralPriceUsd", "getCollateralUsdPriceFeed", "getGToken")
    told = await ask(chain, abi, [(diamond, name, (index,)) for index in indices for name in names])
    tokens = [checksum_address(collateral[0]) for collateral in listed or ()]
    erc20 = await read_tokens(chain, tokens)
    vaults = [checksum_address(vault) if vault else NOBODY for vault in told[2::3]]
    holds = await ask(chain, abi, [(token, "balanceOf", (vault,)) for token, vault in zip(tokens, vaults, strict=True)])
    found = {}
    for at, (index, token, collateral) in enumerate(zip(indices, tokens, listed or (), strict=True)):
        usd, feed, known = told[3 * at] or 0, told[3 * at + 1], erc20[token]
        problem = known.problem
        if not problem and not usd:
            problem = f"{known.symbol} has no price: its feed {feed} gives none"
        if not problem and (vaults[at] == NOBODY or holds[at] is None):
            problem = f"{known.symbol} has no vault"
        if not problem and collateral[3] != 10**known.decimals:
            problem = f"{known.symbol} has {known.decimals} decimals, a precision of {collateral[3]} at the diamond"
        if not problem and known.decimals > 18:
            problem = f"{known.symbol} has {known.decimals} decimals, more than 18"
        source = f"getCollateralPriceUsd, feed {feed}"
        found[index] = Vault(
            index, token, known.symbol, known.decimals, usd, source, vaults[at], holds[at] or 0, problem
        )
    return found


async def read_terms(
    chain: Chain, diamond: str, vault: Vault, told: "dict[Trade, tuple[Held, int] | str]"
) -> dict[Trade, Terms | str]:
    """What closing costs each trade, or why that is not told."""
    abi = load_abi("gains")
    wanted = sorted({trade.pair for trade in told})
    names = ("pairTotalPositionSizeFeeP", "getPairCounterTradeFeeRateMultiplier", "pairMinPositionSizeUsd")
    of_pairs = await ask(chain, abi, [(diamond, name, (pair,)) for pair in wanted for name in names])
    spreads = await ask(chain, abi, [(diamond, "pairSpreadP", (trade.trader, trade.pair)) for trade in told])
    found: dict[Trade, Terms | str] = {}
    for trade, spread in zip(told, spreads, strict=True):
        at = 3 * wanted.index(trade.pair)
        fee, multiplier, least_usd = of_pairs[at : at + 3]
        if spread is None or fee is None or multiplier is None or least_usd is None:
            found[trade] = "the contract does not tell its pair's fees"
        else:
            least = least_usd * 10**8 // vault.usd // 10 ** (18 - vault.decimals)
            found[trade] = Terms(fee, multiplier, least, spread)
    return found
