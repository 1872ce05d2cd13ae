"""One HTML page that shows a run: scores, animations, training. It computes nothing itself.

The page is a single file without fonts or links: images, styles and the one script are part of it,
and it may load nothing. `report.js` draws the latent map, plays the animations of a pair in step
and shows the scores of pairs; it gets its data as JSON. Without scripts, and on paper, strips of
frames and tables are left. What is missing is left out, and a sentence says how to make it.
"""

import base64
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from jaxtyping import Float, Int, Real

from jaxsurf.evaluation.pairs import BASELINE, FLOOR
from jaxsurf.evaluation.truth import LEAP_FRAMES
from jaxsurf.viewing.sheets import Sheet, data_url


class Column(NamedTuple):
    """A column of scores: the question that it answers, what is measured, and its unit."""

    question: str
    name: str
    unit: str


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of many pairs; `stale` says why they no longer fit the run."""

    stale: str
    about: Sequence[str]  # what they rest on
    columns: Mapping[str, Column]  # by metric
    content: Mapping[str, Any]  # that of `evaluation.json`
    distance: bytes | None  # error against the distance of the ends, PNG
    worst: Mapping[str, bytes]  # PNGs of the pairs on which a method does worst
    pairs: Sequence[str]  # those that have a dot each
    each: Mapping[str, Sequence[Sequence[float | None]]]  # figures of these by method, then column


@dataclass(frozen=True, kw_only=True)
class Factor:
    """What is known of each image: a number, NaN where it is not, or the number of a label."""

    name: str
    values: Real[np.ndarray, "point"]
    labels: Sequence[str] = ()
    period: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LatentMap:
    """Images as points in latent space, with what is shown of each."""

    axes: Sequence[str]  # names of coordinates; the first two are shown unless others are chosen
    points: Float[np.ndarray, "point axis"]
    numbers: Int[np.ndarray, "point"]  # of each image in its set
    files: Sequence[str]  # the name of each image, where it has one
    factors: Sequence[Factor]  # what points are coloured by
    thumbnails: Sheet  # of some of the images, or of all
    pictured: Int[np.ndarray, "picture"]  # which points these are
    edges: Int[np.ndarray, "edge 2"] | None = None  # of the graph, where it is drawn


@dataclass(frozen=True, kw_only=True)
class Animated:
    """One method's animation of a pair, of which `path.json` states the facts.

    Of a long one only some frames are kept, those of `numbers`.
    """

    method: str
    facts: Mapping[str, Any]
    sheet: Sheet
    numbers: Int[np.ndarray, "kept"]
    errors: Sequence[float]  # difference of each to the nearest image
    steps: Sequence[float]  # change from the frame before, 0 for the first
    path: Float[np.ndarray, "kept axis"] | None = None  # on the latent map


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An animated pair; `strip` and `latent` are PNGs."""

    label: str
    about: str  # graph and path, in a line
    stale: str  # why it no longer fits the run
    animations: Sequence[Animated]
    strip: bytes
    latent: bytes | None = None  # where the map can't show it
    stops: Float[np.ndarray, "_stop axis"] | None = None  # on the latent map
    names: Sequence[str] = ()  # of these stops


@dataclass(frozen=True, kw_only=True)
class Page:
    """What is shown."""

    title: str
    about: str  # which images, how many, how large
    read: str  # what was taken of a user's own files
    expected: str  # what the look of the images lets one expect
    workdir: str  # for the commands that make missing parts
    summary: Mapping[str, str]  # what matters most in the configuration
    settings: str  # the whole of it
    curve: bytes | None  # training losses, PNG
    evaluation: Evaluation | None
    pairs: Sequence[Pair]
    latent_map: LatentMap | None = None
    remarks: Sequence[str] = ()  # what the map does not show, and why


def render(page: Page) -> str:
    """Return a page as HTML."""
    folder = Path(__file__).parent
    names = ("latent_map.js", "report.js", "report.css")
    *scripts, style = ((folder / name).read_text(encoding="utf-8") for name in names)
    script = "".join(scripts)
    return fill(
        folder / "report.html.jinja",
        page=page,
        baseline=BASELINE,
        floor=FLOOR,
        leap_frames=LEAP_FRAMES,
        style=style,
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        data=_data(page),
    )


def fill(template: Path, **parts: Any) -> str:  # noqa: ANN401  (what the template names)
    """Return a template that is filled in; texts are escaped if it is one of HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=template.name.endswith(".html.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": _number, "data_url": data_url, "quoted": shlex.quote}
    # Its filter writes `<`, `>` and `&` as escapes of JSON: no text ends the element it stands in.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    try:
        return environment.get_template(template.name).render(parts)
    except jinja2.UndefinedError as error:
        raise LookupError(str(error)) from error


def _number(value: float | None) -> str:
    """Return a number with two decimals, or with three digits where those would show nothing."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,.2f}" if abs(value) >= 1 or not value else f"{value:.3g}"


def _data(page: Page) -> dict[str, Any]:
    """Return what the script is given; its first lines say what it makes of it."""
    return {
        "map": None if page.latent_map is None else _map_data(page.latent_map),
        "pairs": [_pair_data(pair) for pair in page.pairs],
        "scores": None if page.evaluation is None else _scores_data(page.evaluation),
    }


def _map_data(shown: LatentMap) -> dict[str, Any]:
    factors = [
        vars(each) | {"name": each.name.replace("_", " "), "values": _packed(each.values, "<f4")}
        for each in shown.factors
    ]
    return {
        "axes": shown.axes,
        "points": _packed(shown.points.T, "<f4"),  # axis by axis
        "count": len(shown.points),
        "numbers": _packed(shown.numbers, "<u4"),
        "files": shown.files,
        "factors": factors,
        "thumbnails": shown.thumbnails.describe(),
        "pictured": _packed(shown.pictured, "<u4"),
        "edges": None if shown.edges is None else _packed(shown.edges, "<u4"),
    }


def _pair_data(pair: Pair) -> dict[str, Any]:
    films = [
        {
            "method": each.method,
            "sheet": each.sheet.describe(),
            "numbers": each.numbers.tolist(),
            "total": each.facts["num_frames"],
            "frameMs": each.facts["frame_ms"] * each.facts["num_frames"] / len(each.numbers),
            "errors": each.errors,
            "steps": each.steps,
            "path": None if each.path is None else each.path.tolist(),
        }
        for each in pair.animations
    ]
    stops = None if pair.stops is None else pair.stops.tolist()
    return {"label": pair.label, "stops": stops, "names": pair.names, "films": films}


def _scores_data(evaluation: Evaluation) -> dict[str, Any]:
    panels = []
    for number, (metric, column) in enumerate(evaluation.columns.items()):
        rows = [
            {
                "method": method,
                "label": "true images" if method == FLOOR else method,
                "floor": method == FLOOR,
                "interval": [scores[metric][name] for name in ("mean", "low", "high")],
                "each": evaluation.each[method][number],
            }
            for method, scores in evaluation.content["methods"].items()
            if metric in scores
        ]
        panels.append({**column._asdict(), "rows": rows})
    return {"pairs": evaluation.pairs, "panels": panels}


def _packed(values: Real[np.ndarray, "..."], dtype: str) -> str:
    """Return numbers as base64, which is shorter than JSON's and read at once."""
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")
