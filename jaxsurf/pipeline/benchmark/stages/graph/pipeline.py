"""The whole pipeline after encoding: 1,600 codes in, 55 frames out, beside the report's way.

Both begin with the bare codes and end with uint8 frames: neighbours, the graph of the smallest k
that connects, a shortest path, three points an edge, decoding. Weights of the model are random.
All that is compiled is loaded beforehand. Either side runs the same pipeline a few times on end,
and its median counts: at first, caches hold what the other side left there.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Float

from jaxsurf.frames import decode
from jaxsurf.frames.decode import Frames
from jaxsurf.manifold import graph, shortest_path
from jaxsurf.manifold import path as paths
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.models.autoencoder import Autoencoder, ModelConfig
from jaxsurf.pipeline.benchmark import former
from jaxsurf.pipeline.benchmark.rows import MEDIAN, Case, Contest, Parts
from jaxsurf.pipeline.benchmark.stages.decode import check_alike, make_model
from jaxsurf.pipeline.benchmark.stages.graph import clouds

FRAMES, POINTS_PER_EDGE, SIDE = 55, 3, 64
CALLS = 3
MODELS = (ModelConfig(name="smooth"), ModelConfig(name="reference", channels=64))
# The report's edges weigh their lengths.
GRAPH = GraphConfig(kind="smallest", weight="latent")

Codes = Float[np.ndarray, "point latent"]
# Nodes on the way, and what is seen there.
Seen = tuple[Sequence[int], Frames]


def make_contest(config: ModelConfig, make_builder: former.MakeBuilder) -> Contest:
    """Return the contest of a model.

    Args:
        config: of the model.
        make_builder: how the report's graphs are built.
    """
    codes = clouds.SMALL[0].points()
    model = make_model(config, side=SIDE)
    ends = find_ends(codes)
    ours = partial(surf, model, codes, *ends)
    theirs = partial(surf_formerly, make_builder, model, codes, *ends)
    return Contest(
        ours=Parts(parts=[ours] * CALLS),
        make_peer=lambda: Parts(parts=[theirs] * CALLS),
        limit_s=8,
        agree=_agree,
    )


def find_ends(codes: Codes) -> tuple[int, int]:
    """Return the first node, and the first to which the way has as many frames as it should."""
    built = graph.build(codes, GRAPH)
    nodes = 1 + (FRAMES - 1) // (POINTS_PER_EDGE - 1)
    every = shortest_path.shortest_paths(built, [(0, target) for target in range(len(codes))])
    return 0, next(int(path.nodes[-1]) for path in every if len(path.nodes) == nodes)


def surf(model: Autoencoder, codes: Codes, source: int, target: int) -> Seen:
    """Return nodes and frames, as jaxsurf finds them."""
    found = shortest_path.shortest_path(graph.build(codes, GRAPH), source, target)
    way = paths.per_edge(codes[found.nodes], points_per_edge=POINTS_PER_EDGE)
    return found.nodes.tolist(), decode.decode_points(model, way.points)


def surf_formerly(
    make_builder: former.MakeBuilder, model: Autoencoder, codes: Codes, source: int, target: int
) -> Seen:
    """Return nodes and frames, as the report found them."""
    built, _ = former.smallest_connected(make_builder(codes))
    nodes = former.shortest_path(built, source, target)
    points = former.between(codes, nodes, points_per_edge=POINTS_PER_EDGE)
    return nodes, former.decode(model, points)


def _agree(ours: Sequence[Seen], theirs: Sequence[Seen]) -> None:
    (mine, frames), (its, formerly) = ours[0], theirs[0]
    if mine != its:
        raise ValueError(f"the way is {mine}, but by the peer {its}")
    check_alike(frames, formerly)


CASES = [
    Case(
        stage="pipeline",
        size=f"1,600 codes to {FRAMES} frames of {SIDE} x {SIDE}, `{config.name}`, "
        f"C = {config.channels}",
        prepare=partial(make_contest, config, make_builder),
        peer=f"the report's way, {how}",
        needs=("networkx",),
        figures=(MEDIAN,),
    )
    for config in MODELS
    for how, make_builder in (("with NumPy", former.with_numpy), ("in Python", former.in_python))
]
