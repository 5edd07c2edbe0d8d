"""Answers belong to the question that they were asked for, missing ones included."""

from defi_leverage.abi import load_abi
from defi_leverage.questions import Question, ask_each, probe
from tests.backing.fake_chain import FakeChain, address, token

ABI = load_abi("erc20")


async def test_each_key_has_the_answers_to_its_own_questions_from_one_batch() -> None:
    fake, coin = FakeChain(), token(1, "COIN", 6)
    fake.is_token(coin)
    fake.says(coin.address, "erc20", "balanceOf", (address(7),), 5)
    asked: dict[str, list[Question]] = {
        "first": [(coin.address, "balanceOf", (address(holder),)) for holder in (8, 7)],
        "none": [],
        "last": [(coin.address, "decimals", ()), (coin.address, "symbol", ())],
    }
    assert await ask_each(fake.chain, ABI, asked) == {"first": [None, 5], "none": [], "last": [6, "COIN"]}
    assert len(fake.asked) == 4


async def test_a_probe_names_what_each_contract_answers() -> None:
    fake, coin = FakeChain(), token(1, "COIN", 6)
    fake.is_token(coin)
    assert await probe(fake.chain, ABI, [address(2), coin.address], ("decimals", "totalSupply")) == {
        address(2): {"decimals": None, "totalSupply": None},
        coin.address: {"decimals": 6, "totalSupply": None},
    }
