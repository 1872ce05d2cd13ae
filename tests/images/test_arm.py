"""The arm: its factors, its geometry, its renderer's promises."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.images import arm
from jaxsurf.images.image_set import DEFAULT_FIXED, DEFAULT_FREE

SIDE = 32
POSE = {"horizontal_axis": 9.0, "vertical_axis": 23.0}


def factors(**changes):
    values = {**DEFAULT_FIXED, **POSE, **changes}
    return np.array([values[name] for name in arm.FACTOR_NAMES], np.float32)


def draw(*rows, side=SIDE):
    return arm.render_batch(np.stack(rows), side=side).astype(np.float32)


def mse(a, b):
    return float(np.mean((a - b) ** 2))


def count_red(image):
    return int(np.sum((image[..., 0] > 80) & (image[..., 1] < 20)))


def test_grid_is_in_the_order_of_the_data_set():
    rows = arm.grid()
    assert rows.shape == (1600, 7)
    np.testing.assert_array_equal(rows[801], [0, 0, 1, 0, 0, 20, 1])
    number = np.ravel_multi_index((0, 0, 1, 0, 0, 20, 1), arm.FACTOR_SIZES)
    full = np.stack(np.unravel_index(number, arm.FACTOR_SIZES))
    np.testing.assert_array_equal(rows[801], full)


def test_grid_keeps_c_order_whatever_the_order_of_free_names():
    fixed = {k: v for k, v in DEFAULT_FIXED.items() if k != "camera_height"}
    rows = arm.grid(fixed, ("vertical_axis", "camera_height", "horizontal_axis"))
    assert rows.shape == (4800, 7)
    np.testing.assert_array_equal(rows[1600 + 40 * 3 + 7, 3:], [1, 0, 3, 7])


@pytest.mark.parametrize(
    ("fixed", "free", "message"),
    [
        ({"colour": 1}, (), "no factor is called 'colour'"),
        (
            DEFAULT_FIXED,
            ("horizontal_axis",),
            "vertical_axis takes 40 values, but the slice neither",
        ),
        (
            DEFAULT_FIXED,
            (*DEFAULT_FREE, "object_size"),
            "object_size is both fixed and free",
        ),
        ({**DEFAULT_FIXED, "object_size": 2}, DEFAULT_FREE, "object_size is 2"),
    ],
)
def test_bad_slices_are_refused(fixed, free, message):
    with pytest.raises(UserError, match=message):
        arm.grid(fixed, free)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (factors(vertical_axis=39.5)[None], r"vertical_axis is 39.5 in row 0.*from 0 to 39"),
        (factors(horizontal_axis=-1)[None], r"horizontal_axis is -1.*from 0 to 39"),
        (np.stack([factors(), factors(vertical_axis=np.nan)]), "vertical_axis is nan in row 1"),
        (factors(object_color=0.5)[None], "object_color is 0.5.*whole number from 0 to 5"),
        (factors(), r"shape \(7,\)"),
        (np.zeros((3, 6)), r"shape \(3, 6\)"),
        (np.zeros((0, 7)), r"shape \(0, 7\)"),
        (np.array([["1"] * 7]), "must be real numbers"),
    ],
)
def test_bad_factors_are_refused(rows, message):
    with pytest.raises(UserError, match=message):
        arm.render_batch(rows)


def test_a_side_of_nothing_is_refused():
    with pytest.raises(UserError, match="side is 0"):
        arm.render_batch(factors()[None], side=0)


def test_render_batch_equals_render_across_chunks():
    rows = np.stack([factors(vertical_axis=v, camera_height=v % 3) for v in range(19)])
    batch = arm.render_batch(rows, side=SIDE)
    assert batch.shape == (19, SIDE, SIDE, 3)
    assert batch.dtype == np.uint8
    for number in (0, 15, 16, 18):
        single = np.asarray(arm.render(rows[number], side=SIDE)) * 255
        assert np.abs(single - batch[number]).max() <= 1.0


def test_render_is_pure_jittable_and_vmappable():
    rows = jnp.stack([factors(), factors(object_shape=4)])
    images = jax.jit(jax.vmap(lambda row: arm.render(row, side=SIDE)))(rows)
    assert images.shape == (2, SIDE, SIDE, 3)
    assert float(images.min()) >= 0.0
    assert float(images.max()) <= 1.0
    again = arm.render(rows[1], side=SIDE)
    np.testing.assert_allclose(images[1], again, rtol=1e-4, atol=1e-2)


def test_halving_the_resolution_is_the_mean_of_four_pixels():
    fine, coarse = draw(factors(), side=64)[0], draw(factors(), side=SIDE)[0]
    pooled = fine.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert mse(pooled, coarse) < 0.01 * mse(
        coarse, coarse.mean(axis=(0, 1), keepdims=True) + 0 * coarse
    )


@pytest.mark.parametrize("axis", DEFAULT_FREE)
def test_image_moves_steadily_with_the_axes(axis):
    at = np.array([12.0, 12.05, 12.5, 13.0], np.float32)
    images = draw(*[factors(**{axis: value}) for value in at], side=64)
    tiny, half, other, whole = (
        mse(images[0], images[1]),
        mse(images[0], images[2]),
        mse(images[2], images[3]),
        mse(images[0], images[3]),
    )
    assert 0 < tiny < 0.15 * whole
    assert 0 < half < whole
    assert 0 < other < whole


def test_size_is_continuous():
    images = draw(*[factors(object_size=s, object_color=2) for s in (0.0, 0.5, 1.0)], side=64)
    small, middle, large = map(count_red, images)
    assert small < middle < large


def test_every_value_of_every_factor_changes_the_picture():
    rows = [factors()]
    for name, size in zip(arm.FACTOR_NAMES, arm.FACTOR_SIZES, strict=True):
        rows += [factors(**{name: v}) for v in range(min(size, 6)) if v != factors_value(name)]
    images = draw(*rows)
    gaps = [mse(a, b) for i, a in enumerate(images) for b in images[:i]]
    assert min(gaps) > 0.2


def factors_value(name):
    return factors()[arm.FACTOR_NAMES.index(name)]


def test_objects_have_the_colours_of_their_names():
    images = draw(*[factors(object_color=c, object_shape=5) for c in range(6)], side=64)
    painted = np.ptp(images, axis=0).sum(-1) > 300
    assert painted.sum() > 40
    white, green, red, blue, brown, olive = (image[painted].mean(axis=0) for image in images)
    assert np.ptp(white) < 30
    assert white.min() > 120
    assert green.argmax() == 1
    assert red.argmax() == 0
    assert red[1] < 40
    assert blue.argmax() == 2
    assert brown[0] > brown[1] > brown[2]
    assert brown.max() < olive.max() < white.max()
    assert abs(olive[0] - olive[1]) < 15 < olive[0] - olive[2]


def test_bands_have_the_colours_of_their_names():
    purple, sea_green, salmon = draw(*[factors(background_color=b) for b in range(3)])
    banded = np.abs(purple - sea_green).sum(-1) > 60
    assert banded.any(axis=0).mean() > 0.8  # from left to right
    purple, sea_green, salmon = (
        image[banded].mean(axis=0) for image in (purple, sea_green, salmon)
    )
    assert purple.argsort().tolist() == [1, 0, 2]
    assert sea_green.argsort().tolist() == [0, 2, 1]
    assert salmon.argmax() == 0


def test_the_forearm_foreshortens():
    """Turned across the view the object is far from the post; towards the camera, near it."""
    images = draw(
        *[
            factors(
                horizontal_axis=h, vertical_axis=v, object_color=2, object_shape=5, camera_height=2
            )
            for h, v in ((38.0, 2.0), (38.0, 22.0))
        ],
        side=64,
    )
    middles = [np.argwhere((i[..., 0] > 80) & (i[..., 1] < 20)).mean(axis=0) for i in images]
    across, towards = (abs(middle[1] - 29.0) for middle in middles)
    assert across > 3 * towards
    assert count_red(images[1]) > 1.3 * count_red(images[0])  # nearer looks larger


def test_the_post_hides_what_is_behind_it():
    """Low cameras see the small object disappear in part behind post and shoulder."""
    turns = np.linspace(0, 39, 40)
    rows = [
        factors(
            horizontal_axis=0.0,
            vertical_axis=t,
            object_size=0,
            object_shape=5,
            object_color=2,
            camera_height=2,
        )
        for t in turns
    ]
    seen = [count_red(image) for image in draw(*rows, side=64)]
    behind = int(np.argmin(seen))
    assert 12 < behind < 28
    assert seen[behind] < 0.8 * np.median(seen)


def test_the_object_turns_with_the_forearm():
    up, down = draw(*[factors(horizontal_axis=h, object_color=2) for h in (19.0, 38.0)], side=64)
    tall, wide = (
        np.ptp(np.argwhere((i[..., 0] > 80) & (i[..., 1] < 20)), axis=0) for i in (up, down)
    )
    assert tall[0] > tall[1]
    assert wide[0] != tall[0]


@pytest.mark.slow
def test_windows_hold_everything_that_moves(monkeypatch):
    """Tracing only the windows gives what tracing the whole image gives."""
    renderer = importlib.import_module("jaxsurf.images.arm.render")
    poses = ((0, 0), (39, 0), (39, 20), (30, 13), (20, 39), (39, 39), (0, 39), (35, 25))
    rows = np.stack(
        [
            factors(object_shape=1, camera_height=camera, horizontal_axis=h, vertical_axis=v)
            for camera in range(3)
            for h, v in poses
        ]
    )
    drawn = arm.render_batch(rows, side=41, samples=2)
    monkeypatch.setattr(renderer, "POST_WINDOW", (1.0, 1.0))
    monkeypatch.setattr(renderer, "ARM_WINDOW", (1.0, 1.0))
    renderer._draw_chunk.clear_cache()  # the windows are constants of its compilation
    whole = arm.render_batch(rows, side=41, samples=2)
    renderer._draw_chunk.clear_cache()
    assert np.abs(whole.astype(int) - drawn).max() <= 1


@pytest.mark.slow
def test_gradients_with_respect_to_the_pose_are_finite():
    gradient = jax.grad(lambda row: arm.render(row, side=SIDE).sum())(jnp.asarray(factors()))
    assert np.isfinite(gradient).all()
    assert np.all(np.asarray(gradient)[5:] != 0)


@pytest.mark.slow
def test_no_two_poses_look_the_same():
    """Image neighbours are grid neighbours: at most two steps away on either axis."""
    images = arm.render_batch(arm.grid()).reshape(1600, -1).astype(np.float32)
    squares = (images**2).sum(axis=1)
    gaps = (squares[:, None] + squares[None] - 2 * images @ images.T) / images.shape[1]
    np.fill_diagonal(gaps, np.inf)
    nearest = gaps.argmin(axis=1)
    steps = np.abs(np.array(divmod(np.arange(1600), 40)) - np.array(divmod(nearest, 40)))
    assert gaps.min() > 0.5
    assert (steps.max(axis=0) <= 2).mean() > 0.95
