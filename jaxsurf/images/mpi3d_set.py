"""A slice of MPI3D as an image set: from its own file, or from what our TFDS builder prepared.

A slice of less than `mapped.LARGE_BYTES` is read into memory. A larger one is mapped: where it lies
if the file holds it stored and in a row, else from the cache, where it is unpacked once.
"""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from jaxsurf import mapped, workdir
from jaxsurf.errors import UserError
from jaxsurf.images import cache, prepared
from jaxsurf.images.factors import MPI3D
from jaxsurf.images.image_set import ImageSet
from jaxsurf.images.mpi3d import archive
from jaxsurf.images.mpi3d.archive import Archive

NAMES = {
    "mpi3d_toy": "MPI3D-toy",
    "mpi3d_realistic": "MPI3D-realistic",
    "mpi3d_real": "MPI3D-real",
}

Indices = Int[np.ndarray, " image"]
Images = UInt8[np.ndarray, "image height width 3"]
Folder = str | Path | None


def open_mpi3d(
    name: str, path: str | Path, indices: Indices, *, cache_dir: Folder = None
) -> ImageSet:
    """Return images of MPI3D by number.

    Args:
        name: one of `NAMES`.
        path: the .npz file, its folder, or a TFDS data folder; empty means TFDS's default one.
        indices: numbers of the images, ascending.
        cache_dir: as for `sources.open_images`.

    Raises:
        UserError: there is no such set, or it is damaged.
    """
    place = Path(path) if path else prepared.default_folder()
    if path and not place.exists():
        raise UserError(f"there is no {place}", cure="give the .npz file, or a folder that exists")
    file = place / f"{name}.npz" if place.is_dir() else place
    if file.is_file():
        whole = archive.inspect(file, num_images=len(MPI3D))
        images = _from_archive(name, whole, indices, cache_dir)
    else:
        images = _from_folder(name, _find_prepared(name, place), indices, cache_dir)
    return ImageSet(
        images, name=NAMES[name], factors=MPI3D.factors(indices), factor_names=MPI3D.names
    )


def _from_archive(name: str, whole: Archive, indices: Indices, cache_dir: Folder) -> Images:
    """Return images of MPI3D's own file."""
    kept = {
        "name": f"{name}-{workdir.fingerprint(indices, str(whole.path.resolve()))}",
        "made_of": whole.identity,
        "folder": cache_dir,
    }
    shape = (len(indices), *whole.shape[1:])
    if not _is_large(shape):
        return cache.remembered(lambda: whole.read(indices), **kept)
    if whole.stored and indices[-1] - indices[0] + 1 == len(indices):
        return whole.map(int(indices[0]), len(indices))
    return cache.unpacked(lambda: whole.read_blocks(indices), shape=shape, **kept)


def _from_folder(name: str, folder: Path, indices: Indices, cache_dir: Folder) -> Images:
    """Return images that our builder prepared."""
    shape = (len(indices), *prepared.image_shape(folder))
    if not _is_large(shape):
        return prepared.read_rows(folder, indices)
    return cache.unpacked(
        lambda: prepared.row_blocks(folder, indices),
        shape=shape,
        name=f"{name}-{workdir.fingerprint(indices, str(folder.resolve()))}",
        made_of=workdir.fingerprint(prepared.identity(folder)),
        folder=cache_dir,
    )


def _is_large(shape: tuple[int, ...]) -> bool:
    return math.prod(shape) > mapped.LARGE_BYTES


def _find_prepared(name: str, root: Path) -> Path:
    """Return the folder that our builder prepared.

    Raises:
        UserError: there is none; it names both ways to one.
    """
    folder = prepared.find(root, f"mpi3d/{name}")
    if folder is None:
        raise UserError(
            f"{name} is neither prepared in {root} nor there as {name}.npz",
            cure=f"download {archive.url(name)} (older links are dead) and give the file as path, "
            "or prepare it with the TFDS builder in jaxsurf/images/mpi3d",
        )
    return folder
