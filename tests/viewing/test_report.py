"""The page: what it holds, what it asks for, and that no text on it is obeyed."""

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from jaxsurf.frames import media
from jaxsurf.viewing import plots, report
from jaxsurf.viewing.report import Animated, Column, Evaluation, Page, Pair, Score, Scored

HOSTILE = "<script>alert('ä')</script>\" onload=\"a & b {{ 7 * 7 }} größer"
WITHOUT_END_TAG = {"meta", "img", "br", "link"}


class Outline(HTMLParser):
    """The elements of a page with their attributes; open ones must be closed in order."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self.open = [], "", []
        self.feed(report.render(page))
        assert not self.open
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in WITHOUT_END_TAG:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += f" {data}"

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


FRAMES = np.random.default_rng(0).integers(0, 256, (3, 11, 13, 3), dtype=np.uint8)
GIF, PNG = media.gif(FRAMES), plots.png(plots.curves({"a": ([1], [2])}, ""))
NUMBERS = {"num_frames": 1237, "interpolation_mse": 71.234, "interpolation_mse_wrapped": 16.5}
PAIR = Pair(
    label="3 to 99",
    about="k-NN graph with k = 8",
    stale="",
    animations=[
        Animated(method="pixel", gif=GIF, length=None, **NUMBERS),
        Animated(method="surfing", gif=GIF, length=2.25, **NUMBERS),
    ],
    strip=PNG,
    latent=PNG,
)
COLUMNS = [Column("real", "residual", "0-255"), Column("aside", "interpolation_mse", "of old")]
METHODS = [
    Scored(method="linear", scores=[Score(mean=61.5, low=53.25, high=70.75), None], faults=[]),
    Scored(
        method="surfing",
        scores=[
            Score(mean=31.1, low=29.2, high=33.3, win_rate=0.83),
            Score(mean=0.0456, low=0.02, high=0.07, win_rate=1.0),
        ],
        faults=["not real: residual 31", "not even: 7 leaps"],
    ),
    Scored(method="true", scores=[Score(mean=1.5, low=1, high=2, win_rate=1.0), None], faults=[]),
]
EVALUATION = Evaluation(
    stale="",
    about=["97 random pairs", "a reconstruction of 31.3 dB"],
    columns=COLUMNS,
    methods=METHODS,
    distance=PNG,
    judged="surfing",
    worst={"5 to 7": PNG, "8 to 2": PNG},
)
PAGE = Page(
    title="Arm",
    about="1,600 images",
    read="1,600 images; 2 files left out",
    expected="what to expect: motion",
    workdir="runs/my arm",
    summary={"Model": "smooth"},
    settings='{"seed": 5}',
    curve=PNG,
    evaluation=EVALUATION,
    pairs=[PAIR],
)


@pytest.mark.core
def test_page_holds_the_numbers_it_was_given():
    text = Outline(PAGE).text
    for part in (
        "97 random pairs. A reconstruction of 31.3 dB.",
        "method real? residual, 0-255 interpolation_mse, of old",
        "linear 61.50 53.25 to 70.75 \N{EN DASH} surfing",
        "31.10 29.20 to 33.30 beats linear on 83% 0.0456 0.02 to 0.07 beats linear on 100%",
        "surfing is not real: residual 31; not even: 7 leaps true images",
        "true images 1.50 1.00 to 2.00 \N{EN DASH}",
        "The 2 pairs on which surfing does worst",
        "surfing 1,237 2.25 71.23 16.50",
        "pixel 1,237 \N{EN DASH} 71.23 16.50",
        "the report's uint8 arithmetic, only to compare",
        '{"seed": 5}',
    ):
        assert part in text
    assert "launch/" not in text
    assert "Files are missing" not in text


def test_pictures_are_part_of_the_page_and_small_animations_are_enlarged():
    images = Outline(PAGE).all("img")
    assert len(images) == 8
    sources = [image["src"].partition(",") for image in images]
    assert {kind for kind, _, _ in sources} == {"data:image/gif;base64", "data:image/png;base64"}
    assert {base64.b64decode(data) for _, _, data in sources} == {GIF, PNG}
    animation, _, _, plot, _ = images[3:]
    assert (animation["width"], animation["height"]) == ("39", "33")
    with Image.open(io.BytesIO(PNG)) as image:
        assert (int(plot["width"]), int(plot["height"])) == image.size


def test_page_loads_nothing_and_runs_nothing():
    parsed, source = Outline(PAGE), report.render(PAGE)
    assert not {tag for tag, _ in parsed.elements} & {"script", "link", "iframe", "object", "a"}
    for loading in ("url(", "@import", "http://", "https://"):
        assert loading not in source
    assert "default-src 'none'" in source


def test_hostile_texts_are_shown_not_obeyed():
    evaluation = replace(
        EVALUATION,
        about=[HOSTILE],
        columns=[Column(HOSTILE, HOSTILE, HOSTILE)] * 2,
        methods=[replace(each, method=HOSTILE, faults=[HOSTILE]) for each in METHODS],
        judged=HOSTILE,
        worst={HOSTILE: PNG},
    )
    animations = [replace(each, method=HOSTILE) for each in PAIR.animations]
    pair = replace(PAIR, label=HOSTILE, about=HOSTILE, stale=HOSTILE, animations=animations)
    parsed = Outline(
        replace(
            PAGE,
            title=HOSTILE,
            about=HOSTILE,
            read=HOSTILE,
            expected=HOSTILE,
            summary={HOSTILE: HOSTILE},
            settings=HOSTILE,
            evaluation=evaluation,
            pairs=[pair],
        )
    )
    assert not parsed.all("script")
    assert not any("onload" in attributes for _, attributes in parsed.elements)
    assert parsed.text.count(HOSTILE) >= 10
    assert any(HOSTILE in image["alt"] for image in parsed.all("img"))
    assert not Outline(replace(PAGE, workdir=HOSTILE, evaluation=None)).all("script")


def test_missing_parts_say_how_to_make_them():
    text = Outline(replace(PAGE, evaluation=None, pairs=[], curve=None)).text
    assert "python launch/evaluate.py --workdir='runs/my arm' --num_pairs=100" in text
    assert "python launch/surf.py --workdir='runs/my arm' --source=0 --target=1" in text
    assert "python launch/report.py --workdir='runs/my arm'" in text
    assert "training writes them to metrics.jsonl" in text
