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

    The process that `writes` does so after `every` steps and at `last_step`, to `path` and
    TensorBoard's events beside it. A run that goes on at `resume_step` has `saved` what `flush`
    returned there. `latest` has the figures of the last line, before a resume too. A loss that is
    not finite raises `Diverged`, when its interval is written or at the next `flush`.
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
        writes: bool = True,
    ) -> None:
        self.path, self.every, self.last_step = path, every, last_step
        self.steps_per_epoch, self.learning_rate = steps_per_epoch, learning_rate
        saved = saved or {"steps": {}, "sums": {}, "elapsed_s": 0.0}
        # Losses still on the device, each with the last step of its call; then the sums of the open
        # interval, to which they are added one by one, so that no resume shows, and their steps:
        # it may begin with target codes and end without.
        self._waiting: list[tuple[int, Losses]] = []
        self._step, self._line_due = resume_step, 0
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
        if writes:
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
            with self._reported():
                self._open_events(path.parent, resume_step)

    def add(self, step: int, losses: Losses) -> None:
        """Take the losses of the call that ended at a step; write the interval before this one."""
        before = self._waiting[-1][0] if self._waiting else self._step
        self._waiting.append((step, losses))
        if self._ends_line(before, step):
            self._take(sum(each <= self._line_due for each, _ in self._waiting))
            self._line_due = step

    def flush(self) -> Saved:
        """Write closed intervals down, and return the open one."""
        self._take(len(self._waiting))
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

    def _ends_line(self, before: int, step: int) -> bool:
        return step // self.every > before // self.every or step == self.last_step

    def _take(self, number: int) -> None:
        """Add the first losses that wait to the open interval; write it where it ends."""
        taken, self._waiting = self._waiting[:number], self._waiting[number:]
        for step, losses in jax.device_get(taken):
            before, self._step = self._step, step
            for name, value in losses.items():
                self._num_steps[name] = self._num_steps.get(name, 0) + step - before
                self._sums[name] = self._sums.get(name, 0.0) + (step - before) * float(value)
            if self._ends_line(before, step):
                self._write_line(step)

    def _write_line(self, step: int) -> None:
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

    def _open_events(self, folder: Path, resume_step: int) -> None:
        """Begin TensorBoard's file of this start; what older ones have past the step is hidden.

        Not by tensorboardX's `SummaryWriter`: it works in a thread, which a full disk ends, after
        which writing blocks for ever.
        """
        # Imported here: it takes seconds.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._event, session = vars(event_pb2)["Event"], vars(event_pb2)["SessionLog"]
        before = len(list(folder.glob("events.*")))
        # Files are read in the order of their names; the clock may have been put back.
        self._events = EventsWriter(str(folder / f"events.{before:04}"))
        if before:
            self._write_event(step=resume_step + 1, session_log=session(status=session.START))

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
        alive = [log for number, log in enumerate(self.logs) if number not in self.failed]
        return alive[0].latest if alive else {}

    def add(self, step: int, losses: Losses) -> None:
        """Take one call's losses, runs first; where no run is left, raise `Diverged`."""
        for number, log in enumerate(self.logs):
            wanted = (*self.terms[number], TARGET)
            own = {name: losses[name][number] for name in wanted if name in losses}
            self._guarded(number, partial(log.add, step, own))
        if len(self.failed) == len(self.logs):
            raise Diverged(f"all {len(self.logs)} members diverged")

    def flush(self) -> Saved:
        """Return each run's open interval, or what it has failed of."""
        found = [self._guarded(number, log.flush) for number, log in enumerate(self.logs)]
        return {"runs": [self.failed.get(number, saved) for number, saved in enumerate(found)]}

    def _guarded(self, number: int, do: Callable[[], Saved | None]) -> Saved | None:
        if number not in self.failed:
            try:
                return do()
            except Diverged as error:
                self.failed[number] = str(error)
        return None


def _check_finite(losses: dict[str, float], step: int) -> None:
    bad = sorted(name for name, value in losses.items() if not np.isfinite(value))
    if bad:
        raise Diverged(
            f"training diverged by step {step}: {', '.join(bad)} is not finite",
            cure="lower config.optimizer.learning_rate, and use a new --workdir",
        )
