"""Compiled searches over a graph whose nodes are numbered anew.

`PreparedGraph` is the door: it takes and gives the graph's own node numbers. Inside, neighbours
have similar numbers, so that they lie near one another in memory, and each component is one range
of numbers; at a million nodes that makes a search several times as fast.

A search state is as long as the graph, so states are kept between searches: `_clear` resets the
nodes that were reached. Kernels release the interpreter's lock, so that threads run them side by
side. Machine code is kept beside the sources or in the user's cache folder. Import this module
where it is needed: numba is slow to load.
"""

import itertools
import os
import threading
import weakref
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numba
import numpy as np
from jaxtyping import Float, Int, Real
from scipy import sparse
from scipy.sparse import csgraph

from jaxsurf.manifold.latent_graph import LatentGraph

NUM_LANDMARKS = 16
_SHRUNK = 1 - 1e-9  # of straight lines, so that rounding never puts one above its edge
# In shares of `_Bounds.unit`: rounding to float32 puts differences of marks off by at most 2^-23,
# and lengths in float64 by far less than what is left.
_ROUNDING = 2.0**-22

Codes = Float[np.ndarray, "node latent"]


def in_threads(call: Callable[[Any], Any], jobs: Collection[Any]) -> list[Any]:
    """Return what a call gives for each job, in order; one thread a core works."""
    if len(jobs) == 1:  # a thread takes longer to start than a short search takes
        return list(map(call, jobs))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        return list(pool.map(call, jobs))


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function by numba; its machine code is kept where a folder can be written to."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder can be written to
        return numba.njit(nogil=True)(function)


_inlined = numba.njit(nogil=True, forceinline=True)


class _Rows(NamedTuple):
    """A graph as `LatentGraph` keeps it, but for the order of the entries in a row."""

    indptr: Int[np.ndarray, "node_plus_1"]
    indices: Int[np.ndarray, "entry"]
    weights: Float[np.ndarray, "entry"]


class _State(NamedTuple):
    """What a search knows of each node, and a heap in which each entry has four below it."""

    lengths: Float[np.ndarray, "node"]  # of the shortest path known from the source, or inf
    before: Int[np.ndarray, "node"]  # the node before, on that path; the source's is the source
    reached: Int[np.ndarray, "node"]  # nodes with a known path, in the order of getting one
    keys: Float[np.ndarray, "node"]  # the heap; the least key is the first
    heap: Int[np.ndarray, "node"]  # the node of each key
    place: Int[np.ndarray, "node"]  # where a node stands in the heap; -1 where it does not


class _Bounds(NamedTuple):
    """What no path is shorter than: the largest of several lengths.

    These are the straight line between the codes of its ends, and the difference of their
    distances to each landmark (Goldberg & Harrelson 2005). Arrays without columns bound nothing.
    """

    codes: Codes
    marks: Float[np.ndarray, "node landmark"]  # float32 shares of `unit`, hence at most 1
    unit: float


_NO_BOUNDS = _Bounds(np.zeros((0, 0)), np.zeros((0, 0), np.float32), 0.0)


_prepared: "weakref.WeakKeyDictionary[LatentGraph, PreparedGraph]" = weakref.WeakKeyDictionary()
_preparing = threading.Lock()  # a graph, or its landmarks, once for all threads


def prepare(graph: LatentGraph) -> "PreparedGraph":
    """Return a graph prepared for searches; made at the first call, kept as long as the graph."""
    with _preparing:
        if graph not in _prepared:
            _prepared[graph] = PreparedGraph(graph)
        return _prepared[graph]


class PreparedGraph:
    """Finds shortest paths in one graph; threads may share it."""

    def __init__(self, graph: LatentGraph) -> None:
        structure = graph.matrix(np.ones(len(graph.indices), np.int8))
        # Breadth first, one component after another (Cuthill & McKee 1969).
        self._order = csgraph.reverse_cuthill_mckee(structure, symmetric_mode=True)
        self._rank = np.argsort(self._order).astype(np.int32)
        entries = (graph.weights, self._rank[graph.indices], graph.indptr)
        rows = sparse.csr_array(entries, shape=structure.shape)[self._order]
        self._rows = _Rows(rows.indptr.astype(np.int64), rows.indices.astype(np.int32), rows.data)
        # The first number of each component.
        self._starts = np.append(0, np.flatnonzero(np.diff(graph.components[self._order])) + 1)
        self._states: list[_State] = []
        self._bounds = _NO_BOUNDS
        self.num_asked = 0  # pairs that were searched for one by one; kept by the caller

    def paths(
        self, source: int, targets: Sequence[int], *, method: str
    ) -> list[tuple[Int[np.ndarray, "step"], float]]:
        """Return the nodes and the length of a path from one node to each of others."""
        start, *stops = self._rank[[source, *targets]].tolist()
        if method == "dijkstra":
            state = self._explore([start])
            found = [(_trace(state.before, stop), state.lengths[stop]) for stop in stops]
        elif method == "bidirectional":
            states = self._take_state(), self._take_state()
            found = [_meet(self._rows, *states, start, stop) for stop in stops]
            self._states += states
        else:
            bounds, state = self._bounds, self._take_state()
            if method == "astar":
                bounds = _NO_BOUNDS._replace(codes=bounds.codes)
            found = [_walk(self._rows, state, bounds, start, stop) for stop in stops]
            self._states.append(state)
        return [(self._order[nodes], float(length)) for nodes, length in found]

    def distances(self, source: int) -> Float[np.ndarray, "node"]:
        """Return the lengths of shortest paths to every node; inf where none leads."""
        return self._explore(self._rank[[source]]).lengths[self._rank]

    def use_codes(self, codes: Real[np.ndarray, "node latent"]) -> None:
        """Bound paths by straight lines between codes, whose lengths the edges weigh."""
        if not self._bounds.codes.size:
            ordered = np.take(codes, self._order, axis=0).astype(np.float64)
            self._bounds = self._bounds._replace(codes=ordered)

    def use_landmarks(self) -> None:
        """Bound paths by landmarks; in every component each is far from those before."""
        with _preparing:
            if self._bounds.marks.size:
                return
            limits = [*self._starts.tolist(), len(self._order)]
            marks = np.zeros((len(self._order), NUM_LANDMARKS), np.float32)
            nearest = lengths = self._explore(self._starts).lengths
            # No two nodes are farther apart than twice the most from any one.
            unit = 2 * float(lengths.max()) or 1.0
            for mark in range(NUM_LANDMARKS):
                farthest = [a + nearest[a:b].argmax() for a, b in itertools.pairwise(limits)]
                lengths = self._explore(farthest).lengths
                marks[:, mark] = lengths / unit
                nearest = np.minimum(nearest, lengths) if mark else lengths
            self._bounds = self._bounds._replace(marks=marks, unit=unit)

    def _explore(self, sources: Sequence[int] | Int[np.ndarray, "source"]) -> _State:
        """Return the state after a search from several nodes, in the new numbers, for all."""
        state = _make_state(len(self._order))
        _search(self._rows, state, _NO_BOUNDS, np.asarray(sources, np.int64), -1)
        return state

    def _take_state(self) -> _State:
        try:  # rather than to look first: another thread may be quicker
            return self._states.pop()
        except IndexError:
            return _make_state(len(self._order))


def _make_state(num_nodes: int) -> _State:
    before, reached = np.empty(num_nodes, np.int32), np.empty(num_nodes, np.int32)
    keys, heap = np.empty(num_nodes), np.empty(num_nodes, np.int32)
    place = np.full(num_nodes, -1, np.int32)
    return _State(np.full(num_nodes, np.inf), before, reached, keys, heap, place)


@_inlined
def _reach(
    state: _State, node: int, before: int, length: float, key: float, size: int, reached: int
) -> tuple[int, int]:
    """Note a shorter path to a node and let it rise in the heap; return the new counts."""
    if state.lengths[node] == np.inf:
        state.reached[reached] = node
        reached += 1
    state.lengths[node], state.before[node] = length, before
    place = state.place[node]
    if place < 0:
        place = size
        size += 1
    while place > 0:
        above = (place - 1) >> 2
        if state.keys[above] <= key:
            break
        state.keys[place], state.heap[place] = state.keys[above], state.heap[above]
        state.place[state.heap[place]] = place
        place = above
    state.keys[place], state.heap[place], state.place[node] = key, node, place
    return size, reached


@_inlined
def _take(state: _State, size: int) -> int:
    """Take the first node out of a heap of `size`: the last one goes down from its place."""
    state.place[state.heap[0]] = -1
    size -= 1
    if size == 0:
        return 0
    key, node, place = state.keys[size], state.heap[size], 0
    while True:
        first = 4 * place + 1
        if first >= size:
            break
        least, least_key = first, state.keys[first]
        for below in range(first + 1, min(first + 4, size)):
            if state.keys[below] < least_key:
                least, least_key = below, state.keys[below]
        if least_key >= key:
            break
        state.keys[place], state.heap[place] = least_key, state.heap[least]
        state.place[state.heap[place]] = place
        place = least
    state.keys[place], state.heap[place], state.place[node] = key, node, place
    return size


@_inlined
def _bound(bounds: _Bounds, node: int, target: int) -> float:
    """Return what no path from a node to the target is shorter than."""
    apart = np.float32(0.0)
    for mark in range(bounds.marks.shape[1]):
        apart = max(apart, abs(bounds.marks[node, mark] - bounds.marks[target, mark]))
    squares = 0.0
    for axis in range(bounds.codes.shape[1]):
        squares += (bounds.codes[node, axis] - bounds.codes[target, axis]) ** 2
    return max(_SHRUNK * np.sqrt(squares), bounds.unit * (float(apart) - _ROUNDING), 0.0)


@_inlined
def _advance(
    rows: _Rows, state: _State, bounds: _Bounds, target: int, size: int, reached: int
) -> tuple[int, int]:
    """Go on from the first node of the heap; return the new counts."""
    node = state.heap[0]
    size, so_far = _take(state, size), state.lengths[node]
    for entry in range(rows.indptr[node], rows.indptr[node + 1]):
        other, length = rows.indices[entry], so_far + rows.weights[entry]
        if length < state.lengths[other]:
            key = length + _bound(bounds, other, target)
            size, reached = _reach(state, other, node, length, key, size, reached)
    return size, reached


@kernel
def _search(
    rows: _Rows, state: _State, bounds: _Bounds, sources: Int[np.ndarray, "source"], target: int
) -> int:
    """Find a path from the nearest source to one node, or to all if it is -1; count the reached.

    This is A* (Hart, Nilsson & Raphael 1968), without bounds Dijkstra's search. Bounds need not
    agree with one another: a node is gone on from again if a shorter path to it turns up.
    """
    size = reached = 0
    for source in sources:
        size, reached = _reach(state, source, source, 0.0, 0.0, size, reached)
    while size and state.heap[0] != target:
        size, reached = _advance(rows, state, bounds, target, size, reached)
    return reached


@kernel
def _walk(
    rows: _Rows, state: _State, bounds: _Bounds, source: int, target: int
) -> tuple[Int[np.ndarray, "step"], float]:
    """Return the nodes of a shortest path, and its length; leave the state as it was."""
    reached = _search(rows, state, bounds, np.array([source]), target)
    nodes, length = _trace(state.before, target), state.lengths[target]
    _clear(state, reached)
    return nodes, length


@kernel
def _meet(
    rows: _Rows, fore: _State, back: _State, source: int, target: int
) -> tuple[Int[np.ndarray, "step"], float]:
    """Do what `_walk` does by searches from both ends (Pohl 1971).

    It is enough to look for the meeting node when a node is gone on from: of two neighbours on a
    shortest path, settled from different ends, the later one has been reached from the other.
    """
    best, middle, bounds = float(np.inf), -1, _NO_BOUNDS
    size, reached = _reach(fore, source, source, 0.0, 0.0, 0, 0)
    back_size, back_reached = _reach(back, target, target, 0.0, 0.0, 0, 0)
    while size and back_size and fore.keys[0] + back.keys[0] < best:
        forward = size <= back_size
        node = fore.heap[0] if forward else back.heap[0]
        length = fore.lengths[node] + back.lengths[node]
        if length < best:
            best, middle = float(length), node
        if forward:
            size, reached = _advance(rows, fore, bounds, node, size, reached)
        else:
            back_size, back_reached = _advance(rows, back, bounds, node, back_size, back_reached)
    nodes = np.append(_trace(fore.before, middle), _trace(back.before, middle)[::-1][1:])
    _clear(fore, reached)
    _clear(back, back_reached)
    return nodes, best


@kernel
def _trace(before: Int[np.ndarray, "node"], target: int) -> Int[np.ndarray, "step"]:
    """Return the nodes of the path that a search found, source first."""
    nodes = [target]
    while before[nodes[-1]] != nodes[-1]:
        nodes.append(before[nodes[-1]])
    return np.array(nodes[::-1])


@kernel
def _clear(state: _State, reached: int) -> None:
    for step in range(reached):
        node = state.reached[step]
        state.lengths[node], state.place[node] = np.inf, -1
