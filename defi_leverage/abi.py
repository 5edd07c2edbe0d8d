"""The files of `abis/` as call encoders and decoders.

One JSON file a contract family, in the standard ABI form, holding only the functions and events that are used. Types
made of single 32-byte words (uintN, intN, bool, address, bytesN and structs of them) are coded by hand, ten times faster
than eth_abi; everything else, and every word that looks wrong, goes through eth_abi, so both agree on what is valid.
"""

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import eth_abi
from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils import to_checksum_address
from eth_utils.abi import collapse_if_tuple, event_abi_to_log_topic, function_abi_to_4byte_selector

from defi_leverage.errors import ConfigError, DecodeError

__all__ = ["Abi", "Log", "checksum_address", "load_abi"]

Component = Mapping[str, Any]  # one input or output, as the ABI JSON writes it

checksum_address: Callable[[str], str] = functools.lru_cache(maxsize=1 << 18)(to_checksum_address)


@dataclass(frozen=True, slots=True)
class Log:
    """One event of the chain's log, as emitted: nothing decoded but the hexadecimal."""

    address: str  # checksummed
    topics: tuple[str, ...]  # 0x and 64 lower-case digits each
    data: bytes
    block: int
    index: int  # position in the block
    transaction: str


@dataclass(frozen=True)
class Word:
    """A type that fills exactly one 32-byte word."""

    bits: int
    finish: Callable[[int], Any] | None  # None: the unsigned integer itself
    signed: bool = False
    left: bool = False  # bytesN sits at the left end of its word

    def read(self, value: int) -> Any:
        """The word's value, or ValueError where a bit outside the type is set."""
        if self.signed and value >> 255:
            value -= 1 << 256
            if value < -1 << (self.bits - 1):
                raise ValueError
        elif self.left:
            if value & ((1 << (256 - self.bits)) - 1):
                raise ValueError
        elif value >> (self.bits - self.signed):
            raise ValueError
        return value if self.finish is None else self.finish(value)

    def write(self, value: Any) -> bytes:
        """The word of a plain int or address; ValueError for anything that eth_abi should judge."""
        if self.finish is None and type(value) is int and not self.left:
            try:
                if not value >> self.bits or self.signed:
                    self.read(value % (1 << 256))
                    return value.to_bytes(32, "big", signed=self.signed)
            except OverflowError:
                raise ValueError from None
        elif self.finish is _address and type(value) is str and len(value) == 42 and value[:2] == "0x":
            return bytes(12) + bytes.fromhex(value[2:])
        raise ValueError


@functools.lru_cache(maxsize=1 << 18)
def _address(value: int) -> str:
    return to_checksum_address(value.to_bytes(20, "big"))


def _word(kind: str) -> Word | None:
    if kind == "address":
        return Word(160, _address)
    if kind == "bool":
        return Word(1, bool)
    if found := re.fullmatch(r"(u?)int(\d+)", kind):
        return Word(int(found[2]), None, signed=not found[1])
    if found := re.fullmatch(r"bytes(\d+)", kind):
        size = int(found[1])
        return Word(8 * size, lambda value: value.to_bytes(32, "big")[:size], left=True)
    return None


def _flatten(components: Iterable[Component]) -> Iterator[Word | None]:
    for component in components:
        if component["type"] == "tuple":
            yield from _flatten(component["components"])
        else:
            yield _word(component["type"])


def _nest(components: Iterable[Component], values: Iterator[Any]) -> tuple[Any, ...]:
    return tuple(_nest(c["components"], values) if c["type"] == "tuple" else next(values) for c in components)


def _checksummed(component: Component, value: Any) -> Any:
    """What eth_abi decoded, with its lower-case addresses checksummed at any depth."""
    kind: str = component["type"]
    if kind.endswith("]"):
        inner = {**component, "type": kind[: kind.rindex("[")]}
        return tuple(_checksummed(inner, item) for item in value)
    if kind == "tuple":
        return tuple(_checksummed(c, item) for c, item in zip(component["components"], value, strict=True))
    return checksum_address(value) if kind == "address" else value


class Layout:
    """A sequence of ABI types: the arguments or the results of a function, or the data of an event."""

    def __init__(self, components: Sequence[Component]) -> None:
        self.components = components
        self.types = [collapse_if_tuple(dict(component)) for component in components]
        words = list(_flatten(components))
        self._words = None if None in words else [word for word in words if word is not None]
        self._nested = any(component["type"] == "tuple" for component in components)

    def encode(self, values: Sequence[Any]) -> bytes:
        """The ABI encoding of `values`; raises eth_abi's EncodingError where they do not fit the types."""
        if self._words is not None and len(values) == len(self._words) and not self._nested:
            try:
                return b"".join([word.write(value) for word, value in zip(self._words, values, strict=True)])
            except ValueError:
                pass  # eth_abi knows more spellings of a value, and says what is wrong with a bad one
        return eth_abi.encode(self.types, values)

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """The values in `data`; bytes after them are allowed, as contracts append fields. Raises DecodingError."""
        words = self._words
        if words is not None and len(data) >= 32 * len(words):
            try:
                values = [
                    word.read(int.from_bytes(data[at : at + 32], "big"))
                    for at, word in zip(range(0, 32 * len(words), 32), words, strict=True)
                ]
                return _nest(self.components, iter(values)) if self._nested else tuple(values)
            except ValueError:
                pass  # eth_abi explains
        try:
            found = eth_abi.decode(self.types, data)
        except (OverflowError, ValueError) as error:  # an absurd offset or text that is not UTF-8
            raise DecodingError(str(error)) from None
        return tuple(_checksummed(c, value) for c, value in zip(self.components, found, strict=True))


@dataclass(frozen=True)
class Function:
    """A function's selector (4 bytes), arguments and results."""

    signature: str
    selector: bytes
    inputs: Layout
    outputs: Layout


@dataclass(frozen=True)
class Event:
    """An event's first topic and its arguments, in the order of declaration."""

    signature: str
    topic: str
    names: tuple[str, ...]
    indexed: tuple[bool, ...]
    topics: tuple[Layout, ...]
    data: Layout


def _signature(entry: Component) -> str:
    return f"{entry['name']}({','.join(collapse_if_tuple(dict(c)) for c in entry['inputs'])})"


def _event(entry: Component) -> Event:
    # The topic of an indexed string, bytes, array or struct is its hash: only single words travel whole.
    hashed = {"type": "bytes32"}
    return Event(
        _signature(entry),
        "0x" + event_abi_to_log_topic(entry).hex(),  # type: ignore[arg-type]
        tuple(c["name"] or f"argument{at}" for at, c in enumerate(entry["inputs"])),
        tuple(bool(c["indexed"]) for c in entry["inputs"]),
        tuple(Layout([c if _word(c["type"]) else hashed]) for c in entry["inputs"] if c["indexed"]),
        Layout([c for c in entry["inputs"] if not c["indexed"]]),
    )


class Abi:
    """The functions and events of one contract family. An overloaded name is asked for by its full signature."""

    def __init__(self, family: str, entries: Sequence[Component]) -> None:
        self.family = family
        self._functions: dict[str, list[Function]] = {}
        self._events: dict[str, list[Event]] = {}
        for entry in entries:
            if entry["type"] == "function":
                selector = function_abi_to_4byte_selector(entry)  # type: ignore[arg-type]
                function = Function(_signature(entry), selector, Layout(entry["inputs"]), Layout(entry["outputs"]))
                for key in (entry["name"], function.signature):
                    self._functions.setdefault(key, []).append(function)
            elif entry["type"] == "event":
                event = _event(entry)
                for key in (entry["name"], event.signature):
                    self._events.setdefault(key, []).append(event)

    def __repr__(self) -> str:
        return f"Abi({self.family!r})"

    def __contains__(self, name: str) -> bool:
        return name in self._functions or name in self._events

    def function(self, name: str) -> Function:
        """The function of this name or signature; ConfigError when the file holds none, or several."""
        return self._only(self._functions, name, "function")

    def event(self, name: str) -> Event:
        """The event of this name or signature; ConfigError when the file holds none, or several."""
        return self._only(self._events, name, "event")

    def _only[T: (Function, Event)](self, table: dict[str, list[T]], name: str, kind: str) -> T:
        raise NotImplementedError

    def encode(self, function: str, *arguments: Any) -> bytes:
        """Call data: the selector and the encoded arguments. Raises ConfigError where they do not fit."""
        found = self.function(function)
        try:
            return found.selector + found.inputs.encode(arguments)
        except (EncodingError, ValueError, TypeError) as error:
            raise ConfigError(f"{self.family}.{found.signature} cannot take {arguments!r}: {error}") from error

    def decode(self, function: str, data: bytes) -> tuple[Any, ...]:
        """A call's results, addresses checksummed. Raises DecodeError where `data` does not hold them."""
        found = self.function(function)
        try:
            return found.outputs.decode(data)
        except DecodingError as error:
            raise DecodeError("", function=found.signature) from error
