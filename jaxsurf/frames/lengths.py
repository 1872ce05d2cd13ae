"""How long edges between latent codes are once they are decoded.

An edge is cut into equal pieces in latent space, all corners are decoded, and the root-mean-square
differences of successive images, on 0-255, are added up; images are clipped, not rounded. With more
pieces that approaches, from below, the length of the edge under the metric that the decoder pulls
back. Chords cost less than norms of Jacobian-vector products, and edges share their ends.

Half a step of what moves changes an image by more than half as much: cut into as many pieces, long
edges would be too cheap beside short ones, and cut into pieces as long in latent space, edges where
images change fast. So pieces of all edges change an image by about as much.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxsurf.errors import UserError
from jaxsurf.frames import decode
from jaxsurf.images import batches
from jaxsurf.images.pixels import PEAK
from jaxsurf.manifold.neighbors import Index, distances, numbered
from jaxsurf.models.autoencoder import Autoencoder, inference_batch

# Bytes that decoded images take at any time; comparing them takes up to three times as many more.
_HELD = 64 * 2**20
# Codes are apart as each is from this neighbour: on a grid of any dimensions a step.
_NEIGHBOR = 4
_MOST_PIECES = 16
# Codes that tell how much images change from code to code, at least.
_SAMPLED = 256


def num_pieces(
    model: Autoencoder,
    codes: Float[np.ndarray, "node latent"],
    pairs: Int[np.ndarray, "edge 2"],
    piece: float,
) -> Int[np.ndarray, "edge"]:
    """Return the number of pieces of each edge, 1 to 16, so that all are about as long as images.

    Their length is `piece` times the median distance of a decoded code to that of its fourth
    nearest neighbour; infinite means one piece. An edge's own is estimated from its latent length
    and the mean, at both ends, of the ratio of decoded to latent distances of near neighbours.
    """
    if np.isinf(piece):
        return np.ones(len(pairs), dtype=np.int64)
    nodes, ends = np.unique(pairs, return_inverse=True)
    if len(nodes) < _SAMPLED:  # too few to tell what is usual
        nodes = np.union1d(nodes, np.arange(0, len(codes), -(-len(codes) // _SAMPLED)))
        ends = np.searchsorted(nodes, pairs)
    near = Index(codes).nearest(k=min(_NEIGHBOR, len(codes) - 1))
    others, away = near.indices[nodes], near.distances[nodes]
    joined = np.stack([nodes.repeat(others.shape[1]), others.ravel()], axis=1)
    chords = of_edges(model, codes, joined, pieces=np.ones(len(joined), np.int64))
    tiny = np.finfo(np.float64).tiny
    ratios = chords.reshape(away.shape) / np.maximum(away, tiny)
    change = np.median(ratios, axis=1)  # of an image, by a latent unit
    apart = distances(*codes[np.asarray(pairs).T].astype(np.float64))
    longest = max(piece * np.median(away[:, -1] * change), tiny)
    shares = apart * change[ends.reshape(-1, 2)].mean(axis=1) / longest
    return np.clip(np.rint(shares), 1, _MOST_PIECES).astype(np.int64)


def of_edges(
    model: Autoencoder,
    codes: Float[np.ndarray, "node latent"],
    pairs: Int[np.ndarray, "edge 2"],
    *,
    pieces: Int[np.ndarray, "edge"],
) -> Float[np.ndarray, "edge"]:
    """Return the lengths of decoded edges, cut into so many `pieces` each."""
    index, pairs = Index(codes), np.asarray(pairs)
    codes = index.codes.astype(np.float32)
    values, size = jax.eval_shape(_decode, model, codes[:1]).size, inference_batch(model)
    lengths = np.empty(len(pairs))
    if not len(pairs):
        return lengths
    # Edges that lie together share ends, which a chunk decodes once.
    order = np.lexsort(index.distinct.group[pairs].T[::-1])
    chunk = np.cumsum(pieces[order] + 1) // max(1, _HELD // (4 * values))
    for some in np.split(order, np.flatnonzero(np.diff(chunk)) + 1):
        nodes, ends = np.unique(pairs[some], return_inverse=True)
        ends, counts = ends.reshape(-1, 2), pieces[some]
        edge, place = numbered(counts)  # of each piece: its edge, and which piece of that it is
        inner = place > 0
        shares = (place / counts[edge])[inner, None].astype(np.float32)
        tails, heads = codes[pairs[some[edge[inner]]].T]
        points = np.concatenate([codes[nodes], (1 - shares) * tails + shares * heads])
        images = batches.mapped(_decode, points, shared=[model], size=size, bucketed=True)
        first = np.where(inner, len(nodes) - 1 + np.cumsum(inner), ends[edge, 0])
        last = np.where(place == counts[edge] - 1, ends[edge, 1], np.roll(first, -1))
        steps = np.square(images[first] - images[last]).mean(axis=(1, 2, 3), dtype=np.float64)
        lengths[some] = np.add.reduceat(np.sqrt(steps), np.flatnonzero(place == 0))
    if not np.isfinite(lengths).all():
        raise UserError("images decoded along edges are not finite", cure=decode.DIVERGED)
    return lengths


def fault_factors(
    model: Autoencoder,
    codes: Float[np.ndarray, "node latent"],
    pairs: Int[np.ndarray, "edge 2"],
    *,
    usual: float,
) -> Float[np.ndarray, "edge"]:
    """Return how many times dearer edges are for what is wrong with the image in their middle m.

    1 + (r / 2 r0)^2, where r is the root mean square on 0-255 of D(m) - D(E(D(m))), and r0, the
    `usual` one, that of the reconstruction of images. An autoencoder gives back what looks like the
    images that it was trained on, and changes what does not: of what is known without the truth, r
    predicts the distance from true images best, next to that from the nearest image.
    """
    middles = codes[np.asarray(pairs)].mean(axis=1).astype(np.float32)
    size = inference_batch(model)
    changes = batches.mapped(_changes, middles, shared=[model], size=size, bucketed=True)
    # Nothing is given back better than rounding to whole numbers allows.
    return 1 + np.square(changes.astype(np.float64) / (2 * max(usual, 12**-0.5)))


@jax.jit
def _changes(model: Autoencoder, codes: Float[Array, "chunk latent"]) -> Float[Array, "chunk"]:
    """Return how much the model changes what it decodes codes to."""
    images = _decode(model, codes)
    with jax.default_matmul_precision("highest"):
        again = _decode(model, model.encode(images / PEAK))
    return jnp.sqrt(jnp.square(again - images).mean(axis=(1, 2, 3)))


@jax.jit
def _decode(
    model: Autoencoder, codes: Float[Array, "chunk latent"]
) -> Float[Array, "chunk height width channel"]:
    """Return decoded images on 0-255; what is not finite has no difference to anything."""
    images = decode.images_of(model, codes)
    return jnp.where(jnp.isfinite(images), PEAK * jnp.clip(images, 0.0, 1.0), jnp.nan)
