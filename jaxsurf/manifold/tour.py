"""The path past several anchors, in the order given or in the best one.

`find_paths` is for codes of any model: neither model nor images are needed.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int, Real

from jaxsurf.errors import UserError, check_choice
from jaxsurf.manifold import graph as graphs
from jaxsurf.manifold import latent_graph, neighbors
from jaxsurf.manifold.graph import Distance, GraphConfig
from jaxsurf.manifold.latent_graph import LatentGraph
from jaxsurf.manifold.path import LatentPath, Timing, surfing, timed
from jaxsurf.manifold.shortest_path import Codes, distances, shortest_paths

Order = Literal["given", "best"]
# Codes are of any model, and images of theirs are not at hand.
GRAPH = GraphConfig(kind="knn", weight="latent", repair=True)
# The row of a code, or a code that is none of them.
Anchor = int | Real[np.ndarray, "latent"] | Sequence[float]

MOST_PROVEN = 12  # take 50 ms; each further anchor doubles that
_LEAST_GAIN = 1e-12  # of the path; less is rounding, after which a search might run in circles
_LONGEST_RUN = 3  # longer ones are seldom worth moving (Or 1976)
_LENGTHS_AT_ONCE = 1 << 24  # from a thousand anchors to all nodes, not all fit in memory


@dataclass(frozen=True, eq=False, kw_only=True)
class Visit:
    """A path past several anchors; in a loop, the first one is the last stop as well."""

    nodes: Int[np.ndarray, "step"]  # a node where two legs meet comes once
    length: float  # the sum of the weights of its edges
    order: tuple[int, ...]  # for each stop, which of the given anchors it is, counted from 0
    places: tuple[int, ...]  # for each stop, where in `nodes` it stands
    method: str  # how the legs were searched for; maybe several names
    proven: bool | None  # whether no other order is shorter; None where the order was given


def find_paths(
    codes: Real[np.ndarray, "point latent"],
    anchors: Sequence[Anchor],
    *,
    loop: bool = False,
    order: Order = "given",
    graph: GraphConfig | None = None,
    frames: int | None = None,
    points_per_edge: int = 2,
) -> LatentPath:
    """Return the shortest path past anchors in the graph over codes.

    Args:
        codes: one row a point.
        anchors: two or more to pass: row numbers from 0, or codes that are not among the rows.
        loop: whether the path goes back to the first anchor.
        order: `given`, or `best`, which starts at the first anchor and is as short as possible.
        graph: None is the graph of the 10 nearest neighbours, either way, whose edges weigh their
            lengths and whose gaps are bridged.
        frames: so many points at constant speed along the path.
        points_per_edge: without `frames`, points on each edge, both ends counted; with 2, the
            codes on the path alone.

    Raises:
        UserError: one is no row and no code, or there is no such graph, or no path in it.
    """
    speed = "latent" if frames else None
    timing = Timing(frames=frames, points_per_edge=points_per_edge, speed=speed)
    if len(anchors) < 2:
        raise UserError(f"{len(anchors)} anchors were given", cure="give at least two")
    index = neighbors.Index(np.asarray(codes))
    number, size = index.codes.shape
    for place, anchor in enumerate(anchors):
        given = np.asarray(anchor)
        kind, shape = given.dtype.kind, given.shape
        is_row = not shape and kind in "iu"
        if not (0 <= given < number if is_row else shape == (size,) and kind in "fiu"):
            cause = f"anchor {place} is {anchor!r}, neither a row nor a code of {size} numbers"
            cure = f"give rows from 0 to {number - 1}, or codes of {size} numbers"
            raise UserError(cause, cure=cure)
    built = graphs.build(index, graph or GRAPH)
    built, all_codes, nodes = with_anchors(built, index, anchors)
    visit = through(built, nodes, loop=loop, order=order, codes=all_codes)
    return timed([surfing(all_codes[visit.nodes], visit.places)], timing)[0]


def with_anchors(
    graph: LatentGraph,
    index: neighbors.Index,
    anchors: Sequence[Anchor],
    distance_of: Callable[[Codes], Distance] | None = None,
) -> tuple[LatentGraph, Codes, list[int]]:
    """Return a graph with further nodes for anchors from outside, all codes, and all anchors.

    Equal codes are one node. `distance_of` all codes is the distance that `graph.attach` takes.
    """
    codes, fresh = index.codes, {}  # nodes by code
    nodes = [
        int(anchor)  # pyright: ignore[reportArgumentType]
        if np.ndim(anchor) == 0
        else fresh.setdefault(tuple(np.asarray(anchor, float)), len(codes) + len(fresh))
        for anchor in anchors
    ]
    if not fresh:
        return graph, codes, nodes
    added = np.asarray(list(fresh))
    codes = np.concatenate([codes, added])
    distance = distance_of(codes) if distance_of else None
    return graphs.attach(graph, index, added, distance), codes, nodes


def through(
    graph: LatentGraph,
    anchors: Sequence[int],
    *,
    loop: bool = False,
    order: Order = "given",
    codes: Codes | None = None,
) -> Visit:
    """Return a shortest path past several nodes, at least one; a node may come more than once."""
    names = [f"{node} (anchor {place})" for place, node in enumerate(anchors)]
    latent_graph.check_joined(graph, anchors, names=names)
    stops, proven = list(range(len(anchors))), None
    if order != "given":
        check_choice("order", order, get_args(Order))
        step = max(1, _LENGTHS_AT_ONCE // graph.num_nodes)
        blocks = [anchors[start : start + step] for start in range(0, len(anchors), step)]
        lengths = np.concatenate([distances(graph, block)[:, anchors] for block in blocks])
        # There and back, sums are rounded differently.
        stops, proven = best_order(np.minimum(lengths, lengths.T), loop=loop)
    stops += stops[:1] if loop else []
    # One stop alone is a leg to itself.
    ends = [(anchors[a], anchors[b]) for a, b in zip(stops, stops[1:] or stops, strict=False)]
    legs = shortest_paths(graph, ends, codes=codes)
    places = [0, *itertools.accumulate(len(leg.nodes) - 1 for leg in legs)]
    return Visit(
        nodes=np.concatenate([legs[0].nodes[:1], *(leg.nodes[1:] for leg in legs)]),
        length=sum(leg.length for leg in legs),
        order=tuple(stops),
        places=tuple(places[: len(stops)]),
        method=", ".join(dict.fromkeys(leg.method for leg in legs)),
        proven=proven,
    )


def best_order(lengths: Float[np.ndarray, "place place"], *, loop: bool) -> tuple[list[int], bool]:
    """Return a short order of places that begins with the first, and whether none is shorter.

    Up to `MOST_PROVEN` places it is the best order (Held & Karp 1962). Above, it starts with the
    nearest unvisited place each time, and is shortened until neither turning a stretch round
    (2-opt, Croes 1958) nor moving up to three places, either end first (Or 1976), shortens it.

    Args:
        lengths: symmetric, 0 on the diagonal, finite.
        loop: whether the path ends at the first place again; otherwise it may end anywhere.
    """
    number = len(lengths)
    # An end stands behind all places; its distance is that back to the first, or nothing.
    back = lengths[:, :1] if loop else np.zeros((number, 1))
    lengths = np.block([[lengths, back], [back.T, np.zeros((1, 1))]])
    if number <= MOST_PROVEN:
        return _prove(lengths), True
    order, left = [0], np.ones(number, dtype=bool)
    while len(order) < number:
        left[order[-1]] = False
        order.append(int(np.where(left, lengths[order[-1], :-1], np.inf).argmin()))
    return _shorten(np.array([*order, number]), lengths)[:-1].tolist(), False


def describe_order(number: int, *, proven: bool) -> str:
    """Return how the order of so many places was found, for people."""
    how = "none is shorter (Held and Karp)" if proven else "not proven (2-opt and Or-opt)"
    return f"best order of {number} anchors: {how}"


def describe_gaps(bridges: Sequence[Sequence[int]]) -> str:
    """Return where a path crosses bridges between components, for people."""
    crossed = ", ".join(f"{tail} to {head}" for tail, head in bridges)
    return f"crosses gaps in the graph, bridged from {crossed}"


def _prove(lengths: Float[np.ndarray, "place place"]) -> list[int]:
    """Return the shortest order from the first place past all others to the end, without it."""
    apart, end = lengths.tolist(), len(lengths) - 1

    @functools.cache
    def reach(last: int, others: frozenset[int]) -> tuple[float, list[int]]:
        """Return the length of the shortest path past others to a place, and the order before."""
        if not others:
            return apart[0][last], [0]
        before = {place: reach(place, others - {place}) for place in others}
        length, place = min((before[place][0] + apart[place][last], place) for place in others)
        return length, [*before[place][1], place]

    return reach(end, frozenset(range(1, end)))[1]


def _shorten(
    order: Int[np.ndarray, "stop"], lengths: Float[np.ndarray, "place place"]
) -> Int[np.ndarray, "stop"]:
    """Return an order that no turn and no move shortens; its first and last stop stay."""
    least = _LEAST_GAIN * lengths[order[:-1], order[1:]].sum()
    changed = True
    while changed:
        changed = False
        for first in range(len(order) - 3):
            # Stretches that begin behind `first`, by their last stop.
            here, head = order[first], order[first + 1]
            tails, after = order[first + 2 : -1], order[first + 3 :]
            gains = lengths[here, head] + lengths[tails, after]
            gains -= lengths[here, tails] + lengths[head, after]
            if gains.max() > least:
                last = first + 2 + int(gains.argmax())
                order[first + 1 : last + 1] = order[first + 1 : last + 1][::-1].copy()
                changed = True
        for size in range(1, _LONGEST_RUN + 1):
            for start in range(1, len(order) - size):
                run = order[start : start + size]
                rest = np.concatenate([order[:start], order[start + size :]])
                before, after = rest[:-1], rest[1:]
                kept = lengths[before, run[0]] + lengths[run[-1], after]
                turned = lengths[before, run[-1]] + lengths[run[0], after]
                costs = np.stack([kept, turned]) - lengths[before, after]
                is_turned, gap = np.divmod(int(costs.argmin()), len(before))
                if costs[0, start - 1] - costs[is_turned, gap] > least:
                    moved = run[::-1] if is_turned else run
                    order = np.concatenate([rest[: gap + 1], moved, rest[gap + 1 :]])
                    changed = True
    return order
