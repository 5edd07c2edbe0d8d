"""Two Comets (Compound III), stand-ins whose files say what they imitate and what not.

`usdc`, in USD, has eighteen collaterals, so that the last two, DAI and a broken one, are beyond the sixteen flags of
assetsIn; `weth` is in ETH, its base a constant 1. Interest accrues over the waves' days; somebody is under water, some
are below 1, one account is absorbed, one loan is transferred without any event that names the borrower.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...artifacts import AAVE_3_0, Artifacts, compile_contracts
from ...chain import deploy, transaction
from ...plans import MAX_UINT
from ...tokens import DECIMALS, set_answer

if TYPE_CHECKING:
    from collections.abc import Generator

    from ...chain import Transaction
    from .. import Site

WAD, E8, E6 = 10**18, 10**8, 10**6
FILLERS = 13
DAI_OFFSET, BROKEN_OFFSET = 16, 17
RESERVES = 120_000 * E6
PERCENT = WAD // 100
SUPPLY_CURVE = (0, 4 * PERCENT, 40 * PERCENT, 80 * PERCENT)  # base, slopes below and above the kink, kink
BORROW_CURVE = (PERCENT, 5 * PERCENT, 60 * PERCENT, 80 * PERCENT)
FACTORS = {  # of borrowing, of liquidation, and what is credited, in per cent
    "WETH": (82, 85, 93),
    "WBTC": (70, 77, 90),
    "wstETH": (80, 85, 92),
    "DAI": (88, 92, 96),
    "rETH": (88, 92, 97),
}


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy everything before the first wave; see protocols.Build."""
    compiled = compile_contracts("0.8.26", Path(__file__).parent.glob("*.sol"), viaIR=True, evmVersion="paris")
    compiled |= {"MarketFeed": compile_contracts("0.8.19", [_SHARED / "MarketFeed.sol"])["MarketFeed"]}
    first_block = site.chain.head()[0] + 1
    crowd = _Crowd(site)
    usdc = _usdc_comet(site, compiled)
    weth = _weth_comet(site, compiled)
    crowd.supply("usdc", usdc, "USDC", [30_000_000 * E6, 4_000_000 * E6 + 1], "lender")
    crowd.supply("weth", weth, "WETH", [20_000 * WAD, 1_234 * WAD + 7], "lender")
    site.chain.send([transaction(site.owner, site.tokens["USDC"], "mint(address,uint256)", usdc["address"], RESERVES)])

    yield "glitch"  # ETH at twice its price: under water when it is back
    crowd.borrow("usdc", usdc, {"WETH": 5 * WAD}, 0.99, "under_water")
    crowd.borrow("usdc", usdc, {"WETH": 9 * WAD, "WBTC": 3 * E8 // 100}, 0.53, "liquidatable")
    crowd.borrow("usdc", usdc, {"WETH": 20 * WAD}, 0.531, "absorbed")
    yield "rally"
    rng = site.rng
    for _ in range(10):
        crowd.borrow("usdc", usdc, {"WETH": int(rng.uniform(1, 300) * WAD)}, rng.uniform(0.3, 0.95))
    for _ in range(3):
        crowd.borrow("usdc", usdc, {"WETH": int(rng.uniform(1, 90) * WAD)}, 0.999, "liquidatable")
    for _ in range(8):
        crowd.borrow("usdc", usdc, {"wstETH": int(rng.uniform(1, 200) * WAD)}, rng.uniform(0.3, 0.95))
    yield "slump"
    for _ in range(8):
        crowd.borrow("usdc", usdc, {"WBTC": int(rng.uniform(0.1, 20) * E8)}, rng.uniform(0.3, 0.97))
    for _ in range(5):
        mixed = {"WETH": int(rng.uniform(1, 20) * WAD), "DAI": int(rng.uniform(1e3, 1e5) * WAD), "F04": 777 * WAD}
        crowd.borrow("usdc", usdc, mixed, rng.uniform(0.5, 0.97), "mixed")
    for amount in (3, 40, 170, 900, 2_000):
        crowd.borrow("weth", weth, {"wstETH": amount * WAD + amount}, rng.uniform(0.8, 0.995), "looper")
    for _ in range(6):
        crowd.borrow("weth", weth, {"rETH": int(rng.uniform(1, 200) * WAD)}, rng.uniform(0.5, 0.99))
    victim = crowd.first("usdc", "absorbed")
    site.chain.send(
        [transaction(site.account("absorber"), usdc["address"], _ABSORB, site.account("absorber"), [victim])]
    )
    yield "late"
    for collateral, owed in ((10**12, 1), (3 * 10**13, 20_001)):
        crowd.borrow("usdc", usdc, {"WETH": collateral}, owed, "dust")
    crowd.supply("usdc", usdc, "USDC", [1, 2], "dust_lender")
    crowd.supply("usdc", usdc, "WBTC", [E8], "pledger")
    crowd.transfers("usdc", usdc)
    crowd.borrow("usdc", usdc, {"WETH": 30 * WAD, "BROKEN": 5 * WAD}, 0.5, "broken_borrower")
    crowd.supply("usdc", usdc, "BROKEN", [9 * WAD], "broken_pledger")
    yield "settle"
    site.chain.send([set_answer(site.owner, usdc["feeds"]["BROKEN"], 0)])
    unit = {"unit_usd_feed": site.feeds["WETH"]}
    return {
        "reads": [
            site.reads("comet", "Compound USDC", usdc["address"], first_block),
            site.reads("comet", "Compound WETH", weth["address"], first_block) | unit,
        ],
        "first_block": first_block,
        "comets": {"usdc": usdc, "weth": weth},
        "accounts": crowd.accounts,
    }


_SHARED = Path(__file__).parents[2] / "sol"
_ABSORB = "absorb(address,address[])"


def _comet(site: Site, compiled: Any, symbol: str, base: str, feed: str, least: int, target: int) -> dict[str, Any]:
    limits, curves = [6 * WAD // 10, target, least], [SUPPLY_CURVE, BORROW_CURVE]
    token = site.tokens[base]
    address = deploy(site.chain, site.owner, compiled["CometStandIn"], symbol, token, feed, limits, curves)
    return {"address": address, "base": base, "tokens": {base: token}, "feeds": {base: feed}, "assets": []}


def _list(site: Site, comet: dict[str, Any], symbol: str, token: str, feed: str) -> None:
    factors = [percent * PERCENT for percent in FACTORS.get(symbol, (60, 65, 80))]
    signature = "list(address,address,uint64[3],uint128)"
    site.chain.send([transaction(site.owner, comet["address"], signature, token, feed, factors, 10**30)])
    comet["assets"].append(symbol)
    comet["tokens"][symbol], comet["feeds"][symbol] = token, feed


def _usdc_comet(site: Site, compiled: Any) -> dict[str, Any]:
    chain, owner, feeds, tokens = site.chain, site.owner, site.feeds, site.tokens
    comet = _comet(site, compiled, "cUSDCv3", "USDC", feeds["USDC"], 1, 2_000_000 * E6)
    rate = deploy(chain, owner, compiled["RateFeed"], feeds["wstETH"])
    both = ("wstETH / USD price feed", rate, feeds["WETH"])
    wsteth = deploy(chain, owner, compiled["MultiplicativePriceFeedStandIn"], *both)
    fixed = deploy(chain, owner, compiled["ConstantPriceFeedStandIn"], E8)
    broken = deploy(chain, owner, compiled["MarketFeed"], "BROKEN / USD", 100 * E8)
    deployer = site.deployer(Artifacts(AAVE_3_0))
    for symbol, feed in (("WETH", feeds["WETH"]), ("WBTC", feeds["WBTC"]), ("wstETH", wsteth)):
        _list(site, comet, symbol, tokens[symbol], feed)
    for number in range(FILLERS):
        name = f"F{number:02d}"
        _list(site, comet, name, deployer.deploy("MintableERC20", name, name, 18), fixed)
    _list(site, comet, "DAI", tokens["DAI"], feeds["DAI"])
    _list(site, comet, "BROKEN", deployer.deploy("MintableERC20", "BROKEN", "BROKEN", 18), broken)
    return comet


def _weth_comet(site: Site, compiled: Any) -> dict[str, Any]:
    chain, owner = site.chain, site.owner
    one = deploy(chain, owner, compiled["ConstantPriceFeedStandIn"], E8)
    comet = _comet(site, compiled, "cWETHv3", "WETH", one, WAD // 10, 1_000 * WAD)
    rate = deploy(chain, owner, compiled["RateFeed"], site.feeds["wstETH"])
    scaled = deploy(chain, owner, compiled["ScalingPriceFeedStandIn"], "wstETH-stETH Exchange Rate", rate)
    market = deploy(chain, owner, compiled["MarketFeed"], "rETH / ETH", 113 * E8 // 100)
    reth = site.deployer(Artifacts(AAVE_3_0)).deploy("MintableERC20", "rETH", "rETH", 18)
    _list(site, comet, "wstETH", site.tokens["wstETH"], scaled)
    _list(site, comet, "rETH", reth, market)
    return comet


class _Crowd:
    """Accounts of both Comets, by Comet and kind, in the order of their arrival."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.accounts: list[dict[str, str]] = []

    def first(self, key: str, kind: str) -> str:
        """The first account of a kind."""
        return next(x["address"] for x in self.accounts if (x["comet"], x["kind"]) == (key, kind))

    def supply(self, key: str, comet: dict[str, Any], symbol: str, amounts: list[int], kind: str) -> None:
        """New accounts that supply so much of one token each."""
        for amount in amounts:
            user = self._arrive(key, kind)
            self._site.chain.send(self._supply(comet, user, symbol, amount))

    def borrow(
        self, key: str, comet: dict[str, Any], collateral: dict[str, int], share: float, kind: str = "borrower"
    ) -> str:
        """A new account that borrows a share of the most it may; a share of at least 1 is raw base tokens."""
        user = self._arrive(key, kind)
        calls = [call for symbol, amount in collateral.items() for call in self._supply(comet, user, symbol, amount)]
        owed = share if share >= 1 else max(1, int(self._room(comet, collateral) * share))
        calls.append(transaction(user, comet["address"], "withdraw(address,uint256)", *self._base(comet), int(owed)))
        self._site.chain.send(calls)
        return user

    def transfers(self, key: str, comet: dict[str, Any]) -> None:
        """Collateral and base balances that change hands: one loan is nothing but a transfer."""
        giver, taker, lent, heir = (
            self._arrive(key, kind) for kind in ("transfer_borrower", "transfer_lender", "giver", "heir")
        )
        move, move_asset = "transfer(address,uint256)", "transferAsset(address,address,uint256)"
        self._site.chain.send(
            [
                *self._supply(comet, giver, "WETH", 4 * WAD),
                transaction(giver, comet["address"], move, taker, 5_000 * E6),
                *self._supply(comet, lent, "WBTC", 2 * E8),
                transaction(lent, comet["address"], move_asset, heir, comet["tokens"]["WBTC"], E8 // 2),
            ]
        )

    def _room(self, comet: dict[str, Any], collateral: dict[str, int]) -> int:
        call, address = self._site.chain.call, comet["address"]

        def price(symbol: str) -> int:
            answer: int = call(address, "getPrice(address)", "(uint256)", comet["feeds"][symbol])[0]
            return answer

        places = DECIMALS | {symbol: 18 for symbol in comet["tokens"] if symbol not in DECIMALS}
        room: int = sum(
            amount * price(symbol) * FACTORS.get(symbol, (60, 65, 80))[0] // 10 ** places[symbol] // 100
            for symbol, amount in collateral.items()
        )
        unit: int = 10 ** places[comet["base"]]
        return room * unit // price(comet["base"])

    def _base(self, comet: dict[str, Any]) -> tuple[str]:
        return (comet["tokens"][comet["base"]],)

    def _supply(self, comet: dict[str, Any], user: str, symbol: str, amount: int) -> list[Transaction]:
        token = comet["tokens"][symbol]
        return [
            transaction(user, token, "mint(address,uint256)", user, amount),
            transaction(user, token, "approve(address,uint256)", comet["address"], MAX_UINT),
            transaction(user, comet["address"], "supply(address,uint256)", token, amount),
        ]

    def _arrive(self, key: str, kind: str) -> str:
        count = sum((account["comet"], account["kind"]) == (key, kind) for account in self.accounts)
        is_shared = (key, kind) == ("usdc", "borrower") and count < 4
        user = self._site.shared_account(count) if is_shared else self._site.account(f"{key}:{kind}:{count}")
        self.accounts.append({"address": user, "comet": key, "kind": kind})
        return user
