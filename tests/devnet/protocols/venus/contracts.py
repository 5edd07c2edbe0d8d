"""Venus' core pool out of the bytecode of its npm package: the diamond, markets, two e-mode pools, VAI, Liquidator."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eth_utils.crypto import keccak

from ...artifacts import Artifacts, compile_contracts, pack
from ...calldata import abi_types
from ...plans import MAX_UINT

if TYPE_CHECKING:
    from ...artifacts import Artifact
    from ...chain import Deployer
    from .. import Site

WAD = 10**18
NOBODY = "0x" + "00" * 20
FACETS = ("MarketFacet", "PolicyFacet", "SetterFacet", "RewardFacet", "FlashLoanFacet")
# collateral factor, liquidation threshold, liquidation incentive, in hundredths
MARKETS = {
    "WETH": (80, 83, 108),
    "wstETH": (78, 81, 110),
    "WBTC": (75, 78, 110),
    "USDC": (82, 85, 107),
    "DAI": (0, 0, 110),  # may be borrowed and supplied, and is no collateral
}
ETH_POOL, STABLE_POOL = 1, 2
POOLS = {
    ETH_POOL: {"WETH": (90, 93, 104), "wstETH": (90, 94, 103)},
    STABLE_POOL: {"USDC": (92, 95, 102), "DAI": (91, 94, 102)},
}
CLOSE_FACTOR = 50
TREASURY_SHARE = 50
"""Hundredths of the incentive that the Liquidator keeps for the treasury."""
BLOCKS_A_YEAR = 26_280
RESERVE_FACTOR = 10


@dataclass(frozen=True)
class Venus:
    """The core pool's contracts; vTokens by the symbol of what they hold."""

    comptroller: str
    oracle: str
    v_tokens: dict[str, str]
    vai: str
    vai_controller: str
    liquidator: str


def deploy_venus(site: Site) -> Venus:
    """The pool with all its markets, open for business."""
    artifacts = _artifacts()
    deployer = site.deployer(artifacts)
    comptroller = _deploy_diamond(deployer, artifacts)
    oracle = _deploy_oracle(site, deployer)
    access = deployer.deploy("AccessControlManagerMock", site.owner)
    deployer.send(
        comptroller,
        ("_setAccessControl(address)", access),
        ("_setPriceOracle(address)", oracle),
        ("setDeviationBoundedOracle(address)", oracle),
        ("_setComptrollerLens(address)", deployer.deploy("ComptrollerLens")),
        ("_setCloseFactor(uint256)", CLOSE_FACTOR * WAD // 100),
    )
    v_tokens = _deploy_markets(site, deployer, comptroller, access)
    _create_pools(deployer, comptroller, v_tokens)
    vai, controller = _deploy_vai(site, deployer, comptroller, access)
    liquidator = deployer.deploy(
        "ERC1967Proxy", deployer.deploy("Liquidator", comptroller, comptroller, comptroller), b""
    )
    deployer.send(
        liquidator,
        ("initialize(uint256,address,address)", TREASURY_SHARE * WAD // 100, access, deployer.deploy("ShareReserve")),
    )
    deployer.send(comptroller, ("_setLiquidatorContract(address)", liquidator))
    return Venus(comptroller, oracle, v_tokens, vai, controller, liquidator)


def _artifacts() -> ChainMap[str, Artifact]:
    root = pack("@venusprotocol/venus-protocol@10.3.0") / "artifacts/contracts"
    folders = (
        "Comptroller/Diamond",
        "Comptroller/Unitroller.sol",
        "Lens/ComptrollerLens.sol",
        "InterestRateModels/JumpRateModel.sol",
        "Tokens/VTokens/VBep20Immutable.sol",
        "Tokens/VAI",
        "Liquidator/Liquidator.sol",
        "test/AccessControlManagerMock.sol",
    )
    own = compile_contracts("0.8.26", Path(__file__).parent.glob("*.sol"), evmVersion="paris")
    proxy = pack("@openzeppelin/contracts@4.9.6") / "proxy/ERC1967/ERC1967Proxy.sol"
    remapping = {"@openzeppelin/contracts/": "@openzeppelin/contracts@4.9.6/"}
    proxies = compile_contracts("0.8.19", [proxy], remapping)
    return ChainMap(own, proxies, Artifacts(*(root / folder for folder in folders)))  # type: ignore[arg-type]


def _selectors(artifact: Artifact) -> list[bytes]:
    functions = (entry for entry in artifact.abi if entry["type"] == "function")
    return [keccak(text=f"{f['name']}({','.join(abi_types(f['inputs']))})")[:4] for f in functions]


def _deploy_diamond(deployer: Deployer, artifacts: ChainMap[str, Artifact]) -> str:
    unitroller, diamond = deployer.deploy("Unitroller"), deployer.deploy("Diamond")
    deployer.send(unitroller, ("_setPendingImplementation(address)", diamond))
    deployer.send(diamond, ("_become(address)", unitroller))
    seen = set(_selectors(artifacts["Diamond"]))  # the diamond answers these by itself
    cuts = []
    for name in FACETS:
        selectors = [selector for selector in _selectors(artifacts[name]) if selector not in seen]
        seen.update(selectors)
        cuts.append((deployer.deploy(name), 0, selectors))
    deployer.send(unitroller, ("diamondCut((address,uint8,bytes4[])[])", cuts))
    return unitroller


def _deploy_oracle(site: Site, deployer: Deployer) -> str:
    oracle = deployer.deploy("FeedOracle")
    ratio = deployer.deploy("RatioOracle", site.tokens["wstETH"], site.tokens["WETH"], oracle, site.feeds["wstETH"])
    feeds = [("setFeed(address,address)", site.tokens[s], site.feeds[s]) for s in MARKETS if s != "wstETH"]
    deployer.send(oracle, *feeds, ("setMain(address,address)", site.tokens["wstETH"], ratio))
    return oracle


def _deploy_markets(site: Site, deployer: Deployer, comptroller: str, access: str) -> dict[str, str]:
    rates = (0, 4 * 10**16, 109 * 10**16, 8 * 10**17, BLOCKS_A_YEAR)
    model = deployer.deploy("JumpRateModel", *rates)
    v_tokens = {}
    for symbol, (factor, threshold, incentive) in MARKETS.items():
        decimals = site.chain.call(site.tokens[symbol], "decimals()", "(uint8)")[0]
        first_rate = 2 * 10 ** (decimals + 8)  # 0.02 of the underlying, with the vToken's 8 decimals
        token = deployer.deploy(
            "VBep20Immutable",
            site.tokens[symbol],
            comptroller,
            model,
            first_rate,
            f"Venus {symbol}",
            f"v{symbol}",
            8,
            site.owner,
        )
        v_tokens[symbol] = token
        deployer.send(
            token,
            ("setAccessControlManager(address)", access),
            ("setReduceReservesBlockDelta(uint256)", 10**9),
            ("_setReserveFactor(uint256)", RESERVE_FACTOR * WAD // 100),
        )
        deployer.send(
            comptroller,
            ("supportMarket(address)", token),
            ("_setMarketSupplyCaps(address[],uint256[])", [token], [MAX_UINT if symbol != "WBTC" else 10**5 * 10**8]),
            ("_setMarketBorrowCaps(address[],uint256[])", [token], [MAX_UINT]),
            ("setIsBorrowAllowed(uint96,address,bool)", 0, token, True),
            ("setCollateralFactor(address,uint256,uint256)", token, factor * 10**16, threshold * 10**16),
            ("setLiquidationIncentive(address,uint256)", token, incentive * 10**16),
        )
    return v_tokens


def _create_pools(deployer: Deployer, comptroller: str, v_tokens: dict[str, str]) -> None:
    deployer.send(comptroller, ("createPool(string)", "ETH"), ("createPool(string)", "Stablecoins"))
    for pool, members in POOLS.items():
        ids, tokens = [pool] * len(members), [v_tokens[symbol] for symbol in members]
        deployer.send(comptroller, ("addPoolMarkets(uint96[],address[])", ids, tokens))
        for symbol, (factor, threshold, incentive) in members.items():
            token = v_tokens[symbol]
            of_factor: tuple[Any, ...] = (pool, token, factor * 10**16, threshold * 10**16)
            deployer.send(
                comptroller,
                ("setIsBorrowAllowed(uint96,address,bool)", pool, token, True),
                ("setCollateralFactor(uint96,address,uint256,uint256)", *of_factor),
                ("setLiquidationIncentive(uint96,address,uint256)", pool, token, incentive * 10**16),
            )
    deployer.send(comptroller, ("setAllowCorePoolFallback(uint96,bool)", ETH_POOL, True))


def _deploy_vai(site: Site, deployer: Deployer, comptroller: str, access: str) -> tuple[str, str]:
    vai = deployer.deploy("VAI", 1)
    unitroller, controller = deployer.deploy("VAIUnitroller"), deployer.deploy("VAIController")
    deployer.send(unitroller, ("_setPendingImplementation(address)", controller))
    deployer.send(controller, ("_become(address)", unitroller))
    deployer.send(
        unitroller,
        ("initialize()",),
        ("_setComptroller(address)", comptroller),
        ("setAccessControl(address)", access),
        ("setVAIToken(address)", vai),
        ("setReceiver(address)", site.owner),
        ("setMintCap(uint256)", 10**9 * WAD),
        ("setBaseRate(uint256)", 3 * 10**16),
    )
    deployer.send(vai, ("rely(address)", unitroller))
    deployer.send(comptroller, ("_setVAIController(address)", unitroller), ("_setVAIMintRate(uint256)", 10_000))
    return vai, unitroller
