"""The page of a working directory: what it shows, and files that it refuses by name."""

import json

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.frames import media
from jaxsurf.images.image_set import ImageSet
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.pipeline import page
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.evaluate import EDITION
from jaxsurf.pipeline.run import Run
from jaxsurf.workdir import WorkDir, write_json

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 11, 13, 3), dtype=np.uint8)


@pytest.fixture
def run(tmp_path):
    # The page shows what was written down, so no model is needed.
    images = ImageSet(images=FRAMES, name="noise")
    return Run(
        workdir=WorkDir(tmp_path), config=RunConfig(), images=images, model=Autoencoder(), step=7
    )


def animate(run, source="0", **changes):
    figures = {"num_frames": 3, "interpolation_mse": 12.5, "interpolation_mse_wrapped": 3.25}
    saved = {
        "ends": [{"label": source}, {"label": "1"}],
        "nodes": [0, 2, 1],
        "length": 1.5,
        "bridges": [],
        "graph": {"description": "k-NN graph with k = 2"},
        "methods": {"pixel": figures | {"length": None}, "surfing": figures | {"length": 1.5}},
        "checkpoint": run.step,
        "data": {"fingerprint": run.images.fingerprint},
    }
    folder = run.workdir.surf(source, "1")
    folder.mkdir(parents=True, exist_ok=True)
    for method in saved["methods"]:
        (folder / f"{method}.gif").write_bytes(media.gif(FRAMES))
    for name in ("strip", "latent"):
        media.write_png(folder / f"{name}.png", FRAMES[0])
    write_json(folder / "path.json", saved | changes)
    return folder


def evaluate(run, **changes):
    figures = ("residual", "course", "step_jump", "interpolation_mse")
    score = {name: {"mean": 41.5, "low": 38.25, "high": 44.75} for name in figures}
    saved = {
        "edition": EDITION,
        "num_pairs": 3,
        "pairs": "random",
        "reconstruction": {"mse": 0.001, "psnr_db": 30.0, "num_images": 3},
        "methods": {"linear": score, "surfing": score},
        "versus": {"surfing": {"course": {"ratio": None, "win_rate": 0.25}}},
        "faults": {"linear": [], "surfing": ["not right on 5 % of pairs"]},
        "truth": {"known": True, "about": "poses are read", "usual_residual": 7.5},
        "embedding": {"tears": 0.125, "folds": None},
        "worst": {"method": "surfing", "metric": "course", "pairs": [[0, 2], [2, 1]]},
        "graph": {"description": "k-NN graph", "weight": "latent"},
        "bridged_pairs": 0,
        "checkpoint": run.step,
        "data": {"fingerprint": run.images.fingerprint, "num_images": 3},
    }
    write_json(run.workdir.evaluation, saved | changes)
    folder = run.workdir.evaluation.with_suffix("")
    folder.mkdir(exist_ok=True)
    for name in ("distance", "worst-1", "worst-2"):
        media.write_png(folder / f"{name}.png", FRAMES[0])


def train(run, *lines):
    run.workdir.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))


def written(run):
    return page.write(run).read_text(encoding="utf-8")


def test_page_shows_all_that_the_working_directory_holds(run):
    for source in ("10", "9", "100"):
        folder = animate(run, source=source)
    evaluate(run)
    train(run, {"step": 1, "epoch": 1.0, "loss": 0.5}, {"step": 2, "epoch": 2.0, "loss": 0.25})
    before = sorted(path.name for path in run.workdir.root.iterdir())
    html = written(run)
    assert html.count("data:image/gif") == 2 * 3
    assert html.count("data:image/png") == 2 * 3 + 1 + 3
    for shown in ("41.50", "38.25 to 44.75", "linear on 25%", "12.50", "3.25", "30.0 dB"):
        assert shown in html
    for shown in (
        "surfing is\nnot right on 5 % of pairs",
        "folds not known",
        "The 2 pairs",
        "residual of 7.5",
    ):
        assert shown in html
    places = [html.index(f"<h3>{source} to 1</h3>") for source in ("9", "10", "100")]
    assert places == sorted(places)
    for absent in ("launch/", "Made with checkpoint", "crosses gaps"):
        assert absent not in html
    after = sorted(path.name for path in run.workdir.root.iterdir())
    assert after == sorted([*before, "report.html"])
    (folder / "strip.png").unlink()
    assert "Files are missing: strip.png." in written(run)


def test_losses_that_only_the_first_steps_have_are_shown_as_far_as_they_go(run, monkeypatch):
    train(
        run,
        {"step": 1, "epoch": 1.0, "loss": 0.5, "mse": 0.25, "l1": 0.25, "target": 2.5, "run_s": 1},
        {"step": 2, "epoch": 2.0, "loss": 0.125, "mse": 0.0625, "l1": 0.0625, "run_s": 2},
    )
    drawn, draw = [], page.plots.curves

    def recorded(curves, title):
        drawn.append(curves)
        return draw(curves, title)

    monkeypatch.setattr(page.plots, "curves", recorded)
    page.write(run)
    (curves,) = drawn
    assert curves.keys() == {"loss", "mse", "l1", "target"}
    assert curves["loss"] == ([1.0, 2.0], [0.5, 0.125])
    assert curves["target"] == ([1.0], [2.5])


def test_a_run_without_anything_and_unfinished_folders_say_how_to_make_it(run):
    (animate(run) / "path.json").unlink()
    html = written(run)
    assert "data:image" not in html
    assert "No pair was animated yet" in html
    assert "launch/evaluate.py" in html


def test_older_results_and_gaps_are_marked(run):
    animate(run, checkpoint=5, bridges=[[0, 2], [2, 1]])
    html = written(run)
    assert "Made with checkpoint 5, but the run is at 7 now" in html
    assert "crosses gaps in the graph, bridged from 0 to 2, 2 to 1." in html
    animate(run)
    evaluate(run, checkpoint=6)
    assert "Made with checkpoint 6, but the run is at 7 now" in written(run)


def test_an_evaluation_of_another_version_is_refused_with_the_cure(run):
    evaluate(run)
    saved = json.loads(run.workdir.evaluation.read_text())
    del saved["edition"], saved["truth"], saved["faults"]
    write_json(run.workdir.evaluation, saved)
    with pytest.raises(UserError, match=r"written by another version of jaxsurf; evaluate again"):
        page.write(run)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("surf/0-1/path.json", ""),
        ("surf/0-1/path.json", "[]"),
        ("surf/0-1/path.json", '{"ends": [{"label": "a"}]}'),
        ("surf/0-1/path.json", {"methods": {"surfing": {"num_frames": 3, "length": 1.0}}}),
        ("surf/0-1/path.json", {"methods": {"surfing": 3}}),
        ("surf/0-1/path.json", {"length": "long"}),
        ("surf/0-1/path.json", {"data": 3}),
        ("surf/0-1/surfing.gif", "no picture"),
        ("evaluation.json", {"methods": {"linear": {"course": {}}}}),
        ("evaluation.json", {"worst": 3}),
        ("evaluation/worst-1.png", "no picture"),
        ("metrics.jsonl", '{"step": 1, "epoch": 1.0}\n'),
    ],
)
def test_a_damaged_file_is_refused_by_name(run, file, content):
    animate(run)
    evaluate(run)
    path = run.workdir.root / file
    if isinstance(content, dict):
        content = json.dumps(json.loads(path.read_text()) | content)
    path.write_text(content)
    with pytest.raises(UserError) as refusal:
        page.write(run)
    assert str(path) in str(refusal.value)
    assert not run.workdir.report.exists()
