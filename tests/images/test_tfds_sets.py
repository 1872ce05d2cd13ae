"""TensorFlow Datasets sets, prepared on disk or here, without TensorFlow."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxsurf.errors import UserError
from jaxsurf.images import tfds_sets
from jaxsurf.images.sources import open_images


def colors(*shape, seed=0):
    """Return random uint8 pixels."""
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


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


class Transparent(Shapes, skip_registration=True):
    """Pictures that are not there at all."""

    IMAGE = tfds.features.Image(shape=(None, None, 4), encoding_format="png")
    EXAMPLES = (Image.new("RGBA", (7, 5)),) * 9


class Uneven(Shapes, skip_registration=True):
    """Pictures of two sizes."""

    IMAGE = tfds.features.Image()
    EXAMPLES = tuple(Image.fromarray(colors(5, 7 + i % 2, 3)) for i in range(9))


def prepare(builder_class, folder):
    builder_class(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def test_images_come_in_index_order(tmp_path):
    images = open_images("tfds:shapes", path=prepare(Shapes, tmp_path))
    assert np.array_equal(images.images, np.stack(Shapes.EXAMPLES))
    assert images.factor_names == ("kind",)
    assert images.factors[:, 0].tolist() == [0, 1, 2] * 3
    assert images.name == "TFDS shapes train"


def test_slice_takes_labels(tmp_path):
    images = open_images(
        "tfds:shapes:1.2.0:test", path=prepare(Shapes, tmp_path), fixed={"kind": "square"}, side=4
    )
    assert images.images.shape == (3, 4, 4, 3)
    assert images.factors[:, 0].tolist() == [1, 1, 1]


def test_with_a_stride_is_thinned_or_refused(tmp_path, monkeypatch):
    prepare(Shapes, tmp_path)
    with pytest.raises(UserError, match=r"2 thins nothing: .* takes 8 values, but 3 at most"):
        open_images("tfds:shapes", path=tmp_path, stride=2)
    monkeypatch.setattr(tfds_sets, "NUMBERING", ())
    images = open_images("tfds:shapes", path=tmp_path, stride=2)
    assert np.array_equal(images.images, np.stack(Shapes.EXAMPLES[::2]))


def test_split_may_be_a_part(tmp_path):
    assert len(open_images("tfds:shapes:train[:4]", path=prepare(Shapes, tmp_path))) == 4


def test_encoded_pictures_need_no_tensorflow(tmp_path):
    images = open_images("tfds:encoded", path=prepare(Encoded, tmp_path))
    assert np.array_equal(images.images[..., 1], np.stack(Encoded.EXAMPLES))


def test_transparent_pictures_lie_on_white(tmp_path):
    images = open_images("tfds:transparent", path=prepare(Transparent, tmp_path))
    assert images.images.shape == (9, 5, 7, 3)
    assert (images.images == 255).all()


def test_images_of_several_sizes_need_a_side(tmp_path):
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
        (
            "tfds:shapes",
            {"kind": "oval"},
            "kind has no value 'oval'; choose from 0, 1, 2 or round, square",
        ),
        ("tfds:shapes", {"weight": 1}, "no factor is called 'weight'; choose from kind"),
        ("tfds:", {}, "'tfds:' names no set; write tfds:NAME"),
        ("tfds:shapes:9.0.0", {}, "shapes:9.0.0 is not prepared in"),
        (
            "tfds:faces",
            {},
            "faces is not prepared in .*`tfds build faces --file_format=array_record`",
        ),
    ],
)
def test_refuses_what_is_not_there(source, fixed, words, tmp_path):
    with pytest.raises(UserError, match=words):
        open_images(source, path=prepare(Shapes, tmp_path), fixed=fixed)


def test_tfrecord_is_told_how_to_be_prepared_again(tmp_path):
    prepare(Shapes, tmp_path)
    info = tmp_path / "shapes/1.2.0/dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    words = 'prepared as tfrecord, which needs TensorFlow; .* with file_format="array_record"'
    with pytest.raises(UserError, match=words):
        open_images("tfds:shapes", path=tmp_path)


def test_newest_version_is_read(tmp_path):
    prepare(Shapes, tmp_path)
    versions = tmp_path / "shapes"
    (versions / "1.2.0").rename(versions / "10.0.0")
    (versions / "9.0.0").mkdir()
    (versions / "9.0.0/dataset_info.json").touch()
    assert len(open_images("tfds:shapes", path=tmp_path)) == 9


def test_configuration_must_be_named_where_there_are_several(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"sets/{name}/1.0.0").mkdir(parents=True)
        (tmp_path / f"sets/{name}/1.0.0/dataset_info.json").touch()
    with pytest.raises(UserError, match=r"not prepared .*; choose one of sets/one, sets/two"):
        open_images("tfds:sets", path=tmp_path)


def test_damaged_folder_is_refused(tmp_path):
    prepare(Shapes, tmp_path)
    (tmp_path / "shapes/1.2.0/dataset_info.json").write_text("{")
    with pytest.raises(UserError, match=r"shapes in .* is damaged \(.*\); prepare it again"):
        open_images("tfds:shapes", path=tmp_path)


def test_set_needs_one_image_feature():
    features = {"left": Shapes.IMAGE, "right": Shapes.IMAGE}
    with pytest.raises(UserError, match=r"tfds:eyes has 2 features .*; it has left, right"):
        tfds_sets.image_feature("tfds:eyes", features)
