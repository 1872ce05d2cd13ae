"""What the room refuses: codes, queries, numbers, settings and graphs that mean nothing."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.manifold import path, tour
from jaxsurf.manifold.encode import encode_images
from jaxsurf.manifold.graph import GraphConfig, Trimming, attach, build
from jaxsurf.manifold.latent_graph import from_edges
from jaxsurf.manifold.neighbors import Approximate, Index
from jaxsurf.manifold.shortest_path import shortest_paths
from jaxsurf.models.autoencoder import Autoencoder

CODES = np.random.default_rng(0).normal(size=(53, 2))
MADE = build(CODES, GraphConfig(kind="smallest", weight="latent"))
ENDS = np.array([[0, 1], [1, 2]])
TWO = from_edges(np.array([[0, 1], [2, 3], [3, 4]]), np.ones(3), num_nodes=5)
IMAGES = np.full((13, 7, 6, 3), 9, np.uint8)
IMAGES[3::7] = 0


class Root(Autoencoder):
    """Not finite for black images."""

    def encode(self, images):
        return jnp.log(images.max(axis=(1, 2)))


def config(**settings):
    return lambda: GraphConfig(**settings)


def built(codes, distance=None, image_index=None, **settings):
    settings = {"kind": "smallest", "weight": "latent"} | settings
    return lambda: build(codes, GraphConfig(**settings), distance, image_index=image_index)


def visited(*anchors, graph=MADE, order="given"):
    return lambda: tour.through(graph, list(anchors), order=order)


REFUSED = [
    # Neighbours.
    (built(CODES[:1]), "one point has no neighbours"),
    (lambda: Index(np.zeros((3, 2))).nearest(k=3), "k is 3, but 3 points have 2 neighbours each"),
    (lambda: Approximate(np.zeros((3, 2))).nearest(k=3), "k is 3, but 3 points"),
    (lambda: Index(np.zeros(3)), r"shape \(3,\)"),
    (lambda: Index(np.array([[0, 1], [1, np.nan], [np.inf, 2]])), "2 of 3 .* the first in row 1"),
    (lambda: Index(np.array([[0.0], [1e200]])), "beyond 1e.150.* row 1"),
    (lambda: Index(np.array([["a"], ["b"]])), "give real numbers"),
    # Graphs.
    (config(kind="tree"), "graph.kind 'tree' is not known; use one of: smallest"),
    (config(kind="mutual"), "graph.k is 0; give 1 or more with graph.kind=mutual"),
    (config(k=-1), "graph.k is -1; give 1 or more with graph.kind=agreed"),
    (config(kind="radius", radius=np.nan), "graph.radius is nan"),
    (config(kind="smallest", k=3), "graph.k has no .*=smallest; .* graph.kind=knn or mutual or"),
    (config(kind="knn", k=3, radius=1.0), "graph.radius has no .*; .* graph.kind=radius"),
    (config(kind="smallest-radius", search="approximate"), "no meaning .*smallest or knn or"),
    (lambda: Trimming(max_edge=np.nan), "max_edge is nan"),
    (built(CODES, kind="agreed"), "needs the images, .*; use graph.kind=knn with graph.repair"),
    (built(CODES, weight="image"), "needs the images .*; pass `distance` too, or use"),
    (built(CODES, lambda ends: -np.ones(len(ends)), weight="image"), "negative or not finite"),
    (built(CODES * 1e149, weight="density"), "not finite.*: inf"),
    (lambda: attach(MADE, Index(CODES), np.array([[np.nan, 0]])), "1 of 1 queries are not .*row 0"),
    (lambda: attach(replace(MADE, weight="image"), Index(CODES), CODES[:1]), "needs the images"),
    (lambda: from_edges(ENDS, np.array([1.0, -1.0]), num_nodes=3), r"of edge \[1, 2\]: -1"),
    # Paths.
    (
        lambda: shortest_paths(TWO, [(0, 4)]),
        r"no path joins 0 \(source\) and 4 \(target\): they lie in different components of the "
        r"graph, of 2 and 3 nodes; it has 2 components of 3, 2 nodes; use graph.repair .*larger",
    ),
    (visited(0, 1, 3, graph=TWO), r"no path joins 0 \(anchor 0\) and 3 \(anchor 2\)"),
    (visited(1, 2, order="shortest"), r"order 'shortest' is not known; use one of: given, best"),
    (lambda: path.Timing(points_per_edge=1), "1 points per edge can't show both ends; ask for 2"),
    (lambda: path.Timing(frames=-3), "-3 frames can't show both ends; ask for 2 or more"),
    (lambda: path.Timing(frames=9, speed="fast"), "'fast' is not known; use one of: visible"),
    (lambda: path.Timing(frames=9, speed="edge"), "edge has no meaning with 9.*out --frames"),
    (lambda: path.Timing(speed="visible"), "visible says nothing of how many.*--frames=48"),
    (lambda: path.surfing(CODES[:0], ()), "path points have shape"),
    # Images to encode.
    (lambda: encode_images(Root(), IMAGES, batch_size=4), "2 of 13.* row 3; .* diverged"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_what_means_nothing_is_refused(call, words):
    with pytest.raises(UserError, match=words):
        call()
