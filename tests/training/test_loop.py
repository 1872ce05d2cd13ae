"""The trace of some steps; the loop itself is tested by whole runs in tests/pipeline."""

import jax.numpy as jnp
import pytest

from jaxsurf.training.loop import Profile


def traces(folder):
    return sorted(folder.glob("plugins/profile/*/*.xplane.pb"))


@pytest.mark.parametrize("ends_early", [False, True])
def test_steps_after_the_first_call_are_recorded_once_and_it_is_said_where(
    ends_early, tmp_path, caplog
):
    caplog.set_level("INFO", logger="jaxsurf")
    profile = Profile(tmp_path, 1000 if ends_early else 3)
    for at in (2, 4):
        profile(at, {"loss": jnp.zeros(())})
        assert traces(tmp_path) == []
    for at in (6, 8, 10):
        profile(at, {"loss": jnp.zeros(())})
        assert len(traces(tmp_path)) == (not ends_early)
    profile.close()
    assert len(traces(tmp_path)) == 1
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith(f"the profile is in {tmp_path}; to see it: ")


def test_a_run_of_one_call_says_that_nothing_is_recorded(tmp_path, caplog):
    Profile(tmp_path, 1000).close()
    assert "nothing is profiled: no call was left after the first" in caplog.text
    assert traces(tmp_path) == []
