"""Straight ways: from anchor to anchor, or along principal components."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from jaxsurf.manifold import euclid, knn, principal
from jaxsurf.manifold.shortest_paths import visiting
from jaxsurf.pipeline.paths.anchors import Anchor
from jaxsurf.pipeline.paths.config import LINEAR_POINTS, PC_POINTS, PERCENTILES, Lines, PathsConfig
from jaxsurf.pipeline.paths.sample import Points
from jaxsurf.pipeline.paths.way import NONE, Leg, Way, legs_between, timed


def linear(anchors: Sequence[Anchor], config: PathsConfig) -> Way:
    """Return the way that runs straight from each anchor to the next.

    Args:
        anchors: where to pass.
        config: in which order, how many points.
    """
    codes = np.stack([anchor.code for anchor in anchors])
    order, proven = list(range(len(codes))), None
    if config.order == "best":
        apart = euclid.between(codes[:, None], codes[None])
        order, proven = visiting.best_order(apart, loop=config.loop)
    order = order + order[:1] * config.loop
    corners, labels = codes[order], [anchors[stop].label for stop in order]
    points, at_corner = timed(
        corners, frames=config.frames, points_per_edge=config.points_per_edge or LINEAR_POINTS
    )
    stopped = zip(at_corner.tolist(), labels, strict=True)
    return Way(
        name="linear",
        legs=legs_between(corners, range(len(corners)), labels),
        points=points,
        rows=np.full(len(points), NONE),
        stops={step: label for step, label in stopped if step != NONE},
        facts={"order_proven": proven, "order": order},
    )


def along_components(points: Points, past: Anchor | None, config: PathsConfig) -> list[Way]:
    """Return a way along each of the principal components that are asked for.

    Args:
        points: the codes whose components they are.
        past: what they pass through, as they run; None for the mean.
        config: which of them, from where to where, how many points.

    Raises:
        UserError: there is no such component.
    """
    size = points.codes.shape[1]
    config.lines.check(size)
    found = principal.of(points.codes)
    chosen = config.lines.components or tuple(range(1, size + 1))
    return [_line(points, found, number, past, config) for number in chosen]


def _line(
    points: Points,
    found: principal.Components,
    number: int,
    past: Anchor | None,
    config: PathsConfig,
) -> Way:
    direction = found.directions[:, number - 1]
    values = _values(found.values(points.codes, number - 1), config.lines, config.frames)
    through = found.mean if past is None else past.code
    base = through - (through - found.mean) @ direction * direction
    codes = base + values[:, None] * direction
    start, stop = f"{values[0]:.4g}", f"{values[-1]:.4g}"
    return Way(
        name=f"pc{number}",
        legs=(Leg(start=start, stop=stop, corners=codes),),
        points=codes,
        rows=np.full(len(codes), NONE),
        stops={0: start, len(codes) - 1: stop},
        facts={"component": number, "share": float(found.shares[number - 1])},
    )


def _values(
    along: Float[np.ndarray, "point"], lines: Lines, frames: int | None
) -> Float[np.ndarray, "step"]:
    """Return where on a component the points of its way lie."""
    number = frames or PC_POINTS
    first, last = lines.percentiles or PERCENTILES
    if lines.percentile_spacing:
        return np.percentile(along, np.linspace(first, last, number))
    first, last = lines.limits or np.percentile(along, [first, last])
    return np.linspace(first, last, number)


def snapped(way: Way, points: Points, index: knn.Index) -> Way:
    """Return a way whose points are the nearest codes; one that comes again at once, comes once."""
    nearest = index.nearest_to(way.points, k=1).indices[:, 0]
    fresh = np.append(True, np.diff(nearest) != 0)
    place = np.cumsum(fresh) - 1
    nodes = nearest[fresh]
    stops: dict[int, str] = {}
    for step, label in way.stops.items():
        met = int(place[step])
        stops[met] = f"{stops[met]}, {label}" if met in stops else label
    return replace(
        way,
        points=points.codes[nodes],
        rows=points.rows[nodes],
        nodes=points.rows[nodes],
        stops=stops,
    )
