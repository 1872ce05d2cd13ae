import re
import resource
import shutil
import time

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.training.keeping import Keep

TREE = {"weights": jnp.arange(15.0).reshape(5, 3) / 7, "step": jnp.int32(4)}
BLANK = {"weights": jnp.zeros((5, 3)), "step": jnp.int32(0)}


def test_values_come_back_bit_for_bit(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(4, TREE, {"elapsed_s": 0.1})
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    restored = checkpoints.restore(BLANK)
    checkpoints.close()
    np.testing.assert_array_equal(restored.state["weights"], TREE["weights"])
    assert int(restored.state["step"]) == 4
    assert restored.run == {"elapsed_s": 0.1}
    assert restored.step == 4


def test_newest_are_kept_and_older_ones_go(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep_last=2)
    for step in (3, 5, 8):
        checkpoints.save(step, TREE, {})
        checkpoints.wait()
    assert checkpoints.newest_step == 8
    checkpoints.close()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["5", "8"]


def test_looking_for_a_checkpoint_makes_no_folder(tmp_path):
    checkpoints = Checkpoints(tmp_path / "none" / "checkpoints")
    with pytest.raises(UserError, match="holds no checkpoint; train there first"):
        checkpoints.restore(BLANK)
    checkpoints.close()
    assert not (tmp_path / "none").exists()


def test_checkpoint_of_another_model_is_refused_by_name(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(4, TREE, {})
    checkpoints.wait()
    other = {"weights": jnp.zeros((5, 4)), "bias": jnp.zeros(3), "step": jnp.int32(0)}
    with pytest.raises(UserError, match=r"checkpoint .*4 can't be restored"):
        checkpoints.restore(other)
    checkpoints.close()


def save_all(folder, *steps, of="", losses=None, **keep):
    """Save a tree for each step, whose values are the step's."""
    checkpoints = Checkpoints(folder, of=of, **keep)
    for step in steps:
        tree = {"weights": TREE["weights"] * step, "step": jnp.int32(step)}
        checkpoints.save(step, tree, {}, loss=(losses or {}).get(step))
    checkpoints.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def restore(folder, **options):
    checkpoints = Checkpoints(folder, **options)
    try:
        return checkpoints.restore(BLANK)
    finally:
        checkpoints.close()


def largest(folder):
    return max(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )


def cut_off(path, number=1):
    path.write_bytes(path.read_bytes()[:-number])


def alter(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGES = {
    "array cut off": (lambda at: cut_off(largest(at / "state")), r"state/.* has \d+ bytes of \d+"),
    "array gone": (lambda at: largest(at / "state").unlink(), "state/.* is missing"),
    "a bit of an array": (lambda at: alter(largest(at / "state")), "state/.* was altered"),
    "metadata gone": (lambda at: (at / "state/_METADATA").unlink(), "state/_METADATA is missing"),
    "half a position": (lambda at: cut_off(at / "run/metadata"), "run/metadata has"),
    "no seal": (lambda at: (at / "seal.json").unlink(), "not finished, or damaged"),
    "half a seal": (lambda at: cut_off(at / "seal.json", 40), "not finished, or damaged"),
    "an empty folder": (empty, "not finished, or damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_the_newest_good_one_is_used_and_the_bad_one_named(tmp_path, caplog, name):
    damage, words = DAMAGES[name]
    save_all(tmp_path, 3, 5)
    damage(tmp_path / "5")
    before = {path: path.read_bytes() for path in (tmp_path / "5").rglob("*") if path.is_file()}
    restored = restore(tmp_path)
    assert restored.step == 3
    np.testing.assert_array_equal(restored.state["weights"], TREE["weights"] * 3)
    assert re.search(rf"checkpoint {tmp_path}/5 can't be used: .*{words}", caplog.text)
    assert {path: path.read_bytes() for path in (tmp_path / "5").rglob("*") if path.is_file()} == (
        before
    )


def test_a_bad_one_is_set_aside_and_its_step_saved_again(tmp_path, caplog):
    save_all(tmp_path, 3, 5)
    cut_off(largest(tmp_path / "5" / "state"))
    kept = {path.name: path.read_bytes() for path in (tmp_path / "5").rglob("*") if path.is_file()}
    for _ in range(2):  # a second bad one does not replace the first
        checkpoints = Checkpoints(tmp_path)
        assert checkpoints.restore(BLANK).step == 3
        checkpoints.save(5, TREE, {})
        checkpoints.close()
        assert restore(tmp_path).step == 5
        cut_off(largest(tmp_path / "5" / "state"))
    assert names(tmp_path) == ["3", "5", "5.unusable", "5.unusable1"]
    aside = tmp_path / "5.unusable"
    assert {path.name: path.read_bytes() for path in aside.rglob("*") if path.is_file()} == kept
    assert f"checkpoint {tmp_path}/5 is kept as 5.unusable" in caplog.text


def test_a_good_one_stays_however_many_bad_ones_follow(tmp_path):
    keep = {"keep_last": 1, "keep_best": 0}
    save_all(tmp_path, 3, **keep)
    for step in (5, 7, 9):
        empty_folder = tmp_path / str(step)
        empty_folder.mkdir()
    assert restore(tmp_path, **keep).step == 3
    # What is older than the newest good one is not looked at, nor deleted.
    save_all(tmp_path, 11, **keep)
    assert restore(tmp_path, **keep).step == 11
    assert names(tmp_path) == ["11", "5", "7", "9"]


def test_another_runs_checkpoint_is_passed_over_and_stays(tmp_path, caplog):
    save_all(tmp_path, 3, of="mine", keep_last=1, keep_best=0)
    save_all(tmp_path / "other", 8, of="theirs")
    shutil.copytree(tmp_path / "other" / "8", tmp_path / "8")
    shutil.copytree(tmp_path / "other" / "8", tmp_path / "2")
    shutil.rmtree(tmp_path / "other")
    checkpoints = Checkpoints(tmp_path, of="mine", keep_last=1, keep_best=0)
    assert checkpoints.restore(BLANK).step == 3
    assert "8 can't be used: it is of another run" in caplog.text
    for step in (8, 9):
        checkpoints.save(step, TREE, {})
    checkpoints.close()
    assert names(tmp_path) == ["2", "8.unusable", "9"]


def test_things_that_are_no_checkpoints_are_left_alone(tmp_path):
    save_all(tmp_path, 3, 5)
    (tmp_path / "notes").mkdir()
    (tmp_path / "007").mkdir()
    (tmp_path / "9").write_text("a file")
    (tmp_path / "12.orbax-checkpoint-tmp").mkdir()
    assert restore(tmp_path).step == 5
    save_all(tmp_path, 9)
    assert restore(tmp_path).step == 9
    left = ["007", "12.orbax-checkpoint-tmp", "5", "9", "9.unusable", "notes"]
    assert names(tmp_path) == left


def test_none_that_can_be_used_is_refused_with_all_reasons(tmp_path):
    save_all(tmp_path, 3, 5)
    cut_off(largest(tmp_path / "5" / "state"))
    empty(tmp_path / "3")
    with pytest.raises(UserError, match=r"can be used: 5 \(state/.*\), 3 \(it is not.*; put back"):
        restore(tmp_path)
    assert names(tmp_path) == ["3", "5"]


def test_the_last_the_best_and_every_third_are_kept(tmp_path):
    losses = dict(enumerate([7.0, 2.0, 5.0, 1.0, 4.0, 3.0, 6.0, 9.0], start=1))
    keep = {"keep_last": 1, "keep_best": 2, "keep_every": 3}
    # In two sittings: what was before counts.
    save_all(tmp_path, *range(1, 5), **keep, losses=losses)
    save_all(tmp_path, *range(5, 9), **keep, losses=losses)
    assert names(tmp_path) == ["2", "3", "4", "6", "8"]
    checkpoints = Checkpoints(tmp_path, **keep)
    assert checkpoints.best_step == 4
    checkpoints.close()


def test_a_chosen_step_is_restored_or_the_choice_named(tmp_path):
    save_all(tmp_path, 3, 5)
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(BLANK, step=3).step == 3
    with pytest.raises(UserError, match="there is no checkpoint 4; choose one of 3, 5"):
        checkpoints.restore(BLANK, step=4)
    checkpoints.close()


def check_until_it_ends(checkpoints):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        checkpoints.check()


# Writes of tensorstore's threads that end after the loop that waited for them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_cannot_be_written_in_the_background_is_said_in_one_line(tmp_path):
    save_all(tmp_path, 3)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.restore(BLANK)
    # As a full disk does, but for this process alone; random numbers can't be compressed.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    numbers = np.random.default_rng(0).normal(size=90_000).astype(np.float32)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        checkpoints.save(5, {"weights": jnp.asarray(numbers), "step": jnp.int32(5)}, {})
        with pytest.raises(UserError, match=r"cannot save a checkpoint in .*: File too large; fr"):
            check_until_it_ends(checkpoints)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    checkpoints.close()
    assert restore(tmp_path).step == 3


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    checkpoints = Checkpoints(tmp_path / "file" / "checkpoints")
    with pytest.raises(UserError, match=r"cannot save a checkpoint in .*; free some space or make"):
        checkpoints.save(3, TREE, {})
    checkpoints.close()


@pytest.mark.parametrize("wrong", [{"last": 0}, {"best": -1}, {"every": -1}])
def test_numbers_that_keep_nothing_are_refused(wrong):
    with pytest.raises(UserError, match=r"training\.keep_"):
        Keep(**wrong)
