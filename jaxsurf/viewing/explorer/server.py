"""The explorer's server: one page, its callbacks, and pictures on request.

It listens to this machine alone, and answers only requests that name it as this machine and come
from its own page: a page of another site can neither read nor ask anything. All that a browser has
chosen is kept in that browser; the server keeps what is explored, and the films made last.
"""

import base64
import functools
import io
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import flask
import numpy as np
from dash import ClientsideFunction, Dash, Input, Output, State, html, no_update, set_props
from jaxtyping import UInt8
from PIL import Image
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server

from jaxsurf.errors import UserError
from jaxsurf.manifold.graph import KINDS, GraphConfig
from jaxsurf.viewing.explorer import layout
from jaxsurf.viewing.explorer.latent_map import LatentMap
from jaxsurf.viewing.explorer.subject import Figures, Film, Subject, Wish

HOST, LOCAL = "127.0.0.1", ("127.0.0.1", "localhost")
LARGEST_UPLOAD = 20 * 10**6
MOST_STOPS = 200
# Films that are kept, so that exporting and other views need not make one again.
KEPT_FILMS = 8
# Nothing is ever loaded from elsewhere; plotly's WebGL compiles its shaders' callers itself.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; frame-ancestors 'none'"
)

_log = logging.getLogger(__name__)


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del code, size  # a walk asks for ten images a second


def serve(subject: Subject, *, port: int = 0, opened: bool = False) -> None:
    """Serve a subject until it is interrupted; a free port is taken where none is given."""
    app = make_app(subject)
    try:
        server = make_server(HOST, port, app.server, threaded=True, request_handler=_Quiet)
    except (OSError, SystemExit) as error:
        raise UserError(f"port {port} can't be used", cure="choose another --port") from error
    server.daemon_threads = True  # requests under way don't hold up the end
    address = f"http://{HOST}:{server.server_port}/"
    _log.info("%s\nexplore it at %s (Ctrl-C ends)", subject.title, address)
    threading.Thread(target=subject.warm_up, args=(layout.FRAMES,), daemon=True).start()
    if opened:
        import webbrowser

        webbrowser.open(address)
    server.serve_forever()


def make_app(subject: Subject) -> Dash:
    """Return the application, whose `server` is a WSGI application."""
    app = Dash(
        "jaxsurf",
        title=f"{subject.title} - jaxsurf",
        update_title="",
        assets_folder=str(Path(__file__).with_name("assets")),
        serve_locally=True,
        enable_mcp=False,
        add_log_handler=False,
        on_error=_report,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    drawn = LatentMap(subject.index.codes)
    films = functools.lru_cache(maxsize=KEPT_FILMS)(subject.film)
    app.layout = layout.page(subject, drawn)
    _guard(app.server)
    _add_routes(app.server, subject, drawn)
    _add_callbacks(app, subject, drawn, films)
    return app


def _report(error: Exception) -> None:
    """Show on the page what went wrong in a callback."""
    text = str(error)
    if not isinstance(error, UserError):
        _log.error("a request failed", exc_info=error)
        text = f"this went wrong: {type(error).__name__}: {error}"
    set_props("message", {"children": text, "className": "error"})


def _guard(server: Any) -> None:  # noqa: ANN401
    server.config["MAX_CONTENT_LENGTH"] = LARGEST_UPLOAD

    @server.before_request
    def refuse() -> Any:  # noqa: ANN401
        """Refuse other names of this machine, which a site may have, and other pages' requests."""
        request = flask.request
        origin = request.headers.get("Origin")
        foreign = origin is not None and origin != f"http://{request.host}"
        try:
            name = urlsplit(f"//{request.host}").hostname
        except ValueError:
            name = None
        site = request.headers.get("Sec-Fetch-Site", "none")
        if name not in LOCAL or foreign or site in ("cross-site", "same-site"):
            return flask.Response("only this machine's own page may ask\n", 403)
        return None

    @server.after_request
    def mark(response: Any) -> Any:  # noqa: ANN401
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @server.errorhandler(UserError)
    def explain(error: UserError) -> Any:  # noqa: ANN401
        return {"error": str(error)}, 400

    @server.errorhandler(413)
    def too_large(error: HTTPException) -> Any:  # noqa: ANN401
        del error
        return {"error": f"files may have {LARGEST_UPLOAD // 10**6} MB at most"}, 413


def _add_routes(server: Any, subject: Subject, drawn: LatentMap) -> None:  # noqa: ANN401
    def asked(*names: str) -> list[float]:
        try:
            values = [float(flask.request.args[name]) for name in names]
        except (KeyError, ValueError) as error:
            raise UserError(f"{', '.join(names)} must be numbers") from error
        if not np.isfinite(values).all():
            raise UserError(f"{', '.join(names)} must be finite")
        return values

    def code_at() -> tuple[int, float, np.ndarray]:
        """Return the point nearest to the place that is asked about, its distance, and the code."""
        view = flask.request.args.get("view", "")
        if view not in drawn.views or len(drawn.views[view].axes) != 2:
            raise UserError("choose a view of two dimensions", cure="then any place has a code")
        place = asked("x", "y")
        number, away = drawn.nearest(view, place)
        return number, away, drawn.views[view].lift(np.array(place), drawn.codes[number])

    @server.get("/look")
    def look() -> Any:  # noqa: ANN401
        number = int(asked("number")[0])
        if not 0 <= number < len(drawn.codes):
            raise UserError(f"there is no image {number}")
        pictures, lines = subject.look(number)
        shown = {name: data_url(picture) for name, picture in pictures.items()}
        return {"pictures": shown, "lines": list(lines)}

    @server.get("/place")
    def place() -> Any:  # noqa: ANN401
        number, away, code = code_at()
        if away <= asked("reach")[0]:
            return {"stop": str(number)}
        return {"stop": f"code:{','.join(f'{value:.6g}' for value in code)}"}

    @server.get("/decode")
    def decode() -> Any:  # noqa: ANN401
        number, _, code = code_at()
        if not subject.decodes:
            pictures, _ = subject.look(number)
            if not pictures:
                raise UserError("these codes have no images")
            return flask.Response(_png(next(iter(pictures.values()))), mimetype="image/png")
        return flask.Response(_png(subject.decode(code)), mimetype="image/png")

    @server.post("/upload")
    def upload() -> Any:  # noqa: ANN401
        stop = subject.take(flask.request.get_data(), flask.request.args.get("name", ""))
        return {"stop": stop}


def _add_callbacks(app: Dash, subject: Subject, drawn: LatentMap, films: Any) -> None:  # noqa: ANN401
    options = ("kind", "reach", "weight")
    graph_inputs = [Input(name, "value") for name in options]

    def stops_of(text: str | None) -> tuple[str, ...]:
        parts = re.split(";" if ";" in (text or "") else ",", text or "")
        stops = tuple(part.strip() for part in parts if part.strip())
        if len(stops) > MOST_STOPS:
            raise UserError(f"{len(stops)} stops are too many", cure=f"give {MOST_STOPS} at most")
        return stops

    def wish_of(saved: dict[str, Any]) -> Wish:
        graph = _graph(subject.graph, *(saved[name] for name in options))
        frames = int(saved["frames"])
        if not 2 <= frames <= max(layout.FRAMES):
            raise UserError(f"{frames} frames", cure=f"give 2 to {max(layout.FRAMES)}")
        return Wish(
            stops=stops_of(saved["stops"]),
            frames=frames,
            graph=graph,
            loop=bool(saved["loop"]),
            order="best" if saved["order"] == "best" else "given",
        )

    # What was wished last is one object in the browser, which every other request hands back.
    @app.callback(
        Output("film", "data"),
        Output("wish", "data"),
        Output("numbers", "children"),
        Output("command", "children"),
        Output("message", "children"),
        Output("message", "className"),
        Output("method-left", "options"),
        Output("method-right", "options"),
        Output("key", "children"),
        Input("stops", "value"),
        Input("frames", "value"),
        Input("order", "value"),
        Input("loop", "value"),
        *graph_inputs,
        State("view", "value"),
        running=[(Output("page", "className"), "busy", "")],
    )
    def find(stops: str, frames: str, order: str, loop: list[str], *more: Any) -> Any:  # noqa: ANN401
        *graph, view = more
        names = ("stops", "frames", "order", "loop", *options)
        saved = dict(zip(names, (stops, frames, order, loop, *graph), strict=True))
        given = stops_of(stops)
        if len(given) < 2:
            located = subject.locate(given)
            data = {"traces": drawn.path_traces(view, None, located), "reels": []}
            said = "one more click: where to?" if given else ""
            return data, None, "", "", said, "", no_update, no_update, ""
        film = films(wish_of(saved))
        data = client_film(film, subject, drawn, view)
        methods = [reel.method for reel in film.reels]
        numbers = _numbers({reel.method: reel.figures for reel in film.reels})
        key = [html.Span(method, className=method) for method in methods]
        return data, saved, numbers, film.command, film.note, "", methods, methods, key

    @app.callback(
        Output("numbers", "children", allow_duplicate=True),
        Input("settled", "data"),
        State("wish", "data"),
        prevent_initial_call=True,
    )
    def measure(settled: str | None, saved: dict[str, Any] | None) -> Any:  # noqa: ANN401
        if not settled or not saved:
            return no_update
        wish = wish_of(saved)
        further = subject.further(wish)
        reels = films(wish).reels
        return _numbers({r.method: {**r.figures, **further.get(r.method, {})} for r in reels})

    @app.callback(
        Output("map", "figure"),
        Input("view", "value"),
        Input("colour", "value"),
        Input("edges", "value"),
        *graph_inputs,
        State("wish", "data"),
        State("stops", "value"),
    )
    def draw(view: str, colour: str, edges: list[str], *more: Any) -> Any:  # noqa: ANN401
        *graph, saved, stops = more
        values = ends = film = None
        if colour in subject.colours:
            values = subject.colours[colour](drawn.sample)
        if edges:
            ends = subject.edges(_graph(subject.graph, *graph))
        if saved:
            film = films(wish_of(saved))
        return drawn.figure(
            view,
            values=values,
            legend=colour,
            edges=ends,
            film=film,
            stops=film.stops if film else subject.locate(stops_of(stops)),
        )

    @app.callback(
        Output("kept", "children"),
        Output("message", "children", allow_duplicate=True),
        Output("message", "className", allow_duplicate=True),
        Input("export", "n_clicks"),
        State("wish", "data"),
        prevent_initial_call="initial_duplicate",
        running=[(Output("export", "disabled"), True, False)],
    )
    def export(clicks: int, saved: dict[str, Any] | None) -> Any:  # noqa: ANN401
        said, kind = no_update, no_update
        if clicks and not saved:
            raise UserError("there is no path yet", cure="click two points first")
        if clicks and saved:
            said, kind = f"written to {subject.keep(wish_of(saved))}", "good"
        names = subject.kept()
        return ["kept: " if names else "", ", ".join(names)], said, kind

    if subject.pairs:
        app.callback(Output("stops", "value"), Input("pairs", "value"), prevent_initial_call=True)(
            lambda pair: pair or no_update
        )
    for name, inputs in {
        "show": ("film", "data"),
        "choose": ("stops", "value"),
        "see": ("view", "value"),
        "hasten": ("speed", "value"),
        "turn": ("method-left", "value"),
        "turnRight": ("method-right", "value"),
    }.items():
        app.clientside_callback(ClientsideFunction("explorer", name), Input(*inputs))


def _graph(usual: GraphConfig, kind: str, reach: Any, weight: str) -> GraphConfig:  # noqa: ANN401
    """Return the graph that is asked for: the usual one where nothing differs from it."""
    try:
        value = float(reach) if str(reach or "").strip() else 0.0
    except ValueError as error:
        raise UserError(f"{reach!r} is no number", cure="give k or a radius") from error
    if kind not in KINDS:
        raise UserError(f"graph {kind!r} is not known")
    if kind == usual.kind and weight == usual.weight and value in (0, usual.k or usual.radius):
        return usual
    setting = KINDS[kind].setting
    given: dict[str, Any] = {setting: int(value) if setting == "k" else value} if setting else {}
    given["repair"] = not KINDS[kind].connects  # a page has no other way to bridge gaps
    return GraphConfig(kind=kind, weight=weight, **given)


def client_film(film: Film, subject: Subject, drawn: LatentMap, view: str) -> dict[str, Any]:
    """Return what a browser plays: sheets of frames, and numbers frame by frame."""
    numbers, places = np.unique(
        np.concatenate([reel.nearest for reel in film.reels]), return_inverse=True
    )
    places = places.reshape(len(film.reels), -1)
    beside = subject.pictures(numbers)
    reels = [
        {
            "method": reel.method,
            "sheet": None if reel.frames is None else sheet(reel.frames),
            "count": len(reel.nearest),
            "errors": np.round(reel.errors, 4).tolist(),
            "steps": np.round(reel.steps, 4).tolist(),
            "nearest": reel.nearest.tolist(),
            "places": mine.tolist(),
        }
        for reel, mine in zip(film.reels, places, strict=True)
    ]
    size = next((r.frames.shape[2:0:-1] for r in film.reels if r.frames is not None), (0, 0))
    return {
        "reels": reels,
        "beside": None if beside is None else sheet(beside),
        "size": list(size),
        "errorName": film.error_name,
        "ms": film.frame_ms,
        "traces": drawn.path_traces(view, film, film.stops),
    }


def sheet(frames: UInt8[np.ndarray, "frame height width 3"]) -> dict[str, Any]:
    """Return frames as one picture, in rows of so many columns."""
    number, height, width = frames.shape[:3]
    columns = int(np.ceil(np.sqrt(number)))
    rows = -(-number // columns)
    filled = np.zeros((rows * columns, height, width, 3), np.uint8)
    filled[:number] = frames
    tiled = filled.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return {"columns": columns, "url": data_url(tiled.reshape(rows * height, columns * width, 3))}


def data_url(picture: UInt8[np.ndarray, "height width 3"]) -> str:
    """Return a picture as a text that browsers show."""
    return f"data:image/png;base64,{base64.b64encode(_png(picture)).decode()}"


def _png(picture: UInt8[np.ndarray, "height width 3"]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG", compress_level=1)
    return content.getvalue()


def _numbers(figures: Mapping[str, Figures]) -> Any:  # noqa: ANN401
    """Return the table of figures: a column a method."""
    names = list(dict.fromkeys(name for some in figures.values() for name in some))
    rows = {name: [_short(some.get(name)) for some in figures.values()] for name in names}
    return layout.table(list(figures), rows)


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
