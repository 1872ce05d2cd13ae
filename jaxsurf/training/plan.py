"""How long and in what portions a run trains.

Where a call to the device begins and ends depends on the step alone, never on logging or saving: a
resumed run makes the same calls as one that was never stopped, and so the same numbers.
"""

import math
from dataclasses import dataclass

import jax

from jaxsurf.errors import UserError
from jaxsurf.training.keeping import Keep

# On accelerators a call should last much longer than its dispatch. On CPUs XLA brings the gradients
# of convolutions into the form that it is quick with only outside of loops (BUILD_NOTES.md).
CALL_STEPS = {"cpu": 1}
CALL_STEPS_ACCELERATOR = 100
SEEDS = 2**32
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long and in what portions to train.

    Attributes:
        num_epochs: passes over the images.
        batch_size: images a step, over all devices.
        seed: of weights, noise and order.
        precision: what the model is computed in during training, `float32` or `bfloat16`; weights,
            optimizer, losses and latent codes are float32 in any case.
        steps_per_call: steps that one call to the device does; 0 lets the backend decide, and on a
            CPU convolutions are many times slower with several.
        log_every: steps between two lines of metrics.
        save_every_s: seconds between two checkpoints.
        keep_last: how many of the newest checkpoints stay.
        keep_best: how many of those with the lowest loss, as it was last written down, stay.
        keep_every: each so-many-th checkpoint stays; 0 keeps none for that reason.
    """

    num_epochs: int = 200
    batch_size: int = 16
    seed: int = 0
    precision: str = "float32"
    steps_per_call: int = 0
    log_every: int = 100
    save_every_s: float = 60.0
    keep_last: int = 2
    keep_best: int = 1
    keep_every: int = 0

    def __post_init__(self) -> None:
        for name in ("num_epochs", "batch_size", "log_every"):
            if getattr(self, name) < 1:
                raise UserError(f"training.{name} is {getattr(self, name)}, but must be at least 1")
        if self.steps_per_call < 0 or not 0 <= self.save_every_s < math.inf:
            raise UserError(
                "training.steps_per_call and save_every_s must not be negative, and finite"
            )
        if self.precision not in PRECISIONS:
            raise UserError(
                f"training.precision is {self.precision!r}", cure=f"choose one of {PRECISIONS}"
            )
        if not 0 <= self.seed < SEEDS:
            raise UserError(f"training.seed is {self.seed}", cure=f"choose 0 to {SEEDS - 1}")
        _ = self.keep  # which checks its numbers

    @property
    def keep(self) -> Keep:
        """How many checkpoints stay."""
        return Keep(last=self.keep_last, best=self.keep_best, every=self.keep_every)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The length of a run in steps."""

    num_images: int
    batch_size: int
    num_epochs: int
    steps_per_call: int

    @property
    def steps_per_epoch(self) -> int:
        """Batches that cover all images, the last one filled up."""
        return -(-self.num_images // self.batch_size)

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.num_epochs * self.steps_per_epoch

    def call_at(self, step: int) -> tuple[int, int, int]:
        """Return epoch, first batch and number of steps of the call that begins at a step."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        portion = self.steps_per_call - batch % self.steps_per_call
        return epoch, batch, min(portion, self.steps_per_epoch - batch)


def make_plan(config: TrainingConfig, *, num_images: int) -> Plan:
    """Return the plan of a run on the present backend."""
    chosen = CALL_STEPS.get(jax.default_backend(), CALL_STEPS_ACCELERATOR)
    return Plan(
        num_images=num_images,
        batch_size=config.batch_size,
        num_epochs=config.num_epochs,
        steps_per_call=config.steps_per_call or chosen,
    )
