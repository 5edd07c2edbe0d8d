"""One anvil process on 127.0.0.1 and a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .rpc import RpcSession

if TYPE_CHECKING:
    from collections.abc import Sequence

CHAIN_ID = 31337
GENESIS_TIMESTAMP = 1_735_689_600  # 2025-01-01T00:00:00Z
BLOCK_GAS_LIMIT = 3_000_000_000
HOST = "127.0.0.1"
STARTUP_SECONDS = 60
_BINARY = Path(__file__).resolve().parent / "node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"

# Nothing here may depend on the clock: mining is explicit, and so is each block's timestamp.
_OPTIONS = (
    *("--silent", "--host", HOST, "--chain-id", str(CHAIN_ID), "--hardfork", "cancun"),
    *("--no-mining", "--order", "fifo", "--auto-impersonate", "--accounts", "1"),
    *("--gas-limit", str(BLOCK_GAS_LIMIT), "--gas-price", "0", "--base-fee", "0", "--no-priority-fee"),
    *("--no-request-size-limit", "--threads", "2"),
)


class Anvil:
    """A node that lives as long as the ``with`` block around it."""

    def __init__(
        self, load_state: Path | None = None, port: int | None = None, timestamp: int = GENESIS_TIMESTAMP
    ) -> None:
        self.port = port if port is not None else _free_port()
        options = ["--port", str(self.port), "--timestamp", str(timestamp)]
        if load_state is not None:
            options += ["--load-state", str(load_state)]
        self._home = tempfile.TemporaryDirectory(prefix="devnet-anvil-", ignore_cleanup_errors=True)
        self._process = _start([*_OPTIONS, *options], self._home.name)
        self.session = RpcSession(HOST, self.port)

    @property
    def url(self) -> str:
        """Address of its JSON-RPC endpoint."""
        return self.session.url

    def __enter__(self) -> Self:
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process: killed, not asked. What it wrote of past states goes with the home it was given."""
        self.session.close()
        self._process.kill()
        self._process.communicate()
        self._home.cleanup()

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                _, errors = self._process.communicate()
                raise RuntimeError(f"anvil ended with status {self._process.returncode}: {errors}")
            try:
                with socket.create_connection((HOST, self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.01)
        raise TimeoutError(f"anvil did not listen on port {self.port} within {STARTUP_SECONDS} s")


def anvil_binary() -> str | None:
    """The fetched binary, or one on PATH where npm has none for this platform."""
    return str(_BINARY) if _BINARY.is_file() else shutil.which("anvil")


def _start(options: Sequence[str], home: str) -> subprocess.Popen[str]:
    binary = anvil_binary()
    if binary is None:
        raise FileNotFoundError(f"no anvil: neither {_BINARY} nor one on PATH")
    # anvil keeps past states under ~/.foundry, gigabytes in a test run, and leaves them there when it is killed
    environment = os.environ | {"HOME": home}
    return subprocess.Popen(
        [binary, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port
