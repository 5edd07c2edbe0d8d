"""A stand-in of Synthetix v3 perps: three markets, one of whose price goes stale, and margin in snxUSD and two synths.

Accounts are cross-margined, some over two markets; one has nothing but a debt, one nothing at all. Funding and interest
accrue over the waves' days. The Solidity says what it imitates.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...artifacts import compile_contracts
from ...chain import transaction
from ...tokens import set_answer

if TYPE_CHECKING:
    from collections.abc import Generator

    from ...chain import Transaction
    from .. import Site

__all__ = ["HAND", "MARKETS", "REWARD", "build"]

WAD = 10**18
MARKETS = {"ETH": 100, "BTC": 200, "OLD": 300}
SYNTHS = {"sETH": 1, "sUSDC": 2}
REWARD = 2 * WAD
"""Least that a keeper gets."""
HAND = {"margin": 1_000 * WAD, "size": 2 * WAD}
"""Two ETH at 3,000 on 1,000 snxUSD, opened in the head's last wave."""
_PERCENT = WAD // 100
_SCALES = {"ETH": 1_000_000 * WAD, "BTC": 100_000 * WAD, "OLD": 1_000_000 * WAD}
_CONFIG = "(string,address,uint256,uint256,uint256,uint256,uint256,uint256,uint256)"


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy before the first wave; see protocols.Build."""
    crowd = _Crowd(site)
    draw = site.rng.uniform
    yield "glitch"  # ETH at twice its price
    for n in range(2):
        crowd.open({"snxUSD": 900 * (1 + n)}, {"ETH": 3.0 * (1 + n)}, "under_water")
    yield "rally"
    for n in range(14):
        margin = draw(500, 9_000)
        held = {"snxUSD": margin} if n % 3 else {"snxUSD": margin / 4, "sETH": margin / 3_000}
        crowd.open(held, {"ETH": margin * draw(1, 8) / 3_100})
        crowd.open({"snxUSD": margin, "sUSDC": 700.0}, {"BTC": -margin * draw(1, 8) / 93_000})
    yield "slump"
    for n in range(10):
        margin = draw(500, 9_000)
        crowd.open({"sUSDC": margin}, {"ETH": -margin * draw(1, 9) / 2_900})
        sizes = {"ETH": margin * draw(1, 4) / 2_900, "BTC": (-1) ** n * margin * draw(1, 4) / 88_000}
        crowd.open({"snxUSD": margin}, sizes, "two markets")
    yield "late"
    for n in range(6):
        crowd.open({"snxUSD": 400.0}, {"ETH": (-1) ** n * draw(2.2, 3.4)}, "steep")
    crowd.open({"sETH": 900.0}, {"ETH": -900.0}, "hedged")  # a discount that grows with the amount
    crowd.open({"snxUSD": 200.0}, {"OLD": 50.0}, "stale")
    crowd.open({"snxUSD": 50.0, "sETH": 1.0}, {}, "idle")
    crowd.open({}, {}, "empty")
    crowd.owe(crowd.open({"snxUSD": 3_000.0}, {"ETH": 1.0}, "owing"), 400 * WAD)
    crowd.owe(crowd.open({}, {}, "debtor"), 25 * WAD)
    yield "settle"
    hand = crowd.open({"snxUSD": HAND["margin"] / WAD}, {"ETH": HAND["size"] / WAD}, "hand")
    site.chain.send([set_answer(site.owner, crowd.old, 0)])
    return crowd.description() | {"hand": hand}


class _Crowd:
    """The contracts, and who has what in them."""

    def __init__(self, site: Site) -> None:
        self.site, self.accounts = site, []  # type: Site, list[dict[str, Any]]
        self.first_block = site.chain.head()[0] + 1
        here = Path(__file__).parent
        compiled = compile_contracts("0.8.26", here.glob("*.sol"), evmVersion="paris")
        shared = here.parents[1] / "sol" / "MarketFeed.sol"
        compiled["MarketFeed"] = compile_contracts("0.8.19", [shared])["MarketFeed"]
        deployer = site.deployer(compiled)
        self.token, self.spot = deployer.deploy("AccountToken"), deployer.deploy("SpotMarket", WAD // 1000)
        self.perps = deployer.deploy("PerpsMarket", self.token, self.spot, REWARD, 5 * _PERCENT)
        self.old = deployer.deploy("MarketFeed", "OLD / USD", 4 * 10**8)
        feeds = {"ETH": site.feeds["WETH"], "BTC": site.feeds["WBTC"], "OLD": self.old}
        create = f"create(uint128,{_CONFIG})"
        for name, market in MARKETS.items():
            ratios = (2 * _PERCENT, 3 * _PERCENT, 60 * _PERCENT, _PERCENT // 20)
            config = (name, feeds[name], _SCALES[name], *ratios, 25 * WAD if name == "BTC" else 0, 2 * WAD)
            deployer.send(self.perps, (create, market, config))
        tokens = {"sETH": (site.tokens["WETH"], site.feeds["WETH"]), "sUSDC": (site.tokens["DAI"], site.feeds["DAI"])}
        for name, synth in SYNTHS.items():
            scale = 100_000 * WAD if name == "sETH" else 0
            deployer.send(self.spot, ("set(uint128,address,address,uint256)", synth, *tokens[name], scale))
        terms = (_PERCENT, 10 * _PERCENT, 3 * WAD)
        deployer.send(self.perps, ("setDiscount(uint128,uint256,uint256,uint256)", SYNTHS["sETH"], *terms))

    def open(self, margin: dict[str, float], sizes: dict[str, float], kind: str = "crowd") -> int:
        """A new account with this margin and these positions, in whole units; its id."""
        account = 170_141_183_460 + len(self.accounts)
        owner = self.site.account(f"{kind}:{account}")
        calls = [transaction(self.site.owner, self.token, "mint(address,uint128)", owner, account)]
        for name, amount in margin.items():
            given = (account, SYNTHS.get(name, 0), int(amount * WAD))
            calls.append(self._do("deposit(uint128,uint128,uint256)", *given))
        calls += [
            self._do("open(uint128,uint128,int128)", account, MARKETS[name], int(size * WAD))
            for name, size in sizes.items()
        ]
        self.site.chain.send(calls)
        self.accounts.append({"id": account, "owner": owner, "kind": kind, "markets": list(sizes)})
        return account

    def owe(self, account: int, amount: int) -> None:
        """A debt to the system."""
        self.site.chain.send([self._do("owe(uint128,uint256)", account, amount)])

    def description(self) -> dict[str, Any]:
        """Everything that tests need."""
        reads = self.site.reads("synthetix_v3_perps", "Synthetix v3 perps", self.perps, self.first_block)
        return {
            "reads": [reads | {"spot_market": self.spot}],
            "perps": self.perps,
            "spot": self.spot,
            "token": self.token,
            "old_feed": self.old,
            "first_block": self.first_block,
            "accounts": self.accounts,
        }

    def _do(self, signature: str, *given: Any) -> Transaction:
        return transaction(self.site.owner, self.perps, signature, *given)
