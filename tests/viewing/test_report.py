"""The page: what it holds, what it asks for, and that no text on it is obeyed."""

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from jaxsurf.frames import media
from jaxsurf.viewing import plots, report, sheets
from jaxsurf.viewing.report import (
    Animated,
    Column,
    Evaluation,
    Factor,
    LatentMap,
    Page,
    Pair,
    Score,
    Scored,
)

ENDING = "</script><script>alert(1)</script><!--<script>"
HOSTILE = "<script>alert('ä')</script>\" onload=\"a & b {{ 7 * 7 }} größer"
WITHOUT_END_TAG = {"meta", "img", "br", "link", "input"}


class Outline(HTMLParser):
    """The elements of a page with their attributes; open ones must be closed in order."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self.scripts, self.open = [], "", [], []
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
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        else:
            self.text += f" {data}"

    @property
    def data(self):
        """What the page gives to its script."""
        return json.loads(self.scripts[0])

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


FRAMES = np.random.default_rng(0).integers(0, 256, (3, 11, 13, 3), dtype=np.uint8)
GIF, PNG = media.gif(FRAMES), plots.png(plots.curves({"a": ([1], [2])}, ""))
SHEET = sheets.of_film(GIF, frame_ms=media.FRAME_MS, kept=np.arange(3))
FILM = {
    "sheet": SHEET,
    "numbers": [0, 618, 1236],
    "num_frames": 1237,
    "frame_ms": 60.0,
    "interpolation_mse": 71.234,
    "interpolation_mse_wrapped": 16.5,
    "errors": [1.0, 2.0, 3.0],
    "steps": [0.0, 1.0, 2.0],
}
PAIR = Pair(
    label="3 to 99",
    about="k-NN graph with k = 8",
    stale="",
    animations=[
        Animated(method="pixel", file="pixel.gif", length=None, **FILM),
        Animated(method="surfing", file="surfing.gif", length=2.25, path=np.ones((3, 2)), **FILM),
    ],
    strip=PNG,
    latent=PNG,
)
MAP = LatentMap(
    axes=["latent 1", "latent 2"],
    points=np.array([[0.5, 1.5], [2.5, 3.5], [4.5, 5.5]]),
    numbers=np.arange(3),
    num_images=3,
    files=["a.png", "b.png", "c.png"],
    factors=[Factor(name="light", values=np.array([0.0, np.nan, 1.0]), labels=["left", "right"])],
    thumbnails=sheets.of_thumbnails([FRAMES]),
    pictured=np.arange(3),
    edges=np.array([[0, 1]]),
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
        each=np.array([[30.5], [np.nan]]),
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
    pairs=["5 to 7"],
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
    latent_map=MAP,
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
        "uint8 arithmetic of Yadlin and Botchan's report, only to compare",
        '{"seed": 5}',
    ):
        assert part in text
    assert "launch/" not in text
    assert "Files are missing" not in text


def test_pictures_are_part_of_the_page():
    images = Outline(PAGE).all("img")
    assert len(images) == 6
    sources = [image["src"].partition(",") for image in images]
    assert {kind for kind, _, _ in sources} == {"data:image/png;base64"}
    assert {base64.b64decode(data) for _, _, data in sources} == {PNG}
    with Image.open(io.BytesIO(PNG)) as image:
        assert (int(images[0]["width"]), int(images[0]["height"])) == image.size


def test_page_loads_nothing_and_runs_nothing_but_its_own_script():
    parsed, source = Outline(PAGE), report.render(PAGE)
    assert not {tag for tag, _ in parsed.elements} & {"link", "iframe", "object", "a"}
    assert parsed.all("script") == [{"type": "application/json", "id": "data"}, {}]
    for loading in ("url(", "@import", "http://", "https://", "fetch(", "XMLHttpRequest"):
        assert loading not in source
    (_, policy, *_) = parsed.all("meta")
    assert "default-src 'none'" in policy["content"]
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy["content"]


def test_the_script_gets_what_the_page_was_given():
    given = Outline(PAGE).data
    assert given["map"]["files"] == ["a.png", "b.png", "c.png"]
    assert given["map"]["numbers"] is None  # they are those of all
    assert given["pairs"][0]["films"][1]["numbers"] == [0, 618, 1236]
    assert given["pairs"][0]["films"][1]["frameMs"] == pytest.approx(60 * 1237 / 3)
    real, old = given["scores"]["panels"]
    assert [row["method"] for row in real["rows"]] == ["linear", "surfing", "true"]
    assert real["rows"][1]["interval"] == [31.1, 29.2, 33.3]
    assert (real["rows"][1]["each"], old["rows"][0]["each"]) == ([30.5], [None])
    for sheet in (given["map"]["thumbnails"], given["pairs"][0]["films"][0]["sheet"]):
        with Image.open(io.BytesIO(base64.b64decode(sheet["src"].partition(",")[2]))) as image:
            assert image.width == sheet["across"] * sheet["cell"][0]


def test_hostile_texts_are_shown_not_obeyed():
    evaluation = replace(
        EVALUATION,
        about=[HOSTILE],
        columns=[Column(HOSTILE, HOSTILE, HOSTILE)] * 2,
        methods=[replace(each, method=HOSTILE, faults=[HOSTILE]) for each in METHODS],
        judged=HOSTILE,
        worst={HOSTILE: PNG},
    )
    animations = [replace(each, method=HOSTILE, sheet=None) for each in PAIR.animations]
    animations += [replace(PAIR.animations[1], method=HOSTILE)]
    factor = replace(MAP.factors[0], name=HOSTILE, labels=[HOSTILE, ENDING])
    latent_map = replace(
        MAP, axes=[HOSTILE] * 2, files=[HOSTILE, ENDING, "\u2028"], factors=[factor]
    )
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
            latent_map=latent_map,
            remarks=[HOSTILE],
        )
    )
    assert len(parsed.all("script")) == 2
    given = parsed.data
    assert given["map"]["files"] == [HOSTILE, ENDING, "\u2028"]
    assert given["map"]["factors"][0]["labels"] == [HOSTILE, ENDING]
    assert given["pairs"][0]["films"][0]["method"] == HOSTILE
    assert not any("onload" in attributes for _, attributes in parsed.elements)
    assert parsed.text.count(HOSTILE) >= 10
    assert any(HOSTILE in image["alt"] for image in parsed.all("img"))
    assert len(Outline(replace(PAGE, workdir=HOSTILE, evaluation=None)).all("script")) == 2


def test_missing_parts_say_how_to_make_them():
    text = Outline(replace(PAGE, evaluation=None, pairs=[], curve=None, latent_map=None)).text
    assert "python launch/evaluate.py --workdir='runs/my arm' --num_pairs=100" in text
    assert "python launch/surf.py --workdir='runs/my arm' --source=0 --target=1" in text
    assert "python launch/report.py --workdir='runs/my arm'" in text
    assert "training writes them to metrics.jsonl" in text
