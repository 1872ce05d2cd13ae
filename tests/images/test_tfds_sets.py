"""TensorFlow Datasets sets, prepared on disk or here, without TensorFlow."""

import shutil

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder in which all of them are prepared."""
    folder = tmp_path_factory.mktemp("data")
    for builder_class in (Shapes, Encoded, Transparent):
        builder_class(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


@pytest.mark.core
def test_images_come_in_index_order_with_whole_numbers_as_factors(folder):
    images = open_images("tfds:shapes", path=folder)
    assert np.array_equal(images.images, np.stack(Shapes.EXAMPLES))
    assert images.factor_names == ("kind",)
    assert images.factors[:, 0].tolist() == [0, 1, 2] * 3
    assert images.name == "TFDS shapes train"
    assert len(open_images("tfds:shapes:train[:4]", path=folder)) == 4


def test_slice_takes_labels_and_a_stride(folder, monkeypatch):
    images = open_images("tfds:shapes:1.2.0:test", path=folder, fixed={"kind": "square"}, side=4)
    assert images.images.shape == (3, 3, 4, 3)
    assert images.factors[:, 0].tolist() == [1, 1, 1]
    monkeypatch.setattr(tfds_sets, "NUMBERING", ())
    images = open_images("tfds:shapes", path=folder, stride=2)
    assert np.array_equal(images.images, np.stack(Shapes.EXAMPLES[::2]))


def test_encoded_pictures_need_no_tensorflow_and_keep_their_channels(folder):
    images = open_images("tfds:encoded", path=folder)
    assert np.array_equal(images.images[..., 0], np.stack(Encoded.EXAMPLES))
    images = open_images("tfds:transparent", path=folder)
    assert images.images.shape == (9, 5, 7, 4)
    assert (images.look.rgb(images.images) == 255).all()


@pytest.mark.parametrize(
    ("source", "changes", "words"),
    [
        (
            "tfds:shapes:valid",
            {},
            "cannot read the split 'valid': Unknown split 'valid'. Should be one of",
        ),
        ("tfds:shapes:train[:0]", {}, "TFDS cannot read the split"),
        ("tfds:shapes:train[what]", {}, r"TFDS cannot read the split 'train\[what\]'.*; write it"),
        ("tfds:shapes", {"fixed": {"kind": "oval"}}, "'oval'; choose from .* or round, square"),
        ("tfds:shapes", {"fixed": {"weight": 1}}, "no factor is called 'weight'; choose from kind"),
        ("tfds:shapes", {"stride": 2}, r"2 thins nothing: .* takes 8 values, but 3 at most"),
        ("tfds:", {}, "'tfds:' names no set; write tfds:NAME"),
        ("tfds:shapes:9.0.0", {}, "shapes:9.0.0 is not prepared in"),
        ("tfds:faces", {}, "not prepared in .*`tfds build faces --file_format=array_record`"),
    ],
)
def test_what_is_not_there_is_refused(source, changes, words, folder):
    with pytest.raises(UserError, match=words):
        open_images(source, path=folder, **changes)


def test_a_set_of_several_configurations_names_them(folder, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(folder / "shapes/1.2.0", tmp_path / f"sets/{name}/1.0.0")
    with pytest.raises(UserError, match=r"not prepared .*; choose one of sets/one, sets/two"):
        open_images("tfds:sets", path=tmp_path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda info: "{", r"shapes in .* is damaged \(.*\); prepare it again"),
        (lambda info: info.replace('"array_record"', '"tfrecord"'),
         'prepared as tfrecord, which needs TensorFlow; .* with file_format="array_record"'),
    ],
)  # fmt: skip
def test_folders_that_cannot_be_read_are_refused(changed, words, folder, tmp_path):
    shutil.copytree(folder / "shapes", tmp_path / "shapes")
    info = tmp_path / "shapes/1.2.0/dataset_info.json"
    info.write_text(changed(info.read_text()))
    with pytest.raises(UserError, match=words):
        open_images("tfds:shapes", path=tmp_path)
