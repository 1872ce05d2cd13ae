"""What training makes small: a weighted sum of terms, one of them by the features of a network.

Every term has one value per example; the caller takes the mean, once. Another term is a weight in
`ObjectiveConfig` and a function in `PIXEL_TERMS`. Pixels are in [0, 1]:

- `mse`: mean squared error over all values. A weight of 4 equals a weight of 1 on the report's
  pixel range [-1, 1].
- `l1`: mean absolute error over all values.
- `bce`: mean binary cross-entropy over all values, of pixels taken as probabilities.
- `perceptual`: mean squared error over the features of a frozen network, summed over layers
  (Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", 2016).
  Those of clean images never change: they are computed once and kept where they fit.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from jaxsurf.errors import UserError, check_choice, check_least
from jaxsurf.images import batches, pixels
from jaxsurf.images.storage import MIB
from jaxsurf.models.autoencoder import Images
from jaxsurf.models.vgg import weights as vgg_weights
from jaxsurf.models.vgg.network import VGG16

# Half a grey level: outputs nearer to black or white than that are as good as there.
NEAREST_TO_CERTAIN = 0.5 / 255
# Images whose features are computed at once: some 100 MB of maps at 64 x 64.
FEATURES_BATCH = 16

PerExample = Float[Array, "batch"]
Features = Mapping[str, Float[Array | np.ndarray, "image _down _along _feature"]]
Extract = Callable[[Images], Features]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Weights of the terms, and what the perceptual one looks at.

    Attributes:
        mse: weight of the mean squared error.
        l1: weight of the mean absolute error.
        bce: weight of the binary cross-entropy.
        perceptual: weight of the perceptual term.
        layers: outputs of VGG16 that the perceptual term compares, each with its weight
            (`relu2_2=0.5,relu3_3=1`).
        vgg: weights of VGG16: `oxford` (comes with jaxsurf to relu3_3), `torchvision`, or a weight
            file (`.npz`, `.safetensors`, `.h5`, or `.pth` where torch is installed).
        preparation: `own`: images are prepared as those weights want it; `none`: values in
            [-1, 1] as they are, which is what the report did to torchvision's weights.
        precision: of VGG16: `float32`, `bfloat16`, or `auto`: float32 on CPUs, else bfloat16.
        feature_cache_mib: what features of clean images may take on a device; beyond it they are
            computed anew at every step. 1,600 images of 64 x 64 need 400 in float32.
    """

    mse: float = 1.0
    l1: float = 0.0
    bce: float = 0.0
    perceptual: float = 0.0
    layers: Mapping[str, float] = field(default_factory=lambda: {"relu3_3": 1.0})
    vgg: str = "oxford"
    preparation: str = "own"
    precision: str = "auto"
    feature_cache_mib: int = 2048

    def __post_init__(self) -> None:
        for name in (*TERMS, "feature_cache_mib"):
            check_least(f"objective.{name}", getattr(self, name), 0)
        if not self.weights:
            raise UserError(
                "all weights of the objective are 0", cure=f"give one of {', '.join(TERMS)}"
            )
        if not self.layers:
            raise UserError("objective.layers is empty", cure="name at least one, such as relu3_3")
        vgg_weights.up_to(tuple(self.layers))
        for name, weight in self.layers.items():
            if isinstance(weight, str) or not 0 < weight < math.inf:
                raise UserError(
                    f"objective.layers has {name}={weight}", cure="give a finite weight above 0"
                )
        check_choice("objective.preparation", self.preparation, ("own", "none"))
        check_choice("objective.precision", self.precision, ("auto", "float32", "bfloat16"))

    @property
    def weights(self) -> dict[str, float]:
        """The weights that are not 0, by term."""
        return {name: getattr(self, name) for name in TERMS if getattr(self, name)}

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the losses of a step: the sum and its terms, `mse` always among them."""
        return ("loss", *(name for name in TERMS if name == "mse" or name in self.weights))


def _squared(outputs: Images, images: Images) -> Images:
    return jnp.square(outputs - images)


def _cross_entropy(outputs: Images, images: Images) -> Images:
    """Return each value's binary cross-entropy, in nats.

    Outputs may leave [0, 1], where the logarithm has no value: from half a grey level before
    either end on, it goes on along its tangent, so that the gradient leads back.
    """

    def minus_log(share: Images) -> Images:
        inside = jnp.maximum(share, NEAREST_TO_CERTAIN)
        return -jnp.log(inside) + (inside - share) / NEAREST_TO_CERTAIN

    return images * minus_log(outputs) + (1 - images) * minus_log(1 - outputs)


# What a term is of each value: 0 or more with finite gradients, since members of a sweep compute
# all terms of their group, some at a weight of 0. Its weight is the setting of its name.
PIXEL_TERMS: dict[str, Callable[[Images, Images], Images]] = {
    "mse": _squared,
    "l1": lambda outputs, images: jnp.abs(outputs - images),
    "bce": _cross_entropy,
}
TERMS = (*PIXEL_TERMS, "perceptual")


def total(
    outputs: Images,
    images: Images,
    *,
    weights: Mapping[str, float | Float[Array, ""]],
    layers: Mapping[str, float],
    extract: Extract | None = None,
    features: Features | None = None,
) -> tuple[PerExample, dict[str, PerExample]]:
    """Return the weighted sum of the terms, and the unweighted terms by name.

    A term without a weight is not computed, but for `mse`. The perceptual one compares `layers` by
    weights of their own; `extract` gives the features of images, and `features` are those of the
    clean ones, computed where they are empty or None.
    """
    terms = {
        name: jnp.mean(term(outputs, images), axis=(1, 2, 3))
        for name, term in PIXEL_TERMS.items()
        if name == "mse" or name in weights
    }
    if "perceptual" in weights:
        assert extract is not None, "a perceptual term needs something that extracts features"
        wanted = jax.lax.stop_gradient(features or extract(images))
        found = extract(outputs)
        errors = []
        for name, weight in layers.items():
            squared = _squared(jnp.asarray(found[name]), jnp.asarray(wanted[name], jnp.float32))
            errors.append(weight * jnp.mean(squared, axis=(1, 2, 3)))
        terms["perceptual"] = jnp.sum(jnp.stack(errors), axis=0)
    summed = jnp.sum(jnp.stack([weight * terms[name] for name, weight in weights.items()]), axis=0)
    return summed, terms


def make_extractor(config: ObjectiveConfig, look: pixels.Look = pixels.RGB) -> VGG16 | None:
    """Return the network of a configuration; None if it has no perceptual term."""
    if not config.perceptual:
        return None
    relus, dtype = tuple(config.layers), config.precision
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    found = vgg_weights.find(config.vgg, relus, unprepared=config.preparation == "none")
    return VGG16(found, relus, dtype=jnp.dtype(dtype), look=look)


def keep_features(
    extract: VGG16 | None,
    images: Shaped[np.ndarray, "image height width channel"],
    *,
    allowed_mib: int,
    room_bytes: float,
) -> Features:
    """Return the features of all images, on the host; none if they would not fit.

    They are kept in the precision that they were computed in, so nothing is lost. `allowed_mib`
    is what all of them may take by the configuration, `room_bytes` what the device has room for.
    """
    if extract is None:
        return {}
    image = jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
    one = jax.eval_shape(_features_of, extract, image)
    needed = len(images) * sum(maps.size * maps.dtype.itemsize for maps in one.values())
    most = min(allowed_mib * MIB, max(0, room_bytes))
    _log.info(
        "features need %.1f MiB, of which config.objective.feature_cache_mib and the device allow "
        "%.1f: they are %s",
        *(needed / MIB, most / MIB),
        "kept" if needed <= most else "computed anew in each step",
    )
    if needed > most:
        return {}
    return batches.mapped(_features_of, images, shared=[extract], size=FEATURES_BATCH)


@jax.jit
def _features_of(extract: VGG16, images: Shaped[Array, "batch height width channel"]) -> Features:
    found = extract(pixels.to_float(images))
    return {name: maps.astype(extract.dtype) for name, maps in found.items()}
