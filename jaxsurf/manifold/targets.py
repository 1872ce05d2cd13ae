"""Images -> target codes: where in latent space training should put each image, before any model.

Codes that training finds by itself are folded: two sheets of images lie over one another, and no
penalty gets them apart. Targets are laid out flat beforehand, by Isomap (Tenenbaum, de Silva &
Langford, "A global geometric framework for nonlinear dimensionality reduction", 2000), from a few
pivots as in de Silva & Tenenbaum, "Sparse multidimensional scaling using landmark points", 2004,
then by less sparse stress (Ortmann, Klimenta & Brandes, "A sparse stress model", 2017):

1. images are blurred, so that a small thing that moves by its own size still is nearer to where it
   was than to where it was long ago, and compared by root mean squares;
2. each is joined to the `NEIGHBOURS` nearest, components by the shortest bridges; lengths of
   shortest paths from `PIVOTS` images to all others are what distances of targets should be;
3. classical scaling of the pivots, the others placed among them; then L-BFGS on the stress.

Time and memory are linear in the number of images, but for the search for neighbours.
"""

import hashlib
import logging
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.optimize
from jaxtyping import Float, Int
from scipy import ndimage
from scipy.sparse import csgraph

from jaxsurf.errors import UserError, check_choice, check_least
from jaxsurf.images import pixels, storage
from jaxsurf.manifold import graph
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.manifold.latent_graph import LatentGraph

# Standard deviation of the blur, in shares of the longer side, and the side that is left then.
BLUR, SIDE = 1 / 32, 32
COMPONENTS = 64
NEIGHBOURS, PIVOTS = 12, 50
# Shorter edges, in shares of the median one, weigh as much as this: else they would be all that
# counts.
LEAST = 0.2
ITERATIONS = 200
# Dimensions tried, and up to which residual targets help.
MOST_TRIED, MOST_RESIDUAL = 3, 0.3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TargetsConfig:
    """Whether training begins by target codes, which unfold the latent space.

    Attributes:
        kind: `auto`: where the images can be laid out in the latent dimensions; `on`; `off`.
        share: of all steps, in which the decoder sees targets and the encoder learns them.
        weight: of the encoder's mean squared distance to them, beside the objective.
    """

    kind: str = "off"
    share: float = 0.5
    weight: float = 0.1

    def __post_init__(self) -> None:
        check_choice("targets.kind", self.kind, ("auto", "on", "off"))
        check_least("targets.weight", self.weight, 0)
        if not 0 <= self.share <= 1:
            raise UserError(f"targets.share is {self.share}", cure="give a share from 0 to 1")


class Targets(NamedTuple):
    """Target codes, of mean 0 and root mean square 1, and what is wrong with them."""

    codes: Float[np.ndarray, "image latent"]
    residual: float


class Geodesics(NamedTuple):
    """What targets are laid out by: neighbours, and the way to each pivot.

    Attributes:
        pivots: the images that they are.
        lengths: of the shortest path from each pivot to each image, on 0-255.
        edges: pairs of neighbours, lower index first, `apart` the distance of each.
    """

    pivots: Int[np.ndarray, "pivot"]
    lengths: Float[np.ndarray, "pivot image"]
    edges: Int[np.ndarray, "edge 2"]
    apart: Float[np.ndarray, "edge"]


def blurred(images: pixels.Images) -> Float[np.ndarray, "image component"]:
    """Return images, blurred, in their first principal components: distances are RMS on 0-255."""
    height, width = images.shape[1:3]
    sigma, step = BLUR * max(height, width), max(1, max(height, width) // SIDE)
    rows = np.concatenate(
        [
            ndimage.gaussian_filter(some.astype(np.float32), (0, sigma, sigma, 0), mode="nearest")[
                :, ::step, ::step
            ].reshape(len(some), -1)
            for some in storage.chunks(images)
        ]
    )
    rows -= rows.mean(axis=0)
    rows /= np.sqrt(rows.shape[1])
    # By Halko, Martinsson & Tropp, "Finding structure with randomness", 2011.
    random = np.random.default_rng(0)
    span = random.normal(size=(rows.shape[1], min(COMPONENTS + 16, *rows.shape)))
    for _ in range(3):
        span = np.linalg.qr(rows.T @ (rows @ span.astype(np.float32)))[0]
    seen = rows @ span
    return seen @ np.linalg.svd(seen, full_matrices=False)[2][:COMPONENTS].T


def geodesics(points: Float[np.ndarray, "image component"]) -> Geodesics:
    """Return neighbours among points, and lengths of paths over them from pivots far apart."""
    number = len(points)
    config = GraphConfig(kind="knn", k=min(NEIGHBOURS, number - 1), weight="latent", repair=True)
    joined = graph.build(points, config)
    return Geodesics(*_from_pivots(joined, points), *joined.edges())


def _from_pivots(
    joined: LatentGraph, points: Float[np.ndarray, "image component"]
) -> tuple[Int[np.ndarray, "pivot"], Float[np.ndarray, "pivot image"]]:
    # The first is the one furthest out, each next one the furthest from those before.
    matrix = joined.matrix(np.maximum(joined.weights, 1e-12))
    away = np.square(points).sum(axis=1)
    pivots, lengths = [], []
    for _ in range(min(PIVOTS, len(points))):
        pivots.append(int(away.argmax()))
        lengths.append(csgraph.dijkstra(matrix, indices=pivots[-1]))
        away = np.minimum(away, lengths[-1]) if len(pivots) > 1 else lengths[-1]
    return np.array(pivots), np.stack(lengths)


def lay_out(known: Geodesics, dimensions: int) -> Targets:
    """Return the targets of points whose geodesics are known."""
    squares = np.square(known.lengths)
    among = squares[:, known.pivots]
    centred = among - among.mean(axis=0) - among.mean(axis=1, keepdims=True) + among.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    used = min(dimensions, int((values > 1e-9 * values[-1]).sum()))
    values, vectors = values[::-1][:used], vectors[:, ::-1][:, :used]
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(used)])
    start = -((vectors / np.sqrt(values)).T @ (squares - among.mean(axis=1)[:, None])).T / 2
    codes, residual = _less_stress(start, known)
    codes = codes - codes.mean(axis=0)
    scale = np.sqrt(np.square(codes).sum() / (len(codes) * dimensions))
    codes = np.pad(codes / scale, ((0, 0), (0, dimensions - used)))
    return Targets(codes.astype(np.float32), residual)


def _less_stress(
    start: Float[np.ndarray, "image latent"], known: Geodesics
) -> tuple[Float[np.ndarray, "image latent"], float]:
    """Return points of less stress, and the root of what is left of it."""
    pivots, lengths = known.pivots, known.lengths
    number, dimensions = start.shape
    least = LEAST * np.median(known.apart)
    # A pivot stands for the points nearest to it, but for a close one only for those closer still.
    region = lengths.argmin(axis=0)
    stands = np.empty_like(lengths)
    for pivot, row in enumerate(lengths):
        inside = np.sort(row[region == pivot])
        stands[pivot] = np.maximum(1, np.searchsorted(inside, row / 2))
    heads, tails = np.nonzero(lengths)
    wanted = np.concatenate([lengths[heads, tails], known.apart])
    weights = np.concatenate([stands[heads, tails], np.ones(len(known.apart))])
    weights /= np.square(np.maximum(wanted, least))
    weights /= weights @ np.square(wanted)
    ends = (
        np.concatenate([pivots[heads], known.edges[:, 0]]),
        np.concatenate([tails, known.edges[:, 1]]),
    )

    def stress(flat: np.ndarray) -> tuple[float, np.ndarray]:
        codes = flat.reshape(number, dimensions)
        step = codes[ends[0]] - codes[ends[1]]
        away = np.sqrt(np.vecdot(step, step))
        error = away - wanted
        pull = (2 * weights * error / np.maximum(away, 1e-12))[:, None] * step
        slope = np.stack(
            [
                np.bincount(ends[0], pull[:, axis], number)
                - np.bincount(ends[1], pull[:, axis], number)
                for axis in range(dimensions)
            ],
            axis=1,
        )
        return float(weights @ np.square(error)), slope.ravel()

    found = scipy.optimize.minimize(
        stress, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}
    )
    return found.x.reshape(number, dimensions), float(np.sqrt(found.fun))


def distinct(images: pixels.Images) -> tuple[Int[np.ndarray, "distinct"], Int[np.ndarray, "image"]]:
    """Return the first of each group of equal images, and which group each is of."""
    seen: dict[bytes, int] = {}
    group = np.array([seen.setdefault(hashlib.sha1(image).digest(), len(seen)) for image in images])
    return np.unique(group, return_index=True)[1], group


def choose(
    images: pixels.Images, dimensions: int, config: TargetsConfig, none: np.ndarray
) -> Float[np.ndarray, "image latent"]:
    """Return the target codes of images, or `none` where these would do harm, and log why."""
    first, group = distinct(images)
    if len(first) < MOST_TRIED + 2:
        return none
    known = geodesics(blurred(images[first]))
    tried = {d: lay_out(known, d) for d in range(dimensions, MOST_TRIED + 1)}
    tried = tried or {dimensions: lay_out(known, dimensions)}
    used = config.kind == "on" or tried[dimensions].residual <= MOST_RESIDUAL
    told = ", ".join(f"{each.residual:.2f} at d = {d}" for d, each in tried.items())
    _log.info("targets %s: residual %s", "on" if used else "off", told)
    return tried[dimensions].codes[group] if used else none
