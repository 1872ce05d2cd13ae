"""The training loop: calls to the device in order, and what happens between them.

After every call its losses go to the log, a checkpoint is saved if it is time, and a request to
stop (SIGTERM, SIGINT) is looked at, in all processes at the same step. Lines come before their
checkpoint: those up to a finished one are always there, and whatever follows it is made again.
"""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType

import jax
from tqdm import tqdm

from jaxsurf.errors import Interrupted
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.training.data import Feed, Plan
from jaxsurf.training.distributed import Agreement
from jaxsurf.training.log import GroupLog, Log
from jaxsurf.training.step import TARGET, Losses, Step, TrainState

Calls = Generator[tuple[int, TrainState, Losses], None, None]

_log = logging.getLogger(__name__)


def calls(state: TrainState, *, first_step: int, bound_step: Step, feed: Feed, plan: Plan) -> Calls:
    """Train to the end of the plan: after every call yield its last step, the state, and losses.

    The state has seen `first_step` updates; its arrays are donated.
    """
    step = first_step
    while step < plan.num_steps:
        epoch, batch, num_steps = plan.call_at(step)
        state, losses = bound_step(state, *feed(epoch, batch, num_steps), num_steps=num_steps)
        step += num_steps
        yield step, state, losses


def run(
    state: TrainState,
    *,
    first_step: int,
    bound_step: Step,
    feed: Feed,
    plan: Plan,
    log: Log | GroupLog,
    checkpoints: Checkpoints,
    save_every_s: float,
    show: Callable[[int, TrainState], None] | None = None,
    profile: tuple[Path, int] | None = None,
    shown: bool = False,
) -> TrainState:
    """Train as `calls` does, log and save on the way and at the end; return the last state.

    `show` is called with step and state at each checkpoint but the last; `profile` is a folder, and
    of how many steps a trace is written there; `shown` draws a progress bar.

    Raises:
        UserError: divergence, or something can't be written.
        Interrupted: a signal asked to stop; the state is saved.
    """

    def save(step: int) -> None:
        # The log refuses losses that are not finite, so such a state is not saved.
        saved = log.flush()
        # As long as the decoder sees targets, the loss does not say how good the model is.
        loss = None if TARGET in log.latest else log.latest.get("loss")
        checkpoints.save(step, state, saved, loss=loss)

    step, saved_s = first_step, time.monotonic()
    save_agreed, stop_agreed = Agreement(), Agreement()
    progress = tqdm(
        total=plan.num_steps * plan.batch_size,
        initial=first_step * plan.batch_size,
        unit=" images",
        unit_scale=True,
        desc="training",
        disable=not shown,
    )
    each = calls(state, first_step=first_step, bound_step=bound_step, feed=feed, plan=plan)
    each = _profiled(each, *profile) if profile else each
    with _stop_request() as requested, progress as bar, contextlib.closing(each):
        for step, state, losses in each:
            log.add(step, losses)
            if save_agreed(time.monotonic() - saved_s >= save_every_s):
                save(step)
                if show is not None:
                    show(step, state)
                saved_s = time.monotonic()
            if "loss" in log.latest:
                bar.set_postfix_str(f"loss {log.latest['loss']:.2e}", refresh=False)
            bar.update(step * plan.batch_size - bar.n)
            if stop_agreed(requested()):
                break
        save(step)
        checkpoints.wait()
        stopped = stop_agreed(requested())  # a request may have come while it was saved
    if stopped:
        raise Interrupted(stopped)
    return state


@contextlib.contextmanager
def _stop_request() -> Iterator[Callable[[], int]]:
    """Yield what returns the number of the signal that asked to stop, 0 for none.

    A second SIGINT raises. Only the main thread can change what signals do: in others nothing asks.
    """
    received = 0

    def receive(number: int, frame: FrameType | None) -> None:
        nonlocal received
        del frame
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received = received or number

    main = threading.current_thread() is threading.main_thread()
    asking = (signal.SIGTERM, signal.SIGINT) if main else ()
    previous = {number: signal.signal(number, receive) for number in asking}
    try:
        yield lambda: received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _profiled(each: Calls, folder: Path, num_steps: int) -> Calls:
    """Pass calls on; record those of so many steps after the first, in which all is compiled."""
    for first, state, losses in each:
        step = first
        try:
            yield first, state, jax.block_until_ready(losses)
            with jax.profiler.trace(folder):
                for step, state, losses in each:
                    yield step, state, losses
                    if step >= first + num_steps:
                        jax.block_until_ready(losses)
                        break
        finally:  # a run may be stopped meanwhile
            if step > first:
                how = "pip install tensorboard xprof && tensorboard --logdir="
                _log.info("the profile is in %s; to see it: %s%s", folder, how, folder)
            else:
                _log.warning("nothing is profiled: no call came after the first, which compiles")
        yield from each
