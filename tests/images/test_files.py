"""A user's own pictures and numpy files: what comes back, and what is refused."""

import io
import struct
import zipfile
from unittest.mock import Mock

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import ExifTags, Image

from jaxsurf.errors import UserError
from jaxsurf.images import files, storage
from jaxsurf.images.sources import open_images


def colors(*shape, seed=0):
    """Return random uint8 pixels."""
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


# Pictures


@pytest.mark.core
def test_folder_is_sorted_as_people_count(tmp_path):
    pixels = [colors(5, 7, 3, seed=i) for i in range(3)]
    for name, image in zip(["1.PNG", "2.png", "10.png"], pixels, strict=True):
        save(tmp_path / name, image)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "._1.png").touch()
    images = open_images(str(tmp_path))
    assert np.array_equal(images.images, pixels)
    assert images.files == ("1.PNG", "2.png", "10.png")
    assert images.account == ("3 images, 7 x 5 pixels, RGB; 1 file left out: notes.txt (no image)")
    assert images.fingerprint == open_images("folder", path=tmp_path).fingerprint


def test_the_cameras_note_of_which_side_is_up_is_obeyed(tmp_path):
    pixels = colors(5, 7, 3)
    turned = [np.rot90(pixels, 2), np.rot90(pixels, -1), np.rot90(pixels), pixels[:, ::-1]]
    for note, expected in zip((3, 6, 8, 2), turned, strict=True):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = note
        for suffix in ("png", "webp", "tif"):
            options = {"exif": exif, "lossless": True} if suffix == "webp" else {"exif": exif}
            file = save(tmp_path / f"a.{suffix}", pixels, **options)
            assert np.array_equal(open_images(str(file)).images[0], expected), note
            if suffix == "png":  # the note is a chunk before the pixels: put it behind them
                content = file.read_bytes()
                start = content.index(b"eXIf") - 4
                end = start + 12 + int.from_bytes(content[start : start + 4])
                rest = content[:start] + content[end:-12] + content[start:end] + content[-12:]
                file.write_bytes(rest)
                assert np.array_equal(open_images(str(file)).images[0], expected), note


def test_what_cannot_be_read_is_refused(tmp_path, monkeypatch):
    save(tmp_path / "a.png", colors(5, 7, 3))
    with pytest.raises(UserError, match=r"cannot read .*b\.png: No such file"):
        files.open_image(tmp_path / "b.png", like=open_images(str(tmp_path)))
    # A damaged note inside a picture; a folder and a file whose modes don't bind an administrator.
    for place, error, words in (
        ("PIL.ImageOps.exif_transpose", struct.error("bad"), r"a\.png is not .* read \(bad\)"),
        ("os.walk", PermissionError(13, "Denied"), "cannot read .*: Denied; make it"),
        ("pathlib.Path.open", PermissionError(13, "Denied"), r"cannot read .*a\.png: Denied"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(place, Mock(side_effect=error))
            with pytest.raises(UserError, match=words):
                open_images(str(tmp_path))


def test_sizes_that_differ_are_named_unless_side_is_given(tmp_path):
    for name, shape in (("a", (6, 8, 3)), ("b", (3, 7, 3)), ("c", (12, 16, 3))):
        save(tmp_path / f"{name}.png", colors(*shape))
    with pytest.raises(UserError, match=r"3 sizes: 1 of 8 x 6, 1 of 7 x 3; set data.side to scale"):
        open_images(str(tmp_path))
    images = open_images(str(tmp_path), side=4)
    assert images.images.shape == (3, 3, 4, 3)
    assert "1 of them cut to this shape" in images.account
    middle = Image.fromarray(colors(3, 7, 3)[:, 1:5]).resize((4, 3), Image.Resampling.LANCZOS)
    assert np.array_equal(images.images[1], middle)


# Large numpy files


@pytest.fixture
def large(monkeypatch):
    monkeypatch.setattr(storage, "LARGE_BYTES", 200)
    monkeypatch.setattr(storage, "CHUNK_BYTES", 4 * 105)


NOISE = colors(21, 5, 7, 3)


def test_a_large_npy_is_mapped_where_it_lies(large, tmp_path):
    np.save(tmp_path / "a.npy", NOISE)
    images = open_images(str(tmp_path / "a.npy"), cache_dir=tmp_path / "cache")
    assert storage.is_mapped(images.images)
    assert not images.images.flags.writeable
    assert np.array_equal(images.images, NOISE)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_a_large_npz_is_unpacked_once_until_it_changes(write, large, tmp_path):
    factors = np.arange(42.0).reshape(21, 2)
    path, cache = tmp_path / "a.npz", tmp_path / "cache"
    write(path, images=NOISE, factors=factors)
    images = open_images(str(path), cache_dir=cache)
    assert storage.is_mapped(images.images)
    assert np.array_equal(images.images, NOISE)
    assert images.factor_names == ("factor_0", "factor_1")
    chosen = images.select(fixed={"factor_0": 8}, free=["factor_1"])
    assert np.array_equal(chosen.images, NOISE[4:5])
    [kept] = cache.glob("*.npy")
    before = kept.stat().st_mtime_ns
    open_images(str(path), cache_dir=cache)
    assert kept.stat().st_mtime_ns == before
    write(path, images=NOISE[::-1], factors=factors[::-1])
    assert np.array_equal(open_images(str(path), cache_dir=cache).images, NOISE[::-1])
    assert sorted(one.suffix for one in cache.iterdir()) == [".json", ".npy"]


# What is refused


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a.mat", "a.tif", "a.png"])
def test_what_no_images_are_compressed_to_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_BOMB", 20_000_000)
    path, pages = tmp_path / name, np.zeros((30, 1000, 1000), np.uint8)
    pages[::2, 0, 0] = 1
    if name == "a.h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("images", shape=pages.shape, dtype="u1", chunks=(1, 1000, 1000))
    elif name == "a.mat":
        scipy.io.savemat(path, {"images": pages.T}, do_compression=True)
    elif name == "a.tif":
        tifffile.imwrite(path, pages, compression="zlib")
    elif name == "a.png":
        first, *others = map(Image.fromarray, pages)
        first.save(path, save_all=True, append_images=others)
    else:
        np.savez_compressed(path, images=pages)
    cache = tmp_path / "cache"
    with pytest.raises(UserError, match=r"claims 30 MB in [0-9]+ bytes; remove it"):
        open_images(str(path), cache_dir=cache)
    assert not cache.exists()


def written(write, *arrays, **named):
    """Return what a function writes to a file."""
    data = io.BytesIO()
    write(data, *arrays, **named)
    return data.getvalue()


def npy(array):
    return written(np.save, array)


def npz(*arrays, **named):
    return written(np.savez, *arrays, **named)


def zipped(name, content):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as packed:
        packed.writestr(name, content)
    return data.getvalue()


def claims(shape):
    """Return an array whose header claims more than there is."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    return written(np.lib.format.write_array_header_1_0, header) + bytes(99)


PNG = written(Image.fromarray(colors(31, 37, 3)).save, "png")
IMAGES, TABLE, BROKEN = colors(2, 5, 7, 3), np.eye(2), "cannot be read as plain arrays"
HOSTILE = [
    ("a.doc", b"", r"a\.doc is neither a folder nor .*, a film \(\.mp4 .*\) or arrays \(\.npy"),
    ("a.mp4", b"", r"a\.mp4 is not a picture .* \(it is no film, or damaged\)"),
    ("folder/a.txt", b"", "holds no picture, but 1 file left out: a.txt .*; choose another folder"),
    ("folder/bad.png", b"no picture", r"bad\.png is not .* \(in no known format\); remove"),
    ("folder/bad.png", PNG[:900], r"bad\.png is not a picture that can be read \(.*\); remove"),
    ("a.npy", npy(IMAGES[..., :2] * 1j), "holds complex128 values, but images are numbers"),
    ("a.npz", npz(np.full((2, 5, 7, 3), np.nan)), "a.npz holds values that are not finite"),
    ("a.npz", npz(np.ones((2, 9, 5, 7), np.uint8)), r"shape \(2, 9, 5, 7\), of which it"),
    ("a.npy", npy(IMAGES[:0]), "holds no image"),
    ("a.npy", npy(np.array([None, 1])), BROKEN),
    (
        "a.npz",
        npz(left=IMAGES, right=IMAGES),
        r"left \(uint8 2x5x7x3\), .*unclear; .*; set data\.key",
    ),
    ("a.npz", npz(left=TABLE), r"left \(float64 2x2\), .*; images have three or four axes"),
    ("a.npz", npz(images=IMAGES, factors=np.arange(2)), r"int64\(2,\), are no finite"),
    ("a.npz", npz(images=IMAGES, factors=np.where(TABLE, np.inf, 0)), "no finite numbers"),
    ("a.npz", npz(images=IMAGES, factors=TABLE, factor_names="a"), r"\(2, 2\), expected \(2, 1\)"),
    ("a.npz", b"PK\x03\x04 no more", BROKEN),
    ("a.npy", b"", f"{BROKEN}.*; save it with np.savez or np.save"),
    ("a.npz", zipped("a.png", b"a picture"), rf"{BROKEN} \(its member a\.png is no array"),
    ("a.npy", claims((2**40, 2**10, 4, 3)), BROKEN),
    ("a.npz", zipped("images.npy", claims((2**40, 2**10, 4, 3))), BROKEN),
]
LARGE = [
    ("a.npy", npy(np.asfortranarray(NOISE)), r"a\.npy is large and in Fortran order.*ascontiguous"),
    ("a.npz", npz(np.asfortranarray(NOISE)), r"a\.npz is large and in Fortran order"),
    ("a.npy", npy(NOISE)[:-1], BROKEN),
    ("a.npz", npz(NOISE)[:-1], BROKEN),
    *[case for case in HOSTILE if case[0][:2] == "a."],
]


@pytest.mark.parametrize(
    ("size", "name", "content", "words"),
    [("small", *case) for case in HOSTILE] + [("large", *case) for case in LARGE],
)
def test_what_holds_no_images_is_refused(size, name, content, words, tmp_path, request):
    if size == "large":
        request.getfixturevalue("large")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    source = path if path.parent == tmp_path else path.parent
    with pytest.raises(UserError, match=words) as caught:
        open_images(str(source), side=4, cache_dir=tmp_path / "cache")
    assert "object at 0x" not in str(caught.value)
