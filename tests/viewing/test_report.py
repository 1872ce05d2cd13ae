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
from jaxsurf.viewing.report import Animated, Evaluation, Page, Pair, Score

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
SCORES = [
    Score(method="linear", mean=61.5, low=53.25, high=70.75, ratio=None, win_rate=None),
    Score(method="surfing", mean=31.1, low=29.2, high=33.3, ratio=0.506, win_rate=0.83),
    Score(method="true", mean=0.0456, low=0.02, high=0.07, ratio=0.0, win_rate=1.0),
]
PAGE = Page(
    title="Arm",
    about="1,600 images",
    workdir="runs/my arm",
    summary={"Model": "smooth"},
    settings='{"seed": 5}',
    curve=PNG,
    evaluation=Evaluation(stale="", num_pairs=97, psnr_db=31.26, scores=SCORES),
    pairs=[PAIR],
)


@pytest.mark.core
def test_page_holds_the_numbers_it_was_given():
    text = Outline(PAGE).text
    for part in (
        "over 97 random pairs",
        "31.3 dB",
        "surfing 31.10 29.20 to 33.30 0.51 83% of pairs",
        "linear 61.50 53.25 to 70.75 baseline baseline",
        "true in-between images (floor) 0.0456 0.02 to 0.07 0.00 100% of pairs",
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
    assert len(images) == 5
    sources = [image["src"].partition(",") for image in images]
    assert {kind for kind, _, _ in sources} == {"data:image/gif;base64", "data:image/png;base64"}
    assert {base64.b64decode(data) for _, _, data in sources} == {GIF, PNG}
    animation, _, _, plot, _ = images
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
    scores = [replace(score, method=HOSTILE) for score in SCORES]
    animations = [replace(each, method=HOSTILE) for each in PAIR.animations]
    pair = replace(PAIR, label=HOSTILE, about=HOSTILE, stale=HOSTILE, animations=animations)
    parsed = Outline(
        replace(
            PAGE,
            title=HOSTILE,
            about=HOSTILE,
            summary={HOSTILE: HOSTILE},
            settings=HOSTILE,
            evaluation=replace(PAGE.evaluation, scores=scores),
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
