"""Serve the devnet until Ctrl-C: ``python -m tests.devnet [--port PORT] [PROTOCOL ...]``."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time

from .fetch import fetch
from .protocols import PROTOCOLS
from .session import open_devnet

DEFAULT_PORT = 8545


def main() -> None:
    """Fetch what is missing, serve, and print the configuration to use."""
    parser = argparse.ArgumentParser(prog="python -m tests.devnet", description=__doc__)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port on 127.0.0.1 (default %(default)s)")
    parser.add_argument("protocols", nargs="*", metavar="PROTOCOL", help=f"beside Aave: {', '.join(PROTOCOLS)}, or all")
    arguments = parser.parse_args()
    port: int = arguments.port
    protocols: list[str] = list(PROTOCOLS) if arguments.protocols == ["all"] else arguments.protocols
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    fetch()
    with open_devnet(port=port, protocols=protocols) as devnet:
        number, timestamp = devnet.head()
        sys.stdout.write(f"# devnet at {devnet.url}, block {number}, time {timestamp}; Ctrl-C ends it\n\n")
        sys.stdout.write(devnet.config())
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


if __name__ == "__main__":
    main()
