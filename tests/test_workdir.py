"""The working directory: names, whole writes, the lock, fingerprints, versions."""

import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import flax
import igraph
import jax
import numpy as np
import pytest
import scipy

from jaxsurf import workdir
from jaxsurf.errors import UserError
from jaxsurf.workdir import WorkDir, lock

HOLD = """
import sys, time
from pathlib import Path
from jaxsurf.workdir import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def contents(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_looking_whether_a_place_can_be_written_leaves_nothing(tmp_path):
    place = WorkDir(tmp_path / "not" / "yet")
    assert place.check_writable() is place
    assert contents(tmp_path) == []


def test_places_that_cannot_be_written_are_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for place in (file, file / "below", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match=r"cannot write to the working directory .*--workdir"):
            WorkDir(place).check_writable()
        assert not WorkDir(place).begun
    with pytest.raises(UserError, match=r"cannot write to .*file/run: Not a directory; choose"):
        lock(file / "run").__enter__()
    with (
        pytest.raises(UserError, match=r"cannot write .*pair: Not a directory"),
        workdir.replacing_folder(file / "pair"),
    ):
        pass
    assert contents(tmp_path) == ["file"]


def test_fingerprints_tell_dtype_shape_content_and_order_apart():
    array = np.arange(6, dtype=np.int32)
    prints = [
        workdir.fingerprint(*parts)
        for parts in (
            (array,),
            (array.view(np.uint32),),
            (array.reshape(2, 3),),
            (array[::-1],),
            (array, "a", "b"),
            (array, "b", "a"),
            (array, "ab"),
        )
    ]
    assert len(set(prints)) == len(prints)
    assert workdir.fingerprint(np.asfortranarray(array.reshape(2, 3))) == prints[2]
    # Changing it makes every cache and every working directory stale.
    assert workdir.fingerprint(np.arange(6, dtype=np.uint8), "text") == "de06f9c9717b94f5"


def test_versions_are_those_that_packages_say_themselves():
    found = workdir.versions()
    assert tuple(found) == ("python", *workdir.PACKAGES)
    for module in (flax, igraph, jax, np, scipy):
        assert found[module.__name__] == module.__version__
    assert workdir.versions(["no-such-package"]) == {"python": platform.python_version()}


# The lock


@pytest.fixture
def other(tmp_path):
    """Another process, which holds the lock of `run`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_in_use_is_refused_with_the_other_processs_name(tmp_path, other):
    run = tmp_path / "run"
    with pytest.raises(UserError, match=rf"run is in use by process {other.pid} on .+; wait until"):
        lock(run).__enter__()
    (run / ".lock").write_text("")  # it has not said yet
    with pytest.raises(UserError, match="in use by another process"):
        lock(run).__enter__()


def test_the_lock_of_a_killed_process_blocks_nobody(tmp_path, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    for _ in range(2):
        with (
            lock(tmp_path / "run"),
            pytest.raises(UserError, match=f"by process {os.getpid()}"),  # nor itself twice
        ):
            lock(tmp_path / "run").__enter__()
    assert (tmp_path / "run" / ".lock").read_text() == ""


def test_where_there_are_no_locks_it_goes_on_and_says_so(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock(tmp_path):
        assert "can't be locked (no locks): see to it that no other run uses it" in caplog.text


# Files and folders that are written whole or not at all


def test_an_error_inside_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    workdir.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), workdir.replacing(path) as temporary:
        temporary.write_text(f"half {1 / 0}")
    with (
        pytest.raises(UserError, match=r"cannot write .*file\.txt: No space left; free some"),
        workdir.replacing(path),
    ):
        raise OSError(28, "No space left")
    assert path.read_text() == "old"
    assert contents(tmp_path) == ["file.txt"]


def test_two_may_write_the_same_file_at_once(tmp_path):
    path = tmp_path / "same.txt"
    with workdir.replacing(path) as slow:
        slow.write_text("slow")
        workdir.write_text(path, "quick")
    assert path.read_text() == "slow"
    assert list(tmp_path.iterdir()) == [path]


def test_json_comes_back_and_nan_is_refused(tmp_path):
    path = tmp_path / "new" / "file.json"
    value = {"text": "ä", "list": [1, 2.5, None]}
    workdir.write_json(path, value)
    with pytest.raises(ValueError, match="not JSON compliant"):
        workdir.write_json(path, {"value": float("nan")})
    assert workdir.read_json(path) == value
    for text, words in (("{", "is not valid JSON"), ("3", "no JSON object")):
        path.write_text(text)
        with pytest.raises(UserError, match=words):
            workdir.read_json(path)


def test_arrays_come_back_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "file.npz"
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    workdir.write_arrays(path, array=array, text="stamp", number=3)
    read = workdir.read_arrays(path)
    np.testing.assert_array_equal(read["array"], array)
    assert (str(read["text"]), int(read["number"])) == ("stamp", 3)
    data = path.read_bytes()
    for damaged in (b"", b"hello", data[:-30], data[:100] + b"x" * 9 + data[109:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"file\.npz is damaged .*remove it"):
            workdir.read_arrays(path)
        with pytest.raises(UserError, match=r"file\.npz is damaged .*; copy it$"):
            workdir.read_arrays(path, cure="copy it")


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "pair"
    for names in (("a", "b"), ("b", "c")):
        with workdir.replacing_folder(folder) as fresh:
            for name in names:
                (fresh / name).write_text(names[0])
        assert contents(folder) == list(names)
        assert {path.read_text() for path in folder.iterdir()} == {names[0]}
    with pytest.raises(ZeroDivisionError), workdir.replacing_folder(folder) as fresh:
        (fresh / "b").write_text(f"half {1 / (fresh / 'b').write_text('')}")
    assert contents(tmp_path) == ["pair", "pair/b", "pair/c"]
    (tmp_path / "link").symlink_to(folder)  # where it leads to is replaced
    with workdir.replacing_folder(tmp_path / "link") as fresh:
        (fresh / "d").write_text("new")
    assert contents(tmp_path) == ["link", "pair", "pair/d"]


def test_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    folder = tmp_path / "pair"
    folder.mkdir()
    (folder / "path.json").write_text("old")
    rename = Path.rename

    def full(self, target):
        if target == folder and not self.name.endswith(".old"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(UserError, match="No space left"), workdir.replacing_folder(folder) as fresh:
        (fresh / "path.json").write_text("new")
    assert (folder / "path.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["pair"]
