"""Reading factors out of frames: which pose is it, and how far from a true image of that pose?

The factors that vary span a grid of poses. A *pose* is a place in it, in grid steps: 2.5 of a
factor lies half way between its third value and its fourth; a periodic factor comes back to 0 after
its last value. A *lattice* holds a true image at each of its nodes: renders a quarter of a grid
step apart, where these can be drawn, or else the images of the grid itself.

A frame is read in three steps: principal components propose a few nodes, all pixels decide and walk
downhill from there, and a quadratic around the last node places the pose between nodes.
"""

import contextlib
import itertools
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxsurf import workdir
from jaxsurf.errors import UserError
from jaxsurf.frames.decode import Frames
from jaxsurf.images import pixels, storage
from jaxsurf.images.image_set import FEWEST_LEFT, MPI3D, ImageSet

# Raised when what is kept in the cache would be made otherwise.
EDITION = 1
MOST_FACTORS = 3
# Lattice steps a grid step, the finest first: the first one of a lattice that is small enough is
# taken. The limit is six minutes of drawing the arm, or 0.7 GB at 64 x 64.
FINENESS, MOST_RENDERS = (4, 2), 60_000
DRAWN_AT_ONCE = 1024
# On the arm, true poses need 48 of them. Of 512 mixtures of two images, twice as many find a nearer
# pose for 2 %, half as many miss it for 3 %.
NUM_COMPONENTS, NUM_SAMPLED = 192, 2500
# The best one alone misses the nearest pose of 6 % of mixtures, three miss 0.4 %, six none.
NUM_PROPOSALS = 6
# Frames whose distances to all nodes are computed at once (25 MB on the arm), as NumPy's threads do
# it four times as fast as ours; these then take a part each.
READ_AT_ONCE, PART = 256, 64

Ends = Int[np.ndarray, "pair 2"]  # source and target, by image number
Pose = Float[np.ndarray, "factor"]
Poses = Float[np.ndarray, "pose factor"]
Others = Float[np.ndarray, "other factor"]
Apart = Float[np.ndarray, "pose other"]
Errors = Float[np.ndarray, "image"]
Pixels = UInt8[np.ndarray, "node value"]
Arrays = dict[str, np.ndarray]
Differences = Float[np.ndarray, "*rows factor"]

_log = logging.getLogger(__name__)


class Reading(NamedTuple):
    """What frames show: poses in grid steps, and mean squared differences (0-255 squared) to it."""

    poses: Float[np.ndarray, "_frame factor"]
    residuals: Float[np.ndarray, "_frame"]


class Axis(NamedTuple):
    """A factor that varies: its column, its values in ascending order, its period if it has one."""

    name: str
    column: int
    values: Float[np.ndarray, "value"]
    period: float | None


@dataclass(frozen=True, eq=False)
class FactorGrid:
    """The grid that the factors of an image set form."""

    axes: tuple[Axis, ...]  # the factors that vary, in the order of the columns
    held: Float[np.ndarray, "column"]  # a row of factors: those that do not vary hold for all
    nodes: Int[np.ndarray, "image"]  # the grid's node of each image, in C order

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of values of each factor that varies."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def around(self) -> Float[np.ndarray, "factor"]:
        """Grid steps after which a factor comes back to itself; 0 where it does not."""
        return np.array([len(a.values) if a.period else 0 for a in self.axes], float)

    def lattice_shape(self, per_step: int) -> tuple[int, ...]:
        """Return the nodes along each factor of a lattice of so many steps a grid step."""
        ends = [0 if axis.period else per_step - 1 for axis in self.axes]
        return tuple(n * per_step - end for n, end in zip(self.shape, ends, strict=True))

    def image_poses(self, images: Int[np.ndarray, "*rows"]) -> Float[np.ndarray, "*rows factor"]:
        """Return the poses, in grid steps, of images by number."""
        return np.stack(np.unravel_index(self.nodes[images], self.shape), axis=-1).astype(float)

    def short(self, differences: Differences) -> Differences:
        """Return differences of poses, in grid steps, the short way round periodic factors."""
        turns = np.round(differences / np.where(self.around, self.around, 1))
        return differences - self.around * turns

    def apart(self, first: Poses, second: Others) -> Apart:
        """Return the distance of each pose to each of others, in grid steps."""
        return np.linalg.norm(self.short(second - first[:, None]), axis=-1)

    def adjacent_pairs(self) -> Int[np.ndarray, "pair 2"]:
        """Return pairs of nodes one step apart along a factor, round a periodic one too."""
        pairs, numbers = [], np.arange(np.prod(self.shape)).reshape(self.shape)
        for axis, ring in enumerate(self.around > 0):
            both = np.stack([numbers, np.roll(numbers, -1, axis)], axis=-1)
            steps = np.arange(both.shape[axis] - (not ring))
            pairs.append(np.take(both, steps, axis).reshape(-1, 2))
        return np.concatenate(pairs)

    def factors(self, poses: Poses) -> Float[np.ndarray, "pose column"]:
        """Return the rows of factors of poses."""
        rows = np.tile(self.held, (len(poses), 1))
        for axis, column in zip(self.axes, poses.T, strict=True):
            values = axis.values
            if axis.period:
                values, column = np.append(values, values[0] + axis.period), column % len(values)
            rows[:, axis.column] = np.interp(column, np.arange(len(values)), values)
        return rows


def read_grid(images: ImageSet) -> FactorGrid:
    """Return the grid of an image set's factors, or refuse a set whose factors form none."""
    cure = "measure without the truth, or open a slice of one to three ordered factors"
    if images.factors is None:
        raise UserError(f"{images.name} has no factors, so that no truth is known of it", cure=cure)
    factors = images.factors.astype(np.float64)
    axes = []
    for column, name in enumerate(images.factor_names):
        values = np.unique(factors[:, column])
        if len(values) > 1:
            period = float(images.periodic.get(name, 0.0))
            # Values that leave no gap open: they go all the way round.
            ring = 0 < values[0] + period - values[-1] < 1.5 * np.diff(values).max()
            axes.append(Axis(name, column, values, period if ring else None))
    if not 1 <= len(axes) <= MOST_FACTORS:
        raise UserError(f"{len(axes)} factors of {images.name} vary", cure=cure)
    for name, _, values, _ in axes:
        # What is drawn says which of its factors have an order; of the others, MPI3D's kinds and
        # its few sizes and heights have names.
        kinds = name not in images.continuous if images.draw is not None else name in MPI3D.labels
        if kinds or len(values) < FEWEST_LEFT:
            cause = f"{name} of {images.name} is no scale of {FEWEST_LEFT} values or more"
            raise UserError(cause, cure=f"hold {name} at one value")
    shape = tuple(len(axis.values) for axis in axes)
    places = [np.searchsorted(axis.values, factors[:, axis.column]) for axis in axes]
    nodes = np.ravel_multi_index(places, shape)
    if not np.array_equal(np.sort(nodes), np.arange(np.prod(shape))):
        raise UserError(
            f"the {len(images)} images of {images.name} are not one for each of the "
            f"{' x '.join(map(str, shape))} combinations of {', '.join(a.name for a in axes)}",
            cure=cure,
        )
    return FactorGrid(tuple(axes), factors[0], nodes)


class Reader:
    """Reads poses from true images at all nodes of a lattice; poses here are in lattice steps.

    It is given an image a node, in C order, the nodes along each factor, at least three, and which
    factors are closed: they come back from the last node to the first. With a stamp, what is made
    of the images is kept in the cache.
    """

    def __init__(
        self,
        images: Pixels,
        shape: tuple[int, ...],
        closed: Bool[np.ndarray, "factor"],
        stamp: str = "",
    ) -> None:
        self.images, self.shape, self.closed = images, np.array(shape), closed
        self.offsets = np.array(list(itertools.product((-1, 0, 1), repeat=len(shape))))
        self.places = np.stack(np.unravel_index(np.arange(len(images)), shape), axis=-1)
        self.stencil = self.neighbours(self.offsets)
        # The node nearest to each whose neighbours are all there.
        inner = np.where(closed, self.places, np.clip(self.places, 1, self.shape - 2))
        self._centres = np.asarray(np.ravel_multi_index(tuple(inner.T), shape), np.int32)

        def make() -> Arrays:
            return _components(images) | {"tensors": self._make_tensors()}

        made = keep("reader", stamp, make) if stamp else make()
        # The metric tensor at each node, per squared lattice step.
        self.tensors: Float[np.ndarray, "node factor factor"] = made["tensors"]
        # The mean over the stencil around each node's centre.
        self._curvatures = self.tensors[self.stencil[self._centres]].mean(axis=1)
        self._varying, self._mean = made["varying"], made["mean"]
        self._directions, coordinates = made["directions"], made["coordinates"]
        # |f - n|^2 without |f|^2, which is the same for all nodes n of a frame f.
        self._turned, self._norms = -2 * coordinates.T, np.square(coordinates).sum(axis=1)
        a, b = np.triu_indices(len(shape))
        products = self.offsets[:, a] * self.offsets[:, b]
        terms = [np.ones((len(self.offsets), 1)), self.offsets, products]
        # Of 1, the offsets and their products: the least-squares quadratic.
        self._fit = np.linalg.pinv(np.concatenate(terms, axis=1))

    def neighbours(self, offsets: Int[np.ndarray, "place factor"]) -> Int[np.ndarray, "node place"]:
        """Return the node at each offset from each node; -1 beyond the lattice."""
        places = self.places[:, None] + offsets
        outside = ((places < 0) | (places >= self.shape)) & ~self.closed
        numbers = np.ravel_multi_index(tuple(np.moveaxis(places % self.shape, -1, 0)), self.shape)
        return np.where(outside.any(axis=-1), -1, numbers).astype(np.int32)

    def _make_tensors(self) -> Float[np.ndarray, "node factor factor"]:
        """Return the metric tensor at each node.

        It is the least-squares fit of o^T G o to the squared differences at the offsets o to the
        neighbours that are there, each weighed by |o|^-2, since farther ones are more curved.
        """
        dimension, offsets = len(self.shape), self.offsets
        half = len(offsets) // 2
        squares = np.full(self.stencil.shape, np.nan)
        squares[:, half] = 0.0
        there, place = np.nonzero((self.stencil >= 0) & (np.arange(len(offsets))[None] > half))
        others = self.stencil[there, place]
        found = np.square(pixels.rms(self.images, np.stack([there, others], axis=1)))
        squares[there, place] = squares[others, len(offsets) - 1 - place] = found
        a, b = np.triu_indices(dimension)
        weights = 1.0 / np.maximum(1, np.square(offsets).sum(axis=1))
        terms = (offsets[:, a] * offsets[:, b] * np.where(a == b, 1, 2)).astype(np.float64)
        present = np.isfinite(squares) * weights
        normal = np.einsum("np,pi,pj->nij", present, terms, terms)
        right = np.einsum("np,pi->ni", np.nan_to_num(squares) * present, terms)
        entries = np.linalg.solve(normal, right[..., None])[..., 0]
        tensors = np.empty((len(squares), dimension, dimension))
        tensors[:, a, b] = tensors[:, b, a] = entries
        return tensors

    def read(self, frames: UInt8[np.ndarray, "frame value"]) -> Reading:
        """Return the pose of each frame, in lattice steps, and its residual."""
        from jaxsurf.evaluation import pose_kernels
        from jaxsurf.manifold import search_kernels

        def settle(job: tuple[np.ndarray, np.ndarray]) -> Reading:
            some, distances = job
            proposed = pose_kernels.propose(distances, self.stencil, NUM_PROPOSALS)
            where = (self.images, self.stencil, self._centres, proposed)
            return self._between_nodes(*pose_kernels.settle(some, *where))

        found = []
        for some in storage.chunks(frames, rows=READ_AT_ONCE):
            distances = (some[:, self._varying] - self._mean) @ self._directions @ self._turned
            parts = [storage.chunks(rows, rows=PART) for rows in (some, distances + self._norms)]
            found += search_kernels.in_threads(settle, list(zip(*parts, strict=True)))
        return Reading(*(np.concatenate(part) for part in zip(*found, strict=True)))

    def _between_nodes(
        self, nodes: Int[np.ndarray, "frame"], around: Float[np.ndarray, "frame place"]
    ) -> Reading:
        """Return the minimum of the quadratic through the differences around each node."""
        dimension, centres = len(self.shape), self.places[self._centres[nodes]]
        # -1, 0 or 1 along each factor; not 0 only at the border of the lattice.
        best = self.places[nodes] - centres
        level, slope, products = np.split(around @ self._fit.T, [1, 1 + dimension], axis=1)
        fitted = np.zeros((len(nodes), dimension, dimension))
        a, b = np.triu_indices(dimension)
        fitted[:, a, b] += products
        fitted[:, b, a] += products
        # The Hessian of mean squared differences is twice the metric tensor. The mean of that and
        # of the fitted one errs less than either where images hardly change: 0.20 grid steps in
        # place of 0.24 and 0.27, the 95th percentile on the arm.
        expected = 2 * self._curvatures[nodes]
        # A factor that changes nothing stays where it is.
        expected += (1e-6 * (1 + expected.max(axis=(1, 2))))[:, None, None] * np.eye(dimension)
        hessian = (fitted + expected) / 2
        convex = np.linalg.eigvalsh(hessian)[:, 0] > 0
        hessian = np.where(convex[:, None, None], hessian, expected)
        offset = -np.linalg.solve(hessian, slope[..., None])[..., 0]
        offset = np.clip(offset, np.maximum(best - 1, -1), np.minimum(best + 1, 1))
        value = level[:, 0] + (slope * offset).sum(axis=1)
        value += np.einsum("fa,fab,fb->f", offset, hessian, offset) / 2
        at_node = around.min(axis=1)
        # A frame that equals an image of the lattice has exactly that image's pose.
        poses = centres + np.where(at_node[:, None] == 0, best, offset)
        residuals = np.clip(value, 0.0, at_node)
        return Reading(np.where(self.closed, poses % self.shape, poses), residuals)


def _components(images: Pixels) -> Arrays:
    """Return the principal components of some images, and the coordinates of all in them."""
    chosen = np.arange(len(images))
    if len(images) > NUM_SAMPLED:
        chosen = np.sort(np.random.default_rng(0).choice(len(images), NUM_SAMPLED, replace=False))
    sampled = storage.take(images, chosen)
    # More than half of the arm's pixels always show the same floor.
    varying = np.flatnonzero(np.ptp(sampled, axis=0))
    sampled = sampled[:, varying].astype(np.float32)
    mean = sampled.mean(axis=0)
    sampled -= mean
    # Subspace iteration: what it leaves out of the last ones is of no weight here. SciPy's solvers
    # take 3 to 6 times as long (Halko, Martinsson & Tropp 2011, section 4.5).
    gram = (sampled @ sampled.T).astype(np.float64)
    width = min(len(sampled), NUM_COMPONENTS + 32)
    basis = np.random.default_rng(0).normal(size=(len(sampled), width))
    for _ in range(3):
        basis = np.linalg.qr(gram @ basis)[0]
    variances, turned = np.linalg.eigh(basis.T @ gram @ basis)
    # A direction that rounding alone makes would have no length.
    kept = np.flatnonzero(variances > 1e-6 * variances[-1])[::-1][:NUM_COMPONENTS]
    vectors = basis @ (turned[:, kept] / np.sqrt(variances[kept]))
    directions = sampled.T @ vectors.astype(np.float32)
    chunks = storage.chunks(images, rows=DRAWN_AT_ONCE)
    coordinates = np.concatenate([(some[:, varying] - mean) @ directions for some in chunks])
    made = {"varying": varying, "mean": mean, "directions": directions}
    return made | {"coordinates": coordinates}


@dataclass(frozen=True, eq=False)
class Lattice:
    """True images of a grid's poses, and what reads frames by them."""

    grid: FactorGrid
    per_step: int  # lattice steps a grid step
    reader: Reader  # holds the images
    stamp: str  # names all that the lattice was made from

    def read(self, frames: Frames) -> Reading:
        """Return the pose of each frame, in grid steps, and its residual."""
        poses, residuals = self.reader.read(frames.reshape(len(frames), -1))
        return Reading(poses / self.per_step, residuals)


def make_lattice(images: ImageSet, *, rendered: bool) -> Lattice:
    """Return the lattice of an image set: of renders where these are wanted and can be drawn."""
    grid = read_grid(images)
    draw, per_step = images.draw, 1
    if rendered and draw is not None:
        small = (e for e in FINENESS if math.prod(grid.lattice_shape(e)) <= MOST_RENDERS)
        per_step = next(small, 1)
    shape = grid.lattice_shape(per_step)
    # The fingerprint of a drawn set is that of its factors, and does not tell which are periodic:
    # some of its images tell other pixels apart, and a lattice goes on round periodic factors.
    order, periods = np.argsort(grid.nodes), [axis.period for axis in grid.axes]
    some = storage.take(images.images, order[:: max(1, len(images) // 64)])
    stamp = f"{images.fingerprint} {workdir.fingerprint(some)} {per_step} {EDITION} {periods}"
    if draw is None or per_step == 1:
        in_order = np.array_equal(order, np.arange(len(images)))
        shown = images.images if in_order else storage.take(images.images, order)
    else:
        places = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=-1)
        rows = grid.factors(places / per_step).astype(np.float32)
        size = (len(rows), *images.images.shape[1:])
        what = f"{' x '.join(map(str, shape))} renders of {images.name}"

        def drawn() -> Iterator[Frames]:
            _log.info("drawing %s, once; of large images it takes minutes", what)
            return map(draw, storage.chunks(rows, rows=DRAWN_AT_ONCE))

        name = f"lattice-{workdir.fingerprint(images.fingerprint, str(per_step))}"
        shown = storage.cached(drawn, shape=size, name=name, made_of=stamp)
    shown = shown.reshape(len(shown), -1)
    return Lattice(grid, per_step, Reader(shown, shape, grid.around > 0, stamp), stamp)


def read_held_out(reader: Reader, most: int) -> tuple[Errors, Errors]:
    """Return errors, in lattice steps, and residuals of images, read by every other image.

    They bound those of reading by all images, which are half as far apart. A factor of up to
    `FEWEST_LEFT` nodes is not thinned; where no factor is, no image is left out. At most so many
    are read, drawn from a fixed seed.
    """
    every = np.where(reader.shape > FEWEST_LEFT, 2, 1)
    if np.all(every == 1):
        return np.empty(0), np.empty(0)
    numbers = np.arange(len(reader.images)).reshape(reader.shape)
    kept = numbers[tuple(slice(None, None, step) for step in every)]
    closed = reader.closed & (reader.shape % every == 0) & (np.array(kept.shape) > 2)
    images = storage.take(reader.images, kept.ravel())
    thinned = Reader(images, kept.shape, closed)
    # What is read lies between images that are kept, along each factor that was thinned.
    places = reader.places
    between = ((places % 2 == 1) & ((places < reader.shape - 1) | closed)) | (every == 1)
    left_out = np.flatnonzero(between.all(axis=1))
    left_out = np.random.default_rng(0).permutation(left_out)[:most]
    poses, residuals = thinned.read(storage.take(reader.images, left_out))
    errors = poses * every - places[left_out]
    around = np.where(reader.closed, reader.shape, 1)
    errors -= np.where(reader.closed, around * np.round(errors / around), 0)
    return np.linalg.norm(errors, axis=1), residuals


def keep(kind: str, stamp: str, make: Callable[[], Arrays]) -> Arrays:
    """Return arrays from the cache, or make them; the stamp names all that they are made from."""
    path = storage.cache_folder() / f"truth-{kind}-{workdir.fingerprint(stamp)}.npz"
    with contextlib.suppress(UserError):  # not there yet, or damaged
        return workdir.read_arrays(path)
    _log.info("making the %s of the truth, once", kind)
    arrays = make()
    try:
        workdir.write_arrays(path, **arrays)
    except UserError as error:
        _log.warning("the %s of the truth are not cached: %s", kind, error)
    return arrays
