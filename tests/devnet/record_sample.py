"""Record the sample that travels inside the package: a scan of the devnet by the package's own reader.

The same seed gives the same bytes. Run by `make sample`.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from defi_leverage.config import load_config
from defi_leverage.market import apply_config
from defi_leverage.scan import read_chains
from defi_leverage.store import save_snapshot

from .build import SEED
from .session import open_devnet

if TYPE_CHECKING:
    from defi_leverage.snapshot import Snapshot

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "defi_leverage" / "sample"


def scan_devnet(seed: int = SEED) -> Snapshot:
    """Both markets of the devnet at its head, with the market depth of the default configuration."""
    with open_devnet(seed) as devnet, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_text(devnet.config())
        snapshot = asyncio.run(read_chains(load_config(path), "latest"))
    return apply_config(snapshot, load_config(ROOT / "config.toml"))


if __name__ == "__main__":
    recorded = scan_devnet()
    shutil.rmtree(SAMPLE, ignore_errors=True)
    save_snapshot(recorded, SAMPLE)
    sys.stdout.write(f"{SAMPLE}: {sum(file.stat().st_size for file in SAMPLE.iterdir()):,} bytes\n")
