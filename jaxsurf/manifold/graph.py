"""Latent codes -> the graph whose shortest paths follow the manifold.

A kind of graph is a function from the index of the codes to a `LatentGraph`, and an entry in
`KINDS`. It decides which points are joined, by whatever it likes; its edges always weigh Euclidean
lengths between codes, which trimming, trees, repairs and A* rely on.

What an edge weighs is decided apart from that, by an entry in `WEIGHTS`. Images and decoders are
not known here: the caller passes a `Distance` where the entry needs another length than the
distance between codes, and an index of the images where a kind asks which images are neighbours.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Int, Real

from jaxsurf.errors import UserError, check_choice, check_least
from jaxsurf.manifold import connectivity, latent_graph, neighbors
from jaxsurf.manifold.latent_graph import LatentGraph, from_edges

Ends = Int[np.ndarray, "edge 2"]
Lengths = Float[np.ndarray, "edge"]
# From the nodes that edges join to a distance between them each, 0 or more.
Distance = Callable[[Ends], Lengths]
# Makes the index of the images of codes, whose distances are those between images.
ImageIndex = Callable[[], neighbors.Index]

# Raised when the same configuration builds another graph: those kept by runs are refused then.
EDITION = 4
# An edge past a neighbour is added where the straight way is shorter than this share of the other.
STRAIGHTER = 0.97
# So many of these for each other edge: in many dimensions nearly all ways are bent.
SHORTCUTS = 1.5
# Neighbours of what an edge is added past: among many equal images a few have all as neighbours.
_MOST_PAST = 64
# Where codes lie along curves, each has two neighbours a step off, and what `agreed` takes further
# is a chord that no image lies on. The dimension was 1.0 to 1.6 on four sets of curves, 1.9 to
# 3.4 on six others, which chose the limit; it is taken from so many neighbours of so many codes.
_CURVE, _ALONG_CURVES = 1.75, 3
_SCALED, _SAMPLED = 10, 2000
# Edges whose images are compared at once: 100 MB of a thousand principal components.
_AT_ONCE = 1 << 13
# Neighbors that join what is from outside a set to its graph: as many as the report's k.
OUTSIDE_NEIGHBORS = 4


def _join_nearest(k: int, near: neighbors.Neighbors, *, mutual: bool = False) -> LatentGraph:
    number = len(near.indices)
    ends = np.stack([np.repeat(np.arange(number), k), near.indices[:, :k].ravel()], axis=1)
    description, lengths = f"k-NN graph with k = {k}", near.distances[:, :k].ravel()
    facts: Any = {"k": k, "description": f"{'mutual ' * mutual}{description}", "weight": "latent"}
    return from_edges(ends, lengths, num_nodes=number, mutual=mutual, **facts)


def _join_agreed(index: neighbors.Index, k: int, image_index: neighbors.Index) -> LatentGraph:
    """Return the edges between neighbours in codes whose images agree; lengths are of codes.

    They agree where one is among the other's nearest, and where they are no farther apart than an
    image usually is from the last of its nearest: where images lie densely, in one direction above
    all, these lists hold no other direction.
    """
    built, near = _join_nearest(k, index.nearest(k=k)), image_index.nearest(k=k)
    ends = built.edges()[0]
    kept = latent_graph.are_among(ends, _join_nearest(k, near).edges()[0])
    kept[~kept] = _apart(image_index, ends[~kept]) <= np.median(near.distances[:, k - 1])
    return latent_graph.with_only(built, kept, note=", nearest in codes and in images")


def _join_parts(graph: LatentGraph, wider: LatentGraph) -> LatentGraph:
    """Return a graph with the shortest edges of a wider one that join its components."""
    ends, lengths = wider.edges()
    order = np.argsort(lengths, kind="stable")
    between = order[np.ptp(graph.components[ends[order]], axis=1) > 0]
    added = between[connectivity.forest(ends[between], graph.components)]
    note = f", and {len(added)} edges of k = {wider.k} that join its parts" if added.size else ""
    return latent_graph.with_edges(graph, ends[added], lengths[added], note=note)


def _apart(images: neighbors.Index, ends: Ends) -> Lengths:
    """Return how far the images at the ends of edges are apart."""
    starts = range(0, len(ends), _AT_ONCE)
    some = [neighbors.distances(*images.codes[ends[at : at + _AT_ONCE].T]) for at in starts]
    return np.concatenate([np.empty(0), *some])


def _dimension(index: neighbors.Index) -> float:
    """Return how many dimensions codes fill, whatever they lie in, equal ones counted once.

    The maximum likelihood estimate of Levina & Bickel (2005), inverses averaged over the codes.
    """
    distinct = neighbors.Index(index.distinct.codes)
    if len(distinct.codes) <= _SCALED:
        return math.inf
    some = distinct.codes[:: -(-len(distinct.codes) // _SAMPLED)]
    away = distinct.nearest_to(some, k=_SCALED + 1).distances[:, 1:]
    away = np.maximum(away, np.finfo(np.float64).tiny)  # squares of tiny distances are 0
    logs = np.log(away)  # quotients with the tiny ones would be infinite
    inverse = float((logs[:, -1:] - logs[:, :-1]).mean())
    return 1 / inverse if inverse else math.inf


def _add_shortcuts(graph: LatentGraph, index: neighbors.Index) -> LatentGraph:
    """Return a graph with straight edges to neighbours' neighbours where the way by these is bent.

    Paths through a graph of nearest neighbours take few directions: on a grid eight, with these 16.
    """
    degrees = np.diff(graph.indptr)
    # Of each entry (i, m): one row for each neighbour of m.
    counts = np.where(degrees <= _MOST_PAST, degrees, 0)[graph.indices]
    entry, onward = neighbors.numbered(counts)
    onward += graph.indptr[graph.indices[entry]]
    ends = np.stack([graph.rows[entry], graph.indices[onward]], axis=1)
    ways = graph.weights[entry] + graph.weights[onward]
    once = ends[:, 0] < ends[:, 1]
    order = np.lexsort([ways[once], *ends[once].T[::-1]])
    ends, ways = ends[once][order], ways[once][order]
    shortest = np.append(True, (np.diff(ends, axis=0) != 0).any(axis=1))[: len(ends)]
    ends, ways = ends[shortest], ways[shortest]
    lengths = neighbors.distances(*index.codes[ends.T])
    fresh = ~latent_graph.are_among(ends, graph.edges()[0])
    bent = np.flatnonzero(fresh & (lengths < STRAIGHTER * ways))
    most = int(SHORTCUTS * graph.num_edges)
    kept = bent[np.argsort(lengths[bent] / ways[bent], kind="stable")[:most]]
    note = ", and straight past one of these" if kept.size else ""
    return latent_graph.with_edges(graph, ends[kept], lengths[kept], note=note)


def _join_within(index: neighbors.Index, radius: float, *_: object) -> LatentGraph:
    description = f"radius graph with radius = {radius:g}"
    facts: Any = {"description": description, "weight": "latent"}
    return from_edges(*index.pairs_within(radius), num_nodes=len(index.codes), **facts)


class _Kind(NamedTuple):
    """How a kind is built; a setting given alone means the first kind that needs it."""

    # Makes the graph from the index of codes, the setting, and the index of images or None.
    build: Callable[[neighbors.Index, Any, Any], LatentGraph]
    setting: str = ""  # the name of the one that the kind needs, if it needs one
    usual: int = 0  # the setting, where none is given; 0 if one has to be
    of_neighbors: bool = True  # whether lists of neighbors make it, which may be approximate
    of_images: bool = False  # whether neighbors in images count, which then join what is apart
    connects: bool = False  # whether it connects all points in any case


KINDS: dict[str, _Kind] = {
    "smallest": _Kind(
        lambda index, *_: _join_nearest(*connectivity.smallest_k(index)), connects=True
    ),
    "knn": _Kind(lambda index, k, _: _join_nearest(k, index.nearest(k=k)), "k", usual=10),
    "mutual": _Kind(lambda index, k, _: _join_nearest(k, index.nearest(k=k), mutual=True), "k"),
    "agreed": _Kind(_join_agreed, "k", usual=10, of_images=True, connects=True),
    "radius": _Kind(_join_within, "radius", of_neighbors=False),
    "smallest-radius": _Kind(
        lambda index, *_: _join_within(index, connectivity.spanning_tree(index)[1].max()),
        of_neighbors=False,
        connects=True,
    ),
}


class _Weight(NamedTuple):
    """What an edge weighs: a power of a length.

    A cube makes a long edge dearer than several short ones, so that shortest paths keep to where
    images lie densely, and pass through more of them. That is the sample Fermat distance
    (Groisman, Jonckheere & Sapienza, "Nonhomogeneous Euclidean first-passage percolation and
    distance learning", 2022); for many points, going through a density f costs f^(-(a - 1) / d)
    with the exponent a in d dimensions: 1 / f with 3 in two.
    """

    exponent: float = 1.0
    needs: str = ""  # beside latent codes, for another length than the distance of these
    # Of what images change by from code to code, what a piece of an edge does; infinite where its
    # ends alone are decoded, 0 where images or codes are compared.
    piece: float = 0.0
    faults: bool = False  # whether it grows with what is wrong with the decoded middle


WEIGHTS = {
    "latent": _Weight(),
    "density": _Weight(3.0),
    "image": _Weight(needs="the images at the ends of an edge"),
    "image-density": _Weight(3.0, needs="the images at the ends of an edge"),
    # Dearer where the model does not give back what it decodes, so where there are no images.
    "fault": _Weight(needs="the images at the ends of an edge, and the model", faults=True),
    "decoded": _Weight(needs="the decoder", piece=math.inf),
    # The length of the decoded edge, all along it: its length under the metric that the decoder
    # pulls back from pixels to codes (Arvanitidis, Hansen & Hauberg, "Latent space oddity", 2018).
    "pullback": _Weight(needs="the decoder", piece=0.3),
}

Search = Literal["exact", "approximate"]
if TYPE_CHECKING:
    Kind = str
    Weight = str
else:
    Kind, Weight = Literal[tuple(KINDS)], Literal[tuple(WEIGHTS)]


@dataclass(frozen=True, kw_only=True)
class GraphConfig:
    """Which graph to build.

    Attributes:
        kind: `knn`: one end of an edge is among the other's k nearest codes; `agreed`: the same,
            and one end is among the other's k nearest images, or no farther from it than the k-th
            nearest usually is; with `pullback`, also straight past one of these where the way by it
            is bent; components are joined by the shortest bridges between images; `mutual`: both
            ends are among the other's k nearest codes; `smallest`: as `knn`, with the smallest k
            that connects all; `radius`: all codes within it are joined; `smallest-radius`: as
            `radius`, with the smallest that connects all.
        k: neighbours a point; for `agreed`, `knn` and `mutual` only. 0 means 10 for `agreed` and
            `knn`, at most the square root of the number of points, and 3 for `agreed` where codes
            lie along curves; `mutual` needs a number.
        radius: largest distance of joined points, in latent units; for `radius` only.
        weight: what an edge costs: its `latent` length, or `density`: its cube, so that paths keep
            to where images lie densely; `image`: how far the images at its ends are apart (root
            mean square, on 0-255), or `image-density`: its cube; `fault`: that of images, more
            where the model does not give back what the middle is decoded to; `decoded`: how far the
            decoded ends are apart; `pullback`: the length of the whole decoded edge (of more than
            50,000 images `image` instead, since that takes long).
        spanning_tree: add the Euclidean minimum spanning tree, which connects any graph.
        repair: join the graph's components, if there are several, by the shortest bridges between
            them; results say where a path crosses one.
        search: how neighbours are looked for: `exact`, or `approximate` (faiss), quicker in many
            dimensions, which misses some; `path.json` says how many.
    """

    kind: Kind = "agreed"
    k: int = 0
    radius: float = 0.0
    weight: Weight = "pullback"
    spanning_tree: bool = False
    repair: bool = False
    search: Search = "exact"

    def __post_init__(self) -> None:
        known = {"kind": KINDS, "weight": WEIGHTS, "search": get_args(Search)}
        for name, values in known.items():
            check_choice(f"graph.{name}", getattr(self, name), values)
        kind = KINDS[self.kind]
        if self.search == "approximate" and not kind.of_neighbors:
            self._refuse("search=approximate", [name for name in KINDS if KINDS[name].of_neighbors])
        for number in ("k", "radius"):
            if getattr(self, number) and kind.setting != number:
                self._refuse(number, [name for name in KINDS if KINDS[name].setting == number])
        if kind.setting and not 0 < self.setting() < np.inf:
            allowed = "1 or more" if kind.setting == "k" else "a finite number above 0"
            cure = f"give {allowed} with graph.kind={self.kind}"
            raise UserError(f"graph.{kind.setting} is {self.setting()}", cure=cure)

    @property
    def label(self) -> str:
        """What names of files tell the graph by: its kind and all settings with other values."""
        # What is not given depends on the number of points: no number says that.
        setting = KINDS[self.kind].setting
        parts = [f"{self.kind}{getattr(self, setting, 0) or ''}"]
        for name, value in vars(self).items():
            if name not in ("kind", setting) and value != getattr(GraphConfig, name):
                named = name if value is True else f"{name}{value}"
                parts.append(value if isinstance(value, str) else named)
        return "_".join(parts)

    def setting(self, number: int = 0) -> float:
        """Return what the kind needs; where nothing is given, the default for so many points."""
        kind = KINDS[self.kind]
        # Among few points so many would reach across holes in the manifold.
        usual = min(kind.usual, math.isqrt(number)) if number else kind.usual
        return getattr(self, kind.setting, 0) or usual

    def _refuse(self, setting: str, kinds: list[str]) -> None:
        cause = f"graph.{setting} has no meaning with graph.kind={self.kind}"
        raise UserError(cause, cure=f"leave it out, or set graph.kind={' or '.join(kinds)}")


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
            check_least(name, value, 0)

    def __bool__(self) -> bool:
        return bool(self.max_edge or self.avg_neighbors)

    def __call__(self, graph: LatentGraph) -> LatentGraph:
        """Return a graph, whose edges weigh their lengths, without those that are too long."""
        lengths = graph.edges()[1]
        kept, done = lengths <= (self.max_edge or np.inf), []
        if self.max_edge:
            done.append(f"edges up to {self.max_edge:g}")
        if self.avg_neighbors:
            allowed = int(min(self.avg_neighbors, graph.num_nodes) * graph.num_nodes / 2)
            kept[np.argsort(lengths, kind="stable")[allowed:]] = False
            done.append(f"{self.avg_neighbors:g} neighbours on average")
        return latent_graph.with_only(graph, kept, note=f", with at most {' and '.join(done)}")


def build(
    codes: Real[np.ndarray, "point latent"] | neighbors.Index,
    config: GraphConfig,
    distance: Distance | None = None,
    *,
    image_index: ImageIndex | None = None,
    trim: Trimming | None = None,
) -> LatentGraph:
    """Return the graph that a configuration asks for.

    Args:
        codes: at least two points, or the index of these.
        config: which graph.
        distance: between the images at the ends of edges, or what these are decoded to, whichever
            the weight is of; ends are rows of `codes`.
        image_index: makes the index of the images that the codes are of; for `agreed` only.
        trim: which edges to leave out before a spanning tree or a repair is added.

    Raises:
        UserError: codes, k or a distance can't be used, or what the configuration needs is absent.
    """
    # Before the search for neighbors, which may take long.
    _check_weight(config.weight, distance)
    kind = KINDS[config.kind]
    index = codes if isinstance(codes, neighbors.Index) else neighbors.Index(codes)
    if len(index.codes) < 2:
        raise UserError("one point has no neighbours", cure="give at least two latent codes")
    if kind.of_images and image_index is None:
        cure = "use graph.kind=knn with graph.repair (--graph=knn --repair), or pass `image_index`"
        cause = f"graph.kind={config.kind} needs the images, but only latent codes are at hand"
        raise UserError(cause, cure=cure)
    images = image_index() if kind.of_images and image_index else None
    near = neighbors.Approximate(index.codes) if config.search == "approximate" else index
    setting = config.setting(len(index.codes))
    built = kind.build(near, setting, images)
    # On a line nothing cuts across.
    curved = kind.of_images and not config.k and index.codes.shape[1] > 1
    if curved and setting > _ALONG_CURVES and _dimension(index) < _CURVE:
        # What falls apart only by that has no gap there.
        built = _join_parts(kind.build(near, _ALONG_CURVES, images), built)
    searched = [some for some in (near, images) if isinstance(some, neighbors.Approximate)]
    recall = min((some.recall for some in searched), default=1.0)
    smallest = kind.connects and not kind.of_images
    description = f"{built.description}{', the smallest that connects' * smallest}"
    description += f", of approximate neighbours with a recall of {recall:.3f}" * bool(searched)
    built = replace(built, description=description, recall=recall)
    built = trim(built) if trim else built
    # By its ends alone an edge past a neighbour is always cheaper than the way by it.
    if kind.of_images and 0 < WEIGHTS[config.weight].piece < math.inf:
        built = _add_shortcuts(built, index)
    if config.spanning_tree:
        tree, note = connectivity.spanning_tree(index), ", and the Euclidean minimum spanning tree"
        built = latent_graph.with_edges(built, *tree, note=note)
    if (config.repair or images) and built.components.any():
        built = _bridge(built, index, images)
    weights = _weigh(*built.edges(), config.weight, distance)
    return latent_graph.reweighed(built, weights, weight=config.weight)


def _bridge(
    graph: LatentGraph, index: neighbors.Index, images: neighbors.Index | None
) -> LatentGraph:
    """Return a graph whose components are joined by the shortest edges between images, or codes.

    Of images, its bridges are those over gaps alone: few neighbours also tear what has none.
    """
    ends, across = connectivity.bridges(images or index, graph.components)
    bridges = "a bridge" if len(ends) == 1 else f"{len(ends)} bridges"
    note = f", its {len(ends) + 1} components joined by {bridges}"
    gaps = np.full(len(ends), fill_value=True)
    if images:
        own = graph.edges()[0]
        steps = (own, _apart(images, own))
        gaps = connectivity.over_gaps((ends, across), steps, graph.components)
        count = f"{gaps.sum()}" if gaps.any() else "none"
        note += f" between the images nearest to one another, {count} over gaps"
    lengths = neighbors.distances(*index.codes[ends.T])
    return latent_graph.with_edges(graph, ends, lengths, note=note, bridges=ends[gaps])


def attach(
    graph: LatentGraph,
    index: neighbors.Index,
    added: Real[np.ndarray, "new latent"],
    distance: Distance | None = None,
) -> LatentGraph:
    """Return a graph over codes with points from outside as further nodes, joined to the nearest.

    No other edge is touched. A point belongs to the component of the code nearest to it; an edge
    from it to another component is a bridge, so that a path can tell where it crosses a gap.
    `distance` is as for `build`, for the nodes of the new graph.
    """
    _check_weight(graph.weight, distance)
    k = min(OUTSIDE_NEIGHBORS, graph.num_nodes)
    near = index.nearest_to(added, k=k)
    tails = np.repeat(graph.num_nodes + np.arange(len(added)), k)
    ends = np.stack([near.indices.ravel(), tails], axis=1)
    weights = _weigh(ends, near.distances.ravel(), graph.weight, distance)
    components = graph.components[near.indices]
    across = ends[(components != components[:, :1]).ravel()]
    note = f", and {len(added)} more joined to their nearest {k}"
    note += ", which bridges its components" * bool(len(across))
    number, bridges = graph.num_nodes + len(added), np.concatenate([graph.bridges, across])
    return latent_graph.with_edges(
        graph, ends, weights, note=note, num_nodes=number, bridges=bridges
    )


def _weigh(ends: Ends, lengths: Lengths, weight: str, distance: Distance | None) -> Lengths:
    kind = WEIGHTS[weight]
    with np.errstate(over="ignore"):  # infinite weights are refused where edges are joined
        return (distance(ends) if kind.needs and distance else lengths) ** kind.exponent


def _check_weight(weight: str, distance: Distance | None) -> None:
    if (needs := WEIGHTS[weight].needs) and distance is None:
        cause = f"graph.weight={weight} needs {needs}, but only latent codes are at hand"
        raise UserError(cause, cure="pass `distance` too, or use graph.weight=latent or density")
