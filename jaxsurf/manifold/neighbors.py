"""Latent codes -> nearest neighbours and pairs within a radius, exactly.

Distances are Euclidean, in float64: the square root of the sum of squared differences, added up
axis after axis. Neighbours stand in order of distance; at equal distance the lowest index comes
first, also where `k` cuts equals off. A point is never its own neighbour, though a coincident one
may be. The same codes give the same neighbours on every machine.

Candidates come from SciPy's k-d tree over distinct points in spatial order, so that a query touches
few cache lines; in many dimensions, and on accelerators, from matrix products in float32. Both give
a bound: no other point is nearer. Candidates are ranked exactly; as long as the bound leaves the
ranking open, the tree is asked for more.
"""

import functools
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real
from scipy.spatial import KDTree

from jaxsurf.errors import UserError

# A graph of more edges than this is a mistake in the radius, and would not fit in memory.
MAX_PAIRS = 50_000_000
# A k-d tree prunes well up to about this many dimensions; beyond it, it visits nearly every point.
_MAX_TREE_DIMENSIONS = 8
# Squares of larger values do not fit in float64; those of smaller ones are 0, or nearly.
_LARGEST, _SMALLEST = 1e150, 1e-150
# SciPy and we round differently, by a few units in the last place per dimension.
_GROWN, _SHRUNK = 1 + 1e-12, 1 - 1e-12
# Queries up to which looking at all points is quicker than making a tree of them; numbers looked at
# by all queries together from which on a product is quicker than the tree.
_FEW, _MANY = 4, 500_000_000
# Candidates beyond `k` from products, whose rounding may put some in a wrong order.
_EXTRA = 16
# Values in memory at once: of candidates, and of products on a CPU and on an accelerator.
_CHUNK, _CPU_TILE, _TILE = 1 << 20, 1 << 24, 1 << 27
# Columns of a product whose smallest value stands for all of them when blocks are compared.
_BLOCK = 128

_log = logging.getLogger(__name__)

Codes = Float[np.ndarray, "point latent"]


class Neighbors(NamedTuple):
    """The k nearest points of each point (or query), nearest first."""

    indices: Int[np.ndarray, "point neighbor"]
    distances: Float[np.ndarray, "point neighbor"]


def check_codes(codes: Real[np.ndarray, "point latent"], *, origin: str = "latent codes") -> Codes:
    """Return codes as float64.

    Args:
        codes: one row a point.
        origin: what they are, in the plural, for the message.

    Raises:
        UserError: the array is not real, not two-dimensional, empty, not finite, or too large.
    """
    if codes.ndim != 2 or not codes.size:
        raise UserError(
            f"{origin} have shape {codes.shape}, not (point, latent)",
            cure="give one row a point, with at least one point and one dimension",
        )
    if codes.dtype.kind not in "fiu":
        raise UserError(f"{origin} are of type {codes.dtype}", cure="give real numbers")
    codes = np.ascontiguousarray(codes, dtype=np.float64)
    bad = np.flatnonzero(~(np.abs(codes) <= _LARGEST).all(axis=1))
    if bad.size:
        raise UserError(
            f"{bad.size} of {len(codes)} {origin} are not finite (or beyond {_LARGEST:g}), the "
            f"first in row {bad[0]}",
            cure="look at where they come from: a diverged model gives such codes",
        )
    return codes


def distances(
    first: Float[np.ndarray, "*#shape latent"], second: Float[np.ndarray, "*#shape latent"]
) -> Float[np.ndarray, "..."]:
    """Return the distances between corresponding points; leading axes are broadcast."""
    total = np.square(first[..., 0] - second[..., 0])
    for axis in range(1, first.shape[-1]):
        total = total + np.square(first[..., axis] - second[..., axis])
    return np.sqrt(total)


class Index:
    """One set of codes, ready to be asked for neighbours again and again.

    What takes long is done when it is first needed, and kept: the tree, and the neighbours of all
    points, of which fewer may be asked for later.
    """

    def __init__(self, codes: Real[np.ndarray, "point latent"]) -> None:
        """Take codes, which `check_codes` checks."""
        self.codes: Codes = check_codes(codes)
        self._found: Neighbors | None = None

    @functools.cached_property
    def distinct(self) -> "Distinct":
        """The codes without their doubles."""
        return Distinct(self.codes)

    @functools.cached_property
    def lowest(self) -> Int[np.ndarray, "point"]:
        """The lowest index among the points that coincide with each, its own among them."""
        return self.distinct.order[self.distinct.starts][self.distinct.group]

    @functools.cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.distinct.codes)

    def nearest(self, *, k: int) -> Neighbors:
        """Return the `k` nearest other points of every point.

        Raises:
            UserError: `k` is not from 1 to the number of points less one.
        """
        number = len(self.codes)
        if number < 2:
            raise UserError("one point has no neighbours", cure="give at least two latent codes")
        _check_k(k, number - 1, f"{number} points have {number - 1} neighbours each")
        if self._found is None or self._found.indices.shape[1] < k:
            first = self._first(self.distinct.codes, k + 1)
            indices, away = (array[self.distinct.group] for array in first)
            # Where others coincide with a point, it need not be among the first itself.
            kept = indices != np.arange(number)[:, None]
            kept[kept.all(axis=1), -1] = False
            self._found = Neighbors(indices[kept].reshape(-1, k), away[kept].reshape(-1, k))
        return Neighbors(self._found.indices[:, :k], self._found.distances[:, :k])

    def nearest_to(self, points: Real[np.ndarray, "query latent"], *, k: int) -> Neighbors:
        """Return the `k` codes nearest to each of other points; one that coincides counts.

        Raises:
            UserError: `k` is not from 1 to the number of codes, `check_codes` refuses the points,
                or they have other dimensions than the codes.
        """
        points, (number, size) = check_codes(points, origin="queries"), self.codes.shape
        if points.shape[1] != size:
            raise UserError(
                f"queries have {points.shape[1]} dimensions, but latent codes {size}",
                cure="encode both with the same model",
            )
        _check_k(k, number, f"there are {number} points")
        return self._first(points, k)

    def pairs_within(
        self, radius: float
    ) -> tuple[Int[np.ndarray, "pair 2"], Float[np.ndarray, "pair"]]:
        """Return all pairs of points at most `radius` apart, and their distances.

        Returns:
            The pairs, lower index first, in order of their indices; the distance of each.

        Raises:
            UserError: the radius is negative, not finite, or gives more than `MAX_PAIRS` pairs.
        """
        if not (np.isfinite(radius) and radius >= 0):
            raise UserError(f"radius is {radius}", cure="use a finite number of 0 or more")
        order, reach = self.distinct.order, radius * _GROWN
        tree = KDTree(self.codes[order])
        number = (int(tree.count_neighbors(tree, reach)) - len(order)) // 2
        if number > MAX_PAIRS:
            raise UserError(
                f"radius {radius} joins {number:,} pairs of {len(order):,} points, more than the "
                f"{MAX_PAIRS:,} allowed",
                cure="choose a smaller radius",
            )
        pairs = np.sort(order[tree.query_pairs(reach, output_type="ndarray")], axis=1)
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        away = distances(self.codes[pairs[:, 0]], self.codes[pairs[:, 1]])
        return pairs[away <= radius], away[away <= radius]

    def _first(self, queries: Codes, k: int) -> Neighbors:
        """Return the `k` codes that come first by distance, then by index."""
        if len(queries) <= _FEW and "_tree" not in self.__dict__:
            away = distances(self.codes, queries[:, None])
            first = np.argsort(away, axis=1, kind="stable")[:, :k]
            return Neighbors(first, np.take_along_axis(away, first, axis=1))
        found = Neighbors(np.empty((len(queries), k), np.int64), np.empty((len(queries), k)))
        size, dimensions = self.distinct.codes.shape

        def settle(rows: np.ndarray, near: np.ndarray, bounds: np.ndarray | float) -> np.ndarray:
            """Rank the candidates of queries; return the queries left open."""
            away = distances(self.distinct.codes[near], queries[rows][:, None])
            found.indices[rows], found.distances[rows] = self.distinct.rank(near, away, k)
            return rows[~(found.distances[rows, -1] < bounds)]

        pending, count = np.arange(len(queries)), k + 1
        suits = dimensions > _MAX_TREE_DIMENSIONS or jax.default_backend() != "cpu"
        if suits and k + _EXTRA < size and queries.size * size > _MANY:
            parts = _multiply(self.distinct.codes, queries, k + _EXTRA)
            pending = np.concatenate([settle(*part) for part in parts])
        while pending.size:
            count = min(count, size)

            def ask(rows: np.ndarray, count: int = count) -> np.ndarray:
                away, near = self._tree.query(queries[rows], k=count)
                away, near = np.reshape(away, (-1, count)), np.reshape(near, (-1, count))
                return settle(rows, near, np.inf if count == size else away[:, -1] * _SHRUNK)

            rows = max(1, _CHUNK // (count * dimensions))
            with ThreadPoolExecutor() as pool:
                parts = list(pool.map(ask, np.split(pending, range(rows, len(pending), rows))))
            pending, count = np.concatenate(parts), 2 * count
        return found


class Approximate(Index):
    """An index whose neighbours of all points are approximate; all else is exact.

    They come from a navigable small-world graph (Malkov and Yashunin 2018, HNSW) by faiss, an
    optional library. It misses some; how many is measured. Distances are exact.

    Attributes:
        recall: the share of true neighbours found when last asked; a tie counts as found.
    """

    # Links of a node, and nodes looked at when linking and when searching. With these, 50,000 codes
    # of 16 dimensions without any structure have a recall of about 0.95.
    links, linking, searching = 16, 80, 96
    # Points, drawn from a seed, that the recall is measured on.
    sample = 256

    def __init__(self, codes: Real[np.ndarray, "point latent"]) -> None:
        """Take codes, which `check_codes` checks; faiss has to be installed."""
        super().__init__(codes)
        try:
            import faiss
        except ImportError as error:
            raise UserError(
                "approximate search for neighbours needs faiss, which is not installed",
                cure='pip install "jaxsurf[approximate]", or use graph.search=exact '
                "(--search=exact)",
            ) from error
        self._faiss, self.recall = faiss, 1.0

    def nearest(self, *, k: int) -> Neighbors:
        """Return `k` points near every point, nearest first, and measure the recall.

        Raises:
            UserError: `k` is not from 1 to the number of points less one, or faiss found too few.
        """
        number, dimensions = self.codes.shape
        if not 1 <= k < number:
            return super().nearest(k=k)  # which refuses
        centred = self.codes - self.codes.mean(axis=0)
        # Within what float32 can square.
        codes = (centred / (np.abs(centred).max() or 1.0)).astype(np.float32)
        links = self._faiss.IndexHNSWFlat(dimensions, self.links)
        links.hnsw.efConstruction = self.linking
        links.hnsw.efSearch = max(self.searching, 2 * (k + 1))
        links.add(codes)
        near = links.search(codes, k + 1)[1]
        found = Neighbors(np.empty((number, k), np.int64), np.empty((number, k)))
        size = max(1, _CHUNK // (near.shape[1] * dimensions))
        for rows in np.split(np.arange(number), range(size, number, size)):
            away = distances(self.codes[near[rows]], self.codes[rows][:, None])
            away[(near[rows] == rows[:, None]) | (near[rows] < 0)] = np.inf
            order = np.lexsort((near[rows], away))[:, :k]
            found.indices[rows] = np.take_along_axis(near[rows], order, axis=1)
            found.distances[rows] = np.take_along_axis(away, order, axis=1)
        if not np.isfinite(found.distances).all():
            raise UserError(
                f"the approximate search found fewer than {k} neighbours of some points",
                cure="use graph.search=exact (--search=exact)",
            )
        drawn = np.random.default_rng(0).choice(number, min(self.sample, number), replace=False)
        # One more, since each finds itself, or one that coincides with it, at a distance of 0.
        exact = self.nearest_to(self.codes[drawn], k=k + 1)
        self.recall = float(np.mean(found.distances[drawn] <= exact.distances[:, -1:]))
        _log.info(
            "approximate search for %d neighbours of %d codes: recall %.3f, measured on %d of them",
            *(k, number, self.recall, len(drawn)),
        )
        return found


def index_of(codes: Real[np.ndarray, "point latent"] | Index) -> Index:
    """Return the index of codes; an index is its own."""
    return codes if isinstance(codes, Index) else Index(codes)


def _check_k(k: int, most: int, reason: str) -> None:
    if not 1 <= k <= most:
        raise UserError(f"k is {k}, but {reason}", cure=f"use a k from 1 to {most}")


class Distinct:
    """Codes without their doubles, over which a tree would trip, in spatial order.

    Attributes:
        codes: one row a group of coincident points.
        order: the indices of all points, group after group, ascending in each.
        starts: where each group begins in `order`.
        group: of each point.
    """

    def __init__(self, codes: Codes) -> None:
        """Take codes that `check_codes` has checked."""
        key = _sort_key(codes)
        order = np.argsort(key, kind="stable")
        fresh = np.append(True, key[order[1:]] != key[order[:-1]])
        # Rows that differ may share a key: sorted wholly, equal ones stand together.
        shared = np.flatnonzero(~fresh | np.append(~fresh[1:], False))
        order[shared] = order[shared][np.lexsort((*codes[order[shared]].T, key[order[shared]]))]
        fresh[shared] |= (codes[order[shared]] != codes[order[shared - 1]]).any(axis=1)
        self.order, self.starts, self.group = order, np.flatnonzero(fresh), np.empty_like(order)
        self.group[order] = np.cumsum(fresh) - 1
        self.codes = codes[order[self.starts]]

    def rank(
        self, near: Int[np.ndarray, "row near"], away: Float[np.ndarray, "row near"], k: int
    ) -> tuple[Int[np.ndarray, "row k"], Float[np.ndarray, "row k"]]:
        """Return the members of near groups that come first by distance, then by index."""
        if len(self.codes) < len(self.order):
            sizes = np.diff(np.append(self.starts, len(self.order)))
            sizes = np.minimum(sizes[near.ravel()], k)
            before = np.cumsum(sizes) - sizes
            place = np.arange(sizes.sum()) + np.repeat(self.starts[near.ravel()] - before, sizes)
            ids, away = self.order[place], np.repeat(away.ravel(), sizes)
            row = np.repeat(np.arange(near.size) // near.shape[1], sizes)
            order = np.lexsort((ids, away, row))
            first = order[np.flatnonzero(np.diff(row, prepend=-1))[:, None] + np.arange(k)]
            return ids[first], away[first]
        ids = self.order[near]
        mixed = np.flatnonzero((away[:, 1:] <= away[:, :-1]).any(axis=1))
        order = np.lexsort((ids[mixed], away[mixed]))
        ids[mixed] = np.take_along_axis(ids[mixed], order, axis=1)
        away[mixed] = np.take_along_axis(away[mixed], order, axis=1)
        return ids[:, :k], away[:, :k]


def spatial_order(codes: Codes) -> Int[np.ndarray, "point"]:
    """Return an order in which neighbours in space are mostly neighbours in row."""
    return np.argsort(_sort_key(codes), kind="stable")


def _sort_key(codes: Codes) -> np.ndarray:
    """Return a number a row, equal for equal rows: its place on Morton's curve."""
    dimensions = codes.shape[1]
    if dimensions > _MAX_TREE_DIMENSIONS:  # too few bits for all
        return np.sum([np.sqrt(axis + 2) * column for axis, column in enumerate(codes.T)], axis=0)
    span = float(np.ptp(codes, axis=0).max()) or 1.0
    bits = min(52, 64 // dimensions)
    cells = ((codes - codes.min(axis=0)) / span * (2**bits - 1)).astype(np.uint64)
    # The bits of a byte, with room between them for those of the other dimensions.
    spread = np.zeros(256, np.uint64)
    for bit in range(8):
        spread |= ((np.arange(256, dtype=np.uint64) >> bit) & 1) << (bit * dimensions)
    key = np.zeros(len(codes), np.uint64)
    for axis in range(dimensions):
        for low in range(0, bits, 8):
            key |= spread[(cells[:, axis] >> low) & 255] << (low * dimensions + axis)
    return key


def _multiply(
    codes: Codes, queries: Codes, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield queries, the rows of `count` codes near each, and what no other code is nearer than.

    |q - p|^2 = |q|^2 + |p|^2 - 2 q.p cancels catastrophically far from the origin: hence centred.
    """
    (number, dimensions), centre = codes.shape, codes.mean(axis=0)
    codes, queries = codes - centre, queries - centre
    unit = max(float(np.abs(codes).max()), float(np.abs(queries).max()), _SMALLEST)
    codes, queries = codes / unit, queries / unit
    squares, their = np.square(codes).sum(axis=1), np.square(queries).sum(axis=1)
    # Each of the terms may be off by a few units in the last place.
    eps, tiny = np.finfo(np.float32).eps, np.finfo(np.float32).tiny
    error = 4 * (dimensions + 2) * (eps * (their + squares.max()) + tiny)
    columns = np.zeros((dimensions + 1, -(-number // _BLOCK) * _BLOCK), np.float32)
    columns[:-1, :number], columns[-1] = codes.T, 1e30  # what fills up the last block is far away
    columns[-1, :number] = squares
    columns = jax.device_put(columns)
    tile = _CPU_TILE if jax.default_backend() == "cpu" else _TILE
    size = max(1, min(tile // columns.shape[1], 1024))
    for rows in np.split(np.arange(len(queries)), range(size, len(queries), size)):
        factor = np.ones((size, dimensions + 1), np.float32)  # always as many, for one program
        factor[: len(rows), :-1] = -2 * queries[rows]
        near, last = (np.asarray(array)[: len(rows)] for array in _smallest(factor, columns, count))
        bounds = unit * np.sqrt(np.maximum(last + their[rows] - error[rows], 0.0))
        # Where squares nearly vanish, exact distances are rounded as coarsely as this.
        yield rows, near, np.where(bounds < _SMALLEST, 0.0, bounds)


@functools.partial(jax.jit, static_argnums=2)
def _smallest(
    factor: Float[Array, "query term"], columns: Float[Array, "term column"], count: int
) -> tuple[Int[Array, "query count"], Float[Array, "query"]]:
    """Return the columns of the `count` smallest values in each row of a product, and the next.

    Blocks whose smallest values are not among the `count + 1` smallest of all blocks hold none of
    the `count + 1` smallest values: one quick pass leaves few blocks to look into.
    """
    values = jnp.matmul(factor, columns, precision=jax.lax.Precision.HIGHEST)
    blocks = values.reshape(len(values), _BLOCK, -1)
    num_blocks = blocks.shape[2]
    best = jax.lax.top_k(-blocks.min(axis=1), min(count + 1, num_blocks))[1]
    inside = jnp.take_along_axis(blocks, best[:, None], axis=2).reshape(len(values), -1)
    negative, places = jax.lax.top_k(-inside, count + 1)
    row, kept = jnp.divmod(places, best.shape[1])
    found = row * num_blocks + jnp.take_along_axis(best, kept, axis=1)
    return found[:, :-1], -negative[:, -1]
