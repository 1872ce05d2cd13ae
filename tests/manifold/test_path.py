"""Polylines through latent space, the points on them, and principal components."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxsurf.manifold import path
from jaxsurf.manifold.path import Curve, Timing, surfing, timed

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
    (made,) = timed([surfing(np.int32(CORNERS), ())], Timing(points_per_edge=number))
    assert made.length == pytest.approx(17, rel=1e-12)
    points = made.points
    assert points.shape == (3 * (number - 1) + 1, 3)
    np.testing.assert_array_equal(points[:: number - 1], CORNERS)
    steps = np.repeat(np.diff(CORNERS, axis=0), number - 1, axis=0) / (number - 1)
    np.testing.assert_allclose(np.diff(points, axis=0), steps, rtol=0, atol=1e-12)
    (alone,) = timed([surfing(CORNERS[:1], ())], Timing(points_per_edge=number))
    np.testing.assert_array_equal(alone.points, CORNERS[:1])


@settings(max_examples=80, deadline=None, database=None)
@given(POLYLINES, st.integers(2, 23))
def test_constant_speed_keeps_the_ends_and_equal_arcs(corners, frames):
    (found,) = timed([surfing(corners, ())], Timing(frames=frames, speed="latent"))
    points = found.points
    assert points.shape == (frames, corners.shape[1])
    np.testing.assert_array_equal(points[[0, -1]], corners[[0, -1]])
    total = np.linalg.norm(np.diff(corners, axis=0), axis=1).sum()
    expected = [walk(corners, total * place / (frames - 1)) for place in range(frames)]
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-9)


# Visible speed, with decoders whose images are known. A curve is all of its corners.


def curve(*corners):
    return Curve(np.array(corners, float).reshape(len(corners), -1), np.arange(len(corners)))


def visible(curves, decode, frames):
    return [found.points for found in timed(curves, Timing(frames=frames), decode)]


def turned(codes):
    """Show the square of a code as so many turns of a circle, whole ones exactly alike."""
    angles = 2 * np.pi * (codes**2 % 1)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)[:, None]


def constant(codes):
    return np.full((len(codes), 2, 3), 0.25)


def bent(codes):
    """Show a place in the plane, bent, and with more than its two values."""
    x, y = codes.T
    return np.stack([x + y**3, np.sin(3 * x), x * y], axis=1)[:, :, None, None]


@pytest.mark.core
def test_frames_land_where_a_cubic_is_evenly_high():
    for start, stop, frames in ((0.2, 1.0, 7), (-1.0, 1.0, 12), (1.0, -0.5, 23)):
        (points,) = visible([curve(start, stop)], lambda codes: codes**3, frames)
        heights = np.linspace(start**3, stop**3, frames)
        error = np.abs(points[:, 0] ** 3 - heights).max()
        assert error < 0.03 * abs(heights[1] - heights[0])
        assert points[[0, -1], 0].tolist() == [start, stop]


def test_a_full_turn_is_even_though_its_ends_look_alike():
    (points,) = visible([curve(0.0, 1.0)], turned, 11)
    np.testing.assert_allclose(points[:, 0] ** 2, np.linspace(0, 1, 11), atol=2e-3)


def test_steps_round_a_corner_are_as_long_as_others_from_frame_to_frame():
    # s along each side and sqrt(2) (1 - s) across the corner are equal.
    (points,) = visible([curve((0, 0), (1, 0), (1, 1))], lambda codes: codes, 4)
    share = np.sqrt(2) / (1 + np.sqrt(2))
    np.testing.assert_allclose(points, [(0, 0), (share, 0), (1, 1 - share), (1, 1)], atol=0.01)


def test_many_curves_at_once_are_as_each_alone(monkeypatch):
    random = np.random.default_rng(0)
    curves = [curve(*random.normal(size=(number, 2))) for number in (2, 5, 3, 9, 2)]
    alone = [visible([each], bent, 19)[0] for each in curves]
    for held in (path._HELD, 1):  # all but the first together; each on its own
        monkeypatch.setattr(path, "_HELD", held)
        for ours, theirs in zip(visible(curves, bent, 19), alone, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for straight in (alone[0], alone[-1]):
        steps = np.linalg.norm(np.diff(bent(straight)[:, :, 0, 0], axis=0), axis=1)
        assert steps.max() < 1.02 * steps.mean()


def test_where_nothing_is_seen_to_move_codes_go_on_evenly():
    (points,) = visible([curve(0.0, 1.0, 3.0)], constant, 13)
    np.testing.assert_allclose(points[:, 0], np.linspace(0, 3, 13))


@pytest.mark.parametrize("frames", [2, 3, 17])
@pytest.mark.parametrize(
    ("corners", "decode"),
    [
        ((1.5,), turned),
        ((1.5, 1.5, 1.5), turned),
        ((0.0, 1.0, 3.0), constant),
        ((0.0, 1.0, 1.0 + 1e-300), lambda codes: np.maximum(codes, 1.0)),  # constant up to its end
        ((-1.0, 2.0), np.sign),  # torn
        ((-1.0, 2.0), lambda codes: codes * 1e-30),
    ],
)
def test_curves_without_visible_length_and_torn_ones_have_their_frames(corners, decode, frames):
    asked = []

    def counted(codes):
        asked.append(len(codes))
        return decode(codes)

    (points,) = visible([curve(*corners)], counted, frames)
    assert points.shape == (frames, 1)
    assert points[[0, -1], 0].tolist() == [corners[0], corners[-1]]
    assert (np.diff(points[:, 0]) > -1e-12).all()
    assert sum(asked) < 10 * frames + 30


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
