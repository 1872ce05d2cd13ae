"""A launcher of commands, and one small trained run for all tests of the pipeline."""

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from filelock import FileLock

from jaxsurf.pipeline import cli, configuration
from jaxsurf.pipeline.run import open_run
from jaxsurf.pipeline.train import train
from jaxsurf.training import loop

ROOT = Path(__file__).parents[2]
LAUNCHER = Path(__file__).with_name("launcher.py")
# An arm that swings about one axis: 40 images, 5 steps an epoch.
SETTINGS = {
    "data.fixed": "object_color=0,object_shape=0,object_size=1,camera_height=0,"
    "background_color=0,vertical_axis=20",
    "data.free": "horizontal_axis",
    "data.side": 32,
    "model.channels": 8,
    "optimizer.learning_rate": 5e-3,
    "training.num_epochs": 40,
    "training.batch_size": 8,
    "training.log_every": 7,
    "targets.kind": "on",
}


# How a command ended, and what it wrote.
Outcome = namedtuple("Outcome", ("status", "out", "err"))


class Launcher:
    """Runs launch scripts in processes of their own; see launcher.py."""

    def __init__(self, scratch, cache):
        self.scratch = scratch
        self.process = subprocess.Popen(
            [sys.executable, LAUNCHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {
                "XDG_CACHE_HOME": str(cache),
                "JAX_PLATFORMS": "cpu",
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            },
        )

    def __call__(self, script, *flags, folder=ROOT, **more):
        """Return the outcome of a command."""
        request = {
            "script": str(ROOT / "launch" / f"{script}.py"),
            "flags": [str(flag) for flag in flags],
            "folder": str(folder),
            "out": str(self.scratch / "out"),
            "err": str(self.scratch / "err"),
            **more,
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        return Outcome(status, *((self.scratch / name).read_text() for name in ("out", "err")))

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory):
    """A folder of this session's own, the same one in all workers."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def cache_home(session_folder):
    """A cache of this session's own, so that the user's is not touched."""
    folder = session_folder / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def launch(tmp_path_factory, cache_home):
    """Runs a launch script with flags."""
    if not hasattr(os, "fork"):
        pytest.skip("the launcher forks")
    launcher = Launcher(tmp_path_factory.mktemp("launcher"), cache_home)
    yield launcher
    launcher.close()


def make_config(**changes):
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return configuration.from_dict(cli.make_config(SETTINGS | changes).to_dict())


@pytest.fixture(scope="session")
def config_of():
    """Makes the small run's configuration; section__name=value changes a setting."""
    return make_config


@pytest.fixture(scope="session")
def config_file(tmp_path_factory):
    """The same configuration as a file for --config."""
    path = tmp_path_factory.mktemp("configs") / "small.py"
    path.write_text(
        "from jaxsurf.pipeline import cli\n\n\n"
        f"def get_config():\n    return cli.make_config({SETTINGS!r})\n"
    )
    return path


@pytest.fixture
def stop_at():
    """Does something each time that training has reached a step, as long as a patch lasts."""

    def patch_in(monkeypatch, step, stop):
        original = loop.calls

        def calls(*args, **options):
            for at, state, losses in original(*args, **options):
                if at == step:
                    stop()
                yield at, state, losses

        monkeypatch.setattr(loop, "calls", calls)

    return patch_in


@pytest.fixture(scope="session")
def pristine(tmp_path_factory, session_folder, cache_home):
    """The working directory of a finished run; tests look at it and leave it alone."""
    trained = session_folder / "trained"
    with FileLock(f"{trained}.lock"):  # by the first worker that asks
        train(make_config(), trained, shown=False)
    return shutil.copytree(trained, tmp_path_factory.mktemp("pristine") / "run")


@pytest.fixture
def root(pristine, tmp_path):
    """A copy of that working directory, in a folder of any name, to do anything with."""
    caches = shutil.ignore_patterns("latents*.npz", "graph*.npz")  # of commands that were refused
    return shutil.copytree(pristine, tmp_path / r"lr[0.1] größe*\b", ignore=caches)


@pytest.fixture
def run(root):
    """The run of that copy."""
    return open_run(root)
