"""Training, beside a PyTorch loop of the same model, batch, loss, optimizer and precision.

A row is the time of an epoch of 1,600 images without logs and checkpoints; where only some steps
were timed, they are multiplied to an epoch. Features of clean images are computed at every step by
the loop in PyTorch; ours keeps them. Four devices are four accelerators: as many on one processor
would measure nothing.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product

import jax

from jaxsurf.errors import UserError
from jaxsurf.pipeline import configuration, experiments
from jaxsurf.pipeline.benchmark import measurement
from jaxsurf.pipeline.benchmark.rows import Case, Contest, Parts, Where
from jaxsurf.pipeline.setup import CompiledRun, TrainSetup, compile_run, make_setup
from jaxsurf.training.step import Losses

Settings = Mapping[str, object]

MODELS: Mapping[str, Settings] = {
    "reference": experiments.REFERENCE,
    "smooth": {"model.name": "smooth"},
}
PERCEPTUAL: Settings = {"objective.perceptual": 0.3}
BATCHES = (8, 64, 512)
IMAGES = 1600
# What a CPU is timed with, so that a row takes a minute at most; features cost ten times as much.
CPU_IMAGES, CPU_IMAGES_WITH_FEATURES = 512, 128
# What an accelerator is timed with: much longer than starting a call takes.
ACCELERATOR_EPOCHS = 10
LONG_EPOCHS = 300  # a run of the report's grid
# How PyTorch does it, and where.
MODES: Mapping[str, Where] = {"eager": "anywhere", "compile": "anywhere", "graphs": "accelerator"}
PEERS = {"eager": "PyTorch", "compile": "torch.compile", "graphs": "PyTorch, CUDA graph"}


class Training:
    """Goes on for some steps each time it is called.

    Args:
        made: of the run.
        num_steps: of a call of this object.

    Attributes:
        losses: of the last call to the device.
    """

    def __init__(self, made: CompiledRun, *, num_steps: int) -> None:
        self.made = made
        self.num_steps = num_steps
        self.state = made.state
        self.fed = made.make_feed()
        self.step = 0
        self.losses: Losses = {}

    def __call__(self) -> None:
        """Do the steps, and wait for them."""
        end = self.step + self.num_steps
        while self.step < end:
            epoch, batch, planned = self.made.plan.call_at(self.step)
            taken = min(planned, end - self.step)
            portion = self.fed(epoch, batch, taken)
            self.state, self.losses = self.made.step_fn(self.state, *portion, num_steps=taken)
            self.step += taken
        jax.block_until_ready(self.state)

    def flops(self) -> float | None:
        """Return the floating-point operations of a step, as XLA counts them; None if it doesn't.

        For GPUs jax 0.11 gives no count of a program that is not compiled.
        """
        single = jax.jit(partial(self.made.step_fn, num_steps=1))
        portion = self.fed(*self.made.plan.call_at(0)[:2], 1)
        counted = single.lower(self.state, *portion).cost_analysis() or {}
        return counted.get("flops")


def make_contest(
    settings: Settings, *, mode: str = "", num_epochs: int = 0, num_devices: int = 1
) -> Contest:
    """Return the contest of a run.

    Args:
        settings: of the run, by dotted name.
        mode: how PyTorch does it; empty for no peer.
        num_epochs: timed at once; 0 times an epoch, computed from what this backend does in
            reasonable time.
        num_devices: to use.

    Raises:
        UserError: there are fewer devices.
    """
    if len(jax.devices()) < num_devices:
        raise UserError(f"not measured: {len(jax.devices())} of {num_devices} devices are there")
    config = configuration.from_dotted(settings)
    # The peer is made when the state that ours began with is gone.
    parts = make_setup(config, configuration.open_data(config.data)).on_host()
    steps = num_epochs * parts.plan.steps_per_epoch or _reasonable(parts)
    training = Training(compile_run(parts, num_devices=num_devices), num_steps=steps)
    number = max(1, num_epochs) * len(parts.images) / (steps * parts.plan.batch_size)
    peak = measurement.flops_per_s(config.training.precision, num_devices=num_devices)
    flops = training.flops() if peak else None
    return Contest(
        ours=Parts(parts=[training], number=number),
        make_peer=partial(_make_peer, parts, steps, mode, number) if mode else None,
        least_s=steps * flops / peak if peak and flops else None,
    )


def _reasonable(parts: TrainSetup) -> int:
    """Return how many steps to time at once."""
    if jax.default_backend() != "cpu":
        return ACCELERATOR_EPOCHS * parts.plan.steps_per_epoch
    images = CPU_IMAGES_WITH_FEATURES if parts.config.objective.perceptual else CPU_IMAGES
    return max(1, images // parts.plan.batch_size)


def _make_peer(parts: TrainSetup, num_steps: int, mode: str, number: float) -> Parts:
    # Whoever lists the rows needs no PyTorch.
    from jaxsurf.pipeline.benchmark.torch_loop import TorchTraining

    training = TorchTraining(
        parts, num_steps=num_steps, compiled=mode == "compile", recorded=mode == "graphs"
    )
    return Parts(parts=[training], number=number)


def _cases() -> Iterator[Case]:
    """Return models, batches, losses and peers; then precision, devices and the long run."""
    for name, batch, extra, mode in product(MODELS, BATCHES, ({}, PERCEPTUAL), MODES):
        yield _case(name, batch, extra, mode=mode, where=MODES[mode])
    for name, batch, mode in product(MODELS, BATCHES, MODES):
        low = {"training.precision": "bfloat16"}
        yield _case(name, batch, low, mode=mode, where="accelerator")
    for name, batch in product(MODELS, BATCHES):
        yield _case(name, batch, {}, num_devices=4)
    yield _case("reference", 16, {}, where="accelerator", num_epochs=LONG_EPOCHS)


def _case(
    name: str,
    batch: int,
    extra: Settings,
    *,
    mode: str = "",
    where: Where = "anywhere",
    num_devices: int = 1,
    num_epochs: int = 0,
) -> Case:
    """Return the case of a model, a batch and further settings."""
    settings = {**MODELS[name], **extra, "training.batch_size": batch}
    config = configuration.from_dotted(settings)
    words = [
        f"`{name}`, C = {config.model.channels}, batch {batch}",
        "MSE and perceptual loss" if config.objective.perceptual else "MSE",
        *(["bfloat16"] if config.training.precision == "bfloat16" else []),
        *([f"{num_devices} devices"] if num_devices > 1 else []),
        *([f"beside {PEERS[mode]}"] if mode else []),
    ]
    return Case(
        stage="train",
        size=f"{', '.join(words)}: {f'{num_epochs} epochs' if num_epochs else 'an epoch'} of "
        f"{IMAGES:,} images",
        prepare=partial(
            make_contest, settings, mode=mode, num_devices=num_devices, num_epochs=num_epochs
        ),
        peer=PEERS[mode] if mode else "",
        needs=("torch",) if mode else (),
        where=where,
    )


CASES = list(_cases())
