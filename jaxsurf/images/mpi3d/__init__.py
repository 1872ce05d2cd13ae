"""MPI3D: its own archive, read as a stream, or what the TFDS builder beside this prepared of it.

An archive is an .npz file with one array `images`: uint8, one square RGB image for every
combination of the seven factors, in C order. It is read from its start, a few megabytes at a time,
and left as soon as the last wanted image has been seen; the slice is kept in the cache, from where
a large one is mapped.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from jaxsurf import workdir
from jaxsurf.errors import UserError
from jaxsurf.images import files, storage, tfds_sets
from jaxsurf.images.image_set import MPI3D, ImageSet, Request
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


def url(name: str) -> str:
    """Return the address of an archive: of mpi3d_toy, mpi3d_realistic or mpi3d_real."""
    return f"{BUCKET}/data/{name}.npz"


def open_mpi3d(request: Request) -> ImageSet:
    """Return a slice of MPI3D; the path is its .npz file, that file's folder or a TFDS folder.

    Raises:
        UserError: there is no such set or slice, or it is damaged.
    """
    name, side = request.source, request.side
    indices = MPI3D.indices(request.fixed, request.free, stride=request.stride)
    place = Path(request.path) if request.path else tfds_sets.default_folder()
    if request.path and not place.exists():
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

    def blocks() -> Iterator[UInt8[np.ndarray, "image height width 3"]]:
        read = whole.chunks(indices) if isinstance(whole, Member) else _prepared(whole, indices)
        return (files.resize(block, side) for block in read)

    images = storage.cached(
        blocks,
        shape=(len(indices), *(shape if side is None else (side, side, 3))),
        name=f"{name}-{workdir.fingerprint(indices, str(file.resolve()), f'side {side}')}",
        made_of=made_of,
        folder=request.cache_dir,
    )
    return ImageSet(
        images, name=NAMES[name], factors=MPI3D.factors(indices), factor_names=MPI3D.names
    )


def _prepared(
    builder: Any,  # noqa: ANN401  # see tfds_sets.load
    indices: Indices,
) -> Iterator[UInt8[np.ndarray, "image height width 3"]]:
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
    """Return the images of an archive, which must hold so many, after a look at its header alone.

    Raises:
        UserError: it is not a whole .npz file, or not of so many uint8 square RGB images.
    """
    try:
        found = Member.inspect(path, "images")
    except storage.BROKEN as error:
        reason = getattr(error, "strerror", None) or str(error).strip("'\"")
        raise UserError(
            f"{path} is not MPI3D's own .npz file, or not the whole of it ({reason})",
            cure="download it again",
        ) from error
    order = " in Fortran order" if found.fortran_order else ""
    side = found.shape[1] if len(found.shape) == 4 else 0
    if found.dtype != np.uint8 or order or not side or found.shape != (num_images, side, side, 3):
        raise UserError(
            f"{path} holds {found.dtype} values of shape {found.shape}{order}, "
            f"expected uint8 of ({num_images}, side, side, 3)",
            cure="give MPI3D's own .npz file",
        )
    return found
