"""Kernels that shorten a way past all places, its two ends staying where they are.

Two kinds of change are tried all over, each made as soon as it saves something: a stretch is turned
round (2-opt, Croes 1958), and a run of up to three places is moved elsewhere, either way round
(Or 1976).
"""

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold.compilation import inlined, kernel

# Longer runs than three are seldom worth moving (Or 1976).
_LONGEST_RUN = 3


@kernel
def shorten(
    way: Int[np.ndarray, "stop"], lengths: Float[np.ndarray, "place place"], least: float
) -> None:
    """Change a way until neither a turn nor a move saves anything.

    Args:
        way: the places in order; is changed.
        lengths: symmetric.
        least: gains up to it are rounding, after which the search might run in circles.
    """
    changed = True
    while changed:
        changed = _turn_all(way, lengths, least)
        for size in range(1, _LONGEST_RUN + 1):
            for start in range(1, len(way) - size):
                changed |= _move(way, lengths, least, start, size)


@inlined
def _turn_all(way: Int[np.ndarray, "stop"], lengths: np.ndarray, least: float) -> bool:
    """Turn every stretch that it saves something to turn; return whether there was one."""
    changed = False
    for first in range(len(way) - 2):
        for last in range(first + 2, len(way) - 1):
            before, head, tail, after = way[first], way[first + 1], way[last], way[last + 1]
            kept = lengths[before, tail] + lengths[head, after]
            if lengths[before, head] + lengths[tail, after] - kept > least:
                _reverse(way, first + 1, last)
                changed = True
    return changed


@inlined
def _move(
    way: Int[np.ndarray, "stop"], lengths: np.ndarray, least: float, start: int, size: int
) -> bool:
    """Move a run to where that saves most; return whether it saves anything."""
    head, tail = way[start], way[start + size - 1]
    before, after = way[start - 1], way[start + size]
    opened = lengths[before, head] + lengths[tail, after] - lengths[before, after]
    best, place, turned = least, -1, False
    for gap in range(len(way) - 1):
        if start - 1 <= gap < start + size:
            continue  # where it is
        here, following = way[gap], way[gap + 1]
        room = opened + lengths[here, following]
        saved = room - lengths[here, head] - lengths[tail, following]
        if saved > best:
            best, place, turned = saved, gap, False
        saved = room - lengths[here, tail] - lengths[head, following]
        if saved > best:
            best, place, turned = saved, gap, True
    if place < 0:
        return False
    if turned:
        _reverse(way, start, start + size - 1)
    # Two neighbouring stretches change places as both are turned, and then each.
    if place < start:
        first, middle, last = place + 1, place + size, start + size - 1
    else:
        first, middle, last = start, place - size, place
    _reverse(way, first, last)
    _reverse(way, first, middle)
    _reverse(way, middle + 1, last)
    return True


@inlined
def _reverse(way: Int[np.ndarray, "stop"], first: int, last: int) -> None:
    while first < last:
        way[first], way[last] = way[last], way[first]
        first, last = first + 1, last - 1
