"""Latent points -> uint8 frames, through one jitted decoder, many at a time.

Frames are uint8 NHWC on the host. Products are computed in full float32, which accelerators do not
do by default: their rounding would show in the errors that are reported.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, UInt8

from jaxsurf.errors import UserError
from jaxsurf.images import batches, pixels
from jaxsurf.models.autoencoder import Autoencoder, inference_batch

Frames = UInt8[np.ndarray, "frame height width channel"]


def decode_points(model: Autoencoder, points: Float[np.ndarray, "frame latent"]) -> Frames:
    """Return one uint8 frame for each latent point."""
    points = np.asarray(points, np.float32)
    graphdef, state = nnx.split(model)
    run = functools.partial(_decode_bucket, graphdef)
    size = inference_batch(model)
    frames, finite = batches.mapped(run, points, shared=[state], size=size, bucketed=True)
    if not finite.all():
        first = int(np.argmin(finite))
        raise UserError(
            f"{np.sum(~finite)} of {len(finite)} decoded frames are not finite,"
            f" the first one frame {first} at latent point {points[first].tolist()}",
            cure="the model has diverged: train it again with a lower learning rate",
        )
    return frames


def images_of(
    graphdef: nnx.GraphDef, state: nnx.State, codes: Float[Array, "frame latent"]
) -> Float[Array, "frame height width channel"]:
    """Return decoded images, as float, inside jitted functions; the model comes as split by nnx."""
    model = nnx.merge(graphdef, state)
    with jax.default_matmul_precision("highest"):
        if jax.default_backend() == "cpu":  # where vmapped convolutions take twice as long
            return model.decode(codes)
        return jax.vmap(lambda code: model.decode(code[None])[0])(codes)


@functools.partial(jax.jit, static_argnums=0)
def _decode_bucket(
    graphdef: nnx.GraphDef, state: nnx.State, codes: Float[Array, "frame latent"]
) -> tuple[UInt8[Array, "frame height width channel"], Bool[Array, "frame"]]:
    # Whether a frame was finite can't be seen once it is rounded.
    images = images_of(graphdef, state, codes)
    return pixels.to_uint8(images), jnp.isfinite(images).all(axis=(1, 2, 3))
