"""Pictures: latent spaces with what lies in them, curves, and searches over many settings.

Figures are made without pyplot, so nothing global changes, and matplotlib is imported by the first
one. Latent codes of two and three dimensions are shown as they are; of more, their first principal
components; of one, against zero.
"""

import contextlib
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxsurf.manifold.path import principal_components
from jaxsurf.workdir import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colours differ for colour-blind readers too (Color Universal Design, 2008).
# Their yellow is left out: on white it is hardly seen.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
SERIES = COLOURS[1:]
# More codes than these are drawn as a map of their density, where no value is shown.
MOST_DOTS = 20_000
# More edges than these are a grey blot that takes seconds to draw.
MOST_EDGES = 50_000
# More names of lines than these would fill the picture.
MOST_NAMES = 14
# Points; where lines run over one another, the earlier are the wider, so that all are seen.
THINNEST, WIDEST = 2.0, 9.0
MOST_COLUMNS = 4
# Pixels of a row of panels, and of the title and the legend.
PANEL_HEIGHT, AROUND_HEIGHT = 270, 110
# Characters below a panel. More of them in all are slanted; a longer label is cut to its end.
MOST_CHARACTERS = 24
# Frames of an animation that stand side by side.
NUM_SHOWN = 9

_DPI = 100

Codes = Float[np.ndarray, "point latent"]
Shown = Float[np.ndarray, "point shown"]
Poses = Float[np.ndarray, "_pose factor"]


@dataclass(frozen=True, kw_only=True)
class LatentPlot:
    """What is drawn of a latent space."""

    codes: Codes
    title: str
    edges: Int[np.ndarray, "edge 2"] | None = None  # of a graph whose first nodes are the codes
    values: Float[np.ndarray, "point"] | None = None  # a number for each code, shown as its colour
    groups: Sequence[str] = ()  # instead, the name of each code's group
    legend: str = ""  # what values or groups are
    # Each in the next colour.
    lines: Mapping[str, Float[np.ndarray, "_corner latent"]] = field(default_factory=dict)
    stops: Mapping[str, Float[np.ndarray, "latent"]] = field(default_factory=dict)  # with labels
    marks: Float[np.ndarray, "mark latent"] | None = None  # codes that are drawn small
    dimensions: int = 3  # of the picture, at most


@dataclass(frozen=True, kw_only=True)
class PairPlot:
    """What is drawn of a pair: its animations and, where they are known, poses they show."""

    title: str
    rows: Mapping[str, UInt8[np.ndarray, "_frame height width 3"]]  # frames by method
    poses: Mapping[str, Poses] = field(default_factory=dict)  # of these frames
    factors: Sequence[str] = ()  # names of the factors of poses
    courses: Sequence[Poses] = ()  # perfect ones; NaN where one jumps
    periods: Sequence[float] = ()  # of the factors, 0 of one that does not come back to itself


def latent(plot: LatentPlot, *, width: int = 900) -> "Figure":
    """Draw latent codes, the graph on them and the lines through them, `width` x 800 pixels."""
    project, labels = _projection(plot.codes, plot.dimensions)
    flat = len(labels) == 2
    figure = _figure(width, 800, plot.title)
    axes = figure.add_subplot(projection=None if flat else "3d")
    shown = project(plot.codes)
    coloured = plot.values is not None or bool(plot.groups)
    dense = flat and not coloured and len(shown) > MOST_DOTS and np.ptp(shown, axis=0).all()
    if dense:
        cells = axes.hexbin(*shown.T, gridsize=160, bins="log", mincnt=1, cmap="Greys", zorder=0)
        # A cell of one code is seen, and the fullest one is no darker than the lines.
        cells.set_clim(0.5, (cells.get_clim()[1] or 1.0) ** 2)
    else:
        _draw_codes(axes, shown, plot)
    if plot.edges is not None and not dense:
        # All are one curve with gaps: a NaN after each edge.
        edges = plot.edges[(plot.edges < len(shown)).all(axis=1)]
        ends = shown[edges[:: len(edges) // MOST_EDGES + 1]]
        gapped = np.pad(ends, [(0, 0), (0, 1), (0, 0)], constant_values=np.nan)
        axes.plot(*gapped.reshape(-1, shown.shape[1]).T, color="0.75", linewidth=0.5, zorder=1)
    widths = np.linspace(min(WIDEST, THINNEST * len(plot.lines)), THINNEST, len(plot.lines))
    for number, (name, points) in enumerate(plot.lines.items()):
        label = _plain(name) if number < MOST_NAMES else ""
        style = {"color": COLOURS[number % len(COLOURS)], "label": label}
        _draw_line(axes, project(points), widths[number], style)
    if plot.marks is not None:
        axes.scatter(*project(plot.marks).T, s=18, color="black", edgecolors="white", zorder=11)
    _draw_stops(axes, {name: project(code[None])[0] for name, code in plot.stops.items()})
    axes.set(**{f"{name}label": label for name, label in zip("xyz", labels, strict=False)})
    axes.set_aspect("equal", adjustable="datalim" if flat else None)
    _draw_legend(figure, axes.get_legend_handles_labels()[0], plot.legend if plot.groups else "")
    return figure


def curves(losses: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str) -> "Figure":
    """Draw training losses (by name, epochs and values), logarithmically where values allow it."""
    figure = _figure(900, 500, title)
    axes = figure.add_subplot()
    colours = _colours(len(losses), SERIES)
    for (name, (epochs, values)), colour in zip(losses.items(), colours, strict=True):
        marker = "." if len(epochs) < 3 else ""
        axes.plot(epochs, values, label=_plain(name), color=colour, marker=marker)
    positive = all(np.min(values) > 0 for _, values in losses.values())
    axes.set(xlabel="epoch", ylabel="loss", yscale="log" if positive else "linear")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def grid(
    axes: Mapping[str, Sequence[str]],
    losses: Sequence[float | None],
    *,
    title: str,
    series: Sequence[str] = (),
) -> "Figure":
    """Draw the losses of a search over settings, one panel a setting.

    `axes` has the value of each run by setting. A loss that is None or not finite is of a run that
    failed, and is left out. Losses compare within a series; without `series` all do.
    """
    heights = np.array([np.nan if loss is None else loss for loss in losses], np.float64)
    good, of_series = np.isfinite(heights), np.array(series or [""] * len(losses))
    names = list(dict.fromkeys(of_series))
    alone = len(names) == 1
    rows = -(-len(axes) // MOST_COLUMNS)
    columns = -(-len(axes) // rows)
    explained = f"{title}\ndots: runs that did not fail; lines: their medians"
    figure = _figure(1200, rows * PANEL_HEIGHT + AROUND_HEIGHT, explained)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    figure.supylabel("loss")
    random = np.random.default_rng(0)
    for panel, (name, values) in zip(panels.flat, axes.items(), strict=False):
        order = list(dict.fromkeys(values))
        with contextlib.suppress(ValueError):  # names stay in the order in which they come
            order.sort(key=float)
        across = np.array([order.index(value) for value in values])
        for one, colour in zip(names, _colours(len(names), SERIES), strict=True):
            mine = good & (of_series == one)
            aside = random.uniform(-0.3, 0.3, mine.sum())  # so that none hides another
            dots = {"s": 20, "color": colour, "alpha": 0.45, "linewidths": 0}
            panel.scatter(across[mine] + aside, heights[mine], **dots)
            of_values = [heights[mine & (across == place)] for place in range(len(order))]
            middle = [np.median(some) if len(some) else np.nan for some in of_values]
            style = {"color": "black" if alone else colour, "marker": "o", "markersize": 4}
            panel.plot(range(len(order)), middle, label=_plain(one), **style)
        labels = [
            text if len(text) <= MOST_CHARACTERS else f"{n}: ...{text[8 - MOST_CHARACTERS :]}"
            for n, text in enumerate(order, 1)
        ]
        slanted = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        style = slanted if sum(map(len, labels)) > MOST_CHARACTERS else {}
        panel.set_xticks(range(len(order)), [_plain(label) for label in labels], **style)
        panel.set(xlabel=_plain(name), xlim=(-0.5, len(order) - 0.5))
        panel.grid(axis="y", alpha=0.3)
    for panel in panels.flat[len(axes) :]:
        panel.set_axis_off()
    if good.any() and heights[good].min() > 0:
        panels[0, 0].set_yscale("log")
    _draw_legend(figure, [] if alone else panels[0, 0].lines)
    return figure


def by_distance(rows: Sequence[Mapping[str, Any]], metric: str) -> "Figure | None":
    """Draw an error of pairs by the distance of their ends, a colour a method; None without any.

    Rows are those of `evaluation.csv`; lines are medians of groups of equally many pairs.
    """
    scored = [row for row in rows if row.get("ends_distance", "") != "" and row[metric] != ""]
    if not scored:
        return None
    figure = _figure(900, 450, f"{metric.capitalize()} by the distance of the ends")
    axes = figure.add_subplot()
    methods = list(dict.fromkeys(row["method"] for row in scored))
    for method, colour in zip(methods, _colours(len(methods), SERIES), strict=True):
        both = [(row["ends_distance"], row[metric]) for row in scored if row["method"] == method]
        distance, errors = np.array(sorted(both)).T
        axes.scatter(distance, errors, s=14, color=colour, alpha=0.4, linewidths=0)
        groups = np.array_split(np.arange(len(distance)), min(8, len(distance)))
        middle = [[np.median(some[group]) for group in groups] for some in (distance, errors)]
        axes.plot(*middle, color=colour, marker="o", markersize=4, label=_plain(method))
    unit = " in grid steps" if metric == "course" else ""
    axes.set(xlabel="distance of the ends in grid steps", ylabel=metric + unit, ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def pair(plot: PairPlot) -> "Figure":
    """Draw frames of a pair side by side, a row a method, above their poses where these are known.

    Beside them stand all poses, with the perfect courses from end to end in grey: of two factors in
    their plane, of one by frame. Factors with a period leave at one side of it and come back at the
    other, without a line across.
    """
    rows, factors = plot.rows, plot.factors
    figure = _figure(1200, 80 + 125 * len(rows), plot.title)
    drawn = len(factors) in (1, 2) and bool(plot.poses)
    cells = figure.add_gridspec(len(rows), 2 if drawn else 1, width_ratios=[3, 1][: 1 + drawn])
    plane = figure.add_subplot(cells[:, 1]) if drawn else None
    for number, ((name, frames), colour) in enumerate(
        zip(rows.items(), _colours(len(rows), SERIES), strict=True)
    ):
        axes = figure.add_subplot(cells[number, 0])
        places = np.linspace(0, len(frames) - 1, min(NUM_SHOWN, len(frames))).round().astype(int)
        width = frames.shape[2]
        axes.imshow(np.concatenate(list(frames[places]), axis=1))
        axes.set(ylabel=_plain(name), xticks=width * (np.arange(len(places)) + 0.5), yticks=[])
        labels = plot.poses[name][places] if name in plot.poses else np.empty((len(places), 0))
        axes.set_xticklabels([", ".join(f"{v:.1f}" for v in pose) for pose in labels], fontsize=8)
        axes.yaxis.label.set_color(colour)
        if plane is not None:
            style = {"color": colour, "marker": ".", "markersize": 3, "linewidth": 0.8}
            plane.plot(*_walk(plot.poses[name], plot.periods), **style)
    if plane is not None:
        for number, course in enumerate(plot.courses):
            style = {"color": "0.8", "linewidth": 5, "solid_capstyle": "round", "zorder": 0}
            plane.plot(
                *_walk(course, plot.periods), label="" if number else "perfect courses", **style
            )
        names = factors if len(factors) == 2 else ["share of the frames", *factors]
        plane.set(xlabel=_plain(names[0]), ylabel=_plain(names[1]))
        plane.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def numbered(stops: Sequence[str]) -> list[str]:
    """Return stops with their numbers in the order of the visit; one that comes again has all."""
    numbers = {stop: [str(n) for n, same in enumerate(stops, 1) if same == stop] for stop in stops}
    return [f"{', '.join(numbers[stop])}: {stop}" for stop in stops]


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as a PNG."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def png(figure: "Figure") -> bytes:
    """Return a figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _walk(poses: Poses, periods: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return what is drawn of poses: of two factors both, of one its course in time.

    Where a periodic one goes past its end there is a NaN, which breaks the line.
    """
    first = poses[:, 0] if poses.shape[1] == 2 else np.linspace(0, 1, len(poses))
    half = np.array([period / 2 or np.inf for period in periods or [0.0] * poses.shape[1]])
    past = 1 + np.flatnonzero((np.abs(np.diff(poses, axis=0)) > half).any(axis=1))
    return np.insert(first, past, np.nan), np.insert(poses[:, -1], past, np.nan)


def _figure(width: int, height: int, title: str) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, layout="constrained")
    lines = (textwrap.fill(line, width // 11) for line in title.splitlines())
    figure.suptitle(_plain("\n".join(lines)))
    return figure


def _plain(text: str) -> str:
    # So that matplotlib draws it literally: names of files and factors may hold it.
    return text.replace("$", r"\$")


def _colours(number: int, few: Sequence[str]) -> Sequence[Any]:
    from matplotlib import colormaps

    scale = colormaps["viridis"]  # ends in a yellow that is hardly seen on white
    return few[:number] if number <= len(few) else list(scale(np.linspace(0, 0.9, number)))


def _draw_legend(figure: "Figure", handles: Sequence[Any], title: str = "") -> None:
    if not handles:
        return
    # Pixels of a mark with the space around it, and of a character.
    widest = 70 + 9 * max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(len(handles), int(figure.get_figwidth() * _DPI / widest)))
    style = {"loc": "outside lower center", "frameon": False, "ncols": columns}
    figure.legend(handles=handles, title=_plain(title), **style)


def _projection(codes: Codes, most: int) -> tuple[Callable[[Codes], Any], list[str]]:
    size = codes.shape[1]
    if size == 1:
        return lambda some: np.pad(some, [(0, 0), (0, 1)]), ["latent 1", ""]
    if size <= most:
        return np.asarray, [f"latent {i + 1}" for i in range(size)]
    mean, directions, shares = principal_components(codes)
    names = [f"PC {i + 1} of {size} ({shares[i]:.0%} of variance)" for i in range(most)]
    return lambda some: (np.asarray(some, np.float64) - mean) @ directions[:, :most], names


def _draw_codes(axes: "Axes", shown: Shown, plot: LatentPlot) -> None:
    size = float(np.clip(20_000 / len(shown), 1, 25))  # square points: the more, the smaller
    style = {"s": size, "linewidths": 0, "alpha": 0.8, "zorder": 2}
    if plot.values is not None:
        dots = axes.scatter(*shown.T, c=plot.values, cmap="viridis", **style)
        # The third axis has its label where the colour bar would be.
        pad = 0.02 if shown.shape[1] == 2 else 0.12
        axes.figure.colorbar(dots, ax=axes, label=_plain(plot.legend), shrink=0.7, pad=pad)
    elif plot.groups:
        names = list(dict.fromkeys(plot.groups))
        colours = dict(zip(names, _colours(len(names), COLOURS), strict=True))
        # In a mixed order, so that no group lies over all others.
        order = np.random.default_rng(0).permutation(len(shown))
        axes.scatter(*shown[order].T, c=[colours[plot.groups[int(i)]] for i in order], **style)
        for name, colour in colours.items():
            axes.scatter(*np.empty((shown.shape[1], 0)), color=colour, label=_plain(name))
    else:
        axes.scatter(*shown.T, color="0.55", **style)


def _draw_line(axes: "Axes", points: Shown, width: float, style: Mapping[str, Any]) -> None:
    axes.plot(*points.T, linewidth=width, zorder=10, **style)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    if points.shape[1] == 2 and steps.sum() > 0:
        middle = int(np.searchsorted(np.cumsum(steps), steps.sum() / 2))
        tail, head = points[middle : middle + 2]
        arrow = {"arrowstyle": "-|>", "facecolor": style["color"], "mutation_scale": 16 + 2 * width}
        ends = tail + 0.55 * (head - tail), tail + 0.45 * (head - tail)
        axes.annotate("", *ends, arrowprops=arrow, zorder=11)


def _draw_stops(axes: "Axes", stops: Mapping[str, Float[np.ndarray, "shown"]]) -> None:
    from matplotlib import patheffects

    halo = [patheffects.withStroke(linewidth=3, foreground="white")]
    for name, point in stops.items():
        axes.scatter(*point[:, None], s=60, color="white", edgecolors="black", zorder=12)
        # A label leads away from the nearest other point.
        others = [other for other in stops.values() if other is not point] or [point - 1]
        right, up = (point - min(others, key=lambda x: np.linalg.norm(x - point)))[:2] >= 0
        sides = {"ha": "left" if right else "right", "va": "bottom" if up else "top"}
        axes.text(*point, s=f"   {_plain(name)}   ", path_effects=halo, zorder=13, **sides)
