"""Which search for which pairs: exact in any case, and quicker the more is asked.

Landmarks take as long to make as some dozens of far pairs, and make most pairs about ten times as
fast. So they are made, component by component, when the searches so far and those in hand cost
more: who asks little never waits for them, and who asks much does not take much longer than need
be. Costs are counted in nodes reached, so that the choice does not depend on the clock.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from jaxtyping import Real

from jaxsurf.errors import UserError
from jaxsurf.manifold.compilation import in_threads
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.shortest_paths import finder
from jaxsurf.manifold.shortest_paths.finder import NUM_LANDMARKS, Finder, Found
from jaxsurf.manifold.shortest_paths.node_path import Compiled, NodePath

# Pairs by which the cost of all others is told.
_TRIED = 16
# Landmarks count for so many times the nodes that are reached to make them: searches with them are
# not for nothing, and pairs keep all cores busy, which making landmarks does not.
_PAY = 2
# From so many targets of one source on, a single search for all of them is cheaper: how many times
# the nodes that a pair reaches (the median on a cube and on a Swiss roll) go into all nodes.
_TOGETHER: dict[Compiled, int] = {"bidirectional": 8, "astar": 32, "landmarks": 100}

Codes = Real[np.ndarray, "node latent"]


class _Errand(NamedTuple):
    """The pairs of one source: where they stand in the list asked for, and their targets."""

    source: int
    places: list[int]
    targets: list[int]


def paths(
    graph: LatentGraph,
    pairs: Sequence[tuple[int, int]],
    *,
    method: Compiled | None,
    codes: Codes | None,
) -> list[NodePath]:
    """Return a shortest path for each pair of nodes; cores share the sources.

    Args:
        graph: where to look.
        pairs: sources and targets, joined by some path.
        method: how to search; `astar` needs codes that are straight (see `Finder.is_straight`).
            Without it, what is likely to be the quickest.
        codes: of the nodes.
    """
    mine, results = finder.of(graph), {}
    for errands in _by_component(mine, pairs):
        if method is None:
            found = _chosen(mine, errands, codes)
        else:
            found = _run(mine, [(errand, method) for errand in errands], codes)
        for errand, result in zip(errands, found, strict=True):
            results |= zip(errand.places, result.paths, strict=True)
    return [results[place] for place in range(len(pairs))]


def check_straight(graph: LatentGraph, codes: Codes | None) -> None:
    """Refuse a search by the straight line where it might miss the shortest path.

    Raises:
        UserError: there are no codes, or an edge may be shorter than the straight line.
    """
    cure = "use method=auto or landmarks, which need no straight lines"
    if codes is None:
        raise UserError("astar needs the codes of the nodes", cure=f"give them, or {cure}")
    if graph.weight != "latent":
        raise UserError(
            f"astar needs edges that are no shorter than the straight line, which weights of kind "
            f"{graph.weight} do not promise",
            cure=f"weigh edges by graph.weight=latent, or {cure}",
        )
    if not finder.of(graph).is_straight(codes):
        raise UserError(
            "an edge is shorter than the straight line between the codes of its ends",
            cure=f"give the codes that the graph was made of, or {cure}",
        )


def _by_component(mine: Finder, pairs: Sequence[tuple[int, int]]) -> list[list[_Errand]]:
    """Return the errands in each component."""
    errands: dict[int, _Errand] = {}
    for place, (source, target) in enumerate(pairs):
        errand = errands.setdefault(source, _Errand(source, [], []))
        errand.places.append(place)
        errand.targets.append(target)
    components: dict[int, list[_Errand]] = defaultdict(list)
    for source, errand in errands.items():
        components[mine.component(source)[0]].append(errand)
    return list(components.values())


def _chosen(mine: Finder, errands: list[_Errand], codes: Codes | None) -> list[Found]:
    """Return what errands in one component find; a few of them tell what the others cost."""
    counts = list(accumulate(len(errand.targets) for errand in errands))
    num_tried = 1 + int(np.searchsorted(counts, _TRIED))
    found = _searched(mine, errands[:num_tried], codes, ahead=0)
    if num_tried < len(errands):
        cost = sum(result.reached for result in found) / counts[num_tried - 1]
        ahead = cost * (counts[-1] - counts[num_tried - 1])
        found += _searched(mine, errands[num_tried:], codes, ahead=ahead)
    return found


def _searched(
    mine: Finder, errands: list[_Errand], codes: Codes | None, *, ahead: float
) -> list[Found]:
    """Return what errands in one component find, `ahead` nodes to be reached without landmarks."""
    node = errands[0].source
    number, num_nodes = mine.component(node)
    method: Compiled = "bidirectional"
    if mine.has_landmarks(node) or mine.spent[number] + ahead >= _PAY * NUM_LANDMARKS * num_nodes:
        mine.make_landmarks(node)
        method = "landmarks"
    elif codes is not None and mine.is_straight(codes):
        method = "astar"
    jobs: list[tuple[_Errand, Compiled]] = [
        (errand, "dijkstra" if len(errand.targets) >= _TOGETHER[method] else method)
        for errand in errands
    ]
    found = _run(mine, jobs, codes)
    mine.spent[number] += sum(
        result.reached
        for result, (_, way) in zip(found, jobs, strict=True)
        if way == method != "landmarks"
    )
    return found


def _run(
    mine: Finder, jobs: Sequence[tuple[_Errand, Compiled]], codes: Codes | None
) -> list[Found]:
    """Return what each errand finds by its method."""

    def run(job: tuple[_Errand, Compiled]) -> Found:
        errand, method = job
        return mine.find(errand.source, errand.targets, method=method, codes=codes)

    return in_threads(run, jobs) if len(jobs) > 1 else [run(job) for job in jobs]
