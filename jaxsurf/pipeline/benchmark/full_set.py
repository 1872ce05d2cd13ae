"""A generated set of MPI3D's exact format and size, and what the rows of suite `full` make of it.

    python -m jaxsurf.pipeline.benchmark.full_set FILE.npz

writes the set, where the real one is not at hand: one image for every combination of the seven
factors, all of them visible. Two limbs turn about a shoulder and an elbow, an object of one of six
shapes, six colours and two sizes hangs at their end, before one of three grounds, seen from one of
three heights. Flat figures with soft edges: a minute of work, where the arm's renderer would take
an hour. The same on every call.

So that each row can be measured alone, folder `benchmark-full` in the cache
(`jaxsurf.images.storage.cache_folder`) keeps what they start from, 13 GB. Set and model are made by
whoever asks first, in a process of its own, so that making them is in nobody's memory; codes and
graph are what the rows before left there.
"""

import itertools
import math
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, Int, UInt8

from jaxsurf.errors import UserError
from jaxsurf.images import storage
from jaxsurf.images.image_set import MPI3D, ImageSet
from jaxsurf.manifold import encode, latent_graph
from jaxsurf.manifold.latent_graph import LatentGraph
from jaxsurf.models.autoencoder import Autoencoder, make_autoencoder
from jaxsurf.pipeline import configuration, experiments
from jaxsurf.pipeline.benchmark.stages.train import Training
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.setup import compile_run, make_setup
from jaxsurf.workdir import read_arrays, replacing, write_arrays

# The model whose codes are measured has seen so many images: enough for its codes to follow the
# factors, a minute of two cores.
TRAINED_IMAGES, TRAINED_BATCH = 12_800, 64
# Of caches that this folder alone holds.
STAMP = "suite full"

COLOURS = (
    (235, 235, 230),
    (60, 170, 70),
    (200, 50, 45),
    (50, 80, 190),
    (125, 80, 45),
    (130, 130, 40),
)
GROUNDS = ((70, 50, 110), (60, 140, 120), (220, 130, 110))
LIMB = (25, 25, 30)
# Of the half-width of the picture.
RADII = (0.13, 0.2)
UPPER, LOWER, LIMB_RADIUS = 0.5, 0.4, 0.05
SHOULDER = (0.0, 0.55)
# Both joints' sweep to either side, in radians; how much each height of the camera flattens what
# it sees, and by how much that moves up or down.
SHOULDER_SWEEP, ELBOW_SWEEP = 1.3, 2.0
CAMERAS = ((0.75, 0.1), (1.0, 0.0), (0.85, -0.15))
# Shapes as half-planes (outward normal x, y; distance from the middle), y downwards; none: a disk.
SLANT = 0.8944, -0.4472
SHAPES = (
    ((SLANT[0], SLANT[1], 0.45), (-SLANT[0], SLANT[1], 0.45), (0.0, 1.0, 0.8)),
    ((1.0, 0.0, 0.8), (-1.0, 0.0, 0.8), (0.0, 1.0, 0.8), (0.0, -1.0, 0.8)),
    ((1.0, 0.0, 0.5), (-1.0, 0.0, 0.5), (0.0, 1.0, 1.0), (0.0, -1.0, 1.0)),
    tuple((np.cos(a), np.sin(a), 0.85) for a in np.arange(6) * np.pi / 3),
    ((0.7071, -0.7071, 0.5), (-0.7071, -0.7071, 0.5), (0.0, 1.0, 0.4)),
    (),
)

Images = UInt8[np.ndarray, "image height width 3"]
Distances = Float[np.ndarray, "pose row column"]
Place = tuple[Float[np.ndarray, "pose 1 1"], Float[np.ndarray, "pose 1 1"]]


def folder() -> Path:
    """Return where everything is kept."""
    return storage.cache_folder() / "benchmark-full"


def make_config(**changes: object) -> RunConfig:
    """Return the configuration of `configs/mpi3d_full.py` on the generated set, with changes."""
    place = {"data.path": str(folder() / "mpi3d_toy.npz")}
    return configuration.from_dotted({**experiments.ALL_FACTORS, **place, **changes})


def open_set() -> ImageSet:
    """Return the generated set, mapped."""
    _ensure(folder() / "mpi3d_toy.npz", "make_set")
    return configuration.open_data(make_config().data)


def open_model() -> Autoencoder:
    """Return the model that was trained for a little."""
    path = folder() / "weights.npz"
    _ensure(path, "make_model")
    grey = np.zeros(open_set().images.shape[1:], np.float32)
    model = make_autoencoder(make_config().model, mean_image=grey, key=jax.random.key(0))
    leaves, structure = jax.tree.flatten(nnx.state(model))
    arrays = read_arrays(path)
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
    latent_graph.save_graph(folder() / "graph.npz", graph, stamp=STAMP)


def open_graph() -> LatentGraph:
    """Return the graph over all images.

    Raises:
        UserError: it was not measured yet.
    """
    return latent_graph.load_graph(_made("graph.npz", by="graph"), stamp=STAMP)


def make_set() -> None:
    """Make the generated set."""
    write(folder() / "mpi3d_toy.npz")


def make_model() -> None:
    """Train the model for a little."""
    config = make_config(**{"training.batch_size": TRAINED_BATCH, "training.num_epochs": 1})
    parts = make_setup(config, open_set())
    steps = math.ceil(TRAINED_IMAGES / parts.plan.batch_size)
    training = Training(compile_run(parts), num_steps=steps)
    training()
    leaves = jax.tree.leaves(nnx.state(parts.with_weights(training.state)))
    arrays = {str(i): np.asarray(leaf) for i, leaf in enumerate(leaves)}
    write_arrays(folder() / "weights.npz", **arrays)


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


@dataclass(frozen=True)
class Cover:
    """What a figure hides in the images of all poses: some pixels, by a share on 0-255."""

    places: Int[np.ndarray, "pixel"]  # all images counted through
    shares: UInt8[np.ndarray, "pixel"]

    def paint(self, images: Images, colour: tuple[int, int, int]) -> None:
        """Lay a colour over images, in place."""
        pixels = images.reshape(-1, 3)
        share = self.shares[:, None].astype(np.uint16)
        under = pixels[self.places].astype(np.uint16)
        mixed = under * (255 - share) + np.array(colour, np.uint16) * share
        pixels[self.places] = (mixed + 127) // 255


def write(path: Path, *, side: int = 64) -> None:
    """Write the set, of images of a side in pixels, as a stored .npz file of MPI3D's format.

    Raises:
        UserError: the file cannot be written.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(MPI3D), side, side, 3)}
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w") as archive,
        archive.open("images.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for block in blocks(side):
            member.write(np.ascontiguousarray(block).data)


def blocks(side: int) -> Iterator[Images]:
    """Yield the images of all poses, for each combination of the other five factors in order."""
    *_, heights, grounds, _, _ = MPI3D.sizes
    scenes = [_Scene(side, CAMERAS[height]) for height in range(heights)]
    bare = [[scene.bare(GROUNDS[ground]) for ground in range(grounds)] for scene in scenes]
    held: dict[tuple[int, int, int], Cover] = {}
    for colour, shape, size, height, ground in itertools.product(*map(range, MPI3D.sizes[:5])):
        if (shape, size, height) not in held:
            held[shape, size, height] = scenes[height].figure(SHAPES[shape], RADII[size])
        images = bare[height][ground].copy()
        held[shape, size, height].paint(images, COLOURS[colour])
        yield images


class _Scene:
    """What one camera sees of the arm in all its poses."""

    def __init__(self, side: int, camera: tuple[float, float]) -> None:
        flat, shift = camera
        line = (2 * np.arange(side, dtype=np.float32) + 1) / side - 1
        self.soft = side / 2  # an edge is as wide as a pixel
        self.x, self.y = line[None, None, :], ((line - shift) / flat)[None, :, None]
        turns, bends = np.meshgrid(
            np.linspace(-SHOULDER_SWEEP, SHOULDER_SWEEP, MPI3D.sizes[5], dtype=np.float32),
            np.linspace(-ELBOW_SWEEP, ELBOW_SWEEP, MPI3D.sizes[6], dtype=np.float32),
            indexing="ij",
        )
        first, second = turns.reshape(-1, 1, 1), (turns + bends).reshape(-1, 1, 1)
        self.elbow = SHOULDER[0] + UPPER * np.sin(first), SHOULDER[1] - UPPER * np.cos(first)
        self.hand = self.elbow[0] + LOWER * np.sin(second), self.elbow[1] - LOWER * np.cos(second)

    def bare(self, ground: tuple[int, int, int]) -> Images:
        """Return the arm with an empty hand, before a ground that darkens upwards."""
        light = 1 + 0.15 * self.y[0] * np.ones_like(self.x[0])
        shades = np.clip(light[..., None] * np.array(ground), 0, 255).astype(np.uint8)
        images = np.repeat(shades[None], len(self.hand[0]), axis=0)
        for ends in ((SHOULDER, self.elbow), (self.elbow, self.hand)):
            self._cover(self._limb(*ends)).paint(images, LIMB)
        return images

    def figure(self, planes: tuple[tuple[float, float, float], ...], radius: float) -> Cover:
        """Return what the object at the hand hides."""
        x, y = self.x - self.hand[0], self.y - self.hand[1]
        if not planes:
            return self._cover(np.hypot(x, y) - radius)
        outside = np.full(np.broadcast_shapes(x.shape, y.shape), -np.inf, np.float32)
        for across, along, distance in planes:
            plane = np.float32(across) * x + np.float32(along) * y - np.float32(distance * radius)
            np.maximum(outside, plane, out=outside)
        return self._cover(outside)

    def _limb(self, start: Place | tuple[float, float], end: Place) -> Distances:
        along = end[0] - start[0], end[1] - start[1]
        x, y = self.x - start[0], self.y - start[1]
        share = (x * along[0] + y * along[1]) / (along[0] ** 2 + along[1] ** 2)
        share = np.clip(share, 0, 1)
        return np.hypot(x - share * along[0], y - share * along[1]) - LIMB_RADIUS

    def _cover(self, distances: Distances) -> Cover:
        shares = np.clip(0.5 - distances * self.soft, 0, 1).ravel()
        places = np.flatnonzero(shares)
        return Cover(places, np.rint(255 * shares[places]).astype(np.uint8))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
