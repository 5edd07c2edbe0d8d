"""abi: the ABI files as encoders and decoders, held against eth_abi."""

import json
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from hypothesis import given
from hypothesis import strategies as st

from defi_leverage.abi import Abi, Log, abi_folder, checksum_address, load_abi
from defi_leverage.abi_layout import Layout
from defi_leverage.errors import ConfigError, DecodeError

ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"  # an example of EIP-55
WORD_TYPES = ["uint8", "uint128", "uint256", "int24", "int128", "int256", "bool", "address", "bytes4", "bytes32"]


def argument(kind: str, name: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def function(name: str, inputs: list[str], outputs: list[Any]) -> dict[str, Any]:
    outputs = [argument(each) if isinstance(each, str) else each for each in outputs]
    return {"type": "function", "name": name, "inputs": [argument(each) for each in inputs], "outputs": outputs}


STRUCT = argument("tuple", components=[argument("uint128", "a"), argument("address", "b"), argument("bool", "c")])
ABI = Abi(
    "sample",
    [
        function("balanceOf", ["address"], ["uint256"]),
        function("pair", ["bytes32", "address"], ["uint256", STRUCT, "int24"]),
        function("names", ["uint8"], ["string", "address[]", argument("tuple[2]", components=STRUCT["components"])]),
        function("over", ["uint256"], []),
        function("over", ["uint8", "bool"], []),
        {
            "type": "event",
            "name": "Supply",
            "inputs": [
                argument("address", "reserve", indexed=True),
                argument("uint256", "amount", indexed=False),
                argument("string", "label", indexed=True),
                argument("address", "", indexed=False),
            ],
        },
    ],
)


def value_of(kind: str) -> st.SearchStrategy[Any]:
    if kind == "address":
        return st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
    if kind == "bool":
        return st.booleans()
    if kind.startswith("bytes"):
        return st.binary(min_size=int(kind[5:]), max_size=int(kind[5:]))
    bits = int(kind.lstrip("uint"))
    if kind.startswith("u"):
        return st.integers(0, 2**bits - 1)
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[list[str], list[Any]]:
    types = draw(st.lists(st.sampled_from(WORD_TYPES), max_size=6))
    return types, [draw(value_of(kind)) for kind in types]


def plain(values: Any) -> Any:
    """With addresses in lower case, as eth_abi has them."""
    if isinstance(values, tuple | list):
        return tuple(plain(value) for value in values)
    return values.lower() if isinstance(values, str) and values.startswith("0x") else values


@given(typed_values())
def test_words_are_coded_as_eth_abi_codes_them(sample: tuple[list[str], list[Any]]) -> None:
    types, values = sample
    layout = Layout([argument(kind) for kind in types])
    data = encode(types, values)
    assert layout.is_words
    assert layout.encode(values) == data
    assert plain(layout.decode(data)) == decode(types, data)
    assert plain(layout.decode(data + bytes(33))) == decode(types, data)


@given(st.lists(st.sampled_from([*WORD_TYPES, "string", "bytes", "uint64[]", "address[2]"]), max_size=4), st.data())
def test_any_bytes_are_judged_as_eth_abi_judges_them(types: list[str], data: st.DataObject) -> None:
    word = st.one_of(
        st.binary(min_size=32, max_size=32),
        st.integers(0, 130).map(lambda value: value.to_bytes(32, "big")),
        st.integers(0, 2**20).map(lambda value: (2**256 - 1 - value).to_bytes(32, "big")),
        st.binary(min_size=1, max_size=20).map(lambda raw: raw.rjust(32, b"\0")),
    )
    raw = b"".join(data.draw(st.lists(word, max_size=7)))[: data.draw(st.integers(0, 224))]
    layout = Layout([argument(kind) for kind in types])
    try:
        expected: Any = decode(types, raw)
    except (DecodingError, OverflowError, ValueError):
        with pytest.raises(DecodingError):
            layout.decode(raw)
    else:
        assert plain(layout.decode(raw)) == plain(expected)


@pytest.mark.parametrize("kind", WORD_TYPES)
@pytest.mark.parametrize("value", [-1, 2**256, 1.5, "0x12", "0x" + " 1" * 20, b"123456", None, True, ADDRESS[:-1]])
def test_bad_arguments_are_refused_as_eth_abi_refuses_them(kind: str, value: Any) -> None:
    abi = Abi("sample", [function("f", [kind], [])])
    try:
        expected = encode([kind], [value])
    except Exception:  # noqa: BLE001
        with pytest.raises(ConfigError, match=r"sample.f\("):
            abi.encode("f", value)
    else:
        assert abi.encode("f", value)[4:] == expected


def test_calls_carry_the_selector_and_results_carry_checksums() -> None:
    call = ABI.encode("balanceOf", ADDRESS.lower())
    assert call.hex() == "70a08231" + "00" * 12 + ADDRESS[2:].lower()
    data = encode(["uint256", "(uint128,address,bool)", "int24"], [7, (8, ADDRESS.lower(), True), -9])
    assert ABI.decode("pair", data) == (7, (8, ADDRESS, True), -9)


def test_nested_and_dynamic_results_carry_checksums() -> None:
    low = ADDRESS.lower()
    types = ["string", "address[]", "(uint128,address,bool)[2]"]
    data = encode(types, ["name", [low], [(1, low, True), (2, low, False)]])
    assert ABI.decode("names", data) == ("name", (ADDRESS,), ((1, ADDRESS, True), (2, ADDRESS, False)))


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(DecodeError, match=r"sample.balanceOf\(address\) returned 31 bytes") as caught:
        ABI.decode("balanceOf", bytes(31))
    assert caught.value.attributes["length"] == 31
    with pytest.raises(DecodeError, match="returned 0 bytes"):
        ABI.decode("names", b"")
    with pytest.raises(ConfigError, match=r"no function balanceof. It has: balanceOf\(address\)"):
        ABI.encode("balanceof", ADDRESS)
    with pytest.raises(ConfigError, match=r"several functions over: name one of over\(uint256\), over\(uint8,bool\)"):
        ABI.encode("over", 1)
    assert len(ABI.encode("over(uint8,bool)", 1, True)) == 68
    assert "balanceOf" in ABI
    assert "nothing" not in ABI


def supply(**changes: Any) -> Log:
    topics = (ABI.topic("Supply"), "0x" + "00" * 12 + ADDRESS[2:].lower(), "0x" + "11" * 32)
    data = encode(["uint256", "address"], [5, ADDRESS.lower()])
    fields: dict[str, Any] = {"address": ADDRESS, "topics": topics, "data": data, "block": 1, "index": 2}
    return Log(**(fields | {"transaction": ""} | changes))


def test_log_arguments_by_name() -> None:
    expected = {"reserve": ADDRESS, "amount": 5, "label": b"\x11" * 32, "argument3": ADDRESS}
    assert ABI.decode_log("Supply", supply()) == expected
    assert ABI.topic("Supply") == ABI.topic("Supply(address,uint256,string,address)")


@pytest.mark.parametrize(
    "changes",
    [
        {"topics": ()},
        {"topics": ("0x" + "00" * 32,)},
        {"topics": supply().topics[:2]},
        {"topics": (*supply().topics[:1], "0x" + "ff" * 32, "0x" + "11" * 32)},
        {"data": bytes(63)},
    ],
)
def test_a_log_of_another_event_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match="log 2 of block 1"):
        ABI.decode_log("Supply", supply(**changes))


def test_files_are_found_once_and_missing_ones_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_abi("multicall3") is load_abi("multicall3")
    with pytest.raises(ConfigError, match=r"There are: .*multicall3"):
        load_abi("no_such_family")
    with pytest.raises(ConfigError, match="no ABI"):
        load_abi("../pyproject")
    (tmp_path / "broken.json").write_text('{"abi": []}')
    monkeypatch.setattr("defi_leverage.abi.abi_folder", lambda: tmp_path)
    with pytest.raises(ConfigError, match=r"broken\.json is not a JSON list"):
        load_abi("broken")


@pytest.mark.parametrize("path", sorted(abi_folder().glob("*.json")), ids=lambda path: path.stem)
def test_every_file_is_an_abi(path: Path) -> None:
    entries = json.loads(path.read_text())
    abi = load_abi(path.stem)
    for entry in entries:
        assert entry["name"] in abi


def test_checksum_address_refuses_what_is_none() -> None:
    assert checksum_address(ADDRESS.lower()) == ADDRESS
    for text in ("", "0x", ADDRESS[:-2], ADDRESS + "00", "0x" + "zz" * 20, ADDRESS[2:], "0x" + " 1" * 20):
        with pytest.raises(ValueError):  # noqa: PT011
            checksum_address(text)
