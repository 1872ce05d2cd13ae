"""Nearest neighbours and pairs within a radius, against all distances in float64."""

import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxsurf.errors import UserError
from jaxsurf.manifold import neighbors
from jaxsurf.manifold.neighbors import Approximate, Index


def brute_force(codes, queries, k, *, own):
    """All distances in float64, stably sorted: the lowest index comes first among equals."""
    squares = (queries[:, None].astype(float) - codes[None].astype(float)) ** 2
    # Squares are added axis after axis, which decides what ties.
    distances = np.sqrt(np.cumsum(squares, axis=-1)[..., -1])
    if own:
        np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


def assert_exact(found, expected):
    np.testing.assert_array_equal(found.indices, expected[0])
    np.testing.assert_array_equal(found.distances, expected[1])


LAYOUTS = {
    "spread": lambda codes: codes.astype(np.float32),
    "far away": lambda codes: 1e6 + 1e-3 * codes,
    "lattice": lambda codes: 0.1 * np.round(2 * codes),
    "coincident": np.ones_like,
    "duplicates": lambda codes: np.repeat(codes[:11], 19, axis=0)[::-1],
    "collinear": lambda codes: np.arange(97.0)[:, None] * np.ones_like(codes[:1]),
    "circle": lambda codes: np.cos(np.arange(101)[:, None] * 0.0157 + np.arange(codes.shape[1])),
    "two far clusters": lambda codes: codes * 1e-6 + np.sign(codes[:, :1]) * 1e3,
    "huge": lambda codes: 1e150 * np.clip(codes, -1, 1),
    "small": lambda codes: 1e-150 * codes,
    "vanishing": lambda codes: 1e-161 * codes,
    "all but coincident": lambda codes: 1e-300 * codes,
    "two": lambda codes: codes[:2],
}


@pytest.mark.parametrize(
    ("by", "dimensions"),
    [*(("tree", size) for size in (1, 2, 3, 5, 8, 9, 12)), ("product", 2), ("product", 12)],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_nearest_is_bitwise_brute_force(layout, dimensions, by, monkeypatch):
    if by == "product":  # as of many points in many dimensions
        monkeypatch.setattr(neighbors, "_MAX_TREE_DIMENSIONS", 0)
        monkeypatch.setattr(Index, "_prunes", lambda index, queries, k: False)
        monkeypatch.setattr(neighbors, "_MANY", 0)
    codes = LAYOUTS[layout](np.random.default_rng(dimensions).normal(size=(211, dimensions)))
    for k in {1, min(7, len(codes) - 1), len(codes) - 1}:
        assert_exact(Index(codes).nearest(k=k), brute_force(codes, codes, k, own=True))


@settings(max_examples=100, deadline=None, database=None)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(2, 47), st.integers(1, 12)),
        elements=st.sampled_from([0.0, -0.0, 1.0, -1.0, 3.0, 1e-200, 1e-162, 1e100, 0.1, 0.3]),
    ),
    st.data(),
)
def test_ties_and_doubles_are_settled_as_by_brute_force(codes, data):
    k = data.draw(st.integers(1, len(codes) - 1))
    index, queries = Index(codes), codes[::-1] / 3
    assert_exact(index.nearest_to(queries, k=k + 1), brute_force(codes, queries, k + 1, own=False))
    assert_exact(index.nearest(k=k), brute_force(codes, codes, k, own=True))
    radius = float(data.draw(st.sampled_from([0.0, 0.2, 1.0, 2.0, 1e100])))
    pairs, away = index.pairs_within(radius)
    distances = neighbors.distances(codes[:, None], codes[None])
    expected = np.argwhere(np.triu(distances <= radius, k=1))
    np.testing.assert_array_equal(pairs, expected)
    np.testing.assert_array_equal(away, distances[tuple(expected.T)])


@pytest.mark.core
@pytest.mark.parametrize("dimensions", [3, 17])
def test_a_million_equal_points_take_seconds(dimensions):
    codes, started = np.full((1_000_003, dimensions), 0.1), time.perf_counter()
    codes[-1, -1] = 0.2
    index = Index(codes)
    found = index.nearest(k=7)
    assert time.perf_counter() - started < 10
    assert found.indices[[0, 4, 999_999, -1]].tolist() == [
        [1, 2, 3, 4, 5, 6, 7],
        [0, 1, 2, 3, 5, 6, 7],
        [0, 1, 2, 3, 4, 5, 6],
        [0, 1, 2, 3, 4, 5, 6],
    ]
    assert index.lowest[[0, 4, -2, -1]].tolist() == [0, 0, 0, 1_000_002]
    with pytest.raises(UserError, match=r"radius 0\.05 joins 500,001,500,001 pairs of 1,000,003"):
        index.pairs_within(0.05)


def test_an_index_asked_in_any_order_answers_as_one_asked_once():
    rng = np.random.default_rng(2)
    codes = np.repeat(rng.normal(size=(7, 2)), 13, axis=0)
    queries = np.concatenate([rng.normal(size=(40, 2)), codes[:40]])
    index = Index(codes)
    for k in (2, 30, 5, 90, 4):
        for asked in (queries[:1], queries):
            assert_exact(index.nearest_to(asked, k=k), brute_force(codes, asked, k, own=False))
        assert_exact(index.nearest(k=k), brute_force(codes, codes, k, own=True))


@pytest.mark.parametrize("search", [{}, {"links": 3, "linking": 2, "searching": 1}])
def test_approximate_neighbours_are_ranked_exactly_and_their_recall_is_measured(search):
    pytest.importorskip("faiss")
    codes = np.random.default_rng(0).normal(size=(2003, 24))
    index = Approximate(codes)
    vars(index).update(search, sample=10**6)
    found, exact = index.nearest(k=5), Index(codes).nearest(k=5)
    assert (found.indices != np.arange(2003)[:, None]).all()
    away = neighbors.distances(codes[found.indices], codes[:, None])
    np.testing.assert_array_equal(found.distances, away)
    assert (np.diff(away, axis=1) >= 0).all()
    shared = [len(set(a) & set(b)) for a, b in zip(found.indices, exact.indices, strict=True)]
    assert index.recall == pytest.approx(np.mean(shared) / 5)
    assert (0.1 < index.recall < 0.99) if search else (index.recall > 0.9)


def test_a_missing_faiss_is_named_with_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    cure = r'pip install "jaxsurf\[approximate\]", or use graph.search=exact \(--search=exact\)'
    with pytest.raises(UserError, match=cure):
        Approximate(np.zeros((3, 2))).nearest(k=1)
