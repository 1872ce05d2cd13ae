"""A polyline in latent space -> the latent path that is decoded, one point a frame.

Corners may coincide. Everything is computed in float64. The first and the last frame are the first
and the last corner exactly.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real

from jaxsurf.errors import UserError
from jaxsurf.manifold import neighbors


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


def per_edge(points: Real[np.ndarray, "corner latent"], *, points_per_edge: int) -> LatentPath:
    """Return a path with a fixed number of points on each straight piece.

    This is the reference's timing: every edge takes equally long. Both ends of a piece are counted
    and a joint is not repeated: m pieces of n >= 2 points give m (n - 1) + 1 frames.
    """
    if points_per_edge < 2:
        raise UserError(
            f"points_per_edge is {points_per_edge}, but both ends of an edge are counted",
            cure="use 2 or more",
        )
    corners = neighbors.check_codes(np.asarray(points), origin="path points")
    steps = np.arange((len(corners) - 1) * (points_per_edge - 1) + 1)
    return _interpolate(steps / (points_per_edge - 1), np.arange(len(corners)), corners)


def constant_speed(points: Real[np.ndarray, "corner latent"], *, frames: int) -> LatentPath:
    """Return a path of 2 or more frames that runs along a polyline at constant speed.

    Frames are equally spaced by arc length, so corners are rounded off where no frame falls on
    them. A polyline of length 0 gives the same point in every frame.
    """
    if frames < 2:
        raise UserError(f"frames is {frames}, but both ends are counted", cure="use 2 or more")
    corners = neighbors.check_codes(np.asarray(points), origin="path points")
    lengths = piece_lengths(corners)
    places = np.append(0.0, np.cumsum(lengths))
    inner = np.append(True, lengths > 0)  # pieces of no length have no inside
    timed = _interpolate(np.linspace(0.0, places[-1], frames), places[inner], corners[inner])
    timed.points[-1] = corners[-1]
    return timed


def _interpolate(
    times: Float[np.ndarray, "frame"],
    corner_times: Real[np.ndarray, "corner"],
    corners: Float[np.ndarray, "corner latent"],
) -> LatentPath:
    axes = [np.interp(times, corner_times, axis) for axis in corners.T]
    return LatentPath(np.stack(axes, axis=-1))
