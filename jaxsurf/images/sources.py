"""Image sets by name: what jaxsurf draws, MPI3D, any TensorFlow Datasets set, and own files.

    open_images("arm"), "loop", "torus", "pole"           drawn on the spot
    open_images("mpi3d_toy", path="mpi3d_toy.npz")        or a folder that holds the file
    open_images("mpi3d_toy")                              prepared with our TFDS builder
    open_images("tfds:NAME:SPLIT")                        prepared in array_record
    open_images("pictures/"), open_images("film.gif")     own files
    open_images("images.npz"), open_images("all.npz:imgs")

A further source is a module with an opener, and its entry in `SOURCES`.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxsurf.errors import UserError
from jaxsurf.images import files, mpi3d, tfds_sets
from jaxsurf.images.drawn import arm, flat, turntable
from jaxsurf.images.image_set import Fixed, ImageSet, Reading, Request

# By name, or by what a name begins with up to its colon.
SOURCES: Mapping[str, Callable[[Request], ImageSet]] = {
    "arm": arm.open_arm,
    "loop": turntable.open_loop,
    "torus": flat.open_torus,
    "pole": flat.open_pole,
    **dict.fromkeys(mpi3d.NAMES, mpi3d.open_mpi3d),
    "tfds:": tfds_sets.open_tfds,
}

MOST_SIDE = 8192  # images of that side, trained on, take more memory than there is

# What a configuration may call a user's own files, which `path` names.
OWN = ("folder", "file")


def is_named(source: str) -> bool:
    """Return whether a source is one of `SOURCES`, not a user's own file."""
    return (source[: source.find(":") + 1] or source) in SOURCES


def split(source: str) -> tuple[str, str]:
    """Return the file of a source and the name of the array in it, as in `sprites.npz:imgs`."""
    file, _, key = source.rpartition(":")
    named = bool(key) and not os.path.exists(source) and os.path.isfile(file)  # noqa: PTH110, PTH113
    return (file, key) if named else (source, "")


def open_images(
    source: str,
    *,
    path: str | Path = "",
    fixed: Fixed | None = None,
    free: Sequence[str] = (),
    stride: int = 1,
    side: int | None = None,
    cache_dir: str | Path | None = None,
    **reading: Any,  # noqa: ANN401
) -> ImageSet:
    """Return an image set by name.

    Args:
        source: one of `SOURCES`, or the path of a folder or file.
        path: where the source's file or TFDS data folder lies, if it needs one.
        fixed: the value, or the value's name, of each factor that is held.
        free: the factors that vary. With `fixed` empty too, the source's default slice: of the arm
            and of MPI3D 1,600 images, of others everything.
        stride: keeps every stride-th value of each free factor that takes at least 4 * stride.
        side: the longer side of the images, in pixels; None keeps that of the source.
        cache_dir: where images are kept that took long to make, or do not fit into memory; None
            means the user's cache.
        reading: how own files are read, by the names that `image_set.Reading` has.
    """
    if side is not None and not 1 <= side <= MOST_SIDE:
        raise UserError(f"side is {side}", cure=f"give 1 to {MOST_SIDE}")
    asked = Reading(**reading)
    opener = SOURCES.get(source[: source.find(":") + 1] or source)
    if opener is not None:
        for name, value in vars(Reading()).items():
            if getattr(asked, name) != value:
                cause = f"data.{name} means nothing for the source {source}"
                raise UserError(cause, cure="leave it out")
        return opener(Request(source, path, fixed or {}, free, stride, side, cache_dir))
    own = bool(path) and source in OWN
    if not own and not path and not asked.key:
        source, key = split(source)
        asked = dataclasses.replace(asked, key=key)
    # os.path.exists takes any text; Path.exists not too long ones.
    if not own and (path or not os.path.exists(source)):  # noqa: PTH110
        names = [f"{name}NAME" if name.endswith(":") else name for name in SOURCES]
        raise UserError(
            f"there is no source and no file called {source!r}",
            cure=f"choose from {', '.join(names)}, or the path of a folder, picture, film or array",
        )
    request = Request("file", side=side, cache_dir=cache_dir, reading=asked)
    images = files.open_path(Path(path if own else source), request)
    return images.select(fixed=fixed, free=free, stride=stride)
