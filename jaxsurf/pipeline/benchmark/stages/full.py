"""Encode -> neighbours -> graph -> path over 1,036,800 images, and what comes before.

The set is a generated one of MPI3D's size (`full_set`), the settings are those of
`configs/mpi3d_full.py`. There is no peer. Each row does all of its work once; what it compiles, it
compiles on a little of it beforehand. Codes and graph are written to files, as the pipeline does,
and the next row begins with those.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxsurf import workdir
from jaxsurf.evaluation import pairs
from jaxsurf.images import pixels, storage
from jaxsurf.manifold import encode, graph, neighbors
from jaxsurf.manifold.encode import Latents
from jaxsurf.manifold.shortest_path import shortest_paths
from jaxsurf.models.autoencoder import inference_batch
from jaxsurf.pipeline.benchmark import full_set
from jaxsurf.pipeline.benchmark.rows import Case, Contest, Where
from jaxsurf.pipeline.benchmark.stages.train import Training
from jaxsurf.pipeline.setup import compile_run, make_setup
from jaxsurf.training import distributed

ALL = "1,036,800 images of 64 x 64"
CODES = "1,036,800 codes, d = 8"
# Images that training is timed with: a quarter of a minute of either machine, or less.
CPU_IMAGES, ACCELERATOR_IMAGES = 5_120, 256_000
# Of what is compiled beforehand.
FEW_IMAGES, FEW_CODES = 2_048, 5_000
NUM_PATHS = 10


def open_map() -> Contest:
    """Return the opening of the set."""
    full_set.open_set()
    return Contest(ours=full_set.open_set)


def read_through(summarise: Callable[[Any], object]) -> Contest:
    """Return a pass through all pixels.

    Args:
        summarise: makes one.
    """
    images = full_set.open_set().images
    return Contest(
        warm=lambda: summarise(images[:FEW_IMAGES]), ours=lambda: summarise(images), rounds=1
    )


def send() -> Contest:
    """Return the way of all images to the devices."""
    images = full_set.open_set().images
    replicated = distributed.make_shardings(1, num_devices=1).replicated

    def put(rows: np.ndarray) -> None:
        jax.block_until_ready(distributed.put(rows, replicated))

    return Contest(warm=lambda: put(images[:FEW_IMAGES]), ours=lambda: put(images), rounds=1)


def train(num_images: int) -> Contest:
    """Return training for so many images.

    Args:
        num_images: at least so many.
    """
    parts = make_setup(full_set.make_config(), full_set.open_set())
    # Whole calls: one cut short would be another program, compiled while it is timed.
    call = parts.plan.steps_per_call
    steps = call * math.ceil(num_images / (call * parts.plan.batch_size))
    return Contest(ours=Training(compile_run(parts), num_steps=steps), rounds=1)


def encode_all() -> Contest:
    """Return the encoding of all images."""
    images, model = full_set.open_set().images, full_set.open_model()

    def encoded(number: int) -> Latents:
        return encode.encode_images(model, images[:number], batch_size=inference_batch(model))

    return Contest(
        warm=lambda: encoded(FEW_IMAGES),
        ours=lambda: full_set.save_codes(encoded(len(images))),
        rounds=1,
    )


def find_neighbours() -> Contest:
    """Return the search for the neighbours of all codes."""
    codes, k = full_set.open_codes(), full_set.make_config().graph.k
    return Contest(
        warm=lambda: neighbors.Index(codes[:FEW_CODES]).nearest(k=k),
        ours=lambda: neighbors.Index(codes).nearest(k=k),
        rounds=1,
    )


def build_graph() -> Contest:
    """Return the making of the graph, its neighbours found already."""
    config = full_set.make_config().graph
    index = neighbors.Index(full_set.open_codes())
    index.nearest(k=config.k)
    few = index.codes[:FEW_CODES]
    return Contest(
        warm=lambda: graph.build(few, config),
        ours=lambda: full_set.save_graph(graph.build(index, config)),
        rounds=1,
    )


def find_paths(num_paths: int) -> Contest:
    """Return the search for paths between random ends.

    Args:
        num_paths: how many; a single one in a graph that was just read, as surfing does it.
    """
    built = full_set.open_graph()
    chosen = pairs.choose_pairs(built.num_nodes, num_paths, seed=0)
    ends = [(int(source), int(target)) for source, target in chosen]
    if num_paths == 1:
        return Contest(ours=lambda: shortest_paths(full_set.open_graph(), ends), rounds=1)
    return Contest(ours=lambda: shortest_paths(built, ends), rounds=1)


def _case(stage: str, size: str, prepare: Callable[[], Contest], where: Where = "anywhere") -> Case:
    return Case(stage=stage, size=size, prepare=prepare, where=where)


CASES = [
    _case("open", f"{ALL}: mapped", open_map),
    _case(
        "open",
        f"{ALL}: fingerprint",
        partial(read_through, partial(workdir.fingerprint, read=storage.chunks)),
    ),
    _case("open", f"{ALL}: mean image", partial(read_through, pixels.mean)),
    _case("train", f"{ALL}: sent to the device", send, "accelerator"),
    _case("train", f"{CPU_IMAGES:,} of {ALL}, batch 512", partial(train, CPU_IMAGES), "cpu"),
    _case(
        "train",
        f"{ACCELERATOR_IMAGES:,} of {ALL}, batch 512",
        partial(train, ACCELERATOR_IMAGES),
        "accelerator",
    ),
    _case("encode", ALL, encode_all),
    _case("knn", f"{CODES}, k = 10, of a trained model", find_neighbours),
    _case("graph", f"{CODES}, k = 10 and spanning tree, neighbours known", build_graph),
    _case("path", f"{CODES}: a path, graph read from its file", partial(find_paths, 1)),
    _case("path", f"{CODES}: {NUM_PATHS} paths", partial(find_paths, NUM_PATHS)),
]
