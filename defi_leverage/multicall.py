"""Multicall3.aggregate3 as bytes and back, by hand: its layout is fixed, and eth_abi takes forty times as long."""

from collections.abc import Sequence

from defi_leverage.errors import DecodeError

__all__ = ["MULTICALL3", "Call", "decode_aggregate3", "encode_aggregate3"]

MULTICALL3 = "0xcA11bde05977b3631167028862bE2a173976CA11"
"""The same address on nearly every EVM chain."""

Call = tuple[str, bytes]  # contract and call data

_SELECTOR = bytes.fromhex("82ad56cb")  # aggregate3((address,bool,bytes)[])
_WORD_1 = (1).to_bytes(32, "big")
_WORD_32 = (32).to_bytes(32, "big")
_WORD_64 = (64).to_bytes(32, "big")
_HEAD = _WORD_1 + (96).to_bytes(32, "big")  # allowFailure, and where callData begins
_PADDING = bytes(32)


def encode_aggregate3(calls: Sequence[Call]) -> bytes:
    """Call data of aggregate3 with allowFailure set for every call. Raises ValueError for a malformed address."""
    offset = 32 * len(calls)
    offsets: list[bytes] = []
    bodies: list[bytes] = []
    for target, data in calls:
        address = bytes.fromhex(target[2:])
        if len(address) != 20 or target[:2] != "0x":
            raise ValueError(f"not an address: {target!r}")
        size = len(data)
        padding = -size % 32
        offsets.append(offset.to_bytes(32, "big"))
        bodies += (_PADDING[:12], address, _HEAD, size.to_bytes(32, "big"), data, _PADDING[:padding])
        offset += 128 + size + padding
    return b"".join((_SELECTOR, _WORD_32, len(calls).to_bytes(32, "big"), *offsets, *bodies))


def decode_aggregate3(reply: bytes, count: int) -> list[tuple[bool, bytes]]:
    """Success and returned bytes of each of the `count` calls, in order.

    The reply must be exactly what the ABI prescribes, to the last byte; raises DecodeError for any other.
    """
    number = int.from_bytes
    if reply[:32] != _WORD_32 or len(reply) < 64 or number(reply[32:64], "big") != count:
        raise _malformed(reply, count)
    results: list[tuple[bool, bytes]] = []
    at = 64 + 32 * count
    for entry in range(64, at, 32):
        success = reply[at : at + 32]
        size = number(reply[at + 64 : at + 96], "big")
        end = at + 96 + size
        after = end + -size % 32
        if (
            number(reply[entry : entry + 32], "big") != at - 64
            or success not in (_WORD_1, _PADDING)
            or reply[at + 32 : at + 64] != _WORD_64
            or after > len(reply)
            or (after > end and any(reply[end:after]))
        ):
            raise _malformed(reply, count)
        results.append((success == _WORD_1, reply[at + 96 : end]))
        at = after
    if at != len(reply):
        raise _malformed(reply, count)
    return results


def _malformed(reply: bytes, count: int) -> DecodeError:
    return DecodeError(
        f"Multicall3 at {MULTICALL3} answered {len(reply)} bytes that are not {count} results. The endpoint cuts or "
        "alters replies, or another contract lives there: use another endpoint.",
        length=len(reply),
        count=count,
    )
