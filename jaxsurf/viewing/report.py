"""One HTML page that shows a run: scores, animations, training. It computes nothing itself.

The page is a single file without fonts or links: images, styles and the one script are part of it,
and it may load nothing. `report.js` draws the latent map, plays the animations of a pair in step
and shows the scores of pairs; it gets its data as JSON. Without scripts, and on paper, strips of
frames and tables are left. What is missing is left out, and a sentence says how to make it.
"""

import base64
import hashlib
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from jaxtyping import Float, Int, Real
from PIL import Image

from jaxsurf.evaluation.pairs import BASELINE, FLOOR
from jaxsurf.evaluation.truth import LEAP_FRAMES
from jaxsurf.viewing.sheets import Sheet, data_url

# More digits are not seen, and make the page longer.
DIGITS = 5


class Column(NamedTuple):
    """A column of scores: the question that it answers, what is measured, and its unit."""

    question: str
    name: str
    unit: str


@dataclass(frozen=True, kw_only=True)
class Score:
    """The mean of one figure over many pairs, with its 95 % interval.

    `win_rate` is the share of pairs on which it is strictly better than that of `linear`.
    """

    mean: float
    low: float
    high: float
    win_rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A method: a score a column, None where there is none, and what gives its animations away.

    `each` has the figures of pairs, a row a column of scores; NaN where one is not known.
    """

    method: str
    scores: Sequence[Score | None]
    faults: Sequence[str]
    each: Float[np.ndarray, "column pair"] | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of many pairs; `stale` says why they no longer fit the run."""

    stale: str
    about: Sequence[str]  # what they rest on
    columns: Sequence[Column]
    methods: Sequence[Scored]
    distance: bytes | None  # error against the distance of the ends, PNG
    judged: str  # the method whose worst pairs are shown
    worst: Mapping[str, bytes]  # PNGs by pair
    pairs: Sequence[str] = ()  # those that `Scored.each` has figures of
    left_out: int = 0  # how many others there are


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
    num_images: int  # in the set
    files: Sequence[str]  # the name of each image, where it has one
    factors: Sequence[Factor]  # what points are coloured by
    thumbnails: Sheet  # of some of the images, or of all
    pictured: Int[np.ndarray, "picture"]  # which points these are
    edges: Int[np.ndarray, "edge 2"] | None = None  # of the graph, where it is drawn
    left_out: Sequence[str] = ()  # what is not shown, and why


@dataclass(frozen=True, kw_only=True)
class Animated:
    """One method's animation of a pair; `sheet` is None where the file is gone.

    Of a long one only some frames are kept: `numbers` says which, and figures and codes are theirs.
    """

    method: str
    file: str
    sheet: Sheet | None
    numbers: Sequence[int]
    num_frames: int
    frame_ms: float
    length: float | None
    interpolation_mse: float
    interpolation_mse_wrapped: float | None
    errors: Sequence[float] = ()  # difference to the nearest image
    steps: Sequence[float] = ()  # change from the frame before, 0 for the first
    path: Float[np.ndarray, "_frame axis"] | None = None  # on the latent map


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An animated pair; `strip` and `latent` are PNGs, None where there is none to be shown."""

    label: str
    about: str  # graph and path, in a line
    stale: str  # why it no longer fits the run
    animations: Sequence[Animated]
    strip: bytes | None
    latent: bytes | None = None  # where the map can't show it
    stops: Float[np.ndarray, "_stop axis"] | None = None  # on the latent map
    names: Sequence[str] = ()  # of these stops

    @property
    def missing(self) -> list[str]:
        """Names of the files that are gone."""
        gone = [each.file for each in self.animations if each.sheet is None]
        return gone + ["strip.png"] * (self.strip is None)


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
    environment.filters |= {"number": _number, "picture": picture, "quoted": shlex.quote}
    # Its filter writes `<`, `>` and `&` as escapes of JSON: no text ends the element it stands in.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.get_template(template.name).render(parts)


def picture(data: bytes) -> dict[str, str | int]:
    """Return what an `img` element needs of a PNG: `src`, `width` and `height`."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            width, height = image.size
    except OSError as error:
        raise ValueError("the data is no PNG") from error
    return {"src": data_url(data), "width": width, "height": height}


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
    whole = len(shown.numbers) == shown.num_images
    factors = [
        vars(each) | {"name": each.name.replace("_", " "), "values": _packed(each.values, "<f4")}
        for each in shown.factors
    ]
    return {
        "axes": shown.axes,
        "points": _packed(shown.points.T, "<f4"),  # axis by axis
        "count": len(shown.points),
        "numbers": None if whole else _packed(shown.numbers, "<u4"),
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
            "numbers": list(each.numbers),
            "total": each.num_frames,
            "frameMs": each.frame_ms * each.num_frames / len(each.numbers),
            "errors": list(map(_short, each.errors)),
            "steps": list(map(_short, each.steps)),
            "path": _rows(each.path),
        }
        for each in pair.animations
        if each.sheet is not None
    ]
    return {"label": pair.label, "stops": _rows(pair.stops), "names": pair.names, "films": films}


def _scores_data(evaluation: Evaluation) -> dict[str, Any]:
    panels = []
    for number, column in enumerate(evaluation.columns):
        rows = []
        for scored in evaluation.methods:
            if (score := scored.scores[number]) is None:
                continue
            each = [] if scored.each is None else scored.each[number].tolist()
            floor = scored.method == FLOOR
            rows.append(
                {
                    "method": scored.method,
                    "label": "true images" if floor else scored.method,
                    "floor": floor,
                    "interval": list(map(_short, (score.mean, score.low, score.high))),
                    "each": [_short(v) if np.isfinite(v) else None for v in each],
                }
            )
        if rows:
            panels.append({**column._asdict(), "rows": rows})
    return {"pairs": evaluation.pairs, "panels": panels}


def _rows(points: Float[np.ndarray, "_row axis"] | None) -> list[list[float]] | None:
    return None if points is None else [[_short(v) for v in row] for row in points.tolist()]


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _packed(values: Real[np.ndarray, "..."], dtype: str) -> str:
    """Return numbers as base64, which is shorter than JSON's and read at once."""
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")
