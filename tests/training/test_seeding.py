"""Order and noise as functions of seed, epoch, step and slot."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxsurf.training import data, step

NUM_IMAGES = 24


def order(epoch=0, seed=3, num_slots=NUM_IMAGES):
    key = step.make_streams(seed).order
    given = {"num_images": NUM_IMAGES, "num_slots": num_slots}
    return np.asarray(data.epoch_order(key, jnp.int32(epoch), **given))


def test_streams_differ_from_one_another_and_from_other_seeds():
    keys = [
        tuple(jax.random.key_data(key).tolist())
        for seed in (3, 4)
        for key in vars(step.make_streams(seed)).values()
    ]
    assert len(set(keys)) == len(keys) == 6


def test_order_holds_every_image_once_and_fills_the_last_batch():
    slots = order(num_slots=30)
    assert sorted(slots[:NUM_IMAGES]) == list(range(NUM_IMAGES))
    np.testing.assert_array_equal(slots[NUM_IMAGES:], slots[:6])


def test_order_depends_on_epoch_and_seed_and_on_nothing_else():
    np.testing.assert_array_equal(order(5), order(5))
    assert (order(5) != order(6)).any()
    assert (order(5) != order(5, seed=4)).any()


def test_every_image_of_every_step_has_noise_of_its_own():
    key, slots = step.make_streams(3).noise, np.arange(4)
    drawn = {
        (number, slot): tuple(jax.random.key_data(jax.random.clone(found)).tolist())
        for number in (0, 1)
        for slot, found in zip(
            slots, step.noise_keys(jax.random.clone(key), number, slots), strict=True
        )
    }
    assert len(set(drawn.values())) == len(drawn)
    later = step.noise_keys(jax.random.clone(key), 1, slots[2:])
    assert [tuple(row) for row in jax.random.key_data(later).tolist()] == [drawn[1, 2], drawn[1, 3]]
