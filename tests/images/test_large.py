"""Image sets that are not loaded: MPI3D's archive, prepared folders, own arrays, the cache."""

import collections
import os
import time
import types
import zlib

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxsurf import mapped, memory
from jaxsurf.errors import UserError
from jaxsurf.images import cache, prepared, stored
from jaxsurf.images.factors import Grid
from jaxsurf.images.image_set import ImageSet
from jaxsurf.images.mpi3d import archive
from jaxsurf.images.mpi3d.mpi3d_dataset_builder import Builder, Mpi3dConfig
from jaxsurf.images.sources import open_images

SMALL = Grid(("tint", "lone", "turn"), (3, 1, 7), {"tint": ("red", "green", "blue")})
NOISE = np.random.default_rng(0).integers(0, 256, (21, 5, 5, 3), dtype=np.uint8)
KINDS = {"stored": np.savez, "deflated": np.savez_compressed}
WHOLE = {"free": SMALL.names}


@pytest.fixture(autouse=True)
def large(monkeypatch, tmp_path):
    """Everything above 200 bytes is large; MPI3D is a grid of 21 images."""
    monkeypatch.setattr(mapped, "LARGE_BYTES", 200)
    monkeypatch.setattr(archive, "BLOCK_BYTES", 4 * 75)
    monkeypatch.setattr(prepared, "BLOCK", 4)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for module in ("sources", "mpi3d_set"):
        monkeypatch.setattr(f"jaxsurf.images.{module}.MPI3D", SMALL)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def write_archive(tmp_path, kind, images=NOISE):
    path = tmp_path / "toy.npz"
    KINDS[kind](path, images=images)
    return path


def files(folder):
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


def in_memory(**slice_):
    numbers = SMALL.indices(slice_.get("fixed", {}), slice_["free"])
    return ImageSet(NOISE[numbers], "MPI3D-toy", SMALL.factors(numbers), SMALL.names)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "slice_",
    [
        WHOLE,
        {"fixed": {"tint": "green"}, "free": ["turn"]},
        {"fixed": {"turn": 3}, "free": ["tint"]},
    ],
    ids=["whole", "in a row", "scattered"],
)
def test_a_mapped_set_is_the_loaded_one(kind, slice_, tmp_path, folder):
    path = write_archive(tmp_path, kind)
    images = open_images("mpi3d_toy", path=path, cache_dir=folder, **slice_)
    expected = in_memory(**slice_)
    assert mapped.is_mapped(images.images)
    assert not images.images.flags.writeable
    assert np.array_equal(images.images, expected.images)
    assert images.factors.tolist() == expected.factors.tolist()
    assert images.fingerprint == expected.fingerprint
    # Only what is stored in a row needs no copy.
    where_it_lies = kind == "stored" and "turn" not in slice_.get("fixed", {})
    assert len(files(folder)) == (not where_it_lies)


def test_a_small_slice_is_loaded(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(mapped, "LARGE_BYTES", 7 * 75)
    path = write_archive(tmp_path, "stored")
    slice_ = {"fixed": {"tint": 1}, "free": ["turn"]}
    images = open_images("mpi3d_toy", path=path, cache_dir=folder, **slice_)
    assert not mapped.is_mapped(images.images)
    assert images.fingerprint == in_memory(**slice_).fingerprint


def test_an_archive_is_unpacked_once_until_it_changes(tmp_path, folder, monkeypatch):
    path = write_archive(tmp_path, "deflated")
    reads = collections.Counter()
    read = archive.Archive.read_blocks

    def counted(whole, indices):
        reads["all"] += 1
        return read(whole, indices)

    monkeypatch.setattr(archive.Archive, "read_blocks", counted)
    first = open_images("mpi3d_toy", path=path, cache_dir=folder, **WHOLE)
    again = open_images("mpi3d_toy", path=path, cache_dir=folder, **WHOLE)
    assert reads["all"] == 1
    write_archive(tmp_path, "deflated", NOISE[::-1])
    changed = open_images("mpi3d_toy", path=path, cache_dir=folder, **WHOLE)
    assert reads["all"] == 2
    assert first.fingerprint == again.fingerprint != changed.fingerprint
    assert np.array_equal(changed.images, NOISE[::-1])
    assert len(files(folder)) == 1


@pytest.mark.parametrize("harm", [lambda data: data[:-30], lambda data: data[:500], lambda _: b""])
def test_damaged_unpacked_images_are_unpacked_again(harm, tmp_path, folder):
    path = write_archive(tmp_path, "deflated")
    open_images("mpi3d_toy", path=path, cache_dir=folder, **WHOLE)
    [kept] = folder.iterdir()
    kept.write_bytes(harm(kept.read_bytes()))
    again = open_images("mpi3d_toy", path=path, cache_dir=folder, **WHOLE)
    assert np.array_equal(again.images, NOISE)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    tmp_path, folder, monkeypatch
):
    path = write_archive(tmp_path, "deflated")
    room = types.SimpleNamespace(free=21 * 75 - 1)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: room)
    with pytest.raises(UserError, match=r"take 0\.0 GiB unpacked, but .* left; free some space"):
        open_images("mpi3d_toy", path=path, cache_dir=folder, **WHOLE)
    assert files(folder) == []
    room.free += 1
    assert len(open_images("mpi3d_toy", path=path, cache_dir=folder, **WHOLE)) == 21


def test_unpacking_that_breaks_off_leaves_nothing(tmp_path, folder, monkeypatch):
    path = write_archive(tmp_path, "deflated")
    block = archive.Archive._block

    def damaged(whole, stream, start, stop):
        if start:
            raise zlib.error("invalid block type")
        return block(whole, stream, start, stop)

    monkeypatch.setattr(archive.Archive, "_block", damaged)
    with pytest.raises(UserError, match=r"is damaged \(invalid block type\); download it again"):
        open_images("mpi3d_toy", path=path, cache_dir=folder, **WHOLE)
    assert files(folder) == []


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(folder):
    def blocks():
        yield NOISE[:7]
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"cannot write .*No space left on device; free some"):
        cache.unpacked(blocks, shape=NOISE.shape, name="noise", made_of="it", folder=folder)
    assert files(folder) == []


def test_what_a_killed_process_left_is_removed_once_it_is_old(folder):
    folder.mkdir()
    for number, age_s in ((1, cache.FORSAKEN_S + 60), (2, 60)):
        half = folder / f".noise.{number}.npz"
        half.touch()
        os.utime(half, (time.time() - age_s,) * 2)
    kept = cache.unpacked(
        lambda: iter([NOISE]), shape=NOISE.shape, name="noise", made_of="it", folder=folder
    )
    assert np.array_equal(kept, NOISE)
    assert files(folder) == [".noise.2.npz", "noise.npz"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write to .*file.*set XDG_CACHE_HOME"):
        cache.unpacked(
            lambda: iter([NOISE]), shape=NOISE.shape, name="n", made_of="", folder=tmp_path / "file"
        )


def test_stored_images_have_to_be_as_many_as_they_say(tmp_path):
    with pytest.raises(ValueError, match="20 images came, not 21"):
        stored.write(tmp_path / "a.npz", iter([NOISE[:20]]), shape=NOISE.shape)


def test_numpy_reads_what_is_stored_in_blocks(tmp_path):
    stored.write(tmp_path / "a.npz", iter([NOISE[:4], NOISE[4:]]), shape=NOISE.shape, made_of="it")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["images"], NOISE)
        assert str(arrays["made_of"]) == "it"


def test_a_prepared_folder_is_unpacked_and_bound_to_its_files(tmp_path, folder):
    (tmp_path / "small.npz").write_bytes(write_archive(tmp_path, "stored").read_bytes())
    config = Mpi3dConfig(name="small", grid=SMALL, side=5, num_shards=4)
    builder = Builder(config=config, data_dir=tmp_path / "data")
    manual = tfds.download.DownloadConfig(manual_dir=tmp_path)
    builder.download_and_prepare(download_config=manual)
    (tmp_path / "data/mpi3d/small").rename(tmp_path / "data/mpi3d/mpi3d_toy")
    source = {"path": tmp_path / "data", "cache_dir": folder, **WHOLE}
    images = open_images("mpi3d_toy", **source)
    assert mapped.is_mapped(images.images)
    assert images.fingerprint == in_memory(**WHOLE).fingerprint
    [kept] = folder.iterdir()
    stamp = kept.stat().st_mtime_ns
    open_images("mpi3d_toy", **source)
    assert kept.stat().st_mtime_ns == stamp
    [shard, *_] = sorted((tmp_path / "data/mpi3d/mpi3d_toy/1.0.0").glob("*array_record*"))
    os.utime(shard, (0, 0))
    open_images("mpi3d_toy", **source)
    assert kept.stat().st_mtime_ns != stamp


def test_own_arrays_are_mapped_as_they_are(tmp_path, folder):
    np.save(tmp_path / "a.npy", NOISE)
    factors = np.arange(42.0).reshape(21, 2)
    np.savez(tmp_path / "a.npz", images=NOISE, factors=factors)
    for suffix in ("npy", "npz"):
        images = open_images(str(tmp_path / f"a.{suffix}"), cache_dir=folder)
        assert mapped.is_mapped(images.images)
        assert np.array_equal(images.images, NOISE)
    chosen = images.select(fixed={"factor_0": 8}, free=["factor_1"])
    assert np.array_equal(chosen.images, NOISE[4:5])
    assert files(folder) == []


@pytest.mark.parametrize(
    "rows",
    [NOISE / 255.0, NOISE[..., 0], np.asfortranarray(NOISE)],
    ids=["floats", "grey", "Fortran order"],
)
def test_own_arrays_of_other_kinds_are_converted_as_smaller_ones_are(
    rows, tmp_path, folder, monkeypatch
):
    np.save(tmp_path / "a.npy", rows)
    images = open_images(str(tmp_path / "a.npy"), side=4, cache_dir=folder)
    monkeypatch.setattr(mapped, "LARGE_BYTES", 1 << 30)
    loaded = open_images(str(tmp_path / "a.npy"), side=4, cache_dir=folder)
    assert not mapped.is_mapped(loaded.images)
    assert images.fingerprint == loaded.fingerprint
    assert np.array_equal(images.images, loaded.images)
    assert mapped.is_mapped(images.images) == (not rows.flags.f_contiguous)


def test_an_array_in_fortran_order_larger_than_memory_is_refused(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.asfortranarray(NOISE))
    monkeypatch.setattr(memory, "total_bytes", lambda: NOISE.nbytes - 1)
    with pytest.raises(UserError, match=r"a\.npy, in Fortran order, takes .* save it in C order"):
        open_images(str(tmp_path / "a.npy"))


def test_resized_mpi3d_is_mapped_too(tmp_path, folder):
    path = write_archive(tmp_path, "stored")
    images = open_images("mpi3d_toy", path=path, side=3, cache_dir=folder, **WHOLE)
    assert images.images.shape == (21, 3, 3, 3)
    assert mapped.is_mapped(images.images)


def test_a_cut_off_array_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", NOISE)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(UserError, match=r"a\.npy cannot be read as plain arrays"):
        open_images(str(tmp_path / "a.npy"))


def test_fingerprint_of_a_file_is_computed_once_until_it_changes(tmp_path, monkeypatch):
    path = write_archive(tmp_path, "stored")
    first = open_images("mpi3d_toy", path=path, **WHOLE)
    assert first.fingerprint == in_memory(**WHOLE).fingerprint
    whole = mapped.portions
    reads = collections.Counter()

    def counted(array, **options):
        reads["mapped"] += mapped.is_mapped(array)
        return whole(array, **options)

    monkeypatch.setattr(mapped, "portions", counted)
    assert open_images("mpi3d_toy", path=path, **WHOLE).fingerprint == first.fingerprint
    assert reads["mapped"] == 0
    stamp = path.stat().st_mtime_ns
    write_archive(tmp_path, "stored", NOISE[::-1])
    os.utime(path, ns=(stamp, stamp + 1))
    changed = open_images("mpi3d_toy", path=path, **WHOLE)
    assert reads["mapped"] == 0
    assert changed.fingerprint != first.fingerprint
    assert reads["mapped"] == 1
    # Factors belong to it too.
    renamed = ImageSet(changed.images, "toy", changed.factors, ("a", "b", "c"))
    assert renamed.fingerprint != changed.fingerprint
