import json
import os
import signal
import subprocess
import sys

import pytest

from jaxsurf import lock
from jaxsurf.errors import UserError

HOLD = """
import sys, time
from pathlib import Path
from jaxsurf import lock
with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Another process, which holds the lock of `run`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_folder_in_use_is_refused_with_the_other_processs_name(tmp_path, other):
    with pytest.raises(UserError, match=rf"run is in use by process {other.pid} on .+; wait until"):
        lock.held(tmp_path / "run").__enter__()


def test_the_lock_of_a_killed_process_blocks_nobody(tmp_path, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    file = tmp_path / "run" / ".lock"
    assert json.loads(file.read_text())["process"] == other.pid  # it could not tidy up
    with lock.held(tmp_path / "run"):
        assert json.loads(file.read_text())["process"] == os.getpid()
    assert file.read_text() == ""


def test_one_process_cannot_hold_it_twice(tmp_path):
    with lock.held(tmp_path), pytest.raises(UserError, match=f"in use by process {os.getpid()}"):
        lock.held(tmp_path).__enter__()
    with lock.held(tmp_path):
        pass


def test_a_lock_that_says_nothing_yet_is_a_lock(tmp_path):
    with lock.held(tmp_path):
        (tmp_path / ".lock").write_text("")
        with pytest.raises(UserError, match="in use by another process"):
            lock.held(tmp_path).__enter__()


@pytest.mark.parametrize("number", [lock.errno.ENOLCK, lock.errno.EOPNOTSUPP])
def test_where_there_are_no_locks_it_goes_on_and_says_so(tmp_path, monkeypatch, caplog, number):
    def refuse(*_):
        raise OSError(number, "no locks")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with lock.held(tmp_path):
        assert "can't be locked (no locks): see to it that no other run uses it" in caplog.text


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cannot write to .*file/run: Not a directory; choose"):
        lock.held(tmp_path / "file" / "run").__enter__()
