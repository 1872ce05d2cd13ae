"""The arm's images: frozen, steady, and different for each value of each factor."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxsurf.images.drawn import arm
from jaxsurf.images.image_set import DEFAULT_FIXED, DEFAULT_FREE

NAMES, SIDE = arm.GRID.names, 32
POSE = {"horizontal_axis": 9.0, "vertical_axis": 23.0}
GOLDEN = Path(__file__).parents[1] / "golden/arm.png"


def factors(**changes):
    values = {**DEFAULT_FIXED, **POSE, **changes}
    return np.array([values[name] for name in NAMES], np.float32)


def draw(*rows, side=SIDE):
    return arm.render_batch(np.stack(rows), side=side).astype(np.float32)


def mse(a, b):
    return float(np.mean((a - b) ** 2))


@pytest.mark.core
def test_images_are_what_they_were():
    """An image for each shape, colour, camera, band and size, in poses between those of the grid.

    Where images change to the eye, raise the arm's edition, and remove the picture: it is written
    again.
    """
    rows = [
        [i % 6, (i + 2) % 6, (i % 4) / 3, i % 3, (i // 3) % 3, 13 * i % 39 + 0.3, 7 * i % 39 + 0.6]
        for i in range(12)
    ]
    strip = np.concatenate(list(draw(*np.array(rows))), axis=1)
    if not GOLDEN.exists():
        Image.fromarray(strip.astype(np.uint8)).save(GOLDEN)
        pytest.fail(f"{GOLDEN} was missing and has been written: look at it and run again")
    with Image.open(GOLDEN) as golden:
        np.testing.assert_allclose(strip, np.asarray(golden), rtol=0, atol=1)


def test_images_do_not_depend_on_those_beside_them():
    rows = np.stack([factors(vertical_axis=v, camera_height=v % 3) for v in range(37)])
    batch = draw(*rows)
    for number in (0, 31, 32, 36):
        np.testing.assert_allclose(draw(rows[number])[0], batch[number], atol=1)


def test_halving_the_resolution_is_the_mean_of_four_pixels():
    fine, coarse = draw(factors(), side=64)[0], draw(factors())[0]
    pooled = fine.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert mse(pooled, coarse) < 0.01 * coarse.var(axis=(0, 1)).mean()


@pytest.mark.parametrize("axis", DEFAULT_FREE)
def test_image_moves_steadily_with_the_axes(axis):
    images = draw(*[factors(**{axis: value}) for value in (12.0, 12.05, 12.5, 13.0)], side=64)
    tiny, half, whole = (mse(images[0], image) for image in images[1:])
    assert 0 < tiny < 0.15 * whole
    assert 0 < half < whole
    assert 0 < mse(images[2], images[3]) < whole


def test_every_value_of_every_factor_changes_the_picture():
    rows = [factors()]
    for place, (name, size) in enumerate(zip(NAMES, arm.GRID.sizes, strict=True)):
        others = [v for v in range(min(size, 6)) if v != factors()[place]]
        rows += [factors(**{name: value}) for value in others]
    images = draw(*rows)
    assert min(mse(a, b) for i, a in enumerate(images) for b in images[:i]) > 0.2


def test_objects_have_the_colours_of_their_names():
    images = draw(*[factors(object_color=c, object_shape=5) for c in range(6)], side=64)
    painted = np.ptp(images, axis=0).sum(-1) > 300
    assert painted.sum() > 40
    white, green, red, blue, brown, olive = (image[painted].mean(axis=0) for image in images)
    assert np.ptp(white) < 30 < 120 < white.min()
    assert [each.argmax() for each in (green, red, blue)] == [1, 0, 2]
    assert brown[0] > brown[1] > brown[2]
    assert brown.max() < olive.max() < white.max()
    assert abs(olive[0] - olive[1]) < 15 < olive[0] - olive[2]


@pytest.mark.slow
def test_windows_hold_everything_that_moves(monkeypatch):
    """Tracing only the windows gives what tracing the whole image gives."""
    poses = ((0, 0), (39, 0), (39, 20), (30, 13), (20, 39), (39, 39), (0, 39), (35, 25))
    moved = [{"horizontal_axis": h, "vertical_axis": v} for h, v in poses]
    rows = [factors(object_shape=1, camera_height=c, **m) for c in range(3) for m in moved]
    drawn = draw(*rows, side=41)
    monkeypatch.setattr(arm, "POST_WINDOW", (1.0, 1.0))
    monkeypatch.setattr(arm, "ARM_WINDOW", (1.0, 1.0))
    arm._draw_chunk.clear_cache()  # the windows are constants of its compilation
    whole = draw(*rows, side=41)
    arm._draw_chunk.clear_cache()
    assert np.abs(whole - drawn).max() <= 1


@pytest.mark.slow
def test_no_two_poses_look_the_same():
    """Image neighbours are grid neighbours: at most two steps away on either axis."""
    images = arm.render_batch(arm.GRID.rows({}, ())).reshape(1600, -1).astype(np.float32)
    squares = (images**2).sum(axis=1)
    gaps = (squares[:, None] + squares[None] - 2 * images @ images.T) / images.shape[1]
    np.fill_diagonal(gaps, np.inf)
    nearest = gaps.argmin(axis=1)
    steps = np.abs(np.array(divmod(np.arange(1600), 40)) - np.array(divmod(nearest, 40)))
    assert gaps.min() > 0.5
    assert (steps.max(axis=0) <= 2).mean() > 0.95
