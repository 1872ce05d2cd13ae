"""The explorer in a real browser: what is clicked, dropped and typed, and what is seen then."""

import contextlib
import http.client
import io
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.train import train

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
# An arm that turns about two axes: 100 images.
SETTINGS = {
    "data.side": 32,
    "data.stride": 4,
    "model.channels": 8,
    "optimizer.learning_rate": 5e-3,
    "training.num_epochs": 30,
    "training.batch_size": 20,
}
PATIENCE = 20.0


class Server:
    """The explorer as a process of its own."""

    def __init__(self, *flags):
        command = [sys.executable, "launch/explore.py", *flags]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        lines = []
        while not lines or (lines[-1] and "explore it at " not in lines[-1]):
            lines.append(self.process.stderr.readline())
        assert lines[-1], lines
        self.address = lines[-1].split()[3]
        self.port = int(self.address.split(":")[2].strip("/"))

    def ask(self, path, method="GET", body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def stop(self):
        """End it as Ctrl-C does; return its exit status, and how long that took."""
        started = time.perf_counter()
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(timeout=PATIENCE)
        self.process.stderr.close()
        return status, time.perf_counter() - started


ENVIRONMENT = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "PYTHONPATH": str(ROOT),
}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    root = tmp_path_factory.mktemp("explored") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        train(configuration.from_dotted(SETTINGS), root, shown=False)
    return root


@pytest.fixture(scope="module")
def serve():
    """Starts explorers, which end with the tests."""
    servers = []
    yield lambda *flags: servers.append(Server(*flags)) or servers[-1]
    for server in servers:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="module")
def server(workdir, serve):
    return serve(f"--workdir={workdir}")


@pytest.fixture(scope="module")
def lone(workdir, server):
    """The numbers of four points with no other near: a click there can't mean another."""
    del server  # which writes the codes
    codes = np.load(workdir / "latents.npz")["codes"]
    shown = codes / np.ptp(codes, axis=0)
    apart = np.linalg.norm(shown[:, None] - shown, axis=-1) + np.diag(np.full(len(codes), 9))
    return np.argsort(-apart.min(axis=0))[:4].tolist()


@pytest.fixture(scope="module")
def surfed(workdir, lone):
    """The files of a path between two of them, and the seconds that a process took to make it."""
    source, target, *_ = lone
    flags = [f"--workdir={workdir}", f"--source={source}", f"--target={target}", "--frames=32"]
    command, started = [sys.executable, "launch/surf.py", *flags], time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=ENVIRONMENT)
    seconds, folder = time.perf_counter() - started, workdir / "surf" / f"{source}-{target}"
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    shutil.rmtree(folder)
    return files, seconds


class Page:
    """What a user does on the page, and sees."""

    def __init__(self, driver, address):
        self.driver = driver
        driver.get(address)
        self.until("document.body.dataset.ready")
        self.until("document.getElementById('message').textContent.includes('click two')")

    def run(self, script, *given):
        return self.driver.execute_script(script, *given)

    def says(self, text, name="message"):
        self.until(f"document.getElementById('{name}').innerText.includes(`{text}`)")

    def has_stops(self, text):
        self.until(f"document.getElementById('stops').value === '{text}'")

    def until(self, expression):
        end = time.monotonic() + PATIENCE
        while not (found := self.run(f"return {expression}")):
            assert time.monotonic() < end, (expression, self.message)
            time.sleep(0.02)
        return found

    def text(self, name):
        return self.run("return document.getElementById(arguments[0]).innerText", name)

    @property
    def message(self):
        return self.text("message")

    @property
    def stops(self):
        return self.run("return document.getElementById('stops').value")

    def done(self, what):
        return int(self.run("return document.body.dataset[arguments[0]] || 0", what))

    def place(self, number):
        """Return where a point is on the screen, once the page stands still."""
        script = """
            const map = document.querySelector('#map .js-plotly-plot');
            const box = map.getBoundingClientRect();
            const { x, y } = map._fullData.find((one) => one.uid === 'points');
            const { xaxis, yaxis } = map._fullLayout, n = arguments[0];
            const across = xaxis._offset + xaxis.l2p(x[n]), down = yaxis._offset + yaxis.l2p(y[n]);
            return [box.left + across, box.top + down];
        """
        before, found = None, self.run(script, number)
        while found != before:
            time.sleep(0.1)
            before, found = found, self.run(script, number)
        return found

    def mouse(self, kind, x, y, *, shift=False):
        buttons = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        event = {"type": kind, "x": x, "y": y, "modifiers": 8 * shift, **buttons}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def hover(self, number, said):
        """Move to a point, as a hand does, until its card is seen."""
        end = time.monotonic() + PATIENCE
        while said not in self.text("look"):
            assert time.monotonic() < end, (said, self.text("look"))
            x, y = self.place(number)
            self.mouse("mouseMoved", x + 30, y)
            self.mouse("mouseMoved", x, y)
            time.sleep(0.2)

    def click(self, x, y, *, shift=False):
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, shift=shift)

    def press(self, name):
        self.run("document.getElementById(arguments[0]).click()", name)

    def choose(self, name, value):
        self.run("window.dash_clientside.set_props(...arguments)", name, {"value": value})

    def go(self, stops):
        """Ask for a path, and wait until it is played."""
        before = self.done("shown")
        self.choose("stops", stops)
        self.until(f"(document.body.dataset.shown || 0) > {before}")

    def screens(self):
        script = "return document.getElementById(`screen-${arguments[0]}`).toDataURL()"
        return [self.run(script, side) for side in ("left", "right")]

    def figures(self):
        script = """
            const cells = (row) => [...row.children].map((cell) => cell.innerText);
            return [...document.querySelectorAll('#numbers tr')].map(cells);
        """
        (_, *methods), *rows = self.run(script)
        rows = [row for row in rows if len(row) > 1]  # others say what comes: real, right, even
        return {name: dict(zip(methods, values, strict=True)) for name, *values in rows}


@pytest.fixture
def page(browser, asked, server):
    """A page in a tab of its own; whatever it did must not have led to an error, or elsewhere."""
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    yield Page(browser, server.address)
    sent = asked(refusal="status of 400")  # which is what some tests are for
    browser.close()
    browser.switch_to.window(first)
    local = (server.address, "data:", f"blob:{server.address}", "about:", "chrome:")
    assert sent
    assert not [url for url in sent if not url.startswith(local)]


def test_two_clicks_play_what_surf_makes_and_export_its_files(page, workdir, lone, surfed):
    source, target, *_ = lone
    page.click(*page.place(source))
    page.has_stops(f"{source}")
    page.click(*page.place(target))
    page.until("document.body.dataset.shown === '1'")
    assert page.stops == f"{source}; {target}"
    lines = page.until(
        "document.querySelector('.tracepath-surfing path') && "
        "[...document.querySelectorAll('.tracepath-surfing path, .tracepath-linear path')]"
        ".map((path) => path.getAttribute('d')).filter(Boolean)"
    )
    assert len(lines) == 2
    page.until("document.getElementById('frame').innerText.startsWith('5 ')")
    before = page.screens()
    page.until("document.getElementById('frame').innerText.startsWith('20 ')")
    assert all(a != b for a, b in zip(before, page.screens(), strict=True))

    folder = workdir / "surf" / f"{source}-{target}"
    assert page.text("command").replace("\n", "") == (
        f"python launch/surf.py --workdir={workdir} --source={source} --target={target} --frames=32"
    )
    page.choose("also", ["frames"])
    page.until("document.getElementById('command').innerText.endsWith('--also=frames')")
    page.choose("also", [])
    page.until("document.getElementById('command').innerText.endsWith('--frames=32')")
    page.press("export")
    page.says("written to", "told")
    assert f"{source}-{target}" in page.text("kept")
    assert surfed[0] == {file.name: file.read_bytes() for file in folder.iterdir()}
    page.says("wrapped", "numbers")
    shown, methods = page.figures(), json.loads((folder / "path.json").read_text())["methods"]
    for method, name in itertools.product(methods, ("interpolation_mse", "step_jump")):
        assert shown[name.replace("_", " ")][method] == f"{methods[method][name]:.4g}"
    assert {"consistency", "residual", "course", "progress"} <= set(shown)
    wrapped = methods["surfing"]["interpolation_mse_wrapped"]
    assert shown["interpolation mse wrapped"]["surfing"] == f"{wrapped:.4g}"


def test_frames_are_gone_through_by_keys_the_curve_and_the_scrubber(page):
    page.go("5; 60; 20")
    page.press("play")
    page.run("document.querySelector('#scrub input').value = 7")
    page.run("document.querySelector('#scrub input').dispatchEvent(new Event('input'))")
    assert page.text("frame") == "8 / 32"
    for key, frame in (("ArrowRight", 9), ("ArrowLeft", 8)):
        page.run(f"document.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))")
        assert page.text("frame") == f"{frame} / 32"
    page.run("document.querySelector('#curves').scrollIntoView()")
    box = page.run("return document.querySelector('#curves svg').getBoundingClientRect().toJSON()")
    page.click(box["left"] + box["width"] - 2, box["top"] + 9)
    assert page.text("frame") == "32 / 32"
    page.choose("method-left", "pixel")
    page.until("document.getElementById('said-left').innerText.includes('nearest: 20')")


def test_stops_are_added_by_shift_typed_and_anywhere_between(page, lone):
    one, two, three, four = lone
    page.click(*page.place(one))
    page.has_stops(f"{one}")
    page.click(*page.place(two))
    page.until("document.body.dataset.shown === '1'")
    page.click(*page.place(three), shift=True)
    page.until("document.body.dataset.shown === '2'")
    assert page.stops == f"{one}; {two}; {three}"
    map_box = page.run("return document.getElementById('map').getBoundingClientRect().toJSON()")
    page.click(map_box["left"] + 70, map_box["top"] + 60)
    page.until("document.getElementById('stops').value.startsWith('code:')")
    page.click(*page.place(four))
    page.until("document.body.dataset.shown === '3'")
    page.choose("order", "best")
    page.choose("loop", ["Loop"])
    page.go("3; 50; 80")
    assert "--loop --order=best" in page.text("command")
    assert "best order of 3 anchors" in page.message
    page.choose("stops", "3; 100")
    page.says("out of range")
    page.choose("stops", "3; 3")
    page.says("all stops are 3")
    page.choose("stops", f"3; {Path(__file__)}")
    page.says("no images are meant")
    page.go("3; horizontal_axis=0,vertical_axis=4")


def test_a_reload_and_a_dropped_list_bring_their_stops(page):
    page.press("export")
    page.says("no path yet", "told")
    page.go("3; 50")
    page.driver.refresh()
    page.until("document.body.dataset.shown === '1'")
    assert page.stops == "3; 50"
    page.run(
        "const dropped = new DataTransfer();"
        "dropped.items.add(new File(['7\\n60\\n'], 'anchors.txt'));"
        "document.dispatchEvent(new DragEvent('drop', { dataTransfer: dropped }));"
    )
    page.has_stops("7; 60")


def test_images_are_seen_under_the_pointer(page, server, record_property):
    page.hover(42, "image 42")
    assert page.run("return document.querySelectorAll('#look img').length") == 2
    server.ask("/decode?view=z1,2&x=0&y=0")  # compiled
    page.press("walk")
    x, y = page.place(42)
    started = time.perf_counter()
    for step in range(1000):
        page.mouse("mouseMoved", x + step % 50, y + step % 30)
        if page.done("walked") >= 20:
            break
    assert page.done("walked") >= 20
    record_property("walked_per_s", page.done("walked") / (time.perf_counter() - started))


def test_other_colours_views_edges_and_graphs(page):
    page.go("3; 50")
    page.choose("colour", "reconstruction error")
    page.choose("edges", ["Graph edges"])
    drawn = "document.querySelector('#map .js-plotly-plot')._fullData"
    page.until(f"{drawn}.find((one) => one.uid === 'edges').x?.length > 100")
    assert page.run(f"return {drawn}.find((one) => one.uid === 'path-surfing').x.length") == 32
    # Frames of a path are coloured where it is told, and when another path is asked for.
    page.choose("colour", "course error of the path")
    for stops, wanted in ((None, 32), ("3; 50; 80", 0), ("0; 15", 32)):
        if stops:
            page.go(stops)
        dots = f"{drawn}.find((one) => one.uid === 'off-linear')"
        page.until(f"({dots}?.x?.length || 0) === {wanted}")
        if wanted:
            off = page.until(f"{dots}.marker.color.length === 32 && [...{dots}.marker.color]")
            assert 0 < max(off) < 20
            assert off[0] < 1
    page.choose("weight", "latent")
    page.choose("kind", "knn")
    page.choose("reach", "5")
    page.says("k-NN graph with k = 5")
    assert "--graph=knn --weight=latent --repair --k=5" in page.text("command")
    page.choose("reach", "many")
    page.says("is no number")


def test_pictures_are_dropped_and_bad_ones_leave_a_message_alone(page, server, workdir, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, "JPEG")
    (tmp_path / "half.jpg").write_bytes(content.getvalue()[:600])
    (tmp_path / "words.png").write_text("no picture at all")
    # Black pictures are compressed a thousandfold; Pillow refuses the first by itself.
    for name, side in (("bomb.png", 20_000), ("large.png", 9_000)):
        Image.new("1", (side, side)).save(tmp_path / name)
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(100 * 10**6)
    Image.fromarray(noise).save(tmp_path / "mine.png")
    picker = page.run("return document.getElementById('own-file')")
    for name, said in {
        "words.png": "no picture that can be read",
        "half.jpg": "no picture that can be read",
        "bomb.png": "more than 64 megapixels",
        "large.png": "more than 64 megapixels",
        "huge.png": "more than 20 MB",
    }.items():
        page.run("window.dash_clientside.set_props('message', { children: '' })")
        page.until("!document.getElementById('message').innerText")
        picker.send_keys(str(tmp_path / name))
        page.says(said)
    assert not list((workdir / "uploads").glob("*"))
    picker.send_keys(str(tmp_path / "mine.png"))
    page.until("document.getElementById('stops').value.startsWith('upload:mine_')")
    page.click(*page.place(50))
    page.until("document.body.dataset.shown === '1'")
    # Whoever asks without the page is refused as well.
    status, answer = server.ask("/upload", "POST", bytes(21 * 10**6))
    assert (status, b"20 MB" in answer) == (413, True)
    mine = (tmp_path / "mine.png").read_bytes()
    status, answer = server.ask("/upload?name=../../x.png", "POST", mine)
    assert status == 200
    assert json.loads(answer)["stop"].startswith("upload:x_")
    files = {file.relative_to(workdir).parts[0] for file in workdir.rglob("*x_*.png")}
    assert files == {"uploads"}
    page.choose("stops", "upload:../config.json; 3")
    page.says("no picture that was")


def test_another_site_is_refused(server):
    assert server.ask("/")[0] == 200
    local = f"localhost:{server.port}"
    assert server.ask("/", Host=local)[0] == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert server.ask("/", **link)[0] == 200
    assert server.ask("/upload", "POST", b"x", **link)[0] == 403
    assert server.ask("/look?number=3", Host=local, Origin=f"http://{local}")[0] == 200
    for headers in (
        {"Host": "example.org"},
        {"Host": f"example.org:{server.port}"},
        {"Host": "127.0.0.1.example.org"},
        {"Host": "[::1"},
        {"Origin": "http://example.org"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    ):
        assert server.ask("/", **headers)[0] == 403, headers
        assert server.ask("/upload", "POST", b"x", **headers)[0] == 403, headers
    for path in ("/look?number=100", "/look?number=nan", "/place?view=z1,2&x=1", "/decode?view=q"):
        assert server.ask(path)[0] == 400, path


def test_two_pages_know_nothing_of_each_other(page, browser, server):
    page.go("3; 50")
    browser.switch_to.new_window("tab")
    other = Page(browser, server.address)
    assert other.stops == ""
    other.go("9; 80")
    browser.close()
    browser.switch_to.window(browser.window_handles[-1])
    assert page.stops == "3; 50"
    assert "--source=3 --target=50" in page.text("command")


def test_a_click_is_answered_soon(page, surfed, record_property):
    script = """
        const [stops, done] = arguments, before = Number(document.body.dataset.shown || 0);
        const begun = performance.now(), frame = () => document.getElementById('frame').innerText;
        let first = null;
        const look = () => {
            if (Number(document.body.dataset.shown || 0) > before) {
                first = first || frame();
                if (frame() !== first) return done(performance.now() - begun);
            }
            requestAnimationFrame(look);
        };
        window.dash_clientside.set_props('stops', { value: stops });
        look();
    """
    pairs = np.random.default_rng(0).permutation(100)[:22].reshape(-1, 2).tolist()
    clicks = [page.driver.execute_async_script(script, f"{a}; {b}") / 1000 for a, b in pairs]
    script = """
        const [number, done] = arguments, begun = performance.now();
        fetch(`look?number=${number}`).then((found) => found.json())
            .then(() => done(performance.now() - begun));
    """
    hovers = [page.driver.execute_async_script(script, number) / 1000 for number in range(11)]
    click, hover = statistics.median(clicks[2:]), statistics.median(hovers)
    for name, seconds in (("surf", surfed[1]), ("click_to_motion", click), ("hover", hover)):
        record_property(f"{name}_s", seconds)
    assert click < max(1.0, 0.15 * surfed[1])
    assert hover < 0.1


def test_codes_of_another_model_have_a_map_paths_and_a_slide_show(browser, serve, tmp_path):
    random = np.random.default_rng(0)
    turns = random.uniform(0, 2 * np.pi, 300)
    ring = np.stack([np.cos(turns), np.sin(turns)], axis=1) @ random.normal(size=(2, 5))
    np.save(tmp_path / "z.npy", ring + 0.01 * random.normal(size=ring.shape))
    images = np.zeros((300, 12, 12, 3), np.uint8)
    images[..., 0] = (turns * 40).astype(np.uint8)[:, None, None]
    np.save(tmp_path / "images.npy", images)
    sides = "\n".join("left" if turn < np.pi else "right" for turn in turns)
    (tmp_path / "table.csv").write_text(f"side\n{sides}\n")
    flags = {"latents": "z.npy", "images": "images.npy", "labels": "table.csv", "workdir": "out"}
    server = serve(*(f"--{name}={tmp_path / file}" for name, file in flags.items()))
    page = Page(browser, server.address)
    page.hover(42, "row 42")
    points = (
        "document.querySelector('#map .js-plotly-plot').data.find((one) => one.uid === 'points')"
    )
    assert page.run(f"return {points}.marker.colorbar.ticktext") == ["left", "right"]
    ends = "; ".join(str(np.abs(turns - turn).argmin()) for turn in (1.5, 4.5))
    page.go(ends)
    figures = page.figures()["farthest from codes"]
    assert float(figures["surfing"]) < float(figures["linear"])
    page.press("export")
    page.says("written to", "told")
    assert (tmp_path / "out/surf" / ends.replace("; ", "-") / "path.json").exists()
    page.choose("view", "pc1,2,3")
    page.until("Boolean(document.querySelector('#map .js-plotly-plot')._fullLayout.scene)")
    page.go(f"{ends}; 3")


def test_the_end_comes_at_once(server):
    status, seconds = server.stop()
    assert status == 0
    assert seconds < 2
