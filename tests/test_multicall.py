"""multicall: held against eth_abi."""

from contextlib import suppress

import pytest
from eth_abi.abi import decode, encode
from hypothesis import given
from hypothesis import strategies as st

from defi_leverage.abi import load_abi
from defi_leverage.chain import Call
from defi_leverage.errors import DecodeError
from defi_leverage.multicall import decode_aggregate3, encode_aggregate3
from tests.rpc_server import (
    A,
)

CALLS = st.lists(
    st.tuples(st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex()), st.binary(max_size=99))
)
RESULTS = st.lists(st.tuples(st.booleans(), st.binary(max_size=99)), max_size=6)


@given(CALLS)
def test_aggregate3_is_encoded_as_eth_abi_does(calls: list[Call]) -> None:
    values = [(target, True, raw) for target, raw in calls]
    selector = load_abi("multicall3").function("aggregate3").selector
    assert encode_aggregate3(calls) == selector + encode(["(address,bool,bytes)[]"], [values])


@given(RESULTS)
def test_aggregate3_is_decoded_as_eth_abi_does(results: list[tuple[bool, bytes]]) -> None:
    reply = encode(["(bool,bytes)[]"], [results])
    assert decode_aggregate3(reply, len(results)) == results
    for wrong in (len(results) + 1, len(results) - 1):
        with pytest.raises(DecodeError):
            decode_aggregate3(reply, wrong)


@given(RESULTS, st.data())
def test_damaged_aggregate3_replies_are_refused_or_read_as_eth_abi_does(
    results: list[tuple[bool, bytes]], data: st.DataObject
) -> None:
    reply = bytearray(encode(["(bool,bytes)[]"], [results]))
    if data.draw(st.booleans()):
        reply[data.draw(st.integers(0, len(reply) - 1))] = data.draw(st.integers(0, 255))
    else:
        reply = reply[: data.draw(st.integers(0, len(reply) - 1))] + data.draw(st.binary(max_size=3))
    with suppress(DecodeError):
        found = decode_aggregate3(bytes(reply), len(results))
        assert list(decode(["(bool,bytes)[]"], bytes(reply))[0]) == found


@pytest.mark.parametrize("address", ["", "0x12", A[2:], A + "00"])
def test_malformed_addresses_are_not_encoded(address: str) -> None:
    with pytest.raises(ValueError, match=r"not an address|non-hexadecimal"):
        encode_aggregate3([(address, b"")])
