"""A graph path in latent space -> the codes that are decoded, one a frame.

A method makes of the path a curve, without regard to time:

    linear   straight from each anchor to the next
    surfing  all along the path (Yadlin & Botchan, Data Interpolation in Latent Space)

Then `timed` sets frames on curves, whatever their method:

    edge     so many on each edge of the graph path; all curves pass anchors when it does
    latent   equally far apart along the curve, in latent units
    visible  equally far apart as images: each differs from the next as much

Anchors are the corners where the path must pass. Corners may coincide. Codes are computed in
float64. The first and the last frame are the first and the last corner exactly.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Real

from jaxsurf.errors import UserError, check_choice
from jaxsurf.manifold import neighbors

Speed = Literal["visible", "latent", "edge"]
Codes = Float[np.ndarray, "point latent"]
# From codes to what is seen: images of any shape and unit, all of them finite.
Decode = Callable[[Codes], Float[np.ndarray, "point *image"]]

# Samples of a curve are at most this share of a frame step apart, so that images change about
# linearly between them. Halvings are bounded, since a decoder may jump.
_STEP_SHARE, _HALVINGS = 1 / 3, 12
# Steps are even where the largest is at most so many times the mean. Few rounds reach that, except
# on curves that turn back on themselves.
_EVEN, _ROUNDS, _DAMPING = 1.005, 30, 0.8
# Bytes of decoded samples of several curves that are held at once.
_HELD = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How many frames an animation has, and how they follow one another.

    Attributes:
        points_per_edge: frames on each edge of the graph path, both its ends counted; 3 in most of
            the report's animations.
        frames: number of frames of every animation instead.
        speed: frames are equally far apart as images (`visible`, the default with `frames`) or in
            latent space (`latent`); `edge` is what `points_per_edge` has.
    """

    points_per_edge: int = 3
    frames: int | None = None
    speed: Speed | None = None

    def __post_init__(self) -> None:
        for name, number in (("points per edge", self.points_per_edge), ("frames", self.frames)):
            if number is not None and number < 2:
                raise UserError(f"{number} {name} can't show both ends", cure="ask for 2 or more")
        if self.speed is not None:
            check_choice("speed", self.speed, get_args(Speed))
        speed = self.speed or ("visible" if self.frames else "edge")
        if speed == "edge" and self.frames:
            cause = f"speed edge has no meaning with {self.frames} frames: edges say how many"
            raise UserError(cause, cure="use --speed=visible or latent, or leave out --frames")
        if speed != "edge" and not self.frames:
            cause = f"speed {speed} says nothing of how many frames there are"
            raise UserError(cause, cure="give their number too: --frames=48")
        object.__setattr__(self, "speed", speed)

    def with_frames(self, frames: int) -> "Timing":
        """Return the timing of another number of frames; visible speed in place of `edge`."""
        return replace(self, frames=frames, speed=None if self.speed == "edge" else self.speed)


class Curve(NamedTuple):
    """A polyline, and when the graph path is there: 1.5 is halfway along its second edge."""

    points: Float[np.ndarray, "point latent"]
    times: Real[np.ndarray, "point"]  # do not fall


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


def linear(corners: Real[np.ndarray, "corner latent"], anchors: Sequence[int]) -> Curve:
    """Return straight lines between anchors."""
    corners = neighbors.check_codes(np.asarray(corners), origin="path points")
    return Curve(corners[list(anchors)], np.asarray(anchors))


def surfing(corners: Real[np.ndarray, "corner latent"], _: Sequence[int]) -> Curve:
    """Return the path itself: all corners are anchors."""
    return linear(corners, range(len(corners)))


# A method's curve begins and ends with the path.
PATHS: Mapping[str, Callable[[Codes, Sequence[int]], Curve]] = {
    "linear": linear,
    "surfing": surfing,
}


def timed(
    curves: Sequence[Curve], timing: Timing, decode: Decode | None = None
) -> list[LatentPath]:
    """Return the points of each curve that are its frames.

    `decode` says how points look, for visible speed; None where they are images themselves.
    """
    frames, pieces = timing.frames or 0, timing.points_per_edge - 1
    if timing.speed == "visible":
        places = _visible(curves, frames, decode)
    elif timing.speed == "latent":
        along = [np.append(0.0, np.cumsum(piece_lengths(curve.points))) for curve in curves]
        places = [_place(np.linspace(0.0, each[-1], frames), each) for each in along]
    else:
        numbers = [np.arange(round(curve.times[-1]) * pieces + 1) for curve in curves]
        places = [_place(n / pieces, c.times) for n, c in zip(numbers, curves, strict=True)]
    found = [_between(curve.points, place) for curve, place in zip(curves, places, strict=True)]
    for curve, points in zip(curves, found, strict=True):
        points[0], points[-1] = curve.points[0], curve.points[-1]  # also where its length is 0
    return [LatentPath(points) for points in found]


def _place(
    values: Float[np.ndarray, "frame"], rising: Real[np.ndarray, "row"]
) -> Float[np.ndarray, "frame"]:
    """Return where values stand among rising ones: 1.5 is halfway from the second to the third."""
    return np.interp(values, rising, np.arange(len(rising)))


def _between(
    rows: Float[np.ndarray, "row value"], places: Float[np.ndarray, "frame"]
) -> Float[np.ndarray, "frame value"]:
    """Return rows at fractional places, interpolated linearly; a row itself at a whole place."""
    before = np.clip(places.astype(int), 0, max(0, len(rows) - 2))
    after = np.minimum(before + 1, len(rows) - 1)
    share = (places - before)[:, None].astype(rows.dtype)
    return (1 - share) * rows[before] + share * rows[after]


def _visible(
    curves: Sequence[Curve], frames: int, decode: Decode | None
) -> list[Float[np.ndarray, "frame"]]:
    """Return places on curves whose images are equally far apart."""
    if decode is None:
        return [_even(curve.points, np.arange(len(curve.points)), frames) for curve in curves]
    found, size = [], 1
    while len(found) < len(curves):
        some = curves[len(found) : len(found) + size]
        samples = _sample(some, frames, decode)
        found += [_even(images, places, frames) for places, images in samples]
        # The first curve goes alone: its bytes tell how many fit at once.
        size = max(1, _HELD * len(some) // sum(images.nbytes for _, images in samples))
    return found


def _sample(
    curves: Sequence[Curve], frames: int, decode: Decode
) -> list[tuple[Float[np.ndarray, "sample"], Float[np.ndarray, "sample value"]]]:
    """Return places on each curve that lie close together as images, and their images."""

    def seen(places: Sequence[Float[np.ndarray, "_place"]]) -> list[np.ndarray]:
        codes = [_between(curve.points, some) for curve, some in zip(curves, places, strict=True)]
        images = decode(np.concatenate(codes))
        images = images.reshape(len(images), -1)
        return np.split(images, np.cumsum([len(some) for some in places])[:-1])

    every = []
    for curve in curves:
        # Pieces of a frame's length at most: ends may look alike, and what is between may not.
        lengths = piece_lengths(curve.points)
        share = lengths / max(lengths.sum(), np.finfo(float).tiny)
        number = np.maximum(1, np.ceil(share * (frames - 1)).astype(int))
        starts = np.append(0, np.cumsum(number))
        every.append(np.interp(np.arange(starts[-1] + 1), starts, np.arange(len(starts))))
    images = seen(every)
    chords = [_steps(each) for each in images]
    for _ in range(_HALVINGS):
        most = [_STEP_SHARE * each.sum() / (frames - 1) for each in chords]
        wide = [np.flatnonzero(each > limit) for each, limit in zip(chords, most, strict=True)]
        if not any(map(len, wide)):
            break
        middles = [(p[w] + p[w + 1]) / 2 for p, w in zip(every, wide, strict=True)]
        for n, (w, middle, image) in enumerate(zip(wide, middles, seen(middles), strict=True)):
            left, right = (_rms(image - images[n][side]) for side in (w, w + 1))
            chords[n] = np.insert(chords[n], w + 1, right)
            chords[n][w + np.arange(len(w))] = left
            every[n] = np.insert(every[n], w + 1, middle)
            images[n] = np.insert(images[n], w + 1, image, axis=0)
    return list(zip(every, images, strict=True))


def _even(
    images: Float[np.ndarray, "sample value"], places: Real[np.ndarray, "sample"], frames: int
) -> Float[np.ndarray, "frame"]:
    """Return places whose images, linearly between samples, are equally far apart.

    A damped fixed point: each round goes towards equal shares of the steps' sum. Steps are chords
    from frame to frame, which are shorter than the curve between them where it turns.
    """
    along = np.append(0.0, np.cumsum(_steps(images)))
    if not along[-1]:  # it stands still: samples are about evenly far apart as codes
        along = np.arange(len(places))
    now = best = np.linspace(0.0, along[-1], frames)
    least = np.inf
    for _ in range(_ROUNDS):
        steps = _steps(_between(images, _place(now, along)))
        reached = np.append(0.0, np.cumsum(steps))
        if not reached[-1]:
            break
        jump = steps.max() * len(steps) / reached[-1]
        if jump < least:
            best, least = now, jump
        if jump < _EVEN:
            break
        goal = np.interp(np.linspace(0.0, reached[-1], frames), reached, now)
        now = now + _DAMPING * (goal - now)
    return np.interp(best, along, places)


def _steps(images: Float[np.ndarray, "row value"]) -> Float[np.ndarray, "step"]:
    return _rms(np.diff(images, axis=0))


def _rms(rows: Float[np.ndarray, "row value"]) -> Float[np.ndarray, "row"]:
    return np.sqrt(np.vecdot(rows, rows).astype(np.float64) / rows.shape[1])


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
