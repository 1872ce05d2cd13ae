"""Perceptual features: the network that extracts them, and those of clean images kept.

Clean images never change, so their features are computed once and kept on the device, as long as
they fit into what the configuration allows; otherwise every step computes them anew.
"""

import logging
import math
from dataclasses import dataclass, field
from typing import no_type_check

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from jaxsurf.images import batches, pixels
from jaxsurf.images.storage import MIB
from jaxsurf.models.vgg import weights
from jaxsurf.models.vgg.network import VGG16
from jaxsurf.training.objective import Features, ObjectiveConfig

# Images whose features are computed at once: some 100 MB of maps at 64 x 64.
BATCH = 16

_log = logging.getLogger(__name__)


@no_type_check
@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Extractor:
    """A frozen network as an argument of compiled functions, not as constants within them."""

    network: VGG16
    look: pixels.Look = field(default=pixels.RGB, metadata={"static": True})

    def __call__(self, images: Float[Array, "batch height width channel"]) -> Features:
        """Return the features of images with values in [0, 1], as they are shown, by layer."""
        return self.network(self.look.rgb(images))


def make_extractor(config: ObjectiveConfig, look: pixels.Look = pixels.RGB) -> Extractor | None:
    """Return the network of a configuration; None if it has no perceptual term."""
    if not config.perceptual:
        return None
    relus, dtype = tuple(config.layers), config.precision
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    found = weights.find(config.vgg, relus, unprepared=config.preparation == "none")
    return Extractor(VGG16(found, relus, dtype=jnp.dtype(dtype)), look)


def keep(
    extract: Extractor | None,
    images: Shaped[np.ndarray, "image height width channel"],
    *,
    allowed_mib: int,
    room_bytes: float,
) -> dict[str, Float[np.ndarray, "image _down _along _feature"]]:
    """Return the features of all images, on the host; none if they would not fit.

    They are kept in the precision that they were computed in, so nothing is lost. `allowed_mib`
    is what all of them may take by the configuration, `room_bytes` what the device has room for.
    """
    if extract is None:
        return {}
    dtype = extract.network.dtype
    like = jax.eval_shape(extract, jax.ShapeDtypeStruct((1, *images.shape[1:]), jnp.float32))
    values = sum(math.prod(maps.shape) for maps in like.values())
    needed = len(images) * values * jnp.dtype(dtype).itemsize
    if needed > min(allowed_mib * MIB, room_bytes):
        _log.info(
            "features of %d images need %.1f MiB, but config.objective.feature_cache_mib allows "
            "%.1f and the device has room for %.1f: each step computes them anew",
            *(len(images), needed / MIB, allowed_mib, max(0, room_bytes) / MIB),
        )
        return {}
    _log.info("keeping the features of %d images: %.1f MiB", len(images), needed / MIB)
    kept = {name: np.empty((len(images), *maps.shape[1:]), dtype) for name, maps in like.items()}
    for start in range(0, len(images), BATCH):
        some = slice(start, start + BATCH)
        part = batches.mapped(_features, images[some], shared=[extract], size=BATCH)
        for name, maps in part.items():
            kept[name][some] = maps
    return kept


@jax.jit
def _features(extract: Extractor, images: Shaped[Array, "batch height width channel"]) -> Features:
    return extract(pixels.to_float(images))
