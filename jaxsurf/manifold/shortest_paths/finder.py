"""A graph prepared for many searches by the kernels of `jaxsurf.manifold.shortest_paths.fronts`.

Preparing it numbers the nodes anew; what is found is in the graph's own numbers. Fronts are kept
between searches, one or two a thread at work. One that was in use when a search was interrupted is
dropped, since nobody knows what it reached.
"""

import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real

from jaxsurf.manifold import euclid
from jaxsurf.manifold.compilation import in_threads
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.shortest_paths import fronts, numbering
from jaxsurf.manifold.shortest_paths.fronts import Bounds, Front
from jaxsurf.manifold.shortest_paths.node_path import Compiled, NodePath

NUM_LANDMARKS = 16
# Straight lines count for a little less, so that rounding never puts one above its edge.
_SHRUNK = 1 - 1e-9

_finders: weakref.WeakKeyDictionary[LatentGraph, "Finder"] = weakref.WeakKeyDictionary()
_making = threading.Lock()


class Found(NamedTuple):
    """Paths from one source, and how many nodes the searches for them reached."""

    paths: list[NodePath]
    reached: int


def of(graph: LatentGraph) -> "Finder":
    """Return the finder of a graph; it is made at the first call and kept as long as the graph."""
    with _making:
        if graph not in _finders:
            _finders[graph] = Finder(graph)
        return _finders[graph]


class Finder:
    """Finds shortest paths in one graph; threads may share it."""

    def __init__(self, graph: LatentGraph) -> None:
        self._order = numbering.breadth_first(graph.indptr, graph.indices)
        self._rank = np.empty(graph.num_nodes, np.int32)
        self._rank[self._order] = np.arange(graph.num_nodes, dtype=np.int32)
        given = numbering.Rows(graph.indptr, graph.indices, graph.weights)
        self._rows = numbering.renumbered(given, self._order, self._rank)
        changes = np.flatnonzero(np.diff(graph.components[self._order])) + 1
        self._limits = np.concatenate([[0], changes, [graph.num_nodes]])
        self._promised = graph.weight == "latent"
        self._idle: list[Front] = []
        self._straight: tuple[weakref.ref[np.ndarray], np.ndarray | None] | None = None
        self._marks = np.zeros((graph.num_nodes, 0), np.float32)
        self._units: dict[int, float] = {}
        self._lock = threading.Lock()
        self.spent: Counter[int] = Counter()
        """By component, the nodes that searches reached which landmarks would have shortened."""

    def find(
        self,
        source: int,
        targets: Sequence[int],
        *,
        method: Compiled,
        codes: Real[np.ndarray, "node latent"] | None = None,
    ) -> Found:
        """Return paths from one node to others that it is joined to.

        Args:
            source: the first node of each path.
            targets: the last ones.
            method: how to search; `astar` needs `codes` of which `is_straight` is true, `landmarks`
                makes these where they are not yet.
            codes: of the nodes.
        """
        start, stops = int(self._rank[source]), self._rank[np.asarray(targets)].tolist()
        if method == "dijkstra":
            walks, reached = self._explored(start, stops)
        elif method == "bidirectional":
            walks, reached = self._met(start, stops)
        else:
            bounds = self._bounds(source, codes, landmarks=method == "landmarks")
            walks, reached = self._sought(start, stops, bounds)
        return Found([self._path(walk, method) for walk in walks], reached)

    def lengths(self, sources: Int[np.ndarray, "source"]) -> Float[np.ndarray, "source node"]:
        """Return the lengths of shortest paths to every node; inf where none leads."""
        found = np.full((len(sources), len(self._order)), np.inf)

        def fill(place: int) -> None:
            with self._fronts(1) as (front,):
                reached = self._spread(front, int(self._rank[sources[place]]))
                nodes = front.reached[:reached]
                found[place, self._order[nodes]] = front.lengths[nodes]
                fronts.clear(front, reached)

        in_threads(fill, range(len(sources)))
        return found

    def component(self, node: int) -> tuple[int, int]:
        """Return the number of the component of a node, and how many nodes it has."""
        number = int(np.searchsorted(self._limits, self._rank[node], side="right")) - 1
        return number, int(self._limits[number + 1] - self._limits[number])

    def is_straight(self, codes: Real[np.ndarray, "node latent"]) -> bool:
        """Return whether no path is shorter than the straight line between the codes of its ends.

        This holds if the graph promises it (its `weight` is `latent`) and keeps its promise on
        every edge: all are looked at once for an array of codes.

        Raises:
            UserError: the codes are not finite.
        """
        return self._straightened(codes) is not None

    def has_landmarks(self, node: int) -> bool:
        """Return whether there are landmarks in the component of a node."""
        return self.component(node)[0] in self._units

    def make_landmarks(self, node: int) -> None:
        """Make landmarks in the component of a node, if there are none.

        Each is as far as can be from those before (Goldberg & Harrelson 2005). The rows of other
        components stay 0, which bounds nothing.
        """
        with self._lock:
            number, _ = self.component(node)
            if number in self._units:
                return
            if not self._marks.size:
                self._marks = np.zeros((len(self._order), NUM_LANDMARKS), np.float32)
            mine = slice(*self._limits[number : number + 2].tolist())
            lengths = self._lengths_within(mine, mine.start)
            nearest = np.full(len(lengths), np.inf)
            # No two nodes are farther apart than twice the most from any one.
            unit = 2 * float(lengths.max()) or 1.0
            for mark in range(NUM_LANDMARKS):
                lengths = self._lengths_within(mine, mine.start + int(lengths.argmax()))
                self._marks[mine, mark] = lengths / unit
                lengths = nearest = np.minimum(nearest, lengths)
            self._units[number] = unit

    def _lengths_within(self, mine: slice, source: int) -> Float[np.ndarray, "member"]:
        """Return lengths from a node to all of its component, in the order of their numbers."""
        with self._fronts(1) as (front,):
            reached = self._spread(front, source)
            lengths = front.lengths[mine].copy()
            fronts.clear(front, reached)
        return lengths

    def _spread(self, front: Front, source: int) -> int:
        """Find ways to all nodes; return how many were reached."""
        return fronts.explore(self._rows, front, source, np.zeros(0, np.bool_), 0)

    def _explored(self, source: int, targets: list[int]) -> tuple[list[np.ndarray], int]:
        """Return the walks that one search for all targets finds."""
        wanted = np.zeros(len(self._order), np.bool_)
        wanted[targets] = True
        with self._fronts(1) as (front,):
            reached = fronts.explore(self._rows, front, source, wanted, len(set(targets)))
            walks = [fronts.trace(front, source, target) for target in targets]
            fronts.clear(front, reached)
        return walks, reached

    def _met(self, source: int, targets: list[int]) -> tuple[list[np.ndarray], int]:
        """Return the walks that a search from both ends finds, one for each target."""
        walks, total = [], 0
        with self._fronts(2) as (fore, back):
            for target in targets:
                middle, *reached = fronts.meet(self._rows, fore, back, source, target)
                behind = fronts.trace(back, target, middle)[::-1]
                walks.append(np.append(fronts.trace(fore, source, middle), behind[1:]))
                fronts.clear(fore, reached[0])
                fronts.clear(back, reached[1])
                total += sum(reached)
        return walks, total

    def _sought(
        self, source: int, targets: list[int], bounds: Bounds
    ) -> tuple[list[np.ndarray], int]:
        """Return the walks that a search with bounds finds, one for each target."""
        walks, total = [], 0
        with self._fronts(1) as (front,):
            for target in targets:
                reached = fronts.seek(self._rows, front, bounds, source, target)
                walks.append(fronts.trace(front, source, target))
                fronts.clear(front, reached)
                total += reached
        return walks, total

    def _bounds(
        self, node: int, codes: Real[np.ndarray, "node latent"] | None, *, landmarks: bool
    ) -> Bounds:
        """Return the bounds for the component of a node, from codes that hold and landmarks."""
        straight = None if codes is None else self._straightened(codes)
        if straight is None:
            straight = np.zeros((0, 0))
        if not landmarks:
            return Bounds(straight, _SHRUNK, np.zeros((0, 0), np.float32), 0.0)
        self.make_landmarks(node)
        return Bounds(straight, _SHRUNK, self._marks, self._units[self.component(node)[0]])

    def _straightened(
        self, codes: Real[np.ndarray, "node latent"]
    ) -> Float[np.ndarray, "node latent"] | None:
        """Return codes in the order of the nodes' new numbers; None if they are no bound."""
        if not self._promised:
            return None
        with self._lock:
            if self._straight is None or self._straight[0]() is not codes:
                sorted_codes = euclid.check(np.asarray(codes))[self._order]
                holds = not numbering.has_shortcuts(self._rows, sorted_codes, _SHRUNK)
                self._straight = (weakref.ref(codes), sorted_codes if holds else None)
            return self._straight[1]

    def _path(self, walk: Int[np.ndarray, "step"], method: Compiled) -> NodePath:
        """Return a walk in the graph's own numbers."""
        length = fronts.weights_along(self._rows, walk).sum()
        return NodePath(self._order[walk].astype(np.int64), float(length), method)

    @contextmanager
    def _fronts(self, count: int) -> Iterator[list[Front]]:
        """Lend clear fronts, which must come back clear."""
        lent = []
        while len(lent) < count:
            try:  # rather than to look first: another thread may be quicker
                lent.append(self._idle.pop())
            except IndexError:
                lent.append(fronts.make_front(len(self._order)))
        yield lent
        # Not in a `finally`: an interrupted search leaves its fronts in disorder.
        self._idle += lent
