"""Latent codes by group: does a latent space keep apart what differs in kind?

Each code has the colour of its group, such as its value of a third factor. What is shown of a
latent space of more than three dimensions, `jaxsurf.viewing.latent_axes` says.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxsurf.errors import UserError
from jaxsurf.viewing import canvas
from jaxsurf.viewing.latent_axes import Codes, add_axes, dot_size, finish_axes, make_projection

# In a legend: of a character, and of a group's mark with the space around it, in pixels.
CHARACTER_WIDTH, MARK_WIDTH = 9, 70


def clusters_figure(
    path: Path,
    codes: Codes,
    groups: Sequence[str],
    *,
    title: str,
    name: str = "",
    width: int = 900,
    height: int = 800,
) -> None:
    """Draw latent codes, each in the colour of its group, such as one value of a third factor.

    Args:
        path: the PNG to write.
        codes: all latent codes.
        groups: the group of each code; the legend names them in the order in which they come.
        title: one line above the picture.
        name: what the groups differ in, above the legend.
        width: of the picture, in pixels.
        height: of the picture, in pixels.

    Raises:
        UserError: codes and groups differ in number, there are none, or the file can't be written.
    """
    if len(groups) != len(codes) or not len(codes):
        raise UserError(
            f"{len(codes)} codes and {len(groups)} groups can't be drawn",
            cure="give each code its group, and at least one of both",
        )
    figure = canvas.make_figure(width, height)
    project = make_projection(codes)
    axes = add_axes(figure, project, title)
    colours = _colours_of(groups)
    # In a mixed order, so that no group lies over all others.
    order = np.random.default_rng(0).permutation(len(codes))
    axes.scatter(
        *project(codes)[order].T,
        s=dot_size(len(codes)),
        c=[colours[groups[int(i)]] for i in order],
        linewidths=0,
        alpha=0.8,
    )
    columns = width // (MARK_WIDTH + CHARACTER_WIDTH * max(map(len, colours)))
    _draw_key(figure, colours, name, columns=max(1, min(columns, len(colours))))
    finish_axes(axes, project.labels)
    canvas.save(figure, path)


def _colours_of(groups: Sequence[str]) -> dict[str, str]:
    """Return a colour for each group, in the order in which they come."""
    found = list(dict.fromkeys(groups))
    if len(found) <= len(canvas.COLOURS):
        return dict(zip(found, canvas.COLOURS, strict=False))
    shades = colormaps["turbo"](np.linspace(0, 1, len(found)))
    return dict(zip(found, map(to_hex, shades), strict=True))


def _draw_key(figure: Figure, colours: Mapping[str, str], name: str, *, columns: int) -> None:
    """Draw the legend of groups below, where it hides neither a code nor an axis."""
    handles = [
        Line2D([], [], linestyle="", marker="o", color=colour, label=canvas.plain(group))
        for group, colour in colours.items()
    ]
    figure.legend(
        handles=handles,
        title=canvas.plain(name),
        loc="outside lower center",
        frameon=False,
        ncols=columns,
    )
