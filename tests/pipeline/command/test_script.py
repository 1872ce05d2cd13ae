"""What a user meets who makes a mistake, or stops a run: through the launch scripts themselves."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.command import complaints, script
from jaxsurf.workdir import replacing_folder

CONFIGS = Path(__file__).parents[3] / "configs"
TINY = f"--config={CONFIGS / 'tiny.py'}"
ENDS = ("--source=3", "--target=31")


def assert_one_line(outcome, status, complaint):
    """Check that a command said one thing, on standard error, and ended as it should."""
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("error: ")
    assert complaint in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert outcome.status == status


def cases(*rows, fast):
    """Mark the rows as slow that are not worth a second of every run of the tests."""
    return [
        pytest.param(*row, marks=[] if row[0] in fast else pytest.mark.slow, id=row[0])
        for row in rows
    ]


FLAGS = cases(
    ("no flags", "surf", [], "--workdir is missing; see --help"),
    ("unknown flag", "train", [TINY, "--wrkdir=W"], "no flag --wrkdir; did you mean --workdir?"),
    ("no value", "train", [TINY, "--workdir"], "--workdir has no value"),
    ("argument", "train", [TINY, "--workdir=W", "surplus"], "unexpected argument 'surplus'"),
    (
        "unknown key",
        "train",
        [TINY, "--workdir=W", "--config.training.num_epoch=3"],
        "--config.training.num_epoch is not a setting; did you mean --config.training.num_epochs?",
    ),
    (
        "unknown section",
        "train",
        [TINY, "--workdir=W", "--config.zzz=3"],
        "--config.zzz is not a setting; choose from corruption, data,",
    ),
    (
        "group",
        "train",
        [TINY, "--workdir=W", "--config.model=smooth"],
        "--config.model is a group of settings; set one of it: --config.model.name,",
    ),
    (
        "type",
        "train",
        [TINY, "--workdir=W", "--config.training.num_epochs=many"],
        "--config.training.num_epochs is 'many', but must be a whole number",
    ),
    (
        "float",
        "train",
        [TINY, "--workdir=W", "--config.optimizer.learning_rate=fast"],
        "--config.optimizer.learning_rate is 'fast', but must be a number",
    ),
    (
        "enum",
        "surf",
        ["--workdir=W", *ENDS, "--graph=tree"],
        "must be one of smallest, knn, mutual, radius, smallest-radius",
    ),
    (
        "no file",
        "train",
        ["--config=configs/none.py", "--workdir=W", "--config.data.side=32"],
        "--config=configs/none.py is no file; give a file with settings, such as configs/arm.py",
    ),
    ("folder", "train", ["--config=configs", "--workdir=W"], "--config=configs is a folder"),
    ("variant", "train", ["--config=configs/mpi3d.py:9d", "--workdir=W"], "no variant '9d'"),
    (
        "key of a default file",
        "compare",
        ["--workdir=W", "--config.training.num_epoch=3"],
        "--config.training.num_epoch is not a setting; did you mean --config.training.num_epochs?",
    ),
    (
        "key of another flag",
        "compare",
        ["--workdir=W", "--reference.foo=1"],
        "--reference.foo is not a setting; choose from corruption, data, graph, model",
    ),
    (
        "file of another flag",
        "compare",
        ["--workdir=W", "--reference=configs/none.py"],
        "--reference=configs/none.py is no file",
    ),
    fast=("no flags", "unknown flag", "unknown key", "type", "no file"),
)


@pytest.mark.parametrize(("name", "script", "flags", "complaint"), FLAGS)
def test_wrong_flags_end_with_status_2(launch, name, script, flags, complaint):
    assert_one_line(launch(script, *flags), 2, complaint)


CONFIG_FILES = cases(
    ("syntax", "def get_config(:\n", "line 1: SyntaxError: invalid syntax"),
    ("name", "def get_config():\n    return foo\n", "line 2: NameError: name 'foo' is not defined"),
    ("import", "import nowhere\n", "line 1: ModuleNotFoundError: No module named 'nowhere'"),
    ("empty", "", "has no attribute 'get_config'"),
    (
        "type",
        "from jaxsurf.pipeline.command import options\ndef get_config():\n"
        "    return options.make_config({'model.latent_dim': 'x'})\n",
        "line 3: TypeError: Could not override field 'latent_dim'",
    ),
    fast=("name",),
)


@pytest.mark.parametrize(("name", "text", "complaint"), CONFIG_FILES)
def test_a_configuration_file_with_an_error_is_refused_with_its_line(
    launch, tmp_path, name, text, complaint
):
    path = tmp_path / "wrong.py"
    path.write_text(text)
    outcome = launch("train", f"--config={path}", f"--workdir={tmp_path / 'run'}")
    assert_one_line(outcome, 2, complaint)
    assert str(path) in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("returned", ["None", "{'a': 1}", "3"])
def test_a_configuration_file_that_returns_none_is_refused(launch, tmp_path, returned):
    path = tmp_path / "wrong.py"
    path.write_text(f"def get_config():\n    return {returned}\n")
    outcome = launch("train", f"--config={path}", f"--workdir={tmp_path / 'run'}")
    assert_one_line(outcome, 1, "get_config() in")


SETTINGS = cases(
    ("no config", [], "--config is missing"),
    ("range", [TINY, "--config.training.num_epochs=0"], "num_epochs is 0, but must be at least 1"),
    ("choice", [TINY, "--config.model.name=big"], "model.name is 'big'; choose 'smooth'"),
    ("factor", [TINY, "--config.data.fixed=size=1"], "no factor is called 'size'; choose from"),
    ("source", [TINY, "--config.data.source=nowhere.npz"], "no file called 'nowhere.npz'; choose"),
    ("malformed", [TINY, "--config.data.source=malformed.npz"], "malformed.npz cannot be read"),
    ("dtype", [TINY, "--config.data.source=dtype.npz"], "int64 values, but images are uint8"),
    (
        "shape",
        [TINY, "--config.data.source=shape.npz", "--config.data.side=0"],
        "has shape (5, 48), but images are (number, height, width, 3)",
    ),
    (
        "size",
        [TINY, "--config.data.source=size.npz", "--config.data.side=0"],
        "33 x 33, but the model takes squares whose side is a multiple of 16",
    ),
    fast=("no config", "range", "malformed"),
)


@pytest.mark.parametrize(("name", "flags", "complaint"), SETTINGS)
def test_wrong_settings_and_data_leave_no_working_directory(
    launch, tmp_path, name, flags, complaint
):
    random = np.random.default_rng(0)
    (tmp_path / "malformed.npz").write_text("not a zip file")
    np.savez(tmp_path / "dtype.npz", images=random.integers(0, 256, (5, 32, 32, 3)))
    for file, shape in (("shape", (5, 48)), ("size", (5, 33, 33, 3))):
        np.savez(tmp_path / f"{file}.npz", images=random.integers(0, 256, shape, dtype=np.uint8))
    outcome = launch("train", *flags, "--workdir=new/run", folder=tmp_path)
    assert_one_line(outcome, 1, complaint)
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


@pytest.mark.slow
def test_an_empty_workdir_is_refused(launch, tmp_path):
    outcome = launch("train", TINY, "--workdir=", folder=tmp_path)
    assert_one_line(outcome, 1, "--workdir is empty; name a folder")
    assert not list(tmp_path.iterdir())


RUNS = cases(
    ("--source=40", "image 40 is out of range; choose 0 to 39"),
    ("--source=no.png", "'no.png' is neither an image number nor a file that exists"),
    ("--method=magic", "method 'magic' is not known; choose from pixel, linear, surfing"),
    ("--methods=geodesic", "method 'geodesic' is not built yet; choose from pixel,"),
    ("--method=", "no method was named"),
    ("--frames=1", "1 frames can't show both ends; ask for 2 or more"),
    ("--points_per_edge=1", "1 points per edge leave out an end"),
    ("--frames=5 --points_per_edge=3", "--frames and --points_per_edge exclude each other"),
    ("--graph=knn", "--graph=knn needs --k too"),
    ("--graph=mutual", "--graph=mutual needs --k too"),
    ("--graph=radius", "--graph=radius needs --radius too"),
    ("--repair", "graph.repair has no meaning with graph.kind=smallest; leave it out"),
    ("--source=code:1", "code:1 has 1 numbers, but latent codes have 2; give 2 numbers"),
    ("--graph=radius --radius=1e-9", "no path joins 3 and 31"),
    ("--graph=mutual --k=1", "points; use graph.repair (--repair), which bridges the gaps"),
    ("--k=40", "k is 40, but 40 points have 39 neighbours each; use a k from 1 to 39"),
    fast=("--source=40", "--method=magic", "--frames=1", "--graph=knn"),
)


STOPS = cases(
    ("", "nothing says what to animate; give --source and --target, or --anchors"),
    ("--source=3", "nothing says what to animate; give --source and --target, or --anchors"),
    ("--source=3 --target=5 --anchors=1,2", "there are two answers to what to animate: source"),
    ("--source=3 --anchors=1,2", "there are two answers to what to animate: source"),
    ("--anchors=7", "one anchor is no way; give two or more: --anchors=3,17,256"),
    ("--anchors=7,40", "image 40 is out of range; choose 0 to 39"),
    ("--anchors=code:1,2", "code:1 has 1 numbers, but latent codes have 2"),
    ("--anchors=3,31,7 --graph=radius --radius=1e-9", "no path joins 3 and 31"),
    fast=("", "--anchors=7"),
)


@pytest.mark.parametrize(("flags", "complaint"), STOPS)
def test_stops_that_are_none_are_refused(launch, root, flags, complaint):
    outcome = launch("surf", f"--workdir={root}", *flags.split())
    assert_one_line(outcome, 1, complaint)
    assert not (root / "surf").exists()


@pytest.mark.parametrize(("flags", "complaint"), RUNS)
def test_a_wrong_surf_leaves_nothing(launch, root, flags, complaint):
    outcome = launch("surf", f"--workdir={root}", *ENDS, *flags.split())
    assert_one_line(outcome, 1, complaint)
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
    outcome = launch(
        "train",
        f"--config={config_file}",
        f"--workdir={root}",
        "--config.optimizer.learning_rate=0.125",
    )
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


def test_help_shows_the_scripts_own_flags(launch):
    outcome = launch("surf", "--help")
    flags = ("workdir", "source", "target", "method", "frames", "points_per_edge", "graph", "k")
    for flag in flags:
        assert f"--{flag}:" in outcome.out or f"--{flag}," in outcome.out, flag
    assert "--[no]spanning_tree:" in outcome.out
    assert "--[no]repair:" in outcome.out


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_training_is_saved_and_the_same_command_resumes(
    launch, config_file, tmp_path, number, status
):
    # Long enough to be stopped on the way, and slow enough to stay stable for so long.
    changes = ("--config.training.num_epochs=200", "--config.optimizer.learning_rate=0.002")
    command = ("train", f"--config={config_file}", f"--workdir={tmp_path}", *changes)
    process = launch.start(*command)
    wait_for(lambda: len(metrics(tmp_path)) > 2)
    os.kill(process, number)
    outcome = launch.finish()
    last = outcome.err.splitlines()[-1]
    assert last.startswith(f"stopped by {number.name}; the state is saved")
    assert "Traceback" not in outcome.err
    assert outcome.status == status
    steps = [int(path.name) for path in (tmp_path / "checkpoints").iterdir()]
    assert 0 < max(steps) < 1000
    assert launch(*command).status == 0
    assert metrics(tmp_path) == [*range(7, 1000, 7), 1000]


def metrics(root):
    path = root / "metrics.jsonl"
    return (
        [json.loads(line)["step"] for line in path.read_text().splitlines()]
        if path.exists()
        else []
    )


def wait_for(condition):
    until = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_plain_interpreter_ends_the_same_way(cache_home):
    # The launcher's processes leave without taking the interpreter down: this one does.
    done = subprocess.run(
        [sys.executable, "launch/surf.py"], capture_output=True, text=True, check=False
    )
    assert done.stderr == "error: --workdir is missing; see --help\n"
    assert done.returncode == 2


# What tensorstore's threads print in either way where saving failed, and a progress bar that a
# signal kept from being made whole; and what anything else does.
LATE_ERRORS = """
import sys
from tqdm import tqdm
from jaxsurf.pipeline.command import script

class Closing:
    def __init__(self, text):
        self.text = text

    def __del__(self):
        raise RuntimeError(self.text)

def main():
    for text in ("Event loop is closed", "a defect"):
        closing = Closing(text)
        del closing
        error = RuntimeError(text)
        sys.excepthook(RuntimeError, error, None)
    half_made = tqdm.__new__(tqdm)
    half_made.disable = False
    del half_made

sys.argv = ["launch/any.py"]
script.run(main)
"""


@pytest.mark.slow
def test_only_what_libraries_leave_behind_is_kept_quiet():
    done = subprocess.run(
        [sys.executable, "-c", LATE_ERRORS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Event loop is closed" not in done.stderr
    assert "tqdm" not in done.stderr
    assert done.stderr.count("RuntimeError: a defect\n") == 2


# A bar that is being made when the signal comes ends its own line when it is taken down; and a
# request that falls into a destructor can't be raised there, and is raised as something else where
# compiled code, NumPy's for one, goes on as though nothing was raised.
LAST_WORDS = """
import os, signal, sys
from jaxsurf.pipeline.command import script

class Bar:
    def __del__(self):
        print("a last word of the bar", file=sys.stderr)

class Asked:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        for _ in range(1000):
            pass

def main():
    bar = Bar()
    {main}
    signal.pause()

sys.argv = ["launch/any.py"]
script.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "main"),
    [
        ("SIGTERM", "os.kill(os.getpid(), signal.SIGTERM)"),
        ("SIGINT", "Asked()"),
        ("SIGTERM", "raise SystemError('a result with an exception set') from script.Stopped(15)"),
    ],
)
def test_asked_to_stop_a_command_has_the_last_word(name, main):
    code = LAST_WORDS.format(name=name, main=main)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == f"a last word of the bar\nstopped by {name}; what was finished is kept\n"
    assert done.returncode == {"SIGTERM": 143, "SIGINT": 130}[name]


def test_what_absl_says_of_other_things_is_passed_on():
    message = "flag --extend=maybe: Non-boolean argument\nto boolean flag"
    assert complaints.in_plain_words(message) == " ".join(message.split())


def test_settings_without_any_likeness_are_answered_with_the_choice():
    known = configuration.names()
    with pytest.raises(UserError, match=r"choose from model\.name, model\.latent_dim"):
        complaints.check_settings(["--config.model.qqqqqqqqq=3"], known, "config")
    fine = ["--config=a.py", "--config.model.name=x", "--k=3", "--reference.nothing=1"]
    complaints.check_settings(fine, known, "config")


def test_sigterm_outside_training_leaves_nothing_half_written(tmp_path, capsys):
    before = signal.getsignal(signal.SIGTERM)

    def killed_while_writing():
        with replacing_folder(tmp_path / "pair") as folder:
            (folder / "pixel.gif").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        assert script._status(killed_while_writing, []) == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == "stopped by SIGTERM; what was finished is kept\n"
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_may_not_be_entered_ends_in_one_line(capsys):
    before = signal.getsignal(signal.SIGTERM)

    def shut_out():  # not by its mode, which does not bind an administrator
        raise PermissionError(errno.EACCES, "Permission denied", "/locked/run")

    try:
        assert script._status(shut_out, []) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    written = capsys.readouterr().err
    assert written.startswith("error: /locked/run: Permission denied; change its permissions")
    assert written.count("\n") == 1
