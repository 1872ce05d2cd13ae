"""A vmapped group on one and on four devices equals its members trained alone."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.setup import make_setup
from jaxsurf.training import data, distributed, features, loop, step, vmapped
from jaxsurf.training.log import Diverged, GroupLog, Log

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
DIFFERENT = {
    "base": {},
    "learning rate": {"optimizer": {"learning_rate": 5e-3}},
    "weight decay": {"optimizer": {"weight_decay": 20.0}},
    "kind": {"corruption": {"kind": "white"}},
    "strength": {"corruption": {"strength": 0.7}},
    "weights": {"objective": {"mse": 0.5, "l1": 0.25}},
    "seed": {"training": {"seed": 3}},
}
# Adam's first steps divide by tiny second moments, which magnifies the rounding of convolutions
# that are computed in another order; as for one device against four (test_step.py).
TOLERANCE = {"rtol": 1e-4, "atol": 2e-5}


def parts_of(*changes):
    images = ImageSet(IMAGES, "squares")
    made = {}
    for change in changes:
        sections = {name: BASE.get(name, {}) | change.get(name, {}) for name in BASE | change}
        config = configuration.from_dict(sections)
        if config.training.seed not in made:
            made[config.training.seed] = make_setup(config, images)
        # Of a new run nothing but its numbers depends on what members differ in, the seed apart.
        yield dataclasses.replace(
            made[config.training.seed],
            config=config,
            streams=step.make_streams(config.training.seed),
        )


def fed(parts, order_key, shardings, extract=None):
    return data.make_feed(
        parts.make_examples(extract),
        order_of=data.make_orders(order_key, parts.plan),
        plan=parts.plan,
        shardings=shardings,
    )


def train(parts, state, advance, portions, bound):
    """Return the last state, and the losses of every step."""
    losses = []
    calls = loop.calls(
        state,
        first_step=0,
        step_fn=lambda state, *rest, num_steps: advance(state, *bound, *rest, num_steps=num_steps),
        feed=portions,
        plan=parts.plan,
    )
    for _, reached, loss in calls:
        state = reached
        losses.append(jax.device_get(loss))
    return jax.device_get(state), losses


programs = {}


def one_device():
    return distributed.make_shardings(4, num_devices=1)


def program(parts):
    """Return what trains one run, compiled once for all that a run's own numbers don't change."""
    key = json.dumps([parts.config.corruption.kind, *parts.config.objective.weights])
    if key not in programs:
        update = parts.make_update()
        programs[key] = step.compile_step(update, batch_size=4, shardings=one_device())
    return programs[key]


def alone(parts):
    extract = features.make_extractor(parts.config.objective)
    portions = fed(parts, parts.streams.order, one_device(), extract)
    # The state is donated; the parts keep theirs.
    state = jax.tree.map(jnp.copy, parts.state)
    return train(parts, state, program(parts), portions, (parts.make_hyperparameters(), extract))


def together(group, num_devices):
    """Return each member's last state and losses."""
    # Keys are used up by one training.
    group = [
        dataclasses.replace(part, streams=step.make_streams(part.config.training.seed))
        for part in group
    ]
    mesh = vmapped.make_mesh(len(group), num_devices=num_devices)
    first = group[0]
    advance = vmapped.compile_step(first.make_update(), batch_size=4, mesh=mesh)
    extract = features.make_extractor(first.config.objective)
    kinds = sorted({part.config.corruption.kind for part in group})
    terms = sorted({term for part in group for term in part.config.objective.weights})
    members = vmapped.stack(
        [part.make_hyperparameters(kinds=kinds, terms=terms) for part in group], mesh
    )
    keys = vmapped.stack([part.streams.order for part in group], mesh)
    states = vmapped.stack([part.state for part in group], mesh)
    assert len(jax.tree.leaves(states)[0]) == -(-len(group) // mesh.size) * mesh.size
    portions = fed(first, keys, distributed.Shardings(mesh), extract)
    states, losses = train(first, states, advance, portions, (members, extract))
    return vmapped.unstack(states, len(group)), [
        [{name: values[number] for name, values in loss.items()} for loss in losses]
        for number in range(len(group))
    ]


def assert_same(one, other):
    for here, there in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        np.testing.assert_allclose(here, there, **TOLERANCE)


def assert_same_losses(here, there, names):
    for name in names:
        values = ([loss[name] for loss in losses] for losses in (here, there))
        np.testing.assert_allclose(*values, rtol=1e-4)


@pytest.fixture(scope="module")
def group():
    return list(parts_of(*DIFFERENT.values()))


@pytest.fixture(scope="module")
def by_themselves(group):
    return [alone(parts) for parts in group]


@pytest.mark.parametrize("num_devices", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_members_of_a_group_equal_the_same_members_trained_alone(group, by_themselves, num_devices):
    states, losses = together(group, num_devices)
    for part, (state, own), here, mine in zip(group, by_themselves, states, losses, strict=True):
        assert int(here.step) == 6
        assert_same(here.params, state.params)
        assert_same(here.constants, state.constants)
        assert_same_losses(mine, own, part.config.objective.losses)


def test_each_difference_makes_another_member(by_themselves):
    # Else the comparison would prove nothing.
    (base, _), *others = by_themselves
    for name, (state, _) in zip([*DIFFERENT][1:], others, strict=True):
        off = [
            np.abs(here - there).max()
            for here, there in zip(*map(jax.tree.leaves, (base.params, state.params)), strict=True)
        ]
        assert max(off) > 50 * TOLERANCE["atol"], name


@pytest.mark.slow
def test_members_with_a_perceptual_term_equal_the_same_trained_alone():
    weights = [(1.0, 0.01), (0.5, 0.02), (0.0, 0.05)]
    changes = (
        {"objective": {"mse": mse, "perceptual": share, "layers": {"relu1_2": 1.0}}}
        for mse, share in weights
    )
    group = list(parts_of(*changes))
    states, losses = together(group, 4)
    for parts, state, mine in zip(group, states, losses, strict=True):
        expected, own = alone(parts)
        assert_same(state.params, expected.params)
        assert_same_losses(mine, own, ("loss", "mse", "perceptual"))


def test_a_member_that_diverges_leaves_the_others_as_they_are(group):
    def with_first(rate):
        first = dataclasses.replace(
            group[0].config,
            optimizer=dataclasses.replace(group[0].config.optimizer, learning_rate=rate),
        )
        # Of the same shapes and terms, so that the compiled program is the same.
        return together([dataclasses.replace(group[0], config=first), *group[1:]], 4)

    states, losses = with_first(2e-3)
    with_bad_one, bad_losses = with_first(1e30)
    assert not np.isfinite(bad_losses[0][-1]["loss"])
    for here, there in zip(*map(jax.tree.leaves, (with_bad_one[1:], states[1:])), strict=True):
        np.testing.assert_array_equal(here, there)
    assert bad_losses[1:] == losses[1:]


def test_a_mesh_has_no_more_devices_than_members():
    assert vmapped.make_mesh(3).size == 3
    assert vmapped.make_mesh(7).size == 4
    assert vmapped.make_mesh(7, num_devices=2).size == 2


@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
def test_stacks_are_filled_up_with_the_last_member(as_array):
    trees = [{"a": as_array([n, n + 0.5]), "b": as_array(n)} for n in range(3)]
    stacked = vmapped.stack(trees, vmapped.make_mesh(3, num_devices=2))
    assert stacked["b"].tolist() == [0, 1, 2, 2]
    assert [s.data.shape for s in stacked["a"].addressable_shards] == [(2, 2), (2, 2)]
    for tree, back in zip(trees, vmapped.unstack(stacked, 3), strict=True):
        assert isinstance(back["a"], np.ndarray)
        np.testing.assert_array_equal(back["a"], tree["a"])


@pytest.fixture
def make_logs():
    """Make group logs of three members, 4 steps an epoch and a line; files are closed at last."""
    logs = []

    def make(folder, *, resume_step=0, saved=(None, None, None), failed=()):
        for number in range(3):
            logs.append(
                Log(
                    folder / str(number) / "metrics.jsonl",
                    every=4,
                    last_step=8,
                    steps_per_epoch=4,
                    learning_rate=lambda step: 0.1,
                    resume_step=resume_step,
                    saved=saved[number],
                )
            )
        terms = [("loss", "mse"), ("loss", "mse", "l1"), ("loss", "mse")]
        return GroupLog(logs[-3:], terms=terms, failed=dict(failed))

    yield make
    for log in logs:
        log.close()


def some_losses(at, *, bad=()):
    """Return a call's losses of three members and one that fills up a device."""
    values = np.array([at, 10.0 * at, 100.0 * at, 7.0])
    values[list(bad)] = np.nan
    return {name: jnp.asarray(values, jnp.float32) for name in ("loss", "mse", "l1")}


def written(folder):
    """Return step, loss and names of the losses of each member's lines."""
    members = []
    for number in range(3):
        text = (folder / str(number) / "metrics.jsonl").read_text()
        rows = [json.loads(line) for line in text.splitlines()]
        members.append([(row["step"], row["loss"], "l1" in row) for row in rows])
    return members


def test_each_member_has_lines_of_its_own_losses(tmp_path, make_logs):
    log = make_logs(tmp_path)
    for at in range(1, 9):
        log.add(at, some_losses(at))
    log.flush()
    assert written(tmp_path) == [
        [(4, 2.5, False), (8, 6.5, False)],
        [(4, 25.0, True), (8, 65.0, True)],
        [(4, 250.0, False), (8, 650.0, False)],
    ]


def test_a_group_saved_between_two_lines_goes_on_as_if_it_had_not_been(tmp_path, make_logs):
    log = make_logs(tmp_path / "stopped")
    for at in range(1, 7):
        log.add(at, some_losses(at, bad=[1] * (at > 2)))
    saved = json.loads(json.dumps(log.flush()))["runs"]
    assert saved[1].startswith("training diverged by step 4: l1, loss, mse is not finite")
    failed = {1: saved[1]}
    resumed = make_logs(
        tmp_path / "stopped", resume_step=6, saved=[saved[0], None, saved[2]], failed=failed
    )
    for at in (7, 8):
        resumed.add(at, some_losses(at, bad=[1]))
    assert resumed.flush()["runs"][1] == saved[1]
    assert resumed.failed == failed

    straight = make_logs(tmp_path / "straight")
    for at in range(1, 9):
        straight.add(at, some_losses(at, bad=[1] * (at > 2)))
    straight.flush()
    assert written(tmp_path / "stopped") == written(tmp_path / "straight")
    assert straight.failed == failed


def test_a_member_that_diverges_is_marked_and_has_no_more_lines(tmp_path, make_logs):
    log = make_logs(tmp_path)
    for at in range(1, 9):
        log.add(at, some_losses(at, bad=[0] * (at > 4)))
    log.flush()
    assert [len(lines) for lines in written(tmp_path)] == [1, 2, 2]
    assert list(log.failed) == [0]
    assert log.latest["mse"] == 65.0  # of the first that goes on


def test_a_group_in_which_nobody_is_left_ends(tmp_path, make_logs):
    log = make_logs(tmp_path, failed={0: "before"})
    for at in range(1, 8):
        log.add(at, some_losses(at, bad=[1, 2]))
    # A line is read one interval late.
    with pytest.raises(Diverged, match="all 3 members diverged"):
        log.add(8, some_losses(8, bad=[1, 2]))
    assert log.latest == {}
    assert log.failed[0] == "before"
    assert log.failed[2].startswith("training diverged by step 4")
