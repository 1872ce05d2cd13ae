"""How long a run trains, and what each call to the device trains on.

Where a call begins and ends depends on the step alone, never on logging or saving: a resumed run
makes the same calls as one that was never stopped, and so the same numbers. A call takes examples,
an order and the number of its first batch in that order. Where the whole set fits the device it is
put there once; where not, each process gathers the batches of the call for its own devices, while
these work on the call before, and there is no order. Both give the same numbers.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from jaxsurf.errors import UserError, check_choice, check_least
from jaxsurf.images import storage
from jaxsurf.training import distributed
from jaxsurf.training.distributed import Shardings
from jaxsurf.training.step import AnyArray, Examples

# On accelerators a call should last much longer than its dispatch; on CPUs XLA is slow at the
# gradients of convolutions in loops.
CALL_STEPS_CPU, CALL_STEPS_ACCELERATOR = 1, 100
EXAMPLES_SHARE = 0.5  # of a device's memory; model, activations and XLA take the rest

Order = Int[Array, "*runs slot"]
Call = tuple[int, int, int]  # epoch, first batch within it, number of steps
Fed = tuple[Examples, Order | None, Int[Array, ""]]
Feed = Callable[[int, int, int], Fed]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long to train, and what is logged and saved on the way.

    Attributes:
        num_epochs: passes over the images.
        batch_size: images a step, over all devices.
        seed: of weights, noise and order.
        precision: what the model is computed in during training: `float32`, or `bfloat16` for
            accelerators; weights, optimizer, losses and latent codes are float32 in any case.
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
        for name in ("num_epochs", "batch_size", "log_every", "keep_last"):
            check_least(f"training.{name}", getattr(self, name), 1)
        for name in ("steps_per_call", "save_every_s", "keep_best", "keep_every"):
            check_least(f"training.{name}", getattr(self, name), 0)
        check_choice("training.precision", self.precision, ("float32", "bfloat16"))
        if not 0 <= self.seed < 2**32:
            raise UserError(f"training.seed is {self.seed}", cure=f"choose 0 to {2**32 - 1}")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The length of a run in steps, the first ones by target codes if there are any."""

    num_images: int
    batch_size: int
    num_epochs: int
    steps_per_call: int
    target_share: float = 0.0

    @property
    def steps_per_epoch(self) -> int:
        """Batches that cover all images, the last one filled up."""
        return -(-self.num_images // self.batch_size)

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.num_epochs * self.steps_per_epoch

    @property
    def target_steps(self) -> int:
        """Steps by target codes."""
        return round(self.target_share * self.num_steps)

    def call_at(self, step: int) -> Call:
        """Return epoch, first batch and number of steps of the call that begins at a step."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        num_steps = self.steps_per_call - batch % self.steps_per_call
        num_steps = min(num_steps, self.steps_per_epoch - batch)
        if step < self.target_steps:
            num_steps = min(num_steps, self.target_steps - step)
        return epoch, batch, num_steps


def make_plan(config: TrainingConfig, *, num_images: int, target_share: float = 0.0) -> Plan:
    """Return the plan of a run on the present backend."""
    chosen = CALL_STEPS_CPU if jax.default_backend() == "cpu" else CALL_STEPS_ACCELERATOR
    return Plan(
        num_images=num_images,
        batch_size=config.batch_size,
        num_epochs=config.num_epochs,
        steps_per_call=config.steps_per_call or chosen,
        target_share=target_share,
    )


@partial(jax.jit, static_argnames=("num_images", "num_slots"))
def epoch_order(
    key: Key[Array, ""], epoch: Int[Array, ""], *, num_images: int, num_slots: int
) -> Int[Array, "slot"]:
    """Return an epoch's image numbers: each once, then the first ones again to fill all slots."""
    order = jax.random.permutation(jax.random.fold_in(key, epoch), num_images)
    return jnp.resize(order, (num_slots,))


def make_feed(
    examples: Examples, *, order_key: Key[Array, "*runs"], plan: Plan, shardings: Shardings
) -> Feed:
    """Return what gives the examples, the order and the first batch of a call.

    The whole set, which is on the host, goes to every device if it fits (`room_for`). Several keys
    give an order each. Once the plan's steps by target codes are done, targets are left out.
    """
    whole = examples.nbytes <= room_for(examples)
    given = distributed.put(examples, shardings.replicated) if whole else examples
    size = {"num_images": plan.num_images, "num_slots": plan.steps_per_epoch * plan.batch_size}

    @lru_cache(maxsize=1)
    def order_of(epoch: int) -> Order:
        ordered = partial(epoch_order, epoch=jax.device_put(np.int32(epoch)), **size)
        order = jax.vmap(ordered)(order_key) if order_key.ndim else ordered(order_key)
        return distributed.put(order, shardings.replicated) if whole else order

    def first(batch: int) -> Int[Array, ""]:
        return cast(Array, distributed.put(np.asarray(batch, np.int32), shardings.replicated))

    def examples_at(epoch: int, batch: int) -> Examples:
        by_targets = epoch * plan.steps_per_epoch + batch < plan.target_steps
        return given if by_targets else given._replace(targets=None)

    if whole:
        return lambda epoch, batch, _: (examples_at(epoch, batch), order_of(epoch), first(batch))

    def gather(epoch: int, batch: int, num_steps: int) -> Fed:
        slots = np.asarray(order_of(epoch)).reshape(-1, plan.batch_size)[batch : batch + num_steps]

        def gathered(values: AnyArray) -> Array:
            return distributed.assemble(
                (*slots.shape, *values.shape[1:]),
                shardings.batches,
                lambda index: storage.take(np.asanyarray(values), slots[index[:2]]),
            )

        return jax.tree.map(gathered, examples_at(epoch, batch)), None, first(0)

    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed")
    begin = lru_cache(maxsize=2)(partial(thread.submit, gather))

    def feed(epoch: int, batch: int, num_steps: int) -> Fed:
        fed = begin(epoch, batch, num_steps).result()
        step = epoch * plan.steps_per_epoch + batch + num_steps
        if step < plan.num_steps:
            begin(*plan.call_at(step))
        return fed

    return feed


def room_for(examples: Examples) -> float:
    """Return `device_room_bytes`, but 0 for what is memory-mapped: it is not loaded for CPUs."""
    streamed = storage.is_mapped(examples.images) and jax.default_backend() == "cpu"
    return min(device_room_bytes(), distributed.least(0.0 if streamed else float("inf")))


def device_room_bytes() -> float:
    """Return how many bytes examples may take on a device, the same in all processes; CPUs: any."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return distributed.least(EXAMPLES_SHARE * stats.get("bytes_limit", float("inf")))
