"""MPI3D's archive, read in blocks: 12.7 GB of images pass through a few megabytes of memory.

An archive is an .npz file, that is a zip file with one member `images.npy`: uint8, one square RGB
image for every combination of the seven factors, in C order. Stored (uncompressed) members are
read where the wanted images lie; deflated ones are decompressed from the front, and left as soon
as the last wanted image has been seen.
"""

import contextlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Int, UInt8

from jaxsurf.errors import UserError

ARRAY = "images"
# Large enough that the calls cost nothing, small enough to be nothing beside the images wanted.
BLOCK_BYTES = 4 << 20
# A local file header of a zip file: 30 bytes, the lengths of name and extra field in the last four
# (APPNOTE.TXT 4.3.7).
LOCAL_HEADER = struct.Struct("<26xHH")
ENCRYPTED = 0x1

# Not the older bucket `disentanglement_dataset`, whose links are dead.
BUCKET = "https://storage.googleapis.com/mpi3d_disentanglement_dataset"
DOWNLOAD_AGAIN = "download it again"


def url(name: str) -> str:
    """Return the address of an archive: of mpi3d_toy, mpi3d_realistic or mpi3d_real."""
    return f"{BUCKET}/data/{name}.npz"


@dataclass(frozen=True)
class Archive:
    """An archive whose header has been read and found good.

    Args:
        path: the .npz file.
        shape: of the array: (image, height, width, 3).
        start: where the first image begins: in the file if stored, in the member if deflated.
        stored: whether the member is stored rather than deflated.
    """

    path: Path
    shape: tuple[int, ...]
    start: int
    stored: bool

    @property
    def identity(self) -> str:
        """What tells this file from an older or newer one of the same name: path, size and time."""
        status = self.path.stat()
        return f"{self.path.resolve()} {status.st_size} {status.st_mtime_ns}"

    def read(
        self, indices: Int[np.ndarray, " wanted"]
    ) -> UInt8[np.ndarray, "wanted height width 3"]:
        """Return the images of the given numbers, which ascend.

        Raises:
            UserError: the file is damaged.
        """
        wanted = np.empty((len(indices), *self.shape[1:]), np.uint8)
        with self._stream() as stream:
            for start, stop in self._spans():
                first, last = np.searchsorted(indices, (start, stop))
                if first < last:
                    block = self._block(stream, start, stop)
                    wanted[first:last] = block[indices[first:last] - start]
        return wanted

    def blocks(self) -> Iterator[UInt8[np.ndarray, "block height width 3"]]:
        """Yield all images in order, a few megabytes at a time.

        Raises:
            UserError: the file is damaged.
        """
        with self._stream() as stream:
            for start, stop in self._spans():
                yield self._block(stream, start, stop)

    @property
    def _image_bytes(self) -> int:
        """Size of one image."""
        return int(np.prod(self.shape[1:]))

    def _spans(self) -> Iterator[tuple[int, int]]:
        """Yield the first image number of each block, and the one after its last."""
        step = max(1, BLOCK_BYTES // self._image_bytes)
        for start in range(0, self.shape[0], step):
            yield start, min(start + step, self.shape[0])

    @contextlib.contextmanager
    def _stream(self) -> Iterator[IO[bytes]]:
        """Open the file, or its member, for the time of reading; turn damage into a `UserError`."""
        try:
            with contextlib.ExitStack() as stack:
                if self.stored:
                    yield stack.enter_context(self.path.open("rb"))
                else:
                    archive = stack.enter_context(zipfile.ZipFile(self.path))
                    yield stack.enter_context(archive.open(f"{ARRAY}.npy"))
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise UserError(f"{self.path} is damaged ({error})", cure=DOWNLOAD_AGAIN) from error

    def _block(
        self, stream: IO[bytes], start: int, stop: int
    ) -> UInt8[np.ndarray, "block height width 3"]:
        """Return the images from number `start` up to `stop`."""
        stream.seek(self.start + start * self._image_bytes)
        data = stream.read((stop - start) * self._image_bytes)
        if len(data) < (stop - start) * self._image_bytes:
            raise EOFError(f"it ends within images {start}..{stop - 1}")
        return np.frombuffer(data, np.uint8).reshape(stop - start, *self.shape[1:])


def inspect(path: Path, *, num_images: int) -> Archive:
    """Return the archive at `path` after a look at its header alone.

    Args:
        path: an .npz file.
        num_images: how many images it must hold.

    Raises:
        UserError: no such file, not a whole zip file, no array `images`, or not uint8 square RGB
            images of the right number.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = _member(path, archive)
            with archive.open(member) as stream:
                shape = _read_header(path, stream, num_images)
                start = stream.tell()
        if member.file_size != start + np.prod(shape):
            raise UserError(
                f"{path} is truncated: its array takes {start + np.prod(shape)} bytes, "
                f"but {member.file_size} are there",
                cure=DOWNLOAD_AGAIN,
            )
        stored = member.compress_type == zipfile.ZIP_STORED
        return Archive(path, shape, start + (_data_offset(path, member) if stored else 0), stored)
    except zipfile.BadZipFile as error:
        raise _not_a_zip(path) from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', '') or error}") from error


def _member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the zip member that holds the images."""
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    if ARRAY not in names:
        found = ", ".join(names) or "nothing"
        raise UserError(
            f"{path} has no array called {ARRAY!r}, but {found}",
            cure="give MPI3D's own .npz file",
        )
    member = archive.infolist()[names.index(ARRAY)]
    if member.flag_bits & ENCRYPTED or member.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    ):
        raise UserError(
            f"{path} is encrypted or compressed in a way that numpy does not use",
            cure="write it again with np.savez",
        )
    return member


def _read_header(path: Path, stream: IO[bytes], num_images: int) -> tuple[int, ...]:
    """Return the array's shape, and leave the stream at its first value."""
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = read(stream)
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} does not hold a numpy array ({error})") from error
    if dtype != np.uint8:
        raise UserError(f"{path} holds {dtype} values, expected uint8", cure=DOWNLOAD_AGAIN)
    square = len(shape) == 4 and shape[1] == shape[2] > 0 and shape[3] == 3
    if fortran_order or not square or shape[0] != num_images:
        order = " in Fortran order" if fortran_order else ""
        raise UserError(
            f"{path} has shape {shape}{order}, expected ({num_images}, side, side, 3)",
            cure="give MPI3D's own .npz file",
        )
    return shape


def _data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Return where a stored member's data begins in the file."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(LOCAL_HEADER.size)
    return member.header_offset + LOCAL_HEADER.size + sum(LOCAL_HEADER.unpack(header))


def _not_a_zip(path: Path) -> UserError:
    """Return the error of a file that zipfile refuses: cut off, if it begins as a zip file does."""
    with path.open("rb") as file:
        begins_well = file.read(4) == b"PK\x03\x04"
    if begins_well:
        return UserError(f"{path} is truncated: its end is missing", cure=DOWNLOAD_AGAIN)
    return UserError(f"{path} is not an .npz file", cure="give MPI3D's own .npz file")
