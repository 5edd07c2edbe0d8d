"""The files of `abis/` as call encoders and decoders.

One JSON file a contract family, in the standard ABI form, holding only the functions and events that are used.
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils.abi import event_signature_to_log_topic, function_signature_to_4byte_selector

from defi_leverage.abi_layout import Component, Layout, checksum_address, type_name
from defi_leverage.errors import ConfigError, DecodeError

__all__ = ["Abi", "Event", "Function", "Log", "address_in", "address_word", "checksum_address", "load_abi"]


@dataclass(frozen=True, slots=True)
class Log:
    """One event as the chain keeps it, not yet decoded."""

    address: str  # checksummed
    topics: tuple[str, ...]  # 0x and 64 lower-case digits each
    data: bytes
    block: int
    index: int  # position among the block's events
    transaction: str


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
    indexed: tuple[Layout | None, ...]  # None: in the data
    data: Layout


_Entry = TypeVar("_Entry", Function, Event)


class Abi:
    """The functions and events of one contract family; an overloaded name is asked for by its full signature."""

    def __init__(self, family: str, entries: Sequence[Component]) -> None:
        self.family = family
        self.functions: dict[str, list[Function]] = {}
        self.events: dict[str, list[Event]] = {}
        for entry in entries:
            if entry["type"] not in ("function", "event"):
                continue
            signature = f"{entry['name']}({','.join(map(type_name, entry['inputs']))})"
            for key in (entry["name"], signature):
                if entry["type"] == "function":
                    self.functions.setdefault(key, []).append(_function(signature, entry))
                else:
                    self.events.setdefault(key, []).append(_event(signature, entry))

    def __repr__(self) -> str:
        return f"Abi({self.family!r})"

    def __contains__(self, name: object) -> bool:
        return name in self.functions or name in self.events

    def function(self, name: str) -> Function:
        """The function of this name or signature. Raises ConfigError where the file holds none, or several."""
        return self._only(self.functions, name, "function")

    def event(self, name: str) -> Event:
        """The event of this name or signature. Raises ConfigError where the file holds none, or several."""
        return self._only(self.events, name, "event")

    def encode(self, function: str, *arguments: Any) -> bytes:
        """Call data: the selector and the encoded arguments. Raises ConfigError where they do not fit."""
        found = self.function(function)
        try:
            return found.selector + found.inputs.encode(arguments)
        except (EncodingError, ValueError, TypeError) as error:
            raise ConfigError(f"{self.family}.{found.signature} does not take {arguments!r}: {error}") from error

    def decode(self, function: str, data: bytes) -> tuple[Any, ...]:
        """A call's results: ints, bools, bytes, text, checksummed addresses, tuples. Raises DecodeError."""
        found = self.function(function)
        try:
            return found.outputs.decode(data)
        except DecodingError as error:
            raise DecodeError(
                f"{self.family}.{found.signature} returned {len(data)} bytes that are not "
                f"({','.join(found.outputs.types)}): {error}. The contract is another version or not of this family: "
                f"check its address and abis/{self.family}.json.",
                family=self.family,
                function=found.signature,
                length=len(data),
            ) from error

    def topic(self, event: str) -> str:
        """The event's first topic: 0x and 64 lower-case digits."""
        return self.event(event).topic

    def decode_log(self, event: str, log: Log) -> dict[str, Any]:
        """The event's arguments by name; an indexed string, bytes, array or struct is its 32-byte hash.

        Raises DecodeError where the log is another event, or indexes other arguments.
        """
        found = self.event(event)
        topics = iter(log.topics)
        try:
            if next(topics, None) != found.topic:
                raise DecodingError("its first topic is another event's")
            if len(log.topics) - 1 != sum(layout is not None for layout in found.indexed):
                raise DecodingError(f"{len(log.topics) - 1} arguments are indexed")
            data = iter(found.data.decode(log.data))
            return {
                name: next(data) if layout is None else layout.decode(bytes.fromhex(next(topics)[2:]))[0]
                for name, layout in zip(found.names, found.indexed, strict=True)
            }
        except DecodingError as error:
            raise DecodeError(
                f"log {log.index} of block {log.block}, by {log.address}, is not {self.family}.{found.signature}: "
                f"{error}. Check the contract's address and abis/{self.family}.json.",
                family=self.family,
                event=found.signature,
                length=len(log.data),
            ) from error

    def _only(self, table: Mapping[str, list[_Entry]], name: str, kind: str) -> _Entry:
        found = table.get(name, [])
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(entry.signature for entry in found)
            raise ConfigError(f"abis/{self.family}.json has several {kind}s {name}: name one of {names}.")
        names = ", ".join(sorted(key for key in table if "(" in key)) or "none"
        raise ConfigError(f"abis/{self.family}.json has no {kind} {name}. It has: {names}.")


def address_in(topic: str) -> str:
    """The address in an event's indexed topic (or any word in hexadecimal), checksummed."""
    return checksum_address(f"0x{topic[-40:]}")


def address_word(address: str) -> bytes:
    """An address as call data has it: 32 bytes."""
    return bytes.fromhex(address[2:]).rjust(32, b"\0")


def _function(signature: str, entry: Component) -> Function:
    selector = function_signature_to_4byte_selector(signature)
    return Function(signature, selector, Layout(entry["inputs"]), Layout(entry["outputs"]))


def _event(signature: str, entry: Component) -> Event:
    def indexed(argument: Component) -> Layout | None:
        if not argument["indexed"]:
            return None
        whole = Layout([argument])  # anything but a single word travels as its hash
        return whole if whole.is_words and argument["type"] != "tuple" else Layout([{"type": "bytes32"}])

    return Event(
        signature,
        "0x" + event_signature_to_log_topic(signature).hex(),
        tuple(argument["name"] or f"argument{at}" for at, argument in enumerate(entry["inputs"])),
        tuple(indexed(argument) for argument in entry["inputs"]),
        Layout([argument for argument in entry["inputs"] if not argument["indexed"]]),
    )


def abi_folder() -> Path:
    """`abis/`: inside the installed package, or beside it in a source checkout."""
    package = Path(__file__).parent
    return next((folder for folder in (package / "abis", package.parent / "abis") if folder.is_dir()), package / "abis")


@functools.cache
def load_abi(family: str) -> Abi:
    """The ABI of `abis/<family>.json`, read once. Raises ConfigError where the file is missing or is not an ABI."""
    folder = abi_folder()
    path = folder / f"{family}.json"
    if not re.fullmatch(r"\w+", family) or not path.is_file():
        families = ", ".join(sorted(file.stem for file in folder.glob("*.json"))) or "none"
        raise ConfigError(f"There is no ABI {family!r} in {folder}. There are: {families}.")
    try:
        return Abi(family, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a JSON list of ABI functions and events: {error!r}.") from error
