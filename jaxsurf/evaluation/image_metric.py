"""The metric of images over poses: how much an image changes along a path of true poses.

Near a pose the squared length of a move is a quadratic form, the *metric tensor*, taken from the
mean squared differences between the images of neighbouring lattice nodes. Lengths of paths follow:
a geodesic is the shortest one, found on a graph over the lattice. The unit is the median geodesic
distance of neighbours on the grid: an ordinary grid step is 1.

Images that are far apart on the grid may be much alike: an arm that is turned by half a circle and
tipped over. Such a *seam* at the border of the grid joins what is left and right of it, and can be
crossed either way round.
"""

import itertools

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxsurf.evaluation import lattice
from jaxsurf.evaluation.lattice import Apart, Lattice, Others, Poses, Reader
from jaxsurf.images import pixels
from jaxsurf.manifold import latent_graph, shortest_path
from jaxsurf.manifold.latent_graph import LatentGraph

# The table of geodesic distances takes 100 MB for so many nodes of the grid.
MOST_NODES = 5000
# Steps of one and two nodes: 16 directions in the plane, off by 3 % at most (with 8: by 8 %).
REACH_ON_PLANE = 2
# A seam costs at most two ordinary grid steps, and no more than half of what poses at random do:
# where every image differs from every other alike, nearness means nothing.
SEAM_STEPS, SEAM_SHARE = 2.0, 0.5
# The ends of a seam are farther apart within the lattice than so many ordinary grid steps. Over few
# steps the difference of images grows like the root of the distance: past 4 it is beyond
# `SEAM_STEPS`.
FAR_STEPS = 8.0
# Rows of lengths to all nodes that are held at once: 40 MB on the arm's lattice.
SOURCES_AT_ONCE = 200
# Border nodes that are compared all with all, and random pairs of which the median is taken.
MOST_BORDER, NUM_RANDOM = 1000, 512


Nodes = Int[np.ndarray, "..."]
Edges = tuple[Int[np.ndarray, "edge 2"], Float[np.ndarray, "edge"]]  # their ends and lengths
# Its poses, and whether each lies beside the next one on the lattice.
Geodesic = tuple[Poses, Bool[np.ndarray, "pose"]]


class ImageMetric:
    """Lengths and geodesics between the poses of a lattice, in ordinary grid steps.

    Its grid has at most `MOST_NODES` nodes, whose table of distances is kept in the cache.
    """

    def __init__(self, of: Lattice) -> None:
        from jaxsurf.evaluation import pose_kernels  # numba is slow to load

        self._kernels, self._lattice, reader = pose_kernels, of, of.reader
        places = np.indices(of.grid.shape).reshape(len(of.grid.shape), -1) * of.per_step
        # The lattice node of each node of the grid.
        self._nodes = nodes = np.ravel_multi_index(tuple(places), tuple(reader.shape))
        self._inside = _graph(reader)

        def make() -> dict[str, np.ndarray]:
            seam, lengths = _seam(of, nodes, self._inside)
            table = _lengths(latent_graph.with_edges(self._inside, seam, lengths), nodes, nodes)
            # Images that never change have no metric; 1 keeps their lengths at 0.
            unit = float(np.median(table[tuple(of.grid.adjacent_pairs().T)])) or 1.0
            edges = {"seam": seam, "seam_lengths": lengths}
            return {"table": table / np.float32(unit), "unit": np.array(unit), **edges}

        made = lattice.keep("metric", of.stamp, make)
        self.unit, self.seam = float(made["unit"]), made["seam"]
        self._over_seam = _over_seam(self._inside, (self.seam, made["seam_lengths"]), reader)
        self._arrays = pose_kernels.Metric(
            table=made["table"],
            tensors=reader.tensors * (of.per_step / self.unit) ** 2,
            lattice_shape=reader.shape,
            around=of.grid.around,
            per_step=of.per_step,
        )

    def distances(self, first: Poses, second: Others) -> Apart:
        """Return the distance of each pose to each of others, in ordinary grid steps."""
        grid, placed = self._lattice.grid, []
        shape = np.array(grid.shape)
        high = np.indices((2,) * len(shape)).reshape(len(shape), -1).T
        for poses in (first, second):
            low = np.floor(poses).astype(np.int64)
            low = np.where(grid.around > 0, low, np.clip(low, 0, shape - 2))
            share = np.clip(poses - low, 0, 1)[:, None]
            corners = np.moveaxis((low[:, None] + high) % shape, -1, 0)
            nodes = np.asarray(np.ravel_multi_index(tuple(corners), grid.shape))
            shares = np.where(high, share, 1 - share).prod(axis=-1)
            placed.append(self._kernels.Placed(poses, nodes, shares))
        return self._kernels.metric_distances(*placed, self._arrays)

    def steps_over_seam(self, first: Poses, second: Others) -> Apart:
        """Return the distance of poses in grid steps where the seam, which is one, is crossed."""
        sides = np.moveaxis(self._lattice.reader.places[self.seam] / self._lattice.per_step, 1, 0)
        (here, there), apart = sides, self._lattice.grid.apart
        to = np.concatenate([apart(first, here), apart(first, there)], axis=1)
        back = np.concatenate([apart(second, there), apart(second, here)], axis=1) + 1.0
        return np.stack([(row + back).min(axis=1) for row in to])

    def geodesics(self, pairs: Nodes, *, over_seam: bool) -> list[list[Geodesic]]:
        """Return shortest paths between pairs of the grid's nodes.

        Of each pair the one that stays inside, or one for each way round over the seam.
        """
        of, size = self._lattice, len(self._lattice.reader.images)
        ends = (self._nodes[pairs] + [0, size * over_seam]).tolist()
        found: list[list[Geodesic]] = [[] for _ in pairs]
        for graph in self._over_seam if over_seam else [self._inside]:
            for some, path in zip(found, shortest_path.shortest_paths(graph, ends), strict=True):
                poses = of.reader.places[path.nodes % size] / of.per_step
                steps = of.grid.short(np.diff(poses, axis=0))
                smooth = np.abs(steps).max(axis=1, initial=0) * of.per_step <= REACH_ON_PLANE
                # Not back to 0 after a whole turn.
                poses[1:] = poses[0] + np.cumsum(steps, axis=0)
                some.append((poses, np.append(smooth, False)))
        return found


def _graph(reader: Reader) -> LatentGraph:
    """Return the graph over the lattice; an edge is as long as the mean of its ends' tensors says.

    Root-mean-square differences of images two nodes apart would fall short of paths between them.
    """
    dimension = len(reader.shape)
    reach = REACH_ON_PLANE if dimension == 2 else 1
    ends, lengths = [], []
    for offset in itertools.product(range(-reach, reach + 1), repeat=dimension):
        # One of two opposite directions, and none that is a multiple of a shorter one.
        if offset <= (0,) * dimension or np.gcd.reduce(offset) > 1:
            continue
        others = reader.neighbours(np.array([offset]))[:, 0]
        there = np.flatnonzero(others >= 0)
        middle = (reader.tensors[there] + reader.tensors[others[there]]) / 2
        squares = np.einsum("i,nij,j->n", offset, middle, offset)
        ends.append(np.stack([there, others[there]], axis=1))
        lengths.append(np.sqrt(np.maximum(squares, 0.0)))
    ends, lengths = np.concatenate(ends), np.concatenate(lengths)
    return latent_graph.from_edges(ends, lengths, num_nodes=len(reader.images))


def _seam(of: Lattice, nodes: Nodes, graph: LatentGraph) -> Edges:
    """Return edges from border nodes to the most similar border node far away.

    Only those that cost little, see `SEAM_STEPS`; there are none where all factors are periodic.
    """
    reader = of.reader
    at_border = ((reader.places == 0) | (reader.places == reader.shape - 1)) & ~reader.closed
    border = np.flatnonzero(at_border.any(axis=1))
    border = border[:: max(1, -(-len(border) // MOST_BORDER))]
    if not len(border):
        return np.empty((0, 2), np.int64), np.empty(0)
    random = np.random.default_rng(0).integers(len(reader.images), size=(NUM_RANDOM, 2))
    step = np.median(pixels.rms(reader.images, nodes[of.grid.adjacent_pairs()]))
    usual = np.median(pixels.rms(reader.images, random))
    limit = min(SEAM_STEPS * step, SEAM_SHARE * usual)
    shown = reader.images[border].astype(np.float32)
    norms = np.square(shown).sum(axis=1)
    squares = (norms[:, None] + norms - 2 * shown @ shown.T) / shown.shape[1]
    squares[_lengths(graph, border, border) <= FAR_STEPS * step] = np.inf
    pairs = np.sort(np.stack([border, border[squares.argmin(axis=1)]], axis=1), axis=1)
    pairs = np.unique(pairs[np.isfinite(squares.min(axis=1))], axis=0)
    lengths = pixels.rms(reader.images, pairs)
    return pairs[lengths <= limit], lengths[lengths <= limit]


def _over_seam(inside: LatentGraph, edges: Edges, reader: Reader) -> list[LatentGraph]:
    """Return a graph for each way round that the seam is crossed; none where there is no seam.

    Each has two sheets of the lattice, the second one's nodes numbered on; from the first to the
    second one leads the seam alone, past the last value of the factor in which its ends are
    farthest apart, or past the first one.
    """
    seam, lengths = edges
    if not len(seam):
        return []
    across = np.diff(reader.places[seam], axis=1)[:, 0]
    upwards = across[:, np.abs(across).mean(axis=0).argmax()] > 0
    upwards = np.where(upwards[:, None], seam, seam[:, ::-1])
    (ends, own), sheets = inside.edges(), np.array([0, inside.num_nodes])
    return [
        latent_graph.from_edges(
            np.concatenate([ends, ends + inside.num_nodes, crossed + sheets]),
            np.concatenate([own, own, lengths]),
            num_nodes=2 * inside.num_nodes,
        )
        for crossed in (upwards[:, ::-1], upwards)
    ]


def _lengths(graph: LatentGraph, sources: Nodes, targets: Nodes) -> Float[np.ndarray, "_ _"]:
    """Return the lengths of shortest paths; all nodes' for some sources at a time."""
    starts = range(0, len(sources), SOURCES_AT_ONCE)
    some = (sources[start : start + SOURCES_AT_ONCE].tolist() for start in starts)
    rows = [shortest_path.distances(graph, s, method="dijkstra")[:, targets] for s in some]
    return np.concatenate(rows).astype(np.float32)
