"""Distances between images, for graphs whose edges weigh by them.

See `jaxsurf.manifold.edges.weighting`. Nodes beyond those of the set are ends from outside of it.
"""

import functools

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxsurf.frames import lengths
from jaxsurf.images import differences
from jaxsurf.manifold.edges.weighting import Distance, Given, Weight
from jaxsurf.models.autoencoder import Autoencoder

Images = UInt8[np.ndarray, "image height width 3"]
# Of each weight by the decoder: how many pieces an edge is cut into.
_PIECES = {"decoded": 1, "pullback": lengths.PIECES}


def make_distance(
    weight: Weight | Given,
    model: Autoencoder,
    codes: Float[np.ndarray, "node latent"],
    images: Images,
    further: Images | None = None,
) -> Distance:
    """Return the distance that edges weigh by.

    Args:
        weight: what edges weigh.
        model: its decoder is used where the weight is by that.
        codes: the latent codes of all nodes.
        images: the images of the set, where the weight is by these.
        further: the images of nodes from outside, whose numbers go on from the set's.
    """
    if weight in _PIECES:
        return functools.partial(lengths.of_edges, model, codes, pieces=_PIECES[weight])
    if further is None:
        return functools.partial(differences.rms, images)
    return functools.partial(_differences, images, further)


def _differences(
    images: Images, further: Images, pairs: Int[np.ndarray, "pair 2"]
) -> Float[np.ndarray, "pair"]:
    """Return how far images are from one another, numbers of `further` going on from `images`'."""
    numbers, places = np.unique(pairs, return_inverse=True)
    outside = numbers >= len(images)
    # Only those compared are put together: the whole set may not fit in memory twice.
    few = [images[numbers[~outside]], further[numbers[outside] - len(images)]]
    return differences.rms(np.concatenate(few), places.reshape(pairs.shape))
