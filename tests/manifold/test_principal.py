import numpy as np
import pytest

from jaxsurf.manifold import principal


def codes_of(number, size, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(number, size)) @ random.normal(size=(size, size)) + 17


@pytest.mark.parametrize(("number", "size"), [(301, 5), (3, 7), (2, 1), (70_001, 2)])
def test_components_are_those_of_a_singular_value_decomposition(number, size):
    codes = codes_of(number, size)
    found = principal.of(codes)
    _, values, rows = np.linalg.svd(codes - codes.mean(axis=0), full_matrices=False)
    known = min(number - 1, size)
    np.testing.assert_allclose(found.mean, codes.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        np.abs((found.directions.T @ rows.T)[range(known), range(known)]), 1, rtol=1e-9
    )
    np.testing.assert_allclose(
        found.shares[:known], (values**2 / (values**2).sum())[:known], rtol=1e-8, atol=1e-12
    )


def test_values_lie_about_zero_and_are_uncorrelated():
    codes = codes_of(501, 3)
    found = principal.of(codes)
    values = np.stack([found.values(codes, component) for component in range(3)])
    np.testing.assert_allclose(values.mean(axis=1), 0, atol=1e-9)
    covariance = np.cov(values)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-8)
    np.testing.assert_allclose(found.mean + values.T @ found.directions.T, codes, rtol=1e-9)


def test_directions_are_settled_by_their_largest_entry():
    found = principal.of(codes_of(101, 4))
    again = principal.of(2 * found.mean - codes_of(101, 4))
    np.testing.assert_allclose(again.directions, found.directions, atol=1e-9)
    assert (found.directions.max(axis=0) == np.abs(found.directions).max(axis=0)).all()


def test_equal_codes_have_no_variance():
    found = principal.of(np.full((5, 3), 2.5, np.float32))
    np.testing.assert_array_equal(found.shares, 0)
    np.testing.assert_array_equal(found.mean, 2.5)
