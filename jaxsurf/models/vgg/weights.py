"""VGG16's weights, and how the images must be prepared for them; our own file format.

Two trainings are in use, and each wants its own input: the authors' (Oxford, also Keras'), which
takes blue, green, red from 0 to 255 with the mean taken off, and torchvision's, which takes red,
green, blue from 0 to 1 with mean and deviation of ImageNet. What a set of weights wants is kept
with them, in the same file.

The network is positively homogeneous: dividing the input and every bias by a number divides all
features by it. `feature_scale` is that number. The Oxford features are some 58 times as large as
torchvision's, so that with 58 a weighting of perceptual and pixel errors means the same for both.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxsurf.errors import UserError
from jaxsurf.models.vgg import layers
from jaxsurf.writing import read_arrays, write_arrays

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How images with values in [0, 1], red first, become the network's input.

    Attributes:
        family: name of the training that the weights come from.
        peak: what white becomes before the mean is taken off.
        mean: taken off, one number a channel in the network's order.
        deviation: divided by, one number a channel in the network's order.
        bgr: whether that order is blue, green, red.
        feature_scale: what all features are divided by, through the input and every bias.
    """

    family: str
    peak: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bgr: bool = False
    feature_scale: float = 1.0


OXFORD = Preparation(
    family="oxford", peak=255.0, bgr=True, mean=(103.939, 116.779, 123.68), feature_scale=58.0
)
TORCHVISION = Preparation(
    family="torchvision", peak=1.0, mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225)
)
# What the report's code did: torchvision's weights fed with values in [-1, 1] as they were.
UNPREPARED = Preparation(family="torchvision, unprepared", peak=2.0, mean=(1.0, 1.0, 1.0))

SHIPPED = Path(__file__).with_name("vgg16_oxford_relu3_3.npz")
SHIPPED_SHA256 = "eb33d9d225bd0612ca93abe19d98aad8f18161e09d355fe526a21a5533fd5797"


@dataclass(frozen=True, eq=False)
class Weights:
    """Convolutions from the first to some depth.

    Attributes:
        kernels: by convolution; height, width, channels in, channels out.
        biases: by convolution.
        preparation: of the input.
    """

    kernels: Mapping[str, Float[np.ndarray, "height width in out"]]
    biases: Mapping[str, Float[np.ndarray, "out"]]
    preparation: Preparation

    @property
    def deepest(self) -> str:
        """The deepest output that can be computed."""
        return layers.relu(list(self.kernels)[-1])


def from_arrays(arrays: Arrays, preparation: Preparation, *, origin: str) -> Weights:
    """Return the weights in `block1_conv1/kernel`, `block1_conv1/bias` and so on.

    Args:
        arrays: the first convolution's at least; others without a gap.
        preparation: that the weights were trained with.
        origin: where they come from, for the message.

    Raises:
        UserError: a name, shape or value is not as it should be.
    """
    names = [name for name in layers.CONVOLUTIONS if f"{name}/kernel" in arrays]
    if not names or tuple(names) != layers.CONVOLUTIONS[: len(names)]:
        missing = next(name for name in layers.CONVOLUTIONS if name not in names)
        found = ", ".join(list(arrays)[:4]) or "nothing"
        raise UserError(
            f"{origin} holds no {missing}/kernel; it holds {found}"
            + (" and more" if len(arrays) > 4 else ""),
            cure="give weights of VGG16",
        )
    kernels = {
        name: _checked(arrays, f"{name}/kernel", layers.kernel_shape(name), origin=origin)
        for name in names
    }
    biases = {
        name: _checked(arrays, f"{name}/bias", layers.kernel_shape(name)[-1:], origin=origin)
        for name in names
    }
    return Weights(kernels, biases, preparation)


def _checked(arrays: Arrays, name: str, shape: tuple[int, ...], *, origin: str) -> np.ndarray:
    """Return one array as float32 if it is what it should be."""
    if name not in arrays:
        raise UserError(f"{origin} holds no {name}", cure="give weights of VGG16")
    array = arrays[name]
    if array.shape != shape or array.dtype.kind != "f":
        raise UserError(
            f"{name} in {origin} is {array.dtype} {list(array.shape)}, but VGG16's is float32 "
            f"{list(shape)}",
            cure="give weights of VGG16",
        )
    if not np.isfinite(array).all():
        raise UserError(f"{name} in {origin} is not finite everywhere", cure="replace the file")
    return np.ascontiguousarray(array, np.float32)


def save(path: Path, weights: Weights) -> None:
    """Write weights and their preparation as an `.npz` file of our own format."""
    arrays = {f"{name}/kernel": kernel for name, kernel in weights.kernels.items()}
    arrays |= {f"{name}/bias": bias for name, bias in weights.biases.items()}
    about = dataclasses.asdict(weights.preparation)
    arrays |= {f"preparation/{name}": np.asarray(value) for name, value in about.items()}
    write_arrays(path, **arrays)


def read(path: Path) -> Weights:
    """Return the weights of a file that `save` wrote.

    Raises:
        UserError: the file is missing or damaged, or holds something else.
    """
    arrays = read_arrays(path)
    about = {}
    for field in dataclasses.fields(Preparation):
        name = f"preparation/{field.name}"
        if name not in arrays:
            raise UserError(
                f"{path} holds no {name}: how images are prepared for these weights is not known",
                cure="give a file that jaxsurf wrote, or torchvision's or Keras' own",
            )
        value = arrays.pop(name).tolist()
        about[field.name] = tuple(value) if isinstance(value, list) else value
    return from_arrays(arrays, Preparation(**about), origin=str(path))


def shipped() -> Weights:
    """Return the weights that come with jaxsurf: Oxford's, to relu3_3.

    Raises:
        UserError: the file is not the one that was shipped.
    """
    try:
        found = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(
            f"cannot read {SHIPPED}: {error.strerror}", cure="install jaxsurf again"
        ) from error
    if found != SHIPPED_SHA256:
        raise UserError(
            f"{SHIPPED} has the SHA-256 digest {found}, but {SHIPPED_SHA256} is expected",
            cure="install jaxsurf again",
        )
    return read(SHIPPED)
