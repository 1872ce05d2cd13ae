"""The drawn sources: even steps, no two images alike, any value, whole turns."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxsurf.images.drawn import arm, turntable
from jaxsurf.images.sources import open_images

GOLDEN = Path(__file__).parents[1] / "golden"
FACTORS = {"loop": ("turn",), "torus": ("hour", "minute"), "pole": ("horizontal", "vertical")}
SIDE = 17  # of most images here: programs are compiled for a side


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def one_image(name, side, cache):
    """Return a set of a single image, by which any other is drawn at this side."""
    return open_images(name, fixed=dict.fromkeys(FACTORS[name], 0), side=side, cache_dir=cache)


def rms(a, b):
    return np.sqrt(np.mean((a.astype(float) - b.astype(float)) ** 2, axis=(-3, -2, -1)))


def centre_of(mask):
    """Return the middle of a mask's pixels in pixels from the image's middle, right and down."""
    down, right = np.nonzero(mask)
    return np.array([right.mean(), down.mean()]) + 0.5 - len(mask) / 2


def differences_to_golden(name, images):
    """Return how far rows of images are from a picture of what they were.

    Where images change to the eye, raise the source's edition and remove the picture: it is written
    again.
    """
    strip, file = np.concatenate([np.concatenate(row, axis=1) for row in images]), GOLDEN / name
    if not file.exists():
        Image.fromarray(strip).save(file)
        pytest.fail(f"{file} was missing and has been written: look at it and run again")
    with Image.open(file) as golden:
        return np.abs(strip.astype(int) - np.asarray(golden, int))


@pytest.mark.core
def test_images_are_what_they_were(cache):
    rows = {
        "loop": [[11.3], [97.8], [190.4], [283.6]],
        "torus": [[3.3, 27.6], [15.5, 15.5], [38.7, 18.7], [26.2, 5.1]],
        "pole": [[0, 39], [38.3, 20.7], [19.6, 0.4], [28.8, 31.2]],
    }
    images = [one_image(name, 32, cache).draw(np.array(some)) for name, some in rows.items()]
    changed = differences_to_golden("drawn.png", images) > 1
    assert changed.mean() < 0.002  # a ray that grazes an edge may miss it on another machine


@pytest.mark.core
def test_images_of_the_arm_are_what_they_were():
    # Each shape, colour, camera, band and size, in poses between those of the grid.
    rows = [
        [i % 6, (i + 2) % 6, (i % 4) / 3, i % 3, (i // 3) % 3, 13 * i % 39 + 0.3, 7 * i % 39 + 0.6]
        for i in range(12)
    ]
    assert differences_to_golden("arm.png", [arm.render_batch(np.array(rows), side=32)]).max() <= 1


@pytest.mark.parametrize("name", FACTORS)
def test_steps_are_even_and_what_is_far_apart_looks_different(name, cache):
    images = open_images(name, side=SIDE, cache_dir=cache)
    sizes = (360,) if name == "loop" else (40, 40)
    around = name != "pole"
    grid = images.images.reshape(*sizes, SIDE, SIDE, 3)
    places = np.stack(np.unravel_index(np.arange(len(images)), sizes), axis=-1)
    assert np.array_equal(images.factors, places)
    assert images.periodic == (dict(zip(images.factor_names, sizes, strict=True)) if around else {})
    medians = []
    for axis in range(len(sizes)):
        steps = rms(grid, np.roll(grid, -1, axis))
        steps = steps if around else np.delete(steps, -1, axis)
        medians.append(np.median(steps))
        assert np.median(steps) / 2 < steps.min()
        assert steps.max() < 2 * np.median(steps)
    flat = images.images.reshape(len(images), -1).astype(float)
    squares = np.vecdot(flat, flat)
    apart = np.sqrt((squares[:, None] + squares[None] - 2 * flat @ flat.T) / flat.shape[1])
    steps = np.abs(places[:, None] - places[None])
    steps = np.minimum(steps, np.array(sizes) - steps) if around else steps
    far = steps.max(axis=-1) > (10 if name == "loop" else 3)
    assert apart[far].min() > max(medians)


@pytest.mark.parametrize("name", FACTORS)
def test_what_is_drawn_between_values_lies_between(name, cache):
    images = one_image(name, SIDE, cache)
    random = np.random.default_rng(5).uniform(0, 38, (24, len(images.factor_names)))
    start = images.draw(random)
    for column in range(random.shape[1]):
        apart = {}
        for step in (1.0, 0.25, 0.03):
            moved = random + step * np.eye(random.shape[1])[column]
            apart[step] = rms(start, images.draw(moved)).mean()
        # An edge that sweeps many pixels in a step would change the image by half in a quarter.
        assert 0.2 < apart[0.25] / apart[1.0] < 0.4
        assert apart[0.03] < 0.15 * apart[1.0]


@pytest.mark.parametrize("name", ["loop", "torus"])
def test_a_period_on_is_the_same_image_to_the_bit(name, cache):
    images = one_image(name, SIDE, cache)
    period = np.array(list(images.periodic.values()))
    rows = np.array([[0.0], [7.25], [19.5]]) + np.zeros(len(period))
    assert np.array_equal(images.draw(rows), images.draw(rows + period))
    assert np.array_equal(images.draw(rows), images.draw(rows - 2 * period))


@pytest.mark.parametrize(
    ("name", "fixed", "free", "held"),
    [
        ("loop", {"turn": 359.5}, [], 359.5),
        ("loop", {"turn": -0.25}, [], 359.75),
        ("loop", {"turn": 363}, [], 3),
        ("torus", {"hour": 39.75}, ["minute"], 39.75),
        ("pole", {"horizontal": 38.5}, ["vertical"], 38.5),
    ],
)
def test_a_factor_is_held_between_values_and_past_a_period(name, fixed, free, held, cache):
    images = open_images(name, fixed=fixed, free=free, side=SIDE, cache_dir=cache)
    assert len(images) == (40 if free else 1)
    assert set(images.factors[:, 0]) == {held}
    assert np.array_equal(images.images, images.draw(images.factors))


def test_hands_point_nine_degrees_a_value_clockwise(cache):
    images = one_image("torus", 64, cache)
    values = np.array([0, 3.5, 13, 29.75])
    # At a right angle, the one hand hides the other evenly on both sides.
    drawn = images.draw(np.stack([values, values + 10], axis=-1)).astype(int)
    for value, image in zip(values, drawn, strict=True):
        for mask, degrees in (
            (image[..., 2] - image[..., 0] > 60, 9 * value),  # blue
            (image[..., 0] - image[..., 2] > 120, 9 * value + 90),  # red
        ):
            right, down = centre_of(mask)
            off = np.degrees(np.arctan2(right, -down)) - degrees
            assert abs((off + 180) % 360 - 180) < 3


def test_the_star_goes_as_its_factors_do(cache):
    images = one_image("pole", 64, cache)

    def star(horizontal, vertical):
        drawn = images.draw(np.array([[horizontal, vertical]]))[0].astype(int)
        return centre_of((drawn[..., 0] > 225) & (drawn[..., 2] < 80))

    left, middle, right = (star(value, 20) for value in (0, 19.5, 39))
    np.testing.assert_allclose(middle, (left + right) / 2, rtol=0, atol=0.3)
    assert right[0] - left[0] > 40
    low, middle, high = (star(19.5, value) for value in (0, 19.5, 39))
    np.testing.assert_allclose(middle, (low + high) / 2, rtol=0, atol=0.3)
    assert low[1] - high[1] > 30  # down is positive
    assert abs(left[1] - right[1]) < 0.3
    assert abs(low[0] - high[0]) < 0.3


def test_the_table_turns_a_degree_a_value_counterclockwise(cache):
    x, y, _ = turntable.PARTS[-1][2]  # the middle of the ball, whose colour nothing else has
    nearest = -90 - np.degrees(np.arctan2(y, x))
    turns = nearest + np.array([-45, -30, -15, 0, 15, 30, 45])
    drawn = one_image("loop", 64, cache).draw(turns[:, None]).astype(int)
    yellow = (drawn[..., 0] > 150) & (drawn[..., 1] > 110) & (drawn[..., 2] < 50)
    across = np.array([centre_of(mask)[0] for mask in yellow])
    np.testing.assert_allclose(across, -across[::-1], rtol=0, atol=0.6)
    assert (np.diff(across) > 2).all()
