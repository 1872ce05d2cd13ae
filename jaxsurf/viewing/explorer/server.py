"""The explorer's server: one page, its callbacks, and pictures on request.

It listens to this machine alone, and answers only requests that name it as this machine and come
from its own page: a page of another site can neither read nor ask anything. All that a browser has
chosen is kept in that browser; the server keeps what is explored, and the films made last.
"""

import contextlib
import functools
import io
import logging
import signal
import threading
import webbrowser
from pathlib import Path
from typing import Any

import flask
import numpy as np
from dash import ClientsideFunction, Dash, Input, Output, State, html, no_update, set_props
from werkzeug.exceptions import HTTPException
from werkzeug.serving import make_server

from jaxsurf.errors import UserError
from jaxsurf.frames.media import FRAME_MS
from jaxsurf.manifold.graph import KINDS, GraphConfig
from jaxsurf.viewing.explorer import layout
from jaxsurf.viewing.explorer.latent_map import LatentMap
from jaxsurf.viewing.explorer.subject import Film, Picture, Subject, Wish
from jaxsurf.viewing.sheets import data_url, of_frames

HOST, LOCAL = "127.0.0.1", ("127.0.0.1", "localhost")
LARGEST_UPLOAD = 20 * 10**6
MOST_STOPS = 200
# Films that are kept, so that exporting and other views need not make one again.
KEPT_FILMS = 8
BEGIN = "click two points on the map: where from, and where to"
# Nothing is ever loaded from elsewhere; plotly's WebGL compiles its shaders' callers itself.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' "
    "'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

Answer = Any  # what flask or dash takes
Saved = dict[str, Any]  # what a browser has chosen: values of the page's entries, by their names

_log = logging.getLogger(__name__)


def serve(subject: Subject, *, port: int = 0, opened: bool = False) -> None:
    """Serve a subject until it is interrupted; a free port is taken where none is given."""
    app = make_app(subject)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a walk asks for ten images a second
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # where it would say it in two lines more
            server = make_server(HOST, port, app.server, threaded=True)
    except (OSError, SystemExit) as error:
        raise UserError(f"port {port} can't be used", cure="choose another --port") from error
    address = f"http://{HOST}:{server.server_port}/"
    _log.info("%s\nexplore it at %s (Ctrl-C ends)", subject.title, address)
    if opened:
        webbrowser.open(address)
    # A shell that starts it in the background has SIGINT ignored, and Ctrl-C would end nothing.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
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
    page = _Page(subject)
    app.layout = layout.page(subject, page.drawn)
    _guard(app.server)
    for name in ("look", "place", "decode"):
        app.server.add_url_rule(f"/{name}", view_func=getattr(page, name))
    app.server.add_url_rule("/upload", view_func=page.upload, methods=["POST"])
    _add_callbacks(app, page)
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
    def refuse() -> Answer:
        """Refuse other names of this machine, which a site may have, and other pages' requests."""
        request, own = flask.request, f"http://{flask.request.host}"
        linked = request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
        other_site = request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
        foreign = request.headers.get("Origin", own) != own or (other_site and not linked)
        if foreign or request.host.partition(":")[0] not in LOCAL:
            return flask.Response("only this machine's own page may ask\n", 403)
        return None

    @server.after_request
    def mark(response: Answer) -> Answer:
        response.headers.update(HEADERS)
        return response

    @server.errorhandler(UserError)
    def explain(error: UserError) -> Answer:
        return {"error": str(error)}, 400

    @server.errorhandler(413)
    def too_large(error: HTTPException) -> Answer:
        del error
        return {"error": f"files may have {LARGEST_UPLOAD // 10**6} MB at most"}, 413


class _Page:
    """Answers what the page asks; whatever a browser has chosen comes with its request."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.drawn = subject, LatentMap(subject.index.codes)
        # Once the first page has drawn its map, which would wait for the compiler otherwise.
        self._warming = threading.Timer(1.0, subject.warm_up, [layout.FRAMES])
        self._warming.daemon = True
        self._films = functools.lru_cache(maxsize=KEPT_FILMS)(subject.film)

    # ---- What the page's script asks for

    def look(self) -> Answer:
        number = int(*_numbers_given("number"))
        if not 0 <= number < len(self.drawn.codes):
            raise UserError(f"there is no image {number}")
        pictures, lines = self.subject.look(number)
        shown = {name: data_url(_png(picture)) for name, picture in pictures.items()}
        return {"pictures": shown, "lines": list(lines)}

    def place(self) -> Answer:
        number, away, code = self._code_at()
        if away <= _numbers_given("reach")[0]:
            return {"stop": str(number)}
        return {"stop": f"code:{','.join(f'{value:.6g}' for value in code)}"}

    def decode(self) -> Answer:
        number, _, code = self._code_at()
        return {"src": data_url(_png(self.subject.decode(code, number)))}

    def upload(self) -> Answer:
        name = flask.request.args.get("name", "")
        return {"stop": self.subject.take(flask.request.get_data(), name)}

    def _code_at(self) -> tuple[int, float, np.ndarray]:
        """Return the point nearest to the place that is asked about, its distance, and the code."""
        view = self.drawn.views.get(name := flask.request.args.get("view", ""))
        if view is None or len(view.axes) != 2:
            raise UserError("choose a view of two dimensions", cure="then any place has a code")
        place = _numbers_given("x", "y")
        number, away = self.drawn.nearest(name, place)
        return number, away, view.lift(np.array(place), self.drawn.codes[number])

    # ---- Callbacks

    def find(self, view: str, saved: Saved, also: list[str]) -> Answer:
        """Return the film of a path, and all that is said about it."""
        given = _stops(saved["stops"])
        if len(given) < 2:
            traces = self.drawn.path_traces(view, None, self.subject.locate(given))
            said = "now the next stop: where to?" if given else BEGIN
            return {"traces": traces, "reels": []}, None, "", "", said, ""
        film = self._films(self._wish(saved))
        return (
            client_film(film, self.subject, self.drawn, view),
            saved,
            layout.table({reel.method: reel.figures for reel in film.reels}),
            film.command + (f" --also={','.join(also)}" if also else ""),
            film.note,
            "",
        )

    def measure(self, settled: str | None, saved: Saved | None, view: str, colour: str) -> Answer:
        """Return all figures of a film, and which one that is: another may be shown by then."""
        if not settled or not saved:
            return no_update
        wish = self._wish(saved)
        further, film, traces = self.subject.further(wish), self._films(wish), []
        figures = {r.method: {**r.figures, **further.get(r.method, {})} for r in film.reels}
        if colour == layout.OFF_COURSE:
            off_course = self.subject.off_course(wish)
            traces = self.drawn.path_traces(view, film, film.stops, off_course)
        return {"wish": saved, "view": view, "table": layout.table(figures), "traces": traces}

    def draw(self, view: str, colour: str, edges: list[str], saved: Saved, shown: Saved) -> Answer:
        """Return the map."""
        if self._warming.ident is None:
            self._warming.start()
        colours, wish = self.subject.colours, self._wish(shown) if shown else None
        film = self._films(wish) if wish else None
        judged = wish if colour == layout.OFF_COURSE else None
        return self.drawn.figure(
            view,
            values=colours[colour](self.drawn.sample) if colour in colours else None,
            legend=colour,
            edges=self.subject.edges(self._graph(saved)) if edges else None,
            film=film,
            off_course=self.subject.off_course(judged) if judged else {},
            stops=film.stops if film else self.subject.locate(_stops(saved["stops"])),
        )

    def export(self, clicks: int, saved: Saved | None, also: list[str]) -> Answer:
        """Write the files of the path that is shown, and list all that were written."""
        said, kind = no_update, no_update
        if clicks:
            try:
                if not saved:
                    raise UserError("there is no path yet", cure="click two points first")
                said, kind = f"written to {self.subject.keep(self._wish(saved), also)}", "good"
            except UserError as error:
                said, kind = str(error), "error"
        kept = [html.Li(name) for name in self.subject.kept()]
        return [html.Span("Written before"), html.Ul(kept)] if kept else [], said, kind

    def _wish(self, saved: Saved) -> Wish:
        frames = int(saved["frames"])
        if not 2 <= frames <= max(layout.FRAMES):
            raise UserError(f"{frames} frames", cure=f"give 2 to {max(layout.FRAMES)}")
        return Wish(
            stops=_stops(saved["stops"]),
            frames=frames,
            graph=self._graph(saved),
            loop=bool(saved["loop"]),
            order="best" if saved["order"] == "best" else "given",
        )

    def _graph(self, saved: Saved) -> GraphConfig:
        """Return the graph that is asked for: the usual one where nothing differs from it."""
        usual, kind, weight = self.subject.graph, saved["kind"], saved["weight"]
        try:
            value = float(saved["reach"] or 0)
        except ValueError as error:
            raise UserError(f"{saved['reach']!r} is no number", cure="give k or radius") from error
        if kind not in self.subject.kinds:
            raise UserError(f"graph {kind!r} is not known here")
        if (kind, weight) == (usual.kind, usual.weight) and value in (0, usual.k or usual.radius):
            return usual
        setting = KINDS[kind].setting
        given: Saved = {setting: int(value) if setting == "k" else value} if setting else {}
        # A page has no other way to bridge gaps.
        return GraphConfig(kind=kind, weight=weight, repair=not KINDS[kind].connects, **given)


def _add_callbacks(app: Dash, page: _Page) -> None:
    # What is asked for is one object in the browser, which later requests hand back.
    names = ("stops", "frames", "order", "loop", "kind", "reach", "weight")
    asked = {name: Input(name, "value") for name in names}
    graph = {name: (Input if name in names[4:] else State)(name, "value") for name in names}
    app.callback(
        Output("film", "data"),
        Output("wish", "data"),
        Output("numbers", "children"),
        Output("command", "children"),
        *(Output("message", part) for part in ("children", "className")),
        inputs={"view": State("view", "value"), "saved": asked, "also": State("also", "value")},
        running=[(Output("page", "className"), "busy", "")],
    )(page.find)
    app.clientside_callback(
        ClientsideFunction("explorer", "command"),
        Output("command", "children", allow_duplicate=True),
        Input("also", "value"),
        State("command", "children"),
        prevent_initial_call=True,
    )
    app.callback(
        Output("measured", "data"),
        Input("settled", "data"),
        State("wish", "data"),
        State("view", "value"),
        State("colour", "value"),
        prevent_initial_call=True,
    )(page.measure)
    app.clientside_callback(
        ClientsideFunction("explorer", "measured"),
        Output("numbers", "children", allow_duplicate=True),
        Input("measured", "data"),
        State("wish", "data"),
        prevent_initial_call=True,
    )
    app.callback(
        Output("map", "figure"),
        inputs={name: Input(name, "value") for name in ("view", "colour", "edges")}
        | {"saved": graph, "shown": State("wish", "data")},
    )(page.draw)
    app.callback(
        Output("kept", "children"),
        *(Output("told", part) for part in ("children", "className")),
        Input("export", "n_clicks"),
        State("wish", "data"),
        State("also", "value"),
        running=[(Output("export", "disabled"), True, False)],
    )(page.export)
    told = {"choose": "stops", "see": "view", "hasten": "speed"}
    told |= {"turn": "method-left", "turnRight": "method-right"}
    if page.subject.pairs:
        told["pick"] = "pairs"
    for name, entry in told.items():
        app.clientside_callback(ClientsideFunction("explorer", name), Input(entry, "value"))
    app.clientside_callback(ClientsideFunction("explorer", "show"), Input("film", "data"))


def _numbers_given(*names: str) -> list[float]:
    """Return parameters of the request, which must be finite numbers."""
    try:
        values = [float(flask.request.args[name]) for name in names]
    except (KeyError, ValueError) as error:
        raise UserError(f"{', '.join(names)} must be numbers") from error
    if not np.isfinite(values).all():
        raise UserError(f"{', '.join(names)} must be finite")
    return values


def _stops(text: str | None) -> tuple[str, ...]:
    """Return the stops that a text names: semicolons part those that may have commas themselves."""
    text = text or ""
    parts = text.split(";" if set(";:=") & set(text) else ",")
    stops = tuple(part.strip() for part in parts if part.strip())
    if len(stops) > 1 and len(set(stops)) == 1:
        raise UserError(f"all stops are {stops[0]}", cure="click another point")
    if len(stops) > MOST_STOPS:
        raise UserError(f"{len(stops)} stops are too many", cure=f"give {MOST_STOPS} at most")
    return stops


def client_film(film: Film, subject: Subject, drawn: LatentMap, view: str) -> dict[str, Any]:
    """Return what a browser plays: sheets of frames, and numbers frame by frame."""
    every = np.stack([reel.nearest for reel in film.reels])
    numbers, places = np.unique(every, return_inverse=True)
    beside = subject.pictures(numbers)
    reels = [
        {
            "method": reel.method,
            "sheet": None if reel.frames is None else of_frames(reel.frames).describe(),
            "count": len(reel.nearest),
            "errors": np.round(reel.errors, 4).tolist(),
            "steps": np.round(reel.steps, 4).tolist(),
            "nearest": reel.nearest.tolist(),
            "places": mine.tolist(),
        }
        for reel, mine in zip(film.reels, places.reshape(every.shape), strict=True)
    ]
    return {
        "reels": reels,
        "beside": None if beside is None else of_frames(beside).describe(),
        "errorName": subject.error_name,
        "ms": FRAME_MS,
        "traces": drawn.path_traces(view, film, film.stops),
    }


def _png(picture: Picture) -> bytes:
    return of_frames(picture[None]).content
