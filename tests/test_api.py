"""What `import jaxsurf` offers, and what importing costs."""

import dataclasses
import os
import pkgutil
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import jaxsurf
from jaxsurf.errors import UserError
from jaxsurf.images.pixels import Look


def python(code, **surroundings):
    """Run a program of its own; return what it printed."""
    command, env = [sys.executable, "-c", code], os.environ | surroundings
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
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
    program = (
        "import sys, time; start = time.process_time(); import jaxsurf;"
        "print(time.process_time() - start);"
        "loaded = {'jax', 'numpy', 'scipy', 'flax'} & set(sys.modules);"
        "assert not loaded, loaded"
    )
    assert min(float(python(program)) for _ in range(3)) < 0.1
    for name in jaxsurf.__all__:
        assert getattr(jaxsurf, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'snowboard'"):
        _ = jaxsurf.snowboard


def test_commands_start_without_scipys_modules():
    python(
        "import sys; from jaxsurf.pipeline import cli, evaluate, surf, train;"
        "loaded = {f'scipy.{name}' for name in ('ndimage', 'optimize', 'sparse', 'spatial')};"
        "assert not loaded & set(sys.modules), loaded & set(sys.modules)"
    )


CIRCLE = np.stack([np.cos(np.arange(20) / 20 * 2 * np.pi), np.sin(np.arange(20) / 10 * np.pi)], 1)


@pytest.mark.core
def test_a_path_past_anchors_follows_the_codes():
    report = jaxsurf.GraphConfig(kind="smallest", weight="latent")
    path = jaxsurf.find_paths(CIRCLE, [0, 5], graph=report)
    np.testing.assert_allclose(path.points, CIRCLE[:6])
    around = jaxsurf.find_paths(CIRCLE, [0, 10])
    assert around.length == pytest.approx(np.pi, rel=0.02)
    round_trip = jaxsurf.find_paths(CIRCLE, [0, 5, 12], loop=True, graph=report)
    np.testing.assert_allclose(round_trip.points, CIRCLE[[*range(20), 0]])
    assert len(jaxsurf.find_paths(CIRCLE, [0, 5], frames=31).points) == 31
    outside = np.array([0.0, 1.2])  # not among the codes
    path = jaxsurf.find_paths(CIRCLE, [0, outside])
    np.testing.assert_allclose(path.points[[0, -1]], [CIRCLE[0], outside])
    with pytest.raises(UserError, match="1 anchors were given"):
        jaxsurf.find_paths(CIRCLE, [3])
    for wrong in (20, -1, True, [0.0, 1.2, 0.0], [np.nan, 0.0]):
        with pytest.raises(UserError, match=r"give rows from 0 to 19|queries are not finite"):
            jaxsurf.find_paths(CIRCLE, [0, wrong])


SETTINGS = {"model.channels": 8, "training.num_epochs": 60, "optimizer.learning_rate": 5e-3}


@pytest.fixture(scope="module")
def images():
    return jaxsurf.open_images("arm", side=32, stride=10)


@pytest.fixture(scope="module")
def run(images, tmp_path_factory):
    return jaxsurf.train(images, tmp_path_factory.mktemp("api") / "run", SETTINGS, shown=False)


def test_a_run_trained_on_images_is_opened_again(run, images):
    opened = jaxsurf.open_run(run.workdir.root)
    assert isinstance(opened, jaxsurf.Run)
    assert opened.step == run.step == 60
    np.testing.assert_array_equal(opened.images.images, images.images)
    np.testing.assert_array_equal(opened.images.factors, images.factors)
    assert opened.images.factor_names == images.factor_names


def test_settings_by_name_and_more_epochs_go_on_with_a_run_in_any_thread(run, images):
    longer = SETTINGS | {"training.num_epochs": 61}
    folder = shutil.copytree(run.workdir.root, run.workdir.root.with_name("copy"))
    with ThreadPoolExecutor() as threads:
        train = threads.submit(jaxsurf.train, images, folder, longer, extend=True, shown=False)
        assert train.result().step == 61
    named = {"data.side": 32, "data.stride": 10, **SETTINGS, "training.num_epochs": 2}
    with pytest.raises(UserError, match="collapsed"):  # after training: its folder is there
        jaxsurf.train(named, folder.with_name("named"), shown=False)
    assert jaxsurf.open_run(folder.with_name("named")).step == 2


def test_a_surf_is_in_memory_until_it_is_saved(run, tmp_path):
    run.surf(0, 1)  # after which codes and graph are kept
    before = sorted(run.workdir.root.rglob("*"))
    animation = run.surf(2, 13, frames=11)
    assert isinstance(animation, jaxsurf.Animation)
    evaluation = run.evaluate(num_pairs=5, methods=["surfing"], frames=7)
    assert list(evaluation.content["methods"]) == ["surfing", "linear"]
    assert sorted(run.workdir.root.rglob("*")) == before
    assert animation.frames.dtype == np.uint8
    assert animation.frames.shape == (11, 32, 32, 3)
    assert animation.metrics["interpolation_mse"] > 0
    animation.save(tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as film:
        assert film.size == (32, 32)


def test_what_training_cannot_take_is_refused(run, images):
    fewer = jaxsurf.open_images("arm", side=32, stride=8)
    turned = dataclasses.replace(images, look=Look((2, 0, 1)))
    for config, settings, words in (
        (fewer, SETTINGS, r"the images of robot arm have changed: .* train in an"),
        (turned, SETTINGS, r"images\.npz holds .* or shows other channels; train in another"),
        (images, {"data.side": 48}, r"data\.side means nothing where images are given"),
        (SETTINGS, {"data.side": 48}, "settings were given twice"),
    ):
        with pytest.raises(UserError, match=words):
            jaxsurf.train(config, run.workdir.root, settings)
