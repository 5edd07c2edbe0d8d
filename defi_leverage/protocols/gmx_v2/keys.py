"""Keys of values in a GMX DataStore: keccak of the encoded name, then of that with what the value belongs to.

Source: gmx-io/gmx-synthetics contracts/data/Keys.sol and contracts/position/PositionStoreUtils.sol.
"""

from eth_utils.crypto import keccak

__all__ = ["key", "member_key"]


def key(name: str, *of: "str | bool") -> bytes:
    """Key of a value: its name, and the addresses and flags that it belongs to."""
    return keccak(_name(name) + b"".join(map(_word, of))) if of else _name(name)


def member_key(listed: bytes, member: str) -> bytes:
    """Key of one member of a listed struct, such as a position's market."""
    return keccak(listed + _name(member))


def _name(name: str) -> bytes:
    """keccak256(abi.encode(name)) of a string constant."""
    text = name.encode()
    return keccak(
        (32).to_bytes(32, "big") + len(text).to_bytes(32, "big") + text.ljust(-(-len(text) // 32) * 32, b"\0")
    )


def _word(value: "str | bool") -> bytes:
    return int(value).to_bytes(32, "big") if isinstance(value, bool) else bytes.fromhex(value[2:]).rjust(32, b"\0")
