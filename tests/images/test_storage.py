"""Arrays larger than memory: chunks, rows by number, the cache folder, members of archives."""

import subprocess
import sys
import textwrap
import types
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsurf.errors import UserError
from jaxsurf.images import storage
from jaxsurf.images.storage import Member

ROWS = np.random.default_rng(0).integers(0, 256, (71, 5, 3, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def array(tmp_path_factory):
    path = tmp_path_factory.mktemp("mapped") / "rows.npy"
    np.save(path, ROWS)
    return np.load(path, mmap_mode="r")


@pytest.mark.core
@given(
    start=st.integers(0, 40),
    step=st.sampled_from([-2, -1, 1, 3]),
    rows=st.integers(1, 80),
    numbers=st.lists(st.integers(-4, 3), min_size=1, max_size=200),
)
def test_mapped_rows_are_those_in_memory(array, start, step, rows, numbers):
    expected, some = ROWS[start:][::step], array[start:][::step]
    chunks = [chunk.copy() for chunk in storage.chunks(some, rows=rows)]
    assert max(map(len, chunks)) <= rows
    assert np.array_equal(np.concatenate(chunks), expected)
    for wanted in (np.array(numbers), np.array([numbers, numbers[::-1]])):
        taken = storage.take(some, wanted)
        assert not storage.is_mapped(taken)
        assert np.array_equal(taken, expected[wanted])


def test_memory_stays_far_below_the_array(tmp_path):
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (200, 1 << 20)).flush()
    program = f"""
        import pathlib
        import numpy as np
        from jaxsurf import workdir
        from jaxsurf.images import storage
        array = np.load({str(tmp_path / "a.npy")!r}, mmap_mode="r")
        def peak():
            lines = pathlib.Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        storage.take(array[:, :64], np.arange(1))
        before = peak()
        workdir.fingerprint(array, read=storage.chunks)
        for number in range(0, 200, 10):
            storage.take(array, np.arange(number, number + 10))
        print((peak() - before) // 1024)
    """
    run = [sys.executable, "-c", textwrap.dedent(program)]
    growth_mib = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert growth_mib < 60


# The cache


@pytest.fixture(params=["small", "large"])
def cached(request, tmp_path, monkeypatch):
    """Calls `storage.cached` on ROWS, which are loaded or mapped."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(storage, "LARGE_BYTES", ROWS.nbytes - (request.param == "large"))

    def call(blocks=(ROWS[:30], ROWS[30:]), *, made_of="it"):
        found = storage.cached(lambda: blocks, shape=ROWS.shape, name="noise", made_of=made_of)
        assert storage.is_mapped(found) == (request.param == "large")
        return found

    return call


def test_images_are_made_once_until_what_they_are_made_of_changes(cached, tmp_path):
    assert np.array_equal(cached(), ROWS)
    assert np.array_equal(cached(blocks=()), ROWS)
    assert np.array_equal(cached([ROWS[::-1]], made_of="other"), ROWS[::-1])
    assert len(list((tmp_path / "jaxsurf").iterdir())) == 1


@pytest.mark.parametrize("harm", [lambda data: data[:-30], lambda data: data[:50], lambda _: b""])
def test_a_damaged_file_is_made_again(cached, harm, tmp_path):
    cached()
    [kept] = (tmp_path / "jaxsurf").iterdir()
    kept.write_bytes(harm(kept.read_bytes()))
    assert np.array_equal(cached(), ROWS)
    assert np.array_equal(cached(blocks=()), ROWS)


@pytest.mark.parametrize("trouble", ["no folder", "no room"])
def test_a_cache_that_cannot_be_written_stops_large_images_alone(
    cached, trouble, tmp_path, caplog, monkeypatch
):
    if trouble == "no folder":
        (tmp_path / "jaxsurf").touch()
    else:
        room = types.SimpleNamespace(free=ROWS.nbytes - 1)
        monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: room)
    if ROWS.nbytes > storage.LARGE_BYTES:
        with pytest.raises(UserError, match=r"cannot write 0\.0 GiB .*; free .* XDG_CACHE_HOME"):
            cached()
    else:
        assert np.array_equal(cached(), ROWS)
        assert caplog.messages[0].startswith("the images are not cached: cannot write")


# Arrays in .npz files


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows_of_a_member_are_streamed(save, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "CHUNK_BYTES", 45 * 11)
    save(tmp_path / "a.npz", other=np.arange(3), images=ROWS)
    member = Member.inspect(tmp_path / "a.npz", "images")
    assert (member.shape, member.nbytes) == (ROWS.shape, ROWS.nbytes)
    blocks = list(member.chunks())
    assert max(map(len, blocks)) == 11
    assert np.array_equal(np.concatenate(blocks), ROWS)
    some = np.array([3, 12, 13, 50])
    assert np.array_equal(np.concatenate(list(member.chunks(some))), ROWS[some])


def test_damaged_members_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    noise = np.random.default_rng(3).integers(256, size=(21, 13, 13, 3), dtype=np.uint8)
    np.savez_compressed(path, images=noise)
    data = bytearray(path.read_bytes())
    data[5000:5200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.npz is damaged .*; copy or download it again"):
        list(Member.inspect(path, "images").chunks())
    np.savez(path, images=ROWS)
    whole = Member.inspect(path, "images")

    def raised(*_, **__):
        raise MemoryError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(np, "frombuffer", raised)
        with pytest.raises(UserError, match="takes more memory than there is"):
            list(whole.chunks())
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "b.npz", "w") as cut:
        cut.writestr("images.npy", whole.read("images.npy")[:-5])
    with pytest.raises(ValueError, match=r"its array takes 3323 bytes, but 3318 are there"):
        Member.inspect(tmp_path / "b.npz", "images")
