"""The folder that everything about a way goes to: what is in it, and whether it may be replaced."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.pipeline.paths.way import Way
from jaxsurf.workdir import check_writable

JSON, LENGTHS, STEPS, PICTURE = "path.json", "lengths.csv", "steps.csv", "latent.png"
_CODES = r"codes\.(npy|txt)|nodes\.txt|pc\d+(\.npy|\.txt|_nodes\.txt)"


def check(folder: Path, *, read: Iterable[Path] = ()) -> None:
    """Refuse a folder that can't be written, or whose files would be lost when it is replaced.

    Args:
        folder: where files are to go.
        read: files that are read, which may be called as those that are written.

    Raises:
        UserError: it is one of these.
    """
    cure = "choose another with --out"
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file", cure=cure)
        others = sorted(file.name for file in folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise UserError(f"cannot look into {folder}: {error.strerror}", cure=cure) from error
    # What an earlier call wrote has all of its files; names alone may be anybody's.
    others = [name for name in others if JSON not in others or not _ours(name)]
    others += [file.name for file in read if _holds(folder, file)]
    if others:
        raise UserError(
            f"{folder} holds other files, such as {others[0]}, which would be lost",
            cure="choose a new or empty folder with --out",
        )
    if folder.resolve() in (place := Path.cwd(), *place.parents):
        raise UserError(f"{folder} is where you are", cure="choose a folder inside with --out")
    check_writable(folder.parent, kind="the folder", flag="--out")


def write_codes(fresh: Path, ways: Sequence[Way]) -> dict[str, list[str]]:
    """Write the points of ways as NumPy's and as text, and the rows that they lead along.

    Returns:
        The names of the files, by way.
    """
    names: dict[str, list[str]] = {}
    for way in ways:
        stem = way.name if way.name.startswith("pc") else "codes"
        np.save(fresh / f"{stem}.npy", way.points)
        np.savetxt(fresh / f"{stem}.txt", way.points)
        names[way.name] = [f"{stem}.npy", f"{stem}.txt"]
        if way.nodes is not None:
            listed = "nodes.txt" if stem == "codes" else f"{stem}_nodes.txt"
            np.savetxt(fresh / listed, way.nodes, fmt="%d")
            names[way.name].append(listed)
    return names


def _holds(folder: Path, file: Path) -> bool:
    """Return whether a file lies in a folder, by its name or by what that links to."""
    places = file.resolve(), file.parent.resolve() / file.name
    return any(folder.resolve() in place.parents for place in places)


def _ours(name: str) -> bool:
    return name in (JSON, LENGTHS, STEPS, PICTURE) or bool(re.fullmatch(_CODES, name))
