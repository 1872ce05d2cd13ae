"""The heap and the bounds that searches rest on; what they find is tested with `search`."""

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse import csgraph
from scipy.spatial import distance

from jaxsurf.manifold.edges import csr
from jaxsurf.manifold.shortest_paths import fronts, numbering


def rows_of(made):
    return numbering.Rows(made.indptr, made.indices, made.weights)


@pytest.mark.parametrize("seed", range(5))
def test_nodes_leave_the_heap_in_the_order_of_their_last_keys(seed):
    rng = np.random.default_rng(seed)
    front, keys = fronts.make_front(211), np.full(211, np.inf)
    size = reached = 0
    for node in rng.integers(0, 211, 800).tolist():
        key = float(rng.integers(0, 500))
        if key < keys[node]:
            keys[node] = key
            size, reached = fronts._reach(front, node, node, key, key, size, reached)
    assert size == reached == np.isfinite(keys).sum()
    left = []
    while size:
        left.append(keys[front.heap[0]])
        assert left[-1] == front.keys[0]
        size = fronts._take(front, size)
    assert left == sorted(keys[np.isfinite(keys)])
    assert (front.place == -1).all()


def test_a_cleared_front_is_as_new():
    codes = np.random.default_rng(0).random((83, 2))
    ends = np.argwhere(distance.cdist(codes, codes) < 0.3)
    ends = ends[ends[:, 0] < ends[:, 1]]
    made = csr.from_edges(ends, np.ones(len(ends)), num_nodes=83)
    front, new = fronts.make_front(83), fronts.make_front(83)
    reached = fronts.explore(rows_of(made), front, 5, np.zeros(0, bool), 0)
    assert 1 < reached <= 83
    fronts.clear(front, reached)
    np.testing.assert_array_equal(front.lengths, new.lengths)
    np.testing.assert_array_equal(front.place, new.place)


def test_a_search_stops_at_its_last_target():
    ends = np.stack([np.arange(100), np.arange(1, 101)], axis=1)
    rows = rows_of(csr.from_edges(ends, np.ones(100), num_nodes=101))
    front, wanted = fronts.make_front(101), np.zeros(101, bool)
    wanted[[52, 58]] = True
    # Eight to either side, and one more if the other node at that distance came first.
    assert fronts.explore(rows, front, 50, wanted, 2) in (17, 18)


def test_bounds_need_not_agree_with_one_another():
    """A node that seemed too far is gone on from again when a shorter way to it turns up."""
    rng = np.random.default_rng(2)
    codes = rng.random((307, 2))
    ends = np.argwhere(distance.cdist(codes, codes) < 0.15)
    ends = ends[ends[:, 0] < ends[:, 1]]
    made = csr.from_edges(ends, rng.random(len(ends)), num_nodes=307)
    matrix = scipy.sparse.csr_array((made.weights, made.indices, made.indptr))
    front = fronts.make_front(307)
    for target in range(0, 307, 9):
        lengths = csgraph.dijkstra(matrix, indices=target)
        marks = (lengths * rng.random(307) / lengths.max()).astype(np.float32)[:, None]
        bounds = fronts.Bounds(np.zeros((0, 0)), 1.0, marks, float(lengths.max()))
        reached = fronts.seek(rows_of(made), front, bounds, 5, target)
        walk = fronts.trace(front, 5, target)
        assert made.weights_along(walk).sum() == pytest.approx(lengths[5], rel=1e-12)
        fronts.clear(front, reached)


def test_numbers_breadth_first_keep_components_together_and_edges_as_they_are():
    rng = np.random.default_rng(1)
    ends = rng.integers(0, 60, (70, 2))
    ends = ends[(ends[:, 0] - ends[:, 1]) % 3 == 0]  # three kinds of nodes that never meet
    ends = ends[ends[:, 0] != ends[:, 1]]
    made = csr.from_edges(ends, rng.random(len(ends)), num_nodes=60)
    order = numbering.breadth_first(made.indptr, made.indices)
    assert sorted(order) == list(range(60))
    components = made.components[order]
    assert (np.diff(components) != 0).sum() == components.max()
    rank = np.argsort(order).astype(np.int32)
    rows = numbering.renumbered(rows_of(made), order, rank)
    for node in range(60):
        mine = slice(rows.indptr[node], rows.indptr[node + 1])
        theirs = slice(made.indptr[order[node]], made.indptr[order[node] + 1])
        assert order[rows.indices[mine]].tolist() == made.indices[theirs].tolist()
        assert rows.weights[mine].tolist() == made.weights[theirs].tolist()
