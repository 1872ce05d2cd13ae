"""What a user meets at the command line: through the launch scripts themselves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxsurf.pipeline import cli, configuration

ROOT = Path(__file__).parents[2]
TINY = f"--config={ROOT / 'configs/tiny.py'}"
ENDS = ("--source=3", "--target=31")
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}


def assert_one_line(outcome, status, complaint):
    """Check that a command wrote one thing, on standard error, and ended as it should."""
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("error: ")
    assert complaint in outcome.err
    assert outcome.out == ""
    assert outcome.status == status


def cases(*rows, fast):
    """Mark the rows as slow that are not worth a second of every run of the tests."""
    return [
        pytest.param(*row, marks=[] if row[0] in fast else pytest.mark.slow, id=row[0])
        for row in rows
    ]


FLAGS = cases(
    ("no flags", "surf", "", 2, "flag --workdir=None: Flag --workdir must have a value"),
    ("unknown flag", "train", "--wrkdir=W", 2, "line flag 'wrkdir'. Did you mean: workdir ?"),
    ("no value", "train", "--workdir", 2, "Missing value for flag --workdir"),
    ("empty", "train", "--workdir=", 2, "flag --workdir=: is empty; `.` is the current folder"),
    ("argument", "train", "--workdir=W surplus", 2, "unexpected argument 'surplus'"),
    ("key", "train", "--config.training.num_epoch=3", 2, "no setting 'num_epoch' Did you mean"),
    ("section", "train", "--config.zzz=3", 2, "no setting 'zzz'"),
    ("group", "train", "--config.model=smooth", 2, "flag --config.model=smooth: Failed to parse"),
    ("type", "train", "--config.training.num_epochs=many", 2, "num_epochs=many: invalid literal"),
    ("truth", "train", "--config.training.num_epochs=True", 2, "num_epochs=True: invalid literal"),
    ("float", "train", "--config.optimizer.learning_rate=fast", 2, "not convert string to float"),
    ("enum", "surf", "--workdir=W --graph=tree", 2, "should be one of <smallest|knn|mutual|radius"),
    ("numbers", "compare", "--workdir=W --seeds=1,x", 2, "flag --seeds=1,x: invalid literal"),
    ("no file", "train", "--config=configs/none.py", 1, "No such file or directory: 'configs/none"),
    ("folder", "train", "--config=configs --config.data.side=3", 2, "Is a directory: 'configs'"),
    ("variant", "train", "--config=configs/mpi3d.py:9d", 2, "no variant '9d'"),
    ("no variants", "train", "--config=configs/tiny.py:x", 2, "tiny.py:x: TypeError: get_config()"),
    ("default", "compare", "--workdir=W --config.zzz=3", 2, "no setting 'zzz'"),
    (
        "another",
        "compare",
        "--workdir=W --reference=configs/none.py",
        1,
        "--reference gives no set",
    ),
    (
        "both",
        "surf",
        "--workdir=W --frames=5 --points_per_edge=3",
        2,
        "At most one of (frames, points_per_edge)",
    ),
    ("suite", "benchmark", "--suite=none --out=W", 1, "--suite is 'none'; choose one of"),
    fast=("no flags", "unknown flag", "key", "type", "no file", "both"),
)


@pytest.mark.parametrize(("name", "script", "flags", "status", "complaint"), FLAGS)
def test_wrong_flags_end_in_one_line(launch, name, script, flags, status, complaint):
    more = () if script != "train" or "--config=" in flags else (TINY,)
    more += ("--workdir=W",) if script == "train" and "--workdir" not in flags else ()
    assert_one_line(launch(script, *more, *flags.split()), status, complaint)


CONFIG_FILES = cases(
    ("syntax", "def get_config(:\n", 2, "invalid syntax (wrong.py, line 1)"),
    ("name", "def get_config():\n    return foo\n", 2, "line 2: NameError: name 'foo' is not def"),
    ("import", "import nowhere\n", 2, "line 1: ModuleNotFoundError: No module named 'nowhere'"),
    ("without", "", 2, "has no attribute 'get_config'"),
    ("int", "def get_config():\n    return 3\n", 1, "'int' object has no attribute 'to_dict'"),
    (
        "type",
        "from jaxsurf.pipeline import cli\ndef get_config():\n"
        "    return cli.make_config({'model.latent_dim': 'x'})\n",
        2,
        "line 3: TypeError: Could not override field 'latent_dim'",
    ),
    ("file", "def get_config():\n    return open('none.txt')\n", 1, "No such file or directory"),
    fast=("name",),
)


@pytest.mark.parametrize(("name", "text", "status", "complaint"), CONFIG_FILES)
def test_a_configuration_file_with_an_error_is_refused_with_its_line(
    launch, tmp_path, name, text, status, complaint
):
    path = tmp_path / "wrong.py"
    path.write_text(text)
    outcome = launch("train", f"--config={path}", f"--workdir={tmp_path / 'run'}")
    assert_one_line(outcome, status, complaint)


SETTINGS = cases(
    ("range", "training.num_epochs=0", "num_epochs is 0, but must be at least 1"),
    ("choice", "model.name=big", "model.name is 'big'; choose 'smooth'"),
    ("factor", "data.fixed=size=1", "no factor is called 'size'; choose from"),
    ("source", "data.source=nowhere.npz", "no file called 'nowhere.npz'; choose"),
    ("malformed", "data.source=malformed.npz", "malformed.npz cannot be read"),
    ("dtype", "data.source=dtype.npz", "int64 values, but images are uint8"),
    ("shape", "data.source=shape.npz", "has shape (5, 48), but images are (number, height, width"),
    ("size", "data.source=size.npz", "33 x 33, but the model takes squares whose side is a mul"),
    fast=("range", "malformed"),
)


@pytest.mark.parametrize(("name", "setting", "complaint"), SETTINGS)
def test_wrong_settings_and_data_leave_no_working_directory(
    launch, tmp_path, name, setting, complaint
):
    random = np.random.default_rng(0)
    (tmp_path / "malformed.npz").write_text("not a zip file")
    np.savez(tmp_path / "dtype.npz", images=random.integers(0, 256, (5, 32, 32, 3)))
    for file, shape in (("shape", (5, 48)), ("size", (5, 33, 33, 3))):
        np.savez(tmp_path / f"{file}.npz", images=random.integers(0, 256, shape, dtype=np.uint8))
    side = "--config.data.side=0"
    flags = (TINY, f"--config.{setting}", side, "--workdir=new/run")
    assert_one_line(launch("train", *flags, folder=tmp_path), 1, complaint)
    assert not (tmp_path / "new").exists()


# The user may be root, who can write everywhere but below a file and where names are too long.
@pytest.mark.parametrize(
    "place", ["file", "file/below", pytest.param("x" * 300, marks=pytest.mark.slow)]
)
def test_a_working_directory_that_cannot_be_written_is_refused(launch, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    outcome = launch("train", TINY, f"--workdir={tmp_path / place}")
    assert_one_line(outcome, 1, "cannot write to the working directory")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("script", ["surf", pytest.param("evaluate", marks=pytest.mark.slow)])
def test_a_folder_without_a_run_is_refused(launch, tmp_path, script):
    flags = ENDS if script == "surf" else ()
    outcome = launch(script, f"--workdir={tmp_path / 'none'}", *flags)
    assert_one_line(outcome, 1, "is not the working directory of a run: it has no config.json")
    assert not (tmp_path / "none").exists()


RUNS = cases(
    ("--source=40 --target=31", "image 40 is out of range; choose 0 to 39"),
    ("--source=no.png --target=31", "'no.png' is neither an image number nor a file that exists"),
    ("--source=code:1 --target=31", "code:1 has 1 numbers, but latent codes have 2; give 2 num"),
    ("--anchors=3,31 --method=magic", "method 'magic' is not known; choose from pixel, linear"),
    ("--anchors=3,31 --methods=geodesic", "method 'geodesic' is not built yet; choose from pixel,"),
    ("--anchors=3,31 --method=", "no method was named"),
    ("--anchors=3,31 --frames=1", "1 frames can't show both ends; ask for 2 or more"),
    ("--anchors=3,31 --points_per_edge=1", "1 points per edge leave out an end"),
    ("--anchors=3,31 --graph=knn", "graph.k is 0; give 1 or more with graph.kind=knn"),
    ("--anchors=3,31 --graph=mutual", "graph.k is 0; give 1 or more with graph.kind=mutual"),
    ("--anchors=3,31 --graph=radius", "graph.radius is 0.0; give a finite number above 0"),
    ("--anchors=3,31 --repair", "graph.repair has no meaning with graph.kind=smallest"),
    ("--anchors=3,31 --graph=mutual --k=1", "points; use graph.repair (--repair), which bridges"),
    ("--anchors=3,31 --k=40", "k is 40, but 40 points have 39 neighbours each; use a k from 1"),
    ("--anchors=3,31,7 --radius=1e-9", "no path joins 3 and 31"),
    ("--source=3", "nothing says what to animate; give --source and --target, or --anchors"),
    ("--source=3 --anchors=1,2", "there are two answers to what to animate: source"),
    ("--anchors=7", "one anchor makes no path; give two or more: --anchors=3,17,256"),
    ("--anchors=code:1,2", "code:1 has 1 numbers, but latent codes have 2"),
    ("--anchors=code:1,2;40", "image 40 is out of range; choose 0 to 39"),
    fast=("--source=40 --target=31", "--anchors=3,31 --graph=knn", "--anchors=code:1,2;40"),
)


@pytest.mark.parametrize(("flags", "complaint"), RUNS)
def test_a_wrong_surf_leaves_nothing(launch, root, flags, complaint):
    assert_one_line(launch("surf", f"--workdir={root}", *flags.split()), 1, complaint)
    assert not (root / "surf").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "complaint"),
    [
        ("--num_pairs=781", "781 pairs can't be chosen among 40 points; ask for 1 to 780"),
        ("--num_pairs=0", "0 pairs can't be chosen"),
        ("--seed=-1", "--seed is -1; give 0 or more"),
    ],
)
def test_a_wrong_evaluation_leaves_nothing(launch, root, flag, complaint):
    assert_one_line(launch("evaluate", f"--workdir={root}", flag), 1, complaint)
    assert not (root / "evaluation.json").exists()


def test_a_working_directory_of_another_configuration_is_refused(launch, root, config_file):
    before = (root / "config.json").read_bytes()
    changed = "--config.optimizer.learning_rate=0.125"
    outcome = launch("train", f"--config={config_file}", f"--workdir={root}", changed)
    assert_one_line(outcome, 1, "begun with optimizer.learning_rate = 0.005, not 0.125")
    assert (root / "config.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["latents", "graph"])
def test_a_stale_or_damaged_cache_is_refused(launch, root, cache):
    assert launch("surf", f"--workdir={root}", *ENDS).status == 0
    path = root / f"{cache}.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **arrays | {"stamp": np.array("checkpoint 1")})
    outcome = launch("surf", f"--workdir={root}", *ENDS)
    assert_one_line(outcome, 1, f"{cache}.npz was made from checkpoint 1, but")
    path.write_bytes(path.read_bytes()[:-40])
    outcome = launch("surf", f"--workdir={root}", *ENDS)
    assert_one_line(outcome, 1, f"{cache}.npz is damaged")
    assert "remove it; it will be made again" in outcome.err


@pytest.mark.slow
def test_a_surf_folder_that_cannot_be_written_is_refused(launch, root):
    (root / "surf").write_text("a file where the folder should be")
    assert_one_line(launch("surf", f"--workdir={root}", *ENDS), 1, "cannot write")


@pytest.mark.slow
def test_no_checkpoint_is_refused(launch, root):
    (root / "checkpoints").rename(root / "elsewhere")
    outcome = launch("surf", f"--workdir={root}", *ENDS)
    assert_one_line(outcome, 1, "holds no checkpoint; train there first")


@pytest.mark.parametrize("flag", ["-h", "-help", "--helpfull"])
def test_other_words_for_help_are_understood(launch, flag):
    assert "--workdir: " in launch("report", flag).out


@pytest.mark.parametrize("script", sorted(path.stem for path in (ROOT / "launch").glob("*.py")))
def test_every_flag_has_a_text(launch, script):
    outcome = launch(script, "--help")
    assert (outcome.err, outcome.status) == ("", 0)
    assert "--workdir: " in outcome.out or "--out: " in outcome.out
    assert "(no help available)" not in outcome.out


def test_every_setting_has_a_text_that_the_help_of_training_shows(launch):
    shown = " ".join(launch("train", "--help").out.split())
    found = list(cli.settings())
    assert {name for name, _, _ in found} == set(configuration.names())
    for name, default, meaning in found:
        assert len(meaning) > 10
        assert " ".join(f"{name} {default} {meaning}".split()) in shown


def metrics(root):
    path = root / "metrics.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def wait_for(condition):
    until = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("compiling", [False, True])
def test_a_stopped_training_is_saved_and_the_same_command_resumes(
    launch, config_file, tmp_path, number, compiling
):
    # Long enough to be stopped on the way, and slow enough to stay stable for so long.
    changes = ("--config.training.num_epochs=200", "--config.optimizer.learning_rate=0.002")
    command = ("train", f"--config={config_file}", f"--workdir={tmp_path / 'run'}", *changes)
    # Where nothing is compiled yet, what follows the opening of metrics.jsonl takes seconds.
    cache = {"cache": str(tmp_path / "compiled")} if compiling else {}
    process = launch.start(*command, **cache)
    path = tmp_path / "run" / "metrics.jsonl"
    wait_for(lambda: path.exists() and (compiling or len(path.read_text().splitlines()) > 2))
    time.sleep(0.5 if compiling else 0)
    os.kill(process, number)
    outcome = launch.finish()
    assert outcome.err.splitlines()[-1].startswith(f"stopped by {number.name}; the state is saved")
    assert "Traceback" not in outcome.err
    assert outcome.status == STATUS[number]
    steps = [int(folder.name) for folder in (tmp_path / "run/checkpoints").iterdir()]
    assert 0 < max(steps) < 1000
    assert launch(*command).status == 0
    assert metrics(tmp_path / "run") == [*range(7, 1000, 7), 1000]


@pytest.mark.slow
def test_stopped_while_saving_it_resumes(launch, config_file, tmp_path):
    command = ("train", f"--config={config_file}", f"--workdir={tmp_path / 'run'}")
    often = "--config.training.save_every_s=0"
    spot = {"pattern": r"os.rename .*/checkpoints/\d+\.orbax-checkpoint-tmp ", "number": 3}
    outcome = launch(*command, often, kill=spot | {"by": signal.SIGTERM})
    assert (outcome.status, "the state is saved" in outcome.err) == (143, True), outcome.err
    names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert all(name.isdigit() for name in names)  # nothing half-written
    assert launch(*command).status == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize(
    ("script", "pattern"),
    [
        ("evaluate", r"open .*/\.latents"),
        ("evaluate", r"open .*/\.graph"),
        ("evaluate", r"open .*/\.evaluation"),
        ("surf", r"open .*/\.surfing"),
    ],
)
def test_stopped_on_its_way_a_command_leaves_nothing_in_its_place(
    launch, root, script, pattern, number
):
    flags = ENDS if script == "surf" else ("--num_pairs=20",)
    command = (script, f"--workdir={root}", *flags)
    outcome = launch(*command, kill={"pattern": pattern, "by": number})
    if number == signal.SIGINT:
        assert outcome.err.splitlines()[-1] == "stopped by SIGINT; what was finished is kept"
        assert outcome.status == 130
    else:  # the system's own way, which shells report as 143
        assert outcome.status == -signal.SIGTERM
    assert "Traceback" not in outcome.err
    assert not (root / "evaluation.json").exists()
    assert not [path for path in root.glob("surf/*") if not path.name.startswith(".")]
    assert launch(*command).status == 0


# What a thread of tensorstore's leaves behind, and what anything else does.
PLAIN = """
import sys
from jaxsurf.pipeline import cli

class Closing:
    def __init__(self, text):
        self.text = text

    def __del__(self):
        raise RuntimeError(self.text)

def main():
    for text in ("Event loop is closed", "a defect"):
        closing = Closing(text)
        del closing
        sys.excepthook(RuntimeError, RuntimeError(text), None)
    raise PermissionError(13, "Permission denied", "/locked/run")

sys.argv = ["launch/any.py"]
cli.run(main)
"""


@pytest.mark.slow
def test_of_late_errors_only_tensorstores_are_kept_quiet():
    done = subprocess.run(
        [sys.executable, "-c", PLAIN], capture_output=True, text=True, check=False
    )
    assert "Event loop is closed" not in done.stderr
    assert done.stderr.count("RuntimeError: a defect\n") == 2
    assert done.stderr.endswith("error: [Errno 13] Permission denied: '/locked/run'\n")
    assert done.returncode == 1
