"""Benchmarks: figures are what was timed, baselines do the same work, every row runs in small."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.manifold import graph as graphs
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.models.autoencoder import ModelConfig, make_autoencoder
from jaxsurf.pipeline import configuration, experiments
from jaxsurf.pipeline.benchmark import graph_rows, model_rows, rows, suites
from jaxsurf.pipeline.benchmark.rows import Baseline, Contest
from jaxsurf.pipeline.setup import compile_run, make_setup
from jaxsurf.training import features
from jaxsurf.training.objective import ObjectiveConfig

NAMES = {"stage", "size", "ours_s", "peer", "peer_s", "ratio", "peak_mib", "extrapolated"}
# 16 images, all in one batch, without noise: order and chance make no difference.
TINY = {
    **{"data.side": 32, "data.stride": 10, "model.channels": 8, "corruption.kind": "none"},
    **{"training.batch_size": 16, "training.num_epochs": 6},
}


class Clock:
    """Time passes by what is done alone."""

    def __init__(self, monkeypatch):
        self.now, self.done = 0.0, []
        monkeypatch.setattr(rows.time, "perf_counter", lambda: self.now)

    def work(self, name, *seconds):
        """Return work that takes so long, the first time and then; its answer is its name."""
        left = list(seconds)

        def do():
            self.now += left.pop(0) if len(left) > 1 else left[0]
            self.done.append(name)
            return name

        return do


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def contest(work, *baselines, **options):
    return Contest(stage="path", size="5 things", work=work, baselines=baselines, **options)


def test_both_are_warmed_up_and_then_take_turns(clock):
    slow = Baseline(name="b", make=lambda: [clock.work("b", 9, 5, 4, 6)])
    (row,) = rows.measure(contest([clock.work("a", 7, 2, 3, 1)], slow))
    assert clock.done == ["a", "a", "b", "b", "a", "b", "a", "b"]
    assert (row.ours_s, row.peer_s, row.ratio, row.extrapolated) == (1, 4, 4, False)


def test_medians_are_over_the_parts_that_a_slow_baseline_did(clock):
    ours = [clock.work("a", 1), clock.work("a", 2), clock.work("a", 6), clock.work("a", 50)]
    slow = Baseline(
        name="b", make=lambda: [clock.work("b", seconds) for seconds in (10, 20, 60, 9)], limit_s=80
    )
    (row,) = rows.measure(contest(ours, slow, median=True))
    assert (row.ours_s, row.peer_s, row.extrapolated) == (2, 20, True)


def test_a_part_of_the_work_is_extrapolated_to_all(clock):
    some = Baseline(name="b", make=lambda: [clock.work("b", 2)] * 3, number=300)
    (row,) = rows.measure(contest([clock.work("a", 3)], some, rounds=1, scale=2.0))
    assert (row.ours_s, row.peer_s, row.extrapolated) == (6, 1200, True)


def test_what_fails_or_is_missing_leaves_the_candidate_alone(clock):
    def fail(mine, theirs):
        raise ValueError(f"{mine} are not {theirs}")

    other = Baseline(name="other", make=lambda: [clock.work("b", 1)])
    missing = Baseline(name="missing", make=lambda: [], needs="no_such_package")
    asked = contest([clock.work("a", 3)], other, missing, agree=fail)
    found = list(rows.measure(asked))
    assert [(row.ours_s, row.peer_s, row.error) for row in found] == [
        (3, None, "ValueError: ['a'] are not ['b']"),
        (3, None, ""),
    ]


def fake_case(monkeypatch, *found, status=0):
    """Let every case be a process that prints these rows and ends with a status."""
    said = "".join(json.dumps(row) + "\\n" for row in found)
    code = f"import sys; sys.stdout.write('{said}'); sys.exit({status})"
    monkeypatch.setattr(suites, "_machine", lambda: {"accelerator": None, "versions": {}})
    monkeypatch.setattr(suites, "_command", lambda name, scale: [sys.executable, "-c", code])


ROW = {"stage": "decode", "size": "3 frames", "ours_s": 0.25, "peer": "b", "peer_s": 1.0}


def test_rows_are_written_and_measured_once(monkeypatch, tmp_path):
    fake_case(monkeypatch, ROW)
    text = suites.run("decode", tmp_path)
    assert "| decode | 3 frames | 0.250 | b | 1.00 | 4.00 |  |" in text
    (row,) = json.loads((tmp_path / rows.JSON).read_text())["rows"]
    assert set(row) >= NAMES
    assert row["ratio"] == 4.0
    fake_case(monkeypatch, {**ROW, "ours_s": 0.5})
    assert "0.250" in suites.run("decode", tmp_path)
    # At another scale all is measured anew.
    assert "0.500" in suites.run("decode", tmp_path, scale="rehearsal")


def test_a_case_that_ends_early_keeps_its_rows_and_is_measured_again(monkeypatch, tmp_path):
    fake_case(monkeypatch, ROW, status=3)
    text = suites.run("decode", tmp_path)
    assert "0.250" in text
    assert "failed: ended with status 3" in text
    fake_case(monkeypatch, ROW)
    assert "failed" not in suites.run("decode", tmp_path)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"suite": "nope"}, "--suite is 'nope'"), ({"scale": "huge"}, "--scale is 'huge'")],
)
def test_unknown_words_are_refused(tmp_path, options, word):
    with pytest.raises(UserError, match=word):
        suites.run(**{"suite": "decode", "out": tmp_path, **options})


def test_a_damaged_file_is_one_line(monkeypatch, tmp_path):
    fake_case(monkeypatch, ROW)
    machine = {"accelerator": None, "versions": {}, "scale": "full"}
    for wrong in ({}, {"rows": [3]}, {"rows": [{"speed": 1}]}):
        (tmp_path / rows.JSON).write_text(json.dumps({"machine": machine, **wrong}))
        with pytest.raises(UserError, match="is damaged"):
            suites.run("decode", tmp_path)


def test_the_suite_for_accelerators_is_in_order_of_worth():
    assert suites.SUITES["gpu"][:4] == (
        "train-reference",
        "train-smooth",
        "long-reference",
        "gpu-tests",
    )
    assert set().union(*suites.SUITES.values()) == set(suites.CASES)


@pytest.mark.core
@pytest.mark.parametrize("name", ["csr", "interpolation_mse"])
def test_a_row_runs_in_small(name):
    for asked in suites.CASES[name](True):
        for row in rows.measure(asked):
            assert not row.error
            assert row.ours_s > 0
            assert row.peer_s > 0 or row.peer


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["gpu", "graph", "full"])
def test_every_row_runs_in_small(suite, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    suites.run(suite, tmp_path / "out", scale="rehearsal")
    found = json.loads((tmp_path / "out" / rows.JSON).read_text())["rows"]
    assert {row["case"] for row in found} == set(suites.SUITES[suite])
    assert [row["error"] for row in found if "error" in row] == []


def test_the_reports_way_and_ours_end_in_the_same_frames():
    codes = graph_rows.draw("cube", 60, 2)
    model = model_rows.make_random_model(ModelConfig(name="smooth"), side=32)
    nodes, frames = graph_rows.surf(model, codes, 37)
    theirs, other = graph_rows.surf_as_reported(model, codes, 37)
    assert nodes.tolist() == theirs
    model_rows.check_frames(frames, other)


def test_pairs_lie_in_the_largest_component():
    codes = np.concatenate([graph_rows.draw("cube", 30), graph_rows.draw("cube", 7) + 50])
    graph = graphs.build(codes, GraphConfig(kind="knn", k=3, weight="latent"))
    pairs = np.array(graph_rows._pairs(graph))
    assert pairs.max() < 30
    assert (pairs[:, 0] != pairs[:, 1]).all()


torch = pytest.importorskip("torch")
baseline = pytest.importorskip("jaxsurf.pipeline.benchmark.torch_baseline", reason="needs torch")


def channels_first(images):
    return torch.from_numpy(np.asarray(images).transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize("name", ["reference", "smooth"])
def test_models_in_torch_give_the_same_images(name):
    random = np.random.default_rng(0)
    model = make_autoencoder(
        ModelConfig(name=name, channels=8, latent_dim=3),
        mean_image=random.random((48, 48, 3)),
        key=jax.random.key(0),
    )
    if name == "smooth":  # it starts with zeros there, which would hide the rest
        kernel = model.decoder.conv2.kernel
        kernel[...] = jax.random.normal(jax.random.key(1), kernel.shape)
    images = random.random((5, 48, 48, 3), np.float32)
    twin = baseline.make_twin(model)
    theirs = twin(channels_first(images)).detach().numpy().transpose(0, 2, 3, 1)
    ours = np.asarray(model(jnp.asarray(images)))
    assert ours.std() > 0.01
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


def test_features_in_torch_are_the_same():
    images = jnp.asarray(np.random.default_rng(2).random((2, 32, 32, 3), np.float32))
    extractor = features.make_extractor(ObjectiveConfig(perceptual=1.0))
    ours = extractor(images)["relu3_3"]
    twin = baseline.FeatureTwin(nnx.merge(extractor.graphdef, extractor.state))
    theirs = twin(channels_first(images))["relu3_3"].numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-5 * np.abs(ours).max())


REFERENCE = {**experiments.REFERENCE, "optimizer.step_epochs": 2, "optimizer.learning_rate": 1e-3}


@pytest.mark.parametrize(
    "changes",
    [
        {"model.name": "smooth"},
        REFERENCE,
        pytest.param({"objective.perceptual": 0.5}, marks=pytest.mark.slow),
    ],
)
def test_loops_go_through_the_same_losses(changes):
    config = configuration.from_dotted({**changes, **TINY})
    setup = make_setup(config, configuration.open_data(config.data)).on_host()
    ours = model_rows.Training(compile_run(setup), 1)
    theirs = baseline.TorchTraining(setup, num_steps=1)
    for _ in range(5):
        ours()
        assert theirs() == pytest.approx(float(ours.losses["loss"]), rel=2e-4)
