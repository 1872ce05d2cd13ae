"""Latent codes -> the graph whose shortest paths follow the manifold.

Kinds of graph:

- `smallest`: the k-NN graph of the smallest k that connects all points (the reference's choice).
- `knn`: the k-NN graph of a given k, which joins two points when either is among the k nearest of
  the other.
- `mutual`: the same, where both have to be; it has no long edges to outliers, and falls apart more
  easily.
- `radius`: all pairs within a distance; `smallest-radius`: within the smallest one that connects.

Any of them may get the Euclidean minimum spanning tree on top, which connects it (and holds no
edge longer than need be), or be repaired (see `jaxsurf.manifold.components.repair`).
Otherwise a graph may be disconnected: `jaxsurf.manifold.components.connectivity` tells.

Which points are joined follows from the distances between their codes alone. What an edge weighs
is another matter, see `jaxsurf.manifold.edges.weighting`.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Real

from jaxsurf.errors import UserError
from jaxsurf.manifold import approximate, knn
from jaxsurf.manifold.components import connecting, repair, spanning
from jaxsurf.manifold.edges import altering, csr, edge_lists, weighting
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.edges.weighting import Distance
from jaxsurf.manifold.graph_config import GraphConfig
from jaxsurf.manifold.neighbours import within

# Neighbours asked for at first when the smallest k is sought; a connecting k is mostly below it.
_FIRST_K = 8


def build(
    codes: Real[np.ndarray, "point latent"] | knn.Index,
    config: GraphConfig,
    distance: Distance | None = None,
    *,
    trim: Callable[[LatentGraph], LatentGraph] | None = None,
) -> LatentGraph:
    """Return the graph that a configuration asks for; its `k` and `description` say what it is.

    Args:
        codes: at least two points, or the index of these.
        config: which graph.
        distance: from the ends of edges, as rows of `codes`, to a distance between their images,
            or between what their codes are decoded to, whichever the weight is of; not used where
            it is of neither.
        trim: what to do with the graph while its edges weigh their lengths, before a spanning tree
            or a repair is added, such as to leave out long edges.

    Raises:
        UserError: the codes are not finite or too few, `config.k` is too large, or `distance` is
            missing or gives something negative or not finite.
    """
    # Before the search for neighbours, which may take long.
    weighting.check(config.weight, distance)
    index = knn.index_of(codes)
    if config.search == "approximate":
        near = approximate.Approximate(index.codes)
        built = _of_kind(near, config)
        told = f"{built.description}, of approximate neighbours with a recall of {near.recall:.3f}"
        built = replace(built, description=told, recall=near.recall)
    else:
        built = _of_kind(index, config)
    built = trim(built) if trim else built
    if config.spanning_tree:
        tree = spanning.tree(index)
        built = replace(
            altering.with_edges(built, tree.ends, tree.distances),
            description=f"{built.description}, and the Euclidean minimum spanning tree",
        )
    if config.repair:
        built = repair.bridged(built, index)
    ends, lengths = built.edges()
    weights = weighting.weigh(ends, lengths, weight=config.weight, distance=distance)
    return altering.reweighed(built, weights, weight=config.weight)


def knn_graph(neighbours: knn.Neighbours, *, k: int, mutual: bool = False) -> LatentGraph:
    """Return the symmetric k-NN graph: an edge where either end has the other among its nearest k.

    Args:
        neighbours: at least `k` a point, all points of the set.
        k: how many of them to use.
        mutual: whether both ends have to.

    Raises:
        UserError: `neighbours` holds fewer than `k` a point.
    """
    ends, lengths = _listed(neighbours, k)
    if mutual:
        once = edge_lists.once(ends, num_nodes=len(neighbours.indices))
        both = once.first[once.times == 2]
        ends, lengths = ends[both], lengths[both]
    return csr.from_edges(
        ends,
        lengths,
        num_nodes=len(neighbours.indices),
        k=k,
        description=f"{'mutual ' if mutual else ''}k-NN graph with k = {k}",
        weight="latent",
    )


def radius_graph(codes: Real[np.ndarray, "point latent"], *, radius: float) -> LatentGraph:
    """Return the graph that joins all points at most `radius` apart.

    Args:
        codes: at least one point.
        radius: in latent units.

    Raises:
        UserError: see `within.pairs`.
    """
    pairs = within.pairs(codes, radius=radius)
    return csr.from_edges(
        pairs.ends,
        pairs.distances,
        num_nodes=len(codes),
        description=f"radius graph with radius = {radius:g}",
        weight="latent",
    )


def smallest_connecting(
    codes: Real[np.ndarray, "point latent"] | knn.Index, *, first_k: int = _FIRST_K
) -> LatentGraph:
    """Return the k-NN graph of the smallest k that connects all points; the graph holds its k.

    Args:
        codes: at least two points, or the index of these.
        first_k: neighbours asked for at first; changes the time, not the result.

    Raises:
        UserError: see `connecting.neighbours`.
    """
    neighbours, k = connecting.neighbours(knn.index_of(codes), first_k=first_k)
    graph = knn_graph(neighbours, k=k)
    return replace(graph, description=f"{graph.description}, the smallest that connects")


def _of_kind(index: knn.Index, config: GraphConfig) -> LatentGraph:
    """Return the graph of a kind, its edges weighing their latent lengths."""
    if config.kind == "smallest":
        return smallest_connecting(index)
    if config.kind in ("knn", "mutual"):
        near = index.nearest(k=config.k)
        return knn_graph(near, k=config.k, mutual=config.kind == "mutual")
    if config.kind == "radius":
        return radius_graph(index.codes, radius=config.radius)
    graph = radius_graph(index.codes, radius=connecting.smallest_radius(index))
    return replace(graph, description=f"{graph.description}, the smallest that connects")


def _listed(neighbours: knn.Neighbours, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an edge from each point to each of its nearest k, and the lengths."""
    points, known = neighbours.indices.shape
    if not 1 <= k <= known:
        raise UserError(
            f"k is {k}, but {known} neighbours a point were computed",
            cure=f"use a k from 1 to {known}, or compute more neighbours",
        )
    ends = np.stack([np.repeat(np.arange(points), k), neighbours.indices[:, :k].ravel()], axis=1)
    return ends, neighbours.distances[:, :k].ravel()
