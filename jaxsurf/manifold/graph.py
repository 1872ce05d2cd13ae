"""Latent codes -> the graph whose shortest paths follow the manifold.

Three kinds of graph: `smallest`, the k-NN graph of the smallest k that connects all points (the
reference's choice); `knn`, the k-NN graph of a given k; `radius`, all pairs within a distance. A
k-NN graph joins two points when either is among the k nearest of the other. A graph may be
disconnected: its `components` tell.

Which points are joined follows from the distances between their codes alone. What an edge weighs
is another matter, see `jaxsurf.manifold.weighting`: a distance between its ends' codes or images,
or the cube of one.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from jaxtyping import Real

from jaxsurf.errors import UserError
from jaxsurf.manifold import cache, connecting, csr, knn, weighting
from jaxsurf.manifold.csr import LatentGraph
from jaxsurf.manifold.weighting import Distance, Weight

Kind = Literal["smallest", "knn", "radius"]

# Neighbours asked for at first when the smallest k is sought; a connecting k is mostly below it.
_FIRST_K = 8
_SAVED = ("indptr", "indices", "weights", "k", "description", "weight")


@dataclass(frozen=True, kw_only=True)
class GraphConfig:
    """Which graph to build."""

    kind: Kind = "smallest"
    k: int = 0
    """Neighbours a point; for `knn` only."""
    radius: float = 0.0
    """Largest distance of joined points, in latent units; for `radius` only."""
    weight: Weight = "density"
    """What an edge costs: `latent`, the distance between the codes, or `density`, its cube;
    `image`, the distance between the images, or `image-density`, its cube."""

    def __post_init__(self) -> None:
        _check_known("kind", self.kind, get_args(Kind))
        _check_known("weight", self.weight, get_args(Weight))
        for name, value, owner in (("k", self.k, "knn"), ("radius", self.radius, "radius")):
            if value and self.kind != owner:
                raise UserError(
                    f"graph.{name} has no meaning with graph.kind={self.kind}",
                    cure=f"leave it out, or set graph.kind={owner}",
                )
        if self.kind == "knn" and self.k < 1:
            raise UserError(f"graph.k is {self.k}", cure="give 1 or more with graph.kind=knn")
        if self.kind == "radius" and not (np.isfinite(self.radius) and self.radius > 0):
            raise UserError(
                f"graph.radius is {self.radius}",
                cure="give a finite number above 0 with graph.kind=radius",
            )


def build(
    codes: Real[np.ndarray, "point latent"],
    config: GraphConfig,
    distance: Distance | None = None,
) -> LatentGraph:
    """Return the graph that a configuration asks for; its `k` and `description` say what it is.

    Args:
        codes: at least two points.
        config: which graph.
        distance: from the ends of edges, as rows of `codes`, to the distances between their
            images; needed where the weight is of images, not used elsewhere.

    Raises:
        UserError: the codes are not finite or too few, `config.k` is too large, or `distance` is
            missing or gives something negative or not finite.
    """
    # Before the search for neighbours, which may take long.
    weighting.check(config.weight, distance)
    if config.kind == "smallest":
        built = smallest_connecting(codes)
    elif config.kind == "knn":
        built = knn_graph(knn.nearest(codes, k=config.k), k=config.k)
    else:
        built = radius_graph(codes, radius=config.radius)
    ends, lengths = built.edges()
    return csr.from_edges(
        ends,
        weighting.weigh(ends, lengths, weight=config.weight, distance=distance),
        num_nodes=built.num_nodes,
        k=built.k,
        description=built.description,
        weight=config.weight,
    )


def knn_graph(neighbours: knn.Neighbours, *, k: int) -> LatentGraph:
    """Return the symmetric k-NN graph: an edge where either end has the other among its nearest k.

    Args:
        neighbours: at least `k` a point, all points of the set.
        k: how many of them to use.

    Raises:
        UserError: `neighbours` holds fewer than `k` a point.
    """
    points, known = neighbours.indices.shape
    if not 1 <= k <= known:
        raise UserError(
            f"k is {k}, but {known} neighbours a point were computed",
            cure=f"use a k from 1 to {known}, or compute more neighbours",
        )
    ends = np.stack([np.repeat(np.arange(points), k), neighbours.indices[:, :k].ravel()], axis=1)
    lengths = neighbours.distances[:, :k].ravel()
    return csr.from_edges(
        ends, lengths, num_nodes=points, k=k, description=f"k-NN graph with k = {k}"
    )


def radius_graph(codes: Real[np.ndarray, "point latent"], *, radius: float) -> LatentGraph:
    """Return the graph that joins all points at most `radius` apart.

    Args:
        codes: at least one point.
        radius: in latent units.

    Raises:
        UserError: see `knn.within`.
    """
    pairs = knn.within(codes, radius=radius)
    return csr.from_edges(
        pairs.ends,
        pairs.distances,
        num_nodes=len(codes),
        description=f"radius graph with radius = {radius:g}",
    )


def smallest_connecting(
    codes: Real[np.ndarray, "point latent"], *, first_k: int = _FIRST_K
) -> LatentGraph:
    """Return the k-NN graph of the smallest k that connects all points; the graph holds its k.

    One neighbour query does, unless its k was too small to connect; then it is made again with
    twice as many.

    Args:
        codes: at least two points.
        first_k: neighbours asked for at first; changes the time, not the result.

    Raises:
        UserError: the codes are not finite or too few.
    """
    most, asked = len(codes) - 1, first_k
    while True:
        neighbours = knn.nearest(codes, k=max(1, min(asked, most)))
        k = connecting.smallest_k(neighbours)
        if k:
            break
        asked *= 2
    graph = knn_graph(neighbours, k=k)
    return replace(graph, description=f"k-NN graph with k = {k}, the smallest that connects")


def attach(
    graph: LatentGraph,
    codes: Real[np.ndarray, "point latent"],
    added: Real[np.ndarray, "new latent"],
    *,
    k: int,
    distance: Distance | None = None,
) -> LatentGraph:
    """Return a graph with further nodes, each joined to the k codes nearest to it.

    Args:
        graph: the graph over `codes`; its own edges stay as they are.
        codes: the points of its nodes.
        added: points that become the nodes from `graph.num_nodes` on; not joined to one another.
            Their edges weigh as the graph's own do.
        k: neighbours of each.
        distance: as for `build`, for the nodes of the new graph.

    Raises:
        UserError: the new points are not finite, `k` is larger than the graph, or `distance` is
            missing or gives something negative or not finite.
    """
    near = knn.nearest_to(codes, added, k=k)
    numbers = np.repeat(graph.num_nodes + np.arange(len(added)), k)
    further = np.stack([near.indices.ravel(), numbers], axis=1)
    lengths = near.distances.ravel()
    ends, weights = graph.edges()
    return csr.from_edges(
        np.concatenate([ends, further]),
        np.concatenate(
            [weights, weighting.weigh(further, lengths, weight=graph.weight, distance=distance)]
        ),
        num_nodes=graph.num_nodes + len(added),
        k=graph.k,
        description=f"{graph.description}, and {len(added)} more joined to their nearest {k}",
        weight=graph.weight,
    )


def save_graph(path: Path, graph: LatentGraph, *, stamp: str) -> None:
    """Write a graph as a cache bound to `stamp` (see `jaxsurf.manifold.cache`).

    Args:
        path: the .npz file.
        graph: what to keep.
        stamp: names what the graph was made from: the codes' own stamp and the configuration.
    """
    cache.save(path, stamp=stamp, **{name: getattr(graph, name) for name in _SAVED})


def load_graph(path: Path, *, stamp: str) -> LatentGraph:
    """Return a cached graph.

    Args:
        path: the .npz file.
        stamp: what the graph must have been made from.

    Raises:
        StaleCache: it was made from something else.
        UserError: the file is missing, damaged, or holds no symmetric graph.
    """
    arrays = cache.load(path, stamp=stamp, names=_SAVED)
    k, description = int(arrays.pop("k")), str(arrays.pop("description"))
    weight = cast(Weight, str(arrays.pop("weight")))
    loaded = LatentGraph(**arrays, k=k, description=description, weight=weight)
    return csr.check(loaded, origin=str(path))


def _check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(
            f"graph.{name}={value} is unknown or not built yet",
            cure=f"use one of: {', '.join(known)}",
        )
