"""A grid as one program or in turn: the same members, stopped and resumed, marked, refused."""

import csv
import os
import random
import shutil
import signal

import jax
import numpy as np
import pytest

from jaxsurf.errors import Interrupted, UserError
from jaxsurf.pipeline import sweep
from jaxsurf.pipeline.grid import Axis, Grid
from jaxsurf.pipeline.run import open_run
from jaxsurf.training import data, loop
from jaxsurf.training.log import GroupLog
from jaxsurf.workdir import WorkDir
from tests.leavings import lines, weights

# 14 images in batches of 5, which are no whole number of batches: 3 steps an epoch.
NUM_STEPS, NUM_EPOCHS = 36, 12
RATES = Axis(
    ("optimizer.learning_rate", "corruption.kind"),
    ((5e-3, "normal"), (1e30, "normal"), (5e-3, "white"), (1e-9, "normal")),
)
LEARNT, BURST, WHITE, IDLE = (f"learning_rate_{rate}-kind_{kind}" for rate, kind in RATES.values)
STATES = {LEARNT: "finished", BURST: "diverged", WHITE: "finished", IDLE: "collapsed"}
SIZES = Axis(("training.batch_size",), ((5,), (7,)))
MODES = ("together", "in_turn")


def write_images(path, *, first=0):
    """Write a bright square in 14 places."""
    images = np.full((14, 16, 16, 3), 60, np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, 7)
        image[row * 5 : row * 5 + 6, column : column + 9] = 220 - first
    np.savez(path, images=images)
    return path


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("squares") / "squares.npz")


@pytest.fixture(scope="session")
def grid_of(squares):
    """Makes the small grid; section__name=value changes a setting of all members."""

    def make(*axes, **changes):
        base = {
            "data": {"source": str(squares)},
            "model": {"channels": 4},
            "training": {"batch_size": 5, "num_epochs": NUM_EPOCHS},
        }
        for name, value in changes.items():
            section, _, setting = name.partition("__")
            base.setdefault(section, {})[setting] = value
        return Grid(base, axes or (RATES,))

    return make


def run(grid, root, mode, **options):
    return sweep.sweep(grid, root, mode=mode, shown=False, **options)


@pytest.fixture(scope="session")
def pristine(grid_of, tmp_path_factory):
    """Folders of finished sweeps by mode; tests look at them and leave them alone."""
    roots = {}

    def finished(mode):
        if mode not in roots:
            roots[mode] = tmp_path_factory.mktemp(mode) / "sweep"
            run(grid_of(), roots[mode], mode)
        return roots[mode]

    return finished


@pytest.fixture
def root(pristine, tmp_path):
    """A copy of a sweep that was finished in turn."""
    return shutil.copytree(pristine("in_turn"), tmp_path / "copy")


def rows(root):
    with (root / "all_scores.csv").open(newline="") as file:
        return {row["member"]: row for row in csv.DictReader(file)}


def assert_same_table(one, other):
    """Check that two tables are the same to the last digit, but for time."""
    here, there = rows(one), rows(other)
    for row in (*here.values(), *there.values()):
        del row["training_s"]
    assert here == there


def member_of(root, member):
    return root / "members" / member


def assert_same_sweep(one, other, states=STATES):
    """Check that tables, metrics and weights are the same to the last digit."""
    assert_same_table(one, other)
    for member, state in states.items():
        assert lines(member_of(one, member)) == lines(member_of(other, member))
        if state != "diverged":
            for here, there in zip(
                *(weights(member_of(root, member)) for root in (one, other)), strict=True
            ):
                np.testing.assert_array_equal(here, there)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def crash(*_, **__):
    raise RuntimeError("crash")


def on_call(number, do, original):
    """Return a function that does something else when it is called for the n-th time."""
    calls = []

    def counting(*args, **kwargs):
        calls.append(args)
        return (do if len(calls) == number else original)(*args, **kwargs)

    return counting


def changed_files(folder, before):
    return {
        str(path.relative_to(folder))
        for path, time in times(folder).items()
        if before.get(path) != time
    }


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_both_modes_give_the_same_members(pristine):
    as_one, alone = (rows(pristine(mode)) for mode in MODES)
    assert [*alone] == [*as_one] == [*STATES]
    for member, row in alone.items():
        other = as_one[member]
        assert (row.pop("together"), other.pop("together")) == ("1", "4")
        # Three dozen steps multiply the rounding that one step differs by (training/test_sweep.py).
        for name in ("target_loss", "mse", "psnr_db"):
            here, there = row.pop(name), other.pop(name)
            assert (here == "") == (there == ""), (member, name)
            if here:
                assert float(here) == pytest.approx(float(there), rel=1e-3), (member, name)
        for each in (row, other):
            del each["training_s"]
            each["message"] = each["message"].partition(": its error")[0]
        assert row == other


@pytest.mark.parametrize("mode", MODES)
def test_members_that_fail_are_marked_and_the_others_finish(pristine, mode):
    found = rows(pristine(mode))
    assert {member: row["state"] for member, row in found.items()} == STATES
    assert found[BURST]["message"].startswith("training diverged by step 3: loss, mse is not fin")
    assert found[BURST]["target_loss"] == ""
    assert found[IDLE]["message"].startswith("the model collapsed: its error")
    best = (pristine(mode) / "best.md").read_text()
    assert best.startswith("Objective 1 mse:")
    assert f"2 of 4 failed: {BURST} diverged, {IDLE} collapsed" in best
    assert (pristine(mode) / "losses.png").stat().st_size > 10_000
    assert not (pristine(mode) / "groups").exists()


def watch_restoring(monkeypatch):
    """Collect the arrays that restored ones take the place of."""
    replaced, original = [], sweep.Checkpoints.restore

    def restore(self, like):
        replaced.extend(jax.tree.leaves(like))
        return original(self, like)

    monkeypatch.setattr(sweep.Checkpoints, "restore", restore)
    return replaced


@pytest.mark.parametrize("mode", MODES)
def test_each_member_is_a_run_of_its_own(pristine, mode):
    for member, state in STATES.items():
        folder = member_of(pristine(mode), member)
        ended = sweep.read_outcome(WorkDir(folder))
        assert ended.state == state
        if state == "diverged":
            assert lines(member_of(pristine(mode), member)) == []
            with pytest.raises(UserError, match="holds no checkpoint"):
                open_run(folder)
            continue
        opened = open_run(folder)
        assert opened.step == NUM_STEPS
        assert f"kind_{opened.config.corruption.kind}" in member
        written = lines(member_of(pristine(mode), member))
        assert [line["step"] for line in written] == [*range(3, NUM_STEPS + 1, 3)]
        assert ended.losses == {"loss": written[-1]["loss"], "mse": written[-1]["mse"]}


def test_a_finished_sweep_does_nothing_again(grid_of, root):
    (root / "all_scores.csv").unlink()
    before = times(root)
    run(grid_of(), root, "auto")
    written = {"grid.json", "all_scores.csv", "best.md", "losses.png"}
    assert changed_files(root, before) == {".lock", *written}


@pytest.mark.slow
def test_cpus_train_in_turn_unless_told(grid_of, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "train_together", crash)
    run(grid_of(training__num_epochs=1), tmp_path, "auto")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(RuntimeError, match="crash"):
        run(grid_of(training__num_epochs=2), tmp_path / "other", "auto")


def test_a_group_stopped_by_a_signal_goes_on_bitwise(
    grid_of, pristine, tmp_path, monkeypatch, stop_at
):
    with monkeypatch.context() as patch:
        stop_at(patch, 13, terminate)  # in the middle of an epoch, after one member diverged
        with pytest.raises(Interrupted) as stopped:
            run(grid_of(), tmp_path, "together")
    assert stopped.value.signal == signal.SIGTERM
    assert not (tmp_path / "all_scores.csv").exists()
    with monkeypatch.context() as patch:
        stop_at(patch, 13, crash)  # what was done is not done again
        replaced = watch_restoring(patch)
        run(grid_of(), tmp_path, "together")
    assert replaced
    assert all(leaf.is_deleted() for leaf in replaced)
    assert_same_sweep(tmp_path, pristine("together"))


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, NUM_STEPS])
def test_a_group_stopped_anywhere_goes_on_bitwise(
    grid_of, pristine, tmp_path, monkeypatch, step, stop_at
):
    # At step 2 a loss is not finite that no line has told of yet.
    with monkeypatch.context() as patch:
        stop_at(patch, step, terminate)
        with pytest.raises(Interrupted):
            run(grid_of(), tmp_path, "together")
    run(grid_of(), tmp_path, "together")
    assert_same_sweep(tmp_path, pristine("together"))


@pytest.mark.slow
@pytest.mark.parametrize("save_every_s", [0.0, 60.0])
def test_a_group_that_crashed_goes_on_bitwise(
    grid_of, pristine, tmp_path, monkeypatch, save_every_s, stop_at
):
    # After a minute it would have been saved for the first time; or it is saved at every step.
    with monkeypatch.context() as patch:
        stop_at(patch, 7, crash)
        with pytest.raises(RuntimeError, match="crash"):
            run(grid_of(training__save_every_s=save_every_s), tmp_path, "together")
    assert any(tmp_path.glob("groups/*/checkpoints/*")) == (save_every_s == 0)
    run(grid_of(), tmp_path, "together")
    assert_same_sweep(tmp_path, pristine("together"))


@pytest.mark.slow
def test_a_signal_while_a_group_is_saved_at_its_end_is_not_lost(grid_of, tmp_path, monkeypatch):
    original = GroupLog.flush

    def flush(log):
        terminate()
        return original(log)

    monkeypatch.setattr(GroupLog, "flush", flush)
    with pytest.raises(Interrupted):
        run(grid_of(training__num_epochs=1), tmp_path, "together")


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3])
def test_a_group_that_crashed_while_members_were_judged_goes_on(
    grid_of, pristine, tmp_path, monkeypatch, number, stop_at
):
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "_write_outcome", on_call(number, crash, sweep._write_outcome))
        with pytest.raises(RuntimeError, match="crash"):
            run(grid_of(), tmp_path, "together")
    assert len([*tmp_path.glob("members/*/outcome.json")]) == number - 1
    with monkeypatch.context() as patch:
        stop_at(patch, NUM_STEPS, crash)  # nothing is trained again
        run(grid_of(), tmp_path, "together")
    assert_same_sweep(tmp_path, pristine("together"))


@pytest.mark.slow
def test_members_in_turn_go_on_bitwise(grid_of, pristine, tmp_path, monkeypatch, stop_at):
    with monkeypatch.context() as patch:
        stop_at(patch, 13, terminate)
        with pytest.raises(Interrupted):
            run(grid_of(), tmp_path, "in_turn")
    assert [*tmp_path.glob("members/*/outcome.json")] == []
    with monkeypatch.context() as patch:  # the first is finished, the third in its midst
        stop_at(patch, 16, on_call(2, crash, lambda: None))
        with pytest.raises(RuntimeError, match="crash"):
            run(grid_of(training__save_every_s=0.0), tmp_path, "in_turn")
    assert len([*tmp_path.glob("members/*/outcome.json")]) == 2
    run(grid_of(), tmp_path, "in_turn")
    assert_same_sweep(tmp_path, pristine("in_turn"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_sweep_that_was_killed_between_groups_goes_on(grid_of, tmp_path, monkeypatch, mode):
    grid = grid_of(SIZES, RATES, training__num_epochs=2)
    run(grid, tmp_path / "straight", mode)
    with monkeypatch.context() as patch:
        patch.setattr(sweep._Sweep, "run_group", on_call(2, crash, sweep._Sweep.run_group))
        with pytest.raises(RuntimeError, match="crash"):
            run(grid, tmp_path / "stopped", mode)
    before = times(tmp_path / "stopped" / "members")
    assert len([*(tmp_path / "stopped").glob("members/*/outcome.json")]) == 4
    run(grid, tmp_path / "stopped", mode)
    again = changed_files(tmp_path / "stopped" / "members", before)
    assert {path.partition("-")[0] for path in again} == {"batch_size_7"}
    assert_same_table(tmp_path / "stopped", tmp_path / "straight")


@pytest.mark.slow
def test_what_was_begun_in_turn_goes_on_in_turn(grid_of, pristine, tmp_path, monkeypatch, stop_at):
    with monkeypatch.context() as patch:
        stop_at(patch, 13, on_call(2, terminate, lambda: None))  # the third; the second diverged
        with pytest.raises(Interrupted):
            run(grid_of(), tmp_path, "in_turn")
    with monkeypatch.context() as patch:  # once more, in the part that goes together
        stop_at(patch, 2, terminate)
        with pytest.raises(Interrupted):
            run(grid_of(), tmp_path, "together")
    run(grid_of(), tmp_path, "together")
    assert {member: row["state"] for member, row in rows(tmp_path).items()} == STATES
    assert [row["together"] for row in rows(tmp_path).values()] == ["1", "1", "1", "1"]
    for member in (LEARNT, WHITE):
        assert lines(member_of(tmp_path, member)) == lines(member_of(pristine("in_turn"), member))
    assert lines(member_of(tmp_path, IDLE))[-1]["step"] == NUM_STEPS


@pytest.mark.slow
def test_what_was_begun_together_goes_on_together(
    grid_of, pristine, tmp_path, monkeypatch, stop_at
):
    with monkeypatch.context() as patch:
        stop_at(patch, 13, terminate)
        with pytest.raises(Interrupted):
            run(grid_of(), tmp_path, "together")
    run(grid_of(), tmp_path, "in_turn")
    assert_same_sweep(tmp_path, pristine("together"))


@pytest.mark.slow
def test_a_group_in_which_all_diverge_ends_early(grid_of, tmp_path, monkeypatch, stop_at):
    bad = Axis(("optimizer.learning_rate",), ((1e30,), (1e31,)))
    with monkeypatch.context() as patch:
        stop_at(patch, 9, crash)
        run(grid_of(bad), tmp_path, "together")
    assert [row["state"] for row in rows(tmp_path).values()] == ["diverged"] * 2
    assert (tmp_path / "losses.png").exists()
    assert not (tmp_path / "groups").exists()


@pytest.mark.slow
def test_an_outcome_that_was_removed_is_found_again(grid_of, pristine, root):
    (member_of(root, WHITE) / "outcome.json").unlink()
    run(grid_of(), root, "together")
    assert_same_sweep(root, pristine("in_turn"))


def test_metrics_that_are_gone_are_missed(grid_of, root):
    for name in ("outcome.json", "metrics.jsonl"):
        (member_of(root, WHITE) / name).unlink()
    with pytest.raises(UserError, match=r"metrics\.jsonl is missing or empty.*put it back, or"):
        run(grid_of(), root, "auto")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"training__num_epochs": 13}, "num_epochs = 12, not 13; use that value again, or a new"),
        ({"model__latent_dim": 3}, r"model\.latent_dim = 2, not 3"),
        ({"training__seed": 3}, r"was begun with training\.seed = 0, not 3"),
        ({"data__side": 32}, r"was begun with data\.side = 0, not 32"),
    ],
)
def test_another_base_in_the_same_folder_is_refused(grid_of, root, changes, complaint):
    before = times(root)
    with pytest.raises(UserError, match=complaint) as refused:
        run(grid_of(**changes), root, "auto")
    assert "--extend" not in str(refused.value)
    assert not changed_files(root, before)


@pytest.mark.parametrize(
    ("axis", "complaint"),
    [
        (Axis(RATES.names, RATES.values[:2]), f"holds another grid, of 4 members, with {WHITE};"),
        (Axis(RATES.names, (*RATES.values, (0.25, "none"))), "of 4 members, without .*_0.25-kind_"),
        (Axis(("training.seed",), ((1,), (2,))), "holds another grid, of 4 members, with learning"),
    ],
)
def test_another_grid_in_the_same_folder_is_refused(grid_of, root, axis, complaint):
    before = times(root)
    with pytest.raises(UserError, match=complaint):
        run(grid_of(axis), root, "auto")
    assert not changed_files(root, before)


@pytest.mark.parametrize("finished", [True, False])
def test_other_images_are_refused(grid_of, root, squares, finished):
    if not finished:
        (member_of(root, WHITE) / "outcome.json").unlink()
    before = squares.read_bytes()
    write_images(squares, first=1)
    try:
        with pytest.raises(UserError, match=r"images of squares\.npz have changed"):
            run(grid_of(), root, "auto")
    finally:
        squares.write_bytes(before)


@pytest.mark.slow
def test_a_group_does_not_go_on_with_other_images(grid_of, tmp_path, monkeypatch, stop_at):
    images = write_images(tmp_path / "squares.npz")
    grid = grid_of(data__source=str(images))
    with monkeypatch.context() as patch:
        stop_at(patch, 13, terminate)
        with pytest.raises(Interrupted):
            run(grid, tmp_path / "sweep", "together")
    moved = grid_of(data__source=str(images.rename(tmp_path / "moved.npz")))
    write_images(images, first=1)
    with pytest.raises(UserError, match=r"images of squares\.npz have changed"):
        run(grid, tmp_path / "sweep", "together")
    with monkeypatch.context() as patch:
        stop_at(patch, 13, crash)
        run(moved, tmp_path / "sweep", "together")  # the same images in another place
    assert {member: row["state"] for member, row in rows(tmp_path / "sweep").items()} == STATES


@pytest.mark.parametrize(
    ("axes", "changes", "complaint"),
    [
        ((Axis(("data.side",), ((16,), (24,))),), {}, "24 x 24, but the model takes squares"),
        ((), {"data__source": "nowhere.npz"}, r"no file called 'nowhere\.npz'"),
        (
            (Axis(("objective.perceptual",), ((0.0,), (1.0,))),),
            {"objective__vgg": "nowhere.h5"},
            r"nowhere\.h5",
        ),
        ((), {"objective__mse": 0.0}, "all weights of the objective are 0"),
    ],
)
def test_what_is_wrong_with_any_member_is_said_before_the_first(
    grid_of, tmp_path, axes, changes, complaint
):
    with pytest.raises(UserError, match=complaint):
        run(grid_of(*axes, **changes), tmp_path / "sweep", "auto")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("mode", MODES)
def test_images_that_are_all_equal_are_refused(grid_of, tmp_path, mode):
    np.savez(tmp_path / "equal.npz", images=np.zeros((5, 16, 16, 3), np.uint8))
    with pytest.raises(UserError, match="5 images that are all equal"):
        run(grid_of(data__source=str(tmp_path / "equal.npz")), tmp_path / "sweep", mode)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_images_of_each_place_train_members_of_their_own(grid_of, squares, tmp_path):
    # What is trained on which images must not be taken for one group.
    other = write_images(tmp_path / "other.npz", first=100)
    places = Axis(("data.source",), ((str(squares),), (str(other),)))
    for mode in MODES:
        run(grid_of(places, training__num_epochs=1), tmp_path / mode, mode)
        first, second = rows(tmp_path / mode).values()
        assert first["IMAGES_PATH"] == str(squares)
        assert float(first["target_loss"]) > 2 * float(second["target_loss"])


def full(*_, **__):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")


@pytest.mark.slow
def test_a_group_that_does_not_fit_a_device_can_go_on_in_turn(grid_of, tmp_path, monkeypatch):
    grid = grid_of(training__num_epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "run", full)
        with pytest.raises(UserError, match=rf"4 members .*{LEARNT} the first.*--mode=in_"):
            run(grid, tmp_path, "together")
    with monkeypatch.context() as patch:
        patch.setattr(data, "device_room_bytes", lambda: 10_000.0)
        with pytest.raises(UserError, match=r"14 images don't fit a device.*--mode=in_"):
            run(grid, tmp_path, "together")
    run(grid, tmp_path, "in_turn")
    assert {row["together"] for row in rows(tmp_path).values()} == {"1"}


GRID_FILE = """
from jaxsurf.pipeline import cli


def get_config():
    return cli.make_config(
        {{
            "data.source": {source!r},
            "model.channels": 4,
            "training.batch_size": 5,
            "training.num_epochs": 50,
        }},
        axes={{
            "corruption.strength": (0.1, 0.25),
            "optimizer.learning_rate,corruption.kind": ((0.005, "normal"), (1e30, "white")),
        }},
    )
"""


@pytest.fixture(scope="module")
def grid_file(squares, tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / "grid.py"
    path.write_text(GRID_FILE.format(source=str(squares)))
    return path


@pytest.mark.parametrize(
    ("script", "file", "flags", "status", "complaint"),
    [
        ("sweep", "grid", ["--mode=sideways"], 2, "should be one of <auto|together|in_turn>"),
        ("sweep", "configs/tiny.py", [], 1, "the file of --config holds no grid; see configs/"),
        (
            "sweep",
            "grid",
            ["--config.corruption.kind=white"],
            2,
            "no setting 'kind'",
        ),
        pytest.param(
            *("sweep", "grid", ["--config.grid=3"], 2, "of field config.grid is not supported"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("sweep", "grid", ["--config.training.num_epochs=0"], 1, "num_epochs is 0, but must"),
            marks=pytest.mark.slow,
        ),
        pytest.param(*("train", "grid", [], 1, "grid is not a setting"), marks=pytest.mark.slow),
    ],
)
def test_a_wrong_command_ends_in_one_line(
    launch, grid_file, tmp_path, script, file, flags, status, complaint
):
    config = grid_file if file == "grid" else file
    ended = launch(script, f"--config={config}", f"--workdir={tmp_path / 'sweep'}", *flags)
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert complaint in ended.err
    assert ended.status == status
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_command_trains_the_grid_with_settings_changed_for_all(
    launch, grid_file, tmp_path, mode
):
    flags = (f"--mode={mode}", "--config.training.num_epochs=2", f"--workdir={tmp_path}")
    ended = launch("sweep", f"--config={grid_file}", *flags)
    assert ended.status == 0, ended.err
    assert "2 of 4 failed" in ended.out or "4 of 4 failed" in ended.out
    assert ended.out.endswith(f"all of them: {tmp_path / 'all_scores.csv'}\n")
    assert "Traceback" not in ended.err
    found = rows(tmp_path)
    assert {row["num_epochs"] for row in found.values()} == {"2"}
    assert [row["noise"] for row in found.values()] == ["0.1", "0.1", "0.25", "0.25"]
    refused = launch("sweep", f"--config={grid_file}", f"--workdir={tmp_path}")
    assert refused.status == 1
    assert "was begun with training.num_epochs = 2, not 50; use that value" in refused.err


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_command_killed_again_and_again_equals_one_that_was_not(
    launch, grid_file, tmp_path, mode
):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    command = ("sweep", f"--config={grid_file}", f"--mode={mode}")
    # A program that was being kept when its writer was killed stays half a one.
    cache = str(tmp_path / "compiled")
    assert launch(*command, f"--workdir={straight}", cache=cache).status == 0
    often = (f"--workdir={killed}", "--config.training.save_every_s=0.05")
    moments = random.Random(7)
    for _ in range(6):
        # Any change of a file, of which a start makes some forty and a checkpoint some twenty.
        kill = {"pattern": rf"\S+ {killed}.*", "number": moments.randrange(1, 120)}
        outcome = launch(*command, *often, cache=cache, kill=kill)
        assert outcome.status == -signal.SIGKILL, outcome.err
    assert launch(*command, f"--workdir={killed}", cache=cache).status == 0
    found = rows(killed)
    assert [row["state"] for row in found.values()] == ["finished", "diverged"] * 2
    assert_same_sweep(killed, straight, {member: row["state"] for member, row in found.items()})
    for member, row in found.items():
        steps = [line["step"] for line in lines(member_of(killed, member))]
        assert steps == ([*range(3, 151, 3)] if row["state"] == "finished" else [])
