"""MPI3D's archive, read in blocks: 12.7 GB of images pass through a few megabytes of memory.

An archive is an .npz file, that is a zip file with one member `images.npy`: uint8, one square RGB
image for every combination of the seven factors, in C order. Stored (uncompressed) members are
read, or mapped, where the wanted images lie; deflated ones are decompressed from the front, and
left as soon as the last wanted image has been seen.
"""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Int, UInt8

from jaxsurf import mapped
from jaxsurf.errors import UserError
from jaxsurf.images import stored
from jaxsurf.images.stored import ARRAY, ENCRYPTED

# Large enough that the calls cost nothing, small enough to be nothing beside the images wanted.
BLOCK_BYTES = 4 << 20

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
        done = 0
        for some in self.read_blocks(indices):
            wanted[done : done + len(some)] = some
            done += len(some)
        return wanted

    def read_blocks(
        self, indices: Int[np.ndarray, " wanted"]
    ) -> Iterator[UInt8[np.ndarray, "some height width 3"]]:
        """Yield the images of the given numbers, which ascend, a few megabytes at a time.

        Raises:
            UserError: the file is damaged.
        """
        with self._stream() as stream:
            for start, stop in self._spans():
                first, last = np.searchsorted(indices, (start, stop))
                if first < last:
                    yield self._block(stream, start, stop)[indices[first:last] - start]

    def map(self, first: int, number: int) -> np.memmap:
        """Return images in a row where they lie in the file, which holds them stored.

        Args:
            first: number of the first of them.
            number: how many.

        Raises:
            UserError: the file cannot be read.
        """
        start = self.start + first * self._image_bytes
        return mapped.open_array(self.path, start=start, shape=(number, *self.shape[1:]))

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
        as_it_is = member.compress_type == zipfile.ZIP_STORED
        start += stored.data_offset(path, member) if as_it_is else 0
        return Archive(path, shape, start, as_it_is)
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


def _not_a_zip(path: Path) -> UserError:
    """Return the error of a file that zipfile refuses: cut off, if it begins as a zip file does."""
    with path.open("rb") as file:
        begins_well = file.read(4) == b"PK\x03\x04"
    if begins_well:
        return UserError(f"{path} is truncated: its end is missing", cure=DOWNLOAD_AGAIN)
    return UserError(f"{path} is not an .npz file", cure="give MPI3D's own .npz file")
