"""Lengths of decoded edges, against formulas and one edge at a time."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.frames import lengths
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


def codes_of(number):
    return np.random.default_rng(0).normal(size=(number, LATENT)).astype(np.float32)


def pairs_of(number, nodes):
    return np.random.default_rng(1).integers(0, nodes, (number, 2))


def one_by_one(model, codes, pairs, pieces):
    """Decode each corner alone, in float64 from there on."""
    found = []
    for tail, head in codes[pairs]:
        shares = np.linspace(0, 1, pieces + 1, dtype=np.float32)[:, None]
        images = np.asarray(model.decode(jnp.asarray((1 - shares) * tail + shares * head)))
        images = 255 * np.clip(images.astype(np.float64), 0, 1)
        found.append(sum(np.sqrt(np.mean((a - b) ** 2)) for a, b in itertools.pairwise(images)))
    return found


@pytest.mark.parametrize(("pieces", "chunk_edges"), [(1, 50), (2, 13), (4, 1)])
def test_lengths_are_those_of_edges_decoded_one_by_one(model, pieces, chunk_edges, monkeypatch):
    monkeypatch.setattr(lengths, "_HELD", 4 * HEIGHT * WIDTH * 3 * (pieces + 1) * chunk_edges)
    codes, pairs = codes_of(13), pairs_of(29, 13)
    found = lengths.of_edges(model, codes, pairs, pieces=np.full(29, pieces))
    expected = one_by_one(model, codes, pairs, pieces)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)
    none = np.empty((0, 2), int)
    assert lengths.of_edges(model, codes, none, pieces=np.empty(0, int)).shape == (0,)
    counts = 1 + np.arange(29) % pieces
    found = lengths.of_edges(model, codes, pairs, pieces=counts)
    expected = [one_by_one(model, codes, pairs[n : n + 1], counts[n])[0] for n in range(len(pairs))]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


class Uneven(Autoencoder):
    """Brightness grows with the code, three times as fast past 6."""

    def decode(self, codes):
        bright = 0.02 * codes[:, :1] + 0.04 * jnp.maximum(codes[:, :1] - 6, 0)
        return jnp.tile(bright[:, :, None, None], (1, HEIGHT, WIDTH, 3))


def test_pieces_of_all_edges_change_images_about_as_much():
    codes = np.arange(14, dtype=np.float32)[:, None]
    pairs = np.array([[0, 1], [12, 13], [3, 1], [11, 13], [0, 5], [4, 4], [8, 13]])
    found = lengths.num_pieces(Uneven(), codes, pairs, 0.2)
    # The fourth nearest changes the image by 20.4 where it is dark, by 30.6 beyond: a fifth is 5.1.
    assert found.tolist() == [1, 3, 2, 6, 5, 1, 15]
    assert lengths.num_pieces(Uneven(), codes, pairs, np.inf).tolist() == [1] * 7
    assert lengths.num_pieces(Uneven(), 0 * codes, pairs, 0.2).tolist() == [1] * 7


def test_more_pieces_approach_the_length_of_an_arc_from_below():
    codes = np.array([[0.0, 5], [1, 5], [2.5, -5]], np.float32)
    pairs = np.array([[0, 1], [2, 1], [0, 2]])
    # A circle of radius 127.5 in two coordinates that half of all values have each.
    arcs = 127.5 * np.array([1, 1.5, 2.5]) / np.sqrt(2)
    for pieces in (1, 2, 4, 8):
        found = lengths.of_edges(Circle(), codes, pairs, pieces=np.full(3, pieces))
        chords = 127.5 * np.sqrt(2) * pieces * np.sin(np.array([1, 1.5, 2.5]) / pieces / 2)
        np.testing.assert_allclose(found, chords, rtol=1e-5)
        assert (found < arcs).all()
        assert pieces < 4 or (found > 0.98 * arcs).all()


def test_an_image_that_is_not_finite_is_an_error():
    codes = codes_of(9)
    codes[4] = 9
    model = Smooth(nnx.Rngs(0))
    model.decode = lambda codes: jnp.where(codes[:, :1, None, None] == 9, jnp.inf, 0.5)
    with pytest.raises(UserError, match="edge between nodes 3 and 4 are not finite; the model"):
        lengths.of_edges(model, codes, np.array([[1, 2], [3, 4], [4, 5]]), pieces=np.ones(3, int))
