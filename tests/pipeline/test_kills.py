"""Killed (-9) at any moment and started again, a run ends bit for bit as one that was not."""

import random
import signal

import jax
import numpy as np
import pytest

from tests.leavings import lines, newest, state

pytestmark = pytest.mark.slow

NUM_STEPS = 400
# Slow enough to stay stable for so long.
LENGTH = ("--config.training.num_epochs=80", "--config.optimizer.learning_rate=0.002")
OFTEN, SELDOM = (f"--config.training.save_every_s={seconds}" for seconds in (0.02, 600))


@pytest.fixture(scope="module")
def train(launch, config_file, tmp_path_factory):
    """Trains in a folder."""
    # A program that was being kept when its writer was killed stays half a one, which jax warns of.
    cache = str(tmp_path_factory.mktemp("compiled"))
    given = ("train", f"--config={config_file}", *LENGTH)
    return lambda root, *flags, **more: launch(
        *given, f"--workdir={root}", *flags, cache=cache, **more
    )


@pytest.fixture(scope="module")
def straight(train, tmp_path_factory):
    """The folder of a run that was never stopped."""
    root = tmp_path_factory.mktemp("straight") / "run"
    assert train(root, SELDOM).status == 0
    return root


def assert_equal_runs(one, other):
    jax.tree.map(np.testing.assert_array_equal, state(one), state(other))
    assert lines(one) == lines(other)
    assert [line["step"] for line in lines(one)] == [*range(7, NUM_STEPS, 7), NUM_STEPS]


# Before the settings stand, before and after metrics are trimmed, before the first folder of a
# checkpoint, its manifest, its last name, and both ends of the oldest: which change, and which of
# them.
SPOTS = [
    (r"os.rename .*/config\.json", 1),
    (r"os.rename .*/metrics\.jsonl", 1),
    (r"open .*/run/metrics\.jsonl", 1),
    (r"os.mkdir .*/checkpoints/\d+\.orbax", 1),
    (r"os.rename .*/manifest\.json", 2),
    (r"os.rename .*/checkpoints/\d+\.orbax-checkpoint-tmp .*/checkpoints/\d+$", 3),
    (r"os.rename .*/checkpoints/removed/\d+$", 2),
    (r"shutil.rmtree .*/checkpoints/removed$", 6),
]


def test_a_run_killed_wherever_it_changes_files_equals_a_straight_one(train, straight, tmp_path):
    root = tmp_path / "run"
    moments = random.Random(6)
    # Any change at all below the folder, of which a start makes some ten, a checkpoint some twenty.
    anywhere = [(rf"\S+ {root}.*", moments.randrange(1, 100)) for _ in range(6)]
    for pattern, number in SPOTS + anywhere:
        outcome = train(root, OFTEN, kill={"pattern": pattern, "number": number})
        assert outcome.status == -signal.SIGKILL, (pattern, number, outcome.err)
    assert train(root, SELDOM).status == 0
    assert_equal_runs(root, straight)


def test_a_full_disk_ends_a_run_in_one_line_and_it_goes_on(train, straight, tmp_path):
    killed = train(tmp_path, OFTEN, kill={"pattern": r"os.rename .*/removed/\d+$", "number": 1})
    assert killed.status == -signal.SIGKILL
    before = newest(tmp_path)
    # Tensorstore writes several arrays to a file, how many is chance; the largest is 1 MB alone.
    outcome = train(tmp_path, OFTEN, most=2**18)
    assert outcome.status == 1
    said = outcome.err.splitlines()[-1]
    assert said.startswith(f"error: cannot save a checkpoint in {tmp_path}/checkpoints: File too l")
    assert said.endswith("before is intact, and the same command goes on from it")
    assert "Traceback" not in outcome.err
    assert newest(tmp_path) == before
    assert train(tmp_path, SELDOM).status == 0
    assert_equal_runs(tmp_path, straight)
