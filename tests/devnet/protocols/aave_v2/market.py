"""Aave v2 markets from their real bytecode, one that counts in ETH and one in USD."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eth_utils.address import to_checksum_address

from ...artifacts import AAVE_3_0, SOLC, Artifacts, compile_contracts, pack
from ...chain import transaction
from ...plans import MAX_UINT
from ...tokens import DECIMALS

if TYPE_CHECKING:
    from ...chain import Transaction
    from .. import Site

RAY = 10**27
NOBODY = "0x" + "00" * 20
STABLE, VARIABLE = 1, 2
STETH = "stETH"
# Loan-to-value, threshold, bonus and reserve factor in bps, about those that Aave v2 on Ethereum had.
LIMITS = {
    "WETH": (8250, 8600, 10500, 1000),
    "wstETH": (7500, 8100, 10700, 1000),
    STETH: (7200, 8300, 10750, 1000),
    "WBTC": (7200, 8200, 10650, 2000),
    "USDC": (8000, 8750, 10450, 1000),
    "DAI": (7750, 8700, 10400, 1000),
}
WITH_STABLE_RATE = ("USDC", "DAI", "WETH")


@dataclass
class Market:
    """Addresses of one market; the token maps go by the asset's symbol."""

    provider: str
    pool: str
    oracle: str
    first_block: int
    assets: dict[str, str]
    sources: dict[str, str]
    a_tokens: dict[str, str] = field(default_factory=dict)
    stable_debt_tokens: dict[str, str] = field(default_factory=dict)
    variable_debt_tokens: dict[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)

    def call(self, user: str, signature: str, *arguments: Any) -> Transaction:
        """Transaction that calls the pool."""
        return transaction(user, self.pool, signature, *arguments)

    def deposit(self, user: str, symbol: str, amount: int) -> list[Transaction]:
        """Transactions that mint tokens and deposit them."""
        token = self.assets[symbol]
        return [
            transaction(user, token, "mint(address,uint256)", user, amount),
            transaction(user, token, "approve(address,uint256)", self.pool, MAX_UINT),
            self.call(user, "deposit(address,uint256,address,uint16)", token, amount, user, 0),
        ]

    def borrow(self, user: str, symbol: str, amount: int, mode: int = VARIABLE, owner: str = "") -> Transaction:
        """Transaction that borrows, on behalf of `owner` where it is given."""
        signature = "borrow(address,uint256,uint256,uint16,address)"
        return self.call(user, signature, self.assets[symbol], amount, mode, 0, owner or user)


def deploy_market(site: Site, name: str, *, in_eth: bool) -> Market:
    """A market with every reserve of LIMITS; stETH only where it counts in ETH."""
    own = compile_contracts(SOLC, Path(__file__).parent.glob("*.sol"))
    deployer, stand_ins = site.deployer(Artifacts(pack("@aave/protocol-v2@1.0.1") / "artifacts")), site.deployer(own)
    provider = deployer.deploy("LendingPoolAddressesProvider", name)
    first_block = site.chain.head()[0]
    assets, sources = dict(site.tokens), dict(site.feeds)
    if in_eth:
        eth = site.feeds["WETH"]
        assets[STETH] = site.deployer(Artifacts(AAVE_3_0)).deploy("MintableERC20", STETH, STETH, 18)
        sources = {
            symbol: stand_ins.deploy("BaseToPegFeed", eth, site.feeds[symbol], f"{symbol} / ETH")
            for symbol in site.tokens
            if symbol != "WETH"
        }
        sources[STETH] = stand_ins.deploy("ConstantFeed", "stETH / ETH")
        addresses = ([assets[symbol] for symbol in sources], list(sources.values()))
        oracle = deployer.deploy("AaveOracle", *addresses, NOBODY, assets["WETH"])
    else:
        sources = {symbol: site.feeds[symbol] for symbol in assets}
        oracle = stand_ins.deploy("DollarOracle", [assets[symbol] for symbol in sources], list(sources.values()))
    rates = deployer.deploy("LendingRateOracle")
    deployer.send(rates, *(("setMarketBorrowRate(address,uint256)", a, 4 * RAY // 100) for a in assets.values()))
    contracts = (deployer.deploy(f"LendingPool{part}") for part in ("", "Configurator", "CollateralManager"))
    pool, configurator, manager = contracts
    deployer.send(
        provider,
        ("setPoolAdmin(address)", site.owner),
        ("setEmergencyAdmin(address)", site.owner),
        ("setPriceOracle(address)", oracle),
        ("setLendingRateOracle(address)", rates),
        ("setLendingPoolCollateralManager(address)", manager),
        ("setLendingPoolImpl(address)", pool),
        ("setLendingPoolConfiguratorImpl(address)", configurator),
    )
    pool, configurator = (
        to_checksum_address(site.chain.call(provider, f"getLendingPool{part}()", "(address)")[0])
        for part in ("", "Configurator")
    )
    market = Market(provider, pool, oracle, first_block, assets, sources)
    for symbol, token in assets.items():
        treasury = site.account("treasury")
        implementations = [
            deployer.deploy("AToken", pool, token, treasury, f"Aave {symbol}", f"a{symbol}", NOBODY),
            *(
                deployer.deploy(f"{kind}DebtToken", pool, token, f"{kind} {symbol}", f"{kind.lower()}{symbol}", NOBODY)
                for kind in ("Stable", "Variable")
            ),
        ]
        strategy = deployer.deploy(
            "DefaultReserveInterestRateStrategy",
            provider,
            *(RAY * per_cent // 100 for per_cent in (80, 1, 5, 90, 6, 95)),
        )
        ltv, threshold, bonus, factor = LIMITS[symbol]
        places = DECIMALS.get(symbol, 18)
        deployer.send(
            configurator,
            ("initReserve(address,address,address,uint8,address)", *implementations, places, strategy),
            ("configureReserveAsCollateral(address,uint256,uint256,uint256)", token, ltv, threshold, bonus),
            ("enableBorrowingOnReserve(address,bool)", token, symbol in WITH_STABLE_RATE),
            ("setReserveFactor(address,uint256)", token, factor),
        )
        data = "((uint256),uint128,uint128,uint128,uint128,uint128,uint40,address,address,address,address,uint8)"
        found = site.chain.call(pool, "getReserveData(address)", f"({data})", token)[0]
        tokens = (to_checksum_address(address) for address in found[7:10])
        market.a_tokens[symbol], market.stable_debt_tokens[symbol], market.variable_debt_tokens[symbol] = tokens
    return market
