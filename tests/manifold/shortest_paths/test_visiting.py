"""Ways past several anchors, and the best order, against trying all orders."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsurf.errors import UserError
from jaxsurf.frames.animate import Route
from jaxsurf.manifold import graph, search
from jaxsurf.manifold.edges import csr
from jaxsurf.manifold.shortest_paths import visiting

either_way = pytest.mark.parametrize("loop", [False, True])


@pytest.fixture(scope="module")
def square():
    return graph.smallest_connecting(np.random.default_rng(0).random((211, 2)))


def way_length(lengths, order, *, loop):
    stops = [*order, *(order[:1] if loop else [])]
    return sum(lengths[a, b] for a, b in itertools.pairwise(stops))


def distances_between(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


@either_way
@settings(max_examples=30, deadline=None, database=None)
@given(seed=st.integers(0, 2**32 - 1), num_places=st.integers(1, 7))
def test_no_order_is_shorter_than_the_proven_one(loop, seed, num_places):
    # Whole coordinates: some places coincide, some orders are equally good.
    lengths = distances_between(np.random.default_rng(seed).integers(0, 5, (num_places, 2)))
    order, proven = visiting.best_order(lengths, loop=loop)
    assert proven
    assert order[0] == 0
    assert sorted(order) == list(range(num_places))
    least = min(
        way_length(lengths, (0, *rest), loop=loop)
        for rest in itertools.permutations(range(1, num_places))
    )
    assert way_length(lengths, order, loop=loop) == pytest.approx(least, rel=1e-12)


@either_way
def test_many_places_are_in_a_good_order_that_is_not_called_proven(loop, monkeypatch):
    ratios = []
    for seed in range(20):
        lengths = distances_between(np.random.default_rng(seed).random((11, 2)))
        best, proven = visiting.best_order(lengths, loop=loop)
        assert proven
        with monkeypatch.context() as fewer:
            fewer.setattr(visiting, "MOST_PROVEN", 10)
            order, proven = visiting.best_order(lengths, loop=loop)
        assert not proven
        assert order[0] == 0
        assert sorted(order) == list(range(11))
        ratios.append(way_length(lengths, order, loop=loop) / way_length(lengths, best, loop=loop))
    assert min(ratios) >= 1 - 1e-12
    assert np.mean(ratios) < 1.02
    assert max(ratios) < 1.15


@either_way
@pytest.mark.parametrize("seed", range(4))
def test_neither_a_turn_nor_a_move_of_up_to_three_shortens_the_order(loop, seed):
    lengths = distances_between(np.random.default_rng(seed).random((53, 2)))
    order, _ = visiting.best_order(lengths, loop=loop)
    length = way_length(lengths, order, loop=loop)
    for start, stop in itertools.combinations(range(1, 54), 2):
        run, rest = order[start:stop], order[:start] + order[stop:]
        others = [order[:start] + run[::-1] + order[stop:]]
        if len(run) <= 3:
            gaps = range(1, len(rest) + 1)
            others += [rest[:g] + piece + rest[g:] for g in gaps for piece in (run, run[::-1])]
        assert min(way_length(lengths, o, loop=loop) for o in others) >= length - 1e-9


def test_a_thousand_places_are_in_an_order_within_a_tenth_of_the_best_to_expect():
    """A shortest way past n random points of a unit square is about 0.7124 sqrt(n) long."""
    points = np.random.default_rng(0).random((1009, 2))
    order, proven = visiting.best_order(distances_between(points), loop=True)
    assert (sorted(order), order[0], proven) == (list(range(1009)), 0, False)
    length = way_length(distances_between(points), order, loop=True)
    assert length < 1.1 * 0.7124 * np.sqrt(1009)


def test_the_lengths_that_decide_an_order_are_those_of_shortest_paths(square):
    anchors = [17, 200, 3, 90, 17]
    expected = [
        [search.shortest_path(square, a, b, method="dijkstra").length for b in anchors]
        for a in anchors
    ]
    np.testing.assert_allclose(search._pairwise(square, anchors), expected, rtol=1e-12)


@either_way
def test_places_on_a_circle_are_visited_around_it(loop):
    places = np.random.default_rng(1).permutation(37)
    angle = 2 * np.pi * places / 37
    lengths = distances_between(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    order, _ = visiting.best_order(lengths, loop=loop)
    steps = np.abs(np.diff(places[[*order, *(order[:1] if loop else [])]]))
    assert (np.minimum(steps, 37 - steps) == 1).all()


def test_a_place_alone_and_places_at_one_point_have_an_order():
    for loop in (False, True):
        assert visiting.best_order(np.zeros((1, 1)), loop=loop) == ([0], True)
        order, proven = visiting.best_order(np.zeros((20, 20)), loop=loop)
        assert (sorted(order), proven) == (list(range(20)), False)


@either_way
def test_a_visit_is_the_shortest_paths_one_behind_the_other(square, loop):
    anchors = [17, 200, 3, 90]
    visit = search.through(square, anchors, loop=loop)
    stops = anchors + anchors[:1] * loop
    legs = search.shortest_paths(square, list(itertools.pairwise(stops)))
    for leg, (start, stop) in zip(legs, itertools.pairwise(visit.places), strict=True):
        assert visit.nodes[start : stop + 1].tolist() == leg.nodes.tolist()
    assert visit.length == pytest.approx(sum(leg.length for leg in legs), rel=1e-12)
    assert visit.length == pytest.approx(square.weights_along(visit.nodes).sum(), rel=1e-12)
    assert visit.order == (0, 1, 2, 3, 0)[: len(stops)]
    assert visit.places[0] == 0
    assert visit.places[-1] == len(visit.nodes) - 1
    assert (visit.method, visit.proven) == ("igraph", None)


@either_way
@pytest.mark.parametrize("num_anchors", [2, 6, 15])
def test_the_best_order_starts_at_the_first_anchor_and_is_no_longer_than_the_given_one(
    square, loop, num_anchors
):
    anchors = np.random.default_rng(num_anchors).integers(0, 211, num_anchors).tolist()
    visit = search.through(square, anchors, loop=loop, order="best")
    assert visit.nodes[list(visit.places)].tolist() == [anchors[stop] for stop in visit.order]
    assert sorted(visit.order) == sorted([*range(num_anchors), *([0] if loop else [])])
    assert visit.order[0] == 0
    assert visit.proven == (num_anchors <= visiting.MOST_PROVEN)
    assert visit.length <= search.through(square, anchors, loop=loop).length * (1 + 1e-12)
    if visit.proven:
        between = search.distances(square, anchors)[:, anchors]
        others = itertools.permutations(range(1, num_anchors))
        least = min(way_length(between, (0, *rest), loop=loop) for rest in others)
        assert visit.length == pytest.approx(least, rel=1e-12)


@pytest.mark.parametrize("order", ["given", "best"])
@pytest.mark.parametrize("method", ["igraph", "bidirectional"])
def test_an_anchor_may_come_twice_in_succession(square, order, method):
    visit = search.through(square, [5, 5, 9, 9], order=order, method=method)
    assert visit.places == (0, 0, len(visit.nodes) - 1, len(visit.nodes) - 1)
    straight = search.shortest_path(square, 5, 9, method=method)
    assert visit.nodes.tolist() == straight.nodes.tolist()


@either_way
def test_one_anchor_is_a_visit_of_one_node(square, loop):
    visit = search.through(square, [5], loop=loop, order="best")
    assert (visit.nodes.tolist(), visit.length) == ([5], 0.0)
    assert visit.places == visit.order == (0, 0)[: 1 + loop]


@either_way
def test_the_places_of_a_visit_are_the_anchors_of_a_route(square, loop):
    visit = search.through(square, [17, 200, 3], loop=loop, order="best")
    images = np.zeros((len(visit.order), 2, 2, 3), np.uint8)
    codes = np.zeros((len(visit.nodes), 2))
    assert Route(codes=codes, images=images, anchors=visit.places).anchors == visit.places


def test_many_anchors_are_ordered_by_the_same_lengths_in_any_number_of_blocks(square, monkeypatch):
    anchors = np.random.default_rng(5).permutation(211)[:14].tolist()
    whole = search.through(square, anchors, order="best")
    monkeypatch.setattr(search, "_LENGTHS_AT_ONCE", 3 * 211 + 5)
    assert search.through(square, anchors, order="best").order == whole.order


def test_errors_name_the_anchor(square):
    apart = csr.from_edges([[0, 1], [2, 3]], [1.0, 1.0], num_nodes=4)
    for made, anchors, message in (
        (square, [], r"no anchors were given"),
        (square, [3, 999, 5], r"anchor 1 is 999, but the graph has 211 nodes; .* 0 to 210"),
        (square, [3, 5, -1], r"anchor 2 is -1"),
        (square, [3, 5.5], r"anchor 1 is 5.5"),
        (apart, [0, 1, 3], r"no path joins 0 \(anchor 0\) and 3 \(anchor 2\)"),
    ):
        for order in ("given", "best"):
            with pytest.raises(UserError, match=message):
                search.through(made, anchors, order=order)
    with pytest.raises(UserError, match=r"order 'shortest' is not known; use one of: given, best"):
        search.through(square, [1, 2], order="shortest")
