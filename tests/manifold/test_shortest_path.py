"""Shortest paths and lengths by every method, against SciPy, networkx and known answers."""

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csgraph
from scipy.spatial import distance

from jaxsurf.manifold import search_kernels, shortest_path
from jaxsurf.manifold.latent_graph import from_edges

WITHOUT_CODES = ("igraph", "dijkstra", "bidirectional", "landmarks")
few = settings(max_examples=25, deadline=None, database=None)
seeds = st.integers(0, 2**32 - 1)


def rolled_up(points, *, seed=0):
    """Return codes on a rolled-up sheet, where the straight line is a bad guide."""
    rng = np.random.default_rng(seed)
    angle, height = rng.uniform(4, 14, points), rng.uniform(0, 9, points)
    return np.stack([angle * np.cos(angle), height, angle * np.sin(angle)], axis=1)


def knn_graph(codes, *, k=6):
    """Return the graph that joins each point to its k nearest; edges weigh their length."""
    apart = distance.cdist(codes, codes)
    near = np.argsort(apart + np.diag(np.full(len(codes), np.inf)), axis=1)[:, :k]
    ends = np.stack([np.repeat(np.arange(len(codes)), near.shape[1]), near.ravel()], axis=1)
    return from_edges(ends, apart[tuple(ends.T)], num_nodes=len(codes), weight="latent")


def oracle(made, sources=None):
    return csgraph.dijkstra(made.matrix(made.weights), indices=sources)


def joined_pairs(made):
    components = made.components
    return np.argwhere(components[:, None] == components).tolist()


def check_paths(made, pairs, paths):
    """Hold paths to SciPy's lengths, and to being walks of their length."""
    for (source, target), path in zip(pairs, paths, strict=True):
        assert (path.nodes[0], path.nodes[-1]) == (source, target)
        assert path.length == pytest.approx(made.weights_along(path.nodes).sum(), rel=1e-12)
        assert path.length == pytest.approx(oracle(made, source)[target], rel=1e-9)


ROLL = rolled_up(401)


@pytest.fixture
def roll():
    return knn_graph(ROLL)


@pytest.mark.core
@pytest.mark.parametrize("method", [*WITHOUT_CODES, "astar"])
def test_nodes_and_lengths_equal_the_oracles_for_each_pair_in_order(roll, method):
    pairs = [(7, 0), (5, 5), (300, 13), (7, 400), (7, 0), (13, 300)]
    ends, weights = roll.edges()
    theirs = nx.Graph()
    theirs.add_weighted_edges_from(zip(*ends.T.tolist(), weights.tolist(), strict=True))
    paths = shortest_path.shortest_paths(roll, pairs, codes=ROLL, method=method)
    assert {path.method for path in paths} == {method}
    for (source, target), path in zip(pairs, paths, strict=True):
        assert path.nodes.tolist() == nx.dijkstra_path(theirs, source, target)
        assert path.length == pytest.approx(oracle(roll, source)[target], rel=1e-12)
        ends = [(source, target)]
        (alone,) = shortest_path.shortest_paths(roll, ends, codes=ROLL, method=method)
        assert (alone.nodes.tolist(), alone.length) == (path.nodes.tolist(), path.length)
    assert shortest_path.shortest_paths(roll, [], codes=ROLL, method=method) == []


@pytest.mark.parametrize("method", [*WITHOUT_CODES, "auto"])
@few
@given(seed=seeds, num_nodes=st.integers(1, 13), density=st.sampled_from([0.1, 0.3, 0.8]))
def test_ties_edges_of_no_weight_and_components_are_no_trouble(method, seed, num_nodes, density):
    rng = np.random.default_rng(seed)
    ends = np.array(np.triu_indices(num_nodes, 1)).T
    ends = ends[rng.random(len(ends)) < density]
    weights = rng.integers(0, 4, len(ends)).astype(float)
    made = from_edges(ends, weights, num_nodes=num_nodes, weight="density")
    pairs = joined_pairs(made)
    check_paths(made, pairs, shortest_path.shortest_paths(made, pairs, method=method))


@pytest.mark.parametrize("method", ["landmarks", "astar"])
@few
@given(
    seed=seeds,
    points=st.integers(2, 19),
    dimensions=st.sampled_from([1, 2, 37]),
    scale=st.sampled_from([1 / 3, 1e-40, 1e40]),
    offset=st.sampled_from([0.0, 1e6]),
)
def test_coincident_collinear_and_rounded_codes_are_no_trouble(
    method, seed, points, dimensions, scale, offset
):
    """Sums of many squares, too, depend on the order in which they are added up."""
    codes = np.random.default_rng(seed).integers(0, 5, size=(points, dimensions)) + offset
    codes = codes * scale
    made = knn_graph(codes, k=min(3, points - 1))
    pairs = joined_pairs(made)
    found = shortest_path.shortest_paths(made, pairs, codes=codes, method=method)
    check_paths(made, pairs, found)


@pytest.mark.parametrize("method", ["bidirectional", "landmarks"])
def test_of_very_many_nearly_equal_paths_the_shortest_is_found(method):
    """On a grid most paths are alike, so that bounds which are hardly too large mislead."""
    nodes = np.arange(31 * 37).reshape(31, 37)
    ends = np.concatenate(
        [np.stack([some[:-1].ravel(), some[1:].ravel()], axis=1) for some in (nodes, nodes.T)]
    )
    weights = 1 + 1e-4 * np.random.default_rng(0).random(len(ends))
    made = from_edges(ends, weights, num_nodes=nodes.size)
    pairs = [(source, 1146 - 3 * source) for source in range(0, 370, 37)]
    check_paths(made, pairs, shortest_path.shortest_paths(made, pairs, method=method))


def test_landmarks_serve_all_components_and_save_work():
    codes = np.concatenate([rolled_up(1009), rolled_up(83, seed=1) + 500])
    made, reached = knn_graph(codes), {}
    pairs = [(3, 999), (1010, 1091), (40, 700)]
    prepared = search_kernels.prepare(made)
    for method in ("bidirectional", "astar", "landmarks"):
        states = [search_kernels._make_state(1092) for _ in range(2)]
        for state in states:
            state.reached[:] = -1
        prepared._states = states.copy()
        found = shortest_path.shortest_paths(made, pairs[:1], codes=codes, method=method)
        reached[method] = sum((state.reached >= 0).sum() for state in states)
        found += shortest_path.shortest_paths(made, pairs[1:], codes=codes, method=method)
        check_paths(made, pairs, found)
    assert reached["landmarks"] < min(reached["bidirectional"], reached["astar"]) / 2


@pytest.mark.parametrize("method", ["dijkstra", "bidirectional", "astar", "landmarks"])
def test_threads_may_share_a_graph(method, monkeypatch):
    codes = rolled_up(307)
    pairs = np.random.default_rng(5).integers(0, 307, (31, 2)).tolist()
    made = knn_graph(codes)
    monkeypatch.setattr(search_kernels.os, "sched_getaffinity", lambda _: range(3), raising=False)
    with ThreadPoolExecutor(5) as pool:
        calls = [
            pool.submit(shortest_path.shortest_paths, made, pairs, codes=codes, method=method)
            for _ in range(7)
        ]
    for call in calls:
        check_paths(made, pairs, call.result())


def test_small_graphs_load_nothing_of_the_compiled_search():
    code = (
        "import sys, numpy as np; from jaxsurf.manifold import shortest_path;"
        "from jaxsurf.manifold.latent_graph import from_edges;"
        "ends = np.stack([np.arange(1599), np.arange(1, 1600)], axis=1);"
        "made = from_edges(ends, np.ones(1599), num_nodes=1600);"
        "assert shortest_path.shortest_paths(made, [(3, 1500)])[0].method == 'igraph';"
        "assert 'numba' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_auto_follows_the_rules_of_the_module(roll, monkeypatch):
    monkeypatch.setattr(shortest_path, "_FEW_NODES", 0)

    def methods(made, pairs, codes=None):
        paths = shortest_path.shortest_paths(made, pairs, codes=codes)
        check_paths(made, pairs, paths)
        return [path.method for path in paths]

    one = [(3, 300)]
    assert methods(roll, one, ROLL) == ["astar"]
    assert methods(roll, one) == ["bidirectional"]
    for weight in ("density", "given"):
        assert methods(dataclasses.replace(roll, weight=weight), one, ROLL) == ["bidirectional"]
    fresh = dataclasses.replace(roll)
    star = [(7, target) for target in range(40)]
    assert methods(fresh, star + one) == ["dijkstra"] * 40 + ["bidirectional"]
    assert methods(fresh, [(source, 9) for source in range(126)], ROLL) == ["astar"] * 126
    assert methods(fresh, one, ROLL) == ["landmarks"]


@pytest.mark.parametrize("method", ["igraph", "dijkstra", "relaxation"])
def test_distances_equal_scipys_and_are_infinite_where_no_path_leads(method):
    rng = np.random.default_rng(1)
    # A node with many more neighbours than relaxation's rows have slots, others, and one alone.
    ends = np.concatenate([[[0, leaf] for leaf in range(1, 60)], rng.integers(61, 99, (80, 2))])
    ends = ends[ends[:, 0] != ends[:, 1]]
    weights = rng.integers(0, 5, len(ends)).astype(float)
    made = from_edges(ends, weights, num_nodes=99)
    sources = [3, 61, 60, 3, 77]
    expected = oracle(made, sources)
    assert np.isinf(expected).any()
    found = shortest_path.distances(made, sources, method=method)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert jax.numpy.ones(1).dtype == np.float32  # as it was
