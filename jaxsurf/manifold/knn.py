"""Latent codes -> nearest neighbours, exactly.

Codes and distances are those of `jaxsurf.manifold.euclid`. A point is never its own neighbour,
though a coincident one may be. Neighbours stand in order of distance; at equal distance the lowest
index comes first, also where equals are cut off by `k`. The same codes give the same neighbours on
every machine.
"""

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Real

from jaxsurf.errors import UserError
from jaxsurf.manifold import euclid
from jaxsurf.manifold.neighbours import candidates, exact
from jaxsurf.manifold.neighbours.kd_tree import KdTree
from jaxsurf.manifold.neighbours.ranking import Ranking, Search

# Queries up to which looking at all points is quicker than making an engine.
_FEW = 32


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest points of each point (or query), nearest first."""

    indices: Int[np.ndarray, "point neighbour"]
    distances: Float[np.ndarray, "point neighbour"]


class Index:
    """One set of codes, ready to be asked for neighbours again and again.

    What takes long is done when it is first needed, and kept: the engine, and the neighbours of
    all points, of which fewer may be asked for later. A few queries are answered without an
    engine: making one takes as long as looking at all points some fifty times.
    """

    def __init__(self, codes: Real[np.ndarray, "point latent"]) -> None:
        """Take a set of codes.

        Args:
            codes: at least one point.

        Raises:
            UserError: the codes are not a finite array of this shape.
        """
        self.codes: Float[np.ndarray, "point latent"] = euclid.check(codes)
        self._found: Neighbours | None = None
        # A search that is right for all k up to a number.
        self._made: tuple[int, Search] | None = None

    @functools.cached_property
    def lowest(self) -> Int[np.ndarray, "point"]:
        """The lowest index among the points that coincide with each, its own among them."""
        order, starts = self._coincident
        lowest = np.empty_like(order)
        lowest[order] = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
        return lowest

    def nearest(self, *, k: int) -> Neighbours:
        """Return the `k` nearest other points of every point.

        Args:
            k: from 1 to the number of points less one.

        Raises:
            UserError: `k` is out of range.
        """
        number = len(self.codes)
        if number < 2:
            raise UserError("one point has no neighbours", cure="give at least two latent codes")
        _check_k(k, number - 1, f"{number} points have {number - 1} neighbours each")
        if self._found is None or self._found.indices.shape[1] < k:
            own = np.arange(number)
            self._found = Neighbours(*self._search(k + 1).nearest(self.codes, k, own=own))
        return Neighbours(self._found.indices[:, :k], self._found.distances[:, :k])

    def nearest_to(self, queries: Real[np.ndarray, "query latent"], *, k: int) -> Neighbours:
        """Return the `k` points nearest to each query; a point that coincides with it counts.

        Args:
            queries: where neighbours are looked for from, such as ends outside the data set.
            k: from 1 to the number of points.

        Raises:
            UserError: `k` is out of range, the queries are not a finite array of this shape, or
                they have other dimensions than the codes.
        """
        queries, number = euclid.check(queries, origin="queries"), len(self.codes)
        if self.codes.shape[1] != queries.shape[1]:
            raise UserError(
                f"queries have {queries.shape[1]} dimensions, but latent codes "
                f"{self.codes.shape[1]}",
                cure="encode both with the same model",
            )
        _check_k(k, number, f"there are {number} points")
        if self._made is None and len(queries) <= _FEW:
            search = Ranking(self.codes, np.arange(number), [candidates.Scan(self.codes)])
        else:
            search = self._search(k)
        return Neighbours(*search.nearest(queries, k, own=np.full(len(queries), -1)))

    @functools.cached_property
    def _coincident(self) -> tuple[Int[np.ndarray, "point"], Int[np.ndarray, "group"]]:
        """All points, coincident ones together and in order; where each group of them starts."""
        order = np.lexsort(self.codes.T)  # stable
        fresh = (self.codes[order[1:]] != self.codes[order[:-1]]).any(axis=1)
        return order, np.flatnonzero(np.append(True, fresh))

    def _search(self, most: int) -> Search:
        """Return a search that is right for all k up to `most`.

        Where coincident points would cost time, it is among those that can be reached: a point
        with `most` coincident ones of lower index can't, and without such points ties stay few.
        """
        if self._made is None:
            search = exact.compiled(self.codes)
            self._made = (len(self.codes), search) if search else None
        if self._made is None or self._made[0] < most:
            order, starts = self._coincident
            sizes = np.diff(np.append(starts, len(order)))
            place = np.arange(len(order)) - np.repeat(starts, sizes)
            kept = np.sort(order[place < most])
            # Where none is left out, none ever will be.
            most = len(order) if len(kept) == len(order) else most
            self._made = most, exact.ranked(self.codes[kept], kept)
        return self._made[1]


def nearest(codes: Real[np.ndarray, "point latent"], *, k: int) -> Neighbours:
    """Return the `k` nearest other points of every point: `Index.nearest`, asked once.

    Args:
        codes: at least two points.
        k: from 1 to the number of points less one.

    Raises:
        UserError: `k` is out of range, or the codes are not a finite array of this shape.
    """
    return Index(codes).nearest(k=k)


def nearest_to(
    codes: Real[np.ndarray, "point latent"], queries: Real[np.ndarray, "query latent"], *, k: int
) -> Neighbours:
    """Return the `k` points nearest to each query: `Index.nearest_to`, asked once.

    Args:
        codes: where neighbours are looked for.
        queries: where they are looked for from.
        k: from 1 to the number of points.

    Raises:
        UserError: see `Index.nearest_to`.
    """
    return Index(codes).nearest_to(queries, k=k)


def load_kernels(dimensions: int) -> None:
    """Load the compiled search, so that small sets are searched by it too, in a third of the time.

    It takes some tenths of a second, and seconds when it is compiled for the first time: worth it
    where many small graphs are made. What is found is the same.

    Args:
        dimensions: of the codes, at most 8; codes of more are searched otherwise.
    """
    point = np.zeros((1, dimensions))
    KdTree(point).nearest(point, 1, own=np.full(1, -1))


def index_of(codes: Real[np.ndarray, "point latent"] | Index) -> Index:
    """Return the index of codes; an index is its own.

    Raises:
        UserError: the codes are not a finite array of this shape.
    """
    return codes if isinstance(codes, Index) else Index(codes)


def _check_k(k: int, most: int, reason: str) -> None:
    if not 1 <= k <= most:
        raise UserError(f"k is {k}, but {reason}", cure=f"use a k from 1 to {most}")
