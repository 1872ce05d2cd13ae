"""Lengths from many sources, by every method, against SciPy's Dijkstra."""

import jax
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csgraph

from jaxsurf.errors import UserError
from jaxsurf.manifold import graph, search
from jaxsurf.manifold.edges import csr
from jaxsurf.manifold.shortest_paths import relaxation

every_method = pytest.mark.parametrize("method", ["igraph", "dijkstra", "relaxation", "auto"])


@pytest.fixture(scope="module")
def pieces():
    """Two clouds, the nodes of which take turns, and a node alone."""
    codes = np.random.default_rng(0).random((199, 3))
    codes[::2] += 7.0
    return graph.radius_graph(np.concatenate([codes, [[-9.0, 0, 0]]]), radius=0.45)


@pytest.fixture(scope="module")
def star():
    """A node with many more neighbours than a row of the table has slots, and others."""
    rng = np.random.default_rng(1)
    ends = np.concatenate([[[0, leaf] for leaf in range(1, 60)], rng.integers(1, 60, (40, 2))])
    ends = ends[ends[:, 0] != ends[:, 1]]
    return csr.from_edges(ends, rng.uniform(0.5, 2.0, len(ends)), num_nodes=60)


def oracle(made, sources):
    shape = (made.num_nodes, made.num_nodes)
    matrix = scipy.sparse.csr_array((made.weights, made.indices, made.indptr), shape=shape)
    return csgraph.dijkstra(matrix, indices=sources)


@every_method
def test_lengths_equal_scipys_and_are_infinite_where_no_path_leads(pieces, method):
    sources = [3, 4, 199, 3, 77]
    theirs = oracle(pieces, sources)
    assert np.isinf(theirs).any()
    ours = search.distances(pieces, sources, method=method)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=0)


@every_method
def test_a_node_may_have_any_number_of_neighbours(star, method):
    np.testing.assert_allclose(
        search.distances(star, np.arange(60), method=method), oracle(star, None), rtol=1e-12
    )


@pytest.mark.parametrize("method", ["dijkstra", "relaxation"])
@settings(max_examples=15, deadline=None, database=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_lengths_are_symmetric_and_obey_the_triangle_inequality(method, seed):
    rng = np.random.default_rng(seed)
    # One number of nodes and of rows, so that relaxation compiles one program for all.
    ends = np.concatenate([[[i, (i + 1) % 23] for i in range(23)], rng.integers(0, 23, (9, 2))])
    ends = ends[ends[:, 0] != ends[:, 1]]
    made = csr.from_edges(ends, rng.integers(0, 3, len(ends)).astype(float), num_nodes=23)
    lengths = search.distances(made, np.arange(23), method=method)
    assert (lengths == lengths.T).all()
    assert (lengths[:, None] <= lengths[:, :, None] + lengths[None]).all()
    assert (np.diag(lengths) == 0).all()
    np.testing.assert_array_equal(lengths, search.distances(made, np.arange(23), method="igraph"))


def test_sources_are_relaxed_in_batches_that_fit(pieces, monkeypatch):
    sources = np.arange(0, 200, 7)
    whole = search.distances(pieces, sources, method="relaxation")
    sizes = []

    def counting(table, batch, num_nodes):
        sizes.append(len(batch))
        return relaxed(table, batch, num_nodes)

    relaxed = relaxation._relaxed
    monkeypatch.setattr(relaxation, "_relaxed", counting)
    monkeypatch.setattr(relaxation, "_MAX_BYTES", 8 * 200 * relaxation._BYTES_PER_ENTRY)
    parts = search.distances(pieces, sources, method="relaxation")
    assert sizes == [8, 8, 8, 8]
    np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize("accelerator", [False, True])
def test_auto_relaxes_on_accelerators_alone(pieces, accelerator, monkeypatch):
    calls = []
    monkeypatch.setattr(search, "_FEW_NODES", 0)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu" if accelerator else "cpu")
    monkeypatch.setattr(relaxation, "lengths", lambda *_: calls.append("relaxation"))
    search.distances(pieces, [0])
    assert calls == ["relaxation"] * accelerator


def test_relaxation_leaves_jax_as_it_was(pieces):
    search.distances(pieces, [0], method="relaxation")
    assert jax.numpy.ones(1).dtype == np.float32


@every_method
def test_no_sources_and_a_node_alone(method):
    alone = csr.from_edges(np.empty((0, 2), int), [], num_nodes=1)
    assert search.distances(alone, [0], method=method).tolist() == [[0.0]]
    assert search.distances(alone, [], method=method).shape == (0, 1)


def test_a_source_that_is_no_node_is_refused(pieces):
    with pytest.raises(UserError, match=r"source 1 is 200, but the graph has 200 nodes"):
        search.distances(pieces, [0, 200])
    with pytest.raises(UserError, match=r"'astar' is not known; use one of: auto, igraph, dij"):
        search.distances(pieces, [0], method="astar")
