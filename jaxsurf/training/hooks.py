"""What happens between the calls of the loop: log, save, stop, show progress."""

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

import jax
import numpy as np
import optax
from tqdm import tqdm

from jaxsurf.errors import UserError
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.training.journal import Journal
from jaxsurf.training.loop import Plan
from jaxsurf.training.step import Losses, TrainState


class Diverged(UserError):  # noqa: N818  (it says what happened)
    """The loss is not a finite number."""


class Interrupted(Exception):  # noqa: N818  (it says what happened)
    """The run was asked to stop, and has saved its state.

    Attributes:
        signal: number of the signal that asked.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number


class LossLog:
    """Averages losses over an interval and writes them down one interval late.

    Reading a value makes the host wait for the device; an interval later it is there already.
    Between two lines the losses so far are part of the checkpoint, so that a resumed run writes
    the same lines.

    Args:
        journal: where the lines go.
        plan: of the run.
        every: steps between two lines.
        schedule: the learning rate by step.
        pending: what `flush` returned when the run was saved.
        elapsed_s: how long the run had taken when it was saved.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        plan: Plan,
        every: int,
        schedule: optax.Schedule,
        pending: list[dict[str, float]],
        elapsed_s: float,
    ) -> None:
        self.journal = journal
        self.plan = plan
        self.every = every
        self.schedule = schedule
        self.latest: dict[str, float] = {}
        self._window: list[Any] = list(pending)
        self._closed: tuple[int, list[Any]] | None = None
        self._started = time.monotonic() - elapsed_s
        self._line_began = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds that the run has taken, those before a resume included."""
        return time.monotonic() - self._started

    def __call__(self, step: int, state: TrainState, losses: Losses) -> None:
        """Take one call's losses; write the interval before the last one down."""
        del state
        _, _, num_steps = self.plan.call_at(step - 1)
        self._window.append(losses)
        crossed = step // self.every > (step - num_steps) // self.every
        if crossed or step == self.plan.num_steps:
            self._write_closed()
            self._closed = (step, self._window)
            self._window = []

    def flush(self) -> list[dict[str, float]]:
        """Write closed intervals down and return the losses of the open one.

        Raises:
            Diverged: a loss is not finite.
        """
        self._write_closed()
        self._window = [_to_floats(losses) for losses in self._window]
        for losses in self._window:
            _check_finite(losses, None)
        return self._window

    def _write_closed(self) -> None:
        if self._closed is None:
            return
        step, window = self._closed
        self._closed = None
        rows = [_to_floats(losses) for losses in jax.device_get(window)]
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        _check_finite(means, step)
        self.latest = means
        now = time.monotonic()
        self.journal.write(
            step,
            {
                "epoch": step / self.plan.steps_per_epoch,
                **means,
                "learning_rate": float(np.asarray(self.schedule(step))),
                "elapsed_s": self.elapsed_s,
                "interval_s": now - self._line_began,
            },
        )
        self._line_began = now


class Saver:
    """Saves the state every so many seconds, and when the run stops.

    Args:
        checkpoints: where to.
        log: its open interval is saved too.
        every_s: seconds between two checkpoints.
        show: called with step and state at each checkpoint, to show examples.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        log: LossLog,
        *,
        every_s: float,
        show: Callable[[int, TrainState], None],
    ) -> None:
        self.checkpoints = checkpoints
        self.log = log
        self.every_s = every_s
        self.show = show
        self._saved = time.monotonic()

    def __call__(self, step: int, state: TrainState, losses: Losses) -> None:
        """Save if it is time."""
        del losses
        if time.monotonic() - self._saved >= self.every_s:
            self.save(step, state)

    def save(self, step: int, state: TrainState) -> None:
        """Save now; a state whose losses are not finite is refused, not saved."""
        pending = self.log.flush()
        self.show(step, state)
        self.checkpoints.save(step, state, {"pending": pending, "elapsed_s": self.log.elapsed_s})
        self._saved = time.monotonic()


class StopSignal:
    """Turns SIGTERM and SIGINT into a saved state and an orderly end.

    A context manager: inside it the signals only set a flag, which is looked at after every call.

    Args:
        saver: saves before the end.
    """

    def __init__(self, saver: Saver) -> None:
        self.saver = saver
        self._received = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._received = number

    def __call__(self, step: int, state: TrainState, losses: Losses) -> None:
        """End the run if a signal came.

        Raises:
            Interrupted: it did; the state is saved.
        """
        del losses
        if self._received:
            self.saver.save(step, state)
            self.saver.checkpoints.wait()
            raise Interrupted(self._received)


class ProgressBar:
    """A bar with loss, images a second and time left.

    Args:
        plan: of the run.
        log: where the loss comes from.
        step: where the run begins.
        shown: False keeps it silent.
    """

    def __init__(self, plan: Plan, log: LossLog, *, step: int, shown: bool) -> None:
        self.plan = plan
        self.log = log
        self._bar = tqdm(
            total=plan.num_steps * plan.batch_size,
            initial=step * plan.batch_size,
            unit=" images",
            unit_scale=True,
            desc="training",
            disable=not shown,
            mininterval=0.5,
        )

    def __call__(self, step: int, state: TrainState, losses: Losses) -> None:
        """Move the bar to a step."""
        del state, losses
        if self.log.latest:
            self._bar.set_postfix_str(f"mse {self.log.latest['mse']:.2e}", refresh=False)
        self._bar.update(step * self.plan.batch_size - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


def _to_floats(losses: Losses | dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in losses.items()}


def _check_finite(losses: dict[str, float], step: int | None) -> None:
    bad = [name for name, value in losses.items() if not np.isfinite(value)]
    if bad:
        when = "" if step is None else f" by step {step}"
        raise Diverged(
            f"training diverged{when}: {', '.join(bad)} is not finite",
            cure="lower config.optimizer.learning_rate, and use a new --workdir",
        )
