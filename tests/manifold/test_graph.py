"""Kinds of graph and what their edges weigh, against loops over all pairs, for networkx."""

import contextlib
import functools
import itertools
import re
import tracemalloc
from dataclasses import replace
from unittest import mock

import networkx as nx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxsurf.errors import UserError
from jaxsurf.manifold import connectivity, graph, neighbors
from jaxsurf.manifold.graph import GraphConfig, Trimming
from jaxsurf.manifold.shortest_path import shortest_paths

properties = settings(max_examples=60, deadline=None, database=None)
POINTS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 17), st.integers(1, 3)),
    elements=st.integers(-4, 4).map(float),
)
# So that `bridges` are all that join components.
ALL_GAPS = mock.patch.object(connectivity, "over_gaps", lambda joining, *_: joining[1] >= 0)
CODES = np.random.default_rng(0).normal(size=(53, 2))


def apart(codes):
    return np.sqrt(((codes[:, None] - codes[None]) ** 2).sum(-1))


def expected_edges(codes, config, images=None):
    """Edges and lengths of a kind by loops; of the smallest ones, the first that connects."""
    distances, number = apart(codes), len(codes)
    if config.kind == "smallest":
        tries = (GraphConfig(kind="knn", k=k) for k in range(1, number))
    elif config.kind == "agreed":
        both = [expected_edges(some, replace(config, kind="knn")) for some in (codes, images)]
        distances = apart(images)
        usual = np.median(np.sort(distances, axis=1)[:, config.k])  # the image itself comes first
        made = nx.Graph([pair for pair in both[0] if pair in both[1] or distances[pair] <= usual])
        made.add_nodes_from(range(number))
        for i, j in sorted(
            itertools.combinations(range(number), 2), key=lambda pair: (distances[pair], pair)
        ):
            if not nx.has_path(made, i, j):
                made.add_edge(i, j)
        return {tuple(sorted(pair)): apart(codes)[pair] for pair in made.edges}
    elif config.kind == "smallest-radius":
        radii = np.unique(distances[~np.eye(number, dtype=bool)])
        tries = (GraphConfig(kind="radius", radius=max(r, 1e-9)) for r in radii)
    else:
        np.fill_diagonal(distances, np.inf)
        order = np.argsort(distances, axis=1, kind="stable")
        near = [set(row[: config.k].tolist()) for row in order]
        joins = {
            "knn": lambda i, j: j in near[i] or i in near[j],
            "mutual": lambda i, j: j in near[i] and i in near[j],
            "radius": lambda i, j: distances[i, j] <= config.radius,
        }[config.kind]
        pairs = itertools.combinations(range(number), 2)
        return {(i, j): distances[i, j] for i, j in pairs if joins(i, j)}
    for config in tries:
        edges = expected_edges(codes, config)
        made = nx.Graph(list(edges))
        if len(made) == number and nx.is_connected(made):
            return edges
    raise AssertionError


def edges_of(made):
    ends, weights = made.edges()
    return dict(zip(map(tuple, ends.tolist()), weights.tolist(), strict=True))


@properties
@given(POINTS, st.data())
def test_every_kind_joins_what_loops_join_and_a_tree_or_a_repair_connects(codes, data):
    kind = data.draw(st.sampled_from(list(graph.KINDS)))
    numbers = {"k": st.integers(1, len(codes) - 1), "radius": st.floats(0.5, 9)}
    needed = graph.KINDS[kind].setting
    settings = {needed: data.draw(numbers[needed])} if needed else {}
    config = GraphConfig(kind=kind, weight="latent", **settings)
    # Of few values, so that images coincide where codes do not, and codes where images do not.
    elements = st.integers(-2, 2).map(float)
    images = data.draw(hnp.arrays(np.float64, (len(codes), 2), elements=elements))
    built = functools.partial(graph.build, codes, image_index=lambda: neighbors.Index(images))
    with ALL_GAPS:
        plain = built(config)
    assert edges_of(plain) == pytest.approx(expected_edges(codes, config, images))
    more = built(replace(config, spanning_tree=True))
    tree = {tuple(edge) for edge in connectivity.spanning_tree(neighbors.Index(codes))[0].tolist()}
    own = edges_of(plain).keys() - {tuple(edge) for edge in plain.bridges.tolist()}
    assert edges_of(more).keys() == own | tree
    assert set(more.components) == {0}
    if not graph.KINDS[config.kind].connects:
        repaired = built(replace(config, repair=True))
        added = {tuple(edge) for edge in repaired.bridges.tolist()}
        assert edges_of(repaired).keys() == edges_of(plain).keys() | added
        assert added <= tree
        assert len(added) == plain.components.max()
        assert set(repaired.components) == {0}


@properties
@given(hnp.arrays(np.float64, st.tuples(st.integers(9, 17), st.just(2)), elements=st.floats(-4, 4)))
@example(np.stack([[0, 1e-310, *range(1, 15)], np.zeros(16)], axis=1))
@example(np.random.default_rng(0).normal(size=(60, 8)))  # where there are too many
def test_edges_past_a_neighbour_are_added_where_the_way_by_it_is_bent_most(codes):
    def built(weight):
        config, index = GraphConfig(kind="agreed", weight=weight), neighbors.Index(codes)
        with ALL_GAPS:
            return graph.build(
                index, config, lambda ends: apart(codes)[tuple(ends.T)], image_index=lambda: index
            )

    plain, distances = built("image"), apart(codes)
    own = edges_of(plain)
    ways = nx.Graph(list(own.keys() - {tuple(edge) for edge in plain.bridges.tolist()}))
    ways.add_nodes_from(range(len(codes)))
    shares = {}
    for i, j in itertools.combinations(range(len(codes)), 2):
        bent = [distances[i, m] + distances[m, j] for m in nx.common_neighbors(ways, i, j)]
        if (i, j) not in own and bent and distances[i, j] < graph.STRAIGHTER * min(bent):
            shares[i, j] = distances[i, j] / min(bent)
    found = edges_of(built("pullback"))
    added = found.keys() - own
    assert own.keys() | added == found.keys()
    assert found == pytest.approx({pair: distances[pair] for pair in found})
    most = int(graph.SHORTCUTS * ways.number_of_edges())
    assert len(added) == min(len(shares), most)
    # Of equally bent ones any may be left out.
    assert all(shares[pair] <= sorted(shares.values())[len(added) - 1] + 1e-9 for pair in added)


def agreed(codes):
    """The graph of images that are as their codes, but a hundredth as far apart."""
    images = neighbors.Index(codes / 100)
    return graph.build(codes, GraphConfig(weight="latent"), image_index=lambda: images)


def test_of_codes_along_a_curve_few_neighbours_are_joined():
    random = np.random.default_rng(0)

    def degree(codes):
        made = agreed(codes)
        assert f"k = {made.k}, nearest in codes" in made.description
        return made.k

    angles = np.sort(random.uniform(0, 2 * np.pi, 144))
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) + random.normal(0, 1e-3, (144, 2))
    assert degree(ring) == 3
    assert degree(np.repeat(ring, 4, axis=0)) == 3
    plane = random.normal(size=(144, 2))
    assert degree(plane) == degree(np.repeat(plane, 4, axis=0)) == 10
    assert degree(0 * plane) == degree(plane[:, :1]) == 10
    assert degree(np.eye(13)) == 3  # the square root of 13; all are as far apart


@pytest.mark.parametrize("turns", [5, 20])
def test_a_curve_gone_along_again_and_again_has_no_gap_but_where_it_has_one(turns):
    # The three frames of a film that are nearest to one are those of other turns, or even the ten.
    random, number = np.random.default_rng(0), 36 * turns
    angles = np.tile(np.linspace(0, 2 * np.pi, 36, endpoint=False), turns)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) + random.normal(0, 1e-4, (number, 2))
    made = agreed(ring)
    some = "35 edges of k = 10 that join its parts"
    if turns > 10:
        some = "its 36 components joined by 35 bridges .* to one another, none over gaps"
    assert re.search(some, made.description)
    assert not made.bridges.size
    assert made.edges()[1].max() < 0.2  # no chord
    apart = agreed(np.concatenate([ring, ring + 5]))
    assert "over gaps" in apart.description
    assert np.ptp(apart.bridges // number, axis=1).tolist() == [1]


def test_equal_images_are_joined_in_little_memory():
    codes = np.zeros((20_000, 2))
    config, index = GraphConfig(kind="agreed"), neighbors.Index(codes)
    tracemalloc.start()
    made = graph.build(index, config, lambda ends: np.zeros(len(ends)), image_index=lambda: index)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(made.components) == {0}
    assert peak < 2**28


LINE = np.array([[0.0], [1], [3], [4], [8], [9]])
DESCRIBED = [
    ({"kind": "smallest"}, "k-NN graph with k = 2, the smallest that connects"),
    ({}, "k-NN graph with k = 2, nearest in codes and in images"),
    (
        {"k": 1},
        "3 components joined by 2 bridges between the images nearest to one another, 1 over gaps",
    ),
    ({"kind": "knn"}, "k-NN graph with k = 2"),
    ({"kind": "mutual", "k": 3}, "mutual k-NN graph with k = 3"),
    ({"kind": "smallest-radius"}, "radius graph with radius = 4, the smallest that connects"),
    ({"kind": "knn", "k": 1, "spanning_tree": True}, "k = 1, and the Euclidean minimum spanning"),
    ({"kind": "knn", "k": 1, "repair": True}, "k = 1, its 3 components joined by 2 bridges"),
]


@pytest.mark.core
@pytest.mark.parametrize(("config", "description"), DESCRIBED)
def test_a_graph_is_described_as_it_was_made(config, description):
    config = GraphConfig(**{"weight": "latent"} | config)
    made = graph.build(LINE, config, image_index=lambda: neighbors.Index(LINE))
    assert description in made.description


def test_no_two_graphs_have_the_same_label():
    values = {"kind": graph.KINDS, "k": (0, 4, 10), "radius": (0.0, 0.4, 11.0)}
    values |= {"weight": graph.WEIGHTS, "search": ("exact", "approximate")}
    values |= {"spanning_tree": (False, True), "repair": (False, True)}
    assert values.keys() == vars(GraphConfig()).keys()
    labels = []
    for some in itertools.product(*values.values()):
        with contextlib.suppress(UserError):
            labels.append(GraphConfig(**dict(zip(values, some, strict=True))).label)
    assert len(set(labels)) == len(labels) > 200


@pytest.mark.parametrize("weight", list(graph.WEIGHTS))
def test_edges_weigh_their_length_or_its_cube_in_the_graph_its_bridges_and_what_joins_it(weight):
    def distance(ends):
        return 1.0 + ends.sum(axis=1) % 7

    config = GraphConfig(kind="radius", radius=0.2, weight=weight, repair=True)
    before = graph.build(CODES[:50], config, distance)
    after = graph.attach(before, neighbors.Index(CODES[:50]), CODES[50:], distance)
    ends, weights = after.edges()
    own_length = weight in ("latent", "density")
    lengths = apart(CODES)[tuple(ends.T)] if own_length else distance(ends)
    np.testing.assert_allclose(weights, lengths ** (3 if "density" in weight else 1), rtol=1e-12)
    assert after.weight == weight
    assert len(after.bridges) > 0


def test_edges_of_length_and_weight_zero_are_edges():
    codes = np.array([[1.0, 1], [1, 1], [1, 1], [2, 1]])
    made = graph.build(codes, GraphConfig(kind="knn", k=2, weight="latent"))
    assert (made.num_edges, np.count_nonzero(made.edges()[1] == 0)) == (5, 3)
    config = GraphConfig(kind="smallest", weight="image")
    made = graph.build(CODES, config, lambda ends: np.zeros(len(ends)))
    assert set(made.components) == {0}
    assert shortest_paths(made, [(0, 52)])[0].length == 0


def test_trimming_leaves_out_the_longest_edges_before_others_are_weighed_or_added():
    def built(trim, **settings):
        config = GraphConfig(kind="knn", k=7, **({"weight": "latent"} | settings))
        return graph.build(CODES, config, trim=trim)

    whole = edges_of(built(None))
    limit = float(np.median(list(whole.values())))
    short = {edge: length for edge, length in whole.items() if length <= limit}
    few = sorted(whole.values())[: 3 * 53 // 2]
    assert edges_of(built(Trimming(max_edge=limit))) == short
    assert sorted(edges_of(built(Trimming(avg_neighbors=3))).values()) == few
    both = Trimming(max_edge=limit, avg_neighbors=3)
    kept = edges_of(built(both))
    assert sorted(kept.values()) == [length for length in few if length <= limit]
    assert edges_of(built(both, weight="density")).keys() == kept.keys()
    assert built(Trimming(avg_neighbors=1)).components.max() > 0
    assert set(built(Trimming(avg_neighbors=1), repair=True).components) == {0}


@properties
@given(POINTS, st.integers(1, 3), st.data())
def test_points_from_outside_join_their_nearest_and_edges_across_gaps_are_bridges(codes, new, data):
    shape = (new, codes.shape[1])
    added = data.draw(hnp.arrays(np.float64, shape, elements=st.integers(-4, 4).map(float)))
    before = graph.build(codes, GraphConfig(kind="knn", k=1, weight="latent"))
    after, k = graph.attach(before, neighbors.Index(codes), added), graph.OUTSIDE_NEIGHBORS
    expected, crossing = edges_of(before), []
    for place, point in enumerate(added, start=len(codes)):
        distances = np.sqrt(((codes - point) ** 2).sum(-1))
        near = np.argsort(distances, kind="stable")[:k].tolist()
        expected |= {(node, place): distances[node] for node in near}
        home = before.components[near[0]]
        crossing += [[node, place] for node in near if before.components[node] != home]
    assert edges_of(after) == pytest.approx(expected)
    assert after.bridges.tolist() == crossing
    assert ("which bridges its components" in after.description) == bool(crossing)
