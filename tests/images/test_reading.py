"""What becomes of own images: ranges, channels, sizes, names, classes, tables, accounts."""

import json
import os
import shutil

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from jaxsurf.errors import UserError
from jaxsurf.images import files, pictures, storage
from jaxsurf.images.image_set import ImageSet
from jaxsurf.images.sources import open_images


def noise(*shape, high=256, low=0, dtype=np.uint8, seed=0):
    """Return random values, the least and largest among them."""
    values = np.random.default_rng(seed).integers(low, high, size=shape)
    values.flat[:2] = low, high - 1
    return values.astype(dtype)


def save_all(folder, *arrays, suffix="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{number}.{suffix}")
    return str(folder)


# Ranges

RANGES = [
    (noise(4, 5, 7, high=2), "auto", (0, 1), None),
    (noise(4, 5, 7, high=4), "auto", (0, 255), None),
    (noise(4, 5, 7).astype(bool), "auto", (0, 1), None),
    (noise(4, 5, 7, high=4096, dtype=np.uint16), "auto", (0, 4095), np.uint16),
    (noise(4, 5, 7, low=300, high=381, dtype=np.uint16), "auto", (300, 380), np.uint16),
    (noise(4, 5, 7, low=300, high=381, dtype=np.uint16), "full", (0, 65535), np.uint16),
    (noise(4, 5, 7, low=300, high=381, dtype=np.uint16), "310,330", (310, 330), np.uint16),
    (noise(4, 5, 7, low=-40, high=900, dtype=np.int16), "auto", (-40, 899), np.uint16),
    (noise(4, 5, 7, dtype=np.int64), "auto", (0, 255), None),
    (noise(4, 5, 7, high=70_000, dtype=np.int32), "auto", (0, 69_999), np.float32),
    (noise(4, 5, 7, high=101) / 100 * 1.0000001, "auto", (0, 1), np.float32),
    (noise(4, 5, 7, high=101) / 50 - 1, "auto", (-1, 1), np.float32),
    (noise(4, 5, 7), "50,100", (50, 100), None),
]


@pytest.mark.parametrize(("rows", "asked", "values", "deep"), RANGES)
def test_black_and_white_are_found_in_the_values(rows, asked, values, deep, tmp_path):
    np.save(tmp_path / "a.npy", rows)
    images = open_images(str(tmp_path / "a.npy"), range=asked)
    assert images.source_range == values
    low, high = values
    shades = np.clip((rows[..., None].astype(float) - low) / (high - low), 0, 1)
    assert np.abs(images.images - shades * 255).max() <= 0.5 + 1e-3
    assert (images.deep is None) == (deep is None)
    if deep is not None:
        assert images.deep.dtype == deep
        peak = 65535 if deep is np.uint16 else 1
        step = 0.5 + 1e-6 if deep is np.uint16 else 1e-6
        assert np.abs(images.deep / 1.0 - shades * peak).max() <= step
    told = f"values {low:g} to {high:g} of"
    plain = values in ((0, 255), (0, 65535)) or (rows.dtype.kind == "f" and values == (0, 1))
    assert (told in images.account) == (not plain or rows.dtype == np.int64)


def test_the_range_is_that_of_all_images_of_a_folder(tmp_path):
    rows = noise(4, 5, 7, low=300, high=381, dtype=np.uint16)
    images = open_images(save_all(tmp_path / "dim", *rows))
    expected = np.rint((rows - 300.0) / 80 * 65535)
    assert np.array_equal(images.deep[..., 0], expected)
    shown = "values 300 to 380 of uint16 shown as black to white"
    assert images.account == f"4 images, 7 x 5 pixels, grey; {shown}"
    masks = noise(3, 5, 7, high=2)
    images = open_images(save_all(tmp_path / "masks", *masks))
    assert np.array_equal(images.images[..., 0], masks * 255)
    # One that is black, or a mask, does not make masks of others.
    mixed = open_images(save_all(tmp_path / "mixed", masks[0], noise(5, 7)))
    assert np.array_equal(mixed.images[..., 0], [masks[0], noise(5, 7)])


@pytest.mark.parametrize("asked", ["5", "5,4", "a,b", "1,2,3", "nan,1"])
def test_a_range_that_is_none_is_refused(asked, tmp_path):
    np.save(tmp_path / "a.npy", noise(4, 5, 7))
    with pytest.raises(UserError, match="give auto, full, or two numbers such as 300,380"):
        open_images(str(tmp_path / "a.npy"), range=asked)


# Channels and sizes


def test_opacity_is_kept_where_any_picture_lets_through(tmp_path):
    clear, solid = noise(5, 7, 4, seed=1), noise(5, 7, 4, seed=2)
    solid[..., 3] = 255
    images = open_images(save_all(tmp_path / "both", clear, solid, noise(5, 7, 3)))
    assert images.look.alpha
    rows = np.stack([clear, solid]).astype(float)
    product = np.rint(rows[..., :3] * rows[..., 3:] / 255)
    assert np.array_equal(images.images[:2], np.concatenate([product, rows[..., 3:]], axis=-1))
    assert (images.images[2, ..., 3] == 255).all()
    images = open_images(save_all(tmp_path / "solid", solid, solid))
    assert images.account == "2 images, 7 x 5 pixels, RGB"
    np.save(tmp_path / "a.npy", np.stack([clear, solid]))
    images = open_images(str(tmp_path / "a.npy"))
    assert np.array_equal(images.images[0, ..., :3], product[0])
    images = open_images(str(tmp_path / "a.npy"), show=(2, 0, 1))
    assert (images.images.shape[-1], images.look.alpha) == (4, False)
    assert np.array_equal(images.images[0], clear)


def test_grey_among_colours_and_eight_bits_among_sixteen_become_the_greater(tmp_path):
    grey, colour = noise(5, 7), noise(5, 7, 3)
    images = open_images(save_all(tmp_path / "a", grey, colour))
    assert np.array_equal(images.images, [np.repeat(grey[..., None], 3, -1), colour])
    deep = noise(5, 7, high=65536, dtype=np.uint16)
    images = open_images(save_all(tmp_path / "b", grey, deep))
    assert np.array_equal(images.deep[..., 0], [grey * np.uint16(257), deep])


def test_sizes_keep_their_shape_and_deep_images_are_scaled_in_depth(tmp_path):
    ramp = np.broadcast_to(np.linspace(1000, 60000, 80).astype(np.uint16)[:, None], (80, 40))
    images = open_images(save_all(tmp_path / "a", ramp, ramp.copy()), side=20, range="full")
    assert images.images.shape == (2, 20, 10, 1)
    # The middle of a straight line, blurred, is the line.
    expected = ramp[:, 0].astype(float).reshape(20, 4).mean(1)
    assert np.abs(images.deep[0, 3:-3, 5, 0] - expected[3:-3]).max() < 2


def test_white_sprites_have_no_dark_seams_when_scaled(tmp_path):
    sprite = np.zeros((32, 32, 4), np.uint8)
    sprite[8:24, 8:24] = 255
    images = open_images(save_all(tmp_path / "a", sprite, sprite), side=11)
    assert (images.look.rgb(images.images) == 255).all()
    assert images.images[0, 5, 5].tolist() == [255] * 4
    assert images.images[0, 0, 0].tolist() == [0] * 4


# Names, classes, what is left out


def test_folders_of_pictures_are_classes_and_a_preview_is_left_out(tmp_path):
    for name in ("dog2", "dog10", "cat/tame"):
        save_all(tmp_path / name, noise(5, 7), noise(5, 7, seed=1))
    Image.fromarray(noise(9, 9)).save(tmp_path / "preview.png")
    images = open_images(str(tmp_path))
    assert images.labels == {"class": ("cat/tame", "dog2", "dog10")}
    assert images.factors.T.tolist() == [[0, 0, 1, 1, 2, 2]]
    assert images.files[::2] == ("cat/tame/0.png", "dog2/0.png", "dog10/0.png")
    assert "1 file left out: preview.png (beside the folders of pictures)" in images.account
    assert len(open_images(str(tmp_path), fixed={"class": "dog2"})) == 2


def test_all_that_is_left_out_is_counted(tmp_path):
    save_all(tmp_path, noise(5, 7), noise(5, 7, seed=1))
    for name in ("notes.txt", "a.csv", "b.mp4", "c.xcf", "d.npz", "e.doc", "f.doc"):
        (tmp_path / name).touch()
    account = open_images(str(tmp_path)).account
    assert "7 files left out: " in account
    assert account.endswith(" and 2 more")
    assert "b.mp4 (open it by itself)" in account or "d.npz (open it by itself)" in account


def test_what_cannot_be_read_is_named_or_left_out_if_asked(tmp_path):
    save_all(tmp_path, *noise(3, 5, 7))
    data = (tmp_path / "2.png").read_bytes()
    (tmp_path / "3.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "4.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"4\.png is not a picture .* \(in no known format\)"):
        open_images(str(tmp_path))
    images = open_images(str(tmp_path), skip_unreadable=True)
    assert images.files == ("0.png", "1.png", "2.png")
    assert "2 files left out: 4.png (unreadable), 3.png (unreadable)" in images.account
    save_all(tmp_path / "links", *noise(3, 5, 7))
    (tmp_path / "links/5.png").symlink_to("/nowhere/5")
    with pytest.raises(UserError, match=r"cannot read 5\.png: No such file"):
        open_images(str(tmp_path / "links"))
    assert len(open_images(str(tmp_path / "links"), skip_unreadable=True)) == 3


def test_links_that_lead_back_are_not_followed_and_pipes_are_not_waited_for(tmp_path):
    save_all(tmp_path / "in", *noise(3, 5, 7))
    (tmp_path / "in/back").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "in/pipe.png")
    images = open_images(str(tmp_path))
    assert images.files == ("in/0.png", "in/1.png", "in/2.png")
    assert "1 file left out: in/pipe.png (no file)" in images.account


def test_names_that_are_no_text_are_read_and_can_be_written(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)  # noqa: PTH102
    for name in (b"\xe4.png", b"b\n.png"):
        with open(folder + b"/" + name, "wb") as file:  # noqa: PTH123
            Image.fromarray(noise(5, 7)).save(file, "png")
    images = open_images(os.fsdecode(folder))
    assert images.files == (r"b\n.png", r"\xe4.png")
    assert images.name == r"folder caf\xe9"
    json.dumps(images.files).encode()
    with open(folder + b"/z\xff.png", "wb"), pytest.raises(UserError) as caught:  # noqa: PTH123
        open_images(os.fsdecode(folder))
    assert r"z\xff.png" in str(caught.value)
    str(caught.value).encode()


def test_many_pictures_are_kept_in_the_cache_until_one_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_MANY", 3)
    monkeypatch.setattr(pictures, "_WINDOW", 2)
    rows = noise(5, 5, 7, high=4096, dtype=np.uint16)
    source, cache = save_all(tmp_path / "a", *rows), tmp_path / "cache"
    first = open_images(source, cache_dir=cache)
    with monkeypatch.context() as patched:
        patched.setattr(pictures.formats, "read", lambda *_, **__: pytest.fail("read again"))
        patched.setattr(pictures.formats, "inspect", lambda *_, **__: pytest.fail("read again"))
        again = open_images(source, cache_dir=cache)
        (tmp_path / "a/notes.txt").write_text("what else is there")
        beside = open_images(source, cache_dir=cache)
    assert beside.account == f"{first.account}; 1 file left out: notes.txt (no image)"
    assert np.array_equal(again.deep, first.deep)
    assert np.array_equal(again.images, first.images)
    for name in ("files", "account", "source_range"):
        assert getattr(again, name) == getattr(first, name)
    assert len(list(cache.iterdir())) == 3
    Image.fromarray(rows[0] // 2).save(tmp_path / "a/0.png", compress_level=0)
    changed = open_images(source, cache_dir=cache)
    assert np.abs(changed.deep[0, ..., 0] - rows[0] // 2 / 4095 * 65535).max() < 1
    assert len(list(cache.iterdir())) == 3


# Arrays


def test_what_is_no_image_is_no_candidate(tmp_path):
    sprites, table = noise(9, 6, 5, high=2), np.eye(9)
    metadata = np.array({"title": "toy"}, dtype=object)
    np.savez(tmp_path / "a.npz", imgs=sprites, latents=table, metadata=metadata)
    images = open_images(str(tmp_path / "a.npz"))
    assert np.array_equal(images.images[..., 0], sprites * 255)
    np.savez(tmp_path / "b.npz", left=sprites, right=1 - sprites)
    with pytest.raises(UserError, match=r"set data.key, or write b\.npz:NAME"):
        open_images(str(tmp_path / "b.npz"))
    for source, key in ((f"{tmp_path}/b.npz:right", ""), (str(tmp_path / "b.npz"), "right")):
        assert np.array_equal(open_images(source, key=key).images[..., 0], 255 - sprites * 255)
    with pytest.raises(UserError, match="no images called 'latents'; choose one of numbers"):
        open_images(f"{tmp_path}/a.npz:latents")
    with pytest.raises(UserError, match="no source and no file called 'aaa"):
        open_images("a" * 5000)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((6, 5, 7), (0, 1, 2, 3)),
        ((6, 5, 7, 1), (0, 1, 2, 3)),
        ((6, 1, 5, 7), (0, 2, 3, 1)),
        ((6, 3, 5, 7), (0, 2, 3, 1)),
        ((6, 5, 7, 3), (0, 1, 2, 3)),
        ((6, 3, 4, 4), (0, 2, 3, 1)),
        ((6, 4, 4, 3), (0, 1, 2, 3)),
        ((6, 9, 32, 32), (0, 2, 3, 1)),
        ((6, 32, 32, 9), (0, 1, 2, 3)),
    ],
)
def test_sizes_tell_where_channels_are(shape, axes, tmp_path):
    rows = noise(*shape)
    np.save(tmp_path / "a.npy", rows)
    images = open_images(str(tmp_path / "a.npy"))
    rows = rows[..., None] if len(shape) == 3 else rows
    assert np.array_equal(images.images, rows.transpose(axes))


def test_matlab_keeps_images_last_in_both_of_its_formats(tmp_path):
    rows = noise(6, 5, 7, 3)
    matlab = rows.transpose(1, 2, 3, 0)
    scipy.io.savemat(tmp_path / "a.mat", {"X": matlab, "y": np.arange(6)})
    assert np.array_equal(open_images(str(tmp_path / "a.mat")).images, rows)
    scipy.io.savemat(tmp_path / "b.mat", {"X": matlab[:, :, 0]})
    assert np.array_equal(open_images(str(tmp_path / "b.mat")).images, rows[..., :1])
    head = b"MATLAB 7.3 MAT-file".ljust(512, b"\0")
    with h5py.File(tmp_path / "c.h5", "w", userblock_size=512) as file:
        file["X"] = matlab.T
        file["#refs#/a"] = matlab.T  # of a cell beside it
    content = (tmp_path / "c.h5").read_bytes()
    (tmp_path / "c.mat").write_bytes(head + content[512:])
    assert np.array_equal(open_images(str(tmp_path / "c.mat")).images, rows)


def test_sets_of_every_form_are_written_and_opened_as_they_are(tmp_path):
    clear, dim = noise(3, 5, 7, 4), noise(3, 5, 7, low=300, high=381, dtype=np.uint16)
    np.save(tmp_path / "floats.npy", noise(3, 5, 7, 2) / 51 - 2)
    np.save(tmp_path / "four.npy", clear)
    sets = [
        open_images(save_all(tmp_path / "clear", *clear)),
        open_images(save_all(tmp_path / "dim", *dim)),
        open_images(str(tmp_path / "floats.npy")),
        open_images(str(tmp_path / "four.npy"), show=(3, 0, 1)),
        ImageSet(noise(3, 5, 7, 3, high=2), "dark", np.eye(3), ("a", "b", "c")),
    ]
    for images in sets:
        np.savez(tmp_path / "a.npz", **files.to_arrays(images))
        again = open_images(str(tmp_path / "a.npz"))
        assert again.fingerprint == images.fingerprint
        assert np.array_equal(again.images, images.images)
        for name in ("source_range", "source_dtype", "look", "files", "labels", "factor_names"):
            assert getattr(again, name) == getattr(images, name)
    np.savez(tmp_path / "a.npz", images=clear, jaxsurf_metadata=np.array("{}"))
    with pytest.raises(UserError, match=r"the jaxsurf_metadata in a\.npz is damaged"):
        open_images(str(tmp_path / "a.npz"))


def test_large_floats_of_hdf5_are_read_in_parts_and_become_what_smaller_ones_do(
    tmp_path, monkeypatch
):
    rows, cache = noise(21, 5, 7, 3) / 255.0, tmp_path / "cache"
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("group/pixels", data=rows, compression="gzip")
        file["labels"], file["factors"] = np.arange(21), np.arange(21.0)[:, None]
        file["factor_names"] = ["age"]
    assert np.array_equal(open_images(str(tmp_path / "a.h5")).images, np.rint(255 * rows))
    loaded = open_images(str(tmp_path / "a.h5"), side=4)
    monkeypatch.setattr(storage, "LARGE_BYTES", 200)
    monkeypatch.setattr(storage, "CHUNK_BYTES", 4000)
    images = open_images(f"{tmp_path}/a.h5:group/pixels", side=4, cache_dir=cache)
    assert (storage.is_mapped(images.images), storage.is_mapped(loaded.images)) == (True, False)
    assert images.fingerprint == loaded.fingerprint
    for one in (images, loaded):
        assert (one.factors[:, 0].tolist(), one.factor_names) == ([*range(21)], ("age",))
    scipy.io.savemat(tmp_path / "a.mat", {"images": rows})
    with pytest.raises(UserError, match=r"a\.mat holds more than a gibibyte; save it as \.npy"):
        open_images(str(tmp_path / "a.mat"))


# Factors


def table(path, *rows):
    path.write_text("\n".join(rows), encoding="utf-8")
    return str(path)


def test_rows_of_a_table_are_matched_by_name_or_number_or_order(tmp_path):
    source = save_all(tmp_path / "a", *noise(3, 5, 7))
    for rows in (
        ("file,angle,kind", "2.png,20,oval", "0.png,0,round", "1.png,10,round"),
        ("index,angle,kind", "2,20,oval", "0,0,round", "1,10,round"),
        ("angle,kind", "0,round", "10,round", "20,oval"),
        ("file,angle,kind", "002,20,oval", "000,0,round", "001,10,round"),
        (";angle;kind", "a/2.jpg;20;oval", "a/0.jpg;0;round", "a/1.jpg;10;round"),
    ):
        images = open_images(source, factors=table(tmp_path / "t.csv", *rows))
        assert images.factor_names == ("angle", "kind")
        assert images.factors.tolist() == [[0, 1], [10, 1], [20, 0]]
        assert images.labels == {"kind": ("oval", "round")}
        assert images.account.endswith("; factors angle, kind of t.csv")
    padded = tmp_path / "padded"
    padded.mkdir()
    for number in range(3):
        shutil.copy(tmp_path / f"a/{number}.png", padded / f"{number + 8:03d}.png")
    rows = ("filename,angle,kind", "010,20,oval", "008,0,round", "009,10,round")
    images = open_images(str(padded), factors=table(tmp_path / "padded.csv", *rows))
    assert images.factors.tolist() == [[0, 1], [10, 1], [20, 0]]
    classes = tmp_path / "classes"
    for side in ("left", "right"):
        shutil.copytree(tmp_path / "a", classes / side)
    names = [f"{side}/{number}.png" for side in ("left", "right") for number in range(3)]
    whole = [f"/else/where/{name},{number}" for number, name in enumerate(reversed(names))]
    two = open_images(str(classes), factors=table(tmp_path / "w.csv", "file,angle", *whole))
    assert two.factors[:, 1].tolist() == [5, 4, 3, 2, 1, 0]
    rows = ("angle,kind", "0,round", "10,round", "20,oval")
    table(tmp_path / "a/beside.csv", *rows)
    assert np.array_equal(open_images(source, factors="beside.csv").factors, images.factors)
    chosen = {"fixed": {"kind": "round"}, "free": ["angle"]}
    assert len(open_images(source, factors=str(tmp_path / "t.csv"), **chosen)) == 2


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (("angle,size", "0,1", "1,2"), "t.csv has 2 rows, but there are 3 images"),
        (
            ("file,angle", "0.png,0", "1.png,1", "7.png,2"),
            r"3 rows and folder a 3 images: no row for 1 \(2\.png\), no image for 1 \(7\.png\);",
        ),
        (
            ("file,angle", "0.png,0", "1.png,1", "2.png,2", "2.png,3"),
            r"several rows for 1 \(2\.png\)",
        ),
        (("file,angle", "0.png,0", "1.png,nan", "2.png,2"), "column angle .* a finite number"),
        (("file,kind", "0.png,oval", "1.png,", "2.png,round"), "column kind .* without a word"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(rows, words, tmp_path):
    source = save_all(tmp_path / "a", *noise(3, 5, 7))
    with pytest.raises(UserError, match=words):
        open_images(source, factors=table(tmp_path / "t.csv", *rows))


# A picture from outside


def test_a_picture_is_brought_to_the_form_of_a_set(tmp_path):
    colour, grey, clear = noise(10, 14, 3), noise(10, 14, seed=1), noise(10, 14, 4, seed=2)
    sets = {}
    for name, rows in (("colour", colour), ("grey", grey), ("clear", clear)):
        sets[name] = open_images(save_all(tmp_path / name, rows, rows))
        Image.fromarray(rows).save(tmp_path / f"{name}.png")
        own = files.open_image(tmp_path / f"{name}.png", like=sets[name])
        assert own.dtype == np.uint8
        assert np.array_equal(own, sets[name].images[0])
    image = files.open_image(tmp_path / "colour.png", like=sets["grey"])
    assert np.abs(image[..., 0] - np.array(Image.fromarray(colour).convert("L"), int)).max() <= 1
    image = files.open_image(tmp_path / "grey.png", like=sets["clear"])
    assert np.array_equal(image[..., 2], grey)
    assert (image[..., 3] == 255).all()
    image = files.open_image(tmp_path / "clear.png", like=sets["colour"])
    opacity = clear[..., 3:] / 255
    assert np.abs(image - (clear[..., :3] * opacity + 255 * (1 - opacity))).max() <= 1
    dim = noise(2, 5, 7, low=300, high=381, dtype=np.uint16)
    images = open_images(save_all(tmp_path / "dim", *dim))
    image = files.open_image(tmp_path / "dim/1.png", like=images)
    assert image.dtype == np.uint16
    assert np.array_equal(image, images.deep[1])
    masks = open_images(save_all(tmp_path / "masks", *noise(2, 5, 7, high=2)))
    image = files.open_image(tmp_path / "grey.png", like=masks)
    assert image.shape == (5, 7, 1)
    assert 80 < image.mean() < 180
    rows = noise(2, 10, 14, high=4096, dtype=np.uint16)
    twelve = open_images(save_all(tmp_path / "twelve", *rows))
    image = files.open_image(tmp_path / "grey.png", like=twelve)
    assert np.array_equal(image[..., 0], 257 * grey.astype(np.uint16))
    Image.fromarray(257 * grey.astype(np.uint16)).save(tmp_path / "deep.png")
    narrow = open_images(str(tmp_path / "grey"), range="30,200")
    image = files.open_image(tmp_path / "deep.png", like=narrow)
    assert np.array_equal(image, narrow.images[0])
