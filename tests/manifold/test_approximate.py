"""Approximate neighbours, and what is said about them, against the exact ones."""

import sys

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.manifold import approximate, euclid, graph, knn
from jaxsurf.manifold.latent_graph import load_graph, save_graph


def codes_of(points):
    return np.random.default_rng(0).normal(size=(points, 24))


def test_most_neighbours_are_found_ranked_by_exact_distance():
    codes = codes_of(1201)
    found, exact = approximate.Approximate(codes).nearest(k=7), knn.nearest(codes, k=7)
    assert (found.indices == exact.indices).mean() > 0.9
    assert (found.indices != np.arange(1201)[:, None]).all()
    away = euclid.between(codes[found.indices], codes[:, None])
    np.testing.assert_array_equal(found.distances, away)
    assert (np.diff(away, axis=1) >= 0).all()


def test_the_recall_is_the_share_of_true_neighbours_that_were_found(monkeypatch):
    monkeypatch.setattr(approximate, "_SEARCHING", 1)
    monkeypatch.setattr(approximate, "_LINKING", 2)
    monkeypatch.setattr(approximate, "_LINKS", 3)
    monkeypatch.setattr(approximate, "_SAMPLE", 10**6)
    codes = codes_of(2003)
    index = approximate.Approximate(codes)
    found, exact = index.nearest(k=5), knn.nearest(codes, k=5)
    shared = [len(set(a) & set(b)) for a, b in zip(found.indices, exact.indices, strict=True)]
    assert index.recall == pytest.approx(np.mean(shared) / 5)
    assert 0.1 < index.recall < 0.99


def test_a_graph_and_the_log_say_the_recall_of_approximate_neighbours(caplog):
    config = graph.GraphConfig(kind="knn", k=4, search="approximate", weight="latent")
    with caplog.at_level("INFO", logger="jaxsurf"):
        built = graph.build(codes_of(307), config)
    assert [record.getMessage() for record in caplog.records] == [
        "approximate search for 4 neighbours of 307 codes: recall 1.000, measured on 256 of them"
    ]
    assert built.facts()["description"] == (
        "k-NN graph with k = 4, of approximate neighbours with a recall of 1.000"
    )
    exact = graph.build(codes_of(307), graph.GraphConfig(kind="knn", k=4, weight="latent"))
    np.testing.assert_array_equal(built.indices, exact.indices)
    assert (built.facts()["recall"], exact.facts()["recall"]) == (1.0, 1.0)


def test_a_graph_keeps_the_recall_that_it_was_made_with(monkeypatch, tmp_path):
    monkeypatch.setattr(approximate, "_SEARCHING", 1)
    monkeypatch.setattr(approximate, "_LINKING", 2)
    monkeypatch.setattr(approximate, "_LINKS", 3)
    monkeypatch.setattr(approximate, "_SAMPLE", 10**6)
    codes = codes_of(2003)
    config = graph.GraphConfig(kind="knn", k=5, search="approximate", repair=True)
    built = graph.build(codes, config)
    near = approximate.Approximate(codes)
    near.nearest(k=5)
    assert built.facts()["recall"] == near.recall < 1
    save_graph(tmp_path / "graph.npz", built, stamp="a")
    assert load_graph(tmp_path / "graph.npz", stamp="a").recall == near.recall


def test_a_missing_library_is_named_with_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    cure = r'pip install "jaxsurf\[approximate\]", or use graph.search=exact \(--search=exact\)'
    with pytest.raises(UserError, match=cure):
        approximate.Approximate(codes_of(3))


def test_approximate_neighbours_are_refused_where_none_are_asked_for():
    with pytest.raises(UserError, match=r"has no meaning with graph\.kind=radius"):
        graph.GraphConfig(kind="radius", radius=1.0, search="approximate")
    with pytest.raises(UserError, match="search=fast is unknown"):
        graph.GraphConfig(search="fast")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="k is 3, but 3 points"):
        approximate.Approximate(codes_of(3)).nearest(k=3)
