"""The seal of a folder: size and CRC-32 of the files in it, so that damage shows, and a label.

It is put on before the folder gets its name, so a folder without one was never finished, or is not
ours.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxsurf.errors import UserError
from jaxsurf.workdir import read_json, write_json

FILE = "seal.json"
BLOCK_BYTES = 1 << 20


def put_on(folder: Path, parts: Sequence[str], label: dict[str, Any]) -> None:
    """Seal a folder.

    Args:
        folder: the folder.
        parts: the folders in it that will not change any more.
        label: a JSON object to be kept on the seal.

    Raises:
        UserError: the seal can't be written.
    """
    files = sorted(path for part in parts for path in (folder / part).rglob("*") if path.is_file())
    sums = {path.relative_to(folder).as_posix(): _sum(path) for path in files}
    write_json(folder / FILE, {"label": label, "files": sums})


def read_label(folder: Path) -> dict[str, Any] | None:
    """Return the label of a folder; None if it has no seal, or a damaged one."""
    try:
        return read_json(folder / FILE)["label"]
    except (UserError, KeyError):
        return None


def find_damage(folder: Path) -> str:
    """Return what is wrong with a folder, in a few words; nothing if it is as it was sealed.

    Raises:
        OSError: a file that is there can't be read.
    """
    try:
        files = read_json(folder / FILE)["files"].items()
    except (UserError, KeyError, AttributeError):
        return f"it is not finished, or damaged: no {FILE} tells what was written"
    for name, expected in files:
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        # Sizes first: what was cut off is told from what was altered, and without reading it.
        if path.stat().st_size != expected[0]:
            return f"{name} has {path.stat().st_size} bytes of {expected[0]}"
        if _sum(path) != expected:
            return f"{name} was altered"
    return ""


def _sum(path: Path) -> list[int]:
    """Return size and CRC-32 of a file."""
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]
