"""Rows through a function in batches, against the function alone."""

import weakref

import jax
import numpy as np
import pytest

from jaxsurf.images import batches


def rows(number):
    return np.arange(number * 3.0).reshape(number, 3).astype(np.float32)


@pytest.mark.core
@pytest.mark.parametrize(
    ("devices", "number", "size", "bucketed", "sizes"),
    [
        (1, 37, 16, False, [16, 16, 16]),
        (1, 16, 16, False, [16]),
        (1, 37, 16, True, [16, 16, 8]),
        (1, 1, 5, True, [5]),
        (4, 37, 5, False, [20, 20]),
        (4, 5, 16, True, [8]),
        (4, 29, 5, True, [20, 16]),
    ],
)
def test_rows_come_back_in_order_from_even_batches_that_are_filled_with_the_last_row(
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
        return weight * some, some.sum(axis=1) > 50

    shared = [np.float32(3)]
    results = batches.mapped(run, rows(number), shared=shared, size=size, bucketed=bucketed)
    assert [type(result) for result in results] == [np.ndarray] * 2
    np.testing.assert_array_equal(results[0], 3 * rows(number))
    np.testing.assert_array_equal(results[1], rows(number).sum(axis=1) > 50)
    assert [len(some) for some in seen] == sizes
    assert (np.concatenate(seen)[number:] == rows(number)[-1]).all()


def test_no_batch_is_kept_beside_the_array_that_it_ends_in(monkeypatch):
    fetched = []

    def fetch(made):
        found = np.array(made)
        fetched.append(weakref.ref(found))
        return found

    def run(some):
        assert not any(batch() is not None for batch in fetched)
        return 2 * some

    monkeypatch.setattr(jax, "device_get", fetch)
    np.testing.assert_array_equal(batches.mapped(run, rows(37), size=2), 2 * rows(37))
    assert len(fetched) == -(-37 // (2 * jax.local_device_count()))
