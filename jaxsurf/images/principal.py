"""Images -> points whose Euclidean distances are those of the images, to find neighbours by.

A point has a coordinate for each principal component, the directions in which images vary most;
where all components are kept, no distance changes. Distances of points are root mean squares on
0-255. Components of a large set are those of a sample; all images are projected a chunk at a time.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxsurf.images import pixels, storage

# Images that components are computed from; an eigenvalue problem of that size takes two seconds.
SAMPLE, SAMPLE_SEED = 2048, 0
# Numbers of all points together, 128 MB in float64: 1,600 images keep all components, and 50,000
# keep 335; but none keep fewer than so many.
MOST_NUMBERS, LEAST_COMPONENTS = 1 << 24, 64
# Variances below this share of the largest are rounding; their directions would not be orthogonal.
_LEAST_SHARE = 1e-10


class Projected(NamedTuple):
    """Images as points, equal ones as equal points; root mean squares over images are on 0-255."""

    points: Float[np.ndarray, "image component"]
    unexplained: float  # what the components leave of the differences of images to their mean
    deviation: float  # these differences


def project(images: pixels.Images) -> Projected:
    """Return images as points in the subspace of their principal components."""
    rows, num_values = images.reshape(len(images), -1), images[0].size
    chosen = np.arange(len(rows))
    if len(rows) > SAMPLE:
        drawn = np.random.default_rng(SAMPLE_SEED).choice(len(rows), SAMPLE, replace=False)
        chosen = np.sort(drawn)
    sampled = storage.take(rows, chosen).astype(np.float64)
    mean = sampled.mean(axis=0)
    sampled -= mean
    # The Gram matrix of images has the eigenvalues of the covariance of pixels, and fewer rows.
    variances, vectors = np.linalg.eigh(sampled @ sampled.T)
    variances = np.maximum(variances[::-1], 0.0)
    most = max(LEAST_COMPONENTS, MOST_NUMBERS // len(rows))
    kept = np.count_nonzero(variances[:most] > _LEAST_SHARE * variances[0])
    if not kept:
        return Projected(np.zeros((len(rows), 1), np.float32), 0.0, 0.0)
    scales = np.sqrt(variances[:kept] * num_values)
    directions = sampled.T @ (vectors[:, ::-1][:, :kept] / scales)
    mean, directions = mean.astype(np.float32), directions.astype(np.float32)
    # Not by JAX, which rounds differently where there are more devices.
    parts = [(some.astype(np.float32) - mean) @ directions for some in storage.chunks(rows)]
    points = np.concatenate(parts)
    # Equal images may be rounded differently, by where in a chunk they stand: all get one's point.
    first: dict[int, int] = {}
    every = itertools.chain.from_iterable(storage.chunks(rows))
    same = [first.setdefault(hash(row.tobytes()), number) for number, row in enumerate(every)]
    unexplained, deviation = (
        float(np.sqrt(some.sum() / sampled.size)) for some in (variances[kept:], variances)
    )
    return Projected(points[same], unexplained, deviation)
