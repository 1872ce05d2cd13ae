"""The working directory: names, whole writes, the lock, fingerprints, versions."""

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

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


def test_places_that_cannot_be_written_are_refused(tmp_path, monkeypatch):
    WorkDir(tmp_path / "not" / "yet").check_writable()
    assert contents(tmp_path) == []  # looking leaves nothing
    file = tmp_path / "file"
    file.write_text("")
    for place in (file, file / "below", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match=r"cannot write to the working directory .*--workdir"):
            WorkDir(place).check_writable()
        assert not WorkDir(place).begun
    with pytest.raises(UserError, match=r"cannot write to .*file/run: Not a directory; choose"):
        lock(file / "run").__enter__()
    # A folder whose mode would not bind an administrator.
    monkeypatch.setattr(os, "mkdir", Mock(side_effect=PermissionError(13, "Denied")))
    with pytest.raises(UserError, match=r"directory .*run: Denied; choose another with --workdir"):
        WorkDir(tmp_path / "run").check_writable()
    assert contents(tmp_path) == ["file"]


def test_fingerprints_tell_dtype_shape_content_and_order_apart():
    array = np.arange(6, dtype=np.int32)
    alike = [array, array.view(np.uint32), array.reshape(2, 3), array[::-1]]
    parts = [*((each,) for each in alike), (array, "a", "b"), (array, "b", "a"), (array, "ab")]
    prints = [workdir.fingerprint(*each) for each in parts]
    assert len(set(prints)) == len(prints)
    assert workdir.fingerprint(np.asfortranarray(array.reshape(2, 3))) == prints[2]
    # Changing it makes every cache and every working directory stale.
    assert workdir.fingerprint(np.arange(6, dtype=np.uint8), "text") == "de06f9c9717b94f5"


# The lock


def test_a_folder_in_use_is_refused_until_the_other_process_is_killed(tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        in_use = rf"run is in use by process {other.pid} on .+; wait until"
        with pytest.raises(UserError, match=in_use):
            lock(run).__enter__()
        other.kill()
    for _ in range(2):
        with lock(run), pytest.raises(UserError, match=f"by process {os.getpid()}"):
            lock(run).__enter__()  # nor itself twice
    assert (run / ".lock").read_text() == ""


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
    with workdir.replacing(path) as slow:  # two at once
        slow.write_text("slow")
        workdir.write_text(path, "quick")
    assert path.read_text() == "slow"
    assert contents(tmp_path) == ["file.txt"]


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


def test_json_and_arrays_come_back_and_damaged_ones_are_refused(tmp_path):
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
    path = tmp_path / "file.npz"
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    workdir.write_arrays(path, array=array, text="stamp")
    assert str(workdir.read_arrays(path)["text"]) == "stamp"
    np.testing.assert_array_equal(workdir.read_arrays(path)["array"], array)
    data = path.read_bytes()
    for damaged in (b"", data[:-30], data[:100] + b"x" * 9 + data[109:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"file\.npz is damaged .*remove it"):
            workdir.read_arrays(path)
