"""Nearest neighbours against float64 brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxsurf.errors import UserError
from jaxsurf.manifold import euclid, knn
from jaxsurf.manifold.neighbours import candidates, device_table, exact, ranking, tiles


def brute_force(codes, queries, k, *, own):
    """All distances in float64, stably sorted: the lowest index comes first among equals."""
    codes, queries = codes.astype(np.float64), queries.astype(np.float64)
    squares = (queries[:, None] - codes[None]) ** 2
    # Squares are added axis after axis, which decides what ties.
    distances = np.sqrt(np.cumsum(squares, axis=-1)[..., -1])
    if own:
        np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


def assert_exact(found, expected):
    np.testing.assert_array_equal(found.indices, expected[0])
    np.testing.assert_allclose(found.distances, expected[1], rtol=1e-5, atol=0)


LAYOUTS = {
    "spread": lambda codes: codes,
    "off_centre": lambda codes: codes + np.float32(1e4),
    "lattice": lambda codes: np.round(2 * codes),
    "duplicates": lambda codes: np.repeat(codes[:11], 17, axis=0)[::-1],
    "collinear": lambda codes: np.arange(97)[:, None] * np.ones_like(codes[:1]),
    "two_far_clusters": lambda codes: codes * 1e-6 + np.sign(codes[:, :1]) * 1e3,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dimensions", [1, 2, 3, 8, 9, 16, 64])
@pytest.mark.parametrize("k", [1, 7, 31])
def test_nearest_equals_brute_force(layout, dimensions, k):
    rng = np.random.default_rng(dimensions)
    codes = LAYOUTS[layout](rng.normal(size=(197, dimensions)).astype(np.float32))
    assert_exact(knn.nearest(codes, k=k), brute_force(codes, codes, k, own=True))


@pytest.mark.parametrize("dimensions", [3, 16])
def test_nearest_equals_brute_force_when_many_points_make_blocks_and_chunks(
    dimensions, monkeypatch
):
    monkeypatch.setattr(ranking, "_CHUNK", 7_001)
    monkeypatch.setattr(tiles, "_TILE", 100_003)
    codes = np.random.default_rng(5).normal(size=(1999, dimensions)).astype(np.float32)
    assert_exact(knn.nearest(codes, k=5), brute_force(codes, codes, 5, own=True))


ENGINES = {
    "scan": candidates.Scan,
    "tree": candidates.Tree,
    "doubles": tiles.Tiles,
    "singles": lambda codes: tiles.Tiles(codes, tiles.Singles),
    "devices": lambda codes: tiles.Tiles(codes, device_table.DeviceTable),
}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_no_point_left_out_is_nearer_than_the_bound(engine):
    codes = np.random.default_rng(0).normal(size=(1201, 5)) + 1e5
    found, bound = engine(codes).find(codes[:13], count=4)
    distances = euclid.between(codes[None], codes[:13, None])
    np.put_along_axis(distances, found, np.inf, axis=1)
    assert (distances.min(axis=1) >= bound).all()
    assert (bound > 0).all()


@pytest.mark.parametrize("dimensions", [2, 16])
def test_nearest_to_counts_a_coincident_point_and_equals_brute_force(dimensions):
    rng = np.random.default_rng(1)
    codes = np.repeat(rng.normal(size=(53, dimensions)), 3, axis=0)
    queries = np.concatenate([rng.normal(size=(7, dimensions)), codes[:5]])
    found = knn.nearest_to(codes, queries, k=4)
    assert_exact(found, brute_force(codes, queries, 4, own=False))
    assert (found.distances[7:, 0] == 0).all()


def test_nearest_to_may_ask_for_every_point():
    codes = np.array([[0.0], [2.0], [5.0]])
    assert knn.nearest_to(codes, np.array([[4.0]]), k=3).indices.tolist() == [[2, 1, 0]]


@settings(max_examples=60, deadline=None, database=None)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(2, 23), st.sampled_from([1, 2, 9])),
        elements=st.sampled_from([0.0, 1.0, -1.0, 3.0, 1e-200, 1e100, 0.1]),
    ),
    st.data(),
)
def test_ties_and_duplicates_go_to_the_lowest_index(codes, data):
    k = data.draw(st.integers(1, len(codes) - 1))
    assert_exact(knn.nearest(codes, k=k), brute_force(codes, codes, k, own=True))


@pytest.mark.parametrize("dimensions", [2, 16])
def test_no_point_is_its_own_neighbour_where_all_coincide(dimensions):
    found = knn.nearest(np.ones((5, dimensions)), k=2).indices
    assert found.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]


def test_an_index_asked_for_fewer_answers_from_what_it_knows(monkeypatch):
    codes = np.repeat(np.random.default_rng(2).normal(size=(23, 2)), 3, axis=0)
    index = knn.Index(codes)
    index.nearest(k=11)
    monkeypatch.setattr(ranking.Ranking, "nearest", None)
    for k in (11, 4, 1):
        assert_exact(index.nearest(k=k), brute_force(codes, codes, k, own=True))


def test_an_index_asked_in_any_order_answers_as_one_asked_once():
    rng = np.random.default_rng(2)
    codes = np.repeat(rng.normal(size=(7, 2)), 13, axis=0)
    queries = np.concatenate([rng.normal(size=(40, 2)), codes[:40]])
    index = knn.Index(codes)
    for k in (2, 30, 5, 90):
        assert_exact(index.nearest_to(queries, k=k), brute_force(codes, queries, k, own=False))
        assert_exact(index.nearest(k=k), brute_force(codes, codes, k, own=True))


def test_an_index_makes_its_engine_once(monkeypatch):
    made = []
    tree = candidates.Tree
    monkeypatch.setattr(
        exact, "Tree", lambda codes, **options: made.append(len(codes)) or tree(codes, **options)
    )
    index = knn.Index(np.random.default_rng(2).normal(size=(67, 2)))
    index.nearest_to(np.zeros((3, 2)), k=2)  # so few that none is worth it
    assert made == []
    index.nearest(k=3)
    index.nearest(k=9)
    index.nearest_to(np.zeros((50, 2)), k=12)
    assert made == [67]


@pytest.mark.parametrize("dimensions", [2, 16])
@pytest.mark.parametrize("queries", [1, 33])
def test_few_queries_and_many_are_answered_alike(dimensions, queries):
    codes = np.round(np.random.default_rng(3).normal(size=(83, dimensions)))
    asked = codes[:queries] + 0.5
    assert_exact(knn.nearest_to(codes, asked, k=9), brute_force(codes, asked, 9, own=False))


def test_permuted_points_give_permuted_neighbours():
    rng = np.random.default_rng(2)
    codes, order = rng.normal(size=(101, 3)), rng.permutation(101)
    straight, shuffled = knn.nearest(codes, k=5), knn.nearest(codes[order], k=5)
    np.testing.assert_array_equal(order[shuffled.indices], straight.indices[order])


@pytest.mark.parametrize(
    ("codes", "k", "message"),
    [
        (np.zeros((1, 2)), 1, "one point has no neighbours"),
        (np.zeros((3, 2)), 3, "k is 3, but 3 points have 2 neighbours each; use a k from 1 to 2"),
        (np.zeros((3, 2)), 0, "k is 0"),
        (np.zeros(3), 1, r"shape \(3,\)"),
        (np.zeros((3, 0)), 1, r"shape \(3, 0\)"),
        (np.array([[0, 1], [1, np.nan], [np.inf, 2]]), 1, "2 of 3 .* the first in row 1"),
        (np.array([[0.0], [1e200]]), 1, "beyond 1e.150.* row 1"),
        (np.array([["a"], ["b"]]), 1, "give real numbers"),
    ],
)
def test_nearest_refuses(codes, k, message):
    with pytest.raises(UserError, match=message):
        knn.nearest(codes, k=k)


def test_nearest_to_refuses_other_dimensions_and_too_large_k():
    with pytest.raises(UserError, match="queries have 3 dimensions, but latent codes 2"):
        knn.nearest_to(np.zeros((2, 2)), np.zeros((1, 3)), k=1)
    with pytest.raises(UserError, match="k is 3, but there are 2 points"):
        knn.nearest_to(np.zeros((2, 2)), np.zeros((1, 2)), k=3)
