"""The latent map as a plotly figure: points, edges, the paths of a film and their stops.

A `View` is a plane, or a space, that codes are projected to: latent axes or principal components.
Figures are plain dictionaries; arrays in them are base64, as plotly.js takes them.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy
from jaxtyping import Float, Int, Real

from jaxsurf.manifold.path import principal_components
from jaxsurf.viewing.explorer.subject import Code, Film, Stop, Values
from jaxsurf.viewing.plots import MOST_EDGES, SERIES

# plotly's WebGL hover freezes at about 100,000 points (plotly.js, issue 8036).
MOST_POINTS = 50_000
# Cells a side by which a sample is stratified.
CELLS = 64
# Pairs of axes to choose from: more would fill a screen.
MOST_AXES = 8
# Grid steps off course from which on colours no longer tell.
MOST_OFF = 5
ACCENT, MUTED, GRID = "#E8590C", "#7B8794", "rgba(128,128,128,0.18)"
SOLID_GRID = "#A3ADB8"
FONT = 'system-ui, "DejaVu Sans", sans-serif'
# The same colour for a method wherever it is drawn; a path may be drawn in the text's own colour.
METHOD_COLOURS: Mapping[str, str] = {"linear": MUTED, "surfing": ACCENT}

Shown = Float[np.ndarray, "point shown"]
Trace = dict[str, Any]


@dataclass(frozen=True, eq=False)
class View:
    """A projection of codes to two or three axes; `lift` leads back."""

    label: str
    axes: tuple[str, ...]
    origin: Code
    directions: Float[np.ndarray, "latent shown"]

    def project(self, codes: Real[np.ndarray, "point latent"]) -> Shown:
        """Return where codes are shown."""
        shown = (np.asarray(codes, np.float64) - self.origin) @ self.directions
        return np.pad(shown, [(0, 0), (0, max(0, 2 - shown.shape[1]))])

    def lift(self, place: Float[np.ndarray, "shown"], near: Code) -> Code:
        """Return the code at a place; what is not shown of it is that of a code nearby."""
        away = place - self.project(near[None])[0]
        return near + self.directions @ away[: self.directions.shape[1]]


class LatentMap:
    """All codes of a subject, ready to be drawn in any view and asked what lies where."""

    def __init__(self, codes: Real[np.ndarray, "point latent"]) -> None:
        self.codes = codes
        self.views = _make_views(codes)
        self.sample = _stratify(next(iter(self.views.values())).project(codes)[:, :2])
        self._trees: dict[str, scipy.spatial.KDTree] = {}

    def nearest(self, view: str, place: Sequence[float]) -> tuple[int, float]:
        """Return the point that is shown nearest to a place, of all points, and its distance."""
        if view not in self._trees:
            self._trees[view] = scipy.spatial.KDTree(self.views[view].project(self.codes))
        away, number = self._trees[view].query(np.asarray(place, float))
        return int(number), float(away)

    def figure(
        self,
        view: str,
        *,
        values: Values | None = None,
        legend: str = "",
        edges: Int[np.ndarray, "edge 2"] | None = None,
        film: Film | None = None,
        off_course: Mapping[str, Real[np.ndarray, "frame"]] = MappingProxyType({}),
        stops: Sequence[Stop] = (),
    ) -> dict[str, Any]:
        """Return the figure of a view."""
        seen = self.views[view]
        shown = seen.project(self.codes)
        solid = shown.shape[1] == 3
        size = float(np.clip(220 / np.sqrt(len(self.sample)), 2.5, 7)) / (2 if solid else 1)
        marker: dict[str, Any] = {"size": size, "opacity": 0.85, "color": MUTED}
        if values is not None:
            marker |= _coloured(values, legend)
        points = _trace("points", "markers", shown[self.sample], fast=True, marker=marker)
        points["hoverinfo"] = "none"
        if len(self.sample) < len(shown):
            points["customdata"] = self.sample.tolist()
        edges = np.empty((0, 2), int) if edges is None else edges
        ends = shown[edges[:: len(edges) // MOST_EDGES + 1]]
        gapped = np.pad(ends, [(0, 0), (0, 1), (0, 0)], constant_values=np.nan)
        gapped = gapped.reshape(-1, shown.shape[1])
        line = {"color": "rgba(128,128,128,0.35)", "width": 1}
        lines = _trace("edges", "lines", gapped, fast=True, line=line)
        traces = [lines, points, *self.path_traces(view, film, stops, off_course)]
        grid = SOLID_GRID if solid else GRID
        axis = {"gridcolor": grid, "zerolinecolor": grid, "showline": False}
        titles = [{**axis, "title": {"text": name}} for name in seen.axes]
        layout: dict[str, Any] = {
            "uirevision": view,
            "showlegend": False,
            "margin": {"l": 48, "r": 12, "t": 34, "b": 42},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": MUTED, "activecolor": ACCENT},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": FONT, "size": 12, "color": MUTED},
            "hovermode": "closest",
            "dragmode": "pan",
            "clickanywhere": True,
            "hoveranywhere": True,
        }
        if solid:
            names = dict(zip(("xaxis", "yaxis", "zaxis"), titles, strict=True))
            layout["scene"] = {**names, "aspectmode": "data", "dragmode": "orbit"}
            layout["margin"] |= {"l": 0, "b": 0}
        else:
            layout["xaxis"], layout["yaxis"] = titles
            layout["yaxis"] |= {"scaleanchor": "x", "scaleratio": 1}
        return {"data": traces, "layout": layout}

    def path_traces(
        self,
        view: str,
        film: Film | None,
        stops: Sequence[Stop],
        off_course: Mapping[str, Real[np.ndarray, "frame"]] = MappingProxyType({}),
    ) -> list[Trace]:
        """Return the traces of a film's paths and of stops: always as many, in the same order."""
        seen, points, traces = self.views[view], {}, []
        solid, none = len(seen.axes) == 3, np.empty((0, self.codes.shape[1]))
        if film is not None:
            points = {reel.method: reel.points for reel in film.reels if reel.points is not None}
        for method, colour in METHOD_COLOURS.items():
            dash = "solid" if colour == ACCENT else "dash"
            line = {"color": colour, "width": 5 if solid else 3, "dash": dash}
            shown = seen.project(points.get(method, none))
            traces.append(_trace(f"path-{method}", "lines", shown, line=line))
        for method in METHOD_COLOURS:
            off = off_course.get(method, np.empty(0))
            shown = seen.project(points[method] if len(off) else none)
            traces.append(_trace(f"off-{method}", "markers", shown, marker=_errors(off)))
        shown = seen.project(np.stack([code for _, code in stops]) if stops else none)
        ring = {"color": ACCENT, "width": 3}
        style = {
            "text": [name if len(name) < 12 else f"{n}" for n, (name, _) in enumerate(stops, 1)],
            "textposition": "top center",
            "textfont": {"size": 14, "weight": 700},
            "marker": {"size": 6 if solid else 13, "color": "#fff", "line": ring},
        }
        traces.append(_trace("stops", "markers+text", shown, **style))
        if solid:
            now = {"size": 9, "color": ACCENT}
            traces.append(_trace("now", "markers", np.empty((0, 3)), marker=now))
        return traces


def encoded(values: np.ndarray) -> dict[str, str]:
    """Return numbers as plotly.js takes them: a type, and base64 of little-endian bytes."""
    data = np.ascontiguousarray(values, "<f4")
    return {"dtype": "f4", "bdata": base64.b64encode(data.tobytes()).decode()}


def _trace(uid: str, mode: str, shown: Shown, *, fast: bool = False, **style: Any) -> Trace:  # noqa: ANN401
    """Return a trace without hover; the coordinates of few points stay readable for scripts."""
    kind = "scatter3d" if shown.shape[1] == 3 else "scattergl" if fast else "scatter"
    columns = [encoded(column) if fast else column.tolist() for column in shown.T]
    places = dict(zip("xyz", columns, strict=False))
    return {"uid": uid, "type": kind, "mode": mode, "hoverinfo": "skip", **style, **places}


def _coloured(values: Values, legend: str) -> dict[str, Any]:
    """Return the part of a marker that shows a value of each point, or the group it is of."""
    bar, colour = _bar(legend), {"colorscale": "Viridis", "showscale": True}
    if isinstance(values, np.ndarray):
        return colour | {"color": encoded(values), "colorbar": bar}
    names, groups = np.unique(values, return_inverse=True)
    number, every = len(names), max(1, len(names) // 12)
    if number <= len(SERIES):
        edges = np.repeat(np.arange(number + 1) / number, 2)[1:-1].tolist()
        inks = np.repeat(SERIES[:number], 2)
        colour["colorscale"] = [list(pair) for pair in zip(edges, inks, strict=True)]
    bar |= {"tickvals": list(range(0, number, every)), "ticktext": names[::every].tolist()}
    limits = {"cmin": -0.5, "cmax": number - 0.5}
    return colour | limits | {"color": encoded(groups), "colorbar": bar}


def _errors(off: Real[np.ndarray, "frame"]) -> dict[str, Any]:
    """Return the marker of frames that are so many grid steps off a perfect course."""
    return {
        "size": 10,
        "color": off.tolist(),
        "colorscale": "YlOrRd",
        "reversescale": True,  # pale is right
        "cmin": 0,
        "cmax": MOST_OFF,
        "line": {"color": MUTED, "width": 1},
        "showscale": bool(len(off)),
        "colorbar": _bar("grid steps off course"),
    }


def _bar(legend: str) -> dict[str, Any]:
    title = {"text": legend, "side": "right"}
    return {"title": title, "thickness": 10, "outlinewidth": 0, "xpad": 6}


def _make_views(codes: Real[np.ndarray, "point latent"]) -> dict[str, View]:
    size = codes.shape[1]
    # Kind and name of the axes, their own names, which are shown together, and how to project.
    latent = [f"latent {number + 1}" for number in range(size)]
    some = list(combinations(range(min(size, MOST_AXES)), min(size, 2)))
    some = [(0, 1, 2), *some] if size == 3 else some
    spaces = [("z", "latent", latent, some, np.zeros(size), np.eye(size))]
    if size > 3:
        mean, directions, shares = principal_components(codes)
        names = [f"PC {n + 1} of {size} ({shares[n]:.0%} of variance)" for n in range(3)]
        some = [(0, 1), (0, 1, 2), (0, 2), (1, 2)]
        spaces.insert(0, ("pc", "PC", names, some, mean, directions))
    views = {}
    for kind, word, names, choices, origin, directions in spaces:
        for chosen in choices:
            numbers = [str(number + 1) for number in chosen]
            label = f"{word} {', '.join(numbers)}{' (3-D)' if len(chosen) == 3 else ''}"
            axes = (*(names[number] for number in chosen), *([""] if len(chosen) == 1 else []))
            view = View(label, axes, origin, directions[:, list(chosen)])
            views[f"{kind}{','.join(numbers)}"] = view
    return views


def _stratify(places: Float[np.ndarray, "point 2"]) -> Int[np.ndarray, "shown"]:
    """Return all points, or a random sample that has some of every occupied cell of the map."""
    number = len(places)
    if number <= MOST_POINTS:
        return np.arange(number)
    low, span = places.min(axis=0), np.maximum(np.ptp(places, axis=0), np.finfo(float).tiny)
    cells = np.minimum((places - low) / span * CELLS, CELLS - 1).astype(int) @ [CELLS, 1]
    order = np.lexsort((np.random.default_rng(0).random(number), cells))
    _, starts, sizes = np.unique(cells[order], return_index=True, return_counts=True)
    rank = np.arange(number) - np.repeat(starts, sizes)
    share = (MOST_POINTS - len(starts)) / number  # after one of each cell
    return np.sort(order[rank < np.repeat(1 + np.floor(share * sizes), sizes)])
