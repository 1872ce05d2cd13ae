"""Convex solids and where rays meet them, in closed form.

A solid is the common part of half-spaces and of one quadric of revolution about its own z-axis:

    normal . p <= offset,   s (x^2 + y^2) + q z^2 + l z + c <= 0

That covers cylinders, cones, spheres, boxes, prisms and pyramids with the same few lines. A ray is
inside between its last entrance and its first exit. Rays are arrays with the component first, so
that the rays lie side by side in memory.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

FAR = 1e4
"""A distance beyond everything in the scene; a ray that misses is said to hit there."""


class Solid(NamedTuple):
    """A coloured convex solid; `axes` holds its own unit axes as rows, in world coordinates."""

    planes: Float[Array, "plane 4"]
    quadric: Float[Array, "4"]
    centre: Float[Array, "3"]
    axes: Float[Array, "3 3"]
    scale: Float[Array, ""]
    color: Float[Array, "3"]


NO_QUADRIC = (0.0, 0.0, 0.0, -1.0)


def slab(half_height: float) -> Float[np.ndarray, "plane 4"]:
    """Return the two planes z = +-half_height."""
    return np.array([[0.0, 0.0, 1.0, half_height], [0.0, 0.0, -1.0, half_height]], np.float32)


def box(*halves: float) -> Float[np.ndarray, "plane 4"]:
    """Return the six planes of a box with the given half extents."""
    rows = [
        [*(sign * float(i == axis) for i in range(3)), half]
        for axis, half in enumerate(halves)
        for sign in (1.0, -1.0)
    ]
    return np.array(rows, np.float32)


def tube(radius: float) -> Float[np.ndarray, "4"]:
    """Return the quadric of an endless cylinder about z."""
    return np.array([1.0, 0.0, 0.0, -(radius**2)], np.float32)


def hit(
    solid: Solid,
    origin: Float[Array, "3"],
    directions: Float[Array, "3 ray"],
    light: Float[Array, "3"],
) -> tuple[Float[Array, " ray"], Float[Array, " ray"]]:
    """Meet a solid with rays that start outside it.

    Args:
        solid: what to meet.
        origin: where all rays start.
        directions: where they go, of any length.
        light: unit vector towards the light.

    Returns:
        The distance in lengths of the direction, `FAR` for a miss; and the cosine between light and
        outward normal there (which is all that Lambert's law asks of a surface).
    """
    o = _mix(solid.axes, (origin - solid.centre) / solid.scale)
    d = _mix(solid.axes, directions / solid.scale)
    sun = _mix(solid.axes, light)
    enter, leave, cosine = _cross_quadric(solid.quadric, o, d, sun)
    for plane in solid.planes:
        facing = _dot(plane[:3], sun) * jax.lax.rsqrt(_dot(plane[:3], plane[:3]))
        speed = _dot(plane[:3], d)
        t = (plane[3] - _dot(plane[:3], o)) / jnp.where(speed == 0, 1e-9, speed)
        later = (speed < 0) & (t > enter)
        cosine = jnp.where(later, facing, cosine)
        enter = jnp.where(later, t, enter)
        leave = jnp.where(speed > 0, jnp.minimum(leave, t), leave)
    return jnp.where((enter < leave) & (enter > 0), enter, FAR), cosine


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
