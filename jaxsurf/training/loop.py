"""The training loop: calls to the device in order, and what happens between them.

After every call its losses go to the log, a checkpoint is saved if it is time, and a request to
stop (SIGTERM, SIGINT) is looked at. Lines come first, then the checkpoint, then pictures: the lines
up to a finished checkpoint are always there, and whatever follows it is made again. All processes
of a run save and stop at the same step.
"""

import contextlib
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
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

_log = logging.getLogger(__name__)


def calls(
    state: TrainState, *, first_step: int, bound_step: Step, feed: Feed, plan: Plan
) -> Iterator[tuple[int, TrainState, Losses]]:
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
    profile: "Profile | None" = None,
    shown: bool = False,
) -> TrainState:
    """Train as `calls` does, log and save on the way and at the end; return the last state.

    `show` is called with step and state at each checkpoint but the last, `profile` after each call;
    `shown` draws a progress bar.

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
        mininterval=0.5,
    )
    with _stop_request() as requested, progress as bar:
        each = calls(state, first_step=first_step, bound_step=bound_step, feed=feed, plan=plan)
        for step, state, losses in each:
            if profile is not None:
                profile(step, losses)
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


class Profile:
    """Records the calls that hold the next `num_steps`, once, into a folder, for TensorBoard.

    The first call is left out: what is compiled there would hide the rest.
    """

    def __init__(self, folder: Path, num_steps: int) -> None:
        self.folder, self.num_steps = str(folder), num_steps
        self._until: float | None = None

    def __call__(self, step: int, losses: Losses) -> None:
        """Begin after the first call; end after the one with the last step."""
        if self._until is None:
            jax.block_until_ready(losses)
            jax.profiler.start_trace(self.folder)
            self._until = step + self.num_steps
        elif step >= self._until:
            jax.block_until_ready(losses)
            self.close()

    def close(self) -> None:
        """Write what is recorded, and report where it lies."""
        if self._until is None:
            _log.warning("nothing is profiled: no call was left after the first, which compiles")
        elif self._until < math.inf:
            jax.profiler.stop_trace()
            _log.info(
                "the profile is in %s; to see it: pip install tensorboard xprof, and then "
                "tensorboard --logdir=%s",
                *(self.folder, self.folder),
            )
        self._until = math.inf
