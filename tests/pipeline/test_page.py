"""The page of a working directory: what it shows, and files that it refuses by name."""

import base64
import json
from unittest.mock import Mock

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.evaluation import pairs
from jaxsurf.frames import media
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import graph, latent_graph
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.pipeline import page
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.evaluate import EDITION
from jaxsurf.pipeline.run import Run
from jaxsurf.workdir import WorkDir, write_arrays, write_json, write_text

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 11, 13, 3), dtype=np.uint8)
CODES = np.array([[0, 0], [1, 0.5], [2, 3]], np.float32)


@pytest.fixture
def run(tmp_path):
    # The page shows what was written down, so no model is needed.
    images = ImageSet(images=FRAMES, name="noise")
    made = Run(
        workdir=WorkDir(tmp_path), config=RunConfig(), images=images, model=Autoencoder(), step=7
    )
    write_arrays(made.workdir.latents, stamp=made.stamp, codes=CODES)
    return made


def data(html):
    """Return what the page gives to its script."""
    start = html.index('id="data">') + len('id="data">')
    return json.loads(html[start : html.index("</script>", start)])


def unpacked(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def animate(run, source="0", **changes):
    figures = {
        "num_frames": 3,
        "frame_ms": 60.0,
        "interpolation_mse": 12.5,
        "interpolation_mse_wrapped": 3.25,
        "frame_errors": [0.0, 25.0, 12.5],
        "frame_steps": [0.25, 0.125],
    }
    surfing = {"length": 1.5, "points": CODES[[0, 2, 1]].tolist()}
    saved = {
        "ends": [{"label": n, "node": i, "code": None} for i, n in enumerate((source, "1"))],
        "nodes": [0, 2, 1],
        "length": 1.5,
        "bridges": [],
        "graph": {"description": "k-NN graph with k = 2"},
        "methods": {
            "pixel": figures | {"length": None, "points": None},
            "surfing": figures | surfing,
        },
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
    score["step_jump"] = dict.fromkeys(("mean", "low", "high"), 0.0456)
    saved = {
        "edition": EDITION,
        "num_pairs": 3,
        "pairs": "random",
        "reconstruction": {"mse": 0.001, "psnr_db": 30.0, "num_images": 3},
        "methods": {"linear": score, "surfing": score, "true": {"residual": score["residual"]}},
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
    rows = [
        {"source": source, "target": target, "method": method, "course": course, "residual": ""}
        for source, target, course in ((0, 2, 40.5), (2, 1, 41.25), (1, 0, ""))
        for method in ("linear", "surfing", "true")
    ]
    write_text(run.workdir.evaluation.with_suffix(".csv"), pairs.csv_text(rows))
    folder = run.workdir.evaluation.with_suffix("")
    folder.mkdir(exist_ok=True)
    for name in ("distance", "worst-1", "worst-2"):
        media.write_png(folder / f"{name}.png", FRAMES[0])


def train(run, *lines):
    run.workdir.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))


def written(run):
    return page.write(run).read_text(encoding="utf-8")


@pytest.mark.core
def test_page_shows_all_that_the_working_directory_holds(run):
    for source in ("10", "9", "100"):
        animate(run, source=source)
    evaluate(run)
    train(run, {"step": 1, "epoch": 1.0, "loss": 0.5}, {"step": 2, "epoch": 2.0, "loss": 0.25})
    before = sorted(path.name for path in run.workdir.root.iterdir())
    html = written(run)
    assert html.count("data:image/webp") == 2 * 3  # frames
    assert html.count("data:image/jpeg") == 1  # thumbnails
    assert html.count("data:image/png") == 3 + 1 + 3  # strips, losses, scores
    for shown in (
        *("41.50", "38.25 to 44.75", "linear on 25%", "12.50", "3.25", "30.0 dB"),
        *("surfing is\nnot right on 5 % of pairs", "folds not known", "The 2 pairs"),
        *("residual of 7.5", "0.0456", "true images", "\N{EN DASH}", "&#34;num_epochs&#34;: "),
    ):
        assert shown in html
    places = [html.index(f"<h3>{source} to 1</h3>") for source in ("9", "10", "100")]
    assert places == sorted(places)
    for absent in ("launch/", "Made with checkpoint", "crosses gaps"):
        assert absent not in html
    after = sorted(path.name for path in run.workdir.root.iterdir())
    assert after == sorted([*before, "report.html"])


def test_the_script_is_given_codes_frames_figures_and_pairs(run):
    animate(run)
    evaluate(run)
    made = latent_graph.from_edges(np.array([[0, 1], [1, 2]]), np.ones(2), num_nodes=3)
    stamp = f"{run.stamp}, {run.config.graph}, edition {graph.EDITION}"
    latent_graph.save_graph(run.workdir.graph, made, stamp=stamp)
    given = data(written(run))
    shown, (pair,) = given["map"], given["pairs"]
    assert unpacked(shown["points"], "<f4").reshape(2, 3).T.tolist() == CODES.tolist()
    assert unpacked(shown["edges"], "<u4").tolist() == [0, 1, 1, 2]
    assert unpacked(shown["pictured"], "<u4").tolist() == [0, 1, 2]
    assert (pair["label"], pair["stops"]) == ("0 to 1", CODES[:2].tolist())
    assert pair["names"] == ["0", "1"]
    pixel, surfing = pair["films"]
    assert (pixel["path"], surfing["path"]) == (None, CODES[[0, 2, 1]].tolist())
    assert surfing["errors"] == [0.0, 25.0, 12.5]
    assert surfing["steps"] == [0.0, 0.25, 0.125]
    assert surfing["frameMs"] == 60
    scores = given["scores"]
    assert scores["pairs"] == ["0 to 2", "2 to 1", "1 to 0"]
    each = {panel["name"]: panel["rows"][1]["each"] for panel in scores["panels"]}
    assert each["course"] == [40.5, 41.25, None]
    assert each["residual"] == [None] * 3


def test_of_a_long_animation_and_of_many_pairs_some_are_shown(run, monkeypatch):
    monkeypatch.setattr(page.sheets, "MOST_FRAMES", 2)
    monkeypatch.setattr(page, "MOST_DOTS", 2)
    animate(run)
    evaluate(run)
    html = written(run)
    film = data(html)["pairs"][0]["films"][1]
    assert (film["numbers"], film["total"], film["frameMs"]) == ([0, 2], 3, 90)
    assert (film["errors"], film["steps"]) == ([0.0, 12.5], [0.0, 0.125])
    assert film["path"] == CODES[[0, 1]].tolist()
    assert data(html)["scores"]["pairs"] == ["0 to 2", "1 to 0"]
    assert "Dots are 2 of the 3 pairs." in html


def test_an_end_from_outside_without_a_code_has_no_mark_and_no_name(run):
    ends = [("1", 1, None), ("mine", 7, None), ("code", 8, [0.5, 0.25])]
    animate(run, ends=[dict(zip(("label", "node", "code"), end, strict=True)) for end in ends])
    (pair,) = data(written(run))["pairs"]
    assert pair["names"] == ["1", "code"]
    assert pair["stops"] == [CODES[1].tolist(), [0.5, 0.25]]


def test_a_figure_that_no_method_has_has_no_column(run):
    evaluate(run)
    assert "course,<br>" in written(run)
    score = {"mean": 41.5, "low": 38.25, "high": 44.75}
    some = dict.fromkeys(("consistency", "step_jump", "interpolation_mse"), score)
    unknown = {"known": False, "about": "no factors", "usual_residual": None}
    evaluate(run, methods=dict.fromkeys(("linear", "surfing", "true"), some), truth=unknown)
    html = written(run)
    heads = [head in html for head in ("consistency,<br>", "course,<br>", "leaps,<br>")]
    assert heads == [True, False, False]


def test_without_codes_of_its_checkpoint_a_pair_has_its_picture_instead_of_a_path(run, monkeypatch):
    animate(run, checkpoint=5)
    html = written(run)
    assert "latent space with the graph" in html
    assert [film["path"] for film in data(html)["pairs"][0]["films"]] == [None, None]
    animate(run)
    assert "latent space with the graph" not in written(run)
    run.workdir.latents.unlink()

    def collapsed(run):
        raise UserError("the model collapsed")

    monkeypatch.setattr(page, "encode_all", collapsed)
    html = written(run)
    assert "The latent map is missing: the model collapsed." in html
    assert data(html)["map"] is None
    assert "latent space with the graph" in html


def test_of_many_images_a_sample_has_thumbnails_and_nothing_is_encoded(run, monkeypatch):
    monkeypatch.setattr(page, "MOST_POINTS", 2)
    monkeypatch.setattr(page, "MOST_THUMBNAILS", 1)
    html = written(run)
    shown = data(html)["map"]
    numbers = unpacked(shown["numbers"], "<u4")
    assert len(numbers) == 2
    assert unpacked(shown["points"], "<f4").reshape(2, 2).T.tolist() == CODES[numbers].tolist()
    assert len(unpacked(shown["pictured"], "<u4")) == 1
    assert "The map shows 2 of 3 images, 1 of them with a thumbnail, chosen at random." in html
    run.workdir.latents.unlink()
    monkeypatch.setattr(page, "MOST_ENCODED", 3)
    monkeypatch.setattr(page, "encode_all", None)
    assert "The latent map is missing" in written(run)


def test_losses_that_only_the_first_steps_have_are_shown_as_far_as_they_go(run, monkeypatch):
    train(
        run,
        {"step": 1, "epoch": 1.0, "loss": 0.5, "mse": 0.25, "l1": 0.25, "target": 2.5, "run_s": 1},
        {"step": 2, "epoch": 2.0, "loss": 0.125, "mse": 0.0625, "l1": 0.0625, "run_s": 2},
    )
    recorded = Mock(wraps=page.plots.curves)
    monkeypatch.setattr(page.plots, "curves", recorded)
    page.write(run)
    (curves,) = recorded.call_args.args
    assert curves.keys() == {"loss", "mse", "l1", "target"}
    assert curves["loss"] == ([1.0, 2.0], [0.5, 0.125])
    assert curves["target"] == ([1.0], [2.5])


def test_unfinished_folders_say_how_to_make_it_and_older_results_and_gaps_are_marked(run):
    (animate(run) / "path.json").unlink()
    html = written(run)
    assert "data:image/webp" not in html
    assert "No pair was animated yet" in html
    assert "launch/evaluate.py" in html
    animate(run, checkpoint=5, bridges=[[0, 2], [2, 1]])
    html = written(run)
    assert "Made with checkpoint 5, but the run is at 7 now" in html
    assert "crosses gaps in the graph, bridged from 0 to 2, 2 to 1." in html
    animate(run)
    evaluate(run, checkpoint=6)
    assert "Made with checkpoint 6, but the run is at 7 now" in written(run)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("surf/0-1/path.json", '{"ends": [{"label": "a"}]}'),
        ("surf/0-1/path.json", {"methods": {"surfing": {"num_frames": 3, "length": 1.0}}}),
        ("surf/0-1/path.json", {"length": "long"}),
        ("surf/0-1/surfing.gif", "no picture"),
        ("surf/0-1/strip.png", "no picture"),
        ("evaluation.csv", "source,target,method,course\n0,1,linear,none\n"),
        ("evaluation.csv", "source\n" + "0" * 200_000),
        ("evaluation.json", {"worst": 3}),
        ("evaluation.json", {"edition": EDITION - 1}),
        ("evaluation/worst-1.png", "no picture"),
        ("metrics.jsonl", '{"step": 1, "loss": 1.0}\n'),
    ],
)
def test_a_damaged_file_is_refused_by_name(run, file, content):
    animate(run)
    evaluate(run)
    path = run.workdir.root / file
    if isinstance(content, dict):
        content = json.dumps(json.loads(path.read_text()) | content)
    path.write_text(content)
    places = {
        "s": ("surf/0-1", "animate"),
        "e": ("evaluation.json", "evaluate"),
        "m": ("metrics.jsonl", "train"),
    }
    place, cure = places[file[0]]
    with pytest.raises(UserError, match=rf"{place} (is dam|was written by ano).* {cure}.*again"):
        page.write(run)
    assert not run.workdir.report.exists()


def test_facts_of_an_older_version_or_of_no_use_are_one_line(run):
    evaluate(run, versus=3)
    with pytest.raises(UserError, match=r"is damaged \(.*; evaluate again, and animate"):
        page.write(run)
    evaluate(run)
    path = animate(run) / "path.json"
    saved = json.loads(path.read_text())
    del saved["methods"]["surfing"]["frame_errors"]
    write_json(path, saved)
    with pytest.raises(UserError, match=r"surf/0-1 is damaged \(KeyError: 'frame_errors'\)"):
        page.write(run)


def test_what_a_killed_command_left_is_no_pair(run):
    path = animate(run) / "path.json"
    left = path.parent.with_name(".0-1.12ab34cd.old") / path.name
    write_text(left, path.read_text())
    assert len(data(written(run))["pairs"]) == 1


def test_a_stale_cache_is_an_error(run):
    write_arrays(run.workdir.latents, stamp="another", codes=CODES)
    with pytest.raises(UserError, match=r"latents\.npz was made from another"):
        page.write(run)


def test_a_loss_of_a_single_term_is_drawn_once(run, monkeypatch):
    train(run, {"step": 1, "epoch": 1.0, "loss": 0.5, "mse": 0.5, "elapsed_s": 1})
    recorded = Mock(wraps=page.plots.curves)
    monkeypatch.setattr(page.plots, "curves", recorded)
    page.write(run)
    assert recorded.call_args.args[0].keys() == {"loss"}
