"""A user's own pictures and numpy files: what comes back, and what is refused."""

import io
import struct
import zipfile
from unittest.mock import Mock

import numpy as np
import pytest
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
    (tmp_path / "gone.png").symlink_to("nowhere")
    images = open_images(str(tmp_path))
    assert np.array_equal(images.images, pixels)
    assert images.fingerprint == open_images("folder", path=tmp_path).fingerprint


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([[3, 250]], [[[3] * 3, [250] * 3]]),
        (np.array([[0, 128, 129, 257, 65535]], np.uint16), [[[v] * 3 for v in (0, 0, 1, 1, 255)]]),
        (
            [[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]],
            [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]],
        ),
    ],
    ids=["grey", "16-bit grey", "transparency over white"],
)
def test_every_kind_of_picture_becomes_rgb(pixels, expected, tmp_path):
    pixels = pixels if isinstance(pixels, np.ndarray) else np.array(pixels, np.uint8)
    assert files.open_image(save(tmp_path / "a.png", pixels)).tolist() == expected


def test_a_palette_is_looked_up_and_its_transparent_entry_is_white(tmp_path):
    picture = Image.fromarray(np.array([[2, 0, 1], [1, 1, 2]], np.uint8)).convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]])
    picture.save(tmp_path / "a.png")
    expected = colours[[[2, 0, 1], [1, 1, 2]]]
    assert files.open_image(tmp_path / "a.png").tolist() == expected.tolist()
    picture.save(tmp_path / "b.png", transparency=2)
    expected[[0, 1], [0, 2]] = 255
    assert files.open_image(tmp_path / "b.png").tolist() == expected.tolist()


def test_the_cameras_note_of_which_side_is_up_is_obeyed(tmp_path):
    pixels = colors(5, 7, 3)
    turned = {
        3: np.rot90(pixels, 2),
        6: np.rot90(pixels, -1),
        8: np.rot90(pixels),
        2: pixels[:, ::-1],
    }
    for note, expected in turned.items():
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = note
        shown = files.open_image(save(tmp_path / "a.png", pixels, exif=exif))
        assert np.array_equal(shown, expected), note


def test_what_cannot_be_read_is_refused(tmp_path, monkeypatch):
    save(tmp_path / "a.png", colors(5, 7, 3))
    with pytest.raises(UserError, match=r"cannot read .*b\.png: No such file"):
        files.open_image(tmp_path / "b.png")
    save(tmp_path / "a.tiff", np.ones((5, 7), np.float32))
    with pytest.raises(UserError, match=r"a\.tiff holds 32-bit values, whose white is unknown"):
        files.open_image(tmp_path / "a.tiff")
    # A damaged note inside a picture; a folder and a file whose modes don't bind an administrator.
    for place, error, words in (
        ("PIL.ImageOps.exif_transpose", struct.error("bad"), r"a\.png is not .* read \(bad\)"),
        ("pathlib.Path.iterdir", PermissionError(13, "Denied"), "cannot read .*: Denied; make it"),
        ("pathlib.Path.read_bytes", PermissionError(13, "Denied"), r"cannot read .*a\.png: Denied"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(place, Mock(side_effect=error))
            with pytest.raises(UserError, match=words):
                open_images(str(tmp_path))


def test_sizes_that_differ_are_named_unless_side_is_given(tmp_path):
    save(tmp_path / "a.png", colors(5, 7, 3))
    save(tmp_path / "b.png", colors(3, 7, 3))
    with pytest.raises(UserError, match=r"a\.png is \(5, 7\) but b\.png is \(3, 7\); give a side"):
        open_images(str(tmp_path))
    assert open_images(str(tmp_path), side=11).images.shape == (2, 11, 11, 3)


# Numpy files


def test_npz_holds_images_and_factors(tmp_path):
    pixels, factors = colors(24, 5, 7, 3), np.array([[i // 8, i % 8] for i in range(24)])
    names = np.array(["age", "time"])
    np.savez(tmp_path / "a.npz", images=pixels, factors=factors, factor_names=names)
    images = open_images(str(tmp_path / "a.npz"), fixed={"time": 1}, free=["age"])
    assert np.array_equal(images.images, pixels[1::8])
    assert images.factor_names == ("age", "time")
    thinned = open_images("file", path=tmp_path / "a.npz", stride=2)
    assert np.array_equal(thinned.images, pixels[::2])
    assert thinned.factors.tolist() == factors[::2].tolist()


def test_only_array_is_the_images_and_factors_without_names_are_numbered(tmp_path):
    np.savez(tmp_path / "a.npz", faces=colors(2, 5, 7, 3))
    np.save(tmp_path / "b.npy", colors(2, 5, 7, 3))
    one, other = (open_images(str(tmp_path / name)) for name in ("a.npz", "b.npy"))
    assert one.fingerprint == other.fingerprint
    np.savez(tmp_path / "c.npz", images=colors(2, 5, 7, 3), factors=np.eye(2))
    assert open_images(str(tmp_path / "c.npz")).factor_names == ("factor_0", "factor_1")


def test_grey_gets_three_channels_and_floats_the_nearest_uint8(tmp_path):
    for shape in ((2, 5, 7), (2, 5, 7, 1), (2, 5, 3, 1)):
        np.save(tmp_path / "a.npy", colors(*shape))
        images = open_images(str(tmp_path / "a.npy")).images
        assert np.array_equal(images[..., 2], colors(*shape).reshape(shape[:3]))
    np.save(tmp_path / "a.npy", np.full((2, 5, 7, 3), 100.4 / 255))
    assert (open_images(str(tmp_path / "a.npy")).images == 100).all()


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


def test_large_floats_are_converted_as_smaller_ones_are(large, tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", NOISE / 255.0)
    images = open_images(str(tmp_path / "a.npy"), side=4, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(storage, "LARGE_BYTES", 1 << 30)
    loaded = open_images(str(tmp_path / "a.npy"), side=4)
    assert (storage.is_mapped(images.images), storage.is_mapped(loaded.images)) == (True, False)
    assert images.fingerprint == loaded.fingerprint


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_a_large_npz_is_unpacked_once_until_it_changes(write, large, tmp_path):
    factors = np.arange(42.0).reshape(21, 2)
    path, cache = tmp_path / "a.npz", tmp_path / "cache"
    write(path, images=NOISE, factors=factors)
    images = open_images(str(path), cache_dir=cache)
    assert storage.is_mapped(images.images)
    assert np.array_equal(images.images, NOISE)
    chosen = images.select(fixed={"factor_0": 8}, free=["factor_1"])
    assert np.array_equal(chosen.images, NOISE[4:5])
    [kept] = cache.iterdir()
    before = kept.stat().st_mtime_ns
    open_images(str(path), cache_dir=cache)
    assert kept.stat().st_mtime_ns == before
    write(path, images=NOISE[::-1], factors=factors[::-1])
    assert np.array_equal(open_images(str(path), cache_dir=cache).images, NOISE[::-1])
    assert len(list(cache.iterdir())) == 1


# What is refused


def npy(array):
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def npz(*arrays, **named):
    data = io.BytesIO()
    np.savez(data, *arrays, **named)
    return data.getvalue()


def zipped(name, content):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as packed:
        packed.writestr(name, content)
    return data.getvalue()


def claims(shape):
    """Return an array whose header claims more than there is."""
    data = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(data, header)
    return data.getvalue() + bytes(99)


def png():
    data = io.BytesIO()
    Image.fromarray(colors(31, 37, 3)).save(data, "png")
    return data.getvalue()


IMAGES, TABLE, BROKEN = colors(2, 5, 7, 3), np.eye(2), "cannot be read as plain arrays"
HOSTILE = [
    ("a.mp4", b"", r"a\.mp4 is neither a folder nor .* \(the frames of a film\), .*\.npz or \.npy"),
    ("folder/a.txt", b"", "folder holds no PNG or JPEG file; choose another folder"),
    ("folder/bad.png", b"no picture", r"bad\.png is not .* \(in no known format\); remove"),
    ("folder/bad.png", png()[:900], r"bad\.png is not a picture that can be read \(.*\); remove"),
    ("a.npy", npy(IMAGES + 0.5), "floats from .*, but floats must lie in"),
    ("a.npz", npz(np.full((2, 5, 7, 3), np.nan)), "floats from nan to nan"),
    ("a.npy", npy(np.ones((2, 5, 7, 3), int)), "holds int64 values, but images are uint8"),
    ("a.npz", npz(np.ones((2, 3, 5, 7), np.uint8)), "put the channels last"),
    ("a.npy", npy(IMAGES[:0]), "holds no image"),
    ("a.npy", npy(np.array([None, 1])), BROKEN),
    ("a.npz", npz(images=np.array([None, 1])), BROKEN),
    ("a.npz", npz(left=TABLE, right=TABLE), "holds left, right, so which .* the array 'images'"),
    ("a.npz", npz(images=IMAGES, factors=np.arange(2)), r"int64\(2,\), are no finite"),
    ("a.npz", npz(images=IMAGES, factors=TABLE * 1j), r"complex128\(2, 2\), are no"),
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
