"""What an edge weighs: a distance between its ends, or the cube of one.

Each weight is of a length and a power: `latent` is the Euclidean distance between the codes (the
reference's choice) and `density` its cube; `image` is a distance between the images at the ends
and `image-density` its cube. Images are not known here: whoever weighs by them hands in a
`Distance`, which looks the pairs of nodes up.

A cube makes a long edge dearer than several short ones, so that shortest paths keep to where
images lie densely, and pass through more of them. That is the sample Fermat distance (Groisman,
Jonckheere & Sapienza, "Nonhomogeneous Euclidean first-passage percolation and distance learning",
2022); for many points, going through a density f costs f^(-(a - 1) / d) with the exponent a in d
dimensions.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.errors import UserError

Weight = Literal["latent", "density", "image", "image-density"]
# From the nodes that edges join to a distance between them each, 0 or more.
Distance = Callable[[Int[np.ndarray, "edge 2"]], Float[np.ndarray, "edge"]]

# With 3, going through a density f costs 1 / f in two dimensions.
FERMAT_EXPONENT = 3.0
_OF_IMAGES: tuple[Weight, ...] = ("image", "image-density")
_CUBED: tuple[Weight, ...] = ("density", "image-density")


def weigh(
    ends: Int[np.ndarray, "edge 2"],
    lengths: Float[np.ndarray, "edge"],
    *,
    weight: Weight,
    distance: Distance | None,
) -> Float[np.ndarray, "edge"]:
    """Return what edges weigh.

    Args:
        ends: the nodes that each edge joins.
        lengths: the distance between their codes.
        weight: which weight.
        distance: the distance between their images; only asked where the weight is of images.

    Raises:
        UserError: the weight is of images, and there is no `distance`.
    """
    check(weight, distance)
    if distance is not None and weight in _OF_IMAGES:
        lengths = distance(ends)
    return lengths**FERMAT_EXPONENT if weight in _CUBED else lengths


def check(weight: Weight, distance: Distance | None) -> None:
    """Refuse a weight that is of images where no distance between images is at hand.

    Raises:
        UserError: it is.
    """
    if weight in _OF_IMAGES and distance is None:
        raise UserError(
            f"graph.weight={weight} needs the images at the ends of an edge, but only latent codes "
            "are at hand",
            cure="pass `distance` too, or use graph.weight=latent or density",
        )
