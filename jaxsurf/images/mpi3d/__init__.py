"""MPI3D: its own archive, read as a stream, or what the TFDS builder beside this prepared of it.

An archive is an .npz file with one array `images`: uint8, one square RGB image for every
combination of the seven factors, in C order. It is read from its start until the last wanted image
has been seen; the slice is kept in the cache.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from jaxsurf import workdir
from jaxsurf.errors import UserError
from jaxsurf.images import fitting, storage, tfds_sets
from jaxsurf.images.image_set import MPI3D, ImageSet, Request
from jaxsurf.images.storage import Member

NAMES = ("mpi3d_toy", "mpi3d_realistic", "mpi3d_real")
# Not the older bucket `disentanglement_dataset`, whose links are dead.
URL = "https://storage.googleapis.com/mpi3d_disentanglement_dataset/data/{}.npz"
# Examples that are decoded at once, each an object of its own until they are put together.
BLOCK = 1024


def open_mpi3d(request: Request) -> ImageSet:
    """Return a slice of MPI3D; the path is its .npz file, that file's folder or a TFDS folder."""
    name, side = request.source, request.side
    factors = MPI3D.rows(request)
    indices = np.asarray(np.ravel_multi_index(tuple(factors.T), MPI3D.sizes))
    place = Path(request.path) if request.path else tfds_sets.default_folder()
    file = place / f"{name}.npz" if place.is_dir() else place
    if file.is_file():
        whole = inspect(file, num_images=len(MPI3D))
        shape, made_of = whole.shape[1:], storage.identity(file)
    else:
        whole = tfds_sets.load(f"mpi3d/{name}", place)
        if whole is None:
            raise UserError(
                f"{name} is neither prepared in {place} nor there as {name}.npz",
                cure=f"download {URL.format(name)} (older links are dead), give the file as path, "
                "or prepare it with the TFDS builder in jaxsurf/images/mpi3d",
            )
        file, shape = Path(whole.data_path), tuple(whole.info.features["image"].shape)
        made_of = "\n".join(storage.identity(one) for one in sorted(file.iterdir()))

    def blocks() -> Iterator[UInt8[np.ndarray, "image height width 3"]]:
        read = whole.chunks(indices) if isinstance(whole, Member) else _prepared(whole, indices)
        return (fitting.resize(block, (side, side)) if side else block for block in read)

    images = storage.cached(
        blocks,
        shape=(len(indices), *(shape if side is None else (side, side, 3))),
        name=f"{name}-{workdir.fingerprint(indices, str(file.resolve()), f'side {side}')}",
        made_of=made_of,
        folder=request.cache_dir,
    )
    title = name.replace("mpi3d_", "MPI3D-")
    return ImageSet(images, title, factors, MPI3D.names)


def _prepared(
    builder: Any,  # noqa: ANN401  # see tfds_sets.load
    indices: Int[np.ndarray, " image"],
) -> Iterator[UInt8[np.ndarray, "image height width 3"]]:
    source = builder.as_data_source("train")
    for start in range(0, len(indices), BLOCK):
        some = indices[start : start + BLOCK].tolist()
        examples = source.__getitems__(some) if some[-1] < len(source) else []
        if [int(example["index"]) for example in examples] != some:
            raise UserError(
                f"{builder.data_path} holds other images than MPI3D's", cure="prepare it again"
            )
        yield np.stack([example["image"] for example in examples])


def inspect(path: Path, *, num_images: int) -> Member:
    """Return the images of an archive, which must hold so many, from a look at its header alone."""
    problem = "is not MPI3D's own .npz file, or not the whole of it"
    with storage.refusing(path, problem, cure="download it again"):
        found = Member.inspect(path, "images")
        expected = (num_images, *found.shape[1:2] * 2, 3)
        if found.dtype != np.uint8 or found.fortran_order or found.shape != expected:
            raise ValueError(f"it holds {found.dtype} values of shape {found.shape}")
    return found
