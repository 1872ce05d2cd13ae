"""The exact search in a k-d tree (see `jaxsurf.manifold.neighbours.halving`), compiled.

A leaf's coordinates lie together, axis after axis, filled up to `WIDTH` with points at infinity:
the distances to all of them are a few vector operations an axis.

Distances are rounded as those of `jaxsurf.manifold.euclid`. Boxes are as tight as they can be, and
the distance to a box is summed in the same way; since rounding is monotonic, no point in it comes
out nearer. So nothing is to spare for rounding, and ties are never pruned.

There is machine code of its own for each number of dimensions, which is the length of `axes`.
"""

import math

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold.compilation import inlined, kernel

# Points of a leaf at most: as many float64 as two to four vector registers hold.
WIDTH = 16
# A number that no point has.
NOBODY = np.iinfo(np.int32).max
# A number and the rounded square of its rounded root differ by less than a share of this ...
_ROUNDING = 1e-15
# ... or, where squares nearly vanish, by less than this.
_TINY = 1e-322

_Axes = tuple[float, ...]
_Box = Float[np.ndarray, "latent 2"]
_Query = Float[np.ndarray, "latent"]
_Lengths = Float[np.ndarray, "k"]
_Who = Int[np.ndarray, "k"]


@inlined
def _outside(box: _Box, query: _Query, axes: _Axes) -> float:
    """Return the square of the distance to a box."""
    total = 0.0
    for axis in range(len(axes)):
        gap = max(max(box[axis, 0] - query[axis], query[axis] - box[axis, 1]), 0.0)
        total += gap * gap
    return total


@inlined
def _measure(
    block: Float[np.ndarray, "latent width"], query: _Query, squares: _Lengths, axes: _Axes
) -> None:
    """Write the squares of the distances to all points of a leaf."""
    for place in range(WIDTH):
        total = 0.0
        for axis in range(len(axes)):
            gap = block[axis, place] - query[axis]
            total += gap * gap
        squares[place] = total


@inlined
def _limits(length: float) -> tuple[float, float]:
    """Return between which squares those lie whose roots round to a length."""
    square = length * length
    return square * (1 - _ROUNDING) - _TINY, square * (1 + _ROUNDING) + _TINY


@inlined
def _before(length: float, number: int, other_length: float, other_number: int) -> bool:
    return length < other_length or (length == other_length and number < other_number)


@inlined
def _insert(lengths: _Lengths, who: _Who, length: float, number: int) -> None:
    """Put a point among the nearest, which are in order; the last of them is lost."""
    place = len(who) - 1
    while place > 0 and _before(length, number, lengths[place - 1], who[place - 1]):
        lengths[place], who[place] = lengths[place - 1], who[place - 1]
        place -= 1
    lengths[place], who[place] = length, number


# In one piece, since as several functions it takes half as long again.
@kernel
def search(  # noqa: C901
    tree: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    queries: Float[np.ndarray, "query latent"],
    rows: Int[np.ndarray, "some"],
    own: Int[np.ndarray, "query"],
    limit: float,
    found: tuple[np.ndarray, np.ndarray],
    axes: _Axes,
) -> int:
    """Write the nearest points of some queries, in order of distance, then of number.

    Args:
        tree: blocks and numbers of the leaves, boxes and least numbers of the nodes.
        queries: all of them.
        rows: those to look from.
        own: for each query the number of the point that is not to be found.
        limit: a distance; what lies farther is not found.
        found: numbers and distances, a row for each query, to be written to; where there is none,
            the number is `NOBODY` and the distance the limit.
        axes: as many numbers as dimensions.

    Returns:
        How many leaves were looked into.
    """
    blocks, numbers, boxes, least = tree
    leaves, last, visits = len(blocks), found[0].shape[1] - 1, 0
    lengths, who = np.empty(last + 1), np.empty(last + 1, np.int32)
    query, squares = np.empty(len(axes)), np.empty(WIDTH)
    # What is yet to be looked into: at most one node a level.
    nodes, aways = np.empty(64, np.int64), np.empty(64)
    for row in rows:
        for axis in range(len(axes)):
            query[axis] = queries[row, axis]
        lengths[:], who[:] = limit, NOBODY
        tied, within = _limits(limit)
        nodes[0], aways[0], waiting = 1, _outside(boxes[1], query, axes), 1
        while waiting > 0:
            waiting -= 1
            node, away = nodes[waiting], aways[waiting]
            while node < leaves and away <= within:
                if away >= tied and least[node] > who[last] and math.sqrt(away) == lengths[last]:
                    away = np.inf
                    break
                node, beside = 2 * node, 2 * node + 1
                away, other = (
                    _outside(boxes[node], query, axes),
                    _outside(boxes[beside], query, axes),
                )
                if other < away or (other == away and least[beside] < least[node]):
                    node, beside, away, other = beside, node, other, away
                nodes[waiting], aways[waiting] = beside, other
                waiting += other <= within
            if away > within:
                continue
            visits += 1
            leaf = node - leaves
            _measure(blocks[leaf], query, squares, axes)
            for place in range(WIDTH):
                if squares[place] <= within:
                    length, number = math.sqrt(squares[place]), numbers[leaf, place]
                    if number != own[row] and _before(length, number, lengths[last], who[last]):
                        _insert(lengths, who, length, number)
                        tied, within = _limits(lengths[last])
        for place in range(last + 1):
            found[0][row, place], found[1][row, place] = who[place], lengths[place]
    return visits
