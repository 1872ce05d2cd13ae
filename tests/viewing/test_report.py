"""The page: what it holds, what it asks for, and that no text on it is obeyed."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.ui import WebDriverWait

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


RANDOM = np.random.default_rng(0)
PNG = plots.png(plots.curves({"a": ([1], [2])}, ""))
NUM_FRAMES, NUM_IMAGES = 7, 23
CODES = RANDOM.normal(size=(NUM_IMAGES, 3))


def film(method, level, *, length=None, path=None):
    """Return an animation whose frames get brighter by a level each: some of a long one."""
    steps = np.arange(NUM_FRAMES, dtype=np.uint8)[:, None, None, None]
    frames = np.broadcast_to(steps * np.uint8(level), (NUM_FRAMES, 11, 13, 3))
    gif = media.gif(np.ascontiguousarray(frames))
    return Animated(
        method=method,
        facts={
            "num_frames": 1237,
            "frame_ms": 60.0,
            "length": length,
            "interpolation_mse": 71.234,
            "interpolation_mse_wrapped": 16.5,
        },
        sheet=sheets.of_film(gif, frame_ms=media.FRAME_MS, kept=np.arange(NUM_FRAMES)),
        numbers=np.arange(0, 1237, 206),
        errors=[1.0, 5, 3, 2, 4, 7, 6],
        steps=[0.0, 1, 2, 1, 1, 2, 1],
        path=path,
    )


PAIR = Pair(
    label="3 to 99",
    about="k-NN graph with k = 8",
    stale="",
    animations=[
        film("pixel", 10),
        film("surfing", 30, length=2.25, path=CODES[:NUM_FRAMES]),
    ],
    strip=PNG,
    latent=PNG,
    stops=CODES[[0, NUM_FRAMES - 1]],
)
MAP = LatentMap(
    axes=["PC 1", "PC 2", "latent 1"],
    points=CODES,
    numbers=np.arange(NUM_IMAGES),
    files=[f"{HOSTILE}-{number}" for number in range(NUM_IMAGES)],
    factors=[Factor(name="light", values=np.arange(NUM_IMAGES) % 2, labels=["left", ENDING])],
    thumbnails=sheets.of_thumbnails([RANDOM.integers(1, 256, (NUM_IMAGES, 8, 9, 3), np.uint8)]),
    pictured=np.arange(NUM_IMAGES),
    edges=np.array([[0, 1], [1, 2]]),
)
COLUMNS = {
    "residual": Column("real", "residual", "0-255"),
    "interpolation_mse": Column("aside", "interpolation_mse", "of old"),
}
LOW, HIGH = {"mean": 31.1, "low": 29.2, "high": 33.3}, {"mean": 61.5, "low": 53.25, "high": 70.75}
SCORES = {
    "linear": {"residual": HIGH},
    "surfing": {
        "residual": LOW,
        "interpolation_mse": {"mean": 0.0456, "low": 0.02, "high": 0.07},
    },
    "true": {"residual": {"mean": 1.5, "low": 1.0, "high": 2.0}},
}
RATES = {"residual": {"win_rate": 0.83}, "interpolation_mse": {"win_rate": 1.0}}
FAULTS = ["not real: residual 31", "not even: 7 leaps"]
EVALUATION = Evaluation(
    stale="",
    about=["97 random pairs", "a reconstruction of 31.3 dB"],
    columns=COLUMNS,
    content={
        "num_pairs": 97,
        "methods": SCORES,
        "versus": {"surfing": RATES, "true": RATES},
        "faults": {"linear": [], "surfing": FAULTS},
        "worst": {"method": "surfing"},
    },
    distance=PNG,
    worst={"5 to 7": PNG, "8 to 2": PNG},
    pairs=["5 to 7", "8 to 2"],
    each={"linear": [[], []], "surfing": [[30.5, 31.5], [0.05, None]], "true": [[], []]},
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


def test_page_loads_nothing_and_runs_nothing_but_its_own_script():
    parsed, source = Outline(PAGE), report.render(PAGE)
    pictures = [image["src"].partition("data:image/png;base64,") for image in parsed.all("img")]
    assert [base64.b64decode(content) for *_, content in pictures] == [PNG] * 6
    assert not {tag for tag, _ in parsed.elements} & {"link", "iframe", "object", "a"}
    assert parsed.all("script") == [{"type": "application/json", "id": "data"}, {}]
    for loading in ("url(", "@import", "http://", "https://", "fetch(", "XMLHttpRequest"):
        assert loading not in source
    (_, policy, *_) = parsed.all("meta")
    assert "default-src 'none'" in policy["content"]
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy["content"]


def test_hostile_texts_are_shown_not_obeyed():
    content = {
        "num_pairs": 97,
        "methods": {HOSTILE: SCORES["surfing"]},
        "versus": {},
        "faults": {HOSTILE: [HOSTILE]},
        "worst": {"method": HOSTILE},
    }
    evaluation = replace(
        EVALUATION,
        about=[HOSTILE],
        columns=dict.fromkeys(COLUMNS, Column(HOSTILE, HOSTILE, HOSTILE)),
        content=content,
        worst={HOSTILE: PNG},
        each={HOSTILE: [[], []]},
    )
    animations = [replace(PAIR.animations[1], method=HOSTILE)]
    names = ("title", "about", "read", "expected", "settings")
    hostile = replace(
        PAGE,
        **dict.fromkeys(names, HOSTILE),
        summary={HOSTILE: HOSTILE},
        evaluation=evaluation,
        pairs=[
            replace(
                PAIR, **dict.fromkeys(("label", "about", "stale"), HOSTILE), animations=animations
            )
        ],
        latent_map=replace(
            MAP,
            axes=[HOSTILE] * 2,
            files=[HOSTILE, ENDING, "\u2028"],
            factors=[replace(MAP.factors[0], name=HOSTILE, labels=[HOSTILE, ENDING])],
        ),
        remarks=[HOSTILE],
    )
    parsed = Outline(hostile)
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


# In a browser


@pytest.fixture
def opened(browser, asked, tmp_path):
    """Return a function that opens a page; no other file may be asked for by then."""
    path = tmp_path / "report.html"

    def open_page(page=PAGE):
        path.write_text(report.render(page), encoding="utf-8")
        browser.get(path.as_uri())
        wait(browser, "return [...document.images].every((image) => image.complete)")
        return browser

    yield open_page
    assert {url for url in asked() if not url.startswith("data:")} == {path.as_uri()}


def wait(browser, script):
    WebDriverWait(browser, 10, 0.05).until(lambda driver: driver.execute_script(script))


def scroll_to(browser, element):
    script = """
        const [one, done] = arguments;
        one.scrollIntoView({ block: "center" });
        requestAnimationFrame(() => requestAnimationFrame(done)); // the event comes a frame later
    """
    browser.execute_async_script(script, element)


def levels(browser):
    """Return how bright the middle of each film's canvas is."""
    return browser.execute_script(
        """return [...document.querySelectorAll(".films canvas")].map((canvas) =>
        canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[0])"""
    )


@pytest.mark.browser
def test_scrubbing_and_keys_show_the_same_frame_of_all_films(opened):
    browser = opened()
    wait(browser, "return player.pair.films.every((film) => film.sheet.image.naturalWidth)")
    scrub = browser.find_element("id", "scrub")
    browser.execute_script("arguments[0].value = 4; arguments[0].oninput()", scrub)
    assert levels(browser) == [40, 120]
    assert browser.find_element("id", "frame").text == "825 / 1237"
    browser.find_element("id", "player").send_keys(Keys.ARROW_RIGHT)
    assert levels(browser) == [50, 150]
    curve = browser.find_element("id", "errors")
    right = curve.size["width"] // 2 - 9
    ActionChains(browser).move_to_element_with_offset(curve, right, 0).click().perform()
    assert levels(browser) == [60, 180]  # a click on the right end is the last frame


@pytest.mark.browser
def test_playing_goes_on_until_it_is_stopped(opened):
    films = [replace(each, facts={**each.facts, "num_frames": 7}) for each in PAIR.animations]
    browser = opened(replace(PAGE, pairs=[replace(PAIR, animations=films)]))
    play = browser.find_element("id", "play")
    play.click()
    wait(browser, "return player.frame >= 2")
    play.click()
    frame, playing = browser.execute_script("return [player.frame, player.playing]")
    assert levels(browser) == [10 * frame, 30 * frame]
    assert playing is False


@pytest.mark.browser
def test_a_point_shows_its_thumbnail_and_its_texts_as_texts(opened):
    browser = opened(replace(PAGE, pairs=[PAIR, replace(PAIR, label=HOSTILE)]))
    canvas = browser.find_element("id", "map")
    scroll_to(browser, canvas)
    place = browser.execute_script("return map.placeOf(5)")
    across, up = (place[i] - canvas.size[name] / 2 for i, name in enumerate(("width", "height")))
    ActionChains(browser).move_to_element_with_offset(canvas, round(across), round(up)).perform()
    tip = browser.find_element("id", "tip")
    assert tip.text.splitlines() == ["image 5", f"{HOSTILE}-5", f"light: {ENDING}"]
    assert browser.execute_script(
        """const canvas = arguments[0].querySelector("canvas");
        return canvas.getContext("2d").getImageData(4, 4, 1, 1).data[0]""",
        tip,
    )
    assert len(browser.find_elements("css selector", "script")) == 2
    dot = browser.find_elements("class name", "one")[1]
    scroll_to(browser, dot)
    assert not tip.is_displayed()  # it does not scroll along
    ActionChains(browser).move_to_element(dot).perform()
    assert tip.text.splitlines() == ["8 to 2", "surfing: residual 31.5"]


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window_and_parts_may_be_missing(opened, width):
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    for changes in (
        {},
        {"latent_map": None},
        {"pairs": [], "evaluation": None},
        {"pairs": [replace(PAIR, animations=[])]},
    ):
        browser = opened(replace(PAGE, **changes))
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
