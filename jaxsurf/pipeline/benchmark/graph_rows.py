"""Rows of neighbours, graphs, paths and the pipeline from codes to frames.

Points are drawn with fixed seeds; everything starts from bare arrays. All sides use every core.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from jaxsurf.evaluation import metrics
from jaxsurf.evaluation.pairs import choose_pairs
from jaxsurf.frames.decode import Frames, decode_points
from jaxsurf.images import pixels
from jaxsurf.manifold import graph as graphs
from jaxsurf.manifold import neighbors, shortest_path, tour
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.manifold.latent_graph import LatentGraph, from_edges
from jaxsurf.manifold.shortest_path import NodePath
from jaxsurf.models.autoencoder import Autoencoder, ModelConfig
from jaxsurf.pipeline.benchmark.model_rows import MODELS, check_frames, make_random_model
from jaxsurf.pipeline.benchmark.rows import Contest, Work

Codes = Float[np.ndarray, "point latent"]
Shape = Literal["cube", "Swiss roll"]
K, PAIRS, MANY = 10, 20, 1000
NUMBER, SMALL_NUMBER = 1_036_800, 5_000
# 6,000 points of 16 dimensions are just enough for `neighbors` to use products, not a tree.
WIDE, SMALL_WIDE = 50_000, 6_000
POINTS, FRAMES, POINTS_PER_EDGE = 1_600, 55, 3
# The report's: the smallest k that connects, edges by their length.
REPORT_GRAPH = GraphConfig(kind="smallest", weight="latent")


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
    points = draw("cube", SMALL_NUMBER if small else NUMBER)
    ordered = points[KDTree(points).indices]

    # A point is its own nearest to a tree: one more is asked for.
    def by_scipy(rows: Codes) -> Sequence[Work]:
        return [lambda: KDTree(rows).query(rows, k=K + 1, workers=-1)]

    def by_pykdtree() -> Sequence[Work]:
        from pykdtree import kdtree

        return [lambda: kdtree.KDTree(ordered).query(ordered, k=K + 1)]

    yield Contest(
        "knn",
        f"{len(points):,} x 3, k = {K}",
        [lambda: neighbors.Index(points).nearest(k=K)],
        {
            "SciPy KDTree, rows as they come": partial(by_scipy, points),
            "SciPy KDTree, rows sorted before": partial(by_scipy, ordered),
            "pykdtree, rows sorted before": by_pykdtree,
        },
        warm=lambda: neighbors.Index(points[:5000]).nearest(k=K),
    )


def knn_wide(small: bool) -> Iterator[Contest]:
    """Neighbours in many dimensions, found by products on the device, beside exact searches."""
    number = SMALL_WIDE if small else WIDE if jax.default_backend() == "cpu" else NUMBER
    points = np.random.default_rng(0).normal(size=(number, 16))
    rows = points.astype(np.float32)

    def by_faiss() -> Sequence[Work]:
        import faiss

        index = faiss.IndexFlatL2(rows.shape[1])
        index.add(rows)  # pyright: ignore[reportCallIssue]
        parts = np.split(rows, range(8192, number, 8192))
        return [partial(index.search, part, K + 1) for part in parts]

    def by_torch() -> Sequence[Work]:
        import torch

        every = torch.from_numpy(rows).to("cuda" if torch.cuda.is_available() else "cpu")

        def nearest(some: torch.Tensor) -> np.ndarray:
            return torch.cdist(some, every).topk(K + 1, largest=False).indices.cpu().numpy()

        return [partial(nearest, some) for some in every.split(1024)]

    yield Contest(
        "knn",
        f"{number:,} x 16, normal, k = {K}",
        [lambda: neighbors.Index(points).nearest(k=K)],
        {"PyTorch, cdist and topk": by_torch, "faiss, float32, on CPUs": by_faiss},
        limit_s=15.0,
        # As many queries as need products: the same program.
        warm=lambda: neighbors.Index(points).nearest_to(points[:SMALL_WIDE], k=K + 1),
        # A million points may take half of what a case may.
        rounds=1 if number == NUMBER else 3,
    )


def csr(small: bool) -> Iterator[Contest]:
    """A symmetric graph from an array of its edges, beside igraph's constructor."""
    points = draw("cube", SMALL_NUMBER if small else NUMBER)
    config = GraphConfig(kind="knn", k=K, weight="latent")
    ends, lengths = graphs.build(points, config).edges()

    def in_igraph(given: object) -> Sequence[Work]:
        import igraph  # with what it draws by: not before the candidate's memory was read

        return [partial(igraph.Graph, len(points), given)]

    yield Contest(
        "graph",
        f"{len(points):,} x 3, k = {K}, each edge once",
        [partial(from_edges, ends, lengths, num_nodes=len(points))],
        {
            "igraph, from a NumPy array": partial(in_igraph, ends),
            "igraph, from a list": lambda: in_igraph(ends.tolist()),
        },
    )


def paths(shape: Shape, small: bool) -> Iterator[Contest]:
    """Shortest paths among a million points: preparation, single pairs, a thousand in one call."""
    codes = draw(shape, SMALL_NUMBER if small else NUMBER)
    for weight in ("latent", "density"):
        config = GraphConfig(kind="knn", k=K, weight=weight, repair=True)
        size = f"{shape}, {len(codes):,} x 3, k = {K}, {weight} weights"
        yield from _paths_on(graphs.build(codes, config), codes, size)


def _paths_on(graph: LatentGraph, codes: Codes, size: str) -> Iterator[Contest]:
    pairs, fresh = choose_pairs(len(codes), MANY, seed=1).tolist(), []

    def search(pair: Sequence[int], method: Any) -> NodePath:  # noqa: ANN401
        return shortest_path.shortest_paths(graph, [pair], codes=codes, method=method)[0]

    def prepare(method: Any) -> None:  # noqa: ANN401
        # A copy has empty caches; it is kept, since releasing it takes long.
        fresh[:] = [dataclasses.replace(graph)]
        shortest_path.shortest_paths(fresh[0], [(0, 0)], method=method)

    def search_all() -> list[NodePath]:
        return shortest_path.shortest_paths(dataclasses.replace(graph), pairs, codes=codes)

    def check(mine: Sequence[NodePath], theirs: Sequence[Sequence[int]]) -> None:
        for path, nodes in zip(mine, theirs, strict=False):
            length = graph.weights_along(np.asarray(nodes)).sum()
            np.testing.assert_allclose(path.length, length, rtol=1e-6)

    for name, method in (("prepared", "bidirectional"), ("and 16 landmarks made", "landmarks")):
        yield Contest("path", f"{size}: {name}, once", [partial(prepare, method)], rounds=1)
    first, baselines = "bidirectional", {"igraph": partial(_by_igraph, graph, pairs[:PAIRS])}
    if graph.weight == "latent":
        first = "astar"
        baselines["igraph, A*"] = partial(_by_igraph, graph, pairs[:PAIRS], codes)
    for name, method in ((f"first pairs ({first})", first), ("landmarks made", "landmarks")):
        yield Contest(
            "path",
            f"{size}: {name}, median of {PAIRS}",
            [partial(search, pair, method) for pair in pairs[:PAIRS]],
            baselines,
            limit_s=60.0,
            median=True,
            agree=check,
        )
    yield Contest(
        "pairs",
        f"{size}: {len(pairs):,} pairs in one call, all made anew",
        [search_all],
        {"igraph": partial(_by_igraph, graph, pairs)},
        warm=partial(search, pairs[0], "landmarks"),
        agree=lambda mine, theirs: check(mine[0], theirs),
        rounds=1,
    )


def _by_igraph(
    graph: LatentGraph, pairs: Sequence[Sequence[int]], guide: Codes | None = None
) -> Sequence[Work]:
    """Return igraph's searches: A* by the straight line where codes guide it, else Dijkstra's."""
    import igraph

    ends, weights = graph.edges()
    made, given = igraph.Graph(graph.num_nodes, ends.tolist()), weights.tolist()
    if guide is None:
        return [partial(made.get_shortest_path, *pair, weights=given) for pair in pairs]
    points = guide.tolist()

    def straight(_: object, node: int, target: int) -> float:
        return math.dist(points[node], points[target])

    search = made.get_shortest_path_astar
    return [partial(search, *pair, straight, weights=given) for pair in pairs]


def relaxation(small: bool) -> Iterator[Contest]:
    """Lengths from several sources to all nodes: relaxation where JAX computes, beside Dijkstra."""
    codes = draw("cube", SMALL_NUMBER if small else 100_000)
    graph = graphs.build(codes, GraphConfig(kind="knn", k=K, weight="latent"))
    search = partial(shortest_path.distances, graph, list(range(16)))
    yield Contest(
        "path",
        f"16 sources to all of {len(codes):,} nodes, `relaxation`",
        [partial(search, method="relaxation")],
        {"`dijkstra`, compiled, all cores": lambda: [partial(search, method="dijkstra")]},
        agree=lambda mine, theirs: np.testing.assert_allclose(mine[0], theirs[0], rtol=1e-9),
    )


def pipeline(small: bool) -> Iterator[Contest]:
    """Codes to 55 frames, beside the report's way: see `_surf_as_reported`."""
    codes = draw("cube", 400 if small else POINTS, 2)
    ends = [(0, target) for target in range(len(codes))]
    every = shortest_path.shortest_paths(graphs.build(codes, REPORT_GRAPH), ends)
    nodes = min(1 + (FRAMES - 1) // (POINTS_PER_EDGE - 1), max(len(it.nodes) for it in every))
    target = next(int(path.nodes[-1]) for path in every if len(path.nodes) == nodes)

    def surf(model: Autoencoder) -> Frames:
        asked = {"graph": REPORT_GRAPH, "points_per_edge": POINTS_PER_EDGE}
        return decode_points(model, tour.find_paths(codes, [0, target], **asked).points)

    way = "the report's way: distance matrix, networkx, a frame at a time"
    for name, channels in MODELS.items():
        model = make_random_model(ModelConfig(name=name, channels=channels))
        yield Contest(
            "pipeline",
            f"{len(codes):,} codes to {FRAMES} frames of 64 x 64, `{name}`",
            [partial(surf, model)],
            {way: lambda model=model: [partial(_surf_as_reported, model, codes, target)]},
            agree=check_frames,
            rounds=10,  # a time so short is seldom undisturbed
        )


def _surf_as_reported(model: Autoencoder, codes: Codes, target: int) -> Frames:
    """Return frames as Yadlin & Botchan describe it in "Data Interpolation in Latent Space".

    All distances, a k-NN graph in networkx that is built again with the next k until it is
    connected, Dijkstra's algorithm, and the model called on one point after another, uncompiled.
    """
    import networkx

    lengths, k, graph = cdist(codes, codes), 0, networkx.empty_graph(len(codes))
    ranked = np.argsort(lengths)
    while not networkx.is_connected(graph):
        k += 1
        graph = networkx.empty_graph(len(codes))
        for node, others in enumerate(ranked[:, 1 : k + 1].tolist()):
            graph.add_weighted_edges_from((node, other, lengths[node, other]) for other in others)
    corners = codes[networkx.dijkstra_path(graph, 0, target)]
    points = list(corners[:1])
    for tail, head in itertools.pairwise(corners):
        points += [tail + s * (head - tail) for s in np.linspace(0, 1, POINTS_PER_EDGE)[1:]]
    frames = [model.decode(jnp.asarray(point[None], jnp.float32))[0] for point in points]
    return np.stack([np.asarray(pixels.to_uint8(frame)) for frame in frames])


def nearest_images(small: bool) -> Iterator[Contest]:
    """How far frames are from the nearest of all images, beside the formula written out."""
    rng, side = np.random.default_rng(0), 32 if small else 64
    frames = rng.integers(256, size=(FRAMES, side, side, 3), dtype=np.uint8)
    images = rng.integers(256, size=(POINTS, side, side, 3), dtype=np.uint8)
    values = images.astype(np.float32)

    def nearest(frame: np.ndarray) -> np.floating:
        return np.square(values - frame).mean(axis=(1, 2, 3)).min()

    yield Contest(
        "interpolation_mse",
        f"{len(frames)} frames, {len(images):,} images of {side} x {side}",
        [lambda: metrics.nearest_images(frames, images).mse],
        {"NumPy, a frame at a time": lambda: [partial(nearest, it) for it in frames]},
        agree=lambda mine, theirs: np.testing.assert_allclose(
            mine[0][: len(theirs)], theirs, rtol=1e-5
        ),
    )
