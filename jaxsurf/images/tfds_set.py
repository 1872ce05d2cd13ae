"""A TensorFlow Datasets set as an image set, read without TensorFlow.

Encoded images are decoded by `picture` rather than by TFDS, so that grey, palettes and transparency
become RGB here as they do everywhere else.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxsurf.errors import UserError
from jaxsurf.images import picture, prepared
from jaxsurf.images.image_set import ImageSet

# Whole numbers that say which example it is, not what it shows.
NUMBERING = ("index", "id")


def open_tfds(
    source: str,
    path: str | Path,
    *,
    fixed: Mapping[str, int | float | str],
    free: Sequence[str],
    stride: int,
    side: int | None,
) -> ImageSet:
    """Return a TFDS set, or one split of it, prepared first if that can be done here.

    Scalar whole-number features, labels among them, become factors. Images come in the order of
    their `index` feature, where they have one, else in the order on disk.

    Args:
        source: "tfds:NAME" or "tfds:NAME:SPLIT"; NAME may go on with /CONFIG and :VERSION.
        path: the TFDS data folder; empty means the default one.
        fixed: the value, or the label, of each factor that is held.
        free: the factors that vary.
        stride: keeps every stride-th value of each free factor, once all images are read.
        side: height and width to fit all images to, in pixels; None keeps their own.

    Raises:
        UserError: it is neither prepared nor can be, is in a format without random access, or has
            no such split, no images, or images of several sizes.
    """
    reference, split = _parse(source)
    root = Path(path) if path else prepared.default_folder()
    builder = prepared.load(prepared.find(root, reference) or prepared.prepare(reference, root))
    split = _choose_split(source, sorted(builder.info.splits), split)
    features = dict(builder.info.features)
    key = _image_feature(source, features)
    # TFDS restores features in any order, and the order of factors is part of a set's identity.
    names = tuple(name for name in sorted(features) if _is_factor(name, features[name]))
    examples = _examples(builder, split, key)
    if "index" in features:
        examples = sorted(examples, key=lambda example: int(example["index"]))
    images = ImageSet(
        _stack([_pixels(example[key], source, side) for example in examples], source),
        name=f"TFDS {reference} {split}",
        factors=np.array([[int(example[name]) for name in names] for example in examples]),
        factor_names=names,
    )
    return images.select(fixed=_numbers(fixed, features), free=free, stride=stride)


def _parse(source: str) -> tuple[str, str]:
    """Return the reference and the split of tfds:NAME[:VERSION][:SPLIT]; no split is empty."""
    name, _, rest = source.removeprefix("tfds:").partition(":")
    version = ""
    if rest[:1].isdecimal():
        version, _, rest = rest.partition(":")
    if not name:
        raise UserError(f"{source!r} names no set", cure="write tfds:NAME or tfds:NAME:SPLIT")
    return f"{name}:{version}" if version else name, rest


def _choose_split(source: str, splits: list[str], asked: str) -> str:
    """Return the split asked for; where none is, "train" or the only one."""
    if asked.split("[")[0] in splits:
        return asked
    if asked or not ("train" in splits or len(splits) == 1):
        what = f"no split {asked!r}" if asked else "several splits and no train"
        raise UserError(f"{source} has {what}", cure=f"choose from {', '.join(splits)}")
    return "train" if "train" in splits else splits[0]


def _image_feature(source: str, features: Mapping[str, Any]) -> str:
    """Return the name of the feature that holds the images."""
    found = [
        name
        for name, feature in features.items()
        if feature.np_dtype == np.uint8 and len(feature.shape or ()) == 3
    ]
    if "image" in found:
        return "image"
    if len(found) != 1:
        raise UserError(
            f"{source} has {len(found)} features that could be its images",
            cure=f"it needs one, called image; it has {', '.join(sorted(features))}",
        )
    return found[0]


def _is_factor(name: str, feature: Any) -> bool:  # noqa: ANN401  # any of TFDS's features
    """Tell the features that say what an image shows, in a whole number."""
    whole = feature.shape == () and np.issubdtype(feature.np_dtype, np.integer)
    return whole and name not in NUMBERING


def _examples(builder: Any, split: str, key: str) -> Iterable[Any]:  # noqa: ANN401  # see prepared.load
    """Return a split's examples, their encoded images still encoded: `picture` decodes them.

    Raises:
        UserError: TFDS doesn't know what the split means, or nothing is in it.
    """
    import tensorflow_datasets as tfds

    encoded = isinstance(builder.info.features[key], tfds.features.Image)
    decoders = {key: tfds.decode.SkipDecoding()} if encoded else None
    try:
        examples = list(builder.as_data_source(split, decoders=decoders))
    except ValueError as error:
        raise UserError(
            f"TFDS does not understand the split {split!r}: {str(error).splitlines()[0]}",
            cure="write it as in train[:1000] or train[10%:20%]",
        ) from error
    if not examples:
        raise UserError(f"the split {split!r} is empty", cure="choose a larger one")
    return examples


def _pixels(value: bytes | np.ndarray, source: str, side: int | None) -> picture.Pixels:
    """Return one example's image."""
    if isinstance(value, bytes):
        return picture.decode(value, origin=source, side=side)
    return picture.from_array(value, origin=source, side=side)


def _stack(images: list[picture.Pixels], source: str) -> UInt8[np.ndarray, "image height width 3"]:
    """Return images of one size as one array."""
    sizes = sorted({f"{image.shape[1]} x {image.shape[0]}" for image in images})
    if len(sizes) > 1:
        raise UserError(
            f"{source} holds images of {len(sizes)} sizes, {sizes[0]} and {sizes[1]} among them",
            cure="give a side to fit all images to",
        )
    return np.stack(images)


def _numbers(
    fixed: Mapping[str, int | float | str], features: Mapping[str, Any]
) -> dict[str, int | float]:
    """Return held values as numbers, labels looked up."""
    return {name: _number(name, value, features) for name, value in fixed.items()}


def _number(name: str, value: int | float | str, features: Mapping[str, Any]) -> int | float:
    """Return one held value as a number."""
    if not isinstance(value, str):
        return value
    labels = getattr(features.get(name), "names", [])
    if value not in labels:
        raise UserError(
            f"{name} has no value {value!r}", cure=f"choose from {', '.join(labels) or 'numbers'}"
        )
    return labels.index(value)
