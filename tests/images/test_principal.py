"""Images as points: distances against those of pixels, coordinates against NumPy's SVD."""

import numpy as np
import pytest

from jaxsurf.images import principal, storage

SHAPE = (307, 5, 7, 3)


def drawn(shape=SHAPE):
    """Images of a few degrees of freedom, with noise, and with doubles."""
    random = np.random.default_rng(0)
    waves = random.normal(size=(6, *shape[1:])) * np.geomspace(60, 5, 6)[:, None, None, None]
    images = 128 + np.tensordot(random.uniform(-1, 1, (shape[0], 6)), waves, 1)
    images = np.clip(images + random.normal(scale=2, size=shape), 0, 255).astype(np.uint8)
    images[[17, 300]] = images[41]
    return images


def apart(points):
    return np.sqrt(np.square(points[:, None] - points[None]).sum(-1))


def test_where_all_components_are_kept_points_are_as_far_apart_as_images():
    images = drawn()
    found = principal.project(images)
    assert found.points.shape == (307, 105)
    pixels = images.reshape(307, -1).astype(float)
    np.testing.assert_allclose(
        apart(found.points.astype(float)), apart(pixels) / np.sqrt(105), rtol=1e-5, atol=1e-4
    )
    assert found.unexplained == pytest.approx(0, abs=1e-4)
    spread = np.sqrt(np.square(pixels - pixels.mean(axis=0)).mean())
    assert found.deviation == pytest.approx(spread, rel=1e-6)


def test_equal_images_are_equal_points_wherever_they_stand(monkeypatch):
    # The rows of the last chunk, which are few, may be multiplied in another order.
    monkeypatch.setattr(storage, "CHUNK_BYTES", 32 * 105)
    points = principal.project(drawn()).points
    np.testing.assert_array_equal(points[[17, 300]], points[[41, 41]])
    assert len(np.unique(points, axis=0)) == 305
    assert not principal.project(np.full(SHAPE, 9, np.uint8)).points.any()


@pytest.mark.parametrize("mapped", [False, True])
def test_a_few_components_of_a_sample_are_those_of_the_whole_set_s_svd(
    mapped, monkeypatch, tmp_path
):
    images = drawn((599, 5, 7, 3))
    pixels = images.reshape(599, -1).astype(float)
    if mapped:  # as a set that is larger than memory
        np.save(tmp_path / "images.npy", images)
        images = np.load(tmp_path / "images.npy", mmap_mode="r")
        monkeypatch.setattr(principal, "SAMPLE", 397)
    monkeypatch.setattr(principal, "MOST_NUMBERS", 1)
    monkeypatch.setattr(principal, "LEAST_COMPONENTS", 5)
    points, unexplained, _ = principal.project(images)
    centred = pixels - pixels.mean(axis=0)
    values, axes = np.linalg.svd(centred, full_matrices=False)[1:]
    expected = centred @ axes[:5].T / np.sqrt(105)
    # Those of a sample lie a little aslant, and its mean beside that of all.
    rtol = 0.03 if mapped else 1e-4
    np.testing.assert_allclose(apart(points[::19]), apart(expected[::19]), rtol, 0.01)
    assert unexplained == pytest.approx(
        np.sqrt(np.square(values[5:]).sum() / pixels.size), rel=rtol
    )
