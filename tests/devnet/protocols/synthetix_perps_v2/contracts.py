"""Synthetix PerpsV2 from its production bytecode: deployment.json and the parameters of npm's synthetix 2.102.1.

Three of its entries hold the code as it runs on chain, not what deploys it: AddressResolver, FlexibleStorage and the
library SafeDecimalMath. Their code is put in place, with what their constructors would have stored.
"""

from __future__ import annotations

import json
import re
from collections import ChainMap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from ...artifacts import SOLC, Artifact, compile_contracts, pack
from ...calldata import abi_types

if TYPE_CHECKING:
    from ...chain import Chain, Deployer
    from .. import Site

WAD = 10**18
PUBLISHED = pack("synthetix@2.102.1") / "publish/deployed/mainnet-ovm"
PARTS = ("PerpsV2Market", "PerpsV2MarketLiquidate", "PerpsV2MarketDelayedIntent")
VIEWS = "PerpsV2MarketViews"
_NOBODY = "0x" + "00" * 20
_PLACEHOLDER = re.compile(r"__\$[0-9a-f]{34}\$__")
_NOT_ROUTED = {
    "acceptOwnership",
    "isResolverCached",
    "marketState",
    "messageSender",
    "nominateNewOwner",
    "nominatedOwner",
    "owner",
    "proxy",
    "rebuildCache",
    "resolver",
    "resolverAddressesRequired",
    "setMessageSender",
    "setProxy",
}
# In the order of PerpsV2MarketSettings.Parameters; the plain ones are seconds and rounds, not fractions or tokens.
_PARAMETERS = (
    "takerFee",
    "makerFee",
    "takerFeeDelayedOrder",
    "makerFeeDelayedOrder",
    "takerFeeOffchainDelayedOrder",
    "makerFeeOffchainDelayedOrder",
    "maxLeverage",
    "maxMarketValue",
    "maxFundingVelocity",
    "skewScale",
    "nextPriceConfirmWindow",
    "delayedOrderConfirmWindow",
    "minDelayTimeDelta",
    "maxDelayTimeDelta",
    "offchainDelayedOrderMinAge",
    "offchainDelayedOrderMaxAge",
    "offchainMarketKey",
    "offchainPriceDivergence",
    "liquidationPremiumMultiplier",
    "liquidationBufferRatio",
    "maxLiquidationDelta",
    "maxPD",
)
_PLAIN = set(_PARAMETERS[10:16])
FEES = {
    "setMinInitialMargin(uint256)": 40 * WAD,
    "setMinKeeperFee(uint256)": 1 * WAD,
    "setMaxKeeperFee(uint256)": 30 * WAD,
    "setLiquidationFeeRatio(uint256)": 35 * WAD // 10_000,
    "setKeeperLiquidationFee(uint256)": 2 * WAD,
}
TRADE_FEE = "0.0002"
"""Of trades at the on-chain price, which the published parameters price out (0.3) in favour of off-chain orders."""


@dataclass
class Venue:
    """Addresses of the system; `markets` holds the proxy of each market by its key."""

    manager: str
    settings: str
    resolver: str
    susd: str
    fee_pool: str
    first_block: int
    markets: dict[str, str]


def b32(text: str) -> bytes:
    """A name as Synthetix keeps it."""
    return text.encode().ljust(32, b"\0")


def deploy_venue(site: Site, feeds: dict[str, str]) -> Venue:
    """Deploy the system with one market for each market key of `feeds`, priced by that feed."""
    chain, owner = site.chain, site.owner
    published = json.loads((PUBLISHED / "deployment.json").read_text())["sources"]
    library = _address("SafeDecimalMath")
    sources = {name: _artifact(name, published[name], library) for name in _NEEDED}
    deployer = site.deployer(ChainMap(sources, compile_contracts(SOLC, [Path(__file__).parent / "Surroundings.sol"])))
    first_block = chain.head()[0] + 1
    _place(chain, library, sources["SafeDecimalMath"])
    resolver = _place(chain, _address("AddressResolver"), sources["AddressResolver"], owner)
    storage = _place(chain, _address("FlexibleStorage"), sources["FlexibleStorage"], resolver)
    own = {name: deployer.deploy(name, owner, resolver) for name in _OWN}
    around = {name: deployer.deploy(name) for name in ("PlainSynth", "StillExchanger", "PlainFeePool")}
    names = own | {
        "ExchangeCircuitBreaker": own["CircuitBreaker"],
        "FlexibleStorage": storage,
        "SystemStatus": deployer.deploy("SystemStatus", owner),
        "SynthsUSD": around["PlainSynth"],
        "Exchanger": around["StillExchanger"],
        "FeePool": around["PlainFeePool"],
        **dict.fromkeys(("Issuer", "SystemSettings", "Synthetix", "DelegateApprovals"), owner),
    }
    deployer.send(
        resolver, ("importAddresses(bytes32[],address[])", [b32(name) for name in names], list(names.values()))
    )
    for address in own.values():
        deployer.send(address, ("rebuildCache()",))
    set_uint = "setUIntValue(bytes32,bytes32,uint256)"
    shared = {
        "rateStalePeriod": 10**8,
        "priceDeviationThresholdFactor": 3 * WAD,
        "atomicTwapWindow": 1800,
    }
    deployer.send(storage, *((set_uint, b32("SystemSettings"), b32(key), value) for key, value in shared.items()))
    settings = own["PerpsV2MarketSettings"]
    deployer.send(settings, *FEES.items())
    venue = Venue(own["FuturesMarketManager"], settings, resolver, around["PlainSynth"], "", first_block, {})
    venue.fee_pool = around["PlainFeePool"]
    parameters = {row["marketKey"]: row for row in json.loads((PUBLISHED / "perpsv2-markets.json").read_text())}
    for key, feed in feeds.items():
        row = parameters[key]
        deployer.send(own["ExchangeRates"], ("addAggregator(bytes32,address)", b32(row["asset"]), feed))
        venue.markets[key] = _deploy_market(deployer, sources, resolver, row)
    deployer.send(venue.manager, ("addProxiedMarkets(address[])", list(venue.markets.values())))
    for key in feeds:
        row = {**parameters[key], "takerFee": TRADE_FEE, "makerFee": TRADE_FEE}
        types = "(" + ",".join("bytes32" if name == "offchainMarketKey" else "uint256" for name in _PARAMETERS) + ")"
        deployer.send(
            settings, (f"setParameters(bytes32,{types})", b32(key), tuple(_value(row, name) for name in _PARAMETERS))
        )
    return venue


_OWN = (
    "ExchangeRates",
    "CircuitBreaker",
    "FuturesMarketManager",
    "PerpsV2MarketSettings",
    "PerpsV2ExchangeRate",
)
_NEEDED = (
    *_OWN,
    *PARTS,
    VIEWS,
    "SafeDecimalMath",
    "AddressResolver",
    "FlexibleStorage",
    "SystemStatus",
    "ProxyPerpsV2",
    "PerpsV2MarketState",
)


def _deploy_market(deployer: Deployer, sources: dict[str, Artifact], resolver: str, row: dict[str, Any]) -> str:
    """A proxy with its state, its three parts and its views behind it."""
    owner = deployer.owner
    proxy = deployer.deploy("ProxyPerpsV2", owner)
    arguments = (owner, [owner], b32(row["asset"]), b32(row["marketKey"]), _NOBODY)
    state = deployer.deploy("PerpsV2MarketState", *arguments)
    parts = {name: deployer.deploy(name, proxy, state, owner, resolver) for name in PARTS}
    deployer.send(state, ("addAssociatedContracts(address[])", list(parts.values())), ("linkOrInitializeState()",))
    parts[VIEWS] = deployer.deploy(VIEWS, state, owner, resolver)
    routes: dict[bytes, tuple[Any, ...]] = {}
    for name, address in parts.items():
        deployer.send(address, ("rebuildCache()",))
        for entry in sources[name].abi:
            if entry["type"] == "function" and entry["name"] not in _NOT_ROUTED:
                selector = keccak(text=f"{entry['name']}({','.join(abi_types(entry['inputs']))})")[:4]
                is_view = name == VIEWS or entry["stateMutability"] == "view"
                routes.setdefault(selector, ("addRoute(bytes4,address,bool)", selector, address, is_view))
    deployer.send(proxy, *routes.values())
    return proxy


def _value(row: dict[str, Any], name: str) -> Any:
    if name == "offchainMarketKey":
        return b32(row[name])
    return int(row[name]) if name in _PLAIN else round(float(row[name]) * 10**12) * 10**6


def _artifact(name: str, body: dict[str, Any], library: str) -> Artifact:
    code = body["bytecode"].removeprefix("0x")
    return Artifact(name, body["abi"], _PLACEHOLDER.sub(library[2:].lower(), code), ())


def _address(name: str) -> str:
    return to_checksum_address(keccak(text=f"devnet {name} of synthetix")[-20:])


def _place(chain: Chain, address: str, artifact: Artifact, first_slot: str = "") -> str:
    """Put code where nothing deployed it; `first_slot` is an address that its constructor stores first."""
    code = artifact.bytecode
    if code.startswith("73" + "00" * 20):  # a library compares its own address
        code = "73" + address[2:].lower() + code[42:]
    chain.session.call("anvil_setCode", address, "0x" + code)
    if first_slot:
        word = "0x" + bytes.fromhex(first_slot[2:]).rjust(32, b"\0").hex()
        chain.session.call("anvil_setStorageAt", address, "0x" + "00" * 32, word)
    return address
