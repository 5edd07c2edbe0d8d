"""A stand-in of Aave v4: a hub, and a spoke of five reserves, one of them without a price; see the Solidity's comments.

WETH's collateral factor has been lowered: who has not touched a position since keeps the old one. Premiums differ by
borrower. One liquidator has taken shares, and one position has left a deficit.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...artifacts import AAVE_3_0, Artifacts, compile_contracts
from ...chain import deploy, transaction
from ...plans import MAX_UINT
from ...tokens import DECIMALS

if TYPE_CHECKING:
    from collections.abc import Generator

    from .. import Site

__all__ = ["BONUS_CONFIG", "HAND", "RATE_DATA", "build"]

E18 = 10**18
BONUS_CONFIG = (105 * 10**16, 9 * 10**17, 8000)  # target health factor, that of the maximum bonus, least share of it
HAND = {"collateral": 10 * E18, "debt": 20_000 * E18}
"""WETH at 3,000 USD and a factor of 78 %, against DAI that bears no interest."""
RATE_DATA = (8500, 100, 450, 6000)
"""Of strategies that no asset has yet, in bps: optimal usage, base rate, growth before and after."""
_SET_CURVE = "setInterestRateData(uint256,(uint16,uint32,uint32,uint32))"
_RESERVES = ("WETH", "wstETH", "WBTC", "USDC", "DAI", "DEAD")
_RATES = {"WETH": 0.02, "USDC": 0.06, "DEAD": 0.1}
_TERMS = {  # collateral factor, maximum bonus, fee, in bps
    "WETH": (8200, 10600, 1000),
    "wstETH": (8000, 10700, 1000),
    "WBTC": (7600, 10800, 2000),
    "USDC": (8000, 10500, 0),
    "DAI": (0, 10000, 0),
    "DEAD": (5000, 11000, 0),
}
_LATER_WETH = (7800, 10700, 1000)


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy everything before the first wave; see protocols.Build."""
    chain, owner, rng = site.chain, site.owner, site.rng
    first_block = chain.head()[0] + 1
    compiled = compile_contracts("0.8.26", Path(__file__).parent.glob("*.sol"), viaIR=True, evmVersion="paris")
    tokens = site.tokens | {"DEAD": site.deployer(Artifacts(AAVE_3_0)).deploy("MintableERC20", "DEAD", "DEAD", 18)}
    places = DECIMALS | {"DEAD": 18}
    hub, oracle = deploy(chain, owner, compiled["Hub"]), deploy(chain, owner, compiled["SpokeOracle"])
    spoke = deploy(chain, owner, compiled["Spoke"], oracle, BONUS_CONFIG)
    dead_feed = deploy(chain, owner, compiled["Switch"], 10**8)
    feeds = site.feeds | {"DEAD": dead_feed}
    strategies = {name: deploy(chain, owner, compiled[name]) for name in ("RateStrategy", "DeficitStrategy")}
    config = "(uint16,uint32,uint16)"
    setup = []
    for at, symbol in enumerate(_RESERVES):
        rate = int(_RATES.get(symbol, 0) * 10**27)
        setup += [
            transaction(owner, hub, "addAsset(address,uint96,uint16)", tokens[symbol], rate, 1000),
            transaction(owner, hub, "setCaps(uint256,address,uint40,uint40)", at, spoke, 10**6 * (at + 1), 2**40 - 1),
            transaction(owner, spoke, f"addReserve(address,uint16,{config})", hub, at, _TERMS[symbol]),
            transaction(owner, oracle, "setReserveSource(uint256,address)", at, feeds[symbol]),
            *(transaction(owner, strategy, _SET_CURVE, at, RATE_DATA) for strategy in strategies.values()),
        ]
    chain.send(setup)
    ids = {symbol: at for at, symbol in enumerate(_RESERVES)}
    accounts: list[dict[str, str]] = []

    def fund(user: str, symbol: str, amount: int) -> list[Any]:
        token = tokens[symbol]
        return [
            transaction(user, token, "mint(address,uint256)", user, amount),
            transaction(user, token, "approve(address,uint256)", hub, MAX_UINT),
        ]

    def supply(user: str, symbol: str, amount: int, *, as_collateral: bool = True) -> None:
        call = transaction(
            user, spoke, "supply(uint256,uint256,address,bool)", ids[symbol], amount, user, as_collateral
        )
        chain.send([*fund(user, symbol, amount), call])

    def borrow(user: str, symbol: str, amount: int, premium: int = 0) -> None:
        chain.send(
            [transaction(user, spoke, "borrow(uint256,uint256,address,uint256)", ids[symbol], amount, user, premium)]
        )

    def price(symbol: str) -> int:
        answer: int = chain.call(oracle, "getReservePrice(uint256)", "(uint256)", ids[symbol])[0]
        return answer

    def open_many(
        count: int, held: str, owed: str, sizes: tuple[float, float], share: tuple[float, float], kind: str = "borrower"
    ) -> list[str]:
        users = []
        for n in range(count):
            is_shared = (kind, held, owed) == ("borrower", "WETH", "USDC") and n < 3
            user = site.shared_account(n) if is_shared else site.account(f"{held}:{owed}:{kind}:{n}")
            amount = int(rng.uniform(*sizes) * 10 ** places[held])
            factor = _TERMS[held][0]
            most = amount * price(held) * factor * 10 ** places[owed] // (price(owed) * 10**4 * 10 ** places[held])
            supply(user, held, amount)
            borrow(user, owed, int(most * rng.uniform(*share)), rng.choice((0, 0, 500, 2500)))
            accounts.append({"address": user, "kind": kind})
            users.append(user)
        return users

    for symbol, whole in {"WETH": 9_000, "wstETH": 100, "USDC": 20_000_000, "DAI": 5_000_000, "DEAD": 900_000}.items():
        lender = site.account(f"lender:{symbol}")
        supply(lender, symbol, whole * 10 ** places[symbol], as_collateral=False)
        accounts.append({"address": lender, "kind": "lender"})
    yield "glitch"  # ETH at twice its price: under water when it is back
    sunk = open_many(2, "WETH", "USDC", (5, 20), (0.97, 0.99), "under_water")
    lost = open_many(1, "WETH", "DAI", (30, 40), (0.97, 0.99), "deficit")
    open_many(4, "WETH", "USDC", (5, 60), (0.51, 0.54), "liquidatable")
    taken = open_many(1, "WETH", "USDC", (40, 50), (0.53, 0.54), "liquidated")
    open_many(2, "WETH", "DEAD", (5, 20), (0.3, 0.4), "dead")
    yield "rally"
    open_many(14, "WETH", "USDC", (1, 200), (0.3, 0.93))
    open_many(10, "wstETH", "WETH", (1, 90), (0.6, 0.97), "looper")
    chain.send([transaction(owner, spoke, f"addDynamicReserveConfig(uint256,{config})", ids["WETH"], _LATER_WETH)])
    yield "slump"
    open_many(8, "WBTC", "USDC", (0.1, 9), (0.3, 0.95))
    open_many(6, "USDC", "WETH", (1e3, 4e5), (0.4, 0.9), "short")
    yield "late"
    mixed = site.account("mixed")
    for symbol, amount in (("WETH", 7 * E18), ("WBTC", 10**8), ("USDC", 5_000 * 10**6)):
        supply(mixed, symbol, amount, as_collateral=symbol != "USDC")
    borrow(mixed, "USDC", 40_000 * 10**6, 777)
    borrow(mixed, "DAI", 9_000 * E18)
    hand, dust = site.account("by hand"), site.account("dust")
    supply(hand, "WETH", HAND["collateral"])
    borrow(hand, "DAI", HAND["debt"])
    supply(dust, "WETH", 10**13)
    borrow(dust, "USDC", 1, 500)
    accounts += [{"address": user, "kind": kind} for user, kind in ((mixed, "mixed"), (hand, "hand"), (dust, "dust"))]
    yield "settle"
    liquidator = site.account("liquidator")
    call = "liquidationCall(uint256,uint256,address,bool)"
    chain.send(
        [
            *fund(liquidator, "USDC", 10**13),
            *fund(liquidator, "DAI", 10**25),
            transaction(liquidator, spoke, call, ids["WETH"], ids["USDC"], taken[0], True),
            transaction(liquidator, spoke, call, ids["WETH"], ids["DAI"], lost[0], False),
        ]
    )
    accounts.append({"address": liquidator, "kind": "liquidator"})
    chain.send([transaction(owner, dead_feed, "set(int256)", 0)])
    return {
        "reads": [site.reads("aave_v4", "Aave v4", spoke, first_block)],
        "address": spoke,
        "first_block": first_block,
        "hub": hub,
        "oracle": oracle,
        "strategies": strategies,
        "reserves": ids,
        "tokens": {"DEAD": tokens["DEAD"]},
        "accounts": accounts,
        "hand": hand,
        "under_water": sunk,
        "lost": lost[0],
        "liquidated": taken[0],
        "liquidator": liquidator,
    }
