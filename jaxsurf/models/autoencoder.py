"""What every autoencoder offers, and autoencoders by name: a new one is a file and a line here.

Images are NHWC, float32 with black 0 and white 1; a model that works on another range rescales
inside itself, and its outputs may leave [0, 1] a little. Codes are unbounded float32 vectors. A
model holds weights and constants: no state, no randomness, the same output at training and test. It
computes in the precision of the weights that it is given, but for codes, which always are float32:
bfloat16 has three digits, too few to say where on a latent line an image is.
"""

import importlib
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from jaxsurf.errors import UserError, check_choice, check_least

# The class of each model, in the module of its name; what it takes stands in `make_autoencoder`.
MODELS = {"smooth": "SmoothAutoencoder", "reference": "ReferenceAutoencoder"}
SIDE_MULTIPLE = 16
# An accelerator's memory is fast as a whole; some 600 MB of activations at most.
ACCELERATOR_BATCH = 256


Images = Float[Array, "batch height width channel"]
Codes = Float[Array, "batch latent"]
MeanImage = Float[np.ndarray | Array, "height width channel"]


class Constant(nnx.Variable):
    """An array that belongs to a model, but is not trained."""


class Autoencoder(nnx.Module):
    """What every model offers; inside, ours fill images up to sides that they can halve."""

    size: tuple[int, int]  # height and width of images
    padded: tuple[int, int]  # of images that are filled up
    # Images or codes at once whose activations a CPU's caches hold; a power of two.
    cpu_batch: ClassVar[int] = 64

    def encode(self, images: Images) -> Codes:
        """Return the latent codes of images."""
        raise NotImplementedError

    def decode(self, codes: Codes) -> Images:
        """Return the images of latent codes."""
        raise NotImplementedError

    def __call__(self, images: Images) -> Images:
        """Return the reconstructions of images."""
        return self.decode(self.encode(images))

    def set_size(self, mean_image: MeanImage, *, least: int = SIDE_MULTIPLE) -> None:
        """Note how large images are, and filled up images."""
        height, width, _ = mean_image.shape
        self.size = (height, width)
        self.padded = (padded(height, least=least), padded(width, least=least))

    def pad(self, images: Images) -> Float[Array, "batch down along channel"]:
        """Return images filled up on all sides with the values of their edges."""
        if self.padded == self.size:
            return images
        missing = [large - side for large, side in zip(self.padded, self.size, strict=True)]
        sides = [(number // 2, number - number // 2) for number in (0, *missing, 0)]
        return jnp.pad(images, sides, mode="edge")

    def crop(self, images: Float[Array, "batch down along channel"]) -> Images:
        """Return the middle of images: what `pad` was given."""
        (height, width), (down, along) = self.size, self.padded
        top, left = (down - height) // 2, (along - width) // 2
        return images[:, top : top + height, left : left + width]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which autoencoder, and how large.

    Attributes:
        name: `smooth` (ours) or `reference` (the report's).
        latent_dim: number of values in a code.
        channels: width. `reference`: the output channels of its first convolution (64, 128 or
            256 in the report). `smooth`: the channels of its finest stage.
    """

    name: str = "smooth"
    latent_dim: int = 2
    channels: int = 32

    def __post_init__(self) -> None:
        check_choice("model.name", self.name, MODELS)
        check_least("model.latent_dim", self.latent_dim, 1)
        if self.channels < 4 or self.channels % 4:
            raise UserError(f"model.channels is {self.channels}, but must be a multiple of 4")


def make_autoencoder(
    config: ModelConfig, *, mean_image: MeanImage, key: Key[Array, ""]
) -> Autoencoder:
    """Return a new model; `smooth` adds the mean image to its output, others need its shape."""
    # Here, since the models import what stands above.
    module = importlib.import_module(f"jaxsurf.models.{config.name}")
    make = getattr(module, MODELS[config.name])
    return make(config, mean_image=mean_image, rngs=nnx.Rngs(params=key))


def inference_batch(model: Autoencoder) -> int:
    """Return how many images or codes a model should be given at once on this backend."""
    return model.cpu_batch if jax.default_backend() == "cpu" else ACCELERATOR_BATCH


def padded(size: int, *, least: int = SIDE_MULTIPLE) -> int:
    """Return the height or width that a model fills images of this size up to."""
    return max(least, -(-size // SIDE_MULTIPLE) * SIDE_MULTIPLE)
