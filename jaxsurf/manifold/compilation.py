"""Kernels: functions over NumPy arrays, compiled to machine code when they are first called.

Compiling takes seconds, so machine code is kept beside the sources, or in the user's cache folder
where these can't be written to; where neither can be, every process compiles anew. What is kept is
told stale by the file that a kernel stands in alone: kernels that call one another stand in one
file. A module of kernels is imported where it is needed, not before: most data sets are too small
for one, and the compiler takes longer to load than they take to search.

Kernels let go of the interpreter's lock, so that threads run them side by side.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function as a kernel.

    Args:
        function: over arrays and numbers, in what Numba understands of Python.
    """
    import numba  # takes long to load, and most data sets are too small for a kernel

    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder can be written to
        return numba.njit(nogil=True)(function)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a part of kernels of the same file, put in where it is called."""
    import numba

    return numba.njit(nogil=True, forceinline=True)(function)


def num_cores() -> int:
    """Return how many threads the process may run at once."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_threads(call: Callable[[_Part], _Result], parts: Iterable[_Part]) -> list[_Result]:
    """Return what a call gives for each of several parts, in order; one thread a core works.

    Args:
        call: spends its time in kernels, which run side by side.
        parts: its arguments.
    """
    listed = list(parts)
    if len(listed) == 1:  # a thread takes longer to start than a small part takes
        return [call(listed[0])]
    with ThreadPoolExecutor(num_cores()) as pool:
        return list(pool.map(call, listed))
