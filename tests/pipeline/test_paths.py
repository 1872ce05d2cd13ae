"""Paths through latents of a user's own: what is found, what is written, what is refused."""

import csv
import json
import os
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csgraph
from scipy.spatial.distance import cdist
from sklearn.neighbors import kneighbors_graph

from jaxsurf.errors import UserError
from jaxsurf.manifold.graph import GraphConfig, Trimming
from jaxsurf.pipeline import paths
from jaxsurf.pipeline.path_inputs import PathsConfig

K = 11
KNN = GraphConfig(kind="knn", k=K, weight="latent")
SMALLEST = GraphConfig(kind="smallest", weight="latent")


def spiral(number=307, seed=0):
    random = np.random.default_rng(seed)
    angle = np.sort(random.uniform(0, 3 * np.pi, number))
    codes = (1 + angle)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    codes += random.normal(size=codes.shape) * 0.05
    return codes[random.permutation(number)].astype(np.float32)


CODES = spiral()


@pytest.fixture
def find(tmp_path, monkeypatch):
    """Finds a path, by default in `codes.npy`, and returns what path.json says."""
    monkeypatch.chdir(tmp_path)
    np.save("codes.npy", CODES)

    def find(*anchors, **changes):
        usual = {"latents": "codes.npy", "graph": KNN if "method" not in changes else None}
        config = PathsConfig(anchors=tuple(map(str, anchors)), **usual | changes)
        find.summary = paths.run(config, Path("out"))
        return json.loads(Path("out/path.json").read_text())

    return find


def written(name):
    path = Path("out") / name
    if name.endswith(".csv"):
        return list(csv.DictReader(path.read_text().splitlines()))
    return np.load(path) if name.endswith(".npy") else np.loadtxt(path)


def shortest(codes, anchors, k=K):
    """Return the length of the shortest path past anchors in the symmetric k-NN graph."""
    graph = kneighbors_graph(codes.astype(np.float64), k, mode="distance")
    lengths = csgraph.dijkstra(graph, directed=False, indices=anchors)
    return sum(lengths[at, anchors[at + 1]] for at in range(len(anchors) - 1))


@pytest.mark.core
@pytest.mark.parametrize("loop", [False, True])
def test_the_path_is_the_shortest_past_all_anchors_in_order(find, loop):
    anchors = [3, 17, 256, 101]
    said = find(*anchors, loop=loop)
    visited = [*anchors, 3] if loop else anchors
    assert said["length"] == pytest.approx(shortest(CODES, visited), rel=1e-6)
    assert [end["row"] for end in said["ends"]] == visited
    for leg, ends in zip(written("lengths.csv"), pairwise(visited), strict=True):
        assert (int(leg["from"]), int(leg["to"])) == ends
        length, straight = shortest(CODES, ends), cdist(*CODES[[*ends]].reshape(2, 1, 2))[0, 0]
        found = [float(leg[name]) for name in ("length", "cost", "straight", "detour")]
        assert found == pytest.approx([length, length, straight, length / straight], rel=1e-6)
    assert sum(leg["edges"] for leg in said["legs"]) == len(said["nodes"]) - 1
    nodes = written("nodes.txt").astype(int)
    assert nodes.tolist() == said["nodes"]
    places = [nodes.tolist().index(row) for row in anchors]
    assert places == sorted(places)
    for name in ("codes.npy", "codes.txt"):
        np.testing.assert_array_equal(written(name), CODES[nodes])


@pytest.mark.parametrize(("method", "loop"), [("surfing", True), ("linear", False)])
def test_the_best_order_is_no_longer_than_others(find, method, loop):
    anchors = [3, 17, 256, 101, 40]
    best = find(*anchors, method=method, order="best", loop=loop)
    assert "best order of 5 anchors: none is shorter (Held and Karp)" in find.summary
    assert [anchors[place] for place in best["order"]] == [end["row"] for end in best["ends"]]
    assert best["length"] <= find(3, 40, 17, 101, 256, method=method, loop=loop)["length"] + 1e-9
    find(*range(3, 120, 7), method=method, order="best")
    assert "best order of 17 anchors: not proven" in find.summary


def test_points_per_edge_and_frames_time_the_path_as_asked(find):
    nodes = find(3, 17)["nodes"]
    find(3, 17, points_per_edge=4)
    np.testing.assert_array_equal(written("codes.npy")[::3], CODES[nodes])
    steps = written("steps.csv")
    rows = [step["row"] for step in steps]
    assert rows[::3] == [str(node) for node in nodes]
    assert set(rows[1::3] + rows[2::3]) == {""}
    assert [steps[0]["stop"], steps[1]["stop"], steps[-1]["stop"]] == ["3", "", "17"]
    find(3, 17, frames=23)
    points = written("codes.npy")
    assert points.shape == (23, 2)
    np.testing.assert_array_equal(points[[0, -1]], CODES[[3, 17]])


def test_linear_is_cryodrgn_s_direct_traversal(find):
    """Each pair of anchors has n points, both counted, and joints come once."""
    find(3, 17, 256, method="linear", points_per_edge=5, loop=True)
    ends = CODES[[3, 17, 256, 3]].astype(float)
    legs = [ends[:-1] + share / 4 * np.diff(ends, axis=0) for share in range(4)]
    expected = [*np.stack(legs, axis=1).reshape(-1, 2), ends[-1]]
    np.testing.assert_allclose(written("codes.txt"), expected, atol=1e-12)


@pytest.mark.parametrize("frames", [None, 7])
def test_pc_is_cryodrgn_s_pc_traversal(find, frames):
    """Lines through the mean along each component, from its 5th to its 95th percentile."""
    codes = np.random.default_rng(1).normal(size=(503, 3)) * [5, 2, 1] + [1, 2, 3]
    np.save("z.npy", codes)
    find(latents="z.npy", method="pc", frames=frames)
    centred = codes - codes.mean(axis=0)
    for number, direction in enumerate(np.linalg.svd(centred)[2], start=1):
        low, high = np.percentile(centred @ direction, [5, 95])
        values = np.linspace(low, high, frames or 10)[:, None]
        expected = codes.mean(axis=0) + values * direction
        points = written(f"pc{number}.txt")
        if np.dot(points[-1] - points[0], direction) < 0:  # a direction's sign is free
            expected = expected[::-1]
        np.testing.assert_allclose(points, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("lines", "percentiles", "values"),
    [
        ({"percentiles": (90, 10), "percentile_spacing": True}, [90, 74, 58, 42, 26, 10], None),
        ({"limits": (-1.5, 3)}, None, np.linspace(-1.5, 3, 6)),
    ],
)
def test_a_line_may_be_bounded_otherwise_and_pass_an_anchor(find, lines, percentiles, values):
    said = find(17, method="pc", frames=6, components=(2,), **lines)
    assert list(said["methods"]) == ["pc2"]
    centred = CODES.astype(float) - CODES.mean(axis=0, dtype=float)
    direction = np.linalg.svd(centred, full_matrices=False)[2][1]
    direction = direction * np.sign(direction[np.abs(direction).argmax()])
    points = written("pc2.npy")
    found = (points - CODES.mean(axis=0, dtype=float)) @ direction
    expected = np.percentile(centred @ direction, percentiles) if values is None else values
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # Every point differs from the anchor along the component alone.
    beside = points - CODES[17]
    np.testing.assert_allclose(beside - np.outer(beside @ direction, direction), 0, atol=1e-9)


def test_snapped_points_are_the_nearest_codes(find):
    find(3, 256, method="linear", points_per_edge=60)
    nearest = cdist(written("codes.npy"), CODES).argmin(axis=1)
    said = find(3, 256, method="linear", points_per_edge=60, snap=True)
    expected = [row for at, row in enumerate(nearest) if not at or row != nearest[at - 1]]
    assert len(expected) < 60
    assert written("nodes.txt").tolist() == expected
    assert said["methods"]["linear"]["rows"] == expected
    np.testing.assert_array_equal(written("codes.npy"), CODES[expected])
    assert [written("steps.csv")[at]["stop"] for at in (0, 1, -1)] == ["3", "", "256"]


def test_codes_around_each_point_are_counted(find):
    said = find(3, 256, method="linear", points_per_edge=5, support_radius=2.5)["methods"]["linear"]
    distances = cdist(written("codes.npy"), CODES)
    expected = (distances <= 2.5).sum(axis=1).tolist()
    assert len(set(expected)) > 2
    assert said["support"] == expected
    assert [int(step["support"]) for step in written("steps.csv")] == expected
    assert said["farthest_from_codes"] == pytest.approx(distances.min(axis=1).max(), rel=1e-6)


def test_codes_from_outside_join_by_their_nearest(find):
    said = find(3, "code:0.5", "0.25", 17, "code:0.5", "0.25")
    assert [end["label"] for end in said["ends"]] == ["3", "code:0.5,0.25", "17", "code:0.5,0.25"]
    assert [end["row"] for end in said["ends"]] == [3, None, 17, None]
    assert [end["node"] for end in said["ends"]] == [3, 307, 17, 307]
    at = said["nodes"].index(307)
    nearest = np.argsort(cdist([[0.5, 0.25]], CODES)[0])[:4]
    assert {said["nodes"][at - 1], said["nodes"][at + 1]} <= set(nearest.tolist())
    np.testing.assert_array_equal(written("codes.npy")[at], [0.5, 0.25])


@pytest.mark.parametrize(("header", "first"), [("auto", 0), ("no", 0), ("yes", 3)])
def test_whether_a_table_has_a_header_is_as_told(find, caplog, header, first):
    Path("centers.csv").write_text("0\n3\n17\n50\n")
    with caplog.at_level("INFO", logger="jaxsurf"):
        said = find("centers.csv", header=header)
    assert [end["row"] for end in said["ends"]] == [0, 3, 17, 50][first // 3 :]
    taken = "3 rows x 1 column, header taken: 0" if first else "4 rows x 1 column, no header"
    assert f"centers.csv: {taken}" in caplog.messages


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        *((text, "3 17 256") for text in ("3\n17\n256\n", "3 17 256", "\ufeff3\r\n17\r\n256\r\n")),
        *((text, "3 17 256") for text in (" 3\trows.txt", "3 , rows.txt", "3\nmy rows.txt\n")),
        ("code:9 8 17", "code:9,8 17"),
        ("code: 9,8\n17, 256 rows.txt", "code:9,8 17 256 17 256"),
        ("codes: code.txt 17", "code.txt:0 17"),
        ("plain.txt,9,codes:b/code.txt", "101 40 9 b/code.txt:0"),
    ],
)
def test_anchors_come_from_files_and_are_parted_by_commas_or_white_space(find, text, stops):
    for name in ("rows.txt", "my rows.txt"):
        Path(name).write_bytes(b"\xef\xbb\xbf17\r\n256\r\n")
    np.savetxt("plain.txt", [[101.0, 40.0]])
    Path("b").mkdir()
    for name, code in (("code.txt", "9 8"), ("b/code.txt", "3 1")):
        Path(name).write_text(code)
    said = find(*text.split(","), method="linear")
    assert " ".join(end["label"] for end in said["ends"]) == stops
    codes = {"code.txt:0": [9, 8], "code:9,8": [9, 8], "b/code.txt:0": [3, 1]}
    for end in said["ends"]:
        label, row = end["label"], end["row"]
        assert end["code"] == (codes[label] if row is None else CODES[int(label)].tolist())
        assert row is None or label == str(row)


@pytest.mark.parametrize("name", ["ind.npy", "ind.txt", "ind.pkl", "mask.npy"])
def test_rows_keep_their_numbers_whatever_is_left_out(find, name):
    index = np.random.default_rng(0).permutation(307)[:211]
    np.save("ind.npy", index)
    np.savetxt("ind.txt", index)
    Path("ind.pkl").write_bytes(pickle.dumps({*index.tolist()}))
    np.save("mask.npy", np.isin(np.arange(307), index))
    # A row that is left out may hold anything.
    codes = np.where(np.isin(np.arange(307), index)[:, None], CODES, np.nan)
    Path("z.pkl").write_bytes(pickle.dumps({"zs": {2: codes}, "pc": codes[:9]}))
    said = find(index[0], index[1], latents="z.pkl:zs/2", index_file=name)
    places = np.searchsorted(np.sort(index), index[:2])
    assert said["length"] == pytest.approx(shortest(CODES[np.sort(index)], places), rel=1e-6)
    assert set(said["nodes"]) <= set(index.tolist())
    assert said["methods"]["surfing"]["rows"] == said["nodes"]
    data = said["data"]
    assert (data["name"], data["rows"], data["rows_used"]) == ("z.pkl:zs/2", 307, 211)


def test_a_stride_and_a_subset_thin_out_but_keep_the_anchors(find):
    said = find(1, 200, stride=2)
    used = sorted({*range(0, 307, 2), 1})
    assert said["data"]["rows_used"] == len(used)
    places = [used.index(row) for row in (1, 200)]
    assert said["length"] == pytest.approx(shortest(CODES[used], places), rel=1e-6)
    some = [find(1, 200, subset=150, seed=seed) for seed in (5, 5, 6)]
    assert some[0] == some[1]
    assert some[0]["nodes"] != some[2]["nodes"]
    assert 150 <= some[0]["data"]["rows_used"] <= 152


def test_a_trimmed_graph_has_so_many_neighbours_and_its_gaps_are_said(find):
    graph = GraphConfig(kind="knn", k=K, weight="latent", repair=True)
    said = find(3, 256, trimming=Trimming(avg_neighbors=5), graph=graph)
    assert said["graph"]["edges"] == int(5 * 307 / 2) + said["graph"]["bridges"]
    assert said["bridges"]


def test_a_second_call_replaces_the_files_of_the_first(find, tmp_path):
    assert find(3, 17)["methods"]["surfing"]["files"] == ["codes.npy", "codes.txt", "nodes.txt"]
    find(method="pc", components=(1,))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"path.json", "lengths.csv", "steps.csv", "latent.png", "pc1.npy", "pc1.txt"}
    assert {path.name for path in tmp_path.iterdir()} == {"codes.npy", "out"}


# Files that are there, beside `codes.npy` of 307 rows of 2 numbers.
FILES = {
    "flat.npy": CODES[:, 0],
    "nan.npy": np.where(np.arange(53)[:, None] == 17, np.nan, CODES[:53]),
    "apart.npy": np.concatenate([CODES[:53], CODES[:53] + 100]),
    "far.npy": np.array([3, 17, 400]),
    "twice.npy": np.array([3, 17, 3]),
    "short.npy": np.ones(52, bool),
    "three.npy": np.array([5, 17, 20]),
}
# Anchors between white space, further settings, words of the line.
REFUSED = [
    ("3 17", {"latents": "flat.npy"}, "type float32 and shape (307,), not real numbers"),
    ("3 18", {"latents": "nan.npy"}, "1 of 53 codes in nan.npy are not finite, the first in ro"),
    ("3 307", {}, "--anchors has row 307, but codes.npy has 307 rows; give whole numbers from 0"),
    ("3 2.5", {}, "anchor '2.5' is neither a row number nor a file; give rows (3,17)"),
    ("", {}, "0 anchors were given; a line along a component passes one or none; other"),
    ("3", {}, "1 anchors were given: 3; a line"),
    ("3 code:1", {}, "code:1 is no code of 2 numbers, as those of codes.npy are; behind code:"),
    ("3 code:1 nan", {}, "1 of 1 codes (code:1,nan) are not finite"),
    ("3 codes:wide.txt", {}, "codes of wide.txt have 3 numbers, but those of codes.npy 2"),
    ("3 60", {"latents": "apart.npy", "graph": KNN}, "no path joins 3 and 60: they lie in"),
    ("3 17", {"method": "linear", "graph": KNN}, "--graph, with what belongs to it, has no mean"),
    ("3 17", {"method": "pc"}, "2 anchors were given: 3 and 17; a line along a comp"),
    ("", {"method": "pc", "components": (3,)}, "--components has 3, but codes of 2 numbers"),
    ("3 17", {"snap": True}, "--snap has no meaning with --method=surfing; leave it out, or use"),
    ("3 17", {"limits": (0, 1)}, "--components, --percentiles or --limits has no meaning"),
    ("3 17", {"trimming": Trimming(max_edge=1), "graph": SMALLEST}, "a graph that is to connect"),
    ("3 17", {"support_radius": np.nan}, "--support_radius is nan"),
    ("3 17", {"subset": 308}, "--subset is 308, but 307 rows of codes.npy are there"),
    ("", {"method": "pc", "percentiles": (5,)}, "--percentiles is (5,); give two numbers"),
    ("3 17", {"index_file": "far.npy"}, "far.npy has row 400, but codes.npy has 307 rows"),
    ("3 17", {"index_file": "twice.npy"}, "twice.npy names row 3 2 times; name each row once"),
    ("3 17", {"index_file": "short.npy"}, "type bool and shape (52,), no rows"),
    ("3 17", {"index_file": "three.npy"}, "anchor 3 is not among the 3 rows of --index_file"),
]  # fmt: skip


@pytest.mark.parametrize(("anchors", "settings", "word"), REFUSED)
def test_a_mistake_is_refused_in_one_line_and_leaves_nothing_behind(
    find, tmp_path, anchors, settings, word
):
    for name, array in FILES.items():
        np.save(name, array)
    (tmp_path / "wide.txt").write_text("1 2 3\n")
    before = sorted(tmp_path.iterdir())
    settings = {"latents": "codes.npy", "anchors": tuple(anchors.split())} | settings
    with pytest.raises(UserError) as caught:
        paths.run(PathsConfig(**settings), tmp_path / "out")
    assert word in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "settings", "line"),
    [
        ("thesis.tex", {}, "holds other files, such as thesis.tex, which would be lost"),
        ("codes.npy", {}, "holds other files, such as codes.npy, which would be lost"),
        ("path.json", {"latents": "out/codes.npy"}, "such as codes.npy, which would be lost"),
        ("path.json", {"index_file": "out/nodes.txt"}, "such as nodes.txt, which would be lost"),
        ("path.json", {"anchors": ("codes:out/codes.txt", "1")}, "such as codes.txt, which would"),
        ("", {}, "out is a file; choose"),
        (".", {}, "is where you are; choose"),
    ],
)
def test_a_folder_whose_files_would_be_lost_is_never_replaced(
    find, tmp_path, monkeypatch, name, settings, line
):
    out = tmp_path / "out"
    if name:
        out.mkdir()
    if name == ".":
        monkeypatch.chdir(out)
    else:
        (out / name).write_text("years of work")
    config = {"latents": "codes.npy", "anchors": ("3", "17")} | settings
    with pytest.raises(UserError) as caught:
        paths.run(PathsConfig(**config), out)
    assert line in str(caught.value)
    assert name == "." or (out / name).read_text() == "years of work"


def test_a_command_prints_what_it_found(launch, find, tmp_path):
    flags = "--anchors=3,code:0.5,0,17 --loop --verbose --order=best --max_edge=9 --spanning_tree"
    outcome = launch("paths", "--latents=codes.npy", *flags.split(), "--out=out", folder=tmp_path)
    assert (outcome.err, outcome.status) == ("", 0)
    assert "out: codes.npy, " in outcome.out
    assert "code:0.5,0  " in outcome.out
    # Which takes the place of the usual bridges.
    assert "and the Euclidean minimum spanning tree" in outcome.out


def test_names_that_are_no_text_are_shown_as_far_as_they_go(launch, find, tmp_path):
    name = os.fsdecode(b"caf\xe9.txt")
    np.savetxt(tmp_path / name, CODES[:53])
    flags = f"--latents={name} --anchors=codes:{name},3 --method=linear --out=out{name}"
    outcome = launch("paths", *flags.split(), folder=tmp_path)
    assert outcome.status == 0
    assert r"outcaf\xe9.txt: caf\xe9.txt, 53 codes of 2 numbers" in outcome.out
    said = json.loads((tmp_path / f"out{name}" / "path.json").read_text(encoding="utf-8"))
    assert said["ends"][0]["label"] == r"caf\xe9.txt:0"
    for flag in (f"--latents={name} --anchors=no{name}", f"--no{name}"):
        outcome = launch("paths", *flag.split(), "--out=o", folder=tmp_path)
        assert outcome.status in (1, 2)
        *logged, line = outcome.err.splitlines()
        assert line.startswith("error: ")
        assert all(": 53 rows x 2 columns" in each for each in logged)


def test_far_off_codes_do_not_make_a_path_cut_through_a_hole_unless_asked_with_a_warning(
    find, caplog
):
    random = np.random.default_rng(0)
    angle = np.sort(random.uniform(0, 2 * np.pi, 701))
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    np.save("ring.npy", np.concatenate([ring, 1000 + random.normal(size=(600, 2))]))
    ends = np.searchsorted(angle, [1.0, 1.0 + np.pi]).tolist()

    around = find(*ends, latents="ring.npy", graph=None)
    assert (around["graph"]["k"], around["graph"]["bridges"], around["bridges"]) == (10, 1, [])
    assert around["length"] == pytest.approx(np.pi, rel=0.02)
    find(3, 256, graph=SMALLEST)  # of a spiral alone
    assert not caplog.records
    through = find(*ends, latents="ring.npy", graph=SMALLEST)
    assert through["graph"]["k"] == 600
    assert through["length"] < 2.5
    (record,) = caplog.records

    def joined(k):
        labels = csgraph.connected_components(kneighbors_graph(ring, k), directed=False)[1]
        return labels[ends[0]] == labels[ends[1]]

    enough = next(k for k in range(1, 701) if joined(k))
    words = f"k = 600 to connect all 1301 codes, though k = {enough} joins those near"
    assert words in record.getMessage()
