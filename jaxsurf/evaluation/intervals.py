"""Animations beside the straight course between the factors of their ends.

These are the measures of Oring, Yakhini & Hel-Or, Autoencoder Image Interpolation by Shaping the
Latent Space (AEAI), arXiv:2008.01487, sections 2 and 4.3. *Alpha* is the share of an animation that
is over, 0 at the source and 1 at the target. The straight course is one right course among several:
an animation that takes another one is not wrong for that, which `truth` can tell.

Poses and distances are in steps of the factors' grid, periodic factors the short way round.
"""

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxsurf.errors import UserError
from jaxsurf.evaluation import metrics
from jaxsurf.evaluation.lattice import Ends, FactorGrid, read_grid
from jaxsurf.images.image_set import ImageSet
from jaxsurf.images.pixels import Images

Animations = Sequence[UInt8[np.ndarray, "_frame height width channel"]]
AtAlpha = Float[np.ndarray, "pair alpha"]
PerPair = Float[np.ndarray, "pair"]

# Where curves are sampled: AEAI's longest intervals are 80 degrees in steps of 5.
ALPHAS = np.linspace(0.0, 1.0, 17)
# A move is longer than this, in grid steps; less may be rounding.
TINY = 1e-6


def find_grid(images: ImageSet) -> FactorGrid | None:
    """Return the grid that the factors of images form; None where they form none."""
    with contextlib.suppress(UserError):
        return read_grid(images)
    return None


class Curves(NamedTuple):
    """How the animations of pairs go from source to target, at `ALPHAS`; distances in grid steps.

    `error` is the mean squared difference, on 0-255 squared, to the image drawn on the straight
    course; None where images can't be drawn. `predicted` is alpha by the data image nearest to the
    frame, where its factors project on the straight course. `end_error` is how far the first and
    the last frame are from the images at the ends: root mean square on 0-255, the larger of both.
    """

    error: AtAlpha | None
    predicted: AtAlpha
    from_source: AtAlpha  # distance of the nearest image's factors from those of the ends
    from_target: AtAlpha
    length: PerPair  # distance of the factors of the ends
    end_error: PerPair

    def scores(self) -> dict[str, PerPair]:
        """Return one value a pair.

        `truth_mse` is the mean `error`, and `alpha_error` the mean difference of predicted alpha
        and alpha. AEAI calls an interpolation admissible that begins and ends with the images asked
        for (`end_error` is 0) and neither comes nearer to the source again nor goes away from the
        target: `backward` is the share of the nearest image's moves that do.
        """
        gone, left = np.diff(self.from_source), np.diff(self.from_target)
        moves = (np.abs(gone) > TINY) | (np.abs(left) > TINY)
        back = (gone < -TINY) | (left > TINY)
        scores = {} if self.error is None else {"truth_mse": self.error.mean(axis=1)}
        return scores | {
            "alpha_error": np.abs(self.predicted - ALPHAS[None]).mean(axis=1),
            "backward": back.sum(axis=1) / np.maximum(1, moves.sum(axis=1)),
            "end_error": self.end_error,
            "ends_distance": self.length,
        }

    def summary(self, *, groups: int = 8) -> dict[str, list[float]]:
        """Return what AEAI draws, over all pairs.

        By alpha: mean and deviation of the error, quartiles of the predicted alpha, mean distances
        to the ends. By length: the mean error of groups of equally many pairs.
        """
        low, median, high = np.percentile(self.predicted, (25, 50, 75), axis=0)
        found = {
            "alpha": ALPHAS,
            "predicted_low": low,
            "predicted": median,
            "predicted_high": high,
            "from_source": self.from_source.mean(axis=0),
            "from_target": self.from_target.mean(axis=0),
        }
        if self.error is not None:
            found |= {"error": self.error.mean(axis=0), "error_std": self.error.std(axis=0)}
            order = np.argsort(self.length, kind="stable")
            parts = np.array_split(order, min(groups, len(order)))
            found["length"] = np.array([self.length[part].mean() for part in parts])
            found["error_by_length"] = np.array([self.error[part].mean() for part in parts])
        return {name: values.tolist() for name, values in found.items()}


def true_frames(images: ImageSet, ends: Ends, counts: Sequence[int]) -> list[Images] | None:
    """Return what animations would show that follow the straight course between the ends' factors.

    These are the frames that `chosen` names, of as many as the animations of each pair have; None
    where images are not drawn, or factors form no grid.
    """
    grid = find_grid(images)
    if images.draw is None or grid is None:
        return None
    starts, targets = np.moveaxis(grid.image_poses(ends), 1, 0)
    changes = grid.short(targets - starts)
    each = zip(starts, changes, map(_alphas, counts), strict=True)
    poses = [start + alphas[:, None] * change for start, change, alphas in each]
    frames = images.draw(grid.factors(np.concatenate(poses)))
    return np.split(frames, np.cumsum([len(some) for some in poses])[:-1])


def chosen(count: int) -> Int[np.ndarray, "chosen"]:
    """Return the numbers of the frames that are looked at: evenly spread, at most one an alpha."""
    return np.unique(np.rint(ALPHAS * (count - 1)).astype(np.int64))


def make_curves(
    frames: Animations,
    nearest: Int[np.ndarray, "all"],
    images: ImageSet,
    ends: Ends,
    *,
    truth: Animations | None = None,
) -> Curves | None:
    """Return how animations go from source to target; None where factors form no grid.

    Frames between two alphas are interpolated. `nearest` are the data images nearest to all frames,
    pair after pair; AEAI takes absolute differences for alpha and squared ones for distances, here
    all are squared. `truth` is what `true_frames` returned.
    """
    grid = find_grid(images)
    if grid is None:
        return None
    rows, cuts = [], np.cumsum([len(some) for some in frames])[:-1]
    near = np.split(grid.image_poses(nearest), cuts)
    starts, targets = np.moveaxis(grid.image_poses(ends), 1, 0)
    changes = grid.short(targets - starts)
    for pair, (some, whole) in enumerate(zip(frames, changes, strict=True)):
        shown = chosen(len(some))
        gone = grid.short(near[pair][shown] - starts[pair])
        left = grid.short(near[pair][shown] - starts[pair] - whole)
        at_frames = [
            metrics.mse(some[shown], truth[pair]) if truth else np.zeros(len(shown)),
            gone @ whole / (whole @ whole),
            np.linalg.norm(gone, axis=1),
            np.linalg.norm(left, axis=1),
        ]
        at_alphas = [np.interp(ALPHAS, _alphas(len(some)), values) for values in at_frames]
        end_error = np.sqrt(metrics.mse(some[[0, -1]], images.images[ends[pair]]).max())
        rows.append((*at_alphas, np.linalg.norm(whole), end_error))
    curves = Curves(*map(np.array, zip(*rows, strict=True)))
    return curves if truth else curves._replace(error=None)


def _alphas(count: int) -> Float[np.ndarray, "chosen"]:
    return chosen(count) / max(1, count - 1)
