"""Lines and events that a run writes: means of its intervals, resumes, divergence, full disks."""

import contextlib
import json
import struct
import time

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from jaxsurf.errors import UserError
from jaxsurf.training.log import Diverged, GroupLog, Log, read_metrics
from jaxsurf.training.step import TARGET
from tests.leavings import full_disk


@pytest.fixture
def make_log():
    """Make logs; their files are closed in the end."""
    with contextlib.ExitStack() as stack:

        def make(folder, *, every=3, last_step=8, **resumed):
            folder.mkdir(parents=True, exist_ok=True)
            given = {"every": every, "last_step": last_step, "steps_per_epoch": 4}
            log = Log(folder / "metrics.jsonl", learning_rate=lambda step: 0.1, **given, **resumed)
            return stack.enter_context(contextlib.closing(log))

        yield make


def losses(value):
    return {"loss": jnp.float32(value), "mse": jnp.float32(value)}


def lines(folder):
    return [(line["step"], line["loss"]) for line in read_metrics(folder / "metrics.jsonl")]


def test_a_line_is_the_mean_of_its_interval(tmp_path, make_log):
    log = make_log(tmp_path)
    for step in range(1, 9):
        log.add(step, losses(step))
    log.flush()
    assert lines(tmp_path) == [(3, 2.0), (6, 5.0), (8, 7.5)]
    (first, *_) = read_metrics(tmp_path / "metrics.jsonl")
    assert first == {
        "step": 3,
        "epoch": 0.75,
        "loss": 2.0,
        "mse": 2.0,
        "learning_rate": 0.1,
        "elapsed_s": pytest.approx(0, abs=60),
        "interval_s": pytest.approx(0, abs=60),
    }
    assert read_metrics(tmp_path / "none") == []


def test_resumed_in_mid_interval_writes_the_same_lines(tmp_path, make_log):
    def go_on(folder, steps, **resumed):
        log = make_log(folder, every=3, **resumed)
        for step in steps:
            target = {TARGET: jnp.float32(step)} if step <= 4 else {}
            log.add(step, losses(step / 3) | target)
        return log, log.flush()

    stopped, straight = tmp_path / "stopped", tmp_path / "straight"
    log, saving = go_on(stopped, range(1, 6))
    saved = json.loads(json.dumps(saving))
    log.add(6, losses(9.0))  # what follows the checkpoint is made again
    log.flush()
    assert saving["steps"]["loss"] == 2  # what is being saved does not change meanwhile
    with (stopped / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    log, _ = go_on(stopped, [], resume_step=5, saved=saved)
    assert log.latest["step"] == 3
    go_on(stopped, range(6, 9), resume_step=5, saved=saved)
    go_on(straight, range(1, 9))
    assert lines(stopped) == lines(straight)
    assert [step for step, _ in lines(straight)] == [3, 6, 8]
    for folder in (stopped, straight):  # a loss of some steps is the mean of these
        found = [line.get(TARGET) for line in read_metrics(folder / "metrics.jsonl")]
        assert found == [2.0, 4.0, None]


def test_a_loss_that_is_not_finite_ends_the_run_by_name(tmp_path, make_log):
    log = make_log(tmp_path)
    for step, value in enumerate([1.0, float("nan"), 1.0], start=1):
        log.add(step, losses(value))
    with pytest.raises(Diverged, match=r"by step 3: loss, mse is not finite; lower"):
        log.flush()
    assert lines(tmp_path) == []


def events(folder):
    """Return TensorBoard's events, file by file in the order in which it reads them."""
    found = []
    for path in sorted(folder.glob("events.*.tfevents.*")):
        content, at = path.read_bytes(), 0
        while at + 12 <= len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            found.append(event_pb2.Event.FromString(content[at + 12 : at + 12 + length]))
            at += 12 + length + 4
    return found


def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path, monkeypatch, make_log):
    for resumed, clock in ((0, 2e9), (2, 2e9), (0, 1e9), (1, 2e9)):  # the clock is put back
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda clock=clock: clock)
            log = make_log(tmp_path, resume_step=resumed, every=1)
        for step in range(resumed + 1, 4):
            log.add(step, losses(0.0))
        log.flush()
        kept = []
        for event in events(tmp_path):  # a start hides what came before from its step on
            if event.session_log.status == event_pb2.SessionLog.START:
                kept = [step for step in kept if step < event.step]
            kept += [event.step for value in event.summary.value if value.tag == "loss"]
        assert kept == [1, 2, 3]
    assert len(list(tmp_path.glob("events.*"))) == 4
    log.show(3, np.zeros((3, 5, 3), np.uint8), name="picture")
    # It is read before it is closed: nothing waits in a buffer.
    picture = events(tmp_path)[-1].summary.value[0].image
    assert (picture.height, picture.width) == (3, 5)


def test_a_full_disk_ends_in_one_line_and_leaves_what_was_written(tmp_path, make_log):
    log = make_log(tmp_path, every=1, last_step=200)
    refused = pytest.raises(UserError, match=r"cannot write .*metrics.jsonl or .*: File too large")
    with full_disk(1000), refused:
        for step in range(1, 100):
            log.add(step, losses(1.0))
    written = lines(tmp_path)
    assert written == [(step, 1.0) for step in range(1, len(written) + 1)]
    log = make_log(tmp_path, resume_step=199, every=1, last_step=200)
    log.add(200, losses(2.0))
    log.flush()
    assert lines(tmp_path) == [*written, (200, 2.0)]


# Runs that are trained as one


def run_group(make_log, folder, steps, *, saved=(None, None, None), failed=(), resume_step=0):
    """Return the log of three runs, of which the first diverges after step 4."""
    logs = [
        make_log(folder / str(number), every=4, resume_step=resume_step, saved=saved[number])
        for number in range(3)
    ]
    terms = [("loss", "mse"), ("loss", "mse", "l1"), ("loss", "mse")]
    log = GroupLog(logs, terms=terms, failed=dict(failed))
    for at in steps:
        first = at if at <= 4 else np.nan
        values = jnp.array([first, 10.0 * at, 100.0 * at, 7.0])  # the last fills up a device
        log.add(at, dict.fromkeys(("loss", "mse", "l1"), values))
    return log


def written(folder):
    """Return step, loss and whether there is an `l1` of each run's lines."""
    rows = [read_metrics(folder / str(number) / "metrics.jsonl") for number in range(3)]
    return [[(row["step"], row["loss"], "l1" in row) for row in run] for run in rows]


def test_each_run_of_a_group_has_its_own_lines_until_it_diverges_after_a_resume_too(
    tmp_path, make_log
):
    straight = run_group(make_log, tmp_path / "straight", range(1, 9))
    straight.flush()
    assert written(tmp_path / "straight") == [
        [(4, 2.5, False)],
        [(4, 25.0, True), (8, 65.0, True)],
        [(4, 250.0, False), (8, 650.0, False)],
    ]
    assert straight.latest["mse"] == 65.0  # of the first that goes on

    stopped = tmp_path / "stopped"
    saved = json.loads(json.dumps(run_group(make_log, stopped, range(1, 7)).flush()))["runs"]
    assert saved[0].startswith("training diverged by step 6: loss, mse is not finite")
    failed, saved[0] = {0: saved[0]}, None
    resumed = run_group(make_log, stopped, (7, 8), saved=saved, failed=failed, resume_step=6)
    assert resumed.flush()["runs"][0] == failed[0]
    assert written(stopped) == written(tmp_path / "straight")
