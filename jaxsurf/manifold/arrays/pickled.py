"""NumPy arrays of a pickle, read without running what a pickle may hold.

A pickle may call anything that Python can import. Here a name outside a short list is refused, and
those on the list build plain records: the bytes of an array, its type and shape. Only when a record
has been checked does it become an array. Arrays of every pickle protocol are known, from both of
NumPy's generations (`numpy.core` before 2.0, `numpy._core` since).
https://docs.python.org/3/library/pickle.html#restricting-globals
"""

import math
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxsurf.errors import UserError

# Kinds of numbers: truth values, whole ones, floating-point ones.
_KINDS = "biuf"
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUFFERS = ("numpy.core.numeric", "numpy._core.numeric")


# Operations that name a place to keep something in; whoever writes pickles counts these up.
_KEEPING = ("PUT", "BINPUT", "LONG_BINPUT")


class Unsafe(pickle.UnpicklingError):
    """The file asks for something that arrays of numbers do not need."""


def read(path: Path, *, place: int = 0) -> np.ndarray:
    """Return one of the arrays that were pickled into a file, one after another.

    Args:
        path: the file.
        place: which of them, counted from 0.

    Raises:
        UserError: the file is missing, damaged, holds code, or something else than an array of
            numbers in this place.
    """
    try:
        with path.open("rb") as file:
            return _nth(file, place)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except Unsafe as error:
        raise UserError(
            f"{path} would run code when read ({error}), and is refused",
            cure="save the array alone, with np.save",
        ) from error
    # What a damaged pickle raises is not limited to pickle's own error.
    except _DAMAGE as error:
        raise UserError(
            f"{path} is damaged, or not a pickle of arrays of numbers ({error})",
            cure="save the array with np.save",
        ) from error


_DAMAGE = (
    *(pickle.UnpicklingError, EOFError, UnicodeError, ValueError, TypeError, KeyError, IndexError),
    *(AttributeError, OverflowError, MemoryError, RecursionError, ImportError),
)


def _nth(file: IO[bytes], place: int) -> np.ndarray:
    """Return the array of the pickle in a place."""
    found = None
    for number in range(place + 1):
        if not file.peek(1):  # pyright: ignore[reportAttributeAccessIssue]  (files are buffered)
            raise ValueError(f"it holds {number}, counted from 0 this is number {place}")
        _check_places(file)
        # Strings of Python 2 are bytes, which latin1 keeps.
        found = _Unpickler(file, encoding="latin1").load()
    if not isinstance(found, _Array):
        raise TypeError(f"it holds an object of type {type(found).__name__}")
    return found.array()


def _check_places(file: IO[bytes]) -> None:
    """Refuse a pickle that keeps something in a far place: as much memory is taken up to there."""
    start = file.tell()
    for number, (operation, argument, _) in enumerate(pickletools.genops(file)):
        if operation.name in _KEEPING and isinstance(argument, int) and argument > number:
            raise ValueError(f"it keeps {number} things at most, but one in place {argument}")
    file.seek(start)


class _Type:
    """A type of numbers; `numpy.dtype` is called and then given its byte order."""

    def __init__(self, name: str, *rest: object) -> None:
        del rest  # whether to align and to copy
        if isinstance(name, bytes):
            name = name.decode("ascii")
        self.dtype = np.dtype(name) if isinstance(name, str) else np.dtype("V")
        if self.dtype.kind not in _KINDS:
            raise TypeError(f"its numbers are of type {name}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        self.dtype = self.dtype.newbyteorder(order)  # pyright: ignore[reportArgumentType]


class _Array:
    """The bytes of an array, its type and shape."""

    def __init__(self, *rest: object) -> None:
        del rest  # a placeholder's subtype, shape and type, which its state replaces
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # With a version first; without one before NumPy 1.0.
        self.state = state[-4:]

    def array(self) -> np.ndarray:
        """Return the array itself, having checked that the bytes are as many as its shape needs."""
        shape, kind, fortran, data = self.state
        if not isinstance(kind, _Type):
            raise TypeError("its type is none of numbers")
        data = data.encode("latin1") if isinstance(data, str) else data
        # A number would be taken for how many zeros to make.
        if not isinstance(data, bytes | bytearray):
            raise TypeError("its content is none of bytes")
        shape = tuple(int(size) for size in shape)
        if min(shape, default=0) < 0 or math.prod(shape) * kind.dtype.itemsize != len(data):
            raise ValueError(f"{len(data)} bytes do not make an array of shape {shape}")
        return np.frombuffer(data, kind.dtype).reshape(shape, order="F" if fortran else "C")


def _from_buffer(data: object, kind: object, shape: object, order: object) -> _Array:
    """Return what protocol 5 makes at once."""
    made = _Array()
    made.__setstate__((shape, kind, order == "F", data))
    return made


def _encode(text: str, encoding: str) -> bytes:
    """Return the bytes that protocols before 3 hold as a text."""
    if encoding != "latin1":
        raise Unsafe(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Makes records, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  (a class or a function)
        known: dict[tuple[str, str], Callable] = {
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Type,
            ("_codecs", "encode"): _encode,
            **{(place, "_reconstruct"): _Array for place in _MODULES},
            **{(place, "_frombuffer"): _from_buffer for place in _BUFFERS},
        }
        if (module, name) not in known:
            raise Unsafe(f"{module}.{name}")
        return known[module, name]
