"""What happens between the calls of the loop beside logging: save, stop, show progress.

What is written down comes first, then the checkpoint, then pictures: so the lines up to a finished
checkpoint are always there, and whatever follows it is made again.
"""

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from tqdm import tqdm

from jaxsurf import stopping
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.training.hosts import Agreement, Alike
from jaxsurf.training.losses import LossLog
from jaxsurf.training.plan import Plan
from jaxsurf.training.step import Losses, TrainState
from jaxsurf.training.sweep import GroupLog


class Interrupted(Alike):
    """The run was asked to stop, and has saved its state.

    Attributes:
        signal: number of the signal that asked.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number


class Saver:
    """Saves the state every so many seconds, and when the run stops: all processes at one step.

    Args:
        checkpoints: where to.
        log: its open interval is saved too.
        every_s: seconds between two checkpoints.
        show: called with step and state at each checkpoint, to show examples; None shows none.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        log: LossLog | GroupLog,
        *,
        every_s: float,
        show: Callable[[int, TrainState], None] | None = None,
    ) -> None:
        self.checkpoints = checkpoints
        self.log = log
        self.every_s = every_s
        self.show = show
        self._saved = time.monotonic()
        self._agree = Agreement()

    def __call__(self, step: int, state: TrainState, losses: Losses) -> None:
        """Save if it is time.

        Raises:
            UserError: the last checkpoint could not be written.
        """
        del losses
        self.checkpoints.check()
        if self._agree(time.monotonic() - self._saved >= self.every_s):
            self.save(step, state)

    def save(self, step: int, state: TrainState) -> None:
        """Save now, and show examples."""
        self._save(step, state)
        if self.show is not None:
            self.show(step, state)
        self._saved = time.monotonic()

    def finish(self, step: int, state: TrainState) -> None:
        """Save now, without examples, and return when it is done."""
        with stopping.unhurried():
            self._save(step, state)
            self.checkpoints.wait()

    def _save(self, step: int, state: TrainState) -> None:
        """Save; the log refuses a run whose losses are not finite, so it is not saved."""
        with stopping.unhurried():
            run = {"pending": self.log.flush(), "elapsed_s": self.log.elapsed_s}
            self.checkpoints.save(step, state, run, loss=self.log.latest.get("loss"))


class StopSignal:
    """Turns SIGTERM and SIGINT into a saved state and an orderly end.

    A context manager: inside it the signals only set a flag, which is looked at after every call.
    Of several processes one is enough to stop them all. A second SIGINT raises.

    Args:
        saver: saves before the end.
    """

    def __init__(self, saver: Saver) -> None:
        self.saver = saver
        self._received = 0
        self._agree = Agreement()
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
        if self._received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = self._received or number

    def __call__(self, step: int, state: TrainState, losses: Losses) -> None:
        """End the run if a signal came.

        Raises:
            Interrupted: it did; the state is saved.
        """
        del losses
        if received := self._agree(self._received):
            self.saver.finish(step, state)
            raise Interrupted(received)


class ProgressBar:
    """A bar with loss, images a second and time left.

    A context manager: it is drawn when it is entered, inside of `StopSignal`, as a signal that
    raises while a bar is being made leaves half of one behind.

    Args:
        plan: of the run.
        log: where the loss comes from.
        step: where the run begins.
        shown: False keeps it silent.
    """

    def __init__(self, plan: Plan, log: LossLog | GroupLog, *, step: int, shown: bool) -> None:
        self.plan = plan
        self.log = log
        self.step = step
        self.shown = shown

    def __enter__(self) -> Self:
        self._bar = tqdm(
            total=self.plan.num_steps * self.plan.batch_size,
            initial=self.step * self.plan.batch_size,
            unit=" images",
            unit_scale=True,
            desc="training",
            disable=not self.shown,
            mininterval=0.5,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, step: int, state: TrainState, losses: Losses) -> None:
        """Move the bar to a step."""
        del state, losses
        if self.log.latest:
            self._bar.set_postfix_str(f"mse {self.log.latest['mse']:.2e}", refresh=False)
        self._bar.update(step * self.plan.batch_size - self._bar.n)
