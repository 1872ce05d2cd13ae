"""Tensors of a file that torch.save wrote, read without torch and without running its code.

Such a file is a pickle, and a pickle may call anything. Here a name outside a short list is
refused, and those on the list build plain records: where in which storage a tensor lies. The bytes
of the storages stand beside the pickle: in a zip archive, one member each (since torch 1.6), or in
the older form one after another behind it.
https://pytorch.org/docs/stable/notes/serialization.html
"""

import collections
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxsurf.errors import UserError

# The older form begins with this number, then its version, each in a pickle of its own.
MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
STORAGES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


class Unsafe(pickle.UnpicklingError):
    """The file asks for something that tensors do not need."""


@dataclass(frozen=True)
class _Storage:
    """A run of numbers, by the key under which its bytes stand."""

    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A tensor's place in its storage, in numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict, by name; other values in it are left out.

    Raises:
        UserError: the file is missing, damaged, holds code or no tensors by name.
    """
    try:
        with path.open("rb") as file:
            content, storages = _archive(file) if zipfile.is_zipfile(file) else _older(file)
            tensors = _by_name(content)
            return {name: _array(tensor, storages) for name, tensor in tensors.items()}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except Unsafe as error:
        raise UserError(
            f"{path} would run code when read ({error}), and is refused",
            cure="save the state dict alone, with torch.save(model.state_dict(), ...)",
        ) from error
    # What a damaged pickle raises is not limited to pickle's own error.
    except _DAMAGE as error:
        raise UserError(
            f"{path} is damaged, or not a file of torch.save ({error})", cure="replace it"
        ) from error


_DAMAGE = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, EOFError, struct.error, UnicodeError),
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError),
)


class _Unpickler(pickle.Unpickler):
    """Makes records, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  (a class or a function)
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        known: dict[tuple[str, str], Callable] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        }
        if (module, name) not in known:
            raise Unsafe(f"{module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:  # noqa: ANN401  (unchecked input)
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise pickle.UnpicklingError(f"a storage {pid!r} that is not understood")
        return _Storage(str(key), dtype, int(count))


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *rest: object
) -> _Tensor:
    del rest  # whether it had a gradient
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


def _rebuild_parameter(data: _Tensor, *rest: object) -> _Tensor:
    del rest
    return data


def _archive(file: IO[bytes]) -> tuple[Any, dict[str, bytes]]:
    """Return what the pickle of a zip archive holds, and the storages' bytes by key."""
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise pickle.UnpicklingError(f"{len(pickles)} members named data.pkl, not one")
        folder = pickles[0].removesuffix("data.pkl")
        if _member(archive, f"{folder}byteorder", default=b"little") != b"little":
            raise pickle.UnpicklingError("its numbers are big-endian")
        with archive.open(pickles[0]) as member:
            content = _Unpickler(member).load()
        wanted = {tensor.storage.key for tensor in _by_name(content).values()}
        return content, {key: archive.read(f"{folder}data/{key}") for key in wanted}


def _member(archive: zipfile.ZipFile, name: str, *, default: bytes) -> bytes:
    return archive.read(name) if name in archive.namelist() else default


def _older(file: IO[bytes]) -> tuple[Any, dict[str, bytes]]:
    """Return what the older form's pickle holds, and the storages' bytes by key."""
    file.seek(0)
    if (_Unpickler(file).load(), _Unpickler(file).load()) != (MAGIC, VERSION):
        raise pickle.UnpicklingError("it does not begin as such files do")
    system = _Unpickler(file).load()
    if not system["little_endian"]:
        raise pickle.UnpicklingError("its numbers are big-endian")
    unpickler = _Recording(file)
    content = unpickler.load()
    storages = {}
    for key in _Unpickler(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        storage = unpickler.storages[str(key)]
        if count != storage.count:
            raise pickle.UnpicklingError(f"storage {key} has {count} numbers, not {storage.count}")
        storages[storage.key] = file.read(count * storage.dtype.itemsize)
    return content, storages


class _Recording(_Unpickler):
    """Remembers the storages: in the older form their bytes can only be read in order."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def persistent_load(self, pid: Any) -> _Storage:  # noqa: ANN401  (unchecked input)
        storage = super().persistent_load(pid)
        self.storages[storage.key] = storage
        return storage


def _by_name(content: Any) -> dict[str, _Tensor]:  # noqa: ANN401  (unchecked input)
    """Return the tensors of a state dict, or of one inside a training checkpoint."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise pickle.UnpicklingError("it holds no tensors by name")
    return {str(name): value for name, value in content.items() if isinstance(value, _Tensor)}


def _array(tensor: _Tensor, storages: Mapping[str, bytes]) -> np.ndarray:
    """Return a tensor's numbers, having checked that they lie inside the storage."""
    numbers = np.frombuffer(storages[tensor.storage.key], tensor.storage.dtype)
    if len(numbers) != tensor.storage.count:
        raise ValueError(f"{len(numbers)} numbers where {tensor.storage.count} should be")
    last = tensor.offset
    for size, stride in zip(tensor.shape, tensor.stride, strict=True):
        if size < 1 or stride < 0:
            raise ValueError(f"a tensor of shape {tensor.shape} and strides {tensor.stride}")
        last += (size - 1) * stride
    if tensor.offset < 0 or last >= len(numbers):
        raise ValueError("a tensor that reaches beyond its storage")
    step = numbers.itemsize
    return np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :], tensor.shape, [step * stride for stride in tensor.stride]
    ).copy()
