"""In which order to visit several places, given how far they are apart.

The first place is always the start. A loop ends there as well; otherwise the visit may end
anywhere. Both are one problem: a way from the start to an end that stands behind all places, whose
distance is that back to the start, or nothing.
"""

import numpy as np
from jaxtyping import Float, Int

# Held and Karp's table has m 2^m entries: 12 places take some 20 ms, each further one twice that.
MOST_PROVEN = 12
# Gains below this share of the way are rounding, after which a search might run in circles.
_LEAST_GAIN = 1e-12


def best_order(lengths: Float[np.ndarray, "place place"], *, loop: bool) -> tuple[list[int], bool]:
    """Return a short order that begins with place 0, and whether none is shorter.

    Up to `MOST_PROVEN` places it is the best one (Held & Karp 1962). Above, it starts with the
    nearest unvisited place each time, and is bettered by turning stretches round and by moving
    runs of up to three places, until neither shortens it (see `shortening`).

    Args:
        lengths: symmetric, 0 on the diagonal, finite.
        loop: whether the visit ends at place 0 again.
    """
    back = lengths[:, 0] if loop else np.zeros(len(lengths))
    to_end = np.block([[lengths, back[:, None]], [back[None], np.zeros((1, 1))]])
    if len(lengths) <= MOST_PROVEN:
        return _exact(lengths, back).tolist(), True
    return _bettered(_nearest_first(lengths), to_end).tolist(), False


def describe(number: int, *, proven: bool) -> str:
    """Return how the order of so many places was found, for people."""
    how = "none is shorter (Held and Karp)" if proven else "not proven (2-opt and Or-opt)"
    return f"best order of {number} anchors: {how}"


def _exact(
    lengths: Float[np.ndarray, "place place"], back: Float[np.ndarray, "place"]
) -> Int[np.ndarray, "place"]:
    """Return the best order: the shortest way through every set of places, by its last one."""
    others = len(lengths) - 1
    if not others:
        return np.zeros(1, dtype=np.int64)
    between, members = lengths[1:, 1:], 1 << np.arange(others)
    shortest = np.full((1 << others, others), np.inf)
    before = np.zeros((1 << others, others), dtype=np.int64)
    shortest[members, np.arange(others)] = lengths[0, 1:]
    for visited in range(1, 1 << others):
        following = np.flatnonzero(~visited & members)
        ways = shortest[visited][:, None] + between[:, following]
        # Sets in ascending order: a set is reached from smaller numbers alone.
        with_it = visited | members[following]
        before[with_it, following] = ways.argmin(axis=0)
        shortest[with_it, following] = ways.min(axis=0)
    visited = (1 << others) - 1
    last = int((shortest[visited] + back[1:]).argmin())
    order = []
    while visited:
        order.append(last + 1)
        visited, last = visited ^ (1 << last), int(before[visited, last])
    return np.array([0, *order[::-1]])


def _nearest_first(lengths: Float[np.ndarray, "place place"]) -> Int[np.ndarray, "place"]:
    """Return the order that goes on to the nearest unvisited place each time."""
    order, left = [0], np.ones(len(lengths), dtype=bool)
    left[0] = False
    while left.any():
        order.append(int(np.where(left, lengths[order[-1]], np.inf).argmin()))
        left[order[-1]] = False
    return np.array(order)


def _bettered(
    order: Int[np.ndarray, "place"], lengths: Float[np.ndarray, "place_and_end place_and_end"]
) -> Int[np.ndarray, "place"]:
    """Return an order that neither a turn nor a move shortens; start and end stay."""
    # Where it is needed, see `jaxsurf.manifold.compilation`.
    from jaxsurf.manifold.shortest_paths import shortening

    way = np.append(order, len(order))
    least = _LEAST_GAIN * lengths[way[:-1], way[1:]].sum()
    shortening.shorten(way, np.ascontiguousarray(lengths, np.float64), least)
    return way[:-1]
