"""Sources by name and own files: what comes back, and what is refused."""

import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxsurf import memory
from jaxsurf.errors import UserError
from jaxsurf.images import arm, picture, tfds_set
from jaxsurf.images.factors import DEFAULT_FIXED, DEFAULT_FREE
from jaxsurf.images.sources import open_images

ARM_SLICE = {
    "fixed": {
        "object_color": "green",
        "object_shape": 5,
        "object_size": 0.5,
        "camera_height": "bottom",
        "background_color": "sea green",
        "horizontal_axis": 7,
    },
    "free": ["vertical_axis"],
}


def colors(*shape, seed=0):
    """Return random uint8 pixels."""
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def save(path, pixels, mode=None):
    Image.fromarray(pixels, mode).save(path)
    return path


# The robot arm


def test_arm_draws_the_slice_asked_for(tmp_path):
    images = open_images("arm", side=11, cache_dir=tmp_path, **ARM_SLICE)
    rows = np.tile(np.array([1, 5, 0.5, 2, 1, 7, 0], np.float32), (40, 1))
    rows[:, 6] = np.arange(40)
    assert images.name == "robot arm"
    assert np.array_equal(images.factors, rows)
    assert np.array_equal(images.images, arm.render_batch(rows, side=11))


def test_arm_defaults_to_the_reports_slice(tmp_path, monkeypatch):
    drawn = []

    def draw(rows, *, side):
        drawn.append((len(rows), side))
        return np.zeros((len(rows), side, side, 3), np.uint8)

    monkeypatch.setattr(arm, "render_batch", draw)
    images = open_images("arm", cache_dir=tmp_path)
    assert drawn == [(1600, 64)]
    assert images.factors[:, :5].tolist() == [[0, 0, 1, 0, 0]] * 1600


def test_arm_with_a_stride_draws_a_quarter(tmp_path, monkeypatch):
    drawn = []

    def draw(rows, *, side):
        drawn.append(len(rows))
        return np.zeros((len(rows), side, side, 3), np.uint8)

    monkeypatch.setattr(arm, "render_batch", draw)
    thinned = open_images("arm", side=11, stride=2, cache_dir=tmp_path)
    whole = open_images("arm", side=11, cache_dir=tmp_path)
    assert drawn == [400, 1600]
    expected = [[h, v] for h in range(0, 40, 2) for v in range(0, 40, 2)]
    assert thinned.factors[:, 5:].tolist() == expected
    assert np.array_equal(
        thinned.factors, whole.select(free=arm.DEFAULT_FREE, fixed=DEFAULT_FIXED, stride=2).factors
    )
    assert thinned.fingerprint != whole.fingerprint


def test_a_stride_leaves_a_third_factor_of_the_arm_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(
        arm, "render_batch", lambda rows, *, side: np.zeros((len(rows), 2, 2, 3), np.uint8)
    )
    fixed = {name: value for name, value in DEFAULT_FIXED.items() if name != "camera_height"}
    free = ("camera_height", *DEFAULT_FREE)
    images = open_images("arm", fixed=fixed, free=free, stride=4, cache_dir=tmp_path)
    assert len(images) == 3 * 10 * 10


def test_arm_is_drawn_once(tmp_path, monkeypatch):
    first = open_images("arm", side=11, cache_dir=tmp_path, **ARM_SLICE)
    monkeypatch.setattr(arm, "render_batch", None)
    assert open_images("arm", side=11, cache_dir=tmp_path, **ARM_SLICE).fingerprint == (
        first.fingerprint
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fixed": {"colour": 1}, "free": []}, "no factor is called 'colour'"),
        ({"fixed": {"object_color": "pink"}, "free": []}, "object_color has no value 'pink'"),
        (
            {"fixed": {"object_color": 1}, "free": []},
            "object_shape takes 6 values, but the slice neither",
        ),
        ({"stride": 0}, "the stride is 0, but must be at least 1"),
        ({"stride": 11}, "11 thins nothing: .* takes 44 values, but 40 at most; .* up to 10"),
        ({"path": "arm.npz"}, r"the arm is drawn, not read from arm\.npz; leave path out"),
    ],
)
def test_arm_refuses_a_bad_slice(changes, words, tmp_path):
    with pytest.raises(UserError, match=words):
        open_images("arm", cache_dir=tmp_path, **changes)


def test_arm_does_not_import_tensorflow_datasets():
    program = "import sys, jaxsurf.images.sources; print('tensorflow_datasets' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout == "False\n"


# Folders and picture files


def test_folder_is_sorted_as_people_count(tmp_path):
    pixels = {name: colors(5, 7, 3, seed=i) for i, name in enumerate(["2.png", "10.png", "1.PNG"])}
    for name, image in pixels.items():
        save(tmp_path / name, image)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "._1.png").touch()
    images = open_images(str(tmp_path))
    assert images.image_names == ("1.PNG", "2.png", "10.png")
    for name, image in zip(images.image_names, images.images, strict=True):
        assert np.array_equal(image, pixels[name])
    assert images.fingerprint == open_images("folder", path=tmp_path).fingerprint


def test_jpeg_is_read_too(tmp_path):
    save(tmp_path / "a.jpg", np.full((16, 8, 3), 131, np.uint8))
    assert open_images(str(tmp_path)).images.tolist() == np.full((1, 16, 8, 3), 131).tolist()


def test_sizes_that_differ_are_named_unless_side_is_given(tmp_path):
    save(tmp_path / "a.png", colors(5, 7, 3))
    save(tmp_path / "b.png", colors(3, 7, 3))
    with pytest.raises(UserError, match=r"a\.png is 7 x 5 but b\.png is 7 x 3; give a side"):
        open_images(str(tmp_path))
    assert open_images(str(tmp_path), side=11).images.shape == (2, 11, 11, 3)


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no PNG or JPEG file"):
        open_images(str(tmp_path))


def test_unreadable_folder_is_refused(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    # Not by its mode, which does not bind an administrator.
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UserError, match=r"cannot read .*: Permission denied; make it readable"):
        open_images(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_unreadable_picture_is_named(content, tmp_path):
    whole = save(tmp_path / "good.png", colors(31, 37, 3)).read_bytes()
    (tmp_path / "bad.png").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(UserError, match=r"bad\.png is (not|in no) .*; remove") as caught:
        open_images(str(tmp_path))
    assert "object at 0x" not in str(caught.value)


def test_single_picture_is_a_set_of_one(tmp_path):
    images = open_images(str(save(tmp_path / "cat.png", colors(5, 7, 3))))
    assert (len(images), images.image_names) == (1, ("cat.png",))


def test_open_image_keeps_its_size_or_fits_the_centre(tmp_path):
    pixels = np.zeros((4, 10, 3), np.uint8)
    pixels[:, 3:7] = 200
    path = save(tmp_path / "a.png", pixels)
    assert np.array_equal(picture.open_image(path), pixels)
    assert (picture.open_image(path, side=2) == 200).all()


def test_missing_picture_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*a\.png: No such file"):
        picture.open_image(tmp_path / "a.png")


def test_side_must_be_positive(tmp_path):
    with pytest.raises(UserError, match=r"side is 0, but must be at least 1"):
        picture.open_image(save(tmp_path / "a.png", colors(5, 7, 3)), side=0)


def test_grey_is_repeated(tmp_path):
    grey = colors(5, 7)
    pixels = picture.open_image(save(tmp_path / "a.png", grey))
    assert np.array_equal(pixels, np.repeat(grey[..., None], 3, axis=-1))


def test_sixteen_bit_grey_is_rounded(tmp_path):
    grey = np.array([[0, 128, 129, 257, 65535]], np.uint16)
    pixels = picture.open_image(save(tmp_path / "a.png", grey))
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 1, 255]


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    opened = picture.open_image(save(tmp_path / "a.png", pixels))
    assert opened.tolist() == [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]


def test_palette_is_looked_up(tmp_path):
    pixels = np.array([[[250, 0, 0], [0, 0, 90]]], np.uint8)
    Image.fromarray(pixels).quantize(2).save(tmp_path / "a.png")
    assert np.array_equal(picture.open_image(tmp_path / "a.png"), pixels)


def test_camera_rotation_is_obeyed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(colors(8, 16, 3)).save(tmp_path / "a.jpg", exif=exif)
    assert picture.open_image(tmp_path / "a.jpg").shape == (16, 8, 3)


def test_values_of_unknown_white_are_refused(tmp_path):
    Image.fromarray(np.ones((5, 7), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(UserError, match=r"a\.tiff holds 32-bit values, whose white is unknown"):
        picture.open_image(tmp_path / "a.tiff")


# Numpy files


def test_npz_holds_images_and_factors(tmp_path):
    pixels, factors = colors(6, 5, 7, 3), np.array([[i // 2, i % 2] for i in range(6)])
    names = np.array(["age", "sex"])
    np.savez(tmp_path / "a.npz", images=pixels, factors=factors, factor_names=names)
    images = open_images(str(tmp_path / "a.npz"), fixed={"sex": 1}, free=["age"])
    assert np.array_equal(images.images, pixels[1::2])
    assert images.factor_names == ("age", "sex")
    assert len(open_images("file", path=tmp_path / "a.npz")) == 6


def test_a_stride_thins_own_images_with_factors(tmp_path):
    pixels, factors = colors(24, 5, 7, 3), np.array([[i // 8, i % 8] for i in range(24)])
    np.savez(tmp_path / "a.npz", images=pixels, factors=factors, factor_names=["age", "time"])
    images = open_images(str(tmp_path / "a.npz"), stride=2)
    assert np.array_equal(images.images, pixels[::2])
    assert images.factors.tolist() == factors[::2].tolist()


def test_a_stride_needs_factors(tmp_path):
    save(tmp_path / "a.png", colors(5, 7, 3))
    with pytest.raises(UserError, match=r"has no factors .*; leave out fixed, free and stride$"):
        open_images(str(tmp_path), stride=2)


def test_factors_without_names_are_numbered(tmp_path):
    np.savez(tmp_path / "a.npz", images=colors(2, 5, 7, 3), factors=np.eye(2))
    assert open_images(str(tmp_path / "a.npz")).factor_names == ("factor_0", "factor_1")


def test_only_array_is_the_images(tmp_path):
    np.savez(tmp_path / "a.npz", faces=colors(2, 5, 7, 3))
    np.save(tmp_path / "b.npy", colors(2, 5, 7, 3))
    one, other = (open_images(str(tmp_path / name)) for name in ("a.npz", "b.npy"))
    assert one.fingerprint == other.fingerprint


def test_floats_become_the_nearest_uint8(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, 5, 7, 3), 100.4 / 255))
    assert (open_images(str(tmp_path / "a.npy")).images == 100).all()


@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 5, 7, 1)])
def test_grey_array_gets_three_channels(shape, tmp_path):
    pixels = colors(*shape)
    np.save(tmp_path / "a.npy", pixels)
    images = open_images(str(tmp_path / "a.npy")).images
    assert np.array_equal(images[..., 2], pixels.reshape(2, 5, 7))


def test_array_is_resized_on_request(tmp_path):
    np.save(tmp_path / "a.npy", colors(2, 5, 7, 3))
    assert open_images(str(tmp_path / "a.npy"), side=4).images.shape == (2, 4, 4, 3)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((2, 5, 7, 3), 1.5), r"holds floats from 1\.5 to 1\.5, but floats must lie in"),
        (np.full((2, 5, 7, 3), np.nan), "holds floats from nan to nan"),
        (np.full((2, 5, 7, 3), -0.5), "holds floats from -0.5"),
        (np.ones((2, 5, 7, 3), int), "holds int64 values, but images are uint8"),
        (np.ones((2, 5, 7, 3), bool), "holds bool values, but images are uint8"),
        (np.ones((2, 3, 5, 7), np.uint8), "put the channels last"),
        (np.ones((0, 5, 7, 3), np.uint8), "holds no image"),
        (np.ones((5, 7, 3), np.uint8), r"shape \(5, 7, 3\), but images are \(number, height"),
        (np.array([None, 1]), "cannot be read as plain arrays .Object arrays cannot be loaded"),
    ],
)
@pytest.mark.parametrize("side", [None, 4])
def test_ambiguous_array_is_refused(array, words, side, tmp_path):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match=words):
        open_images(str(tmp_path / "a.npy"), side=side)


def test_several_arrays_need_a_name(tmp_path):
    np.savez(tmp_path / "a.npz", left=colors(2, 5, 7, 3), right=colors(2, 5, 7, 3))
    with pytest.raises(UserError, match=r"holds left, right, so which .* call the array 'images'"):
        open_images(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_damaged_array_file_is_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(UserError, match=r"cannot be read as plain arrays"):
        open_images(str(tmp_path / name))


def test_compressed_arrays_larger_than_memory_are_refused_unread(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((7, 50, 50, 3), np.uint8))
    np.savez(tmp_path / "b.npz", images=colors(2, 5, 7, 3), other=np.zeros(9999))
    monkeypatch.setattr(memory, "total_bytes", lambda: 50_000)
    monkeypatch.setattr(np.lib.format, "read_array", None)
    with pytest.raises(UserError, match=r"a\.npz takes 0\.0 GiB unpacked, but .* with np\.savez"):
        open_images(str(tmp_path / "a.npz"))
    monkeypatch.undo()
    monkeypatch.setattr(memory, "total_bytes", lambda: 50_000)
    assert len(open_images(str(tmp_path / "b.npz"))) == 2  # stored: read, or mapped


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_a_header_that_claims_more_than_memory_is_refused(tmp_path, suffix):
    claimed = {"descr": "|u1", "fortran_order": False, "shape": (2**40, 2**10, 4, 3)}
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(data, claimed)
    content = data.getvalue() + bytes(99)
    if suffix == ".npy":
        (tmp_path / "a.npy").write_bytes(content)
    else:
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as packed:
            packed.writestr("images.npy", content)
    with pytest.raises(UserError, match=r"a\.np.* cannot be read as plain arrays \(Unable to"):
        open_images(str(tmp_path / f"a{suffix}"))


def test_factors_that_are_no_table_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=colors(2, 5, 7, 3), factors=np.arange(2))
    with pytest.raises(UserError, match=r"factors in .* are int64 of shape \(2,\); give numbers"):
        open_images(str(tmp_path / "a.npz"))


@pytest.mark.parametrize(
    ("factors", "names", "words"),
    [
        ([[1.0, 2], [np.nan, 3]], ["age", "sex"], "not all finite, the first such of image 1"),
        ([[1.0, np.inf], [2, 3]], ["age", "sex"], "not all finite, the first such of image 0"),
        ([[1j, 2], [2, 3]], ["age", "sex"], "factors in .* are complex128"),
        ([[1, 2], [3, 4]], "age", r"factor_names in .* has shape \(\); give a list"),
        ([[1, 2], [3, 4]], ["age"], r"shape \(2, 2\), expected \(2, 1\)"),
    ],
)
def test_bad_factors_and_names_are_refused(factors, names, words, tmp_path):
    np.savez(
        tmp_path / "a.npz", images=colors(2, 5, 7, 3), factors=np.array(factors), factor_names=names
    )
    with pytest.raises(UserError, match=words):
        open_images(str(tmp_path / "a.npz"))


def test_own_images_have_no_value_names(tmp_path):
    np.savez(tmp_path / "a.npz", images=colors(2, 5, 7, 3), factors=np.eye(2))
    with pytest.raises(UserError, match=r"a\.npz has no names for values of factor_0"):
        open_images(str(tmp_path / "a.npz"), fixed={"factor_0": "one"}, free=["factor_1"])


def test_slice_of_images_without_factors_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", colors(2, 5, 7, 3))
    with pytest.raises(UserError, match=r"has no factors to pick a slice by"):
        open_images(str(tmp_path / "a.npy"), free=["age"])


# Names that lead nowhere


@pytest.mark.parametrize(
    ("source", "path", "words"),
    [
        ("amr", "", "no source and no file called 'amr'; choose from arm, mpi3d_toy, .*tfds:NAME"),
        ("amr", "here", "no source and no file called 'amr'"),
        ("folder", "nowhere", "there is no nowhere; give a folder or file that exists"),
        ("mpi3d_toy", "nowhere", r"there is no nowhere; give the \.npz file"),
    ],
)
def test_unknown_source_names_the_known_ones(source, path, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        open_images(source, path=path)


def test_film_is_refused_by_name(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(UserError, match=r"a\.mp4 is a film, and reading films is not built yet"):
        open_images(str(tmp_path / "a.mp4"))


def test_other_file_is_refused(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match=r"of no known kind; .*\.npz, \.npy, \.png, \.jpg, \.jpeg"):
        open_images(str(tmp_path / "a.txt"))


# TensorFlow Datasets


class Shapes(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Nine small pictures with an index, a label and a number; shuffled on disk."""

    VERSION = tfds.core.Version("1.2.0")
    IMAGE = tfds.features.Tensor(shape=(5, 7, 3), dtype=np.uint8)
    EXAMPLES = tuple(colors(5, 7, 3, seed=i) for i in range(9))

    def _info(self):
        features = {
            "image": self.IMAGE,
            "index": np.int64,
            "kind": tfds.features.ClassLabel(names=["round", "square", "other"]),
            "weight": np.float32,
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        for i, image in enumerate(self.EXAMPLES):
            yield i, {"image": image, "index": i, "kind": i % 3, "weight": i / 2}


class Encoded(Shapes, skip_registration=True):
    """The same, with grey pictures that are stored as PNG files."""

    IMAGE = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
    EXAMPLES = tuple(Image.fromarray(colors(5, 7, seed=i)) for i in range(9))


class Uneven(Shapes, skip_registration=True):
    """Pictures of two sizes."""

    IMAGE = tfds.features.Image()
    EXAMPLES = tuple(Image.fromarray(colors(5, 7 + i % 2, 3)) for i in range(9))


def prepare(builder_class, folder):
    builder_class(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def test_tfds_images_come_in_index_order(tmp_path):
    images = open_images("tfds:shapes", path=prepare(Shapes, tmp_path))
    assert np.array_equal(images.images, np.stack(Shapes.EXAMPLES))
    assert images.factor_names == ("kind",)
    assert images.factors[:, 0].tolist() == [0, 1, 2] * 3
    assert images.name == "TFDS shapes train"


def test_tfds_slice_takes_labels(tmp_path):
    images = open_images(
        "tfds:shapes:1.2.0:test", path=prepare(Shapes, tmp_path), fixed={"kind": "square"}, side=4
    )
    assert images.images.shape == (3, 4, 4, 3)
    assert images.factors[:, 0].tolist() == [1, 1, 1]


def test_tfds_with_a_stride_is_thinned_or_refused(tmp_path, monkeypatch):
    prepare(Shapes, tmp_path)
    with pytest.raises(UserError, match=r"2 thins nothing: .* takes 8 values, but 3 at most"):
        open_images("tfds:shapes", path=tmp_path, stride=2)
    monkeypatch.setattr(tfds_set, "NUMBERING", ())
    images = open_images("tfds:shapes", path=tmp_path, stride=2)
    assert np.array_equal(images.images, np.stack(Shapes.EXAMPLES[::2]))


def test_tfds_split_may_be_a_part(tmp_path):
    assert len(open_images("tfds:shapes:train[:4]", path=prepare(Shapes, tmp_path))) == 4


def test_tfds_encoded_pictures_need_no_tensorflow(tmp_path):
    images = open_images("tfds:encoded", path=prepare(Encoded, tmp_path))
    assert np.array_equal(images.images[..., 1], np.stack(Encoded.EXAMPLES))


def test_tfds_images_of_several_sizes_need_a_side(tmp_path):
    prepare(Uneven, tmp_path)
    with pytest.raises(
        UserError, match=r"images of 2 sizes, 7 x 5 and 8 x 5 among them; give a si"
    ):
        open_images("tfds:uneven", path=tmp_path)
    assert open_images("tfds:uneven", path=tmp_path, side=3).images.shape == (9, 3, 3, 3)


@pytest.mark.parametrize(
    ("source", "fixed", "words"),
    [
        ("tfds:shapes:valid", {}, "has no split 'valid'; choose from test, train"),
        ("tfds:shapes", {"kind": "oval"}, "kind has no value 'oval'; choose from round, square"),
        ("tfds:shapes", {"weight": 1}, "no factor is called 'weight'; choose from kind"),
        ("tfds:", {}, "'tfds:' names no set; write tfds:NAME"),
        ("tfds:shapes:9.0.0", {}, "shapes:9.0.0 is not prepared in"),
        ("tfds:no_such_set", {}, "no_such_set is not prepared in .*; check the name"),
    ],
)
def test_tfds_refuses_what_is_not_there(source, fixed, words, tmp_path):
    with pytest.raises(UserError, match=words):
        open_images(source, path=prepare(Shapes, tmp_path), fixed=fixed)


def test_tfds_tfrecord_is_told_how_to_be_prepared_again(tmp_path):
    prepare(Shapes, tmp_path)
    info = tmp_path / "shapes/1.2.0/dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    words = 'prepared as tfrecord, which needs TensorFlow; .* with file_format="array_record"'
    with pytest.raises(UserError, match=words):
        open_images("tfds:shapes", path=tmp_path)


def test_tfds_newest_version_is_read(tmp_path):
    prepare(Shapes, tmp_path)
    versions = tmp_path / "shapes"
    (versions / "1.2.0").rename(versions / "10.0.0")
    (versions / "9.0.0").mkdir()
    (versions / "9.0.0/dataset_info.json").touch()
    assert len(open_images("tfds:shapes", path=tmp_path)) == 9


def test_tfds_configuration_must_be_named_where_there_are_several(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"sets/{name}/1.0.0").mkdir(parents=True)
        (tmp_path / f"sets/{name}/1.0.0/dataset_info.json").touch()
    with pytest.raises(UserError, match=r"2 configurations; choose one of sets/one, sets/two"):
        open_images("tfds:sets", path=tmp_path)


def test_tfds_damaged_folder_is_refused(tmp_path):
    prepare(Shapes, tmp_path)
    (tmp_path / "shapes/1.2.0/dataset_info.json").write_text("{")
    with pytest.raises(UserError, match=r"dataset_info\.json is not valid JSON .*; remove it"):
        open_images("tfds:shapes", path=tmp_path)


def refuse_to_prepare(self, **options):
    raise ModuleNotFoundError("No module named 'tensorflow'\nadvice")


@pytest.mark.parametrize(
    ("builder_class", "reason"),
    [
        (Shapes, "ModuleNotFoundError: No module named 'tensorflow'"),
        (Encoded, r"features\.Image needs TensorFlow to be written"),
    ],
)
def test_tfds_set_that_needs_tensorflow_says_how_else(builder_class, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(builder_class, "download_and_prepare", refuse_to_prepare)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(tfds, "builder", lambda name, **options: builder_class(**options))
    words = rf"cannot be here \({reason}\); .*`tfds build faces --file_format=array_record`"
    with pytest.raises(UserError, match=words):
        open_images("tfds:faces", path=tmp_path)


def test_tfds_set_is_prepared_where_that_is_possible(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds, "builder", lambda name, **options: Shapes(**options))
    assert len(open_images("tfds:shapes", path=tmp_path)) == 9
    assert (tmp_path / "shapes/1.2.0").is_dir()


def test_tfds_set_needs_one_image_feature():
    features = {"left": Shapes.IMAGE, "right": Shapes.IMAGE}
    with pytest.raises(UserError, match=r"tfds:eyes has 2 features .*; it has left, right"):
        tfds_set._image_feature("tfds:eyes", features)


def test_an_archive_of_pictures_named_npz_is_refused(tmp_path):
    save(tmp_path / "a.png", colors(5, 7, 3))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
    with pytest.raises(UserError, match=r"cannot be read as plain arrays \(its member a\.png is"):
        open_images(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("error", [struct.error("bad"), TypeError("bad"), IndexError("bad")])
def test_a_damaged_note_in_a_picture_is_a_damaged_picture(tmp_path, monkeypatch, error):
    save(tmp_path / "a.png", colors(5, 7, 3))

    def stumble(image):
        raise error

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", stumble)
    with pytest.raises(UserError, match=r"a\.png is not a picture that can be read \(bad\)"):
        open_images(str(tmp_path))
