import jax.numpy as jnp

from jaxsurf.training.loop import Profile


def traces(folder):
    return sorted(folder.glob("plugins/profile/*/*.xplane.pb"))


def test_steps_after_the_first_call_are_recorded_once_and_it_is_said_where(tmp_path, caplog):
    caplog.set_level("INFO", logger="jaxsurf")
    profile = Profile(tmp_path, 3)
    for at in (2, 4):
        profile(at, {"loss": jnp.zeros(())})
        assert traces(tmp_path) == []
    profile(6, {"loss": jnp.zeros(())})
    (written,) = traces(tmp_path)
    for at in (8, 10, 12, 14):
        profile(at, {"loss": jnp.zeros(())})
    profile.close()
    said = [record.getMessage() for record in caplog.records if "profile" in record.getMessage()]
    assert said == [
        f"the profile is in {tmp_path}; to see it: pip install tensorboard xprof, and then "
        f"tensorboard --logdir={tmp_path}"
    ]
    assert traces(tmp_path) == [written]
    assert written.stat().st_size > 0


def test_a_run_that_ends_early_leaves_what_it_has(tmp_path):
    profile = Profile(tmp_path, 1000)
    profile(2, {"loss": jnp.zeros(())})
    profile.close()
    assert len(traces(tmp_path)) == 1


def test_a_run_of_one_call_says_that_nothing_is_recorded(tmp_path, caplog):
    profile = Profile(tmp_path, 1000)
    profile.close()
    assert "nothing is profiled: no call was left after the first" in caplog.text
    assert traces(tmp_path) == []
