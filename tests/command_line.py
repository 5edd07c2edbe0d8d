"""The command line in this process, for tests."""

import io
import logging
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from unittest import mock

from defi_leverage.cli import main
from defi_leverage.rpc_endpoint import Limits

__all__ = ["one_error", "run"]

_QUICK = replace(Limits(), backoff=0.01, max_backoff=0.02)


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `defi-leverage` with these arguments. Retries hardly wait."""
    logger = logging.getLogger("defi_leverage")
    handlers, level = logger.handlers, logger.level
    out, err = io.StringIO(), io.StringIO()
    argv = mock.patch("sys.argv", ["defi-leverage", *map(str, arguments)])
    limits = mock.patch("defi_leverage.chain.Limits", return_value=_QUICK)
    code = 0
    with argv, limits, redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            logger.handlers, logger.level = handlers, level  # as they were: the command line sets them up
    return code, out.getvalue(), err.getvalue()


def one_error(stderr: str) -> str:
    """The one line that begins with 'error: '."""
    assert "Traceback" not in stderr
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, stderr
    return errors[0]
