"""Points put in the order of a k-d tree, compiled.

The tree is balanced and has no pointers: the root is node 1, the children of node i are 2 i and
2 i + 1, and all leaves are on one level. Each node has a stretch of the points, halved along the
widest axis of its box, which is as tight as it can be.

There is machine code of its own for each number of dimensions, which is the length of `axes`.
"""

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold.compilation import inlined, kernel

_Axes = tuple[float, ...]
_Points = Float[np.ndarray, "point latent"]
_Rows = Int[np.ndarray, "point"]
_Boxes = Float[np.ndarray, "node latent 2"]
_Box = Float[np.ndarray, "latent 2"]


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
    """Copy points in tree order, and their numbers, into the leaves; what is left stays."""
    size, leaves = len(points), len(blocks)
    depth = _level(leaves)
    for leaf in range(leaves):
        low = _start(leaves + leaf, depth, size)
        high = _start(leaves + leaf + 1, depth, size)
        for place in range(high - low):
            numbers[leaf, place] = ids[low + place]
            for axis in range(len(axes)):
                blocks[leaf, axis, place] = points[low + place, axis]
