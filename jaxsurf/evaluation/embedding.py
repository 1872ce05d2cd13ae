"""How well the codes of a set of images keep its shape: what paths can be, before any is drawn.

*True neighbours* are pairs of images that ought to have codes side by side. Where the factors form
a grid these are the images one step apart in one factor, round a periodic factor too; elsewhere an
image and each of the `IMAGE_NEIGHBOURS` most similar ones. A code fails in two ways:

- it *tears* what belongs together: true neighbours are far apart, and a path leaps between them;
- it *folds* what does not: one sheet of codes lies over another, and a path crosses between them.

Distances of images are root mean squares on 0-255, those of codes are Euclidean. What is quadratic
in the number of images is measured on `SAMPLE` of them, drawn from a seed.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real

from jaxsurf.evaluation import intervals, metrics
from jaxsurf.evaluation.lattice import FactorGrid
from jaxsurf.frames import decode
from jaxsurf.images import batches, pixels, storage
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import neighbors
from jaxsurf.manifold.encode import Latents
from jaxsurf.manifold.neighbors import Index
from jaxsurf.models.autoencoder import Autoencoder, inference_batch

IMAGE_NEIGHBOURS = 8
# True neighbours are torn apart where neither code is among the nearest of the other, so many times
# as many as an image has true neighbours. A graph of few neighbours then has no edge there. Unlike
# a distance, a rank forgives codes that are stretched: a plane may be tenfold along one axis.
TORN_BEYOND = 8
# Neighbours that trustworthiness and continuity compare, about as many as graphs have.
NEIGHBOURS = 10
# At most so many images, true neighbours and Jacobians are looked at.
SAMPLE, PAIRS, JACOBIANS = 1000, 20_000, 64
# Triangles compared with all others at once.
_LOOKED = 32

Pairs = Int[np.ndarray, "pair 2"]
InPlane = Float[np.ndarray, "*#shape 2"]
Order = Int[np.ndarray, "sampled sampled"]


def measure(
    model: Autoencoder, latents: Latents, images: ImageSet, *, seed: int = 0
) -> dict[str, float | None]:
    """Return figures of the codes of a set of images; None where one can't be known.

    Returns:
        tears: share of true neighbours whose codes are torn apart, see `TORN_BEYOND`.
        folds: share of pose triangles whose middle lies under another one that shares no corner,
            of two factors on a grid in two latent dimensions. Each cell is cut into two; a triangle
            without area is folded. Which side is up does not count: where factors are a direction
            and an angle, as of the arm, a sheet without any fold shows both.
        cv: coefficient of variation, over true neighbours, of image distance over latent distance:
            0 where the decoder moves at one speed everywhere. Codes that coincide don't count.
        trustworthiness: 1 where the nearest codes are those of the nearest images; an intruder
            costs by how far down its image stands in the order of distance (Venna & Kaski,
            Neighborhood preservation in nonlinear projection methods, 2001).
        continuity: the same with images and codes exchanged: 1 where the nearest images have the
            nearest codes.
        condition: condition number of J^T J, J the decoder's Jacobian, in the median over codes:
            1 where it moves equally fast in all directions.
    """
    random = np.random.default_rng(seed)
    index, shown, grid = latents.index, images.images, intervals.find_grid(images)
    some = _sample(random, len(images), SAMPLE)
    sampled, codes = storage.take(shown, some), index.codes[some]
    flat = sampled.reshape(len(some), -1)
    size = metrics.FRAME_CHUNK
    squares = batches.mapped(metrics.squares, flat, shared=[flat], size=size, bucketed=True)
    by_image, by_code = _order(squares), _order(neighbors.distances(codes[:, None], codes[None]))
    if grid is None:
        # Codes are looked for among as many as images are.
        index, shown, each = Index(codes), sampled, min(IMAGE_NEIGHBOURS, len(some) - 1)
        heads = by_image[:, 1 : each + 1]
        pairs = np.stack([np.repeat(np.arange(len(some)), each), heads.ravel()], axis=-1)
        pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    else:
        pairs, each = np.argsort(grid.nodes)[grid.adjacent_pairs()], 2 * len(grid.axes)
    pairs = pairs[_sample(random, len(pairs), PAIRS)]
    apart = neighbors.distances(*index.codes[pairs.T])
    speeds = pixels.rms(shown, pairs)[apart > 0] / apart[apart > 0]
    return {
        "tears": _tears(index, pairs, apart, TORN_BEYOND * each),
        "folds": None if grid is None else _folds(index.codes, grid),
        "cv": float(speeds.std() / speeds.mean()) if speeds.any() else None,
        "trustworthiness": _rank_agreement(by_image, by_code),
        "continuity": _rank_agreement(by_code, by_image),
        "condition": _condition(model, latents.codes[_sample(random, len(images), JACOBIANS)]),
    }


def _sample(random: np.random.Generator, number: int, most: int) -> Int[np.ndarray, "sampled"]:
    """Return which of so many are looked at, ascending: all where they are few."""
    if number <= most:
        return np.arange(number)
    return np.sort(random.choice(number, most, replace=False))


def _tears(index: Index, pairs: Pairs, apart: Float[np.ndarray, "pair"], most: int) -> float | None:
    """Return the share of pairs of which neither code is among the `most` nearest of the other."""
    if 2 * most >= len(index.codes):  # half the codes would be among them
        return None
    nodes, ends = np.unique(pairs, return_inverse=True)
    # A code finds itself too.
    reach = index.nearest_to(index.codes[nodes], k=most + 1).distances[:, -1]
    return float(np.mean(apart > reach[ends.reshape(-1, 2)].max(axis=1)))


def _folds(codes: Float[np.ndarray, "point latent"], grid: FactorGrid) -> float | None:
    if len(grid.axes) != 2 or codes.shape[1] != 2:
        return None
    numbers = np.argsort(grid.nodes).reshape(grid.shape)
    numbers = np.pad(numbers, [(0, int(ring)) for ring in grid.around > 0], mode="wrap")
    below, beside = numbers[1:, :-1].ravel(), numbers[:-1, 1:].ravel()
    others = numbers[:-1, :-1].ravel(), numbers[1:, 1:].ravel()
    triangles = np.concatenate([np.stack([each, below, beside], axis=1) for each in others])
    corners = codes[triangles]
    sides = np.roll(corners, -1, axis=1) - corners
    areas = _cross(sides[:, 0], sides[:, 1])
    under = areas == 0
    for looked in np.array_split(np.arange(len(triangles)), -(-len(triangles) // _LOOKED)):
        middles = corners[looked].mean(axis=1)
        turns = _cross(sides[None], middles[:, None, None] - corners[None])
        turns *= np.sign(areas)[:, None]
        inside = (turns >= -1e-9 * np.abs(areas).max()).all(axis=2) & (areas != 0)
        one, other = np.nonzero(inside)
        met = triangles[looked[one], :, None] == triangles[other, None, :]
        under[looked[one[~met.any(axis=(1, 2))]]] = True
    return float(under.mean())


def _cross(one: InPlane, other: InPlane) -> Float[np.ndarray, "..."]:
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]


def _order(away: Real[np.ndarray, "sampled sampled"]) -> Order:
    """Return all points in order of distance from each: itself first, then the lowest of equals."""
    away = np.array(away)
    np.fill_diagonal(away, -1)
    return np.argsort(away, axis=1, kind="stable")


def _rank_agreement(true: Order, found: Order) -> float | None:
    """Return 1 less what it costs that the nearest of one order are not those of the other.

    With n points, k neighbours and r the rank in the true order, the cost is 2 / (n k (2 n - 3 k -
    1)) times the sum, over the k nearest of all points in the other order, of max(0, r - k).
    """
    number, k = len(true), min(NEIGHBOURS, (len(true) - 1) // 2)
    if k < 1:
        return None
    ranks = np.argsort(true, axis=1)
    cost = np.maximum(np.take_along_axis(ranks, found[:, 1 : k + 1], axis=1) - k, 0).sum()
    return float(1 - 2 * cost / (number * k * (2 * number - 3 * k - 1)))


def _condition(model: Autoencoder, codes: Float[np.ndarray, "point latent"]) -> float | None:
    """Return the median condition number; None where the decoder stands still at a code.

    No more than float32 can tell: at most 8.4 million.
    """
    size = max(1, inference_batch(model) // codes.shape[1])
    values = np.linalg.eigvalsh(batches.mapped(_gram, codes, shared=[model], size=size))
    smallest, largest = values[:, 0], values[:, -1]
    if not (largest > 0).all():
        return None
    least = np.finfo(np.float32).eps * largest
    return float(np.median(largest / np.maximum(smallest, least)))


@jax.jit
def _gram(
    model: Autoencoder, codes: Float[Array, "batch latent"]
) -> Float[Array, "batch latent latent"]:
    """Return J^T J at each code, J being all values of its image by the latent axes."""
    _, push = jax.linearize(functools.partial(decode.images_of, model), codes)
    axes = jnp.eye(codes.shape[1], dtype=codes.dtype)
    moved = jax.lax.map(lambda axis: push(jnp.broadcast_to(axis, codes.shape)), axes)
    moved = moved.reshape(*moved.shape[:2], -1)
    return jnp.einsum("abv,cbv->bac", moved, moved, precision="highest")
