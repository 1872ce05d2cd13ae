"""What the graph suite compares with does the same work, and its rows say how it was measured."""

import dataclasses
import itertools

import igraph
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jaxsurf.manifold import graph, latent_graph, neighbors, shortest_path
from jaxsurf.manifold.shortest_path import NodePath
from jaxsurf.models.autoencoder import ModelConfig
from jaxsurf.pipeline.benchmark import former, inputs, measurement, process, rows
from jaxsurf.pipeline.benchmark.inputs import Cloud
from jaxsurf.pipeline.benchmark.rows import MEDIAN, WHOLE, WORST, Case, Contest, Parts, Times
from jaxsurf.pipeline.benchmark.stages.graph import (
    building,
    clouds,
    cryodrgn,
    interpolation,
    many_pairs,
    nearest,
    one_pair,
    pipeline,
    searchers,
)
from jaxsurf.pipeline.benchmark.stages.graph.lengths import check_equal

SQUARE, ROLL = Cloud("cube", 307, 2), Cloud("roll", 307, 3)
PEERS = [value for value in vars(searchers).values() if isinstance(value, searchers.Peer)]


@pytest.fixture
def clock(monkeypatch):
    """A clock that only what calls it moves on; `work(seconds)` makes such work."""
    now = [0.0]
    monkeypatch.setattr(measurement.time, "perf_counter", lambda: now[0])

    def work(seconds, answer=None):
        def do():
            now[0] += seconds.pop(0) if isinstance(seconds, list) else seconds
            return answer

        return do

    return work


def times(*parts, number=0, first=0.0):
    return Times(first=first, parts=parts, number=number or len(parts))


def test_figures_compare_the_same_parts():
    ours, peer = times(1.0, 2.0, 6.0, 4.0), times(10.0, 8.0, 90.0, number=4, first=3.0)
    assert WHOLE.of(ours, peer) == (13.0, 3.0 + 4 * 36.0)
    assert MEDIAN.of(ours, peer) == (2.0, 10.0)
    assert WORST.of(ours, peer) == (2.0, 8.0)
    assert [figure.of(ours, None) for figure in (WHOLE, MEDIAN, WORST)] == [
        (13.0, None),
        (3.0, None),
        (6.0, None),
    ]


def test_a_slow_peer_is_stopped_and_its_time_scaled(clock):
    contest = Contest(
        ours=Parts(parts=[clock(1)] * 5),
        make_peer=lambda: Parts(parts=[clock(10)] * 5, first=clock(7)),
        limit_s=25,
    )
    found = measurement.measure(contest)
    # The first round stops after the second part, 27 seconds; there is no other one for either.
    assert list(found.peer.parts) == [10, 10]
    assert found.peer.partial
    assert found.peer.whole == 7 + 5 * 10
    assert list(found.ours.parts) == [1] * 5


def test_both_play_as_many_rounds_as_the_peer_has_time_for(clock):
    played = []
    contest = Contest(
        ours=lambda: played.append(clock(1)()),
        make_peer=lambda: clock([0, 11, 9, 99, 99]),
        rounds=4,
        limit_s=28,
    )
    found = measurement.measure(contest)
    assert list(found.peer.parts) == [9]
    assert not found.peer.partial
    assert len(played) == 1 + 2


def test_of_some_parts_the_time_of_all_is_told(clock):
    work = Parts(parts=[clock(2)] * 3, number=100)
    found = measurement.measure(Contest(ours=clock(1), make_peer=lambda: work))
    assert found.peer.partial
    assert found.peer.whole == 200


def case_of(contest, **more):
    return Case(stage="path", size="5", prepare=lambda: contest, peer="sloth", **more)


def test_one_measurement_gives_a_row_a_figure(clock):
    contest = Contest(
        ours=Parts(parts=[clock(1), clock(2), clock(2)]),
        make_peer=lambda: Parts(parts=[clock(8), clock(10), clock(30)]),
        limit_s=15,
    )
    median, worst = process._measured(case_of(contest, figures=(MEDIAN, WORST)))
    assert (median.size, median.ours_s, median.peer_s, median.ratio) == ("5: median", 1.5, 9.0, 6.0)
    assert (worst.ours_s, worst.peer_s, worst.ratio) == (2.0, 10.0, 5.0)
    assert median.key != worst.key
    assert median.extrapolated
    assert "| 9.00 (extrapolated) | 6.00 |" in str(median)
    assert rows.from_content(worst.content) == worst


def test_other_lengths_fail_a_row(clock):
    def disagree(ours, theirs):
        raise ValueError(f"{ours} and {theirs}")

    contest = Contest(
        ours=clock(1, "mine"), make_peer=lambda: clock(2, "its"), agree=disagree, rounds=2
    )
    (row,) = process._measured(case_of(contest))
    assert row.error == "ValueError: ['mine'] and ['its']"
    assert (row.ours_s, row.peer_s) == (None, None)


def test_a_missing_package_leaves_ours_alone(clock):
    contest = Contest(ours=clock(1), make_peer=pytest.fail)
    (row,) = process._measured(case_of(contest, needs=("numpy", "no_such_package")))
    assert (row.ours_s, row.peer, row.peer_s, row.error) == (1.0, "sloth", None, "")


def test_lengths_are_compared_pair_by_pair():
    square = latent_graph.from_edges(
        np.array([[0, 1], [1, 2], [2, 3], [3, 0]]), np.array([1.0, 1, 1, 1 + 3e-6]), num_nodes=4
    )
    short, long = NodePath(np.array([0, 1, 2]), 2.0, "astar"), NodePath(np.array([0, 3, 2]), 2, "")
    check_equal(square, [short, short], [[0, 1, 2]])
    for ours, theirs, message in (
        (short, [0, 3, 2], "are 2 and 2.000003 long"),
        (long, [0, 3, 2], "ours is said to be 2"),
        (short, [1, 2], "from 1 to 2 is compared"),
        (short, [0, 2], "not a walk"),
    ):
        with pytest.raises(ValueError, match=message):
            check_equal(square, [short, ours], [[0, 1, 2], theirs])


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
@pytest.mark.parametrize("cloud", [SQUARE, ROLL], ids=str)
def test_every_search_finds_shortest_paths(cloud, peer):
    contest = one_pair.make_contest(cloud, "latent", "auto", peer, pairs=11)
    found = measurement.measure(dataclasses.replace(contest, rounds=1))
    assert found.error == ""
    assert len(found.peer.parts) == 11
    # Against what neither of them is: all pairs by SciPy.
    given = inputs.connected(cloud)
    search_it = peer.make(given, cloud.points())
    distances = shortest_path.distances(given, [5], method="igraph")[0]
    for target in (0, 100, 306):
        way = search_it(5, target)
        assert given.weights_along(np.asarray(way)).sum() == pytest.approx(distances[target])


@pytest.mark.parametrize("method", ["bidirectional", "landmarks"])
def test_other_ways_and_weights_agree_too(method):
    contest = one_pair.make_contest(ROLL, "density", method, searchers.IGRAPH, pairs=7)
    found = measurement.measure(dataclasses.replace(contest, rounds=1))
    assert (found.error, len(found.ours.parts)) == ("", 7)


def test_many_pairs_are_one_call_and_of_slow_peers_some(monkeypatch):
    contest = many_pairs.make_contest(SQUARE, searchers.NETWORKX, pairs=50)
    found = measurement.measure(dataclasses.replace(contest, rounds=1))
    assert (found.error, found.ours.number, found.peer.number) == ("", 1, 50)
    assert len(found.peer.parts) == many_pairs.SAMPLE
    monkeypatch.setattr(clouds, "SMALL", (SQUARE,))
    whole = many_pairs.make_contest(SQUARE, searchers.IGRAPH, pairs=50)
    found = measurement.measure(dataclasses.replace(whole, rounds=1))
    assert (found.error, len(found.peer.parts)) == ("", 50)


@pytest.mark.parametrize(("name", "make_index", "precision"), [p[::2] for p in nearest.PEERS])
def test_every_index_finds_the_same_neighbours(name, make_index, precision, monkeypatch):
    monkeypatch.setattr(nearest, "LEAST", 50)
    contest = nearest.make_contest(SQUARE, make_index, 7, precision)
    found = measurement.measure(dataclasses.replace(contest, rounds=1))
    assert (found.error, len(found.peer.parts)) == ("", 7)
    near = contest.make_peer()
    near.first()
    distances = np.concatenate([part()[0] for part in near.parts])
    expected = np.sort(cdist(SQUARE.points(), SQUARE.points()))[:, : inputs.K + 1]
    np.testing.assert_allclose(distances, expected, rtol=0, atol=precision)


def test_other_neighbours_are_refused():
    codes = SQUARE.points()
    found = neighbors.Index(codes).nearest(k=inputs.K)
    distances = np.concatenate([np.zeros((307, 1)), found.distances], axis=1)
    nearest._agree([found], [(distances[:9], None)], precision=1e-9)
    distances[8, 3] += 1e-3
    with pytest.raises(ValueError, match="differ by up to"):
        nearest._agree([found], [(distances[:9], None)], precision=1e-9)


@pytest.mark.parametrize("once", [False, True])
def test_both_build_the_graph_of_the_same_edges(once):
    found = measurement.measure(building.make_contest(SQUARE, listed_once=once))
    assert found.error == ""
    assert found.peer.whole > 0


def test_interpolation_errors_agree():
    for make_peer in (interpolation._written_out, interpolation._by_scipy):
        contest = interpolation.make_contest(20, make_peer, side=8)
        found = measurement.measure(contest)
        assert (found.error, len(found.peer.parts)) == ("", interpolation.FRAMES)
        answers = [part() for part in contest.make_peer().parts]
        with pytest.raises(ValueError, match="errors are"):
            contest.agree([contest.ours() * 1.001], answers)


def test_cryodrgns_search_is_shortest_on_its_own_directed_graph():
    codes = np.random.default_rng(3).normal(size=(300, 2))
    joined = cryodrgn.neighbours(codes)
    edges = [(node, other) for node, row in enumerate(joined) for other, _ in row]
    # Two codes that have each other are equally far: both edges are kept.
    assert 0 <= len(edges) - cryodrgn.AVERAGE * len(codes) <= 1
    assert max(map(len, joined)) == cryodrgn.MOST
    kept = [length for row in joined for _, length in row]
    every = np.sort(np.sort(cdist(codes, codes))[:, 1 : cryodrgn.MOST + 1], axis=None)
    assert max(kept) == pytest.approx(every[len(edges) - 1])
    oracle = igraph.Graph(len(codes), edges, directed=True)
    oracle.es["weight"] = kept
    lengths = dict(zip(edges, kept, strict=True))
    apart = 0
    for source, target in np.random.default_rng(4).integers(300, size=(60, 2)).tolist():
        way = cryodrgn.shortest_path(joined, source, target)
        expected = oracle.distances(source, target, weights="weight")[0][0]
        apart += not way
        total = sum(lengths[step] for step in itertools.pairwise(way)) if way else np.inf
        assert total == pytest.approx(expected)
    assert apart > 20
    pairs = np.random.default_rng(4).integers(300, size=(60, 2))
    by_rule, by_ours = cryodrgn.share_apart(codes, pairs)
    assert by_rule == apart / 60
    assert by_ours == 0


@pytest.mark.parametrize("make_builder", [former.with_numpy, former.in_python])
def test_the_reports_way_finds_the_same_path(make_builder):
    codes = SQUARE.points()
    built, k = former.smallest_connected(make_builder(codes))
    ours = graph.build(codes, pipeline.GRAPH)
    assert k == ours.k > 2
    ends, weights = ours.edges()
    theirs = {tuple(sorted(edge[:2])): edge[2] for edge in built.edges(data="weight")}
    assert sorted(theirs) == [tuple(edge) for edge in ends.tolist()]
    np.testing.assert_allclose([theirs[edge] for edge in sorted(theirs)], weights, rtol=1e-12)
    way = former.shortest_path(built, 3, 200)
    found = shortest_path.shortest_path(ours, 3, 200)
    assert way == found.nodes.tolist()
    points = former.between(codes, way, points_per_edge=3)
    np.testing.assert_allclose(points[::2], codes[way])
    np.testing.assert_allclose(points[1::2], (codes[way[1:]] + codes[way[:-1]]) / 2)


@pytest.mark.slow
def test_both_roads_end_in_the_same_frames(monkeypatch):
    monkeypatch.setattr(clouds, "SMALL", (SQUARE,))
    monkeypatch.setattr(pipeline, "FRAMES", 11)
    monkeypatch.setattr(pipeline, "SIDE", 32)
    contest = pipeline.make_contest(ModelConfig(channels=8), former.with_numpy)
    nodes, frames = contest.ours.parts[0]()
    assert (len(nodes), len(frames)) == (6, 11)
    found = measurement.measure(dataclasses.replace(contest, rounds=1))
    assert found.error == ""
    assert found.peer.whole > 0
    with pytest.raises(ValueError, match="frames differ by up to"):
        contest.agree([(nodes, frames)], [(nodes, frames[::-1])])
    with pytest.raises(ValueError, match="but by the peer"):
        contest.agree([(nodes, frames)], [(nodes[::-1], frames)])


def test_clouds_are_what_they_say():
    cube = Cloud("cube", 5000, 3).points()
    assert cube.shape == (5000, 3)
    assert (cube >= 0).all()
    assert (cube < 1).all()
    roll = Cloud("roll", 5000, 3).points()
    radius = np.hypot(roll[:, 0], roll[:, 2])
    np.testing.assert_allclose(np.cos(radius), roll[:, 0] / radius, atol=1e-9)
    # Evenly by area: each turn's share is that of its length.
    shares = np.histogram(radius, bins=[1.5 * np.pi, 3 * np.pi, 4.5 * np.pi])[0] / 5000
    spiral = np.array([9 - 2.25, 20.25 - 9]) / (20.25 - 2.25)
    np.testing.assert_allclose(shares, spiral, atol=0.03)


def test_pairs_lie_in_the_largest_component():
    ends = np.array([[0, 1], [2, 3], [3, 4]])
    given = latent_graph.from_edges(ends, np.ones(3), num_nodes=6)
    drawn = inputs.pairs(given, 40)
    assert set(drawn.ravel().tolist()) == {2, 3, 4}
    assert (drawn[:, 0] != drawn[:, 1]).all()
    np.testing.assert_array_equal(drawn, inputs.pairs(given, 40))


def test_shared_inputs_are_made_once_and_removed(tmp_path, monkeypatch):
    alone = inputs.connected(SQUARE, weight="density")
    assert alone.weight == "density"
    np.testing.assert_allclose(alone.weights, inputs.connected(SQUARE).weights ** 3)
    assert not list(tmp_path.iterdir())
    with inputs.shared(tmp_path):
        made = inputs.connected(SQUARE, weight="density")
        monkeypatch.setattr(inputs.subprocess, "run", pytest.fail)
        again = inputs.connected(SQUARE, weight="density")
        # The graph's neighbours were shared too.
        neighbours = inputs.neighbours(SQUARE)
    for other in (made, again):
        for name in ("indptr", "indices", "weights"):
            np.testing.assert_array_equal(getattr(other, name), getattr(alone, name))
    np.testing.assert_array_equal(
        neighbours.indices, neighbors.Index(SQUARE.points()).nearest(k=inputs.K).indices
    )
    assert not list(tmp_path.iterdir())


def test_the_road_has_as_many_frames_as_the_reports_animation():
    source, target = pipeline.find_ends(clouds.SMALL[0].points())
    built = graph.build(clouds.SMALL[0].points(), pipeline.GRAPH)
    path = shortest_path.shortest_path(built, source, target)
    assert (len(path.nodes) - 1) * (pipeline.POINTS_PER_EDGE - 1) + 1 == 55
