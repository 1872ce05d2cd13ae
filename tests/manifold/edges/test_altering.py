"""Graphs out of graphs, against graphs made from all edges again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsurf.errors import UserError
from jaxsurf.manifold.edges import altering, csr


def random_graph(seed, nodes):
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, nodes, (3 * nodes, 2))
    ends = ends[ends[:, 0] != ends[:, 1]]
    return csr.from_edges(ends, rng.random(len(ends)), num_nodes=nodes)


def assert_equal(ours, theirs):
    for name in ("indptr", "indices", "weights"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


@settings(max_examples=40, deadline=None, database=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 23))
def test_other_weights_stand_in_both_rows_of_their_edge(seed, nodes):
    made = random_graph(seed, nodes)
    ends, weights = made.edges()
    again = csr.from_edges(ends, 1 - weights, num_nodes=nodes)
    assert_equal(altering.reweighed(made, 1 - weights, weight="image"), again)


def test_what_is_known_of_the_nodes_outlives_other_weights(monkeypatch):
    made = random_graph(1, 19)
    components = made.components
    monkeypatch.setattr(csr.csgraph, "connected_components", None)
    other = altering.reweighed(made, made.edges()[1] ** 2, weight="density")
    assert (other.weight, made.weight) == ("density", "given")
    np.testing.assert_array_equal(other.components, components)


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0], "one weight an edge"), ([1.0, -1], "negative"), ([1.0, np.nan], "not finite")],
)
def test_other_weights_are_checked(weights, message):
    made = csr.from_edges([[0, 1], [1, 2]], [1.0, 2], num_nodes=3)
    with pytest.raises(UserError, match=message):
        altering.reweighed(made, np.array(weights), weight="image")


def test_further_edges_leave_those_that_there_are_alone():
    made = csr.from_edges([[0, 1], [1, 2]], [1.0, 2], num_nodes=4, k=7, weight="latent")
    more = altering.with_edges(made, np.array([[2, 1], [3, 0]]), np.array([9.0, 5]))
    assert_equal(more, csr.from_edges([[0, 1], [1, 2], [0, 3]], [1.0, 2, 5], num_nodes=4))
    assert (more.k, more.weight) == (7, "latent")
    assert altering.with_edges(made, np.empty((0, 2), int), np.empty(0)) is made
