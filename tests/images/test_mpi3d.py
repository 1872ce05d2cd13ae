"""MPI3D: the archive is streamed, slices are cached or mapped, the TFDS builder keeps the order."""

import io
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxsurf.errors import UserError
from jaxsurf.images import mpi3d, storage
from jaxsurf.images.image_set import DEFAULT_FIXED, MPI3D, Grid, ImageSet, Request
from jaxsurf.images.mpi3d.mpi3d_dataset_builder import Builder, Mpi3dConfig
from jaxsurf.images.sources import open_images
from jaxsurf.images.storage import Member

KINDS = {"stored": np.savez, "deflated": np.savez_compressed}
SMALL = Grid(("tint", "lone", "turn"), (3, 1, 7), {"tint": ("red", "green", "blue")})
SLICE = {
    "fixed": dict(zip(DEFAULT_FIXED, ("olive", "cube", 0, "bottom", "sea green"), strict=True))
    | {"vertical_axis": 39},
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


@pytest.mark.core
def test_slices_of_the_full_count_hold_the_right_images(full, tmp_path):
    images = open_images("mpi3d_toy", path=full, cache_dir=tmp_path, **SLICE)
    assert read_number(images.images).tolist() == SLICE_INDICES.tolist()
    assert images.factors[3].tolist() == [5, 1, 0, 2, 1, 3, 39]
    assert images.name == "MPI3D-toy"
    (tmp_path / "mpi3d_real.npz").symlink_to(full)  # a folder that holds the archive will do
    images = open_images("mpi3d_real", path=tmp_path, cache_dir=tmp_path)
    assert read_number(images.images).tolist() == list(range(14_400, 16_000))
    images = open_images("mpi3d_toy", path=full, cache_dir=tmp_path, stride=2, side=2)
    expected = [14_400 + 40 * h + v for h in range(0, 40, 2) for v in range(0, 40, 2)]
    assert read_number(images.images).tolist() == expected
    assert images.factors[21].tolist() == [0, 0, 1, 0, 0, 2, 2]


def saved(**arrays):
    data = io.BytesIO()
    np.savez(data, **arrays)
    return data.getvalue()


GOOD = numbered(21, 2)
WHOLE = "is not MPI3D's own .npz file, or not the whole of it"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(images=GOOD.astype(np.int16)), rf"{WHOLE} \(it holds int16 values"),
        (saved(images=GOOD[:20]), r"holds uint8 values of shape \(20, 2, 2, 3\)\); download"),
        (saved(images=np.asfortranarray(GOOD)), WHOLE),
        (saved(images=GOOD[0, 0, 0, 0]), r"values of shape \(\)\)"),
        (saved(pictures=GOOD), rf"{WHOLE} \(.*There is no item named 'images.npy'"),
        (saved(images=GOOD)[:-40], rf"{WHOLE} \(.*\); download it again"),
        (b"<html>not found</html>", WHOLE),
        (None, r"cannot read .*a\.npz: No such file"),
    ],
)
def test_what_is_no_archive_is_refused(content, words, tmp_path):
    if content is not None:
        (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=words):
        mpi3d.inspect(tmp_path / "a.npz", num_images=21)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """MPI3D is a grid of 21 images, of which more than three are large."""
    monkeypatch.setattr(mpi3d, "MPI3D", SMALL)
    monkeypatch.setattr(storage, "LARGE_BYTES", 3 * 75)
    monkeypatch.setattr(storage, "CHUNK_BYTES", 4 * 75)
    monkeypatch.setattr(mpi3d, "BLOCK", 4)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


def write(folder, kind):
    """Write SMALL's images of 5 x 5 as an archive, or prepare them; return the builder."""
    file = folder / "manual/small.npz"
    file.parent.mkdir()
    KINDS.get(kind, np.savez)(file, images=numbered(21, 5))
    config = Mpi3dConfig(name="small", grid=SMALL, side=5, num_shards=4)
    builder = Builder(config=config, data_dir=folder / "data")
    if kind == "prepared":
        download_config = tfds.download.DownloadConfig(manual_dir=file.parent)
        builder.download_and_prepare(download_config=download_config)
        shutil.copytree(folder / "data/mpi3d/small", folder / "data/mpi3d/mpi3d_toy")
    return builder


SLICES = [
    {"free": SMALL.names},
    {"fixed": {"tint": "green"}, "free": ["turn"]},
    {"fixed": {"turn": 3}, "free": ["tint"]},
]


@pytest.mark.parametrize("slice_", SLICES, ids=["whole", "in a row", "small"])
@pytest.mark.parametrize("kind", [*KINDS, "prepared"])
def test_a_slice_is_mapped_where_it_is_large(kind, slice_, small, tmp_path, monkeypatch):
    write(tmp_path, kind)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    path = "" if kind == "prepared" else tmp_path / "manual/small.npz"
    images = open_images("mpi3d_toy", path=path, **slice_)
    factors = SMALL.rows(Request("", **slice_))
    numbers = np.ravel_multi_index(factors.T, SMALL.sizes)
    expected = ImageSet(numbered(21, 5)[numbers], "", factors, SMALL.names)
    assert storage.is_mapped(images.images) == (len(numbers) > 3)
    assert np.array_equal(images.images, expected.images)
    assert images.factors.tolist() == expected.factors.tolist()
    assert images.fingerprint == expected.fingerprint
    monkeypatch.setattr(Member, "chunks", None)
    monkeypatch.setattr(mpi3d, "_prepared", None)
    again = open_images("mpi3d_toy", path=path, **slice_)
    assert again.fingerprint == images.fingerprint


def test_builder_keeps_image_i_at_place_i(tmp_path):
    builder = write(tmp_path, "prepared")
    assert builder.info.splits["train"].shard_lengths == [5, 5, 5, 6]
    examples = [*builder.as_data_source("train")]
    assert [int(example["index"]) for example in examples] == list(range(21))
    assert np.array_equal([example["image"] for example in examples], numbered(21, 5))
    factors = [[int(example[name]) for name in SMALL.names] for example in examples]
    assert factors == SMALL.rows(Request("", free=SMALL.names)).tolist()
    # It opens as any set does, too.
    asked = {"fixed": {"tint": "green"}, "free": ["turn"]}
    images = open_images("tfds:mpi3d/small", path=tmp_path / "data", **asked)
    assert read_number(images.images).tolist() == list(range(7, 14))
    assert images.factor_names == tuple(sorted(SMALL.names))


def test_a_prepared_set_of_other_images_is_refused(small, tmp_path, monkeypatch):
    write(tmp_path, "prepared")
    monkeypatch.setattr(mpi3d, "MPI3D", Grid(("turn",), (22,)))
    with pytest.raises(UserError, match="other images than MPI3D's; prepare it again"):
        open_images("mpi3d_toy", path=tmp_path / "data")
