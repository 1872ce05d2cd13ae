"""From a trained working directory to animations and scores: what is written, and what it says."""

import itertools
import json
import math
import shutil

import imageio.v3 as iio
import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxsurf.errors import UserError
from jaxsurf.frames import decode, lengths
from jaxsurf.frames.animate import METHODS, Timing
from jaxsurf.images.drawn import arm
from jaxsurf.manifold import connectivity
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.pipeline import page
from jaxsurf.pipeline.evaluate import EvaluateConfig, evaluate
from jaxsurf.pipeline.run import connect, encode_all, open_run
from jaxsurf.pipeline.surf import SurfConfig, surf
from jaxsurf.pipeline.train import train
from jaxsurf.viewing import plots

NUM_IMAGES = 40
SURF_FILES = {f"{method}.gif" for method in METHODS} | {"strip.png", "latent.png", "path.json"}


def surf_pair(run, source=3, target=31, **options):
    return surf(run, SurfConfig(source=str(source), target=str(target), **options))


def names(folder):
    return {path.name for path in folder.iterdir()}


def arm_picture(path, *, axis):
    """Write the arm at any position of its axis, which may lie between those of the set."""
    pose = np.array([[0, 0, 1, 0, 0, axis, 20]], np.float64)
    iio.imwrite(path, arm.render_batch(pose, side=32)[0])
    return path


def test_a_run_leaves_the_files_of_the_working_directory(run):
    surf_pair(run)
    evaluate(run, EvaluateConfig(num_pairs=5))
    expected = {
        ".lock",
        "config.json",
        "checkpoints",
        "metrics.jsonl",
        "latents.npz",
        "graph.npz",
        "surf",
        "evaluation.json",
        "evaluation.csv",
    }
    found = names(run.workdir.root)
    assert {name for name in found if not name.startswith("events.")} == expected
    assert found > expected
    assert names(run.workdir.root / "surf") == {"3-31"}
    assert names(run.workdir.root / "surf" / "3-31") == SURF_FILES
    saved = json.loads(run.workdir.config.read_text())
    assert saved["data"]["fingerprint"] == run.images.fingerprint
    assert {"python", "jax", "jaxsurf"} <= saved["versions"].keys()


def test_a_way_past_several_anchors_and_back(run):
    anchors = ("3", "31", "code:0,0.25", "12")
    result = surf(run, SurfConfig(anchors=anchors, loop=True))
    said = result.description
    assert [end["image"] for end in said["ends"]] == [3, 31, None, 12, 3]
    places = [end["place"] for end in said["ends"]]
    assert places == sorted(places)
    assert places[0] == 0
    assert places[-1] == len(said["nodes"]) - 1
    assert [said["nodes"][place] for place in places] == [3, 31, 40, 12, 3]
    legs = [
        surf(run, SurfConfig(source=source, target=target)).description
        for source, target in itertools.pairwise((*anchors, anchors[0]))
    ]
    # The code joins the graph in each of them anew, as node 40.
    assert said["nodes"] == [3, *(node for leg in legs for node in leg["nodes"][1:])]
    assert said["length"] == pytest.approx(sum(leg["length"] for leg in legs), rel=1e-6)
    for method in METHODS:
        frames = said["methods"][method]["num_frames"]
        assert frames == 2 * (len(said["nodes"]) - 1) + 1
    assert names(result.folder) == SURF_FILES
    assert result.folder.name.startswith("3-31-code_")
    linear = np.asarray(said["methods"]["linear"]["points"])
    codes = encode_all(run).codes
    for place, code in zip(
        places, [codes[3], codes[31], [0, 0.25], codes[12], codes[3]], strict=True
    ):
        np.testing.assert_allclose(linear[2 * place], code, rtol=1e-5, atol=1e-6)


def test_the_best_order_is_no_longer_than_the_given_one(run):
    anchors = ("3", "31", "12", "25", "7")
    results = [surf(run, SurfConfig(anchors=anchors, order=order)) for order in ("given", "best")]
    given, best = (result.description for result in results)
    assert (given["order_proven"], best["order_proven"]) == (None, True)
    assert "best order" not in str(results[0])
    assert "best order of 5 anchors: none is shorter (Held and Karp)" in str(results[1])
    assert [end["image"] for end in given["ends"]] == [3, 31, 12, 25, 7]
    images = [end["image"] for end in best["ends"]]
    assert images[0] == 3
    assert sorted(images) == [3, 7, 12, 25, 31]
    assert sum(best["edge_weights"]) < sum(given["edge_weights"])
    shown = page.write(run).read_text()
    assert "3 to 31 to 12 to 25 to 7" in shown
    assert " to ".join(map(str, images)) in shown


def test_many_stops_have_a_folder_whose_name_is_short_enough(run):
    anchors = tuple(str(number % 40) for number in range(3, 120))
    result = surf(run, SurfConfig(anchors=anchors, methods=("pixel",)))
    assert result.folder.name.startswith("3-39-117_stops_")


def test_the_picture_shows_the_path_and_its_stops(run, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "latent", lambda plot: drawn.append(plot) or Figure())
    few = surf(run, SurfConfig(anchors=("3", "31", "12", "3"))).description
    surf_pair(run)
    surf(run, SurfConfig(anchors=tuple(map(str, range(9))), methods=("pixel",)))
    assert [plot.title.splitlines()[0] for plot in drawn] == [
        "robot arm: 3 to 31 to 12 to 3",
        "robot arm: 3 to 31",
        "robot arm: 0 to 8 past 7 others",
    ]
    plot, pair, _ = drawn
    assert list(plot.stops) == ["1, 4: 3", "2: 31", "3: 12"]
    assert list(pair.stops) == ["source 3", "target 31"]
    np.testing.assert_array_equal(plot.stops["2: 31"], plot.codes[31])
    assert [line.name for line in plot.lines] == ["linear", "surfing"]
    np.testing.assert_array_equal(plot.lines[1].points, few["methods"]["surfing"]["points"])
    assert plot.legend == "horizontal axis"
    np.testing.assert_array_equal(plot.values, run.images.factors[:, 5])


def test_path_json_says_everything(run):
    result = surf_pair(run)
    saved = json.loads((result.folder / "path.json").read_text())
    assert saved == result.description
    assert saved.keys() == {
        *(
            "ends",
            "loop",
            "order",
            "order_proven",
            "nodes",
            "length",
            "edge_weights",
            "bridges",
            "graph",
        ),
        *("search", "methods", "checkpoint", "data", "versions", "seed"),
    }
    assert [end["image"] for end in saved["ends"]] == [3, 31]
    assert (saved["nodes"][0], saved["nodes"][-1]) == (3, 31)
    assert saved["methods"].keys() == set(METHODS)
    assert saved["checkpoint"] == run.step == 200
    assert saved["seed"] == run.config.training.seed
    codes = encode_all(run).codes[saved["nodes"]]
    steps = np.linalg.norm(np.diff(codes, axis=0), axis=1)
    assert saved["edge_weights"] == pytest.approx((steps**3).tolist(), rel=1e-5)
    assert saved["length"] == pytest.approx(steps.sum(), rel=1e-5)


def test_evaluation_json_has_its_keys(run):
    evaluate(run, EvaluateConfig(num_pairs=5))
    saved = json.loads(run.workdir.evaluation.read_text())
    assert saved.keys() >= {"num_pairs", "reconstruction", "methods", "versus"}
    assert saved["num_pairs"] == 5
    mse, psnr_db = saved["reconstruction"]["mse"], saved["reconstruction"]["psnr_db"]
    assert psnr_db == pytest.approx(-10 * math.log10(mse))
    assert saved["methods"].keys() == {*METHODS, "true"}
    for scores in saved["methods"].values():
        assert "interpolation_mse" in scores
        for score in scores.values():
            assert score.keys() == {"mean", "low", "high"}
            assert score["low"] <= score["mean"] <= score["high"]
    assert saved["versus"].keys() == {"pixel", "surfing", "true"}
    for scores in saved["versus"].values():
        assert all(score.keys() == {"ratio", "win_rate"} for score in scores.values())


@pytest.mark.slow
def test_a_folder_of_pictures_goes_the_whole_road_without_a_floor(
    config_of, run, tmp_path, cache_home
):
    for number, image in enumerate(run.images.images):
        iio.imwrite(tmp_path / f"{number}.png", image)
    own = {"data.fixed": "", "data.free": "", "data.source": str(tmp_path)}
    mine = train(config_of(**own), tmp_path / "run", shown=False)
    content = evaluate(mine, EvaluateConfig(num_pairs=3)).content
    assert content["methods"].keys() == set(METHODS)
    assert names(surf_pair(mine).folder) == SURF_FILES


def test_evaluation_csv_has_a_row_for_each_pair_and_method(run):
    evaluate(run, EvaluateConfig(num_pairs=5, methods=("linear", "surfing")))
    lines = run.workdir.evaluation.with_suffix(".csv").read_text().splitlines()
    assert lines[0].startswith("source,target,method,")
    assert len(lines) == 1 + 5 * 3  # the floor is there too


def test_one_pair_can_be_evaluated(run):
    content = evaluate(run, EvaluateConfig(num_pairs=1)).content
    score = content["methods"]["surfing"]["interpolation_mse"]
    assert score["low"] == score["mean"] == score["high"]


def test_all_pairs_can_be_evaluated_and_no_more(run):
    every = NUM_IMAGES * (NUM_IMAGES - 1) // 2
    with pytest.raises(UserError, match=f"{every + 1} pairs .*1 to {every} with --num_pairs"):
        evaluate(run, EvaluateConfig(num_pairs=every + 1))
    assert not run.workdir.evaluation.exists()


@pytest.mark.parametrize("frames", [2, 7, 50])
def test_frames_gives_exactly_that_many_for_every_method(run, frames):
    result = surf_pair(run, timing=Timing(frames=frames))
    for method in METHODS:
        facts = result.description["methods"][method]
        assert facts["num_frames"] == frames
        gif = iio.immeta(result.folder / f"{method}.gif")
        assert gif["loop"] == 0
        assert facts["points"] is None or len(facts["points"]) == frames


@pytest.mark.parametrize("points", [2, 5])
def test_points_per_edge_counts_both_ends_of_every_edge(run, points):
    result = surf_pair(run, timing=Timing(points_per_edge=points))
    edges = len(result.description["nodes"]) - 1
    for method in METHODS:
        assert result.description["methods"][method]["num_frames"] == edges * (points - 1) + 1


def test_an_end_may_be_an_image_from_outside_the_set(run, tmp_path):
    file = arm_picture(tmp_path / "between.png", axis=10.5)
    result = surf_pair(run, source=file, target=31)
    source, target = result.description["ends"]
    assert (source["image"], source["label"], source["file"]) == (None, "between", str(file))
    assert (source["node"], target["node"]) == (NUM_IMAGES, 31)
    assert result.description["graph"]["nodes"] == NUM_IMAGES + 1
    first = iio.imread(result.folder / "pixel.gif", index=0).astype(int)
    assert np.abs(first - iio.imread(file)).mean() < 2  # up to the palette
    assert max(result.description["nodes"][1:]) < NUM_IMAGES


def test_two_outside_files_of_one_name_have_their_own_folders(run, tmp_path):
    for place, axis in (("here", 10.5), ("there", 20.5)):
        (tmp_path / place).mkdir()
        arm_picture(tmp_path / place / "arm.png", axis=axis)
    folders = {surf_pair(run, source=tmp_path / p / "arm.png").folder for p in ("here", "there")}
    assert len(folders) == 2
    again = surf_pair(run, source=tmp_path / "here" / "arm.png").folder
    assert again in folders


def test_an_outside_file_named_like_an_image_does_not_take_its_folder(run, tmp_path):
    file = arm_picture(tmp_path / "12.png", axis=10.5)
    assert surf_pair(run, source=file).folder != surf_pair(run, source=12).folder


@pytest.mark.parametrize(
    "name", ["with space-and+plus.png", "ä'\".b.png", "-.png", "$x_{$ 猫.png", "x" * 200 + ".png"]
)
def test_odd_file_names_become_plain_folder_names(run, tmp_path, name):
    file = arm_picture(tmp_path / name, axis=10.5)
    folder = surf_pair(run, source=file, target=file).folder
    assert names(folder) == SURF_FILES
    assert folder.name.isascii()
    assert len(folder.name.split("-")) == 2
    assert set(folder.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")


@pytest.mark.parametrize("outside", [False, True])
def test_the_same_end_twice_stands_still(run, tmp_path, outside):
    end = arm_picture(tmp_path / "same.png", axis=10.5) if outside else 7
    result = surf_pair(run, source=end, target=end)
    assert len(result.description["nodes"]) == 1
    assert result.description["length"] == 0
    assert {facts["num_frames"] for facts in result.description["methods"].values()} == {1}
    moving = surf_pair(run, source=end, target=end, timing=Timing(frames=6))
    assert {facts["num_frames"] for facts in moving.description["methods"].values()} == {6}


def test_another_graph_gets_its_own_folder_and_leaves_the_cache_alone(run):
    own = surf_pair(run).folder
    cached = run.workdir.graph.read_bytes()
    other = surf_pair(run, graph=GraphConfig(kind="knn", k=9))
    assert other.folder.name == "3-31-knn9"
    plain = surf_pair(run, graph=GraphConfig(weight="latent"))
    assert plain.folder.name == "3-31-smallest_latent"
    facts = plain.description
    assert facts["length"] == pytest.approx(sum(facts["edge_weights"]), rel=1e-5)
    assert other.description["graph"]["k"] == 9
    assert own != other.folder
    assert run.workdir.graph.read_bytes() == cached


def apart(first, second):
    """The root-mean-square difference of two images, on 0-255."""
    return math.sqrt(np.mean((first.astype(np.float64) - second) ** 2))


@pytest.mark.parametrize(
    ("weight", "power", "name"),
    [("image", 1, "smallest_image"), ("image-density", 3, "smallest_image_density")],
)
def test_image_weights_are_differences_of_images_from_inside_and_outside(
    run, tmp_path, weight, power, name
):
    file = arm_picture(tmp_path / "between.png", axis=10.5)
    config = GraphConfig(weight=weight)
    assert surf_pair(run, graph=config).folder.name == f"3-31-{name}"
    saved = surf_pair(run, source=file, graph=config).description
    assert (saved["nodes"][0], saved["graph"]["weight"]) == (NUM_IMAGES, weight)
    shown = [iio.imread(file), *run.images.images[saved["nodes"][1:]]]
    expected = [apart(*both) ** power for both in itertools.pairwise(shown)]
    assert saved["edge_weights"] == pytest.approx(expected, rel=1e-6)
    built = connect(run, encode_all(run), config)
    images = run.images.images
    expected = [apart(images[a], images[b]) ** power for a, b in built.edges()[0]]
    assert built.edges()[1] == pytest.approx(expected)
    evaluation = evaluate(run, EvaluateConfig(num_pairs=3, graph=config))
    assert evaluation.content["graph"] == built.facts()
    assert not run.workdir.graph.exists()


@pytest.mark.parametrize(("weight", "pieces"), [("decoded", 1), ("pullback", lengths.PIECES)])
def test_weights_by_the_decoder_are_lengths_between_decoded_images(run, tmp_path, weight, pieces):
    file = arm_picture(tmp_path / "between.png", axis=10.5)
    config = GraphConfig(weight=weight)
    saved = surf_pair(run, source=file, graph=config).description
    assert (saved["nodes"][0], saved["graph"]["weight"]) == (NUM_IMAGES, weight)
    points = np.array(saved["methods"]["surfing"]["points"])[:: Timing().points_per_edge - 1]
    expected = []
    for tail, head in itertools.pairwise(points):
        shares = np.linspace(0, 1, pieces + 1)[:, None]
        images = decode.decode_points(run.model, (1 - shares) * tail + shares * head)
        expected.append(sum(apart(*both) for both in itertools.pairwise(images)))
    assert saved["edge_weights"] == pytest.approx(expected, abs=0.5 * pieces)  # frames are rounded
    again = evaluate(run, EvaluateConfig(num_pairs=3, graph=config)).content
    assert again["graph"]["weight"] == weight


def test_a_graph_in_pieces_is_bridged_on_request_and_everything_says_so(run):
    radius = float(np.sort(connectivity.spanning_tree(encode_all(run).index)[1])[-3])
    config = GraphConfig(kind="radius", radius=radius, repair=True)
    result = surf_pair(run, graph=config)
    saved = result.description
    assert saved["graph"]["bridges"] == 2
    assert saved["graph"]["components"] == 1
    assert saved["graph"]["description"].endswith("its 3 components joined by 2 bridges")
    assert result.folder.name == f"3-31-radius{radius}_repaired"
    built = connect(run, encode_all(run), config)
    tail, head = built.bridges[0].tolist()
    across = surf_pair(run, tail, head, graph=config)
    assert across.description["bridges"] == [[tail, head]]
    words = f"crosses gaps in the graph, bridged from {tail} to {head}"
    assert words in str(across)
    assert words in page.write(run).read_text()
    evaluation = evaluate(run, EvaluateConfig(num_pairs=30, graph=config))
    assert 0 < evaluation.content["bridged_pairs"] < 30
    assert "of the pairs surf over gaps in the graph" in str(evaluation)


def test_a_path_without_bridges_says_nothing_of_them(run):
    result = surf_pair(run)
    assert result.description["bridges"] == []
    assert "bridged" not in str(result)
    assert "bridged" not in page.write(run).read_text()
    evaluation = evaluate(run, EvaluateConfig(num_pairs=3))
    assert evaluation.content["bridged_pairs"] == 0
    assert "gaps" not in str(evaluation)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (GraphConfig(kind="mutual", k=6, spanning_tree=True), "3-31-mutual6_tree"),
        (GraphConfig(kind="knn", k=6, search="approximate"), "3-31-knn6_approximate"),
        (GraphConfig(kind="smallest-radius", weight="latent"), "3-31-smallest_radius_latent"),
    ],
)
def test_every_kind_of_graph_goes_the_road(run, config, name):
    result = surf_pair(run, graph=config)
    assert result.folder.name == name
    assert result.description["graph"]["components"] == 1


def code_of(run, number):
    """An image's latent code as a person would type it."""
    return "code:" + ",".join(f"{value:.7g}" for value in encode_all(run).codes[number])


def test_an_end_may_be_a_latent_code(run):
    text = code_of(run, 3)
    result = surf_pair(run, source=text, target="code:0.25,-0.5")
    source, target = result.description["ends"]
    assert (source["label"], source["image"], source["file"]) == (text, None, None)
    assert target["code"] == [0.25, -0.5]
    assert (source["node"], target["node"]) == (NUM_IMAGES, NUM_IMAGES + 1)
    assert source["code"] == pytest.approx(encode_all(run).codes[3].tolist(), rel=1e-6)
    assert result.description["length"] > 0
    first = iio.imread(result.folder / "pixel.gif", index=0).astype(int)
    decoded = decode.decode_points(run.model, np.array([source["code"]]))[0]
    assert np.abs(first - decoded).mean() < 2  # up to the palette
    assert result.folder.name.count("code_") == 2


@pytest.mark.parametrize("weight", ["latent", "image", "pullback"])
def test_codes_images_and_numbers_are_ends_of_one_graph(run, tmp_path, weight):
    file = arm_picture(tmp_path / "between.png", axis=10.5)
    config = GraphConfig(weight=weight)
    saved = surf_pair(run, source=file, target=code_of(run, 31), graph=config).description
    assert [end["node"] for end in saved["ends"]] == [NUM_IMAGES, NUM_IMAGES + 1]
    assert [end["code"] is None for end in saved["ends"]] == [True, False]
    assert saved["graph"]["nodes"] == NUM_IMAGES + 2
    assert np.isfinite(saved["edge_weights"]).all()


def test_one_latent_code_written_twice_stands_still(run):
    result = surf_pair(run, source="code:0.5,1", target="code:5e-1,1.0")
    assert len(result.description["nodes"]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("code:", "code: is no latent code; give 2 numbers with commas between: code:0.1,0.1"),
        ("code:1,a", "code:1,a is no latent code"),
        ("code:1", "code:1 has 1 numbers, but latent codes have 2"),
        ("code:1,2,3", "has 3 numbers, but latent codes have 2"),
        ("code:1,nan", "code:1,nan is not finite"),
        ("code:1,inf", "is not finite"),
        ("code:1,1e39", "is not finite in float32"),
    ],
)
def test_a_latent_code_that_is_none_is_refused(run, text, message):
    with pytest.raises(UserError, match=message):
        surf_pair(run, source=text)


def test_ends_from_outside_join_without_another_graph_or_index(run, tmp_path, monkeypatch):
    surf_pair(run)
    monkeypatch.setattr("jaxsurf.manifold.graph.build", None)
    monkeypatch.setattr("jaxsurf.manifold.latent_graph.from_edges", None)
    monkeypatch.setattr("jaxsurf.manifold.latent_graph.check", lambda graph, *, origin: graph)
    for made in ("compiled", "ranked"):
        monkeypatch.setattr(f"jaxsurf.manifold.neighbours.exact.{made}", None)
    file = arm_picture(tmp_path / "between.png", axis=10.5)
    assert surf_pair(run, source=file, target="code:0.5,1").folder.exists()


def test_a_runs_own_graph_may_be_weighed_by_images_and_is_cached_so(root):
    path = root / "config.json"
    saved = json.loads(path.read_text())
    saved["config"]["graph"]["weight"] = "image"
    path.write_text(json.dumps(saved))
    run = open_run(root)
    first = surf_pair(run)
    assert first.folder.name == "3-31"
    assert run.workdir.graph.exists()
    again = surf_pair(run).description
    assert again["edge_weights"] == first.description["edge_weights"]
    assert again["graph"]["weight"] == "image"


def test_a_second_surf_uses_the_caches(run, monkeypatch):
    first = surf_pair(run).description
    monkeypatch.setattr("jaxsurf.manifold.encode.encode_images", None)
    monkeypatch.setattr("jaxsurf.manifold.graph.build", None)
    assert surf_pair(run).description == first


def test_surfing_again_replaces_all_files_of_the_pair(run):
    folder = surf_pair(run).folder
    assert surf_pair(run, methods=("linear",)).folder == folder
    assert names(folder) == {"linear.gif", "strip.png", "latent.png", "path.json"}
    assert names(folder.parent) == {folder.name}


def test_a_failed_surf_leaves_the_earlier_one_whole(run, monkeypatch):
    folder = surf_pair(run).folder
    before = (folder / "path.json").read_text()

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plots, "save", no_space)
    with pytest.raises(UserError, match=r"cannot write .*3-31: No space left on device"):
        surf_pair(run, methods=("linear",))
    assert names(folder) == SURF_FILES
    assert (folder / "path.json").read_text() == before
    assert names(folder.parent) == {folder.name}


def test_caches_made_from_something_else_are_refused(run):
    surf_pair(run)
    for path, name in ((run.workdir.graph, "graph"), (run.workdir.latents, "latents")):
        with np.load(path) as archive:
            arrays = dict(archive)
        np.savez(path, **arrays | {"stamp": np.array("checkpoint 1, data abc")})
        with pytest.raises(UserError, match=rf"{name}\.npz was made from checkpoint 1.*remove it"):
            surf_pair(run)
    assert names(run.workdir.root / "surf") == {"3-31"}


@pytest.mark.parametrize("cut", [0, 100])
def test_damaged_caches_are_refused(run, cut):
    surf_pair(run)
    for path in (run.workdir.graph, run.workdir.latents):
        path.write_bytes(path.read_bytes()[:cut])
        with pytest.raises(UserError, match=rf"{path.name} is damaged .*remove it"):
            surf_pair(run)


def test_a_graph_that_does_not_connect_the_ends_is_refused(run):
    pieces = GraphConfig(kind="radius", radius=1e-9)
    message = r"no path joins 3 and 31.* of 1 and 1 nodes; it has 40 components.*--repair.*larger k"
    with pytest.raises(UserError, match=message):
        surf_pair(run, graph=pieces)
    with pytest.raises(UserError, match=r"no path joins 31 and 4: "):
        surf(run, SurfConfig(anchors=("31", "4", "12"), graph=pieces))
    near, far = "code:0,0.25", "code:30,-20"
    with pytest.raises(UserError, match=rf"no path joins {near} and {far}: "):
        surf(run, SurfConfig(source=near, target=far, graph=pieces))
    with pytest.raises(UserError, match=r"no path joins .* it has 40 components"):
        evaluate(run, EvaluateConfig(num_pairs=3, graph=pieces))
    assert not (run.workdir.root / "surf").exists()
    assert not run.workdir.evaluation.exists()


@pytest.mark.parametrize("number", [-1, NUM_IMAGES])
def test_an_image_number_out_of_range_is_refused(run, number):
    with pytest.raises(UserError, match=f"image {number} is out of range; choose 0 to 39"):
        surf_pair(run, source=number)


@pytest.mark.parametrize("text", [" ", "abc", "²", "3.5", "nowhere/3.png"])
def test_an_end_that_is_neither_number_nor_file_is_refused(run, text):
    with pytest.raises(UserError, match="neither an image number nor a file that exists"):
        surf_pair(run, source=text)


def test_an_outside_image_of_another_size_is_refused_unless_images_are_resized(run, tmp_path):
    large = np.zeros((48, 80, 3), np.uint8)
    iio.imwrite(tmp_path / "large.png", large)
    assert surf_pair(run, source=tmp_path / "large.png").folder.exists()
    object.__setattr__(run.config.data, "side", 0)
    with pytest.raises(UserError, match=r"large\.png is 80 x 48 pixels.* trained on 32 x 32"):
        surf_pair(run, source=tmp_path / "large.png")


def test_a_perfect_reconstruction_is_evaluated_and_reported(run, monkeypatch):
    perfect = np.zeros(len(run.images))
    monkeypatch.setattr("jaxsurf.evaluation.reconstruction.mse", lambda model, images: perfect)
    result = evaluate(run, EvaluateConfig(num_pairs=2))
    assert json.loads(run.workdir.evaluation.read_text())["reconstruction"] == {
        "mse": 0.0,
        "psnr_db": None,
        "num_images": NUM_IMAGES,
    }
    assert str(result).startswith("reconstruction inf dB")
    assert "inf dB" in page.write(run).read_text()


def test_weights_of_another_seed_are_refused(run, tmp_path):
    shutil.copytree(run.workdir.root, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    saved = json.loads(path.read_text())
    saved["config"]["training"]["seed"] += 1
    path.write_text(json.dumps(saved))
    with pytest.raises(UserError, match=r"no checkpoint .* 200 \(it is of another run\)"):
        open_run(tmp_path / "run")


def test_the_floor_has_the_one_score_that_does_not_depend_on_its_frames(run):
    content = evaluate(run, EvaluateConfig(num_pairs=2)).content
    assert content["methods"]["true"].keys() == {"interpolation_mse"}
    assert content["versus"]["true"].keys() == {"interpolation_mse"}


def test_an_end_too_long_to_be_a_file_name_is_refused(run):
    with pytest.raises(UserError, match="neither an image number nor a file"):
        surf_pair(run, source="x" * 300)
