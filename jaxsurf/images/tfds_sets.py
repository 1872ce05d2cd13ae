"""A TensorFlow Datasets set as an image set, read without TensorFlow.

tensorflow-datasets is imported when it is first needed, since that takes half a second. Encoded
images are decoded by `pictures`, and become here what they do everywhere else.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.images import pictures, storage
from jaxsurf.images.formats import Part
from jaxsurf.images.image_set import ImageSet, Request
from jaxsurf.images.pictures import Origin

FORMAT = "array_record"
# Whole numbers that say which example it is, not what it shows.
NUMBERING = ("index", "id")


def open_tfds(request: Request) -> ImageSet:
    """Return a prepared TFDS set, or one split of it.

    The NAME in the source may go on with /CONFIG and :VERSION. Scalar whole-number features, labels
    among them, become factors. Images come in the order of their `index` feature, where they have
    one, else in the order on disk.
    """
    source = request.source
    reference, _, split = source.removeprefix("tfds:").partition(":")
    if not reference:
        raise UserError(f"{source!r} names no set", cure="write tfds:NAME or tfds:NAME:SPLIT")
    if split[:1].isdecimal():
        version, _, split = split.partition(":")
        reference = f"{reference}:{version}"
    root = Path(request.path) if request.path else default_folder()
    builder = load(reference, root)
    if builder is None:
        found = sorted((root / reference).glob("*/*/dataset_info.json"))
        configs = ", ".join(f"{reference}/{info.parents[1].name}" for info in found)
        raise UserError(
            f"{reference} is not prepared in {root}",
            cure=f"choose one of {configs}"
            if configs
            else f"give the folder that holds it as path, or run `tfds build {reference} "
            f"--file_format={FORMAT}` where TensorFlow and a network are",
        )
    features: dict[str, Any] = dict(builder.info.features)
    splits = sorted(builder.info.splits)
    split = split or ("train" if "train" in splits else splits[0])
    uint8 = [name for name, each in features.items() if each.np_dtype == np.uint8]
    found = [name for name in uint8 if len(features[name].shape or ()) == 3]
    if "image" not in found and len(found) != 1:
        raise UserError(
            f"{source} has {len(found)} features that could be its images",
            cure=f"it needs one, called image; it has {', '.join(sorted(features))}",
        )
    key = "image" if "image" in found else found[0]
    examples = _examples(builder, split, key)
    # TFDS restores features in any order, and the order of factors is part of a set's identity.
    names = tuple(
        name
        for name, feature in sorted(features.items())
        if feature.shape == () and np.issubdtype(feature.np_dtype, np.integer)
        if name not in NUMBERING
    )
    parts = [Part(f"image {n} of {source}", one[key]) for n, one in enumerate(examples)]
    opened = dataclasses.replace(
        pictures.collect(parts, request, Origin(title=f"TFDS {reference} {split}")),
        factors=np.array([[int(example[name]) for name in names] for example in examples]),
        factor_names=names,
        labels={name: getattr(features[name], "names", None) or () for name in names},
        files=(),
    )
    chosen = opened.select(fixed=request.fixed, free=request.free, stride=request.stride)
    return dataclasses.replace(chosen, labels={})  # names are for the slice: factors are numbers


def _examples(builder: Any, split: str, key: str) -> list[Any]:  # noqa: ANN401  # see load
    """Return a split's examples by number, their encoded images still encoded."""
    import tensorflow_datasets as tfds

    encoded = isinstance(builder.info.features[key], tfds.features.Image)
    decoders = {key: tfds.decode.SkipDecoding()} if encoded else None
    try:
        examples = list(builder.as_data_source(split, decoders=decoders))
    except ValueError as error:
        raise UserError(
            f"TFDS cannot read the split {split!r}: {str(error).splitlines()[0]}",
            cure="write it as in train[:1000] or train[10%:20%]",
        ) from error
    numbered = "index" in builder.info.features
    return sorted(examples, key=lambda one: int(one["index"])) if numbered else examples


def default_folder() -> Path:
    """Return the folder that tensorflow-datasets uses when it is not given one."""
    return Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")


def load(reference: str, root: Path) -> Any:  # noqa: ANN401  # imported lazily: its type has no name
    """Return the read-only builder of a prepared set, NAME or NAME/CONFIG; None without one."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.read_only_builder import builder_from_files

    with storage.refusing(f"{reference} in {root}", "is damaged", cure="prepare it again"):
        try:
            builder = builder_from_files(reference, data_dir=root)
        except tfds.core.DatasetNotFoundError:
            return None
        formats = {found.value for found in builder.info.available_file_formats()}
    if FORMAT not in formats:
        raise UserError(
            f"{builder.data_path} is prepared as {', '.join(formats)}, which needs TensorFlow",
            cure=f'prepare it again with file_format="{FORMAT}"',
        )
    return builder
