"""Animations by the name of their method, for many pairs at once.

What is animated is a `Route`: the polyline of a graph path in latent space, the places on it where
it must pass (its anchors: at least both ends), and the images of these anchors.

Methods are `pixel`, a cross-dissolve of the anchors' *images*, in which the model plays no part,
and the latent paths of `manifold/path.PATHS`, decoded. All methods of one route have the same
number of frames: with `points_per_edge`, n on each edge of the graph path, hence m (n - 1) + 1 for
m edges; with `frames`, exactly that many, equal ones where the source is the target.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxsurf.errors import UserError
from jaxsurf.frames import media
from jaxsurf.frames.decode import Frames, decode_points
from jaxsurf.images.pixels import RGB, Look
from jaxsurf.manifold.path import PATHS, Curve, LatentPath, Timing, timed
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.workdir import replacing

# Tried and judged by the truth: docs/results/methods.md has the figures.
NOT_BUILT = ("slerp", "spline", "geodesic", "pullback-surfing")


@dataclass(frozen=True, kw_only=True)
class Route:
    """A graph path to be animated: its latent polyline, and the images of its anchors in order."""

    codes: Float[np.ndarray, "node latent"]
    images: UInt8[np.ndarray, "anchor height width channel"]
    anchors: tuple[int, ...]  # the first row of `codes`, the last one, and any between


@dataclass(frozen=True, kw_only=True, eq=False)
class Animation:
    """The frames of one route under one method; in a notebook it shows itself."""

    method: str
    frames: Frames
    path: LatentPath | None = None  # the code of each frame; None where frames aren't decoded
    metrics: Mapping[str, float | None] = field(default_factory=dict)  # figures of its quality
    frame_ms: float = media.FRAME_MS  # how long a frame is shown, in milliseconds
    look: Look = RGB  # how its channels are shown

    @property
    def shown(self) -> Frames:
        """The frames in red, green and blue, and with their opacity where they have one."""
        return self.look.straight(self.frames) if self.look.alpha else self.look.rgb(self.frames)

    def save(self, path: Path | str) -> None:
        """Write a GIF or an animated PNG that repeats for ever."""
        path = Path(path)
        if (suffix := path.suffix.lower()) not in (".gif", ".png"):
            raise UserError(f"{path} is no name of an animation", cure="let it end in .gif or .png")
        make = media.gif if suffix == ".gif" else media.apng
        content = make(self.shown, frame_ms=self.frame_ms)
        with replacing(path) as temporary:
            temporary.write_bytes(content)

    def _repr_html_(self) -> str:
        """Return what notebooks show; all of them know HTML, few know GIF as a type."""
        content = base64.b64encode(media.gif(self.shown, frame_ms=self.frame_ms)).decode()
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


# All of them are drawn and scored where none is named.
METHODS = ("pixel", *PATHS)


def _cross_dissolve(route: Route, timing: Timing) -> Frames:
    """Blend each anchor's image into the next one's: rounded once, exact at the anchors.

    In latent space it has no length: its speed is always `visible` where it isn't `edge`.
    """
    images = route.images.reshape(len(route.images), -1).astype(np.float32)
    timing = replace(timing, speed="visible") if timing.frames else timing
    (path,) = timed([Curve(images, np.asarray(route.anchors))], timing)
    return np.rint(path.points).astype(np.uint8).reshape(-1, *route.images.shape[1:])


def check_methods(methods: Sequence[str]) -> None:
    """Refuse a method that is not built or not known, and none at all."""
    choice = f"choose from {', '.join(METHODS)}"
    if not methods:
        raise UserError("no method was named", cure=choice)
    for method in methods:
        if method not in METHODS:
            state = "built, since surfing is as good" if method in NOT_BUILT else "known"
            raise UserError(f"method {method!r} is not {state}", cure=choice)


def animate(
    model: Autoencoder,
    routes: Sequence[Route],
    *,
    methods: Sequence[str],
    timing: Timing,
    look: Look = RGB,
) -> list[dict[str, Animation]]:
    """Return the animations of each route by method; all latent paths are decoded together."""
    latent = [method for method in methods if method in PATHS]
    curves = [PATHS[method](route.codes, route.anchors) for route in routes for method in latent]
    paths = timed(curves, timing, partial(decode_points, model, rounded=False))
    decoded = []
    if paths:
        frames = decode_points(model, np.concatenate([path.points for path in paths]))
        decoded = np.split(frames, np.cumsum([len(path.points) for path in paths])[:-1])
    made = iter(zip(decoded, paths, strict=True))

    def one(route: Route, method: str) -> Animation:
        frames, path = next(made) if method in PATHS else (_cross_dissolve(route, timing), None)
        return Animation(method=method, frames=frames, path=path, look=look)

    return [{method: one(route, method) for method in methods} for route in routes]
