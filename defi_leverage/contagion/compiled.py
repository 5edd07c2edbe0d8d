"""The just-in-time compiler: machine code of the kernels, kept on disk where a cache can be written."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numba

__all__ = ["compiled", "compiled_leaf", "parallel_range"]

Function = TypeVar("Function", bound=Callable[..., Any])
_log = logging.getLogger(__name__)

parallel_range = numba.prange


def compiled(function: Function, **options: Any) -> Function:
    """`function` compiled by numba at its first call and cached beside the package or in the user's cache directory.

    Where neither can be written (a read-only installation without a home), it is compiled anew in every process, which
    the log says. `options` go to `numba.njit`.
    """
    try:
        dispatcher: Function = numba.njit(cache=True, **options)(function)
    except RuntimeError as error:  # numba: "cannot cache function ...: no locator available for file ..."
        if "cannot cache" not in str(error):
            raise
        _log.info("%s is compiled in memory, for want of a writable cache (NUMBA_CACHE_DIR)", function.__name__)
        dispatcher = numba.njit(**options)(function)
    return dispatcher


def compiled_leaf(function: Function, **options: Any) -> Function:
    """`compiled`, for a function that makes no array.

    It does not count references to the arrays that it is handed: that costs more than the work of a small function,
    and threads wait for one another at the counters.
    """
    return compiled(function, _nrt=False, forceinline=True, **options)
