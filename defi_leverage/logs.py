"""Logs and progress on stderr: bars in a terminal, log lines elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["set_up_logs", "show_progress"]

_LOG_EVERY = 5.0  # seconds between log lines of one progress

_stderr = Console(stderr=True)


def set_up_logs(level: int) -> None:
    """Send the package's logs to stderr, in a terminal above the progress bar."""
    logger = logging.getLogger("defi_leverage")
    handler: logging.Handler
    if _stderr.is_terminal:
        handler = RichHandler(console=_stderr, show_path=False, show_time=False)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.handlers = [handler]
    logger.setLevel(level)
    # Without a terminal, progress is log lines: they are wanted unless errors are all that is wanted.
    logging.getLogger("defi_leverage.progress").setLevel(logging.INFO if level < logging.ERROR else level)


@contextmanager
def show_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A function (what, done, total) that draws bars in a terminal and writes log lines elsewhere."""
    if not _stderr.is_terminal or not logging.getLogger("defi_leverage.progress").isEnabledFor(logging.INFO):
        yield _log_progress()
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=_stderr, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(escape(what), total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield draw


def _log_progress() -> Callable[[str, int, int], None]:
    log = logging.getLogger("defi_leverage.progress")
    last: dict[str, float] = {}

    def write(what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - last.setdefault(what, now) >= _LOG_EVERY:
            last[what] = now
            log.info("%s: %s of %s", what, f"{done:,}", f"{total:,}")

    return write
