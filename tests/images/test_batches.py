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


@pytest.mark.core
@pytest.mark.parametrize("bucketed", [False, True])
def test_rows_come_back_in_their_order_without_the_padding(bucketed):
    run = jax.jit(lambda some: (2 * some, some.sum(axis=1) > 50))
    for number in (1, 16, 17, 37):
        double, large = batches.mapped(run, rows(number), size=16, bucketed=bucketed)
        assert type(double) is np.ndarray
        np.testing.assert_array_equal(double, 2 * rows(number))
        np.testing.assert_array_equal(large, rows(number).sum(axis=1) > 50)


@pytest.mark.parametrize(
    ("devices", "number", "size", "bucketed", "sizes"),
    [
        (1, 37, 16, False, [16, 16, 16]),
        (1, 3, 16, False, [16]),
        (1, 37, 16, True, [16, 16, 8]),
        (1, 43, 16, True, [16, 16, 16]),
        (1, 32, 16, True, [16, 16]),
        (1, 11, 11, True, [11]),
        (1, 1, 5, True, [5]),
        (4, 37, 16, False, [64]),
        (4, 37, 5, False, [20, 20]),
        (4, 9, 16, True, [16]),
        (4, 5, 16, True, [8]),
        (4, 29, 5, True, [20, 16]),
    ],
)
def test_batches_are_split_evenly_and_filled_with_the_last_row(
    devices, number, size, bucketed, sizes, monkeypatch
):
    chosen = jax.devices()[:devices]
    monkeypatch.setattr(jax, "local_devices", lambda: chosen)
    seen = []

    def run(weight, some):
        assert len(weight.sharding.device_set) == len(some.sharding.device_set) == devices
        assert weight.sharding.is_fully_replicated
        assert {len(shard.data) for shard in some.addressable_shards} == {len(some) // devices}
        seen.append(np.asarray(some))
        return weight * some

    weight = np.float32(3)
    results = batches.mapped(run, rows(number), shared=[weight], size=size, bucketed=bucketed)
    np.testing.assert_array_equal(results, 3 * rows(number))
    assert [len(some) for some in seen] == sizes
    assert (np.concatenate(seen)[number:] == rows(number)[-1]).all()


def test_what_lies_on_all_devices_is_not_copied_and_what_is_split_is_made_whole():
    mesh = jax.make_mesh((4,), ("row",), axis_types=(jax.sharding.AxisType.Auto,))
    whole, split = (NamedSharding(mesh, PartitionSpec(*name)) for name in ((), ("row",)))
    there, parts = jax.device_put(np.arange(8.0), whole), jax.device_put(np.arange(8.0), split)
    seen = []
    batches.mapped(
        lambda *given: seen.append(given) or given[-1], rows(4), shared=[there, parts], size=1
    )
    places = [
        [shard.data.unsafe_buffer_pointer() for shard in one.addressable_shards]
        for one in (there, seen[0][0])
    ]
    assert places[0] == places[1]
    assert seen[0][1].is_fully_replicated


def test_at_most_two_results_are_kept_on_the_devices():
    alive = []

    def run(some):
        result = jnp.asarray(some) + 1
        alive.append(weakref.ref(result))
        assert sum(one() is not None for one in alive) <= 2
        return result

    assert len(batches.mapped(run, rows(53), size=2)) == 53
    assert len(alive) == 7


@pytest.mark.parametrize(("number", "size"), [(0, 4), (3, 0)])
def test_nothing_to_do_is_a_defect(number, size):
    with pytest.raises(ValueError, match="at least 1"):
        batches.mapped(jnp.asarray, rows(number), size=size)
