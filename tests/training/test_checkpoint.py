"""Checkpoints: values come back bit for bit, damage is found and passed over, old ones go."""

import re
from contextlib import closing

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.training.checkpoint import Checkpoints
from tests.leavings import full_disk

WEIGHTS = np.arange(15, dtype=np.float32).reshape(5, 3) / 7
BLANK = {"weights": jnp.zeros((5, 3)), "step": jnp.int32(0)}


def make_tree(step):
    return {"weights": jnp.asarray(WEIGHTS * step), "step": jnp.int32(step)}


def save_all(folder, *steps, losses=None, **options):
    """Save a tree for each step, whose values are the step's."""
    with closing(Checkpoints(folder, **options)) as checkpoints:
        for step in steps:
            checkpoints.save(step, make_tree(step), {"at": step}, loss=(losses or {}).get(step))


def restore(folder, like=BLANK, step=None, **options):
    with closing(Checkpoints(folder, **options)) as checkpoints:
        return checkpoints.restore(like, step=step)


def step_of(folder, **options):
    """Return the step of the checkpoint that is restored."""
    return int(restore(folder, **options)[0]["step"])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(place):
    return {path.name: path.read_bytes() for path in place.rglob("*") if path.is_file()}


def largest(folder):
    """Return the file that holds the arrays."""
    files = (path for path in folder.glob("state/ocdbt*/**/*") if path.is_file())
    return max(files, key=lambda path: path.stat().st_size)


def cut_off(path, number=1):
    path.write_bytes(path.read_bytes()[:-number])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# A `[` in a path is a pattern to orbax, a backslash a slash to tensorstore.
@pytest.mark.parametrize("name", ["plain", r"lr[0.1]/a\b ü*?"])
@pytest.mark.core
def test_values_come_back_bit_for_bit_whatever_the_folders_name(tmp_path, name):
    save_all(tmp_path / name, 3, 4)
    state, run = restore(tmp_path / name)
    np.testing.assert_array_equal(state["weights"], WEIGHTS * 4)
    assert (int(state["step"]), run) == (4, {"at": 4})
    assert step_of(tmp_path / name, step=3) == 3
    assert names(tmp_path / name) == ["3", "4"]


MANIFEST_DAMAGED = "it is unfinished, or its manifest.json is damaged"
DAMAGES = {
    "a flipped bit": (lambda at: flip_a_bit(largest(at)), "state/.* was altered"),
    "metadata gone": (lambda at: (at / "state/_METADATA").unlink(), "_METADATA can't be read"),
    "half a loss": (lambda at: cut_off(at / "metrics/metrics"), "metrics/metrics was altered"),
    "no manifest": (lambda at: (at / "manifest.json").unlink(), MANIFEST_DAMAGED),
    "a wrong manifest": (
        lambda at: (at / "manifest.json").write_text('{"of": "", "files": [3]}'),
        MANIFEST_DAMAGED,
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_an_older_one_used_and_the_run_goes_on_past_it(tmp_path, caplog, damage):
    save_all(tmp_path, 3, 5, losses={3: 0.5, 5: 0.1})
    spoil, words = DAMAGES[damage]
    spoil(tmp_path / "5")
    before = contents(tmp_path / "5")
    with closing(Checkpoints(tmp_path)) as checkpoints:
        assert checkpoints.best_step == 3
        state, _ = checkpoints.restore(BLANK)
        np.testing.assert_array_equal(state["weights"], WEIGHTS * 3)
        assert re.search(rf"checkpoint {tmp_path}/5 can't be used: .*{words}", caplog.text)
        assert names(tmp_path) == ["3", "5"]  # nothing changes before there is another
        assert contents(tmp_path / "5") == before
        for step in (4, 5, 7):  # a lower one, the same, a higher
            checkpoints.save(step, make_tree(step), {}, loss=1.0 / step)
    assert f"checkpoint {tmp_path}/5 is kept as 5.unusable" in caplog.text
    assert names(tmp_path) == ["5", "5.unusable", "7"]
    assert contents(tmp_path / "5.unusable") == before
    assert step_of(tmp_path) == 7


def test_what_cannot_be_used_is_kept_what_a_killed_run_left_is_removed(tmp_path, caplog):
    mine = {"of": "mine", "keep_last": 1, "keep_best": 0}
    save_all(tmp_path, 3, **mine)
    save_all(tmp_path / "other", 8, of="theirs")
    (tmp_path / "other" / "8").rename(tmp_path / "8")
    for name in ("5", "7", "5.unusable", "007", "12.orbax-checkpoint-tmp", "removed/3"):
        (tmp_path / name / "inside").mkdir(parents=True)
    assert step_of(tmp_path, **mine) == 3  # however many bad ones follow
    assert "8 can't be used: it is of another run" in caplog.text
    save_all(tmp_path, 8, 11, **mine)
    kept = ["5.unusable", "5.unusable1", "7.unusable", "8.unusable"]
    assert names(tmp_path) == ["007", "11", *kept, "other"]


def test_the_last_the_best_and_every_third_are_kept(tmp_path):
    losses = dict(enumerate([7.0, 2.0, 5.0, 1.0, 4.0, 3.0, 1.0, None, 9.0], start=1))
    keep = {"keep_last": 1, "keep_best": 2, "keep_every": 3}
    # In two sittings: what was before counts.
    save_all(tmp_path, *range(1, 5), **keep, losses=losses)
    assert names(tmp_path) == ["2", "3", "4"]
    save_all(tmp_path, *range(5, 9), **keep, losses=losses)
    assert names(tmp_path) == ["3", "4", "6", "7", "8"]
    with closing(Checkpoints(tmp_path)) as checkpoints:
        assert (checkpoints.steps[-1], checkpoints.best_step) == (8, 7)


def test_what_there_is_not_is_refused_and_nothing_is_made(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint; train there first"):
        restore(tmp_path / "none" / "checkpoints")
    assert names(tmp_path) == []
    save_all(tmp_path, 3, 5)  # without a loss
    with closing(Checkpoints(tmp_path)) as checkpoints:
        assert checkpoints.best_step is None
    with pytest.raises(UserError, match="there is no checkpoint 4; choose one of 3, 5"):
        restore(tmp_path, step=4)
    other = {"weights": jnp.zeros((5, 4)), "bias": jnp.zeros(3), "step": jnp.int32(0)}
    with pytest.raises(UserError, match=r"checkpoint .*5 can't be restored"):
        restore(tmp_path, like=other)
    cut_off(largest(tmp_path / "5"))
    (tmp_path / "3" / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"can be used: 5 \(state/.*\), 3 \(it is unf.*; put back"):
        restore(tmp_path)
    assert names(tmp_path) == ["3", "5"]


# Writes of tensorstore's threads that end after the loop that waited for them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_cannot_be_written_is_reported_in_one_line(tmp_path):
    save_all(tmp_path, 3)
    checkpoints = Checkpoints(tmp_path)
    # Random numbers can't be compressed.
    numbers = np.random.default_rng(0).normal(size=90_000).astype(np.float32)
    with full_disk(100_000):
        checkpoints.save(5, {"weights": jnp.asarray(numbers)}, {})
        with pytest.raises(UserError, match=r"in .*: File too large; fr.*is intact, and") as found:
            checkpoints.wait()
    assert "\n" not in str(found.value)
    checkpoints.close()
    assert step_of(tmp_path) == 3
    save_all(tmp_path, 5)
    assert step_of(tmp_path) == 5


def test_the_last_one_is_read_back_before_success_is_reported(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    write = checkpoints._write_manifest

    def write_and_spoil():
        write()
        flip_a_bit(largest(tmp_path / "5.orbax-checkpoint-tmp"))

    save_all(tmp_path, 3)
    checkpointer = checkpoints._manager._checkpointer
    monkeypatch.setattr(checkpointer, "_post_finalization_callback", write_and_spoil)
    checkpoints.save(5, make_tree(5), {})
    with pytest.raises(UserError, match=r"5 can't be read back: state/.* was altered; check the d"):
        checkpoints.close()
    assert step_of(tmp_path) == 3
