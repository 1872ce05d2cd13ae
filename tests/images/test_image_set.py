"""Image sets and factor grids: slices, order, fingerprints, and what is refused."""

import itertools

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.images.factors import DEFAULT_FIXED, DEFAULT_FREE, MPI3D, Grid
from jaxsurf.images.image_set import ImageSet

GRID = Grid(("tint", "lone", "turn"), (3, 1, 5), {"tint": ("red", "sea green", "blue")})


def make_set(**changes):
    """Return 15 images of 4 x 7 pixels, image i filled with i, over GRID's factors."""
    number = len(GRID)
    images = np.broadcast_to(np.arange(number, dtype=np.uint8)[:, None, None, None], (15, 4, 7, 3))
    factors = GRID.factors(np.arange(number))
    defaults = {"images": images, "name": "toys", "factors": factors, "factor_names": GRID.names}
    return ImageSet(**(defaults | changes))


def test_grid_numbers_images_in_c_order():
    combinations = list(itertools.product(*map(range, GRID.sizes)))
    assert GRID.factors(np.arange(15)).tolist() == [list(row) for row in combinations]
    assert GRID.indices({}, GRID.names).tolist() == list(range(15))


def test_grid_slice_agrees_with_reshape():
    numbers = np.arange(15).reshape(GRID.sizes)
    assert GRID.indices({"turn": 2}, ["tint"]).tolist() == numbers[:, 0, 2].tolist()
    assert GRID.indices({"tint": 1}, ["turn"]).tolist() == numbers[1, 0].tolist()


def test_order_of_free_factors_does_not_matter():
    assert np.array_equal(
        GRID.indices({}, ["turn", "lone", "tint"]), GRID.indices({}, ["tint", "turn"])
    )


def test_default_slice_of_mpi3d_is_the_large_white_cone():
    indices = MPI3D.indices(DEFAULT_FIXED, DEFAULT_FREE)
    assert len(MPI3D) == 1_036_800
    # One object size is 3 cameras x 3 backgrounds x 1,600 positions.
    assert np.array_equal(indices, 14_400 + np.arange(1600))


@pytest.mark.parametrize("label", ["sea green", "sea_green", " Sea-Green"])
def test_values_have_names(label):
    assert np.array_equal(GRID.indices({"tint": label}, ["turn"]), np.arange(5, 10))


@pytest.mark.parametrize("value", [1.0, np.float32(1), np.int64(1)])
def test_whole_values_may_be_of_any_number_type(value):
    assert np.array_equal(GRID.indices({"tint": value}, ["turn"]), np.arange(5, 10))


@pytest.mark.parametrize(
    ("fixed", "free", "words"),
    [
        ({"colour": 1}, ["turn"], "no factor is called 'colour'; choose from tint, lone, turn"),
        ({"tint": 1}, ["spin"], "no factor is called 'spin'; choose from tint, lone, turn"),
        ({"tint": 3}, ["turn"], "tint has no value 3; choose from 0..2 or red, sea green, blue"),
        ({"tint": -1}, ["turn"], "tint has no value -1"),
        ({"tint": 0.5}, ["turn"], "tint has no value 0.5"),
        ({"tint": 3.0}, ["turn"], "tint has no value 3.0"),
        ({"tint": np.nan}, ["turn"], "tint has no value nan"),
        ({"tint": np.inf}, ["turn"], "tint has no value inf"),
        ({"tint": "pink"}, ["turn"], "tint has no value 'pink'"),
        ({"turn": "left"}, ["tint"], "turn has no value 'left'; choose from 0..4$"),
        ({"tint": 1}, [], "turn takes 5 values, but the slice neither fixes it nor sets it free"),
        ({"tint": 1, "turn": 1}, ["turn"], "turn is both fixed and free"),
    ],
)
def test_grid_refuses_a_bad_slice(fixed, free, words):
    with pytest.raises(UserError, match=words):
        GRID.indices(fixed, free)


def test_select_keeps_order_factors_and_names():
    names = tuple(f"{i}.png" for i in range(15))
    order = np.random.default_rng(7).permutation(15)
    images = make_set()
    shuffled = make_set(
        images=images.images[order],
        factors=images.factors[order],
        image_names=tuple(names[i] for i in order),
    )
    kept = shuffled.select(fixed={"turn": 2}, free=["tint"])
    expected = [i for i in order if i % 5 == 2]
    assert kept.images[:, 0, 0, 0].tolist() == expected
    assert kept.image_names == tuple(names[i] for i in expected)
    assert kept.factors.tolist() == GRID.factors(np.array(expected)).tolist()


@pytest.mark.parametrize(
    ("fixed", "free", "words"),
    [
        ({"colour": 1}, ["turn"], "no factor is called 'colour'; choose from tint, lone, turn"),
        ({"turn": 5}, ["tint"], "turn has no value 5; choose from 0, 1, 2, 3, 4"),
        ({"tint": 1}, (), "turn takes 5 values"),
        ({"tint": 1, "turn": 1}, ["turn"], "turn is both fixed and free"),
    ],
)
def test_select_refuses_a_bad_slice(fixed, free, words):
    with pytest.raises(UserError, match=words):
        make_set().select(fixed=fixed, free=free)


def test_long_list_of_values_is_shortened():
    images = make_set(factors=np.arange(15.0)[:, None] / 2, factor_names=("time",))
    with pytest.raises(UserError, match=r"choose from 0, 0\.5, 1, \.\.\., 6\.5, 7$"):
        images.select(fixed={"time": 8})


def test_values_that_never_meet_are_refused():
    images = make_set().select(free=["tint", "turn"])._subset(np.arange(15) % 6 == 0)
    with pytest.raises(UserError, match=r"no image of toys has"):
        images.select(fixed={"tint": 0, "turn": 1})


def test_set_without_factors_has_no_slices():
    with pytest.raises(UserError, match=r"toys has no factors to pick a slice by"):
        make_set(factors=None, factor_names=()).select(fixed={"tint": 1})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": np.zeros((15, 4, 7, 3), np.float32)}, "toys holds float32 values"),
        ({"images": np.zeros((15, 3, 4, 7), np.uint8)}, "put the channels last"),
        ({"images": np.zeros((0, 4, 7, 3), np.uint8)}, "toys holds no image"),
        ({"factors": np.zeros((15, 2))}, r"have shape \(15, 2\), expected \(15, 3\)"),
        ({"factors": None}, "toys names factors but has no values"),
        ({"image_names": ("a.png",)}, "toys has 15 images, 1 names"),
    ],
)
def test_set_checks_its_parts(changes, words):
    with pytest.raises(UserError, match=words):
        make_set(**changes)


def test_fingerprint_depends_on_content_and_order_alone():
    images = make_set()
    assert images.fingerprint == make_set(name="other").fingerprint
    assert images.fingerprint != make_set(images=images.images[::-1]).fingerprint
    assert images.fingerprint != make_set(factors=images.factors[::-1]).fingerprint


def test_images_cannot_be_written_to():
    with pytest.raises(ValueError, match=r"read-only"):
        make_set().images[0] = 0


def test_a_recipe_stands_for_the_pixels_in_the_fingerprint():
    images = make_set().images
    rounded = np.where(images > 5, images - 1, images)
    drawn = make_set(recipe="arm 1")
    assert drawn.fingerprint == make_set(images=rounded, recipe="arm 1").fingerprint
    assert drawn.fingerprint != make_set(recipe="arm 2").fingerprint
    assert drawn.fingerprint != make_set(recipe="arm 1", factors=drawn.factors[::-1]).fingerprint
    assert make_set().fingerprint != make_set(images=rounded).fingerprint
