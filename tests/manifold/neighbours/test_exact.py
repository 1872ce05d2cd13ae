"""Searches for many points, made to take few: against brute force, and each against the other."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxsurf.manifold import compilation, euclid, knn
from jaxsurf.manifold.neighbours import device_table, exact, kd_tree, tiles
from jaxsurf.manifold.neighbours.ranking import Ranking


def brute_force(codes, queries, k, *, own):
    """All distances in float64, stably sorted: the lowest index comes first among equals."""
    squares = (queries[:, None].astype(float) - codes[None].astype(float)) ** 2
    distances = np.sqrt(np.cumsum(squares, axis=-1)[..., -1])
    if own:
        np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


def assert_bitwise(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def by_tree(codes, k):
    return kd_tree.KdTree(codes).nearest(codes, k, own=np.arange(len(codes)))


LAYOUTS = {
    "spread": lambda codes: codes,
    "far_away": lambda codes: 1e6 + 1e-3 * codes,
    "lattice": lambda codes: 0.1 * np.round(2 * codes),
    "coincident": lambda codes: np.ones_like(codes),
    "duplicates": lambda codes: np.repeat(codes[:7], 59, axis=0)[::-1].copy(),
    "collinear": lambda codes: np.arange(409.0)[:, None] * np.ones_like(codes[:1]),
    "circle": lambda codes: np.cos(np.arange(401)[:, None] * 0.01571 + np.arange(codes.shape[1])),
    "huge": lambda codes: 1e150 * np.clip(codes, -1, 1),
    "small": lambda codes: 1e-150 * codes,
    "vanishing": lambda codes: 1e-161 * codes,
    "two": lambda codes: codes[:2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dimensions", [1, 2, 3, 4, 5, 6, 7, 8, 9, 16])
def test_the_compiled_tree_is_bitwise_brute_force(layout, dimensions):
    codes = np.random.default_rng(dimensions).normal(size=(401, dimensions))
    codes = LAYOUTS[layout](codes)
    for k in {1, min(10, len(codes) - 1), len(codes) - 1}:
        assert_bitwise(by_tree(codes, k), brute_force(codes, codes, k, own=True))


@settings(max_examples=60, deadline=None, database=None)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(2, 61), st.sampled_from([1, 3, 8])),
        elements=st.sampled_from([0.0, 1.0, -1.0, 3.0, 1e-200, 1e-162, 1e100, 0.1, 0.3]),
    ),
    st.data(),
)
def test_the_compiled_tree_settles_ties_by_the_lowest_index(codes, data):
    k = data.draw(st.integers(1, len(codes) - 1))
    assert_bitwise(by_tree(codes, k), brute_force(codes, codes, k, own=True))


def test_the_compiled_tree_answers_queries_from_elsewhere_and_counts_coincident_points():
    rng = np.random.default_rng(1)
    codes = np.round(rng.normal(size=(503, 3)), 1)
    queries = np.concatenate([codes[:11], 1e3 * rng.normal(size=(13, 3))])
    found = kd_tree.KdTree(codes).nearest(queries, 503, own=np.full(24, -1))
    assert_bitwise(found, brute_force(codes, queries, 503, own=False))
    assert (found[1][:11, 0] == 0).all()


def test_the_compiled_tree_settles_ties_by_the_numbers_that_it_is_given():
    codes = np.repeat(np.arange(3.0), 67)[:, None]
    numbers = np.random.default_rng(2).permutation(201)
    found, _ = kd_tree.KdTree(codes, numbers).nearest(codes[:1], 5, own=numbers[:1])
    assert found[0].tolist() == sorted(set(numbers[:67]) - {numbers[0]})[:5]


def test_reach_is_the_nearest_distance_and_infinite_beyond_the_limit():
    rng = np.random.default_rng(3)
    codes, queries = rng.normal(size=(307, 2)), 3 * rng.normal(size=(41, 2))
    away = brute_force(codes, queries, 1, own=False)[1][:, 0]
    limit = np.sort(away)[20]
    found = kd_tree.KdTree(codes).reach(queries, limit=limit)
    np.testing.assert_array_equal(found, np.where(away <= limit, away, np.inf))


def test_many_coincident_points_are_not_all_looked_at():
    rng = np.random.default_rng(4)
    codes = np.repeat(rng.normal(size=(5, 3)), 4001, axis=0)
    tree = kd_tree.KdTree(codes)
    assert tree.share(codes[::1000], k=10) * len(codes) < 400
    found, _ = tree.nearest(codes[-1:], 10, own=np.array([16004]))
    assert found[0].tolist() == [16005 + place for place in range(10)]


def test_one_thread_and_many_give_the_same_tree_and_neighbours(monkeypatch):
    codes = np.random.default_rng(5).normal(size=(2003, 3))
    monkeypatch.setattr(kd_tree, "_PORTION", 16)
    many = by_tree(codes, 7)
    monkeypatch.setattr(kd_tree, "num_cores", lambda: 1)
    monkeypatch.setattr(compilation, "num_cores", lambda: 1)
    monkeypatch.setattr(kd_tree, "_TURNS", 1)
    assert_bitwise(by_tree(codes, 7), many)


@pytest.fixture
def few_are_many(monkeypatch):
    monkeypatch.setattr(exact, "_MANY", 2)
    monkeypatch.setattr(exact, "_MANY_WIDE", 50)


@pytest.mark.usefixtures("few_are_many")
@pytest.mark.parametrize("dimensions", [2, 12])
@pytest.mark.parametrize("layout", ["spread", "duplicates", "lattice", "far_away"])
def test_an_index_of_many_answers_as_brute_force(dimensions, layout):
    rng = np.random.default_rng(6)
    codes = LAYOUTS[layout](rng.normal(size=(401, dimensions)))
    queries = np.concatenate([codes[:30], codes[:30] + 0.1])
    index = knn.Index(codes)
    for k in (9, 31):
        found = index.nearest(k=k)
        expected = brute_force(codes, codes, k, own=True)
        assert_bitwise((found.indices, found.distances), expected)
        found = index.nearest_to(queries, k=k)
        expected = brute_force(codes, queries, k, own=False)
        assert_bitwise((found.indices, found.distances), expected)


@pytest.mark.usefixtures("few_are_many")
def test_permuted_points_give_permuted_neighbours_of_a_compiled_tree():
    rng = np.random.default_rng(7)
    codes, order = rng.normal(size=(601, 3)), rng.permutation(601)
    straight, shuffled = knn.nearest(codes, k=5), knn.nearest(codes[order], k=5)
    np.testing.assert_array_equal(order[shuffled.indices], straight.indices[order])


def chosen(codes):
    search = exact.make_search(codes, np.arange(len(codes)))
    if not isinstance(search, Ranking):
        return type(search).__name__
    return [getattr(engine, "_table", engine).__class__.__name__ for engine in search.engines]


@pytest.mark.usefixtures("few_are_many")
def test_the_search_is_chosen_by_number_dimensions_and_backend(monkeypatch):
    rng = np.random.default_rng(9)
    full = rng.normal(size=(701, 16))
    flat = np.sin(rng.random((3001, 2)) @ rng.normal(size=(2, 16)))
    assert chosen(full[:, :3].copy()) == "KdTree"
    assert chosen(flat) == "KdTree"
    assert chosen(full) == ["Singles", "Doubles"]
    assert chosen(full[:31]) == ["Doubles"]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chosen(full) == ["DeviceTable", "Doubles"]
    monkeypatch.setattr(exact, "_MANY", 10**6)
    assert chosen(full[:, :2].copy()) == ["Tree"]


def test_a_loaded_tree_searches_small_sets_too_and_finds_the_same():
    codes = np.round(np.random.default_rng(10).normal(size=(61, 3)), 1)  # some coincide
    assert chosen(codes) == ["Tree"]
    before = knn.nearest(codes, k=60)
    knn.load_kernels(3)
    assert chosen(codes) == "KdTree"
    assert chosen(codes[:1]) == "KdTree"
    assert chosen(codes[:, :2].copy()) == ["Tree"]
    after = knn.nearest(codes, k=60)
    assert_bitwise((after.indices, after.distances), (before.indices, before.distances))


@pytest.mark.parametrize("table", [tiles.Singles, device_table.DeviceTable])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dimensions", [9, 64])
def test_float32_tables_settled_by_float64_are_exact(table, layout, dimensions):
    codes = LAYOUTS[layout](np.random.default_rng(dimensions).normal(size=(401, dimensions)))
    engines = [tiles.Tiles(codes, table), tiles.Tiles(codes)]
    own, k = np.arange(len(codes)), min(5, len(codes) - 1)
    found = Ranking(codes, own, engines).nearest(codes, k, own=own)
    assert_bitwise(found, brute_force(codes, codes, k, own=True))


@pytest.mark.parametrize("table", [tiles.Doubles, tiles.Singles, device_table.DeviceTable])
def test_bounds_hold_for_queries_far_beyond_the_points(table):
    rng = np.random.default_rng(10)
    codes = 1e-30 * rng.normal(size=(301, 3))
    queries = np.concatenate([1e-30 * rng.normal(size=(5, 3)), np.full((1, 3), 1e100)])
    found, bound = tiles.Tiles(codes, table).find(queries, count=4)
    assert all(len(set(row)) == 4 for row in found.tolist())
    distances = euclid.between(codes[None], queries[:, None])
    np.put_along_axis(distances, found, np.inf, axis=1)
    assert (distances.min(axis=1) >= bound).all()


def test_four_devices_answer_as_one(monkeypatch):
    rng = np.random.default_rng(11)
    columns, factor = rng.normal(size=(10, 1501)), rng.normal(size=(157, 10))
    assert len(jax.local_devices()) == 4
    together = device_table.DeviceTable(columns)
    devices = jax.local_devices()
    monkeypatch.setattr(jax, "local_devices", lambda: devices[:1])
    alone = device_table.DeviceTable(columns)
    assert together.rows == 4 * alone.rows
    for one, other in zip(together.smallest(factor, 6), alone.smallest(factor, 6), strict=True):
        np.testing.assert_array_equal(one, other)
