"""A grid of runs: its members, as one program or in turn, stopped and resumed, marked, refused."""

import csv
import functools
import io
import itertools
import random
import re
import shutil
import signal
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxsurf.errors import Interrupted, UserError
from jaxsurf.pipeline import experiments, sweep, train
from jaxsurf.pipeline.run import open_run
from jaxsurf.pipeline.sweep import Outcome, make_grid
from jaxsurf.training import data, loop
from jaxsurf.training.log import read_metrics
from jaxsurf.training.objective import TERMS
from jaxsurf.workdir import WorkDir
from tests.leavings import lines, weights

# --- Grids ---

BASE = {"training.num_epochs": 3, "model.channels": 8}


def test_a_grid_holds_every_combination_and_the_last_axis_varies_fastest():
    axes = {
        "training.batch_size": (4, 8),
        "objective.mse,objective.perceptual": ((4.0, 0.0), (2.8, 0.3), (0.0, 1.0)),
        "corruption.kind": ("normal", "white"),
    }
    made = make_grid(BASE, axes).members
    found = [
        (m.config.training.batch_size, m.config.objective.mse, m.config.corruption.kind)
        for m in made
    ]
    assert found == list(itertools.product((4, 8), (4.0, 2.8, 0.0), ("normal", "white")))
    assert {m.config.training.num_epochs for m in made} == {3}
    assert made[3].name == "batch_size_4-mse_2.8-perceptual_0.3-kind_white"
    assert made[3].config.objective.weights == {"mse": 2.8, "perceptual": 0.3}


def test_names_are_fit_for_folders_and_tell_members_apart(tmp_path):
    long = f"/data/{'x' * 400}"
    sources = ("a/b c.npz", "a_b_c.npz", "å.npz", "é.npz", f"{long}/1.npz", f"{long}/2.npz")
    names = [m.name for m in make_grid(BASE, {"data.source": sources}).members]
    assert names[1] == "source_a_b_c.npz"
    assert re.fullmatch(r"source_a_b_c\.npz-[0-9a-f]{16}", names[0])
    assert all(re.fullmatch(r"[A-Za-z0-9_.+-]+", name) for name in names)
    for name in names:
        (tmp_path / name).mkdir()  # file systems allow 255 bytes


def test_members_that_differ_in_numbers_alone_share_a_program():
    axes = {f"objective.{term}": (0.5, 1.0) for term in TERMS}
    axes |= {"optimizer.learning_rate,optimizer.weight_decay": ((1e-3, 0.0), (2e-3, 1e-4))}
    axes |= {"optimizer.warmup_share,targets.weight": ((0.0, 0.1), (0.1, 1.0))}
    axes |= {"corruption.kind": ("normal", "white"), "corruption.strength": (0.1, 0.2)}
    (group,) = make_grid(BASE, axes | {"training.seed": (0, 1)}).groups
    assert len(group) == 2 ** (len(axes) + 1)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("training.batch_size", (4, 8)),
        ("model.channels", (4, 8)),
        ("optimizer.b2", (0.9, 0.95)),
        ("data.path", ("here", "there")),
        ("objective.perceptual", (0.0, 1.0)),  # a network for features is dear
    ],
)
def test_members_that_differ_in_more_do_not(name, values):
    groups = make_grid(BASE, {"training.seed": (0, 1), name: values}).groups
    assert [len(group) for group in groups] == [2, 2]


@pytest.mark.parametrize(
    ("axes", "word"),
    [
        ({"training.size": (1,)}, r"training\.size is not a setting"),
        ({"training.seed": ()}, r"over training\.seed is \(\)"),
        ({"training.seed": ((1, 2),)}, r"over training\.seed is .*give a value for each name"),
        ({"objective.vgg": ("oxford",)}, "losses of different features can't stand in one column"),
        ({"training.seed,training.seed": ((1, 2),)}, r"several axes over training\.seed"),
        ({"training.seed": (1, 2, 1)}, "holds seed_1 twice"),
        ({"training.log_every": (8, 9)}, "holds log_every_9 twice, first as log_every_8"),
        ({"corruption.strength": (1, 1.0)}, r"holds strength_1\.0 twice, first as strength_1"),
        ({"training.batch_size": (8.0,)}, r"batch_size is 8\.0, but must be of type int"),
        ({"objective.mse": (0.0,)}, "all weights of the objective are 0"),
    ],
)
def test_a_wrong_grid_is_refused(axes, word):
    with pytest.raises(UserError, match=word):
        make_grid(BASE, axes)


def test_a_list_is_one_value():
    factors = ["horizontal_axis", "vertical_axis"]
    made = make_grid(BASE, {"data.free": (factors, factors[::-1])}).members
    assert [list(member.config.data.free) for member in made] == [factors, factors[::-1]]


# --- Sweeps ---

# 14 images in batches of 5, which are no whole number of batches: 3 steps an epoch.
NUM_STEPS, NUM_EPOCHS = 36, 12
RATES = ((5e-3, "normal"), (1e30, "normal"), (5e-3, "white"), (1e-9, "normal"))
AXES = {"optimizer.learning_rate,corruption.kind": RATES}
LEARNT, BURST, WHITE, IDLE = (f"learning_rate_{rate}-kind_{kind}" for rate, kind in RATES)
STATES = {LEARNT: "finished", BURST: "diverged", WHITE: "finished", IDLE: "collapsed"}
MODES = ("together", "in_turn")


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Settings that all members share; the images are of a bright square in 14 places."""
    path = tmp_path_factory.mktemp("squares") / "squares.npz"
    images = np.full((14, 16, 16, 3), 60, np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, 7)
        image[row * 5 : row * 5 + 6, column : column + 9] = 220
    np.savez(path, images=images)
    base = {"data.source": str(path), "model.channels": 4, "targets.kind": "on"}
    return base | {"training.batch_size": 5, "training.num_epochs": NUM_EPOCHS}


@pytest.fixture(scope="session")
def grid_of(small):
    """Makes the small grid; changes are by dotted name."""
    return lambda changes=(), axes=AXES: make_grid(small | dict(changes), axes)


def run(asked, root, mode):
    return sweep.sweep(asked, root, mode=mode, shown=False)


@pytest.fixture(scope="session")
def pristine(grid_of, tmp_path_factory):
    """Folders of finished sweeps by mode; tests look at them and leave them alone."""

    @functools.cache
    def finished(mode):
        root = tmp_path_factory.mktemp(mode) / "sweep"
        run(grid_of(), root, mode)
        return root

    return finished


@pytest.fixture
def root(pristine, tmp_path):
    """A copy of a sweep that was finished in turn."""
    return shutil.copytree(pristine("in_turn"), tmp_path / "copy")


def rows(root):
    table = (root / "all_scores.csv").read_text().splitlines()
    return {row["member"]: row for row in csv.DictReader(table)}


def assert_same_sweep(one, other, states=STATES):
    """Check that tables (but for time), metrics and weights are the same to the last digit."""
    here, there = rows(one), rows(other)
    assert [*here] == [*there]
    for member, row in here.items():
        assert row | {"training_s": ""} == there[member] | {"training_s": ""}
    for member, state in states.items():
        both = [root / "members" / member for root in (one, other)]
        assert lines(both[0]) == lines(both[1])
        if state != "diverged":
            for a, b in zip(*map(weights, both), strict=True):
                np.testing.assert_array_equal(a, b)


def crash(*_, **__):
    raise RuntimeError("crash")


def test_members_trained_together_are_those_trained_alone(pristine):
    as_one, alone = (rows(pristine(mode)) for mode in MODES)
    assert [*alone] == [*as_one] == [*STATES]
    for member, row in alone.items():
        other = as_one[member]
        assert (row["together"], other["together"]) == ("1", "4")
        # Three dozen steps multiply the rounding that one step differs by.
        names = ("target_loss", "mse", "psnr_db")
        figures = [[float(each[name] or "nan") for name in names] for each in (row, other)]
        assert figures[0] == pytest.approx(figures[1], rel=1e-3, nan_ok=True)
        for each in (row, other):
            each |= dict.fromkeys(("together", "training_s", *names))
            each["message"] = each["message"].partition(": its error")[0]
        assert row == other
    # Target codes end before the last steps do, for all of a group as for one.
    for mode in MODES:
        written = read_metrics(pristine(mode) / "members" / LEARNT / "metrics.jsonl")
        assert ["target" in line for line in written] == [True] * 11 + [False]


@pytest.mark.parametrize("mode", MODES)
def test_each_member_is_a_run_of_its_own_and_marked_where_it_failed(pristine, mode):
    found = rows(pristine(mode))
    assert {member: row["state"] for member, row in found.items()} == STATES
    assert found[BURST]["message"].startswith("training diverged by step 3: loss, mse")
    assert found[IDLE]["message"].startswith("the model collapsed: its error")
    best = (pristine(mode) / "best.md").read_text()
    assert f"2 of 4 failed: {BURST} diverged, {IDLE} collapsed" in best
    assert (pristine(mode) / "losses.png").stat().st_size > 10_000
    assert not (pristine(mode) / "groups").exists()
    for member in (LEARNT, WHITE, IDLE):
        folder = pristine(mode) / "members" / member
        opened, written = open_run(folder), lines(folder)
        assert opened.step == NUM_STEPS
        assert f"kind_{opened.config.corruption.kind}" in member
        assert [line["step"] for line in written] == [*range(3, NUM_STEPS + 1, 3)]
        losses = {"loss": written[-1]["loss"], "mse": written[-1]["mse"]}
        assert sweep.read_outcome(WorkDir(folder)).losses == losses
    with pytest.raises(UserError, match="holds no checkpoint"):
        open_run(pristine(mode) / "members" / BURST)


def test_a_finished_sweep_does_nothing_again(grid_of, root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    run(grid_of(), root, "auto")
    files = [path for path in root.rglob("*") if path.is_file()]
    changed = {path for path in files if before.get(path) != path.stat().st_mtime_ns}
    names = (".lock", "grid.json", "all_scores.csv", "best.md", "losses.png")
    assert changed == {root / name for name in names}


@pytest.mark.parametrize(
    "step", [13, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, NUM_STEPS))]
)
def test_a_group_stopped_by_a_signal_and_by_a_crash_goes_on_bitwise_in_whichever_mode(
    grid_of, pristine, tmp_path, monkeypatch, step, stop_at
):
    # 13: amid an epoch, one member has diverged; 2: no line tells of that yet.
    with monkeypatch.context() as patch:
        stop_at(patch, step, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Interrupted):
            run(grid_of(), tmp_path, "together")
    assert not (tmp_path / "all_scores.csv").exists()
    judged, check_learnt = [], train.check_learnt

    def judge_one(*given):
        assert not judged, "crash"
        judged.append(check_learnt(*given))

    with monkeypatch.context() as patch:
        stop_at(patch, step, crash)  # what was done is not done again
        patch.setattr(train, "check_learnt", judge_one)
        with pytest.raises(AssertionError, match="crash"):
            run(grid_of(), tmp_path, "in_turn")
        assert len(list(tmp_path.glob("members/*/outcome.json"))) == 2  # with the one that diverged
        patch.setattr(train, "check_learnt", check_learnt)
        run(grid_of(), tmp_path, "in_turn")
    assert_same_sweep(tmp_path, pristine("together"))


def test_a_group_in_which_all_diverge_ends_early(grid_of, tmp_path, monkeypatch, stop_at):
    stop_at(monkeypatch, 9, crash)
    run(grid_of(axes={"optimizer.learning_rate": (1e30, 1e31)}), tmp_path, "together")
    assert [row["state"] for row in rows(tmp_path).values()] == ["diverged"] * 2


@pytest.mark.parametrize(
    ("file", "content", "word"),
    [
        ("grid.json", '{"members": ["a"]}', r"holds another grid, of 1 members such as \['a'\]"),
        ("outcome.json", "{", r"outcome\.json is not valid JSON"),
        ("outcome.json", '{"state": "won"}', r"outcome\.json is damaged"),
        ("outcome.json", '{"state": "finished"}', r"damaged \(no loss or time\)"),
        ("metrics.jsonl", "", r"metrics\.jsonl is missing or empty.*put it back, or"),
    ],
)
def test_what_was_edited_by_hand_is_refused(grid_of, root, file, content, word):
    place = root if file == "grid.json" else root / "members" / WHITE
    if file == "metrics.jsonl":
        (place / "outcome.json").unlink()
    (place / file).write_text(content)
    with pytest.raises(UserError, match=word):
        run(grid_of(), root, "auto")


def test_settings_that_change_the_result_are_refused(grid_of, root):
    with pytest.raises(UserError, match=r"begun with training\.num_epochs = 12, not 13"):
        run(grid_of({"training.num_epochs": 13}), root, "auto")


@pytest.mark.parametrize(
    ("changes", "axes", "word"),
    [
        ({}, {"model.channels": (8, 10)}, "model.channels is 10, but must be a multiple of 4"),
        ({"data.source": "nowhere.npz"}, AXES, r"no file called 'nowhere\.npz'"),
        ({"objective.vgg": "nowhere.h5"}, {"objective.perceptual": (0.0, 1.0)}, r"nowhere\.h5"),
    ],
)
def test_what_is_wrong_with_any_member_is_reported_before_the_first(
    grid_of, tmp_path, changes, axes, word
):
    with pytest.raises(UserError, match=word):
        run(grid_of(changes, axes), tmp_path / "sweep", "auto")
    assert not (tmp_path / "sweep").exists()


def full(*_, **__):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")


@pytest.mark.slow
def test_a_group_that_does_not_fit_a_device_can_go_on_in_turn(grid_of, tmp_path, monkeypatch):
    asked = grid_of({"training.num_epochs": 1})
    with monkeypatch.context() as patch:
        patch.setattr(loop, "run", full)
        with pytest.raises(UserError, match=rf"4 members .*{LEARNT} the first.*--mode=in_"):
            run(asked, tmp_path, "together")
    with monkeypatch.context() as patch:
        patch.setattr(data, "device_room_bytes", lambda: 10_000.0)
        with pytest.raises(UserError, match=r"14 images don't fit a device.*--mode=in_"):
            run(asked, tmp_path, "together")
    run(asked, tmp_path, "in_turn")
    assert {row["together"] for row in rows(tmp_path).values()} == {"1"}


# --- Tables ---

# As the report's authors' all_scores.csv begins.
REPORTS_HEADER = (
    "learning rate,weight decay,num_epochs,batch_size,step_size,dims,MSE_weight,"
    "perceptual_weight,out_channels,noise,noise_types,IMAGES_PATH,target_loss"
)
OURS = (
    "member,state,model,optimizer,seed,l1_weight,bce_weight,mse,perceptual_oxford,psnr_db,"
    "training_s,together,message"
)
REFERENCE = experiments.REFERENCE | {
    "model.latent_dim": 3,
    "corruption.kind": "white",
    "objective.l1": 0.125,
    "training.seed": 0,
}
LOSSES = {"loss": 0.02, "mse": 0.005}
GOOD = Outcome(state="finished", losses=LOSSES, mse=0.01, training_s=60.4, together=2)
COLLAPSED = Outcome(
    state="collapsed",
    message="the model collapsed, its error",
    losses={"loss": 0.5, "mse": 0.125, "perceptual": 7.0},
    mse=0.125,
    training_s=61.0,
)
WEIGHTS = {"objective.mse,objective.perceptual": ((4.0, 0.0), (2.8, 0.3))}


def results(*ended, axes=WEIGHTS, **changes):
    named = {f"objective.{name}": value for name, value in changes.items()}
    return list(zip(make_grid(REFERENCE | named, axes).members, ended, strict=True))


def test_the_table_has_the_reports_columns_on_its_scale_and_ours_after_them():
    text = sweep.table(results(GOOD, COLLAPSED))
    header, first, second = text.splitlines()
    assert header == f"{REPORTS_HEADER},{OURS}"
    # A squared error on [-1, 1] is four times that on [0, 1].
    assert first == (
        "0.01,1e-05,600,16,150,3,1.0,0.0,64,0.2,white,arm,0.02,mse_4.0-perceptual_0.0,finished,"
        "reference,reference,0,0.125,0.0,0.005,,20.0,60.4,2,"
    )
    (_, row) = csv.DictReader(io.StringIO(text))
    assert float(row["MSE_weight"]) == pytest.approx(0.7, rel=1e-12)
    assert (row["state"], row["perceptual_oxford"]) == ("collapsed", "7.0")
    assert row["message"] == COLLAPSED.message
    assert second.endswith('"')
    other = results(GOOD, vgg="/weights/own.h5", axes={"training.seed": (1,)})
    assert "perceptual_own" in sweep.table(other).splitlines()[0]


def test_the_best_are_the_ten_of_smallest_loss_of_each_objective_and_failures_are_named():
    ended = [replace(GOOD, losses={"loss": 1 - 0.05 * n}) for n in range(12)]
    text = sweep.best(results(*ended, COLLAPSED, axes={"training.seed": tuple(range(13))}))
    members = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| seed")]
    assert members == [f"| seed_{seed}" for seed in range(11, 1, -1)]
    assert text.endswith("1 of 13 failed: seed_12 collapsed")
    first, second = sweep.best(results(GOOD, COLLAPSED)).split("\n\nObjective ")
    assert "| mse_4.0-perceptual_0.0 | 0.02 | 20.0 | 60 (with 1 more) |" in first
    assert second.startswith("2.8 mse + 0.125 l1 + 0.3 perceptual:")


# --- The command ---


@pytest.fixture(scope="module")
def grid_file(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / "grid.py"
    base = small | {"training.num_epochs": 50}
    axes = {"corruption.strength": (0.1, 0.25)}
    axes |= {"optimizer.learning_rate,corruption.kind": ((0.005, "normal"), (1e30, "white"))}
    path.write_text(
        "from jaxsurf.pipeline import cli\n\n\n"
        f"def get_config():\n    return cli.make_config({base!r}, axes={axes!r})\n"
    )
    return path


def test_the_command_trains_the_grid_with_settings_changed_for_all(launch, grid_file, tmp_path):
    flags = ("--config.training.num_epochs=2", f"--workdir={tmp_path}")
    ended = launch("sweep", f"--config={grid_file}", *flags)
    assert ended.status == 0, ended.err
    assert ended.out == (tmp_path / "best.md").read_text()
    assert ended.err.endswith(f"all of them: {tmp_path / 'all_scores.csv'}\n")
    found = rows(tmp_path)
    assert {row["num_epochs"] for row in found.values()} == {"2"}
    assert [row["noise"] for row in found.values()] == ["0.1", "0.1", "0.25", "0.25"]


@pytest.mark.slow
def test_a_command_killed_again_and_again_equals_one_that_was_not(launch, grid_file, tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    command = ("sweep", f"--config={grid_file}", "--mode=together")
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
