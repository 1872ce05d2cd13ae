"""Images -> target codes: where in latent space training should put each image, before any model.

Codes that training finds by itself are folded: two sheets of images lie over one another, and no
penalty gets them apart. Targets are laid out flat beforehand:

1. Images are blurred, so that a small thing that moves by its own size is nearer to where it was
   than to where it was long ago. They are compared by root mean squares.
2. Each is joined to the `NEIGHBOURS` nearest, and components by the shortest bridges. Lengths of
   shortest paths from `PIVOTS` images to all others are what distances of targets should be.
3. Isomap (Tenenbaum, de Silva & Langford, "A global geometric framework for nonlinear
   dimensionality reduction", 2000) of the pivots places these, and all others among them (de Silva
   & Tenenbaum, "Sparse multidimensional scaling using landmark points", 2004).
4. L-BFGS makes the stress less: the sum, over pivots with all images and over neighbours, of the
   squared logarithm of how many times too long a distance is. Logarithms, since two sheets that
   coincide cost infinitely much. Weights are inverse squares of lengths, times how many images a
   pivot stands for (Ortmann, Klimenta & Brandes, "A sparse stress model", 2017).
5. Where images lie densely in one direction, the nearest hold no other one, and paths lead round.
   So what is laid out nearly without fault is laid out again with relative neighbours
   (Toussaint, "The relative neighbourhood graph of a finite planar set", 1980), which may be
   farther, and stays so if it has hardly more faults: some only look alike.

Time and memory are linear in the number of images, but for the search for neighbours.
"""

import logging
import weakref
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Float, Int

from jaxsurf.errors import UserError, check_choice, check_least
from jaxsurf.images import pixels, principal, storage
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import graph, latent_graph, neighbors
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.manifold.latent_graph import LatentGraph

# Standard deviation of the blur, as a share of the longer side, and the side to which blurred
# images are thinned.
BLUR, SIDE = 1 / 32, 32
COMPONENTS = 64
NEIGHBOURS, PIVOTS = 14, 50
# Relative neighbours: among so many nearest, so many times as far as the last of `NEIGHBOURS`
# usually is, used up to a residual of so much.
AMONG, FARTHER, FAULTLESS = 64, 2.0, 0.01
# Edges shorter than this share of the median one count as so long: weights are inverse squares, and
# a few very short edges would outweigh all others.
LEAST = 0.2
ITERATIONS = 500
# Neighbours of a code are near it if they are among so many times as many nearest images. Targets
# help up to some share of others: it was 0.04 and 0.06 on sets that they helped by 1 dB and more,
# 0.35 to 0.93 on others, some of which they harmed (docs/results/targets.md).
NEAR, MOST_RESIDUAL = 3, 0.2
# Root mean square of targets. The wider codes lie, the more the decoder's Fourier features tell
# neighbours apart: the arm in 7,000 steps 39.7 dB with 1, 41.8, 42.6, 43.1 with 2, 3, 4. Between
# images of small sets 4 is worse (docs/results/targets.md).
SPREAD = 3.0
# Latent dimensions up to which a layout is tried, to tell in the log how many would do.
MOST_TRIED = 4
# Of more images so many are laid out; each other one is placed by the mean of so many nearest ones.
LAID_OUT, PLACED_BY = 8_000, 8

# What `choose` logs, and what it returns.
Chosen = tuple[str, Float[np.ndarray, "image latent"] | None]
# By dimensions and kind, of the sets in use: runs of a sweep train on one.
_chosen: weakref.WeakKeyDictionary[ImageSet, dict[tuple[int, str], Chosen]] = (
    weakref.WeakKeyDictionary()
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TargetsConfig:
    """Whether training begins by target codes, which unfold the latent space.

    Attributes:
        kind: `auto`: where the images can be laid out in the latent dimensions, and are not groups
            that lie apart, such as views of separate objects; `on`; `off`.
        share: of all steps that use targets: in the first half of these the decoder sees them, and
            the encoder learns them; in the second half it comes to see the encoder's codes.
        weight: of the encoder's mean squared distance to them, beside the objective.
    """

    kind: str = "auto"
    share: float = 0.9
    weight: float = 0.01

    def __post_init__(self) -> None:
        check_choice("targets.kind", self.kind, ("auto", "on", "off"))
        check_least("targets.weight", self.weight, 0)
        if not 0 <= self.share <= 1:
            raise UserError(f"targets.share is {self.share}", cure="give a share from 0 to 1")


class Geodesics(NamedTuple):
    """What targets are laid out by: neighbours, and paths to some images, pivots; on 0-255."""

    pivots: Int[np.ndarray, "pivot"]
    lengths: Float[np.ndarray, "pivot image"]  # of the shortest paths
    edges: Int[np.ndarray, "edge 2"]  # pairs of neighbours, lower image number first
    apart: Float[np.ndarray, "edge"]  # the distance of each pair
    groups: int  # groups that neighbours join, before bridges join these


def blurred(images: pixels.Images) -> Float[np.ndarray, "image component"]:
    """Return blurred images as points, whose distances are root mean squares on 0-255."""
    longer = max(images.shape[1:3])
    sigma, step = BLUR * longer, max(1, longer // SIDE)
    parts = [
        scipy.ndimage.gaussian_filter(some, (0, sigma, sigma, 0), mode="nearest")[:, ::step, ::step]
        for some in storage.chunks(images)
    ]
    points = principal.project(np.concatenate(parts)).points
    return points[:, :COMPONENTS].astype(np.float64)


def geodesics(points: Float[np.ndarray, "image component"], *, relative: bool = False) -> Geodesics:
    """Return neighbours among points, and lengths of paths over them from pivots far apart.

    With `relative`, two points that no third one is nearer to than they are to one another count.
    """
    number = len(points)
    config = GraphConfig(kind="knn", k=min(NEIGHBOURS, number - 1), weight="latent", repair=True)
    joined = graph.build(points, config)
    groups = len(joined.bridges) + 1
    if relative:
        joined = latent_graph.with_edges(joined, *_relative(points, joined))
    # The first pivot is the point farthest from the mean, each next one the point farthest from
    # those before, along the graph.
    matrix = joined.matrix(np.maximum(joined.weights, 1e-12))
    away = np.square(points).sum(axis=1)
    pivots, lengths = [], []
    for _ in range(min(PIVOTS, number)):
        pivots.append(int(away.argmax()))
        lengths.append(scipy.sparse.csgraph.dijkstra(matrix, indices=pivots[-1]))
        away = np.minimum(away, lengths[-1]) if len(pivots) > 1 else lengths[-1]
    return Geodesics(np.array(pivots), np.stack(lengths), *joined.edges(), groups)


def _relative(
    points: Float[np.ndarray, "image component"], known: LatentGraph
) -> tuple[Int[np.ndarray, "edge 2"], Float[np.ndarray, "edge"]]:
    """Return the edges between relative neighbours that a graph has not, and their lengths."""
    near = neighbors.Index(points).nearest(k=min(AMONG, len(points) - 1))
    reach = FARTHER * np.median(near.distances[:, :NEIGHBOURS][:, -1])
    found = []
    for first in range(0, len(points), 256):
        away, some = near.distances[first : first + 256], near.indices[first : first + 256]
        sizes = np.square(points[some]).sum(axis=-1)
        products = points[some] @ points[some].transpose(0, 2, 1)
        among = np.sqrt(np.maximum(sizes[:, :, None] + sizes[:, None] - 2 * products, 0))
        among[:, np.arange(away.shape[1]), np.arange(away.shape[1])] = np.inf
        none = np.maximum(away[:, :, None], among).min(axis=1) >= away
        row, place = np.nonzero(none & (away <= reach))
        found.append(np.stack([first + row, some[row, place]], axis=1))
    ends = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    ends = ends[~latent_graph.are_among(ends, known.edges()[0])]
    return ends, neighbors.distances(*points[ends.T])


def lay_out(known: Geodesics, dimensions: int) -> Float[np.ndarray, "image latent"]:
    """Return the targets of points whose geodesics are known: mean 0, root mean square `SPREAD`."""
    squares = np.square(known.lengths)
    among = squares[:, known.pivots]
    centred = among - among.mean(axis=0) - among.mean(axis=1, keepdims=True) + among.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    # Axes beyond those that the pivots span stay at 0.
    used = min(dimensions, int((values > 1e-9 * values[-1]).sum()))
    values, vectors = values[::-1][:used], vectors[:, ::-1][:, :used]
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(used)])
    start = -((vectors / np.sqrt(values)).T @ (squares - among.mean(axis=1)[:, None])).T / 2
    codes = _less_stress(start, known)
    codes -= codes.mean(axis=0)
    codes *= SPREAD / np.sqrt(np.square(codes).sum() / (len(codes) * dimensions))
    return np.pad(codes, ((0, 0), (0, dimensions - used))).astype(np.float32)


def _less_stress(
    start: Float[np.ndarray, "image latent"], known: Geodesics
) -> Float[np.ndarray, "image latent"]:
    number, dimensions = start.shape
    region = known.lengths.argmin(axis=0)
    stands = np.empty_like(known.lengths)
    for pivot, row in enumerate(known.lengths):
        # A pivot's region is the images nearest to it. Beside an image at some distance it stands
        # for those of its region that are within half of that distance.
        stands[pivot] = np.searchsorted(np.sort(row[region == pivot]), row / 2)
    heads, tails = np.nonzero(known.lengths)
    wanted = np.concatenate([known.lengths[heads, tails], known.apart])
    wanted = np.maximum(wanted, LEAST * np.median(known.apart))
    weights = np.concatenate([np.maximum(stands[heads, tails], 1), np.ones_like(known.apart)])
    weights /= np.square(wanted)
    weights /= weights.sum()
    tails = np.concatenate([tails, known.edges[:, 1]])
    heads = np.concatenate([known.pivots[heads], known.edges[:, 0]])
    closest = np.square(LEAST * np.median(known.apart) / 2)  # where the logarithm ends
    wished = 2 * np.log(wanted)

    def stress(flat: np.ndarray) -> tuple[float, np.ndarray]:
        # Axis by axis: a quarter of the time of rows with an entry an axis.
        axes = np.ascontiguousarray(flat.reshape(number, dimensions).T)
        steps = [axis[tails] - axis[heads] for axis in axes]
        squares = sum(step * step for step in steps) + closest
        error = np.log(squares) - wished
        pull = weights * error / squares
        slope = [
            np.bincount(tails, pull * step, number) - np.bincount(heads, pull * step, number)
            for step in steps
        ]
        return float(weights @ np.square(error)) / 4, np.stack(slope, axis=1).ravel()

    found = scipy.optimize.minimize(
        stress, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}
    )
    return found.x.reshape(number, dimensions)


def residual(
    points: Float[np.ndarray, "image component"], codes: Float[np.ndarray, "image latent"]
) -> float:
    """Return the share of codes' `NEIGHBOURS` nearest that are not near as images.

    Near is what is among `NEAR` times as many nearest images. 0 means that no sheet of codes lies
    over another. Of few points fewer neighbours are looked at: at most half the points are near.
    """
    number = len(points)
    k = max(1, min(NEIGHBOURS, (number - 1) // (2 * NEAR)))
    near = neighbors.Index(codes).nearest(k=k).indices
    reach = neighbors.Index(points).nearest(k=min(NEAR * k, number - 1)).distances[:, -1]
    away = neighbors.distances(points[near], points[:, None])
    return float(np.mean(away > reach[:, None] * (1 + 1e-9)))


class Tried(NamedTuple):
    """Layouts of images in some numbers of dimensions, rising to the first that will do."""

    residuals: dict[int, float]  # of each layout, by its dimensions
    codes: Float[np.ndarray, "sampled latent"]  # of the first layout
    points: Float[np.ndarray, "point component"]  # the blurred images, of equal ones one
    group: Int[np.ndarray, "image"]  # the point of each image
    chosen: Int[np.ndarray, "sampled"]  # the points that were laid out
    groups: int  # of images that lie apart, none of one among the nearest of another

    @property
    def best(self) -> int | None:
        """Dimensions that will do, if any of those tried."""
        last = max(self.residuals)
        return last if self.residuals[last] <= MOST_RESIDUAL else None


def try_layouts(images: pixels.Images, dimensions: int) -> Tried | None:
    """Lay images out in so many dimensions and, where these are too few, in more, up to four.

    None where blurred images are all equal.
    """
    # Equal images have one target.
    points, group = np.unique(blurred(images), axis=0, return_inverse=True)
    if len(points) < 2:
        return None
    chosen = np.arange(len(points))
    if len(points) > LAID_OUT:
        chosen = np.random.default_rng(0).choice(len(points), LAID_OUT, replace=False)
    known, wrong = geodesics(points[chosen]), {}
    for tried in range(dimensions, max(dimensions, MOST_TRIED) + 1):
        codes = lay_out(known, tried)
        wrong[tried] = residual(points[chosen], codes)
        found = codes if tried == dimensions else found
        if wrong[tried] <= MOST_RESIDUAL:
            break
    if wrong[dimensions] <= FAULTLESS:
        further = geodesics(points[chosen], relative=True)
        if len(further.edges) > len(known.edges):
            other = lay_out(further, dimensions)
            faults = residual(points[chosen], other)
            if faults <= FAULTLESS:
                found, wrong[dimensions] = other, faults
    return Tried(wrong, found, points, group, chosen, known.groups)


def choose(
    images: ImageSet, dimensions: int, config: TargetsConfig
) -> Float[np.ndarray, "image latent"] | None:
    """Return the target codes of images, or None where these would do harm; log which, and why.

    Asked again of the same set, nothing is computed.
    """
    known = _chosen.setdefault(images, {})
    if (dimensions, config.kind) not in known:
        known[dimensions, config.kind] = _choose(images.images, dimensions, config.kind)
    said, codes = known[dimensions, config.kind]
    _log.info("targets %s", said)
    return codes


def _choose(images: pixels.Images, dimensions: int, kind: str) -> Chosen:
    tried = try_layouts(images, dimensions)
    if tried is None:
        return "off: blurred images are all equal", None
    wrong, best, groups = tried.residuals, tried.best, tried.groups
    # Of separate objects the layout decides how far apart they lie, which does harm.
    used = kind == "on" or (best == dimensions and groups == 1)
    residuals = ", ".join(f"{each:.2f} at d = {d}" for d, each in wrong.items())
    reason = f": use d = {best}" if best is not None and best > dimensions else ""
    if groups > 1:
        reason = f", {groups} groups of images lie apart"
    said = f"{'on' if used else 'off'}: residual {residuals}{reason}"
    if not used:
        return said, None
    found = tried.codes
    if len(tried.chosen) < len(tried.points):
        near = neighbors.Index(tried.points[tried.chosen]).nearest_to(tried.points, k=PLACED_BY)
        weights = 1 / np.maximum(near.distances, 1e-6)
        weights /= weights.sum(axis=1, keepdims=True)
        found = np.einsum("ik,ikd->id", weights, found[near.indices]).astype(np.float32)
    return said, found[tried.group]
