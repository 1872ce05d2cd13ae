"""Image sets by name: the built-in robot arm, MPI3D, any TensorFlow Datasets set, and own files.

    open_images("arm")                                    drawn on the spot
    open_images("mpi3d_toy", path="mpi3d_toy.npz")        or a folder that holds the file
    open_images("mpi3d_toy")                              prepared with our TFDS builder
    open_images("tfds:NAME:SPLIT")                        prepared in array_record
    open_images("pictures/"), open_images("images.npz")   own files

Where a source has factors, `fixed` and `free` pick a slice of it; both empty mean the source's own
default slice: for the arm and MPI3D 1,600 images, for the others everything. `stride` thins it: of
each free factor that takes at least 4 * stride values, it keeps every stride-th.

More than a gibibyte of MPI3D's images, or of those in `.npz` and `.npy` files, is not loaded: a
`.npy` file is mapped where it lies, anything else is unpacked into the cache once and mapped there.
"""

from collections.abc import Sequence
from pathlib import Path

from jaxsurf import workdir
from jaxsurf.errors import UserError
from jaxsurf.images import arm, files, storage, tfds_sets
from jaxsurf.images.image_set import DEFAULT_FIXED, DEFAULT_FREE, MPI3D, Fixed, ImageSet
from jaxsurf.images.mpi3d import archive

# The renderer's own default, and the side of MPI3D's images.
ARM_SIDE = 64
# What a configuration may call its own files when it gives their place as path.
OWN_KINDS = ("folder", "file")


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
        stride: keeps every stride-th value of each free factor; the images of the arm and of MPI3D
            left out are neither drawn nor held in memory.
        side: height and width of the images, in pixels; None keeps those of the source.
        cache_dir: where images that took long to make are kept, and those too many for memory
            unpacked; None means the user's cache.

    Raises:
        UserError: the source is unknown, cannot be opened, or has no such slice.
    """
    fixed = fixed or {}
    if source.startswith("tfds:"):
        return tfds_sets.open_tfds(source, path, fixed=fixed, free=free, stride=stride, side=side)
    if source == "arm" or source in archive.NAMES:
        if not fixed and not free:
            fixed, free = DEFAULT_FIXED, DEFAULT_FREE
        if source == "arm":
            return _draw_arm(path, fixed, free, stride, side, cache_dir)
        wanted = MPI3D.indices(fixed, free, stride=stride)
        return archive.open_mpi3d(source, path, wanted, side=side, cache_dir=cache_dir)
    own = bool(path) and source in OWN_KINDS
    if not own and (path or not Path(source).exists()):
        raise UserError(
            f"there is no source and no file called {source!r}",
            cure=f"choose from arm, {', '.join(archive.NAMES)}, tfds:NAME, "
            "or the path of a folder, .npz or .npy file",
        )
    images = files.open_path(Path(path if own else source), side=side, cache_dir=cache_dir)
    return images.select(fixed=fixed, free=free, stride=stride)


def _draw_arm(
    path: str | Path,
    fixed: Fixed,
    free: Sequence[str],
    stride: int,
    side: int | None,
    cache_dir: str | Path | None,
) -> ImageSet:
    """Draw a slice of the arm's grid; size and the axes may be held between two grid values."""
    if path:
        raise UserError(f"the arm is drawn, not read from {path}", cure="leave path out")
    rows, side = arm.grid(fixed, free, stride=stride), ARM_SIDE if side is None else side
    code = [file.read_text() for file in sorted(Path(arm.__file__).parent.glob("*.py"))]
    images = storage.cached(
        lambda: [arm.render_batch(rows, side=side)],
        shape=(len(rows), side, side, 3),
        name=f"arm-{side}-{workdir.fingerprint(rows)}",
        made_of=workdir.fingerprint(*code),
        folder=cache_dir,
    )
    return ImageSet(
        images,
        name="robot arm",
        factors=rows,
        factor_names=MPI3D.names,
        recipe=f"arm, edition {arm.EDITION}, side {side}",
    )
