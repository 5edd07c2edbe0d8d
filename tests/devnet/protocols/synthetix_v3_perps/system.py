"""Deploys Synthetix v3 perps with three markets, one of whose price goes stale, and two synths that are margin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eth_abi.abi import encode
from eth_utils.abi import function_abi_to_4byte_selector
from eth_utils.address import to_checksum_address

from ...artifacts import compile_sources
from .sources import compile_perps, compile_spot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...artifacts import Artifact
    from ...chain import Deployer
    from .. import Site

__all__ = ["MARKETS", "SYNTHS", "WAD", "Market", "System", "deploy_system"]

WAD = 10**18
_PERCENT = WAD // 100
_NOBODY = "0x" + "00" * 20
_FEATURES = ("perpsSystem", "createMarket")
_PERPS = (
    *("AssociatedSystemsModule", "FeatureFlagModule", "AccountModule", "AsyncOrderModule", "AsyncOrderCancelModule"),
    *("AsyncOrderSettlementPythModule", "CollateralConfigurationModule", "GlobalPerpsMarketModule"),
    *("LiquidationModule", "MarketConfigurationModule", "PerpsAccountModule", "PerpsMarketModule"),
    "PerpsMarketFactoryModule",
)
_SPOT = ("FeatureFlagModule", "MarketConfigurationModule", "AtomicOrderModule", "SpotMarketFactoryModule")
_EXTERNAL, _CHAINLINK, _STALENESS, _OFFCHAIN = 2, 3, 7, 9  # node types of the oracle manager
_STALE_AFTER = 3_600
_KEEPER_COSTS = (WAD // 5, WAD // 2, WAD // 4)  # of a settlement, of flagging for each price, of a liquidation
_CREDIT = 100_000_000 * WAD
_FEES = (2 * _PERCENT // 100, 5 * _PERCENT // 100)
_WINDOW = 30  # seconds in which a market lets so much be liquidated
_VELOCITY = WAD // 6  # of the funding rate a day, per day, where the skew is the whole scale
_TERMS = (2 * _PERCENT, 3 * _PERCENT, 60 * _PERCENT, _PERCENT // 20)
"""Of each market: initial ratio for a size of the whole scale, its least, maintenance of initial, flag reward."""


@dataclass(frozen=True)
class Market:
    """A perps market: what is priced (nothing shared if ""), and figures in units of it."""

    id: int
    token: str
    scale: int
    position_margin: int = 0
    window: int = 0
    """What may be liquidated in a window of time; 0 for anything."""


MARKETS = {
    "ETH": Market(100, "WETH", 1_000_000, window=210),
    "BTC": Market(200, "WBTC", 100_000, position_margin=25),
    "OLD": Market(300, "", 1_000_000),
}
SYNTHS = {"sETH": 1, "sUSDC": 2}
_SYNTH_TERMS = {"sETH": ("WETH", 100_000, (10 * _PERCENT, _PERCENT, 3 * WAD)), "sUSDC": ("USDC", 0, (0, 0, 0))}
"""Feed, skew scale, and as margin: most and least discount, and what the discount grows with."""


@dataclass(frozen=True)
class System:
    """Addresses of what was deployed."""

    perps: str
    spot: str
    core: str
    usd: str
    token: str
    old_feed: str
    synths: dict[str, str]
    first_block: int


def deploy_system(site: Site) -> System:
    """Everything, ready for accounts; set up by the functions of its administration."""
    return _Builder(site).system()


class _Builder:
    def __init__(self, site: Site) -> None:
        self.site, self.first_block = site, site.chain.head()[0] + 1
        self.perps_code, self.spot_code = compile_perps(), compile_spot()
        self.on_perps = site.deployer({**self.perps_code, "MarketFeed": compile_sources()["MarketFeed"]})
        self.oracle = self.on_perps.deploy("NodeModule")

    def system(self) -> System:
        site, deployer = self.site, self.on_perps
        core = deployer.deploy("Core", self.oracle, _CREDIT)
        usd_code = deployer.deploy("TokenModule")
        token = (_word("USDToken"), "Synthetic USD Token v3", "snxUSD", 18, usd_code)
        deployer.send(core, ("initOrUpgradeToken(bytes32,string,string,uint8,address)", *token))
        usd = self._address(core, "getAssociatedSystem(bytes32)", _word("USDToken"))
        spot, synths = self._spot_market(core)
        perps = self._router(deployer, self.perps_code, _PERPS)
        self._configure(perps, core, spot)
        for name, synth in SYNTHS.items():
            distributor = deployer.deploy("Distributor", synths[name])
            limits = (2**100, *_SYNTH_TERMS[name][2])
            deployer.send(
                perps,
                ("setCollateralConfiguration(uint128,uint256,uint256,uint256,uint256)", synth, *limits),
                ("registerDistributor(address,address,uint128,address[])", synths[name], distributor, synth, [usd]),
            )
        old_feed, benchmark = deployer.deploy("MarketFeed", "OLD / USD", 4 * 10**8), deployer.deploy("Benchmark")
        for name, market in MARKETS.items():
            self._perps_market(perps, name, site.feeds.get(market.token, old_feed), benchmark)
        nft = self._address(perps, "getAccountTokenAddress()")
        return System(perps, spot, core, usd, nft, old_feed, synths, self.first_block)

    def _router(self, deployer: Deployer, code: Mapping[str, Artifact], modules: tuple[str, ...]) -> str:
        router = deployer.deploy("Router")
        for name in modules:
            functions: list[Any] = [entry for entry in code[name].abi if entry["type"] == "function"]
            selectors = [function_abi_to_4byte_selector(entry) for entry in functions]
            deployer.send(router, ("route(address,bytes4[])", deployer.deploy(name), selectors))
        return router

    def _configure(self, perps: str, core: str, spot: str) -> None:
        deployer = self.on_perps
        nft = (_word("accountNft"), "Perpetual Futures Account", "snxPerpsAcct", "", deployer.deploy("NftModule"))
        costs = deployer.deploy("MockGasPriceNode")
        deployer.send(costs, ("setCosts(uint256,uint256,uint256)", *_KEEPER_COSTS))
        deployer.send(
            perps,
            ("initOrUpgradeNft(bytes32,string,string,string,address)", *nft),
            *(("setFeatureFlagAllowAll(bytes32,bool)", _word(flag), True) for flag in _FEATURES),
            ("initializeFactory(address,address)", core, spot),
            ("updateKeeperCostNodeId(bytes32)", self._node(_EXTERNAL, encode(["address"], [costs]))),
            ("setKeeperRewardGuards(uint256,uint256,uint256,uint256)", 2 * WAD, 30 * _PERCENT, 100 * WAD, WAD),
            ("setPerAccountCaps(uint128,uint128)", 5, 5),
            ("setInterestRateParameters(uint128,uint128,uint128)", _PERCENT, 80 * _PERCENT, 5 * _PERCENT),
            ("setCollateralLiquidateRewardRatio(uint128)", _PERCENT // 30),
            ("setCollateralConfiguration(uint128,uint256,uint256,uint256,uint256)", 0, 2**100, 0, 0, 0),
        )

    def _perps_market(self, perps: str, name: str, feed: str, benchmark: str) -> None:
        market = MARKETS[name]
        node = self._price(feed) if market.token else self._fresh_price(feed)
        of, scale = market.id, market.scale * WAD
        whole_window = sum(_FEES) * scale // WAD * _WINDOW
        window = (market.window * WAD * WAD // whole_window, _WINDOW, 0, _NOBODY)
        strategy = (0, 0, 60, benchmark, bytes(12) + bytes.fromhex(feed[2:]), WAD, False, 0)
        signature = "addSettlementStrategy(uint128,(uint8,uint256,uint256,address,bytes32,uint256,bool,uint256))"
        self.on_perps.send(
            perps,
            ("createMarket(uint128,string,string)", of, name, name),
            ("updatePriceData(uint128,bytes32,uint256)", of, node, _STALE_AFTER),
            (signature, of, strategy),
            ("setOrderFees(uint128,uint256,uint256)", of, *_FEES),
            ("setMaxMarketSize(uint128,uint256)", of, scale),
            ("setFundingParameters(uint128,uint256,uint256)", of, scale, _VELOCITY),
            (
                "setLiquidationParameters(uint128,uint256,uint256,uint256,uint256,uint256)",
                of,
                *_TERMS,
                market.position_margin * WAD,
            ),
            ("setMaxLiquidationParameters(uint128,uint256,uint256,uint256,address)", of, *window),
            ("setLockedOiRatio(uint128,uint256)", of, 50 * _PERCENT),
        )

    def _spot_market(self, core: str) -> tuple[str, dict[str, str]]:
        deployer, owner = self.site.deployer({**self.perps_code, **self.spot_code}), self.site.owner
        spot = self._router(deployer, self.spot_code, _SPOT)
        flags = ("createSynth", "spotMarketEnabled", *(f"atomicOrdersEnabled{synth}" for synth in SYNTHS.values()))
        deployer.send(
            spot,
            *(("setFeatureFlagAllowAll(bytes32,bool)", _word(flag), True) for flag in flags),
            ("setSynthetix(address)", core),
            ("setSynthImplementation(address)", deployer.deploy("SynthTokenModule")),
        )
        synths = {}
        for name, synth in SYNTHS.items():
            feed, scale, _ = _SYNTH_TERMS[name]
            price = self._price(self.site.feeds[feed])
            deployer.send(
                spot,
                ("createSynth(string,string,address)", name, name, owner),
                ("updatePriceData(uint128,bytes32,bytes32,uint256)", synth, price, price, _STALE_AFTER),
                ("setMarketSkewScale(uint128,uint256)", synth, scale * WAD),
                ("setAtomicFixedFee(uint128,uint256)", synth, _PERCENT // 10),
            )
            synths[name] = self._address(spot, "getSynth(uint128)", synth)
        return spot, synths

    def _address(self, of: str, signature: str, *given: Any) -> str:
        return to_checksum_address(self.site.chain.call(of, signature, "(address)", *given)[0])

    def _price(self, feed: str) -> bytes:
        return self._node(_CHAINLINK, encode(["address", "uint256", "uint8"], [feed, 0, 8]))

    def _fresh_price(self, feed: str) -> bytes:
        """A price that is asked for with ERC-7412's OracleDataRequired where it is stale."""
        ask = self._node(_OFFCHAIN, encode(["address", "bytes32", "uint256"], [feed, bytes(32), _STALE_AFTER]))
        return self._node(_STALENESS, encode(["uint256"], [_STALE_AFTER]), [self._price(feed), ask])

    def _node(self, kind: int, parameters: bytes, parents: list[bytes] | None = None) -> bytes:
        node = (kind, parameters, parents or [])
        self.on_perps.send(self.oracle, ("registerNode(uint8,bytes,bytes32[])", *node))
        found: bytes = self.site.chain.call(self.oracle, "getNodeId(uint8,bytes,bytes32[])", "(bytes32)", *node)[0]
        return found


def _word(text: str) -> bytes:
    return text.encode().ljust(32, b"\0")
