"""What an edge weighs: a distance between its ends, or the cube of one.

Each weight is of a length and a power:

- `latent`: the Euclidean distance between the codes (the reference's choice); `density`: its cube.
- `image`: a distance between the images at the ends; `image-density`: its cube.
- `decoded`: a distance between the images that the codes at the ends are decoded to.
- `pullback`: the length of the decoded edge, all the way from one end to the other: its length
  under the metric that the decoder pulls back from pixels to codes (Arvanitidis, Hansen & Hauberg,
  "Latent space oddity: on the curvature of deep generative models", 2018).

Only a `latent` weight is never less than the straight line between its ends' codes, which is what a
search that is led by straight lines relies on.

Images and decoders are not known here: whoever weighs by them hands in a `Distance`, which looks
the pairs of nodes up.

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

Weight = Literal["latent", "density", "image", "image-density", "decoded", "pullback"]
# Of a graph that was made from weights: nothing is known of them.
Given = Literal["given"]
# From the nodes that edges join to a distance between them each, 0 or more.
Distance = Callable[[Int[np.ndarray, "edge 2"]], Float[np.ndarray, "edge"]]

# With 3, going through a density f costs 1 / f in two dimensions.
FERMAT_EXPONENT = 3.0
# Weights below it lose digits in the end, and at last all of them.
_LEAST = np.finfo(np.float64).tiny / np.finfo(np.float64).eps
_CUBED: tuple[Weight, ...] = ("density", "image-density")
# What has to be known beside latent codes.
_NEEDED: dict[str, str] = {
    "image": "the images at the ends of an edge",
    "image-density": "the images at the ends of an edge",
    "decoded": "the decoder",
    "pullback": "the decoder",
}


def weigh(
    ends: Int[np.ndarray, "edge 2"],
    lengths: Float[np.ndarray, "edge"],
    *,
    weight: Weight | Given,
    distance: Distance | None,
) -> Float[np.ndarray, "edge"]:
    """Return what edges weigh.

    Args:
        ends: the nodes that each edge joins.
        lengths: the distance between their codes.
        weight: which weight.
        distance: the distance between their images, or of their decoded ones; only asked where
            the weight is one of these.

    Raises:
        UserError: the weight needs a `distance`, and there is none, or it is not known, or all
            cubes are too small for float64.
    """
    check(weight, distance)
    if distance is not None and weight in _NEEDED:
        lengths = distance(ends)
    return _cubed(lengths) if weight in _CUBED else lengths


def check(weight: Weight | Given, distance: Distance | None) -> None:
    """Refuse a weight that more than latent codes decide where nothing else is at hand.

    Raises:
        UserError: it is one.
    """
    if weight == "given":
        raise UserError(
            "the graph was made with weights of its own, so further edges can't be weighed alike",
            cure="say what they are when the graph is made, if it is one of jaxsurf's weights",
        )
    if weight in _NEEDED and distance is None:
        raise UserError(
            f"graph.weight={weight} needs {_NEEDED[weight]}, but only latent codes are at hand",
            cure="pass `distance` too, or use graph.weight=latent or density",
        )


def _cubed(lengths: Float[np.ndarray, "edge"]) -> Float[np.ndarray, "edge"]:
    """Return cubes; those that are infinite are refused where edges are joined."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        cubes = lengths**FERMAT_EXPONENT
    if np.max(lengths, initial=0) > 0 and np.max(cubes) < _LEAST:
        raise UserError(
            f"edges are at most {np.max(lengths):.3g} long, and float64 holds no cubes of these",
            cure="measure in a smaller unit: multiply the codes by a number, or use "
            "graph.weight=latent (--weight=latent)",
        )
    return cubes
