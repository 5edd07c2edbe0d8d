"""Known deployments as data: one CSV file a reader, named after it, one row a deployment.

Columns: chain_id, name, address (the reader's root contract), first_block (a block from which all of its events begin,
at or before the first), source (where address and block are published); further columns are options of the reader.
"""

import csv
import functools
from pathlib import Path

from defi_leverage.reading import Deployment

__all__ = ["known_deployments"]


@functools.cache
def known_deployments() -> tuple[tuple[int, Deployment], ...]:
    """(chain id, deployment) of every row, readers in the order of their names."""
    return tuple(
        (int(row.pop("chain_id")), _deployment(file.stem, row))
        for file in sorted(Path(__file__).parent.glob("*.csv"))
        for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    )


def _deployment(protocol: str, row: dict[str, str]) -> Deployment:
    name, address, first_block, _source = (row.pop(key) for key in ("name", "address", "first_block", "source"))
    return Deployment(protocol, name, address, int(first_block), {key: text for key, text in row.items() if text})
