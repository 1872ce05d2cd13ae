"""Graphs on disk: they come back as they were, or not at all."""

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.manifold import cache, graph
from jaxsurf.manifold.edges.saved import load_graph, save_graph


def test_a_saved_graph_comes_back_under_its_stamp_only(tmp_path):
    codes = np.array([[0.0], [0], [1], [5], [6], [6]])
    made = graph.build(codes, graph.GraphConfig(kind="radius", radius=1, repair=True))
    assert made.bridges.tolist() == [[2, 3]]
    save_graph(tmp_path / "graph.npz", made, stamp="step 3 of abc")
    again = load_graph(tmp_path / "graph.npz", stamp="step 3 of abc")
    for name in ("indptr", "indices", "weights", "bridges"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    assert again.facts() == made.facts()
    with pytest.raises(cache.StaleCache, match="made from step 3 of abc, but step 4 of abc"):
        load_graph(tmp_path / "graph.npz", stamp="step 4 of abc")


@pytest.mark.parametrize(
    "damage",
    [
        {"indices": np.array([1, 2, 1, 1])},  # 1 -> 2, but not back
        {"indices": np.array([1, 0, 2, 9])},
        {"indptr": np.array([0, 1, 3])},
        {"weights": np.array([1.0, 1, 2, 3])},
        {"weights": np.array([1.0, 1, -2, -2])},
        {"bridges": np.array([[0, 2]])},
        {"bridges": np.array([1, 2])},
    ],
)
def test_a_damaged_graph_is_refused(tmp_path, damage):
    good = {
        "indptr": np.array([0, 1, 3, 4]),
        "indices": np.array([1, 0, 2, 1]),
        "weights": np.array([1.0, 1, 2, 2]),
        "bridges": np.array([[1, 2]]),
    }
    path = tmp_path / "graph.npz"
    facts = {"k": 1, "description": "", "weight": "latent", "recall": 1.0}
    cache.save(path, stamp="a", **good, **facts)
    assert load_graph(path, stamp="a").num_edges == 2
    cache.save(path, stamp="a", **(good | damage), **facts)
    with pytest.raises(UserError):
        load_graph(path, stamp="a")


def test_a_cache_of_something_else_is_refused(tmp_path):
    cache.save(tmp_path / "x.npz", stamp="a", codes=np.zeros(3))
    with pytest.raises(
        UserError,
        match="holds no indptr, indices, weights, bridges, k, description, weight, recall",
    ):
        load_graph(tmp_path / "x.npz", stamp="a")
