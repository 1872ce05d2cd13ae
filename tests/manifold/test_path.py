"""Polylines through latent space, the points on them, and principal components."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxsurf.manifold import path

# Three pieces of lengths 5, 0 and 12.
CORNERS = np.array([[0.0, 0, 1], [3, 4, 1], [3, 4, 1], [3, 4, 13]])
POLYLINES = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 7), st.integers(1, 3)),
    # Squares of the least underflow: ends are exact though their distance is 0.
    elements=st.integers(-3, 3).map(float) | st.just(1e-200),
)


def walk(corners, distance):
    """Go along the pieces, one by one, until the distance is used up."""
    for start, stop in pairwise(corners):
        length = np.linalg.norm(stop - start)
        if distance < length:
            return start + (stop - start) * (distance / length)
        distance -= length
    return corners[-1]


@pytest.mark.parametrize("number", [2, 3, 7])
def test_per_edge_divides_each_piece_evenly_and_meets_the_corners(number):
    made = path.surfing(np.int32(CORNERS), (), path.Timing(points_per_edge=number))
    assert made.length == pytest.approx(17, rel=1e-12)
    points = made.points
    assert points.shape == (3 * (number - 1) + 1, 3)
    np.testing.assert_array_equal(points[:: number - 1], CORNERS)
    steps = np.repeat(np.diff(CORNERS, axis=0), number - 1, axis=0) / (number - 1)
    np.testing.assert_allclose(np.diff(points, axis=0), steps, rtol=0, atol=1e-12)
    alone = path.surfing(CORNERS[:1], (), path.Timing(points_per_edge=number)).points
    np.testing.assert_array_equal(alone, CORNERS[:1])


@settings(max_examples=80, deadline=None, database=None)
@given(POLYLINES, st.integers(2, 23))
def test_constant_speed_keeps_the_ends_and_equal_arcs(corners, frames):
    points = path.surfing(corners, (), path.Timing(frames=frames)).points
    assert points.shape == (frames, corners.shape[1])
    np.testing.assert_array_equal(points[[0, -1]], corners[[0, -1]])
    total = np.linalg.norm(np.diff(corners, axis=0), axis=1).sum()
    expected = [walk(corners, total * place / (frames - 1)) for place in range(frames)]
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-9)


# Principal components, against a singular value decomposition


def codes_of(number, size):
    random = np.random.default_rng(0)
    return random.normal(size=(number, size)) @ random.normal(size=(size, size)) + 17


@pytest.mark.parametrize(("number", "size"), [(301, 5), (3, 7), (2, 1)])
def test_components_are_those_of_a_singular_value_decomposition(number, size):
    codes = codes_of(number, size)
    found, mean = path.principal_components(codes), codes.mean(axis=0)
    _, values, rows = np.linalg.svd(codes - mean, full_matrices=False)
    known = min(number - 1, size)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    along = (found.directions.T @ rows.T)[range(known), range(known)]
    np.testing.assert_allclose(np.abs(along), 1, rtol=1e-9)
    shares = (values**2 / (values**2).sum())[:known]
    np.testing.assert_allclose(found.shares[:known], shares, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(size), atol=1e-9)


def test_directions_are_settled_by_their_largest_entry_and_equal_codes_have_no_variance():
    found = path.principal_components(codes_of(101, 4))
    again = path.principal_components(2 * found.mean - codes_of(101, 4))
    np.testing.assert_allclose(again.directions, found.directions, atol=1e-9)
    assert (found.directions.max(axis=0) == np.abs(found.directions).max(axis=0)).all()
    equal = path.principal_components(np.full((5, 3), 2.5))
    np.testing.assert_array_equal(equal.shares, 0)  # no variance
