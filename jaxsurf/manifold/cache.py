"""Arrays on disk that are good for one origin only.

A cache carries a stamp: a text, made by the caller, that names all it was computed from (a
checkpoint's step, a data fingerprint, a configuration). It is read back under the same stamp or
not at all.
"""

from pathlib import Path

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.workdir import read_arrays, write_arrays

_STAMP = "stamp"


class StaleCache(UserError):  # noqa: N818 - it says what is wrong, as the message does
    """A cache that was made from something else than what it is asked for."""


def save(path: Path, *, stamp: str, **arrays: np.ndarray | str | int | float) -> None:
    """Write arrays and their stamp, at once or not at all.

    Args:
        path: the .npz file.
        stamp: names everything that the arrays were computed from.
        **arrays: what to keep.

    Raises:
        UserError: the file cannot be written.
    """
    write_arrays(path, **arrays, **{_STAMP: stamp})


def load(path: Path, *, stamp: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the named arrays of a cache.

    Args:
        path: the .npz file.
        stamp: what the arrays must have been computed from.
        names: the arrays that must be there.

    Raises:
        StaleCache: the file carries another stamp; the message names both.
        UserError: the file is missing, damaged, or not a cache of these arrays.
    """
    arrays = read_arrays(path)
    missing = [name for name in (_STAMP, *names) if name not in arrays]
    if missing:
        raise UserError(
            f"{path} holds no {', '.join(missing)}", cure="remove it; it will be made again"
        )
    if str(arrays[_STAMP]) != stamp:
        raise StaleCache(
            f"{path} was made from {arrays[_STAMP]}, but {stamp} is asked for",
            cure="remove it; it will be made again",
        )
    return {name: arrays[name] for name in names}
