"""Images that took long to read or to draw, kept in a cache folder.

A cached file is bound to whatever it was made of; when that changes, it is made again. A cache that
cannot be written costs time, never a run: it is only warned of.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxsurf import workdir
from jaxsurf.errors import UserError

_log = logging.getLogger(__name__)


def default_folder() -> Path:
    """Return jaxsurf's folder under XDG_CACHE_HOME, or under ~/.cache where that is not set."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "jaxsurf"


def remembered(
    make: Callable[[], UInt8[np.ndarray, "image height width 3"]],
    *,
    name: str,
    made_of: str,
    folder: str | Path | None = None,
) -> UInt8[np.ndarray, "image height width 3"]:
    """Return the images that `make` returns, from the cache if it still holds them.

    Args:
        make: makes the images.
        name: file name in the cache, without suffix.
        made_of: what the images depend on; a cached file that says otherwise is replaced.
        folder: the cache's folder; None means `default_folder()`.
    """
    path = (default_folder() if folder is None else Path(folder)) / f"{name}.npz"
    kept = _read(path, made_of)
    if kept is not None:
        return kept
    images = make()
    try:
        workdir.write_arrays(path, images=images, made_of=made_of)
    except UserError as error:
        _log.warning("the images are not cached: %s", error)
    return images


def _read(path: Path, made_of: str) -> UInt8[np.ndarray, "image height width 3"] | None:
    """Return cached images, or None if they are missing, damaged or made of something else."""
    try:
        arrays = workdir.read_arrays(path)
    except UserError as error:
        _log.debug("no cached images: %s", error)
        return None
    if set(arrays) != {"images", "made_of"} or str(arrays["made_of"]) != made_of:
        _log.debug("%s is stale and is made again", path)
        return None
    return arrays["images"]
