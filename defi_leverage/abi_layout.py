"""ABI types as bytes and back.

Types that fill single 32-byte words (uintN, intN, bool, address, bytesN and structs of them) are coded by hand, ten
times faster than eth_abi. Everything else, and each word that looks wrong, goes to eth_abi, which decides and says why;
so both agree on what is valid, except that an address to encode need not have a valid checksum.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import collapse_if_tuple
from eth_utils.address import to_checksum_address

__all__ = ["Component", "Layout", "checksum_address", "type_name"]

Component = Mapping[str, Any]  # one argument or result, as the ABI JSON writes it

_ADDRESSES = 1 << 18  # checksummed ones kept: keccak is dear, and the same accounts and tokens come again


class Word(NamedTuple):
    """How one type fills a 32-byte word; both raise ValueError for what eth_abi should judge."""

    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]


@functools.lru_cache(maxsize=_ADDRESSES)
def _address_text(raw: bytes) -> str:
    return to_checksum_address(raw)


def checksum_address(address: str) -> str:
    """The EIP-55 spelling of 0x and 40 hexadecimal digits of any case; ValueError for anything else."""
    raw = bytes.fromhex(address[2:]) if address[:2] == "0x" else b""
    if len(raw) != 20 or len(address) != 42:
        raise ValueError(f"not an address: {address!r}")
    return _address_text(raw)


def _integer(bits: int, signed: bool) -> Word:
    low, high = (-1 << (bits - 1), 1 << (bits - 1)) if signed else (0, 1 << bits)

    def read(word: bytes) -> int:
        value = int.from_bytes(word, "big", signed=signed)
        if low <= value < high:
            return value
        raise ValueError

    def write(value: Any) -> bytes:
        if type(value) is int and low <= value < high:
            return value.to_bytes(32, "big", signed=signed)
        raise ValueError

    return Word(read, write)


def _address() -> Word:
    padding = bytes(12)

    def read(word: bytes) -> str:
        if word[:12] == padding:
            return _address_text(word[12:])
        raise ValueError

    def write(value: Any) -> bytes:
        if type(value) is str and len(value) == 42 and value[:2] == "0x":
            raw = bytes.fromhex(value[2:])
            if len(raw) == 20:  # fromhex skips blanks
                return padding + raw
        raise ValueError

    return Word(read, write)


def _bool() -> Word:
    words = {bytes(32): False, bytes(31) + b"\1": True}
    values = {value: word for word, value in words.items()}

    def read(word: bytes) -> bool:
        if word in words:
            return words[word]
        raise ValueError

    def write(value: Any) -> bytes:
        if type(value) is bool:
            return values[value]
        raise ValueError

    return Word(read, write)


def _fixed_bytes(size: int) -> Word:
    padding = bytes(32 - size)

    def read(word: bytes) -> bytes:
        if word[size:] == padding:
            return word[:size]
        raise ValueError

    def write(value: Any) -> bytes:
        if type(value) is bytes and len(value) == size:
            return value + padding
        raise ValueError

    return Word(read, write)


def _word(kind: str) -> Word | None:
    if kind == "address":
        return _address()
    if kind == "bool":
        return _bool()
    if found := re.fullmatch(r"(u?)int(\d+)", kind):
        return _integer(int(found[2]), signed=not found[1])
    if found := re.fullmatch(r"bytes(\d+)", kind):
        return _fixed_bytes(int(found[1]))
    return None


def type_name(component: Component) -> str:
    """The type as a signature spells it, structs as (a,b)."""
    return str(collapse_if_tuple(dict(component)))


def _words(components: Iterable[Component]) -> Iterator[Word | None]:
    for component in components:
        if component["type"] == "tuple":
            yield from _words(component["components"])
        else:
            yield _word(component["type"])


def _nest(components: Iterable[Component], values: Iterator[Any]) -> tuple[Any, ...]:
    return tuple([_nest(c["components"], values) if c["type"] == "tuple" else next(values) for c in components])


def _checksummed(component: Component, value: Any) -> Any:
    """What eth_abi decoded, with its lower-case addresses checksummed at any depth."""
    kind: str = component["type"]
    if kind.endswith("]"):
        inner = {**component, "type": kind[: kind.rindex("[")]}
        return tuple([_checksummed(inner, item) for item in value])
    if kind == "tuple":
        return tuple([_checksummed(c, item) for c, item in zip(component["components"], value, strict=True)])
    return checksum_address(value) if kind == "address" else value


class Layout:
    """A sequence of ABI types: the arguments or the results of a function, or the data of an event."""

    def __init__(self, components: Sequence[Component]) -> None:
        self.types = [type_name(component) for component in components]
        self._components = components
        self._nested = any(component["type"] == "tuple" for component in components)
        words = list(_words(components))
        self._words = None if None in words else [word for word in words if word is not None]

    @property
    def is_words(self) -> bool:
        """Whether every value fills one 32-byte word."""
        return self._words is not None

    def encode(self, values: Sequence[Any]) -> bytes:
        """The encoding of `values`; raises what eth_abi.encode raises where they do not fit the types."""
        words = self._words
        if words is not None and not self._nested and len(values) == len(words):
            try:
                return b"".join([word.write(value) for word, value in zip(words, values, strict=True)])
            except ValueError:
                pass  # eth_abi knows more spellings of a value
        return encode(self.types, values)

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """The values at the start of `data`; contracts append fields, so more may follow. Raises DecodingError."""
        words = self._words
        if words is not None and len(data) >= 32 * len(words):
            try:
                values = [word.read(data[32 * at : 32 * at + 32]) for at, word in enumerate(words)]
                return _nest(self._components, iter(values)) if self._nested else tuple(values)
            except ValueError:
                pass  # eth_abi says what is wrong
        try:
            found = decode(self.types, data)
        except (OverflowError, ValueError, RecursionError) as error:  # an absurd offset, text that is not UTF-8
            raise DecodingError(str(error)) from error
        return tuple([_checksummed(c, value) for c, value in zip(self._components, found, strict=True)])
