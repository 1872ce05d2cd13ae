"""Animations by the name of their method, for many pairs at once.

What is animated is a `Route`: the polyline of a graph path in latent space, the places on it where
it must pass (its anchors: at least both ends), and the images of these anchors.

    pixel    cross-dissolve of the anchors' *images*; the model plays no part
    linear   straight latent lines between anchors, decoded
    surfing  the graph path, decoded (Yadlin & Botchan, Data Interpolation in Latent Space)

A further method is a function from route and timing to a latent path, and its entry in `PATHS`.

All methods of one route have the same number of frames: with `points_per_edge`, n on each edge of
the graph path, hence m (n - 1) + 1 for m edges; with `frames`, exactly that many at constant speed.
A route whose source is its target is one frame, or `frames` equal ones.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxsurf.errors import UserError
from jaxsurf.frames import media
from jaxsurf.frames.decode import Frames, decode_points
from jaxsurf.manifold.path import LatentPath, constant_speed, per_edge, piece_lengths
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.workdir import replacing

NOT_BUILT = ("slerp", "pullback-surfing", "spline", "geodesic")


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


@dataclass(frozen=True, kw_only=True)
class Route:
    """A graph path to be animated: its latent polyline, and the images of its anchors in order.

    Anchors are the first row of `codes`, the last one, and any between; without them the two ends.
    """

    codes: Float[np.ndarray, "node latent"]
    images: UInt8[np.ndarray, "anchor height width channel"]
    anchors: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "anchors", self.anchors or (0, len(self.codes) - 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Animation:
    """The frames of one route under one method; in a notebook it shows itself."""

    method: str
    frames: Frames
    path: LatentPath | None = None  # the code of each frame; None where frames aren't decoded
    metrics: Mapping[str, float | None] = field(default_factory=dict)  # figures of its quality
    frame_ms: float = media.FRAME_MS  # how long a frame is shown, in milliseconds

    def save(self, path: Path | str) -> None:
        """Write a GIF that repeats for ever."""
        path = Path(path)
        if path.suffix.lower() != ".gif":
            raise UserError(f"{path} is no name of a GIF", cure="let it end in .gif")
        content = media.gif(self.frames, frame_ms=self.frame_ms)
        with replacing(path) as temporary:
            temporary.write_bytes(content)

    def _repr_html_(self) -> str:
        """Return what notebooks show; all of them know HTML, few know GIF as a type."""
        content = base64.b64encode(media.gif(self.frames, frame_ms=self.frame_ms)).decode()
        return f'<img alt="{self.method}" src="data:image/gif;base64,{content}">'

    def describe(self) -> dict[str, Any]:
        """Return what `path.json` says of it."""
        return {
            "num_frames": len(self.frames),
            "frame_ms": self.frame_ms,
            "duration_ms": self.frame_ms * len(self.frames),
            "length": None if self.path is None else self.path.length,
            "points": None if self.path is None else self.path.points.tolist(),
            **self.metrics,
        }


def _progress(route: Route, timing: Timing) -> Float[np.ndarray, "frame"]:
    """Return where each frame stands between the anchors: 1.5 is halfway from second to third.

    The anchors are passed when `surfing` passes them.
    """
    if timing.frames is None:
        num_frames = (len(route.codes) - 1) * (timing.points_per_edge - 1) + 1
        node_times = np.arange(len(route.codes), dtype=np.float64)
    else:
        num_frames = timing.frames
        node_times = np.append(0.0, np.cumsum(piece_lengths(route.codes)))
    anchor_times = node_times[list(route.anchors)]
    frame_times = np.linspace(0.0, anchor_times[-1], num_frames)
    progress = np.interp(frame_times, anchor_times, np.arange(len(anchor_times)))
    progress[0] = 0.0  # also where the next anchor is reached in no time, its code being the same
    return progress


def _linear(route: Route, timing: Timing) -> LatentPath:
    corners = route.codes[list(route.anchors)]
    if timing.frames is not None:
        return constant_speed(corners, frames=timing.frames)
    progress = _progress(route, timing)
    axes = [np.interp(progress, np.arange(len(corners)), axis) for axis in corners.T]
    return LatentPath(np.stack(axes, axis=-1))


def _surfing(route: Route, timing: Timing) -> LatentPath:
    if timing.frames is not None:
        return constant_speed(route.codes, frames=timing.frames)
    return per_edge(route.codes, points_per_edge=timing.points_per_edge)


# A method gives as many points as every other (as `_progress` has), and begins and ends with the
# route's. Whatever is listed here is drawn and scored by default.
PATHS: Mapping[str, Callable[[Route, Timing], LatentPath]] = {
    "linear": _linear,
    "surfing": _surfing,
}
METHODS = ("pixel", *PATHS)


def _cross_dissolve(route: Route, timing: Timing) -> Frames:
    """Blend each anchor's image into the next one's: rounded once, exact at the anchors."""
    progress = _progress(route, timing)
    before = np.minimum(progress.astype(int), len(route.images) - 2)
    share = (progress - before).astype(np.float32)[:, None, None, None]
    images = route.images.astype(np.float32)
    return np.rint((1 - share) * images[before] + share * images[before + 1]).astype(np.uint8)


def check_methods(methods: Sequence[str]) -> None:
    """Refuse a method that is not built yet or not known, one given twice, and none at all."""
    choice = f"choose from {', '.join(METHODS)}"
    if not methods:
        raise UserError("no method was named", cure=choice)
    for method in methods:
        if method not in METHODS:
            state = "built yet" if method in NOT_BUILT else "known"
            raise UserError(f"method {method!r} is not {state}", cure=choice)
    if len(set(methods)) < len(methods):
        raise UserError(f"a method is named twice: {', '.join(methods)}", cure="name it once")


def animate(
    model: Autoencoder, routes: Sequence[Route], *, methods: Sequence[str], timing: Timing
) -> list[dict[str, Animation]]:
    """Return the animations of each route by method; all latent paths are decoded together."""
    check_methods(methods)
    paths = [
        {method: PATHS[method](route, timing) if method in PATHS else None for method in methods}
        for route in routes
    ]
    points = [path.points for by_method in paths for path in by_method.values() if path]
    decoded = iter(())
    if points:
        frames = decode_points(model, np.concatenate(points))
        decoded = iter(np.split(frames, np.cumsum([len(some) for some in points])[:-1]))
    return [
        {
            method: Animation(
                method=method,
                frames=next(decoded) if path else _cross_dissolve(route, timing),
                path=path,
            )
            for method, path in by_method.items()
        }
        for route, by_method in zip(routes, paths, strict=True)
    ]
