"""What stands on the explorer's page, top to bottom; `server` gives it life."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dash import dcc, html

from jaxsurf.viewing.explorer.latent_map import LatentMap
from jaxsurf.viewing.explorer.subject import Subject

# Numbers of frames to choose from, the usual one first; all are compiled in the beginning.
FRAMES = (32, 16, 64, 96)
SPEEDS = {"0.25": "1/4 x", "0.5": "1/2 x", "1": "1 x", "2": "2 x", "4": "4 x"}
NO_COLOUR = "no colour"
NO_BUTTONS = (
    *(
        "toImage",
        "sendChartToCloud",
        "zoom2d",
        "pan2d",
        "select2d",
        "lasso2d",
        "autoScale2d",
        "zoom3d",
        "pan3d",
    ),
    *("orbitRotation", "tableRotation", "resetCameraLastSave3d"),
)
MAP: Any = {
    "displaylogo": False,
    "scrollZoom": True,
    "doubleClick": False,
    "doubleClickDelay": 100,  # two clicks on two points may be quick
    "modeBarButtonsToRemove": NO_BUTTONS,
}
ENTRY: Any = {"type": "text", "placeholder": "usual", "autoComplete": "off"}
MOST_SEEN = 12  # choices that need no search
SCREENS = {"left": "linear", "right": "surfing"}
KEYS = "Space plays, arrow keys go frame by frame, Shift-click adds a stop, W walks, Esc clears."


def page(subject: Subject, drawn: LatentMap) -> Any:  # noqa: ANN401
    """Return the page of a subject."""
    views = {name: view.label for name, view in drawn.views.items()}
    colours = [NO_COLOUR, *subject.colours]
    blind = subject.pictures(np.arange(1)) is None
    bar = [
        _choice("view", "View", views, next(iter(views))),
        _choice("colour", "Colour", _same(colours), colours[:2][-1]),
        dcc.Checklist(["Graph edges"], [], id="edges"),
        _button("walk", "Walk", "See the image under the pointer", hidden=blind),
    ]
    place = [
        dcc.Graph(id="map", responsive=True, config=MAP),
        html.Div(id="veil"),
        html.Div(id="dot-linear", className="dot"),
        html.Div(id="dot-surfing", className="dot accent"),
        html.Div(id="look", className="card"),
    ]
    numbers = html.Div(id="numbers", className="panel")
    left = [_row(*bar), html.Div(place, id="place")]
    right = [_path(subject), _stage(), numbers, _keep(subject.also)]
    head = [html.H1(subject.title), html.P(subject.about), html.P(KEYS, className="keys")]
    stores = [dcc.Store(id=name) for name in ("film", "wish", "settled", "measured")]
    main = html.Main([html.Section(left, id="left"), html.Section(right, id="right")])
    return html.Div([*stores, html.Header(head), main], id="page")


def _path(subject: Subject) -> Any:  # noqa: ANN401
    graph, numbers = subject.graph, {str(n): str(n) for n in sorted(FRAMES)}
    reach = dcc.Input(graph.k or graph.radius or None, id="reach", debounce=True, **ENTRY)
    options = [
        _choice("frames", "Frames", numbers, str(FRAMES[0])),
        _choice("order", "Order", {"given": "as given", "best": "shortest"}, "given"),
        dcc.Checklist(["Loop"], [], id="loop"),
        _choice("kind", "Graph", _same(subject.kinds), graph.kind),
        html.Div([html.Label("k or radius", htmlFor="reach"), reach], className="choice"),
        _choice("weight", "Edges weigh", _same(subject.weights), graph.weight),
    ]
    hint = "click two points, or type: 3, 17"
    stops = dcc.Input("", id="stops", debounce=True, **ENTRY | {"placeholder": hint})
    own = _button("own", "Own image", "Or drop a picture anywhere", hidden=not subject.decodes)
    rows = [
        html.Label("Stops", htmlFor="stops"),
        _row(stops, _button("clear", "Clear", "Begin again"), tight=True),
        _row(
            _button("add", "Add stop", "The next click adds a stop"),
            own,
            _button("load", "Load", "Stops from a text file"),
            _button("save", "Save", "Stops as a text file"),
            tight=True,
        ),
        html.Details([html.Summary("Options"), _row(*options)]),
        html.Div(id="message", role="status"),
    ]
    if subject.pairs:
        said = "Evaluated pairs, worst first"
        rows.insert(3, _choice("pairs", "", subject.pairs, None, placeholder=said))
    return html.Div(rows, className="panel", id="path")


def _stage() -> Any:  # noqa: ANN401
    screens = []
    for side, method in SCREENS.items():
        near = [html.Canvas(id=f"near-{side}"), html.Span(id=f"said-{side}")]
        chosen = dcc.Dropdown([method], method, id=f"method-{side}", clearable=False)
        parts = [chosen, html.Canvas(id=f"screen-{side}"), html.Div(near, className="near")]
        screens.append(html.Div(parts, className="screen"))
    controls = [
        _button("play", "Pause", "Space"),
        html.Div(id="scrub"),
        html.Span(id="frame"),
        dcc.Dropdown(SPEEDS, "1", id="speed", clearable=False, searchable=False),
    ]
    parts = [
        html.Div(screens, className="screens"),
        html.Div(controls, className="row controls"),
        html.Div(id="curves"),
        html.Div(id="key", className="key"),
    ]
    return html.Div(parts, className="panel", id="stage")


def _keep(also: Sequence[str]) -> Any:  # noqa: ANN401
    named = {"frames": "PNG frames", "mp4": "MP4"}
    buttons = _row(
        _button("export", "Export", "Write all files of this path"),
        dcc.Checklist([{"value": n, "label": named[n]} for n in also], [], id="also"),
        _button("copy", "Copy command", "What makes the same files in a shell"),
        tight=True,
    )
    parts = [buttons, html.Code(id="command"), html.Div(id="kept")]
    return html.Div(parts, className="panel", id="keep")


def table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Any:  # noqa: ANN401
    """Return a table with a row for each name."""
    head = html.Tr([html.Th(""), *(html.Th(column, className=column) for column in columns)])
    body = [
        html.Tr([html.Th(name.replace("_", " ")), *map(html.Td, values)], id=f"row-{name}")
        for name, values in rows.items()
    ]
    return html.Table([html.Thead(head), html.Tbody(body)])


def _same(names: Sequence[str]) -> dict[str, str]:
    return {name: name for name in names}


def _choice(
    name: str, label: str, options: Mapping[str, str], value: str | None, placeholder: str = ""
) -> Any:  # noqa: ANN401
    many = len(options) > MOST_SEEN
    shown = dcc.Dropdown(
        dict(options), value, id=name, clearable=False, searchable=many, placeholder=placeholder
    )
    return html.Div([*[html.Label(label, htmlFor=name)] * bool(label), shown], className="choice")


def _row(*parts: Any, tight: bool = False) -> Any:  # noqa: ANN401
    return html.Div(parts, className="row tight" if tight else "row")


def _button(name: str, text: str, title: str, *, hidden: bool = False) -> Any:  # noqa: ANN401
    return html.Button(text, id=name, title=title, n_clicks=0, hidden=hidden)
