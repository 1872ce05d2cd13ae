"""Axes for latent codes of any size, and what is shown on them.

Codes of two and three dimensions are shown as they are; of more, their first three principal
components (or fewer, where asked for); of one, against zero.
"""

import textwrap
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D

from jaxsurf.manifold import principal
from jaxsurf.viewing import canvas

# Characters in a line of a title.
_TITLE = 60

Codes = Float[np.ndarray, "point latent"]


@dataclass(frozen=True)
class Projection:
    """Latent codes -> what the axes show.

    Attributes:
        mean: taken off each code first.
        axes: the directions shown.
        labels: one for each direction.
    """

    mean: Float[np.ndarray, "latent"]
    axes: Float[np.ndarray, "latent shown"]
    labels: tuple[str, ...]

    def __call__(self, codes: Codes) -> Float[np.ndarray, "point shown"]:
        """Return the coordinates shown of each code."""
        return (np.asarray(codes, np.float64) - self.mean) @ self.axes


def make_projection(codes: Codes, *, most: int = 3) -> Projection:
    """Return how codes are shown.

    Args:
        codes: all of them.
        most: dimensions that are shown at most.
    """
    size = codes.shape[1]
    mean = np.zeros(size)
    if size == 1:
        return Projection(mean, np.array([[1.0, 0.0]]), ("latent 1", ""))
    if size <= most:
        return Projection(mean, np.eye(size), tuple(f"latent {i + 1}" for i in range(size)))
    found = principal.of(codes)
    labels = tuple(f"PC {i + 1} of {size} ({found.shares[i]:.0%} of variance)" for i in range(most))
    return Projection(found.mean, found.directions[:, :most], labels)


def add_axes(figure: Figure, project: Projection, title: str) -> Axes:
    """Return empty axes, of three dimensions where as many are shown."""
    axes = figure.add_subplot(projection="3d" if len(project.labels) == 3 else None)
    axes.set_title(canvas.plain(textwrap.fill(title, _TITLE)))
    return axes


def dot_size(number: int) -> float:
    """Return the area of a dot in square points: the more there are, the smaller."""
    return float(np.clip(20_000 / number, 1, 25))


def finish_axes(axes: Axes, labels: tuple[str, ...]) -> None:
    """Label the axes and give all the same scale."""
    for name, label in zip("xyz", labels, strict=False):
        axes.set(**{f"{name}label": label})
    if isinstance(axes, Axes3D):
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.labelpad = 8
    axes.set_aspect("equal", adjustable="datalim" if len(labels) == 2 else None)
