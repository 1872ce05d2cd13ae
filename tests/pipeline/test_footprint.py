"""How many of our files a reader has to follow: those whose functions run, imports excluded."""

import contextlib
import os
import sys
from pathlib import Path

import jax

import jaxsurf
from jaxsurf.pipeline import configuration, surf
from jaxsurf.pipeline.setup import compile_run, make_setup

PACKAGE = f"{Path(jaxsurf.__file__).parent}{os.sep}"


@contextlib.contextmanager
def files_run():
    """Yield a set that fills with the names of our files whose functions are called."""
    found = set()

    def look(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            found.add(frame.f_code.co_filename.removeprefix(PACKAGE))

    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(None)


def test_one_call_of_the_compiled_step_runs_few_files(config_of):
    config = config_of()
    made = compile_run(make_setup(config, configuration.open_data(config.data)))
    feed, state = made.make_feed(0), made.state
    counted = []
    for number in range(3):
        if number == 1:  # all is imported, and is traced again
            jax.clear_caches()
        call = made.plan.call_at(number)
        with files_run() as found:
            state, losses = made.bound_step(state, *feed(*call), num_steps=call[-1])
            jax.block_until_ready(losses)
        counted.append(found)
    assert "training/objective.py" in counted[1]
    assert len(counted[1]) <= 11, counted[1]  # as many as there are today
    assert len(counted[2]) <= 6, counted[2]


def test_one_surf_of_an_open_run_runs_few_files(run):
    surf.make(run, surf.SurfConfig(source="3", target="7"))  # which writes the caches
    jax.clear_caches()
    with files_run() as found:
        surf.make(run, surf.SurfConfig(source="2", target="9"))
    assert "frames/animate.py" in found
    assert len(found) <= 18, found
