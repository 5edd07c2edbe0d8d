"""Calldata from a function's signature, and values from what it returns."""

from __future__ import annotations

from functools import cache
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.grammar import TupleType, parse
from eth_utils.crypto import keccak


def encode_call(signature: str, *arguments: Any) -> bytes:
    """Selector and encoded arguments; ``signature`` is like ``mint(address,uint256)``."""
    selector, types = _split(signature)
    return selector + encode(types, arguments)


def decode_result(types: str, data: str) -> tuple[Any, ...]:
    """Values of a return type list like ``(uint256,address[])``."""
    return decode(_components(types), bytes.fromhex(data.removeprefix("0x")))


def abi_types(parameters: list[dict[str, Any]]) -> list[str]:
    """Canonical types of an ABI entry's inputs."""
    return [_abi_type(parameter) for parameter in parameters]


def _abi_type(parameter: dict[str, Any]) -> str:
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(abi_types(parameter["components"])) + ")" + kind.removeprefix("tuple")


@cache
def _split(signature: str) -> tuple[bytes, tuple[str, ...]]:
    return keccak(text=signature)[:4], _components(signature[signature.index("(") :])


@cache
def _components(types: str) -> tuple[str, ...]:
    if types == "()":
        return ()
    parsed = parse(types)
    if not isinstance(parsed, TupleType):
        raise TypeError(f"{types} is not a list of types in parentheses")
    return tuple(component.to_type_str() for component in parsed.components)
