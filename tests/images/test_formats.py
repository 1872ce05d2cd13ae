"""Pictures and films of every format: the very values that were saved, and damaged ones refused."""

import io
import itertools
import resource
import shutil
import struct
import sys
import zlib

import h5py
import imageio.v3 as iio
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image, ImageOps

from jaxsurf.errors import UserError
from jaxsurf.images import formats
from jaxsurf.images.sources import open_images


def noise(*shape, dtype=np.uint8, seed=0):
    """Return random values over the whole of a type."""
    high = np.iinfo(dtype).max + 1
    return np.random.default_rng(seed).integers(high, size=shape).astype(dtype)


def read(path):
    """Return the frames of a file, and its header."""
    part = formats.Part(path.name, path)
    header = formats.inspect(part, max_pixels=10**6)
    return np.stack(list(formats.read(part, header))), header


def png(rows, bits=8):
    """Return a PNG file of any depth, of unfiltered rows of whole bytes."""
    height, width, channels = rows.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    if bits < 8:
        unpacked = np.unpackbits(rows, axis=2)[..., -bits:]
        lines = [np.packbits(row).tobytes() for row in unpacked]
    else:
        lines = [row.astype(">u2" if bits == 16 else "u1").tobytes() for row in rows]
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + line for line in lines))
    chunks = ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    )


# Values


FEW_BITS = [(1, 1), (2, 1), (4, 1)]


@pytest.mark.parametrize(
    ("bits", "channels"), [*itertools.product((8, 16), range(1, 5)), *FEW_BITS]
)
def test_png_files_keep_their_depth_and_channels_and_go_to_white(bits, channels, tmp_path):
    pixels = noise(5, 8, channels, dtype=np.uint16 if bits == 16 else np.uint8) & (2**bits - 1)
    (tmp_path / "a.png").write_bytes(png(pixels, bits))
    found, header = read(tmp_path / "a.png")
    assert np.array_equal(found[0], pixels * (255 // (2**bits - 1) if bits < 8 else 1))
    assert (found.dtype, header.alpha) == (pixels.dtype, channels in (2, 4))


@pytest.mark.parametrize(
    ("suffix", "options"),
    [("bmp", {}), ("webp", {"lossless": True}), ("tif", {"compression": "tiff_lzw"}), ("ppm", {})],
)
def test_lossless_formats_give_what_was_saved(suffix, options, tmp_path):
    pixels = noise(5, 7, 3)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", **options)
    assert np.array_equal(read(tmp_path / f"a.{suffix}")[0][0], pixels)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "jpe", "jfif"])
def test_jpeg_has_many_suffixes(suffix, tmp_path):
    Image.new("RGB", (8, 16), (200, 100, 50)).save(tmp_path / f"a.{suffix}", "jpeg", quality=95)
    found, _ = read(tmp_path / f"a.{suffix}")
    assert found.shape == (1, 16, 8, 3)
    assert np.abs(found.astype(int) - (200, 100, 50)).max() < 4


def test_palettes_are_looked_up_and_their_transparent_entry_too(tmp_path):
    picture = Image.fromarray(np.array([[2, 0, 1], [1, 1, 2]], np.uint8)).convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]])
    picture.save(tmp_path / "a.png")
    expected = colours[[[2, 0, 1], [1, 1, 2]]]
    assert np.array_equal(read(tmp_path / "a.png")[0][0], expected)
    picture.save(tmp_path / "b.png", transparency=2)
    found, header = read(tmp_path / "b.png")
    assert header.alpha
    assert found[0, ..., 3].tolist() == [[0, 255, 255], [255, 255, 0]]


@pytest.mark.parametrize("suffix", ["gif", "png", "apng", "webp"])
def test_all_frames_of_what_moves_are_images(suffix, tmp_path):
    frames = [Image.new("RGB", (7, 5), (40 * i, 255 - 40 * i, 0)) for i in range(5)]
    options = {"lossless": True} if suffix == "webp" else {}
    kind = {"apng": "png"}.get(suffix, suffix)
    frames[0].save(
        tmp_path / f"a.{suffix}", kind, save_all=True, append_images=frames[1:], **options
    )
    images = open_images(str(tmp_path / f"a.{suffix}"))
    assert images.images.shape == (5, 5, 7, 3)
    assert np.array_equal(images.images[:, 2, 3], [np.array(f)[0, 0] for f in frames])
    assert images.files[3] == f"a.{suffix}#3"


def test_grey_frames_stay_grey(tmp_path):
    frames = [Image.fromarray(noise(5, 7, seed=i)) for i in range(3)]
    for name, kind in (("a.apng", "png"), ("a.tif", "tiff")):
        options = {"compression": "tiff_lzw"} if kind == "tiff" else {}
        frames[0].save(tmp_path / name, kind, save_all=True, append_images=frames[1:], **options)
        assert np.array_equal(read(tmp_path / name)[0][..., 0], frames)


TIFFS = [
    ((4, 5, 7), "u2", {"photometric": "minisblack"}, (4, 5, 7, 1)),
    ((4, 5, 7), "u1", {"photometric": "minisblack"}, (4, 5, 7, 1)),
    ((5, 7), "f4", {}, (1, 5, 7, 1)),
    ((4, 5, 7, 3), "u2", {"photometric": "rgb"}, (4, 5, 7, 3)),
    ((2, 3, 5, 7), "u2", {"imagej": True, "metadata": {"axes": "TCYX"}}, (2, 5, 7, 3)),
    ((2, 6, 5, 7), "u2", {"ome": True, "metadata": {"axes": "TCYX"}}, (2, 5, 7, 6)),
    ((3, 2, 5, 7), "u1", {"ome": True, "metadata": {"axes": "CTYX"}}, (2, 5, 7, 3)),
    ((2, 3, 4, 5, 7), "i2", {"ome": True, "metadata": {"axes": "TZCYX"}}, (6, 5, 7, 4)),
    ((3, 5, 7), "u2", {"photometric": "rgb", "planarconfig": "separate"}, (1, 5, 7, 3)),
    ((4, 5, 7), "u2", {"photometric": "minisblack", "byteorder": ">"}, (4, 5, 7, 1)),
    ((4, 5, 7), "u1", {"photometric": "minisblack", "compression": "zlib"}, (4, 5, 7, 1)),
    ((4, 5, 7), "u2", {"photometric": "minisblack", "metadata": None}, (4, 5, 7, 1)),
]


@pytest.mark.parametrize(("shape", "dtype", "options", "expected"), TIFFS)
def test_the_axes_of_tiff_files_say_what_are_channels(shape, dtype, options, expected, tmp_path):
    pixels = noise(*shape, dtype=np.uint8).astype(dtype) * (1 if dtype == "u1" else 7)
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    found, _ = read(tmp_path / "a.tif")
    axes = options.get("metadata", {}) and options.get("metadata", {}).get("axes")
    if axes:
        last = [axes.index(one) for one in "YXC"]
        pixels = pixels.transpose(*(n for n in range(len(axes)) if n not in last), *last)
    elif options.get("planarconfig"):
        pixels = np.moveaxis(pixels, 0, -1)
    assert found.shape == expected
    assert found.dtype == np.dtype(dtype)
    assert np.array_equal(found, pixels.reshape(expected))


def test_one_bit_is_black_or_white(tmp_path):
    masks = noise(2, 3, 5, 8) > 127
    axes = {"ome": True, "metadata": {"axes": "TCYX"}}
    tifffile.imwrite(tmp_path / "a.tif", masks, photometric="minisblack", **axes)
    images = open_images(str(tmp_path / "a.tif")).images
    assert np.array_equal(images, 255 * masks.transpose(0, 2, 3, 1))


def test_white_that_is_zero_is_turned_round(tmp_path):
    pixels = noise(5, 7)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    assert np.array_equal(read(tmp_path / "a.tif")[0][0, ..., 0], 255 - pixels)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "mov", "webm"])
def test_the_frames_of_a_film_are_images(suffix, tmp_path):
    shades = np.linspace(20, 220, 7).round()
    frames = np.ones((7, 32, 48, 3)) * shades[:, None, None, None]
    codec = "vp9" if suffix == "webm" else "libx264"
    iio.imwrite(tmp_path / f"a.{suffix}", frames.astype(np.uint8), plugin="pyav", codec=codec)
    images = open_images(str(tmp_path / f"a.{suffix}"), side=24)
    assert images.images.shape == (7, 16, 24, 3)
    assert np.abs(images.images.mean((1, 2, 3)) - shades).max() < 5
    assert images.factor_names == ()


def test_a_film_is_shown_with_that_side_up_that_its_camera_noted(tmp_path):
    frame, path = np.zeros((32, 48, 3), np.uint8), tmp_path / "a.mp4"
    frame[:16] = 250  # bright above
    iio.imwrite(path, np.stack([frame] * 3), plugin="pyav", codec="libx264")
    content = path.read_bytes()
    for turned, (a, b, c, d) in {
        0: (1, 0, 0, 1),
        90: (0, -1, 1, 0),
        -90: (0, 1, -1, 0),
        180: (-1, 0, 0, -1),
    }.items():
        # A matrix of 16.16 in the track's header.
        usual, noted = (
            struct.pack(">9i", *(n << 16 for n in (w, x, 0, y, z, 0, 0, 0, 1 << 14)))
            for w, x, y, z in ((1, 0, 0, 1), (a, b, c, d))
        )
        place = content.index(usual, content.index(b"tkhd"))
        path.write_bytes(content[:place] + noted + content[place + len(usual) :])
        found, expected = open_images(str(path)).images, np.rot90(frame, turned // 90)
        assert found.shape == (3, *expected.shape)
        assert np.abs(found.astype(int) - expected).mean() < 10


def test_without_av_a_film_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(UserError, match=r"needs the package av; pip install 'jaxsurf\[films\]'"):
        open_images(str(tmp_path / "a.mp4"))


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate"])
def test_tiff_files_of_eight_bits_need_no_imagecodecs(compression, tmp_path, monkeypatch):
    for name in [*sys.modules]:  # it was perhaps imported where there is one
        if name.partition(".")[0] == "tifffile":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    Image.new("RGB", (16, 8), (200, 100, 50)).save(tmp_path / "a.tif", compression=compression)
    found, _ = read(tmp_path / "a.tif")
    assert np.abs(found.astype(int) - (200, 100, 50)).max() < 4


# What is damaged, or claims too much


def encoded(save, *given, **options):
    """Return what is written to a file in memory."""
    stream = io.BytesIO()
    save(stream, *given, **options)
    return stream.getvalue()


def moving(kind):
    first, *others = (Image.fromarray(noise(24, 20, 3, seed=i)) for i in range(3))
    return encoded(first.save, kind, save_all=True, append_images=others)


def hdf5():
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("images", data=noise(5, 24, 20, 3), compression="gzip")
    return stream.getvalue()


PICTURE, STACK = Image.fromarray(noise(24, 20, 3)), noise(5, 24, 20)
FILM = np.stack([noise(32, 32, 3)] * 3)
SAMPLES = {
    "a.png": lambda: png(noise(24, 20, 4, dtype=np.uint16), 16),
    "b.png": lambda: moving("png"),
    "a.jpg": lambda: encoded(PICTURE.save, "jpeg"),
    "a.bmp": lambda: encoded(PICTURE.save, "bmp"),
    "a.webp": lambda: moving("webp"),
    "a.gif": lambda: moving("gif"),
    "a.ppm": lambda: encoded(PICTURE.save, "ppm"),
    "a.tif": lambda: encoded(tifffile.imwrite, STACK * 7.0, compression="zlib"),
    "b.tif": lambda: encoded(PICTURE.save, "tiff", compression="tiff_lzw"),
    "a.npy": lambda: encoded(np.save, STACK),
    "a.npz": lambda: encoded(np.savez_compressed, images=STACK, other=np.eye(3)),
    "a.mat": lambda: encoded(scipy.io.savemat, {"images": STACK.T}, do_compression=True),
    "a.h5": hdf5,
    "a.mp4": lambda: encoded(iio.imwrite, FILM, extension=".mp4", plugin="pyav", codec="libx264"),
}


@pytest.mark.filterwarnings("ignore")  # what libraries say of damage, beside raising
@pytest.mark.parametrize("name", SAMPLES)
def test_damage_is_one_line_and_takes_no_memory(name, tmp_path):
    content, rng = SAMPLES[name](), np.random.default_rng(0)
    path, cache, before = tmp_path / name, tmp_path / "cache", []
    for number in range(4 if name == "a.mp4" else 20):  # films take a second
        damaged = bytearray(content)
        if number % 2:
            damaged = damaged[: int(rng.integers(1, len(content)))]
        else:
            # Headers are where damage leads astray.
            place = int(rng.integers(min(len(content), 200 if number % 4 else len(content))))
            damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        before.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        try:
            open_images(str(path), cache_dir=cache)
        except UserError:
            assert not cache.exists()
        else:
            shutil.rmtree(cache, ignore_errors=True)  # a header that is one of a larger picture
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before[0] < 2**20


def test_a_bomb_is_refused_with_the_setting_that_lets_it_in(tmp_path):
    head = struct.pack(">IIBBBBB", 13491, 13491, 8, 2, 0, 0, 0)
    content = png(noise(1, 1, 3))
    changed = content.replace(content[16:29], head)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + head))
    (tmp_path / "a.png").write_bytes(changed[:29] + crc + changed[33:])
    words = r"182 megapixels, 13491 x 13491, .*scale it down, or set data\.max_pixels to 182007081"
    with pytest.raises(UserError, match=words):
        open_images(str(tmp_path))
    with pytest.raises(UserError, match="claims 546 MB of pixels in 69 bytes"):
        open_images(str(tmp_path), max_pixels=182_007_081)
    assert Image.MAX_IMAGE_PIXELS


def test_a_picture_without_content_for_its_size_is_refused(tmp_path):
    Image.new("RGB", (2000, 2000)).save(tmp_path / "a.webp", lossless=True)
    with pytest.raises(UserError, match=r"claims 12 MB of pixels in [0-9]+ bytes"):
        open_images(str(tmp_path), max_pixels=40_000_000)
    assert len(open_images(str(tmp_path), max_pixels=48_000_000)) == 1


def test_pages_of_a_tiff_file_are_unpacked_one_at_a_time(tmp_path, monkeypatch):
    pages = noise(7, 9, 5, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pages, compression="zlib")
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", None)  # of all
    assert np.array_equal(read(tmp_path / "a.tif")[0][..., 0], pages)


def test_series_of_a_tiff_file_beside_the_first_are_told(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (3, 9, 7), dtype=np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(deep, photometric="minisblack")
        writer.write(deep[0, ::2, ::2], photometric="minisblack")
    images = open_images(str(tmp_path / "a.tif"))
    assert images.deep[..., 0].tolist() == deep.tolist()
    assert images.account.endswith("; 1 other series of TIFF files left out")


def test_deep_tiff_files_are_turned_upright(tmp_path):
    stored, path = noise(5, 7, 3, dtype=np.uint16), tmp_path / "a.tif"
    for note in range(1, 9):
        extra = [(0x0112, "H", 1, note, True)]
        tifffile.imwrite(path, stored, photometric="rgb", extratags=extra)
        shallow = Image.fromarray((stored // 256).astype(np.uint8))
        shallow.getexif()[0x0112] = note
        upright, header = read(path)
        assert np.array_equal(upright[0] // 256, np.asarray(ImageOps.exif_transpose(shallow))), note
        assert (header.height, header.width) == upright.shape[1:3]
