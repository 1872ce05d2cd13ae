"""What a model is trained on: images, and what is known of each of them beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from jaxsurf import mapped

# On the device, or still on the host.
AnyArray = Array | np.ndarray
Features = Mapping[str, Float[AnyArray, "image height width feature"]]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Examples:
    """Images and their features; the first axis of every array counts the images.

    Attributes:
        images: clean.
        features: of the clean images, by layer; empty where they are not kept.
    """

    images: UInt8[AnyArray, "image height width channel"]
    features: Features = field(default_factory=dict)

    @property
    def is_mapped(self) -> bool:
        """Whether the images are in a file, not in memory."""
        return mapped.is_mapped(self.images)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays together."""
        return sum(values.nbytes for values in jax.tree.leaves(self))

    def take(self, numbers: Int[AnyArray, "batch"]) -> "Examples":
        """Return the examples of these numbers."""
        return jax.tree.map(lambda values: values[numbers], self)
