"""How long edges between latent codes are once they are decoded.

An edge is cut into equal pieces in latent space, all corners are decoded, and the root-mean-square
differences of successive images, on 0-255, are added up. Images are clipped as frames are, and not
rounded. With one piece that is the difference between the decoded ends. With more it approaches,
from below, the length of the edge under the metric that the decoder pulls back. Chords of decoded
corners cost less than norms of Jacobian-vector products, and edges share their ends.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PyTree

from jaxsurf.errors import UserError
from jaxsurf.frames import decode
from jaxsurf.images import batches
from jaxsurf.images.pixels import PEAK
from jaxsurf.manifold.neighbors import Index
from jaxsurf.models.autoencoder import Autoencoder, inference_batch

# Bytes that decoded images take at any time; comparing them takes up to three times as many more.
_HELD = 64 * 2**20


def of_edges(
    model: Autoencoder,
    codes: Float[np.ndarray, "node latent"],
    pairs: Int[np.ndarray, "edge 2"],
    *,
    pieces: int,
) -> Float[np.ndarray, "edge"]:
    """Return the lengths of decoded edges, each cut into so many `pieces`.

    Edges are taken in chunks. An end that edges of a chunk share is decoded once.
    """
    index, pairs = Index(codes), np.asarray(pairs)
    codes = index.codes.astype(np.float32)
    graphdef, state = nnx.split(model)
    run, chunk = functools.partial(_decode, graphdef), inference_batch(model)
    values = jax.eval_shape(run, state, codes[:1]).size
    num_edges = max(1, _HELD // (4 * values * (pieces + 1)))
    shares = np.arange(1, pieces, dtype=np.float32)[:, None] / np.float32(pieces)
    lengths = np.empty(len(pairs))
    # Edges that lie together share ends.
    order = np.lexsort(index.distinct.group[pairs].T[::-1])
    for some in (order[start : start + num_edges] for start in range(0, len(order), num_edges)):
        nodes, ends = np.unique(pairs[some], return_inverse=True)
        ends = ends.reshape(-1, 2)
        tails, heads = codes[pairs[some, :1]], codes[pairs[some, 1:]]
        inner = (1 - shares) * tails + shares * heads
        places = len(nodes) + np.arange(inner.shape[0] * inner.shape[1]).reshape(inner.shape[:2])
        points = np.concatenate([codes[nodes], inner.reshape(-1, codes.shape[1])])
        images = batches.mapped(run, points, shared=[state], size=chunk, bucketed=True)
        corners = np.concatenate([ends[:, :1], places, ends[:, 1:]], axis=1)
        steps = np.square(np.diff(images[corners], axis=1))
        lengths[some] = np.sqrt(steps.mean(axis=(2, 3, 4), dtype=np.float64)).sum(axis=1)
    if not np.isfinite(lengths).all():
        first = pairs[int(np.argmin(np.isfinite(lengths)))].tolist()
        raise UserError(
            f"images decoded along the edge between nodes {first[0]} and {first[1]} are not finite",
            cure="the model has diverged: train it again with a lower learning rate",
        )
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
    graphdef, state = nnx.split(model)
    middles = codes[np.asarray(pairs)].mean(axis=1).astype(np.float32)
    run, size = functools.partial(_changes, graphdef), inference_batch(model)
    changes = batches.mapped(run, middles, shared=[state], size=size, bucketed=True)
    # Nothing is given back better than rounding to whole numbers allows.
    return 1 + np.square(changes.astype(np.float64) / (2 * max(usual, 12**-0.5)))


@functools.partial(jax.jit, static_argnums=0)
def _changes(
    graphdef: nnx.GraphDef, state: PyTree[Array], codes: Float[Array, "chunk latent"]
) -> Float[Array, "chunk"]:
    """Return how much the model changes what it decodes codes to."""
    images = _decode(graphdef, state, codes)
    with jax.default_matmul_precision("highest"):
        again = _decode(graphdef, state, nnx.merge(graphdef, state).encode(images / PEAK))
    return jnp.sqrt(jnp.square(again - images).mean(axis=(1, 2, 3)))


@functools.partial(jax.jit, static_argnums=0)
def _decode(
    graphdef: nnx.GraphDef, state: PyTree[Array], codes: Float[Array, "chunk latent"]
) -> Float[Array, "chunk height width channel"]:
    """Return decoded images on 0-255; what is not finite has no difference to anything."""
    images = decode.images_of(graphdef, state, codes)
    return jnp.where(jnp.isfinite(images), PEAK * jnp.clip(images, 0.0, 1.0), jnp.nan)
