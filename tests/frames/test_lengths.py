"""Lengths of decoded edges, against formulas, fine subdivisions and one edge at a time."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.frames import decode, lengths
from jaxsurf.models.autoencoder import Autoencoder

HEIGHT, WIDTH, LATENT = 5, 7, 2


class Circle(Autoencoder):
    """Two halves of the image go round a circle as the first coordinate goes from 0 to 2 pi."""

    def decode(self, codes):
        angle = codes[:, 0]
        halves = 0.5 + 0.5 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
        return jnp.tile(halves[:, :, None, None], (1, 3, WIDTH, 3))


class Smooth(Autoencoder):
    """Two dense layers; outputs leave [0, 1]."""

    def __init__(self, rngs):
        self.first = nnx.Linear(LATENT, 11, rngs=rngs)
        self.last = nnx.Linear(11, HEIGHT * WIDTH * 3, rngs=rngs)

    def decode(self, codes):
        hidden = jnp.tanh(2 * self.first(codes))
        return (0.5 + 0.5 * self.last(hidden)).reshape(-1, HEIGHT, WIDTH, 3)


@pytest.fixture(scope="module")
def model():
    return Smooth(nnx.Rngs(0))


def codes_of(number, seed=0):
    return np.random.default_rng(seed).normal(size=(number, LATENT)).astype(np.float32)


def pairs_of(number, nodes, seed=1):
    return np.random.default_rng(seed).integers(0, nodes, (number, 2))


def one_by_one(model, codes, pairs, pieces):
    """Decode each corner alone, in float64 from there on."""
    found = []
    for tail, head in codes[pairs]:
        shares = np.linspace(0, 1, pieces + 1, dtype=np.float32)[:, None]
        images = np.asarray(model.decode(jnp.asarray((1 - shares) * tail + shares * head)))
        images = 255 * np.clip(images.astype(np.float64), 0, 1)
        steps = [np.sqrt(np.mean((a - b) ** 2)) for a, b in itertools.pairwise(images)]
        found.append(sum(steps))
    return found


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_lengths_are_those_of_edges_decoded_one_by_one(model, pieces):
    codes, pairs = codes_of(13), pairs_of(29, 13)
    found = lengths.of_edges(model, codes, pairs, pieces=pieces)
    expected = one_by_one(model, codes, pairs, pieces)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


def test_one_piece_is_the_difference_of_decoded_ends_up_to_rounding(model):
    codes, pairs = codes_of(13), pairs_of(29, 13)
    frames = decode.decode_points(model, codes).astype(np.float64)
    expected = np.sqrt(np.mean((frames[pairs[:, 0]] - frames[pairs[:, 1]]) ** 2, axis=(1, 2, 3)))
    found = lengths.of_edges(model, codes, pairs, pieces=1)
    np.testing.assert_allclose(found, expected, atol=0.6)


def test_more_pieces_approach_the_length_of_an_arc_from_below():
    codes = np.array([[0.0, 5], [1, 5], [2.5, -5]], np.float32)
    pairs = np.array([[0, 1], [2, 1], [0, 2]])
    # A circle of radius 127.5 in two coordinates that half of all values have each.
    arcs = 127.5 * np.array([1, 1.5, 2.5]) / np.sqrt(2)
    errors = []
    for pieces in (1, 2, 4, 8):
        found = lengths.of_edges(Circle(), codes, pairs, pieces=pieces)
        chords = 127.5 * np.sqrt(2) * pieces * np.sin(np.array([1, 1.5, 2.5]) / pieces / 2)
        np.testing.assert_allclose(found, chords, rtol=1e-5)
        errors.append(arcs - found)
    assert (np.array(errors) > 0).all()
    assert (np.array(errors[2]) < 0.02 * arcs).all()


def test_the_usual_number_of_pieces_comes_close_to_a_fine_subdivision():
    model = Smooth(nnx.Rngs(0))
    model.last.kernel[...] /= 4  # keeps clear of black and white, where clipping makes corners
    codes = codes_of(43)
    apart = np.linalg.norm(codes[:, None] - codes[None], axis=2)
    near = np.argwhere((apart > 0) & (apart < 0.7))  # as neighbours are
    fine = lengths.of_edges(model, codes, near, pieces=64)
    coarse = lengths.of_edges(model, codes, near)
    assert len(near) > 50
    assert (coarse <= fine * (1 + 1e-5)).all()
    np.testing.assert_allclose(coarse, fine, rtol=0.02)
    # Twice as many pieces, a fourth of the error: the limit is that of the curve.
    halved = lengths.of_edges(model, codes, near, pieces=2 * lengths.PIECES)
    ratio = (fine - coarse).sum() / (fine - halved).sum()
    assert 3.3 < ratio < 4.7


def test_portions_do_not_show(model, monkeypatch):
    codes, pairs = codes_of(97), pairs_of(301, 97)
    whole = lengths.of_edges(model, codes, pairs)
    monkeypatch.setattr(lengths, "_HELD", 4 * HEIGHT * WIDTH * 3 * 5 * 37)
    np.testing.assert_allclose(lengths.of_edges(model, codes, pairs), whole, rtol=1e-6)
    monkeypatch.setattr(lengths, "_HELD", 1)
    few = lengths.of_edges(model, codes, pairs[:3])
    np.testing.assert_allclose(few, whole[:3], rtol=1e-6)


@pytest.fixture
def decoded(monkeypatch):
    """The numbers of points that are decoded at a time."""
    numbers, mapped = [], lengths.batches.mapped

    def noted(run, points, **options):
        numbers.append(len(points))
        return mapped(run, points, **options)

    monkeypatch.setattr(lengths.batches, "mapped", noted)
    return numbers


def test_images_held_are_bounded_and_programs_few(model, decoded, monkeypatch):
    monkeypatch.setattr(lengths, "_HELD", 4 * HEIGHT * WIDTH * 3 * 200)
    lengths._decode.clear_cache()
    lengths.of_edges(model, codes_of(97), pairs_of(301, 97))
    assert len(decoded) == 8  # 40 edges of 5 corners at a time
    assert max(decoded) <= 200
    assert lengths._decode._cache_size() <= 3


def test_an_end_that_edges_share_is_decoded_once(model, decoded):
    star = np.stack([np.zeros(60, int), np.arange(1, 61)], axis=1)
    lengths.of_edges(model, codes_of(61), star, pieces=1)
    assert decoded == [61]


def test_no_edges_have_no_lengths(model):
    assert lengths.of_edges(model, codes_of(3), np.empty((0, 2), int)).shape == (0,)


def test_an_image_that_is_not_finite_is_an_error():
    codes = codes_of(9)
    codes[4] = 9
    model = Smooth(nnx.Rngs(0))
    model.decode = lambda codes: jnp.where(codes[:, :1, None, None] == 9, jnp.inf, 0.5)
    with pytest.raises(UserError, match="edge between nodes 3 and 4 are not finite; the model"):
        lengths.of_edges(model, codes, np.array([[1, 2], [3, 4], [4, 5]]))


def test_products_are_asked_for_in_full_float32(model):
    graphdef, state = nnx.split(model)
    text = lengths._decode.lower(graphdef, state, jax.numpy.zeros((64, LATENT))).as_text()
    assert "HIGHEST" in text
    assert "DEFAULT" not in text
