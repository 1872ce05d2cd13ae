"""How long edges between latent codes are once they are decoded.

A length is that of a polyline in the space of images: an edge is cut into equal pieces in latent
space, all corners are decoded, and the root-mean-square differences of successive images, over all
their values on 0-255, are added up. Images are clipped as frames are, and not rounded.

With one piece that is the difference between the decoded ends. With more it approaches, from
below, the length of the edge under the metric that the decoder pulls back. Chords of decoded
corners rather than norms of Jacobian-vector products: a corner costs one pass through the decoder
instead of a pass and its derivative, ends are shared among edges, and a length is never less than
the difference between the decoded ends, nor than that of fewer pieces that the same corners make.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PyTree

from jaxsurf.errors import UserError
from jaxsurf.frames import decode
from jaxsurf.images.pixels import PEAK
from jaxsurf.manifold import euclid
from jaxsurf.manifold.neighbours import candidates
from jaxsurf.models.autoencoder import Autoencoder, inference_batch

# Pieces of an edge for its pull-back length: see BUILD_NOTES for how far that is from the limit.
PIECES = 4
# Bytes that decoded images take at any time; comparing them takes up to three times as many more.
_HELD = 64 * 2**20


def of_edges(
    model: Autoencoder,
    codes: Float[np.ndarray, "node latent"],
    pairs: Int[np.ndarray, "edge 2"],
    *,
    pieces: int = PIECES,
) -> Float[np.ndarray, "edge"]:
    """Return the lengths of decoded edges.

    Edges are taken in portions, so memory stays bounded however many there are. An end that edges
    of a portion share is decoded once.

    Args:
        model: the autoencoder whose `decode` is used.
        codes: the latent codes of all nodes.
        pairs: the nodes that each edge joins.
        pieces: how many an edge is cut into.

    Raises:
        UserError: a code or a decoded image is not finite.
    """
    codes, pairs = euclid.check(codes).astype(np.float32), np.asarray(pairs)
    lengths = np.empty(len(pairs))
    rank = np.argsort(candidates.spatial_order(codes))
    # Edges that lie together share ends.
    order = np.lexsort(rank[pairs].T[::-1])
    run = _Portions(model, codes, pieces, len(pairs))
    for some in np.split(order, range(run.num_edges, len(order), run.num_edges)):
        lengths[some] = run.lengths(pairs[some])
    if not np.isfinite(lengths).all():
        first = pairs[int(np.argmin(np.isfinite(lengths)))].tolist()
        raise UserError(
            f"images decoded along the edge between nodes {first[0]} and {first[1]} are not finite",
            cure="the model has diverged: train it again with a lower learning rate",
        )
    return lengths


class _Portions:
    """Measures edges, a portion of one size at a time, so that programs are compiled once."""

    def __init__(
        self, model: Autoencoder, codes: Float[np.ndarray, "node latent"], pieces: int, edges: int
    ) -> None:
        self._split, self._codes = nnx.split(model), codes
        self._shares = np.arange(1, pieces, dtype=np.float32)[:, None] / np.float32(pieces)
        shape = jax.eval_shape(
            functools.partial(decode.images_of, self._split[0]), self._split[1], codes[:1]
        ).shape[1:]
        fitting = _HELD // (4 * int(np.prod(shape)) * (pieces + 1))
        self.num_edges = max(1, min(fitting, edges))
        self._chunk = inference_batch(model)
        chunks = -(-self.num_edges * (pieces + 1) // self._chunk)
        self._held = (chunks * self._chunk, *shape)

    def lengths(self, pairs: Int[np.ndarray, "edge 2"]) -> Float[np.ndarray, "edge"]:
        """Return the lengths of at most `num_edges` edges."""
        points, corners = self._corners(pairs)
        held = jnp.zeros(self._held, jnp.float32)
        for start in range(0, len(points), self._chunk):
            chunk = np.zeros((self._chunk, points.shape[1]), np.float32)
            some = points[start : start + self._chunk]
            chunk[: len(some)] = some
            held = _put(held, _decode(*self._split, chunk), start)
        filled = np.zeros((self.num_edges, corners.shape[1]), np.int32)
        filled[: len(corners)] = corners
        return np.asarray(_polylines(held, filled), np.float64)[: len(pairs)]

    def _corners(
        self, pairs: Int[np.ndarray, "edge 2"]
    ) -> tuple[Float[np.ndarray, "point latent"], Int[np.ndarray, "edge corner"]]:
        """Return the points to decode, and which of them each edge passes."""
        nodes, ends = np.unique(pairs, return_inverse=True)
        ends = ends.reshape(pairs.shape)
        tails, heads = self._codes[pairs[:, :1]], self._codes[pairs[:, 1:]]
        inner = (1 - self._shares) * tails + self._shares * heads
        numbers = len(nodes) + np.arange(inner.shape[0] * inner.shape[1]).reshape(inner.shape[:2])
        points = np.concatenate([self._codes[nodes], inner.reshape(-1, inner.shape[2])])
        return points, np.concatenate([ends[:, :1], numbers, ends[:, 1:]], axis=1)


@functools.partial(jax.jit, static_argnums=0)
def _decode(
    graphdef: nnx.GraphDef, state: PyTree[Array], codes: Float[Array, "chunk latent"]
) -> Float[Array, "chunk height width channel"]:
    """Return decoded images on 0-255; what is not finite has no difference to anything."""
    images = decode.images_of(graphdef, state, codes)
    return jnp.where(jnp.isfinite(images), PEAK * jnp.clip(images, 0.0, 1.0), jnp.nan)


@functools.partial(jax.jit, donate_argnums=0)
def _put(
    held: Float[Array, "point height width channel"],
    images: Float[Array, "chunk height width channel"],
    start: Int[Array, ""],
) -> Float[Array, "point height width channel"]:
    """Put images in their place among those that are held."""
    return jax.lax.dynamic_update_slice_in_dim(held, images, start, axis=0)


@jax.jit
def _polylines(
    held: Float[Array, "point height width channel"], corners: Int[Array, "edge corner"]
) -> Float[Array, "edge"]:
    """Return the lengths of polylines through images that are held."""
    steps = held[corners[:, 1:]] - held[corners[:, :-1]]
    return jnp.sqrt(jnp.mean(jnp.square(steps), axis=(2, 3, 4))).sum(axis=1)
