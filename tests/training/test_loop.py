"""What the training loop says of a profile; all else of it is seen where runs are trained."""

import contextlib
import logging
from typing import Any

import jax.numpy as jnp
import pytest

from jaxsurf.training import loop


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        (1, "nothing is profiled: no call came after the first"),
        (2, "the profile is in"),  # it is stopped meanwhile
        (9, "the profile is in"),
    ],
)
def test_a_profile_says_where_it_lies_even_of_a_run_that_is_stopped(taken, said, tmp_path, caplog):
    calls: Any = ((step, None, {"loss": jnp.ones(())}) for step in range(1, 10))
    with (
        caplog.at_level(logging.INFO),
        contextlib.closing(loop._profiled(calls, tmp_path, 3)) as each,
    ):
        steps = [next(each)[0] for _ in range(taken)]
    assert steps == list(range(1, taken + 1))
    assert [record.message.startswith(said) for record in caplog.records] == [True]
    assert bool(list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))) == (taken > 1)
