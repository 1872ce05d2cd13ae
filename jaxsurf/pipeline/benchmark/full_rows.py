"""Suite `full`: each stage over 1,036,800 images, as many as MPI3D has, with its peak of memory.

The set is the arm's 1,600 images, each shifted and shaded in 648 ways, in an `.npy` file of 12.7 GB
in the cache, made once and mapped. The model is trained for a minute. There is no baseline.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from jaxsurf.evaluation import pairs
from jaxsurf.images import pixels, storage
from jaxsurf.images.sources import open_images
from jaxsurf.manifold import encode, graph, neighbors, shortest_path
from jaxsurf.manifold.latent_graph import load_graph, save_graph
from jaxsurf.models.autoencoder import inference_batch
from jaxsurf.pipeline import configuration, experiments
from jaxsurf.pipeline.benchmark.model_rows import Training
from jaxsurf.pipeline.benchmark.rows import Contest
from jaxsurf.pipeline.setup import compile_run, make_setup
from jaxsurf.workdir import replacing

SHIFTS, SHADES, SMALL_SHADES = 9, 72, 2
TIMED_STEPS, FURTHER_STEPS, FEW = 10, 15, 2_048


def measure_all(small: bool) -> Iterator[Contest]:
    """Open, train, encode, find neighbours, build the graph, find paths."""

    def contest(
        stage: str, size: str, work: Callable[[], object], warm: Callable[[], object] | None = None
    ) -> Contest:
        return Contest(stage, size, [work], warm=warm or (lambda: None), rounds=1)

    path = storage.cache_folder() / f"benchmark-full{'-small' * small}.npy"
    if not path.exists():
        _write(path, SMALL_SHADES if small else SHADES)
    # An array of images has no factors to choose by.
    place = {"data.source": str(path), "data.free": ""}
    config = configuration.from_dotted({**experiments.ALL_FACTORS, **place})
    images = configuration.open_data(config.data)
    every = f"{len(images):,} images of {images.images.shape[1]} x {images.images.shape[2]}"
    yield contest("open", f"{every}: mapped", lambda: configuration.open_data(config.data))
    yield contest("open", f"{every}: mean image", lambda: pixels.mean(images.images))

    setup = make_setup(config, images)
    training = Training(compile_run(setup), 1 if small else TIMED_STEPS)
    trained = training.num_steps * setup.plan.batch_size
    yield contest("train", f"{trained:,} of {every}", training, warm=training)
    for _ in range(0 if small else FURTHER_STEPS):
        training()
    model = setup.with_weights(training.state)

    found: dict[int, encode.Latents] = {}

    def encode_first(number: int) -> None:
        batch = inference_batch(model)
        found[number] = encode.encode_images(model, images.images[:number], batch_size=batch)

    yield contest(
        "encode", every, lambda: encode_first(len(images)), warm=lambda: encode_first(FEW)
    )
    codes = found[len(images)].codes
    index, few, k = neighbors.Index(codes), neighbors.Index(codes[:FEW]), config.graph.k
    size = f"{len(codes):,} codes, d = {codes.shape[1]}, k = {k}"
    yield contest("knn", size, lambda: index.nearest(k=k), warm=lambda: few.nearest(k=k))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "graph.npz"

        def build() -> None:
            save_graph(file, graph.build(index, config.graph), stamp="full")

        yield contest("graph", f"{size} and spanning tree, neighbours known, written", build)
        ends = [(int(a), int(b)) for a, b in pairs.choose_pairs(len(codes), 10, seed=0)]
        built = load_graph(file, stamp="full")
        yield contest(
            "path",
            f"{size}: a path, graph read from its file",
            lambda: shortest_path.shortest_paths(load_graph(file, stamp="full"), ends[:1]),
        )
        yield contest(
            "path", f"{size}: 10 paths", lambda: shortest_path.shortest_paths(built, ends)
        )


def _write(path: Path, shades: int) -> None:
    arm = open_images("arm", side=64).images
    size = (SHIFTS * shades * len(arm), *arm.shape[1:])
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=size)
        ways = itertools.product(range(SHIFTS), np.linspace(0.4, 1.0, shades))
        for place, (shift, shade) in enumerate(ways):
            moved = np.roll(arm, (shift % 3 - 1, shift // 3 - 1), axis=(1, 2))
            out[place * len(arm) : (place + 1) * len(arm)] = moved * shade
        out.flush()
