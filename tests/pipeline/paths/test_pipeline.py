"""Ways through latents of a user's own: what is found, and what is written of it."""

import csv
import json
import pickle

import numpy as np
import pytest
import scipy.sparse
from PIL import Image
from scipy.sparse import csgraph
from scipy.spatial.distance import cdist

from jaxsurf.errors import UserError
from jaxsurf.manifold.edges.trimming import Trimming
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.pipeline.paths import pipeline
from jaxsurf.pipeline.paths.config import Lines, PathsConfig
from jaxsurf.pipeline.paths.sample import Sample

K = 11
KNN = GraphConfig(kind="knn", k=K, weight="latent")


def spiral(number=307, seed=0):
    random = np.random.default_rng(seed)
    angle = np.sort(random.uniform(0, 3 * np.pi, number))
    codes = (1 + angle)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    codes += random.normal(size=codes.shape) * 0.05
    return codes[random.permutation(number)].astype(np.float32)


CODES = spiral()


@pytest.fixture
def found(tmp_path):
    """Finds a way and returns what path.json says."""
    np.save(tmp_path / "codes.npy", CODES)

    def find(*anchors, **changes):
        config = {"latents": str(tmp_path / "codes.npy"), "graph": KNN} | changes
        if config.get("method", "surfing") != "surfing":
            del config["graph"]
        texts = tuple(str(anchor) for anchor in anchors)
        pipeline.run(PathsConfig(anchors=texts, **config), tmp_path / "out")
        return json.loads((tmp_path / "out" / "path.json").read_text())

    return find


def written(tmp_path, name):
    path = tmp_path / "out" / name
    if name.endswith(".csv"):
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    return np.load(path) if name.endswith(".npy") else np.loadtxt(path)


def shortest(codes, anchors, k=K):
    """Return the length of the shortest way past anchors in the symmetric k-NN graph."""
    distances = cdist(*[codes.astype(np.float64)] * 2)
    nearest = np.argsort(distances + np.diag(np.full(len(codes), np.inf)), axis=1)[:, :k]
    rows = np.repeat(np.arange(len(codes)), k)
    weights = distances[rows, nearest.ravel()]
    matrix = scipy.sparse.coo_array((weights, (rows, nearest.ravel())), shape=distances.shape)
    lengths = csgraph.dijkstra(matrix.tocsr(), directed=False, indices=anchors)
    return sum(lengths[at, anchors[at + 1]] for at in range(len(anchors) - 1))


@pytest.mark.parametrize("loop", [False, True])
def test_the_way_is_the_shortest_past_all_anchors_in_order(found, tmp_path, loop):
    anchors = [3, 17, 256, 101]
    told = found(*anchors, loop=loop)
    visited = [*anchors, 3] if loop else anchors
    assert told["length"] == pytest.approx(shortest(CODES, visited), rel=1e-6)
    assert [end["row"] for end in told["ends"]] == visited
    assert sum(told["edge_weights"]) == pytest.approx(told["length"], rel=1e-9)
    nodes = written(tmp_path, "nodes.txt").astype(int)
    assert nodes.tolist() == told["nodes"]
    places = [nodes.tolist().index(row) for row in anchors]
    assert places == sorted(places)
    np.testing.assert_array_equal(written(tmp_path, "codes.npy"), CODES[nodes])
    np.testing.assert_array_equal(written(tmp_path, "codes.txt"), CODES[nodes])
    steps = np.linalg.norm(np.diff(CODES[nodes].astype(float), axis=0), axis=1)
    assert told["length"] == pytest.approx(steps.sum(), rel=1e-6)


def test_each_leg_has_its_length_its_straight_line_and_its_share(found, tmp_path):
    told = found(3, 17, 256, loop=True)
    legs = written(tmp_path, "lengths.csv")
    assert [(leg["from"], leg["to"]) for leg in legs] == [("3", "17"), ("17", "256"), ("256", "3")]
    for leg in legs:
        ends = [int(leg["from"]), int(leg["to"])]
        assert float(leg["length"]) == pytest.approx(shortest(CODES, ends), rel=1e-6)
        straight = np.linalg.norm(CODES[ends[0]].astype(float) - CODES[ends[1]])
        assert float(leg["straight"]) == pytest.approx(straight, rel=1e-6)
        assert float(leg["detour"]) == pytest.approx(float(leg["length"]) / straight, rel=1e-6)
    assert sum(float(leg["length"]) for leg in legs) == pytest.approx(told["length"])
    assert sum(int(leg["edges"]) for leg in legs) == len(told["nodes"]) - 1


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("method", ["surfing", "linear"])
def test_the_best_order_is_no_longer_than_any_other(found, method, loop):
    anchors = [3, 17, 256, 101, 40]
    best = found(*anchors, method=method, order="best", loop=loop)
    assert best["order_proven"] is True
    assert best["ends"][0]["row"] == 3
    random = np.random.default_rng(0)
    for _ in range(2):
        mixed = [3, *random.permutation(anchors[1:]).tolist()]
        assert best["length"] <= found(*mixed, method=method, loop=loop)["length"] + 1e-9
    assert [anchors[place] for place in best["order"]] == [end["row"] for end in best["ends"]]


@pytest.mark.parametrize("method", ["surfing", "linear"])
def test_how_the_order_of_anchors_was_found_is_said(tmp_path, method):
    few, many = range(3, 120, 13), range(3, 120, 7)
    for anchors, line in (
        (few, "best order of 9 anchors: none is shorter (Held and Karp)"),
        (many, "best order of 17 anchors: not proven (2-opt and Or-opt)"),
    ):
        config = PathsConfig(
            latents=str(tmp_path / "codes.npy"),
            anchors=tuple(map(str, anchors)),
            method=method,
            order="best",
        )
        np.save(tmp_path / "codes.npy", CODES)
        assert line in str(pipeline.run(config, tmp_path / "out"))


def test_points_per_edge_and_frames_time_the_way_as_asked(found, tmp_path):
    nodes = found(3, 17)["nodes"]
    found(3, 17, points_per_edge=4)
    points = written(tmp_path, "codes.npy")
    assert len(points) == 3 * (len(nodes) - 1) + 1
    np.testing.assert_array_equal(points[::3], CODES[nodes])
    assert written(tmp_path, "nodes.txt").tolist() == nodes
    rows = [step["row"] for step in written(tmp_path, "steps.csv")]
    assert rows[::3] == [str(node) for node in nodes]
    assert set(rows[1::3] + rows[2::3]) == {""}
    told = found(3, 17, frames=23)
    points = written(tmp_path, "codes.npy")
    assert points.shape == (23, 2)
    np.testing.assert_array_equal(points[[0, -1]], CODES[[3, 17]])
    assert told["methods"]["surfing"]["num_points"] == 23


def test_a_way_of_cryodrgn_s_direct_traversal(found, tmp_path):
    """Each pair of anchors has n points, both counted, and joints come once."""
    found(3, 17, 256, method="linear", points_per_edge=5, loop=True)
    ends = CODES[[3, 17, 256, 3]].astype(float)
    expected = [
        ends[leg] + share / 4 * (ends[leg + 1] - ends[leg])
        for leg in range(3)
        for share in range(4)
    ]
    np.testing.assert_allclose(written(tmp_path, "codes.txt"), [*expected, ends[-1]], atol=1e-12)
    assert not (tmp_path / "out" / "nodes.txt").exists()


@pytest.mark.parametrize("frames", [None, 7])
def test_ways_of_cryodrgn_s_pc_traversal(tmp_path, frames):
    """Lines through the mean along each component, from its 5th to its 95th percentile."""
    random = np.random.default_rng(1)
    codes = random.normal(size=(503, 3)) * [5, 2, 1] + [1, 2, 3]
    np.save(tmp_path / "z.npy", codes)
    config = PathsConfig(latents=str(tmp_path / "z.npy"), method="pc", frames=frames)
    pipeline.run(config, tmp_path / "out")
    _, _, directions = np.linalg.svd(codes - codes.mean(axis=0))
    for number, direction in enumerate(directions, start=1):
        along = (codes - codes.mean(axis=0)) @ direction
        low, high = np.percentile(along, [5, 95])
        values = np.linspace(low, high, frames or 10)[:, None]
        expected = codes.mean(axis=0) + values * direction
        points = written(tmp_path, f"pc{number}.txt")
        if np.dot(points[-1] - points[0], direction) < 0:  # a direction's sign is free
            expected = expected[::-1]
        np.testing.assert_allclose(points, expected, atol=1e-9)


def test_lines_may_be_spaced_by_percentiles_bounded_by_values_and_pass_an_anchor(found, tmp_path):
    values = {}
    for name, lines in {
        "percentiles": Lines(components=(2,), percentiles=(90, 10), percentile_spacing=True),
        "limits": Lines(components=(2,), limits=(-1.5, 3)),
    }.items():
        told = found(17, method="pc", frames=6, lines=lines)
        assert list(told["methods"]) == ["pc2"]
        points = written(tmp_path, "pc2.npy")
        centred = CODES.astype(float) - CODES.mean(axis=0, dtype=float)
        _, _, directions = np.linalg.svd(centred, full_matrices=False)
        sign = np.sign(directions[1][np.abs(directions[1]).argmax()])
        direction = sign * directions[1]
        values[name] = (points - CODES.mean(axis=0, dtype=float)) @ direction
        # Every point differs from the anchor along the component alone.
        beside = points - CODES[17]
        np.testing.assert_allclose(beside - np.outer(beside @ direction, direction), 0, atol=1e-9)
    along = centred @ direction
    expected = np.percentile(along, [90, 74, 58, 42, 26, 10])
    np.testing.assert_allclose(values["percentiles"], expected, atol=1e-9)
    np.testing.assert_allclose(values["limits"], np.linspace(-1.5, 3, 6), atol=1e-9)


def test_snapped_points_are_the_nearest_codes(found, tmp_path):
    found(3, 256, method="linear", points_per_edge=60)
    plain = written(tmp_path, "codes.npy")
    told = found(3, 256, method="linear", points_per_edge=60, snap=True)
    nearest = cdist(plain, CODES).argmin(axis=1)
    expected = [row for at, row in enumerate(nearest) if not at or row != nearest[at - 1]]
    assert len(expected) < 60
    assert written(tmp_path, "nodes.txt").tolist() == expected
    assert told["methods"]["linear"]["rows"] == expected
    np.testing.assert_array_equal(written(tmp_path, "codes.npy"), CODES[expected])


def test_codes_around_each_point_are_counted(found, tmp_path):
    told = found(3, 256, method="linear", points_per_edge=5, support_radius=2.5)
    distances = cdist(written(tmp_path, "codes.npy"), CODES)
    expected = (distances <= 2.5).sum(axis=1).tolist()
    assert len(set(expected)) > 2
    assert told["methods"]["linear"]["support"] == expected
    assert [int(step["support"]) for step in written(tmp_path, "steps.csv")] == expected
    assert told["methods"]["linear"]["farthest_from_codes"] == pytest.approx(
        distances.min(axis=1).max(), rel=1e-6
    )


def test_codes_from_outside_join_by_their_nearest(found, tmp_path):
    told = found(3, "code:0.5", "0.25", 17, "code:0.5", "0.25", loop=False)
    assert [end["label"] for end in told["ends"]] == ["3", "code:0.5,0.25", "17", "code:0.5,0.25"]
    assert [end["row"] for end in told["ends"]] == [3, None, 17, None]
    assert [end["node"] for end in told["ends"]] == [3, 307, 17, 307]
    at = told["nodes"].index(307)
    nearest = np.argsort(cdist([[0.5, 0.25]], CODES)[0])[:4]
    assert {told["nodes"][at - 1], told["nodes"][at + 1]} <= set(nearest.tolist())
    np.testing.assert_array_equal(written(tmp_path, "codes.npy")[at], [0.5, 0.25])
    np.savetxt(tmp_path / "outside.txt", [[0.5, 0.25], [3, 1]])
    from_file = found(3, f"codes:{tmp_path / 'outside.txt'}")
    assert [end["row"] for end in from_file["ends"]] == [3, None, None]
    assert from_file["ends"][2]["code"] == [3, 1]


def test_a_gap_that_is_crossed_by_way_of_an_anchor_from_outside_is_told(tmp_path):
    line = np.stack([np.arange(7) / 8, np.zeros(7)], axis=1)
    np.save(tmp_path / "codes.npy", np.concatenate([line, np.add(line, [2, 0])]))
    config = PathsConfig(
        latents=str(tmp_path / "codes.npy"),
        anchors=("0", "code:1.25", "0", "13"),
        graph=GraphConfig(kind="knn", k=2, weight="latent"),
    )
    result = pipeline.run(config, tmp_path / "out")
    # Of the nearest four to it, 6 and 5 and 4 lie on its side of the gap, 7 on the other.
    assert result.description["bridges"] == [[14, 7]]
    assert "crosses gaps in the graph, bridged from 14 to 7" in str(result)
    assert "1 more joined to their nearest 4, which bridges its components" in str(result)


def test_codes_of_two_files_of_one_name_are_told_apart(found, tmp_path):
    files = [tmp_path / folder / "x.txt" for folder in "ab"]
    for file, code in zip(files, ([0.5, 0.25], [3, 1]), strict=True):
        file.parent.mkdir()
        np.savetxt(file, [code])
    told = found(*(f"codes:{file}" for file in files))
    assert [end["code"] for end in told["ends"]] == [[0.5, 0.25], [3, 1]]
    assert [end["label"] for end in told["ends"]] == ["x.txt:0", f"{files[1]}:0"]


def test_anchors_come_from_files_of_cryodrgn_s(found, tmp_path):
    np.savetxt(tmp_path / "centers_ind.txt", [3, 17, 256], fmt="%d")
    np.savetxt(tmp_path / "plain.txt", [101, 40])
    told = found(tmp_path / "centers_ind.txt", 9, tmp_path / "plain.txt", "7 8")
    assert [end["row"] for end in told["ends"]] == [3, 17, 256, 9, 101, 40, 7, 8]


def test_every_file_of_codes_gives_the_same_way(found, tmp_path):
    expected = found(3, 17)
    np.savez(tmp_path / "codes.npz", z=CODES, logvar=-CODES)
    with (tmp_path / "z.50.pkl").open("wb") as file:
        pickle.dump(CODES, file)
        pickle.dump(-CODES, file)
    np.savetxt(tmp_path / "codes.csv", CODES, delimiter=",")
    for name in ("codes.npz:z", "z.50.pkl", "codes.csv"):
        told = found(3, 17, latents=str(tmp_path / name))
        assert told["nodes"] == expected["nodes"], name
        assert told["length"] == pytest.approx(expected["length"], rel=1e-12)


def test_rows_keep_their_numbers_whatever_is_left_out(found, tmp_path):
    index = np.random.default_rng(0).permutation(307)[:211]
    np.save(tmp_path / "ind.npy", index)
    mask = np.isin(np.arange(307), index)
    np.save(tmp_path / "mask.npy", mask)
    first, last = int(index[0]), int(index[1])
    kept = np.sort(index)
    places = np.searchsorted(kept, [first, last])
    for name in ("ind.npy", "mask.npy"):
        told = found(first, last, sample=Sample(index_file=str(tmp_path / name)))
        assert told["length"] == pytest.approx(shortest(CODES[kept], places), rel=1e-6)
        assert set(told["nodes"]) <= set(index.tolist())
        assert told["methods"]["surfing"]["rows"] == told["nodes"]
        assert (told["data"]["rows"], told["data"]["rows_used"]) == (307, 211)


def test_a_stride_and_a_subset_thin_out_but_keep_the_anchors(found):
    told = found(1, 200, sample=Sample(stride=2))
    used = sorted({*range(0, 307, 2), 1})
    assert told["data"]["rows_used"] == len(used)
    places = [used.index(row) for row in (1, 200)]
    assert told["length"] == pytest.approx(shortest(CODES[used], places), rel=1e-6)
    some = [found(1, 200, sample=Sample(subset=150, seed=seed)) for seed in (5, 5, 6)]
    assert some[0] == some[1]
    assert some[0]["nodes"] != some[2]["nodes"]
    assert 150 <= some[0]["data"]["rows_used"] <= 152


def test_cryodrgn_s_limits_on_neighbours_leave_a_path_or_say_so(found):
    with pytest.raises(UserError, match=r"no path joins 3 and 256.*components.*use graph\.repair"):
        found(3, 256, trimming=Trimming(max_edge=0.05))
    repaired = GraphConfig(kind="knn", k=K, weight="latent", repair=True)
    told = found(3, 256, trimming=Trimming(avg_neighbors=5), graph=repaired)
    assert told["graph"]["edges"] == int(5 * 307 / 2) + told["graph"]["bridges"]
    assert told["bridges"]


def test_without_a_graph_the_smallest_that_connects_is_used_and_lengths_count(found):
    told = found(3, 17, graph=None)
    assert told["graph"]["weight"] == "latent"
    assert told["graph"]["components"] == 1
    assert told["length"] == pytest.approx(shortest(CODES, [3, 17], k=told["graph"]["k"]), rel=1e-6)


@pytest.mark.parametrize("method", ["surfing", "linear", "pc"])
@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_codes_of_any_size_are_drawn(tmp_path, method, size):
    codes = np.random.default_rng(0).normal(size=(101, size))
    np.save(tmp_path / "z.npy", codes)
    lines = Lines(components=(1,)) if method == "pc" else Lines()
    anchors = () if method == "pc" else ("3", "17", "64")
    config = PathsConfig(
        latents=str(tmp_path / "z.npy"), anchors=anchors, method=method, lines=lines
    )
    pipeline.run(config, tmp_path / "out")
    with Image.open(tmp_path / "out" / "latent.png") as image:
        assert np.asarray(image.convert("L")).std() > 10


def test_a_second_call_replaces_the_files_of_the_first(found, tmp_path):
    found(3, 17)
    found(method="pc", lines=Lines(components=(1,)))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"path.json", "lengths.csv", "steps.csv", "latent.png", "pc1.npy", "pc1.txt"}
    assert {path.name for path in tmp_path.iterdir()} == {"codes.npy", "out"}


def test_what_a_way_was_made_from_is_told(found):
    told = found(3, 17)
    assert told["data"]["fingerprint"]
    assert told["data"]["name"] == "codes.npy"
    assert {"jaxsurf", "numpy", "igraph"} <= set(told["versions"])
    assert told["data"] == found(5, 6)["data"]
    assert told["methods"]["surfing"]["files"] == ["codes.npy", "codes.txt", "nodes.txt"]
