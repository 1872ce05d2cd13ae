"""Images -> latent codes.

Images of any depth go in, NHWC, in any number; float32 codes come out on the host, one row an
image, in the same order. All batches have one size, the last one filled up, so there is one
compilation. Products are computed in full float32, which accelerators do not do by default:
whatever looks for neighbours takes codes as exact.
"""

import functools
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Float, Shaped

from jaxsurf.errors import UserError
from jaxsurf.images import batches, pixels
from jaxsurf.manifold.neighbors import Index, check_codes
from jaxsurf.models.autoencoder import Autoencoder


@dataclass(frozen=True, eq=False)
class Latents:
    """The latent codes of a set of images, in the order of the images."""

    codes: Float[np.ndarray, "point latent"]

    @functools.cached_property
    def index(self) -> Index:
        """What their neighbours are looked for with, made once."""
        return Index(self.codes)


def encode_images(
    model: Autoencoder, images: Shaped[np.ndarray, "image height width channel"], *, batch_size: int
) -> Latents:
    """Encode images, `batch_size` of them on each device at once.

    Raises:
        UserError: a code is not finite, or different images got one code.
    """
    size = min(batch_size, -(-len(images) // jax.local_device_count()))
    codes = batches.mapped(_encode, images, shared=[model], size=size)
    check_codes(codes)
    # Equal to within float32 rounding, though the images are not.
    rounding = 8 * np.finfo(np.float32).eps * np.abs(codes).max()
    if np.ptp(codes, axis=0).max() <= rounding and any((it != images[0]).any() for it in images):
        cause = f"all {len(codes)} images have the same latent code: the model collapsed"
        raise UserError(cause, cure="train it again with a lower learning rate or another seed")
    return Latents(codes)


@jax.jit
def _encode(
    model: Autoencoder, images: Shaped[Array, "batch height width channel"]
) -> Float[Array, "batch latent"]:
    with jax.default_matmul_precision("highest"):
        return model.encode(pixels.to_float(images))
