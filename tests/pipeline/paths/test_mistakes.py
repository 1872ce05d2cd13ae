"""What a user meets who gives `launch/paths.py` something wrong: one clear line."""

import json
import os
import pickle

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.manifold.edges.trimming import Trimming
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.pipeline.paths import pipeline
from jaxsurf.pipeline.paths.config import Lines, PathsConfig
from jaxsurf.pipeline.paths.sample import Sample

CODES = np.random.default_rng(0).normal(size=(53, 3))
KNN = GraphConfig(kind="knn", k=9, weight="latent")


def complaint(tmp_path, *anchors, latents=None, codes=CODES, **changes):
    """Return the line that a call ends with, which must leave nothing behind."""
    if latents is None:
        np.save(tmp_path / "codes.npy", codes)
    before = sorted(path.name for path in tmp_path.iterdir())
    texts = tuple(str(anchor) for anchor in anchors)
    config = {"latents": str(tmp_path / (latents or "codes.npy")), "anchors": texts} | changes
    with pytest.raises(UserError) as caught:
        pipeline.run(PathsConfig(**config), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("codes", "line"),
    [
        (CODES[:, 0], "codes.npy holds an array of shape (53,), not (point, latent); give one row"),
        (CODES[None], "holds an array of shape (1, 53, 3)"),
        (np.empty((0, 3)), "holds an array of shape (0, 3)"),
        (CODES + 1j, "holds values of type complex128; give real numbers"),
        (CODES > 0, "holds values of type bool"),
        (np.array([["a", "b"]]), "holds values of type <U1"),
        (np.array([[1, None]], dtype=object), "holds Python objects, which may run code when read"),
        (np.where(np.arange(53)[:, None] == 17, np.nan, CODES), "1 of 53 codes in codes.npy are not"
         " finite, the first in row 17; mend these rows, or leave them out with --index_file"),
        (np.where(np.arange(53)[:, None] == 17, np.inf, CODES), "the first in row 17"),
    ],
)  # fmt: skip
def test_codes_that_are_none(tmp_path, codes, line):
    assert line in complaint(tmp_path, 3, 17, codes=codes)


def test_a_row_that_is_left_out_may_hold_anything(tmp_path):
    np.save(tmp_path / "codes.npy", np.where(np.arange(53)[:, None] == 17, np.nan, CODES))
    np.savetxt(tmp_path / "ind.txt", np.delete(np.arange(53), 17), fmt="%d")
    sample = Sample(index_file=str(tmp_path / "ind.txt"))
    config = PathsConfig(
        latents=str(tmp_path / "codes.npy"), anchors=("3", "18"), graph=KNN, sample=sample
    )
    assert 17 not in pipeline.run(config, tmp_path / "out").description["nodes"]


@pytest.mark.parametrize(
    ("anchors", "line"),
    [
        ((3, 53), "anchor 53 is out of range: codes.npy has 53 rows; give rows from 0 to 52"),
        ((3, -1), "anchor -1 is out of range"),
        ((3, 2.5), "anchor '2.5' is neither a row number nor a file; give rows (3,17)"),
        ((3, "seventeen"), "anchor 'seventeen' is neither a row number nor a file"),
        ((3, ""), "anchor '' is neither a row number nor a file"),
        ((), "no anchors were given; give at least two: --anchors=3,17"),
        ((3,), "1 anchor was given; give at least two"),
        ((3, 17, 17), "anchor 17 is given twice in a row"),
        ((3, "nowhere.txt"), "there is no file nowhere.txt"),
        ((3, "code:1", "2"), "code:1,2 is no code of 3 numbers, as those of codes.npy are; behind"),
        (
            ("code:0.1", "17"),
            "code:0.1,17 is no code of 3 numbers, as those of codes.npy are; behind code: give 3 "
            "numbers with commas between, and then the next anchor: code:0.1,0.1,0.1,17; or codes "
            "in a file, one a row: codes:path.txt",
        ),
        (
            ("code:0.1", "17", "3"),
            "1 anchor was given: code:0.1,17,3 is one code, as codes have 3 numbers; give another "
            "behind it: --anchors=code:0.1,17,3,17",
        ),
        ((3, "code:1", "2", "x"), "code:1,2,x is no code of 3 numbers"),
        ((3, "code:1", "2", "nan"), "numbers of code:1,2,nan are not finite"),
        ((3, "codes:codes.h5"), "there is no file codes.h5"),
    ],
)
def test_anchors_that_are_none(tmp_path, monkeypatch, anchors, line):
    monkeypatch.chdir(tmp_path)
    assert line in complaint(tmp_path, *anchors)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("3\n2.5\n", "2.5 in anchors.txt is no whole number, but row numbers are"),
        ("3\nx\n", "anchors.txt, line 2: 'x' is no number, but row numbers are"),
        ("", "anchors.txt is empty"),
        ("3\n99\n", "anchor 99 is out of range"),
    ],
)
def test_files_of_anchors_that_are_none(tmp_path, monkeypatch, text, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "anchors.txt").write_text(text)
    assert line in complaint(tmp_path, "anchors.txt")


def test_files_of_codes_of_another_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savetxt(tmp_path / "path.txt", CODES[:4, :2])
    line = complaint(tmp_path, "codes:path.txt")
    assert "path.txt holds an array of shape (4, 2), but codes of codes.npy have 3 numbers" in line


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"loop": True, "anchors": (3, 17, 3)}, "anchor 3 is given first and last; with --loop"),
        ({"order": "best", "anchors": (3, 17, 3)}, "anchor 3 is given twice; with --order=best"),
        ({"method": "linear", "graph": KNN}, "--graph, with what belongs to it, has no meaning"),
        ({"method": "pc", "loop": True}, "--loop has no meaning with --method=pc; leave it out"),
        ({"method": "pc", "points_per_edge": 3}, "--points_per_edge has no meaning"),
        ({"method": "pc"}, "2 anchors were given, but a line along a component passes one"),
        ({"method": "pc", "lines": Lines(components=(4,)), "anchors": ()}, "--components has 4"),
        ({"snap": True}, "--snap has no meaning with --method=surfing; leave it out, or use"),
        ({"lines": Lines(limits=(0, 1))}, "--components, --percentiles or --limits has no meaning"),
        ({"trimming": Trimming(max_edge=1)}, "no meaning with a graph that is to connect all"),
        ({"method": "fast"}, "--method is 'fast'; use one of surfing, linear, pc"),
        ({"frames": 1}, "--frames is 1, but ends are counted"),
        ({"support_radius": -1.0}, "--support_radius is -1.0"),
        ({"graph": GraphConfig(kind="knn", k=53)}, "k is 53, but 53 points have 52 neighbours"),
        ({"sample": Sample(subset=54)}, "--subset is 54, but 53 rows of codes.npy are there"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, changes, line):
    anchors = changes.pop("anchors", (3, 17))
    assert line in complaint(tmp_path, *anchors, **changes)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (lambda: Lines(percentiles=(5,)), "--percentiles is 5; give two different numbers"),
        (lambda: Lines(percentiles=(5, 101)), "--percentiles is 5,101; give two numbers from 0"),
        (lambda: Lines(limits=(2, 2)), "--limits is 2,2; give two different numbers"),
        (lambda: Lines(limits=(1, 2), percentile_spacing=True), "--limits excludes percentiles"),
        (lambda: Lines(components=(1, 1)), "a component is given twice"),
        (lambda: Sample(stride=0), "--stride is 0; give 1 or more"),
        (lambda: Sample(subset=1), "--subset is 1"),
        (lambda: Sample(seed=-1), "--seed is -1"),
    ],
)
def test_numbers_that_mean_nothing(wrong, line):
    with pytest.raises(UserError) as caught:
        wrong()
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("index", "line"),
    [
        (np.array([3, 17, 53]), "ind.npy names row 53, but codes.npy has 53 rows; give rows from"),
        (np.array([3, 17, -1]), "ind.npy names row -1"),
        (np.array([3, 17, 3]), "ind.npy names row 3 2 times; name each row once"),
        (np.array([3.5, 17]), "3.5 in"),
        (np.empty(0, int), "ind.npy names no rows"),
        (np.ones(52, bool), "ind.npy holds truth values of shape (52,), but codes.npy has 53 rows"),
        (np.array([5, 17, 20]), "anchor 3 is not among the 3 rows of --index_file"),
    ],
)
def test_index_files_that_are_none(tmp_path, index, line):
    np.save(tmp_path / "ind.npy", index)
    sample = Sample(index_file=str(tmp_path / "ind.npy"))
    assert line in complaint(tmp_path, 3, 17, sample=sample)


class Planted:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_planted_code_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "z.pkl").write_bytes(pickle.dumps(Planted()))
    line = complaint(tmp_path, 3, 17, latents="z.pkl")
    assert "z.pkl would run code when read (posix.mkdir), and is refused" in line
    (tmp_path / "z.pkl").write_bytes(pickle.dumps(CODES))
    (tmp_path / "ind.pkl").write_bytes(pickle.dumps(Planted()))
    line = complaint(tmp_path, 3, latents="z.pkl", sample=Sample(index_file="ind.pkl"))
    assert "ind.pkl would run code" in line
    assert not (tmp_path / "ran").exists()


def test_anchors_in_different_components(tmp_path):
    codes = np.concatenate([CODES, CODES + 100])
    line = complaint(tmp_path, 3, 60, codes=codes, graph=KNN)
    assert (
        "no path joins 3 and 60: they lie in different components of the graph, of 53 and 53"
        in (line)
    )
    assert "--repair" in line


def test_a_folder_with_other_files_is_never_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    assert "holds other files, such as thesis.tex, which would be lost" in complaint(
        tmp_path, 3, 17
    )
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


def test_a_folder_of_codes_that_are_called_as_ours_is_never_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    np.save(tmp_path / "out" / "codes.npy", CODES)
    assert "holds other files, such as codes.npy, which would be lost" in complaint(
        tmp_path, 3, 17, latents="out/codes.npy"
    )
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "codes.npy"), CODES)


@pytest.mark.parametrize("read", ["latents", "anchors", "index_file"])
def test_a_file_that_is_read_is_never_replaced(tmp_path, read):
    np.save(tmp_path / "codes.npy", CODES)
    latents = str(tmp_path / "codes.npy")
    pipeline.run(PathsConfig(latents=latents, anchors=("3", "17")), tmp_path / "out")
    nodes = str(tmp_path / "out" / "nodes.txt")
    before = (tmp_path / "out" / "nodes.txt").read_text()
    changes = {
        "latents": {"latents": "out/codes.npy"},
        "anchors": {"anchors": (nodes,)},
        "index_file": {"sample": Sample(index_file=nodes)},
    }[read]
    assert "which would be lost" in complaint(tmp_path, 0, 1, **changes)
    assert (tmp_path / "out" / "nodes.txt").read_text() == before


def test_a_folder_that_is_a_file_or_where_one_is(tmp_path, monkeypatch):
    (tmp_path / "out").write_text("")
    assert "is a file; choose another with --out" in complaint(tmp_path, 3, 17)
    (tmp_path / "out").unlink()
    (tmp_path / "out" / "inside").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "out" / "inside")
    (tmp_path / "out" / "inside").rmdir()
    (tmp_path / "out").rmdir()
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    assert "is where you are" in complaint(tmp_path, 3, 17)


CALLS = [
    ((), 2, "Flag --latents must have a value other than None. flag --out=None:"),
    (("--latents=none.npy", "--anchors=3,17", "--out=out"), 1, "there is no file none.npy"),
    (("--latents=flat.npy", "--anchors=3,17", "--out=out"), 1, "not (point, latent)"),
    (("--latents=codes.npy", "--anchors=3,530", "--out=out"), 1, "anchor 530 is out of range"),
    (("--latents=z.pkl", "--anchors=3,17", "--out=out"), 1, "would run code when read"),
    (
        ("--latents=codes.npy", "--anchors=3,17", "--out=out", "--weight=image"),
        1,
        "needs the images",
    ),
    (
        ("--latents=codes.npy", "--anchors=3,17", "--out=out", "--frames=9", "--points_per_edge=3"),
        2,
        "At most one of (frames, points_per_edge) must have a value",
    ),
    (
        ("--latents=codes.npy", "--method=pc", "--percentiles=5,high", "--out=out"),
        2,
        "flag --percentiles=5,high: could not convert string to float: 'high'",
    ),
    (("--latents=codes.npy", "--anchors=3,17", "--out=codes.npy"), 1, "codes.npy is a file"),
    (
        (
            "--latents=codes.npy",
            "--anchors=3,17",
            "--radius=2",
            "--search=approximate",
            "--out=out",
        ),
        1,
        "graph.search=approximate has no meaning with graph.kind=radius",
    ),
]


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "codes.npy", CODES)
    np.save(tmp_path / "flat.npy", CODES[:, 0])
    (tmp_path / "z.pkl").write_bytes(pickle.dumps(Planted()))
    return tmp_path


@pytest.mark.parametrize(("flags", "status", "line"), CALLS)
def test_a_command_with_a_mistake_says_one_line(launch, folder, flags, status, line):
    outcome = launch("paths", *flags, folder=folder)
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("error: ")
    assert line in outcome.err
    assert (outcome.out, outcome.status) == ("", status)
    assert not (folder / "out").exists()
    assert not (folder / "ran").exists()


def test_a_command_without_one_says_what_it_found(launch, folder):
    flags = ["--latents=codes.npy", "--anchors=3,code:0.5,0,0.1,17", "--k=9", "--loop", "--verbose"]
    outcome = launch("paths", *flags, "--order=best", "--out=out", folder=folder)
    assert (outcome.err, outcome.status) == ("", 0)
    assert "out: codes.npy, 53 codes of 3 numbers" in outcome.out
    assert "k-NN graph with k = 9" in outcome.out
    assert "code:0.5,0,0.1" in outcome.out
    outcome = launch(
        *("paths", "--latents=codes.npy", "--method=pc", "--anchors=17", "--components=3,1"),
        *("--percentiles=90,10", "--percentile_spacing", "--frames=4", "--snap"),
        *("--support_radius=1.5", "--stride=2", "--subset=20", "--seed=3", "--out=out"),
        folder=folder,
    )
    assert (outcome.err, outcome.status) == ("", 0)
    assert sorted(path.name for path in (folder / "out").glob("pc*")) == [
        "pc1.npy", "pc1.txt", "pc1_nodes.txt", "pc3.npy", "pc3.txt", "pc3_nodes.txt",
    ]  # fmt: skip


def test_approximate_neighbours_are_had_by_a_flag_and_their_recall_is_told(launch, folder):
    outcome = launch(
        *("paths", "--latents=codes.npy", "--anchors=3,17", "--k=9", "--search=approximate"),
        "--out=out",
        folder=folder,
    )
    assert outcome.status == 0
    assert outcome.err == (
        "approximate search for 9 neighbours of 53 codes: recall 1.000, measured on 53 of them\n"
    )
    told = json.loads((folder / "out" / "path.json").read_text())["graph"]
    assert (told["recall"], "approximate" in told["description"]) == (1.0, True)


def test_codes_of_many_numbers_are_not_spelled_out(tmp_path):
    line = complaint(tmp_path, "code:0.1", "17", codes=np.random.default_rng(0).random((9, 64)))
    assert "code:0.1,17 is no code of 64 numbers" in line
    assert "the next anchor: code:0.1,...,0.1,17;" in line
