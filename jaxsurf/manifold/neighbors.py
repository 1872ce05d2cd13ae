"""Latent codes -> nearest neighbours and pairs within a radius, exactly.

Distances are Euclidean, in float64: squared differences are added up axis after axis. Neighbours
stand in order of distance; at equal distance the lowest index comes first, also where `k` cuts
equals off. A point is never its own neighbour, though a coincident one may be. The same codes give
the same neighbours on every machine.

Candidates come from SciPy's k-d tree over distinct points in spatial order, so that a query touches
few cache lines; in many dimensions, where it does not prune, from matrix products in float32. Both
give a bound: no other point is nearer. Candidates are ranked exactly; as long as the bound leaves
the ranking open, the tree is asked for more.
"""

import functools
import importlib.util
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, Int, Real

from jaxsurf.errors import UserError

_MAX_PAIRS = 50_000_000  # more is a mistake in the radius, and would not fit in memory
# A k-d tree prunes well up to about this many dimensions; beyond it, it visits nearly every point.
_MAX_TREE_DIMENSIONS = 8
# Squares of larger values do not fit in float64; those of smaller ones are 0, or nearly.
_LARGEST, _SMALLEST = 1e150, 1e-150
# SciPy and we round differently, by a few units in the last place per dimension.
_GROWN, _SHRUNK = 1 + 1e-12, 1 - 1e-12
# Queries up to which no tree is worth making; numbers looked at from which on products are quicker.
_FEW, _MANY = 4, 500_000_000
# Share of the time of looking at all codes for a query that it takes by products.
_SHARE = 0.15
# Candidates beyond `k` from products, whose rounding may put some in a wrong order.
_EXTRA = 16
# Values in memory at once: of candidates, and of products.
_CHUNK, _TILE = 1 << 18, 1 << 26
# Columns of a product whose smallest value stands for all of them when blocks are compared.
_BLOCK = 128

Codes = Float[np.ndarray, "point latent"]
_Guesses = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]


class Neighbors(NamedTuple):
    """The k nearest points of each point (or query), nearest first."""

    indices: Int[np.ndarray, "point neighbor"]
    distances: Float[np.ndarray, "point neighbor"]


def check_codes(codes: Real[np.ndarray, "point latent"], *, origin: str = "latent codes") -> Codes:
    """Return codes as float64; refuse what is no finite array of them, called `origin`."""
    if codes.ndim != 2 or not codes.size or codes.dtype.kind not in "fiu":
        cause = f"{origin} have shape {codes.shape} and type {codes.dtype}, not (point, latent)"
        cure = "give real numbers, one row a point, at least one point and one dimension"
        raise UserError(cause, cure=cure)
    codes = np.ascontiguousarray(codes, dtype=np.float64)
    good = np.abs(codes) <= _LARGEST
    if not good.all():
        bad = np.flatnonzero(~good.all(axis=1))
        cause = f"{bad.size} of {len(codes)} {origin} are not finite (or beyond {_LARGEST:g})"
        cure = "look at where they come from: a diverged model gives such codes"
        raise UserError(f"{cause}, the first in row {bad[0]}", cure=cure)
    return codes


def distances(
    first: Float[np.ndarray, "*#shape latent"], second: Float[np.ndarray, "*#shape latent"]
) -> Float[np.ndarray, "..."]:
    """Return the distances between corresponding points; leading axes are broadcast."""
    total = np.square(first[..., 0] - second[..., 0])
    for axis in range(1, first.shape[-1]):
        step = first[..., axis] - second[..., axis]
        total += step * step
    return np.sqrt(total)


def numbered(counts: Int[np.ndarray, "row"]) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of each item where rows have so many, and its number in the row, from 0."""
    row = np.repeat(np.arange(len(counts)), counts)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)


class Index:
    """One set of codes to be asked for neighbours again and again; what takes long is kept."""

    def __init__(self, codes: Real[np.ndarray, "point latent"]) -> None:
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
    def _tree(self) -> "scipy.spatial.KDTree":
        return scipy.spatial.KDTree(self.distinct.codes, leafsize=24, balanced_tree=False)

    def nearest(self, *, k: int) -> Neighbors:
        """Return the `k` nearest other points of every point."""
        most = len(self.codes) - 1
        if not 1 <= k <= most:
            cause = f"k is {k}, but {most + 1} points have {most} neighbours each"
            raise UserError(cause, cure=f"use a k from 1 to {most}")
        if self._found is None or self._found.indices.shape[1] < k:
            self._found = self._search(self.distinct.codes, k + 1, others=True)
        return Neighbors(self._found.indices[:, :k], self._found.distances[:, :k])

    def nearest_to(self, points: Real[np.ndarray, "query latent"], *, k: int) -> Neighbors:
        """Return the `k` codes nearest to each of other points; one that coincides counts."""
        points = check_codes(points, origin="queries")
        if len(points) <= _FEW and "_tree" not in self.__dict__:
            away = distances(self.codes, points[:, None])
            first = np.argsort(away, axis=1, kind="stable")[:, :k]
            return Neighbors(first, np.take_along_axis(away, first, axis=1))
        return self._search(points, k)

    def pairs_within(
        self, radius: float
    ) -> tuple[Int[np.ndarray, "pair 2"], Float[np.ndarray, "pair"]]:
        """Return all pairs of points at most `radius` apart, and the distance of each.

        The lower index comes first, and pairs are in order of their indices. More than 50 million
        pairs are refused.
        """
        order, reach = self.distinct.order, radius * _GROWN
        tree = scipy.spatial.KDTree(self.codes[order])
        number = (int(tree.count_neighbors(tree, reach)) - len(order)) // 2
        if number > _MAX_PAIRS:
            cause = f"radius {radius} joins {number:,} pairs of {len(order):,} points"
            cure = "choose a smaller radius"
            raise UserError(f"{cause}, more than the {_MAX_PAIRS:,} allowed", cure=cure)
        pairs = np.sort(order[tree.query_pairs(reach, output_type="ndarray")], axis=1)
        pairs = pairs[np.lexsort(pairs.T[::-1])]
        away = distances(*self.codes[pairs.T])
        return pairs[away <= radius], away[away <= radius]

    def _prunes(self, queries: Codes, k: int) -> bool:
        """Whether the tree is quick in many dimensions: codes may lie near a surface of few."""
        tree, drawn = self._tree, queries[:: max(1, len(queries) // 32)]
        started = time.perf_counter()
        distances(self.distinct.codes, queries[:1])
        looked = time.perf_counter()
        tree.query(drawn, k=k)
        return time.perf_counter() - looked < _SHARE * len(drawn) * (looked - started)

    def _guess(self, queries: Codes, k: int) -> _Guesses:
        """Yield some queries, rows of codes near each, and what no other code is nearer than."""
        codes = self.distinct.codes
        wide = codes.shape[1] > _MAX_TREE_DIMENSIONS and queries.size * len(codes) > _MANY
        if wide and k + _EXTRA < len(codes) and not self._prunes(queries, k):
            yield from _multiply(codes, queries, k + _EXTRA)

    def _search(self, queries: Codes, k: int, *, others: bool = False) -> Neighbors:
        """Return the `k` codes that come first by distance, then by index, for each query.

        With `others`, queries are the distinct codes, and each point gets its `k - 1` nearest
        other points.
        """
        size, dimensions = self.distinct.codes.shape
        number, width = (len(self.codes), k - 1) if others else (len(queries), k)
        found = Neighbors(np.empty((number, width), np.int64), np.empty((number, width)))

        def settle(rows: np.ndarray, near: np.ndarray, bounds: np.ndarray | float) -> np.ndarray:
            """Rank candidates; return the queries that they leave open."""
            away = distances(self.distinct.codes.take(near, axis=0), queries[rows][:, None])
            ids, away = self.distinct.rank(near, away, k)
            settled = away[:, -1] < bounds
            places, row = rows[settled], np.flatnonzero(settled)
            if others:
                places, group = self.distinct.members(places)
                row = row[group]
            ids, away = ids.take(row, axis=0), away.take(row, axis=0)
            if others:  # a point comes first itself; later, or not at all, where others coincide
                late = np.flatnonzero(ids[:, 0] != places)
                kept = ids[late] != places[late, None]
                kept[kept.all(axis=1), -1] = False
                for some in (ids, away):
                    some[late, 1:] = some[late][kept].reshape(-1, width)
                ids, away = ids[:, 1:], away[:, 1:]
            found.indices[places], found.distances[places] = ids, away
            return rows[~settled]

        def ask(tree: "scipy.spatial.KDTree", rows: np.ndarray) -> np.ndarray:
            away, near = tree.query(queries[rows], k=count)
            away, near = np.reshape(away, (-1, count)), np.reshape(near, (-1, count))
            return settle(rows, near, np.inf if count == size else away[:, -1] * _SHRUNK)

        left = [settle(*some) for some in self._guess(queries, k)]
        pending = np.concatenate(left) if left else np.arange(len(queries))
        count = min(k + 1, size)
        while pending.size:
            several = max(1, _CHUNK // (count * max(dimensions, min(k, self.distinct.largest))))
            several = min(several, -(-len(pending) // (os.cpu_count() or 1)))
            chunks = np.split(pending, range(several, len(pending), several))
            with ThreadPoolExecutor() as pool:
                pending = np.concatenate(list(pool.map(functools.partial(ask, self._tree), chunks)))
            count = min(2 * count, size)
        return found


class Approximate(Index):
    """An index whose neighbours of all points are approximate; all else is exact.

    They come from a navigable small-world graph (Malkov and Yashunin 2018, HNSW) by faiss, an
    optional library. It misses some; how many is measured. Distances are exact.
    """

    # Links of a node, and nodes looked at when linking and when searching. With these, 50,000 codes
    # of 16 dimensions without any structure have a recall of about 0.95.
    links, linking, searching = 16, 80, 96
    # The share of true neighbours found when last asked, of `sample` points; a tie counts as found.
    recall = 1.0
    sample = 256

    def nearest(self, *, k: int) -> Neighbors:
        """Return `k` points near every point, nearest first, and measure the recall."""
        known, found = self._found, super().nearest(k=k)
        if self._found is not known:
            number = len(self.codes)
            drawn = np.random.default_rng(0).choice(number, min(self.sample, number), replace=False)
            # One more, since each finds itself, or one that coincides with it, at a distance of 0.
            exact = self.nearest_to(self.codes[drawn], k=k + 1)
            self.recall = float(np.mean(found.distances[drawn] <= exact.distances[:, -1:]))
        return found

    def _guess(self, queries: Codes, k: int) -> _Guesses:
        if queries is not self.distinct.codes:
            yield from super()._guess(queries, k)
            return
        try:
            import faiss
        except ImportError as error:
            cure = 'pip install "jaxsurf[approximate]", or use graph.search=exact (--search=exact)'
            raise UserError("search=approximate needs faiss, not installed", cure=cure) from error
        centred = queries - queries.mean(axis=0)
        # Within what float32 can square.
        codes = (centred / (np.abs(centred).max() or 1.0)).astype(np.float32)
        graph = faiss.IndexHNSWFlat(codes.shape[1], self.links)
        graph.hnsw.efConstruction = self.linking
        graph.hnsw.efSearch = max(self.searching, 2 * k)
        graph.add(codes)
        near = graph.search(codes, min(k, len(codes)))[1]
        bounds = np.where(near.min(axis=1) < 0, 0.0, np.inf)  # the tree finds what is missing
        several = max(1, _CHUNK // (near.shape[1] * codes.shape[1]))
        for rows in np.split(np.arange(len(near)), range(several, len(near), several)):
            yield rows, near[rows], bounds[rows]


def has_faiss() -> bool:
    """Return whether an `Approximate` index can be asked."""
    return importlib.util.find_spec("faiss") is not None


class Distinct:
    """Codes without their doubles, over which a tree would trip, in spatial order.

    `codes` has a row for each group of coincident points, and `order` the indices of all points,
    group after group, ascending in each. `starts` is where groups begin in it.
    """

    def __init__(self, codes: Codes) -> None:
        # A number that equal rows share is sorted faster than the rows are.
        key = np.zeros(len(codes))
        for axis, column in enumerate(codes.T):
            key += np.sqrt(axis + 2) * column
        key.sort()
        order = starts = np.arange(len(codes))
        if (key[1:] == key[:-1]).any():
            order = np.lexsort(codes.T)  # stable
            fresh = np.append(True, (codes[order[1:]] != codes[order[:-1]]).any(axis=1))
            starts = np.flatnonzero(fresh)
        # Neighbours in space share a leaf of a tree, and are mostly neighbours in its list.
        tree = scipy.spatial.KDTree(
            codes[order[starts]], leafsize=64, balanced_tree=False, compact_nodes=False
        )
        self.order, self.starts = order, starts[tree.indices]
        self.sizes = np.diff(np.append(starts, len(order)))[tree.indices]
        self.order, row = self.members(np.arange(len(starts)))
        self.starts, self.largest = np.cumsum(self.sizes) - self.sizes, int(self.sizes.max())
        self.group = np.empty_like(order)
        self.group[self.order] = row
        self.codes = codes[self.order[self.starts]]

    def members(self, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the points of groups, and which of these groups each is of."""
        row, within = numbered(self.sizes[groups])
        return self.order[self.starts[groups][row] + within], row

    def rank(self, near: np.ndarray, away: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the members of near groups that come first by distance, then by index."""
        ids = self.order.take(near)
        if self.largest > 1:
            member = np.arange(min(k, self.largest))
            place = np.minimum(self.starts[near][..., None] + member, len(self.order) - 1)
            away = np.where(member < self.sizes[near][..., None], away[..., None], np.inf)
            ids, away = (array.reshape(len(near), -1) for array in (self.order[place], away))
        mixed = np.flatnonzero((away[:, 1:] <= away[:, :-1]).any(axis=1))
        ids[mixed], away[mixed] = _ranked(ids[mixed], away[mixed], ids.shape[1])
        return ids[:, :k], away[:, :k]


def _ranked(ids: np.ndarray, away: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` of each row that come first by distance, then by index."""
    order = np.lexsort((ids, away))[:, :k]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(away, order, axis=1)


def _multiply(codes: Codes, queries: Codes, count: int) -> _Guesses:
    """Yield all queries, and `count` codes near each."""
    (number, dimensions), centre = codes.shape, codes.mean(axis=0)
    # |q - p|^2 = |q|^2 + |p|^2 - 2 q.p cancels catastrophically far from the origin.
    codes, queries = codes - centre, queries - centre
    unit = max(float(np.abs(codes).max()), float(np.abs(queries).max()), _SMALLEST)
    codes, queries = codes / unit, queries / unit
    squares, their = np.square(codes).sum(axis=1), np.square(queries).sum(axis=1)
    # Each of the terms may be off by a few units in the last place.
    eps, tiny = np.finfo(np.float32).eps, np.finfo(np.float32).tiny
    error = 4 * (dimensions + 2) * (eps * (their + squares.max()) + tiny)
    columns = np.zeros((dimensions + 1, -(-number // _BLOCK) * _BLOCK), np.float32)
    columns[-1] = 1e30  # what fills up the last block is far away
    columns[:, :number] = np.vstack([codes.T, squares])
    columns = jax.device_put(columns)
    several = max(1, min(_TILE // columns.shape[1], 1024))
    for rows in np.split(np.arange(len(queries)), range(several, len(queries), several)):
        factor = np.ones((several, dimensions + 1), np.float32)  # always as many: one program
        factor[: len(rows), :-1] = -2 * queries[rows]
        found = _smallest(factor, columns, count + 1)
        near, values = (np.asarray(array)[: len(rows)] for array in found)
        bounds = unit * np.sqrt(np.maximum(values[:, -1] + their[rows] - error[rows], 0.0))
        # Where squares nearly vanish, exact distances are rounded as coarsely as this.
        yield rows, near[:, :-1], np.where(bounds < _SMALLEST, 0.0, bounds)


@functools.partial(jax.jit, static_argnums=2)
def _smallest(
    factor: Float[Array, "query term"], columns: Float[Array, "term column"], count: int
) -> tuple[Int[Array, "query count"], Float[Array, "query count"]]:
    """Return the columns of the `count` smallest values in each row, and these values."""
    # A block whose smallest value is not among the `count` smallest of all blocks holds none of
    # the `count` smallest values: one quick pass leaves few blocks to look into.
    values = jnp.matmul(factor, columns, precision=jax.lax.Precision.HIGHEST)
    blocks = values.reshape(len(values), -1, _BLOCK)
    best = jax.lax.top_k(-blocks.min(axis=2), min(count, blocks.shape[1]))[1]
    inside = jnp.take_along_axis(blocks, best[:, :, None], axis=1).reshape(len(values), -1)
    # Taken apart by whoever calls: a slice of its results makes XLA sort all of them on CPUs.
    negative, places = jax.lax.top_k(-inside, count)
    block = jnp.take_along_axis(best, places // _BLOCK, axis=1)
    return _BLOCK * block + places % _BLOCK, -negative
