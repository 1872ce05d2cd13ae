"""Lengths of decoded edges, against formulas and one edge at a time."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.frames import lengths
from jaxsurf.models.autoencoder import Autoencoder

HEIGHT, WIDTH = 5, 7


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


class Waves(Autoencoder):
    """Values leave [0, 1]."""

    def decode(self, codes):
        waves = jnp.sin(codes @ normal(2, HEIGHT * WIDTH * 3))
        return (0.5 + 0.6 * waves).reshape(-1, HEIGHT, WIDTH, 3)


def one_by_one(model, codes, pairs, pieces):
    """Decode the corners of each edge alone, in float64 from there on."""
    found = []
    for (tail, head), number in zip(codes[pairs], pieces, strict=True):
        shares = np.linspace(0, 1, number + 1, dtype=np.float32)[:, None]
        images = np.asarray(model.decode(jnp.asarray((1 - shares) * tail + shares * head)))
        images = 255 * np.clip(images.astype(np.float64), 0, 1)
        found.append(sum(np.sqrt(np.mean((a - b) ** 2)) for a, b in itertools.pairwise(images)))
    return found


@pytest.mark.parametrize(("pieces", "chunk_edges"), [(1, 50), (2, 13), (4, 1)])
def test_lengths_are_those_of_edges_decoded_one_by_one(pieces, chunk_edges, monkeypatch):
    monkeypatch.setattr(lengths, "_HELD", 4 * HEIGHT * WIDTH * 3 * (pieces + 1) * chunk_edges)
    model, codes, counts = Waves(), normal(13, 2), 1 + np.arange(29) % pieces
    pairs = np.random.default_rng(1).integers(0, 13, (29, 2))
    found = lengths.of_edges(model, codes, pairs, pieces=counts)
    expected = one_by_one(model, codes, pairs, counts)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)
    assert lengths.of_edges(model, codes, pairs[:0], pieces=counts[:0]).shape == (0,)


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


def test_an_image_that_is_not_finite_is_an_error():
    codes, model = normal(9, 2), Waves()
    codes[4] = 9
    model.decode = lambda codes: jnp.where(codes[:, :1, None, None] == 9, jnp.inf, 0.5)
    with pytest.raises(UserError, match="are not finite; the model"):
        lengths.of_edges(model, codes, np.array([[1, 2], [3, 4], [4, 5]]), pieces=np.ones(3, int))
