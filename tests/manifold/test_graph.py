"""Graphs over latent codes: what is joined, with what weight, and which k is the smallest."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxsurf.errors import UserError
from jaxsurf.manifold import graph, knn, search
from jaxsurf.manifold.components import spanning
from jaxsurf.manifold.edges import csr
from jaxsurf.manifold.neighbours import within

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


def naive_mutual_graph(codes, k):
    """An edge only where both ends list each other."""
    distances = np.sqrt(((codes[:, None] - codes[None]) ** 2).sum(-1))
    np.fill_diagonal(distances, np.inf)
    nearest = [set(np.argsort(row, kind="stable")[:k].tolist()) for row in distances]
    made = nx.Graph()
    made.add_nodes_from(range(len(codes)))
    for i in range(len(codes)):
        made.add_edges_from(
            (i, j, {"weight": distances[i, j]}) for j in nearest[i] if i in nearest[j]
        )
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


@properties
@given(POINTS, st.data())
def test_mutual_graph_joins_only_those_that_list_each_other(codes, data):
    k = data.draw(st.integers(1, len(codes) - 1))
    made = graph.build(codes, graph.GraphConfig(kind="mutual", k=k, weight="latent"))
    assert_same(made, naive_mutual_graph(codes, k))
    assert (made.k, made.weight) == (k, "latent")


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
    nearest = knn.Index.nearest
    monkeypatch.setattr(
        knn.Index, "nearest", lambda index, *, k: calls.append(k) or nearest(index, k=k)
    )
    codes = np.random.default_rng(4).normal(size=(97, 2))
    assert 1 < graph.smallest_connecting(codes).k <= 8
    assert calls == [8]


def configurations(most):
    """Every kind of graph over points that have at most so many neighbours, plain or added to."""
    numbers = {"k": st.integers(1, most)}
    kinds = [
        st.fixed_dictionaries({"kind": st.sampled_from(["knn", "mutual"])} | numbers),
        st.fixed_dictionaries({"kind": st.just("radius"), "radius": st.floats(0.5, 9)}),
        st.just({"kind": "smallest"}),
        st.just({"kind": "smallest-radius"}),
    ]
    plain = st.one_of(*kinds)
    repaired = st.one_of(*kinds[:2]).map(lambda config: config | {"repair": True})
    with_tree = plain.map(lambda config: config | {"spanning_tree": True})
    return st.one_of(plain, repaired, with_tree).map(
        lambda config: graph.GraphConfig(weight="latent", **config)
    )


@properties
@given(POINTS, st.data())
def test_rows_are_symmetric_sorted_and_without_loops(codes, data):
    made = graph.build(codes, data.draw(configurations(len(codes) - 1)))
    dense = np.full((made.num_nodes, made.num_nodes), np.nan)
    dense[made.rows, made.indices] = made.weights
    np.testing.assert_array_equal(dense, dense.T)
    assert np.isnan(dense.diagonal()).all()
    assert all(
        (np.diff(made.indices[start:stop]) > 0).all()
        for start, stop in zip(made.indptr, made.indptr[1:], strict=False)
    )


@properties
@given(POINTS, st.data())
def test_edges_weigh_the_distance_of_their_ends_in_every_graph(codes, data):
    ends, weights = graph.build(codes, data.draw(configurations(len(codes) - 1))).edges()
    apart = codes[ends[:, 0]] - codes[ends[:, 1]]
    np.testing.assert_allclose(weights, np.linalg.norm(apart, axis=1), rtol=1e-12)


@properties
@given(POINTS, st.data())
def test_what_should_connect_does(codes, data):
    config = data.draw(configurations(len(codes) - 1))
    made = graph.build(codes, config)
    connected = config.repair or config.spanning_tree or "smallest" in config.kind
    assert not connected or set(made.components) == {0}
    theirs = nx.Graph(made.edges()[0].tolist())
    theirs.add_nodes_from(range(len(codes)))
    assert nx.number_connected_components(theirs) == made.facts()["components"]


@properties
@given(st.integers(0, 2**32 - 1), st.integers(2, 17), st.data())
def test_permuted_points_give_the_permuted_graph_of_every_kind(seed, points, data):
    rng = np.random.default_rng(seed)
    codes, order = rng.normal(size=(points, 2)), rng.permutation(points)
    config = data.draw(configurations(points - 1))
    straight, shuffled = graph.build(codes, config), graph.build(codes[order], config)
    ends, weights = shuffled.edges()
    back = csr.from_edges(order[ends], weights, num_nodes=points)
    np.testing.assert_array_equal(back.indptr, straight.indptr)
    np.testing.assert_array_equal(back.indices, straight.indices)
    np.testing.assert_array_equal(back.weights, straight.weights)
    bridges = np.sort(order[shuffled.bridges], axis=1).tolist()
    assert sorted(bridges) == sorted(straight.bridges.tolist())


@properties
@given(POINTS)
def test_the_smallest_radius_connects_and_less_does_not(codes):
    made = graph.build(codes, graph.GraphConfig(kind="smallest-radius", weight="latent"))
    longest = made.weights.max()
    apart = within.pairs(codes, radius=longest).distances
    assert made.num_edges == len(apart)
    shorter = apart[apart < longest]
    if shorter.size:
        less = graph.radius_graph(codes, radius=shorter.max())
        assert set(less.components) != {0}


@properties
@given(POINTS, st.data())
def test_a_spanning_tree_only_adds_its_edges(codes, data):
    k = data.draw(st.integers(1, len(codes) - 1))
    config = {"kind": "mutual", "k": k, "weight": "latent"}
    plain, more = (
        {tuple(edge) for edge in graph.build(codes, made).edges()[0].tolist()}
        for made in (
            graph.GraphConfig(**config),
            graph.GraphConfig(**config, spanning_tree=True),
        )
    )
    assert more == plain | {tuple(edge) for edge in spanning.tree(codes).ends.tolist()}


def test_points_on_a_line_are_passed_in_their_order():
    codes = np.array([[3.0, 6], [0, 0], [-1, -2], [7, 14]])
    for config in ({}, {"kind": "smallest-radius"}, {"kind": "mutual", "k": 1, "repair": True}):
        made = graph.build(codes, graph.GraphConfig(weight="density", **config))
        walk = search.shortest_path(made, 2, 3)
        assert walk.nodes.tolist() == [2, 1, 0, 3]
        assert walk.length == pytest.approx((1 + 27 + 64) * 5**1.5)


@pytest.mark.parametrize("kind", [{}, {"kind": "smallest-radius"}, {"kind": "knn", "k": 2}])
@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[0.0, 1], [1, np.nan], [2, 3], [np.inf, 0]], "2 of 4 latent codes .* first in row 1"),
        ([[0.0, 1]], "one point has no neighbours"),
    ],
)
def test_codes_that_make_no_graph_are_refused(kind, codes, message):
    with pytest.raises(UserError, match=message):
        graph.build(np.array(codes), graph.GraphConfig(**kind))


@pytest.mark.parametrize("kind", ["knn", "mutual"])
def test_as_many_neighbours_as_points_are_refused(kind):
    with pytest.raises(UserError, match="k is 3, but 3 points have 2 neighbours each"):
        graph.build(np.eye(3), graph.GraphConfig(kind=kind, k=3))


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


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"kind": "smallest-radius"},
        {"kind": "mutual", "k": 1},
        {"kind": "radius", "radius": 1, "repair": True},
        {"kind": "radius", "radius": 1, "spanning_tree": True},
    ],
)
def test_two_points_make_one_edge(config):
    codes = np.array([[0.0, 0], [3, 4]])
    ends, weights = graph.build(codes, graph.GraphConfig(weight="latent", **config)).edges()
    assert ends.tolist() == [[0, 1]]
    assert weights.tolist() == [5]


@properties
@given(st.integers(2, 9), st.data())
def test_the_first_of_an_edge_that_comes_again_counts(nodes, data):
    number = st.integers(0, nodes - 1)
    pair = st.tuples(number, number).filter(lambda ends: ends[0] != ends[1])
    ends = data.draw(st.lists(pair, max_size=40))
    weights = np.random.default_rng(len(ends)).random(len(ends)).round(1)
    expected = {}
    for edge, weight in zip(ends, weights.tolist(), strict=True):
        expected.setdefault((min(edge), max(edge)), weight)
    made = csr.from_edges(np.reshape(ends, (-1, 2)).astype(int), weights, num_nodes=nodes)
    assert dict(zip(map(tuple, made.edges()[0].tolist()), made.edges()[1], strict=True)) == expected
    assert made.edges()[0].tolist() == [list(edge) for edge in sorted(expected)]
    csr.check(made, origin="the graph")


@pytest.mark.parametrize(
    ("config", "description"),
    [
        ({}, "k-NN graph with k = 2, the smallest that connects"),
        ({"kind": "knn", "k": 3}, "k-NN graph with k = 3"),
        ({"kind": "mutual", "k": 3}, "mutual k-NN graph with k = 3"),
        ({"kind": "radius", "radius": 2.5}, "radius graph with radius = 2.5"),
        ({"kind": "smallest-radius"}, "radius graph with radius = 4, the smallest that connects"),
        (
            {"kind": "knn", "k": 1, "spanning_tree": True},
            "k-NN graph with k = 1, and the Euclidean minimum spanning tree",
        ),
        (
            {"kind": "knn", "k": 1, "repair": True},
            "k-NN graph with k = 1, its 3 components joined by 2 bridges",
        ),
        (
            {"kind": "radius", "radius": 3.5, "repair": True},
            "radius graph with radius = 3.5, its 2 components joined by a bridge",
        ),
        ({"kind": "radius", "radius": 9, "repair": True}, "radius graph with radius = 9"),
    ],
)
def test_build_follows_the_configuration(config, description):
    codes = np.array([[0.0], [1], [3], [4], [8], [9]])
    made = graph.build(codes, graph.GraphConfig(**config))
    assert made.description == description


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "tree"}, "graph.kind=tree is unknown or not built yet; use one of: smallest"),
        ({"weight": "given"}, "graph.weight=given is unknown or not built yet; use one of: latent"),
        ({"kind": "knn"}, "graph.k is 0; give 1 or more with graph.kind=knn"),
        ({"kind": "mutual"}, "graph.k is 0; give 1 or more with graph.kind=mutual"),
        ({"kind": "knn", "k": -2}, "graph.k is -2"),
        ({"kind": "radius"}, "graph.radius is 0.0"),
        ({"kind": "radius", "radius": float("nan")}, "graph.radius is nan"),
        ({"k": 3}, "graph.k has no meaning with graph.kind=smallest; .* graph.kind=knn or mutual"),
        (
            {"kind": "smallest-radius", "radius": 1.0},
            "graph.radius has no meaning with graph.kind=smallest-radius; .* graph.kind=radius",
        ),
        ({"repair": True}, "graph.repair has no meaning with graph.kind=smallest"),
        (
            {"kind": "smallest-radius", "repair": True},
            "graph.repair has no meaning with graph.kind=smallest-radius",
        ),
        (
            {"kind": "knn", "k": 3, "repair": True, "spanning_tree": True},
            "graph.repair has no meaning with graph.spanning_tree; leave it out",
        ),
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
        ([[0, 1], [1, 2]], [1e308, 1e308], "add up to more than float64 holds"),
        ([[0, 1], [1, 2]], [4e307, 4e307], "add up to more than float64 holds"),
        ([[0, 1]], [1.0, 2.0], "one weight an edge"),
    ],
)
def test_from_edges_refuses(ends, weights, message):
    with pytest.raises(UserError, match=message):
        csr.from_edges(ends, weights, num_nodes=3)


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
