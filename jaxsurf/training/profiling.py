"""A trace of some steps, for TensorBoard's profiler or XProf."""

import logging

import jax

from jaxsurf.training.step import Losses, TrainState

_log = logging.getLogger(__name__)


class Profile:
    """Records the calls that hold the next steps, once; a hook of the loop.

    The first call is left out: what is compiled there would hide the rest.

    Args:
        folder: where the trace goes, below `plugins/profile/`.
        num_steps: to record at least; calls are recorded whole. 0 records nothing.
    """

    def __init__(self, folder: str, num_steps: int) -> None:
        self.folder = folder
        self.num_steps = num_steps
        self._until: int | None = None

    def __call__(self, step: int, state: TrainState, losses: Losses) -> None:
        """Begin after the first call; end after the one with the last step."""
        del state
        if self.num_steps and self._until is None:
            jax.block_until_ready(losses)
            jax.profiler.start_trace(self.folder)
            self._until = step + self.num_steps
        elif self._until is not None and step >= self._until:
            jax.block_until_ready(losses)
            self.close()

    def close(self) -> None:
        """Write down what is recorded, and say where it lies."""
        if self.num_steps and self._until is None:
            _log.warning("nothing is profiled: no call was left after the first, which compiles")
        elif self.num_steps:
            jax.profiler.stop_trace()
            _log.info(
                "the profile is in %s; to see it: pip install tensorboard xprof, and then "
                "tensorboard --logdir=%s",
                *(self.folder, self.folder),
            )
        self.num_steps, self._until = 0, None
