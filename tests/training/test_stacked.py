"""Runs that are trained as one, on four devices, equal the same runs trained alone."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxsurf.images.image_set import ImageSet
from jaxsurf.models.autoencoder import make_autoencoder
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.setup import compile_run, compile_together, make_setup
from jaxsurf.training import distributed, loop, step

# 11 images are not a whole number of batches of 4: 3 steps an epoch.
IMAGES = np.zeros((11, 16, 16, 3), np.uint8)
for image, pixels in enumerate(IMAGES):
    pixels[image : image + 5, image // 2 : image // 2 + 7, image % 3] = 255
BASE = {
    "model": {"channels": 4},
    "corruption": {"strength": 0.2},
    "objective": {"mse": 1.0},
    "optimizer": {"learning_rate": 2e-3},
    "training": {"batch_size": 4, "num_epochs": 2},
    "targets": {"kind": "on", "share": 1.0},
}
# Each differs from the first in one thing: 9 members, which 4 devices can't share evenly.
DIFFERENT = (
    {},
    {"optimizer": {"learning_rate": 5e-3}},
    {"optimizer": {"weight_decay": 20.0}},
    {"optimizer": {"warmup_share": 0.8}},
    {"targets": {"weight": 0.0}},
    {"corruption": {"kind": "white"}},
    {"corruption": {"strength": 0.7}},
    {"objective": {"mse": 0.5, "l1": 0.25}},
    {"training": {"seed": 3}},
)
PERCEPTUAL = [
    {"objective": {"mse": mse, "perceptual": share, "layers": {"relu1_2": 1.0}}}
    for mse, share in [(1.0, 0.01), (0.5, 0.02), (0.0, 0.05)]
]
# Adam's first steps divide by tiny second moments, which magnifies the rounding of convolutions
# that are computed in another order; as for one device against four (test_step.py).
TOLERANCE = {"rtol": 1e-4, "atol": 2e-5}


def setups_of(changes):
    made = []
    for change in changes:
        settings = {name: BASE.get(name, {}) | change.get(name, {}) for name in BASE | change}
        made.append(make_setup(configuration.from_dict(settings), ImageSet(IMAGES, "squares")))
    return [setup.on_host() for setup in made]


def train(made):
    """Return the last state, and the losses of every step."""
    given = {"bound_step": made.bound_step, "feed": made.make_feed(0), "plan": made.plan}
    calls = loop.calls(made.state, first_step=0, **given)
    found = [(state, jax.device_get(losses)) for _, state, losses in calls]
    return jax.device_get(found[-1][0]), [losses for _, losses in found]


def train_together(group):
    """Return each member's last state and losses."""
    states, losses = train(compile_together(group))
    return [
        (state, [{name: values[number] for name, values in loss.items()} for loss in losses])
        for number, state in enumerate(step.unstack(states, len(group)))
    ]


def pairs_of_leaves(one, other):
    return zip(*map(jax.tree.leaves, (one, other)), strict=True)


def test_weights_follow_from_the_seed_drawn_by_one_program_and_the_mean_from_images(monkeypatch):
    traced = []

    def counted(*given, **named):
        traced.append(given)
        return make_autoencoder(*given, **named)

    monkeypatch.setattr("jaxsurf.pipeline.setup.make_autoencoder", counted)
    own = {"model": {"channels": 12}}  # which no other test has drawn
    changes = [{}, {"optimizer": {"learning_rate": 1e-2}}, {"training": {"seed": 3}}]
    first, again, other = (made.state for made in setups_of([own | each for each in changes]))
    assert len(traced) == 1
    jax.tree.map(np.testing.assert_array_equal, first, again)
    kernels = [(a, b) for a, b in pairs_of_leaves(first.params, other.params) if a.any()]
    assert len(kernels) > 5
    assert all((a != b).any() for a, b in kernels)
    for state in (first, other):
        (mean,) = jax.tree.leaves(state.constants)
        np.testing.assert_allclose(mean, IMAGES.mean(axis=0) / 255, atol=1e-6)


LONGER = {
    "training": {"num_epochs": 5, "seed": 3},
    "targets": {"share": 0.3},
    "optimizer": {"learning_rate": 1e-3},
}


@pytest.mark.parametrize(
    ("change", "shared"), [(LONGER, True), ({"optimizer": {"b2": 0.9}}, False)]
)
def test_runs_of_any_length_share_a_compiled_step(change, shared):
    def lowered(setup):
        shardings = distributed.make_shardings(4, num_devices=1)
        program = step.compile_step(setup.make_update(), batch_size=4, shardings=shardings)
        examples = step.Examples(IMAGES, targets=np.zeros((11, 2), np.float32))
        fed = (setup.make_hyperparameters(), None, examples, np.arange(12), np.int32(0))
        return program, program.lower(setup.state, *fed, num_steps=1).as_text()

    (one, text), (other, other_text) = map(lowered, setups_of([{}, change]))
    assert (one is other) is shared
    assert (text == other_text) is shared


@pytest.mark.parametrize(
    "changes", [DIFFERENT, pytest.param(PERCEPTUAL, marks=pytest.mark.slow)], ids=["all", "vgg"]
)
def test_members_of_a_group_equal_those_alone_and_one_that_diverges_leaves_the_others(changes):
    by_themselves = [train(compile_run(setup, num_devices=1)) for setup in setups_of(changes)]
    group = setups_of(changes)  # keys are used up by one training
    found = train_together(group)
    for setup, (here, losses), (there, expected) in zip(group, found, by_themselves, strict=True):
        for a, b in pairs_of_leaves((here.params, here.constants), (there.params, there.constants)):
            np.testing.assert_allclose(a, b, **TOLERANCE)
        for name in setup.config.objective.losses:
            values = ([loss[name] for loss in each] for each in (losses, expected))
            np.testing.assert_allclose(*values, rtol=1e-4)
    # Each difference makes another member, else the comparison would prove nothing.
    (base, _), *others = by_themselves
    for state, _ in others:
        furthest = max(np.abs(a - b).max() for a, b in pairs_of_leaves(base.params, state.params))
        assert furthest > 50 * TOLERANCE["atol"]

    first, *rest = setups_of(changes)
    settings = dataclasses.replace(first.config.optimizer, learning_rate=1e30)
    config = dataclasses.replace(first.config, optimizer=settings)
    (_, bad_losses), *others = train_together([dataclasses.replace(first, config=config), *rest])
    assert not np.isfinite(bad_losses[-1]["loss"])
    for (here, losses), (there, expected) in zip(others, found[1:], strict=True):
        assert losses == expected
        jax.tree.map(np.testing.assert_array_equal, here, there)
