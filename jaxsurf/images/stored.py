"""An .npz file whose images are stored, not compressed: written in blocks, mapped where they lie.

An .npz is a zip file with one .npy member an array. A stored member is the array's own bytes, at
one place in the file, so that it need not be unpacked.
"""

import io
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from jaxsurf import mapped

ARRAY = "images"
# A local file header of a zip file: 30 bytes, the lengths of name and extra field in the last four
# (APPNOTE.TXT 4.3.7).
LOCAL_HEADER = struct.Struct("<26xHH")
ENCRYPTED = 0x1


def write(
    path: Path,
    blocks: Iterable[UInt8[np.ndarray, "block height width 3"]],
    *,
    shape: tuple[int, ...],
    **others: str,
) -> None:
    """Write images as the array `images` of an .npz file, as they come.

    Args:
        path: the file.
        blocks: all images in order.
        shape: of all images together.
        **others: short texts, an array each.

    Raises:
        ValueError: the blocks hold more or fewer images than `shape` says.
        OSError: the file cannot be written.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in others.items():
            data = io.BytesIO()
            np.save(data, np.asarray(text), allow_pickle=False)
            archive.writestr(f"{name}.npy", data.getvalue())
        with archive.open(f"{ARRAY}.npy", "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            written = 0
            for block in blocks:
                member.write(np.ascontiguousarray(block).data)
                written += len(block)
        if written != shape[0]:
            raise ValueError(f"{written} images came, not {shape[0]}")


def open_member(path: Path, name: str, *, least_bytes: int = 0) -> np.memmap | None:
    """Return an array of an .npz file, mapped; None where it can't be.

    It can be where it is there and stored, in C order and of numbers.

    Args:
        path: the file.
        name: of the array.
        least_bytes: a smaller one is not mapped.

    Raises:
        UserError: the file is too short.
        ValueError: the member is no array.
        OSError: the file cannot be read.
        zipfile.BadZipFile: it is no zip file, or its end is missing.
    """
    with zipfile.ZipFile(path) as archive:
        member = archive.NameToInfo.get(f"{name}.npy")
        if member is None or member.file_size < least_bytes:
            return None
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & ENCRYPTED:
            return None
        with archive.open(member) as stream:
            if np.lib.format.read_magic(stream) != (1, 0):
                return None
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
            start = stream.tell()
    if fortran_order or not np.issubdtype(dtype, np.number):
        return None
    return mapped.open_array(
        path, start=data_offset(path, member) + start, shape=shape, dtype=dtype
    )


def data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Return where a stored member's data begins in the file."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(LOCAL_HEADER.size)
    return member.header_offset + LOCAL_HEADER.size + sum(LOCAL_HEADER.unpack(header))


def read_text(path: Path, name: str) -> Shaped[np.ndarray, ""]:
    """Return a short array of an .npz file; raises what `open_member` does."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)
