"""Mapped arrays: read as they lie, in portions, never as a whole."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from jaxsurf import mapped, workdir
from jaxsurf.errors import UserError

ROWS = np.random.default_rng(0).integers(0, 256, (71, 5, 3), dtype=np.uint8)
# No multiple of anything: pages, portions and rows all begin at different places.
START = 4099


@pytest.fixture
def path(tmp_path):
    place = tmp_path / "rows.bin"
    place.write_bytes(bytes(START) + ROWS.tobytes())
    return place


@pytest.fixture
def array(path):
    return mapped.open_array(path, start=START, shape=ROWS.shape)


@pytest.mark.parametrize("rows", [0, 1, 7, 71, 100])
def test_portions_are_all_rows_in_order(array, rows, monkeypatch):
    monkeypatch.setattr(mapped, "PORTION_BYTES", 15 * 11)
    for some in (ROWS, array, array[3:60]):
        portions = [portion.copy() for portion in mapped.portions(some, rows=rows)]
        assert max(map(len, portions)) <= (rows or 11)
        assert np.array_equal(np.concatenate(portions), some)


@pytest.mark.parametrize("view", [slice(None), slice(5, None), slice(None, None, -2)])
def test_rows_are_taken_in_any_order_and_again(array, view, monkeypatch):
    monkeypatch.setattr(mapped, "ANNOUNCED", 10)
    monkeypatch.setattr(mapped, "READ_AT_ONCE", 3)
    numbers = np.random.default_rng(1).integers(-4, 30, 77)
    for some in (ROWS, array):
        taken = mapped.take(some[view], numbers)
        assert not mapped.is_mapped(taken)
        assert np.array_equal(taken, ROWS[view][numbers])
        table = numbers.reshape(7, 11)
        assert np.array_equal(mapped.take(some[view], table), ROWS[view][table])


def test_fingerprint_is_that_of_the_array_in_memory(array, monkeypatch):
    monkeypatch.setattr(mapped, "PORTION_BYTES", 100)
    for view in (slice(None), slice(4, 50), slice(None, None, 3)):
        assert workdir.fingerprint(array[view]) == workdir.fingerprint(ROWS[view].copy())


def test_identity_tells_files_times_and_places_apart(array, path, tmp_path):
    again = mapped.open_array(path, start=START, shape=ROWS.shape)
    assert mapped.identity(again) == mapped.identity(array) == mapped.identity(array.view())
    assert mapped.identity(array[3:].view()[1:]) == mapped.identity(array[4:])
    os.utime(path, ns=(1, 1))
    later = mapped.open_array(path, start=START, shape=ROWS.shape)
    (tmp_path / "other.bin").write_bytes(path.read_bytes())
    other = mapped.open_array(tmp_path / "other.bin", start=START, shape=ROWS.shape)
    different = [array, array[1:], array[:-1], later, other, array.reshape(71, 15)]
    assert len({mapped.identity(each) for each in different}) == len(different)
    # A file that was put in its place meanwhile is not what this map shows.
    shown = mapped.identity(array)
    path.unlink()
    path.write_bytes(bytes(START + ROWS.nbytes))
    assert mapped.identity(array) == shown
    assert np.array_equal(array, ROWS)


def test_what_is_in_memory_or_opened_otherwise_has_no_identity(array, path):
    alone = np.memmap(path, np.uint8, mode="r", offset=START, shape=ROWS.shape)
    for each in (ROWS, array[[1, 2]], array[::2], alone):
        assert mapped.identity(each) == ""


def test_changes_of_a_map_that_may_be_written_to_are_kept(path):
    writable = np.memmap(path, np.uint8, mode="c", offset=START, shape=ROWS.shape)
    writable[3] = 7
    list(mapped.portions(writable))
    assert (mapped.take(writable, np.array([3])) == 7).all()
    assert (writable[3] == 7).all()


def test_a_short_file_is_refused(path):
    with pytest.raises(UserError, match=r"cannot map .*rows\.bin: mmap length is greater.*again"):
        mapped.open_array(path, start=START, shape=(72, 5, 3))
    with pytest.raises(UserError, match=r"cannot map .*none\.bin: No such file"):
        mapped.open_array(path.with_name("none.bin"), start=0, shape=(1,))


def test_memory_stays_far_below_the_array(tmp_path):
    path = tmp_path / "rows.bin"
    with path.open("wb") as file:
        file.truncate(200 << 20)
    program = f"""
        import pathlib
        import numpy as np
        from jaxsurf import mapped, workdir
        array = mapped.open_array(pathlib.Path({str(path)!r}), start=0, shape=(200, 1 << 20))
        def peak():
            lines = pathlib.Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        mapped.take(array[:, :64], np.arange(1))
        before = peak()
        workdir.fingerprint(array)
        for number in range(0, 200, 10):
            mapped.take(array, np.arange(number, number + 10))
        print((peak() - before) // 1024)
    """
    run = [sys.executable, "-c", textwrap.dedent(program)]
    growth_mib = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert growth_mib < 60
