"""Sources by name: the arm's slices, what is drawn, and what leads nowhere."""

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.images.drawn import arm
from jaxsurf.images.image_set import DEFAULT_FIXED, DEFAULT_FREE, Reading
from jaxsurf.images.sources import open_images

SLICE = {
    "fixed": dict(zip(DEFAULT_FIXED, ("green", 5, 0.5, "bottom", "sea green"), strict=True))
    | {"horizontal_axis": 7},
    "free": ["vertical_axis"],
}


@pytest.mark.core
def test_the_arms_slice_is_drawn_once_and_between_its_images(tmp_path, monkeypatch):
    images = open_images("arm", side=11, cache_dir=tmp_path, **SLICE)
    rows = np.tile(np.array([1, 5, 0.5, 2, 1, 7, 0], np.float32), (40, 1))
    rows[:, 6] = np.arange(40)
    assert images.name == "robot arm"
    assert np.array_equal(images.factors, rows)
    assert np.array_equal(images.images, arm.render_batch(rows, side=11))
    between = rows[:3] + np.array([0, 0, 0, 0, 0, 0.3, 0.6], np.float32)
    assert np.array_equal(images.draw(between), arm.render_batch(between, side=11))
    assert images.continuous == ("object_size", "horizontal_axis", "vertical_axis")
    monkeypatch.setattr(arm, "render_batch", lambda *_, **__: pytest.fail("drawn again"))
    again = open_images("arm", side=11, cache_dir=tmp_path, **SLICE)
    assert np.array_equal(again.images, images.images)
    assert again.fingerprint == images.fingerprint


def test_the_fingerprint_of_the_arms_default_slice_stays_what_it_was(tmp_path, monkeypatch):
    black = np.zeros((1600, 64, 64, 3), np.uint8)
    monkeypatch.setattr(arm, "render_batch", lambda *_, **__: black)
    # Changing it makes every working directory stale.
    assert open_images("arm", cache_dir=tmp_path).fingerprint == "240b1ac3f983cb9a"


@pytest.mark.parametrize(
    ("source", "changes", "words"),
    [
        ("arm", {"fixed": DEFAULT_FIXED | {"object_size": 2}, "free": DEFAULT_FREE}, "no value 2;"),
        ("pole", {"fixed": {"vertical": 39.5}, "free": ["horizontal"]}, "vertical has no value"),
        ("loop", {"fixed": {"turn": "left"}}, "turn has no value 'left'; choose from 0, 1, 2, "),
        ("loop", {"fixed": {"turn": np.inf}}, "turn has no value inf"),
        ("arm", {"stride": 11}, "11 thins nothing: .* takes 44 values, but 40 at most; .* to 10"),
        ("arm", {"side": 0}, "side is 0; give 1 to 8192"),
        ("arm", {"side": 8193}, "side is 8193; give 1 to 8192"),
        ("arm", {"path": "arm.npz"}, r"the arm is drawn, not read from arm\.npz; leave path out"),
        ("amr", {}, "file called 'amr'; choose from arm, loop, torus, pole, mpi3d_.*tfds:NAME"),
        ("arm:2", {}, "no source and no file called 'arm:2'"),
        ("folder", {"path": "nowhere"}, "nowhere is neither a folder nor a file of images; give"),
        ("mpi3d_toy", {"path": "nowhere"}, r"neither prepared in nowhere nor .*; download https:"),
    ],
)
def test_what_leads_nowhere_is_refused(source, changes, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        open_images(source, cache_dir=tmp_path / "cache", **changes)


def test_a_range_may_be_numbers_and_means_nothing_for_what_is_drawn():
    assert Reading(range=(300, 4000.5)).range == "300,4000.5"
    with pytest.raises(UserError, match="range means nothing for the source arm"):
        open_images("arm", range="full")
