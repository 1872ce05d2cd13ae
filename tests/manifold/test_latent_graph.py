"""Graphs as arrays: from edges, altered, and on disk; the oracle is a dictionary of edges."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsurf.errors import UserError
from jaxsurf.manifold import latent_graph
from jaxsurf.manifold.latent_graph import from_edges
from jaxsurf.workdir import write_arrays

properties = settings(max_examples=60, deadline=None, database=None)


@st.composite
def edge_lists(draw):
    """Pairs of nodes, either way round and more than once, with their weights, some of them 0."""
    nodes = draw(st.integers(2, 9))
    number = st.integers(0, nodes - 1)
    pairs = st.tuples(number, number).filter(lambda ends: ends[0] != ends[1])
    edges = draw(st.lists(st.tuples(pairs, st.sampled_from([0.0, 0.5, 2.0, 7.0])), max_size=40))
    ends = np.array([pair for pair, _ in edges], dtype=np.int64).reshape(-1, 2)
    return nodes, ends, np.array([weight for _, weight in edges], dtype=np.float64)


def as_dict(ends, weights):
    """Each edge, lower end first, with its first weight."""
    found = {}
    for edge, weight in zip(ends.tolist(), weights.tolist(), strict=True):
        found.setdefault((min(edge), max(edge)), weight)
    return found


def assert_is(graph, expected):
    """Rows are symmetric and ascending, and hold exactly these edges."""
    listed = [
        ((row, int(graph.indices[entry])), float(graph.weights[entry]))
        for row in range(graph.num_nodes)
        for entry in range(graph.indptr[row], graph.indptr[row + 1])
    ]
    both = expected | {(upper, lower): weight for (lower, upper), weight in expected.items()}
    assert listed == sorted(both.items())
    ends, weights = graph.edges()
    assert list(zip(map(tuple, ends.tolist()), weights, strict=True)) == sorted(expected.items())


@properties
@given(edge_lists(), st.booleans())
def test_edges_stand_in_both_rows_once_with_their_first_weight(listed, mutual):
    nodes, ends, weights = listed
    expected = as_dict(ends, weights)
    if mutual:
        pairs = np.sort(ends, axis=1).tolist()
        expected = {edge: w for edge, w in expected.items() if pairs.count(list(edge)) > 1}
    assert_is(from_edges(ends, weights, num_nodes=nodes, mutual=mutual), expected)


@properties
@given(edge_lists())
def test_changed_graphs_are_what_is_made_of_all_edges(listed):
    nodes, ends, weights = listed
    graph = from_edges(ends, weights, num_nodes=nodes, k=7, weight="latent", recall=0.5)
    own, lengths = graph.edges()
    other = latent_graph.reweighed(graph, 1 + lengths**2, weight="image")
    assert_is(other, as_dict(own, 1 + lengths**2))
    further, added = np.array([[nodes, 0], [1, 0], [nodes - 1, nodes]]), np.array([3.0, 5, 0])
    more = latent_graph.with_edges(graph, further, added, num_nodes=nodes + 1, note="more")
    new = as_dict(further, added)
    assert_is(more, new | as_dict(own, lengths))
    assert (other.weight, more.weight, more.description) == ("image", "latent", "more")
    for changed in (other, more):
        assert (changed.k, changed.recall) == (7, 0.5)


@properties
@given(edge_lists())
def test_components_are_networkxs_numbered_by_their_lowest_node(listed):
    nodes, ends, weights = listed
    theirs = nx.Graph(ends.tolist())
    theirs.add_nodes_from(range(nodes))
    expected = {
        node: number
        for number, group in enumerate(sorted(nx.connected_components(theirs), key=min))
        for node in group
    }
    graph = from_edges(ends, weights, num_nodes=nodes)
    assert dict(enumerate(graph.components.tolist())) == expected
    assert graph.facts()["components"] == len(set(expected.values()))


def test_a_walk_has_the_weights_and_bridges_of_its_edges():
    ends, bridges = np.array([[0, 1], [1, 2], [2, 3], [0, 4]]), np.array([[1, 2]])
    graph = from_edges(ends, np.array([1.0, 0, 4, 8]), num_nodes=5, bridges=bridges)
    walk = np.array([3, 2, 1, 0, 4])
    assert graph.weights_along(walk).tolist() == [4, 0, 1, 8]
    assert graph.bridges_along(walk).tolist() == [[2, 1]]
    assert graph.weights_along(walk[:1]).size == graph.bridges_along(walk[2:]).size == 0
    with pytest.raises(ValueError, match="not a walk"):
        graph.weights_along(np.array([0, 1, 3]))


@pytest.mark.core
def test_a_saved_graph_comes_back_under_its_stamp_only(tmp_path):
    ends, weights = np.array([[0, 1], [1, 2]]), np.array([0.0, 2])
    facts = {"k": 3, "description": "made", "weight": "latent", "recall": 0.75}
    made = from_edges(ends, weights, num_nodes=5, bridges=ends[1:], **facts)
    latent_graph.save_graph(tmp_path / "graph.npz", made, stamp="step 3")
    again = latent_graph.load_graph(tmp_path / "graph.npz", stamp="step 3")
    for name in ("indptr", "indices", "weights", "bridges"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    assert again.facts() == made.facts()
    with pytest.raises(UserError, match="made from step 3, but step 4 is"):
        latent_graph.load_graph(tmp_path / "graph.npz", stamp="step 4")
    write_arrays(tmp_path / "x.npz", stamp="step 3", codes=np.zeros(3))
    with pytest.raises(UserError, match="holds no 'ends'"):
        latent_graph.load_graph(tmp_path / "x.npz", stamp="step 3")
