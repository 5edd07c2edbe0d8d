"""The vaults of Fluid at the pinned block, as its VaultResolver describes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import WAD
from defi_leverage.native_coins import NATIVE_COINS
from defi_leverage.protocols._tokens import Token, read_tokens
from defi_leverage.questions import NOBODY, Question, ask, ask_each

__all__ = ["NATIVE", "RATE_SCALE", "Vault", "asset_reference", "read_vaults"]

NATIVE = "0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE"  # how Fluid writes a chain's own coin
RATE_SCALE = 10**27  # of oracle prices
_PLAIN = 10_000  # FluidProtocolTypes.VAULT_T1_TYPE: one token against one token
_ONE = 10**12  # EXCHANGE_PRICES_PRECISION
_OWN_RATES = ("stEthPerToken", "getRate", "getExchangeRate")  # of 18 decimals, by staked tokens themselves


@dataclass(frozen=True, slots=True)
class Vault:
    """A vault of one collateral against one debt: raw amounts, terms in bps, yearly rates in bps.

    `price`: raw debt for raw collateral, times 1e27. `is_rate`: whether the oracle names exchange rates alone as its
    sources. `own_rate`: what the collateral's own contract says a whole one is worth, in wad; None where it does not.
    `liquidity` lends the debt, whose rate there the vault charges times `borrow_magnifier` (bps).
    """

    address: str
    collateral: Token
    debt: Token
    price: int
    is_rate: bool
    own_rate: int | None
    threshold: int
    absorbed_at: int
    penalty: int
    supply: int
    borrow: int
    absorbed_supply: int
    absorbed_borrow: int
    withdrawable: int
    borrowable: int
    borrow_limit: int
    supply_rate: int
    borrow_rate: int
    liquidity: str
    borrow_magnifier: int
    problem: str

    @property
    def name(self) -> str:
        """For people: wstETH/ETH."""
        return f"{self.collateral.symbol}/{self.debt.symbol}"


def asset_reference(chain_id: int, token: str) -> str:
    """CAIP-19 of a token, without the chain."""
    return NATIVE_COINS.get(chain_id, NATIVE_COINS[1])[0] if token == NATIVE else f"erc20:{token}"


async def read_vaults(chain: Chain, resolver: str) -> tuple[dict[str, Vault], dict[str, str]] | None:
    """The vaults by address, and why others are left out; None where the contract lists no vaults."""
    abi = load_abi("fluid")
    (listed,) = await ask(chain, abi, [(resolver, "getAllVaultsAddresses", ())])
    if listed is None:
        return None
    described = await ask(chain, abi, [(resolver, "getVaultEntireData", (vault,)) for vault in listed])
    gaps: dict[str, str] = {}
    plain: dict[str, Any] = {}
    for vault, data in zip(listed, described, strict=True):
        if data is None or not _is_known_layout(vault, data):
            gaps[vault] = "the resolver does not describe it: its oracle reverts, or the resolver is of another version"
        elif data[1] or data[2] or data[3][11] != _PLAIN:
            gaps[vault] = "its collateral or debt are shares of a Fluid DEX, which are not read"
        else:
            plain[vault] = data
    tokens = await read_tokens(chain, {side for d in plain.values() for side in (d[3][8][0], d[3][9][0])} - {NATIVE})
    tokens[NATIVE] = Token(NATIVE, NATIVE_COINS.get(chain.chain_id, NATIVE_COINS[1])[1], 18)
    hops = await ask(chain, abi, [(d[4][8], "getOracleHopSources", ()) for d in plain.values()])
    rates = await _own_rates(chain, {d[3][8][0]: tokens[d[3][8][0]] for d in plain.values()})
    vaults = {
        vault: _vault(vault, data, tokens, sources, rates)
        for (vault, data), sources in zip(plain.items(), hops, strict=True)
    }
    return vaults, gaps


def _is_known_layout(vault: str, data: Any) -> bool:
    """Whether the answer has its words where we take them to be: resolvers differ by a field here and there.

    Later ones have more after the limits, which are the last that is read. The vault's exchange prices, of twelve
    decimals, are found only where nothing before them is shifted.
    """
    prices = data[5]
    return bool(data[0] == vault and all(_ONE <= price < _ONE * 1000 for price in prices[6:8]))


async def _own_rates(chain: Chain, tokens: Mapping[str, Token]) -> dict[str, int]:
    """What tokens say they are worth, in wad a whole one: exchange rates, and shares of ERC-4626 vaults."""
    abi = load_abi("fluid")
    wanted = [token for address, token in sorted(tokens.items()) if address != NATIVE and not token.problem]
    asked: dict[str, list[Question]] = {
        token.address: [*((token.address, name, ()) for name in _OWN_RATES), (token.address, "convertToAssets", (WAD,))]
        for token in wanted
    }
    told = await ask_each(chain, abi, asked)
    return {address: rate for address, answers in told.items() if (rate := next(filter(None, answers), None))}


def _vault(address: str, data: Any, tokens: Mapping[str, Token], sources: Any, rates: Mapping[str, int]) -> Vault:
    constants, configs, prices, totals, limits = data[3:8]
    collateral, debt = tokens[constants[8][0]], tokens[constants[9][0]]
    named = [source for source in sources or () if source[0] != NOBODY]
    problems = [
        (collateral.problem, collateral.problem),
        (debt.problem, debt.problem),
        (configs[10] == 0, "its oracle answers 0"),
    ]
    return Vault(
        address=address,
        collateral=collateral,
        debt=debt,
        price=configs[10],
        is_rate=bool(named) and all(source[4] in (0, 4) for source in named),  # SourceType.Fluid, .FluidDebt
        own_rate=rates.get(collateral.address),
        threshold=configs[3],
        absorbed_at=configs[4],
        penalty=configs[6],
        supply=totals[0],
        borrow=totals[1],
        absorbed_supply=totals[4],
        absorbed_borrow=totals[5],
        withdrawable=limits[2],
        borrowable=limits[5],
        borrow_limit=limits[3],
        supply_rate=prices[10],
        borrow_rate=prices[11],
        liquidity=constants[0],
        borrow_magnifier=configs[1],
        problem=next((str(why) for wrong, why in problems if wrong), ""),
    )
