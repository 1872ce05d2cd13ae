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
SCREENS = {"left": "linear", "right": "surfing"}
KEYS = "Space plays, arrow keys go frame by frame, Shift-click adds a stop, W walks, Esc clears."


def page(subject: Subject, latent_map: LatentMap) -> Any:  # noqa: ANN401
    """Return the page of a subject."""
    views = {name: view.label for name, view in latent_map.views.items()}
    colours = [NO_COLOUR, *subject.colours]
    first = colours[1] if len(colours) > 1 else NO_COLOUR
    return html.Div(
        [
            dcc.Store(id="film"),
            dcc.Store(id="wish"),
            dcc.Store(id="settled"),
            html.Header(
                [html.H1(subject.title), html.P(subject.about), html.P(KEYS, className="keys")]
            ),
            html.Main(
                [
                    html.Section(
                        [
                            html.Div(
                                [
                                    _choice("view", "View", views, next(iter(views))),
                                    _choice("colour", "Colour", _same(colours), first),
                                    _ticks("edges", "Graph edges"),
                                    _button(
                                        "walk",
                                        "Walk",
                                        "See the image under the pointer",
                                        hidden=subject.pictures(np.arange(1)) is None,
                                    ),
                                ],
                                className="row",
                            ),
                            html.Div(
                                [
                                    dcc.Graph(
                                        id="map",
                                        responsive=True,
                                        config={
                                            "displaylogo": False,
                                            "scrollZoom": True,
                                            "doubleClick": False,
                                            "doubleClickDelay": 100,
                                            "modeBarButtonsToRemove": NO_BUTTONS,
                                        },
                                    ),
                                    html.Div(id="veil"),
                                    html.Div(id="dot-linear", className="dot"),
                                    html.Div(id="dot-surfing", className="dot accent"),
                                    html.Div(id="look", className="card"),
                                ],
                                id="place",
                            ),
                        ],
                        id="left",
                    ),
                    html.Section(
                        [
                            _path(subject),
                            _stage(),
                            html.Div(id="numbers", className="panel"),
                            _keep(),
                        ],
                        id="right",
                    ),
                ]
            ),
        ],
        id="page",
    )


def _path(subject: Subject) -> Any:  # noqa: ANN401
    graph = subject.graph
    pairs = subject.pairs or {}
    stops = dcc.Input(
        id="stops",
        type="text",
        value="",
        debounce=True,
        autoComplete="off",
        placeholder="click two points, or type: 3, 17",
    )
    options = html.Details(
        [
            html.Summary("Options"),
            html.Div(
                [
                    _choice(
                        "frames", "Frames", {str(n): str(n) for n in sorted(FRAMES)}, str(FRAMES[0])
                    ),
                    _choice("order", "Order", {"given": "as given", "best": "shortest"}, "given"),
                    _ticks("loop", "Loop"),
                    _choice("kind", "Graph", _same(subject.kinds), graph.kind),
                    _number("reach", "k or radius", graph.k or graph.radius or None),
                    _choice("weight", "Edges weigh", _same(subject.weights), graph.weight),
                ],
                className="row",
            ),
        ]
    )
    rows = [
        html.Label("Stops", htmlFor="stops"),
        html.Div([stops, _button("clear", "Clear", "Begin again")], className="row tight"),
        html.Div(
            [
                _button("add", "Add stop", "The next click adds a stop"),
                _button(
                    "own", "Own image", "Or drop a picture anywhere", hidden=not subject.decodes
                ),
                _button("load", "Load", "Stops from a text file"),
                _button("save", "Save", "Stops as a text file"),
            ],
            className="row tight",
        ),
        options,
        html.Div(id="message", role="status"),
    ]
    if pairs:
        rows.insert(
            3, _choice("pairs", "", pairs, None, placeholder="Evaluated pairs, worst first")
        )
    return html.Div(rows, className="panel", id="path")


def _stage() -> Any:  # noqa: ANN401
    screens = [
        html.Div(
            [
                dcc.Dropdown([method], method, id=f"method-{side}", clearable=False),
                html.Canvas(id=f"screen-{side}"),
                html.Div(
                    [html.Canvas(id=f"near-{side}"), html.Span(id=f"said-{side}")],
                    className="near",
                ),
            ],
            className="screen",
        )
        for side, method in SCREENS.items()
    ]
    controls = [
        _button("play", "Pause", "Space"),
        html.Div(id="scrub"),
        html.Span(id="frame"),
        dcc.Dropdown(SPEEDS, "1", id="speed", clearable=False, searchable=False),
    ]
    return html.Div(
        [
            html.Div(screens, className="screens"),
            html.Div(controls, className="row controls"),
            html.Div(id="curves"),
            html.Div(id="key", className="key"),
        ],
        className="panel",
        id="stage",
    )


def _keep() -> Any:  # noqa: ANN401
    return html.Div(
        [
            html.Div(
                [
                    _button("export", "Export", "Write all files of this path"),
                    _button("copy", "Copy command", "What makes the same files in a shell"),
                ],
                className="row tight",
            ),
            html.Code(id="command"),
            html.Div(id="kept"),
        ],
        className="panel",
        id="keep",
    )


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
    chosen = dcc.Dropdown(
        dict(options),
        value,
        id=name,
        clearable=False,
        searchable=len(options) > 12,
        placeholder=placeholder,
    )
    return html.Div(
        [html.Label(label, htmlFor=name), chosen] if label else [chosen], className="choice"
    )


def _ticks(name: str, label: str) -> Any:  # noqa: ANN401
    return dcc.Checklist([label], [], id=name, className="ticks")


def _number(name: str, label: str, value: float | None) -> Any:  # noqa: ANN401
    entry = dcc.Input(id=name, value=value, type="text", debounce=True, placeholder="usual")
    return html.Div([html.Label(label, htmlFor=name), entry], className="choice")


def _button(name: str, text: str, title: str, *, hidden: bool = False) -> Any:  # noqa: ANN401
    return html.Button(text, id=name, title=title, n_clicks=0, hidden=hidden)
