"""Exchange-rate tokens of Ethereum (wstETH, rETH, osETH, ... at their addresses), with replies made up by hand."""

import re

import pytest

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.backing.claims import NATIVE, Claim, Token
from defi_leverage.backing.families.exchange_rates import load_rows, native_coin, read
from defi_leverage.schema import load_schema
from tests.backing.fake_chain import FakeChain, token

ROWS = {row.symbol: row for row in load_rows() if row.chain_id == 1}


@pytest.mark.parametrize(
    ("symbol", "contract", "function", "argument", "underlying", "kind"),
    [
        ("wstETH", "0x7f39C581F595B53c5cb19bD0b3f8dA6c935E2Ca0", "stEthPerToken", (), ROWS["stETH"].token, "wraps"),
        ("rETH", "0xae78736Cd615f374D3085123A210448E74Fc6393", "getExchangeRate", (), NATIVE, "staked"),
        ("cbETH", "0xBe9895146f7AF43049ca1c1AE358B0541Ea49704", "exchangeRate", (), NATIVE, "staked"),
        ("weETH", "0xCd5fE23C85820F7B72D0926FC9b05b43E359b7ee", "getRate", (), ROWS["eETH"].token, "wraps"),
        ("ezETH", "0x387dBc0fB00b26fb085aa658527D5BE98302c84C", "getRate", (), NATIVE, "staked"),
        ("rsETH", "0x349A73444b1a310BAe67ef67973022020d70020d", "rsETHPrice", (), NATIVE, "staked"),
        ("osETH", "0x2A261e60FB14586B474C208b1B7AC6D0f5000306", "convertToAssets", (10**18,), NATIVE, "staked"),
        ("ETHx", "0xcf5EA1b38380f6aF39068375516Daf40Ed70D299", "getExchangeRate", (), NATIVE, "staked"),
        ("mETH", "0xe3cBd06D7dadB3F4e6557bAb7EdD924CD1489E8f", "mETHToETH", (10**18,), NATIVE, "staked"),
        ("swETH", "0xf951E335afb289353dc249e82926178EaC7DEd78", "swETHToETHRate", (), NATIVE, "staked"),
        ("wBETH", "0xa2E3356610840701BDf5611a53974510Ae27E2e1", "exchangeRate", (), NATIVE, "staked"),
    ],
)
async def test_a_rate_is_what_its_contract_answers(
    symbol: str, contract: str, function: str, argument: tuple[int, ...], underlying: str, kind: str
) -> None:
    fake = FakeChain(chain_id=1)
    fake.says(contract, "exchange_rates", function, argument, 1_234_567_890_123_456_789)
    listed = Token(ROWS[symbol].token, symbol, 18)
    (finding,) = (await read(fake.chain, [listed, token(1)])).values()
    (claim,) = finding.claims
    assert (claim.underlying, claim.underlying_raw, claim.token_raw) == (underlying, 1_234_567_890_123_456_789, 10**18)
    assert (claim.kind, finding.asset_kind, finding.doubt) == (kind, "lst", "")
    assert contract in claim.source


async def test_what_stands_at_par_needs_no_answer() -> None:
    steth = Token(ROWS["stETH"].token, "stETH", 18)
    found = await read(FakeChain(chain_id=1).chain, [steth])
    assert found[steth.address].claims == (Claim(NATIVE, 1, 1, "staked", "stETH is ETH at par"),)


@pytest.mark.parametrize(("answer", "doubt"), [(None, "answers nothing"), (0, "answers 0")])
async def test_a_contract_that_does_not_answer_leaves_a_doubt(answer: int | None, doubt: str) -> None:
    fake = FakeChain(chain_id=1)
    reth = Token(ROWS["rETH"].token, "rETH", 18)
    if answer is not None:
        fake.says(reth.address, "exchange_rates", "getExchangeRate", (), answer)
    finding = (await read(fake.chain, [reth]))[reth.address]
    assert finding.claims == ()
    assert doubt in finding.doubt


async def test_the_same_address_on_another_chain_is_another_token() -> None:
    assert await read(FakeChain(chain_id=137).chain, [Token(ROWS["wstETH"].token, "wstETH", 18)]) == {}


def test_the_table_is_spelled_right() -> None:
    kinds = next(column.values for column in load_schema()["backing"] if column.name == "kind")
    asset_kinds = next(column.values for column in load_schema()["assets"] if column.name == "kind")
    tokens = {(row.chain_id, row.token) for row in load_rows()}
    assert len(tokens) == len(load_rows())
    for row in load_rows():
        assert checksum_address(row.token) == row.token
        assert row.kind in kinds
        assert row.asset_kind in asset_kinds
        assert re.fullmatch(r"slip44:\d+", row.underlying) or (row.chain_id, row.underlying) in tokens
        assert bool(row.function) == bool(row.contract)
        if row.function:
            assert checksum_address(row.contract) == row.contract
            load_abi("exchange_rates").encode(row.function, *([] if row.argument is None else [row.argument]))


def test_the_native_coin() -> None:
    coin = native_coin(42161)
    assert coin is not None
    assert (coin.reference, coin.symbol) == ("slip44:60", "ETH")
    assert native_coin(31337) is None
