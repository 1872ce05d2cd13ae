"""The shortest edges that join what is apart: the Euclidean tree, and bridges between components.

Edges compare by length (see `jaxsurf.manifold.euclid`), then by lower end, then by upper end. So
there is exactly one minimum spanning tree, and it does not depend on how it is found.

It is found as by Borůvka (1926), in rounds: every component but the largest is joined to what is
nearest to it. Then there are at most half as many, and one more. Whatever is found out about a
point's nearest point of another component bounds the distance of all later ones from below, as
components only grow; so most points are never asked again. No step takes quadratic time.
"""

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, Real
from scipy.sparse import csgraph

from jaxsurf.manifold import euclid, knn
from jaxsurf.manifold.components import foreign
from jaxsurf.manifold.edges import edge_lists
from jaxsurf.manifold.neighbours.within import Pairs

# Neighbours listed before a tree is built; deeper looks are rarely needed.
_LISTED = 8
# Neighbours beyond which the nearest point of another component is looked for differently.
_DEEPEST = 128
# Listing so many neighbours takes as long as putting this many points in a tree.
_COST = 100
# Points whose neighbours are listed at once.
_PORTION = 65_536


def tree(codes: Real[np.ndarray, "point latent"] | knn.Index) -> Pairs:
    """Return the Euclidean minimum spanning tree of all points.

    Args:
        codes: at least one point.

    Returns:
        Its edges, lower end first, in order of the ends.

    Raises:
        UserError: the codes are not a finite array of this shape.
    """
    index = knn.index_of(codes)
    return _joined(index, np.arange(len(index.codes)))


def bridges(
    codes: Real[np.ndarray, "point latent"] | knn.Index, components: Int[np.ndarray, "point"]
) -> Pairs:
    """Return the shortest edges that join all components, one less than there are.

    They are the minimum spanning tree of the components, two of which are as far apart as their
    nearest points.

    Args:
        codes: the points.
        components: the number of the component of each, from 0 without gaps.

    Returns:
        The edges, lower end first, in order of the ends.

    Raises:
        UserError: the codes are not a finite array of this shape.
    """
    return _joined(knn.index_of(codes), components)


def _joined(index: knn.Index, labels: Int[np.ndarray, "point"]) -> Pairs:
    """Join coincident points first: the rest of the search would trip over them."""
    lowest = index.lowest
    doubles = np.flatnonzero(labels[lowest] != labels)
    doubles = doubles[np.argsort(lowest[doubles], kind="stable")]
    flat = np.stack([lowest[doubles], doubles], axis=1)
    flat = flat[_forest(labels[flat])]
    labels = _merged(labels, flat)
    single = np.flatnonzero(lowest == np.arange(len(lowest)))
    different = index if len(single) == len(lowest) else knn.Index(index.codes[single])
    ends = np.concatenate([flat, single[_grown(different, labels[single])]])
    ends = ends[np.lexsort(ends.T[::-1])]
    return Pairs(ends, euclid.between(index.codes[ends[:, 0]], index.codes[ends[:, 1]]))


def _grown(index: knn.Index, labels: Int[np.ndarray, "point"]) -> Int[np.ndarray, "edge 2"]:
    """Return what joins the components of points that all differ, lower ends first."""
    taken = [np.empty((0, 2), dtype=np.int64)]
    outlook = _Outlook(index, listed=labels.max() >= len(labels) // _LISTED)
    while labels.max() > 0:
        taken.append(outlook.nearest_out(labels))
        before, labels = labels.max(), _merged(labels, taken[-1])
        assert labels.max() < before, "a component has a way out as long as there is another"
    return np.concatenate(taken)


class _Outlook:
    """For each point, what is known of its nearest point in another component.

    Attributes:
        head: that point, or -1 where it is not known.
        least: its distance, or where it is not known, what that is not below.
    """

    def __init__(self, index: knn.Index, *, listed: bool) -> None:
        self._index = index
        size = len(index.codes)
        self.head, self.least = np.full(size, -1), np.zeros(size)
        self._listed = np.arange(size if listed and size > 1 else 0)

    def nearest_out(self, labels: Int[np.ndarray, "point"]) -> Int[np.ndarray, "edge 2"]:
        """Return the first edge out of each component but the largest, lower end first, once."""
        self.head[labels[self.head] == labels] = -1
        self._read_lists(labels)
        best = self._best(labels)
        # It may have most of the points, and need not look out for the others to join it.
        looking = labels != np.bincount(labels).argmax()
        unsure = np.flatnonzero(looking & (self.head < 0) & (self.least <= best[labels]))
        self._look_deeper(unsure, labels, best)
        best = self._best(labels)
        tails = np.flatnonzero(looking & (self.head >= 0) & (self.least == best[labels]))
        ends = np.sort(np.stack([tails, self.head[tails]], axis=1), axis=1)
        order = np.lexsort((ends[:, 1], ends[:, 0], labels[tails]))
        first = np.unique(labels[tails[order]], return_index=True)[1]
        once = edge_lists.once(ends[order[first]], num_nodes=len(labels))
        return np.stack([once.lower, once.upper], axis=1).astype(np.int64)

    def _best(self, labels: Int[np.ndarray, "point"]) -> Float[np.ndarray, "component"]:
        """Return the shortest known way out of each component."""
        best = np.full(labels.max() + 1, np.inf)
        known = self.head >= 0
        np.minimum.at(best, labels[known], self.least[known])
        return best

    def _read_lists(self, labels: Int[np.ndarray, "point"]) -> None:
        """Go on to the next neighbour of another component in the lists of all points."""
        asked = self._listed[self.head[self._listed] < 0]
        if asked.size:
            near = self._index.nearest(k=min(_LISTED, len(labels) - 1))
            self._learn(asked, near.indices[asked], near.distances[asked], labels)
            self._listed = self._listed[self.head[self._listed] >= 0]

    def _learn(
        self,
        asked: Int[np.ndarray, "asked"],
        indices: Int[np.ndarray, "asked neighbour"],
        distances: Float[np.ndarray, "asked neighbour"],
        labels: Int[np.ndarray, "point"],
    ) -> None:
        """Take the first of each point's neighbours that is of another component, if one is."""
        foreign = labels[indices] != labels[asked, None]
        place, row = foreign.argmax(axis=1), np.arange(len(asked))
        found = foreign[row, place]
        self.head[asked[found]] = indices[row, place][found]
        reached = np.where(found, distances[row, place], distances[:, -1])
        self.least[asked] = np.maximum(self.least[asked], reached)

    def _look_deeper(
        self,
        unsure: Int[np.ndarray, "unsure"],
        labels: Int[np.ndarray, "point"],
        best: Float[np.ndarray, "component"],
    ) -> None:
        """Find out about points that may be nearest to another component, and are in no list."""
        size, k = len(labels), 2 * _LISTED
        quick = len(unsure) * _COST <= size * int(labels.max()).bit_length()
        while quick and unsure.size and k <= _DEEPEST:
            for some in np.split(unsure, range(_PORTION, len(unsure), _PORTION)):
                near = self._index.nearest_to(self._index.codes[some], k=min(k, size))
                self._learn(some, near.indices, near.distances, labels)
            found = unsure[self.head[unsure] >= 0]
            np.minimum.at(best, labels[found], self.least[found])
            unsure = unsure[(self.head[unsure] < 0) & (self.least[unsure] <= best[labels[unsure]])]
            k *= 2
        if unsure.size:
            self.head[unsure], self.least[unsure] = foreign.nearest(
                self._index.codes, labels, unsure, best
            )


def _forest(pairs: Int[np.ndarray, "edge 2"]) -> Int[np.ndarray, "kept"]:
    """Return the places of the edges that no earlier ones join the ends of."""
    if not len(pairs):
        return np.arange(0)
    numbers, ends = np.unique(pairs, return_inverse=True)
    once = edge_lists.once(ends.reshape(pairs.shape), num_nodes=len(numbers))
    # Places instead of lengths, from 1: SciPy takes a weight of 0 for no edge.
    ranked = (once.first + 1.0, (once.lower, once.upper))
    matrix = scipy.sparse.coo_array(ranked, shape=(len(numbers), len(numbers)))
    return np.sort(csgraph.minimum_spanning_tree(matrix.tocsr()).data.astype(np.int64)) - 1


def _merged(
    labels: Int[np.ndarray, "point"], ends: Int[np.ndarray, "edge 2"]
) -> Int[np.ndarray, "point"]:
    """Return the numbers of the components that are left when edges join them."""
    size = int(labels.max()) + 1
    joined = (np.ones(len(ends), dtype=np.int8), tuple(labels[ends].T))
    matrix = scipy.sparse.coo_array(joined, shape=(size, size))
    return csgraph.connected_components(matrix, directed=False)[1][labels]
