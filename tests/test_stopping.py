"""A command ends in time, wherever it is: each in a process of its own."""

import signal
import subprocess
import sys
import time

import pytest

# A call that the interpreter's handlers have to wait for, as for a compilation: minutes of hashing.
LONG = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
COMMAND = """
import hashlib, signal, sys, time
from jaxsurf import stopping

def long_call():
    print("begun", flush=True)
    {long}

try:
    with stopping.watched({grace_s}):
        {main}
except stopping.Stopped as error:
    print(f"tidied up after {{error}}", flush=True)
    sys.exit(stopping.exit_status(error.signal))
"""


@pytest.fixture
def start():
    """Starts a command; returns it when it has begun."""
    begun = []

    def begin(main, *, grace_s=60.0, long=LONG):
        code = COMMAND.format(main=main, grace_s=grace_s, long=long)
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        begun.append(process)
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.3)  # so that what it has said it begins with is under way
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def end(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_python_is_stopped_where_it_is(start, number, status):
    process = start("long_call()", long="time.sleep(600)")
    process.send_signal(number)
    assert end(process) == (status, f"tidied up after stopped by {number.name}\n", "")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_long_call_is_ended_after_a_while(start, number, status):
    process = start("long_call()", grace_s=0.2)
    process.send_signal(number)
    said = f"stopped by {number.name} in the middle of a long call; what was saved before stands"
    assert end(process) == (status, "", f"{said}: the same command goes on from there\n")


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_sigint_ends_even_a_long_call_at_once(start, first):
    process = start("long_call()", grace_s=600.0)
    process.send_signal(first)
    # Two that wait at once may be taken for one, or the other way round.
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGINT)
    status, out, err = end(process)
    assert (status, out) == (130, "")
    assert err.startswith("stopped by SIGINT at once; what was saved before stands: the same")


def test_a_second_sigterm_is_patient(start):
    process = start("long_call()", grace_s=600.0)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.3)


def test_what_is_being_saved_is_waited_for(start):
    main = "\n        ".join(
        [
            "signal.signal(signal.SIGTERM, lambda *_: None)  # as training does",
            "with stopping.unhurried():",
            "    long_call()",
            "print('saved', flush=True)",
            "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)",
        ]
    )
    # Far longer than the time of grace; then the next long call is ended.
    process = start(main, grace_s=0.1, long="time.sleep(2)")
    process.send_signal(signal.SIGTERM)
    status, out, err = end(process)
    assert (status, out) == (143, "saved\n")
    assert "in the middle of a long call" in err


def test_all_is_as_before_when_the_watch_is_over(start):
    main = "pass\n    long_call()"
    process = start(main, grace_s=0.1, long="time.sleep(600)")
    process.send_signal(signal.SIGTERM)
    assert end(process) == (-signal.SIGTERM, "", "")
