"""Decoding many latent points: one batch after another, beside one frame after another.

The peer is what one writes first: the decoder jitted for a single code, called in a loop, each
frame rounded to uint8 and fetched. Both compute in full float32. Weights are random.
"""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from jaxsurf.frames import decode
from jaxsurf.frames.decode import Frames
from jaxsurf.images import pixels
from jaxsurf.models.autoencoder import Autoencoder, ModelConfig, make_autoencoder
from jaxsurf.pipeline.benchmark.rows import Case, Contest

FRAMES, SIDE = 1000, 64
MODELS = (ModelConfig(name="smooth"), ModelConfig(name="reference", channels=64))


def make_contest(config: ModelConfig, *, frames: int = FRAMES, side: int = SIDE) -> Contest:
    """Return the contest of a model.

    Args:
        config: of the model.
        frames: points to decode.
        side: height and width of a frame, in pixels.
    """
    model = make_model(config, side=side)
    points = np.random.default_rng(0).normal(size=(frames, config.latent_dim)).astype(np.float32)
    return Contest(
        ours=lambda: decode.decode_points(model, points),
        make_peer=lambda: partial(_one_by_one, _make_single(model), points),
        agree=lambda ours, theirs: check_alike(ours[0], theirs[0]),
    )


def make_model(config: ModelConfig, *, side: int = SIDE) -> Autoencoder:
    """Return a model with random weights, also where models begin with zeros: so frames differ.

    Args:
        config: of the model.
        side: height and width of a frame, in pixels.
    """
    grey = np.full((side, side, 3), 0.5, np.float32)
    model = make_autoencoder(config, mean_image=grey, key=jax.random.key(0))
    rng = np.random.default_rng(0)

    def shaken(values: Array) -> Array:
        return values + 0.05 * rng.normal(size=values.shape).astype(np.float32)

    nnx.update(model, jax.tree.map(shaken, nnx.state(model, nnx.Param)))
    return model


def check_alike(ours: Frames, theirs: Frames) -> None:
    """Refuse frames that differ by more than what rounding explains.

    Raises:
        ValueError: they do.
    """
    apart = int(np.abs(ours.astype(np.int16) - theirs).max())
    if apart > 1:
        raise ValueError(f"frames differ by up to {apart} grey levels")


def _make_single(
    model: Autoencoder,
) -> Callable[[Float[np.ndarray, "latent"]], UInt8[Array, "height width channel"]]:
    """Return what decodes a single code."""
    graphdef, state = nnx.split(model)

    @jax.jit
    def single(state: nnx.State, code: Array) -> Array:
        with jax.default_matmul_precision("highest"):
            return pixels.to_uint8(nnx.merge(graphdef, state).decode(code[None])[0])

    return partial(single, state)


def _one_by_one(
    single: Callable[[Float[np.ndarray, "latent"]], Array],
    points: Float[np.ndarray, "frame latent"],
) -> UInt8[np.ndarray, "frame height width channel"]:
    return np.stack([np.asarray(single(point)) for point in points])


CASES = [
    Case(
        stage="decode",
        size=f"{FRAMES} frames of {SIDE} x {SIDE}, `{config.name}`, C = {config.channels}",
        prepare=partial(make_contest, config),
        peer="a jitted decode a frame",
    )
    for config in MODELS
]
