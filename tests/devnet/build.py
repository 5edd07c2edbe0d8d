"""The whole devnet, built on an empty node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from .aave import Aave30, Aave32, Market
from .anvil import CHAIN_ID, GENESIS_TIMESTAMP
from .artifacts import AAVE_3_0, AAVE_3_2, Artifacts
from .chain import Chain, Deployer, Transaction
from .description import Account, Deployment, Description
from .plans import Plan, transactions
from .population import WAVES, Population
from .tokens import deploy_feeds, deploy_tokens, install_multicall, price_transactions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .rpc import RpcSession

SEED = 20250101
OWNER = to_checksum_address(keccak(text="devnet owner")[-20:])
BLOCK_TRANSACTIONS = 400
DAY = 86_400
WAVE_DAYS = {"lenders": 1, "glitch": 2, "rally": 3, "slump": 13, "late": 25, "touch": 31, "settle": 37}
HEAD_DAY = 42
"""The last block is empty: interest of the days since the last transaction is pending in every reserve."""


def build(session: RpcSession, seed: int = SEED) -> Description:
    """Deploy both markets, open every position and let time pass; the result describes what is there."""
    chain = Chain(session)
    install_multicall(chain)
    deployer_3_0 = Deployer(chain, Artifacts(AAVE_3_0), OWNER)
    deployer_3_2 = Deployer(chain, Artifacts(AAVE_3_2), OWNER)
    tokens = deploy_tokens(deployer_3_0)
    feeds = deploy_feeds(chain, OWNER)
    populated: list[tuple[Market, list[Plan]]] = []
    for release in (Aave30(deployer_3_0), Aave32(deployer_3_2)):
        population = Population(seed, release.key, is_release_3_0=isinstance(release, Aave30))
        populated.append((release.deploy(tokens, feeds), population.plans()))
    approved: dict[str, set[tuple[str, str]]] = {market.key: set() for market, _ in populated}
    for wave, prices in WAVES.items():
        start = GENESIS_TIMESTAMP + WAVE_DAYS[wave] * DAY
        chain.send(price_transactions(OWNER, feeds, prices), start)
        for block in _blocks(wave, populated, tokens, approved):
            chain.send(block)
    chain.mine(GENESIS_TIMESTAMP + HEAD_DAY * DAY)
    deployments = {market.key: _describe(market, plans) for market, plans in populated}
    head = session.call("eth_getBlockByNumber", "latest", False)
    number, timestamp = int(head["number"], 16), int(head["timestamp"], 16)
    return Description(CHAIN_ID, number, timestamp, head["hash"], tokens, feeds, deployments)


def _blocks(
    wave: str,
    populated: list[tuple[Market, list[Plan]]],
    tokens: Mapping[str, str],
    approved: Mapping[str, set[tuple[str, str]]],
) -> Iterator[list[Transaction]]:
    """A wave's transactions by the block, each account's within one block and market."""
    for market, plans in populated:
        block: list[Transaction] = []
        for plan in plans:
            block += transactions(plan, wave, market, tokens, approved[market.key])
            if len(block) >= BLOCK_TRANSACTIONS:
                yield block
                block = []
        if block:
            yield block


def _describe(market: Market, plans: list[Plan]) -> Deployment:
    return Deployment(
        name=market.name,
        provider=market.provider,
        pool=market.pool,
        configurator=market.configurator,
        oracle=market.oracle,
        data_provider=market.data_provider,
        first_block=market.first_block,
        a_tokens=market.a_tokens,
        stable_debt_tokens=market.stable_debt_tokens,
        variable_debt_tokens=market.variable_debt_tokens,
        accounts=tuple(Account(plan.address, str(plan.kind), plan.turns) for plan in plans),
    )
