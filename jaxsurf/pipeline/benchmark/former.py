"""From codes to frames as the report went, written anew from its description.

Yadlin & Botchan, "Data Interpolation in Latent Space": the distances between all codes, a k-NN
graph in networkx that is built again with the next k until it is connected, Dijkstra's algorithm,
and the model called on one point after another, as it is, without compilation. The description
leaves open how much of it NumPy did: neighbours are picked either way.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.distance import cdist

from jaxsurf.images import pixels
from jaxsurf.models.autoencoder import Autoencoder

Codes = Float[np.ndarray, "point latent"]
# What networkx makes is of no type that is known here.
Graph = Any
# From codes to what builds the k-NN graph of a k.
MakeBuilder = Callable[[Codes], Callable[[int], Graph]]


def with_numpy(codes: Codes) -> Callable[[int], Graph]:
    """Return what builds k-NN graphs: distances as a matrix, its rows sorted by NumPy."""
    return partial(_joined, cdist(codes, codes), lambda row: np.argsort(row).tolist())


def in_python(codes: Codes) -> Callable[[int], Graph]:
    """Return what builds k-NN graphs: distances one by one, in lists that Python sorts."""
    points = codes.tolist()
    distances = [[math.dist(point, other) for other in points] for point in points]
    return partial(_joined, distances, lambda row: sorted(range(len(row)), key=row.__getitem__))


def smallest_connected(build: Callable[[int], Graph]) -> tuple[Graph, int]:
    """Return the networkx graph of the smallest connecting k, and that k."""
    import networkx

    k = 1
    while not networkx.is_connected(graph := build(k)):
        k += 1
    return graph, k


def shortest_path(graph: Graph, source: int, target: int) -> list[int]:
    """Return the nodes of a shortest path."""
    import networkx

    return networkx.dijkstra_path(graph, source, target)


def between(
    codes: Codes, nodes: Sequence[int], *, points_per_edge: int
) -> list[Float[np.ndarray, "latent"]]:
    """Return points on the straight pieces of a path, both ends of each counted."""
    points = [codes[nodes[0]]]
    for tail, head in itertools.pairwise(nodes):
        for share in np.linspace(0, 1, points_per_edge)[1:]:
            points.append(codes[tail] + share * (codes[head] - codes[tail]))
    return points


def decode(
    model: Autoencoder, points: Sequence[Float[np.ndarray, "latent"]]
) -> UInt8[np.ndarray, "frame height width channel"]:
    """Return the frames of some points, decoded one by one."""
    singles = (model.decode(jnp.asarray(point[None], jnp.float32))[0] for point in points)
    return np.stack([np.asarray(pixels.to_uint8(single)) for single in singles])


def _joined(distances: Any, ranked: Callable[[Any], list[int]], k: int) -> Graph:  # noqa: ANN401
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(len(distances)))
    for node, row in enumerate(distances):
        for other in ranked(row)[1 : k + 1]:
            graph.add_edge(node, other, weight=float(row[other]))
    return graph
