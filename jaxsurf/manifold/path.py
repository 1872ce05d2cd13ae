"""A polyline in latent space -> the latent path that is decoded, one point a frame.

    linear   straight from each anchor to the next
    surfing  all along the polyline (Yadlin & Botchan, Data Interpolation in Latent Space)

The polyline is mostly a path through a graph; anchors are the corners where it must pass. A further
method is a function from these and the timing to a latent path, and its entry in `PATHS`.

Corners may coincide. Everything is computed in float64. The first and the last frame are the first
and the last corner exactly.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real

from jaxsurf.errors import UserError
from jaxsurf.manifold import neighbors


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How many frames an animation has.

    Attributes:
        points_per_edge: frames on each edge of the graph path, both its ends counted; 3 in most of
            the report's animations.
        frames: number of frames of every animation, at constant speed, instead.
    """

    points_per_edge: int = 3
    frames: int | None = None

    def __post_init__(self) -> None:
        for name, number in (("points per edge", self.points_per_edge), ("frames", self.frames)):
            if number is not None and number < 2:
                raise UserError(f"{number} {name} can't show both ends", cure="ask for 2 or more")


@dataclass(frozen=True, eq=False)
class LatentPath:
    """Latent codes in order, one a frame, as float64."""

    points: Float[np.ndarray, "frame latent"]

    @property
    def length(self) -> float:
        """The length of the polyline through the points, in latent units."""
        return float(piece_lengths(self.points).sum())


def piece_lengths(points: Float[np.ndarray, "corner latent"]) -> Float[np.ndarray, "piece"]:
    """Return the distances between successive points."""
    return neighbors.distances(points[1:], points[:-1])


def progress(
    corners: Float[np.ndarray, "corner latent"], anchors: Sequence[int], timing: Timing
) -> Float[np.ndarray, "frame"]:
    """Return where each frame stands between the anchors: 1.5 is halfway from second to third.

    The anchors are passed when `surfing` passes them.
    """
    if timing.frames is None:
        pieces = timing.points_per_edge - 1
        corner_times = np.arange(len(corners), dtype=np.float64)
        frame_times = np.arange((len(corners) - 1) * pieces + 1) / pieces
    else:
        corner_times = np.append(0.0, np.cumsum(piece_lengths(corners)))
        frame_times = np.linspace(0.0, corner_times[-1], timing.frames)
    found = np.interp(frame_times, corner_times[list(anchors)], np.arange(len(anchors)))
    found[0] = 0.0  # also where the next anchor is reached in no time, its code being the same
    return found


def linear(
    corners: Real[np.ndarray, "corner latent"], anchors: Sequence[int], timing: Timing
) -> LatentPath:
    """Return straight lines between anchors.

    With `points_per_edge`, joints are not repeated: m edges of n points give m (n - 1) + 1 frames.
    With `frames`, these are equally spaced by arc length, so anchors are rounded off where no frame
    falls on them; where all lines are of length 0, every frame is the same.
    """
    corners = neighbors.check_codes(np.asarray(corners), origin="path points")
    passed, inner = corners[list(anchors)], slice(None)
    if timing.frames is None:
        frame_times, times = progress(corners, anchors, timing), np.arange(len(passed))
    else:
        lengths = piece_lengths(passed)
        times = np.append(0.0, np.cumsum(lengths))
        inner = np.append(True, lengths > 0)  # pieces of no length have no inside
        frame_times = np.linspace(0.0, times[-1], timing.frames)
    axes = [np.interp(frame_times, times[inner], axis) for axis in passed[inner].T]
    points = np.stack(axes, axis=-1)
    points[-1] = passed[-1]
    return LatentPath(points)


def surfing(
    corners: Real[np.ndarray, "corner latent"], anchors: Sequence[int], timing: Timing
) -> LatentPath:
    """Return the polyline itself: all corners are anchors."""
    del anchors
    return linear(corners, range(len(corners)), timing)


Method = Callable[[Real[np.ndarray, "corner latent"], Sequence[int], Timing], LatentPath]
# A method gives as many points as every other (as `progress` has), and begins and ends with the
# polyline's.
PATHS: Mapping[str, Method] = {"linear": linear, "surfing": surfing}


class Components(NamedTuple):
    """The principal components of codes: the directions in which they vary most, in order."""

    mean: Float[np.ndarray, "latent"]
    directions: Float[np.ndarray, "latent component"]  # of length 1, largest entry positive
    shares: Float[np.ndarray, "component"]  # of the whole variance; zeros where there is none


def principal_components(codes: Real[np.ndarray, "point latent"]) -> Components:
    """Return as many components as codes have dimensions."""
    mean = codes.mean(axis=0, dtype=np.float64)
    centred = codes - mean
    variances, directions = np.linalg.eigh(centred.T @ centred)
    variances, directions = np.maximum(variances[::-1], 0), directions[:, ::-1]
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(len(mean))]
    whole = max(variances.sum(), np.finfo(float).tiny)
    return Components(mean, directions * np.where(largest < 0, -1.0, 1.0), variances / whole)
