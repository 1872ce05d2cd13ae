"""Rows of neighbours, graphs, paths and the pipeline from codes to frames.

Points are drawn with fixed seeds; everything starts from bare arrays. All sides use every core.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxsurf.evaluation import metrics
from jaxsurf.frames.decode import Frames, decode_points
from jaxsurf.images import pixels
from jaxsurf.manifold import graph as graphs
from jaxsurf.manifold import neighbors, shortest_path
from jaxsurf.manifold import path as latent_path
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.manifold.latent_graph import LatentGraph, from_edges
from jaxsurf.manifold.shortest_path import Method, NodePath
from jaxsurf.models.autoencoder import Autoencoder, ModelConfig
from jaxsurf.pipeline.benchmark.model_rows import MODELS, check_frames, make_random_model
from jaxsurf.pipeline.benchmark.rows import Baseline, Contest, Work

Codes = Float[np.ndarray, "point latent"]
Shape = Literal["cube", "Swiss roll"]
K, PAIRS, MANY = 10, 20, 1000
NUMBER, SMALL_NUMBER = 1_036_800, 20_000


def draw(shape: Shape, number: int, dimensions: int = 3) -> Codes:
    """Draw points evenly over a unit cube, or over one and a half turns of a Swiss roll."""
    drawn = np.random.default_rng(0).random((number, dimensions))
    if shape == "cube":
        return drawn
    # The spiral r = t: its length up to t is nearly t^2 / 2.
    first, last = 1.5 * np.pi, 4.5 * np.pi
    turn = np.sqrt(first**2 + (last**2 - first**2) * drawn[:, 0])
    return np.stack([turn * np.cos(turn), 21 * drawn[:, 1], turn * np.sin(turn)], axis=1)


def knn(small: bool) -> Iterator[Contest]:
    """Neighbours of a million points, beside k-d trees on rows as they come and sorted."""
    from scipy.spatial import KDTree

    points = draw("cube", SMALL_NUMBER if small else NUMBER)
    ordered = points[KDTree(points).indices]

    # A point is its own nearest to a tree: one more is asked for.
    def by_scipy(rows: Codes) -> object:
        return KDTree(rows).query(rows, k=K + 1, workers=-1)

    def by_pykdtree() -> object:
        from pykdtree.kdtree import KDTree as Tree

        return Tree(ordered).query(ordered, k=K + 1)

    yield Contest(
        "knn",
        f"{len(points):,} x 3, k = {K}",
        [lambda: neighbors.Index(points).nearest(k=K)],
        [
            Baseline("SciPy KDTree, rows as they come", lambda: [partial(by_scipy, points)]),
            Baseline("SciPy KDTree, rows sorted before", lambda: [partial(by_scipy, ordered)]),
            Baseline("pykdtree, rows sorted before", lambda: [by_pykdtree], "pykdtree"),
        ],
        warm=lambda: neighbors.Index(points[:5000]).nearest(k=K),
    )


def knn_wide(small: bool) -> Iterator[Contest]:
    """Neighbours in many dimensions, beside exact search by faiss and scikit-learn."""
    for dimensions in (16, 64):
        yield _knn_wide(2_000 if small else 50_000, dimensions)


def _knn_wide(number: int, dimensions: int) -> Contest:
    points = np.random.default_rng(0).normal(size=(number, dimensions))

    def by_faiss() -> object:
        import faiss

        index, rows = faiss.IndexFlatL2(dimensions), points.astype(np.float32)
        index.add(rows)  # pyright: ignore[reportCallIssue]
        return index.search(rows, K + 1)  # pyright: ignore[reportCallIssue]

    def by_sklearn() -> object:
        from sklearn.neighbors import NearestNeighbors

        return NearestNeighbors(n_neighbors=K, n_jobs=-1).fit(points).kneighbors()

    return Contest(
        "knn",
        f"{number:,} x {dimensions}, normal, k = {K}",
        [lambda: neighbors.Index(points).nearest(k=K)],
        [
            Baseline("faiss, float32", lambda: [by_faiss], "faiss"),
            Baseline("scikit-learn", lambda: [by_sklearn], "sklearn"),
        ],
    )


def csr(small: bool) -> Iterator[Contest]:
    """A symmetric graph from an array of its edges, beside igraph's constructor."""
    points = draw("cube", SMALL_NUMBER if small else NUMBER)
    found = neighbors.Index(points).nearest(k=K)
    listed = np.stack([np.repeat(np.arange(len(points)), K), found.indices.ravel()], axis=1)
    twice = listed, found.distances.ravel()
    once = from_edges(*twice, num_nodes=len(points)).edges()
    for name, (ends, lengths) in {"each edge once": once, "ten a point": twice}.items():

        def in_igraph(given: object) -> Sequence[Work]:
            import igraph

            return [partial(igraph.Graph, len(points), given)]

        yield Contest(
            "graph",
            f"{len(points):,} x 3, k = {K}, {name}",
            [partial(from_edges, ends, lengths, num_nodes=len(points))],
            [
                Baseline("igraph, from a NumPy array", partial(in_igraph, ends), "igraph"),
                Baseline(
                    "igraph, from a list", lambda ends=ends: in_igraph(ends.tolist()), "igraph"
                ),
            ],
        )


def paths(shape: Shape, small: bool) -> Iterator[Contest]:
    """Shortest paths among a million points: preparation, single pairs, a thousand in one call."""
    codes = draw(shape, SMALL_NUMBER if small else NUMBER)
    for weight in ("latent", "density"):
        graph = graphs.build(codes, GraphConfig(kind="knn", k=K, weight=weight))
        size = f"{shape}, {len(codes):,} x 3, k = {K}, {weight} weights"
        yield from _paths_on(graph, codes, size)


def _paths_on(graph: LatentGraph, codes: Codes, size: str) -> Iterator[Contest]:
    pairs, fresh = _pairs(graph), [graph]

    def search(pair: Sequence[int], method: Method) -> NodePath:
        return shortest_path.shortest_path(graph, *pair, codes=codes, method=method)

    def prepare(method: Method) -> NodePath:
        # A copy with empty caches; it is kept, since releasing it takes long.
        fresh[:] = [dataclasses.replace(graph)]
        return shortest_path.shortest_path(fresh[0], 0, 0, method=method)

    def search_all() -> list[NodePath]:
        return shortest_path.shortest_paths(dataclasses.replace(graph), pairs, codes=codes)

    def check(mine: Sequence[NodePath], theirs: Sequence[Sequence[int]]) -> None:
        for path, nodes in zip(mine, theirs, strict=False):
            length = graph.weights_along(np.asarray(nodes)).sum()
            np.testing.assert_allclose(path.length, length, rtol=1e-6)

    some = pairs[:PAIRS]
    baseline = Baseline("igraph", partial(_by_igraph, graph, some), "igraph", limit_s=60.0)
    baselines = [baseline]
    if graph.weight == "latent":
        guided = partial(_by_igraph, graph, some, codes)
        baselines.append(Baseline("igraph, A*", guided, "igraph", limit_s=60.0))
    prepared: dict[str, Method] = {
        "prepared": "bidirectional",
        "and 16 landmarks made": "landmarks",
    }
    for name, method in prepared.items():
        yield Contest("path", f"{size}: {name}, once", [partial(prepare, method)], rounds=1)
    first: Method = "astar" if graph.weight == "latent" else "bidirectional"
    searched: dict[str, Method] = {f"first pairs ({first})": first, "landmarks made": "landmarks"}
    for name, method in searched.items():
        yield Contest(
            "path",
            f"{size}: {name}, median of {PAIRS}",
            [partial(search, pair, method) for pair in some],
            baselines,
            median=True,
            agree=check,
        )
    yield Contest(
        "pairs",
        f"{size}: {len(pairs):,} pairs in one call, all made anew",
        [search_all],
        [dataclasses.replace(baseline, number=len(pairs))],
        warm=partial(search, pairs[0], "landmarks"),
        agree=lambda mine, theirs: check(mine[0], theirs),
        rounds=1,
    )


def _by_igraph(
    graph: LatentGraph, pairs: Sequence[tuple[int, int]], codes: Codes | None = None
) -> Sequence[Work]:
    """Return igraph's searches: A* by the straight line where codes are given, else Dijkstra's."""
    import igraph

    ends, weights = graph.edges()
    made, given = igraph.Graph(graph.num_nodes, ends.tolist()), weights.tolist()
    if codes is None:
        return [partial(made.get_shortest_path, *pair, weights=given) for pair in pairs]
    points = codes.tolist()

    def straight(_: object, node: int, target: int) -> float:
        return math.dist(points[node], points[target])

    search = made.get_shortest_path_astar
    return [partial(search, *pair, straight, weights=given) for pair in pairs]


def relaxation(small: bool) -> Iterator[Contest]:
    """Lengths from several sources to all nodes: relaxation where JAX computes, beside Dijkstra."""
    codes = draw("cube", 5_000 if small else 100_000)
    graph = graphs.build(codes, GraphConfig(kind="knn", k=K, weight="latent"))
    search = partial(shortest_path.distances, graph, list(range(16)))
    yield Contest(
        "path",
        f"16 sources to all of {len(codes):,} nodes, `relaxation`",
        [partial(search, method="relaxation")],
        [Baseline("`dijkstra`, compiled, all cores", lambda: [partial(search, method="dijkstra")])],
        agree=lambda mine, theirs: np.testing.assert_allclose(mine[0], theirs[0], rtol=1e-9),
    )


def _pairs(graph: LatentGraph) -> list[tuple[int, int]]:
    """Return random pairs of different nodes, all in the largest component."""
    nodes = np.flatnonzero(graph.components == np.bincount(graph.components).argmax())
    rng = np.random.default_rng(1)
    drawn = [rng.choice(nodes, 2, replace=False).tolist() for _ in range(MANY)]
    return [(source, target) for source, target in drawn]


POINTS, FRAMES, POINTS_PER_EDGE = 1_600, 55, 3
# The report's: the smallest k that connects, edges by their length.
REPORT_GRAPH = GraphConfig(kind="smallest", weight="latent")


def pipeline(small: bool) -> Iterator[Contest]:
    """Codes to 55 frames, beside the report's way: see `surf_as_reported`."""
    codes = draw("cube", 400 if small else POINTS, 2)
    graph = graphs.build(codes, REPORT_GRAPH)
    nodes = 1 + (FRAMES - 1) // (POINTS_PER_EDGE - 1)
    every = shortest_path.shortest_paths(graph, [(0, target) for target in range(len(codes))])
    longest = max(len(path.nodes) for path in every)
    target = next(int(p.nodes[-1]) for p in every if len(p.nodes) == min(nodes, longest))
    for name in MODELS:
        model = make_random_model(ModelConfig(name=name, channels=MODELS[name]))
        reported = partial(surf_as_reported, model, codes, target)
        way = "the report's way: distance matrix, networkx, a frame at a time"
        yield Contest(
            "pipeline",
            f"{len(codes):,} codes to {FRAMES} frames of 64 x 64, `{name}`",
            [partial(surf, model, codes, target)] * 3,
            [Baseline(way, lambda work=reported: [work] * 3, "networkx")],
            median=True,
            agree=_check_surfs,
        )


def surf(model: Autoencoder, codes: Codes, target: int) -> tuple[Int[np.ndarray, "step"], Frames]:
    """Return the nodes from point 0 to a target and the frames along the path."""
    found = shortest_path.shortest_path(graphs.build(codes, REPORT_GRAPH), 0, target)
    path = latent_path.per_edge(codes[found.nodes], points_per_edge=POINTS_PER_EDGE)
    return found.nodes, decode_points(model, path.points)


def surf_as_reported(model: Autoencoder, codes: Codes, target: int) -> tuple[list[int], Frames]:
    """Return the same as Yadlin & Botchan describe it in "Data Interpolation in Latent Space".

    All distances, a k-NN graph in networkx that is built again with the next k until it is
    connected, Dijkstra's algorithm, and the model called on one point after another, uncompiled.
    """
    import networkx
    from scipy.spatial.distance import cdist

    lengths, k, graph = cdist(codes, codes), 0, networkx.empty_graph(len(codes))
    ranked = np.argsort(lengths)
    while not networkx.is_connected(graph):
        k += 1
        graph = networkx.empty_graph(len(codes))
        for node, others in enumerate(ranked[:, 1 : k + 1].tolist()):
            graph.add_weighted_edges_from((node, other, lengths[node, other]) for other in others)
    nodes = networkx.dijkstra_path(graph, 0, target)
    points = [codes[nodes[0]]]
    for tail, head in itertools.pairwise(nodes):
        shares = np.linspace(0, 1, POINTS_PER_EDGE)[1:]
        points += [codes[tail] + share * (codes[head] - codes[tail]) for share in shares]
    frames = [model.decode(jnp.asarray(point[None], jnp.float32))[0] for point in points]
    return nodes, np.stack([np.asarray(pixels.to_uint8(frame)) for frame in frames])


def _check_surfs(mine: Sequence[Any], theirs: Sequence[Any]) -> None:
    if mine[0][0].tolist() != theirs[0][0]:
        raise ValueError("the paths differ")
    check_frames(mine[0][1], theirs[0][1])


def nearest_images(small: bool) -> Iterator[Contest]:
    """How far frames are from the nearest of all images, beside the formula written out."""
    rng, side = np.random.default_rng(0), 32 if small else 64
    frames, images = (
        rng.integers(256, size=(number, side, side, 3), dtype=np.uint8) for number in (55, POINTS)
    )

    def written_out() -> Sequence[Work]:
        values = images.astype(np.float32)
        return [
            lambda frame=frame: np.square(values - frame).mean(axis=(1, 2, 3)).min()
            for frame in frames
        ]

    def check(mine: Sequence[np.ndarray], theirs: Sequence[Any]) -> None:
        np.testing.assert_allclose(mine[0][: len(theirs)], theirs, rtol=1e-5)

    yield Contest(
        "interpolation_mse",
        f"{len(frames)} frames, {len(images):,} images of {side} x {side}",
        [lambda: metrics.interpolation_mse(frames, images)],
        [Baseline("NumPy, a frame at a time", written_out)],
        agree=check,
    )
