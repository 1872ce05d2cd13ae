"""Rows through a function in batches, against the function alone."""

import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxsurf.images import batches


def rows(number):
    return np.arange(number * 3.0).reshape(number, 3).astype(np.float32)


@pytest.fixture
def one_device(monkeypatch):
    alone = jax.devices()[:1]
    monkeypatch.setattr(jax, "local_devices", lambda: alone)


@pytest.mark.parametrize("bucketed", [False, True])
@pytest.mark.parametrize("number", [1, 8, 16, 17, 37])
def test_rows_come_back_in_their_order_without_the_padding(number, bucketed):
    results = batches.mapped(
        jax.jit(lambda some: (2 * some, some.sum(axis=1) > 50)),
        rows(number),
        size=16,
        bucketed=bucketed,
    )
    assert all(type(result) is np.ndarray for result in results)
    np.testing.assert_array_equal(results[0], 2 * rows(number))
    np.testing.assert_array_equal(results[1], rows(number).sum(axis=1) > 50)


@pytest.mark.parametrize(
    ("number", "size", "bucketed", "sizes"),
    [
        (37, 16, False, [16, 16, 16]),
        (3, 16, False, [16]),
        (37, 16, True, [16, 16, 8]),
        (43, 16, True, [16, 16, 16]),
        (32, 16, True, [16, 16]),
        (75, 64, True, [64, 16]),
        (11, 11, True, [11]),
        (1, 5, True, [5]),
    ],
)
def test_the_last_batch_is_filled_with_its_last_row(one_device, number, size, bucketed, sizes):
    seen = []
    batches.mapped(
        lambda some: seen.append(some) or jnp.asarray(some),
        rows(number),
        size=size,
        bucketed=bucketed,
    )
    assert [len(some) for some in seen] == sizes
    together = np.concatenate(seen)
    np.testing.assert_array_equal(together[:number], rows(number))
    assert (together[number:] == rows(number)[-1]).all()


@pytest.mark.parametrize(
    ("number", "size", "bucketed", "sizes"),
    [
        (37, 16, False, [64]),
        (37, 5, False, [20, 20]),
        (37, 16, True, [64]),
        (9, 16, True, [16]),
        (5, 16, True, [8]),
        (37, 5, True, [20, 20]),
        (29, 5, True, [20, 16]),
    ],
)
def test_a_batch_is_split_evenly_over_the_devices(number, size, bucketed, sizes):
    seen = []

    def run(weight, some):
        assert len(weight.sharding.device_set) == len(some.sharding.device_set) == 4
        assert weight.sharding.is_fully_replicated
        assert {len(shard.data) for shard in some.addressable_shards} == {len(some) // 4}
        seen.append(len(some))
        return weight * some

    weight = np.float32(3)
    results = batches.mapped(run, rows(number), shared=[weight], size=size, bucketed=bucketed)
    np.testing.assert_array_equal(results, 3 * rows(number))
    assert seen == sizes


def test_what_lies_on_all_devices_is_not_copied():
    mesh = jax.make_mesh((4,), ("else",), axis_types=(jax.sharding.AxisType.Auto,))
    there = jax.device_put(np.arange(8.0), NamedSharding(mesh, PartitionSpec()))
    seen = []

    def run(first, second, some):
        seen.append(first)
        return first[None, :3] * second * some

    results = batches.mapped(run, rows(4), shared=[there, jnp.float32(2)], size=1)
    places = [
        [shard.data.unsafe_buffer_pointer() for shard in one.addressable_shards]
        for one in (there, seen[0])
    ]
    assert places[0] == places[1]
    np.testing.assert_array_equal(results, np.arange(3.0)[None] * 2 * rows(4))


def test_what_is_split_over_the_devices_is_made_whole_on_each():
    mesh = jax.make_mesh((4,), ("row",), axis_types=(jax.sharding.AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("row"))
    seen = []

    def run(shared, some):
        seen.append(shared)
        return some

    batches.mapped(run, rows(4), shared=[jax.device_put(np.arange(8.0), split)], size=1)
    assert seen[0].is_fully_replicated


def test_at_most_two_results_are_kept_on_the_device(one_device):
    alive = []

    def run(some):
        result = jnp.asarray(some) + 1
        alive.append(weakref.ref(result))
        assert sum(one() is not None for one in alive) <= 2
        return result

    assert len(batches.mapped(run, rows(53), size=5)) == 53
    assert len(alive) == 11


@pytest.mark.parametrize(("number", "size"), [(0, 4), (3, 0)])
def test_nothing_to_do_is_a_defect(number, size):
    with pytest.raises(ValueError, match="at least 1"):
        batches.mapped(jnp.asarray, rows(number), size=size)
