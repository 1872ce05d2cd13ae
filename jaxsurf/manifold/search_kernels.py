"""Compiled searches over a graph whose nodes are numbered anew.

`PreparedGraph` is the door: it takes and gives the graph's own node numbers. Inside, neighbours
have similar numbers, so that they lie near one another in memory, and each component is one range
of numbers; at a million nodes that makes a search several times as fast.

A search state is as long as the graph, so states are kept between searches: a search notes which
nodes it reached and resets these alone. It does so in one kernel, hence whoever is interrupted
leaves a state that is either clear or dropped. Kernels release the interpreter's lock, so that
threads run them side by side. Compiling takes seconds: machine code is kept beside the sources or
in the user's cache folder. Import this module where it is needed, since numba is slow to load.
"""

import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
from jaxtyping import Float, Int, Real
from scipy import sparse
from scipy.sparse import csgraph

from jaxsurf.manifold import euclid
from jaxsurf.manifold.edges.csr import LatentGraph

NUM_LANDMARKS = 16
# Straight lines count for a little less, so that rounding never puts one above its edge.
_SHRUNK = 1 - 1e-9
# Shares of `_Bounds.unit`. Marks, and the difference of two of them, are off by at most 2^-25 and
# 2^-24 of it by rounding to float32; lengths in float64 by far less than what is left.
_ROUNDING = 2.0**-22

Codes = Float[np.ndarray, "node latent"]
_Job = TypeVar("_Job")
_Result = TypeVar("_Result")
# The nodes of a path, source first, and its length.
_Found = tuple[Int[np.ndarray, "step"], float]


def in_threads(call: Callable[[_Job], _Result], jobs: Iterable[_Job]) -> list[_Result]:
    """Return what a call gives for each job, in order; one thread a core works."""
    listed = list(jobs)
    if len(listed) == 1:  # a thread takes longer to start than a short search takes
        return [call(listed[0])]
    with ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS) as pool:
        return list(pool.map(call, listed))


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
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
    """What no path between two nodes is shorter than: the largest of several lengths.

    These are `_SHRUNK` times the distance between their codes, and the difference of their
    distances to each landmark (Goldberg & Harrelson 2005). Arrays without columns bound nothing.
    """

    codes: Codes
    marks: Float[np.ndarray, "node landmark"]  # float32 shares of `unit`, hence at most 1
    unit: float


class PreparedGraph:
    """Finds shortest paths in one graph; threads may share it.

    `num_asked` counts the pairs that were searched for one by one; the caller keeps it.
    """

    def __init__(self, graph: LatentGraph) -> None:
        shape = (graph.num_nodes, graph.num_nodes)
        ones = np.ones(len(graph.indices), np.int8)
        structure = sparse.csr_array((ones, graph.indices, graph.indptr), shape=shape)
        # Breadth first, one component after another (Cuthill & McKee 1969).
        self._order = csgraph.reverse_cuthill_mckee(structure, symmetric_mode=True)
        self._rank = np.argsort(self._order).astype(np.int32)
        entries = (graph.weights, self._rank[graph.indices], graph.indptr)
        rows = sparse.csr_array(entries, shape=shape)[self._order]
        self._rows = _Rows(rows.indptr.astype(np.int64), rows.indices.astype(np.int32), rows.data)
        # The first number of each component.
        self._starts = np.append(0, np.flatnonzero(np.diff(graph.components[self._order])) + 1)
        self._states: list[_State] = []
        self._straight: tuple[weakref.ref[np.ndarray], Codes | None] | None = None
        self._landmarks: tuple[np.ndarray, np.ndarray] | None = None
        self._lock = threading.Lock()
        self.num_asked = 0

    @property
    def has_landmarks(self) -> bool:
        """Whether landmarks were made."""
        return self._landmarks is not None

    def paths(
        self, source: int, targets: Sequence[int], *, method: str, straight: Codes | None
    ) -> list[_Found]:
        """Return a path from one node to each of others in its component.

        Args:
            source: the first node of each path.
            targets: the last ones.
            method: `dijkstra` searches once for all targets; `bidirectional`, `astar` and
                `landmarks` once for each.
            straight: what `straighten` returned; `astar` needs it, `landmarks` gains by it.
        """
        start, stops = int(self._rank[source]), self._rank[np.asarray(targets)].tolist()
        if method == "dijkstra":
            lengths, before = _explore(self._rows, np.array([start]), np.array(stops))
            found = [(_trace(before, stop), lengths[stop]) for stop in stops]
        elif method == "bidirectional":
            fore, back = self._take_state(), self._take_state()
            found = [_meet(self._rows, fore, back, start, stop) for stop in stops]
            self._states += [fore, back]
        else:
            codes = np.zeros((0, 0)) if straight is None else straight
            bounds = _Bounds(codes, np.zeros((0, 0), np.float32), 0.0)
            if method == "landmarks":
                marks, units = self._open_landmarks()
                component = np.searchsorted(self._starts, start, side="right") - 1
                bounds = _Bounds(codes, marks, float(units[component]))
            state = self._take_state()
            found = [_seek(self._rows, state, bounds, start, stop) for stop in stops]
            self._states.append(state)
        return [(self._order[nodes], float(length)) for nodes, length in found]

    def distances(self, source: int) -> Float[np.ndarray, "node"]:
        """Return the lengths of shortest paths to every node; inf where none leads."""
        return self._lengths_from(self._rank[[source]])[self._rank]

    def straighten(self, codes: Real[np.ndarray, "node latent"]) -> Codes | None:
        """Return codes for `paths`; None if an edge is shorter than the line between its ends.

        All edges are looked at once for an array of codes.

        Raises:
            UserError: the codes are not finite.
        """
        with self._lock:
            if self._straight is None or self._straight[0]() is not codes:
                ordered = euclid.check(np.asarray(codes))[self._order]
                holds = not _has_shortcuts(self._rows, ordered)
                self._straight = (weakref.ref(codes), ordered if holds else None)
            return self._straight[1]

    def _open_landmarks(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the marks of all nodes, and the unit of each component; made at the first call.

        In every component each landmark is as far as can be from those before. One search serves
        all components, since it can't leave any.
        """
        with self._lock:
            if self._landmarks is not None:
                return self._landmarks
            limits = [*self._starts.tolist(), len(self._order)]
            marks = np.zeros((len(self._order), NUM_LANDMARKS), np.float32)
            nearest = lengths = self._lengths_from(self._starts)
            # No two nodes are farther apart than twice the most from any one.
            units = 2 * np.maximum.reduceat(lengths, self._starts)
            units[units == 0] = 1.0
            for mark in range(NUM_LANDMARKS):
                farthest = [a + nearest[a:b].argmax() for a, b in itertools.pairwise(limits)]
                lengths = self._lengths_from(np.array(farthest))
                marks[:, mark] = lengths / np.repeat(units, np.diff(limits))
                nearest = np.minimum(nearest, lengths) if mark else lengths
            self._landmarks = (marks, units)
            return self._landmarks

    def _lengths_from(self, sources: Int[np.ndarray, "source"]) -> Float[np.ndarray, "node"]:
        """Return the lengths from the nearest source to every node, all in the new numbers."""
        return _explore(self._rows, sources.astype(np.int64), np.zeros(0, np.int64))[0]

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


@_kernel
def _has_shortcuts(rows: _Rows, codes: Codes) -> bool:
    """Return whether an edge weighs less than the straight line between its ends."""
    for node in range(len(rows.indptr) - 1):
        for entry in range(rows.indptr[node], rows.indptr[node + 1]):
            # So put that a distance which is no number counts as one.
            if not rows.weights[entry] >= _straight_line(codes, node, rows.indices[entry]):
                return True
    return False


@_kernel
def _make_state(num_nodes: int) -> _State:
    before, reached = np.empty(num_nodes, np.int32), np.empty(num_nodes, np.int32)
    keys, heap = np.empty(num_nodes), np.empty(num_nodes, np.int32)
    place = np.full(num_nodes, np.int32(-1))
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
def _advance(rows: _Rows, state: _State, size: int, reached: int) -> tuple[int, int]:
    """Go on from the nearest node of a search without bounds; return the new counts."""
    node = state.heap[0]
    size, so_far = _take(state, size), state.lengths[node]
    for entry in range(rows.indptr[node], rows.indptr[node + 1]):
        other, length = rows.indices[entry], so_far + rows.weights[entry]
        if length < state.lengths[other]:
            size, reached = _reach(state, other, node, length, length, size, reached)
    return size, reached


@_kernel
def _trace(before: Int[np.ndarray, "node"], target: int) -> Int[np.ndarray, "step"]:
    """Return the nodes of the path that a search found, source first."""
    nodes = [target]
    while before[nodes[-1]] != nodes[-1]:
        nodes.append(before[nodes[-1]])
    return np.array(nodes[::-1])


@_inlined
def _clear(state: _State, reached: int) -> None:
    for step in range(reached):
        node = state.reached[step]
        state.lengths[node], state.place[node] = np.inf, -1


@_kernel
def _explore(
    rows: _Rows, sources: Int[np.ndarray, "source"], targets: Int[np.ndarray, "target"]
) -> tuple[Float[np.ndarray, "node"], Int[np.ndarray, "node"]]:
    """Find paths from the nearest source to all targets, to every node if there are none.

    Returns:
        Of each node, the length of its path and the node before it (Dijkstra 1959).
    """
    num_nodes = len(rows.indptr) - 1
    state, wanted = _make_state(num_nodes), np.zeros(num_nodes, np.bool_)
    num_wanted = size = reached = 0
    for target in targets:
        num_wanted += not wanted[target]
        wanted[target] = True
    for source in sources:
        size, reached = _reach(state, source, source, 0.0, 0.0, size, reached)
    while size:
        if wanted[state.heap[0]]:
            num_wanted -= 1
            if num_wanted == 0:
                break
        size, reached = _advance(rows, state, size, reached)
    return state.lengths, state.before


@_kernel
def _seek(rows: _Rows, state: _State, bounds: _Bounds, source: int, target: int) -> _Found:
    """Find a path to one node, those first that the bounds admit on it: A*.

    Bounds need not agree with one another: a node to which a shorter path turns up is gone on from
    again (Hart, Nilsson & Raphael 1968).
    """
    size, reached = _reach(state, source, source, 0.0, 0.0, 0, 0)
    while size and state.heap[0] != target:
        node = state.heap[0]
        size, so_far = _take(state, size), state.lengths[node]
        for entry in range(rows.indptr[node], rows.indptr[node + 1]):
            other, length = rows.indices[entry], so_far + rows.weights[entry]
            if length < state.lengths[other]:
                key = length + _bound(bounds, other, target)
                size, reached = _reach(state, other, node, length, key, size, reached)
    nodes, length = _trace(state.before, target), state.lengths[target]
    _clear(state, reached)
    return nodes, length


@_kernel
def _meet(rows: _Rows, fore: _State, back: _State, source: int, target: int) -> _Found:
    """Find a path between two nodes from both ends at once, the smaller heap first (Pohl 1971).

    It is enough to look for the meeting node when a node is gone on from. Of two neighbours on a
    shortest path, the first settled from the source and the second from the target, the one settled
    later has been reached from the other by then.
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
            size, reached = _advance(rows, fore, size, reached)
        else:
            back_size, back_reached = _advance(rows, back, back_size, back_reached)
    behind = _trace(back.before, middle)[:-1][::-1]
    nodes = np.concatenate((_trace(fore.before, middle), behind))
    _clear(fore, reached)
    _clear(back, back_reached)
    return nodes, best
