"""Codes of known shape; scikit-learn; closed forms of linear and polar decoders."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import manifold

from jaxsurf.evaluation import embedding
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold.encode import Latents
from jaxsurf.models.autoencoder import Autoencoder, Constant

ROWS, COLUMNS = 13, 11
PLANE = np.array(list(itertools.product(range(ROWS), range(COLUMNS))), np.float32)
ORDER = np.random.default_rng(0).permutation(len(PLANE))  # of the images of a set


class Linear(Autoencoder):
    """Images that are a matrix times the code."""

    def __init__(self, matrix):
        self.matrix = Constant(jnp.asarray(matrix, jnp.float32))

    def decode(self, codes):
        return (codes @ self.matrix[...].T).reshape(len(codes), -1, 1, 1)


class Polar(Autoencoder):
    """A code is a radius and an angle, an image has the two Cartesian coordinates."""

    def decode(self, codes):
        radius, angle = codes.T
        place = jnp.stack([radius * jnp.cos(angle), radius * jnp.sin(angle)], axis=-1)
        return place.reshape(-1, 1, 2, 1)


def flat_images(factors):
    """Return images that move 18 levels in a channel of its own for a step of each factor."""
    levels = np.pad(18 * factors, [(0, 0), (0, 3 - factors.shape[1])])
    shape = (len(factors), 5, 7, 3)
    return np.broadcast_to(levels[:, None, None].astype(np.uint8), shape)


def measured(codes, images=None, *, factors=PLANE, model=None, seed=0, **more):
    """Return the figures of codes that stand in the order of factors, shuffled with all else."""
    order = ORDER if factors is PLANE else np.arange(len(codes))
    images = flat_images(factors) if images is None else images
    if factors is not None:
        names = tuple("abc"[: factors.shape[1]])
        more |= {"factors": factors[order], "factor_names": names}
    data = ImageSet(np.ascontiguousarray(images[order]), "a test", **more)
    model = model or Linear(np.ones((6, codes.shape[1])))
    return embedding.measure(model, Latents(codes[order].astype(np.float32)), data, seed=seed)


@pytest.mark.core
def test_a_plane_as_it_is_turned_or_mirrored_has_no_tear_no_fold_and_one_speed():
    for codes in (PLANE, PLANE[:, ::-1], PLANE @ [[0.6, 0.8], [-0.8, 0.6]] + 5):
        found = measured(codes)
        assert (found["tears"], found["folds"]) == (0.0, 0.0)
        assert found["cv"] == pytest.approx(0.0, abs=1e-5)
        assert found["trustworthiness"] > 0.98


RING = {"a": float(ROWS)}


def around(angle, away):
    return away * np.concatenate([np.cos(angle), np.sin(angle)], axis=1)


@pytest.mark.parametrize(
    ("codes", "periodic", "least", "most"),
    [
        # Half of the triangles along the crease share a corner with what they lie on.
        (np.abs(PLANE - [3, 0]), {}, 5 / (ROWS - 1), 5 / (ROWS - 1)),
        (PLANE * [1, 0], {}, 1.0, 1.0),  # no triangle has an area
        # A closed strip around a hole; on a plane it goes back over all of it where it closes.
        (around(PLANE[:, :1] * 2 * np.pi / ROWS, 5 + PLANE[:, 1:]), RING, 0.0, 0.0),
        (PLANE, RING, 0.8, 1.0),
        # A disc by a signed distance from its centre and an angle: where that begins and ends, some
        # triangles over the centre lie over others.
        (around(0.95 * np.pi * PLANE[:, :1] / ROWS, PLANE[:, 1:] - 5.25), {}, 0.0, 0.05),
    ],
)
def test_folds_are_the_triangles_under_others(codes, periodic, least, most):
    found = measured(codes, periodic=periodic)["folds"]
    assert least - 1e-9 <= found <= most + 1e-9


def test_tears_are_the_neighbours_across_the_gap():
    torn = PLANE + [0, 50] * (PLANE[:, 1:] >= 4)
    pairs = (ROWS - 1) * COLUMNS + ROWS * (COLUMNS - 1)
    assert measured(torn)["tears"] == pytest.approx(ROWS / pairs)
    assert measured(PLANE * [9, 1])["tears"] == 0.0  # stretched is not torn
    assert measured(np.random.default_rng(1).permutation(PLANE))["tears"] > 0.4


def test_a_ring_on_a_line_is_torn_where_it_closes():
    turn = np.arange(61, dtype=np.float32)[:, None]
    circle = around(turn * 2 * np.pi / 61, 1)
    images = np.random.default_rng(0).integers(0, 256, (61, 5, 7, 3), np.uint8)
    for codes, periodic, tears in [
        (turn, {}, 0.0),
        (turn, {"a": 61.0}, 1 / 61),
        (turn, {"a": 71.0}, 0.0),  # ten steps are not in the set
        (circle, {"a": 61.0}, 0.0),
    ]:
        found = measured(codes, images, factors=turn, periodic=periodic)
        assert found["tears"] == pytest.approx(tears)
        assert found["folds"] is None


def test_without_a_grid_true_neighbours_are_the_most_similar_images():
    random = np.random.default_rng(3)
    images = random.integers(0, 256, (139, 5, 7, 3), np.uint8)
    codes = random.normal(size=(139, 2)).astype(np.float32).astype(np.float64)
    wide = images.reshape(139, -1).astype(np.float64)
    between = np.linalg.norm(wide[:, None] - wide, axis=-1)
    apart = np.linalg.norm(codes[:, None] - codes, axis=-1)
    nearest = np.argsort(between, axis=1)[:, 1:9]
    pairs = {tuple(sorted((i, int(j)))) for i in range(139) for j in nearest[i]}
    ranks = np.argsort(np.argsort(apart, axis=1), axis=1)
    torn = np.mean([min(ranks[i, j], ranks[j, i]) > 64 for i, j in pairs])
    speeds = np.array([between[i, j] / apart[i, j] for i, j in pairs])
    found = measured(codes, images, factors=None)
    assert found["tears"] == pytest.approx(torn)
    assert 0.2 < torn < 0.8
    assert found["cv"] == pytest.approx(speeds.std() / speeds.mean(), rel=1e-5)
    scattered = random.random((139, 2))  # factors that form no grid
    assert measured(codes, images, factors=scattered) == found


@pytest.mark.core
def test_trustworthiness_and_continuity_are_scikit_learns():
    random = np.random.default_rng(2)
    images = random.integers(0, 256, (67, 11, 13, 3), np.uint8)
    flat = images.reshape(67, -1).astype(np.float64)
    away = np.square(flat[:, None] - flat).sum(axis=-1)
    # Or both would order ties as they like.
    assert all(len(set(row)) == 67 for row in away.tolist())
    codes = (flat @ random.normal(size=(429, 3))).astype(np.float32)
    found = measured(codes, images, factors=None)
    expected = manifold.trustworthiness(flat, codes, n_neighbors=10)
    assert found["trustworthiness"] == pytest.approx(expected, rel=1e-9)
    expected = manifold.trustworthiness(codes, flat, n_neighbors=10)
    assert found["continuity"] == pytest.approx(expected, rel=1e-9)
    assert 0.5 < found["trustworthiness"] < found["continuity"] < 0.95


def test_a_sample_stands_for_many_and_follows_from_its_seed(monkeypatch):
    codes = PLANE + np.random.default_rng(1).normal(0, 2, PLANE.shape)
    whole = measured(codes)
    for name, most in {"SAMPLE": 97, "PAIRS": 151, "JACOBIANS": 5}.items():
        monkeypatch.setattr(embedding, name, most)
    first, again, other = (measured(codes, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first["folds"] == other["folds"] == whole["folds"]
    for name in ("cv", "trustworthiness", "continuity"):
        assert first[name] != other[name]
        assert first[name] == pytest.approx(whole[name], rel=0.1)


def test_the_condition_number_is_that_of_the_jacobian():
    random = np.random.default_rng(0)
    matrix = random.normal(size=(35, 3))
    found = measured(random.normal(size=(143, 3)), model=Linear(matrix))["condition"]
    assert found == pytest.approx(np.linalg.cond(matrix.T @ matrix), rel=1e-4)
    polar = np.stack([random.uniform(0.3, 2, 37), random.normal(size=37)], axis=-1)
    images = random.integers(0, 256, (37, 5, 7, 3), np.uint8)
    found = measured(polar, images, factors=None, model=Polar())["condition"]
    radius = polar[:, 0]
    assert found == pytest.approx(np.median(np.maximum(radius**2, radius**-2.0)), rel=1e-4)
    flat = measured(PLANE, model=Linear(np.ones((35, 2))))["condition"]
    assert flat == pytest.approx(2**23, rel=0.01)  # no direction at all for one axis
    assert measured(PLANE, model=Linear(np.zeros((35, 2))))["condition"] is None


def test_few_images_and_solid_codes_leave_open_what_needs_others():
    images = np.random.default_rng(0).integers(0, 256, (5, 5, 7, 3), np.uint8)
    found = measured(np.eye(5), images, factors=None)
    assert found["tears"] is None
    assert found["trustworthiness"] is not None
    assert measured(np.pad(PLANE, [(0, 0), (0, 1)]))["folds"] is None
