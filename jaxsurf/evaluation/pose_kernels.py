"""Compiled loops over frames, renders and poses, for `lattice`, `image_metric` and `truth`.

They release the interpreter's lock, so that threads run them side by side. Machine code is kept
beside the sources or in the user's cache folder. numba is slow to load: import this module where it
is needed.
"""

from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxsurf.manifold.search_kernels import kernel

# Values that are summed in float32 at once: 256 squares of up to 255^2 stay below 2^24, to which
# whole numbers are exact.
_EXACT = 256
# Grid steps up to which the straight line between poses is measured too. Beyond, the table is right
# to 4 % for 90 % of random poses of the arm (past 10: 1 %).
STRAIGHT_REACH = 3.0

Pixels = UInt8[np.ndarray, "value"]
Pose = Float[np.ndarray, "factor"]
Apart = Float[np.ndarray, "first second"]


class Metric(NamedTuple):
    """The image metric of a lattice: lengths are in its unit, poses in grid steps."""

    table: Float[np.ndarray, "node node"]  # geodesic distances of the grid's nodes
    tensors: Float[np.ndarray, "lattice factor factor"]
    lattice_shape: Int[np.ndarray, "factor"]
    around: Float[np.ndarray, "factor"]  # grid steps; 0 where the factor does not come back
    per_step: int  # lattice steps a grid step


class Placed(NamedTuple):
    """Poses, and the grid nodes at the corners of the cell that each lies in, with their shares."""

    poses: Float[np.ndarray, "pose factor"]
    corners: Int[np.ndarray, "pose corner"]
    shares: Float[np.ndarray, "pose corner"]


@numba.njit(nogil=True, fastmath=True)
def _sum_of_squares(first: Pixels, second: Pixels, limit: float) -> float:
    """Return the sum of squared differences, exactly; some sum above the limit is enough there."""
    total = 0.0
    for start in range(0, len(first), _EXACT):
        part = np.float32(0.0)
        for i in range(start, min(start + _EXACT, len(first))):
            difference = np.float32(first[i]) - np.float32(second[i])
            part += difference * difference
        total += float(part)
        if total > limit:
            return total
    return total


@kernel
def propose(
    distances: Float[np.ndarray, "frame node"], stencil: Int[np.ndarray, "node place"], count: int
) -> Int[np.ndarray, "frame proposal"]:
    """Return each frame's best nodes among those that no neighbour is better than, best first.

    Where there are fewer than asked for, the best one is repeated.
    """
    found = np.empty((len(distances), count), np.int32)
    best = np.empty(count, np.float32)
    for frame in range(len(distances)):
        row, size = distances[frame], 0
        for node in range(len(row)):
            if size == count and row[node] >= best[-1]:
                continue
            lowest = True
            for other in stencil[node]:
                if other >= 0 and row[other] < row[node]:
                    lowest = False
                    break
            if not lowest:
                continue
            place = min(size, count - 1)
            while place > 0 and best[place - 1] > row[node]:
                best[place], found[frame, place] = best[place - 1], found[frame, place - 1]
                place -= 1
            best[place], found[frame, place] = row[node], node
            size = min(size + 1, count)
        found[frame, size:] = found[frame, 0]
    return found


@kernel
def settle(  # noqa: C901 - inner functions would be called anew for every pixel sum
    frames: UInt8[np.ndarray, "frame value"],
    images: UInt8[np.ndarray, "node value"],
    stencil: Int[np.ndarray, "node place"],
    centres: Int[np.ndarray, "node"],
    proposals: Int[np.ndarray, "frame proposal"],
) -> tuple[Int[np.ndarray, "frame"], Float[np.ndarray, "frame place"]]:
    """Walk downhill from the best proposal of each frame, by the mean squared difference.

    Returns:
        The node where no neighbour is better, and the differences at the places of the stencil
        around its centre.
    """
    nodes = np.empty(len(frames), np.int32)
    around = np.empty((len(frames), stencil.shape[1]))
    # Of each node the sum that was computed last, and for which frame: walks look at many twice.
    sums, of_frame = np.empty(len(images)), np.full(len(images), -1)
    for frame in range(len(frames)):
        best, lowest, moved = proposals[frame, 0], np.inf, True
        for node in proposals[frame]:
            found = _sum_of_squares(frames[frame], images[node], lowest)
            if found < lowest:
                best, lowest = node, found
        sums[best], of_frame[best] = lowest, frame
        while moved:
            moved = False
            for node in stencil[best]:
                if node >= 0 and of_frame[node] != frame:
                    sums[node] = _sum_of_squares(frames[frame], images[node], np.inf)
                    of_frame[node] = frame
                if node >= 0 and sums[node] < lowest:
                    following, lowest, moved = node, sums[node], True
            if moved:
                best = following
        nodes[frame] = best
        for place, node in enumerate(stencil[centres[best]]):
            if of_frame[node] != frame:
                sums[node] = _sum_of_squares(frames[frame], images[node], np.inf)
            around[frame, place] = sums[node]
    return nodes, around / images.shape[1]


@kernel
def metric_distances(first: Placed, second: Placed, by: Metric) -> Apart:
    """Return distances of poses by the image metric.

    The smaller of two bounds: the table, linear between the corners of either pose's cell; and of
    near poses, which the table overrates, the length of the straight line between them.
    """
    found = np.empty((len(first.poses), len(second.poses)))
    for i in range(len(first.poses)):
        for j in range(len(second.poses)):
            total = 0.0
            for a in range(first.corners.shape[1]):
                if first.shares[i, a] > 0:
                    part = 0.0
                    for b in range(second.corners.shape[1]):
                        apart = by.table[first.corners[i, a], second.corners[j, b]]
                        part += second.shares[j, b] * apart
                    total += first.shares[i, a] * part
            found[i, j] = min(total, _straight(first.poses[i], second.poses[j], by))
    return found


@numba.njit(nogil=True)
def _straight(first: Pose, second: Pose, by: Metric) -> float:
    """Return the length of the straight line between near poses, inf where they are not near."""
    dimension, farthest = len(first), 0.0
    steps = np.empty(dimension)
    for axis in range(dimension):
        steps[axis], around = second[axis] - first[axis], by.around[axis]
        if around > 0:
            steps[axis] -= around * np.round(steps[axis] / around)
        farthest = max(farthest, abs(steps[axis]))
    if farthest > STRAIGHT_REACH:
        return np.inf
    samples, total = int(2 * farthest) + 1, 0.0
    for sample in range(samples):
        share, node = (sample + 0.5) / samples, 0
        for axis in range(dimension):
            size = by.lattice_shape[axis]
            place = int(np.round((first[axis] + share * steps[axis]) * by.per_step))
            place = place % size if by.around[axis] > 0 else max(0, min(place, size - 1))
            node = node * size + place
        squared = 0.0
        for a in range(dimension):
            for b in range(dimension):
                squared += by.tensors[node, a, b] * steps[a] * steps[b]
        total += np.sqrt(max(squared, 0.0))
    return total / samples


@kernel
def align(costs: Float[np.ndarray, "frame point"]) -> tuple[float, float]:
    """Return coverage and precision of frames and a course under dynamic time warping.

    The warping path goes from both beginnings to both ends by steps of one frame, one point, or
    both; the cost of a step of both counts twice, so that no path is favoured for being short
    (Sakoe & Chiba 1978, symmetric form). Coverage is the mean over the course's points of the mean
    cost of what each is matched with, precision that over the frames.
    """
    frames, points = costs.shape
    least = np.full((frames + 1, points + 1), np.inf)
    least[0, 0] = 0.0
    for i in range(frames):
        for j in range(points):
            both = least[i, j] + 2 * costs[i, j]
            one = min(least[i, j + 1], least[i + 1, j]) + costs[i, j]
            least[i + 1, j + 1] = min(both, one)
    by_frame, frame_matches = np.zeros(frames), np.zeros(frames)
    by_point, point_matches = np.zeros(points), np.zeros(points)
    i, j = frames - 1, points - 1
    while i >= 0:
        by_frame[i] += costs[i, j]
        frame_matches[i] += 1
        by_point[j] += costs[i, j]
        point_matches[j] += 1
        both = least[i, j] + 2 * costs[i, j]
        frame_alone, point_alone = least[i, j + 1] + costs[i, j], least[i + 1, j] + costs[i, j]
        if both <= min(frame_alone, point_alone):
            i, j = i - 1, j - 1
        elif frame_alone <= point_alone:
            i -= 1
        else:
            j -= 1
    return (by_point / point_matches).mean(), (by_frame / frame_matches).mean()
