"""A stand-in of Euler v2: nine sound vaults, one of them an escrow, and two broken ones; see the Solidity's comments.

Loops of wstETH against WETH have WETH as their unit of account; all other debts are counted in dollars. One liquidation
LTV is on its way down at the head. Accounts are their owners' or sub-accounts of theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...artifacts import AAVE_3_0, Artifacts
from .contracts import USD, Euler

if TYPE_CHECKING:
    from collections.abc import Generator

    from .. import Site

__all__ = ["BROKEN", "build"]

DAY = 86_400
NOBODY = "0x" + "00" * 20
E18, E8, E6 = 10**18, 10**8, 10**6
BROKEN = ("STALE", "FOO")
DISCOUNT_BPS = {"USDC": 1500, "DAI": 1000, "WETHloop": 500}
HAND = {"collateral": 10 * E18, "debt": 20_000 * E18}
"""An escrow of WETH at 3,000 USD against DAI that bears no interest and is counted as a dollar."""


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy everything before the first wave; see protocols.Build."""
    first_block = site.chain.head()[0] + 1
    euler, rng = Euler(site), site.rng
    stale = _deploy_vaults(site, euler)
    for key, amount in _LENT.items():
        euler.deposit(key, site.account(f"lender:{key}"), amount)

    def open_many(count: int, debt: str, collateral: str, sizes: tuple[float, float], share: tuple[float, float],
                  kind: str = "borrower") -> None:  # fmt: skip
        for n in range(count):
            is_shared = (debt, collateral, kind) == ("USDC", "WETH", "borrower") and n < 3
            owner = site.shared_account(n) if is_shared else site.account(f"{debt}:{collateral}:{kind}:{n}")
            held = int(rng.uniform(*sizes) * 10 ** _PLACES[collateral])
            unit = site.tokens["WETH"] if debt == "WETHloop" else USD
            limit = _LTV[debt, collateral][0]
            worth = euler.quote(collateral, held, unit) * limit // 10_000
            per_debt = euler.quote(debt, 10 ** _PLACES[debt], unit)
            lent = int(worth * rng.uniform(*share)) * 10 ** _PLACES[debt] // per_debt
            euler.borrow(debt, {collateral: held}, max(lent, 1), owner, kind, rng.choice((0, 0, 1, 2, 255)))

    yield "glitch"  # ETH at twice its price: under water when it is back
    open_many(2, "USDC", "WETH", (5, 20), (0.95, 0.99), "under_water")
    open_many(3, "USDC", "WETH", (5, 20), (0.55, 0.56), "liquidatable")
    open_many(2, "STALE", "WETH", (5, 20), (0.4, 0.5), "stale")
    yield "rally"
    open_many(14, "USDC", "WETH", (1, 200), (0.3, 0.93))
    open_many(12, "WETHloop", "wstETH", (1, 300), (0.8, 0.985), "looper")
    yield "slump"
    open_many(8, "USDC", "WBTC", (0.1, 9), (0.3, 0.95))
    open_many(6, "USDC", "wstETH", (1, 90), (0.3, 0.95))
    open_many(5, "DAI", "USDC", (1e3, 4e5), (0.5, 0.98))
    yield "late"
    whale = site.account("several at once")
    for number in range(4):  # one owner, four sub-accounts, two collaterals each
        pledged = {"WETH": (3 + number) * E18, "WBTC": (number + 1) * E8 // 4}
        euler.borrow("USDC", pledged, (4_000 + 3_333 * number) * E6, whale, "several", number)
    hand = euler.borrow("DAI", {"escrow": HAND["collateral"]}, HAND["debt"], site.account("by hand"), "hand")
    euler.borrow("DAI", {"escrow": 10**15}, 3, site.account("dust:0"), "dust")
    euler.borrow("USDC", {"WETH": 10**13}, 1, site.account("dust:1"), "dust")
    euler.deposit("USDC", site.account("dust lender"), 7)
    euler.borrow("FOO", {"BAR": 100 * E18}, 10 * E18, site.account("foo"), "unpriced")
    gone = euler.borrow("DAI", {"escrow": 5 * E18}, 1_000 * E18, site.account("gone"), "repaid")
    euler.repay("DAI", gone)
    yield "settle"
    euler.accept("USDC", "WBTC", 6000, 6000, 100 * DAY)  # from 8000, still on its way at the head
    euler.as_owner(stale, "setStale(bool)", True)
    return {
        "reads": [site.reads("euler_v2", "Euler v2", euler.factory, first_block)],
        "address": euler.factory,
        "first_block": first_block,
        "connector": euler.connector,
        "router": euler.router,
        "vaults": {key: {"address": v.address, "asset": v.asset} for key, v in euler.vaults.items()},
        "accounts": euler.accounts,
        "hand": hand,
        "gone": gone,
        "whale": whale,
        "stale_adapter": stale,
        "models": _deploy_models(euler),
        "broken": list(BROKEN),
    }


_PLACES = {"WETH": 18, "wstETH": 18, "WBTC": 8, "USDC": 6, "DAI": 18, "WETHloop": 18, "escrow": 18, "STALE": 18}
_LENT = {
    "WETH": 900 * E18,
    "wstETH": 50 * E18,
    "WBTC": 5 * E8,
    "USDC": 12_000_000 * E6,
    "DAI": 3_000_000 * E18,
    "WETHloop": 5_000 * E18,
    "STALE": 500_000 * E18,
    "FOO": 100 * E18,
}
_LTV = {  # debt, collateral: borrow and liquidation LTV
    ("USDC", "WETH"): (8000, 8400),
    ("USDC", "wstETH"): (7800, 8200),
    ("USDC", "WBTC"): (7500, 8000),
    ("DAI", "USDC"): (8800, 9000),
    ("DAI", "escrow"): (8000, 8500),
    ("WETHloop", "wstETH"): (9300, 9500),
    ("STALE", "WETH"): (8000, 8500),
    ("FOO", "BAR"): (8000, 8500),
}


def _deploy_models(euler: Euler) -> dict[str, str]:
    """Rate models that no vault has yet: 1 % at no use, 6 % at 80 % and 86 % at all; 8 % at a target of 85 %."""
    all_, year = 2**32 - 1, 365 * DAY
    rates = [int(rate * 10**27 / year) for rate in (0.01, 0.05 / 0.8 / all_, 0.8 / 0.2 / all_)]
    bounds = [int(rate * E18 / year) for rate in (0.08, 0.005, 1.2)]
    return {
        "kink": euler.deploy("KinkModel", *rates, all_ * 8 // 10),
        "bent": euler.deploy("BentModel", *rates, all_ * 8 // 10),
        "excessive": euler.deploy("KinkModel", *rates[:2], rates[2] * 12, all_ * 8 // 10),
        "adaptive": euler.deploy("AdaptiveModel", 85 * E18 // 100, *bounds, 5 * E18, 40 * E18 // year),
    }


def _deploy_vaults(site: Site, euler: Euler) -> str:
    """Adapters, vaults and their terms; the adapter that will be stale."""
    tokens, feeds = site.tokens, site.feeds
    deployer = site.deployer(Artifacts(AAVE_3_0))
    tokens = tokens | {name: deployer.deploy("MintableERC20", name, name, 18) for name in ("STALE", "FOO", "BAR")}
    eth = euler.price(tokens["WETH"], USD, "FeedAdapter", feeds["WETH"])
    euler.price(tokens["WBTC"], USD, "FeedAdapter", feeds["WBTC"])
    euler.price(tokens["USDC"], USD, "FeedAdapter", feeds["USDC"])
    euler.price(tokens["DAI"], USD, "FixedAdapter", E18)
    rate = euler.price(tokens["wstETH"], tokens["WETH"], "RateAdapter", feeds["wstETH"])
    cross = euler.deploy("CrossAdapter", tokens["wstETH"], tokens["WETH"], USD, rate, eth)
    euler.as_owner(euler.router, "setConfig(address,address,address)", tokens["wstETH"], USD, cross)
    stale = euler.price(tokens["STALE"], USD, "FeedAdapter", feeds["USDC"])
    euler.price(tokens["BAR"], tokens["FOO"], "FixedAdapter", E18)
    for key in ("WETH", "wstETH", "WBTC", "USDC", "DAI", "STALE"):
        euler.open_vault(key, tokens[key], USD)
    euler.open_vault("WETHloop", tokens["WETH"], tokens["WETH"])
    euler.open_vault("escrow", tokens["WETH"], NOBODY, router=NOBODY)
    euler.open_vault("FOO", tokens["FOO"], tokens["FOO"])
    euler.open_vault("BAR", tokens["BAR"], tokens["FOO"])
    euler.open_vault("empty", tokens["WETH"], USD)
    euler.configure("WETH", 0.02, 1000, 1000)
    euler.configure("USDC", 0.07, 1000, DISCOUNT_BPS["USDC"], (250 << 6) | 13, (120 << 6) | 13)
    euler.configure("WETHloop", 0.025, 500, DISCOUNT_BPS["WETHloop"])
    euler.configure("DAI", 0.0, 0, DISCOUNT_BPS["DAI"])
    euler.configure("STALE", 0.03, 0, 1000)
    for (debt, collateral), limits in _LTV.items():
        euler.accept(debt, collateral, *limits)
    return stale
