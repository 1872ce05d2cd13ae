"""A vmapped group on one and on four devices equals its members trained alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.setup import compile_run, compile_step, make_setup
from jaxsurf.training import data, distributed, features, loop, step, vmapped

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
}
# Each differs from the first in one thing: 7 members, which 4 devices can't share evenly.
DIFFERENT = (
    {},
    {"optimizer": {"learning_rate": 5e-3}},
    {"optimizer": {"weight_decay": 20.0}},
    {"corruption": {"kind": "white"}},
    {"corruption": {"strength": 0.7}},
    {"objective": {"mse": 0.5, "l1": 0.25}},
    {"training": {"seed": 3}},
)
# Adam's first steps divide by tiny second moments, which magnifies the rounding of convolutions
# that are computed in another order; as for one device against four (test_step.py).
TOLERANCE = {"rtol": 1e-4, "atol": 2e-5}


def setups_of(changes):
    images = ImageSet(IMAGES, "squares")
    return [
        make_setup(
            configuration.from_dict(
                {name: BASE.get(name, {}) | change.get(name, {}) for name in BASE | change}
            ),
            images,
        ).on_host()
        for change in changes
    ]


def train(state, step_fn, feed, plan):
    """Return the last state, and the losses of every step."""
    calls = loop.calls(state, first_step=0, step_fn=step_fn, feed=feed, plan=plan)
    found = [(state, jax.device_get(losses)) for _, state, losses in calls]
    return jax.device_get(found[-1][0]), [losses for _, losses in found]


compiled = {}


def alone(setup):
    # One compiled step for all that a run's own numbers don't change.
    program = (setup.config.corruption.kind, *setup.config.objective.weights)
    if program not in compiled:
        compiled[program] = compile_step(setup, distributed.make_shardings(4, num_devices=1))
    made = compile_run(setup, compiled[program], num_devices=1)
    return train(made.state, made.step_fn, made.make_feed(), made.plan)


def together(group, num_devices=4):
    """Return each member's last state and losses."""
    # Keys are used up by one training.
    group = [
        dataclasses.replace(setup, streams=step.make_streams(setup.config.training.seed))
        for setup in group
    ]
    first, mesh = group[0], vmapped.make_mesh(len(group), num_devices=num_devices)
    advance = vmapped.compile_step(first.make_update(), batch_size=4, mesh=mesh)
    extract = features.make_extractor(first.config.objective)
    kinds = sorted({setup.config.corruption.kind for setup in group})
    terms = sorted({term for setup in group for term in setup.config.objective.weights})
    stacks = (
        [setup.state for setup in group],
        [setup.make_hyperparameters(kinds=kinds, terms=terms) for setup in group],
        [setup.streams.order for setup in group],
    )
    states, hyper, keys = (vmapped.stack(trees, mesh) for trees in stacks)
    assert len(jax.tree.leaves(states)[0]) == -(-len(group) // mesh.size) * mesh.size
    feed = data.make_feed(
        first.make_examples(extract),
        order_of=data.make_orders(keys, first.plan),
        plan=first.plan,
        shardings=distributed.Shardings(mesh),
    )

    def step_fn(states, *fed, num_steps):
        return advance(states, hyper, extract, *fed, num_steps=num_steps)

    states, losses = train(states, step_fn, feed, first.plan)
    return vmapped.unstack(states, len(group)), [
        [{name: values[number] for name, values in loss.items()} for loss in losses]
        for number in range(len(group))
    ]


def assert_same_run(setup, one, other):
    (here, losses), (there, expected) = one, other
    trees = ((state.params, state.constants) for state in (here, there))
    for a, b in zip(*map(jax.tree.leaves, trees), strict=True):
        np.testing.assert_allclose(a, b, **TOLERANCE)
    for name in setup.config.objective.losses:
        values = ([loss[name] for loss in each] for each in (losses, expected))
        np.testing.assert_allclose(*values, rtol=1e-4)


@pytest.fixture(scope="module")
def group():
    return setups_of(DIFFERENT)


@pytest.mark.parametrize("num_devices", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_members_of_a_group_equal_the_same_members_trained_alone(group, num_devices):
    by_themselves = [alone(setup) for setup in group]
    found = zip(*together(group, num_devices), strict=True)
    for setup, one, other in zip(group, found, by_themselves, strict=True):
        assert_same_run(setup, one, other)
    # Each difference makes another member, else the comparison would prove nothing.
    (base, _), *others = by_themselves
    for state, _ in others:
        leaves = zip(*map(jax.tree.leaves, (base.params, state.params)), strict=True)
        assert max(np.abs(a - b).max() for a, b in leaves) > 50 * TOLERANCE["atol"]


@pytest.mark.slow
def test_members_with_a_perceptual_term_equal_the_same_trained_alone():
    weights = [(1.0, 0.01), (0.5, 0.02), (0.0, 0.05)]
    group = setups_of(
        {"objective": {"mse": mse, "perceptual": share, "layers": {"relu1_2": 1.0}}}
        for mse, share in weights
    )
    for setup, *found in zip(group, *together(group), strict=True):
        assert_same_run(setup, found, alone(setup))


def test_a_member_that_diverges_leaves_the_others_as_they_are(group):
    def with_first(rate):
        settings = dataclasses.replace(group[0].config.optimizer, learning_rate=rate)
        config = dataclasses.replace(group[0].config, optimizer=settings)
        # Of the same shapes and terms, so that the compiled program is the same.
        return together([dataclasses.replace(group[0], config=config), *group[1:3]])

    states, losses = with_first(2e-3)
    with_bad_one, bad_losses = with_first(1e30)
    assert not np.isfinite(bad_losses[0][-1]["loss"])
    for here, there in zip(*map(jax.tree.leaves, (with_bad_one[1:], states[1:])), strict=True):
        np.testing.assert_array_equal(here, there)
    assert bad_losses[1:] == losses[1:]


@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
def test_stacks_are_filled_up_with_the_last_member(as_array):
    trees = [{"a": as_array([n, n + 0.5]), "b": as_array(n)} for n in range(3)]
    assert vmapped.make_mesh(3).size == 3  # no more devices than members
    stacked = vmapped.stack(trees, vmapped.make_mesh(3, num_devices=2))
    assert stacked["b"].tolist() == [0, 1, 2, 2]
    assert [s.data.shape for s in stacked["a"].addressable_shards] == [(2, 2), (2, 2)]
    for tree, back in zip(trees, vmapped.unstack(stacked, 3), strict=True):
        assert isinstance(back["a"], np.ndarray)
        np.testing.assert_array_equal(back["a"], tree["a"])
