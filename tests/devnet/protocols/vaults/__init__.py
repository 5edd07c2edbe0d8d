"""Vaults stacked three deep, a Uniswap v2 pool, a market that takes both as collateral, and a circle of vaults.

The shares, all of real ERC-4626 and Uniswap v2 contracts, have exchange rates with no round numbers in them: yield
comes between the waves, and the pool is traded in. The circle is listed nowhere; a test points a reader at it.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...artifacts import compile_contracts
from ...chain import deploy, transaction
from ...description import Account, Deployment
from ...population import WAVES
from ...tokens import FINAL
from .market import LIQUIDITY, SHARE, borrow, deploy_market, enter_category, supply
from .pool import Pool, create_pool, deploy_factory
from .stack import balances, deploy_cycle, deploy_stack, deposit_through, donate_yield

if TYPE_CHECKING:
    from collections.abc import Generator

    from ...aave import Market
    from .. import Site

SOLC, OPENZEPPELIN = "0.8.26", {"@openzeppelin/contracts/": "@openzeppelin/contracts@5.1.0/"}
LENT_USD = {"USDC": 60e6, "DAI": 40e6, "WETH": 30e6}
POOL_USD = 60e6
TURNS = (1, 2, 3, 4, 5, 6, 3, 5)
"""Of the loopers: how often each deposits, borrows USDC and deposits that again."""
SHARED = 2
"""Of the borrowers against shares, so many are also in both base markets."""


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy everything before the first wave; see protocols.Build."""
    compiled = compile_contracts(SOLC, Path(__file__).parent.glob("*.sol"), OPENZEPPELIN)
    vaults = deploy_stack(site, compiled)
    stack = list(vaults.values())
    factory = deploy_factory(site)
    pool = create_pool(site, factory, site.tokens["WETH"], site.tokens["USDC"])
    _provide(site, pool, {site.account("maker"): POOL_USD})
    top = {SHARE: vaults[SHARE], LIQUIDITY: pool.address}
    feeds = _deploy_feeds(site, compiled, stack[::-1], pool)
    market, tokens = deploy_market(site, top, feeds)
    crowd = _Crowd(site, market, pool, tokens, stack)
    crowd.lend()
    holder = site.account("holder:0")
    donate_yield(site, stack, 250_001 * 10**6)  # the owner's deposits are the stack's first ones
    deposit_through(site.chain, site.tokens["USDC"], stack, {holder: 1_234_567_891_011}, mint=True)

    yield "glitch"  # at twice the price of ETH: under water when it is back
    crowd.borrow_against_liquidity(1, "DAI", 0.995, "glitch")
    yield "rally"
    crowd.loop(TURNS[:4])
    crowd.borrow_against_liquidity(3, "USDC", 0.97, "rally")
    donate_yield(site, stack, 1_700_017 * 10**6)
    crowd.trade("WETH", 750_000.0)
    yield "slump"
    crowd.loop(TURNS[4:])
    crowd.borrow_against_shares(4, 0.98)
    crowd.borrow_against_liquidity(2, "WETH", 0.95, "slump")
    donate_yield(site, stack, 333_333 * 10**6)
    crowd.trade("USDC", 1_100_000.0)
    yield "late"
    crowd.supply_only(2)
    cycle = deploy_cycle(site, compiled, factory)
    yield "settle"
    donate_yield(site, stack, 77_777 * 10**6)
    crowd.trade("WETH", 120_000.0)
    return {
        "reads": [site.reads("aave_v3", market.name, market.provider, market.first_block)],
        "market": _plain(market, crowd.accounts),
        "tokens": tokens,
        "feeds": {SHARE: feeds[SHARE], LIQUIDITY: feeds[LIQUIDITY]},
        "stack": vaults,
        "pool": pool.address,
        "cycle": cycle,
        "holders": {symbol: [holder] for symbol in vaults if symbol == SHARE},
        "redeems": _redeems(site, stack[::-1]),
    }


class _Crowd:
    """The market's accounts, by kind in the order of their arrival."""

    def __init__(self, site: Site, market: Market, pool: Pool, tokens: dict[str, str], stack: list[str]) -> None:
        self._site, self._market, self._pool, self._tokens, self._stack = site, market, pool, tokens, stack
        self.accounts: list[Account] = []

    def lend(self) -> None:
        for symbol, usd in LENT_USD.items():
            user, token, units = self._arrive("whale"), self._tokens[symbol], FINAL.units(symbol, usd)
            mint = transaction(user, token, "mint(address,uint256)", user, units)
            self._site.chain.send([mint, *supply(self._market, user, token, units)])

    def loop(self, turns: tuple[int, ...]) -> None:
        """Real loops: every turn's USDC goes through all three vaults before it is collateral."""
        market, chain, usdc = self._market, self._site.chain, self._tokens["USDC"]
        users = {self._arrive("share_looper", turn): turn for turn in turns}
        amounts = {user: FINAL.units("USDC", self._site.rng.uniform(40e3, 900e3)) for user in users}
        fractions = {user: self._site.rng.uniform(0.8, 0.895) for user in users}
        self._supply_shares(amounts, mint=True)
        chain.send(enter_category(market, user) for user in users)
        for turn in range(max(turns)):
            amounts = {user: int(amounts[user] * fractions[user]) for user in users if users[user] > turn}
            chain.send(borrow(market, user, usdc, amount) for user, amount in amounts.items())
            self._supply_shares(amounts, mint=False)

    def borrow_against_shares(self, count: int, fraction: float) -> None:
        """WETH against shares, outside the category, 85 to 100 % of a fraction of what may be borrowed."""
        users = [self._arrive("share_borrower", index=index) for index in range(count)]
        amounts = {user: FINAL.units("USDC", self._site.rng.uniform(50e3, 400e3)) for user in users}
        self._supply_shares(amounts, mint=True)
        self._borrow_up_to("WETH", users, fraction)

    def borrow_against_liquidity(self, count: int, symbol: str, fraction: float, wave: str) -> None:
        """Liquidity tokens as collateral, bought at the wave's price in the pool's present proportion."""
        kind = "liquidity_bad_debtor" if wave == "glitch" else "liquidity_borrower"
        users = [self._arrive(kind) for _ in range(count)]
        _provide(self._site, self._pool, {user: self._site.rng.uniform(80e3, 2e6) for user in users})
        held = balances(self._site.chain, self._pool.address, users)
        for user, amount in held.items():
            self._site.chain.send(supply(self._market, user, self._pool.address, amount))
        self._borrow_up_to(symbol, users, fraction, WAVES[wave].usd(symbol))

    def supply_only(self, count: int) -> None:
        users = [self._arrive("share_supplier") for _ in range(count)]
        self._supply_shares({user: FINAL.units("USDC", self._site.rng.uniform(1e3, 9e5)) for user in users}, mint=True)

    def trade(self, symbol: str, usd: float) -> None:
        """Sell a token into the pool: reserves move and grow by the fee."""
        trader, token = self._site.account("trader"), self._tokens[symbol]
        units = FINAL.units(symbol, usd) + self._site.rng.randrange(10**6)
        self._site.chain.send([transaction(trader, token, "mint(address,uint256)", trader, units)])
        self._site.chain.send(self._pool.sell(trader, token, units))

    def _supply_shares(self, amounts: dict[str, int], *, mint: bool) -> None:
        shares = deposit_through(self._site.chain, self._tokens["USDC"], self._stack, amounts, mint=mint)
        for user, amount in shares.items():
            self._site.chain.send(supply(self._market, user, self._tokens[SHARE], amount))

    def _borrow_up_to(self, symbol: str, users: list[str], fraction: float, price: float | None = None) -> None:
        returns = "(uint256,uint256,uint256,uint256,uint256,uint256)"
        for user in users:
            data = self._site.chain.call(self._market.pool, "getUserAccountData(address)", returns, user)
            usd = (
                data[2]
                / 10**8
                * fraction
                * self._site.rng.uniform(0.85, 1.0)
                * FINAL.usd(symbol)
                / (price or 1.02 * FINAL.usd(symbol))
            )
            units = FINAL.units(symbol, usd)
            self._site.chain.send([borrow(self._market, user, self._tokens[symbol], units)])

    def _arrive(self, kind: str, turns: int = 0, index: int | None = None) -> str:
        count = sum(account.kind == kind for account in self.accounts)
        is_shared = index is not None and index < SHARED
        user = self._site.shared_account(count) if is_shared else self._site.account(f"{kind}:{count}")
        self.accounts.append(Account(user, kind, turns))
        return user


def _provide(site: Site, pool: Pool, usd: dict[str, float]) -> None:
    """Users add liquidity worth so much in USDC twice over, in the pool's proportion where it has one."""
    base, quote = site.tokens["WETH"], site.tokens["USDC"]
    for user, worth in usd.items():
        held = dict(zip(pool.tokens, pool.reserves(), strict=True))
        quotes = FINAL.units("USDC", worth / 2)
        bases = quotes * held[base] // held[quote] if held[quote] else FINAL.units("WETH", worth / 2)
        amounts = {base: bases, quote: quotes}
        mints = [transaction(user, token, "mint(address,uint256)", user, units) for token, units in amounts.items()]
        site.chain.send([*mints, *pool.provide(user, amounts)])


def _deploy_feeds(site: Site, compiled: Any, stack: list[str], pool: Pool) -> dict[str, str]:
    names = {address: symbol for symbol, address in site.tokens.items()}
    sides = [site.feeds[names[token]] for token in pool.tokens]
    share = ("bsyUSDC / yUSDC / USD", site.feeds["USDC"], stack)
    return {
        SHARE: deploy(site.chain, site.owner, compiled["ShareFeed"], *share),
        LIQUIDITY: deploy(site.chain, site.owner, compiled["ReservesFeed"], "UNI-V2 / USD", pool.address, *sides),
    }


def _redeems(site: Site, stack: list[str]) -> list[int]:
    """What one whole top share gives, level by level down to USDC, in raw units."""
    (decimals,) = site.chain.call(stack[0], "decimals()", "(uint8)")
    amounts = [10**decimals]
    for vault in stack:
        amounts.append(site.chain.call(vault, "previewRedeem(uint256)", "(uint256)", amounts[-1])[0])
    return amounts[1:]


def _plain(market: Market, accounts: list[Account]) -> dict[str, Any]:
    fields = {name: getattr(market, name) for name in Deployment.__dataclass_fields__ if name != "accounts"}
    body = asdict(Deployment(**fields, accounts=()))
    return {**body, "accounts": [asdict(account) for account in accounts]}
