"""A chain that answers what a test writes down, encoded as the real contracts encode it, and readings to start from."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.backing.claims import Token
from defi_leverage.chain import Block, Call, Chain
from defi_leverage.reading import AssetReading, BackingReading, FeedReading, Reading, VenueReading

USD = 10**8


def address(number: int) -> str:
    """A made-up address, as large as a real one."""
    return checksum_address("0x" + 10 * f"{number:04x}")


def token(number: int, symbol: str = "", decimals: int = 18) -> Token:
    return Token(address(number), symbol or f"T{number}", decimals)


class FakeChain:
    """Answers of contracts by call data. What was not written down fails, as a function that is not there does."""

    def __init__(self, chain_id: int = 31337, timestamp: int = 1_700_000_000) -> None:
        self.name = "fake"
        self.chain_id = chain_id
        self.block = Block(900, "0x" + "ab" * 32, timestamp)
        self.replies: dict[Call, bytes] = {}
        self.asked: list[Call] = []

    def answers(self, contract: str, family: str, **values: Any) -> None:
        """What `contract` answers to functions of abis/<family>.json without arguments."""
        for function, value in values.items():
            self.says(contract, family, function, (), value)

    def says(self, contract: str, family: str, function: str, arguments: Sequence[Any], value: Any) -> None:
        abi = load_abi(family)
        self.replies[contract, abi.encode(function, *arguments)] = abi.function(function).outputs.encode((value,))

    def is_token(self, contract: Token) -> None:
        self.answers(contract.address, "erc20", symbol=contract.symbol, decimals=contract.decimals)

    async def call(self, calls: Sequence[Call]) -> list[bytes | None]:
        self.asked += calls
        return [self.replies.get(call) for call in calls]

    @property
    def chain(self) -> Chain:
        return cast("Chain", self)


def add_vault(
    fake: FakeChain,
    vault: Token,
    underlying: str,
    assets: int,
    supply: int,
    convert: Callable[[int], int | None] | None = None,
    preview: Callable[[int], int | None] | None = None,
    **more: Any,
) -> None:
    """An OpenZeppelin vault; `convert` and `preview` replace its arithmetic, `more` other answers (None: not there)."""
    to_assets = convert or (lambda shares: shares * (assets + 1) // (supply + 1))
    values = {"asset": underlying, "totalAssets": assets, "totalSupply": supply} | more
    fake.answers(vault.address, "erc4626", **{name: value for name, value in values.items() if value is not None})
    one = 10**vault.decimals
    for amount in (supply, one, one * 10**12):
        if (answer := to_assets(amount)) is not None:
            fake.says(vault.address, "erc4626", "convertToAssets", (amount,), answer)
    fake.says(vault.address, "erc4626", "previewRedeem", (one,), (preview or to_assets)(one))


def asset_id(of: Token | str, chain_id: int = 31337) -> str:
    return f"eip155:{chain_id}/erc20:{of if isinstance(of, str) else of.address}"


def reading_of(
    prices: dict[Token, int],
    chain_id: int = 31337,
    venue: str = address(0xA),
    backing: Sequence[BackingReading] = (),
    **more: Any,
) -> Reading:
    """A venue that lists these tokens at prices in 1e-8 USD, without accounts."""
    ids = {listed: asset_id(listed, chain_id) for listed in prices}
    fields: dict[str, Any] = {
        "chain": f"eip155:{chain_id}",
        "block_number": 900,
        "block_hash": "0x" + "ab" * 32,
        "block_timestamp": 1_700_000_000,
        "venue": VenueReading(f"eip155:{chain_id}:{venue}", "aave_v3", "Core", venue, 1, "aave_v3"),
        "assets": tuple(AssetReading(ids[listed], listed.symbol, listed.decimals) for listed in prices),
        "feeds": tuple(FeedReading(ids[listed], ids[listed], price, USD) for listed, price in prices.items()),
        "backing": tuple(backing),
        "markets": (),
        "accounts": (),
        "found": 0,
    }
    return Reading(**(fields | more))
