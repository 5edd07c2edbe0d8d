"""The vaults, the pool, the circle and the market that takes their shares are what they are said to be."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from . import cache
from .anvil import GENESIS_TIMESTAMP, Anvil
from .build import DAY, HEAD_DAY, SEED
from .build_protocols import build_protocols
from .chain import TransactionRevertedError
from .description import Deployment, Description, read_deployment
from .protocols.vaults import SHARED, TURNS
from .protocols.vaults.market import LIQUIDITY, SHARE
from .test_devnet import WAD, account_data, read_all
from .tokens import PRICE_UNIT

if TYPE_CHECKING:
    from .session import Devnet

pytestmark = pytest.mark.devnet("vaults")


@pytest.fixture
def told(devnet: Devnet) -> dict[str, Any]:
    return devnet.description.protocols["vaults"]


@pytest.fixture
def market(told: dict[str, Any]) -> Deployment:
    return read_deployment(told["market"])


def number(devnet: Devnet, to: str, signature: str, *arguments: Any) -> int:
    value: int = devnet.call(to, signature, "(uint256)", *arguments)[0]
    return value


def rate(devnet: Devnet, vault: str) -> Fraction:
    """Raw assets a raw share is worth: of convertToAssets without its rounding (OpenZeppelin ERC4626)."""
    asset = devnet.call(vault, "asset()", "(address)")[0]
    decimals = (number(devnet, token, "decimals()") for token in (vault, asset))
    virtual = 10 ** (next(decimals) - next(decimals))
    return Fraction(number(devnet, vault, "totalAssets()") + 1, number(devnet, vault, "totalSupply()") + virtual)


def test_a_seed_gives_one_chain(devnet: Devnet) -> None:
    kept = cache.built(SEED)
    base = cache.read_description(kept)
    with Anvil(kept / cache.STATE, timestamp=base.head_timestamp) as node:
        again = build_protocols(node.session, base, ("vaults",), SEED)
    assert again == devnet.description == Description.from_json(devnet.description.to_json())
    assert devnet.head() == (again.head_number, GENESIS_TIMESTAMP + 2 * HEAD_DAY * DAY)
    assert devnet.rpc("eth_getBlockByNumber", "latest", False)["hash"] == again.head_hash


def test_the_base_is_as_it_was(devnet: Devnet) -> None:
    base = cache.read_description(cache.built(SEED))
    assert devnet.rpc("eth_getBlockByNumber", hex(base.head_number), False)["hash"] == base.head_hash
    assert (devnet.deployments, devnet.feeds, devnet.tokens) == (base.deployments, base.feeds, base.tokens)
    assert base.protocols == {}


def test_vaults_are_stacked_three_deep(devnet: Devnet, told: dict[str, Any]) -> None:
    assets = [devnet.call(vault, "asset()", "(address)")[0] for vault in told["stack"].values()]
    below = [devnet.tokens["USDC"], *list(told["stack"].values())[:-1]]
    assert assets == [address.lower() for address in below]
    assert [number(devnet, vault, "decimals()") for vault in told["stack"].values()] == [18, 18, 21]
    rates = [rate(devnet, vault) for vault in told["stack"].values()]
    whole = [value * 10**scale for value, scale in zip(rates, (12, 0, 3), strict=True)]
    assert all(1.01 < value < 1.5 and value.denominator > 10**6 for value in whole)
    assert number(devnet, told["stack"][SHARE], "totalAssets()") > 10**24


def test_redeeming_the_stack_on_chain_gives_what_its_rates_say(devnet: Devnet, told: dict[str, Any]) -> None:
    (holder,) = told["holders"][SHARE]
    vaults = list(told["stack"].values())[::-1]
    shares = number(devnet, vaults[0], "balanceOf(address)", holder)
    amount, look_through = shares, Fraction(shares)
    for vault in vaults:
        look_through *= rate(devnet, vault)
    for vault, token in zip(vaults, [*vaults[1:], devnet.tokens["USDC"]], strict=True):
        devnet.transact(holder, vault, "redeem(uint256,address,address)", amount, holder, holder)
        amount = number(devnet, token, "balanceOf(address)", holder)
    assert amount > 10**12
    assert amount == pytest.approx(float(look_through), rel=1e-12)
    unit = 10 ** number(devnet, vaults[0], "decimals()")
    assert told["redeems"][-1] == amount * unit // shares


def test_the_feeds_follow_the_rates_and_the_reserves(devnet: Devnet, told: dict[str, Any]) -> None:
    feed, answer = told["feeds"][SHARE], ("latestAnswer()", "(int256)")
    ratio = number(devnet, feed, "getRatio()")
    product = np.prod([float(rate(devnet, vault)) for vault in told["stack"].values()])
    assert ratio / WAD == pytest.approx(product * 10 ** (21 - 6), rel=1e-12)
    assert devnet.call(feed, "BASE_TO_USD_AGGREGATOR()", "(address)") == (devnet.feeds["USDC"].lower(),)
    assert devnet.call(feed, *answer)[0] == PRICE_UNIT * ratio // WAD
    weth, usdc = (number(devnet, devnet.tokens[name], "balanceOf(address)", told["pool"]) for name in ("WETH", "USDC"))
    supply = number(devnet, told["pool"], "totalSupply()")
    worth = weth / WAD * 3_000 + usdc / 10**6
    assert devnet.call(told["feeds"][LIQUIDITY], *answer)[0] == pytest.approx(
        worth * PRICE_UNIT * WAD / supply, rel=1e-9
    )
    assert weth * usdc > supply**2 * (1 + 1e-6)  # traders' fees are in the reserves


def test_accounts_borrow_against_both(devnet: Devnet, told: dict[str, Any], market: Deployment) -> None:
    kinds = Counter(account.kind for account in market.accounts)
    assert kinds["share_looper"] == len(TURNS) == 8
    assert (kinds["share_borrower"], kinds["liquidity_borrower"], kinds["share_supplier"]) == (4, 5, 2)
    lent = (
        ("share_looper", SHARE, "USDC"),
        ("share_borrower", SHARE, "WETH"),
        ("liquidity_bad_debtor", LIQUIDITY, "DAI"),
    )
    for kind, collateral, debt in lent:
        users = [(address,) for address in market.of_kind(kind)]
        held = read_all(devnet, market.a_tokens[collateral], "balanceOf(address)", "(uint256)", users)
        owed = read_all(devnet, market.variable_debt_tokens[debt], "balanceOf(address)", "(uint256)", users)
        assert all(amount > 0 for (amount,) in [*held, *owed])
    rows = {account: row[5] for account, row in zip(*_rows(devnet, market), strict=True)}
    below = {account for account, health in rows.items() if health < WAD}
    assert below == set(market.of_kind("liquidity_bad_debtor"))
    looped = {account.address: account.turns for account in market.accounts if account.turns}
    assert sorted(looped.values()) == sorted(TURNS)
    deepest = max(looped, key=lambda address: looped[address])
    collateral, debt = account_data(devnet, market, [deepest])[0][:2]
    assert collateral / (collateral - debt) > 3


def test_shares_cannot_be_borrowed(devnet: Devnet, told: dict[str, Any], market: Deployment) -> None:
    whale = market.of_kind("whale")[0]
    borrow = "borrow(address,uint256,uint256,uint16,address)"
    for symbol in (SHARE, LIQUIDITY):
        with pytest.raises(TransactionRevertedError):
            devnet.transact(whale, market.pool, borrow, told["tokens"][symbol], 10**6, 2, 0, whale)


def test_some_users_are_in_every_market(devnet: Devnet, market: Deployment) -> None:
    users = market.of_kind("share_borrower")[:SHARED]
    assert len(users) == 2
    for base in devnet.deployments.values():
        assert all(row[1] > 0 for row in account_data(devnet, base, users))


def test_the_circle_is_worth_what_lies_behind_it(devnet: Devnet, told: dict[str, Any]) -> None:
    """Values a share, solved as a linear system: what outsiders hold of all three is the pool's USDC, and no more."""
    outer, inner, pool = (told["cycle"][name] for name in ("outer", "inner", "pool"))
    assert devnet.call(outer, "asset()", "(address)") == (pool.lower(),)
    assert devnet.call(inner, "asset()", "(address)") == (outer.lower(),)

    def held(token: str, by: str) -> int:
        return number(devnet, token, "balanceOf(address)", by)

    supply = {token: number(devnet, token, "totalSupply()") for token in (outer, inner, pool)}
    usdc = held(devnet.tokens["USDC"], pool)
    shares_of = np.array(  # row: one share of ...; column: holds so many shares of ...
        [
            [0.0, 0.0, float(rate(devnet, outer))],
            [float(rate(devnet, inner)), 0.0, 0.0],
            [0.0, held(inner, pool) / supply[pool], 0.0],
        ]
    )
    turn = shares_of[0, 2] * shares_of[2, 1] * shares_of[1, 0]
    assert 0.1 < turn < 0.9
    values = np.linalg.solve(np.eye(3) - shares_of, [0.0, 0.0, usdc / supply[pool]])
    outside = [supply[outer] - held(outer, inner), supply[inner] - held(inner, pool), supply[pool] - held(pool, outer)]
    assert values @ np.array(outside, dtype=float) == pytest.approx(usdc, rel=1e-9)
    assert values[0] == pytest.approx(shares_of[0, 2] * usdc / supply[pool] / (1 - turn), rel=1e-12)
    assert 1.1 * usdc < values @ np.array(list(supply.values()), dtype=float)  # claims counted twice on the way round


def test_the_configuration_names_the_third_market(devnet: Devnet, market: Deployment) -> None:
    tables = devnet.config().split("[[chains.devnet.aave_v3]]\n")[1:]
    assert len(tables) == 3
    assert tables[-1] == f'name = "Vaults 3.2"\naddress = "{market.provider}"\nfirst_block = {market.first_block}\n'


def _rows(devnet: Devnet, market: Deployment) -> tuple[list[str], list[tuple[Any, ...]]]:
    addresses = [account.address for account in market.accounts]
    return addresses, account_data(devnet, market, addresses)
