"""What components a graph has, and what no path joins."""

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.manifold import graph
from jaxsurf.manifold.components import connectivity
from jaxsurf.manifold.edges import csr
from jaxsurf.manifold.graph_config import GraphConfig

# Three clusters, far apart.
CODES = np.array([[0.0, 0], [1, 0], [0, 1], [9, 0], [9, 1], [0, 40]])
PIECES = {"kind": "radius", "radius": 1.5, "weight": "latent"}


def test_components_are_counted_largest_first_and_isolated_points_named():
    made = csr.from_edges([[0, 3], [1, 4], [4, 5]], [1.0, 1, 0], num_nodes=8)
    found = connectivity.of(made)
    assert found.sizes.tolist() == [3, 2, 1, 1, 1]
    assert found.isolated.tolist() == [2, 6, 7]
    assert found.num_components == 5
    assert str(found) == "5 components of 3, 2, 1, 1, 1 nodes, 3 of them isolated points"


def test_a_connected_graph_and_one_in_many_pieces_are_described():
    assert str(connectivity.of(graph.smallest_connecting(CODES))) == (
        "connected: one component of 6 nodes"
    )
    empty = csr.from_edges(np.empty((0, 2)), np.empty(0), num_nodes=1200)
    assert str(connectivity.of(empty)) == (
        "1,200 components of 1, 1, 1, 1, 1, ... nodes, 1,200 of them isolated points"
    )


def test_ends_that_no_path_joins_are_refused_with_sizes_and_cure():
    made = graph.build(CODES, GraphConfig(**PIECES))
    connectivity.check_joined(made, [0, 2, 1])
    message = (
        "no path joins 0 and 4: they lie in different components of the graph, of 3 and 2 nodes; "
        "it has 3 components of 3, 2, 1 nodes, 1 of them isolated points; use graph.repair"
    )
    with pytest.raises(UserError, match=message):
        connectivity.check_joined(made, [0, 2, 4, 5])
    with pytest.raises(UserError, match=r"no path joins row 10 and here: .* of 3 and 1 nodes"):
        connectivity.check_joined(made, [0, 1, 5], names=("row 10", "row 11", "here"))
