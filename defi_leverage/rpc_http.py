"""One HTTP exchange with one endpoint, as a JSON-RPC reply or as the Fault that prevented it.

Faults are values, and no exception is raised while another is handled: aiohttp's carry the URL, and the URL the key.
"""

import json
from dataclasses import dataclass
from typing import Any

import aiohttp

from defi_leverage.rpc_faults import Fault, Kind, parse_retry_after, read_error, scrub

__all__ = ["Stats", "explain_loss", "post"]

_CONNECT_SECONDS = 10.0
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "defi-leverage"}


@dataclass
class Stats:
    """What the reading of one chain has cost so far."""

    requests: int = 0  # HTTP exchanges
    retries: int = 0
    failovers: int = 0  # endpoints left for the next
    bytes_sent: int = 0
    bytes_received: int = 0  # after decompression


async def post(
    session: aiohttp.ClientSession, url: str, payload: Any, *, timeout: float, max_bytes: int, stats: Stats
) -> Any | Fault:
    """The parsed JSON-RPC reply to `payload` (one request, or a list of them), within `timeout` seconds."""
    body = json.dumps(payload, separators=(",", ":")).encode()
    stats.requests += 1
    stats.bytes_sent += len(body)
    limit = aiohttp.ClientTimeout(total=timeout, sock_connect=min(_CONNECT_SECONDS, timeout / 2))
    parts: list[bytes] = []
    size = 0
    try:
        async with session.post(url, data=body, headers=_HEADERS, timeout=limit, allow_redirects=False) as response:
            async for part in response.content.iter_any():
                parts.append(part)
                size += len(part)
                if size > max_bytes:
                    return Fault(Kind.SIZE, f"its reply exceeds {max_bytes} bytes")
            return _read(response.status, b"".join(parts), response.headers.get("Retry-After"), url)
    except (aiohttp.ClientError, OSError, UnicodeError) as error:
        return explain_loss(error, url, timeout)
    finally:
        stats.bytes_received += size


def explain_loss(error: aiohttp.ClientError | OSError | UnicodeError, url: str, timeout: float) -> Fault:
    """Why a connection gave no reply, without the text of `error`, which names the URL."""
    if isinstance(error, aiohttp.ClientSSLError):
        return Fault(Kind.REFUSED, f"no trusted TLS connection ({type(error).__name__})")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Fault(Kind.UNREACHABLE, scrub(f"cannot connect: {error.os_error.strerror or error.os_error}", url))
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Fault(Kind.UNREACHABLE, "no connection in time")
    if isinstance(error, TimeoutError):
        return Fault(Kind.SLOW, f"no answer in {timeout:.3g} s")
    if isinstance(error, aiohttp.InvalidURL | UnicodeError):  # of a host that no name service can be asked for
        return Fault(Kind.REFUSED, "its URL is not valid")
    return Fault(Kind.BUSY, f"connection lost ({type(error).__name__})")


def _read(status: int, body: bytes, retry_after: str | None, url: str) -> Any | Fault:
    if status == 413:
        return Fault(Kind.SIZE, "HTTP 413, too large")
    if status == 429:
        return Fault(Kind.BUSY, "HTTP 429, too many requests", parse_retry_after(retry_after))
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        reply = None
    answers = isinstance(reply, list) or (isinstance(reply, dict) and ("result" in reply or "error" in reply))
    if answers and (status < 400 or (status not in (401, 402, 403, 404) and _is_explained(reply, url))):
        return reply
    if status >= 500 or status == 408:
        return Fault(Kind.BUSY, f"HTTP {status}", parse_retry_after(retry_after))
    if status >= 300:
        return Fault(Kind.REFUSED, scrub(f"HTTP {status} {body[:500].decode(errors='replace')}", url))
    return Fault(Kind.BUSY, "its reply is not JSON-RPC, or was cut short")


def _is_explained(reply: Any, url: str) -> bool:
    """Whether an HTTP error carries a JSON-RPC error that says more than the status does."""
    return isinstance(reply, list) or read_error(reply.get("error"), url).kind not in (Kind.OTHER, Kind.BUSY)
