"""From a configuration and images to what the training loop takes: a setup, then a compiled run.

A setup is a run not yet begun: plan, model, state before the first update, streams of randomness.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental.multihost_utils import broadcast_one_to_all
from jax.sharding import SingleDeviceSharding
from jaxtyping import Array, ArrayLike, Key

from jaxsurf.errors import UserError
from jaxsurf.images import pixels
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import targets
from jaxsurf.models.autoencoder import Autoencoder, MeanImage, ModelConfig, make_autoencoder
from jaxsurf.models.vgg.network import VGG16
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.training import corruption, data, distributed, objective, optimizer
from jaxsurf.training import step as train_step
from jaxsurf.training.data import Feed, Plan
from jaxsurf.training.log import Log, Saved
from jaxsurf.training.optimizer import Rates
from jaxsurf.training.step import Examples, Hyperparameters, Step, TrainState
from jaxsurf.workdir import fingerprint


@dataclass(frozen=True, kw_only=True)
class TrainSetup:
    """One run, not yet begun."""

    config: RunConfig
    images: ImageSet
    plan: Plan
    graphdef: nnx.GraphDef[Autoencoder]
    state: TrainState
    streams: train_step.Streams

    @property
    def identity(self) -> str:
        """What checkpoints of the run are known by: settings but for its length, and images."""
        settings = configuration.decisive_text(self.config, but=("data.", "training.num_epochs"))
        return fingerprint(settings, self.images.fingerprint)

    def on_host(self) -> "TrainSetup":
        """Return the same setup, whose state leaves the device to the states that are trained."""
        return dataclasses.replace(self, state=jax.device_get(self.state))

    def with_weights(self, state: TrainState) -> Autoencoder:
        """Return the model with a training state's weights."""
        return nnx.merge(self.graphdef, state.params, state.constants)

    def make_update(self) -> train_step.Update:
        """Return the update of this run, and of all that share its compiled step."""
        return train_step.Update(
            graphdef=self.graphdef,
            optimizer=optimizer.structure(self.config.optimizer),
            layers=tuple(self.config.objective.layers.items()),
            precision=self.config.training.precision,
        )

    def make_hyperparameters(
        self, *, kinds: Sequence[str] = (), terms: Sequence[str] = ()
    ) -> Hyperparameters:
        """Return this run's own numbers, for a step that may know more kinds of noise and terms."""
        weights = self.config.objective.weights
        return Hyperparameters(
            rates=_make_rates(self.config, self.plan),
            noise=corruption.make_noise(self.config.corruption, kinds),
            weights={name: jnp.float32(weights.get(name, 0.0)) for name in terms or weights},
            noise_key=self.streams.noise,
            target_weight=jnp.float32(self.config.targets.weight),
            target_steps=jnp.float32(self.plan.target_steps),
        )

    def learning_rate_at(self, step: ArrayLike) -> Array:
        """Return the learning rate of a step."""
        rates = _make_rates(self.config, self.plan)
        return optimizer.learning_rate_at(self.config.optimizer.name, rates, step)

    def make_examples(self, extract: VGG16 | None, *, first_step: int = 0) -> Examples:
        """Return the examples, on the host, with their features where these fit.

        Target codes are among them if steps from the first on use some.
        """
        kept = objective.keep_features(
            extract,
            self.images.model_input,
            allowed_mib=self.config.objective.feature_cache_mib,
            room_bytes=data.device_room_bytes() - self.images.model_input.nbytes,
        )
        if first_step >= self.plan.target_steps:
            return Examples(self.images.model_input, kept)
        codes, dimensions = None, self.config.model.latent_dim
        if distributed.writes():
            codes = targets.choose(self.images, dimensions, self.config.targets)
        if codes is None:
            codes = np.zeros((len(self.images), dimensions), np.float32)
        codes = np.asarray(broadcast_one_to_all(codes))  # zeros for none
        return Examples(self.images.model_input, kept, codes if codes.any() else None)

    def make_log(self, path: Path, *, resume_step: int, saved: Saved | None) -> Log:
        """Return what writes the run's losses down."""
        return Log(
            path,
            every=self.config.training.log_every,
            last_step=self.plan.num_steps,
            steps_per_epoch=self.plan.steps_per_epoch,
            learning_rate=lambda step: float(self.learning_rate_at(step)),
            resume_step=resume_step,
            saved=saved,
        )


def make_setup(config: RunConfig, images: ImageSet, *, abstract: bool = False) -> TrainSetup:
    """Return the setup of a run.

    Its state may be abstract: shapes alone, which a checkpoint is restored into.
    """
    streams = train_step.make_streams(config.training.seed)
    share = 0.0 if config.targets.kind == "off" else config.targets.share
    plan = data.make_plan(config.training, num_images=len(images), target_share=share)
    starting = optimizer.make_optimizer(config.optimizer, _make_rates(config, plan))
    mean = np.zeros(images.images.shape[1:]) if abstract else pixels.mean(images.model_input)

    def init(graphdef: nnx.GraphDef[Autoencoder], variables: nnx.State) -> TrainState:
        return train_step.init_state(nnx.merge(graphdef, variables), starting)

    if abstract:
        abstractly = functools.partial(_draw_model, config.model)
        graphdef, variables = jax.eval_shape(abstractly, streams.weights, mean)
        here = SingleDeviceSharding(jax.local_devices()[0])
        state = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
            jax.eval_shape(init, graphdef, variables),
        )
    else:
        # It runs once a member: optimized for CPUs, it would do the same to the bit, but take more
        # than twice as long to compile, seven seconds.
        on_cpu = jax.default_backend() == "cpu"
        options = {"xla_backend_optimization_level": 1} if on_cpu else None
        draw = jax.jit(_draw_model, static_argnums=0, compiler_options=options)
        graphdef, variables = draw(config.model, streams.weights, mean)
        state = init(graphdef, variables)
    return TrainSetup(
        config=config,
        images=images,
        plan=plan,
        graphdef=graphdef,
        state=state,
        streams=streams,
    )


def _make_rates(config: RunConfig, plan: Plan) -> Rates:
    length = {"num_epochs": plan.num_epochs, "steps_per_epoch": plan.steps_per_epoch}
    return optimizer.make_rates(config.optimizer, **length)


def _draw_model(
    config: ModelConfig, key: Key[Array, ""], mean_image: MeanImage
) -> tuple[nnx.GraphDef[Autoencoder], nnx.State]:
    # Of the module, so that JAX compiles it once for all members of a sweep.
    graphdef, variables = nnx.split(make_autoencoder(config, mean_image=mean_image, key=key))
    return graphdef, variables


@dataclass(frozen=True, kw_only=True)
class CompiledRun:
    """What `loop.run` takes."""

    state: TrainState
    plan: Plan
    bound_step: Step
    # Takes the first step that is fed: targets that no step needs any more are not computed.
    make_feed: Callable[[int], Feed]


def compile_run(setup: TrainSetup, *, num_devices: int | None = None) -> CompiledRun:
    """Return what the loop takes of one run; runs that differ in numbers alone share a program."""
    batch_size = setup.config.training.batch_size
    shardings = distributed.make_shardings(batch_size, num_devices=num_devices)
    microbatch = train_step.choose_microbatch(
        batch_size,
        image_pixels=math.prod(setup.images.images.shape[1:3]),
        with_features="perceptual" in setup.config.objective.weights,
        shardings=shardings,
    )
    compiled_step = train_step.compile_step(
        setup.make_update(), batch_size=batch_size, shardings=shardings, microbatch=microbatch
    )
    own_extract = objective.make_extractor(setup.config.objective, setup.images.look)
    state, hyper, extract = distributed.put(
        (setup.state, setup.make_hyperparameters(), own_extract), shardings.replicated
    )

    def bound_step(state: TrainState, *fed: Any, num_steps: int) -> Any:  # noqa: ANN401
        given = compiled_step(state, hyper, extract, *fed, num_steps=num_steps)
        return distributed.in_step(given, shardings.mesh)

    return CompiledRun(
        state=state,
        plan=setup.plan,
        bound_step=bound_step,
        make_feed=lambda first_step: data.make_feed(
            setup.make_examples(own_extract, first_step=first_step),
            order_key=setup.streams.order,
            plan=setup.plan,
            shardings=shardings,
        ),
    )


def compile_together(setups: Sequence[TrainSetup]) -> CompiledRun:
    """Return what the loop takes of runs that share a program."""
    one, shardings = setups[0], distributed.Shardings.over(jax.devices()[: len(setups)])
    own_extract = objective.make_extractor(one.config.objective, one.images.look)
    extract = jax.device_put(own_extract, shardings.replicated)
    kinds = sorted({setup.config.corruption.kind for setup in setups})
    terms = sorted({term for setup in setups for term in setup.config.objective.weights})
    numbers = [setup.make_hyperparameters(kinds=kinds, terms=terms) for setup in setups]
    hyper = train_step.stack(numbers, shardings)
    keys = train_step.stack([setup.streams.order for setup in setups], shardings)
    stacked_step = train_step.compile_stacked_step(
        one.make_update(), batch_size=one.config.training.batch_size, shardings=shardings
    )

    def make_feed(first_step: int) -> Feed:
        examples = one.make_examples(extract, first_step=first_step)
        if examples.nbytes > data.room_for(examples):
            raise UserError(
                f"{len(one.images)} images don't fit a device, where members trained together "
                "need them",
                cure="train in turn: --mode=in_turn",
            )
        return data.make_feed(examples, order_key=keys, plan=one.plan, shardings=shardings)

    def bound_step(states: TrainState, *fed: Any, num_steps: int) -> Any:  # noqa: ANN401
        given = stacked_step(states, hyper, extract, *fed, num_steps=num_steps)
        return distributed.in_step(given, shardings.mesh)

    return CompiledRun(
        state=train_step.stack([setup.state for setup in setups], shardings),
        plan=one.plan,
        bound_step=bound_step,
        make_feed=make_feed,
    )
