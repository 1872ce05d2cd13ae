"""Weight files that others wrote: torchvision's `.pth`, `.safetensors`, Keras' `.h5`.

Their kernels are turned to height, width, channels in, channels out, and named as in `layers`.
Which preparation they want follows from who wrote them: torch's names mean torchvision's training,
unless the first kernel is the authors' own, as in conversions of the Caffe model; Keras' weights
are the authors'.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.models.vgg import layers, torch_file, weights
from jaxsurf.models.vgg.weights import OXFORD, TORCHVISION, Preparation, Weights

# The place of each convolution in torchvision's `features`, where ReLUs and poolings count too.
TORCH_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
FIRST = layers.CONVOLUTIONS[0]


def read(path: Path) -> Weights:
    """Return the weights of a file, by its suffix: `.npz` (ours), `.pth`, `.safetensors`, `.h5`.

    Raises:
        UserError: the file is missing, damaged, of another kind, or not of VGG16.
    """
    if path.suffix == ".npz":
        return weights.read(path)
    readers: dict[str, Callable[[Path], Weights]] = {
        ".pth": lambda path: of_torch(torch_file.read(path), origin=str(path)),
        ".pt": lambda path: of_torch(torch_file.read(path), origin=str(path)),
        ".safetensors": lambda path: of_torch(_safetensors(path), origin=str(path)),
        ".h5": lambda path: weights.from_arrays(_h5(path), OXFORD, origin=str(path)),
        ".hdf5": lambda path: weights.from_arrays(_h5(path), OXFORD, origin=str(path)),
    }
    if path.suffix not in readers:
        raise UserError(
            f"weights of VGG16 are read from .npz, {', '.join(readers)}, but not from {path}",
            cure="give one of those",
        )
    if not path.is_file():
        raise UserError(f"there is no file {path}", cure="give a weight file of VGG16")
    return readers[path.suffix](path)


def of_torch(tensors: Mapping[str, np.ndarray], *, origin: str) -> Weights:
    """Return weights under torchvision's names, `features.0.weight` and so on."""
    arrays = {}
    for name, place in zip(layers.CONVOLUTIONS, TORCH_PLACES, strict=True):
        if (kernel := tensors.get(f"features.{place}.weight")) is not None:
            if kernel.ndim != 4:
                raise UserError(
                    f"features.{place}.weight in {origin} has the shape {list(kernel.shape)}, but "
                    "a kernel has four axes",
                    cure="give weights of VGG16",
                )
            arrays[f"{name}/kernel"] = kernel.transpose(2, 3, 1, 0)
        if (bias := tensors.get(f"features.{place}.bias")) is not None:
            arrays[f"{name}/bias"] = bias
    if not arrays:
        found = ", ".join(list(tensors)[:4]) or "nothing"
        raise UserError(
            f"{origin} holds no features.0.weight; it holds {found}",
            cure="give weights of VGG16 under torchvision's names",
        )
    return weights.from_arrays(arrays, _preparation(arrays), origin=origin)


def _preparation(arrays: Mapping[str, np.ndarray]) -> Preparation:
    """Return the authors' preparation if the first kernel is theirs, torchvision's else."""
    mine = arrays.get(f"{FIRST}/kernel")
    theirs = weights.shipped().kernels[FIRST]
    if mine is not None and mine.shape == theirs.shape and np.allclose(mine, theirs, atol=1e-4):
        return OXFORD
    return TORCHVISION


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise _missing("safetensors", path) from error
    try:
        return safetensors.numpy.load_file(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (safetensors.SafetensorError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error})", cure="replace it") from error


def _h5(path: Path) -> dict[str, np.ndarray]:
    """Return kernels and biases: the arrays in groups that are called as the convolutions."""
    try:
        import h5py
    except ImportError as error:
        raise _missing("h5py", path) from error
    arrays: dict[str, np.ndarray] = {}

    def visit(place: str, item: object) -> None:
        found = re.search(r"block\d_conv\d", place)
        if found is None or place.startswith("optimizer") or not isinstance(item, h5py.Dataset):
            return
        kind = "kernel" if item.ndim == 4 else "bias"
        arrays[f"{found[0]}/{kind}"] = item[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except OSError as error:  # also what h5py raises for anything that is no HDF5
        raise UserError(f"{path} is damaged, or no HDF5 file", cure="replace it") from error
    return arrays


def _missing(library: str, path: Path) -> UserError:
    """Return the error of a library that only some users need."""
    return UserError(
        f"{library} is needed to read {path}",
        cure="pip install 'jaxsurf[weights]', or give an .npz",
    )
