"""What stands on the explorer's page, top to bottom; `server` gives it life."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dash import dcc, html

from jaxsurf.viewing.explorer.latent_map import LatentMap
from jaxsurf.viewing.explorer.subject import Figures, Subject

Part = Any  # dash's components have no type in common
Options = Mapping[str, str] | Sequence[str]  # by value, or values alone
# Numbers of frames to choose from, the usual one first; all are compiled in the beginning.
FRAMES = (32, 16, 64, 96)
SPEEDS = {"0.25": "1/4 x", "0.5": "1/2 x", "1": "1 x", "2": "2 x", "4": "4 x"}
NO_BUTTONS = (
    "toImage sendChartToCloud zoom2d pan2d select2d lasso2d autoScale2d zoom3d pan3d orbitRotation "
    "tableRotation resetCameraLastSave3d"
)
MAP: Any = {
    "displaylogo": False,
    "scrollZoom": True,
    "doubleClick": False,
    "doubleClickDelay": 100,  # two clicks on two points may be quick
    "modeBarButtonsToRemove": NO_BUTTONS.split(),
}
ENTRY: Any = {"type": "text", "placeholder": "automatic", "autoComplete": "off"}
MOST_SEEN = 12  # choices that need no search
TITLES = {
    "frames": "How many frames are made",
    "order": "In which order stops in between are visited",
    "kind": "Which images are joined: those that are neighbours in codes, images, or both",
    "reach": "How many neighbours are joined, or how far away they may be",
    "weight": "What the shortest path makes small: a length of images, or of codes",
}
SCREENS = {"left": "linear", "right": "surfing"}
KEYS = "Space plays, arrow keys go frame by frame, Shift-click adds a stop, W previews, Esc clears."
# What a figure belongs to, and what it is; others stand after them.
FIGURES = {
    "residual": ("real", "squared difference (0-255) to the nearest true image; less is better"),
    "consistency": ("real", "how much the model changes its own frames (0-255); less is better"),
    "course": ("right", "grid steps away from the nearest perfect course; less is better"),
    "progress": ("right", "share of the steps that go forward; 1 is best"),
    "step_jump": ("even", "largest step over the mean one, as images; 1 is best"),
    "step_unevenness": ("even", "coefficient of variation of the steps, as images; 0 is best"),
    "step_mean": ("even", "mean step, as a root mean square difference of images (0 to 1)"),
    "step_largest": ("even", "largest step, as a root mean square difference of images (0 to 1)"),
    "nearest_image": ("aside", "root mean square difference (0-255) to the nearest image"),
    "interpolation_mse": ("aside", "the score of Yadlin and Botchan's report; less is better"),
    "interpolation_mse_wrapped": ("aside", "the same score with that report's uint8 overflow"),
    "path_length": ("aside", "length of the path in latent units"),
    "farthest_from_codes": ("real", "largest distance of the path to a code; less is better"),
    "mean_from_codes": ("real", "mean distance of the path to the nearest code; less is better"),
}
GROUPS = ("real", "right", "even", "aside")
OFF_COURSE = "course error of the path"


def page(subject: Subject, drawn: LatentMap) -> Part:
    """Return the page of a subject."""
    views = {name: view.label for name, view in drawn.views.items()}
    colours = ["no colour", *subject.colours, *[OFF_COURSE] * subject.judges]
    blind = subject.pictures(np.arange(1)) is None
    bar = [
        _choice("view", "View", views, next(iter(views))),
        _choice("colour", "Colour", colours, colours[:2][-1]),
        dcc.Checklist(["Graph edges"], [], id="edges"),
        _button("walk", "Preview", "See what lies under the pointer, live (W)", hidden=blind),
    ]
    place = [
        dcc.Graph(id="map", responsive=True, config=MAP),
        html.Div(id="veil"),
        html.Div(id="dot-linear", className="dot"),
        html.Div(id="dot-surfing", className="dot accent"),
        html.Div(id="look", className="card"),
    ]
    left = [_row(*bar), html.Div(place, id="place")]
    numbers = html.Div(id="numbers", className="panel")
    right = [_path(subject), _stage(), numbers, _keep(subject.also)]
    head = [html.H1(subject.title), html.P(subject.about), html.P(KEYS, className="keys")]
    stores = [dcc.Store(id=name) for name in ("film", "wish", "settled", "measured")]
    main = html.Main([html.Section(left, id="left"), html.Section(right, id="right")])
    return html.Div([*stores, html.Header(head), main], id="page")


def _path(subject: Subject) -> Part:
    graph, orders = subject.graph, {"given": "as given", "best": "shortest"}
    reach = dcc.Input(graph.k or graph.radius or None, id="reach", debounce=True, **ENTRY)
    options = [
        _choice("frames", "Frames", [str(n) for n in sorted(FRAMES)], str(FRAMES[0])),
        _choice("order", "Order", orders, "given"),
        dcc.Checklist(["Loop"], [], id="loop"),
        _choice("kind", "Graph", subject.kinds, graph.kind),
        _labelled("k or radius", reach),
        _choice("weight", "Edges weigh", subject.weights, graph.weight),
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
        rows.insert(3, _choice("pairs", "", subject.pairs, None, subject.pairs_are))
    return html.Div(rows, className="panel", id="path")


def _stage() -> Part:
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


def _keep(also: Sequence[str]) -> Part:
    named = {"frames": "PNG frames", "mp4": "MP4"}
    buttons = _row(
        _button("export", "Export", "Write all files of this path"),
        dcc.Checklist({name: named[name] for name in also}, [], id="also"),
        _button("copy", "Copy command", "What makes the same files in a shell"),
        tight=True,
    )
    told = html.Div(id="told", role="status")
    parts = [buttons, told, html.Code(id="command"), html.Div(id="kept")]
    return html.Div(parts, className="panel", id="keep")


def table(figures: Mapping[str, Figures]) -> Part:
    """Return the table of figures: a column a method, rows by what they belong to (`GROUPS`)."""
    names = dict.fromkeys(name for some in figures.values() for name in some)
    head = html.Tr([html.Th(""), *(html.Th(method, className=method) for method in figures)])
    bodies = []
    for group in GROUPS:
        body = []
        for name in names:
            belongs, meaning = FIGURES.get(name, ("aside", ""))
            if belongs == group:
                values = [some.get(name) for some in figures.values()]
                cells = [html.Td("" if value is None else f"{value:.4g}") for value in values]
                title = html.Th(name.replace("_", " "))
                body.append(html.Tr([title, *cells], id=f"row-{name}", title=meaning))
        if body:
            title = html.Tr([html.Th(group, className="group", colSpan=1 + len(figures))])
            bodies.append(html.Tbody([title, *body]))
    return html.Table([html.Thead(head), *bodies])


def _choice(name: str, label: str, options: Options, value: str | None, hint: str = "") -> Part:
    style: Any = {"clearable": False, "searchable": len(options) > MOST_SEEN}
    return _labelled(label, dcc.Dropdown(options, value, id=name, placeholder=hint, **style))


def _labelled(label: str, entry: Part) -> Part:
    named = [html.Label(label, htmlFor=entry.id)] if label else []
    return html.Div([*named, entry], className="choice", title=TITLES.get(entry.id, ""))


def _row(*parts: Part, tight: bool = False) -> Part:
    return html.Div(parts, className="row tight" if tight else "row")


def _button(name: str, text: str, title: str, *, hidden: bool = False) -> Part:
    return html.Button(text, id=name, title=title, n_clicks=0, hidden=hidden)
