"""The Euclidean tree and the bridges between components, against Kruskal over all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxsurf.manifold import euclid, knn
from jaxsurf.manifold.components import spanning

properties = settings(max_examples=60, deadline=None, database=None)
POINTS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 19), st.sampled_from([1, 2, 3, 9])),
    elements=st.integers(-3, 3).map(float),
)


def kruskal(codes, labels):
    """All pairs in order; one joins what is not yet joined."""
    groups = {label: {label} for label in set(labels)}
    pairs = [(i, j) for i in range(len(codes)) for j in range(i + 1, len(codes))]
    distances = euclid.between(codes[:, None], codes[None])
    taken = []
    for i, j in sorted(pairs, key=lambda pair: (distances[pair], pair)):
        here, there = groups[labels[i]], groups[labels[j]]
        if here is not there:
            here |= there
            groups |= dict.fromkeys(there, here)
            taken.append([i, j])
    return sorted(taken)


def assert_same(found, codes, labels):
    assert found.ends.tolist() == kruskal(codes, labels)
    ends = codes[found.ends]
    np.testing.assert_array_equal(found.distances, euclid.between(ends[:, 0], ends[:, 1]))


@properties
@given(POINTS)
def test_the_tree_is_kruskals_also_where_points_coincide_or_tie(codes):
    assert_same(spanning.tree(codes), codes, list(range(len(codes))))


@properties
@given(POINTS, st.data())
def test_bridges_are_kruskals_over_the_components(codes, data):
    wanted = data.draw(st.lists(st.integers(0, 5), min_size=len(codes), max_size=len(codes)))
    labels = np.unique(wanted, return_inverse=True)[1]
    assert_same(spanning.bridges(codes, labels), codes, labels.tolist())


CLOUDS = {
    "spread": lambda rng: rng.normal(size=(211, 2)),
    "clusters": lambda rng: (
        rng.normal(size=(7, 3))[rng.integers(0, 7, 199)] + 1e-3 * rng.normal(size=(199, 3))
    ),
    "lattice": lambda rng: rng.permutation(np.argwhere(np.ones((6, 7, 5)))).astype(float),
    "collinear": lambda rng: rng.integers(0, 400, 150)[:, None] * np.array([[0.5, -2, 1]]),
    "doubles": lambda rng: np.repeat(rng.normal(size=(11, 2)), 17, axis=0),
    "twelve_dimensions": lambda rng: rng.normal(size=(97, 12)),
    "an_outlier": lambda rng: np.append(rng.normal(size=(101, 2)), [[1e6, 0]], axis=0),
}


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("cost", [0, 100, 10**9])  # looking deeper by lists alone, as usual, never
def test_the_tree_is_kruskals_however_it_is_found(cloud, cost, monkeypatch):
    monkeypatch.setattr(spanning, "_COST", cost)
    codes = CLOUDS[cloud](np.random.default_rng(3))
    assert_same(spanning.tree(codes), codes, list(range(len(codes))))


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("components", [2, 3, 13])
def test_bridges_are_kruskals_however_components_lie(cloud, components):
    rng = np.random.default_rng(components)
    codes = CLOUDS[cloud](rng)
    labels = np.append(np.arange(components), rng.integers(0, components, len(codes) - components))
    assert_same(spanning.bridges(codes, labels), codes, labels.tolist())


def test_a_gap_is_bridged_where_it_is_narrowest():
    codes = np.array([[0.0, 0], [1, 0], [1, 1], [4, 1], [5, 1], [5, 0]])
    found = spanning.bridges(codes, np.array([0, 0, 0, 1, 1, 1]))
    assert (found.ends.tolist(), found.distances.tolist()) == ([[2, 3]], [3.0])


def test_one_point_and_one_component_need_nothing():
    assert spanning.tree(np.zeros((1, 2))).ends.shape == (0, 2)
    assert (
        spanning.bridges(np.random.default_rng(0).normal(size=(9, 2)), np.zeros(9, int)).ends.size
        == 0
    )


def test_an_index_that_is_at_hand_is_used():
    index = knn.Index(np.random.default_rng(0).normal(size=(83, 2)))
    listed = index.nearest(k=8)
    spanning.tree(index)
    assert index.nearest(k=8).indices.base is listed.indices.base
