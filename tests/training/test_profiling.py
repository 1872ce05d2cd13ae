import jax.numpy as jnp

from jaxsurf.training.profiling import Profile


def traces(folder):
    return sorted(folder.glob("plugins/profile/*/*.xplane.pb"))


def test_steps_after_the_first_call_are_recorded_once(tmp_path):
    profile = Profile(str(tmp_path), 3)
    for at in (2, 4):
        profile(at, None, {"loss": jnp.zeros(())})
        assert traces(tmp_path) == []
    profile(6, None, {"loss": jnp.zeros(())})
    (written,) = traces(tmp_path)
    for at in (8, 10, 12, 14):
        profile(at, None, {"loss": jnp.zeros(())})
    profile.close()
    assert traces(tmp_path) == [written]
    assert written.stat().st_size > 0


def test_a_run_that_ends_early_leaves_what_it_has(tmp_path):
    profile = Profile(str(tmp_path), 1000)
    profile(2, None, {"loss": jnp.zeros(())})
    profile.close()
    assert len(traces(tmp_path)) == 1


def test_nothing_is_recorded_unless_asked_for(tmp_path):
    profile = Profile(str(tmp_path / "none"), 0)
    for at in (2, 4):
        profile(at, None, {})
    profile.close()
    assert not (tmp_path / "none").exists()
