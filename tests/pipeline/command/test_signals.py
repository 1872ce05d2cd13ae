"""Asked to stop, whatever it is doing, a command ends with its status, and the same goes on."""

import os
import signal
import time

import pytest

pytestmark = pytest.mark.slow

STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}


def wait_until(reached):
    until = time.monotonic() + 90
    while not reached():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.002)


def assert_stopped(outcome, number):
    last = outcome.err.splitlines()[-1]
    assert outcome.status == STATUS[number], outcome.err
    assert f"stopped by {number.name}" in last
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("number", STATUS)
def test_stopped_while_compiling_it_resumes(launch, config_file, tmp_path, number):
    command = ("train", f"--config={config_file}", f"--workdir={tmp_path / 'run'}")
    # Nothing is compiled yet, so what follows the opening of metrics.jsonl takes seconds.
    process = launch.start(*command, cache=str(tmp_path / "compiled"))
    wait_until(lambda: (tmp_path / "run" / "metrics.jsonl").exists())
    os.kill(process, number)
    assert_stopped(launch.finish(), number)
    assert launch(*command).status == 0


def test_stopped_while_saving_it_resumes(launch, config_file, tmp_path):
    command = ("train", f"--config={config_file}", f"--workdir={tmp_path / 'run'}")
    often = "--config.training.save_every_s=0"
    spot = {"pattern": r"os.rename .*/checkpoints/\d+\.orbax-checkpoint-tmp ", "number": 3}
    outcome = launch(*command, often, kill=spot | {"by": signal.SIGTERM})
    assert_stopped(outcome, signal.SIGTERM)
    assert "the state is saved" in outcome.err
    names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert all(name.isdigit() for name in names)  # nothing half-written
    assert launch(*command).status == 0


OTHERS = {
    "encode": ("evaluate", r"open .*/\.latents"),
    "connect": ("evaluate", r"open .*/\.graph"),
    "evaluate": ("evaluate", r"open .*/\.evaluation"),
    "surf": ("surf", r"open .*/\.surfing"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_stopped_on_its_way_a_command_leaves_nothing_half_done(launch, root, name):
    script, pattern = OTHERS[name]
    flags = ("--source=3", "--target=31") if script == "surf" else ("--num_pairs=20",)
    command = (script, f"--workdir={root}", *flags)
    before = {path for path in root.rglob("*") if path.suffix != ".npz"}
    outcome = launch(*command, kill={"pattern": pattern, "by": signal.SIGTERM})
    assert_stopped(outcome, signal.SIGTERM)
    after = {path for path in root.rglob("*") if path.suffix != ".npz"}
    assert after - before <= {root / "surf"}
    assert not [path for path in root.rglob(".*") if path.name != ".lock"]
    assert launch(*command).status == 0
