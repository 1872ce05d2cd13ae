"""Rows through a function in batches, against the function alone."""

import jax
import numpy as np
import pytest

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
        (1, 37, 16, True, [16, 16, 8]),
        (1, 1, 5, True, [5]),
        (4, 37, 5, False, [20, 20]),
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
