"""Bridges between the components of a graph."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from jaxsurf.errors import UserError
from jaxsurf.manifold import graph, search
from jaxsurf.manifold.components import connectivity, repair
from jaxsurf.manifold.edges import csr
from jaxsurf.manifold.graph_config import GraphConfig

POINTS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 17), st.integers(1, 3)),
    elements=st.integers(-9, 9).map(float),
)
# Three clusters, far apart.
CODES = np.array([[0.0, 0], [1, 0], [0, 1], [9, 0], [9, 1], [0, 40]])
PIECES = {"kind": "radius", "radius": 1.5, "weight": "latent"}


def test_a_repair_bridges_gaps_where_they_are_narrowest_and_paths_tell():
    made = graph.build(CODES, GraphConfig(**PIECES, repair=True))
    assert made.bridges.tolist() == [[1, 3], [2, 5]]
    assert set(made.components) == {0}
    path = search.shortest_path(made, 4, 5)
    assert path.nodes.tolist() == [4, 3, 1, 2, 5]
    assert made.bridges_along(path.nodes).tolist() == [[3, 1], [2, 5]]
    assert made.bridges_along(path.nodes[2:]).tolist() == [[2, 5]]
    for short in ([1], [0, 1]):
        assert made.bridges_along(np.array(short)).tolist() == []


def test_a_connected_graph_needs_no_repair():
    made = graph.smallest_connecting(CODES)
    assert repair.bridged(made, CODES) is made


@settings(max_examples=60, deadline=None, database=None)
@given(POINTS, st.floats(0.5, 6))
def test_bridges_are_fewest_and_none_is_longer_than_any_other_way_across(codes, radius):
    plain = graph.radius_graph(codes, radius=radius)
    made = repair.bridged(plain, codes)
    assert set(made.components) == {0}
    assert len(made.bridges) == connectivity.of(plain).num_components - 1
    assert made.num_edges == plain.num_edges + len(made.bridges)
    apart = cdist(codes, codes)
    for lower, upper in made.bridges.tolist():
        ends, weights = made.edges()
        others = ~(ends == [lower, upper]).all(axis=1)
        sides = csr.from_edges(ends[others], weights[others], num_nodes=len(codes)).components
        across = apart[sides == sides[lower]][:, sides == sides[upper]]
        assert apart[lower, upper] == pytest.approx(across.min())


@pytest.mark.parametrize("weight", ["latent", "density", "image"])
def test_bridges_weigh_as_all_edges_do(weight):
    def distance(ends):
        return 1.0 + ends.sum(axis=1)

    made = graph.build(CODES, GraphConfig(**PIECES | {"weight": weight}, repair=True), distance)
    expected = {"latent": [8, 39], "density": [8**3, 39**3], "image": [5, 8]}[weight]
    assert [made.weights_along(bridge)[0] for bridge in made.bridges] == pytest.approx(expected)
    later = repair.bridged(
        graph.build(CODES, GraphConfig(**PIECES | {"weight": weight}), distance),
        CODES,
        distance=distance,
    )
    np.testing.assert_array_equal(later.weights, made.weights)


def test_a_graph_of_given_weights_cannot_be_repaired():
    made = csr.from_edges([[0, 1]], [7.0], num_nodes=6)
    with pytest.raises(UserError, match="weights of its own"):
        repair.bridged(made, CODES)
