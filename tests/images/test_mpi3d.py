"""MPI3D: the archive is streamed, slices are cached, and the TFDS builder keeps the order."""

import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxsurf.errors import UserError
from jaxsurf.images import prepared
from jaxsurf.images.factors import MPI3D, Grid
from jaxsurf.images.mpi3d import archive
from jaxsurf.images.mpi3d.mpi3d_dataset_builder import Builder, Mpi3dConfig, _examples
from jaxsurf.images.sources import open_images

KINDS = {"stored": np.savez, "deflated": np.savez_compressed}
SMALL = Grid(("tint", "lone", "turn"), (3, 1, 7), {"tint": ("red", "green", "blue")})
SLICE = {
    "fixed": {
        "object_color": "olive",
        "object_shape": "cube",
        "object_size": 0,
        "camera_height": "bottom",
        "background_color": "sea green",
        "vertical_axis": 39,
    },
    "free": ["horizontal_axis"],
}
# 39 + 40 * (horizontal + 40 * (1 + 3 * (2 + 3 * (0 + 2 * (1 + 6 * 5)))))
SLICE_INDICES = 39 + 40 * np.arange(40) + 1600 * (1 + 3 * (2 + 3 * (2 * (1 + 6 * 5))))


def numbered(count, side):
    """Return images whose first bytes spell their own number."""
    images = np.zeros((count, side * side * 3), np.uint8)
    images[:, :4] = np.arange(count, dtype="<u4")[:, None].view(np.uint8)
    images[:, 4] = 251
    return images.reshape(count, side, side, 3)


def read_number(images):
    """Return the numbers that images spell."""
    return images.reshape(len(images), -1)[:, :4].copy().view("<u4").ravel()


@pytest.fixture(scope="module", params=KINDS)
def full(request, tmp_path_factory):
    """An archive of MPI3D's exact format and count, with images of 2 x 2."""
    path = tmp_path_factory.mktemp("archive") / f"{request.param}.npz"
    KINDS[request.param](path, images=numbered(len(MPI3D), 2))
    return path


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_slice_of_the_full_count_holds_the_right_images(full, tmp_path):
    images = open_images("mpi3d_toy", path=full, cache_dir=tmp_path, **SLICE)
    assert read_number(images.images).tolist() == SLICE_INDICES.tolist()
    assert images.factors[3].tolist() == [5, 1, 0, 2, 1, 3, 39]
    assert images.name == "MPI3D-toy"


def test_default_slice_is_the_reports(full, tmp_path):
    images = open_images("mpi3d_real", path=full, cache_dir=tmp_path)
    assert read_number(images.images).tolist() == list(range(14_400, 16_000))


def test_a_stride_reads_its_own_images_alone(full, tmp_path, monkeypatch):
    wanted = []
    read = archive.Archive.read

    def note(whole, indices):
        wanted.extend(indices.tolist())
        return read(whole, indices)

    monkeypatch.setattr(archive.Archive, "read", note)
    images = open_images("mpi3d_toy", path=full, cache_dir=tmp_path, stride=2)
    expected = [14_400 + 40 * h + v for h in range(0, 40, 2) for v in range(0, 40, 2)]
    assert read_number(images.images).tolist() == wanted == expected
    assert images.factors[21].tolist() == [0, 0, 1, 0, 0, 2, 2]


def test_folder_that_holds_the_archive_will_do(full, tmp_path):
    (tmp_path / "mpi3d_toy.npz").symlink_to(full)
    images = open_images("mpi3d_toy", path=tmp_path, cache_dir=tmp_path / "cache", **SLICE)
    assert len(images) == 40


def test_all_blocks_hold_all_images_in_order(full):
    whole = archive.inspect(full, num_images=len(MPI3D))
    numbers = np.concatenate([read_number(block) for block in whole.blocks()])
    assert np.array_equal(numbers, np.arange(len(MPI3D)))


def test_side_resizes_on_request(full, tmp_path):
    images = open_images("mpi3d_toy", path=full, cache_dir=tmp_path, side=5, **SLICE)
    assert images.images.shape == (40, 5, 5, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_stays_far_below_the_array(kind, tmp_path):
    # 6 x 6 x 3 bytes an image are 107 MiB in all; blocks and slice take a few.
    path = tmp_path / "archive.npz"
    KINDS[kind](path, images=numbered(len(MPI3D), 6))
    program = f"""
        import resource, pathlib
        from jaxsurf.images.factors import DEFAULT_FIXED, DEFAULT_FREE, MPI3D
        from jaxsurf.images.mpi3d import archive
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        whole = archive.inspect(pathlib.Path({str(path)!r}), num_images=len(MPI3D))
        whole.read(MPI3D.indices(DEFAULT_FIXED, DEFAULT_FREE))
        assert sum(len(block) for block in whole.blocks()) == len(MPI3D)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    run = [sys.executable, "-c", textwrap.dedent(program)]
    growth_mib = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert growth_mib < 40


def test_slice_is_cached_and_bound_to_the_file(tmp_path):
    path, cache = tmp_path / "toy.npz", tmp_path / "cache"
    write(path, images=numbered(len(MPI3D), 1 + 1))
    first = open_images("mpi3d_toy", path=path, cache_dir=cache, **SLICE)
    [kept] = cache.iterdir()
    stamp = kept.stat().st_mtime_ns
    again = open_images("mpi3d_toy", path=path, cache_dir=cache, **SLICE)
    assert kept.stat().st_mtime_ns == stamp
    assert again.fingerprint == first.fingerprint
    write(path, images=numbered(len(MPI3D), 3))
    changed = open_images("mpi3d_toy", path=path, cache_dir=cache, **SLICE)
    assert changed.images.shape == (40, 3, 3, 3)
    assert list(cache.iterdir()) == [kept]


def test_damaged_cache_is_made_again(full, tmp_path):
    first = open_images("mpi3d_toy", path=full, cache_dir=tmp_path, **SLICE)
    [kept] = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    again = open_images("mpi3d_toy", path=full, cache_dir=tmp_path, **SLICE)
    assert again.fingerprint == first.fingerprint


def test_unwritable_cache_is_only_warned_of(full, tmp_path, caplog):
    (tmp_path / "file").touch()
    images = open_images("mpi3d_toy", path=full, cache_dir=tmp_path / "file", **SLICE)
    assert len(images) == 40
    [warning] = caplog.messages
    assert warning.startswith("the images are not cached")


def test_default_cache_follows_xdg(full, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    open_images("mpi3d_toy", path=full, **SLICE)
    assert len(list((tmp_path / "jaxsurf").iterdir())) == 1


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": numbered(21, 2).astype(np.int16)}, "holds int16 values, expected uint8"),
        ({"images": numbered(20, 2)}, r"shape \(20, 2, 2, 3\), expected \(21, side, side, 3\)"),
        ({"images": numbered(21, 2)[:, :1]}, r"shape \(21, 1, 2, 3\), expected"),
        ({"images": numbered(21, 2).reshape(21, 12)}, r"shape \(21, 12\), expected"),
        ({"images": np.asfortranarray(numbered(21, 2))}, "in Fortran order, expected"),
        ({"pictures": numbered(21, 2)}, "no array called 'images', but pictures"),
    ],
)
def test_wrong_array_is_refused(arrays, words, tmp_path):
    with pytest.raises(UserError, match=words):
        archive.inspect(write(tmp_path / "a.npz", **arrays), num_images=21)


def test_half_a_download_is_refused(tmp_path):
    path = write(tmp_path / "a.npz", images=numbered(21, 2))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"is truncated: its end is missing; download it again"):
        archive.inspect(path, num_images=21)


def test_short_array_is_refused(tmp_path):
    whole = write(tmp_path / "whole.npz", images=numbered(21, 2))
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(tmp_path / "a.npz", "w") as target:
        target.writestr("images.npy", source.read("images.npy")[:-5])
    with pytest.raises(UserError, match=r"its array takes 380 bytes, but 375 are there"):
        archive.inspect(tmp_path / "a.npz", num_images=21)


def test_other_file_is_refused(tmp_path):
    (tmp_path / "a.npz").write_text("<html>not found</html>")
    with pytest.raises(UserError, match=r"a\.npz is not an \.npz file"):
        archive.inspect(tmp_path / "a.npz", num_images=21)


def test_member_that_is_no_array_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as target:
        target.writestr("images.npy", b"not an array")
    with pytest.raises(UserError, match=r"does not hold a numpy array"):
        archive.inspect(tmp_path / "a.npz", num_images=21)


def test_unknown_compression_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as target:
        target.writestr("images.npy", b"whatever")
    with pytest.raises(UserError, match=r"write it again with np.savez"):
        archive.inspect(tmp_path / "a.npz", num_images=21)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*: No such file"):
        archive.inspect(tmp_path / "a.npz", num_images=21)


def test_damaged_deflated_data_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    noise = np.random.default_rng(3).integers(256, size=(21, 13, 13, 3), dtype=np.uint8)
    np.savez_compressed(path, images=noise)
    data = bytearray(path.read_bytes())
    data[5000:5200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"is damaged .*; download it again"):
        archive.inspect(path, num_images=21).read(np.arange(21))


def small_builder(tmp_path, kind="stored", **changes):
    """Return a builder of SMALL's 21 images of 5 x 5, and where it finds the archive."""
    manual = tmp_path / "manual"
    manual.mkdir()
    KINDS[kind](manual / "small.npz", images=numbered(21, 5))
    config = Mpi3dConfig(name="small", grid=SMALL, side=5, num_shards=4)
    builder = Builder(config=config, data_dir=tmp_path / "data", **changes)
    return builder, tfds.download.DownloadConfig(manual_dir=manual)


@pytest.mark.parametrize("kind", KINDS)
def test_builder_keeps_image_i_at_place_i(kind, tmp_path):
    builder, config = small_builder(tmp_path, kind)
    builder.download_and_prepare(download_config=config)
    source = builder.as_data_source("train")
    assert builder.info.splits["train"].shard_lengths == [5, 5, 5, 6]
    examples = [source[i] for i in range(21)]
    assert [int(example["index"]) for example in examples] == list(range(21))
    images = np.stack([example["image"] for example in examples])
    assert np.array_equal(images, numbered(21, 5))
    factors = [[int(example[name]) for name in SMALL.names] for example in examples]
    assert factors == SMALL.factors(np.arange(21)).tolist()


def test_prepared_rows_are_read_by_number(tmp_path):
    builder, config = small_builder(tmp_path)
    builder.download_and_prepare(download_config=config)
    folder = prepared.find(tmp_path / "data", "mpi3d/small")
    assert read_number(prepared.read_rows(folder, np.array([2, 11, 20]))).tolist() == [2, 11, 20]
    with pytest.raises(UserError, match=r"holds 21 images, too few"):
        prepared.read_rows(folder, np.array([21]))


def test_rows_out_of_place_are_refused(tmp_path, monkeypatch):
    def misnumber(whole, grid):
        for key, example in _examples(whole, grid):
            yield key, example | {"index": (key + 1) % len(grid)}

    monkeypatch.setattr("jaxsurf.images.mpi3d.mpi3d_dataset_builder._examples", misnumber)
    builder, config = small_builder(tmp_path)
    builder.download_and_prepare(download_config=config)
    with pytest.raises(UserError, match=r"has image 6 in place 5; prepare it again"):
        prepared.read_rows(prepared.find(tmp_path / "data", "mpi3d/small"), np.array([5]))


def test_prepared_set_opens_as_any_tfds_set(tmp_path):
    builder, config = small_builder(tmp_path)
    builder.download_and_prepare(download_config=config)
    images = open_images(
        "tfds:mpi3d/small", path=tmp_path / "data", fixed={"tint": "green"}, free=["turn"]
    )
    assert read_number(images.images).tolist() == list(range(7, 14))
    assert images.factor_names == tuple(sorted(SMALL.names))


def test_prepared_set_opens_by_its_own_name(tmp_path, monkeypatch):
    """The named source reads rows of a prepared folder; the grid is shrunk for the test alone."""
    builder, config = small_builder(tmp_path)
    builder.download_and_prepare(download_config=config)
    (tmp_path / "data/mpi3d/small").rename(tmp_path / "data/mpi3d/mpi3d_toy")
    for module in ("sources", "mpi3d_set"):
        monkeypatch.setattr(f"jaxsurf.images.{module}.MPI3D", SMALL)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    images = open_images("mpi3d_toy", fixed={"tint": "blue"}, free=["turn"])
    assert read_number(images.images).tolist() == list(range(14, 21))
    monkeypatch.setattr("jaxsurf.images.factors.FEWEST_LEFT", 3)
    images = open_images("mpi3d_toy", fixed={"tint": "blue"}, free=["turn"], stride=2)
    assert read_number(images.images).tolist() == [14, 16, 18, 20]


def test_builder_says_what_it_holds(tmp_path):
    info = Builder(config="mpi3d_real", data_dir=tmp_path).info
    assert info.full_name == "mpi3d/mpi3d_real/1.0.0"
    assert "Gondal" in info.citation
    assert "1,036,800 images" in info.description
    assert info.redistribution_info.license == "CC BY 4.0"
    assert info.features["image"].shape == (64, 64, 3)
    assert info.features["object_shape"].str2int("hexagonal") == 3
    assert info.features["vertical_axis"].num_classes == 40
    assert info.disable_shuffling


def test_builder_registers_no_checksum():
    assert Builder.url_infos == {}


class OfflineManager:
    """A download manager without manual_dir that notes what is asked of it."""

    @property
    def manual_dir(self):
        raise AssertionError("no such folder")

    def download(self, url):
        self.url = url
        return "downloaded.npz"


def test_builder_downloads_what_is_not_there(tmp_path):
    manager = OfflineManager()
    assert Builder(data_dir=tmp_path)._find(manager).name == "downloaded.npz"
    bucket = "https://storage.googleapis.com/mpi3d_disentanglement_dataset/data/"
    assert manager.url == f"{bucket}mpi3d_toy.npz"


def test_source_names_both_ways_to_mpi3d(tmp_path):
    words = (
        r"neither prepared in .* nor there as mpi3d_toy\.npz; download https://\S+mpi3d_toy\.npz"
    )
    with pytest.raises(UserError, match=words + r" \(older links are dead\).*or prepare it"):
        open_images("mpi3d_toy", path=tmp_path)
