"""One HTML page that shows a run: scores, animations, training. It computes nothing itself.

The page is a single file without scripts, fonts or links: images are part of it. What is missing is
left out, and a sentence says how to make it.
"""

import base64
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from PIL import Image

from jaxsurf.evaluation.pairs import BASELINE, FLOOR
from jaxsurf.evaluation.truth import LEAP_FRAMES

# Small animations are enlarged so many times, as long as several still fit beside each other.
LARGEST_SCALE, WIDEST_PX = 3, 288


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
    """A method: a score a column, None where there is none, and what gives its animations away."""

    method: str
    scores: Sequence[Score | None]
    faults: Sequence[str]


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

    @property
    def known(self) -> bool:
        """Whether the truth is."""
        return any(column.name == "residual" for column in self.columns)


@dataclass(frozen=True, kw_only=True)
class Animated:
    """One method's animation of a pair; `gif` is None where the file is gone."""

    method: str
    gif: bytes | None
    num_frames: int
    length: float | None
    interpolation_mse: float
    interpolation_mse_wrapped: float | None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An animated pair; `strip` and `latent` are PNGs, None where the file is gone."""

    label: str
    about: str  # graph and path, in a line
    stale: str  # why it no longer fits the run
    animations: Sequence[Animated]
    strip: bytes | None
    latent: bytes | None

    @property
    def missing(self) -> list[str]:
        """Names of the files that are gone."""
        files = {f"{each.method}.gif": each.gif for each in self.animations}
        files |= {"strip.png": self.strip, "latent.png": self.latent}
        return [name for name, content in files.items() if content is None]


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


def render(page: Page) -> str:
    """Return a page as HTML."""
    template = Path(__file__).with_name("report.html.jinja")
    return fill(template, page=page, baseline=BASELINE, floor=FLOOR, leap_frames=LEAP_FRAMES)


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
    return environment.get_template(template.name).render(parts)


def picture(data: bytes, *, enlarge: bool = False) -> dict[str, str | int]:
    """Return what an `img` element needs of a GIF or PNG: `src`, and the size of display.

    With `enlarge` a small one is shown in a whole multiple of its size.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("GIF", "PNG")) as image:
            kind, (width, height) = str(image.format).lower(), image.size
    except OSError as error:
        raise ValueError("the data is neither a GIF nor a PNG") from error
    scale = max(1, min(LARGEST_SCALE, WIDEST_PX // width)) if enlarge else 1
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return {"src": source, "width": scale * width, "height": scale * height}


def _number(value: float | None) -> str:
    """Return a number with two decimals, or with three digits where those would show nothing."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,.2f}" if abs(value) >= 1 or not value else f"{value:.3g}"
