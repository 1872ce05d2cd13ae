"""Latent codes -> the graph whose shortest paths follow the manifold.

Which points are joined follows from the distances between their codes alone. A kind of graph is a
function from their index to a `LatentGraph` whose edges weigh their lengths, and an entry in
`KINDS`.

What an edge weighs is another matter: a function of its length, and an entry in `WEIGHTS`. Where
the entry needs another length than the distance between codes, whoever weighs so hands in a
`Distance`: images and decoders are not known here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int, Real

from jaxsurf.errors import UserError
from jaxsurf.manifold import connectivity, latent_graph, neighbors
from jaxsurf.manifold.latent_graph import LatentGraph, from_edges

Ends = Int[np.ndarray, "edge 2"]
Lengths = Float[np.ndarray, "edge"]
# From the nodes that edges join to a distance between them each, 0 or more.
Distance = Callable[[Ends], Lengths]

# Neighbors that join what is from outside a set to its graph: as many as the report's k.
OUTSIDE_NEIGHBORS = 4
# With 3, going through a density f costs 1 / f in two dimensions.
FERMAT_EXPONENT = 3.0


def knn_graph(near: neighbors.Neighbors, *, k: int, mutual: bool = False) -> LatentGraph:
    """Return the symmetric k-NN graph: an edge where either end has the other among its nearest k.

    Args:
        near: at least `k` neighbors a point, of all points of the set.
        k: how many of them to use.
        mutual: whether both ends have to. Such a graph has no long edges to outliers, and falls
            apart more easily.

    Raises:
        UserError: there are fewer than `k` a point.
    """
    number, known = near.indices.shape
    if not 1 <= k <= known:
        raise UserError(
            f"k is {k}, but {known} neighbours a point were computed",
            cure=f"use a k from 1 to {known}, or compute more neighbours",
        )
    ends = np.stack([np.repeat(np.arange(number), k), near.indices[:, :k].ravel()], axis=1)
    lengths = near.distances[:, :k].ravel()
    told = f"{'mutual ' if mutual else ''}k-NN graph with k = {k}"
    facts: Any = {"k": k, "description": told, "weight": "latent"}
    return from_edges(ends, lengths, num_nodes=number, mutual=mutual, **facts)


def radius_graph(index: neighbors.Index, *, radius: float) -> LatentGraph:
    """Return the graph that joins all points at most `radius` apart.

    Raises:
        UserError: the radius joins more pairs than fit in memory.
    """
    ends, lengths = index.pairs_within(radius)
    facts: Any = {"description": f"radius graph with radius = {radius:g}", "weight": "latent"}
    return from_edges(ends, lengths, num_nodes=len(index.codes), **facts)


def _knn(index: neighbors.Index, config: "GraphConfig") -> LatentGraph:
    return knn_graph(index.nearest(k=config.k), k=config.k, mutual=config.kind == "mutual")


def _radius(index: neighbors.Index, config: "GraphConfig") -> LatentGraph:
    return radius_graph(index, radius=config.radius)


def _smallest(index: neighbors.Index, _: "GraphConfig") -> LatentGraph:
    k, near = connectivity.smallest_k(index)
    return _connecting(knn_graph(near, k=k))


def _smallest_radius(index: neighbors.Index, _: "GraphConfig") -> LatentGraph:
    return _connecting(radius_graph(index, radius=connectivity.smallest_radius(index)))


def _connecting(graph: LatentGraph) -> LatentGraph:
    return replace(graph, description=f"{graph.description}, the smallest that connects")


@dataclass(frozen=True)
class _Kind:
    build: Callable[[neighbors.Index, "GraphConfig"], LatentGraph]
    number: str = ""
    """The setting that the kind needs, if it needs one."""
    of_neighbors: bool = True
    """Whether lists of neighbors make it, which may be approximate."""
    connects: bool = False
    """Whether it connects all points in any case."""


KINDS = {
    "smallest": _Kind(_smallest, connects=True),
    "knn": _Kind(_knn, "k"),
    "mutual": _Kind(_knn, "k"),
    "radius": _Kind(_radius, "radius", of_neighbors=False),
    "smallest-radius": _Kind(_smallest_radius, of_neighbors=False, connects=True),
}


def _plain(lengths: Lengths) -> Lengths:
    return lengths


def _cubed(lengths: Lengths) -> Lengths:
    """Return cubes; those that are infinite are refused where edges are joined.

    A cube makes a long edge dearer than several short ones, so that shortest paths keep to where
    images lie densely, and pass through more of them. That is the sample Fermat distance
    (Groisman, Jonckheere & Sapienza, "Nonhomogeneous Euclidean first-passage percolation and
    distance learning", 2022); for many points, going through a density f costs f^(-(a - 1) / d)
    with the exponent a in d dimensions.
    """
    with np.errstate(over="ignore", under="ignore"):
        return lengths**FERMAT_EXPONENT


@dataclass(frozen=True)
class _Weight:
    formula: Callable[[Lengths], Lengths]
    needs: str = ""
    """What has to be known beside latent codes, for another length than the distance of these."""


WEIGHTS = {
    "latent": _Weight(_plain),
    "density": _Weight(_cubed),
    "image": _Weight(_plain, needs="the images at the ends of an edge"),
    "image-density": _Weight(_cubed, needs="the images at the ends of an edge"),
    "decoded": _Weight(_plain, needs="the decoder"),
    # The length of the decoded edge, all along it: its length under the metric that the decoder
    # pulls back from pixels to codes (Arvanitidis, Hansen & Hauberg, "Latent space oddity", 2018).
    "pullback": _Weight(_plain, needs="the decoder"),
}

Search = Literal["exact", "approximate"]
if TYPE_CHECKING:
    Kind = Weight = str
else:
    Kind, Weight = Literal[tuple(KINDS)], Literal[tuple(WEIGHTS)]


@dataclass(frozen=True, kw_only=True)
class GraphConfig:
    """Which graph to build.

    Attributes:
        kind: `smallest` k that connects all; `knn` with k neighbours a point; `mutual`: both ends
            have to be among the other's k nearest; `radius`: all within it; `smallest-radius` that
            connects all.
        k: neighbours a point; for `knn` and `mutual` only.
        radius: largest distance of joined points, in latent units; for `radius` only.
        weight: what an edge costs: its `latent` length, or `density`: its cube, so that paths keep
            to where images lie densely; `image`: how far the images at its ends are apart (root
            mean square, on 0-255), or `image-density`: its cube; `decoded`: how far the decoded
            ends are apart; `pullback`: the length of the whole decoded edge.
        spanning_tree: add the Euclidean minimum spanning tree, which connects any graph.
        repair: join the graph's components by the shortest bridges between them; results say where
            a path crosses one.
        search: how neighbours are looked for: `exact`, or `approximate` (faiss), quicker in many
            dimensions, which misses some; `path.json` says how many.
    """

    kind: Kind = "smallest"
    k: int = 0
    radius: float = 0.0
    weight: Weight = "density"
    spanning_tree: bool = False
    repair: bool = False
    search: Search = "exact"

    def __post_init__(self) -> None:
        known = {"kind": tuple(KINDS), "weight": tuple(WEIGHTS), "search": get_args(Search)}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise UserError(
                    f"graph.{name}={getattr(self, name)} is unknown or not built yet",
                    cure=f"use one of: {', '.join(values)}",
                )
        kind = KINDS[self.kind]
        if self.search == "approximate" and not kind.of_neighbors:
            self._refuse("search=approximate", [name for name in KINDS if KINDS[name].of_neighbors])
        for number in ("k", "radius"):
            if getattr(self, number) and kind.number != number:
                self._refuse(number, [name for name in KINDS if KINDS[name].number == number])
        if kind.number == "k" and self.k < 1:
            raise UserError(
                f"graph.k is {self.k}", cure=f"give 1 or more with graph.kind={self.kind}"
            )
        if kind.number == "radius" and not (np.isfinite(self.radius) and self.radius > 0):
            raise UserError(
                f"graph.radius is {self.radius}",
                cure=f"give a finite number above 0 with graph.kind={self.kind}",
            )
        if self.repair and (self.spanning_tree or kind.connects):
            raise UserError(
                "graph.repair has no meaning with "
                + ("graph.spanning_tree" if self.spanning_tree else f"graph.kind={self.kind}"),
                cure="leave it out: that graph is connected",
            )

    def _refuse(self, setting: str, kinds: list[str]) -> None:
        raise UserError(
            f"graph.{setting} has no meaning with graph.kind={self.kind}",
            cure=f"leave it out, or set graph.kind={' or '.join(kinds)}",
        )


@dataclass(frozen=True, kw_only=True)
class Trimming:
    """Which edges are too long: they may join what the data does not.

    Attributes:
        max_edge: the longest edge that stays, in latent units; 0 for any.
        avg_neighbors: the longest edges go until points have so many neighbours on average; 0 for
            any number.
    """

    max_edge: float = 0.0
    avg_neighbors: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value >= 0):
                raise UserError(f"{name} is {value}", cure="give a finite number above 0")

    def __bool__(self) -> bool:
        return bool(self.max_edge or self.avg_neighbors)

    def __call__(self, graph: LatentGraph) -> LatentGraph:
        """Return a graph, whose edges weigh their lengths, without those that are too long."""
        ends, lengths = graph.edges()
        kept, done = np.ones(len(lengths), dtype=bool), []
        if self.max_edge:
            kept &= lengths <= self.max_edge
            done.append(f"edges up to {self.max_edge:g}")
        if self.avg_neighbors:
            allowed = int(min(self.avg_neighbors, graph.num_nodes) * graph.num_nodes / 2)
            kept[np.argsort(lengths, kind="stable")[allowed:]] = False
            done.append(f"{self.avg_neighbors:g} neighbours on average")
        if not done:
            return graph
        made = from_edges(ends[kept], lengths[kept], num_nodes=graph.num_nodes)
        told = f"{graph.description}, with at most {' and '.join(done)}"
        arrays = {"indptr": made.indptr, "indices": made.indices, "weights": made.weights}
        return replace(graph, description=told, **arrays)


def build(
    codes: Real[np.ndarray, "point latent"] | neighbors.Index,
    config: GraphConfig,
    distance: Distance | None = None,
    *,
    trim: Callable[[LatentGraph], LatentGraph] | None = None,
) -> LatentGraph:
    """Return the graph that a configuration asks for; its `k` and `description` say what it is.

    Args:
        codes: at least two points, or the index of these.
        config: which graph.
        distance: from the ends of edges, as rows of `codes`, to a distance between their images,
            or between what their codes are decoded to, whichever the weight is of; not used where
            it is of neither.
        trim: what to do with the graph while its edges weigh their lengths, before a spanning tree
            or a repair is added, such as to leave out long edges.

    Raises:
        UserError: the codes are not finite or too few, `config.k` is too large, or `distance` is
            missing or gives something negative or not finite.
    """
    # Before the search for neighbors, which may take long.
    _check_weight(config.weight, distance)
    index = neighbors.index_of(codes)
    if config.search == "approximate":
        near = neighbors.Approximate(index.codes)
        built = KINDS[config.kind].build(near, config)
        told = f"{built.description}, of approximate neighbours with a recall of {near.recall:.3f}"
        built = replace(built, description=told, recall=near.recall)
    else:
        built = KINDS[config.kind].build(index, config)
    built = trim(built) if trim else built
    if config.spanning_tree:
        told = f"{built.description}, and the Euclidean minimum spanning tree"
        tree = connectivity.spanning_tree(index)
        built = latent_graph.with_edges(built, *tree, description=told)
    if config.repair and built.components.any():
        ends, lengths = connectivity.bridges(index, built.components)
        bridges = "a bridge" if len(ends) == 1 else f"{len(ends)} bridges"
        told = f"{built.description}, its {len(ends) + 1} components joined by {bridges}"
        built = latent_graph.with_edges(built, ends, lengths, description=told, bridges=ends)
    weights = _weigh(*built.edges(), config.weight, distance)
    return latent_graph.reweighed(built, weights, weight=config.weight)


def attach(
    graph: LatentGraph,
    codes: Real[np.ndarray, "point latent"] | neighbors.Index,
    added: Real[np.ndarray, "new latent"],
    *,
    k: int,
    distance: Distance | None = None,
) -> LatentGraph:
    """Return a graph with points from outside as further nodes, joined to the k codes nearest.

    No other edge is touched. A point belongs to the component of the code nearest to it; an edge of
    its that leads to another one is a bridge, so that a path can tell where it crosses a gap.

    Args:
        graph: the graph over `codes`; its own edges stay as they are.
        codes: the points of its nodes, or the index of these.
        added: points that become the nodes from `graph.num_nodes` on; not joined to one another.
            Their edges weigh as the graph's own do.
        k: neighbors of each.
        distance: as for `build`, for the nodes of the new graph.

    Raises:
        UserError: the new points are not finite, `k` is larger than the graph, or `distance` is
            missing or gives something negative or not finite.
    """
    _check_weight(graph.weight, distance)
    near = neighbors.index_of(codes).nearest_to(added, k=k)
    tails = np.repeat(graph.num_nodes + np.arange(len(added)), k)
    ends = np.stack([near.indices.ravel(), tails], axis=1)
    weights = _weigh(ends, near.distances.ravel(), graph.weight, distance)
    components = graph.components[near.indices]
    across = ends[(components != components[:, :1]).ravel()]
    told = f"{graph.description}, and {len(added)} more joined to their nearest {k}"
    told += ", which bridges its components" * bool(len(across))
    return latent_graph.with_edges(
        graph,
        ends,
        weights,
        num_nodes=graph.num_nodes + len(added),
        description=told,
        bridges=np.concatenate([graph.bridges, across]),
    )


def _weigh(ends: Ends, lengths: Lengths, weight: str, distance: Distance | None) -> Lengths:
    formula, needs = WEIGHTS[weight].formula, WEIGHTS[weight].needs
    return formula(distance(ends) if needs and distance else lengths)


def _check_weight(weight: str, distance: Distance | None) -> None:
    """Refuse a weight that more than latent codes decide where nothing else is at hand."""
    if weight == "given":
        raise UserError(
            "the graph was made with weights of its own, so further edges can't be weighed alike",
            cure="say what they are when the graph is made, if it is one of jaxsurf's weights",
        )
    if WEIGHTS[weight].needs and distance is None:
        raise UserError(
            f"graph.weight={weight} needs {WEIGHTS[weight].needs}, but only latent codes are at "
            "hand",
            cure="pass `distance` too, or use graph.weight=latent or density",
        )
