"""What training is made of: model, plan, optimizer and update, put together from a configuration.

A member's own numbers (rates, noise, weights of terms, keys) are arguments of the update, so that
members which differ in nothing else share one program.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsurf.images import summary
from jaxsurf.images.image_set import ImageSet
from jaxsurf.models.autoencoder import Autoencoder, make_autoencoder
from jaxsurf.pipeline.run import configuration
from jaxsurf.pipeline.run.configuration import RunConfig
from jaxsurf.training import corruption, features, feed, optimizer, plan, seeding, step
from jaxsurf.training.examples import Examples
from jaxsurf.training.features import Extractor
from jaxsurf.training.optimizer import Optimizer, Rates, Schedule
from jaxsurf.training.plan import Plan
from jaxsurf.training.seeding import Streams
from jaxsurf.training.step import Member, TrainState, Update
from jaxsurf.workdir import fingerprint


@dataclass(frozen=True, kw_only=True)
class Parts:
    """One run, not yet begun.

    Attributes:
        config: of the run.
        images: of the run.
        plan: how far it goes.
        graphdef: structure of its model.
        state: before the first update.
        streams: its randomness.
        schedule: share of the highest learning rate by step.
    """

    config: RunConfig
    images: ImageSet
    plan: Plan
    graphdef: nnx.GraphDef[Autoencoder]
    state: TrainState
    streams: Streams
    schedule: Schedule

    @property
    def identity(self) -> str:
        """What checkpoints of the run are told by: its settings but for its length, its images."""
        settings = configuration.decisive(self.config)
        told = {
            name: value
            for name, value in settings.items()
            if not name.startswith(("data.", "training.num_epochs"))
        }
        return fingerprint(json.dumps(told, sort_keys=True), self.images.fingerprint)

    def learning_rate(self, at: int) -> float:
        """Return the learning rate of a step."""
        return self.config.optimizer.learning_rate * float(np.asarray(self.schedule(at)))

    def on_host(self) -> "Parts":
        """Return the same parts, whose state leaves the device to the states that are trained."""
        return dataclasses.replace(self, state=jax.device_get(self.state))

    def make_optimizer(self, rates: Rates) -> Optimizer:
        """Return the optimizer with some rates."""
        return optimizer.make_optimizer(self.config.optimizer, self.schedule, rates)

    def make_update(self) -> Update:
        """Return the update of this run, and of all that share its program."""
        return Update(
            graphdef=self.graphdef,
            make_optimizer=self.make_optimizer,
            layers=self.config.objective.layers,
            precision=self.config.training.precision,
        )

    def make_member(self, *, kinds: Sequence[str] = (), terms: Sequence[str] = ()) -> Member:
        """Return this run's own numbers.

        Args:
            kinds: of noise that the program has to be able to do; none means this run's alone.
            terms: of the objective that the program computes; none means this run's alone.
        """
        weights = self.config.objective.weights
        return Member(
            rates=optimizer.make_rates(self.config.optimizer),
            noise=corruption.make_noise(self.config.corruption, kinds),
            weights={name: jnp.float32(weights.get(name, 0.0)) for name in terms or weights},
            noise_key=self.streams.noise,
        )


def assemble(config: RunConfig, images: ImageSet) -> Parts:
    """Return the parts of a run.

    Raises:
        UserError: the images do not suit the model.
    """
    streams = seeding.make_streams(config.training.seed)
    planned = plan.make_plan(config.training, num_images=len(images))
    model = make_autoencoder(
        config.model, mean_image=summary.mean(images.images), key=streams.weights
    )
    schedule = optimizer.make_schedule(
        config.optimizer, num_epochs=planned.num_epochs, steps_per_epoch=planned.steps_per_epoch
    )
    rates = optimizer.make_rates(config.optimizer)
    return Parts(
        config=config,
        images=images,
        plan=planned,
        graphdef=step.split_model(model)[0],
        state=step.init_state(model, optimizer.make_optimizer(config.optimizer, schedule, rates)),
        streams=streams,
        schedule=schedule,
    )


def check(config: RunConfig, images: ImageSet) -> None:
    """Refuse what `assemble` would, without making anything.

    Raises:
        UserError: the images do not suit the model.
    """
    mean = np.zeros(images.images.shape[1:], np.float32)
    key = jax.random.key(config.training.seed)
    nnx.eval_shape(lambda: make_autoencoder(config.model, mean_image=mean, key=key))


def make_examples(config: RunConfig, images: ImageSet, extract: Extractor | None) -> Examples:
    """Return a run's examples, on the host, with their features where these fit."""
    kept = features.keep(
        extract,
        images.images,
        allowed_mib=config.objective.feature_cache_mib,
        room_bytes=feed.device_room_bytes() - images.images.nbytes,
    )
    return Examples(images.images, kept)


def with_weights(graphdef: nnx.GraphDef[Autoencoder], state: TrainState) -> Autoencoder:
    """Return the model of that structure with a training state's weights."""
    return nnx.merge(graphdef, state.params, state.constants)
