"""What `import jaxsurf` offers, and what importing costs."""

import os
import pkgutil
import subprocess
import sys

import numpy as np
import pytest

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
        ([0, 20], "anchor 20 is out of range: there are 20 codes"),
        ([0, -1], "anchor -1 is out of range"),
        ([0, [0.1]], "anchor 1 is .* neither a row number nor a code of 2 numbers"),
        ([0, 0.5], "anchor 1 is 0.5, neither"),
        ([0, [np.nan, 0.0]], "finite"),
    ],
)
def test_anchors_that_are_none_are_refused(anchors, complaint):
    with pytest.raises(UserError, match=complaint):
        jaxsurf.find_paths(CIRCLE, anchors)
