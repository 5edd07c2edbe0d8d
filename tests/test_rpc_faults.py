"""rpc_faults: errors told apart, and no secret told on."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from defi_leverage.chain import mask_url
from defi_leverage.rpc_faults import Kind, parse_retry_after, read_error, scrub
from tests.rpc_server import (
    SECRETS,
)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://eth-mainnet.example.com/v2/secretkey123", "https://eth-mainnet.example.com/***"),
        ("https://user:hunter22@example.com:8545/?token=topsecret#hunter22", "https://example.com:8545/***"),
        ("http://[::1]:8545", "http://[::1]:8545/***"),
        ("https://user:hunt/hunter22@example.com/", "***"),
        ("https://user:hunter22", "***"),
        ("secretkey123", "***"),
        ("wss://example.com/secretkey123", "***"),
        ("", "***"),
    ],
)
def test_a_masked_url_shows_where_but_not_who(url: str, masked: str) -> None:
    assert mask_url(url) == masked


def test_scrubbed_text_has_no_part_of_the_url() -> None:
    url = "https://user:hunter22@example.com/v2/secretkey123?token=topsecret%2B"
    text = scrub(f"bad key secretkey123 of user with hunter22 and topsecret+ at {url}", url)
    assert not any(secret in text for secret in (*SECRETS, "topsecret+"))
    assert "bad key ***" in text


def test_scrubbed_text_cannot_steer_a_terminal() -> None:
    assert scrub("bad\n\x1b]0;title\x07 key", "https://example.com") == "bad \ufffd]0;title\ufffd key"


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (3, "execution reverted", Kind.REVERT),
        (-32000, "execution reverted: ERC20: limit exceeded", Kind.REVERT),
        (-32015, "VM execution error.", Kind.REVERT),
        (-32000, "invalid opcode: INVALID", Kind.REVERT),
        (-32000, "out of gas", Kind.GAS),
        (-32000, "gas required exceeds allowance (50000000)", Kind.GAS),
        (-32005, "limit exceeded", Kind.BUSY),
        (-32005, "daily request count exceeded, request rate limited", Kind.BUSY),
        (-32097, "slow down", Kind.BUSY),
        (-32000, "429 Too Many Requests", Kind.BUSY),
        (429, "Your app has exceeded its compute units per second capacity", Kind.BUSY),
        (-32005, "query returned more than 10000 results", Kind.RANGE),
        (-32602, "query exceeds max block range 2000", Kind.RANGE),
        (-32602, "eth_getLogs is limited to a 10,000 range", Kind.RANGE),
        (-32000, "block range is too wide", Kind.RANGE),
        (-32000, "exceed maximum block range: 5000", Kind.RANGE),
        (-32600, "You can make eth_getLogs requests with up to a 500 block range.", Kind.RANGE),
        (-32614, "eth_getLogs is limited to 1024 blocks", Kind.RANGE),
        (-32602, "Log response size exceeded. this block range should work: [0x0, 0x1f]", Kind.RANGE),
        (-32008, "Response is too big", Kind.SIZE),
        (-32000, "response size exceeded", Kind.SIZE),
        (-32003, "response too large", Kind.SIZE),
        (-32000, "execution aborted (timeout = 5s)", Kind.SLOW),
        (-32002, "request timed out", Kind.BUSY),
        (-32603, "Internal error", Kind.BUSY),
        (-32000, "missing trie node 00ff (path )", Kind.NO_STATE),
        (-32000, "state at block #15537393 is pruned", Kind.NO_STATE),
        (-32000, "historical state 0xab is not available", Kind.NO_STATE),
        (4444, "pruned history unavailable", Kind.NO_STATE),
        (-32000, "header not found", Kind.LAGGING),
        (-32000, "hash 0xab is not currently canonical", Kind.REORGANISED),
        (-32602, "invalid argument 1: json: cannot unmarshal object into Go value of type string", Kind.PARAMS),
        (-32601, "the method eth_x does not exist/is not available", Kind.REFUSED),
        (-32000, "Unauthorized: check your API key", Kind.REFUSED),
        (-32000, "execution reverted: state is not available", Kind.REVERT),
        (-32603, "EVM error OutOfGas", Kind.GAS),
        (-32603, "EVM error StackUnderflow", Kind.REVERT),
        (-32000, "hard to say", Kind.OTHER),
        (None, "", Kind.OTHER),
    ],
)
def test_errors_are_told_apart(code: int | None, message: str, kind: Kind) -> None:
    assert read_error({"code": code, "message": message}, "http://example.com").kind is kind


def test_retry_after_is_read_in_both_forms() -> None:
    later = datetime.now(UTC) + timedelta(seconds=90)
    assert parse_retry_after("7") == 7
    assert parse_retry_after("7000", 1e-3) == 7
    assert 85 < parse_retry_after(format_datetime(later, usegmt=True), 1e-3) <= 90
    assert 85 < parse_retry_after(format_datetime(later, usegmt=True)) <= 90
    assert [parse_retry_after(text) for text in (None, "", "soon", "-3", "Wed, 21 Oct 2015 07:28:00 GMT")] == [0] * 5
