"""Two processes on the loopback, two devices each, that train as one."""

import json
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

ROOT = Path(__file__).parents[2]
# Steps before rounding has grown: 3e-7 after 50 of them, 4e-4 after 200.
EARLY = 50


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


class Two:
    """The launch script in two processes."""

    def __init__(self, config_file, root, *flags, differing=()):
        place = f"localhost:{free_port()}"
        self.processes = [
            subprocess.Popen(
                [
                    *(sys.executable, ROOT / "launch/train.py", f"--config={config_file}"),
                    *(f"--workdir={root}", "--distributed", f"--coordinator={place}"),
                    *("--num_processes=2", f"--process_id={process}", *flags),
                    *(differing if process else ()),
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                text=True,
                env=os.environ
                | {
                    "JAX_PLATFORMS": "cpu",
                    "JAX_NUM_CPU_DEVICES": "2",
                    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
                },
            )
            for process in (0, 1)
        ]

    def end(self):
        """Return the status and the errors of both."""
        said = [one.communicate(timeout=240) for one in self.processes]
        return [(one.returncode, err) for one, (_, err) in zip(self.processes, said, strict=True)]


def wait_for_step(root, step):
    """Return when training has written a line of a step."""
    until = time.monotonic() + 200
    while not any(line["step"] >= step for line in lines(root)):
        assert time.monotonic() < until
        time.sleep(0.05)


def lines(root):
    path = root / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def assert_same_losses(root, pristine):
    """Compare losses; sums in another order differ by rounding, which training lets grow."""
    here, there = lines(root), lines(pristine)
    assert [line["step"] for line in here] == [line["step"] for line in there]
    losses = [np.array([line["loss"] for line in run]) for run in (here, there)]
    early = np.array([line["step"] for line in here]) <= EARLY
    assert early.sum() > 5
    np.testing.assert_allclose(*(run[early] for run in losses), rtol=1e-5)
    np.testing.assert_allclose(*losses, rtol=5e-3)


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_one_resumes_what_they_began(
    config_file, config_of, pristine, tmp_path, launch, cache_home
):
    both = Two(config_file, tmp_path, "--config.training.save_every_s=0.5")
    wait_for_step(tmp_path, 30)
    both.processes[1].send_signal(signal.SIGTERM)
    for status, err in both.end():
        assert status == 128 + signal.SIGTERM, err
        assert "stopped by SIGTERM; the state is saved" in err
    assert 30 <= open_run(tmp_path).step < 200
    outcome = launch("train", f"--config={config_file}", f"--workdir={tmp_path}")
    assert outcome.status == 0, outcome.err
    assert open_run(tmp_path).step == 200
    assert_same_losses(tmp_path, pristine)


@pytest.mark.slow
def test_when_one_is_killed_the_other_ends_and_both_go_on_later(
    config_file, pristine, tmp_path, cache_home
):
    both = Two(config_file, tmp_path, "--config.training.save_every_s=0.5")
    wait_for_step(tmp_path, 50)
    both.processes[1].kill()
    began = time.monotonic()
    (status, err), (killed, _) = both.end()
    assert killed == -signal.SIGKILL
    assert status not in (0, None), err
    assert time.monotonic() - began < 30
    for status, err in Two(config_file, tmp_path).end():
        assert status == 0, err
    assert open_run(tmp_path).step == 200
    assert_same_losses(tmp_path, pristine)


@pytest.mark.parametrize(
    ("flags", "differing", "complaint"),
    [
        (
            [],
            ["--config.training.seed=5"],
            "config.training.seed is 0 in process 0, but 5 in process 1",
        ),
        (
            ["--config.training.batch_size=6"],
            [],
            "batches of 6 images do not split evenly over the 4",
        ),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_one_run_is_refused_before_anything_is_written(
    config_file, tmp_path, cache_home, flags, differing, complaint
):
    for status, err in Two(config_file, tmp_path / "run", *flags, differing=differing).end():
        assert status == 1, err
        assert f"error: {complaint}" in err
        assert "Traceback" not in err
    assert not (tmp_path / "run").exists()
