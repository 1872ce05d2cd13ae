"""Sources by name: the arm's slices, what is drawn, and what leads nowhere."""

import subprocess
import sys

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.images import arm
from jaxsurf.images.image_set import DEFAULT_FIXED, DEFAULT_FREE
from jaxsurf.images.sources import open_images

SLICE = {
    "fixed": {
        "object_color": "green",
        "object_shape": 5,
        "object_size": 0.5,
        "camera_height": "bottom",
        "background_color": "sea green",
        "horizontal_axis": 7,
    },
    "free": ["vertical_axis"],
}


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn, in black."""
    calls = []

    def draw(rows, *, side):
        calls.append((len(rows), side))
        return np.zeros((len(rows), side, side, 3), np.uint8)

    monkeypatch.setattr(arm, "render_batch", draw)
    return calls


def test_the_arms_slice_is_drawn_once(tmp_path, monkeypatch):
    images = open_images("arm", side=11, cache_dir=tmp_path, **SLICE)
    rows = np.tile(np.array([1, 5, 0.5, 2, 1, 7, 0], np.float32), (40, 1))
    rows[:, 6] = np.arange(40)
    assert images.name == "robot arm"
    assert np.array_equal(images.factors, rows)
    assert np.array_equal(images.images, arm.render_batch(rows, side=11))
    monkeypatch.setattr(arm, "render_batch", None)
    again = open_images("arm", side=11, cache_dir=tmp_path, **SLICE)
    assert np.array_equal(again.images, images.images)
    assert again.fingerprint == images.fingerprint


def test_the_fingerprint_of_the_arms_images_stays_what_it_was(drawn, tmp_path):
    # Changing it makes every working directory stale.
    assert open_images("arm", cache_dir=tmp_path).fingerprint == "240b1ac3f983cb9a"


def test_a_stride_draws_a_quarter_of_the_default_slice(drawn, tmp_path):
    thinned = open_images("arm", stride=2, cache_dir=tmp_path)
    whole = open_images("arm", cache_dir=tmp_path)
    assert drawn == [(400, 64), (1600, 64)]
    assert whole.factors[:, :5].tolist() == [[0, 0, 1, 0, 0]] * 1600
    expected = [[h, v] for h in range(0, 40, 2) for v in range(0, 40, 2)]
    assert thinned.factors[:, 5:].tolist() == expected
    chosen = whole.select(free=DEFAULT_FREE, fixed=DEFAULT_FIXED, stride=2)
    assert np.array_equal(thinned.factors, chosen.factors)
    assert thinned.fingerprint != whole.fingerprint


def test_a_stride_leaves_a_third_factor_of_the_arm_whole(drawn, tmp_path):
    fixed = {name: value for name, value in DEFAULT_FIXED.items() if name != "camera_height"}
    free = ("camera_height", *DEFAULT_FREE)
    images = open_images("arm", fixed=fixed, free=free, stride=4, side=2, cache_dir=tmp_path)
    assert len(images) == 3 * 10 * 10


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fixed": {"colour": 1}, "free": []}, "no factor is called 'colour'"),
        ({"fixed": {"object_color": "pink"}, "free": []}, "object_color has no value 'pink'"),
        ({"fixed": {"object_color": 1}, "free": []}, "object_shape takes 6 values, but the slice"),
        ({"fixed": DEFAULT_FIXED | {"object_size": 2}, "free": DEFAULT_FREE}, "object_size is 2 "),
        ({"stride": 0}, "the stride is 0, but must be at least 1"),
        ({"stride": 11}, "11 thins nothing: .* takes 44 values, but 40 at most; .* up to 10"),
        ({"side": 0}, "side is 0, but must be at least 1"),
        ({"path": "arm.npz"}, r"the arm is drawn, not read from arm\.npz; leave path out"),
    ],
)
def test_arm_refuses_a_bad_slice(changes, words, tmp_path):
    with pytest.raises(UserError, match=words):
        open_images("arm", cache_dir=tmp_path, **changes)


@pytest.mark.parametrize(
    ("source", "path", "words"),
    [
        ("amr", "", "no source and no file called 'amr'; choose from arm, mpi3d_toy, .*tfds:NAME"),
        ("amr", "here", "no source and no file called 'amr'"),
        ("folder", "nowhere", "there is no nowhere; give a folder or file that exists"),
        ("mpi3d_toy", "nowhere", r"there is no nowhere; give the \.npz file"),
    ],
)
def test_unknown_source_names_the_known_ones(source, path, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        open_images(source, path=path)


def test_opening_imports_what_it_needs_alone():
    program = "import sys, jaxsurf.images.sources as _; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"tensorflow_datasets", "imageio", "matplotlib", "flax"} & set(run.stdout.split())
