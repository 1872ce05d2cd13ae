"""What `import jaxsurf` offers, and what importing costs."""

import dataclasses
import os
import pkgutil
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from PIL import Image

import jaxsurf
from jaxsurf.errors import UserError


def python(code, **surroundings):
    """Run a program of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_any_module_chooses_no_device():
    """Where several hosts work together, they must find each other before JAX finds its devices."""
    modules = [module.name for module in pkgutil.walk_packages(jaxsurf.__path__, "jaxsurf.")]
    # Without PyTorch, what is compared with it can't be imported.
    modules = [name for name in modules if ".benchmark.torch_" not in name]
    assert len(modules) > 50
    # With a platform that there is not, the first thing that needs a device would fail.
    python(f"import {', '.join(modules)}", JAX_PLATFORMS="nowhere")


def test_importing_jaxsurf_imports_neither_jax_nor_numpy():
    seconds = python(
        "import sys, time; start = time.perf_counter(); import jaxsurf;"
        "print(time.perf_counter() - start);"
        "loaded = {'jax', 'numpy', 'scipy', 'flax'} & set(sys.modules);"
        "assert not loaded, loaded"
    )
    assert float(seconds) < 0.1


def test_names_that_are_offered_are_there():
    assert set(jaxsurf.__all__) <= set(dir(jaxsurf))
    for name in jaxsurf.__all__:
        assert getattr(jaxsurf, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'snowboard'"):
        _ = jaxsurf.snowboard


CIRCLE = np.stack([np.cos(np.arange(20) / 20 * 2 * np.pi), np.sin(np.arange(20) / 10 * np.pi)], 1)


def test_a_path_past_anchors_follows_the_codes():
    path = jaxsurf.find_paths(CIRCLE, [0, 5])
    np.testing.assert_allclose(path.points, CIRCLE[:6])
    round_trip = jaxsurf.find_paths(CIRCLE, [0, 5, 12], loop=True)
    np.testing.assert_allclose(round_trip.points, CIRCLE[[*range(20), 0]])
    fine = jaxsurf.find_paths(CIRCLE, [0, 5], frames=31)
    assert len(fine.points) == 31
    assert fine.length == pytest.approx(path.length, rel=0.01)


def test_a_path_passes_codes_that_are_not_among_the_rows():
    outside = np.array([0.0, 1.2])
    path = jaxsurf.find_paths(CIRCLE, [0, outside])
    np.testing.assert_allclose(path.points[[0, -1]], [CIRCLE[0], outside])


@pytest.mark.parametrize(
    ("anchors", "complaint"),
    [
        ([3], "1 anchors were given"),
        ([0, 20], "anchor 1 is 20, neither a row nor a code of 2 numbers; give rows from 0 to 19"),
        ([0, -1], "anchor 1 is -1, neither"),
        ([0, [0.1]], "anchor 1 is .* neither a row nor a code of 2 numbers"),
        ([0, 0.5], "anchor 1 is 0.5, neither"),
        ([0, [np.nan, 0.0]], "finite"),
    ],
)
def test_anchors_that_are_none_are_refused(anchors, complaint):
    with pytest.raises(UserError, match=complaint):
        jaxsurf.find_paths(CIRCLE, anchors)


@pytest.fixture(scope="module")
def images():
    """16 images of the arm."""
    return jaxsurf.open_images("arm", side=32, stride=10)


SETTINGS = {"model.channels": 8, "training.num_epochs": 60, "optimizer.learning_rate": 5e-3}


@pytest.fixture(scope="module")
def run(images, tmp_path_factory):
    """A run that was trained on them."""
    return jaxsurf.train(images, tmp_path_factory.mktemp("api") / "run", SETTINGS, shown=False)


def test_a_run_trained_on_images_is_opened_again(run, images):
    opened = jaxsurf.open_run(run.workdir.root)
    assert isinstance(opened, jaxsurf.Run)
    assert opened.step == run.step == 60
    np.testing.assert_array_equal(opened.images.images, images.images)
    np.testing.assert_array_equal(opened.images.factors, images.factors)
    assert opened.images.factor_names == images.factor_names


def test_settings_by_name_and_more_epochs_go_on_with_a_run(run, images):
    longer = SETTINGS | {"training.num_epochs": 61}
    with pytest.raises(UserError, match=r"was begun with training\.num_epochs = 60, not 61"):
        jaxsurf.train(images, run.workdir.root, longer, shown=False)
    folder = run.workdir.root.with_name("named")
    named = {"data.side": 32, "data.stride": 10, **SETTINGS}
    assert jaxsurf.train(named, folder, shown=False).step == 60
    assert jaxsurf.train({**named, **longer}, folder, extend=True, shown=False).step == 61


def test_a_thread_other_than_the_main_one_may_train(run, images, tmp_path):
    folder = shutil.copytree(run.workdir.root, tmp_path / "copy")
    train = partial(jaxsurf.train, images, folder, SETTINGS | {"training.num_epochs": 61})
    with ThreadPoolExecutor() as threads:
        assert threads.submit(train, extend=True, shown=False).result().step == 61


def test_a_surf_is_in_memory_until_it_is_saved(run, tmp_path):
    run.surf(0, 1)  # after which codes and graph are kept
    before = sorted(run.workdir.root.rglob("*"))
    animation = run.surf(2, 13, frames=11)
    assert isinstance(animation, jaxsurf.Animation)
    assert sorted(run.workdir.root.rglob("*")) == before
    assert animation.frames.dtype == np.uint8
    assert animation.frames.shape == (11, 32, 32, 3)
    assert animation.metrics["interpolation_mse"] > 0
    animation.save(tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as film:
        assert film.size == (32, 32)


def test_ends_are_numbers_files_and_codes(run, images, tmp_path):
    path = tmp_path / "7"
    Image.fromarray(images.images[5]).save(path, format="png")
    code = run.surf(5, 2).path.points[0]
    by_number, by_file, by_code = (
        run.surf(source, 13, frames=5, method="linear") for source in (5, path, code)
    )
    np.testing.assert_allclose(by_file.path.points, by_number.path.points, atol=1e-5)
    np.testing.assert_allclose(by_code.path.points, by_number.path.points, atol=1e-5)
    with pytest.raises(UserError, match="image 16 is out of range; choose 0 to 15"):
        run.surf(16, 2)


def test_an_evaluation_is_in_memory(run):
    evaluation = run.evaluate(num_pairs=5, methods=["surfing"], frames=7)
    assert list(evaluation.content["methods"]) == ["surfing", "linear"]
    assert "interpolation_mse over 5 random pairs" in str(evaluation)
    assert not run.workdir.evaluation.exists()


def test_what_training_cannot_take_is_refused(run, images):
    fewer = jaxsurf.open_images("arm", side=32, stride=8)
    otherwise = dataclasses.replace(images, factors=images.factors + 1)
    for other in (fewer, otherwise):
        with pytest.raises(UserError, match="images of robot arm have changed"):
            jaxsurf.train(other, run.workdir.root, SETTINGS)
    fresh = run.workdir.root.with_name("fresh")
    named = run.workdir.root.with_name("other")
    jaxsurf.train({"data.side": 32, "data.stride": 8, **SETTINGS}, named, shown=False)
    with pytest.raises(UserError, match=r"begun with data\.source = 'arm', not 'file'"):
        jaxsurf.train(images, named, SETTINGS)
    assert not (named / "images.npz").exists()
    with pytest.raises(UserError, match=r"training\.epochs is not a setting"):
        jaxsurf.train(images, fresh, {"training.epochs": 3})
    assert not fresh.exists()
    with pytest.raises(UserError, match=r"data\.side means nothing where images are given"):
        jaxsurf.train(images, run.workdir.root, {"data.side": 48})
    with pytest.raises(UserError, match="settings were given twice"):
        jaxsurf.train({}, run.workdir.root, {"data.side": 48})
