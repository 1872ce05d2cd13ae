"""What the rows of suite `full` start from, kept in a folder so that each can be measured alone.

The generated set of MPI3D's size, a model trained on it for a little, its codes and its graph. Set
and model are made by whoever asks first, in a process of its own, so that making them is in
nobody's memory; codes and graph are what the rows before left there. The folder is `benchmark-full`
in the cache (`jaxsurf.images.storage.cache_folder`), and takes 13 GB.
"""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float

from jaxsurf.errors import UserError
from jaxsurf.images import storage
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import encode
from jaxsurf.manifold.edges import saved
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.models.autoencoder import Autoencoder, make_autoencoder
from jaxsurf.pipeline import configuration, experiments
from jaxsurf.pipeline.benchmark import stand_in
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.setup import TrainSetup, compile_run, make_setup
from jaxsurf.workdir import read_arrays, write_arrays

# The model whose codes are measured has seen so many images: enough for its codes to follow the
# factors, a minute of two cores.
TRAINED_IMAGES, TRAINED_BATCH = 12_800, 64
# Of caches that this folder alone holds.
STAMP = "suite full"


class Training:
    """Goes on for some images each time it is called, without logs and checkpoints.

    Attributes:
        state: reached so far.
    """

    def __init__(self, parts: TrainSetup) -> None:
        """Take the parts of a run."""
        made = compile_run(parts)
        self.state, self.step = made.state, 0
        self.plan, self.advance, self.fed = made.plan, made.step_fn, made.make_feed()

    def __call__(self, num_images: int) -> None:
        """Train on at least so many images, and wait for it."""
        first = self.step
        while (self.step - first) * self.plan.batch_size < num_images:
            epoch, batch, steps = self.plan.call_at(self.step)
            portion = self.fed(epoch, batch, steps)
            self.state, _ = self.advance(self.state, *portion, num_steps=steps)
            self.step += steps
        jax.block_until_ready(self.state)


def folder() -> Path:
    """Return where everything is kept."""
    return storage.cache_folder() / "benchmark-full"


def make_config(**changes: object) -> RunConfig:
    """Return the configuration of `configs/mpi3d_full.py` on the generated set.

    Args:
        **changes: other settings by name, `__` for the dot.
    """
    named = {name.replace("__", "."): value for name, value in changes.items()}
    place = {"data.path": str(_archive())}
    return configuration.from_dotted({**experiments.ALL_FACTORS, **place, **named})


def open_set() -> ImageSet:
    """Return the generated set, mapped."""
    _ensure(_archive(), "make_set")
    return configuration.open_data(make_config().data)


def open_model() -> Autoencoder:
    """Return the model that was trained for a little."""
    _ensure(_weights(), "make_model")
    shape = open_set().images.shape[1:]
    grey = np.zeros(shape, np.float32)
    model = make_autoencoder(make_config().model, mean_image=grey, key=jax.random.key(0))
    leaves, structure = jax.tree.flatten(nnx.state(model))
    arrays = read_arrays(_weights())
    nnx.update(model, jax.tree.unflatten(structure, [arrays[f"{i}"] for i in range(len(leaves))]))
    return model


def save_codes(latents: encode.Latents) -> None:
    """Keep the codes for the rows that follow."""
    encode.save_latents(folder() / "latents.npz", latents, stamp=STAMP)


def open_codes() -> Float[np.ndarray, "point latent"]:
    """Return the codes of all images.

    Raises:
        UserError: they were not measured yet.
    """
    return encode.load_latents(_made("latents.npz", by="encode"), stamp=STAMP).codes


def save_graph(graph: LatentGraph) -> None:
    """Keep the graph for the rows that follow."""
    saved.save_graph(folder() / "graph.npz", graph, stamp=STAMP)


def open_graph() -> LatentGraph:
    """Return the graph over all images.

    Raises:
        UserError: it was not measured yet.
    """
    return saved.load_graph(_made("graph.npz", by="graph"), stamp=STAMP)


def make_set() -> None:
    """Make the generated set."""
    stand_in.write(_archive())


def make_model() -> None:
    """Train the model for a little."""
    config = make_config(training__batch_size=TRAINED_BATCH, training__num_epochs=1)
    parts = make_setup(config, open_set())
    training = Training(parts)
    training(TRAINED_IMAGES)
    leaves = jax.tree.leaves(nnx.state(parts.with_weights(training.state)))
    write_arrays(_weights(), **{str(i): np.asarray(leaf) for i, leaf in enumerate(leaves)})


def _archive() -> Path:
    return folder() / "mpi3d_toy.npz"


def _weights() -> Path:
    return folder() / "weights.npz"


def _made(name: str, *, by: str) -> Path:
    path = folder() / name
    if not path.exists():
        raise UserError(f"there is no {path}: the row `{by}` makes it, and has not")
    return path


def _ensure(path: Path, make: str) -> None:
    """Have a file made in another process where it isn't there.

    Raises:
        UserError: it can't be made.
    """
    if path.exists():
        return
    code = f"from {__name__} import {make}; {make}()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{path} cannot be made ({last})")
