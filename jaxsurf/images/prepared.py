"""Folders of prepared TensorFlow Datasets sets: found, loaded, and if need be prepared here.

What lies prepared on disk is looked up by name and read as it is, whoever wrote it; only what is
not there is asked of tensorflow-datasets, by name: a list of all its builders would reach for the
network. tensorflow-datasets is imported when it is first needed, since that takes half a second.
"""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from jaxsurf.errors import UserError
from jaxsurf.workdir import read_json

# Images that are decoded at once, each an object of its own until they are put together.
BLOCK = 1024
INFO_FILE = "dataset_info.json"
FORMAT = "array_record"


def default_folder() -> Path:
    """Return the folder that tensorflow-datasets uses when it is not given one."""
    return Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")


def find(root: Path, reference: str) -> Path | None:
    """Return the folder of a prepared set, the newest version of it; None if there is none.

    Args:
        root: the TFDS data folder.
        reference: NAME or NAME/CONFIG, with or without :VERSION.

    Raises:
        UserError: the set has several configurations and none is named.
    """
    name, _, version = reference.partition(":")
    direct = _versions(root / name, version)
    if direct or "/" in name:
        return max(direct, key=_version_key, default=None)
    configs = [folder for folder in sorted((root / name).glob("*")) if _versions(folder, version)]
    if len(configs) > 1:
        raise UserError(
            f"{name} is prepared in {len(configs)} configurations",
            cure=f"choose one of {', '.join(f'{name}/{folder.name}' for folder in configs)}",
        )
    return max(_versions(configs[0], version), key=_version_key) if configs else None


def read_rows(
    folder: Path, indices: Int[np.ndarray, " image"]
) -> UInt8[np.ndarray, "image height width 3"]:
    """Return images of a set that jaxsurf's own builder prepared, by number.

    Raises:
        UserError: an example is not where its number says.
    """
    return np.concatenate(list(row_blocks(folder, indices)))


def row_blocks(
    folder: Path, indices: Int[np.ndarray, " image"]
) -> Iterator[UInt8[np.ndarray, "some height width 3"]]:
    """Yield what `read_rows` returns, a few images at a time.

    Raises:
        UserError: as `read_rows` does.
    """
    source = load(folder).as_data_source("train")
    if len(source) <= indices.max():
        raise UserError(f"{folder} holds {len(source)} images, too few", cure="prepare it again")
    for start in range(0, len(indices), BLOCK):
        some = indices[start : start + BLOCK]
        examples = source.__getitems__(some.tolist())
        for index, example in zip(some, examples, strict=True):
            if example["index"] != index:
                raise UserError(
                    f"{folder} has image {example['index']} in place {index}",
                    cure="prepare it again",
                )
        yield np.stack([example["image"] for example in examples])


def image_shape(folder: Path) -> tuple[int, ...]:
    """Return height, width and channels of a set that jaxsurf's own builder prepared.

    Raises:
        UserError: as `load` does.
    """
    return tuple(load(folder).info.features["image"].shape)


def identity(folder: Path) -> str:
    """Return what tells a prepared folder from what it was before: its files, sizes and times."""
    files = [(file.name, file.stat()) for file in sorted(folder.iterdir())]
    told = [f"{name} {status.st_size} {status.st_mtime_ns}" for name, status in files]
    return "\n".join([str(folder.resolve()), *told])


def _versions(folder: Path, version: str) -> list[Path]:
    """Return the folders of a set's versions."""
    return [info.parent for info in folder.glob(f"{version or '*'}/{INFO_FILE}")]


def _version_key(folder: Path) -> list[int]:
    """Return a sort key by which 10.0.0 comes after 9.0.0."""
    return [int(part) if part.isdecimal() else -1 for part in folder.name.split(".")]


def load(folder: Path) -> Any:  # noqa: ANN401  # imported lazily, so its type has no name here
    """Return the read-only builder of a prepared folder.

    Raises:
        UserError: the folder is damaged, or in a format that cannot be read by number.
    """
    import tensorflow_datasets as tfds

    # TFDS's own error for damaged JSON is of a type that only protobuf has.
    read_json(folder / INFO_FILE)
    try:
        builder = tfds.builder_from_directory(folder)
        formats = {found.value for found in builder.info.available_file_formats()}
    except (OSError, ValueError, AssertionError) as error:
        raise UserError(f"{folder} cannot be read ({error})", cure="prepare it again") from error
    if FORMAT not in formats:
        raise UserError(
            f"{folder} is prepared as {', '.join(formats)}, which needs TensorFlow",
            cure=f'prepare it again with file_format="{FORMAT}"',
        )
    return builder


def prepare(reference: str, root: Path) -> Path:
    """Prepare a set that tensorflow-datasets knows, and return its folder.

    Raises:
        UserError: it knows no such set, or cannot prepare it without TensorFlow or a network.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(reference, data_dir=root, file_format=FORMAT)
    except (tfds.core.DatasetNotFoundError, ImportError, AssertionError, ValueError) as error:
        raise UserError(
            f"{reference} is not prepared in {root}, and tensorflow-datasets has no builder of it",
            cure="check the name, or give the folder that holds it as path",
        ) from error
    features: Any = builder.info.features
    encoded = any(isinstance(feature, tfds.features.Image) for feature in features.values())
    if encoded and importlib.util.find_spec("tensorflow") is None:
        # Said before a download rather than after it.
        raise _cannot_prepare(reference, "features.Image needs TensorFlow to be written")
    try:
        builder.download_and_prepare()
    except (ImportError, OSError, RuntimeError, AssertionError, ValueError) as error:
        # The first line says what is missing; those after it are advice to builders' authors.
        reason = str(error).strip().split("\n")[0]
        raise _cannot_prepare(reference, f"{type(error).__name__}: {reason}") from error
    return Path(builder.data_dir)


def _cannot_prepare(reference: str, reason: str) -> UserError:
    """Return the error of a set that has to be prepared elsewhere."""
    return UserError(
        f"{reference} is not prepared, and cannot be here ({reason})",
        cure=f"where TensorFlow and a network are, run `tfds build {reference} "
        f"--file_format={FORMAT}`, and give its data folder as path",
    )
