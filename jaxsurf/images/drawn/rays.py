"""Rays through pixels, and the convex solids that they meet, in closed form.

A solid is the common part of half-spaces and of one quadric of revolution about its own z-axis:

    normal . p <= offset,   s (x^2 + y^2) + q z^2 + l z + c <= 0

That covers cylinders, cones, spheres, boxes, prisms and pyramids with the same few lines. A ray is
inside between its last entrance and its first exit. Rays are arrays with the component first, so
that the rays lie side by side in memory.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# A distance beyond everything in the scene; a ray that misses counts as hitting there.
FAR = 1e4
# Direction to the sun; it was fitted to a sphere of MPI3D-toy, as was `KNEE`.
LIGHT = np.array((-0.12, -0.68, 0.73), np.float32) / np.float32(math.hypot(-0.12, -0.68, 0.73))
# Where the display curve bends: it lifts the half-lit parts and leaves black and full light.
KNEE = 0.6

Quadric = tuple[float, float, float, float]  # s, q, l and c
NO_QUADRIC: Quadric = (0.0, 0.0, 0.0, -1.0)


class Camera(NamedTuple):
    """A pinhole camera; the rows of `axes` point right, down and forward."""

    position: Float[Array, "3"]
    axes: Float[Array, "3 3"]
    focal: float  # in image widths


class Solid(NamedTuple):
    """A coloured convex solid; `axes` holds its own unit axes as rows, in world coordinates."""

    planes: Float[Array, "plane 4"]
    quadric: Float[Array, "4"]
    centre: Float[Array, "3"]
    axes: Float[Array, "3 3"]
    scale: Float[Array, ""]
    color: Float[Array, "3"]


class Seen(NamedTuple):
    """What rays have met so far: the distance in lengths of their direction, and the colour."""

    distance: Float[Array, " ray"]
    color: Float[Array, "3 ray"]


def slab(half_height: float) -> Float[np.ndarray, "plane 4"]:
    """Return the two planes z = +-half_height."""
    return np.array([[0.0, 0.0, 1.0, half_height], [0.0, 0.0, -1.0, half_height]], np.float32)


def prism(sides: int, apothem: float, half_height: float) -> Float[np.ndarray, "plane 4"]:
    """Return the planes of an upright prism over a regular polygon."""
    angles = 2 * np.pi * np.arange(sides) / sides
    walls = np.stack([np.cos(angles), np.sin(angles), 0 * angles, 0 * angles + apothem], -1)
    return np.concatenate([walls.astype(np.float32), slab(half_height)])


def tube(radius: float) -> Quadric:
    """Return an endless cylinder about z."""
    return 1.0, 0.0, 0.0, -(radius**2)


def cone(radius: float, half_height: float) -> Quadric:
    """Return a cone whose apex is at z = half_height."""
    k = radius / (2 * half_height)
    return 1.0, -(k**2), 2 * k**2 * half_height, -((k * half_height) ** 2)


def filled(planes: Float[np.ndarray, "plane 4"], count: int) -> Float[np.ndarray, "count 4"]:
    """Return so many planes, further ones of which never cut."""
    spare = np.tile([0.0, 0.0, 1.0, 100.0], (count - len(planes), 1))
    return np.concatenate([planes, spare]).astype(np.float32)


def project(
    view: Camera, points: Float[Array, "point 3"], side: int
) -> tuple[Float[Array, "point 2"], Float[Array, " point"]]:
    """Return row and column of points in the image, and their depth."""
    seen = (points - view.position[None]) @ view.axes.T
    return (seen[:, 1::-1] / seen[:, 2:] * view.focal + 0.5) * side, seen[:, 2]


def through(
    view: Camera, corner: Array, shape: tuple[int, ...], side: int, samples: int
) -> Float[Array, "3 ray"]:
    """Return directions through the samples of a window's pixels, samples innermost."""
    # Points spread over the unit square (Roberts' R2 sequence): no two share a row.
    plastic = 1.32471795724474602596
    steps = np.arange(samples)[:, None] * np.array([[1 / plastic, 1 / plastic**2]])
    within = jnp.asarray(((steps + 0.5 / samples + 0.5) % 1.0).astype(np.float32))
    row = corner[0] + jnp.arange(shape[0])[:, None, None] + within[:, 0][None, None]
    column = corner[1] + jnp.arange(shape[1])[None, :, None] + within[:, 1][None, None]
    down = (row / side - 0.5) / view.focal
    right = (column / side - 0.5) / view.focal
    down, right = jnp.broadcast_arrays(down, right)
    axes = view.axes[:, :, None]
    return axes[0] * right.ravel()[None] + axes[1] * down.ravel()[None] + axes[2]


def pool(colors: Float[Array, "3 ray"], shape: tuple[int, ...], samples: int) -> Array:
    """Return the pixels of a window: the mean of each one's samples."""
    averaged = colors.reshape(3, *shape, samples).mean(axis=-1)
    return jnp.clip(jnp.moveaxis(averaged, 0, -1), 0.0, 1.0)


def meet(part: Solid, view: Camera, rays: Float[Array, "3 ray"], seen: Seen) -> Seen:
    """Return what rays have seen after a further solid; they start outside it."""
    origin = _mix(part.axes, (view.position - part.centre) / part.scale)
    directions = _mix(part.axes, rays / part.scale)
    sun = _mix(part.axes, jnp.asarray(LIGHT))
    enter, leave, cosine = _cross_quadric(part.quadric, origin, directions, sun)
    for plane in part.planes:
        facing = _dot(plane[:3], sun) * jax.lax.rsqrt(_dot(plane[:3], plane[:3]))
        speed = _dot(plane[:3], directions)
        t = (plane[3] - _dot(plane[:3], origin)) / jnp.where(speed == 0, 1e-9, speed)
        later = (speed < 0) & (t > enter)
        cosine = jnp.where(later, facing, cosine)
        enter = jnp.where(later, t, enter)
        leave = jnp.where(speed > 0, jnp.minimum(leave, t), leave)
    distance = jnp.where((enter < leave) & (enter > 0), enter, FAR)
    lambert = jnp.maximum(cosine, 0.0)
    shown = (1 + KNEE) * lambert / (lambert + KNEE)
    nearer = (distance < seen.distance)[None]
    color = jnp.where(nearer, part.color[:, None] * shown[None], seen.color)
    return Seen(jnp.minimum(seen.distance, distance), color)


def _dot(a: Array | list[Array], b: Array | list[Array]) -> Array:
    """Multiply term by term: accelerators may round a matrix product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _mix(rows: Float[Array, "3 3"], vector: Array) -> list[Array]:
    return [_dot(row, vector) for row in rows]


def _cross_quadric(
    quadric: Float[Array, "4"], o: list[Array], d: list[Array], sun: list[Array]
) -> tuple[Array, Array, Array]:
    """Return where rays enter and leave the quadric, and the light's cosine at the entrance."""
    s, q, l, c = quadric  # noqa: E741 - the letters of the formula above
    a = s * (d[0] ** 2 + d[1] ** 2) + q * d[2] ** 2
    b = s * (o[0] * d[0] + o[1] * d[1]) + q * o[2] * d[2] + 0.5 * l * d[2]
    e = s * (o[0] ** 2 + o[1] ** 2) + q * o[2] ** 2 + l * o[2] + c
    root = jnp.sqrt(jnp.maximum(b**2 - a * e, 1e-12))
    safe = jnp.where(jnp.abs(a) < 1e-9, 1e-9, a)
    low, high = (-b - root) / safe, (-b + root) / safe
    # Where a < 0 the ray runs inside a double cone: from -infinity to one root, and from the other
    # on. The nappe below the apex is the one it enters last when it descends, and leaves first when
    # it climbs.
    descends = d[2] < 0
    enter = jnp.where(a > 0, low, jnp.where(descends, low, -FAR))
    leave = jnp.where(a > 0, high, jnp.where(descends, FAR, high))
    missed = (b**2 < a * e) & (a > 0)
    enter = jnp.where(s == 0, -FAR, jnp.where(missed, FAR, enter))
    leave = jnp.where(s == 0, FAR, leave)
    p = [o[i] + enter * d[i] for i in range(3)]
    normal = [s * p[0], s * p[1], q * p[2] + 0.5 * l]
    return enter, leave, _dot(normal, sun) * jax.lax.rsqrt(_dot(normal, normal) + 1e-12)
