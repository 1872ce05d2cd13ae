"""Several processes as one run, on the loopback; whole runs of two are in tests/pipeline."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxsurf.errors import UserError
from jaxsurf.training import distributed
from jaxsurf.training.distributed import Cluster


def play(scene):
    """Return status, output and errors of both processes."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    script = Path(__file__).with_name("several.py")
    both = [
        subprocess.Popen(
            [sys.executable, script, str(process), str(port), scene],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )
        for process in (0, 1)
    ]
    said = [one.communicate(timeout=120) for one in both]
    return [(one.returncode, *texts) for one, texts in zip(both, said, strict=True)]


def test_all_know_the_largest_number_of_the_call_before_and_the_least():
    for process, (status, out, err) in enumerate(play("agree")):
        assert status == 0, err
        assert f"4 devices, process {process} done" in out


def test_processes_that_differ_are_refused_with_both_values():
    for status, _, err in play("differ"):
        assert status == 1
        assert "error: data is cafe in process 0, but cafee in process 1; start all" in err


@pytest.mark.parametrize("scene", ["be_killed", pytest.param("fail_alone", marks=pytest.mark.slow)])
def test_the_other_ends_within_half_a_minute_when_one_is_gone(scene):
    began = time.monotonic()
    ended = play(scene)
    assert (ended[1][0] == -signal.SIGKILL) == (scene == "be_killed")
    assert ("error: no space; free some" in ended[1][2]) == (scene == "fail_alone")
    assert all(status != 0 for status, *_ in ended)
    # Starting takes its share, where others are at work too.
    assert time.monotonic() - began < 30 + 15


def test_one_process_needs_no_others():
    with distributed.joined(None):
        assert distributed.writes()
        distributed.check_agreement({"seed": 1})
        agreement = distributed.Agreement()
        assert [agreement(3), agreement(0)] == [3, 0]


@pytest.mark.parametrize(
    "given",
    [
        {"coordinator": "here:1"},
        {"num_processes": 2, "process_id": 0},
        {"coordinator": "here", "num_processes": 2, "process_id": 0},
        {"coordinator": "here:1", "num_processes": 2, "process_id": 2},
    ],
)
def test_what_describes_no_cluster_is_refused(given):
    with pytest.raises(UserError, match="describe no process of a cluster; give all three"):
        Cluster(**given)
