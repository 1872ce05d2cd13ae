"""Graphs over latent codes: what is joined, with what weight, and which k is the smallest."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxsurf.errors import UserError
from jaxsurf.manifold import cache, csr, graph, knn, search

POINTS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 17), st.integers(1, 3)),
    elements=st.integers(-4, 4).map(float),
)
properties = settings(max_examples=60, deadline=None, database=None)


def naive_knn_graph(codes, k):
    """The symmetric k-NN graph by loops, for networkx."""
    distances = np.sqrt(((codes[:, None] - codes[None]) ** 2).sum(-1))
    np.fill_diagonal(distances, np.inf)
    made = nx.Graph()
    made.add_nodes_from(range(len(codes)))
    for i, row in enumerate(distances):
        for j in np.argsort(row, kind="stable")[:k]:
            made.add_edge(i, int(j), weight=float(row[j]))
    return made


def naive_smallest_k(codes):
    """Rebuild the graph for every k until it is connected."""
    k = 1
    while not nx.is_connected(naive_knn_graph(codes, k)):
        k += 1
    return k


def assert_same(ours, theirs):
    ends, weights = ours.edges()
    expected = {(min(edge), max(edge)): theirs.edges[edge]["weight"] for edge in theirs.edges}
    assert ours.num_nodes == theirs.number_of_nodes()
    assert ours.num_edges == len(expected)
    assert dict(zip(map(tuple, ends.tolist()), weights, strict=True)) == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_knn_graph_joins_what_the_naive_one_joins(k):
    codes = np.random.default_rng(0).normal(size=(53, 3))
    ours = graph.knn_graph(knn.nearest(codes, k=7), k=k)
    assert_same(ours, naive_knn_graph(codes, k))
    assert ours.k == k


def test_radius_graph_joins_all_pairs_within():
    codes = np.array([[0.0, 0], [3, 4], [3, 5], [9, 9]])
    ends, weights = graph.radius_graph(codes, radius=5).edges()
    assert ends.tolist() == [[0, 1], [1, 2]]
    assert weights.tolist() == [5, 1]


@pytest.mark.parametrize("dimensions", [1, 2, 3, 12])
@pytest.mark.parametrize("first_k", [1, 2, 8, 500])
def test_smallest_k_equals_the_rebuild_loop(dimensions, first_k):
    rng = np.random.default_rng(dimensions)
    codes = np.concatenate(
        [rng.normal(size=(23, dimensions)), 9 + rng.normal(size=(6, dimensions))]
    )
    ours = graph.smallest_connecting(codes, first_k=first_k)
    assert ours.k == naive_smallest_k(codes) > 1
    assert_same(ours, naive_knn_graph(codes, ours.k))


@properties
@given(POINTS)
def test_smallest_k_connects_and_one_less_does_not(codes):
    ours = graph.smallest_connecting(codes)
    assert nx.is_connected(naive_knn_graph(codes, ours.k))
    assert ours.k == 1 or not nx.is_connected(naive_knn_graph(codes, ours.k - 1))
    assert set(ours.components) == {0}


def test_smallest_k_takes_one_neighbour_query_where_the_first_suffices(monkeypatch):
    calls = []
    nearest = knn.nearest
    monkeypatch.setattr(knn, "nearest", lambda codes, *, k: calls.append(k) or nearest(codes, k=k))
    codes = np.random.default_rng(4).normal(size=(97, 2))
    assert 1 < graph.smallest_connecting(codes).k <= 8
    assert calls == [8]


@properties
@given(POINTS, st.data())
def test_rows_are_symmetric_sorted_and_without_loops(codes, data):
    made = graph.knn_graph(
        knn.nearest(codes, k=len(codes) - 1), k=data.draw(st.integers(1, len(codes) - 1))
    )
    dense = np.full((made.num_nodes, made.num_nodes), np.nan)
    dense[made.rows, made.indices] = made.weights
    np.testing.assert_array_equal(dense, dense.T)
    assert np.isnan(dense.diagonal()).all()
    assert all(
        (np.diff(made.indices[start:stop]) > 0).all()
        for start, stop in zip(made.indptr, made.indptr[1:], strict=False)
    )


def test_edges_between_coincident_points_have_weight_zero_and_connect():
    codes = np.array([[1.0, 1], [1, 1], [1, 1], [2, 1]])
    made = graph.build(codes, graph.GraphConfig(kind="knn", k=2))
    assert made.num_edges == 5
    assert (made.edges()[1] == 0).sum() == 3
    assert graph.radius_graph(codes, radius=0).components.tolist() == [0, 0, 0, 1]


def test_coincident_groups_need_a_k_that_leaves_the_group():
    codes = np.repeat([[0.0], [1.0], [3.0]], 11, axis=0)
    assert graph.smallest_connecting(codes).k == naive_smallest_k(codes) == 11


def test_permuted_points_give_the_permuted_graph():
    rng = np.random.default_rng(6)
    codes, order = rng.normal(size=(59, 2)), rng.permutation(59)
    straight, shuffled = graph.smallest_connecting(codes), graph.smallest_connecting(codes[order])
    assert straight.k == shuffled.k
    back = csr.from_edges(order[shuffled.edges()[0]], shuffled.edges()[1], num_nodes=59)
    np.testing.assert_array_equal(back.indices, straight.indices)
    np.testing.assert_array_equal(back.weights, straight.weights)


def test_isolated_points_are_components_of_their_own():
    made = csr.from_edges([[0, 3], [1, 4], [4, 5]], [1, 1, 0], num_nodes=7)
    assert made.components.tolist() == [0, 1, 2, 0, 1, 1, 3]


def test_two_points_make_one_edge():
    ends, weights = graph.smallest_connecting(np.array([[0.0, 0], [3, 4]])).edges()
    assert ends.tolist() == [[0, 1]]
    assert weights.tolist() == [5]


@pytest.mark.parametrize(
    ("config", "description"),
    [
        ({}, "k-NN graph with k = 2, the smallest that connects"),
        ({"kind": "knn", "k": 3}, "k-NN graph with k = 3"),
        ({"kind": "radius", "radius": 2.5}, "radius graph with radius = 2.5"),
    ],
)
def test_build_follows_the_configuration(config, description):
    codes = np.array([[0.0], [1], [3], [4], [8], [9]])
    made = graph.build(codes, graph.GraphConfig(**config))
    assert made.description == description


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "mutual"}, "graph.kind=mutual is unknown or not built yet; use one of: smallest"),
        ({"weight": "pullback"}, "graph.weight=pullback is unknown or not built yet"),
        ({"kind": "knn"}, "graph.k is 0"),
        ({"kind": "knn", "k": -2}, "graph.k is -2"),
        ({"kind": "radius"}, "graph.radius is 0.0"),
        ({"kind": "radius", "radius": float("nan")}, "graph.radius is nan"),
        ({"k": 3}, "graph.k has no meaning with graph.kind=smallest"),
        ({"kind": "knn", "k": 3, "radius": 1.0}, "graph.radius has no meaning with graph.kind=knn"),
    ],
)
def test_configuration_refuses(config, message):
    with pytest.raises(UserError, match=message):
        graph.GraphConfig(**config)


def test_building_refuses_one_point_and_more_neighbours_than_known():
    with pytest.raises(UserError, match="one point"):
        graph.smallest_connecting(np.zeros((1, 2)))
    with pytest.raises(UserError, match="k is 4, but 3 neighbours"):
        graph.knn_graph(knn.nearest(np.zeros((5, 2)), k=3), k=4)


@pytest.mark.parametrize(
    ("ends", "weights", "message"),
    [
        ([[0, 3]], [1.0], "join nodes 0 to 3, but nodes are 0 to 2"),
        ([[-1, 1]], [1.0], "join nodes -1"),
        ([[0, 1], [1, 1]], [1.0, 1.0], "edge 1 joins node 1 to itself"),
        ([[0, 1], [1, 2]], [1.0, -1.0], r"of edge \[1, 2\]: -1"),
        ([[0, 1]], [np.nan], "not finite"),
        ([[0, 1]], [1.0, 2.0], "one weight an edge"),
    ],
)
def test_from_edges_refuses(ends, weights, message):
    with pytest.raises(UserError, match=message):
        csr.from_edges(ends, weights, num_nodes=3)


def test_a_saved_graph_comes_back_under_its_stamp_only(tmp_path):
    made = graph.smallest_connecting(np.repeat(np.arange(5.0), 2)[:, None])
    graph.save_graph(tmp_path / "graph.npz", made, stamp="step 3 of abc")
    again = graph.load_graph(tmp_path / "graph.npz", stamp="step 3 of abc")
    for name in ("indptr", "indices", "weights"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    assert (again.k, again.description) == (made.k, made.description)
    with pytest.raises(cache.StaleCache, match="made from step 3 of abc, but step 4 of abc"):
        graph.load_graph(tmp_path / "graph.npz", stamp="step 4 of abc")


@pytest.mark.parametrize(
    "damage",
    [
        {"indices": np.array([1, 2, 1, 1])},  # 1 -> 2, but not back
        {"indices": np.array([1, 0, 2, 9])},
        {"indptr": np.array([0, 1, 3])},
        {"weights": np.array([1.0, 1, 2, 3])},
        {"weights": np.array([1.0, 1, -2, -2])},
    ],
)
def test_a_damaged_graph_is_refused(tmp_path, damage):
    good = {
        "indptr": np.array([0, 1, 3, 4]),
        "indices": np.array([1, 0, 2, 1]),
        "weights": np.array([1.0, 1, 2, 2]),
    }
    path = tmp_path / "graph.npz"
    cache.save(path, stamp="a", **good, k=1, description="", weight="latent")
    assert graph.load_graph(path, stamp="a").num_edges == 2
    cache.save(path, stamp="a", **(good | damage), k=1, description="", weight="latent")
    with pytest.raises(UserError):
        graph.load_graph(path, stamp="a")


def test_a_cache_of_something_else_is_refused(tmp_path):
    cache.save(tmp_path / "x.npz", stamp="a", codes=np.zeros(3))
    with pytest.raises(
        UserError, match="holds no indptr, indices, weights, k, description, weight"
    ):
        graph.load_graph(tmp_path / "x.npz", stamp="a")


def test_attached_points_are_joined_to_their_nearest_and_nothing_else_changes():
    codes = np.random.default_rng(4).normal(size=(31, 3))
    added = np.random.default_rng(5).normal(size=(2, 3))
    before = graph.smallest_connecting(codes)
    after = graph.attach(before, codes, added, k=4)
    pairs, weights = after.edges()
    old = (pairs < 31).all(axis=1)
    np.testing.assert_array_equal(pairs[old], before.edges()[0])
    np.testing.assert_array_equal(weights[old], before.edges()[1])
    for number, point in enumerate(added, start=31):
        distances = np.linalg.norm(codes - point, axis=1)
        mine = pairs[:, 1] == number
        assert set(pairs[mine, 0]) == set(np.argsort(distances)[:4])
        np.testing.assert_allclose(np.sort(weights[mine]), np.sort(distances)[:4], rtol=1e-6)


def test_density_weights_take_many_short_steps_over_one_long_one():
    # Five points bent about a corner, and the same graph: all within reach of one another.
    codes = np.array([[0.0, 0], [1, 0.4], [2, 0.5], [3, 0.4], [4, 0]])
    plain, dense = (
        graph.build(codes, graph.GraphConfig(kind="radius", radius=5, weight=weight))
        for weight in ("latent", "density")
    )
    np.testing.assert_array_equal(dense.weights, plain.weights**3)
    assert (plain.weight, dense.weight) == ("latent", "density")
    assert search.shortest_path(plain, 0, 4).nodes.tolist() == [0, 4]
    assert search.shortest_path(dense, 0, 4).nodes.tolist() == [0, 1, 2, 3, 4]


def test_attached_points_are_weighed_as_the_graph_is(tmp_path):
    codes = np.random.default_rng(6).normal(size=(20, 2))
    built = graph.build(codes, graph.GraphConfig(weight="density"))
    graph.save_graph(tmp_path / "graph.npz", built, stamp="a")
    built = graph.load_graph(tmp_path / "graph.npz", stamp="a")
    joined = graph.attach(built, codes, codes[:1] + 0.01, k=1)
    assert joined.weight == "density"
    np.testing.assert_allclose(joined.weights[-1], (2 * 0.01**2) ** 1.5, rtol=1e-6)
