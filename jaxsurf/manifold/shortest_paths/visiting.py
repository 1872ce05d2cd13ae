"""In which order to visit several places, given how far they are apart.

The first place is always the start. A loop ends there as well; otherwise the visit may end
anywhere. Both are one problem: a way from the start to an end that stands behind all places, whose
distance is that back to the start, or nothing.
"""

import numpy as np
from jaxtyping import Float, Int

# Held and Karp's table has m 2^m entries: 12 places take some 20 ms, each further one twice that.
MOST_PROVEN = 12
# Longer runs than three are seldom worth moving (Or 1976).
_LONGEST_RUN = 3
# Gains below this share of the way are rounding, after which a search might run in circles.
_LEAST_GAIN = 1e-12


def best_order(lengths: Float[np.ndarray, "place place"], *, loop: bool) -> tuple[list[int], bool]:
    """Return a short order that begins with place 0, and whether none is shorter.

    Up to `MOST_PROVEN` places it is the best one (Held & Karp 1962). Above, it starts with the
    nearest unvisited place each time, and is bettered by turning stretches round (2-opt, Croes
    1958) and by moving runs of up to three places (Or 1976), until neither shortens it.

    Args:
        lengths: symmetric, 0 on the diagonal, finite.
        loop: whether the visit ends at place 0 again.
    """
    back = lengths[:, 0] if loop else np.zeros(len(lengths))
    to_end = np.block([[lengths, back[:, None]], [back[None], np.zeros((1, 1))]])
    if len(lengths) <= MOST_PROVEN:
        return _exact(lengths, back).tolist(), True
    return _bettered(_nearest_first(lengths), to_end).tolist(), False


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
    way = np.append(order, len(order))
    while True:
        least = _LEAST_GAIN * lengths[way[:-1], way[1:]].sum()
        changed = [_turned(way, lengths), _moved(way, lengths)]
        gain, better = max(changed, key=lambda found: found[0])
        if gain <= least:
            return way[:-1]
        way = better


def _turned(way: np.ndarray, lengths: np.ndarray) -> tuple[float, np.ndarray]:
    """Return what the best turn of a stretch saves, and the way after it."""
    here, following = way[:-1], way[1:]
    steps = lengths[here, following]
    saved = (
        steps[:, None]
        + steps[None, :]
        - lengths[np.ix_(here, here)]
        - lengths[np.ix_(following, following)]
    )
    saved[np.tril_indices(len(saved))] = -np.inf
    first, last = np.unravel_index(saved.argmax(), saved.shape)
    turned = way.copy()
    turned[first + 1 : last + 1] = way[first + 1 : last + 1][::-1]
    return float(saved[first, last]), turned


def _moved(way: np.ndarray, lengths: np.ndarray) -> tuple[float, np.ndarray]:
    """Return what the best move of a short run saves, and the way after it."""
    best = (-np.inf, way)
    for size in range(1, _LONGEST_RUN + 1):
        for start in range(1, len(way) - size):
            run = way[start : start + size]
            rest = np.concatenate([way[:start], way[start + size :]])
            here, following = rest[:-1], rest[1:]
            closed = lengths[way[start - 1], way[start + size]]
            opened = lengths[way[start - 1], run[0]] + lengths[run[-1], way[start + size]]
            for piece in (run, run[::-1]):
                costs = lengths[here, piece[0]] + lengths[piece[-1], following]
                saved = opened - closed - (costs - lengths[here, following])
                gap = int(saved.argmax())
                if saved[gap] > best[0]:
                    best = (float(saved[gap]), np.insert(rest, gap + 1, piece))
    return best
