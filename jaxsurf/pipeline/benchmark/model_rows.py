"""Rows of training beside PyTorch, of sweeps, of decoding, and the tests on an accelerator."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from jaxsurf.frames.decode import Frames, decode_points
from jaxsurf.images import pixels
from jaxsurf.models.autoencoder import Autoencoder, ModelConfig, make_autoencoder
from jaxsurf.pipeline import configuration, experiments
from jaxsurf.pipeline.benchmark.rows import Contest, Make, Row, Work
from jaxsurf.pipeline.setup import (
    CompiledRun,
    TrainSetup,
    compile_run,
    compile_together,
    make_setup,
)
from jaxsurf.pipeline.sweep import make_grid

MODELS = {"reference": 64, "smooth": 32}  # channels
IMAGES, LONG_EPOCHS = 1_600, 300
# Of a grid of 18 members that share a program.
AXES: Mapping[str, Sequence[object]] = {
    "corruption.strength": (0.1, 0.2, 0.5),
    "corruption.kind": ("normal", "white"),
    "optimizer.learning_rate": (5e-4, 1e-3, 2e-3),
}
SMALL = {"data.side": 32, "model.channels": 8}
ROOT, TESTS_LIMIT_S = Path(__file__).parents[3], 160


class Training:
    """Goes on training for some steps each time it is called, and waits for them."""

    def __init__(self, made: CompiledRun, num_steps: int) -> None:
        self.made, self.num_steps, self.feed = made, num_steps, made.make_feed(0)
        self.state, self.losses, self.step = made.state, {}, 0

    def __call__(self) -> None:
        """Do the steps; after the last of the plan it begins again."""
        end = self.step + self.num_steps
        while self.step < end:
            epoch, batch, planned = self.made.plan.call_at(self.step % self.made.plan.num_steps)
            taken = min(planned, end - self.step)
            fed = self.feed(epoch, batch, taken)
            self.state, self.losses = self.made.bound_step(self.state, *fed, num_steps=taken)
            self.step += taken
        jax.block_until_ready(self.state)


def train(
    name: str, batches: Sequence[int], small: bool, *, perceptual: bool = False
) -> Iterator[Contest]:
    """An epoch of training beside the same loop in PyTorch: a CUDA graph, eager and compiled.

    Features of clean images are computed at every step there; ours keeps them. On accelerators
    `torch.compile`, which takes a minute to begin and was the slowest of the three, comes after
    the other rows, and beside the plain loss of usual batches only.
    """
    on_cpu = jax.default_backend() == "cpu"
    eager = {"eager": "PyTorch"}
    # The rehearsal does without the C++ compiler, which takes longer than all else.
    compiled = {"aot_eager" if small else "inductor": "torch.compile"}
    first = eager | compiled if on_cpu else {"graph": "PyTorch, CUDA graph"} | eager
    last: list[Contest] = []
    for batch in batches:
        setup = _make_setup(name, small, batch=batch, perceptual=0.3 * perceptual)
        steps = 4 * setup.plan.steps_per_epoch
        if on_cpu:  # half a minute a row
            steps = max(1, (16 if small else 128 if perceptual else 512) // batch)
        loss = "MSE and perceptual" if perceptual else "MSE"
        what = f"`{name}`, C = {setup.config.model.channels}, batch {batch}, {loss}"
        contest = Contest(
            "train",
            f"{what}: an epoch of {IMAGES:,} images",
            [Training(compile_run(setup), steps)],
            _in_torch(setup, steps, first),
            scale=IMAGES / (steps * batch),
        )
        yield contest
        if not (on_cpu or perceptual or batch > 64):
            last.append(replace(contest, baselines=_in_torch(setup, steps, compiled)))
    yield from last


def _make_setup(name: str, small: bool, *, batch: int, perceptual: float = 0.0) -> TrainSetup:
    base = experiments.REFERENCE if name == "reference" else {"model.name": name}
    changes = {"training.batch_size": batch, "objective.perceptual": perceptual}
    reduced = {**SMALL, "data.stride": 4, "objective.layers": {"relu2_1": 1.0}} if small else {}
    config = configuration.from_dotted({**base, **changes, "targets.kind": "off", **reduced})
    # Each side copies the state that ours begins with.
    return make_setup(config, configuration.open_data(config.data)).on_host()


def _in_torch(setup: TrainSetup, num_steps: int, modes: Mapping[str, str]) -> dict[str, Make]:
    def make(mode: str) -> Sequence[Work]:
        # Whoever lists the rows needs no PyTorch.
        from jaxsurf.pipeline.benchmark.torch_baseline import TorchTraining

        return [TorchTraining(setup, num_steps=num_steps, mode=mode)]

    return {label: partial(make, mode) for mode, label in modes.items()}


def train_long(small: bool) -> Iterator[Contest]:
    """A run of the report's grid: 300 epochs."""
    setup = _make_setup("reference", small, batch=16)
    epoch = Training(compile_run(setup), setup.plan.steps_per_epoch)
    epochs = 1 if small else LONG_EPOCHS
    size = f"`reference`, batch 16, MSE: {epochs} epochs of {len(setup.images):,} images"
    yield Contest("train", size, [epoch] * epochs, warm=epoch, rounds=1)


def run_gpu_tests(small: bool) -> Iterator[Row]:
    """The tests that need an accelerator, counted; the rehearsal only collects them."""
    # They end, workers and all, before the case has to, which would leave them behind.
    command = ["timeout", "--signal=KILL", f"{TESTS_LIMIT_S}", sys.executable, "-m", "pytest", "-v"]
    # In several processes, each with tests of its own: most of their time is compilation.
    command += ["-m", "gpu and not slow", "--dist=worksteal", "--color=no"]
    command += ["tests/test_accelerators.py", *["--collect-only"] * small]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    words = (done.stdout.strip() or "no output").splitlines()[-1].strip("= ")
    passed = f"status {done.returncode}, {done.stdout.count(' PASSED')} passed"
    yield Row("train", f"tests on the accelerator: {words}", error=passed * bool(done.returncode))


def sweep(small: bool) -> Iterator[Contest]:
    """An epoch of 18 members as one program, beside the same one after another."""
    axes = {"corruption.kind": AXES["corruption.kind"]} if small else AXES
    thinned = small or jax.default_backend() == "cpu"
    for name, channels, side, stride in (("reference", 64, 64, 10), ("smooth", 8, 32, 4)):
        base = {"model.name": name, "training.batch_size": 8, "targets.kind": "off"}
        base |= {"data.stride": stride if thinned else 1, "data.side": side}
        base |= {"model.channels": channels} | (SMALL if small else {})
        (group,) = make_grid(base, axes).groups
        images = configuration.open_data(group[0].config.data)
        setups = [make_setup(member.config, images).on_host() for member in group]
        steps = setups[0].plan.steps_per_epoch
        yield Contest(
            "sweep",
            f"{len(setups)} members, `{name}`, C = {base['model.channels']}, batch 8, MSE: "
            f"an epoch of {len(images):,} images",
            [Training(compile_together(setups), steps)],
            {"one after another": partial(_in_turn, setups, steps)},
        )


def _in_turn(setups: Sequence[TrainSetup], steps: int) -> Sequence[Work]:
    trainings = [Training(compile_run(setup), steps) for setup in setups]
    return [lambda: [training() for training in trainings]]


def decode(small: bool) -> Iterator[Contest]:
    """Frames in batches, beside the decoder jitted for one code and called in a loop."""
    number = 50 if small else 1000
    for name, channels in MODELS.items():
        model = make_random_model(ModelConfig(name=name, channels=channels))
        points = np.random.default_rng(0).normal(size=(number, 2)).astype(np.float32)
        yield Contest(
            "decode",
            f"{number:,} frames of 64 x 64, `{name}`, C = {channels}",
            [partial(decode_points, model, points)],
            {"a jitted decode a frame": partial(_one_by_one, model, points)},
            agree=check_frames,
        )


def _one_by_one(model: Autoencoder, points: np.ndarray) -> Sequence[Work]:
    @jax.jit
    def single(model: Autoencoder, code: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            return pixels.to_uint8(model.decode(code[None])[0])

    return [lambda: np.stack([np.asarray(single(model, point)) for point in points])]


def make_random_model(config: ModelConfig) -> Autoencoder:
    """Return a model whose frames differ: random weights, also where models begin with zeros."""
    grey = np.full((64, 64, 3), 0.5, np.float32)
    model = make_autoencoder(config, mean_image=grey, key=jax.random.key(0))
    rng = np.random.default_rng(0)

    def shake(values: jax.Array) -> jax.Array:
        return values + 0.05 * rng.normal(size=values.shape).astype(np.float32)

    nnx.update(model, jax.tree.map(shake, nnx.state(model, nnx.Param)))
    return model


def check_frames(mine: Sequence[Frames], theirs: Sequence[Frames]) -> None:
    """Raise an error where frames differ by more than rounding explains."""
    np.testing.assert_allclose(mine[0].astype(int), theirs[0], rtol=0, atol=1)
