"""Shortest paths against SciPy, networkx and graphs whose answer is known, by every method."""

import dataclasses
import gc
import subprocess
import sys
import weakref

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csgraph

from jaxsurf.errors import UserError
from jaxsurf.manifold import compilation, graph, knn, search
from jaxsurf.manifold.edges import altering, csr
from jaxsurf.manifold.shortest_paths import finder, fronts, plain

WITHOUT_CODES = ("igraph", "dijkstra", "bidirectional", "landmarks")
METHODS = (*WITHOUT_CODES, "astar")
every_method = pytest.mark.parametrize("method", METHODS)
few = settings(max_examples=40, deadline=None, database=None)


def rolled_up(points=401, *, seed=0):
    """Return codes on a rolled-up sheet, where the straight way is a bad one."""
    rng = np.random.default_rng(seed)
    angle, height = rng.uniform(4, 14, points), rng.uniform(0, 9, points)
    return np.stack([angle * np.cos(angle), height, angle * np.sin(angle)], axis=1)


ROLL = rolled_up()


@pytest.fixture(scope="module")
def swiss_roll():
    return graph.smallest_connecting(ROLL)


@pytest.fixture
def compiled(monkeypatch):
    """Have `auto` take no graph for small."""
    monkeypatch.setattr(search, "_FEW_NODES", 0)


def scipy_matrix(made):
    return scipy.sparse.csr_array((made.weights, made.indices, made.indptr))


def networkx_graph(made):
    theirs = nx.Graph()
    theirs.add_nodes_from(range(made.num_nodes))
    ends, weights = made.edges()
    theirs.add_weighted_edges_from(
        (*pair, w) for pair, w in zip(ends.tolist(), weights, strict=True)
    )
    return theirs


def joined_pairs(made):
    """Return all pairs of nodes that some path joins."""
    components = made.components
    return np.argwhere(components[:, None] == components).tolist()


def check_paths(made, pairs, paths):
    """Hold paths to networkx's lengths, and to being walks of their length."""
    theirs = dict(nx.all_pairs_dijkstra_path_length(networkx_graph(made)))
    for (source, target), path in zip(pairs, paths, strict=True):
        assert (path.nodes[0], path.nodes[-1]) == (source, target)
        assert path.length == pytest.approx(made.weights_along(path.nodes).sum(), rel=1e-12)
        assert path.length == pytest.approx(theirs[source][target], rel=1e-12)


@st.composite
def any_graph(draw):
    """Draw a graph: many ties, edges of no weight, often in pieces."""
    num_nodes = draw(st.integers(1, 13))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ends = np.array(np.triu_indices(num_nodes, 1)).T
    ends = ends[rng.random(len(ends)) < draw(st.sampled_from([0.1, 0.3, 0.8]))]
    return csr.from_edges(ends, rng.integers(0, 4, len(ends)).astype(float), num_nodes=num_nodes)


@every_method
def test_length_and_nodes_equal_scipy_and_networkx(swiss_roll, method):
    theirs = networkx_graph(swiss_roll)
    lengths, before = csgraph.dijkstra(
        scipy_matrix(swiss_roll), indices=7, return_predecessors=True
    )
    for target in (0, 13, 200, 400):
        ours = search.shortest_path(swiss_roll, 7, target, codes=ROLL, method=method)
        assert ours.method == method
        assert ours.length == pytest.approx(lengths[target], rel=1e-12)
        assert ours.nodes.tolist() == nx.dijkstra_path(theirs, 7, target)
        walked = [target]
        while walked[-1] != 7:
            walked.append(int(before[walked[-1]]))
        assert ours.nodes.tolist() == walked[::-1]


@pytest.mark.parametrize("method", [*WITHOUT_CODES, "auto"])
@few
@given(made=any_graph())
def test_all_pairs_of_any_graph_have_the_oracles_lengths(method, made):
    pairs = joined_pairs(made)
    check_paths(made, pairs, search.shortest_paths(made, pairs, method=method))


@every_method
@few
@given(
    seed=st.integers(0, 2**32 - 1),
    points=st.integers(2, 19),
    dimensions=st.integers(1, 3),
    offset=st.sampled_from([0.0, 1e6]),
)
def test_coincident_and_collinear_points_have_the_oracles_lengths(
    method, seed, points, dimensions, offset
):
    codes = np.random.default_rng(seed).integers(0, 5, size=(points, dimensions)) / 3 + offset
    made = graph.smallest_connecting(codes)
    pairs = joined_pairs(made)
    check_paths(made, pairs, search.shortest_paths(made, pairs, codes=codes, method=method))


@every_method
@pytest.mark.parametrize("scale", [1e-40, 1e40])
def test_very_short_and_very_long_edges_are_no_trouble(method, scale):
    codes = scale * rolled_up(101)
    made = graph.smallest_connecting(codes)
    for path in search.shortest_paths(made, [(3, 99), (17, 50)], codes=codes, method=method):
        oracle = csgraph.dijkstra(scipy_matrix(made), indices=path.nodes[0])
        assert path.length == pytest.approx(oracle[path.nodes[-1]], rel=1e-12)


@every_method
@pytest.mark.parametrize("side", [40])
def test_of_many_equally_short_ways_each_method_takes_one(method, side):
    """On a square grid nearly every way is one of very many of its length."""
    codes = np.argwhere(np.ones((side, side))).astype(float)
    made = graph.radius_graph(codes, radius=1.0)
    pairs = [(0, side * side - 1), (5, 777), (side - 1, side * (side - 1))]
    for path in search.shortest_paths(made, pairs, codes=codes, method=method):
        steps = np.abs(codes[path.nodes[-1]] - codes[path.nodes[0]]).sum()
        assert path.length == steps == len(path.nodes) - 1


@every_method
def test_distances_obey_the_triangle_inequality(swiss_roll, method):
    a, b, c = np.random.default_rng(3).integers(0, 401, (3, 29))
    pairs = [*zip(a, b, strict=True), *zip(b, c, strict=True), *zip(a, c, strict=True)]
    paths = search.shortest_paths(swiss_roll, pairs, codes=ROLL, method=method)
    first, second, whole = np.reshape([path.length for path in paths], (3, -1))
    assert (whole <= (first + second) * (1 + 1e-12)).all()
    back = search.shortest_paths(swiss_roll, [(t, s) for s, t in pairs], method="igraph")
    assert [path.length for path in back] == pytest.approx([p.length for p in paths], rel=1e-12)


@every_method
def test_added_edges_never_lengthen_a_path(method):
    codes = rolled_up(97, seed=2)
    near = knn.nearest(codes, k=12)
    pairs = np.random.default_rng(4).integers(0, 97, (23, 2)).tolist()
    lengths = [
        [path.length for path in search.shortest_paths(made, pairs, codes=codes, method=method)]
        for made in (graph.knn_graph(near, k=k) for k in (6, 8, 12))
    ]
    assert (np.diff(lengths, axis=0) <= 1e-12).all()
    assert (np.diff(lengths, axis=0) < -1e-3).any()


@every_method
@few
@given(seed=st.integers(0, 2**32 - 1))
def test_permuted_points_give_the_permuted_path(method, seed):
    rng = np.random.default_rng(seed)
    codes, order = rng.normal(size=(43, 2)), rng.permutation(43)
    straight = search.shortest_path(
        graph.smallest_connecting(codes), order[0], order[1], codes=codes, method=method
    )
    shuffled = search.shortest_path(
        graph.smallest_connecting(codes[order]), 0, 1, codes=codes[order], method=method
    )
    assert order[shuffled.nodes].tolist() == straight.nodes.tolist()


def test_hand_made_graph_takes_the_detour_that_is_shorter():
    ends = [[0, 1], [1, 2], [0, 2], [2, 3], [3, 4]]
    made = csr.from_edges(ends, [1.0, 1.0, 2.5, 0.0, 4.0], num_nodes=5)
    for method in WITHOUT_CODES:
        path = search.shortest_path(made, 4, 0, method=method)
        assert path.nodes.tolist() == [4, 3, 2, 1, 0]
        assert path.length == 6.0


@every_method
def test_many_pairs_equal_one_by_one_in_their_order(swiss_roll, method):
    pairs = [(5, 9), (7, 300), (5, 5), (5, 9), (300, 7), (5, 44)]
    together = search.shortest_paths(swiss_roll, pairs, codes=ROLL, method=method)
    for (source, target), path in zip(pairs, together, strict=True):
        alone = search.shortest_path(swiss_roll, source, target, codes=ROLL, method=method)
        assert path.nodes.tolist() == alone.nodes.tolist()
        assert path.length == alone.length


@every_method
def test_threads_give_the_same_as_one(method, monkeypatch):
    codes = rolled_up(307)
    pairs = np.random.default_rng(5).integers(0, 307, (211, 2)).tolist()
    walks = []
    for cores in (1, 7):
        monkeypatch.setattr(compilation, "num_cores", lambda cores=cores: cores)
        made = graph.smallest_connecting(codes)
        paths = search.shortest_paths(made, pairs, codes=codes, method=method)
        walks.append([path.nodes.tolist() for path in paths])
    assert walks[0] == walks[1]


@pytest.mark.parametrize("method", ["dijkstra", "bidirectional", "astar", "landmarks"])
@pytest.mark.parametrize("place", ["trace", "clear"])
def test_an_interrupted_search_leaves_nothing_behind(method, place, monkeypatch):
    made = graph.smallest_connecting(ROLL)
    search.shortest_path(made, 7, 300, codes=ROLL, method=method)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(fronts, place, interrupt)
        with pytest.raises(KeyboardInterrupt):
            search.shortest_path(made, 7, 300, codes=ROLL, method=method)
    pairs = [(9, 200), (300, 7), (7, 300)]
    for path in search.shortest_paths(made, pairs, codes=ROLL, method=method):
        alone = search.shortest_path(made, path.nodes[0], path.nodes[-1], method="igraph")
        assert path.nodes.tolist() == alone.nodes.tolist()


def test_igraph_takes_one_search_a_source(swiss_roll, monkeypatch):
    calls = []

    class Counting:
        def get_shortest_paths(self, source, **options):
            calls.append(source)
            return real.get_shortest_paths(source, **options)

    real = plain.engine(swiss_roll)
    monkeypatch.setattr(plain, "engine", lambda _: Counting())
    search.shortest_paths(swiss_roll, [(5, 9), (7, 300), (5, 5), (5, 44)])
    assert calls == [5, 7]


@pytest.mark.parametrize("make", [plain.engine, finder.of])
def test_an_engine_is_made_once_and_dies_with_its_graph(make):
    codes = np.arange(5.0)[:, None]
    made = graph.smallest_connecting(codes)
    for method in METHODS:
        search.shortest_path(made, 0, 3, codes=codes, method=method)
    assert make(made) is make(made)
    engine = weakref.ref(make(made))
    del made
    gc.collect()
    assert engine() is None


@every_method
def test_no_pairs_give_no_paths(swiss_roll, method):
    assert search.shortest_paths(swiss_roll, [], codes=ROLL, method=method) == []


@every_method
def test_source_equal_to_target_is_one_node_of_length_zero(swiss_roll, method):
    path = search.shortest_path(swiss_roll, 11, 11, codes=ROLL, method=method)
    assert path.nodes.tolist() == [11]
    assert path.length == 0.0


@pytest.mark.parametrize("method", WITHOUT_CODES)
def test_a_graph_of_one_node_has_one_path(method):
    made = csr.from_edges(np.empty((0, 2), int), [], num_nodes=1)
    path = search.shortest_path(made, 0, 0, method=method)
    assert (path.nodes.tolist(), path.length) == ([0], 0.0)


def test_small_graphs_load_nothing_of_the_compiled_search():
    code = (
        "import sys, numpy as np; from jaxsurf.manifold import graph, search;"
        "codes = np.random.default_rng(0).random((1600, 2));"
        "path = search.shortest_path(graph.smallest_connecting(codes), 3, 1500, codes=codes);"
        "assert path.method == 'igraph', path;"
        "assert 'jaxsurf.manifold.shortest_paths.finder' not in sys.modules;"
        "assert 'jaxsurf.manifold.shortest_paths.relaxation' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("compiled")
def test_auto_says_what_it_used_and_takes_straight_lines_only_where_they_hold():
    latent = graph.smallest_connecting(ROLL)
    dense = altering.reweighed(latent, latent.edges()[1] ** 3, weight="density")
    assert search.shortest_path(latent, 3, 300, codes=ROLL).method == "astar"
    assert search.shortest_path(latent, 3, 300).method == "bidirectional"
    assert search.shortest_path(dense, 3, 300, codes=ROLL).method == "bidirectional"
    unsaid = dataclasses.replace(latent, weight="given")
    assert search.shortest_path(unsaid, 3, 300, codes=ROLL).method == "bidirectional"
    # A promise that is not kept, or codes of another graph.
    short = csr.from_edges([[0, 1], [1, 2]], [1.0, 1.0 - 1e-6], num_nodes=3, weight="latent")
    codes = np.arange(3.0)[:, None]
    assert search.shortest_path(short, 0, 2, codes=codes).method == "bidirectional"
    assert search.shortest_path(latent, 3, 300, codes=2 * ROLL).method == "bidirectional"


@pytest.mark.usefixtures("compiled")
def test_auto_makes_landmarks_once_searches_have_paid_for_them():
    made = graph.smallest_connecting(ROLL)
    assert search.shortest_path(made, 3, 300).method == "bidirectional"
    assert not finder.of(made).has_landmarks(3)
    # No two of one source, which would be searched for together.
    pairs = np.stack([np.random.default_rng(6).permutation(401), np.arange(401)], axis=1).tolist()
    methods = [path.method for path in search.shortest_paths(made, pairs)]
    first = methods.index("landmarks")
    assert first == 16
    assert set(methods[:first]) == {"bidirectional"}
    assert set(methods[first:]) == {"landmarks"}
    assert search.shortest_path(made, 3, 300).method == "landmarks"
    one_by_one = graph.smallest_connecting(ROLL)
    ways = [search.shortest_path(one_by_one, *pair).method for pair in pairs]
    assert ways == sorted(ways)
    assert 30 < ways.index("landmarks") < 300


@pytest.mark.usefixtures("compiled")
def test_auto_searches_once_for_many_targets_of_a_source():
    made = graph.smallest_connecting(ROLL)
    pairs = [(7, target) for target in range(0, 401, 9)]
    paths = search.shortest_paths(made, pairs)
    assert {path.method for path in paths} == {"dijkstra"}
    check_paths(made, pairs, paths)


@pytest.mark.usefixtures("compiled")
def test_each_component_has_landmarks_of_its_own():
    codes = np.concatenate([rolled_up(83), rolled_up(59, seed=1) + 500, [[1e3, 0, 0]]])
    made = graph.radius_graph(codes, radius=5.0)
    assert min(np.bincount(made.components)) == 1
    assert sorted(np.bincount(made.components))[-2] > 9
    pairs = [pair for pair in joined_pairs(made) if sum(pair) % 7 == 0]
    found = search.shortest_paths(made, pairs, method="landmarks")
    check_paths(made, pairs, found)
    assert np.isfinite(list(finder.of(made)._units.values())).all()
    fresh = graph.radius_graph(codes, radius=5.0)
    search.shortest_path(fresh, 3, 3, method="landmarks")
    assert 0.5 <= finder.of(fresh)._marks.max() <= 1  # their rounding is a share of 1
    have = [finder.of(fresh).has_landmarks(node) for node in range(fresh.num_nodes)]
    assert have == (fresh.components == fresh.components[3]).tolist()
    check_paths(fresh, pairs, search.shortest_paths(fresh, pairs, codes=codes))


@pytest.mark.parametrize("dimensions", [2, 8, 37])
def test_rounding_never_makes_an_edge_shorter_than_its_straight_line(dimensions):
    """Sums of many squares depend on the order in which they are added up."""
    codes = 1e3 + np.random.default_rng(7).normal(size=(301, dimensions))
    made = graph.knn_graph(knn.nearest(codes, k=9), k=9)
    pairs = joined_pairs(made)[:: 301 * 31]
    check_paths(made, pairs, search.shortest_paths(made, pairs, codes=codes, method="astar"))


def test_landmarks_bound_lengths_and_save_work():
    codes = rolled_up(2003)
    made = graph.knn_graph(knn.nearest(codes, k=8), k=8)
    mine, reached = finder.of(made), {}
    for method in ("bidirectional", "astar", "landmarks"):
        found = mine.find(3, [1999], method=method, codes=codes)
        reached[method] = found.reached
    assert reached["landmarks"] < reached["bidirectional"] / 3
    assert reached["landmarks"] < reached["astar"] / 3
    assert reached["astar"] < made.num_nodes
    near = int(made.indices[made.indptr[3]])
    assert mine.find(3, [near, near], method="dijkstra").reached < 99


def test_an_unreachable_target_is_refused_with_sizes_and_cure():
    made = csr.from_edges([[0, 1], [2, 3], [3, 4]], [1.0, 1.0, 1.0], num_nodes=5)
    for method in (*WITHOUT_CODES, "auto"):
        with pytest.raises(
            UserError, match=r"0 \(source\) and 4 \(target\).* of 2 and 3 nodes; it has.*larger k"
        ):
            search.shortest_path(made, 0, 4, method=method)


@pytest.mark.parametrize(("source", "target"), [(-1, 0), (0, -1), (401, 0), (0, 401)])
def test_an_end_that_is_no_node_is_refused_with_the_range(swiss_roll, source, target):
    with pytest.raises(UserError, match=r"(source|target) is (-1|401).*from 0 to 400"):
        search.shortest_path(swiss_roll, source, target)


@pytest.mark.parametrize("node", [1.0, np.nan, True, "3"])
def test_an_end_that_is_no_whole_number_is_refused(swiss_roll, node):
    with pytest.raises(UserError, match=r"target is .*a whole number from 0 to 400"):
        search.shortest_path(swiss_roll, 0, node)


def test_astar_is_refused_where_it_might_miss_the_path(swiss_roll):
    dense = altering.reweighed(swiss_roll, swiss_roll.edges()[1] ** 3, weight="density")
    for made, codes, message in (
        (swiss_roll, None, r"needs the codes of the nodes; give them, or use .*landmarks"),
        (dense, ROLL, r"weights of kind density do not promise; .*graph.weight=latent"),
        (swiss_roll, 2 * ROLL, r"shorter than the straight line .*; give the codes that"),
        (swiss_roll, ROLL[:-1], r"400 codes for 401 nodes"),
    ):
        with pytest.raises(UserError, match=message):
            search.shortest_path(made, 0, 3, codes=codes, method="astar")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_codes_that_are_not_finite_are_refused_with_their_row(swiss_roll, value):
    codes = ROLL.copy()
    codes[13, 1] = value
    with pytest.raises(UserError, match=r"not finite.* the first in row 13"):
        search.shortest_path(swiss_roll, 0, 3, codes=codes, method="astar")


def test_an_unknown_method_is_refused_with_those_there_are(swiss_roll):
    with pytest.raises(UserError, match=r"'a\*' is not known; use one of: auto, igraph, dijkstra"):
        search.shortest_path(swiss_roll, 0, 3, method="a*")


def test_weights_along_refuses_what_is_no_walk():
    made = csr.from_edges([[0, 1], [1, 2]], [1.0, 3.0], num_nodes=3)
    assert made.weights_along(np.array([2, 1, 0])).tolist() == [3.0, 1.0]
    assert made.weights_along(np.array([2])).tolist() == []
    for walk in ([0, 2], [2, 0], [1, 1]):
        with pytest.raises(ValueError, match="is not a walk"):
            made.weights_along(np.array(walk))
