"""What the rows of the graph suite start from: clouds of points, their neighbours, graphs on them.

Clouds are drawn with fixed seeds: the same for every row and on every machine. While a run shares
a folder, neighbours and graphs are made by the first who asks for them, in a process of its own, so
that making them is in nobody's memory; the others read them. Only inputs are shared, never results.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold import graph, neighbors
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.manifold.latent_graph import LatentGraph
from jaxsurf.workdir import replacing

# Of each point, wherever neighbours are asked for.
K = 10
# Names the folder to the processes of a run.
_FOLDER = "JAXSURF_BENCHMARK_INPUTS"
Weight = Literal["latent", "density"]
Shape = Literal["cube", "roll"]


@dataclass(frozen=True)
class Cloud:
    """So many points, drawn evenly over a cube or over a Swiss roll in three dimensions."""

    shape: Shape
    number: int
    dimensions: int

    def __str__(self) -> str:
        of = {"cube": "", "roll": ", Swiss roll"}[self.shape]
        return f"{self.number:,} x {self.dimensions}{of}"

    def points(self) -> Float[np.ndarray, "point latent"]:
        """Draw the points, the same at every call."""
        drawn = np.random.default_rng(0).random((self.number, self.dimensions))
        if self.shape == "cube":
            return drawn
        # One and a half turns of the spiral r = t, evenly by area: its length up to t is nearly
        # t^2 / 2.
        first, last = 1.5 * np.pi, 4.5 * np.pi
        turn = np.sqrt(first**2 + (last**2 - first**2) * drawn[:, 0])
        return np.stack([turn * np.cos(turn), 21 * drawn[:, 1], turn * np.sin(turn)], axis=1)


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Share inputs among the processes that are started meanwhile, out of sight in a folder."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".inputs-") as name:
        os.environ[_FOLDER] = name
        try:
            yield
        finally:
            del os.environ[_FOLDER]


def neighbours(cloud: Cloud) -> neighbors.Neighbors:
    """Return the `K` nearest neighbours of each point."""
    return neighbors.Neighbors(**_arrays("neighbours", cloud))


def connected(cloud: Cloud, *, weight: Weight = "latent") -> LatentGraph:
    """Return the symmetric k-NN graph of a cloud."""
    return LatentGraph(**_arrays("graph", cloud, weight), k=K, weight=weight)  # pyright: ignore[reportArgumentType]


def pairs(given: LatentGraph, number: int) -> Int[np.ndarray, "pair 2"]:
    """Return random pairs of different nodes, all in the largest component."""
    largest = np.bincount(given.components).argmax()
    nodes = np.flatnonzero(given.components == largest)
    rng = np.random.default_rng(1)
    return np.stack([rng.choice(nodes, 2, replace=False) for _ in range(number)])


def _arrays(kind: str, cloud: Cloud, weight: Weight = "latent") -> dict[str, np.ndarray]:
    """Return arrays that describe an input: read, where a folder is shared, or made."""
    folder = os.environ.get(_FOLDER)
    if folder is None:
        return _made(kind, cloud, weight)
    words = [kind, *map(str, astuple(cloud)), weight]
    path = Path(folder) / f"{'-'.join(words)}.npz"
    if not path.exists():
        command = [sys.executable, "-m", "jaxsurf.pipeline.benchmark.inputs", str(path), *words]
        subprocess.run(command, check=True)
    with np.load(path) as arrays:
        return dict(arrays)


def _made(kind: str, cloud: Cloud, weight: Weight) -> dict[str, np.ndarray]:
    if kind == "neighbours":
        found = neighbors.Index(cloud.points()).nearest(k=K)
        return {"indices": found.indices, "distances": found.distances}
    made = graph.build(cloud.points(), GraphConfig(kind="knn", k=K, weight=weight))
    return {"indptr": made.indptr, "indices": made.indices, "weights": made.weights}


if __name__ == "__main__":
    _, place, what, shape, count, size, weighed = sys.argv
    asked = Cloud(cast(Shape, shape), int(count), int(size))
    with replacing(Path(place)) as temporary:
        np.savez(temporary, **_made(what, asked, cast(Weight, weighed)))  # pyright: ignore[reportArgumentType]
