"""Ways through a crowd of latent codes, as a PNG: which stops, in which order, and how they lie.

Codes of more than two dimensions are shown by their first two principal components. Up to
`MOST_DOTS` codes are drawn as dots, more as a map of how densely they lie, so that a million take
no longer than a second.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from jaxsurf.viewing import canvas
from jaxsurf.viewing.canvas import COLOURS
from jaxsurf.viewing.latent_axes import Codes, add_axes, dot_size, finish_axes, make_projection

MOST_DOTS = 20_000
# Cells of the map across the picture.
_CELLS = 160
# More names than these would fill the picture; the others are drawn all the same.
_MOST_NAMES = 14
# Of lines, in points; the widest is that of many.
_THINNEST, _WIDEST = 1.6, 9.0
# Where names stand beside their stops, in points: those that follow each other may lie close.
_OFFSETS = ((8, 8), (8, -16))


@dataclass(frozen=True, kw_only=True)
class Leg:
    """A part of a way.

    Attributes:
        name: as in the legend.
        points: its polyline.
        back: whether it closes a loop, which is drawn dashed.
    """

    name: str
    points: Codes
    back: bool = False


@dataclass(frozen=True, kw_only=True)
class RoutePlot:
    """What is drawn.

    Attributes:
        codes: all latent codes.
        title: above the picture.
        legs: in order, each in the next colour.
        stops: codes in the order in which they are visited, and their labels; one that is visited
            again bears both numbers.
        edges: pairs of rows of `codes` that a graph joins; only drawn where codes are dots.
        marks: points along the ways, drawn small.
    """

    codes: Codes
    title: str
    legs: Sequence[Leg]
    stops: Sequence[tuple[str, Float[np.ndarray, "latent"]]]
    edges: Int[np.ndarray, "edge 2"] | None = None
    marks: Sequence[Codes] | None = None


def route_figure(path: Path, plot: RoutePlot, *, width: int = 1100, height: int = 800) -> None:
    """Draw latent codes and the ways through them.

    Args:
        path: the PNG to write.
        plot: what to draw.
        width: of the picture, in pixels.
        height: of the picture, in pixels.

    Raises:
        UserError: the file can't be written.
    """
    figure = canvas.make_figure(width, height)
    project = make_projection(plot.codes, most=2)
    axes = add_axes(figure, project, plot.title)
    shown = project(plot.codes)
    _draw_crowd(axes, shown)
    if plot.edges is not None and len(shown) <= MOST_DOTS:
        lines = list(shown[plot.edges])
        axes.add_collection(LineCollection(lines, colors="0.85", linewidths=0.5, zorder=1))
    # Where legs run over one another, the earlier are the wider, so that all are seen.
    widths = np.linspace(min(_WIDEST, _THINNEST * len(plot.legs)), _THINNEST, len(plot.legs))
    for number, leg in enumerate(plot.legs):
        _draw_leg(axes, project(leg.points), leg, number, widths[number])
    for marks in plot.marks or ():
        axes.scatter(*project(marks).T, s=18, color="black", edgecolors="white", zorder=11)
    _draw_stops(axes, [(name, project(code[None])[0]) for name, code in plot.stops])
    finish_axes(axes, project.labels)
    if plot.legs:
        figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    canvas.save(figure, path)


def _draw_crowd(axes: Axes, shown: Float[np.ndarray, "point 2"]) -> None:
    """Draw all codes, as dots or as a map of their density."""
    if len(shown) > MOST_DOTS and np.ptp(shown, axis=0).all():
        cells = axes.hexbin(*shown.T, gridsize=_CELLS, bins="log", mincnt=1, cmap="Greys", zorder=0)
        # A cell of one code is seen, and the fullest one is no darker than the lines.
        cells.set_clim(0.5, (cells.get_clim()[1] or 1.0) ** 2)
        return
    some = shown[:: -(-len(shown) // MOST_DOTS)]
    axes.scatter(*some.T, s=dot_size(len(some)), color="0.6", linewidths=0, zorder=2)


def _draw_leg(
    axes: Axes, points: Float[np.ndarray, "point 2"], leg: Leg, number: int, width: float
) -> None:
    """Draw a leg with an arrow half-way, so that it is seen where it leads."""
    colour = COLOURS[number % len(COLOURS)]
    name = canvas.plain(leg.name) if number < _MOST_NAMES else ""
    style = (0, (4, 1.5)) if leg.back else "-"
    axes.plot(*points.T, label=name, color=colour, linewidth=width, linestyle=style, zorder=10)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    if steps.sum() > 0:
        middle = int(np.searchsorted(np.cumsum(steps), steps.sum() / 2))
        tail, head = points[middle], points[middle + 1]
        axes.annotate(
            "",
            tuple(tail + 0.55 * (head - tail)),
            tuple(tail + 0.45 * (head - tail)),
            arrowprops={
                "arrowstyle": "-|>",
                "facecolor": colour,
                "edgecolor": "black",
                "mutation_scale": 16 + 2 * width,
            },
            zorder=11,
        )


def _draw_stops(axes: Axes, stops: Sequence[tuple[str, Float[np.ndarray, "2"]]]) -> None:
    """Draw stops with their numbers in the order of the visit."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, (name, _) in enumerate(stops, start=1):
        numbers[name].append(number)
    halo = [patheffects.withStroke(linewidth=3, foreground="white")]
    for place, (name, point) in enumerate(dict(stops).items()):
        axes.scatter(*point[:, None], s=60, color="white", edgecolors="black", zorder=12)
        turns = ", ".join(map(str, numbers[name]))
        axes.annotate(
            canvas.plain(f"{turns}: {name}"),
            (float(point[0]), float(point[1])),
            _OFFSETS[place % len(_OFFSETS)],
            textcoords="offset points",
            fontweight="bold",
            path_effects=halo,
            zorder=13,
        )
