"""Synthetix v3 perps 3.13.0 from its own sources: three markets, one of a stale price, margin in snxUSD and two synths.

The perps market, the spot market, the oracle manager, the NFT of accounts, snxUSD and the synths are the real contracts
of npm's @synthetixio packages; positions come from orders that are committed and settled, and one account is closed in
part. Solidity of ours stands for the core system, the router that Hardhat generates, the distributor that gets seized
synths and the wrapper of Pyth, and says there what it leaves out; keepers' costs are the package's own mock's.

Accounts are cross-margined, some over two markets; some owe what their losses were beyond their snxUSD, one with no
position left; one has nothing at all. Funding and interest accrue over the waves' days.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...chain import transaction
from ...plans import MAX_UINT
from ...tokens import set_answer
from .system import MARKETS, SYNTHS, WAD, deploy_system

if TYPE_CHECKING:
    from collections.abc import Generator

    from ...chain import Transaction
    from .. import Site

__all__ = ["MARKETS", "build", "order"]

_ORDER = "commitOrder((uint128,uint128,int128,uint128,uint256,bytes32,address))"
_DEPOSIT = "modifyCollateral(uint128,uint128,int256)"


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy before the first wave; see protocols.Build."""
    crowd = _Crowd(site)
    draw = site.rng.uniform
    yield "lenders"
    debtor = crowd.open({"sETH": 1.0}, {"ETH": -1.0}, "debtor")
    yield "glitch"  # ETH at twice its price
    for n in range(2):
        crowd.open({"snxUSD": 900 * (1 + n)}, {"ETH": 3.0 * (1 + n)}, "under_water")
    crowd.trade(debtor, "ETH", 1.0)  # its loss is owed: it has no snxUSD
    yield "rally"
    for n in range(14):
        margin = draw(500, 9_000)
        held = {"snxUSD": margin} if n % 3 else {"snxUSD": margin / 4, "sETH": margin / 3_000}
        crowd.open(held, {"ETH": margin * draw(1, 8) / 3_100})
        crowd.open({"snxUSD": margin, "sUSDC": 700.0}, {"BTC": -margin * draw(1, 8) / 93_000})
    owing = crowd.open({"sETH": 1.0}, {"ETH": 3.0}, "owing")
    crowd.open({"snxUSD": 75_000.0}, {"ETH": 700.0}, "flagged")
    yield "slump"
    crowd.trade(owing, "ETH", -1.5)
    for n in range(10):
        margin = draw(500, 9_000)
        crowd.open({"sUSDC": margin}, {"ETH": -margin * draw(1, 9) / 2_900})
        sizes = {"ETH": margin * draw(1, 4) / 2_900, "BTC": (-1) ** n * margin * draw(1, 4) / 88_000}
        crowd.open({"snxUSD": margin}, sizes, "two markets")
    for n in range(4):
        crowd.open({"snxUSD": 450.0 + 40 * n}, {"ETH": 2.2, "BTC": -0.05}, "steep")
    yield "late"
    for n in range(6):
        crowd.open({"snxUSD": 400.0}, {"ETH": (-1) ** n * draw(2.2, 3.0)}, "steep")
        crowd.open({"sETH": 0.2}, {"ETH": draw(3.0, 4.0)}, "steep")
    crowd.open({"sETH": 900.0}, {"ETH": -900.0}, "hedged")  # a discount that grows with the amount
    crowd.open({"snxUSD": 50.0, "sETH": 1.0}, {}, "idle")
    crowd.open({}, {}, "empty")
    site.chain.send([set_answer(site.owner, crowd.system.old_feed, 4)])
    crowd.open({"snxUSD": 200.0}, {"OLD": 50.0}, "stale")
    yield "touch"
    crowd.liquidate("flagged")
    yield "settle"
    hand = crowd.open({"snxUSD": 1_000.0}, {"ETH": 2.0}, "hand")
    return crowd.description() | {"hand": hand}


def order(perps: str, owner: str, keeper: str, account: int, market: str, size: int) -> list[Transaction]:
    """An order of this size (1e-18), at any price, and its settlement, which comes a second later at the least."""
    limit = MAX_UINT if size > 0 else 0
    request = (MARKETS[market].id, account, size, 0, limit, bytes(32), "0x" + "00" * 20)
    return [
        transaction(owner, perps, _ORDER, request),
        transaction(keeper, perps, "settleOrder(uint128)", account),
    ]


class _Crowd:
    """The contracts, and who has what in them."""

    def __init__(self, site: Site) -> None:
        self.site, self.accounts = site, []  # type: Site, list[dict[str, Any]]
        self.system = deploy_system(site)

    def open(self, margin: dict[str, float], sizes: dict[str, float], kind: str = "crowd") -> int:
        """A new account with this margin and these positions, in whole units; its id."""
        account = 170_141_183_460 + len(self.accounts)
        owner = self.site.account(f"{kind}:{account}")
        calls = [transaction(owner, self.system.perps, "createAccount(uint128)", account)]
        for name, amount in margin.items():
            calls += self._deposit(owner, account, name, int(amount * WAD))
        self.site.chain.send(calls)
        self.accounts.append({"id": account, "owner": owner, "kind": kind, "markets": list(sizes)})
        for market, size in sizes.items():
            self.trade(account, market, size)
        return account

    def trade(self, account: int, market: str, size: float) -> None:
        """An order of an account, settled in the block after."""
        (owner,) = [told["owner"] for told in self.accounts if told["id"] == account]
        keeper = self.site.account("keeper")
        for step in order(self.system.perps, owner, keeper, account, market, int(size * WAD)):
            self.site.chain.send([step])

    def liquidate(self, kind: str) -> None:
        """As much of an account as one window allows."""
        (account,) = [told["id"] for told in self.accounts if told["kind"] == kind]
        keeper = self.site.account("keeper")
        self.site.chain.send([transaction(keeper, self.system.perps, "liquidate(uint128)", account)])

    def description(self) -> dict[str, Any]:
        """Everything that tests need."""
        system = asdict(self.system)
        reads = self.site.reads("synthetix_v3_perps", "Synthetix v3 perps", self.system.perps, self.system.first_block)
        more = {"issuer": self.site.owner, "accounts": self.accounts}
        return {"reads": [reads | {"spot_market": self.system.spot}], **system, **more}

    def _deposit(self, owner: str, account: int, name: str, units: int) -> list[Transaction]:
        """Margin of an account; synths are bought with twice the snxUSD that they may cost."""
        system, issuer = self.system, self.site.owner
        if name == "snxUSD":
            issued = transaction(issuer, system.core, "issue(address,uint256)", owner, units)
            return [issued, transaction(owner, system.perps, _DEPOSIT, account, 0, units)]
        synth, cost = SYNTHS[name], units * (20_000 if name == "sETH" else 2)
        buy = ("buyExactOut(uint128,uint256,uint256,address)", synth, units, cost, "0x" + "00" * 20)
        return [
            transaction(issuer, system.core, "issue(address,uint256)", owner, cost),
            transaction(owner, system.usd, "approve(address,uint256)", system.spot, cost),
            transaction(owner, system.spot, *buy),
            transaction(owner, system.synths[name], "approve(address,uint256)", system.perps, units),
            transaction(owner, system.perps, _DEPOSIT, account, synth, units),
        ]
