"""Training as a pipeline: stopped, resumed, extended, refused."""

import contextlib
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from jaxsurf.errors import Interrupted, UserError
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.run import connect, encode_all, open_run
from jaxsurf.pipeline.setup import compile_run, make_setup
from jaxsurf.pipeline.train import restore_newest, train, train_on
from jaxsurf.training import step
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.workdir import lock
from tests.leavings import lines, weights

STOPPED_AT = 97  # in the middle of an epoch and of a log interval


def go_on(config, root, **options):
    return train(config, root, shown=False, **options)


def assert_same_result(one, other):
    for here, there in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(here, there)
    assert lines(one) == lines(other)


def crash():
    raise RuntimeError("crash")


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_run_stopped_by_a_signal_resumes_bitwise(
    config_of, pristine, tmp_path, monkeypatch, number, stop_at
):
    with monkeypatch.context() as patch:
        stop_at(patch, STOPPED_AT, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted) as stopped:
            go_on(config_of(), tmp_path)
    assert stopped.value.signal == number
    assert open_run(str(tmp_path)).step == STOPPED_AT
    assert lines(tmp_path) == lines(pristine)[: len(lines(tmp_path))]
    assert go_on(config_of(), tmp_path).step == 200
    assert_same_result(tmp_path, pristine)


def test_a_resumed_run_keeps_no_state_but_the_restored_one(run):
    parts = make_setup(run.config, run.images)
    made = compile_run(parts)
    with contextlib.closing(Checkpoints(run.workdir.checkpoints, of=parts.identity)) as saved:
        state, _ = restore_newest(saved, made.state)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((made.state, parts.state)))
    assert int(state.step) == run.step
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_devices_that_are_not_used_are_named_once(config_of, run, caplog):
    setup = make_setup(config_of(training__batch_size=6), run.images)
    with caplog.at_level("WARNING"):
        compile_run(setup)
    (warning,) = caplog.messages
    assert warning.startswith("using 3 of 4 devices")


def test_a_run_in_microbatches_resumes_bitwise_and_learns_what_whole_batches_do(
    config_of, tmp_path, monkeypatch, stop_at
):
    # A batch that divides among no two devices.
    config = config_of(training__batch_size=35, training__num_epochs=6, training__log_every=1)
    images = configuration.open_data(config.data)

    def trained_in(name):
        return train_on(images, config, tmp_path / name, shown=False)

    trained_in("whole")
    monkeypatch.setattr(step, "CPU_PIXELS", 16 * 32**2)
    trained_in("straight")
    with monkeypatch.context() as patch:
        stop_at(patch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            trained_in("stopped")
    assert trained_in("stopped").step == 12
    assert_same_result(tmp_path / "stopped", tmp_path / "straight")
    pairs = zip(weights(tmp_path / "straight"), weights(tmp_path / "whole"), strict=True)
    assert any((found != wanted).any() for found, wanted in pairs)
    for found, wanted in zip(lines(tmp_path / "straight"), lines(tmp_path / "whole"), strict=True):
        assert found == pytest.approx(wanted, rel=1e-3)


@pytest.mark.slow
def test_a_run_that_crashed_resumes_bitwise_from_its_last_checkpoint(
    config_of, pristine, tmp_path, monkeypatch, stop_at
):
    config = config_of(training__save_every_s=0.0)
    with monkeypatch.context() as patch:
        stop_at(patch, 11, crash)  # every step before it is saved
        with pytest.raises(RuntimeError, match="crash"):
            go_on(config, tmp_path)
    go_on(config_of(), tmp_path)
    assert_same_result(tmp_path, pristine)


@pytest.mark.slow
def test_stopping_at_the_very_last_step_loses_nothing(
    config_of, pristine, tmp_path, monkeypatch, stop_at
):
    with monkeypatch.context() as patch:
        stop_at(patch, 200, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            go_on(config_of(), tmp_path)
    go_on(config_of(), tmp_path)
    assert_same_result(tmp_path, pristine)


@pytest.mark.slow
def test_a_profile_is_written_and_changes_no_number(config_of, pristine, tmp_path):
    go_on(config_of(), tmp_path, profile=5)
    (trace,) = tmp_path.glob("profile/plugins/profile/*/*.xplane.pb")
    assert trace.stat().st_size > 1000
    assert_same_result(tmp_path, pristine)


@pytest.mark.slow
def test_a_profile_is_asked_for_by_a_flag(launch, config_file, tmp_path):
    flags = [f"--config={config_file}", f"--workdir={tmp_path}"]
    assert "not a non-negative integer" in launch("train", *flags, "--profile=-1").err
    assert launch("train", *flags, "--profile=5").status == 0
    assert len(list(tmp_path.glob("profile/plugins/profile/*/*.xplane.pb"))) == 1


def test_a_finished_run_trained_again_does_nothing(config_of, root, run):
    connect(run, encode_all(run), run.config.graph)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert go_on(config_of(), root).step == 200
    after = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert {path for path in before | after if before.get(path) != after.get(path)} <= {
        root / "config.json",
        root / ".lock",
    }
    assert {root / "latents.npz", root / "graph.npz"} <= after.keys()


def test_more_epochs_need_extend_and_forget_what_older_weights_made(config_of, root, run):
    connect(run, encode_all(run), run.config.graph)
    longer = config_of(training__num_epochs=42)
    with pytest.raises(
        UserError, match=r"begun with training\.num_epochs = 40, not 42;.*add --extend"
    ):
        go_on(longer, root)
    assert go_on(longer, root, extend=True).step == 210
    assert open_run(root).config == longer
    assert not (root / "latents.npz").exists()
    assert not (root / "graph.npz").exists()


def test_fewer_epochs_are_refused_even_with_extend(config_of, root):
    with pytest.raises(UserError, match=r"num_epochs = 40, not 39; use that value again"):
        go_on(config_of(training__num_epochs=39), root, extend=True)


def test_extend_allows_nothing_but_epochs(config_of, root):
    changed = config_of(training__num_epochs=42, optimizer__learning_rate=0.125)
    with pytest.raises(UserError, match=r"learning_rate = 0\.005, not 0\.125"):
        go_on(changed, root, extend=True)


@pytest.mark.parametrize(
    ("name", "before", "now"),
    [
        ("optimizer.learning_rate", 0.005, 0.125),
        ("training.seed", 0, 3),
        ("training.batch_size", 8, 20),
        ("model.latent_dim", 2, 3),
        ("corruption.kind", "normal", "white"),
    ],
)
def test_a_setting_that_changes_the_result_is_refused_with_both_values(
    config_of, root, name, before, now
):
    saved = (root / "config.json").read_text()
    with pytest.raises(UserError, match=f"begun with {name} = {before!r}, not {now!r}; use that"):
        go_on(config_of(**{name: now}), root)
    assert (root / "config.json").read_text() == saved


def test_all_changed_settings_are_counted(config_of, root):
    with pytest.raises(UserError, match=r"\(and 1 more differ\)"):
        go_on(config_of(training__seed=3, model__latent_dim=3), root)


@pytest.mark.slow
def test_intervals_may_change_on_resume(config_of, pristine, tmp_path, monkeypatch, stop_at):
    with monkeypatch.context() as patch:
        stop_at(patch, STOPPED_AT, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            go_on(config_of(), tmp_path)
    go_on(config_of(training__log_every=5, training__save_every_s=0.5), tmp_path)
    for here, there in zip(weights(tmp_path), weights(pristine), strict=True):
        np.testing.assert_array_equal(here, there)
    assert [line["step"] for line in lines(tmp_path)][-3:] == [190, 195, 200]


def test_another_graph_makes_the_cached_one_anew(config_of, root, run):
    latents = encode_all(run)
    for each in (run, open_run(root, checkpoint=str(run.step))):
        connect(each, latents, run.config.graph)
    go_on(config_of(graph__kind="knn", graph__k=9), root)
    assert (root / "latents.npz").exists()
    for again in (open_run(root), open_run(root, checkpoint=str(run.step))):
        assert connect(again, latents, again.config.graph).k == 9


def write_images(path, *, seed, number=24, side=32):
    random = np.random.default_rng(seed)
    shapes = np.repeat(
        random.integers(0, 256, (number, 2, 2, 3), dtype=np.uint8), side // 2, axis=1
    )
    np.savez(path, images=np.repeat(shapes, side // 2, axis=2))
    return path


OWN_DATA = {"data.fixed": "", "data.free": ""}


@pytest.fixture(scope="module")
def trained_on_squares(config_of, tmp_path_factory, cache_home):
    """A folder with squares.npz and own/, the run that was trained on it."""
    folder = tmp_path_factory.mktemp("squares")
    file = write_images(folder / "squares.npz", seed=0)
    go_on(config_of(**OWN_DATA, data__source=str(file)), folder / "own")
    return folder


@pytest.fixture
def own(trained_on_squares, tmp_path):
    """A copy of that run; the data are read from where they were."""
    return shutil.copytree(trained_on_squares / "own", tmp_path / "own")


def test_another_source_trains_by_its_name_alone(own):
    run = open_run(own)
    assert run.images.name == "squares.npz"
    assert len(run.images) == 24


def test_changed_data_are_refused(config_of, own, trained_on_squares):
    file = trained_on_squares / "squares.npz"
    before = file.read_bytes()
    write_images(file, seed=1)
    config = config_of(**OWN_DATA, data__source=str(file))
    for again in (lambda: go_on(config, own), lambda: open_run(own)):
        with pytest.raises(UserError, match=r"images of squares\.npz have changed.*bring the old"):
            again()
    file.write_bytes(before)


def test_another_source_is_refused_with_both_names(config_of, own, tmp_path):
    other = write_images(tmp_path / "other.npz", seed=1)
    with pytest.raises(UserError, match=r"begun with data\.source = .*squares.*not .*other"):
        go_on(config_of(**OWN_DATA, data__source=str(other)), own)


def test_data_that_were_moved_are_the_same_data(config_of, own, trained_on_squares, tmp_path):
    moved = shutil.copy(trained_on_squares / "squares.npz", tmp_path / "moved.npz")
    go_on(config_of(**OWN_DATA, data__source=str(moved)), own)
    assert open_run(own).config.data.source == str(moved)


@pytest.mark.parametrize(
    ("name", "images", "complaint"),
    [
        ("equal", np.zeros((5, 32, 32, 3), np.uint8), "5 images that are all equal"),
        ("one", np.ones((1, 32, 32, 3), np.uint8), "holds 1 image; give at least two"),
        ("odd", np.arange(5 * 33 * 33 * 3).reshape(5, 33, 33, 3).astype(np.uint8), "33 x 33"),
    ],
)
def test_images_that_cannot_be_trained_on_leave_no_working_directory(
    config_of, tmp_path, name, images, complaint
):
    file = tmp_path / f"{name}.npz"
    np.savez(file, images=images)
    config = config_of(**OWN_DATA, data__source=str(file), data__side=0)
    with pytest.raises(UserError, match=complaint):
        go_on(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [r"lr[0.1]/a\b", "a b/größe"])
def test_a_run_in_a_folder_of_any_name_is_trained_resumed_and_surfed(
    launch, config_file, tmp_path, name
):
    flags = (f"--config={config_file}", f"--workdir={tmp_path / name}")
    assert launch("train", *flags).status == 0
    more = launch("train", *flags, "--config.training.num_epochs=41", "--extend")
    assert more.status == 0, more.err
    surfed = launch("surf", f"--workdir={tmp_path / name}", "--source=3", "--target=31")
    assert surfed.status == 0, surfed.err
    assert (tmp_path / name / "surf/3-31/path.json").exists()
    assert sorted(path.name for path in (tmp_path / name / "checkpoints").iterdir()) == [
        "200",
        "205",
    ]


def test_a_run_without_checkpoint_is_refused(root):
    shutil.rmtree(root / "checkpoints")
    with pytest.raises(UserError, match="holds no checkpoint; train there first"):
        open_run(root)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", r"config\.json is not valid JSON"),
        ("[]", r"config\.json holds no JSON object"),
        ("{}", r"config\.json does not describe a run \(no 'config' in it\)"),
        ('{"config": {}, "data": {}}', r"\(no 'fingerprint' in it\)"),
        ('{"config": [], "data": {}}', r"config\.json does not describe a run"),
        ('{"config": {"data": 3}, "data": {"fingerprint": ""}}', r"config\.data is 3"),
        ('{"config": {"model": {"size": 3}}, "data": {}}', r"model\.size is not a setting"),
    ],
)
def test_a_damaged_config_json_is_refused(root, content, complaint):
    (root / "config.json").write_text(content)
    with pytest.raises(UserError, match=complaint):
        open_run(root)


def test_checkpoints_without_settings_are_refused(config_of, run, tmp_path):
    shutil.copytree(run.workdir.root, tmp_path / "run")
    (tmp_path / "run" / "config.json").unlink()
    other = config_of(**{"training.seed": 7})
    with pytest.raises(UserError, match=r"holds checkpoints, but no config\.json .*; put back"):
        go_on(other, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_settings_of_another_version_are_refused(config_of, run, tmp_path):
    shutil.copytree(run.workdir.root, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    saved = json.loads(path.read_text())
    del saved["config"]["optimizer"]["b2"]
    path.write_text(json.dumps(saved))
    with pytest.raises(UserError, match=r"no optimizer\.b2 in it: another version"):
        go_on(config_of(), tmp_path / "run")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"training.seed": 2**32}, r"training\.seed is 4294967296; choose 0 to 4294967295"),
        ({"training.save_every_s": float("inf")}, "must be 0 or more, and finite"),
    ],
)
def test_settings_out_of_range_are_refused(config_of, wrong, words):
    with pytest.raises(UserError, match=words):
        config_of(**wrong)


def test_the_best_or_a_chosen_checkpoint_is_opened_beside_the_last(config_of, tmp_path):
    config = config_of(training__save_every_s=0.0, training__keep_last=3, training__num_epochs=12)
    go_on(config, tmp_path)
    losses = {line["step"]: line["loss"] for line in lines(tmp_path)}
    opened = {name: open_run(tmp_path, checkpoint=name) for name in ("last", "best", "59")}
    kept = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert kept[-3:] == [58, 59, 60]
    assert opened["last"].step == 60
    assert opened["59"].step == 59
    # A checkpoint's loss is the last line's before it; of equal ones, the later is the better.
    loss_of = {step: losses[max(at for at in losses if at <= step)] for step in kept}
    assert opened["best"].step == max(kept, key=lambda step: (-loss_of[step], step))
    codes = {name: encode_all(run).codes for name, run in opened.items()}
    assert (codes["last"] != codes["59"]).any()
    assert (tmp_path / "latents-59.npz").exists()
    assert (tmp_path / "latents.npz").exists()
    for wrong, words in (
        ("17", r"no checkpoint 17; choose one of .*59, 60"),
        ("x", "is 'x'; give"),
    ):
        with pytest.raises(UserError, match=words):
            open_run(tmp_path, checkpoint=wrong)
    go_on(config_of(training__num_epochs=13), tmp_path, extend=True)
    assert not list(tmp_path.glob("latents*.npz"))


def test_a_run_beside_another_in_the_same_folder_is_refused(config_of, tmp_path):
    with lock(tmp_path), pytest.raises(UserError, match="is in use by process"):
        go_on(config_of(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
