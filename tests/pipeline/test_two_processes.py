"""Two processes on the loopback, two devices each, that train as one."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxsurf.pipeline.run import open_run
from jaxsurf.training.log import read_metrics

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# Steps before rounding has grown: 3e-7 after 50 of them, 4e-4 after 200.
EARLY = 50
OFTEN = "--config.training.save_every_s=0.5"


def start(config_file, root, *flags, differing=()):
    """Start the launch script in two processes."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        place = f"localhost:{probe.getsockname()[1]}"
    command = [sys.executable, ROOT / "launch/train.py", f"--config={config_file}", *flags]
    command += [f"--workdir={root}", "--distributed", f"--coordinator={place}"]
    devices = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    own = [["--process_id=0"], ["--process_id=1", *differing]]
    return [
        subprocess.Popen(
            [*command, "--num_processes=2", *more],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=os.environ | devices | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2"},
        )
        for more in own
    ]


def end(both):
    """Return the status and the errors of both."""
    said = [one.communicate(timeout=240)[1] for one in both]
    return [(one.returncode, err) for one, err in zip(both, said, strict=True)]


def lines(root):
    return read_metrics(root / "metrics.jsonl")


def wait_for_step(root, step):
    """Return when training has written a line of a step."""
    until = time.monotonic() + 200
    while not any(line["step"] >= step for line in lines(root)):
        assert time.monotonic() < until
        time.sleep(0.05)


def assert_same_losses(root, pristine):
    """Compare losses; sums in another order differ by rounding, which training lets grow."""
    here, there = lines(root), lines(pristine)
    assert [line["step"] for line in here] == [line["step"] for line in there]
    losses = [np.array([line["loss"] for line in run]) for run in (here, there)]
    early = np.array([line["step"] for line in here]) <= EARLY
    assert early.sum() > 5
    np.testing.assert_allclose(*(run[early] for run in losses), rtol=1e-5)
    np.testing.assert_allclose(*losses, rtol=5e-3)


def test_two_processes_train_as_one_does_and_one_resumes_what_they_began(
    config_file, pristine, tmp_path, launch, cache_home
):
    both = start(config_file, tmp_path, OFTEN)
    wait_for_step(tmp_path, 30)
    both[1].send_signal(signal.SIGTERM)
    for status, err in end(both):
        assert status == 128 + signal.SIGTERM, err
        assert "stopped by SIGTERM; the state is saved" in err
    assert 30 <= open_run(tmp_path).step < 200
    outcome = launch("train", f"--config={config_file}", f"--workdir={tmp_path}")
    assert outcome.status == 0, outcome.err
    assert open_run(tmp_path).step == 200
    assert_same_losses(tmp_path, pristine)


def test_when_one_is_killed_the_other_ends_and_both_go_on_later(
    config_file, pristine, tmp_path, cache_home
):
    both = start(config_file, tmp_path, OFTEN)
    wait_for_step(tmp_path, 50)
    both[1].kill()
    began = time.monotonic()
    (status, err), (killed, _) = end(both)
    assert killed == -signal.SIGKILL
    assert status not in (0, None), err
    assert time.monotonic() - began < 30
    for status, err in end(start(config_file, tmp_path)):
        assert status == 0, err
    assert open_run(tmp_path).step == 200
    assert_same_losses(tmp_path, pristine)


SEED, BATCH = ["--config.training.seed=5"], ["--config.training.batch_size=6"]


@pytest.mark.parametrize(
    ("flags", "differing", "complaint"),
    [
        ([], SEED, "config.training.seed is 0 in process 0, but 5 in process 1"),
        (BATCH, [], "batches of 6 images do not split evenly over the 4"),
    ],
)
def test_what_cannot_be_one_run_is_refused_before_anything_is_written(
    config_file, tmp_path, cache_home, flags, differing, complaint
):
    for status, err in end(start(config_file, tmp_path / "run", *flags, differing=differing)):
        assert status == 1, err
        assert f"error: {complaint}" in err
        assert "Traceback" not in err
    assert not (tmp_path / "run").exists()
