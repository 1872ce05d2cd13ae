"""VGG16's layers by name, and its weights: shipped, downloaded, or from a file of the user's.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
configuration D. Convolutions are called `block3_conv2`, and what their ReLU puts out `relu3_2`.

Two trainings are in use, and each wants its own input: the authors' (Oxford, also Keras'), which
takes blue, green, red from 0 to 255 with the mean taken off, and torchvision's, which takes red,
green, blue from 0 to 1 with mean and deviation of ImageNet. A file of our own (`.npz`) says which.
Of others it follows from who wrote them: torch's names mean torchvision's training, unless the
first kernel is the authors' own, as in conversions of the Caffe model; Keras' are the authors'.

The network is positively homogeneous: dividing the input and every bias by a number divides all
features by it. `feature_scale` is that number. The Oxford features are some 58 times as large as
torchvision's, so that with 58 a weighting of perceptual and pixel errors means the same for both.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxsurf.errors import UserError, check_choice
from jaxsurf.images.storage import cache_folder, refusing
from jaxsurf.workdir import read_arrays

# Of each block: the channels of its convolutions, and how many there are.
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
CONVOLUTIONS = tuple(
    f"block{block}_conv{number}"
    for block, (_, count) in enumerate(BLOCKS, start=1)
    for number in range(1, count + 1)
)
# The place of each convolution in torchvision's `features`, where ReLUs and poolings count too.
TORCH_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How images with values in [0, 1], red first, become the network's input."""

    family: str  # name of the training that the weights come from
    peak: float  # what white becomes before the mean is taken off
    mean: tuple[float, float, float]  # one number a channel in the network's order, as below
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)  # divided by
    bgr: bool = False  # whether that order is blue, green, red
    feature_scale: float = 1.0  # what features are divided by, through the input and every bias


OXFORD = Preparation(
    family="oxford", peak=255.0, bgr=True, mean=(103.939, 116.779, 123.68), feature_scale=58.0
)
TORCHVISION = Preparation(
    family="torchvision", peak=1.0, mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225)
)
# What the report's code did: torchvision's weights fed with values in [-1, 1] as they were.
UNPREPARED = Preparation(family="torchvision, unprepared", peak=2.0, mean=(1.0, 1.0, 1.0))

SHIPPED = Path(__file__).with_name("vgg16_oxford_relu3_3.npz")
# Published files and their digests.
DOWNLOADS = {
    OXFORD.family: (
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:6d6bbae143d832006294945121d1f1fc",
    ),
    TORCHVISION.family: (
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "sha256:397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
}


def relu(convolution: str) -> str:
    """Return the name of what a convolution's ReLU puts out."""
    return convolution.replace("block", "relu").replace("conv", "")


RELUS = tuple(map(relu, CONVOLUTIONS))


def up_to(relus: Sequence[str]) -> tuple[str, ...]:
    """Return the convolutions that the given outputs need: all to the deepest, in order."""
    for name in relus:
        check_choice("layer of VGG16", name, RELUS)
    return CONVOLUTIONS[: 1 + max(map(RELUS.index, relus))]


def kernel_shape(convolution: str) -> tuple[int, int, int, int]:
    """Return a kernel's shape: height, width, channels in, channels out."""
    widths = [width for width, count in BLOCKS for _ in range(count)]
    place = CONVOLUTIONS.index(convolution)
    return (3, 3, widths[place - 1] if place else 3, widths[place])


@dataclass(frozen=True, eq=False)
class Weights:
    """Convolutions from the first to some depth, and the preparation of their input."""

    kernels: Mapping[str, Float[np.ndarray, "height width _in _out"]]
    biases: Mapping[str, Float[np.ndarray, "_out"]]
    preparation: Preparation


def find(source: str, relus: Sequence[str], *, unprepared: bool = False) -> Weights:
    """Return weights for some outputs; a file of the user's may end before them.

    The source is `oxford` (shipped, or for deeper outputs a download), `torchvision` (a download),
    or the path of a file. `unprepared` feeds torchvision's values in [-1, 1], as the report did.
    """
    needed = up_to(relus)[-1]
    if source not in DOWNLOADS:
        found = read(Path(source).expanduser())
    elif source == OXFORD.family and needed in (authors := read(SHIPPED)).kernels:
        found = authors
    else:
        import pooch

        (url, digest), folder = DOWNLOADS[source], cache_folder() / "vgg16"
        path = folder / url.rpartition("/")[2]
        try:
            pooch.retrieve(url, known_hash=digest, fname=path.name, path=folder)
        except (OSError, ValueError) as error:  # no network, or another file
            cure = f"fetch it elsewhere and put it at {path}, or name its place"
            raise UserError(f"cannot download {url} ({error})", cure=cure) from error
        found = read(path)
    if not unprepared:
        return found
    if found.preparation != TORCHVISION:
        holds = f"{source} holds {found.preparation.family}'s"
        cause = f"unprepared input is for torchvision's weights, but {holds}"
        raise UserError(cause, cure="name torchvision's file, or leave the input prepared")
    return dataclasses.replace(found, preparation=UNPREPARED)


def read(path: Path) -> Weights:
    """Return the weights of a file, by its suffix; `.npz` is our own format."""
    readers = {".npz": _own, ".pth": _torch, ".pt": _torch, ".safetensors": _safetensors}
    readers |= {".h5": _h5, ".hdf5": _h5}
    if path.suffix not in readers or not path.is_file():
        cure = f"give one of VGG16's that ends in {', '.join(readers)}"
        raise UserError(f"there is no weight file {path}", cure=cure)
    problem = "is damaged or holds more than arrays, and is refused"
    with refusing(path, problem, cure="replace it; of torch, save the state dict alone"):
        try:
            arrays, preparation = readers[path.suffix](path)
        except ImportError as error:
            library = str(error.name).partition(".")[0]
            cure = f"pip install {library}, or convert the file"
            raise UserError(f"{library} is needed to read {path}", cure=cure) from error
    return from_arrays(arrays, preparation, origin=str(path))


def _own(path: Path) -> tuple[dict[str, Any], Preparation]:
    arrays, about = read_arrays(path, cure="copy it again, or convert the weights again"), {}
    for field in dataclasses.fields(Preparation):
        value = arrays.pop(f"preparation/{field.name}").tolist()
        about[field.name] = tuple(value) if isinstance(value, list) else value
    return arrays, Preparation(**about)


def _torch(path: Path) -> tuple[dict[str, Any], Preparation]:
    """Return what a state dict holds, or one inside a training checkpoint."""
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    content = content.get("state_dict", content)
    return of_torch({name: value.detach().float().numpy() for name, value in content.items()})


def _safetensors(path: Path) -> tuple[dict[str, Any], Preparation]:
    import safetensors.numpy

    return of_torch(safetensors.numpy.load_file(path))


def _h5(path: Path) -> tuple[dict[str, Any], Preparation]:
    """Return kernels and biases: the arrays in groups that are called as the convolutions."""
    import h5py

    arrays: dict[str, np.ndarray] = {}

    def visit(place: str, item: object) -> None:
        found = re.search(r"block\d_conv\d", place)
        if found and not place.startswith("optimizer") and isinstance(item, h5py.Dataset):
            arrays[f"{found[0]}/{'kernel' if item.ndim == 4 else 'bias'}"] = item[()]

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return arrays, OXFORD


def of_torch(tensors: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], Preparation]:
    """Return arrays and preparation of torchvision's names, `features.0.weight` and so on."""
    names = {}
    for name, place in zip(CONVOLUTIONS, TORCH_PLACES, strict=True):
        names[f"features.{place}.weight"] = f"{name}/kernel"
        names[f"features.{place}.bias"] = f"{name}/bias"
    arrays = {
        names.get(name, name): array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        for name, array in tensors.items()
    }
    authors = read(SHIPPED).kernels[CONVOLUTIONS[0]]
    own = arrays.get(f"{CONVOLUTIONS[0]}/kernel", authors + 1)
    caffe = own.shape == authors.shape and np.allclose(own, authors, atol=1e-4)
    return arrays, OXFORD if caffe else TORCHVISION


def from_arrays(
    arrays: Mapping[str, np.ndarray], preparation: Preparation, *, origin: str
) -> Weights:
    """Return the weights in `block1_conv1/kernel`, `block1_conv1/bias` and so on, without a gap."""

    def checked(name: str, shape: tuple[int, ...]) -> np.ndarray:
        array = arrays.get(name)
        if array is None:
            found = f"is missing: there is {', '.join(list(arrays)[:4]) or 'nothing'}"
        elif array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
            found = f"is {array.dtype} {list(array.shape)} or not finite"
        else:
            return np.ascontiguousarray(array, np.float32)
        wanted = f"VGG16's is float32 {list(shape)}"
        raise UserError(f"{name} in {origin} {found}, but {wanted}", cure="give weights of VGG16")

    there = [place for place, name in enumerate(CONVOLUTIONS) if f"{name}/kernel" in arrays]
    names = CONVOLUTIONS[: max(there, default=0) + 1]
    kernels = {name: checked(f"{name}/kernel", kernel_shape(name)) for name in names}
    biases = {name: checked(f"{name}/bias", kernel_shape(name)[-1:]) for name in names}
    return Weights(kernels, biases, preparation)
