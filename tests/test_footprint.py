"""How many of our files a reader has to follow: those whose functions run, imports excluded."""

import contextlib
import os
import sys
from pathlib import Path

import jax

import jaxsurf

PACKAGE = f"{Path(jaxsurf.__file__).parent}{os.sep}"
SETTINGS = {"data.side": 32, "data.stride": 10, "model.channels": 8, "training.num_epochs": 40}


@contextlib.contextmanager
def files_run():
    """Yield a set that fills with the names of our files whose functions are called."""
    found = set()

    def look(frame, event, argument):
        del argument
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(PACKAGE):
            name = file.removeprefix(PACKAGE)
            if name not in found and not is_importing(frame):
                found.add(name)

    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(None)


def is_importing(frame):
    """Return whether a module of ours is being executed further up."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(PACKAGE):
            return True
        frame = frame.f_back
    return False


def test_one_call_of_the_compiled_step_runs_few_files():
    from jaxsurf.pipeline import configuration
    from jaxsurf.pipeline.setup import compile_run, make_setup

    config = configuration.from_dotted(SETTINGS)
    made = compile_run(make_setup(config, configuration.open_data(config.data)))
    feed, state = made.make_feed(), made.state
    counted = []
    for number in range(2):
        epoch, batch, num_steps = made.plan.call_at(number)
        with files_run() as found:
            state, losses = made.step_fn(state, *feed(epoch, batch, num_steps), num_steps=num_steps)
            jax.block_until_ready(losses)
        counted.append(found)
    assert "training/objective.py" in counted[0]
    assert len(counted[0]) <= 10, counted[0]  # as many as there are today
    assert len(counted[1]) <= 6, counted[1]


def test_one_surf_of_an_open_run_runs_few_files(tmp_path):
    from jaxsurf.pipeline import configuration, surf
    from jaxsurf.pipeline.train import train

    run = train(configuration.from_dotted(SETTINGS), tmp_path / "run", shown=False)
    surf.make(run, surf.SurfConfig(source="3", target="7"))  # which writes the caches
    jax.clear_caches()
    with files_run() as found:
        surf.make(run, surf.SurfConfig(source="2", target="9"))
    assert "frames/animate.py" in found
    assert len(found) <= 18, found
