"""What edges weigh by images: against NumPy, in paths, for attached nodes, in the cache."""

import functools

import networkx as nx
import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.images import pixels
from jaxsurf.manifold import graph, search
from jaxsurf.manifold.edges import csr
from jaxsurf.manifold.edges.saved import load_graph, save_graph
from jaxsurf.manifold.graph_config import GraphConfig
from jaxsurf.manifold.outside import attach

POWERS = {"image": 1, "image-density": 3}
of_images = pytest.mark.parametrize("weight", POWERS)


def images_of(number, *, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, 7, 5, 3), dtype=np.uint8)


def distance_in(images):
    return functools.partial(pixels.rms, images)


def naive(images, ends, power):
    apart = images[ends[:, 0]].astype(np.float64) - images[ends[:, 1]]
    return np.sqrt((apart**2).mean(axis=(1, 2, 3))) ** power


@of_images
@pytest.mark.parametrize("kind", [{}, {"kind": "knn", "k": 3}, {"kind": "radius", "radius": 0.7}])
def test_image_weights_are_the_differences_of_the_ends_images(weight, kind):
    codes, images = np.random.default_rng(3).normal(size=(53, 2)), images_of(53)
    plain = graph.build(codes, GraphConfig(weight="latent", **kind))
    ours = graph.build(codes, GraphConfig(weight=weight, **kind), distance_in(images))
    ends, weights = ours.edges()
    np.testing.assert_array_equal(ends, plain.edges()[0])  # joined by latent distance
    np.testing.assert_allclose(weights, naive(images, ends, POWERS[weight]), rtol=1e-12)
    assert (ours.k, ours.description, ours.weight) == (plain.k, plain.description, weight)
    csr.check(ours, origin="the graph")


@pytest.mark.parametrize("weight", ["latent", "density"])
def test_latent_weights_do_not_ask_for_images(weight):
    codes = np.random.default_rng(3).normal(size=(17, 2))
    config = GraphConfig(weight=weight)

    def never(_):
        raise AssertionError

    asked, alone = graph.build(codes, config, never), graph.build(codes, config)
    np.testing.assert_array_equal(asked.weights, alone.weights)


def test_a_graph_without_edges_can_be_weighed_by_images():
    codes = np.arange(5.0)[:, None]
    config = GraphConfig(kind="radius", radius=0.5, weight="image")
    assert graph.build(codes, config, distance_in(images_of(5))).num_edges == 0


def test_image_weights_lead_another_way():
    # Two ways round a square; the shorter one in latent space passes an image unlike the ends'.
    codes = np.array([[0.0, 0], [1, 0.2], [2, 0], [1, -0.9]])
    images = np.full((4, 2, 3, 3), 100, np.uint8)
    images[1] = 250
    images[2:, 0] += 9
    config = {"kind": "radius", "radius": 1.5}
    by = {
        weight: graph.build(codes, GraphConfig(weight=weight, **config), distance_in(images))
        for weight in ("latent", "density", *POWERS)
    }
    ways = {weight: search.shortest_path(g, 0, 2).nodes.tolist() for weight, g in by.items()}
    assert ways == {
        "latent": [0, 1, 2],
        "density": [0, 1, 2],
        "image": [0, 3, 2],
        "image-density": [0, 3, 2],
    }


@of_images
def test_paths_over_equal_images_are_as_long_as_networkx_says(weight):
    codes = np.random.default_rng(7).normal(size=(41, 2))
    images = images_of(5)[np.random.default_rng(8).integers(0, 5, 41)]
    made = graph.build(codes, GraphConfig(weight=weight), distance_in(images))
    ends, weights = made.edges()
    assert 0 < (weights == 0).sum() < len(weights)
    theirs = nx.Graph()
    theirs.add_weighted_edges_from(zip(*ends.T.tolist(), weights.tolist(), strict=True))
    lengths = nx.single_source_dijkstra_path_length(theirs, 0)
    for target, path in enumerate(search.shortest_paths(made, [(0, node) for node in range(41)])):
        assert path.length == pytest.approx(lengths[target], rel=1e-6)


def test_where_all_images_are_equal_paths_have_length_zero():
    codes = np.random.default_rng(9).normal(size=(23, 2))
    distance = distance_in(np.zeros((24, 2, 2, 3), np.uint8))
    made = graph.build(codes, GraphConfig(weight="image"), distance)
    assert set(made.components) == {0}
    path = search.shortest_path(made, 0, 22)
    assert (path.nodes[0], path.nodes[-1], path.length) == (0, 22, 0.0)
    joined = attach(made, codes, codes[:1] + 1e-3, k=2, distance=distance)
    assert search.shortest_path(joined, 23, 22).length == 0.0


@of_images
def test_attached_nodes_are_weighed_as_the_graphs_own(weight):
    rng = np.random.default_rng(4)
    codes, added = rng.normal(size=(31, 3)), rng.normal(size=(2, 3))
    images = images_of(33)
    before = graph.build(codes, GraphConfig(weight=weight), distance_in(images[:31]))
    after = attach(before, codes, added, k=4, distance=distance_in(images))
    ends, weights = after.edges()
    assert (ends == 31).sum() == (ends == 32).sum() == 4
    np.testing.assert_allclose(weights, naive(images, ends, POWERS[weight]), rtol=1e-12)
    assert after.weight == weight


@of_images
def test_weights_of_images_are_refused_without_a_distance(weight, monkeypatch):
    codes = np.random.default_rng(4).normal(size=(11, 2))
    built = graph.build(codes, GraphConfig(weight=weight), distance_in(images_of(11)))
    message = f"graph.weight={weight} needs the images .*; pass `distance` too, or use"
    with pytest.raises(UserError, match=message):
        attach(built, codes, codes[:1], k=1)
    monkeypatch.setattr(
        graph.knn.Index, "nearest", None
    )  # refused before neighbours are searched for
    with pytest.raises(UserError, match=message):
        graph.build(codes, GraphConfig(weight=weight))


@pytest.mark.parametrize("scale", [2.0**-300, 2.0**-100, 2.0**100, 2.0**300])
def test_the_unit_of_codes_does_not_change_the_way(scale):
    codes = np.random.default_rng(0).random((211, 2))
    config = GraphConfig(kind="knn", k=7, weight="density")
    plain, scaled = graph.build(codes, config), graph.build(codes * scale, config)
    np.testing.assert_allclose(scaled.weights, plain.weights * scale**3, rtol=1e-12)
    ways = [search.shortest_path(made, 3, 17).nodes.tolist() for made in (plain, scaled)]
    assert ways[0] == ways[1]


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (1e-110, r"at most .*e-111 long, and float64 holds no cubes.*multiply the codes"),
        (1e150, r"up to inf add up to more than|not finite.*: inf"),
    ],
)
def test_codes_whose_cubes_float64_can_not_hold_are_refused_but_for_latent_weights(scale, message):
    codes = np.random.default_rng(0).random((211, 2)) * scale
    with pytest.raises(UserError, match=message):
        graph.build(codes, GraphConfig(kind="knn", k=7, weight="density"))
    assert graph.build(codes, GraphConfig(kind="knn", k=7, weight="latent")).weights.min() > 0


@pytest.mark.parametrize("weight", ["decoded", "pullback"])
def test_weights_by_the_decoder_are_what_it_says(weight):
    codes = np.random.default_rng(4).normal(size=(11, 2))
    config = GraphConfig(weight=weight)
    with pytest.raises(UserError, match=f"graph.weight={weight} needs the decoder, but only"):
        graph.build(codes, config)
    made = graph.build(codes, config, lambda ends: ends.sum(axis=1) / 8)
    ends, weights = made.edges()
    np.testing.assert_array_equal(weights, ends.sum(axis=1) / 8)
    assert made.weight == weight


def test_only_latent_weights_claim_to_be_euclidean():
    codes = np.random.default_rng(4).normal(size=(37, 3))
    made = graph.build(codes, GraphConfig(weight="latent"))
    ends, weights = made.edges()
    apart = codes[ends[:, 0]] - codes[ends[:, 1]]
    np.testing.assert_allclose(weights, np.linalg.norm(apart, axis=1), rtol=1e-12)
    assert csr.from_edges(ends, weights / 2, num_nodes=37).weight == "given"
    assert csr.LatentGraph(indptr=np.zeros(1), indices=ends, weights=weights).weight == "given"


@pytest.mark.parametrize(
    ("distance", "message"),
    [
        (lambda ends: np.full(len(ends), np.nan), "not finite"),
        (lambda ends: np.full(len(ends), -1.0), "negative"),
        (lambda ends: np.zeros(3), "one weight an edge"),
    ],
)
def test_distances_that_are_none_are_refused(distance, message):
    codes = np.random.default_rng(4).normal(size=(11, 2))
    with pytest.raises(UserError, match=message):
        graph.build(codes, GraphConfig(weight="image"), distance)


@of_images
def test_a_cached_graph_keeps_what_it_weighs(tmp_path, weight):
    codes, images = np.random.default_rng(6).normal(size=(19, 2)), images_of(20)
    built = graph.build(codes, GraphConfig(weight=weight), distance_in(images))
    save_graph(tmp_path / "graph.npz", built, stamp="a")
    again = load_graph(tmp_path / "graph.npz", stamp="a")
    assert (again.weight, again.facts()) == (weight, built.facts())
    np.testing.assert_array_equal(again.weights, built.weights)
    joined = attach(again, codes, codes[:1] + 0.01, k=1, distance=distance_in(images))
    expected = naive(images, np.array([[0, 19]]), POWERS[weight])
    np.testing.assert_allclose(joined.edges()[1][joined.edges()[0][:, 1] == 19], expected)
