"""The just-in-time compiler: machine code of the kernels, kept on disk where a cache can be written."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numba

__all__ = ["SOURCES", "compiled", "compiled_leaf", "parallel_range", "threads_for"]

Function = TypeVar("Function", bound=Callable[..., Any])
_log = logging.getLogger(__name__)

parallel_range = numba.prange

# All modules that hold compiled code, or constants of it: when one of them changes, all is compiled anew. By itself the
# compiler looks at the file of a function alone, and would go on with old machine code of what the function calls.
SOURCES = (
    "account_kernels",
    "cascade_kernels",
    "cascade_state",
    "insolvency",
    "kernels",
    "lanes",
    "layout",
    "liquidation",
    "pair_kernels",
)


def _version() -> str:
    digest = hashlib.sha256()
    for name in SOURCES:
        path = Path(__file__).with_name(f"{name}.py")
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()[:12]


_VERSION = _version()


def compiled(function: Function, **options: Any) -> Function:
    """`function` compiled by numba at its first call and cached beside the package or in the user's cache directory.

    Where neither can be written (a read-only installation without a home), it is compiled anew in every process, which
    the log says. `options` go to `numba.njit`.
    """
    plain = cast("FunctionType", function)
    versioned = FunctionType(plain.__code__, plain.__globals__, plain.__name__, plain.__defaults__, plain.__closure__)
    versioned.__qualname__ = f"{plain.__qualname__}_{_VERSION}"  # which names the file of the cache
    try:
        dispatcher: Function = numba.njit(cache=True, **options)(versioned)
    except RuntimeError as error:  # numba: "cannot cache function ...: no locator available for file ..."
        if "cannot cache" not in str(error):
            raise
        _log.info("%s is compiled in memory, for want of a writable cache (NUMBA_CACHE_DIR)", function.__name__)
        dispatcher = numba.njit(**options)(versioned)
    return dispatcher


def compiled_leaf(function: Function, **options: Any) -> Function:
    """`compiled`, for a function that makes no array.

    It does not count references to the arrays that it is handed: that costs more than the work of a small function,
    and threads wait for one another at the counters.
    """
    return compiled(function, _nrt=False, forceinline=True, **options)


@contextmanager
def threads_for(parts: int) -> Iterator[None]:
    """No more threads than there are parts of the work: waking one takes longer than a small book."""
    before = numba.get_num_threads()
    numba.set_num_threads(max(1, min(before, parts)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
