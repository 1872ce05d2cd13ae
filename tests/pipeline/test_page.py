import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxsurf.errors import UserError
from jaxsurf.frames import media
from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline import page
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.run import Run
from jaxsurf.viewing import plots
from jaxsurf.workdir import WorkDir, write_json

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 11, 13, 3), dtype=np.uint8)


@pytest.fixture
def run(tmp_path):
    # The page shows what was written down, so no model is needed.
    images = ImageSet(images=FRAMES, name="noise")
    return Run(workdir=WorkDir(tmp_path), config=RunConfig(), images=images, model=None, step=7)


def description(run, source, target):
    figures = {"num_frames": 3, "interpolation_mse": 12.5, "interpolation_mse_wrapped": 3.25}
    return {
        "ends": [{"label": source}, {"label": target}],
        "nodes": [0, 2, 1],
        "length": 1.5,
        "graph": {"description": "k-NN graph with k = 2"},
        "bridges": [],
        "methods": {"pixel": figures | {"length": None}, "surfing": figures | {"length": 1.5}},
        "checkpoint": run.step,
        "data": {"fingerprint": run.images.fingerprint},
    }


def animate(run, source="0", target="1", **changes):
    folder = run.workdir.surf(source, target)
    saved = description(run, source, target) | changes
    for method in saved["methods"]:
        media.write_gif(folder / f"{method}.gif", FRAMES)
    for name in ("strip", "latent"):
        media.write_png(folder / f"{name}.png", FRAMES[0])
    write_json(folder / "path.json", saved)
    return folder


def evaluate(run, **changes):
    score = {"interpolation_mse": {"mean": 41.5, "low": 38.25, "high": 44.75}}
    versus = {"interpolation_mse": {"ratio": None, "win_rate": 0.25}}
    saved = {
        "num_pairs": 3,
        "reconstruction": {"mse": 0.001, "psnr_db": 30.0},
        "methods": {"linear": score, "surfing": score},
        "versus": {"surfing": versus},
        "checkpoint": run.step,
        "data": {"fingerprint": run.images.fingerprint},
    }
    write_json(run.workdir.evaluation, saved | changes)


def train(run, *lines):
    run.workdir.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))


def written(run):
    path = page.write(run)
    assert path == run.workdir.root / "report.html"
    return path.read_text(encoding="utf-8")


def test_page_shows_all_that_the_working_directory_holds(run):
    animate(run)
    evaluate(run)
    train(run, {"step": 1, "epoch": 1.0, "loss": 0.5}, {"step": 2, "epoch": 2.0, "loss": 0.25})
    before = sorted(path.name for path in run.workdir.root.iterdir())
    html = written(run)
    assert html.count("data:image/gif") == 2
    assert html.count("data:image/png") == 3
    for shown in ("41.50", "38.25 to 44.75", "25% of pairs", "12.50", "3.25", "30.0 dB"):
        assert shown in html
    assert "launch/" not in html
    after = sorted(path.name for path in run.workdir.root.iterdir())
    assert after == sorted([*before, "report.html"])


def test_a_run_without_anything_says_how_to_make_it(run):
    html = written(run)
    assert "data:image" not in html
    assert "launch/evaluate.py" in html
    assert "launch/surf.py" in html


def test_pairs_come_in_the_order_of_their_numbers(run):
    for source in ("10", "9", "100"):
        animate(run, source=source)
    html = written(run)
    places = [html.index(f"<h3>{source} to 1</h3>") for source in ("9", "10", "100")]
    assert places == sorted(places)


def test_older_animations_are_marked(run):
    animate(run, checkpoint=5)
    assert "Made with checkpoint 5, but the run is at 7 now" in written(run)


def test_only_losses_are_drawn_and_none_twice(run, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "curves", lambda losses, **_: drawn.append(losses) or Figure())
    others = {"learning_rate": 1, "elapsed_s": 2, "loss": 3, "mse": 3}
    train(run, *({"step": i, "epoch": i, "extra": i} | others for i in (1, 2)))
    page.write(run)
    assert drawn == [{"loss": ([1, 2], [3, 3]), "extra": ([1, 2], [1, 2])}]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "null", '{"ends": 3}', '{"ends": [{"label": "a"}]}', "\0"]
)
def test_damaged_path_is_refused_by_name(run, content):
    animate(run)
    damaged = animate(run, source="2") / "path.json"
    damaged.write_text(content)
    with pytest.raises(UserError) as refusal:
        page.write(run)
    assert str(damaged) in str(refusal.value)
    assert not run.workdir.report.exists()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (
            {"methods": {"surfing": {"num_frames": 3, "length": 1.0}}},
            "KeyError: 'interpolation_mse'",
        ),
        ({"methods": {"surfing": 3}}, "TypeError"),
        ({"length": "long"}, "ValueError"),
        ({"data": 3}, "TypeError"),
    ],
)
def test_path_with_a_wrong_figure_is_refused_by_name(run, changes, error):
    folder = animate(run)
    write_json(folder / "path.json", description(run, "0", "1") | changes)
    with pytest.raises(UserError, match=error) as refusal:
        page.write(run)
    assert str(folder / "path.json") in str(refusal.value)


def test_gaps_that_a_path_crosses_are_told(run):
    animate(run)
    assert "crosses gaps" not in written(run)
    animate(run, bridges=[[0, 2], [2, 1]])
    assert "crosses gaps in the graph, bridged from 0 to 2, 2 to 1." in written(run)


def test_a_missing_picture_is_told_and_the_others_stay(run):
    (animate(run) / "strip.png").unlink()
    html = written(run)
    assert "Files are missing: strip.png." in html
    assert html.count("data:image/") == 3


def test_damaged_animation_is_refused_by_name(run):
    folder = animate(run)
    (folder / "surfing.gif").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"surfing\.gif is damaged"):
        page.write(run)


def test_damaged_evaluation_is_refused_by_name(run):
    evaluate(run, methods={"linear": {}})
    with pytest.raises(UserError, match=r"evaluation\.json is damaged .* evaluate again"):
        page.write(run)


def test_damaged_metrics_are_refused_by_name(run):
    train(run, {"step": 1, "epoch": 1.0})
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged"):
        page.write(run)


def test_a_folder_that_was_not_finished_is_left_out(run):
    folder = animate(run)
    (folder / "path.json").unlink()
    assert "No pair was animated yet" in written(run)


def test_scores_of_an_older_checkpoint_are_told_apart(run):
    evaluate(run)
    assert "Made with checkpoint" not in written(run)
    evaluate(run, checkpoint=5)
    assert "Made with checkpoint 5, but the run is at 7 now" in written(run)
