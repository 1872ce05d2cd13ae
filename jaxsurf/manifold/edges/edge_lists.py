"""Lists of edges, put in order in linear time.

An edge is two node numbers, in either order; a list may hold it more than once. Edges are in order
by their lower ends, then by their upper ones.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Int


@dataclass(frozen=True, eq=False, kw_only=True)
class Once:
    """The edges of a list, each of them once, in order.

    Attributes:
        lower: their lower ends.
        upper: their upper ends.
        first: where in the list each stands first.
        times: how often each comes.
    """

    lower: Int[np.ndarray, "once"]
    upper: Int[np.ndarray, "once"]
    first: Int[np.ndarray, "once"]
    times: Int[np.ndarray, "once"]


def once(ends: Int[np.ndarray, "edge 2"], *, num_nodes: int) -> Once:
    """Return the edges of a list, each of them once, in order.

    Args:
        ends: the nodes that each edge joins, in either order.
        num_nodes: the number of nodes.
    """
    # Half the size is moved in half the time.
    small = np.int32 if max(num_nodes, 2 * len(ends)) <= np.iinfo(np.int32).max else np.int64
    tails, heads = np.ascontiguousarray(ends[:, 0], small), np.ascontiguousarray(ends[:, 1], small)
    lower, upper = np.minimum(tails, heads), np.maximum(tails, heads)
    order = np.arange(len(ends), dtype=small)
    fresh = _ascending(lower, upper)
    if not fresh.all():
        # Two passes, each of which takes linear time and keeps the order of equals.
        order = stable_order(upper, num_nodes)
        order = order[stable_order(lower[order], num_nodes)]
        lower, upper = lower[order], upper[order]
        fresh = _ascending(lower, upper)
    starts = np.flatnonzero(fresh)
    times = np.diff(np.append(starts, len(order)))
    return Once(lower=lower[starts], upper=upper[starts], first=order[starts], times=times)


def stable_order(keys: Int[np.ndarray, "edge"], num_keys: int) -> Int[np.ndarray, "edge"]:
    """Return what puts keys from 0 to `num_keys - 1` in order; equal ones keep theirs."""
    number = len(keys)
    # The transposition of a matrix with one entry a column is a counting sort.
    starts = np.arange(number + 1, dtype=keys.dtype)
    entries = (np.zeros(number, dtype=np.int8), keys, starts)
    return scipy.sparse.csc_array(entries, shape=(num_keys, number)).tocsr().indices


def mirrored(
    lower: Int[np.ndarray, "edge"], upper: Int[np.ndarray, "edge"], num_nodes: int
) -> tuple[Int[np.ndarray, "node_plus_1"], Int[np.ndarray, "entry"], Int[np.ndarray, "entry"]]:
    """Return `indptr`, `indices` and the edge of each entry, from the ends of edges in order.

    A row is what comes from edges whose upper end it is, followed by what comes from those whose
    lower end it is; in either part columns ascend.
    """
    number = np.arange(len(lower), dtype=lower.dtype)
    starts = np.zeros(num_nodes + 1, dtype=lower.dtype)
    np.cumsum(np.bincount(lower, minlength=num_nodes), out=starts[1:])
    turned = scipy.sparse.csr_array((number, upper, starts), shape=(num_nodes, num_nodes)).tocsc()
    before = turned.indptr
    indices, edges = np.empty(2 * len(lower), np.int64), np.empty(2 * len(lower), lower.dtype)
    place = number + np.repeat(starts[:-1], np.diff(before))
    indices[place], edges[place] = turned.indices, turned.data
    place = number + np.repeat(before[1:], np.diff(starts))
    indices[place], edges[place] = upper, number
    return before.astype(np.int64) + starts, indices, edges


def _ascending(
    lower: Int[np.ndarray, "edge"], upper: Int[np.ndarray, "edge"]
) -> Bool[np.ndarray, "edge"]:
    """Return whether each edge comes after the one before it."""
    after = np.ones(len(lower), dtype=bool)
    after[1:] = lower[1:] > lower[:-1]
    after[1:] |= (lower[1:] == lower[:-1]) & (upper[1:] > upper[:-1])
    return after
