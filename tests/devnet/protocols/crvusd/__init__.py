"""crvUSD and LlamaLend as stand-ins: six markets with loans above, inside and below their bands, two broken ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...artifacts import AAVE_3_0, Artifacts, compile_contracts
from ...chain import deploy, transaction

if TYPE_CHECKING:
    from collections.abc import Generator

    from .. import Site

E18 = 10**18
NOBODY = "0x" + "00" * 20
A = 100
DISCOUNT = 6 * 10**16
RATE = 3 * 10**9  # a second, wad: 9.5 % a year
AGGREGATED = 998 * 10**15
BOUNDS = 158_548_959, 15_854_895_900  # 0.5 % and 50 % a year
AVERAGE = 2 * 10**9  # 6.3 % a year
HYPERBOLA = 1_066_666_666_666_666_666, 177_777_777_777_777_777, 333_333_333_333_333_334, 31_709_791
"""u_inf, A, r_minf and shift: half of another rate at no use, just that at 80 %, thrice that at 100 %; and 0.1 %."""


@dataclass(frozen=True, slots=True)
class Made:
    """A market: its contracts, and what its loans are drawn by. `base` is the price of band 0, in borrowed tokens."""

    controller: str
    amm: str
    collateral: str
    borrowed: str
    places: int
    base: float
    oracle: str
    vault: str = ""


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy everything before the first wave; see protocols.Build."""
    chain, owner = site.chain, site.owner
    compiled = compile_contracts("0.8.19", Path(__file__).parent.glob("*.sol"))
    first_block = chain.head()[0] + 1
    tokens = site.deployer(Artifacts(AAVE_3_0))
    crvusd = tokens.deploy("MintableERC20", "crvUSD", "crvUSD", 18)
    aggregator = deploy(chain, owner, compiled["StableAggregator"])
    savings = deploy(chain, owner, compiled["SavingsVault"], "sDAI", site.tokens["DAI"])
    mint = deploy(chain, owner, compiled["MintFactory"], crvusd)
    lend = deploy(chain, owner, compiled["LendFactory"], crvusd)
    eth, btc, dai = (site.feeds[symbol] for symbol in ("WETH", "WBTC", "DAI"))
    markets: dict[str, Made] = {}
    accounts: list[dict[str, str]] = []

    def add(
        key: str, sides: tuple[str, str], places: tuple[int, int], base: float, oracle: tuple[Any, ...], *, mints: bool
    ) -> None:
        collateral, borrowed = sides
        source = deploy(chain, owner, compiled["LlammaOracle"], *oracle)
        amm = deploy(chain, owner, compiled["Llamma"], A, int(base * E18), source, *places[::-1])
        arguments = amm, collateral, borrowed, not mints, *places[::-1]
        controller = deploy(chain, owner, compiled["LoanController"], *arguments)
        vault = ""
        calls = [
            transaction(owner, controller, "setDiscount(uint256)", DISCOUNT),
            transaction(owner, amm, "setRate(uint256)", RATE),
        ]
        if mints:
            calls.append(transaction(owner, mint, "add(address,uint256)", controller, 200_000_000 * E18))
        else:
            supplied = {crvusd: 3_000_000, site.tokens["WBTC"]: 30}.get(borrowed, 1_000)
            shares = 1_300 * supplied * E18
            vault = deploy(chain, owner, compiled["LendVault"], f"cv-{key}", controller, borrowed, shares, places[1])
            cash = 10 ** places[1] * supplied
            calls += [
                transaction(owner, lend, "add(address,address)", controller, vault),
                transaction(owner, borrowed, "mint(address,uint256)", controller, cash),
            ]
        chain.send(calls)
        markets[key] = Made(controller, amm, collateral, borrowed, places[0], base, source, vault)

    weth, wsteth, wbtc = (site.tokens[symbol] for symbol in ("WETH", "wstETH", "WBTC"))
    plain, in_usd = (aggregator, False), (aggregator, True)
    none, usd, ratio = (NOBODY, NOBODY), (NOBODY,), site.feeds["wstETH"]
    add("weth", (weth, crvusd), (18, 18), 3_300, ((eth, *usd), *in_usd, *none), mints=True)
    add("wbtc", (wbtc, crvusd), (8, 18), 95_000, ((btc, *usd), *in_usd, *none), mints=True)
    add("wsteth_lend", (wsteth, crvusd), (18, 18), 3_900, ((eth, *usd), *plain, NOBODY, ratio), mints=False)
    add("short", (crvusd, weth), (18, 18), 1 / 2_800, ((NOBODY, eth), *plain, *none), mints=False)
    add("short_btc", (crvusd, wbtc), (18, 8), 1 / 84_000, ((NOBODY, btc), *plain, *none), mints=False)
    add("savings", (savings, crvusd), (18, 18), 1.12, ((dai, *usd), *in_usd, savings, NOBODY), mints=False)
    add("btc_eth", (wbtc, weth), (8, 18), 33, ((btc, eth), *plain, *none), mints=False)
    add("broken", (weth, crvusd), (18, 18), 3_300, ((eth, *usd), *in_usd, *none), mints=True)

    sides = {key: (compiled["SemilogPolicy"], markets[key].borrowed, *BOUNDS) for key in ("wsteth_lend", "short")}
    log_ratio = 4_605_170_185_988_091_368_035_982_909  # of 100
    policies = {
        "wsteth_lend": deploy(chain, owner, *sides["wsteth_lend"], log_ratio, 0),
        "short": deploy(chain, owner, *sides["short"], log_ratio, 10**6),
        "savings": deploy(chain, owner, compiled["SecondaryPolicy"], crvusd, markets["weth"].amm, HYPERBOLA),
    }
    other_policies = {
        name: deploy(chain, owner, compiled[name], crvusd, AVERAGE, HYPERBOLA) for name in ("SusdePolicy", "EmaPolicy")
    }
    chain.send(
        [transaction(owner, markets[key].controller, "setPolicy(address)", made) for key, made in policies.items()]
    )

    def borrow(
        key: str, kind: str, count: int, sizes: tuple[float, float], bands: tuple[int, int], share: float
    ) -> None:
        market = markets[key]
        for _ in range(count):
            user = site.account(f"{key}:{kind}:{sum(a['market'] == key for a in accounts)}")
            number, first = site.rng.choice((4, 10, 15, 30)), site.rng.randint(*bands)
            amount = max(site.rng.uniform(*sizes) * 10**market.places, 2_000)
            worth = market.base * (1 - 1 / A) ** (first + number / 2) * amount / 10**market.places
            decimals = 8 if market.borrowed == wbtc else 18
            debt = max(1, int(worth * share * site.rng.uniform(0.85, 1) * 10**decimals))
            place(key, kind, user, (int(amount), debt, number, first))

    def place(key: str, kind: str, user: str, terms: tuple[int, int, int, int]) -> None:
        """`terms`: collateral, debt, number of bands, the highest of them."""
        loan = "createLoan(address,uint256,uint256,uint256,int256)"
        chain.send([transaction(owner, markets[key].controller, loan, user, *terms)])
        accounts.append({"address": user, "market": key, "kind": kind})

    yield "lenders"
    chain.send([transaction(owner, aggregator, "set(uint256)", AGGREGATED)])
    borrow("weth", "calm", 6, (5, 400), (25, 60), 0.9)
    yield "rally"
    borrow("weth", "near", 18, (2, 300), (6, 30), 0.91)
    borrow("wbtc", "near", 6, (0.1, 12), (3, 12), 0.91)
    borrow("wsteth_lend", "near", 8, (2, 150), (8, 25), 0.9)
    borrow("short", "near", 6, (20_000, 900_000), (2, 14), 0.9)
    borrow("short_btc", "near", 4, (20_000, 900_000), (2, 14), 0.9)
    borrow("btc_eth", "near", 2, (1, 2), (15, 20), 0.9)
    borrow("broken", "near", 2, (1, 2), (15, 20), 0.9)
    # 10 WETH that bands 6 to 9 turn into some 30,450 crvUSD: more than is owed, and less than that and the discount.
    place("weth", "thin", site.account("weth:thin"), (10 * E18, 29_565 * E18, 4, 6))
    yield "slump"
    for key, to, part in (("weth", 13, E18 // 3), ("wbtc", 6, E18 // 2), ("wsteth_lend", 12, E18)):
        chain.send([transaction(owner, markets[key].amm, "sellDown(int256,uint256)", to, part)])
    borrow("weth", "late_band", 8, (2, 100), (16, 40), 0.91)
    borrow("savings", "near", 6, (10_000, 400_000), (5, 12), 0.92)
    yield "late"
    chain.send([transaction(owner, markets["weth"].amm, "buyBack(int256,uint256)", 10, E18 // 4)])
    borrow("weth", "under_water", 1, (50, 60), (20, 20), 1.3)
    borrow("weth", "dust", 2, (0, 0), (15, 20), 0.5)
    hand = site.account("hand")
    place("weth", "hand", hand, (10 * E18, 12_000 * E18, 4, 70))
    chain.send([transaction(owner, markets["broken"].oracle, "breakDown()")])
    yield "settle"
    for key, market in markets.items():  # what the AMM holds, and fees beside it
        fees = (3, 5) if key == "weth" else (0, 0)
        users = [account["address"] for account in accounts if account["market"] == key]
        held = [chain.call(market.amm, "get_sum_xy(address)", "(uint256[2])", user)[0] for user in users]
        sums = [sum(pair[side] for pair in held) + fees[side] for side in (0, 1)]
        calls = [
            transaction(owner, token, "mint(address,uint256)", market.amm, amount)
            for token, amount in zip((market.borrowed, market.collateral), sums, strict=True)
        ]
        chain.send([*calls, transaction(owner, market.amm, "setFees(uint256,uint256)", *fees)])
    return {
        "reads": [
            site.reads("crvusd", "crvUSD", mint, first_block),
            site.reads("crvusd", "LlamaLend", lend, first_block),
        ],
        "first_block": first_block,
        "mint": mint,
        "lend": lend,
        "crvusd": crvusd,
        "aggregator": aggregator,
        "savings": savings,
        "markets": {
            key: {"controller": made.controller, "amm": made.amm, "oracle": made.oracle, "vault": made.vault}
            for key, made in markets.items()
        },
        "policies": other_policies,
        "accounts": accounts,
        "hand": hand,
    }
