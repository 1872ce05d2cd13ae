import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.training.checkpoint import Checkpoints

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
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
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


def test_damaged_checkpoint_is_refused_with_the_cure(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(4, TREE, {})
    checkpoints.close()
    for path in (tmp_path / "checkpoints" / "4" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(UserError, match="fall back on an older checkpoint"):
        checkpoints.restore(BLANK)
    checkpoints.close()
