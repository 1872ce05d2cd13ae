"""Keeps memory that is freed, since the next step needs as much again.

XLA takes a step's scratch memory anew at every call on CPUs. What is larger than 32 MiB glibc gives
back to the system each time, and the system clears it page by page when it is asked for again: a
third to a half of a step of `reference` (BUILD_NOTES.md).
"""

import ctypes
import sys

# Of malloc.h. Larger blocks, such as whole sets of images, are still given back.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
LARGEST_KEPT, MOST_KEPT = 2**30, 2**31 - 1


def keep_freed() -> None:
    """Tell the allocator, where it is glibc's."""
    if not sys.platform.startswith("linux"):
        return
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    if tell is not None:
        tell(_M_MMAP_THRESHOLD, LARGEST_KEPT)
        tell(_M_TRIM_THRESHOLD, MOST_KEPT)
        # A heap of a thread's own holds no more than 64 MiB; XLA computes in threads.
        tell(_M_ARENA_MAX, 1)
