"""From a trained working directory to animations and scores: what is written, what is refused."""

import itertools
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageSequence

from jaxsurf.errors import UserError
from jaxsurf.frames import decode, lengths
from jaxsurf.frames.animate import METHODS
from jaxsurf.images import sources
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.manifold.path import Timing
from jaxsurf.pipeline import page, quickstart
from jaxsurf.pipeline.evaluate import EvaluateConfig, evaluate
from jaxsurf.pipeline.run import connect, encode_all
from jaxsurf.pipeline.surf import SurfConfig, surf

NUM_IMAGES = 40
SURF_FILES = {f"{method}.gif" for method in METHODS} | {"strip.png", "latent.png", "path.json"}
FAST = {"methods": ("linear",)}


def surf_pair(run, source=3, target=31, **options):
    return surf(run, SurfConfig(source=str(source), target=str(target), **options))


def names(folder):
    return {path.name for path in folder.iterdir()}


def arm_picture(path, *, axis=10.5):
    """Write the arm at any position of its axis, which may lie between those of the set."""
    fixed = {"object_color": 0, "object_shape": 0, "object_size": 1, "camera_height": 0}
    fixed |= {"background_color": 0, "vertical_axis": 20, "horizontal_axis": axis}
    Image.fromarray(sources.open_images("arm", fixed=fixed, side=32).images[0]).save(path)
    return path


def read(path):
    """Return the frames of a picture."""
    with Image.open(path) as image:
        return [np.array(frame.convert("RGB"), int) for frame in ImageSequence.Iterator(image)]


@pytest.mark.core
def test_the_quickstart_in_small(config_of, root, monkeypatch):
    monkeypatch.setattr(quickstart, "PAIRS", ((3, 31), (1, 7)))
    few = replace(quickstart.EVALUATION, num_pairs=5)
    monkeypatch.setattr(quickstart, "EVALUATION", few)
    text = quickstart.quickstart(config_of(), root)  # trained already
    assert "\n5 pairs, spread evenly over the distance of their ends\n" in text
    assert "poses are read by 40 images of robot arm, a grid step apart" in text
    assert {"3-31", "1-7"} == names(root / "surf")
    assert names(root / "surf" / "3-31") == SURF_FILES
    assert (root / "report.html").stat().st_size > 50_000
    scores = json.loads((root / "evaluation.json").read_text())
    assert scores["methods"].keys() == {*METHODS, "true"}
    assert scores["methods"]["true"].keys() == {
        "interpolation_mse",
        "nearest_image",
        "residual",
        "residual_worst",
    }


def test_path_json_describes_the_path(run):
    result = surf_pair(run)
    saved = json.loads((result.folder / "path.json").read_text())
    assert saved == result.description
    assert [end["image"] for end in saved["ends"]] == [3, 31]
    assert saved["checkpoint"] == run.step == 200
    codes = encode_all(run).codes[saved["nodes"]]
    steps = np.linalg.norm(np.diff(codes, axis=0), axis=1)
    assert saved["length"] == pytest.approx(steps.sum(), rel=1e-5)
    for facts in saved["methods"].values():
        assert len(facts["frame_errors"]) == 1 + len(facts["frame_steps"]) == facts["num_frames"]
        assert np.mean(facts["frame_errors"]) == pytest.approx(facts["interpolation_mse"])
        assert np.max(facts["frame_steps"]) == pytest.approx(facts["step_largest"])


def test_an_end_may_be_an_image_or_a_code_from_outside_the_set(run, tmp_path):
    file = arm_picture(tmp_path / "between.png")
    text = "code:" + ",".join(f"{value:.7g}" for value in encode_all(run).codes[31])
    result = surf_pair(run, source=file, target=text)
    source, target = result.description["ends"]
    assert (source["image"], source["label"], source["file"]) == (None, "between", str(file))
    assert (source["node"], target["node"]) == (NUM_IMAGES, NUM_IMAGES + 1)
    assert target["code"] == pytest.approx(encode_all(run).codes[31].tolist(), rel=1e-6)
    assert result.description["graph"]["nodes"] == NUM_IMAGES + 2
    frames = read(result.folder / "pixel.gif")
    decoded = decode.decode_points(run.model, np.array([target["code"]]))[0]
    assert np.abs(frames[0] - read(file)[0]).mean() < 2  # up to the palette
    assert np.abs(frames[-1] - decoded).mean() < 2


def test_folders_are_plain_short_and_tell_stops_apart(run, tmp_path):
    odd = ["with space-and+plus.png", "ä'\".b.png", "-.png", "$x_{$ 猫.png", "x" * 200 + ".png"]
    (tmp_path / "other").mkdir()
    files = [arm_picture(tmp_path / name) for name in (*odd, "12.png")]
    files.append(arm_picture(tmp_path / "other" / "12.png", axis=20.5))
    folders = [surf_pair(run, source=file, target=file, **FAST).folder for file in (*files, 12)]
    assert len({*folders}) == len(folders)
    for folder in folders:
        assert len(folder.name.split("-")) == 2
        assert set(folder.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    many = tuple(str(number % 40) for number in range(3, 120))
    result = surf(run, SurfConfig(anchors=many, methods=("pixel",)))
    assert result.folder.name.startswith("3-39-117_stops_")


def test_another_graph_is_gone_by_in_its_own_folder_and_leaves_the_cache_alone(run):
    own = surf_pair(run, **FAST).folder
    cached = run.workdir.graph.read_bytes()
    config = GraphConfig(kind="smallest-radius", weight="latent")
    result = surf_pair(run, graph=config, **FAST)
    assert (own.name, result.folder.name) == ("3-31", "3-31-smallest_radius_latent")
    assert result.description["graph"]["components"] == 1
    found = evaluate(run, EvaluateConfig(num_pairs=3, graph=config, methods=("surfing",)))
    assert found.content["graph"] == connect(run, encode_all(run), config).facts()
    assert run.workdir.graph.read_bytes() == cached


def test_frames_are_equally_far_apart_as_images_unless_asked_otherwise(run):
    saved = {
        speed: surf_pair(run, timing=Timing(frames=10, speed=speed)).description
        for speed in (None, "visible", "latent")
    }
    assert saved[None] == saved["visible"]
    for method in METHODS:
        uneven, even = (saved[speed]["methods"][method] for speed in ("latent", "visible"))
        assert even["num_frames"] == uneven["num_frames"] == 10
        assert even["step_jump"] <= 1.05
        assert method == "pixel" or uneven["step_jump"] > even["step_jump"] + 0.05
    assert saved[None]["timing"]["speed"] == "visible"
    for speed in ("visible", "latent"):
        made = run.surf(3, 31, frames=10, speed=speed)
        written = saved[speed]["methods"]["surfing"]
        frame = {name: written.pop(name) for name in ("frame_errors", "frame_steps")}
        assert made.describe() == written
        assert np.mean(frame["frame_errors"]) == pytest.approx(written["interpolation_mse"])
        assert np.mean(frame["frame_steps"]) == pytest.approx(written["step_mean"])
    assert surf_pair(run, **FAST).description["timing"]["speed"] == "edge"


@pytest.mark.parametrize(
    ("flags", "label", "weight"),
    [
        ("--graph=mutual --k=12", "mutual12_latent", "latent"),
        ("--spanning_tree", "knn9_latent_spanning_tree", "latent"),
        ("--radius=90 --weight=pullback", "radius90.0", "pullback"),
        ("--k=11", "knn11_latent", "latent"),
        ("--graph=agreed --k=11", "agreed11_latent", "latent"),
    ],
)
def test_flags_change_the_run_s_graph_and_a_new_kind_keeps_its_weight(
    launch, root, flags, label, weight
):
    config = json.loads((root / "config.json").read_text())
    config["config"]["graph"] |= {"kind": "knn", "k": 9, "weight": "latent"}
    (root / "config.json").write_text(json.dumps(config))
    ends = ("--source=3", "--target=31", "--methods=pixel")
    outcome = launch("surf", f"--workdir={root}", *ends, *flags.split())
    assert f"; edges weigh: {weight}\n" in outcome.out, outcome.err
    saved = json.loads((root / "surf" / f"3-31-{label}" / "path.json").read_text())
    assert saved["graph"]["weight"] == weight


def decoded(run, codes):
    return np.asarray(jax.jit(run.model.decode)(jnp.asarray(codes, jnp.float32)), np.float64)


def faults(run, middles):
    """Return how many times dearer edges are than their images are apart."""

    def again(images):
        codes = jax.jit(run.model.encode)(jnp.asarray(images, jnp.float32))
        return decoded(run, codes).clip(0, 1)

    shown, images = decoded(run, middles).clip(0, 1), run.images.images
    r = 255 * np.sqrt(np.square(again(shown) - shown).mean(axis=(1, 2, 3)))
    errors = np.round(255 * again(images / 255)) - images
    return 1 + np.square(r / (2 * np.sqrt(np.square(errors).mean())))


@pytest.mark.parametrize(
    ("weight", "power"),
    [("image", 1), ("image-density", 3), ("pullback", 1), ("fault", 1)],
)
def test_weights_are_distances_of_images_from_inside_and_outside(run, tmp_path, weight, power):
    file = arm_picture(tmp_path / "between.png")
    config = GraphConfig(kind="smallest", weight=weight)
    saved = surf_pair(run, source=file, graph=config, methods=("surfing",)).description
    assert (saved["nodes"][0], saved["graph"]["weight"]) == (NUM_IMAGES, weight)
    points = np.array(saved["methods"]["surfing"]["points"])
    shown = np.array([*read(file), *run.images.images[saved["nodes"][1:]]], np.float64)
    expected = np.sqrt(np.square(np.diff(shown, axis=0)).mean(axis=(1, 2, 3))) ** power
    if weight == "pullback":
        pairs = np.array([*itertools.pairwise(saved["nodes"])])
        codes = np.concatenate([encode_all(run).codes, points[:1]])
        # What is inside was joined before.
        parts = [(codes, pairs[:1]), (codes[:-1], pairs[1:])]
        expected = []
        for known, edges in parts:
            pieces = lengths.num_pieces(run.model, known, edges, 0.3)
            expected += lengths.of_edges(run.model, known, edges, pieces=pieces).tolist()
    if weight == "fault":
        expected = expected * faults(run, points[1::2])
    assert saved["edge_weights"] == pytest.approx(expected, rel=0.005)
    assert not run.workdir.graph.exists()


def test_gaps_are_bridged_only_where_asked_and_reported(run):
    pieces = GraphConfig(kind="radius", radius=0.05)
    with pytest.raises(UserError, match=r"no path joins 3 and 31.*--repair.*larger"):
        surf_pair(run, graph=pieces)
    near, far = "code:0,0.25", "code:30,-20"
    with pytest.raises(UserError, match=rf"no path joins {near} and {far}: "):
        surf(run, SurfConfig(source=near, target=far, graph=pieces))
    with pytest.raises(UserError, match=r"no path joins"):
        evaluate(run, EvaluateConfig(num_pairs=3, graph=pieces))
    assert not run.workdir.evaluation.exists()
    repaired = GraphConfig(kind="radius", radius=0.05, repair=True)
    result = surf_pair(run, graph=repaired, **FAST)
    bridges = result.description["bridges"]
    assert bridges
    words = f"bridged from {bridges[0][0]} to {bridges[0][1]}"
    assert words in str(result)
    assert words in page.write(run).read_text()
    content = evaluate(run, EvaluateConfig(num_pairs=3, graph=repaired)).content
    assert content["bridged_pairs"] > 0
    assert surf_pair(run, **FAST).description["bridges"] == []


def test_of_too_many_images_codes_decide_alone_without_faiss(run, monkeypatch, caplog):
    monkeypatch.setattr("jaxsurf.pipeline.run.MOST_EXACT", NUM_IMAGES - 1)
    monkeypatch.setattr("jaxsurf.manifold.neighbors.has_faiss", lambda: False)
    latents = encode_all(run)
    made = connect(run, latents, GraphConfig(k=5))
    searched, weighed = caplog.messages[-2:]
    assert searched.startswith("40 images are too many to look for neighbours among them without")
    assert weighed.startswith("40 images are too many to decode along all edges")
    assert (made.weight, set(made.components)) == ("image", {0})
    assert made.description.startswith("k-NN graph with k = 5")
    assert "in images" not in made.description
    bridged = connect(run, latents, GraphConfig(k=5, spanning_tree=True))
    assert "and the Euclidean minimum spanning tree" in bridged.description
    assert not bridged.components.any()
    caplog.clear()
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match="faiss"):
        connect(run, latents, GraphConfig(k=5, search="approximate"))
    assert "too many to look for" not in caplog.text


def test_of_too_many_images_neighbours_are_approximate_with_faiss(run, monkeypatch, caplog):
    pytest.importorskip("faiss")
    monkeypatch.setattr("jaxsurf.pipeline.run.MOST_EXACT", NUM_IMAGES - 1)
    made = connect(run, encode_all(run), GraphConfig(k=5))
    assert made.weight == "image"
    assert "k = 5, nearest in codes and in images, of approximate neigh" in made.description
    assert "too many to look for" not in caplog.text


def test_a_second_surf_uses_the_caches_and_replaces_all_files(run, monkeypatch):
    first = surf_pair(run)
    monkeypatch.setattr("jaxsurf.manifold.encode.encode_images", None)
    monkeypatch.setattr("jaxsurf.manifold.graph.build", None)
    again = surf_pair(run, **FAST)
    assert again.description["nodes"] == first.description["nodes"]
    assert again.folder == first.folder
    assert names(again.folder) == {"linear.gif", "strip.png", "latent.png", "path.json"}


def test_caches_of_something_else_and_damaged_ones_are_refused(run):
    surf_pair(run, **FAST)
    for path in (run.workdir.graph, run.workdir.latents):
        with np.load(path) as archive:
            arrays = dict(archive)
        np.savez(path, **arrays | {"stamp": np.array("checkpoint 1, data abc")})
        with pytest.raises(UserError, match=rf"{path.name} was made from checkpoint 1.*remove it"):
            surf_pair(run)
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(UserError, match=rf"{path.name} is damaged.*remove it"):
            surf_pair(run)


def test_a_stop_is_one_image_or_is_refused(run, tmp_path):
    axes = dict(zip(run.images.factor_names, run.images.factors[7], strict=True))
    named = ",".join(f"{name}={value:g}" for name, value in axes.items())
    assert surf_pair(run, source=named, **FAST).description["ends"][0]["image"] == 7
    Image.new("L", (80, 48)).save(tmp_path / "large.png")  # is brought to the set
    assert surf_pair(run, source=tmp_path / "large.png", **FAST).folder.exists()
    held = next(iter(axes.items()))
    for text, word in (
        ("²", "neither an image number, a file of the set, nor a file"),
        ("x" * 300, "neither an image number, a file of the set, nor a file"),
        ("code:", "code: is no latent code; give 2 numbers, .* commas between: code:0.1,0.1"),
        ("code:1,a", "code:1,a is no latent code"),
        ("code:1", "code:1 is no latent code"),
        ("code:1,1e39", "no latent code; .* finite in float32"),
        (f"{held[0]}={held[1]:g}", rf"\d+ images are meant by '{held[0]}=.*say more of it"),
    ):
        with pytest.raises(UserError, match=word):
            surf_pair(run, source=text)


def test_one_pair_has_no_interval_and_a_perfect_reconstruction_is_reported(run, monkeypatch):
    monkeypatch.setattr(
        "jaxsurf.evaluation.reconstruction.mse", lambda model, images: np.zeros(len(images))
    )
    result = evaluate(run, EvaluateConfig(num_pairs=1))
    score = result.content["methods"]["surfing"]["interpolation_mse"]
    assert score["low"] == score["mean"] == score["high"]
    saved = json.loads(run.workdir.evaluation.read_text())["reconstruction"]
    assert saved == {"mse": 0.0, "psnr_db": None, "num_images": NUM_IMAGES}
    assert str(result).startswith("reconstruction inf dB")
    assert "inf dB" in page.write(run).read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_go_through_every_command(launch, tmp_path, config_file):
    inside = os.fsencode(tmp_path)
    folder, root = Path(os.fsdecode(inside + b"/p\xe9")), Path(os.fsdecode(inside + b"/r\xe9"))
    folder.mkdir()
    for number in range(9):
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[number : number + 7, 4:9] = (200, 20 * number, 50)
        Image.fromarray(pixels).save(folder / os.fsdecode(b"b\xfc%d.png" % number))
    settings = {"source": folder, "fixed": "", "free": "", "side": 0, "stride": 1}
    flags = [f"--config.data.{name}={value}" for name, value in settings.items()]
    outcome = launch("train", f"--config={config_file}", f"--workdir={root}", *flags)
    assert outcome.status == 0, outcome.err
    first = os.fsdecode(b"b\xfc0.png")
    outside = shutil.copy(folder / first, tmp_path / os.fsdecode(b"\xe4.png"))
    for source in (first, outside):
        outcome = launch("surf", f"--workdir={root}", f"--source={source}", "--target=8")
        assert outcome.status == 0, outcome.err
    ends = json.loads((root / "surf" / "0-8" / "path.json").read_text())["ends"]
    assert ends[0]["image"] == 0
    for command in ("evaluate", "report"):
        flags = ["--num_pairs=3"] * (command == "evaluate")
        outcome = launch(command, f"--workdir={root}", *flags)
        assert outcome.status == 0, outcome.err
    assert r"p\xe9" in (root / "report.html").read_text()


def test_frames_and_films_are_written_where_they_are_asked_for(run):
    made = surf_pair(run, also=("frames", "mp4"), timing=Timing(frames=12))
    found = names(made.folder)
    assert found == SURF_FILES | {*METHODS} | {f"{method}.mp4" for method in METHODS}
    with Image.open(made.folder / "surfing" / "0011.png") as last:
        np.testing.assert_array_equal(np.array(last), made.animations["surfing"].frames[11])
