"""A market of Aave v3, release 3.6, compiled from the Solidity that Aave publishes on npm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address

from ...aave import ZERO_ADDRESS, Market
from ...aave_parameters import PROTOCOL_FEE, Category, Reserve, reserve
from ...artifacts import AAVE_3_0, Artifacts, compile_contracts, pack
from ...tokens import DECIMALS, PRICE_UNIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...artifacts import Artifact
    from ...chain import Deployer
    from .. import Site

__all__ = ["CATEGORIES", "NAME", "PLACES", "RESERVES", "UMBRELLA", "compile_release", "deploy_market", "limits"]

NAME = "Core 3.6"
UMBRELLA = b"UMBRELLA".ljust(32, b"\0")
_SOURCES = "@aave-dao/aave-v3-origin@3.6.0"
_CONTRACTS = (
    *("instances/PoolInstance", "instances/PoolConfiguratorInstance"),
    *("instances/ATokenInstance", "instances/VariableDebtTokenInstance"),
    *("misc/AaveOracle", "misc/DefaultReserveInterestRateStrategyV2", "helpers/AaveProtocolDataProvider"),
    "helpers/LiquidationDataProvider",
    *("protocol/configuration/PoolAddressesProvider", "protocol/configuration/ACLManager"),
)

# What the market lists beside the shared tokens, priced by the feed of one of them: symbol -> that token, decimals.
_OWN = {"weETH": ("wstETH", 18), "OLD": ("DAI", 18), "tBTC": ("WBTC", 18), "GHO": ("DAI", 18), "PYUSD": ("USDC", 6)}
_OWN |= {"LUSD": ("DAI", 18)}
PLACES = DECIMALS | {symbol: places for symbol, (_, places) in _OWN.items()}

_STABLE_RATES = (0.90, 0.0, 0.055, 0.40)
RESERVES = (
    reserve("WETH"),
    # Only e-mode categories let it be borrowed.
    Reserve("wstETH", 7850, 8100, 10600, 500, (0.80, 0.0025, 0.045, 0.80), 1_200_000, 100_000, is_borrowable=False),
    reserve("WBTC"),
    reserve("USDC"),
    reserve("DAI"),
    # Collateral in its e-mode category alone.
    Reserve("weETH", 0, 0, 0, 4500, (0.30, 0.01, 0.07, 3.0), 600_000, 1, is_borrowable=False),
    Reserve("OLD", 6500, 7000, 10500, 1000, _STABLE_RATES, 1_000, 1_000),  # dropped before anyone comes
    Reserve("tBTC", 7300, 7800, 10750, 2000, (0.80, 0.0025, 0.04, 3.0), 2_000, 1, is_borrowable=False),
    Reserve("GHO", 0, 0, 0, 1000, (0.90, 0.02, 0.055, 0.50), 90_000_000, 80_000_000),
    Reserve("PYUSD", 7500, 7800, 10750, 2000, _STABLE_RATES, 60_000_000, 54_000_000),
    Reserve("LUSD", 7000, 7700, 10450, 1000, _STABLE_RATES, 30_000_000, 20_000_000),
)
CATEGORIES = (
    Category(1, "ETH correlated", 9300, 9500, 10100, ("WETH", "wstETH", "weETH")),
    Category(2, "wstETH against dollars", 8200, 8450, 10550, ("wstETH",)),
    Category(3, "Stablecoins", 9000, 9300, 10150, ("USDC", "DAI")),
    Category(4, "Majors", 8300, 8600, 10400, ("WETH", "WBTC")),
)
_BORROWABLE = {1: ("WETH", "wstETH"), 2: ("USDC", "DAI"), 3: ("USDC", "DAI", "GHO"), 4: ("USDC", "DAI", "PYUSD")}
ISOLATED, ISOLATION_CEILING_CENTS = "tBTC", 20_000_000_00
SILOED, DROPPED = "GHO", "OLD"


def compile_release() -> dict[str, Artifact]:
    """The release's contracts: 0.8.27 and shanghai, as its repository compiles them."""
    folder = pack(_SOURCES) / "src/contracts"
    files = [folder / f"{name}.sol" for name in _CONTRACTS]
    meant = {"openzeppelin-contracts/contracts/": "@openzeppelin/contracts@5.1.0/"}
    return compile_contracts("0.8.27", files, meant, evmVersion="shanghai")


def limits(symbol: str, category: int = 0) -> tuple[int, int]:
    """Loan-to-value and liquidation threshold of a collateral, in bps, as they are when the market opens."""
    for one in CATEGORIES:
        if one.identifier == category and symbol in one.assets:
            return one.ltv, one.threshold
    own = next(found for found in RESERVES if found.symbol == symbol)
    return own.ltv, own.threshold


def deploy_market(site: Site) -> tuple[Market, dict[str, str]]:
    """The market with every reserve and category, and its tokens by symbol."""
    mintable = site.deployer(Artifacts(AAVE_3_0))
    tokens = site.tokens | {
        symbol: mintable.deploy("MintableERC20", symbol, symbol, places) for symbol, (_, places) in _OWN.items()
    }
    feeds = {symbol: site.feeds[_OWN[symbol][0] if symbol in _OWN else symbol] for symbol in tokens}
    deployer = site.deployer(compile_release())
    market = _deploy_core(deployer, tokens, feeds)
    _list_reserves(deployer, market, tokens, site.account("treasury"))
    for category in CATEGORIES:
        _add_category(deployer, market, tokens, category)
    deployer.send(market.configurator, ("dropReserve(address)", tokens.pop(DROPPED)))
    signature, returns = "getReserveTokensAddresses(address)", "(address,address,address)"
    for symbol, token in tokens.items():
        found = deployer.chain.call(market.data_provider, signature, returns, token)
        market.a_tokens[symbol], _, market.variable_debt_tokens[symbol] = (to_checksum_address(one) for one in found)
    return market, tokens


def _deploy_core(deployer: Deployer, tokens: Mapping[str, str], feeds: Mapping[str, str]) -> Market:
    owner, chain = deployer.owner, deployer.chain
    provider = deployer.deploy("PoolAddressesProvider", NAME, owner)
    first_block = chain.head()[0]
    deployer.send(provider, ("setACLAdmin(address)", owner))
    acl = deployer.deploy("ACLManager", provider)
    deployer.send(provider, ("setACLManager(address)", acl))
    roles = ("PoolAdmin", "RiskAdmin", "AssetListingAdmin", "EmergencyAdmin")
    deployer.send(acl, *((f"add{role}(address)", owner) for role in roles))
    strategy = deployer.deploy("DefaultReserveInterestRateStrategyV2", provider)
    sources = ([tokens[symbol] for symbol in feeds], list(feeds.values()))
    oracle = deployer.deploy("AaveOracle", provider, *sources, ZERO_ADDRESS, ZERO_ADDRESS, PRICE_UNIT)
    pool = deployer.deploy("PoolInstance", provider, strategy)
    deployer.send(provider, ("setPoolImpl(address)", pool), ("setPriceOracle(address)", oracle))
    data_provider = deployer.deploy("AaveProtocolDataProvider", provider)
    configurator = deployer.deploy("PoolConfiguratorInstance")
    deployer.send(
        provider,
        ("setPoolConfiguratorImpl(address)", configurator),
        ("setPoolDataProvider(address)", data_provider),
    )
    pool, configurator = (
        to_checksum_address(chain.call(provider, f"getPool{part}()", "(address)")[0]) for part in ("", "Configurator")
    )
    return Market("aave_v3_origin", NAME, provider, pool, configurator, oracle, data_provider, first_block)


def _list_reserves(deployer: Deployer, market: Market, tokens: Mapping[str, str], treasury: str) -> None:
    implementations = (
        deployer.deploy("ATokenInstance", market.pool, ZERO_ADDRESS, treasury),
        deployer.deploy("VariableDebtTokenInstance", market.pool, ZERO_ADDRESS),
    )
    inputs = []
    for one in RESERVES:
        rates = encode(["uint16", "uint32", "uint32", "uint32"], [round(rate * 10**4) for rate in one.rates])
        names = (f"Aave {one.symbol}", f"a{one.symbol}", f"Aave Debt {one.symbol}", f"debt{one.symbol}")
        inputs.append((*implementations, tokens[one.symbol], *names, b"", rates))
    fields = "address,address,address,string,string,string,string,bytes,bytes"
    deployer.send(market.configurator, (f"initReserves(({fields})[])", inputs))
    calls: list[tuple[Any, ...]] = []
    for one in RESERVES:
        token = tokens[one.symbol]
        calls += [
            ("setReserveBorrowing(address,bool)", token, one.is_borrowable),
            ("setReserveFactor(address,uint256)", token, one.reserve_factor),
            ("setLiquidationProtocolFee(address,uint256)", token, PROTOCOL_FEE),
            ("setSupplyCap(address,uint256)", token, one.supply_cap),
            ("setBorrowCap(address,uint256)", token, one.borrow_cap),
        ]
        if one.threshold:
            signature = "configureReserveAsCollateral(address,uint256,uint256,uint256)"
            calls.append((signature, token, one.ltv, one.threshold, one.bonus))
    calls += [("setBorrowableInIsolation(address,bool)", tokens[symbol], True) for symbol in ("USDC", "DAI")]
    calls.append(("setDebtCeiling(address,uint256)", tokens[ISOLATED], ISOLATION_CEILING_CENTS))
    calls.append(("setSiloedBorrowing(address,bool)", tokens[SILOED], True))
    deployer.send(market.configurator, *calls)


def _add_category(deployer: Deployer, market: Market, tokens: Mapping[str, str], category: Category) -> None:
    number = category.identifier
    terms = (number, category.ltv, category.threshold, category.bonus, category.label)
    deployer.send(
        market.configurator,
        ("setEModeCategory(uint8,uint16,uint16,uint16,string)", *terms),
        *(("setAssetCollateralInEMode(address,uint8,bool)", tokens[one], number, True) for one in category.assets),
        *(("setAssetBorrowableInEMode(address,uint8,bool)", tokens[one], number, True) for one in _BORROWABLE[number]),
    )
