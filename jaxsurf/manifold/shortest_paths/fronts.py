"""Searches as kernels: a front spreads over a graph from its source, the nearest node first.

A front is kept between searches, since its arrays are as long as the graph: a search notes which
nodes it reached, and `clear` makes these alone as they were. It must be called before the front is
used again; until then the lengths and ways that a search found can be read from it.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxsurf.manifold.compilation import inlined, kernel
from jaxsurf.manifold.shortest_paths.numbering import Rows

# Shares of `Bounds.unit`. Marks, and the difference of two of them, are off by at most 2^-25 and
# 2^-24 of it by rounding to float32; lengths in float64 by far less than what is left.
_ROUNDING = 2.0**-22


class Front(NamedTuple):
    """What a search knows of each node, and the heap of those that it has yet to go on from."""

    lengths: Float[np.ndarray, "node"]
    """Of the shortest way known from the source; inf where none is."""
    before: Int[np.ndarray, "node"]
    """The node before, on that way; the source's is the source."""
    reached: Int[np.ndarray, "node"]
    """Nodes with a known way, in the order in which they got one."""
    keys: Float[np.ndarray, "node"]
    """A heap in which each entry has four below it: the least key is the first."""
    heap: Int[np.ndarray, "node"]
    """The node of each key."""
    place: Int[np.ndarray, "node"]
    """Where a node stands in the heap; -1 where it does not."""


class Bounds(NamedTuple):
    """What no way between two nodes is shorter than: the largest of several lengths.

    That is `shrunk` times the distance between their codes, and the difference of their distances
    to each landmark (Goldberg & Harrelson 2005). Arrays of no columns bound nothing.
    """

    codes: Float[np.ndarray, "node latent"]
    shrunk: float
    marks: Float[np.ndarray, "node landmark"]
    """Distances to landmarks in float32, as shares of `unit`, hence at most 1."""
    unit: float


def make_front(num_nodes: int) -> Front:
    """Return a clear front."""
    return Front(
        lengths=np.full(num_nodes, np.inf),
        before=np.empty(num_nodes, np.int32),
        reached=np.empty(num_nodes, np.int32),
        keys=np.empty(num_nodes),
        heap=np.empty(num_nodes, np.int32),
        place=np.full(num_nodes, -1, np.int32),
    )


@inlined
def _reach(
    front: Front, node: int, before: int, length: float, key: float, size: int, reached: int
) -> tuple[int, int]:
    """Note a shorter way to a node and let it rise in the heap; return the new counts."""
    if front.lengths[node] == np.inf:
        front.reached[reached] = node
        reached += 1
    front.lengths[node], front.before[node] = length, before
    place = front.place[node]
    if place < 0:
        place = size
        size += 1
    while place > 0:
        above = (place - 1) >> 2
        if front.keys[above] <= key:
            break
        front.keys[place], front.heap[place] = front.keys[above], front.heap[above]
        front.place[front.heap[place]] = place
        place = above
    front.keys[place], front.heap[place], front.place[node] = key, node, place
    return size, reached


@inlined
def _take(front: Front, size: int) -> int:
    """Take the first node out of a heap of `size`: the last one goes down from its place."""
    front.place[front.heap[0]] = -1
    size -= 1
    if size == 0:
        return 0
    key, node, place = front.keys[size], front.heap[size], 0
    while True:
        first = 4 * place + 1
        if first >= size:
            break
        least, least_key = first, front.keys[first]
        for below in range(first + 1, min(first + 4, size)):
            if front.keys[below] < least_key:
                least, least_key = below, front.keys[below]
        if least_key >= key:
            break
        front.keys[place], front.heap[place] = least_key, front.heap[least]
        front.place[front.heap[place]] = place
        place = least
    front.keys[place], front.heap[place], front.place[node] = key, node, place
    return size


@inlined
def _bound(bounds: Bounds, node: int, target: int) -> float:
    """Return what no way from a node to the target is shorter than."""
    squares, apart = 0.0, np.float32(0.0)
    for axis in range(bounds.codes.shape[1]):
        squares += (bounds.codes[node, axis] - bounds.codes[target, axis]) ** 2
    for mark in range(bounds.marks.shape[1]):
        apart = max(apart, abs(bounds.marks[node, mark] - bounds.marks[target, mark]))
    return max(bounds.shrunk * np.sqrt(squares), bounds.unit * (float(apart) - _ROUNDING), 0.0)


@inlined
def _advance(graph: Rows, front: Front, size: int, reached: int) -> tuple[int, int]:
    """Go on from the nearest node of a front without bounds; return the new counts."""
    node = front.heap[0]
    size, so_far = _take(front, size), front.lengths[node]
    for entry in range(graph.indptr[node], graph.indptr[node + 1]):
        other, length = graph.indices[entry], so_far + graph.weights[entry]
        if length < front.lengths[other]:
            size, reached = _reach(front, other, node, length, length, size, reached)
    return size, reached


@kernel
def explore(
    graph: Rows, front: Front, source: int, wanted: Bool[np.ndarray, "node"], num_wanted: int
) -> int:
    """Find ways to all wanted nodes, to every node if `num_wanted` is 0: Dijkstra's search.

    Returns:
        How many nodes were reached.
    """
    size, reached = _reach(front, source, source, 0.0, 0.0, 0, 0)
    while size:
        if num_wanted and wanted[front.heap[0]]:
            num_wanted -= 1
            if num_wanted == 0:
                break
        size, reached = _advance(graph, front, size, reached)
    return reached


@kernel
def seek(graph: Rows, front: Front, bounds: Bounds, source: int, target: int) -> int:
    """Find a way to one node, those first that the bounds say may lie on it: A*.

    Bounds may be any that hold: a node to which a shorter way turns up is gone on from again (Hart,
    Nilsson & Raphael 1968).

    Returns:
        How many nodes were reached.
    """
    size, reached = _reach(front, source, source, 0.0, 0.0, 0, 0)
    while size and front.heap[0] != target:
        node = front.heap[0]
        size, so_far = _take(front, size), front.lengths[node]
        for entry in range(graph.indptr[node], graph.indptr[node + 1]):
            other, length = graph.indices[entry], so_far + graph.weights[entry]
            if length < front.lengths[other]:
                key = length + _bound(bounds, other, target)
                size, reached = _reach(front, other, node, length, key, size, reached)
    return reached


@kernel
def meet(graph: Rows, fore: Front, back: Front, source: int, target: int) -> tuple[int, int, int]:
    """Find a way between two nodes from both ends at once, the smaller front first (Pohl 1971).

    It is enough to look for the meeting node when a node is gone on from. Of two neighbours on a
    shortest way, the first settled from the source and the second from the target, the one settled
    later has been reached from the other by then.

    Returns:
        The node where the ways of the two fronts meet, and how many nodes each of them reached.
    """
    best, middle = np.inf, -1
    size, reached = _reach(fore, source, source, 0.0, 0.0, 0, 0)
    back_size, back_reached = _reach(back, target, target, 0.0, 0.0, 0, 0)
    while size and back_size and fore.keys[0] + back.keys[0] < best:
        forward = size <= back_size
        node = fore.heap[0] if forward else back.heap[0]
        length = fore.lengths[node] + back.lengths[node]
        if length < best:
            best, middle = length, node
        if forward:
            size, reached = _advance(graph, fore, size, reached)
        else:
            back_size, back_reached = _advance(graph, back, back_size, back_reached)
    return middle, reached, back_reached


@kernel
def trace(front: Front, source: int, target: int) -> Int[np.ndarray, "step"]:
    """Return the nodes of the way that a search found, source first."""
    num_steps, node = 1, target
    while node != source:
        node = front.before[node]
        num_steps += 1
    nodes, node = np.empty(num_steps, np.int64), target
    for step in range(num_steps - 1, -1, -1):
        nodes[step] = node
        node = front.before[node]
    return nodes


@kernel
def weights_along(graph: Rows, nodes: Int[np.ndarray, "step"]) -> Float[np.ndarray, "edge"]:
    """Return the weights of the edges that a walk takes."""
    weights = np.full(len(nodes) - 1, np.nan)
    for step in range(len(nodes) - 1):
        for entry in range(graph.indptr[nodes[step]], graph.indptr[nodes[step] + 1]):
            if graph.indices[entry] == nodes[step + 1]:
                weights[step] = graph.weights[entry]
    return weights


@kernel
def clear(front: Front, reached: int) -> None:
    """Make a front as it was before a search that reached so many nodes."""
    for step in range(reached):
        node = front.reached[step]
        front.lengths[node], front.place[node] = np.inf, -1
