"""Principal components against a singular value decomposition."""

import numpy as np
import pytest

from jaxsurf.manifold import principal


def codes_of(number, size):
    random = np.random.default_rng(0)
    return random.normal(size=(number, size)) @ random.normal(size=(size, size)) + 17


@pytest.mark.parametrize(("number", "size"), [(301, 5), (3, 7), (2, 1)])
def test_components_are_those_of_a_singular_value_decomposition(number, size):
    codes = codes_of(number, size)
    found, mean = principal.of(codes), codes.mean(axis=0)
    _, values, rows = np.linalg.svd(codes - mean, full_matrices=False)
    known = min(number - 1, size)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    along = (found.directions.T @ rows.T)[range(known), range(known)]
    np.testing.assert_allclose(np.abs(along), 1, rtol=1e-9)
    shares = (values**2 / (values**2).sum())[:known]
    np.testing.assert_allclose(found.shares[:known], shares, rtol=1e-8, atol=1e-12)
    all_values = np.stack([found.values(codes, component) for component in range(size)])
    np.testing.assert_allclose(found.mean + all_values.T @ found.directions.T, codes, rtol=1e-9)


def test_directions_are_settled_by_their_largest_entry_and_equal_codes_have_no_variance():
    found = principal.of(codes_of(101, 4))
    again = principal.of(2 * found.mean - codes_of(101, 4))
    np.testing.assert_allclose(again.directions, found.directions, atol=1e-9)
    assert (found.directions.max(axis=0) == np.abs(found.directions).max(axis=0)).all()
    np.testing.assert_array_equal(principal.of(np.full((5, 3), 2.5)).shares, 0)  # no variance
