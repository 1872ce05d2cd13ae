"""What a run writes down: `metrics.jsonl`, and TensorBoard's events beside it.

One JSON object a log interval, the means of its losses, written an interval late: by then the
device has computed them, and nobody waits. The sums of the open interval are saved with the state;
when a run resumes, lines past its step are dropped, and with them a half-written last one: the
finished file reads as if nothing had happened. Every start has an event file of its own, which says
from which step on it replaces those before.
"""

import contextlib
import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from jaxsurf.errors import UserError
from jaxsurf.training import distributed
from jaxsurf.training.step import TARGET, Losses
from jaxsurf.workdir import failures_reported, write_text

# What a run saves with its state: the open interval, or of a run among many what it failed of.
Saved = dict[str, Any]


class Diverged(UserError):  # noqa: N818  (it says what happened)
    """The loss is not a finite number."""


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the lines of a metrics file but for one that was cut off; none if there is no file."""
    found = []
    with failures_reported(f"read {path}", cure="remove or rename it"):
        for text in path.read_bytes().splitlines() if path.exists() else ():
            with contextlib.suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict) and "step" in line:
                    found.append(line)
    return found


class Log:
    """Averages the losses of a run over log intervals, and writes them down.

    The first process does so after `every` steps and at `last_step`, to `path` and TensorBoard's
    events beside it. A run that goes on at `resume_step` has `saved` what `flush` returned there.
    `latest` has the figures of the last line, before a resume too. A loss that is not finite
    raises `Diverged`, when its interval is written or at the next `flush`.
    """

    def __init__(
        self,
        path: Path,
        *,
        every: int,
        last_step: int,
        steps_per_epoch: int,
        learning_rate: Callable[[int], float],
        resume_step: int = 0,
        saved: Saved | None = None,
    ) -> None:
        self.path, self.every, self.last_step = path, every, last_step
        self.steps_per_epoch, self.learning_rate = steps_per_epoch, learning_rate
        saved = saved or {"steps": {}, "sums": {}, "elapsed_s": 0.0}
        # Losses still on the device, each with the number of its steps, of the open interval and of
        # the one before, which ended at a step; then the sums of the interval that is taken from
        # the device, to which they are added one by one, so that no resume shows, and their steps:
        # it may begin with target codes and end without.
        self._step, self._open, self._ended = resume_step, [], None
        self._num_steps, self._sums = dict(saved["steps"]), dict(saved["sums"])
        self._began_s = time.monotonic() - saved["elapsed_s"]
        self._line_began_s = time.monotonic()
        kept = [line for line in read_metrics(path) if line["step"] <= resume_step]
        self.latest: dict[str, float] = kept[-1] if kept else {}
        self._reported = partial(
            failures_reported,
            f"write {path} or TensorBoard's events beside it",
            cure="free some space or make it writable; the same command resumes",
        )
        self._events = None
        if not distributed.writes():
            return
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        # Imported here: it takes seconds. Not its `SummaryWriter`: that works in a thread, which a
        # full disk ends, after which writing blocks for ever.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._event, session = vars(event_pb2)["Event"], vars(event_pb2)["SessionLog"]
        before = len(list(path.parent.glob("events.*")))
        with self._reported():
            # Files are read in the order of their names; the clock may have been put back.
            self._events = EventsWriter(str(path.with_name(f"events.{before:04}")))
        if before:  # what older ones have past the step is hidden
            self._write_event(step=resume_step + 1, session_log=session(status=session.START))

    def add(self, step: int, losses: Losses) -> None:
        """Take the losses of the call that ended at a step; write the interval before this one."""
        self._open.append((step - self._step, losses))
        ends = step // self.every > self._step // self.every or step == self.last_step
        self._step = step
        if ends:
            self._write_line()
            self._ended, self._open = (step, self._open), []

    def flush(self) -> Saved:
        """Write closed intervals down, and return the open one."""
        self._write_line()
        self._take(self._open)
        self._open = []
        _check_finite(self._sums, self._step)
        elapsed_s = time.monotonic() - self._began_s
        return {"steps": {**self._num_steps}, "sums": {**self._sums}, "elapsed_s": elapsed_s}

    def show(self, step: int, picture: UInt8[np.ndarray, "height width 3"], *, name: str) -> None:
        """Write a picture for TensorBoard."""
        from tensorboardX.summary import image

        self._write_event(step=step, summary=image(name, picture, dataformats="HWC"))

    def close(self) -> None:
        """Close TensorBoard's file; what could not be written was reported before."""
        if self._events is not None:
            with contextlib.suppress(OSError):
                self._events.close()

    def _take(self, calls: list[tuple[int, Losses]]) -> None:
        for num_steps, losses in jax.device_get(calls):
            for name, value in losses.items():
                self._num_steps[name] = self._num_steps.get(name, 0) + num_steps
                self._sums[name] = self._sums.get(name, 0.0) + num_steps * float(value)

    def _write_line(self) -> None:
        """Write the interval that has ended, if there is one."""
        if self._ended is None:
            return
        (step, calls), self._ended = self._ended, None
        self._take(calls)
        means = {name: value / self._num_steps[name] for name, value in self._sums.items()}
        self._num_steps, self._sums = {}, {}
        _check_finite(means, step)
        now_s = time.monotonic()
        values = {
            "epoch": step / self.steps_per_epoch,
            **means,
            "learning_rate": self.learning_rate(step),
            "elapsed_s": now_s - self._began_s,
            "interval_s": now_s - self._line_began_s,
        }
        self.latest, self._line_began_s = {"step": step, **values}, now_s
        if self._events is None:
            return
        from tensorboardX.summary import scalar

        with self._reported(), self.path.open("ab") as file:
            file.write(json.dumps(self.latest).encode() + b"\n")
        for name, value in values.items():
            self._write_event(step=step, summary=scalar(name, value))

    def _write_event(self, **fields: Any) -> None:  # noqa: ANN401
        if self._events is not None:
            with self._reported():
                self._events.write_event(self._event(wall_time=time.time(), **fields))
                self._events.flush()


@dataclass
class GroupLog:
    """The logs of runs that are trained as one; one that diverges is marked, the others go on."""

    logs: Sequence[Log]
    terms: Sequence[Collection[str]]  # each run's losses: the step may compute more, for others
    failed: dict[int, str]  # what runs have failed of, by number

    @property
    def latest(self) -> dict[str, float]:
        """The figures of the first run that goes on."""
        return next((log.latest for n, log in enumerate(self.logs) if n not in self.failed), {})

    def add(self, step: int, losses: Losses) -> None:
        """Take one call's losses, runs first; where no run is left, raise `Diverged`."""

        def add(number: int, log: Log) -> None:
            wanted = (*self.terms[number], TARGET)
            log.add(step, {name: losses[name][number] for name in wanted if name in losses})

        self._each(add)
        if len(self.failed) == len(self.logs):
            raise Diverged(f"all {len(self.logs)} members diverged")

    def flush(self) -> Saved:
        """Return each run's open interval, or what it has failed of."""
        return {"runs": self._each(lambda _, log: log.flush())}

    def _each(self, do: Callable[[int, Log], Saved | None]) -> list[Saved | str | None]:
        """Return what a run's log gives, or what the run has failed of."""
        found = []
        for number, log in enumerate(self.logs):
            try:
                found.append(self.failed.get(number) or do(number, log))
            except Diverged as error:
                self.failed[number] = str(error)
                found.append(str(error))
        return found


def _check_finite(losses: dict[str, float], step: int) -> None:
    bad = sorted(name for name, value in losses.items() if not np.isfinite(value))
    if bad:
        raise Diverged(
            f"training diverged by step {step}: {', '.join(bad)} is not finite",
            cure="lower config.optimizer.learning_rate, and use a new --workdir",
        )
