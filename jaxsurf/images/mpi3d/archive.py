"""MPI3D: its own archive, read as a stream, or what our TFDS builder prepared of it.

An archive is an .npz file with one array `images`: uint8, one square RGB image for every
combination of the seven factors, in C order. It is read from its front, a few megabytes at a time,
and left as soon as the last wanted image has been seen; the slice is kept in the cache, from where
a large one is mapped.
"""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from jaxsurf import workdir
from jaxsurf.errors import UserError
from jaxsurf.images import files, storage, tfds_sets
from jaxsurf.images.image_set import MPI3D, ImageSet
from jaxsurf.images.storage import Member

NAMES = {
    "mpi3d_toy": "MPI3D-toy",
    "mpi3d_realistic": "MPI3D-realistic",
    "mpi3d_real": "MPI3D-real",
}
# Not the older bucket `disentanglement_dataset`, whose links are dead.
BUCKET = "https://storage.googleapis.com/mpi3d_disentanglement_dataset"
# Examples that are decoded at once, each an object of its own until they are put together.
BLOCK = 1024

Indices = Int[np.ndarray, " image"]
Images = UInt8[np.ndarray, "image height width 3"]


def url(name: str) -> str:
    """Return the address of an archive: of mpi3d_toy, mpi3d_realistic or mpi3d_real."""
    return f"{BUCKET}/data/{name}.npz"


def open_mpi3d(
    name: str,
    path: str | Path,
    indices: Indices,
    *,
    side: int | None = None,
    cache_dir: str | Path | None = None,
) -> ImageSet:
    """Return images of MPI3D by number.

    Args:
        name: one of `NAMES`.
        path: the .npz file, its folder, or a TFDS data folder; empty means TFDS's default one.
        indices: numbers of the images, ascending.
        side: height and width to fit them to, in pixels; None keeps their own.
        cache_dir: as for `sources.open_images`.

    Raises:
        UserError: there is no such set, or it is damaged.
    """
    place = Path(path) if path else tfds_sets.default_folder()
    if path and not place.exists():
        raise UserError(f"there is no {place}", cure="give the .npz file, or a folder that exists")
    file = place / f"{name}.npz" if place.is_dir() else place
    if file.is_file():
        whole = inspect(file, num_images=len(MPI3D))
        shape, made_of = whole.shape[1:], storage.identity(file)
    else:
        whole = tfds_sets.load(f"mpi3d/{name}", place)
        if whole is None:
            raise UserError(
                f"{name} is neither prepared in {place} nor there as {name}.npz",
                cure=f"download {url(name)} (older links are dead) and give the file as path, "
                "or prepare it with the TFDS builder in jaxsurf/images/mpi3d",
            )
        file, shape = Path(whole.data_path), tuple(whole.info.features["image"].shape)
        made_of = "\n".join(storage.identity(one) for one in sorted(file.iterdir()))

    def blocks() -> Iterator[Images]:
        read = whole.chunks(indices) if isinstance(whole, Member) else _prepared(whole, indices)
        return (files.resize(block, side) for block in read)

    images = storage.cached(
        blocks,
        shape=(len(indices), *(shape if side is None else (side, side, 3))),
        name=f"{name}-{workdir.fingerprint(indices, str(file.resolve()), f'side {side}')}",
        made_of=made_of,
        folder=cache_dir,
    )
    return ImageSet(
        images, name=NAMES[name], factors=MPI3D.factors(indices), factor_names=MPI3D.names
    )


def _prepared(builder: Any, indices: Indices) -> Iterator[Images]:  # noqa: ANN401  # see tfds_sets.load
    """Yield images of a set that our builder prepared, by number."""
    source, folder = builder.as_data_source("train"), builder.data_path
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


def inspect(path: Path, *, num_images: int) -> Member:
    """Return the images of the archive at `path` after a look at its header alone.

    Args:
        path: an .npz file.
        num_images: how many images it must hold.

    Raises:
        UserError: no such file, not a whole zip file, no array `images`, or not uint8 square RGB
            images of the right number.
    """
    cure = "give MPI3D's own .npz file"
    try:
        found = Member.inspect(path, "images")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', '') or error}") from error
    except zipfile.BadZipFile as error:
        with path.open("rb") as file:
            cut_off = file.read(4) == b"PK\x03\x04"
        cause = "is truncated: its end is missing" if cut_off else "is not an .npz file"
        raise UserError(f"{path} {cause}", cure="download it again" if cut_off else cure) from error
    except (KeyError, RuntimeError, ValueError) as error:
        causes = {
            KeyError: "has no array called 'images'",
            RuntimeError: "is encrypted",
            NotImplementedError: "is compressed in a way that numpy does not use",
        }
        cause = causes.get(type(error), f"does not hold a numpy array ({error})")
        raise UserError(f"{path} {cause}", cure=cure) from error
    shape = found.shape
    square = len(shape) == 4 and shape[1] == shape[2] > 0 and shape[3] == 3
    if found.dtype != np.uint8:
        raise UserError(f"{path} holds {found.dtype} values, expected uint8", cure=cure)
    if found.fortran_order or not square or shape[0] != num_images:
        order = " in Fortran order" if found.fortran_order else ""
        raise UserError(
            f"{path} has shape {shape}{order}, expected ({num_images}, side, side, 3)", cure=cure
        )
    return found
