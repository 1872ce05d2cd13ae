"""Image sets and factor grids: slices, order, fingerprints, and what is refused."""

import dataclasses
import itertools
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsurf.errors import UserError
from jaxsurf.images import storage
from jaxsurf.images.image_set import Grid, ImageSet, Request
from jaxsurf.images.pixels import Look

GRID = Grid(("tint", "lone", "turn"), (3, 1, 5), {"tint": ("red", "sea green", "blue")}, ("turn",))


def every(grid):
    """Return the factors of all images of a grid."""
    return grid.rows(Request("", free=grid.names))


def make_set(grid=GRID, **changes):
    """Return images of 4 x 7 pixels, image i filled with i, over a grid's factors."""
    factors = changes.get("factors", every(grid))
    count = len(grid) if factors is None else len(factors)
    images = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 7, 3)
    )
    defaults = {"images": images, "name": "toys", "factors": factors, "factor_names": grid.names}
    return ImageSet(**(defaults | changes))


def numbers_of(images):
    return images.images[:, 0, 0, 0].tolist()


@pytest.mark.core
@given(data=st.data())
def test_a_slice_of_a_grid_is_in_c_order_and_that_of_an_array_and_of_a_set(data):
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    grid = Grid(tuple("abcd"[: len(sizes)]), tuple(sizes))
    free = data.draw(st.lists(st.sampled_from(grid.names), unique=True, min_size=1))
    fixed = {
        name: data.draw(st.integers(0, size - 1))
        for name, size in zip(grid.names, sizes, strict=True)
        if name not in free
    }
    largest = max(sizes[grid.names.index(name)] for name in free) // 4
    stride = data.draw(st.integers(1, max(1, largest)))
    places = [
        [fixed[name]]
        if name in fixed
        else list(range(0, size, stride if size >= 4 * stride else 1))
        for name, size in zip(grid.names, sizes, strict=True)
    ]
    asked = {"fixed": fixed, "free": free, "stride": stride}
    rows = [list(row) for row in itertools.product(*places)]
    assert grid.rows(Request("", **asked)).tolist() == rows
    if len(grid) <= 256:
        numbers = np.arange(len(grid)).reshape(sizes)[np.ix_(*places)].ravel()
        assert numbers_of(make_set(grid).select(**asked)) == numbers.tolist()


@pytest.mark.parametrize(
    "value", ["sea green", "sea_green", " Sea-Green", 1.0, np.float32(1), np.int64(1)]
)
def test_a_value_is_given_by_its_name_or_as_any_number(value):
    asked = Request("", fixed={"tint": value}, free=["turn"])
    assert GRID.rows(asked).tolist() == [[1, 0, turn] for turn in range(5)]


@pytest.mark.parametrize(
    ("fixed", "free", "stride", "words"),
    [
        ({"colour": 1}, ["turn"], 1, "no factor is called 'colour'; choose from tint, lone, turn"),
        ({"tint": 3}, ["turn"], 1, "tint has no value 3; choose from 0"),
        ({"tint": np.nan}, ["turn"], 1, "tint has no value nan"),
        ({"tint": "pink"}, ["turn"], 1, "tint has no value 'pink'"),
        ({"turn": "left"}, ["tint"], 1, "turn has no value 'left'; choose from 0, 1, 2, 3, 4$"),
        ({"tint": 1}, [], 1, "turn takes 5 values, and has to be either fixed or free"),
        ({"tint": 1, "turn": 1}, ["turn"], 1, "turn takes 5 values, and has to be either"),
        ({"tint": 0}, ["turn"], 0, "the stride is 0, but must be at least 1"),
        ({"tint": 0}, ["turn"], 3, "3 thins nothing.* 12 values, but 5 at most; leave the stride"),
    ],
)
def test_bad_slices_are_refused_of_grids_and_sets(fixed, free, stride, words):
    with pytest.raises(UserError, match=words):
        GRID.rows(Request("", fixed=fixed, free=free, stride=stride))
    with pytest.raises(UserError, match=words):
        make_set().select(fixed=fixed, free=free, stride=stride)


def test_select_keeps_order_factors_and_what_can_be_drawn():
    order = np.random.default_rng(7).permutation(15)
    whole = make_set(recipe="it", draw=np.asarray, continuous=("turn",))
    assert whole.select() is whole
    shuffled = make_set(images=whole.images[order], factors=whole.factors[order], draw=np.asarray)
    kept = shuffled.select(fixed={"turn": 2}, free=["tint"])
    assert numbers_of(kept) == [i for i in order if i % 5 == 2]
    assert kept.factors.tolist() == every(GRID)[numbers_of(kept)].tolist()
    kept = whole.select(fixed={"turn": 2}, free=["tint"])
    assert (kept.recipe, kept.draw, kept.continuous) == ("it", np.asarray, ("turn",))


DIAGONAL = np.stack([np.arange(8), (np.arange(8) + 1) % 8, np.arange(8) / 2], axis=-1)


@pytest.mark.parametrize(
    ("changes", "chosen", "words"),
    [
        ({"factors": DIAGONAL}, {"fixed": {"tint": 0, "lone": 2}, "free": ["turn"]}, "no image of"),
        ({"factors": np.arange(15.0)[:, None] / 2, "factor_names": ("time",)},
         {"fixed": {"time": 8}}, r"choose from 0, 0\.5, 1, \.\.\., 6\.5, 7$"),
        ({"factors": None, "factor_names": ()}, {"fixed": {"tint": 1}}, "toys has no factors to"),
        ({"factors": None, "factor_names": ()}, {"stride": 2}, "leave out fixed, free and stride"),
    ],
)  # fmt: skip
def test_sets_whose_factors_form_no_grid_refuse_what_is_not_there(changes, chosen, words):
    with pytest.raises(UserError, match=words):
        make_set(**changes).select(**chosen)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": np.zeros((15, 4, 7, 3), np.float32)}, "toys holds float32 values"),
        ({"factors": np.zeros((15, 2))}, r"have shape \(15, 2\), expected \(15, 3\)"),
        ({"factors": None}, r"have shape \(15, 0\), expected \(15, 3\)"),
        ({"factor_names": ("a", "b", "a")}, "factors of toys have the same name: a, b, a"),
        ({"look": Look((0, 3))}, "has 3 channels, but 0, 3 are to be shown; .* from 0 to 2"),
        ({"look": Look((0, 1, 0, 1))}, "0, 1, 0, 1 are to be shown; give one to three from 0 to 2"),
        ({"look": Look((-1,))}, "-1 are to be shown; give one to three from 0 to 2"),
    ],
)
def test_parts_that_make_no_set_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        make_set(**changes)


def test_fingerprint_depends_on_content_and_order_alone():
    images = make_set()
    assert images.fingerprint == make_set(name="other").fingerprint
    assert images.fingerprint != make_set(images=images.images[::-1]).fingerprint
    assert images.fingerprint != make_set(factors=images.factors[::-1]).fingerprint
    # A recipe stands for the pixels, which are rounded in another way on another machine.
    rounded = np.where(images.images > 5, images.images - 1, images.images)
    drawn = make_set(recipe="arm 1")
    assert drawn.fingerprint == make_set(images=rounded, recipe="arm 1").fingerprint
    assert drawn.fingerprint != make_set(recipe="arm 2").fingerprint
    assert drawn.fingerprint != make_set(recipe="arm 1", factors=drawn.factors[::-1]).fingerprint
    assert images.fingerprint != make_set(images=rounded).fingerprint


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
    assert opened(factor_names=("a", "b", "c")).fingerprint != make_set().fingerprint
    np.save(path, make_set().images[::-1])
    os.utime(path, ns=(1, 1))
    assert opened().fingerprint == make_set(images=make_set().images[::-1]).fingerprint
    turned = opened(factor_names=("x", "y", "z"))
    path.unlink()  # another file takes its place before anybody asks
    np.save(path, make_set().images)
    assert turned.fingerprint != opened(factor_names=turned.factor_names).fingerprint


def test_periodic_values_may_begin_anywhere():
    factors = np.array([-180.0, -90.0, 0.0, 90.0])[:, None]
    whole = make_set(factors=factors, factor_names=("turn",), periodic={"turn": 360.0})
    for turn, number in ((-90, 1), (270, 1), (-180.0, 0), (180, 0), (450, 3), (-360, 2)):
        kept = whole.select(fixed={"turn": turn})
        assert (numbers_of(kept), kept.periodic) == ([number], {"turn": 360.0})
    with pytest.raises(UserError, match="turn has no value 45"):
        whole.select(fixed={"turn": 45})


def test_images_are_meant_by_the_names_of_files_and_by_values_of_factors():
    files = tuple(f"{folder}/{number}.png" for folder in ("a", "b") for number in range(8))[:15]
    toys = make_set(files=files, labels={"tint": ("red", "blue", "green")})
    assert toys.numbers("a/3.png").tolist() == [3]
    assert toys.numbers("6.png").tolist() == [6, 14]
    assert toys.numbers("none.png").tolist() == []
    deeper = dataclasses.replace(toys, files=(*files[:14], "x/a/3.png"))
    assert deeper.numbers("a/3.png").tolist() == [3]
    named = dataclasses.replace(toys, files=("a=1.png", *files[1:]))
    assert named.numbers("a=1.png").tolist() == [0]
    assert toys.numbers("tint=blue, turn=2").tolist() == [7]
    assert toys.numbers("turn=4").tolist() == [4, 9, 14]
    chosen = toys.select(fixed={"tint": "green"}, free=["turn"])
    assert (numbers_of(chosen), chosen.files[0]) == ([10, 11, 12, 13, 14], "b/2.png")
    ends = dataclasses.replace(toys.select(fixed={"tint": 0}, free=["turn"]), factors=np.eye(5, 3))
    with pytest.raises(UserError, match="no image of toys has these values at once"):
        ends.numbers("tint=red,lone=1,turn=1")
    with pytest.raises(
        UserError, match="tint has no value 'grey'; choose from 0, 1, 2 or red, blue, green"
    ):
        toys.numbers("tint=grey")
    with pytest.raises(UserError, match="no factor is called 'size'; choose from tint, lone, turn"):
        toys.numbers("size=2")
    letters = make_set(labels={"tint": ("A", "a", "b")})
    assert letters.numbers("tint=a").tolist() == [5, 6, 7, 8, 9]
    assert letters.numbers("tint=B, turn=0").tolist() == [10]
    with pytest.raises(UserError, match="turn=2,turn=3 names a factor twice; name each once"):
        toys.numbers("turn=2,turn=3")


def test_labels_that_are_numbers_are_meant_by_numbers():
    toys = make_set(labels={"tint": ("1", "02", "10")})
    for value in (2, "02"):
        assert numbers_of(toys.select(fixed={"tint": value}, free=["turn"])) == [5, 6, 7, 8, 9]
    assert toys.numbers("tint=2,turn=0").tolist() == [5]
    with pytest.raises(UserError, match="tint has no value '0'; choose from 1, 02, 10"):
        toys.numbers("tint=0")
    with pytest.raises(UserError, match="tint has no value 0"):
        toys.select(fixed={"tint": 0}, free=["turn"])


def test_images_come_back_in_the_units_and_the_type_of_their_source():
    deep = np.arange(15 * 4 * 7 * 2, dtype=np.uint16).reshape(15, 4, 7, 2)
    shallow = (deep // 257).astype(np.uint8)
    look, values = Look((0, 1)), (300.0, 380.0)
    toys = make_set(
        images=shallow, deep=deep, look=look, source_range=values, source_dtype="uint16"
    )
    assert toys.model_input is not deep
    assert np.shares_memory(toys.model_input, deep)
    back = toys.in_source_units(np.array([0, 0.5, 1, 1.2], np.float32))
    assert (back.tolist(), back.dtype) == ([300, 340, 380, 380], np.uint16)
    wide = dataclasses.replace(toys, source_range=(-100.0, 70_000.0))  # more than the type holds
    assert wide.in_source_units(np.array([0.0, 1.0])).tolist() == [0, 65_535]
    whole = dataclasses.replace(toys, source_range=(-(2.0**63), 2.0**63), source_dtype="int64")
    assert whole.in_source_units(np.ones(1)).tolist() == [2**63 - 1024]
    for other in ({"deep": deep + 1}, {"source_range": (300.0, 381.0)}):
        assert dataclasses.replace(toys, **other).fingerprint != toys.fingerprint
    assert toys.select(fixed={"tint": 1}, free=["turn"]).deep.tolist() == deep[5:10].tolist()
