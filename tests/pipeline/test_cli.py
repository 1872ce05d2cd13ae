"""What a user meets at the command line: through the launch scripts themselves."""

import os
import re
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxsurf.pipeline import cli, configuration
from tests.leavings import lines, newest

ROOT = Path(__file__).parents[2]
ENDS = ("--source=3", "--target=31")
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}
YNNPACK, EXACT = cli.XLA_FLAGS


def assert_one_line(outcome, status, word):
    """Check that a command wrote one thing, on standard error, and ended as it should."""
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("error: ")
    assert word in outcome.err
    assert outcome.out == ""
    assert outcome.status == status


TRAIN = "train --workdir=W --config=configs/tiny.py"
SURF = "surf --workdir=RUN"
PATHS = "paths --latents=codes.npy --anchors=3,17 --out=W"
# Command, exit status, a word of the line; a few of each kind are quick enough for every run.
QUICK = """
surf | 2 | flag --workdir=None: Flag --workdir must have a value
TRAIN --wrkdir=W | 2 | line flag 'wrkdir'. Did you mean: workdir ?
TRAIN --config.training.num_epoch=3 | 2 | no setting 'num_epoch' Did you mean
TRAIN --config.training.num_epochs=many | 2 | num_epochs=many: invalid literal
TRAIN --config.training.num_epochs=0 | 1 | num_epochs is 0, but must be at least 1
train --workdir=W --config=configs/none.py | 2 | be read: [Errno 2] No such file or directory
train --workdir=W --config=name.py | 2 | line 2: NameError: name 'foo' is not defined
train --workdir=W --config=int.py | 2 | get_config() of --config returns no settings
TRAIN --config.data.source=malformed.npz | 1 | malformed.npz cannot be read
SURF --frames=5 --points_per_edge=3 | 2 | At most one of (frames, points_per_edge)
SURF --speed=visible | 1 | speed visible says nothing of how many frames there are; give their
evaluate --workdir=RUN --speed=edge --frames=9 | 1 | no meaning with 9 frames
SURF --source=40 --target=31 | 1 | image 40 is out of range; choose 0 to 39
SURF --anchors=3,31 --graph=mutual | 1 | graph.k is 0; give 1 or more with graph.kind=mutual
SURF --anchors=code:1,2;40 | 1 | image 40 is out of range; choose 0 to 39
surf --workdir=none --source=3 --target=4 | 1 | is not the working directory of a run
train --config=configs/tiny.py --workdir=name.py/W | 1 | cannot write to the working directory
paths | 2 | Flag --latents must have a value other than None
PATHS --latents=nowhere.npy | 1 | cannot read nowhere.npy
PATHS --out=name.py/below | 1 | cannot write to
PATHS --radius=2 --search=approximate | 1 | search=approximate has no meaning with
compare --workdir=W --seeds=-1 | 1 | give 0 or more
compare --workdir=W --seeds= | 1 | --seeds is
compare --workdir=W --latent_dims=0 | 1 | --latent_dims is
sweep --workdir=W --config=configs/tiny.py | 1 | the file of --config holds no grid
quickstart --workdir=W --side=32 | 1 | --side means nothing without images
quickstart --workdir=W --minutes=3 | 1 | --minutes means nothing without images
quickstart --workdir=W --images= | 1 | --images means nothing without images
"""
OTHERS = """
TRAIN --workdir= | 2 | flag --workdir=: is empty; `.` is the current folder
TRAIN surplus | 2 | unexpected argument 'surplus'
TRAIN --config.model=smooth | 2 | flag --config.model=smooth: Failed to parse
TRAIN --num_processes=2 | 1 | --coordinator, --num_processes and --process_id
PATHS --weight=image | 1 | needs the images
compare --workdir=W --seeds=1,x | 2 | flag --seeds=1,x: invalid literal
train --workdir=W --config=configs/mpi3d.py:9d | 2 | no variant '9d'
train --workdir=W --config=configs/experiment.py:mse_4d | 2 | experiment 'mse_4d' is not known; use
train --workdir=W --config=configs/experiment.py:mse_2d,big | 2 | model 'big' is not known
train --workdir=W --config=configs/tiny.py:x | 2 | tiny.py:x: TypeError: get_config()
train --workdir=W --config=empty.py | 2 | has no attribute 'get_config'
train --workdir=W --config=configs/tiny_grid.py | 1 | grid is not a setting
sweep --workdir=W --config=configs/tiny_grid.py --config.corruption.kind=x | 2 | no setting 'kind'
benchmark --out=W --suite=nope | 1 | --suite 'nope' is not known; use one of: gpu, graph
benchmark --out=W --scale=huge | 1 | --scale 'huge' is not known
reproduce --workdir=W --mpi3d=nowhere.npz | 1 | mpi3d_toy is neither prepared in nowhere.npz
SURF --speed=fast | 2 | flag --speed=fast: value should be one of <visible|latent|edge>
SURF --anchors=3,31 --also=avi | 1 | --also 'avi' is not known; use one of: frames, mp4
SURF --anchors=3,31 --method=magic | 1 | method 'magic' is not known; choose from pixel, linear
SURF --anchors=3,31 --graph=mutual --k=1 | 1 | --repair
SURF --anchors=3,31,7 --radius=1e-9 | 1 | no path joins 3 and 31
SURF --source=3 | 1 | it is not clear what to animate; give --source and --target, or --anchors
SURF --anchors=7 | 1 | one anchor makes no path; give two or more: --anchors=3,17,256
evaluate --workdir=RUN --num_pairs=781 | 1 | 781 pairs can't be chosen among 40 points; ask for 1 to
evaluate --workdir=RUN --seed=-1 | 1 | --seed is -1; give 0 or more
evaluate --workdir=RUN,nowhere | 1 | nowhere is not the working directory of a run
evaluate --workdir=RUN --checkpoint=x | 1 | --checkpoint is 'x'
"""
FILES = {
    "name.py": "def get_config():\n    return foo\n",
    "empty.py": "",
    "int.py": "def get_config():\n    return 3\n",
    "malformed.npz": "not a zip file",
}


def mistakes():
    for text, marks in ((QUICK, ()), (OTHERS, pytest.mark.slow)):
        for row in text.strip().splitlines():
            command, status, word = row.split(" | ")
            for name, flags in (("TRAIN", TRAIN), ("SURF", SURF), ("PATHS", PATHS)):
                command = command.replace(name, flags)
            yield pytest.param(command.split(), int(status), word, marks=marks, id=row[:60])


@pytest.fixture
def place(tmp_path):
    """A folder with what commands are given that is wrong."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    np.save(tmp_path / "codes.npy", np.random.default_rng(0).normal(size=(53, 2)))
    return tmp_path


@pytest.mark.parametrize(("command", "status", "word"), [*mistakes()])
def test_a_mistake_ends_in_one_line_and_leaves_nothing(
    launch, pristine, place, command, status, word
):
    before = sorted(pristine.iterdir())
    script, *flags = (part.replace("RUN", str(pristine)) for part in command)
    assert_one_line(launch(script, *flags, folder=place), status, word)
    assert not (place / "W").exists()
    made = {path.name for path in pristine.iterdir()} - {path.name for path in before}
    assert made <= {"latents.npz", "graph.npz"}  # of codes that were found good


@pytest.mark.core
@pytest.mark.parametrize("script", sorted(path.stem for path in (ROOT / "launch").glob("*.py")))
def test_every_flag_has_a_text(launch, script):
    outcome = launch(script, "-help" if script == "report" else "--help")
    assert (outcome.err, outcome.status) == ("", 0)
    assert "--workdir: " in outcome.out or "--out: " in outcome.out
    assert "(no help available)" not in outcome.out
    if script == "train":
        shown = re.findall(r"^  ([a-z]+\.\w+) +(?:\S+ +)?\S.{9}", outcome.out, re.MULTILINE)
        assert set(shown) == set(configuration.names())
        usual = configuration.RunConfig().training.num_epochs
        assert f"  {'training.num_epochs':27} {usual:<11} Passes" in outcome.out


# When the step has just been compiled, and at the third checkpoint.
STOPS = ((r"open .*/compiled/jit_steps", 1), (r"os.rename .*/manifest\.json", 3))


@pytest.mark.parametrize(
    ("number", "pattern", "nth"),
    [
        (signal.SIGTERM, *STOPS[1]),
        pytest.param(signal.SIGINT, *STOPS[1], marks=pytest.mark.slow),
        *(pytest.param(number, *STOPS[0], marks=pytest.mark.slow) for number in STATUS),
    ],
)
def test_a_stopped_training_is_saved_and_the_same_command_resumes(
    launch, config_file, tmp_path, number, pattern, nth
):
    command = ("train", f"--config={config_file}", f"--workdir={tmp_path}")
    given = {"cache": f"{tmp_path}/compiled"} if "compiled" in pattern else {}
    given["kill"] = {"pattern": pattern, "number": nth, "by": number}
    outcome = launch(*command, "--config.training.save_every_s=0.02", **given)
    assert outcome.err.splitlines()[-1].startswith(f"stopped by {number.name}; the state is saved")
    assert "Traceback" not in outcome.err
    assert outcome.status == STATUS[number]
    assert 0 < newest(tmp_path) < 200
    assert launch(*command).status == 0
    assert [line["step"] for line in lines(tmp_path)] == [*range(7, 200, 7), 200]


@pytest.mark.slow
@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize(
    ("script", "pattern"),
    [
        ("evaluate", r"open .*/\.latents"),
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


# --- The process ---


@pytest.mark.parametrize(
    ("version", "chosen", "expected"),
    [
        ("0.10.9", "", [YNNPACK, EXACT]),
        ("0.10.9", f"--other {YNNPACK[:-7]}", ["--other", YNNPACK[:-7], EXACT]),
        # Versions that may not know a flag are not given it.
        ("0.11.0", "--other", ["--other", EXACT]),
        ("0.99.0", "", []),
    ],
)
def test_flags_are_added_to_what_the_user_chose(version, chosen, expected, monkeypatch):
    monkeypatch.setattr(jax, "__version__", version)
    monkeypatch.setenv("XLA_FLAGS", chosen)
    cli.configure_process()
    assert os.environ["XLA_FLAGS"].split() == expected
