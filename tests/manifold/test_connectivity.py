"""What joins points and components, against Kruskal over all pairs, SciPy and networkx."""

import itertools

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csgraph

from jaxsurf.errors import UserError
from jaxsurf.manifold import connectivity, latent_graph
from jaxsurf.manifold.latent_graph import from_edges
from jaxsurf.manifold.neighbors import Approximate, Index

properties = settings(max_examples=60, deadline=None, database=None)
POINTS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 19), st.sampled_from([1, 2, 3, 9])),
    elements=st.integers(-3, 3).map(float),
)


def apart(codes):
    """All distances, by one formula whose results can be compared bitwise."""
    return np.sqrt(np.cumsum((codes[:, None] - codes[None]) ** 2, axis=-1)[..., -1])


def kruskal(codes, labels):
    """All pairs in order of length, then ends; one joins what is not yet joined."""
    distances, groups = apart(codes), {label: {label} for label in set(labels)}
    lower, upper = np.triu_indices(len(codes), 1)
    taken = []
    for pair in np.lexsort((upper, lower, distances[lower, upper])):
        i, j = int(lower[pair]), int(upper[pair])
        here, there = groups[labels[i]], groups[labels[j]]
        if here is not there:
            here |= there
            groups |= dict.fromkeys(there, here)
            taken.append([i, j])
    return sorted(taken), [distances[tuple(edge)] for edge in sorted(taken)]


def assert_kruskals(codes, labels):
    ends, lengths = connectivity.bridges(Index(codes), labels)
    assert (ends.tolist(), lengths.tolist()) == kruskal(codes, labels.tolist())


@properties
@given(POINTS, st.data())
def test_tree_and_bridges_are_kruskals_also_where_points_coincide_or_tie(codes, data):
    ends, lengths = connectivity.spanning_tree(Index(codes))
    assert (ends.tolist(), lengths.tolist()) == kruskal(codes, list(range(len(codes))))
    wanted = data.draw(st.lists(st.integers(0, 5), min_size=len(codes), max_size=len(codes)))
    assert_kruskals(codes, np.unique(wanted, return_inverse=True)[1])


CLOUDS = {
    "spread": lambda rng: rng.normal(size=(211, 2)),
    "clusters": lambda rng: (
        rng.normal(size=(7, 3))[rng.integers(0, 7, 199)] + 1e-3 * rng.normal(size=(199, 3))
    ),
    "lattice": lambda rng: rng.permutation(np.argwhere(np.ones((6, 7, 5)))).astype(float),
    "doubles": lambda rng: np.repeat(rng.normal(size=(11, 2)), 17, axis=0),
    "twelve_dimensions": lambda rng: rng.normal(size=(97, 12)),
    "an_outlier": lambda rng: np.append(rng.normal(size=(101, 2)), [[1e6, 0]], axis=0),
}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_bridges_are_kruskals_whatever_the_cloud(cloud):
    rng = np.random.default_rng(3)
    codes = CLOUDS[cloud](rng)
    assert_kruskals(codes, np.arange(len(codes)))
    assert_kruskals(codes, np.append(np.arange(5), rng.integers(0, 5, len(codes) - 5)))


@pytest.mark.core
def test_five_thousand_components_are_joined_by_their_gaps():
    ends = np.arange(5000)
    codes = np.stack([np.repeat(3.0 * ends, 2), np.tile([0.0, 1.0], 5000)], axis=1)
    order = np.random.default_rng(1).permutation(len(codes))
    found, lengths = connectivity.bridges(Index(codes[order]), np.repeat(ends, 2)[order])
    assert len(found) == 4999
    assert set(lengths) == {3.0}


def test_a_million_equal_points_are_joined():
    codes = np.ones((1_000_003, 2))
    codes[500_000] = 4
    ends, lengths = connectivity.spanning_tree(Index(codes))
    assert len(ends) == len(codes) - 1
    assert ends[:, 0].tolist() == [0] * len(ends)
    assert (np.count_nonzero(lengths), lengths.max()) == (1, np.sqrt(18))


@properties
@given(POINTS)
def test_the_smallest_k_is_the_first_whose_graph_networkx_finds_connected(codes):
    distances = apart(codes)
    np.fill_diagonal(distances, np.inf)
    order, k = np.argsort(distances, axis=1, kind="stable"), 1
    while not nx.is_connected(nx.Graph((i, j) for i, row in enumerate(order) for j in row[:k])):
        k += 1
    assert connectivity.smallest_k(Index(codes))[0] == k


def test_too_many_neighbors_are_refused_before_they_fill_the_memory(monkeypatch):
    random = np.random.default_rng(5)
    codes = np.concatenate([random.normal(size=(53, 2)), random.normal(size=(53, 2)) + 1000])
    assert connectivity.smallest_k(Index(codes))[0] == 53
    monkeypatch.setattr(connectivity, "_MOST_NEIGHBORS", 106 * 40)
    with pytest.raises(UserError, match=r"32 neighbours of each of 106 points don't connect them"):
        connectivity.smallest_k(Index(codes))


def graph_of(ends, num_nodes):
    return from_edges(np.array(ends), np.ones(len(ends)), num_nodes=num_nodes)


def test_components_are_described_largest_first():
    assert latent_graph.describe_components(graph_of([[0, 1], [1, 2]], 3)) == (
        "connected: one component of 3 nodes"
    )
    assert latent_graph.describe_components(graph_of([[0, 3], [1, 4], [4, 5]], 1200)) == (
        "1,197 components of 3, 2, 1, 1, 1, ... nodes, 1,195 of them isolated points"
    )


@pytest.mark.parametrize("standing", [1, 10_000])
def test_where_neighbours_are_approximate_bridges_join_all_and_are_nearly_the_shortest(
    standing, monkeypatch
):
    pytest.importorskip("faiss")
    monkeypatch.setattr(connectivity, "_STANDING", standing)
    random = np.random.default_rng(0)
    centres = 40 * random.normal(size=(7, 3))
    codes = centres[random.integers(7, size=499)] + random.normal(size=(499, 3))
    codes[[17, 400]] = codes[41]
    # Those of a cluster in pieces that have neighbors in each other.
    labels = np.unique(codes[:, 0].round(), return_inverse=True)[1]
    ends, lengths = connectivity.bridges(Approximate(codes), labels)
    num = labels.max() + 1
    assert len(ends) == num - 1
    joined = scipy.sparse.coo_array((np.ones(num - 1), labels[ends].T), shape=(num, num))
    assert csgraph.connected_components(joined, directed=False)[0] == 1
    np.testing.assert_allclose(lengths, np.linalg.norm(np.diff(codes[ends], axis=1)[:, 0], axis=1))
    shortest = connectivity.bridges(Index(codes), labels)[1].sum()
    assert lengths.sum() <= shortest * (1.05 if standing > 1 else 1.3)


@pytest.mark.parametrize(
    ("places", "joining", "expected"),
    [
        ([[0, 1, 2], [5, 6]], [(2, 5)], [False]),  # three times what is usual on either side
        ([[0, 1, 2], [5.1, 6]], [(2, 5.1)], [True]),
        ([[0, 3, 6], [7, 8]], [(6, 7)], [False]),
        ([[0, 3], [7, 8]], [(3, 7)], [True]),  # on one side
        ([[0, 1], [4], [13]], [(1, 4), (4, 13)], [False, False]),  # steps that grow
        ([[0, 1], [4], [13.1]], [(1, 4), (4, 13.1)], [False, True]),
        ([[0], [5], [11], [30]], [(0, 5), (5, 11), (11, 30)], [False, False, True]),
        ([[0, 0.05], [5, 5.05], [11]], [(0.05, 5), (5.05, 11)], [False, False]),  # copies
        # Two that are far off, near each other or not.
        ([[0, 1], [20], [29]], [(1, 20), (20, 29)], [True, False]),
        ([[0, 1], [20], [40]], [(1, 20), (20, 40)], [True, True]),
        ([[0, 1]], [], []),
    ],
)
def test_a_gap_is_longer_than_what_is_usual_beside_it(places, joining, expected):
    flat = [place for each in places for place in each]
    labels = np.repeat(np.arange(len(places)), [len(each) for each in places])
    pairs = [pair for each in places for pair in itertools.pairwise(each)]
    joining, steps = (np.array(listed, dtype=float).reshape(-1, 2) for listed in (joining, pairs))
    given = [(np.searchsorted(flat, ends), np.diff(ends)[:, 0]) for ends in (joining, steps)]
    assert connectivity.over_gaps(*given, labels).tolist() == expected


def test_a_chord_does_not_make_long_steps_usual():
    steps = np.array([[0, 1], [1, 2], [0, 2]]), np.array([1.0, 1.0, 2.0])
    joining = np.array([[2, 3]]), np.array([3.1])
    assert connectivity.over_gaps(joining, steps, np.array([0, 0, 0, 1])).tolist() == [True]
