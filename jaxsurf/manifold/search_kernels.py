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

from jaxsurf.manifold import neighbors
from jaxsurf.manifold.latent_graph import LatentGraph

NUM_LANDMARKS = 16
_SHRUNK = 1 - 1e-9  # of straight lines, so that rounding never puts one above its edge
# In shares of `_Bounds.unit`: rounding to float32 puts differences of marks off by at most 2^-23,
# and lengths in float64 by far less than what is left.
_ROUNDING = 2.0**-22

Codes = Float[np.ndarray, "node latent"]
_Found = tuple[Int[np.ndarray, "step"], float]  # the nodes of a path, and its length


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
_preparing = threading.Lock()


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
        self._straight: tuple[weakref.ref[np.ndarray], Codes | None] | None = None
        self._lock = threading.Lock()
        # The marks of all nodes, and the unit of each component.
        self.landmarks: tuple[np.ndarray, np.ndarray] | None = None
        self.num_asked = 0  # pairs that were searched for one by one; kept by the caller

    def paths(
        self, source: int, targets: Sequence[int], *, method: str, straight: Codes | None
    ) -> list[_Found]:
        """Return a path from one node to each of others; `straight` comes from `straighten`."""
        sources, stops = self._rank[[source]], self._rank[np.asarray(targets)].tolist()
        if method == "dijkstra":
            state = self._explore(sources)
            found = [(_trace(state.before, stop), state.lengths[stop]) for stop in stops]
        elif method == "bidirectional":
            found = self._meet(int(sources[0]), stops)
        else:
            bounds = _NO_BOUNDS if straight is None else _NO_BOUNDS._replace(codes=straight)
            if method == "landmarks":
                marks, units = self.make_landmarks()
                component = np.searchsorted(self._starts, sources[0], side="right") - 1
                bounds = bounds._replace(marks=marks, unit=float(units[component]))
            found, state = [], self._take_state()
            for stop in stops:
                reached = _search(self._rows, state, bounds, sources, stop)
                found.append((_trace(state.before, stop), state.lengths[stop]))
                _clear(state, reached)
            self._states.append(state)
        return [(self._order[nodes], float(length)) for nodes, length in found]

    def distances(self, source: int) -> Float[np.ndarray, "node"]:
        """Return the lengths of shortest paths to every node; inf where none leads."""
        return self._explore(self._rank[[source]]).lengths[self._rank]

    def straighten(self, codes: Real[np.ndarray, "node latent"]) -> Codes | None:
        """Return codes for `paths`; None if an edge is shorter than the line between its ends."""
        with self._lock:  # an array is looked through once
            if self._straight is None or self._straight[0]() is not codes:
                ordered = neighbors.check_codes(np.asarray(codes))[self._order]
                holds = not _has_shortcuts(self._rows, ordered)
                self._straight = (weakref.ref(codes), ordered if holds else None)
            return self._straight[1]

    def make_landmarks(self) -> tuple[np.ndarray, np.ndarray]:
        """Return `landmarks`; in every component each is as far as can be from those before."""
        with self._lock:
            if self.landmarks is not None:
                return self.landmarks
            limits = [*self._starts.tolist(), len(self._order)]
            marks = np.zeros((len(self._order), NUM_LANDMARKS), np.float32)
            nearest = lengths = self._explore(self._starts).lengths
            # No two nodes are farther apart than twice the most from any one.
            units = 2 * np.maximum.reduceat(lengths, self._starts)
            units[units == 0] = 1.0
            for mark in range(NUM_LANDMARKS):
                farthest = [a + nearest[a:b].argmax() for a, b in itertools.pairwise(limits)]
                lengths = self._explore(np.array(farthest)).lengths
                marks[:, mark] = lengths / np.repeat(units, np.diff(limits))
                nearest = np.minimum(nearest, lengths) if mark else lengths
            self.landmarks = (marks, units)
            return self.landmarks

    def _explore(self, sources: Int[np.ndarray, "source"]) -> _State:
        """Return the state after a search from several nodes, in the new numbers, for all."""
        state = _make_state(len(self._order))
        _search(self._rows, state, _NO_BOUNDS, sources.astype(np.int32), -1)
        return state

    def _meet(self, start: int, stops: list[int]) -> list[_Found]:
        found, fore, back = [], self._take_state(), self._take_state()
        for stop in stops:
            middle, *reached = _meet(self._rows, fore, back, start, stop)
            behind = _trace(back.before, middle)[-2::-1]
            nodes = np.append(_trace(fore.before, middle), behind)
            found.append((nodes, fore.lengths[middle] + back.lengths[middle]))
            _clear(fore, reached[0])
            _clear(back, reached[1])
        self._states += [fore, back]
        return found

    def _take_state(self) -> _State:
        try:  # rather than to look first: another thread may be quicker
            return self._states.pop()
        except IndexError:
            return _make_state(len(self._order))


@_inlined
def _straight_line(codes: Codes, node: int, other: int) -> float:
    squares = 0.0
    for axis in range(codes.shape[1]):
        squares += (codes[node, axis] - codes[other, axis]) ** 2
    return _SHRUNK * np.sqrt(squares)


@kernel
def _has_shortcuts(rows: _Rows, codes: Codes) -> bool:
    """Return whether an edge weighs less than the straight line between its ends."""
    for node in range(len(rows.indptr) - 1):
        for entry in range(rows.indptr[node], rows.indptr[node + 1]):
            # So put that a distance which is no number counts as one.
            if not rows.weights[entry] >= _straight_line(codes, node, rows.indices[entry]):
                return True
    return False


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
    straight = _straight_line(bounds.codes, node, target)
    return max(straight, bounds.unit * (float(apart) - _ROUNDING), 0.0)


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
def _meet(
    rows: _Rows, fore: _State, back: _State, source: int, target: int
) -> tuple[int, int, int]:
    """Return where searches from both ends meet, and how many nodes each reached (Pohl 1971).

    It is enough to look for the meeting node when a node is gone on from: of two neighbours on a
    shortest path, settled from different ends, the later one has been reached from the other.
    """
    best, middle, bounds = np.inf, -1, _NO_BOUNDS
    size, reached = _reach(fore, source, source, 0.0, 0.0, 0, 0)
    back_size, back_reached = _reach(back, target, target, 0.0, 0.0, 0, 0)
    while size and back_size and fore.keys[0] + back.keys[0] < best:
        forward = size <= back_size
        node = fore.heap[0] if forward else back.heap[0]
        length = fore.lengths[node] + back.lengths[node]
        if length < best:
            best, middle = length, node
        if forward:
            size, reached = _advance(rows, fore, bounds, node, size, reached)
        else:
            back_size, back_reached = _advance(rows, back, bounds, node, back_size, back_reached)
    return middle, reached, back_reached


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
