"""Training as a pipeline: stopped, resumed, extended, refused."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tifffile

from jaxsurf.errors import Interrupted, UserError
from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.run import connect, encode_all, open_run
from jaxsurf.pipeline.setup import make_setup
from jaxsurf.pipeline.surf import SurfConfig, surf
from jaxsurf.pipeline.train import check_begun, train, train_on, write_config
from jaxsurf.training import step
from jaxsurf.workdir import WorkDir, lock
from tests.leavings import lines, weights

# In the middle of an epoch and of a log interval: after the last step with target codes, the 180th,
# while they fade, and after the last of all.
STOPPED_AT = (191, *(pytest.param(step, marks=pytest.mark.slow) for step in (97, 200)))


def go_on(config, root, **options):
    return train(config, root, shown=False, **options)


def assert_same_result(one, other):
    for here, there in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(here, there)
    assert lines(one) == lines(other)


def terminate(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("step", STOPPED_AT)
def test_a_run_stopped_by_a_signal_resumes_bitwise(
    config_of, pristine, tmp_path, monkeypatch, stop_at, step
):
    with monkeypatch.context() as patch:
        stop_at(patch, step, lambda: terminate(signal.SIGINT))
        with pytest.raises(Interrupted) as stopped:
            go_on(config_of(), tmp_path)
    assert stopped.value.signal == signal.SIGINT
    assert open_run(tmp_path).step == step
    assert lines(tmp_path) == lines(pristine)[: len(lines(tmp_path))]
    assert go_on(config_of(training__save_every_s=0.5), tmp_path).step == 200
    assert_same_result(tmp_path, pristine)


def test_a_run_in_microbatches_resumes_bitwise_and_learns_what_whole_batches_do(
    config_of, tmp_path, monkeypatch, stop_at
):
    # A batch that divides among no two devices.
    config = config_of(training__batch_size=35, training__num_epochs=4, training__log_every=1)
    images = configuration.open_data(config.data)

    def trained_in(name):
        return train_on(images, config, tmp_path / name, shown=False)

    trained_in("whole")
    monkeypatch.setattr(step, "CPU_PIXELS", 16 * 32**2)
    trained_in("straight")
    with monkeypatch.context() as patch:
        stop_at(patch, 5, terminate)  # as target codes fade
        with pytest.raises(Interrupted):
            trained_in("stopped")
    assert trained_in("stopped").step == 8
    assert_same_result(tmp_path / "stopped", tmp_path / "straight")
    pairs = zip(weights(tmp_path / "straight"), weights(tmp_path / "whole"), strict=True)
    assert any((found != wanted).any() for found, wanted in pairs)
    for found, wanted in zip(lines(tmp_path / "straight"), lines(tmp_path / "whole"), strict=True):
        assert found == pytest.approx(wanted, rel=1e-3)


@pytest.mark.slow
def test_a_profile_is_written_and_changes_no_number(config_of, pristine, tmp_path):
    go_on(config_of(), tmp_path, profile=5)
    (trace,) = tmp_path.glob("profile/plugins/profile/*/*.xplane.pb")
    assert trace.stat().st_size > 1000
    assert_same_result(tmp_path, pristine)


def test_a_finished_run_trained_again_does_nothing_but_forget_another_graph(config_of, root, run):
    latents = encode_all(run)
    for each in (run, open_run(root, checkpoint=str(run.step))):
        connect(each, latents)

    def files():
        return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}

    before = files()
    assert go_on(config_of(), root).step == 200
    after = files()
    changed = {path.name for path in before | after if before.get(path) != after.get(path)}
    assert changed <= {"config.json", ".lock"}
    assert {root / "latents.npz", root / "graph.npz"} <= after.keys()
    go_on(config_of(graph__kind="knn", graph__k=9), root)
    assert (root / "latents.npz").exists()
    for again in (open_run(root), open_run(root, checkpoint=str(run.step))):
        assert connect(again, latents).k == 9


def test_more_epochs_need_extend_and_forget_what_older_weights_made(config_of, root, run):
    connect(run, encode_all(run))
    longer = config_of(training__num_epochs=42)
    with pytest.raises(UserError, match=r"num_epochs = 40, not 42;.*add --extend"):
        go_on(longer, root)
    assert go_on(longer, root, extend=True).step == 210
    assert open_run(root).config == longer
    assert not (root / "latents.npz").exists()
    assert not (root / "graph.npz").exists()


def test_an_extended_run_does_not_go_back_to_target_codes(config_of, tmp_path):
    short = config_of(training__num_epochs=2, training__log_every=1)
    images = configuration.open_data(short.data)
    train_on(images, short, tmp_path, shown=False)
    for line in lines(tmp_path)[:9]:  # targets weigh less and less from the middle on
        own = max(0, 2 * (line["step"] - 1) / 9 - 1)
        weight = (1 - own) * short.targets.weight
        expected = short.objective.mse * line["mse"] + weight * line[step.TARGET]
        assert line["loss"] == pytest.approx(expected, rel=1e-4)
    longer = config_of(training__num_epochs=6, training__log_every=1)
    train_on(images, longer, tmp_path, extend=True, shown=False)
    assert [line["step"] for line in lines(tmp_path) if step.TARGET in line] == [*range(1, 10)]
    assert lines(tmp_path)[-1]["step"] == 30


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training__num_epochs": 39}, r"num_epochs = 40, not 39; use that value again"),
        (
            {"training__num_epochs": 42, "training__seed": 3},
            r"begun with training\.seed = 0, not 3",
        ),
        ({"training__seed": 3, "model__latent_dim": 3}, r"\(and 1 more differ\)"),
        ({"corruption__kind": "white"}, "begun with corruption.kind = 'normal', not 'white'"),
        ({"data__stride": 2}, r"begun with data\.stride = 1, not 2"),
    ],
)
def test_what_changes_the_result_is_refused_even_with_extend(config_of, root, changes, words):
    saved = (root / "config.json").read_text()
    with pytest.raises(UserError, match=words):
        go_on(config_of(**changes), root, extend=True)
    assert (root / "config.json").read_text() == saved


OWN_DATA = {"data.fixed": "", "data.free": "", "training.num_epochs": 8}


def write_images(path, *, seed):
    random = np.random.default_rng(seed)
    shapes = np.repeat(random.integers(0, 256, (24, 2, 2, 3), dtype=np.uint8), 16, axis=1)
    np.savez(path, images=np.repeat(shapes, 16, axis=2))
    return path


def test_what_is_shown_may_change_but_under_a_perceptual_loss(tmp_path):
    images = ImageSet(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8), "four")
    for perceptual in (0.0, 0.1):
        named = {"objective.perceptual": perceptual}
        workdir = WorkDir(tmp_path / str(perceptual))
        workdir.root.mkdir()
        write_config(workdir, configuration.from_dotted(named), images)
        shown = configuration.from_dotted(named | {"data.show": (2, 0)})
        refused = pytest.raises(UserError, match=r"begun with data\.show = \[\], not \[2, 0\]")
        with refused if perceptual else contextlib.nullcontext():
            check_begun(workdir, shown, images, extend=False)


def test_data_are_judged_by_their_images_and_found_from_any_folder(
    config_of, tmp_path, cache_home, monkeypatch
):
    root = tmp_path / "own"

    def again(source):
        return go_on(config_of(**OWN_DATA, data__source=str(source)), root)

    monkeypatch.chdir(tmp_path)
    again(write_images(Path("squares.npz"), seed=0))
    monkeypatch.chdir("/")
    codes = encode_all(open_run(root)).codes  # in the cache from now on
    moved = shutil.move(tmp_path / "squares.npz", tmp_path / "moved.npz")
    with pytest.raises(UserError, match=r"are not in .*squares\.npz any more; .* --data=PATH"):
        open_run(root)
    np.testing.assert_array_equal(encode_all(open_run(root, data=moved)).codes, codes)
    again(moved)
    assert open_run(root).images.name == "moved.npz"
    with pytest.raises(UserError, match=r"begun with data\.source = .*moved.*not .*other"):
        again(write_images(tmp_path / "other.npz", seed=1))
    write_images(moved, seed=1)
    for attempt in (lambda: again(moved), lambda: open_run(root, data=moved)):
        with pytest.raises(UserError, match=r"images of moved\.npz have changed.*bring the old"):
            attempt()


def test_a_table_beside_the_images_is_found_from_any_folder_and_moves_along(
    config_of, tmp_path, cache_home, monkeypatch
):
    (tmp_path / "set").mkdir()
    write_images(tmp_path / "set/squares.npz", seed=0)
    table = tmp_path / "set/turns.csv"
    table.write_text("\n".join(["turn", *map(str, range(24))]))
    config = config_of(**OWN_DATA, data__source=str(tmp_path / "set/squares.npz:images"))
    for name in ("turns.csv", str(table)):
        data = dataclasses.replace(config.data, factors=name)
        assert configuration.resolved(data).factors == "turns.csv"
    go_on(dataclasses.replace(config, data=data), tmp_path / "own")
    assert open_run(tmp_path / "own").images.factor_names == ("turn",)
    place = shutil.move(tmp_path / "set", tmp_path / "moved")
    (tmp_path / "turns.csv").write_text("another one")
    monkeypatch.chdir(tmp_path)
    run = open_run(tmp_path / "own", data=f"{place}/squares.npz")
    assert run.images.numbers("turn=7").tolist() == [7]
    # One elsewhere stays where it is.
    data = dataclasses.replace(config.data, source=f"{place}/squares.npz", factors="turns.csv")
    shutil.move(f"{place}/turns.csv", tmp_path / "turns.csv")
    assert configuration.resolved(data).factors == str(tmp_path / "turns.csv")


def test_deep_images_are_trained_on_encoded_and_given_back_as_they_are(config_of, tmp_path):
    """Two images that eight bits don't tell apart are different, in the units of their source."""
    deep = np.random.default_rng(0).integers(1, 255, (24, 12, 20, 2), dtype=np.uint16) * 257
    deep[1] = deep[0] + 100
    shallow = np.rint(deep / 257).astype(np.uint8)
    assert np.array_equal(shallow[0], shallow[1])
    source = {"source_range": (300.0, 4000.0), "source_dtype": "uint16"}
    images = ImageSet(shallow, "deep", deep=deep, **source)
    config = config_of(**OWN_DATA)
    setup = make_setup(config, images)
    assert np.array_equal(setup.make_examples(None, first_step=10**6).images, deep)
    mean = setup.with_weights(setup.state).mean_image[...]
    np.testing.assert_allclose(mean, deep.mean(axis=0) / 65535, rtol=1e-6)
    run = train_on(images, config, tmp_path, shown=False)
    codes = encode_all(run).codes
    assert not np.array_equal(codes[0], codes[1])
    made = surf(run, SurfConfig(source="0", target="13", methods=("linear",)))
    stack = np.moveaxis(tifffile.imread(made.folder / "linear.tif"), 1, -1)
    frames = made.animations["linear"].frames
    assert (stack.dtype, stack.shape) == (np.uint16, frames.shape)
    # Of 3,700 values on 255 steps.
    np.testing.assert_allclose((stack - 300.0) / 3700 * 255, frames, atol=0.51 + 255 / 3700)


@pytest.mark.parametrize(
    ("images", "word"),
    [
        (np.zeros((5, 32, 32, 3), np.uint8), "5 images that are all equal"),
        (np.ones((1, 32, 32, 3), np.uint8), "holds 1 image; give at least two"),
    ],
)
def test_images_that_cannot_be_trained_on_leave_no_working_directory(
    config_of, tmp_path, images, word
):
    with pytest.raises(UserError, match=word):
        train_on(ImageSet(images, "some"), config_of(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def drop_setting(saved):
    del saved["config"]["optimizer"]["b2"]


def change_seed(saved):
    saved["config"]["training"]["seed"] += 1


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{}", r"config\.json does not describe a run \(no 'config' in it\)"),
        ('{"config": {}, "data": {}}', r"\(no 'fingerprint' in it\)"),
        ('{"config": {"data": 3}, "data": {"fingerprint": ""}}', r"config\.data is 3"),
        (drop_setting, r"no optimizer\.b2 in it: another version"),
        (change_seed, r"no checkpoint .* 200 \(it is of another run\)"),
    ],
)
def test_a_damaged_config_json_is_refused(root, content, word):
    path = root / "config.json"
    saved = json.loads(path.read_text())
    if callable(content):
        content(saved)
    path.write_text(json.dumps(saved) if callable(content) else content)
    with pytest.raises(UserError, match=word):
        open_run(root)


def test_checkpoints_without_settings_are_refused(config_of, root):
    (root / "config.json").unlink()
    with pytest.raises(UserError, match=r"holds checkpoints, but no config\.json .*; put back"):
        go_on(config_of(training__seed=7), root)


def test_the_best_or_a_chosen_checkpoint_is_opened_beside_the_last(config_of, tmp_path):
    short = {"training__num_epochs": 2, "training__log_every": 1}
    config = config_of(training__save_every_s=0.0, training__keep_last=3, **short)
    images = configuration.open_data(config.data)
    train_on(images, config, tmp_path, shown=False)  # too short to have learnt anything
    losses = {line["step"]: line["loss"] for line in lines(tmp_path)}
    opened = {name: open_run(tmp_path, checkpoint=name) for name in ("last", "best", "9")}
    kept = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert kept[-3:] == [8, 9, 10]
    assert (opened["last"].step, opened["9"].step) == (10, 9)
    # A checkpoint's loss is the last line's before it; of equal ones, the later is the better.
    loss_of = {step: losses[max(at for at in losses if at <= step)] for step in kept}
    assert opened["best"].step == max(kept, key=lambda step: (-loss_of[step], step))
    codes = {name: encode_all(run).codes for name, run in opened.items()}
    assert (codes["last"] != codes["9"]).any()
    assert {"latents-9.npz", "latents.npz"} <= {path.name for path in tmp_path.iterdir()}
    train_on(images, config_of(training__num_epochs=3), tmp_path, extend=True, shown=False)
    assert not list(tmp_path.glob("latents*.npz"))


def test_a_run_beside_another_in_the_same_folder_is_refused(config_of, tmp_path):
    with lock(tmp_path), pytest.raises(UserError, match="is in use by process"):
        go_on(config_of(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
