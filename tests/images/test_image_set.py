"""Image sets and factor grids: slices, order, fingerprints, and what is refused."""

import itertools
import os

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.images import storage
from jaxsurf.images.image_set import DEFAULT_FIXED, DEFAULT_FREE, MPI3D, Grid, ImageSet

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


LONG = Grid(("tint", "turn", "lift"), (3, 9, 7))


@pytest.mark.parametrize(
    ("stride", "turns", "lifts"),
    [(1, range(9), range(7)), (2, range(0, 9, 2), range(7))],
)
def test_a_stride_thins_the_factors_with_many_values(stride, turns, lifts):
    numbers = np.arange(len(LONG)).reshape(LONG.sizes)
    expected = numbers[1][np.ix_(list(turns), list(lifts))].ravel()
    kept = LONG.indices({"tint": 1}, ["turn", "lift"], stride=stride)
    assert kept.tolist() == expected.tolist()


def test_a_factor_with_exactly_four_times_the_stride_is_thinned():
    grid = Grid(("turn", "lift"), (12, 11))
    kept = grid.factors(grid.indices({}, grid.names, stride=3))
    assert sorted(set(kept[:, 0].tolist())) == [0, 3, 6, 9]
    assert sorted(set(kept[:, 1].tolist())) == list(range(11))


@pytest.mark.parametrize(
    ("fixed", "free", "stride", "words"),
    [
        ({"tint": 0}, ["turn", "lift"], 0, "the stride is 0, but must be at least 1; 1 keeps all"),
        ({"tint": 0}, ["turn", "lift"], -2, "the stride is -2"),
        ({"tint": 0}, ["turn", "lift"], 3, "3 thins nothing.* 12 values, but 9 at most.* up to 2"),
        ({"turn": 0}, ["tint", "lift"], 2, "8 values, but 7 at most; leave the stride out"),
        ({"tint": 0, "turn": 0, "lift": 0}, [], 2, "takes 8 values; leave the stride out"),
    ],
)
def test_a_stride_that_thins_nothing_is_refused(fixed, free, stride, words):
    with pytest.raises(UserError, match=words):
        LONG.indices(fixed, free, stride=stride)
    factors = LONG.factors(np.arange(len(LONG)))
    images = make_set(
        images=np.zeros((len(LONG), 4, 7, 3), np.uint8), factors=factors, factor_names=LONG.names
    )
    with pytest.raises(UserError, match=words):
        images.select(fixed=fixed, free=free, stride=stride)


def test_select_with_a_stride_keeps_every_second_value_that_occurs():
    angles = np.array([0.5, 9.0, 3.5, 1.0, 7.0, 8.0, 2.0, 6.0, 1.0])
    side = np.array([0, 0, 1, 0, 0, 1, 0, 1, 1])
    images = make_set(
        images=make_set().images[:9],
        factors=np.stack([angles, side], axis=-1),
        factor_names=("angle", "side"),
    )
    assert images.select(stride=2).factors[:, 0].tolist() == [0.5, 8.0, 2.0, 6.0]


def test_select_with_a_stride_counts_the_values_within_the_slice():
    # Ten turns in all, of which the second tint has the eight odd ones and two more.
    turns = np.array([0, 2, 1, 3, 5, 7, 9, 11, 13, 15])
    tints = np.array([0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    images = make_set(
        images=make_set().images[:10],
        factors=np.stack([tints, turns], axis=-1),
        factor_names=("tint", "turn"),
    )
    kept = images.select(fixed={"tint": 1}, free=["turn"], stride=2)
    assert kept.factors[:, 1].tolist() == [1, 5, 9, 13]


def test_a_stride_beside_a_grid_may_leave_no_image():
    diagonal = np.stack([np.arange(8), (np.arange(8) + 1) % 8], axis=-1)
    images = make_set(images=make_set().images[:8], factors=diagonal, factor_names=("turn", "lift"))
    with pytest.raises(UserError, match=r"stride of 2 leaves no image of toys, .* smaller one"):
        images.select(stride=2)


def test_select_of_everything_is_the_set_itself():
    images = make_set()
    assert images.select() is images


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
    with pytest.raises(UserError, match=r"pick a slice by; leave out fixed, free and stride"):
        make_set(factors=None, factor_names=()).select(stride=2)
    with pytest.raises(UserError, match=r"toys has no names for values of tint; give numbers"):
        make_set().select(fixed={"tint": "red"}, free=["turn"])


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
        make_set(images=make_set().images.copy()).images[0] = 0


def test_a_recipe_stands_for_the_pixels_in_the_fingerprint():
    images = make_set().images
    rounded = np.where(images > 5, images - 1, images)
    drawn = make_set(recipe="arm 1")
    assert drawn.fingerprint == make_set(images=rounded, recipe="arm 1").fingerprint
    assert drawn.fingerprint != make_set(recipe="arm 2").fingerprint
    assert drawn.fingerprint != make_set(recipe="arm 1", factors=drawn.factors[::-1]).fingerprint
    assert make_set().fingerprint != make_set(images=rounded).fingerprint


def test_fingerprint_of_a_mapped_file_is_computed_once_until_it_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path, reads = tmp_path / "a.npy", []
    chunks = storage.chunks
    monkeypatch.setattr(
        storage, "chunks", lambda array: reads.append(storage.is_mapped(array)) or chunks(array)
    )

    def opened(**changes):
        return make_set(images=np.load(path, mmap_mode="r"), **changes)

    np.save(path, make_set().images)
    assert opened().fingerprint == make_set().fingerprint
    assert opened().fingerprint == make_set().fingerprint
    assert reads.count(True) == 1
    # Factors belong to it too; a part of the file is no file.
    assert opened(factor_names=("a", "b", "c")).fingerprint != make_set().fingerprint
    part = opened().select(fixed={"tint": 0}, free=["turn"])
    assert part.fingerprint == make_set().select(fixed={"tint": 0}, free=["turn"]).fingerprint
    assert reads.count(True) == 3
    before = opened()
    np.save(path, make_set().images[::-1])
    os.utime(path, ns=(1, 1))
    assert opened().fingerprint == make_set(images=make_set().images[::-1]).fingerprint
    assert before._file != opened()._file
