"""A dot on a 13 x 11 grid, drawn anywhere: every right answer follows from where it is."""

import dataclasses
import itertools

import numpy as np
import pytest

from jaxsurf.evaluation import intervals, metrics
from jaxsurf.evaluation.intervals import ALPHAS
from jaxsurf.images.image_set import ImageSet

NAMES = ("kind", "down", "along")
FACTORS = np.array(list(itertools.product([0], range(0, 26, 2), range(11))), np.float32)
ENDS = np.array([[0, 12], [142, 30], [7, 108], [60, 61]])


def draw(rows):
    """Return images of a soft dot, which is two levels brighter where `kind` is 1."""
    down, along = np.mgrid[0:17, 0:15]
    square = (down - 2 - rows[:, 1, None, None] / 2) ** 2 + (
        along - 2 - rows[:, 2, None, None]
    ) ** 2
    grey = np.rint(200 * np.exp(-square / 8) + 2 * rows[:, 0, None, None])
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


DOTS = ImageSet(
    draw(FACTORS), "dots", factors=FACTORS, factor_names=NAMES, draw=draw, continuous=NAMES[1:]
)


def between(count, ends=ENDS, bend=0.0):
    """Return drawn animations from end to end, which may bend sideways in the middle."""
    alphas = np.linspace(0, 1, count)[:, None]
    start, end = np.moveaxis(FACTORS[ends], 1, 0)
    return [
        draw(a + alphas * (b - a) + bend * np.array([0, 0, 1]) * np.sin(np.pi * alphas))
        for a, b in zip(start, end, strict=True)
    ]


def curves_of(frames, images=DOTS, ends=ENDS):
    nearest = metrics.nearest_images(np.concatenate(frames), images.images).indices
    truth = intervals.true_frames(images, ends, [len(some) for some in frames])
    return intervals.make_curves(frames, nearest, images, ends, truth=truth)


@pytest.mark.core
@pytest.mark.parametrize("count", [2, 17, 48])
def test_true_motion_is_admissible_and_without_error(count):
    curves = curves_of(between(count))
    lengths = np.hypot(*((FACTORS[ENDS[:, 1]] - FACTORS[ENDS[:, 0]]) / [1, 2, 1])[:, 1:].T)
    np.testing.assert_allclose(curves.length, lengths, rtol=1e-6)
    np.testing.assert_array_equal(curves.error, np.zeros((4, 17)))
    # The nearest image of a grid is within half a step along each factor.
    off = np.abs(curves.predicted - ALPHAS) * lengths[:, None]
    assert off.max() <= np.sqrt(0.5) + 1e-9
    np.testing.assert_allclose(curves.from_source[:, [0, -1]].T, [0 * lengths, lengths], atol=1e-6)
    np.testing.assert_allclose(curves.from_target[:, [0, -1]].T, [lengths, 0 * lengths], atol=1e-6)
    scores = curves.scores()
    for name in ("truth_mse", "backward", "end_error"):
        np.testing.assert_array_equal(scores[name], np.zeros(4))
    np.testing.assert_array_equal(scores["ends_distance"], curves.length)


def test_what_is_wrong_is_seen():
    true = between(17)
    reverse = curves_of([some[::-1] for some in true]).scores()
    ends = [metrics.mse(some[:1] / 1.0, some[-1:] / 1.0)[0] ** 0.5 for some in true]
    np.testing.assert_allclose(reverse["end_error"], ends, rtol=1e-9)
    np.testing.assert_array_equal(reverse["backward"], np.ones(4))
    still = curves_of([np.repeat(some[:1], 17, axis=0) for some in true])
    np.testing.assert_array_equal(still.predicted, np.zeros((4, 17)))
    np.testing.assert_allclose(still.scores()["alpha_error"], np.full(4, ALPHAS.mean()))
    expected = [metrics.mse(some / 1.0, some[[0] * 17] / 1.0) for some in true]
    np.testing.assert_allclose(still.error, expected, rtol=1e-9)
    bent = curves_of(between(17, bend=-4.0)).scores()
    assert bent["truth_mse"][0] > 10
    np.testing.assert_array_equal(bent["end_error"], np.zeros(4))
    there_and_back = between(17)[2][[*range(8), *range(8, -1, -1)]]
    returned = curves_of([there_and_back], ends=ENDS[2:3])
    assert returned.scores()["backward"] == 0.5
    assert returned.predicted[0, -1] == pytest.approx(0.0, abs=0.1)
    # From place 3 of a row to place 0, though the target is place 7: off from both ends.
    away = curves_of(between(17, np.array([[3, 0]])), ends=np.array([[3, 7]]))
    assert away.scores()["backward"] == 1.0
    np.testing.assert_allclose(away.predicted[0, -1], -3 / 4)


def test_a_periodic_factor_goes_the_short_way_round():
    asked = []
    spy = {"draw": lambda rows: asked.append(rows) or draw(rows)}
    ring = dataclasses.replace(DOTS, periodic={"down": 26.0}, **spy)
    ends = np.array([[11, 12 * 11], [0, 12]])  # from row 1 to row 12, and from row 0 to row 1
    truth = intervals.true_frames(ring, ends, [3, 3])
    np.testing.assert_allclose(asked[0][:, 1], [2, 0, 24, 0, 1, 2])
    curves = intervals.make_curves(truth, ends[[0, 0, 0, 1, 1, 1], [0, 0, 1] * 2], ring, ends)
    np.testing.assert_allclose(curves.length, [2.0, np.sqrt(2)], rtol=1e-6)
    np.testing.assert_allclose(curves.predicted[:, [0, -1]], [[0, 1], [0, 1]], atol=1e-9)
    np.testing.assert_allclose(curves.from_source[:, -1], curves.length)
    np.testing.assert_allclose(curves.from_target[:, 0], curves.length)
    np.testing.assert_allclose(curves.from_target[:, -1], [0, 0], atol=1e-9)


def test_without_a_renderer_there_is_no_error_and_without_distances_nothing():
    frames, nearest = between(5), np.zeros(20, np.int64)
    bare = dataclasses.replace(DOTS, draw=None)
    assert intervals.true_frames(bare, ENDS, [5] * 4) is None
    curves = intervals.make_curves(frames, nearest, bare, ENDS)
    assert curves.error is None
    assert "truth_mse" not in curves.scores()
    assert "error" not in curves.summary()
    unknown = dataclasses.replace(DOTS, factors=None, factor_names=())
    assert intervals.make_curves(frames, nearest, unknown, ENDS) is None
    assert intervals.true_frames(unknown, ENDS, [5] * 4) is None


def test_the_summary_has_quartiles_by_alpha_and_means_by_length():
    curves = curves_of(between(17, bend=-3.0))
    found = curves.summary(groups=2)
    assert {len(values) for name, values in found.items() if "length" not in name} == {17}
    quartiles = [found[name][5] for name in ("predicted_low", "predicted", "predicted_high")]
    np.testing.assert_allclose(quartiles, np.quantile(curves.predicted[:, 5], (0.25, 0.5, 0.75)))
    assert found["error"][8] == pytest.approx(curves.error[:, 8].mean())
    order = sorted(range(4), key=lambda pair: curves.length[pair])
    for name, of_pair in (("length", curves.length), ("error_by_length", curves.error.mean(1))):
        halves = [np.mean([of_pair[pair] for pair in some]) for some in (order[:2], order[2:])]
        np.testing.assert_allclose(found[name], halves)
