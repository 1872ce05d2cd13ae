"""Paths past several anchors, and the best order, against trying all orders."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsurf.manifold import graph, neighbors, shortest_path, tour
from jaxsurf.manifold.graph import GraphConfig, Trimming
from jaxsurf.manifold.latent_graph import from_edges
from jaxsurf.manifold.shortest_path import distances, shortest_paths

either_end = pytest.mark.parametrize("loop", [False, True])


def apart(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


@pytest.fixture(scope="module")
def square():
    points = np.random.default_rng(0).random((211, 2))
    lengths = apart(points)
    ends = np.argwhere(np.triu(lengths < 0.2, k=1))
    return from_edges(ends, lengths[tuple(ends.T)], num_nodes=211, weight="latent")


def length_of(lengths, order, *, loop):
    stops = [*order, *(order[:1] if loop else [])]
    return sum(lengths[a, b] for a, b in itertools.pairwise(stops))


@either_end
@settings(max_examples=30, deadline=None, database=None)
@given(seed=st.integers(0, 2**32 - 1), num_places=st.integers(1, 7))
def test_no_order_is_shorter_than_the_proven_one(loop, seed, num_places):
    # Whole coordinates: some places coincide, some orders are equally good.
    lengths = apart(np.random.default_rng(seed).integers(0, 5, (num_places, 2)))
    order, proven = tour.best_order(lengths, loop=loop)
    assert (proven, order[0], sorted(order)) == (True, 0, list(range(num_places)))
    others = itertools.permutations(range(1, num_places))
    least = min(length_of(lengths, (0, *rest), loop=loop) for rest in others)
    assert length_of(lengths, order, loop=loop) == pytest.approx(least, rel=1e-12)


@either_end
def test_neither_a_turn_nor_a_move_of_up_to_three_shortens_the_order(loop):
    lengths = apart(np.random.default_rng(3).random((37, 2)))
    order, _ = tour.best_order(lengths, loop=loop)
    length = length_of(lengths, order, loop=loop)
    for start, stop in itertools.combinations(range(1, 38), 2):
        run, rest = order[start:stop], order[:start] + order[stop:]
        others = [order[:start] + run[::-1] + order[stop:]]
        if len(run) <= 3:
            gaps = range(1, len(rest) + 1)
            others += [rest[:g] + piece + rest[g:] for g in gaps for piece in (run, run[::-1])]
        assert min(length_of(lengths, o, loop=loop) for o in others) >= length - 1e-9


def test_a_thousand_places_are_in_an_order_within_a_tenth_of_the_best_to_expect():
    """The best loop past n random points of a unit square is about 0.7124 sqrt(n) long."""
    lengths = apart(np.random.default_rng(0).random((1009, 2)))
    order, proven = tour.best_order(lengths, loop=True)
    assert (sorted(order), order[0], proven) == (list(range(1009)), 0, False)
    assert length_of(lengths, order, loop=True) < 1.1 * 0.7124 * np.sqrt(1009)


@pytest.mark.parametrize("trim", [None, Trimming(avg_neighbors=3)], ids=["whole", "trimmed"])
@pytest.mark.parametrize("weight", ["latent", "density"])
def test_paths_stay_shortest_where_edges_were_left_out_and_added(weight, trim, monkeypatch):
    # A* goes by codes, of bridges, edges of no length and anchors from outside too.
    monkeypatch.setattr(shortest_path, "_FEW_NODES", 0)
    codes = np.random.default_rng(5).integers(0, 9, (150, 2)).astype(np.float32)
    codes[:70] += 20
    index, config = neighbors.Index(codes), GraphConfig(kind="knn", k=4, weight=weight, repair=True)
    anchors = [3, np.array([-7.0, 2.5]), 149, np.array([21.5, 24.5]), 40]
    built = graph.build(index, config, trim=trim)
    built, all_codes, nodes = tour.with_anchors(built, index, anchors)
    assert (built.weights == 0).any()
    visit = tour.through(built, nodes, codes=all_codes)
    assert visit.method == ("astar" if weight == "latent" else "bidirectional")
    legs = [distances(built, [a], method="igraph")[0, b] for a, b in itertools.pairwise(nodes)]
    assert visit.length == pytest.approx(sum(legs), rel=1e-12)
    assert built.weights_along(visit.nodes).sum() == pytest.approx(sum(legs), rel=1e-12)


@pytest.mark.core
@either_end
def test_a_visit_is_the_shortest_paths_one_behind_the_other(square, loop):
    anchors = [17, 200, 200, 3, 90]  # one comes twice in succession
    visit = tour.through(square, anchors, loop=loop)
    legs = shortest_paths(square, list(itertools.pairwise(anchors + anchors[:1] * loop)))
    for leg, (start, stop) in zip(legs, itertools.pairwise(visit.places), strict=True):
        assert visit.nodes[start : stop + 1].tolist() == leg.nodes.tolist()
    assert visit.length == pytest.approx(sum(leg.length for leg in legs), rel=1e-12)
    assert visit.length == pytest.approx(square.weights_along(visit.nodes).sum(), rel=1e-12)
    assert visit.order == (0, 1, 2, 3, 4, 0)[: len(legs) + 1]
    assert (visit.places[0], visit.places[-1]) == (0, len(visit.nodes) - 1)
    assert (visit.method, visit.proven) == ("igraph", None)


@either_end
@pytest.mark.parametrize("num_anchors", [1, 2, 6, 15])
def test_the_best_order_of_anchors_is_that_of_the_lengths_of_shortest_paths(
    square, loop, num_anchors, monkeypatch
):
    anchors = np.random.default_rng(num_anchors).integers(0, 211, num_anchors).tolist()
    monkeypatch.setattr(tour, "_LENGTHS_AT_ONCE", 4 * 211 + 5)  # in several blocks
    visit = tour.through(square, anchors, loop=loop, order="best")
    assert visit.nodes[list(visit.places)].tolist() == [anchors[stop] for stop in visit.order]
    assert sorted(visit.order) == sorted([*range(num_anchors), *([0] if loop else [])])
    assert visit.order[0] == 0
    assert visit.proven == (num_anchors <= tour.MOST_PROVEN)
    between = distances(square, anchors)[:, anchors]
    order, _ = tour.best_order(between, loop=loop)
    assert visit.length == pytest.approx(length_of(between, order, loop=loop), rel=1e-12)
