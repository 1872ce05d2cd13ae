"""Figures as PNG files: latent space with graph and paths, training curves.

What is shown of a latent space of more than three dimensions, `jaxsurf.viewing.latent_axes` says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from jaxsurf.errors import UserError
from jaxsurf.viewing import canvas
from jaxsurf.viewing.canvas import COLOURS
from jaxsurf.viewing.latent_axes import Codes, add_axes, dot_size, finish_axes, make_projection

# More edges than this are a grey blot that takes seconds to draw.
MOST_EDGES = 50_000


@dataclass(frozen=True, kw_only=True)
class LatentPlot:
    """What is drawn of a latent space.

    Attributes:
        codes: all latent codes.
        title: one line above the picture.
        edges: pairs of rows of `codes` that the graph joins.
        factor: a value for each code, shown as its colour.
        factor_name: what the value is.
        paths: latent polylines by name, drawn in this order.
        ends: labelled points, such as source and target.
    """

    codes: Codes
    title: str
    edges: Int[np.ndarray, "edge 2"] | None = None
    factor: Float[np.ndarray, "point"] | None = None
    factor_name: str = ""
    paths: Mapping[str, Codes] | None = None
    ends: Mapping[str, Float[np.ndarray, "latent"]] | None = None


def latent_figure(path: Path, plot: LatentPlot, *, width: int = 900, height: int = 800) -> None:
    """Draw a latent space, its graph and the paths on it.

    Args:
        path: the PNG to write.
        plot: what to draw.
        width: of the picture, in pixels.
        height: of the picture, in pixels.

    Raises:
        UserError: the file can't be written.
    """
    figure = canvas.make_figure(width, height)
    project = make_projection(plot.codes)
    axes = add_axes(figure, project, plot.title)
    _draw_edges(axes, project(plot.codes), plot.edges)
    _draw_codes(figure, axes, project(plot.codes), plot)
    _draw_paths(axes, {name: project(codes) for name, codes in (plot.paths or {}).items()})
    _draw_ends(axes, {name: project(code[None])[0] for name, code in (plot.ends or {}).items()})
    finish_axes(axes, project.labels)
    canvas.save(figure, path)


def curves_figure(
    path: Path,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    labels: tuple[str, str] = ("step", "loss"),
    width: int = 900,
    height: int = 500,
) -> None:
    """Draw curves such as training losses, on a logarithmic axis where all values allow it.

    Args:
        path: the PNG to write.
        curves: by name, the values along both axes.
        title: one line above the picture.
        labels: of both axes.
        width: of the picture, in pixels.
        height: of the picture, in pixels.

    Raises:
        UserError: there is no curve, or the file can't be written.
    """
    if not curves:
        raise UserError("there is no curve to draw", cure="log at least one interval")
    figure = canvas.make_figure(width, height)
    axes = figure.add_subplot()
    for name, (along, values) in curves.items():
        axes.plot(
            along,
            values,
            label=canvas.plain(name),
            linewidth=1.5,
            marker="." if len(along) < 3 else "",
        )
    positive = all(np.min(values) > 0 for _, values in curves.values())
    axes.set(
        title=canvas.plain(title),
        xlabel=canvas.plain(labels[0]),
        ylabel=canvas.plain(labels[1]),
        yscale="log" if positive else "linear",
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    canvas.save(figure, path)


def _draw_edges(
    axes: Axes, codes: Float[np.ndarray, "point shown"], edges: Int[np.ndarray, "edge 2"] | None
) -> None:
    """Draw the graph in light grey, thinned evenly where there are too many edges."""
    if edges is None or not len(edges):
        return
    lines = codes[edges[:: -(-len(edges) // MOST_EDGES)]]
    if isinstance(axes, Axes3D):
        axes.add_collection3d(
            Line3DCollection(list(lines), colors="0.6", linewidths=0.4, alpha=0.5)
        )
    else:
        axes.add_collection(LineCollection(list(lines), colors="0.7", linewidths=0.5, zorder=1))


def _draw_codes(
    figure: Figure, axes: Axes, codes: Float[np.ndarray, "point shown"], plot: LatentPlot
) -> None:
    """Draw the codes, coloured by the factor if there is one."""
    colour = {"color": "0.5"} if plot.factor is None else {"c": plot.factor, "cmap": "viridis"}
    points = axes.scatter(*codes.T, s=dot_size(len(codes)), linewidths=0, alpha=0.8, **colour)
    if plot.factor is not None:
        # The third axis has its label where the colour bar would be.
        pad = 0.12 if isinstance(axes, Axes3D) else 0.02
        figure.colorbar(points, ax=axes, label=canvas.plain(plot.factor_name), shrink=0.7, pad=pad)


def _draw_paths(axes: Axes, paths: Mapping[str, Float[np.ndarray, "point shown"]]) -> None:
    for number, (name, points) in enumerate(paths.items()):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(*points.T, label=canvas.plain(name), color=colour, linewidth=2, zorder=10)
    if paths:
        axes.legend(loc="upper right", framealpha=0.9)


def _draw_ends(axes: Axes, ends: Mapping[str, Float[np.ndarray, "shown"]]) -> None:
    halo = [patheffects.withStroke(linewidth=3, foreground="white")]
    for name, point in ends.items():
        axes.scatter(*point[:, None], s=70, color="white", edgecolors="black", zorder=11)
        if isinstance(axes, Axes3D):
            axes.text(*point, s=f"  {canvas.plain(name)}", zorder=12, path_effects=halo)
        else:
            place = (float(point[0]), float(point[1]))
            axes.annotate(
                canvas.plain(name),
                place,
                (7, 7),
                textcoords="offset points",
                zorder=12,
                path_effects=halo,
            )
