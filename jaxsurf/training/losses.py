"""The losses of a run: averaged over intervals, watched, written down."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.training.hosts import Alike
from jaxsurf.training.journal import Journal, Silent
from jaxsurf.training.step import Losses, TrainState

# Losses of the open interval: number of steps, and their means.
Pending = Sequence[tuple[int, dict[str, float]]]


class Diverged(UserError, Alike):  # noqa: N818  (it says what happened)
    """The loss is not a finite number."""


class LossLog:
    """Averages losses over an interval and writes them down one interval late.

    Reading a value makes the host wait for the device; an interval later it is there already.
    Between two lines the losses so far are part of the checkpoint, so that a resumed run writes
    the same lines.

    Args:
        journal: where the lines go.
        first_step: the step that the run begins or goes on at.
        steps_per_epoch: turns steps into epochs.
        last_step: a line is written there, whatever the interval.
        every: steps between two lines.
        schedule: the learning rate by step.
        pending: what `flush` returned when the run was saved.
        elapsed_s: how long the run had taken when it was saved.
    """

    def __init__(
        self,
        journal: Journal | Silent,
        *,
        first_step: int,
        steps_per_epoch: int,
        last_step: int,
        every: int,
        schedule: Callable[[int], float],
        pending: Pending,
        elapsed_s: float,
    ) -> None:
        self.journal = journal
        self.steps_per_epoch = steps_per_epoch
        self.last_step = last_step
        self.every = every
        self.schedule = schedule
        self._step = first_step
        self._window: list[tuple[int, Any]] = [(count, losses) for count, losses in pending]
        self._closed: tuple[int, list[tuple[int, Any]]] | None = None
        self._started = time.monotonic() - elapsed_s
        self._line_began = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds that the run has taken, those before a resume included."""
        return time.monotonic() - self._started

    @property
    def latest(self) -> dict[str, float]:
        """The figures of the last line, one from before a resume included."""
        return self.journal.latest

    def __call__(self, step: int, state: TrainState, losses: Losses) -> None:
        """Take one call's losses; write the interval before the last one down."""
        del state
        self._window.append((step - self._step, losses))
        crossed = step // self.every > self._step // self.every
        self._step = step
        if crossed or step == self.last_step:
            self._write_closed()
            self._closed = (step, self._window)
            self._window = []

    def flush(self) -> Pending:
        """Write closed intervals down, to stay, and return the losses of the open one.

        Raises:
            Diverged: a loss is not finite.
            UserError: the lines can't be written.
        """
        self._write_closed()
        self.journal.sync()
        self._window = [(count, _to_floats(losses)) for count, losses in self._window]
        for _, losses in self._window:
            _check_finite(losses, None)
        return list(self._window)

    def _write_closed(self) -> None:
        if self._closed is None:
            return
        step, window = self._closed
        self._closed = None
        counts, rows = zip(*jax.device_get(window), strict=True)
        means = {
            name: float(np.average([float(row[name]) for row in rows], weights=counts))
            for name in rows[0]
        }
        _check_finite(means, step)
        now = time.monotonic()
        self.journal.write(
            step,
            {
                "epoch": step / self.steps_per_epoch,
                **means,
                "learning_rate": self.schedule(step),
                "elapsed_s": self.elapsed_s,
                "interval_s": now - self._line_began,
            },
        )
        self._line_began = now


def _to_floats(losses: Losses | dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in losses.items()}


def _check_finite(losses: dict[str, float], step: int | None) -> None:
    bad = sorted(name for name, value in losses.items() if not np.isfinite(value))
    if bad:
        when = "" if step is None else f" by step {step}"
        raise Diverged(
            f"training diverged{when}: {', '.join(bad)} is not finite",
            cure="lower config.optimizer.learning_rate, and use a new --workdir",
        )
