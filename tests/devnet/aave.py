"""Deployment of an Aave v3 market from its real bytecode, in revision 3.0 or 3.2."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address

from .aave_parameters import CATEGORIES, PROTOCOL_FEE, RESERVES, STABLE_RATE_RESERVE, Category, Reserve
from .tokens import CATEGORY_FEED, DECIMALS, PRICE_UNIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .chain import Chain, Deployer

ZERO_ADDRESS = "0x" + "00" * 20
RAY = 10**27
# A category's price source is an address the oracle has a feed for; it need not be a token's.
CATEGORY_PRICE_SOURCE = to_checksum_address("0x" + "b7c0" * 10)


@dataclass(frozen=True)
class Market:
    """Addresses of one deployment."""

    key: str
    name: str
    provider: str
    pool: str
    configurator: str
    oracle: str
    data_provider: str
    first_block: int
    a_tokens: dict[str, str] = field(default_factory=dict)
    stable_debt_tokens: dict[str, str] = field(default_factory=dict)
    variable_debt_tokens: dict[str, str] = field(default_factory=dict)


class AaveRelease(ABC):
    """What differs between releases when a market is set up."""

    key: ClassVar[str]
    name: ClassVar[str]

    def __init__(
        self,
        deployer: Deployer,
        reserves: Sequence[Reserve] = RESERVES,
        categories: Sequence[Category] = CATEGORIES,
        name: str | None = None,
    ) -> None:
        self.deployer = deployer
        self.owner = deployer.owner
        self.reserves = reserves
        self.categories = categories
        self.market_name = name or self.name

    @abstractmethod
    def deploy_pool_implementation(self, provider: str) -> str:
        """Address of the pool's implementation."""

    @abstractmethod
    def deploy_configurator(self, provider: str) -> str:
        """Address of the configurator's implementation."""

    @abstractmethod
    def list_reserves(self, market: Market, tokens: Mapping[str, str]) -> None:
        """Create the reserves, without their risk parameters."""

    @abstractmethod
    def add_category(self, market: Market, tokens: Mapping[str, str], category: Category) -> None:
        """Create an e-mode category and put its assets into it."""

    def deploy(self, tokens: Mapping[str, str], feeds: Mapping[str, str]) -> Market:
        """Deploy a market with every reserve and category."""
        market = self._deploy_core()
        sources = [(tokens[symbol], feeds[symbol]) for symbol in tokens]
        sources.append((CATEGORY_PRICE_SOURCE, feeds[CATEGORY_FEED]))
        assets, addresses = (list(column) for column in zip(*sources, strict=True))
        self.deployer.send(market.oracle, ("setAssetSources(address[],address[])", assets, addresses))
        self.list_reserves(market, tokens)
        for reserve in self.reserves:
            self.deployer.send(market.configurator, *_risk_calls(tokens[reserve.symbol], reserve))
        for category in self.categories:
            self.add_category(market, tokens, category)
        self._read_token_addresses(market, tokens)
        return market

    def _deploy_core(self) -> Market:
        deployer, owner, chain = self.deployer, self.owner, self.deployer.chain
        provider = deployer.deploy("PoolAddressesProvider", self.market_name, owner)
        first_block = chain.head()[0]
        deployer.send(provider, ("setACLAdmin(address)", owner))
        acl = deployer.deploy("ACLManager", provider)
        deployer.send(provider, ("setACLManager(address)", acl))
        roles = ("PoolAdmin", "RiskAdmin", "AssetListingAdmin", "EmergencyAdmin")
        deployer.send(acl, *((f"add{role}(address)", owner) for role in roles))
        pool_implementation = self.deploy_pool_implementation(provider)
        configurator_implementation = self.deploy_configurator(provider)
        data_provider = deployer.deploy("AaveProtocolDataProvider", provider)
        oracle = deployer.deploy("AaveOracle", provider, [], [], ZERO_ADDRESS, ZERO_ADDRESS, PRICE_UNIT)
        deployer.send(
            provider,
            ("setPoolImpl(address)", pool_implementation),
            ("setPoolConfiguratorImpl(address)", configurator_implementation),
            ("setPoolDataProvider(address)", data_provider),
            ("setPriceOracle(address)", oracle),
        )
        pool = _address(chain, provider, "getPool()")
        configurator = _address(chain, provider, "getPoolConfigurator()")
        return Market(self.key, self.market_name, provider, pool, configurator, oracle, data_provider, first_block)

    def _read_token_addresses(self, market: Market, tokens: Mapping[str, str]) -> None:
        signature, returns = "getReserveTokensAddresses(address)", "(address,address,address)"
        for symbol, token in tokens.items():
            found = self.deployer.chain.call(market.data_provider, signature, returns, token)
            a_token, stable, variable = (to_checksum_address(address) for address in found)
            market.a_tokens[symbol] = a_token
            market.variable_debt_tokens[symbol] = variable
            if stable != ZERO_ADDRESS:
                market.stable_debt_tokens[symbol] = stable


class Aave30(AaveRelease):
    """Release 3.0: stable-rate debt, one e-mode category for each asset, categories with a price source."""

    key = "aave_v3_0"
    name = "Core 3.0"

    def deploy_pool_implementation(self, provider: str) -> str:
        address = self.deployer.deploy("Pool", provider)
        self.deployer.send(address, ("initialize(address)", provider))
        return address

    def deploy_configurator(self, provider: str) -> str:
        address = self.deployer.deploy("PoolConfigurator")
        self.deployer.send(address, ("initialize(address)", provider))
        return address

    def list_reserves(self, market: Market, tokens: Mapping[str, str]) -> None:
        deploy = self.deployer.deploy
        kinds = ("AToken", "StableDebtToken", "VariableDebtToken")
        implementations = [deploy(kind, market.pool) for kind in kinds]
        controller = deploy("MockIncentivesController")
        inputs = []
        for reserve in self.reserves:
            symbol, decimals = reserve.symbol, DECIMALS[reserve.symbol]
            strategy = deploy("DefaultReserveInterestRateStrategy", market.provider, *_rates_in_ray(reserve))
            names = [f"Aave {symbol}", f"a{symbol}", f"Aave Variable Debt {symbol}", f"variableDebt{symbol}"]
            names += [f"Aave Stable Debt {symbol}", f"stableDebt{symbol}"]
            addresses = (strategy, tokens[symbol], self.owner, controller)
            inputs.append((*implementations, decimals, *addresses, *names, b""))
        fields = "address,address,address,uint8,address,address,address,address" + ",string" * 6 + ",bytes"
        self.deployer.send(market.configurator, (f"initReserves(({fields})[])", inputs))
        self.deployer.send(
            market.configurator,
            ("setReserveBorrowing(address,bool)", tokens[STABLE_RATE_RESERVE], True),
            ("setReserveStableRateBorrowing(address,bool)", tokens[STABLE_RATE_RESERVE], True),
        )

    def add_category(self, market: Market, tokens: Mapping[str, str], category: Category) -> None:
        source = CATEGORY_PRICE_SOURCE if category.has_price_source else ZERO_ADDRESS
        limits = (category.identifier, category.ltv, category.threshold, category.bonus)
        self.deployer.send(
            market.configurator,
            ("setEModeCategory(uint8,uint16,uint16,uint16,address,string)", *limits, source, category.label),
            *(
                ("setAssetEModeCategory(address,uint8)", tokens[symbol], category.identifier)
                for symbol in category.assets
            ),
        )


class Aave32(AaveRelease):
    """Release 3.2: no stable-rate debt, liquid e-modes, rates held by one strategy, virtual balances."""

    key = "aave_v3_2"
    name = "Core 3.2"

    def deploy_pool_implementation(self, provider: str) -> str:
        return self.deployer.deploy("PoolInstance", provider)

    def deploy_configurator(self, provider: str) -> str:
        del provider  # its proxy's initializer brings it
        return self.deployer.deploy("PoolConfiguratorInstance")

    def list_reserves(self, market: Market, tokens: Mapping[str, str]) -> None:
        deploy = self.deployer.deploy
        implementations = [deploy(kind, market.pool) for kind in ("ATokenInstance", "VariableDebtTokenInstance")]
        strategy = deploy("DefaultReserveInterestRateStrategyV2", market.provider)
        controller = deploy("MockIncentivesController")
        inputs = []
        for reserve in self.reserves:
            symbol = reserve.symbol
            rates = encode(["uint16", "uint32", "uint32", "uint32"], [round(r * 10**4) for r in reserve.rates])
            names = [f"Aave {symbol}", f"a{symbol}", f"Aave Variable Debt {symbol}", f"variableDebt{symbol}"]
            addresses = (strategy, tokens[symbol], self.owner, controller)
            inputs.append((*implementations, True, *addresses, *names, b"", rates))
        fields = "address,address,bool,address,address,address,address" + ",string" * 4 + ",bytes,bytes"
        self.deployer.send(market.configurator, (f"initReserves(({fields})[])", inputs))

    def add_category(self, market: Market, tokens: Mapping[str, str], category: Category) -> None:
        if category.has_price_source:  # 3.2 has no such thing
            return
        limits = (category.identifier, category.ltv, category.threshold, category.bonus)
        calls: list[tuple[Any, ...]] = [
            ("setEModeCategory(uint8,uint16,uint16,uint16,string)", *limits, category.label)
        ]
        for symbol in category.assets:
            calls.append(("setAssetCollateralInEMode(address,uint8,bool)", tokens[symbol], category.identifier, True))
            calls.append(("setAssetBorrowableInEMode(address,uint8,bool)", tokens[symbol], category.identifier, True))
        self.deployer.send(market.configurator, *calls)


def _risk_calls(token: str, reserve: Reserve) -> list[tuple[Any, ...]]:
    limits = (reserve.ltv, reserve.threshold, reserve.bonus)
    return [
        ("configureReserveAsCollateral(address,uint256,uint256,uint256)", token, *limits),
        ("setReserveBorrowing(address,bool)", token, reserve.is_borrowable),
        ("setReserveFactor(address,uint256)", token, reserve.reserve_factor),
        ("setLiquidationProtocolFee(address,uint256)", token, PROTOCOL_FEE),
        ("setSupplyCap(address,uint256)", token, reserve.supply_cap),
        ("setBorrowCap(address,uint256)", token, reserve.borrow_cap),
    ]


def _rates_in_ray(reserve: Reserve) -> list[int]:
    variable = [round(rate * 10**6) * RAY // 10**6 for rate in reserve.rates]
    stable_slopes = [5 * RAY // 1000, 3 * RAY // 4]
    offsets = [RAY // 100, 8 * RAY // 100, RAY // 5]
    return [*variable, *stable_slopes, *offsets]


def _address(chain: Chain, to: str, signature: str) -> str:
    return to_checksum_address(chain.call(to, signature, "(address)")[0])
