"""Shortest paths against SciPy, networkx and graphs whose answer is known."""

import gc
import weakref

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csgraph

from jaxsurf.errors import UserError
from jaxsurf.manifold import csr, graph, plain, search


@pytest.fixture(scope="module")
def swiss_roll():
    """A graph over a rolled-up sheet, where the straight way is a bad one."""
    rng = np.random.default_rng(0)
    angle, height = rng.uniform(4, 14, 401), rng.uniform(0, 9, 401)
    codes = np.stack([angle * np.cos(angle), height, angle * np.sin(angle)], axis=1)
    return graph.smallest_connecting(codes)


def scipy_matrix(made):
    return scipy.sparse.csr_array((made.weights, made.indices, made.indptr))


def networkx_graph(made):
    theirs = nx.Graph()
    theirs.add_nodes_from(range(made.num_nodes))
    ends, weights = made.edges()
    theirs.add_weighted_edges_from(
        (*pair, w) for pair, w in zip(ends.tolist(), weights, strict=True)
    )
    return theirs


def test_length_and_nodes_equal_scipy_and_networkx(swiss_roll):
    theirs = networkx_graph(swiss_roll)
    lengths, before = csgraph.dijkstra(
        scipy_matrix(swiss_roll), indices=7, return_predecessors=True
    )
    for target in (0, 13, 200, 400):
        ours = search.shortest_path(swiss_roll, 7, target)
        assert ours.length == pytest.approx(lengths[target], rel=1e-6)
        assert ours.nodes.tolist() == nx.dijkstra_path(theirs, 7, target)
        walked = [target]
        while walked[-1] != 7:
            walked.append(int(before[walked[-1]]))
        assert ours.nodes.tolist() == walked[::-1]


def test_hand_made_graph_takes_the_detour_that_is_shorter():
    ends = [[0, 1], [1, 2], [0, 2], [2, 3], [3, 4]]
    made = csr.from_edges(ends, [1.0, 1.0, 2.5, 0.0, 4.0], num_nodes=5)
    path = search.shortest_path(made, 4, 0)
    assert path.nodes.tolist() == [4, 3, 2, 1, 0]
    assert path.length == 6.0


def test_many_pairs_equal_one_by_one_in_their_order(swiss_roll):
    pairs = [(5, 9), (7, 300), (5, 5), (5, 9), (300, 7), (5, 44)]
    together = search.shortest_paths(swiss_roll, pairs)
    for (source, target), path in zip(pairs, together, strict=True):
        alone = search.shortest_path(swiss_roll, source, target)
        assert path.nodes.tolist() == alone.nodes.tolist()
        assert path.length == alone.length


def test_many_pairs_take_one_search_a_source(swiss_roll, monkeypatch):
    calls = []

    class Counting:
        def get_shortest_paths(self, source, **options):
            calls.append(source)
            return real.get_shortest_paths(source, **options)

    real = plain.engine(swiss_roll)
    monkeypatch.setattr(plain, "engine", lambda _: Counting())
    search.shortest_paths(swiss_roll, [(5, 9), (7, 300), (5, 5), (5, 44)])
    assert calls == [5, 7]


def test_the_engine_is_made_once_and_dies_with_its_graph():
    made = graph.smallest_connecting(np.arange(5.0)[:, None])
    assert plain.engine(made) is plain.engine(made)
    engine = weakref.ref(plain.engine(made))
    del made
    gc.collect()
    assert engine() is None


def test_no_pairs_give_no_paths(swiss_roll):
    assert search.shortest_paths(swiss_roll, []) == []


def test_source_equal_to_target_is_one_node_of_length_zero(swiss_roll):
    path = search.shortest_path(swiss_roll, 11, 11)
    assert path.nodes.tolist() == [11]
    assert path.length == 0.0


@settings(max_examples=60, deadline=None, database=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 19))
def test_length_is_the_sum_of_edges_and_no_longer_than_any_other_way(seed, points):
    codes = np.random.default_rng(seed).integers(0, 5, size=(points, 2)).astype(float)
    made = graph.smallest_connecting(codes)
    theirs = dict(nx.all_pairs_dijkstra_path_length(networkx_graph(made)))
    for target in range(points):
        path = search.shortest_path(made, 0, target)
        corners = codes[path.nodes]
        assert path.length == pytest.approx(np.linalg.norm(np.diff(corners, axis=0), axis=1).sum())
        assert path.length == pytest.approx(theirs[0][target], rel=1e-6)
        assert path.nodes[0] == 0
        assert path.nodes[-1] == target


def test_permuted_points_give_the_permuted_path():
    rng = np.random.default_rng(8)
    codes, order = rng.normal(size=(83, 2)), rng.permutation(83)
    straight = search.shortest_path(graph.smallest_connecting(codes), order[0], order[1])
    shuffled = search.shortest_path(graph.smallest_connecting(codes[order]), 0, 1)
    assert order[shuffled.nodes].tolist() == straight.nodes.tolist()


def test_an_unreachable_target_is_refused_with_sizes_and_cure():
    made = csr.from_edges([[0, 1], [2, 3], [3, 4]], [1.0, 1.0, 1.0], num_nodes=5)
    with pytest.raises(
        UserError, match=r"0 .source. and 4 .target.* of 2 and 3 nodes; use a larger k"
    ):
        search.shortest_path(made, 0, 4)


@pytest.mark.parametrize(("source", "target"), [(-1, 0), (0, -1), (401, 0), (0, 401)])
def test_an_end_that_is_no_node_is_refused_with_the_range(swiss_roll, source, target):
    with pytest.raises(UserError, match=r"(source|target) is (-1|401).*from 0 to 400"):
        search.shortest_path(swiss_roll, source, target)


def test_weights_along_refuses_what_is_no_walk():
    made = csr.from_edges([[0, 1], [1, 2]], [1.0, 3.0], num_nodes=3)
    assert made.weights_along(np.array([2, 1, 0])).tolist() == [3.0, 1.0]
    assert made.weights_along(np.array([2])).tolist() == []
    for walk in ([0, 2], [2, 0], [1, 1]):
        with pytest.raises(ValueError, match="is not a walk"):
            made.weights_along(np.array(walk))
