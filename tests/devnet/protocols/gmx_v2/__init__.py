"""A stand-in of GMX v2 in the DataStore's true layout: five markets and one for swaps, with longs and shorts.

ETH has WETH and dollars as margin; BTC and SOL are mere names, SOL without a feed; one market has a single collateral
token; one has no price at all. Funding and borrowing accrue over the waves' days. See the Solidity's comments.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from ...artifacts import compile_contracts
from ...chain import transaction
from ...tokens import DECIMALS

if TYPE_CHECKING:
    from collections.abc import Generator

    from ...chain import Transaction
    from .. import Site

__all__ = ["FLOAT", "HAND", "SOL_USD", "build"]

FLOAT = 10**30
SOL_USD = 150
HAND = {"size_usd": 10_000, "collateral": 2_000 * 10**6, "entry_usd": 3_000}
"""A long of ETH at 5 times its margin in USDC, opened at the head's price in a market without fees."""
_OPEN = (
    "open(address,address,address,bool,uint256,uint256,int256,((uint256,uint256),(uint256,uint256),(uint256,uint256)))"
)
_UPDATE = "update(address,((uint256,uint256),(uint256,uint256),(uint256,uint256)))"


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy before the first wave; see protocols.Build."""
    crowd = _Crowd(site)
    draw = site.rng.uniform
    yield "glitch"  # ETH at twice its price: longs of now are bankrupt when it is back
    crowd.open("ETH", "WETH", True, 4_000, 0.1, "under_water")
    crowd.open("ETH", "USDC", True, 20_000, 0.09, "under_water")
    yield "rally"
    for n in range(16):
        crowd.open("ETH", ("WETH", "USDC")[n % 2], True, draw(2_000, 90_000), draw(0.3, 1.1))
        crowd.open("BTC", ("WBTC", "USDC")[n % 2], True, draw(2_000, 90_000), draw(0.3, 1.1))
    yield "slump"
    for n in range(14):
        crowd.open("ETH", ("WETH", "USDC")[n % 2], False, draw(2_000, 60_000), draw(0.3, 1.5))
        crowd.open("BTC", ("WBTC", "USDC")[n % 2], False, draw(2_000, 60_000), draw(0.3, 1.5))
    for n in range(6):
        crowd.open("SOL", ("WETH", "USDC")[n % 2], n % 3 > 0, draw(1_000, 9_000), draw(0.1, 0.6))
    for n in range(4):
        crowd.open("single", "WETH", n % 2 == 0, draw(1_000, 9_000), draw(0.15, 0.6))
    yield "late"
    for n in range(8):
        crowd.open("ETH", ("WETH", "USDC")[n % 2], n % 3 > 0, draw(2_000, 20_000), draw(0.012, 0.08), "steep")
    for n in range(2):
        crowd.open("XRP", "USDC", n == 0, 5_000, 0.4, "unpriced")
    crowd.open("BTC", "USDC", True, 30, 0.2, "small")
    crowd.open("ETH", "USDC", True, 9_000, 1.5, "light")
    yield "touch"
    crowd.update("ETH")
    crowd.update("BTC")
    yield "settle"
    hand = crowd.open("plain", "USDC", True, HAND["size_usd"], HAND["collateral"] / 10**6 / HAND["size_usd"], "hand")
    return crowd.description() | {"hand": hand}


@dataclass(frozen=True, slots=True)
class _Market:
    token: str
    index: str
    long: str
    short: str


class _Crowd:
    """The stand-in's contracts, and who opens what in it."""

    def __init__(self, site: Site) -> None:
        self.site, self.accounts = site, []  # type: Site, list[dict[str, Any]]
        self.first_block = site.chain.head()[0] + 1
        compiled = compile_contracts("0.8.26", Path(__file__).parent.glob("*.sol"), evmVersion="paris")
        deployer = site.deployer(compiled)
        self.store = deployer.deploy("Store")
        self.desk = deployer.deploy("Desk", self.store)
        self.readers = {name: deployer.deploy(name) for name in ("Reader22", "Reader21", "ReaderNext")}
        tokens = site.tokens
        self.names = {name: _pure_name(name) for name in ("BTC", "SOL", "XRP")}
        self.feeds = {tokens[name]: site.feeds[name] for name in ("WETH", "WBTC", "USDC")}
        self.feeds[self.names["BTC"]] = site.feeds["WBTC"]
        self.places = {tokens[name]: DECIMALS[name] for name in DECIMALS} | {self.names["BTC"]: 8, self.names["SOL"]: 9}
        pair = (tokens["WETH"], tokens["USDC"])
        self.markets = {
            "ETH": _Market(_pure_name("market ETH"), tokens["WETH"], *pair),
            "BTC": _Market(_pure_name("market BTC"), self.names["BTC"], tokens["WBTC"], tokens["USDC"]),
            "SOL": _Market(_pure_name("market SOL"), self.names["SOL"], *pair),
            "single": _Market(_pure_name("market single"), tokens["WETH"], tokens["WETH"], tokens["WETH"]),
            "XRP": _Market(_pure_name("market XRP"), self.names["XRP"], *pair),
            "swaps": _Market(_pure_name("market swaps"), "0x" + "00" * 20, *pair),
            "plain": _Market(_pure_name("market plain"), tokens["WETH"], *pair),
        }
        self._configure()

    def prices(self, market: str) -> tuple[tuple[int, int], ...]:
        """Of the index, the long and the short token, as the feeds answer them now: 1e-30 USD of a raw unit."""
        listed = self.markets[market]
        return tuple((price, price) for price in map(self._price, (listed.index, listed.long, listed.short)))

    def open(self, market: str, collateral: str, is_long: bool, usd: float, margin: float, kind: str = "crowd") -> str:
        """A position of `usd` with `margin` as a share of that; its key."""
        listed, token = self.markets[market], self.site.tokens[collateral]
        account = self.site.account(f"{kind}:{len(self.accounts)}")
        amount = int(usd * margin * FLOAT) // self._price(token)
        pending = -int(usd * 1e-4 * FLOAT) // self._price(listed.index) if kind == "crowd" else 0
        given = (account, listed.token, token, is_long, int(usd * FLOAT), amount, pending, self.prices(market))
        self.site.chain.send([transaction(self.site.owner, self.desk, _OPEN, *given)])
        key = keccak(encode(["address", "address", "address", "bool"], given[:4]))
        self.accounts.append(
            {
                "key": "0x" + key.hex(),
                "owner": account,
                "market": market,
                "collateral": collateral,
                "kind": kind,
                "is_long": is_long,
            }
        )
        return "0x" + key.hex()

    def update(self, market: str) -> None:
        """Write what funding and borrowing have come to."""
        call = (_UPDATE, self.markets[market].token, self.prices(market))
        self.site.chain.send([transaction(self.site.owner, self.desk, *call)])

    def description(self) -> dict[str, Any]:
        """Everything that tests need."""
        reads = self.site.reads("gmx_v2", "GMX v2", self.store, self.first_block)
        options = {"reader_contract": self.readers["Reader22"], "referral_storage": self.desk}
        given = [f"{self.names['SOL']}={SOL_USD}@9"]
        return {
            "reads": [reads | options | {"prices": given}],
            "store": self.store,
            "desk": self.desk,
            "readers": self.readers,
            "prices": given,
            "names": self.names,
            "markets": {name: {"token": m.token, "index": m.index} for name, m in self.markets.items()},
            "first_block": self.first_block,
            "accounts": self.accounts,
        }

    def _price(self, token: str) -> int:
        if token not in self.feeds:
            return SOL_USD * 10**21
        answer: int = self.site.chain.call(self.feeds[token], "latestAnswer()", "(int256)")[0]
        return answer * int(10 ** (60 - 8 - self.places[token])) // FLOAT

    def _configure(self) -> None:
        def put(value: int, name: str, *of: str | bool) -> Transaction:
            kinds = ["bytes32", *("bool" if isinstance(part, bool) else "address" for part in of)]
            base = keccak(encode(["string"], [name]))
            key = keccak(encode(kinds, [base, *of])) if of else base
            return transaction(self.site.owner, self.store, "setUint(bytes32,uint256)", key, value)

        percent, calls = FLOAT // 100, [put(5 * FLOAT, "MIN_COLLATERAL_USD")]
        for token, feed in self.feeds.items():
            base = keccak(encode(["string"], ["PRICE_FEED"]))
            key = keccak(encode(["bytes32", "address"], [base, token]))
            calls.append(transaction(self.site.owner, self.store, "setAddress(bytes32,address)", key, feed))
            calls.append(put(10 ** (60 - 8 - self.places[token]), "PRICE_FEED_MULTIPLIER", token))
            calls.append(put(400 * 86_400, "PRICE_FEED_HEARTBEAT_DURATION", token))
        for name, market in self.markets.items():
            at, is_plain = market.token, name == "plain"
            listed = ((at, market.index, market.long, market.short),)
            calls.append(transaction(self.site.owner, self.desk, "list((address,address,address,address))", *listed))
            for value, factor in (
                (percent, "MIN_COLLATERAL_FACTOR"),
                (percent // 2 if not is_plain else percent, "MIN_COLLATERAL_FACTOR_FOR_LIQUIDATION"),
                (percent // 2, "MAX_POSITION_IMPACT_FACTOR_FOR_LIQUIDATIONS"),
                (percent // 5, "LIQUIDATION_FEE_FACTOR"),
                (0 if is_plain else 30 * percent // 31_536_000, "FUNDING_FACTOR"),
            ):
                calls.append(put(value, factor, at))
            for side in (True, False):
                calls.append(put(0 if is_plain else 20 * percent // 31_536_000, "BORROWING_FACTOR", at, side))
                calls.append(put(0 if is_plain else (6 - 2 * side) * percent // 100, "POSITION_FEE_FACTOR", at, side))
                calls.append(put(0 if is_plain else 10**20, "POSITION_IMPACT_FACTOR", at, side))
                calls.append(put(percent // 2, "MAX_POSITION_IMPACT_FACTOR", at, side))
                most = percent // 50 if name == "single" else 90 * percent
                calls.append(put(most, "MAX_PNL_FACTOR_FOR_TRADERS", at, side))
                kinds = ["bytes32", "bytes32", "address", "bool"]
                names = [keccak(encode(["string"], [text])) for text in ("MAX_PNL_FACTOR", "MAX_PNL_FACTOR_FOR_ADL")]
                key = keccak(encode(kinds, [*names, at, side]))
                most = percent // 1000 if name == "single" else 85 * percent
                calls.append(transaction(self.site.owner, self.store, "setUint(bytes32,uint256)", key, most))
            for token in {market.long, market.short}:
                pool = {18: 400 * 10**18, 8: 20 * 10**8, 6: 2_000_000 * 10**6}[self.places[token]]
                calls.append(put(pool, "POOL_AMOUNT", at, token))
        for start in range(0, len(calls), 40):
            self.site.chain.send(calls[start : start + 40])


def _pure_name(name: str) -> str:
    """An address without a contract."""
    return to_checksum_address(keccak(text=f"gmx {name}")[-20:])
