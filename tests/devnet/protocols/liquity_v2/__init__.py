"""Liquity v2 as a stand-in: a branch of WETH at market, one of wstETH at its rate, one that was shut down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...artifacts import AAVE_3_0, Artifacts, compile_contracts
from ...chain import deploy, transaction

if TYPE_CHECKING:
    from collections.abc import Generator

    from .. import Site

E18 = 10**18
NOBODY = "0x" + "00" * 20
BRANCHES = {  # minimum ratio and redistribution penalty, in percent
    "WETH": (110, 10),
    "wstETH": (120, 20),
    "rETH": (120, 20),
}


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy everything before the first wave; see protocols.Build."""
    chain, owner = site.chain, site.owner
    compiled = compile_contracts("0.8.19", Path(__file__).parent.glob("*.sol"))
    first_block = chain.head()[0] + 1
    tokens = site.deployer(Artifacts(AAVE_3_0))
    bold = tokens.deploy("MintableERC20", "BOLD", "BOLD", 18)
    reth = tokens.deploy("MintableERC20", "rETH", "rETH", 18)
    branches: dict[str, dict[str, Any]] = {}
    for symbol, (minimum, penalty) in BRANCHES.items():
        token = reth if symbol == "rETH" else site.tokens[symbol]
        rate = NOBODY if symbol == "WETH" else site.feeds["wstETH"]
        feed = deploy(chain, owner, compiled["BoldPriceFeed"], site.feeds["WETH"], rate)
        given = [token, bold, site.tokens["WETH"], feed]
        parameters = minimum * E18 // 100, 5 * E18 // 100, penalty * E18 // 100
        registry = deploy(chain, owner, compiled["BoldRegistry"], *parameters, given)
        manager = deploy(chain, owner, compiled["BoldTroves"], registry)
        chain.send([transaction(owner, registry, "setAddresses(address)", manager)])
        branches[symbol] = {"registry": registry, "manager": manager, "price_feed": feed, "token": token, "troves": {}}
    batch = site.account("batch manager")

    def act(symbol: str, function: str, *arguments: Any) -> None:
        chain.send([transaction(owner, branches[symbol]["manager"], function, *arguments)])

    def open_troves(
        symbol: str, kind: str, count: int, price: float, ratios: tuple[float, float], *, managed: bool = False
    ) -> list[int]:
        made = []
        for number in range(count):
            id_ = site.rng.getrandbits(256)
            who = site.account(f"{kind}:{number // 2}")  # two troves an owner
            coll = int(site.rng.uniform(1, 250) * E18)
            debt = int(coll * price / site.rng.uniform(*ratios))
            if managed:
                types = "openTroveAndJoinBatch(uint256,address,uint256,uint256,address)"
                act(symbol, types, id_, who, coll, debt, batch)
            else:
                rate = int(site.rng.uniform(0.005, 0.12) * E18)
                act(symbol, "openTrove(uint256,address,uint256,uint256,uint256)", id_, who, coll, debt, rate)
            branches[symbol]["troves"][hex(id_)] = kind
            made.append(id_)
        return made

    yield "lenders"
    open_troves("WETH", "whale", 4, 3_000, (2.5, 4.0))
    open_troves("wstETH", "whale", 2, 3_540, (2.5, 4.0))
    for symbol in ("WETH", "wstETH"):
        act(symbol, "setBatch(address,uint256,uint256)", batch, E18 // 20, E18 // 100)
    yield "glitch"
    lost = open_troves("WETH", "lost", 2, 6_000, (2.02, 2.05))
    (sunk,) = open_troves("WETH", "under_water", 1, 6_000, (1.3, 1.35))
    yield "rally"
    open_troves("WETH", "borrower", 18, 3_150, (1.25, 2.5))
    open_troves("WETH", "batched", 8, 3_150, (1.25, 2.0), managed=True)
    open_troves("WETH", "tight", 4, 3_150, (1.12, 1.15))
    open_troves("wstETH", "borrower", 10, 3_150 * 1.2, (1.4, 2.5))
    open_troves("wstETH", "batched", 4, 3_150 * 1.2, (1.4, 2.0), managed=True)
    open_troves("rETH", "borrower", 5, 3_150 * 1.2, (1.4, 2.5))
    yield "slump"
    act("WETH", "provideToSP(uint256)", 30_000 * E18)
    for id_ in lost:  # the pool pays some of the first; the rest and the second are redistributed
        act("WETH", "liquidate(uint256)", id_)
        del branches["WETH"]["troves"][hex(id_)]
    act("WETH", "setBatch(address,uint256,uint256)", batch, E18 // 16, E18 // 100)
    feed = branches["rETH"]["price_feed"]
    chain.send([transaction(owner, feed, "fetchPrice()"), transaction(owner, feed, "setSource(uint8)", 2)])
    act("rETH", "shutdown()")
    chain.send([transaction(owner, branches["wstETH"]["price_feed"], "setSource(uint8)", 1)])
    yield "late"
    open_troves("WETH", "batched_late", 4, 3_000, (1.3, 2.0), managed=True)
    zombies = open_troves("WETH", "zombie", 2, 3_000, (1.5, 2.0))
    act("WETH", "redeemTo(uint256,uint256)", zombies[0], 300 * E18)
    act("WETH", "redeemTo(uint256,uint256)", zombies[1], 0)
    hand = int.from_bytes(b"hand")
    act("WETH", "openTrove(uint256,address,uint256,uint256,uint256)", hand, site.account("hand"), 10 * E18,
        15_000 * E18, E18 // 10)  # fmt: skip
    dust = int.from_bytes(b"dust")
    act("WETH", "openTrove(uint256,address,uint256,uint256,uint256)", dust, site.account("dust"), 7, 3, E18 // 10)
    branches["WETH"]["troves"] |= {hex(hand): "hand", hex(dust): "dust"}
    act("WETH", "provideToSP(uint256)", 4_000 * E18)
    act("wstETH", "transfer(uint256,address)", int(next(iter(branches["wstETH"]["troves"])), 16), site.account("heir"))
    yield "settle"
    return {
        "reads": [
            site.reads("liquity_v2", "Liquity v2", branch["registry"], first_block) for branch in branches.values()
        ],
        "first_block": first_block,
        "bold": bold,
        "branches": branches,
        "batch": batch,
        "hand": hex(hand),
        "dust": hex(dust),
        "under_water": hex(sunk),
        "zombies": [hex(zombie) for zombie in zombies],
        "heir": site.account("heir"),
        "liquidated": [hex(id_) for id_ in lost],
    }
