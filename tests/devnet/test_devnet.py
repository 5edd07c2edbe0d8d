"""The devnet holds what its tests are meant to read."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from eth_utils.crypto import keccak

from .anvil import GENESIS_TIMESTAMP, Anvil
from .build import DAY, HEAD_DAY, SEED, build
from .calldata import decode_result, encode_call
from .chain import TransactionRevertedError
from .description import Description
from .plans import Kind
from .population import SHARED_ACCOUNTS, Population
from .session import Devnet, DevnetNotFetchedError, open_devnet
from .tokens import CATEGORY_FEED, DECIMALS, FINAL, MULTICALL3, PRICE_UNIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .description import Deployment

pytestmark = pytest.mark.devnet

WAD = 10**18
KEYS = ("aave_v3_0", "aave_v3_2")
ONLY_3_0 = {Kind.STABLE_RATE_BORROWER, Kind.CATEGORY_PRICED}
SUPPLY = "Supply(address,address,address,uint256,uint16)"
BORROW = "Borrow(address,address,address,uint256,uint8,uint256,uint16)"
LIQUIDATION = "LiquidationCall(address,address,address,uint256,uint256,address,bool)"
ACCOUNT_DATA = ("getUserAccountData(address)", "(uint256,uint256,uint256,uint256,uint256,uint256)")


@pytest.fixture(params=KEYS)
def deployment(request: pytest.FixtureRequest, devnet: Devnet) -> Deployment:
    return devnet.deployments[request.param]


def read_all(
    devnet: Devnet, to: str, signature: str, returns: str, arguments: Sequence[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    messages = [{"to": to, "data": "0x" + encode_call(signature, *values).hex()} for values in arguments]
    results = devnet.chain.session.batch(("eth_call", (message, "latest")) for message in messages)
    return [decode_result(returns, result) for result in results]


def account_data(devnet: Devnet, deployment: Deployment, addresses: Sequence[str]) -> list[tuple[Any, ...]]:
    return read_all(devnet, deployment.pool, *ACCOUNT_DATA, [(address,) for address in addresses])


def beneficiaries(devnet: Devnet, deployment: Deployment, event: str) -> Counter[str]:
    """How often each account stands as ``onBehalfOf`` in a pool's Supply or Borrow events."""
    topic = "0x" + keccak(text=event).hex()
    criteria = {"address": deployment.pool, "topics": [topic], "fromBlock": hex(deployment.first_block)}
    return Counter("0x" + log["topics"][2][-40:] for log in devnet.rpc("eth_getLogs", criteria))


def test_a_seed_gives_one_chain(devnet: Devnet) -> None:
    with Anvil() as node:
        again = build(node.session, SEED)
    assert again == devnet.description
    block = devnet.rpc("eth_getBlockByNumber", "latest", False)
    assert block["hash"] == again.head_hash


def test_another_seed_gives_other_accounts() -> None:
    first, second = (Population(seed, KEYS[0], is_release_3_0=True).plans() for seed in (1, 2))
    assert not {plan.address for plan in first} & {plan.address for plan in second}
    assert first == Population(1, KEYS[0], is_release_3_0=True).plans()


def test_description_survives_json(devnet: Devnet) -> None:
    assert Description.from_json(devnet.description.to_json()) == devnet.description


def test_head_is_a_mined_block_after_weeks(devnet: Devnet) -> None:
    number, timestamp = devnet.head()
    assert (number, timestamp) == (devnet.description.head_number, GENESIS_TIMESTAMP + HEAD_DAY * DAY)
    by_hash = {"blockHash": devnet.description.head_hash}
    for block in ("latest", hex(number), by_hash):
        assert devnet.call(MULTICALL3, "getCurrentBlockTimestamp()", "(uint256)", block=block) == (timestamp,)
    assert devnet.chain_id == int(devnet.rpc("eth_chainId"), 16) == 31337


def test_multicall_answers(devnet: Devnet) -> None:
    calls = [(token, True, encode_call("decimals()")) for token in devnet.tokens.values()]
    (results,) = devnet.call(MULTICALL3, "aggregate3((address,bool,bytes)[])", "((bool,bytes)[])", calls)
    decimals = [int.from_bytes(data) for succeeded, data in results if succeeded]
    assert decimals == [DECIMALS[symbol] for symbol in devnet.tokens]


def test_feeds_answer_like_the_real_ones(devnet: Devnet) -> None:
    eth, wsteth = devnet.feeds["WETH"], devnet.feeds["wstETH"]
    assert devnet.call(eth, "description()", "(string)") == ("ETH / USD",)
    assert devnet.call(eth, "latestRoundData()", "(uint80,int256,uint256,uint256,uint80)")[1] == 3_000 * PRICE_UNIT
    assert devnet.call(wsteth, "BASE_TO_USD_AGGREGATOR()", "(address)") == (eth.lower(),)
    assert devnet.call(wsteth, "RATIO_PROVIDER()", "(address)") == (wsteth.lower(),)
    assert devnet.call(wsteth, "getRatio()", "(int256)") == (118 * WAD // 100,)
    assert devnet.call(wsteth, "RATIO_DECIMALS()", "(uint8)") == (18,)
    assert devnet.call(wsteth, "latestAnswer()", "(int256)") == (3_540 * PRICE_UNIT,)


def test_prices_and_ratios_move_and_come_back(devnet: Devnet, deployment: Deployment) -> None:
    def price(symbol: str) -> int:
        value: int = devnet.call(deployment.oracle, "getAssetPrice(address)", "(uint256)", devnet.tokens[symbol])[0]
        return value

    built = {symbol: price(symbol) for symbol in DECIMALS}
    assert built == {symbol: round(FINAL.usd(symbol) * PRICE_UNIT) for symbol in DECIMALS}
    snapshot = devnet.snapshot()
    devnet.set_price("WETH", 2_000.0)
    devnet.set_ratio("wstETH", 1.1)
    assert (price("WETH"), price("wstETH")) == (2_000 * PRICE_UNIT, 2_200 * PRICE_UNIT)
    devnet.revert(snapshot)
    assert {symbol: price(symbol) for symbol in DECIMALS} == built
    assert devnet.head()[0] == devnet.description.head_number
    with pytest.raises(ValueError, match="no price of its own"):
        devnet.set_price("wstETH", 1.0)
    with pytest.raises(ValueError, match="no exchange ratio"):
        devnet.set_ratio("WETH", 1.0)


def test_transactions_are_checked(devnet: Devnet) -> None:
    sender = "0x" + "42" * 20
    devnet.mint("USDC", sender, 5)
    with pytest.raises(TransactionRevertedError, match="exceeds balance"):
        devnet.transact(sender, devnet.tokens["USDC"], "transfer(address,uint256)", MULTICALL3, 6)
    message = {"from": sender, "to": MULTICALL3, "gas": "0x5208", "gasPrice": "0x0"}
    devnet.rpc("eth_sendTransaction", message)
    assert devnet.drain() == 1
    assert devnet.drain() == 0


def test_revisions_differ(devnet: Devnet) -> None:
    revisions = [devnet.call(devnet.deployments[key].pool, "POOL_REVISION()", "(uint256)")[0] for key in KEYS]
    assert revisions == [1, 5]


def test_population_covers_every_kind(devnet: Devnet, deployment: Deployment) -> None:
    assert len(deployment.accounts) >= 300
    assert len({account.address for account in deployment.accounts}) == len(deployment.accounts)
    expected = set(Kind) if deployment.stable_debt_tokens else set(Kind) - ONLY_3_0
    assert {account.kind for account in deployment.accounts} == expected
    turns = {account.turns for account in deployment.accounts if account.kind == Kind.EMODE_LOOPER}
    assert turns == set(range(1, 16))


def test_some_accounts_are_in_both_markets(devnet: Devnet) -> None:
    first, second = ({account.address for account in devnet.deployments[key].accounts} for key in KEYS)
    assert len(first & second) == SHARED_ACCOUNTS


def test_health_factors_spread_around_one(devnet: Devnet, deployment: Deployment) -> None:
    addresses = [account.address for account in deployment.accounts]
    rows = account_data(devnet, deployment, addresses)
    health = sorted(row[5] / WAD for row in rows if row[1])
    assert len(health) >= 300
    assert sum(value < 1 for value in health) >= 12
    assert sum(1 <= value < 1.02 for value in health) >= 8
    assert sum(1 <= value < 1.3 for value in health) >= 150
    assert 0.5e9 < sum(row[0] for row in rows) / PRICE_UNIT < 5e9
    by_address = dict(zip(addresses, rows, strict=True))
    for address in deployment.of_kind(Kind.BAD_DEBT):
        assert by_address[address][1] > by_address[address][0]
    for address in deployment.of_kind(Kind.LIQUIDATABLE):
        assert 0.85 * WAD < by_address[address][5] < WAD
    for kind in (Kind.SUPPLIER, Kind.REPAID, Kind.ATOKEN_ONLY, Kind.WHALE):
        assert all(by_address[address][0] > 0 == by_address[address][1] for address in deployment.of_kind(kind))
    for kind in (Kind.EMPTIED, Kind.COLLATERAL_OFF, Kind.DELEGATEE, Kind.GIVER):
        assert all(by_address[address][:2] == (0, 0) for address in deployment.of_kind(kind))
    for kind in (Kind.DELEGATOR, Kind.GIFTED, Kind.ATOKEN_BORROWER, Kind.COLLATERAL_OFF_BORROWER):
        assert all(min(by_address[address][:2]) > 0 for address in deployment.of_kind(kind))


@pytest.mark.parametrize(
    ("kind", "category"),
    [(Kind.EMODE_LOOPER, 1), (Kind.FLASH_LOOPER, 1), (Kind.STABLE_LOOPER, 2), (Kind.PLAIN_LOOPER, 0)],
)
def test_loopers_are_in_their_category(devnet: Devnet, deployment: Deployment, kind: Kind, category: int) -> None:
    addresses = [(address,) for address in deployment.of_kind(kind)]
    assert set(read_all(devnet, deployment.pool, "getUserEMode(address)", "(uint256)", addresses)) == {(category,)}
    rows = account_data(devnet, deployment, deployment.of_kind(kind))
    assert all(row[1] > 0 for row in rows)


def test_some_loops_were_made_turn_by_turn(devnet: Devnet, deployment: Deployment) -> None:
    borrows = beneficiaries(devnet, deployment, BORROW)
    loopers = [account for account in deployment.accounts if account.kind == Kind.EMODE_LOOPER and account.turns > 1]
    made = {account.turns for account in loopers if borrows[account.address.lower()] == account.turns}
    assert len(made) >= 5
    assert max(made) >= 12


def test_dust_is_there(devnet: Devnet, deployment: Deployment) -> None:
    rows = account_data(devnet, deployment, deployment.of_kind(Kind.DUST_BORROWER))
    assert {row[1] for row in rows} >= {0, 100}
    assert all(row[0] < PRICE_UNIT for row in rows)


def test_atokens_came_without_a_supply(devnet: Devnet, deployment: Deployment) -> None:
    suppliers = beneficiaries(devnet, deployment, SUPPLY)
    received = [*deployment.of_kind(Kind.ATOKEN_ONLY), *deployment.of_kind(Kind.ATOKEN_BORROWER)]
    assert len(received) == 6
    assert not [address for address in received if address.lower() in suppliers]
    assert all(address.lower() in suppliers for address in deployment.of_kind(Kind.GIFTED))


def test_liquidations_happened(devnet: Devnet, deployment: Deployment) -> None:
    topic = "0x" + keccak(text=LIQUIDATION).hex()
    logs = devnet.rpc("eth_getLogs", {"address": deployment.pool, "topics": [topic], "fromBlock": "0x0"})
    victims = {"0x" + log["topics"][3][-40:] for log in logs}
    assert victims == {address.lower() for address in deployment.of_kind(Kind.LIQUIDATED)}
    half, whole = account_data(devnet, deployment, deployment.of_kind(Kind.LIQUIDATED))
    assert half[1] > 0 == whole[1]
    a_token = deployment.a_tokens["WETH"]
    liquidators = [(address,) for address in deployment.of_kind(Kind.LIQUIDATOR)]
    taken = read_all(devnet, a_token, "balanceOf(address)", "(uint256)", liquidators)
    assert sorted(amount > 0 for (amount,) in taken) == [False, True]


def test_interest_is_pending(devnet: Devnet, deployment: Deployment) -> None:
    fields = ",".join(["uint256"] * 11 + ["uint40"])
    pending = set()
    for token in devnet.tokens.values():
        data = devnet.call(deployment.data_provider, "getReserveData(address)", f"({fields})", token)
        now = devnet.call(deployment.pool, "getReserveNormalizedVariableDebt(address)", "(uint256)", token)[0]
        assert data[11] <= devnet.description.head_timestamp - 4 * DAY
        assert now > data[10] > 10**27
        pending.add(data[11])
    assert len(pending) > 1


def test_reserves_hold_liquidity(devnet: Devnet, deployment: Deployment) -> None:
    for symbol, token in devnet.tokens.items():
        (idle,) = devnet.call(token, "balanceOf(address)", "(uint256)", deployment.a_tokens[symbol])
        (lent,) = devnet.call(deployment.a_tokens[symbol], "totalSupply()", "(uint256)")
        assert idle > lent / 4


def test_3_0_has_stable_rate_debt(devnet: Devnet) -> None:
    deployment = devnet.deployments["aave_v3_0"]
    addresses = [(address,) for address in deployment.of_kind(Kind.STABLE_RATE_BORROWER)]
    debts = read_all(devnet, deployment.stable_debt_tokens["DAI"], "balanceOf(address)", "(uint256)", addresses)
    assert len(debts) == 8
    assert all(debt > 0 for (debt,) in debts)
    assert not devnet.deployments["aave_v3_2"].stable_debt_tokens


def test_3_0_prices_by_the_category(devnet: Devnet) -> None:
    deployment = devnet.deployments["aave_v3_0"]
    addresses = deployment.of_kind(Kind.CATEGORY_PRICED)
    before = account_data(devnet, deployment, addresses)
    devnet.set_price(CATEGORY_FEED, FINAL.btc_index * 2)
    after = account_data(devnet, deployment, addresses)
    assert all(new[1] == pytest.approx(2 * old[1], rel=1e-6) for old, new in zip(before, after, strict=True))
    assert any(new[5] < 0.9 * old[5] for old, new in zip(before, after, strict=True))


def test_config_names_both_markets(devnet: Devnet) -> None:
    config = devnet.config()
    assert f'rpc_urls = ["{devnet.url}"]' in config
    for deployment in devnet.deployments.values():
        assert f'address = "{deployment.provider}"\nfirst_block = {deployment.first_block}\n' in config
        assert devnet.rpc("eth_getCode", deployment.provider, "latest") != "0x"


def test_unfetched_devnet_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.devnet.session.is_fetched", lambda: False)
    with pytest.raises(DevnetNotFetchedError, match="make test"), open_devnet():
        pass
