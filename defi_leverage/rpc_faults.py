"""What goes wrong between us and a node, told apart by its text, and told on without the secrets in a URL."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from defi_leverage.errors import ChainError, RpcError, one_line

__all__ = ["Fault", "Kind", "ReorgError", "ReplyError", "mask_url", "parse_retry_after", "read_error", "scrub"]


class Kind(StrEnum):
    """What a failure calls for."""

    REVERT = "revert"  # the call's answer
    GAS = "gas"  # smaller pieces; for a single call, its answer
    SIZE = "size"  # smaller pieces
    RANGE = "range"  # fewer blocks
    SLOW = "slow"  # smaller pieces
    BUSY = "busy"  # wait, and ask again
    LAGGING = "lagging"  # this node may not have the block yet: ask again, then another
    NO_STATE = "no state"  # another endpoint
    REORGANISED = "reorganised"  # a new scan
    PARAMS = "params"
    OTHER = "other"
    UNREACHABLE = "unreachable"  # ask again a few times, then another endpoint
    REFUSED = "refused"  # another endpoint


@dataclass(frozen=True)
class Fault:
    """Why an endpoint gave no answer."""

    kind: Kind
    reason: str
    retry_after: float = 0.0  # seconds that the endpoint asks to be left alone


class ReplyError(RpcError):
    """A node's own refusal of one request, which asking again does not change."""

    def __init__(self, kind: Kind, code: int | None, text: str, request: str = "a request") -> None:
        super().__init__(f"{request} was refused by the node: {text} (code {code}). Try another endpoint.", code=code)
        self.kind = kind
        self.code = code
        self.text = text

    def to(self, request: str) -> "ReplyError":
        """The same refusal, saying of what."""
        return ReplyError(self.kind, self.code, self.text, request)


class ReorgError(ChainError):
    """The pinned block has left the chain."""

    def __init__(self, chain: str, block: int) -> None:
        super().__init__(
            f"{chain}: block {block} was reorganised out of the chain during the scan, which would mix two histories. "
            "Scan again; blocks before `finalized` do not change.",
            chain=chain,
            block=block,
        )


# Nodes and providers agree on few codes and on no text; these are the spellings in use, the first match decides.
_TEXTS: Sequence[tuple[Kind, str]] = (
    (
        Kind.REVERT,
        r"\brevert|invalid opcode|bad instruction|stack (under|over)flow|(invalid|bad) jump|vm execution error"
        r"|evm error(?!.*out ?of ?gas)|write protection|static state",
    ),
    (Kind.REORGANISED, r"not (currently )?canonical"),
    (Kind.LAGGING, r"header not found|unknown block|block not found|after last accepted|beyond (the )?(current )?head"),
    (
        Kind.NO_STATE,
        r"missing trie node|state .{0,90}not available|state .{0,40}unavailable|pruned|no state|archive"
        r"|old data not available|history .{0,30}(not|un)available|proof window",
    ),
    (Kind.GAS, r"out ?of ?gas|gas required exceeds|gas limit|gas allowance|intrinsic gas"),
    (
        Kind.BUSY,
        r"rate.?limit|too many requests|\b429\b|per second|compute units|throughput|capacity|request (count|limit)",
    ),
    (
        Kind.RANGE,
        r"block.{0,12}range|range.{0,60}block|range.{0,30}(large|wide|exceed|limit|maximum)"
        r"|limited to .{0,40}(range|block)|(exceed|maximum|too many|up to).{0,40}blocks"
        r"|more than [\d,]+ (results|logs)|too many (results|logs)|(results|logs).{0,30}(exceed|limit|too)"
        r"|exceed.{0,20}(results|logs)|query returned more",
    ),
    (
        Kind.SIZE,
        r"(response|result|reply|payload|content|message).{0,30}(size|large|big|length|exceed)|too (large|big)",
    ),
    (Kind.SLOW, r"execution (aborted|timeout|timed out)|query tim|timeout exceeded"),
    (
        Kind.BUSY,
        r"limit exceeded|quota|time.?out|timed out|deadline|temporar|try again|unavailable|overload|busy|upstream"
        r"|internal( server| json-?rpc)? error|bad gateway|connection",
    ),
    (Kind.PARAMS, r"cannot unmarshal|invalid (argument|params?|type|block)|unsupported param|did not match|a string"),
    (
        Kind.REFUSED,
        r"unauthori[sz]|api.?key|project id|whitelist|upgrade|forbidden|method .{0,60}not|does not exist|not supported",
    ),
)
_PATTERNS = [(kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _TEXTS]
_CODES = {3: Kind.REVERT, -32005: Kind.BUSY, -32097: Kind.BUSY, -32029: Kind.BUSY, 429: Kind.BUSY, -32603: Kind.BUSY}
_CODES |= {-32602: Kind.PARAMS, 4444: Kind.NO_STATE, -32601: Kind.REFUSED}


def read_error(error: Any, url: str) -> ReplyError:
    """The JSON-RPC error object of a reply, told apart; anything else than an object is kept as text."""
    found = error if isinstance(error, dict) else {"message": error}
    code = found.get("code")
    code = code if isinstance(code, int) else None
    text = str(found.get("message"))
    if code == 3:
        return ReplyError(Kind.REVERT, code, scrub(text, url))
    whole = f"{text} {found.get('data') or ''}"[:2000]  # some keep the reason in `data`
    kind = next((kind for kind, pattern in _PATTERNS if pattern.search(whole)), _CODES.get(code or 0, Kind.OTHER))
    return ReplyError(kind, code, scrub(text, url))


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises on nonsense
    except ValueError:
        return None
    # A password with an unescaped "/", "?" or "#" ends up beside the host; then nothing in the URL is safe to show.
    return parts if parts.hostname and "@" not in parts.path + parts.query + parts.fragment else None


def mask_url(url: str) -> str:
    """The URL's scheme, host and port, as in `https://eth.example.com/***`: keys hide in every other part."""
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https"):
        return "***"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}/***"


def scrub(text: str, url: str) -> str:
    """`text` without the parts of `url` that may be secret, on one printable line of at most 300 characters."""
    parts = _split(url)
    secrets = {url}
    if parts is not None:
        secrets |= {parts.netloc} if "@" in parts.netloc else set()
        secrets |= {word for word in (parts.username, parts.password, parts.query, parts.fragment) if word}
        secrets |= {value for _, value in parse_qsl(parts.query)}
        secrets |= {word for word in (parts.path, *parts.path.split("/")) if len(word) > 5}
    secrets |= {unquote(secret) for secret in secrets}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > 2:
            text = text.replace(secret, "***")
    return one_line(text)[:300]


def parse_retry_after(value: str | None, unit: float = 1.0) -> float:
    """Seconds that a Retry-After header asks for, given as a number or as an HTTP date; 0 where it is neither.

    `unit`: what one of the number is, in seconds, where the other side has a unit of its own.
    """
    if not value:
        return 0.0
    if re.fullmatch(r"\s*\d{1,6}(\.\d+)?\s*", value):
        return float(value) * unit
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
