"""A k-d tree of points and the exact search in it, compiled.

The tree is balanced and has no pointers: the root is node 1, the children of node i are 2 i and
2 i + 1, and all leaves are on one level. Each node has a stretch of the points, which are put in
tree order. A leaf's coordinates lie together, axis after axis, filled up to `WIDTH` with points at
infinity: the distances to all of them are a few vector operations an axis.

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
_Points = Float[np.ndarray, "point latent"]
_Rows = Int[np.ndarray, "point"]
_Boxes = Float[np.ndarray, "node latent 2"]
_Box = Float[np.ndarray, "latent 2"]
_Query = Float[np.ndarray, "latent"]
_Lengths = Float[np.ndarray, "k"]
_Who = Int[np.ndarray, "k"]


@inlined
def _level(node: int) -> int:
    """Return how many levels below the root a node is."""
    level = 0
    while node >> level > 1:
        level += 1
    return level


@inlined
def _start(node: int, level: int, size: int) -> int:
    """Return where the stretch of a node begins."""
    return ((node - (1 << level)) * size) >> level


@inlined
def _enclose(points: _Points, low: int, high: int, box: _Box, axes: _Axes) -> None:
    """Write the box of a stretch."""
    box[:, 0], box[:, 1] = np.inf, -np.inf
    for row in range(low, high):
        for axis in range(len(axes)):
            box[axis, 0] = min(box[axis, 0], points[row, axis])
            box[axis, 1] = max(box[axis, 1], points[row, axis])


@inlined
def _swap(points: _Points, rows: _Rows, one: int, other: int, axes: _Axes) -> None:
    for axis in range(len(axes)):
        points[one, axis], points[other, axis] = points[other, axis], points[one, axis]
    rows[one], rows[other] = rows[other], rows[one]


@inlined
def _part(
    points: _Points, rows: _Rows, low: int, high: int, axis: int, pivot: float, axes: _Axes
) -> tuple[int, int]:
    """Part what is up to a pivot from what is from it on; return where either ends."""
    up, down = low, high
    while up <= down:
        while points[up, axis] < pivot:
            up += 1
        while points[down, axis] > pivot:
            down -= 1
        if up <= down:
            _swap(points, rows, up, down, axes)
            up, down = up + 1, down - 1
    return down, up


@inlined
def _halve(
    points: _Points, rows: _Rows, low: int, high: int, middle: int, axis: int, axes: _Axes
) -> None:
    """Put what is smallest along an axis before the middle of a stretch: Hoare's selection.

    Pivots are drawn, since points along a curve are in an order that fixed places do badly with.
    """
    high, drawn = high - 1, 1
    while high > low:
        drawn = drawn * 16807 % 0x7FFFFFFF
        pivot = points[low + drawn % (high - low + 1), axis]
        down, up = _part(points, rows, low, high, axis, pivot, axes)
        if middle <= down:
            high = down
        elif middle >= up:
            low = up
        else:
            break


@kernel
def divide(
    points: _Points, rows: _Rows, boxes: _Boxes, root: int, levels: int, axes: _Axes
) -> None:
    """Put the points of a node in tree order, so many levels down, and note the boxes.

    Args:
        points: their coordinates, to be put in order.
        rows: what they are called, to be put in the same order.
        boxes: the least and the largest coordinates of each node, to be written to.
        root: the node.
        levels: how many levels to divide, from that of the node on; the leaves' comes last.
        axes: as many numbers as dimensions.
    """
    size, depth, top = len(points), _level(len(boxes) - 1), _level(root)
    for level in range(top, min(top + levels, depth + 1)):
        first = root << (level - top)
        for node in range(first, first + (1 << (level - top))):
            low, high = _start(node, level, size), _start(node + 1, level, size)
            box = boxes[node]
            _enclose(points, low, high, box, axes)
            widest = np.argmax(box[:, 1] - box[:, 0])
            if level < depth and box[widest, 1] > box[widest, 0]:
                middle = _start(2 * node + 1, level + 1, size)
                _halve(points, rows, low, high, middle, widest, axes)


@kernel
def lay_out(
    points: _Points,
    ids: _Rows,
    blocks: Float[np.ndarray, "leaf latent width"],
    numbers: Int[np.ndarray, "leaf width"],
    axes: _Axes,
) -> None:
    """Copy points in tree order, and their numbers, into the blocks of the leaves."""
    size, leaves = len(points), len(blocks)
    depth = _level(leaves)
    for leaf in range(leaves):
        low = _start(leaves + leaf, depth, size)
        high = _start(leaves + leaf + 1, depth, size)
        numbers[leaf], blocks[leaf] = NOBODY, np.inf
        for place in range(high - low):
            numbers[leaf, place] = ids[low + place]
            for axis in range(len(axes)):
                blocks[leaf, axis, place] = points[low + place, axis]


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
