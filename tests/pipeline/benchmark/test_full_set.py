"""Suite `full` and the generated set: the whole pipeline, on a grid of a few hundred images."""

import dataclasses
import math

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.images import sources, storage
from jaxsurf.images.image_set import MPI3D, Grid
from jaxsurf.manifold import shortest_path
from jaxsurf.pipeline import configuration, experiments
from jaxsurf.pipeline.benchmark import full_set, process, suites
from jaxsurf.pipeline.benchmark.stages import full
from jaxsurf.training import data

SIZES = (2, 6, 2, 3, 3, 3, 5)


@pytest.fixture
def grid(monkeypatch):
    """MPI3D with fewer colours and poses."""
    small = Grid(MPI3D.names, SIZES, MPI3D.labels)
    for module in ("images.mpi3d", "pipeline.benchmark.full_set"):
        monkeypatch.setattr(f"jaxsurf.{module}.MPI3D", small)
    return small


@pytest.fixture
def folder(grid, tmp_path, monkeypatch):
    """Where the rows keep what they make; the set has a side of 16, and is made in this process."""

    def ensure(path, make):
        if not path.exists():
            getattr(full_set, make)()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(full_set, "_ensure", ensure)
    monkeypatch.setattr(full_set, "TRAINED_IMAGES", 64)
    monkeypatch.setattr(storage, "LARGE_BYTES", 1000)
    monkeypatch.setattr(full, "FEW_IMAGES", 70)
    monkeypatch.setattr(full, "FEW_CODES", 50)
    write = full_set.write
    monkeypatch.setattr(full_set, "write", lambda path: write(path, side=16))
    return tmp_path / "jaxsurf/benchmark-full"


def test_generated_images_are_in_order_and_show_every_factor(grid, tmp_path):
    full_set.write(tmp_path / "mpi3d_toy.npz", side=32)
    images = sources.open_images("mpi3d_toy", path=tmp_path, free=grid.names).images
    assert images.shape == (math.prod(SIZES), 32, 32, 3)
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)
    table = images.reshape(*SIZES, 32, 32, 3).astype(int)
    # Ground: a corner that no figure reaches has its hue.
    corner = table[0, 0, 0, 0, :, 0, 0, 0, 0]
    assert [int(colour.argmax()) for colour in corner] == [2, 1, 0]
    # Object: greener where it is green; nothing else changes with its colour.
    change = np.abs(table[1] - table[0]).max(axis=-1) > 0
    assert change.any(axis=(-1, -2)).all()
    assert 0.003 < change.mean() < 0.05
    # A larger object hides more.
    large, small = (change[:, size].sum() for size in (1, 0))
    assert large > 1.5 * small
    assert np.array_equal(images, np.concatenate(list(full_set.blocks(32))))


def test_settings_are_those_of_all_factors():
    config = configuration.from_dotted(experiments.ALL_FACTORS)
    assert len(MPI3D.indices(config.data.fixed, config.data.free)) == 1_036_800
    assert config.model.latent_dim == 8
    on_the_set = full_set.make_config(**{"training.seed": 3})
    assert on_the_set.training.seed == 3
    assert dataclasses.replace(on_the_set.data, path="") == config.data
    assert on_the_set.model == config.model
    assert on_the_set.graph == config.graph


@pytest.mark.slow
def test_rows_make_what_the_next_begin_with(folder):
    def measured(contest):
        assert contest.make_peer is None
        if contest.warm is not None:
            contest.warm()
        return contest.ours()

    images = measured(full.open_map()).images
    assert storage.is_mapped(images)
    assert measured(full.read_through(np.shape)) == images.shape
    measured(full.send())
    measured(full.train(600))
    measured(full.encode_all())
    codes = full_set.open_codes()
    assert codes.shape == (len(images), 8)
    assert np.ptp(codes, axis=0).max() > 0
    found = measured(full.find_neighbours())
    assert found.indices.shape == (len(images), 10)
    measured(full.build_graph())
    graph = full_set.open_graph()
    assert "minimum spanning tree" in graph.description
    for number in (1, 3):
        paths = measured(full.find_paths(number))
        assert len(paths) == number
        ends = [(int(path.nodes[0]), int(path.nodes[-1])) for path in paths]
        again = shortest_path.shortest_paths(graph, ends)
        assert [path.length for path in paths] == [path.length for path in again]
    assert {file.name for file in folder.iterdir()} == {
        *("mpi3d_toy.npz", "weights.npz", "latents.npz", "graph.npz")
    }


def test_a_row_before_its_time_says_which_one_is_missing(folder):
    for opened, row in ((full_set.open_codes, "encode"), (full_set.open_graph, "graph")):
        with pytest.raises(UserError, match=rf"there is no .*: the row `{row}` makes it"):
            opened()


def test_what_is_missing_is_made_in_another_process(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "jaxsurf").touch()
    with pytest.raises(
        UserError, match=r"mpi3d_toy\.npz cannot be made \(.*cannot write .*Not a dir"
    ):
        full_set.open_set()


@pytest.mark.parametrize("kind", ["cpu", "accelerator"])
def test_every_row_has_a_name_of_its_own(kind):
    names = [(case.stage, case.size) for case in full.CASES if case.where in ("anywhere", kind)]
    assert len(set(names)) == len(names) == (9 if kind == "cpu" else 10)
    assert {"open", "train", "encode", "knn", "graph", "path"} == {stage for stage, _ in names}


def test_all_suites_are_all_but_those_that_take_gigabytes(tmp_path, monkeypatch):
    facts = {"cpu": "Abacus", "accelerator": None, "versions": {}}
    monkeypatch.setattr(process, "facts", lambda: facts)
    # Whoever looks for its rows does not find them.
    monkeypatch.setattr(suites, "SUITES", {"full": ("no.such.module",)})
    assert "Machine: cpu Abacus" in suites.run("all", tmp_path)


@pytest.mark.slow
def test_training_is_timed_in_whole_calls_alone(folder, monkeypatch):
    monkeypatch.setitem(data.CALL_STEPS, "cpu", 3)
    monkeypatch.setitem(experiments.ALL_FACTORS, "training.batch_size", 64)
    training = full.train(4 * 64).ours
    sizes, advance = [], training.made.step_fn

    def step_fn(state, *portion, num_steps):
        sizes.append(num_steps)
        return advance(state, *portion, num_steps=num_steps)

    training.made = dataclasses.replace(training.made, step_fn=step_fn)
    training()
    training()
    assert sizes == [3, 3, 3, 3]
