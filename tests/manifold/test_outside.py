"""Further nodes of a graph, against the graph made from all edges again."""

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxsurf.errors import UserError
from jaxsurf.manifold import graph, knn, search
from jaxsurf.manifold.edges import csr
from jaxsurf.manifold.edges.saved import load_graph, save_graph
from jaxsurf.manifold.outside import attach

POINTS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 17), st.just(2)),
    elements=st.integers(-4, 4).map(float),
)


@settings(max_examples=60, deadline=None, database=None)
@given(POINTS, st.integers(1, 5), st.data())
def test_attaching_equals_making_the_graph_from_all_edges(codes, new, data):
    k = data.draw(st.integers(1, len(codes)))
    added = data.draw(hnp.arrays(np.float64, (new, 2), elements=st.integers(-4, 4).map(float)))
    before = graph.knn_graph(knn.nearest(codes, k=1), k=1)
    if data.draw(st.booleans()):
        assert len(before.components) == len(codes)  # known, and kept where it stays
    after = attach(before, codes, added, k=k)
    near = knn.nearest_to(codes, added, k=k)
    tails = np.repeat(len(codes) + np.arange(new), k)
    ends, weights = before.edges()
    again = csr.from_edges(
        np.concatenate([ends, np.stack([near.indices.ravel(), tails], axis=1)]),
        np.concatenate([weights, near.distances.ravel()]),
        num_nodes=len(codes) + new,
    )
    for name in ("indptr", "indices", "weights", "components"):
        np.testing.assert_array_equal(getattr(after, name), getattr(again, name))
    assert after.facts()["nodes"] == len(codes) + new


def test_components_that_are_known_are_not_looked_for_again(monkeypatch):
    codes = np.array([[0.0, 0], [1, 0], [9, 0], [10, 0]])
    before = graph.knn_graph(knn.nearest(codes, k=1), k=1)
    assert before.components.tolist() == [0, 0, 1, 1]
    monkeypatch.setattr(csr.csgraph, "connected_components", None)
    one = attach(before, codes, codes[2:3] + 0.1, k=2)
    assert one.components.tolist() == [0, 0, 1, 1, 1]
    assert attach(one, np.append(codes, codes[2:3] + 0.1, axis=0), codes[:1], k=2).num_nodes == 6


def test_a_node_between_components_joins_them():
    codes = np.array([[0.0], [1], [3], [4]])
    before = graph.knn_graph(knn.nearest(codes, k=1), k=1)
    assert set(before.components) == {0, 1}
    assert set(attach(before, codes, np.array([[2.0]]), k=2).components) == {0}


def test_an_index_that_is_at_hand_is_asked_and_no_engine_made(monkeypatch):
    codes = np.random.default_rng(1).normal(size=(61, 2))
    index = knn.Index(codes)
    before = graph.build(index, graph.GraphConfig(weight="latent"))
    for made in ("compiled", "ranked"):
        monkeypatch.setattr(knn.exact, made, None)
    plain = attach(before, index, codes[:3] + 0.01, k=4)
    scanned = attach(before, codes, codes[:3] + 0.01, k=4)  # three are not worth an engine
    np.testing.assert_array_equal(plain.indices, scanned.indices)
    np.testing.assert_array_equal(plain.weights, scanned.weights)


@settings(max_examples=60, deadline=None, database=None)
@given(POINTS, st.integers(1, 3), st.data())
def test_a_path_tells_each_gap_between_components_that_it_crosses_by_a_new_node(codes, new, data):
    k = data.draw(st.integers(1, len(codes)))
    added = data.draw(hnp.arrays(np.float64, (new, 2), elements=st.integers(-4, 4).map(float)))
    before = graph.knn_graph(knn.nearest(codes, k=1), k=1)
    theirs = nx.Graph(map(tuple, before.edges()[0]))
    islands = list(nx.connected_components(theirs))
    own = {node: number for number, island in enumerate(islands) for node in island}
    for place, near in enumerate(knn.nearest_to(codes, added, k=k).indices):
        own[len(codes) + place] = own[near[0]]
    after = attach(before, codes, added, k=k)
    csr.check(after, origin="it")
    for source, target in [(0, len(codes) - 1), (0, len(codes)), (len(codes), len(codes) - 1)]:
        if after.components[source] != after.components[target]:
            continue
        nodes = search.shortest_path(after, source, target).nodes.tolist()
        crossed = [[a, b] for a, b in itertools.pairwise(nodes) if own[a] != own[b]]
        assert after.bridges_along(np.array(nodes)).tolist() == crossed
        assert not crossed or "which bridges its components" in after.description


def test_bridges_are_kept():
    codes = np.array([[0.0], [1], [7], [8]])
    config = graph.GraphConfig(kind="knn", k=1, weight="latent", repair=True)
    after = attach(graph.build(codes, config), codes, np.array([[9.0]]), k=1)
    assert after.bridges.tolist() == [[1, 2]]
    assert after.bridges_along(np.array([4, 3, 2, 1, 0])).tolist() == [[2, 1]]


def test_a_graph_of_given_weights_takes_no_further_nodes():
    made = csr.from_edges([[0, 1]], [7.0], num_nodes=2)
    with pytest.raises(UserError, match="weights of its own"):
        attach(made, np.zeros((2, 1)), np.zeros((1, 1)), k=1)


@pytest.mark.parametrize(
    ("added", "k", "message"),
    [
        ([[np.nan, 0]], 1, "1 of 1 queries are not finite .*row 0"),
        ([[0.0, 1, 2]], 1, "queries have 3 dimensions, but latent codes 2"),
        ([[0.0, 0]], 6, "k is 6, but there are 5 points"),
    ],
)
def test_attaching_refuses(added, k, message):
    codes = np.random.default_rng(1).normal(size=(5, 2))
    made = graph.smallest_connecting(codes)
    with pytest.raises(UserError, match=message):
        attach(made, codes, np.array(added), k=k)


def test_attached_points_are_joined_to_their_nearest_and_nothing_else_changes():
    codes = np.random.default_rng(4).normal(size=(31, 3))
    added = np.random.default_rng(5).normal(size=(2, 3))
    before = graph.smallest_connecting(codes)
    after = attach(before, codes, added, k=4)
    pairs, weights = after.edges()
    old = (pairs < 31).all(axis=1)
    np.testing.assert_array_equal(pairs[old], before.edges()[0])
    np.testing.assert_array_equal(weights[old], before.edges()[1])
    for number, point in enumerate(added, start=31):
        distances = np.linalg.norm(codes - point, axis=1)
        mine = pairs[:, 1] == number
        assert set(pairs[mine, 0]) == set(np.argsort(distances)[:4])
        np.testing.assert_allclose(np.sort(weights[mine]), np.sort(distances)[:4], rtol=1e-6)


def test_attached_points_are_weighed_as_the_graph_is(tmp_path):
    codes = np.random.default_rng(6).normal(size=(20, 2))
    built = graph.build(codes, graph.GraphConfig(weight="density"))
    save_graph(tmp_path / "graph.npz", built, stamp="a")
    built = load_graph(tmp_path / "graph.npz", stamp="a")
    joined = attach(built, codes, codes[:1] + 0.01, k=1)
    assert joined.weight == "density"
    np.testing.assert_allclose(joined.weights[-1], (2 * 0.01**2) ** 1.5, rtol=1e-6)
