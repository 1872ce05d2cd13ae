"""A search over many settings at once: the loss of each member against each setting.

A member is one run of the search. Every panel shows every member, at its value of one setting; what
differs between values of one setting is seen over all values of the others. Members whose losses
do not compare are of different series: each has its colour, and medians of its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from jaxsurf.errors import UserError
from jaxsurf.viewing import canvas, placing
from jaxsurf.viewing.clusters import CHARACTER_WIDTH, MARK_WIDTH

MOST_COLUMNS = 4
# Pixels; wide enough for five values of six characters.
ROW_HEIGHT = 300
# Pixels of a line of series' names: 10 points and the space between lines.
NAMES_HEIGHT = 22
POINT, MEDIAN, FAILURE = canvas.COLOURS[1], canvas.COLOURS[4], canvas.COLOURS[0]
# Of several series; no failure's colour. What all have in common is grey in the legend.
SERIES, COMMON = canvas.COLOURS[1:], "0.4"
# Dots that lie on each other are seen as such.
FAINT = 0.45
# The upper share of a panel is kept for members that failed, who have no loss worth a height.
FAILURE_BAND = 0.15
# Shares of that band, from its top: numbers hang clear of the frame, crosses have the room between
# them and the losses.
NUMBERS_DEPTH, CROSSES_DEPTH = 0.1, 0.72
Losses = Float[np.ndarray, "member"]
Flags = Bool[np.ndarray, "member"]
Places = Int[np.ndarray, "member"]


@dataclass(frozen=True, kw_only=True)
class GridPlot:
    """The members of a search.

    Attributes:
        title: one line above the picture.
        axes: by name of a setting, the value of each member as a text.
        losses: of each member; None where there is none.
        failed: which members collapsed or diverged. One without a finite loss has failed too.
        loss_name: what the loss is.
        series: of each member, the name of those with which its loss compares; empty: all do.

    Raises:
        UserError: there is no setting or no member, or the lengths do not agree.
    """

    title: str
    axes: Mapping[str, Sequence[str]]
    losses: Sequence[float | None]
    failed: Sequence[bool]
    loss_name: str = "loss"
    series: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.axes or not self.losses:
            raise UserError(
                f"there is no grid to draw: {len(self.axes)} settings, {len(self.losses)} members",
                cure="give at least one of each",
            )
        numbers = {name: len(values) for name, values in self.axes.items()}
        numbers |= {"failed": len(self.failed), "series": len(self.series or self.losses)}
        for name, number in numbers.items():
            if number != len(self.losses):
                raise UserError(
                    f"{name} has {number} values, but there are {len(self.losses)} losses"
                )


def axes_figure(path: Path, plot: GridPlot, *, width: int = 1200, height: int = 0) -> None:
    """Draw the loss against each setting of a search, one panel a setting.

    Dots are members; a line joins the medians, value by value, of those of a series that did not
    fail; each cross at the top is a member that failed, of whichever series, and the numbers above
    say how many of how many.

    Args:
        path: the PNG to write.
        plot: what to draw.
        width: of the picture, in pixels.
        height: of the picture, in pixels; 0 means `ROW_HEIGHT` a row of panels, and
            `NAMES_HEIGHT` a line of series' names.

    Raises:
        UserError: the file can't be written.
    """
    rows = -(-len(plot.axes) // MOST_COLUMNS)
    columns = -(-len(plot.axes) // rows)
    names, across = _names(plot, width)
    lines = -(-len(names) // across)
    figure = canvas.make_figure(width, height or rows * ROW_HEIGHT + lines * NAMES_HEIGHT)
    _draw_head(figure, plot.title, names, across)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    losses, failed = _drawn(plot)
    for panel in panels.flat[len(plot.axes) :]:
        panel.set_axis_off()
    for (name, values), panel in zip(plot.axes.items(), panels.flat, strict=False):
        _draw_panel(panel, values, plot)
        panel.set_xlabel(canvas.plain(name))
    for panel in panels[:, 0]:
        panel.set_ylabel(canvas.plain(plot.loss_name))
    _scale(panels[0, 0], losses[~failed])
    _draw_key(figure, plot, any_failed=bool(failed.any()))
    canvas.save(figure, path)


def medians(places: Places, losses: Losses, counted: Flags) -> Float[np.ndarray, "value"]:
    """Return the median loss at each place of the members that count; NaN where none does."""
    return np.array(
        [
            np.median(here) if len(here := losses[(places == place) & counted]) else np.nan
            for place in range(places.max() + 1)
        ]
    )


def _drawn(plot: GridPlot) -> tuple[Losses, Flags]:
    """Return each member's loss, and whether it is drawn as failed."""
    losses = np.array([math.nan if loss is None else loss for loss in plot.losses], np.float64)
    return losses, np.array(plot.failed, bool) | ~np.isfinite(losses)


def _colours(plot: GridPlot) -> dict[str, tuple[str, str]]:
    """Return the colours of each series' dots and line, in the order in which they come."""
    found = list(dict.fromkeys(plot.series)) or [""]
    if len(found) == 1:
        return {found[0]: (POINT, MEDIAN)}
    # Viridis ends in a yellow that is hardly seen on white.
    many = map(to_hex, colormaps["viridis"](np.linspace(0, 0.9, len(found))))
    colours = SERIES if len(found) <= len(SERIES) else many
    return {name: (colour, colour) for name, colour in zip(found, colours, strict=False)}


def _draw_panel(panel: Axes, values: Sequence[str], plot: GridPlot) -> None:
    """Draw all members against one setting."""
    order = placing.in_order(values)
    places = np.array([order.index(value) for value in values])
    losses, failed = _drawn(plot)
    across = np.full(len(places), np.nan)
    across[~failed] = placing.spread(places[~failed])
    for name, (point, line) in _colours(plot).items():
        counted = ~failed & (np.array(plot.series or [name] * len(losses)) == name)
        panel.scatter(
            across[counted], losses[counted], s=14, color=point, alpha=FAINT, linewidths=0
        )
        middle = medians(places, losses, counted)
        panel.plot(range(len(order)), middle, color=line, marker="o", markersize=4)
    _draw_failures(panel, places, failed)
    panel.set_xlim(-0.5, len(order) - 0.5)
    labels = placing.fitting(order)
    slanted = sum(map(len, labels)) > placing.MOST_CHARACTERS
    panel.set_xticks(
        range(len(order)),
        [canvas.plain(label) for label in labels],
        rotation=30 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor",
    )
    panel.grid(axis="y", alpha=0.3)


def _draw_failures(panel: Axes, places: Places, failed: Flags) -> None:
    """Draw a cross for each member that failed, and their number at each value."""
    if not failed.any():
        return
    heights = panel.get_xaxis_transform()  # across: the setting; up: a share of the panel
    corner, whole = (0, 1 - FAILURE_BAND), panel.transAxes
    panel.add_patch(
        Rectangle(corner, 1, FAILURE_BAND, transform=whole, color=FAILURE, alpha=0.08, linewidth=0)
    )
    up = np.full(failed.sum(), 1 - CROSSES_DEPTH * FAILURE_BAND)
    cross = {"marker": "x", "s": 16, "linewidths": 1, "color": FAILURE}
    panel.scatter(placing.spread(places[failed]), up, transform=heights, **cross)
    style = {"ha": "center", "va": "top", "fontsize": 8, "color": FAILURE}
    for place in np.unique(places[failed]):
        here = places == place
        numbers = f"{failed[here].sum()}/{here.sum()}"
        panel.text(place, 1 - NUMBERS_DEPTH * FAILURE_BAND, numbers, transform=heights, **style)


def _names(plot: GridPlot, width: int) -> tuple[list[Line2D], int]:
    """Return what names each of several series in a legend, and how many fit side by side."""
    colours = _colours(plot)
    if len(colours) == 1:
        return [], 1
    across = width // (MARK_WIDTH + CHARACTER_WIDTH * max(map(len, colours)))
    return [_mark(name, line) for name, (_, line) in colours.items()], max(1, across)


def _draw_head(figure: Figure, title: str, names: Sequence[Line2D], across: int) -> None:
    """Write the title and, below it, the names of the series."""
    style = {"loc": "outside upper center", "frameon": False, "title_fontsize": "large"}
    if names:
        figure.legend(handles=names, ncols=across, title=canvas.plain(title), **style)
    else:
        figure.suptitle(canvas.plain(title))


def _draw_key(figure: Figure, plot: GridPlot, *, any_failed: bool) -> None:
    """Say below all panels what the marks are."""
    first, *more = _colours(plot).values()
    point, median = (COMMON, COMMON) if more else first
    run = _mark("a run", point, line="")
    run.set_alpha(FAINT)
    handles = [run, _mark("median of those that did not fail", median)]
    if any_failed:
        handles.append(_mark("failed, and how many of how many", FAILURE, marker="x", line=""))
    figure.legend(handles=handles, loc="outside lower center", frameon=False, ncols=len(handles))


def _mark(text: str, colour: str, *, marker: str = "o", line: str = "-") -> Line2D:
    """Return a mark of a legend."""
    style = {"marker": marker, "markersize": 4, "linestyle": line}
    return Line2D([], [], label=canvas.plain(text), color=colour, **style)


def _scale(panel: Axes, losses: Float[np.ndarray, "some"]) -> None:
    """Fit the common height to the losses: logarithmic where all allow it, the top kept free."""
    if not len(losses):
        panel.set_yticks([])
        return
    logarithmic = losses.min() > 0
    ends = np.array([losses.min(), losses.max()])
    low, high = np.log10(ends) if logarithmic else ends
    # A twentieth of room on each side, and some where all losses are equal.
    room = 0.05 * (high - low) or 0.1
    low, high = low - room, high + room
    high += (high - low) * FAILURE_BAND / (1 - FAILURE_BAND)
    panel.set_yscale("log" if logarithmic else "linear")
    panel.set_ylim(*(10**low, 10**high) if logarithmic else (low, high))
