"""Shortest paths in a `LatentGraph`.

Two ends in different components are an error, never an empty path. Where several paths are equally
short, any one of them comes back. Every method finds a shortest path:

- `igraph`: the library's Dijkstra.
- `dijkstra`: compiled, one search of the whole graph for all targets of a source.
- `bidirectional`: from both ends at once.
- `astar`: first towards the target, by the straight line: codes are given, the graph's `weight` is
  `latent`.
- `landmarks`: the same by distances to 16 nodes, which are made once, whatever edges weigh.

`auto` goes by the first rule that applies, and the path names the method:

1. Fewer than 20,000 nodes, and 2,000,000 nodes times pairs: `igraph`.
2. A source with 32 targets or more in one call: `dijkstra`.
3. 128 pairs were asked of this graph, those of the call counted: `landmarks`. They take as long as
   17 searches of the whole graph.
4. `astar`, where it can be used, else `bidirectional`.

Compiled searches run on all cores. Beside the graph, and as long as it, they keep 32 bytes a node
and core (twice that for `bidirectional`), 12 an entry, and 64 a node for landmarks.
"""

import itertools
import weakref
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real

from jaxsurf.manifold import latent_graph
from jaxsurf.manifold.latent_graph import LatentGraph

if TYPE_CHECKING:
    import igraph

Codes = Real[np.ndarray, "node latent"]
Lengths = Float[Array, "node source"]
Method = Literal["auto", "igraph", "dijkstra", "bidirectional", "astar", "landmarks"]
LengthMethod = Literal["auto", "igraph", "dijkstra", "relaxation"]

_FEW_NODES = 20_000  # below, igraph is done before numba is loaded
_FEW_VISITS = 2_000_000  # nodes times searches
_MANY_TARGETS = 32  # a pair reaches an eighth (bidirectional) to a hundredth (landmarks) of all
_MANY_PAIRS = 128  # take about as long as landmarks: 60 to 500 by weights, shape and method
# Somewhat above the mean number of neighbours in a symmetric graph of 10 nearest ones.
_WIDTH = 16

_igraphs: weakref.WeakKeyDictionary[LatentGraph, Any] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class NodePath:
    """A shortest path through a graph."""

    nodes: Int[np.ndarray, "step"]  # source first, target last; one node where these are the same
    length: float  # the sum of the weights of its edges, in float64
    method: str  # how it was searched for; a `Method` but `auto`


def shortest_paths(
    graph: LatentGraph,
    pairs: Sequence[Sequence[int]],
    *,
    codes: Codes | None = None,
    method: Method = "auto",
) -> list[NodePath]:
    """Return a shortest path for each pair of nodes, in the order of the pairs.

    Args:
        graph: where to look.
        pairs: sources and targets; where both are the same node, the path is that node.
        codes: of the nodes, which the graph was made of: they may speed up the search.
        method: how to search.

    Raises:
        UserError: no path joins two ends.
    """
    for ends in pairs:
        names = [f"{node} ({name})" for node, name in zip(ends, ("source", "target"), strict=True)]
        latent_graph.check_joined(graph, ends, names=names)
    wanted = [(int(source), int(target)) for source, target in pairs]
    targets: dict[int, list[int]] = defaultdict(list)
    for source, target in dict.fromkeys(wanted):
        targets[source].append(target)
    if method == "igraph" or (method == "auto" and _is_small(graph, len(pairs))):
        made = _to_igraph(graph)
        walks = [made.get_shortest_paths(*some, weights="weight") for some in targets.items()]
        nodes = map(np.asarray, itertools.chain.from_iterable(walks))
        found = [NodePath(each, float(graph.weights_along(each).sum()), "igraph") for each in nodes]
    else:
        found = _search_compiled(graph, targets, codes, method)
    by_ends = {(path.nodes[0], path.nodes[-1]): path for path in found}
    return [by_ends[pair] for pair in wanted]


def distances(
    graph: LatentGraph, sources: Sequence[int], *, method: LengthMethod = "auto"
) -> Float[np.ndarray, "source node"]:
    """Return the lengths of shortest paths from several nodes to every node; inf without a path.

    The method is `igraph`; `dijkstra`, compiled, on all cores; or `relaxation`, all sources at
    once, on the device where JAX computes. `auto` leaves small graphs to the first, and others to
    the last where there is an accelerator.
    """
    if method == "igraph" or (method == "auto" and _is_small(graph, len(sources))):
        made = _to_igraph(graph)
        return np.array([made.distances(source, weights="weight")[0] for source in sources])
    if method == "relaxation" or (method == "auto" and jax.default_backend() != "cpu"):
        return _relax(graph, np.asarray(sources))
    from jaxsurf.manifold import search_kernels  # slow to load

    return np.array(search_kernels.in_threads(search_kernels.prepare(graph).distances, sources))


def _search_compiled(
    graph: LatentGraph, targets: Mapping[int, list[int]], codes: Codes | None, method: Method
) -> list[NodePath]:
    from jaxsurf.manifold import search_kernels

    prepared = search_kernels.prepare(graph)
    straight = codes if graph.weight == "latent" else None
    if straight is not None:
        prepared.use_codes(straight)
    chosen = method
    if method == "auto":
        prepared.num_asked += sum(len(e) for e in targets.values() if len(e) < _MANY_TARGETS)
        chosen = "bidirectional" if straight is None else "astar"
        if prepared.num_asked >= _MANY_PAIRS:
            chosen = "landmarks"
    if chosen == "landmarks":
        prepared.use_landmarks()

    def search(job: tuple[int, list[int]]) -> list[NodePath]:
        source, ends = job
        together = method == "auto" and len(ends) >= _MANY_TARGETS
        used = "dijkstra" if together else chosen
        walks = prepared.paths(source, ends, method=used)
        return [NodePath(nodes, length, used) for nodes, length in walks]

    found = search_kernels.in_threads(search, targets.items())
    return [path for paths in found for path in paths]


def _to_igraph(graph: LatentGraph) -> "igraph.Graph":
    import igraph  # here, since it brings a part of matplotlib along

    if graph not in _igraphs:
        ends, weights = graph.edges()
        # From pairs as they are made: igraph takes longer over a list of them, or over an array.
        made = igraph.Graph(graph.num_nodes, zip(*ends.T.tolist(), strict=True))
        made.es["weight"] = weights.tolist()
        _igraphs[graph] = made
    return _igraphs[graph]


def _is_small(graph: LatentGraph, num_searches: int) -> bool:
    return graph.num_nodes < _FEW_NODES and graph.num_nodes * num_searches < _FEW_VISITS


def _relax(
    graph: LatentGraph, sources: Int[np.ndarray, "source"]
) -> Float[np.ndarray, "source node"]:
    """Look from every node at all its neighbours and keep the shortest path, until none is shorter.

    Work of this (Bellman-Ford) is a multiple of Dijkstra's, but it is the same for all nodes and
    sources, which accelerators are made for. A step holds about four arrays with an entry a node
    and source, in float64.
    """
    nodes = np.arange(graph.num_nodes)
    # Neighbours in rows of one width: a row for each node, then more for those with many. Slots
    # that are left over hold the node itself.
    part, slots = np.divmod(np.arange(len(graph.indices)) - graph.indptr[graph.rows], _WIDTH)
    begins = (part > 0) & (slots == 0)
    owners = graph.rows[begins]
    rows = np.where(part == 0, graph.rows, graph.num_nodes - 1 + np.cumsum(begins))
    neighbours = np.repeat(np.append(nodes, owners)[:, None], _WIDTH, axis=1).astype(np.int32)
    weights = np.zeros(neighbours.shape)
    neighbours[rows, slots], weights[rows, slots] = graph.indices, graph.weights
    with jax.enable_x64(True):
        table = jax.device_put((neighbours, weights, owners.astype(np.int32), sources))
        return np.array(_relaxed(*table, graph.num_nodes)).T


@jax.jit(static_argnums=4)
def _relaxed(
    neighbours: Int[Array, "row slot"],
    weights: Float[Array, "row slot"],
    owners: Int[Array, "further_row"],  # the node of each further row
    sources: Int[Array, "source"],
    num_nodes: int,
) -> Lengths:
    def step(state: tuple[Lengths, Lengths]) -> tuple[Lengths, Lengths]:
        lengths, _ = state
        best = jnp.full((len(neighbours), len(sources)), jnp.inf)
        for slot in range(_WIDTH):
            through = lengths[neighbours[:, slot]] + weights[:, slot, None]
            best = jnp.minimum(best, through)
        shorter = jnp.minimum(lengths, best[:num_nodes])
        return shorter.at[owners].min(best[num_nodes:]), lengths

    longest = jnp.full((num_nodes, len(sources)), jnp.inf)
    start = longest.at[sources, jnp.arange(len(sources))].set(0.0)
    return jax.lax.while_loop(lambda last: (last[0] < last[1]).any(), step, (start, longest))[0]
