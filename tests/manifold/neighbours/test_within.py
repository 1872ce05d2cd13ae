"""All pairs within a radius, against all distances."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jaxsurf.errors import UserError
from jaxsurf.manifold import euclid
from jaxsurf.manifold.neighbours import within


@pytest.mark.parametrize("dimensions", [2, 11])
def test_within_gives_all_pairs_up_to_and_including_the_radius(dimensions):
    codes = np.round(np.random.default_rng(3).normal(size=(61, dimensions)) * 2)
    distances = euclid.between(codes[:, None], codes[None])
    expected = np.argwhere(np.triu(distances <= 5, k=1))
    pairs = within.pairs(codes, radius=5)
    assert (distances == 5).any()
    np.testing.assert_array_equal(pairs.ends, expected)
    np.testing.assert_array_equal(pairs.distances, distances[tuple(expected.T)])


def test_within_radius_zero_gives_coincident_points():
    codes = np.array([[1.0], [2.0], [1.0]])
    assert within.pairs(codes, radius=0).ends.tolist() == [[0, 2]]


def test_within_without_pairs_is_empty():
    pairs = within.pairs(np.array([[0.0], [2.0]]), radius=1)
    assert pairs.ends.shape == (0, 2)
    assert pairs.distances.shape == (0,)


def test_within_refuses_a_radius_of_too_many_pairs(monkeypatch):
    monkeypatch.setattr(within, "MAX_PAIRS", 5)
    within.pairs(np.ones((3, 2)), radius=1)
    with pytest.raises(UserError, match=r"joins 6 pairs of 4 points.*smaller radius"):
        within.pairs(np.ones((4, 2)), radius=1)


@pytest.mark.parametrize("radius", [-1.0, np.nan, np.inf])
def test_within_refuses_a_radius_that_is_no_length(radius):
    with pytest.raises(UserError, match="radius is"):
        within.pairs(np.zeros((2, 2)), radius=radius)


def test_counts_are_those_of_all_distances(monkeypatch):
    random = np.random.default_rng(3)
    codes, queries = random.normal(size=(101, 3)), random.normal(size=(7, 3))
    expected = (cdist(queries, codes) <= 1.3).sum(axis=1)
    assert 0 < expected.min() < expected.max() < 101
    assert within.counts(codes, queries, radius=1.3).tolist() == expected.tolist()
    monkeypatch.setattr(within, "_PORTION", 10)
    assert within.counts(codes, queries, radius=1.3).tolist() == expected.tolist()
