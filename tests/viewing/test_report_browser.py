"""The page in a browser: it plays in step, points have thumbnails, and nothing is asked for."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from jaxsurf.frames import media
from jaxsurf.viewing import report, sheets
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

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver import ActionChains, Keys  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium or chromedriver is missing"),
]

RANDOM = np.random.default_rng(0)
HOSTILE = "</script><img src=x onerror=alert(1)>"
NUM_FRAMES, NUM_IMAGES = 7, 23
CODES = RANDOM.normal(size=(NUM_IMAGES, 3))


def film(method, level, **more):
    """Return an animation whose frames get brighter by a level each."""
    steps = np.arange(NUM_FRAMES, dtype=np.uint8)[:, None, None, None]
    frames = np.broadcast_to(steps * np.uint8(level), (NUM_FRAMES, 11, 13, 3))
    gif = media.gif(np.ascontiguousarray(frames))
    return Animated(
        method=method,
        file=f"{method}.gif",
        sheet=sheets.of_film(gif, frame_ms=media.FRAME_MS, kept=np.arange(NUM_FRAMES)),
        numbers=range(NUM_FRAMES),
        num_frames=NUM_FRAMES,
        frame_ms=media.FRAME_MS,
        length=1.5,
        interpolation_mse=2.5,
        interpolation_mse_wrapped=None,
        errors=[1.0, 5, 3, 2, 4, 7, 6],
        steps=[0.0, 1, 2, 1, 1, 2, 1],
        **more,
    )


PAIR = Pair(
    label="3 to 9",
    about="a path",
    stale="",
    animations=[film("pixel", 10), film("surfing", 30, path=CODES[:NUM_FRAMES])],
    strip=None,
    stops=CODES[[0, NUM_FRAMES - 1]],
)
PAGE = Page(
    title="Noise",
    about="images",
    read="",
    expected="",
    workdir="runs/noise",
    summary={},
    settings="{}",
    curve=None,
    evaluation=Evaluation(
        stale="",
        about=[],
        columns=[Column("real", "residual", "0-255"), Column("aside", "old", "")],
        methods=[
            Scored(
                method="surfing",
                scores=[Score(mean=2.0, low=1.0, high=3.0)] * 2,
                faults=[],
                each=np.array([[1.0, 3.0], [2.0, np.nan]]),
            )
        ],
        distance=None,
        judged="surfing",
        worst={},
        pairs=["5 to 7", "8 to 2"],
    ),
    pairs=[PAIR, replace(PAIR, label=HOSTILE)],
    latent_map=LatentMap(
        axes=["PC 1", "PC 2", "latent 1"],
        points=CODES,
        numbers=np.arange(NUM_IMAGES),
        num_images=NUM_IMAGES,
        files=[f"{HOSTILE}-{number}" for number in range(NUM_IMAGES)],
        factors=[Factor(name="light", values=np.arange(NUM_IMAGES) % 2, labels=["left", HOSTILE])],
        thumbnails=sheets.of_thumbnails([RANDOM.integers(1, 256, (NUM_IMAGES, 8, 9, 3), np.uint8)]),
        pictured=np.arange(NUM_IMAGES),
        edges=np.array([[0, 1], [1, 2]]),
    ),
)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.chrome.service.Service(DRIVER)
    with webdriver.Chrome(options=options, service=service) as driver:
        yield driver


@pytest.fixture
def opened(browser, tmp_path):
    """Return a function that opens a page; afterwards there is no error, and no request but one."""

    def open_page(page):
        path = tmp_path / "report.html"
        path.write_text(report.render(page), encoding="utf-8")
        browser.get_log("performance")
        browser.get(path.as_uri())
        wait(browser, "return [...document.images].every((image) => image.complete)")
        return browser

    yield open_page
    # It warns of what tests do alone: reading pixels back.
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in asked) == 1


def wait(browser, script):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 10, 0.05).until(lambda driver: driver.execute_script(script))


def levels(browser):
    """Return how bright the middle of each film's canvas is."""
    return browser.execute_script(
        """return [...document.querySelectorAll(".films canvas")].map((canvas) =>
        canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[0])"""
    )


def test_scrubbing_and_keys_show_the_same_frame_of_all_films(opened):
    browser = opened(PAGE)
    wait(browser, "return player.pair.films.every((film) => film.sheet.image.naturalWidth)")
    scrub = browser.find_element("id", "scrub")
    browser.execute_script("arguments[0].value = 4; arguments[0].oninput()", scrub)
    assert levels(browser) == [40, 120]
    assert browser.find_element("id", "frame").text == f"5 / {NUM_FRAMES}"
    browser.find_element("id", "player").send_keys(Keys.ARROW_RIGHT)
    assert levels(browser) == [50, 150]
    curve = browser.find_element("id", "errors")
    ActionChains(browser).move_to_element_with_offset(
        curve, curve.size["width"] // 2 - 9, 0
    ).click().perform()
    assert levels(browser) == [60, 180]  # a click on the right end is the last frame


def test_playing_goes_on_until_it_is_stopped(opened):
    browser = opened(PAGE)
    play = browser.find_element("id", "play")
    play.click()
    wait(browser, "return player.frame >= 2")
    play.click()
    stopped = levels(browser)
    assert stopped[1] == 3 * stopped[0]
    assert browser.execute_script("return player.playing") is False
    frame = browser.execute_script("return player.frame")
    assert stopped[0] == 10 * frame


def test_a_point_shows_its_thumbnail_and_its_texts_as_texts(opened):
    browser = opened(PAGE)
    canvas = browser.find_element("id", "map")
    place = browser.execute_script("return map.placeOf(5)")
    across, up = (place[i] - canvas.size[name] / 2 for i, name in enumerate(("width", "height")))
    ActionChains(browser).move_to_element_with_offset(canvas, round(across), round(up)).perform()
    tip = browser.find_element("id", "tip")
    assert tip.text.splitlines() == ["image 5", f"{HOSTILE}-5", f"light: {HOSTILE}"]
    assert browser.execute_script(
        """const canvas = arguments[0].querySelector("canvas");
        return canvas.getContext("2d").getImageData(4, 4, 1, 1).data[0]""",
        tip,
    )
    assert not browser.find_elements("css selector", "img")
    dot = browser.find_elements("class name", "one")[1]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", dot)
    wait(browser, "return document.getElementById('tip').hidden")  # it does not scroll along
    ActionChains(browser).move_to_element(dot).perform()
    assert tip.text.splitlines() == ["8 to 2", "surfing: residual 3"]


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window_and_parts_may_be_missing(opened, width):
    for page in (
        PAGE,
        replace(PAGE, latent_map=None),
        replace(PAGE, pairs=[], evaluation=None),
        replace(PAGE, pairs=[replace(PAIR, animations=[])]),
    ):
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
        browser = opened(page)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        browser.get_log("performance")
    opened(PAGE)
