"""Latent points -> uint8 frames, through one jitted decoder, many at a time.

Frames are uint8 NHWC on the host. Products are computed in full float32, which accelerators do not
do by default: their rounding would show in the errors that are reported.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped, UInt8

from jaxsurf.errors import UserError
from jaxsurf.images import batches, pixels
from jaxsurf.models.autoencoder import Autoencoder, inference_batch

# Codes in a call on a CPU, decoded together or in turn: batches of one call use the same memory.
_AT_ONCE = 64
DIVERGED = "the model has diverged: train it again with a lower learning rate"
Frames = UInt8[np.ndarray, "frame height width channel"]


def decode_points(
    model: Autoencoder, points: Float[np.ndarray, "frame latent"], *, rounded: bool = True
) -> Shaped[np.ndarray, "frame height width channel"]:
    """Return one uint8 frame for each latent point.

    Not rounded they are float32 on [0, 1], to measure small differences by.
    """
    points = np.asarray(points, np.float32)
    batch = size = inference_batch(model)
    if rounded and jax.default_backend() == "cpu" and jax.local_device_count() == 1:
        eights = -(-len(points) // batches.SMALLEST_BUCKET) * batches.SMALLEST_BUCKET
        size = min(max(batch, _AT_ONCE), eights)
    run = functools.partial(_decode_bucket, rounded, batch)
    # Points to measure by come in many numbers: one program for all of them.
    frames, finite = batches.mapped(run, points, shared=[model], size=size, bucketed=rounded)
    if not finite.all():
        cause = f"{np.sum(~finite)} of {len(finite)} decoded frames are not finite"
        raise UserError(cause, cure=DIVERGED)
    return frames


def images_of(
    model: Autoencoder, codes: Float[Array, "frame latent"]
) -> Float[Array, "frame height width channel"]:
    """Return decoded images, as float, inside jitted functions."""
    with jax.default_matmul_precision("highest"):
        if jax.default_backend() == "cpu":  # where vmapped convolutions take twice as long
            return model.decode(codes)
        return jax.vmap(lambda code: model.decode(code[None])[0])(codes)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _decode_bucket(
    rounded: bool, batch: int, model: Autoencoder, codes: Float[Array, "frame latent"]
) -> tuple[Shaped[Array, "frame height width channel"], Bool[Array, "frame"]]:
    def decode(some: Float[Array, "frame latent"]) -> tuple[Array, Array]:
        # Whether a frame was finite can't be seen once it is rounded.
        images = images_of(model, some)
        frames = pixels.to_uint8(images) if rounded else jnp.clip(images, 0.0, 1.0)
        return frames, jnp.isfinite(images).all(axis=(1, 2, 3))

    if len(codes) <= batch or len(codes) % batch:
        return decode(codes)
    frames, finite = jax.lax.map(decode, codes.reshape(-1, batch, codes.shape[1]))
    return frames.reshape(-1, *frames.shape[2:]), finite.ravel()
