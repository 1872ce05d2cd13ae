"""Image sets by name: the built-in robot arm, MPI3D, any TensorFlow Datasets set, and own files.

    open_images("arm")                                    drawn on the spot
    open_images("mpi3d_toy", path="mpi3d_toy.npz")        or a folder that holds the file
    open_images("mpi3d_toy")                              prepared with our TFDS builder
    open_images("tfds:NAME:SPLIT")                        prepared in array_record
    open_images("pictures/"), open_images("images.npz")   own files

Where a source has factors, `fixed` and `free` pick a slice of it; both empty mean the source's own
default slice: for the arm and MPI3D 1,600 images, for the others everything. `stride` thins it: of
each free factor that takes at least 4 * stride values, it keeps every stride-th.

Images of a gibibyte and more are not loaded: those of MPI3D, `.npz` and `.npy` files are mapped
(`jaxsurf.mapped`), where they lie if that can be, else after they were unpacked into the cache.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxsurf import workdir
from jaxsurf.errors import UserError
from jaxsurf.images import arm, cache, files, mpi3d_set, picture, tfds_set
from jaxsurf.images.factors import DEFAULT_FIXED, DEFAULT_FREE, MPI3D, check_names
from jaxsurf.images.image_set import ImageSet

# The renderer's own default, and the side of MPI3D's images.
ARM_SIDE = 64
# What a configuration may call its own files when it gives their place as path.
OWN_KINDS = ("folder", "file")

Fixed = Mapping[str, int | float | str]


def open_images(
    source: str,
    *,
    path: str | Path = "",
    fixed: Fixed | None = None,
    free: Sequence[str] = (),
    stride: int = 1,
    side: int | None = None,
    cache_dir: str | Path | None = None,
) -> ImageSet:
    """Return an image set by name.

    Args:
        source: "arm", "mpi3d_toy", "mpi3d_realistic", "mpi3d_real", "tfds:NAME" or
            "tfds:NAME:SPLIT", or the path of a folder or file.
        path: where the source's file or TFDS data folder lies, if it needs one.
        fixed: the value, or the value's name, of each factor that is held.
        free: the factors that vary.
        stride: keeps every stride-th value of each free factor, as `factors.thinned` does; the
            images of the arm and of MPI3D left out are neither drawn nor held in memory.
        side: height and width of the images, in pixels; None keeps those of the source.
        cache_dir: where images that took long to make are kept, and those too many for memory
            unpacked; None means the user's cache.

    Raises:
        UserError: the source is unknown, cannot be opened, or has no such slice.
    """
    held = dict(fixed or {})
    if source == "arm":
        return _open_arm(path, held, free, stride, ARM_SIDE if side is None else side, cache_dir)
    if source in mpi3d_set.NAMES:
        wanted = MPI3D.indices(*_slice(held, free), stride=stride)
        images = mpi3d_set.open_mpi3d(source, path, wanted, cache_dir=cache_dir)
        return _resized(images, side, cache_dir)
    if source.startswith("tfds:"):
        return tfds_set.open_tfds(source, path, fixed=held, free=free, stride=stride, side=side)
    images = files.open_path(_own_path(source, path), side=side, cache_dir=cache_dir)
    return _sliced(images, held, free, stride)


def _slice(fixed: Fixed, free: Sequence[str]) -> tuple[Fixed, Sequence[str]]:
    """Return the slice asked for; where none is, the one with two degrees of freedom."""
    return (fixed, free) if fixed or free else (DEFAULT_FIXED, DEFAULT_FREE)


def _open_arm(
    path: str | Path,
    fixed: Fixed,
    free: Sequence[str],
    stride: int,
    side: int,
    cache_dir: str | Path | None,
) -> ImageSet:
    """Draw a slice of the arm's grid; size and the axes may be held between two grid values."""
    if path:
        raise UserError(f"the arm is drawn, not read from {path}", cure="leave path out")
    fixed, free = _slice(fixed, free)
    check_names(MPI3D.names, fixed, free)
    numbers = {
        name: MPI3D.value(name, value) if isinstance(value, str) else value
        for name, value in fixed.items()
    }
    rows = arm.grid(numbers, free, stride=stride)
    code = [file.read_text() for file in sorted(Path(arm.__file__).parent.glob("*.py"))]
    images = cache.remembered(
        lambda: arm.render_batch(rows, side=side),
        name=f"arm-{side}-{workdir.fingerprint(rows)}",
        made_of=workdir.fingerprint(*code),
        folder=cache_dir,
    )
    return ImageSet(
        images,
        name="robot arm",
        factors=rows,
        factor_names=arm.FACTOR_NAMES,
        recipe=f"arm, edition {arm.EDITION}, side {side}",
    )


def _resized(images: ImageSet, side: int | None, cache_dir: str | Path | None) -> ImageSet:
    """Return the same set with its images fitted to a square."""
    if side is None:
        return images
    fitted = cache.converted(
        images.images,
        lambda some: picture.resize(some, side),
        how=f"fitted to {side}",
        folder=cache_dir,
    )
    return dataclasses.replace(images, images=fitted)


def _own_path(source: str, path: str | Path) -> Path:
    """Return where own files lie: `path`, or else the source itself.

    Raises:
        UserError: the source is neither known nor there.
    """
    if path and source in OWN_KINDS:
        return Path(path)
    if path or not Path(source).exists():
        raise UserError(
            f"there is no source and no file called {source!r}",
            cure=f"choose from arm, {', '.join(mpi3d_set.NAMES)}, tfds:NAME, "
            "or the path of a folder, .npz or .npy file",
        )
    return Path(source)


def _sliced(images: ImageSet, fixed: Fixed, free: Sequence[str], stride: int) -> ImageSet:
    """Return a slice of own images; everything where none is asked for."""
    numbers = {name: value for name, value in fixed.items() if not isinstance(value, str)}
    if len(numbers) < len(fixed):
        named = ", ".join(fixed.keys() - numbers.keys())
        raise UserError(f"{images.name} has no names for values of {named}", cure="give numbers")
    return images.select(fixed=numbers, free=free, stride=stride)
