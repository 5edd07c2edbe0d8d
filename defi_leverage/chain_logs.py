"""Event logs over long ranges of blocks, from nodes that each allow another range."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from defi_leverage.abi import Log, checksum_address
from defi_leverage.errors import DecodeError
from defi_leverage.rpc import Portion, Rpc, run_bounded
from defi_leverage.rpc_faults import Kind, ReorgError, ReplyError

__all__ = ["Progress", "read_logs"]

Progress = Callable[[int, int], None]  # blocks done, blocks in all
Topics = Sequence[Sequence[str] | str | None]

_TOO_MUCH = (Kind.RANGE, Kind.SIZE, Kind.SLOW, Kind.GAS)
_FOUND = re.compile(r"result|response|returned|more than [\d,]+ logs|too many logs", re.IGNORECASE)
_SUSPECT = 1_000  # providers that cut a reply without a word cut at a round number


class _Query(NamedTuple):
    addresses: list[str]
    topics: Topics
    first: int
    last: int

    @property
    def blocks(self) -> int:
        return self.last - self.first + 1


async def read_logs(
    rpc: Rpc,
    addresses: Sequence[str],
    topics: Topics,
    first_block: int,
    last_block: int,
    *,
    progress: Progress | None = None,
) -> list[Log]:
    """The logs of `addresses` from first to last block inclusive, each once, ordered by block and index.

    No addresses: no logs. With more addresses than one request takes, progress counts every block once for each part.
    Raises RpcError where a single block of a single address is refused, ReorgError where a log was removed.
    """
    first_block = max(0, first_block)
    total_blocks = last_block - first_block + 1
    wanted = sorted({checksum_address(address) for address in addresses})
    if total_blocks <= 0 or not wanted:
        return []
    size = rpc.wire.limits.log_addresses
    parts = [wanted[at : at + size] for at in range(0, len(wanted), size)]
    span = Portion(rpc.wire.limits.log_blocks, rpc.wire.limits.max_log_blocks)
    found: dict[tuple[int, int], Log] = {}
    done = 0

    def queries() -> Iterator[_Query]:
        for part in parts:
            start = first_block
            while start <= last_block:
                end = min(last_block, start + span.size - 1)
                yield _Query(part, topics, start, end)
                start = end + 1

    async def read(query: _Query) -> None:
        nonlocal done
        found.update(await _read_range(rpc, span, query))
        done += query.blocks
        if progress is not None:
            progress(done, total_blocks * len(parts))

    source = queries()
    await read(next(source))  # alone: learn what the node allows before asking for several ranges at once
    await run_bounded(read, source, rpc.wire.limits.in_flight)
    return [found[key] for key in sorted(found)]


async def _read_range(rpc: Rpc, span: Portion, query: _Query) -> dict[tuple[int, int], Log]:
    addresses, topics, first, last = query
    request = {
        "address": addresses if len(addresses) > 1 else addresses[0],
        "topics": [list(topic) if isinstance(topic, list | tuple) else topic for topic in topics],
        "fromBlock": hex(first),
        "toBlock": hex(last),
    }
    smallest = query.blocks == 1 and len(addresses) == 1
    try:
        rows = await rpc.ask("eth_getLogs", [request], splittable=True)
    except ReplyError as error:
        if smallest or not (error.kind in _TOO_MUCH or (error.kind is Kind.PARAMS and query.blocks > 1)):
            raise error.to(f"{rpc.name}: eth_getLogs of blocks {first} to {last}") from None
        advice = _advice(error.text, query)
        # A limit on the range itself holds for good; one on what was found in it, only here.
        lasting = error.kind in (Kind.RANGE, Kind.PARAMS) and not _FOUND.search(error.text)
    else:
        if not isinstance(rows, list):
            raise DecodeError(f"{rpc.name}: eth_getLogs answered no list of logs. Use another endpoint.")
        if smallest or not rows or len(rows) % _SUSPECT:
            span.succeed(query.blocks)
            return _read_rows(rpc, rows, query)
        advice, lasting = None, False
    found: dict[tuple[int, int], Log] = {}
    if query.blocks == 1:
        middle = len(addresses) // 2
        for part in (addresses[:middle], addresses[middle:]):
            found |= await _read_range(rpc, span, query._replace(addresses=part))
        return found
    allowed = advice or query.blocks // 2
    span.fail(allowed, lasting=lasting)
    start = first
    while start <= last:  # the span shrinks further while the first pieces are read
        end = min(last, start + min(span.size, allowed) - 1)
        found |= await _read_range(rpc, span, query._replace(first=start, last=end))
        start = end + 1
    return found


def _advice(text: str, query: _Query) -> int | None:
    """The number of blocks that a refusal recommends: `try [0x1, 0xff]`, or `up to 500 blocks`."""
    if found := re.search(r"\[\s*(0x[0-9a-f]+)\s*[,-]\s*(0x[0-9a-f]+)\s*\]", text, re.IGNORECASE):
        allowed = int(found[2], 16) - int(found[1], 16) + 1
    elif found := re.search(r"([\d,]*\d)[ -]blocks?\b", text, re.IGNORECASE):
        allowed = int(found[1].replace(",", ""))
    else:
        return None
    return allowed if 1 <= allowed < query.blocks else None


def _read_rows(rpc: Rpc, rows: list[dict[str, Any]], query: _Query) -> dict[tuple[int, int], Log]:
    addresses, first, last = set(query.addresses), query.first, query.last
    found: dict[tuple[int, int], Log] = {}
    try:
        for row in rows:
            block, index = int(row["blockNumber"], 16), int(row["logIndex"], 16)
            if row.get("removed") or (
                rpc.wire.pin and block == rpc.wire.pin[0] and row["blockHash"] != rpc.wire.pin[1]
            ):
                raise ReorgError(rpc.name, block)
            log = Log(
                checksum_address(row["address"]),
                tuple([_topic(topic) for topic in row["topics"]]),
                bytes.fromhex(row["data"][2:]),
                block,
                index,
                row["transactionHash"],
            )
            if not first <= block <= last or log.address not in addresses:
                raise ValueError("not asked for")
            found[block, index] = log
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DecodeError(
            f"{rpc.name}: an entry of eth_getLogs for blocks {first} to {last} is not a log of these contracts "
            f"({error!r}). Use another endpoint.",
            first_block=first,
            last_block=last,
        ) from error
    return found


def _topic(text: str) -> str:
    if len(text) != 66 or len(bytes.fromhex(text[2:])) != 32:
        raise ValueError("a topic is not 32 bytes")
    return text.lower()
