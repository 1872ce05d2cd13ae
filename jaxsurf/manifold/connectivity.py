"""What joins the components of points and graphs.

The shortest edges that join what is apart are a minimum spanning tree: of all points, or of the
components of a graph, two of which are as far apart as their nearest points. Edges compare by
length, then by lower end, then by upper end, so there is exactly one such tree. Of all graphs that
connect the points, it has the shortest longest edge: that is the smallest radius that connects.
"""

import bisect
from collections.abc import Sequence

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int

from jaxsurf.errors import UserError
from jaxsurf.manifold.latent_graph import from_edges
from jaxsurf.manifold.neighbors import Approximate, Index, Neighbors, distances

Ends = Int[np.ndarray, "edge 2"]
Lengths = Float[np.ndarray, "edge"]
Labels = Int[np.ndarray, "point"]
# Neighbors asked for at first when the smallest k is sought; a connecting k is mostly below it.
_FIRST_K = 8
# Neighbors in all, beyond which they and their graph would take more than 4 GB.
_MOST_NEIGHBORS = 1 << 26
# Neighbors listed before a tree is built, and those that are asked for where these do not decide.
_LISTED, _DEEPER = 8, (32, 128)
# So many neighbors of a point are listed while one point is put in the indices of a bit.
_COST = 4
# An edge over a gap is so many times as long as what is usual beside it, as a leap is; images are
# copies if they are nearer to one another than this share of the way to others.
GAP, ALIKE = 3.0, 0.02
# Points that stand for all where neighbors are approximate; exactly, so many take 40 s.
_STANDING = 50_000


def smallest_k(index: Index) -> tuple[int, Neighbors]:
    """Return the smallest k whose k-NN graph connects all points, and at least k neighbors a point.

    It is the greatest weight in a minimum spanning tree where an edge to a point's nearest neighbor
    weighs 1, to its second nearest 2, and so on. If more neighbors than fit in memory were needed,
    a `UserError` is raised.
    """
    number, asked = len(index.codes), _FIRST_K
    while True:
        near = index.nearest(k=max(1, min(asked, number - 1)))
        tree = scipy.sparse.csgraph.minimum_spanning_tree(_ranks(near))
        if tree.nnz == number - 1:
            return int(tree.data.max()), near
        if number * 2 * asked > max(_MOST_NEIGHBORS, number * _FIRST_K):
            cause = f"{asked} neighbours of each of {number:,} points don't connect them"
            cure = "use graph.kind=knn with a smaller k and graph.repair (--graph=knn --k=10 "
            cure += "--repair), which bridges the gaps"
            raise UserError(f"{cause}, and more would not fit in memory", cure=cure)
        asked *= 2


def joining_k(index: Index, points: Sequence[int], *, most: int) -> int:
    """Return the smallest k whose k-NN graph joins some points; `most` + 1 where that is larger."""

    def joins(k: int) -> bool:
        matrix = _ranks(index.nearest(k=k))
        labels = scipy.sparse.csgraph.connected_components(matrix, directed=False)[1]
        return bool((labels[list(points)] == labels[points[0]]).all())

    return 1 + bisect.bisect_left(range(1, most + 1), True, key=joins)


def _ranks(near: Neighbors) -> "scipy.sparse.csr_array":
    """Return the matrix whose entry for a point and its nearest is 1, for its second nearest 2."""
    number, k = near.indices.shape
    ranks = np.tile(np.arange(1.0, k + 1), number)
    rows = (ranks, near.indices.ravel(), k * np.arange(number + 1))
    return scipy.sparse.csr_array(rows, shape=(number, number))


def spanning_tree(index: Index) -> tuple[Ends, Lengths]:
    """Return the Euclidean minimum spanning tree: `bridges` where each point is a component."""
    return bridges(index, np.arange(len(index.codes)))


def bridges(index: Index, components: Labels) -> tuple[Ends, Lengths]:
    """Return the shortest edges that join all components, one less than there are, and lengths.

    Components are numbered from 0 without gaps. Edges have the lower end first, and are in order
    of the ends. They are found in rounds (Borůvka 1926): every component but the largest is joined
    to the point nearest to it; at most half as many are left, and one more.

    Of an `Approximate` index they are nearly the shortest: those among the listed neighbors come
    first, then those between some points that stand for all, and every component has one of these.
    """
    # Equal points are joined first: they would fill all lists of neighbors.
    lowest, labels = index.lowest, components
    again = np.flatnonzero(labels[lowest] != labels)
    flat = np.stack([lowest[again], again], axis=1)
    flat = flat[np.lexsort(flat.T[::-1])]
    taken = [flat[forest(flat, labels)]]
    labels = _merged(labels, taken[0])
    single = np.flatnonzero(lowest == np.arange(len(lowest)))
    if isinstance(index, Approximate):
        near = index.nearest(k=min(_LISTED, len(labels) - 1))
        row, column = np.nonzero(labels[near.indices] != labels[:, None])
        ends = np.stack([row, near.indices[row, column]], axis=1)
        ends = ends[np.argsort(near.distances[row, column], kind="stable")]
        taken.append(ends[forest(ends, labels)])
        labels = _merged(labels, taken[1])
        drawn = np.random.default_rng(0).permutation(single)
        each = drawn[np.unique(labels[drawn], return_index=True)[1]]
        single = np.union1d(each, drawn[:_STANDING])
    labels = labels[single]
    nearest = _NearestOutside(index if len(single) == len(lowest) else Index(index.codes[single]))
    while labels.max() > 0:
        ends = nearest.edges(labels)
        taken.append(single[ends])
        labels = _merged(labels, ends)
    ends = np.sort(np.concatenate(taken), axis=1)
    ends = ends[np.lexsort(ends.T[::-1])]
    return ends, distances(*index.codes[ends.T])


def forest(ends: Ends, labels: Labels) -> Int[np.ndarray, "taken"]:
    """Return the places of the edges that join components, of all between these the first ones."""
    places = 1.0 + np.arange(len(ends))  # in place of lengths, from 1: SciPy takes 0 for no edge
    joined = from_edges(labels[ends], places, num_nodes=int(labels.max()) + 1)
    tree = scipy.sparse.csgraph.minimum_spanning_tree(joined.matrix(joined.weights))
    return tree.data.astype(np.int64) - 1


def over_gaps(
    joining: tuple[Ends, Lengths],
    steps: tuple[Int[np.ndarray, "step 2"], Float[np.ndarray, "step"]],
    components: Labels,
) -> Bool[np.ndarray, "edge"]:
    """Return which of the edges that join components lead over gaps.

    These are more than `GAP` times as long as the longest step that is usual on one of their sides:
    in the spanning tree of its edges, and of those that have joined it and are no gaps themselves.
    Where one image, perhaps with its copies, is joined to another one, nothing was usual.
    `steps` are the edges within components.
    """
    (ends, lengths), (own, own_lengths) = joining, steps
    order = np.argsort(own_lengths, kind="stable")
    tree = order[forest(own[order], np.arange(len(components)))]
    usual = np.zeros(components.max() + 1)
    np.maximum.at(usual, components[own[tree, 0]], own_lengths[tree])
    joined, gaps = scipy.cluster.hierarchy.DisjointSet(range(len(usual))), np.zeros(len(ends), bool)
    for place in np.argsort(lengths, kind="stable"):
        one, other = (joined[component] for component in components[ends[place]].tolist())
        length = lengths[place]
        known = [step for step in usual[[one, other]] if step > ALIKE * length]
        gaps[place] = bool(known) and length > GAP * min(known)
        joined.merge(one, other)
        usual[joined[one]] = min(known) if gaps[place] else max(length, *known, 0)
    return gaps


class _NearestOutside:
    """What is known of each point's nearest point in another component."""

    def __init__(self, index: Index) -> None:
        self.index, number = index, len(index.codes)
        # That point; where it is not known, some point of the same component.
        self.head = np.arange(number)
        # Its distance, or what that is not below: in all later rounds, as components only grow.
        self.least = np.zeros(number)
        # Whether the first neighbors of a point may tell more.
        self.listed = np.ones(number, dtype=bool)

    def edges(self, labels: Labels) -> Ends:
        """Return the first edge out of each component but the largest, each once."""
        index, number = self.index, len(labels)
        asking = np.flatnonzero(self.listed & (labels[self.head] == labels))
        self._read(asking, index.nearest(k=min(_LISTED, number - 1)), asking, labels)
        self.listed[asking] = labels[self.head[asking]] != labels[asking]
        # The largest may have most of the points, and need not look for the others.
        asks = labels != np.bincount(labels).argmax()
        for k in _DEEPER:
            unsure = self._unsure(asks, labels)
            if 0 < len(unsure) * k <= _COST * number * int(labels.max()).bit_length():
                near = index.nearest_to(index.codes[unsure], k=min(k, number))
                self._read(unsure, near, np.arange(len(unsure)), labels)
        unsure = self._unsure(asks, labels)
        self.head[unsure], self.least[unsure] = _outside(index.codes, labels, unsure)
        shortest = self._shortest(labels)
        tails = np.flatnonzero(asks & (labels[self.head] != labels) & (self.least == shortest))
        ends = np.sort(np.stack([tails, self.head[tails]], axis=1), axis=1)
        order = np.lexsort((ends[:, 1], ends[:, 0], labels[tails]))
        first = np.unique(labels[tails[order]], return_index=True)[1]
        return np.unique(ends[order[first]], axis=0)

    def _read(self, points: np.ndarray, near: Neighbors, rows: np.ndarray, labels: Labels) -> None:
        """Take the first of the neighbors of points that is of another component, if one is."""
        indices, away = near.indices[rows], near.distances[rows]
        outside = labels[indices] != labels[points, None]
        first = (np.arange(len(points)), outside.argmax(axis=1))
        found = outside[first]
        self.head[points[found]] = indices[first][found]
        reached = np.where(found, away[first], away[:, -1])
        self.least[points] = np.maximum(self.least[points], reached)

    def _unsure(self, asks: np.ndarray, labels: Labels) -> Int[np.ndarray, "unsure"]:
        """Return the asking points that may have the shortest edge out of their component."""
        unknown = labels[self.head] == labels
        return np.flatnonzero(asks & unknown & (self.least <= self._shortest(labels)))

    def _shortest(self, labels: Labels) -> Float[np.ndarray, "point"]:
        """Return the length of the shortest known edge out of each point's component."""
        shortest, known = np.full(labels.max() + 1, np.inf), labels[self.head] != labels
        np.minimum.at(shortest, labels[known], self.least[known])
        return shortest[labels]


def _outside(
    codes: Float[np.ndarray, "point latent"], labels: Labels, points: Int[np.ndarray, "asking"]
) -> tuple[Int[np.ndarray, "asking"], Float[np.ndarray, "asking"]]:
    """Return the point of another component that is nearest to each point, and its distance.

    Two numbers of components differ in some bit. So for each bit, points where it is 0 look among
    all where it is 1, and the other way round.
    """
    head, least = np.full(len(points), -1), np.full(len(points), np.inf)
    for bit in range(int(labels.max()).bit_length()):
        side = labels >> bit & 1
        for here in (0, 1):
            asking = np.flatnonzero(side[points] == here)
            if not asking.size:
                continue
            others = np.flatnonzero(side != here)
            near = Index(codes[others]).nearest_to(codes[points[asking]], k=1)
            found, away = others[near.indices[:, 0]], near.distances[:, 0]
            tied = (away == least[asking]) & (found < head[asking])
            closer = (away < least[asking]) | tied
            head[asking[closer]], least[asking[closer]] = found[closer], away[closer]
    return head, least


def _merged(labels: Labels, ends: Ends) -> Labels:
    """Return the numbers of the components that are left when edges join them."""
    size = labels.max() + 1
    joined = scipy.sparse.coo_array((np.ones(len(ends)), tuple(labels[ends].T)), shape=(size, size))
    return scipy.sparse.csgraph.connected_components(joined, directed=False)[1][labels]
