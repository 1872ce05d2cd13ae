"""The arm's factors and what stands where for them: its parts, the three cameras, the colours.

World: z is up, the floor is z = 0, the post stands at the origin and is 1 high, the cameras look
along +y. Positions, angles and colours were fitted to MPI3D-toy's published sample images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsurf.errors import UserError
from jaxsurf.images.arm.solids import NO_QUADRIC, Solid, box, slab, tube
from jaxsurf.images.image_set import DEFAULT_FIXED, DEFAULT_FREE, MPI3D, Fixed

# Raised when images change to the eye: trained runs are bound to the edition of their images.
EDITION = 1
FACTOR_NAMES, FACTOR_SIZES = MPI3D.names, MPI3D.sizes
CONTINUOUS: tuple[str, ...] = ("object_size", "horizontal_axis", "vertical_axis")

# NumPy here, since JAX would choose a device while this file is imported.
OBJECT_COLORS = np.array(
    [
        [0.95, 0.95, 0.95],
        [0.16, 0.63, 0.16],
        [0.88, 0.0, 0.0],
        [0.175, 0.45, 0.87],
        [0.35, 0.22, 0.145],
        [0.50, 0.495, 0.20],
    ],
    np.float32,
)
FLOOR_COLOR = np.array([0.206, 0.206, 0.206], np.float32)
BAND_COLORS = np.array(
    [[0.445, 0.335, 0.628], [0.305, 0.420, 0.402], [0.435, 0.300, 0.335]], np.float32
)
BRIGHT_METAL = 0.78
DULL_METAL = 0.39
BLACK = 0.25

# The band lies on the floor between two circles; its own lamp hangs above it. What of it is nearer
# than BAND_NEAR would pass beside the cameras.
BAND_INNER = (1.04, 2.61)  # y of the centre, radius
BAND_OUTER = (1.46, 3.24)
BAND_NEAR = 0.9
BAND_LAMP = (0.0, 2.4, 3.2)

# Both axes sweep 39/40 of a half-turn: with a full one, the first turn and the last would show the
# same arm, only tipped over to the other side.
SWEEP = np.pi * 39 / 40
FIRST_TURN = -0.16
FIRST_TILT = 0.13
STEPS = 39.0

ARM_LENGTH = 1.12  # from the shoulder to the middle of the object
SIDE_OFFSET = 0.09  # of the forearm, along its axle: it is bolted to the side of the shoulder
SMALL = 0.7  # size of the small object, the large one being 1
OBJECT_REACH = 0.48  # from the middle of the large object to its farthest corner
SHOULDER = (0.0, 0.0, 1.0)

# Focal length in image widths, then for each camera: position, pitch down, yaw, roll.
FOCAL = 82.66 / 64
CAMERAS = np.array(
    [
        [0.161, -3.904, 3.925, 0.694, -0.013, 0.012],
        [-0.145, -4.194, 3.171, 0.513, 0.023, -0.009],
        [0.265, -4.505, 2.301, 0.278, -0.020, 0.005],
    ],
    np.float32,
)


def grid(
    fixed: Fixed = DEFAULT_FIXED, free: Sequence[str] = DEFAULT_FREE, *, stride: int = 1
) -> Float[np.ndarray, "image factor"]:
    """Return the factors of a slice of MPI3D's grid, one row an image, in the data set's C-order.

    Args:
        fixed: the value, or its name, of every factor that is not free.
        free: the factors that take all their values, in any order.
        stride: as in `Grid.axes`.

    Raises:
        UserError: as `Grid.axes` and `check` do.
    """
    axes = MPI3D.axes(fixed, free, stride=stride, between=True)
    mesh = np.meshgrid(*axes, indexing="ij")
    return check(np.stack([axis.ravel() for axis in mesh], axis=-1))


def check(factors: np.ndarray) -> Float[np.ndarray, "image factor"]:
    """Return the factors as float32 if every one is a value of its range.

    Raises:
        UserError: not two-dimensional with seven columns, empty, not finite, out of range, or a
            fraction where only whole numbers have a meaning.
    """
    factors = np.asarray(factors)
    if factors.ndim != 2 or factors.shape[1] != len(FACTOR_NAMES) or not len(factors):
        raise UserError(
            f"factors have shape {factors.shape}, but must be (images, {len(FACTOR_NAMES)})",
            cure=f"one row an image: {', '.join(FACTOR_NAMES)}",
        )
    if factors.dtype.kind not in "iuf":
        raise UserError(f"factors hold {factors.dtype} values, but must be real numbers")
    factors = factors.astype(np.float32)
    for column, name, size in zip(factors.T, FACTOR_NAMES, FACTOR_SIZES, strict=True):
        good = (column >= 0) & (column <= size - 1)  # false for NaN
        if name not in CONTINUOUS:
            good &= column == np.round(column)
        if not good.all():
            row = int(np.argmin(good))
            kind = "any number" if name in CONTINUOUS else "a whole number"
            raise UserError(
                f"{name} is {column[row]:g} in row {row}, but must be {kind} from 0 to {size - 1}"
            )
    return factors


class Camera(NamedTuple):
    """A pinhole camera; the rows of `axes` point right, down and forward."""

    position: Float[Array, "3"]
    axes: Float[Array, "3 3"]


class Pose(NamedTuple):
    """Where the forearm is."""

    shoulder: Float[Array, "3"]
    axle: Float[Array, "3"]
    outward: Float[Array, "3"]
    along: Float[Array, "3"]


def camera(height: Float[Array, ""]) -> Camera:
    """Return the camera with the given number (0 top, 1 centre, 2 bottom)."""
    x, y, z, pitch, yaw, roll = jnp.asarray(CAMERAS)[_index(height)]
    flat = jnp.array([jnp.sin(yaw), jnp.cos(yaw), 0.0])
    forward = jnp.cos(pitch) * flat - jnp.sin(pitch) * jnp.array([0.0, 0.0, 1.0])
    right = jnp.array([jnp.cos(yaw), -jnp.sin(yaw), 0.0])
    up = jnp.cross(right, forward)
    tilted_right = jnp.cos(roll) * right + jnp.sin(roll) * up
    tilted_up = jnp.cos(roll) * up - jnp.sin(roll) * right
    return Camera(jnp.array([x, y, z]), jnp.stack([tilted_right, -tilted_up, forward]))


def pose(factors: Float[Array, "7"]) -> Pose:
    """Return the forearm's pose: first the turn about the post, then the tilt about the axle."""
    tilt = FIRST_TILT + SWEEP * factors[5] / STEPS
    turn = FIRST_TURN + SWEEP * factors[6] / STEPS
    outward = jnp.array([jnp.cos(turn), jnp.sin(turn), 0.0])
    axle = jnp.array([jnp.sin(turn), -jnp.cos(turn), 0.0])
    along = jnp.cos(tilt) * outward + jnp.sin(tilt) * jnp.array([0.0, 0.0, 1.0])
    return Pose(jnp.array(SHOULDER) - SIDE_OFFSET * axle, axle, outward, along)


def band_color(background: Float[Array, ""]) -> Float[Array, "3"]:
    """Return the band's colour with the given number, in full light."""
    return jnp.asarray(BAND_COLORS)[_index(background)]


def object_scale(factors: Float[Array, "7"]) -> Float[Array, ""]:
    """Return the object's size, the large one being 1."""
    return SMALL + (1.0 - SMALL) * factors[2]


def carried(factors: Float[Array, "7"], at: Pose) -> Solid:
    """Return the object at the forearm's end; it turns with the forearm."""
    shape = _index(factors[1])
    return Solid(
        planes=jnp.asarray(SHAPE_PLANES)[shape],
        quadric=jnp.asarray(SHAPE_QUADRICS)[shape],
        centre=at.shoulder + ARM_LENGTH * at.along,
        axes=_axes(at.along, at.axle),
        scale=object_scale(factors),
        color=jnp.asarray(OBJECT_COLORS)[_index(factors[0])],
    )


def robot(at: Pose) -> Solid:
    """Return the arm without its object, as round bars stacked along a leading axis."""
    up = jnp.array([0.0, 0.0, 1.0])
    post, axle, arm = (up, at.outward), (at.axle, at.outward), (at.along, at.axle)
    base, shoulder = 0 * up, jnp.array(SHOULDER)
    bars = [
        _bar(BRIGHT_METAL, 0.28, base, post, 0.0, 0.07),
        _bar(BLACK, 0.17, base, post, 0.0, 0.075),
        _bar(BRIGHT_METAL, 0.055, base - 0.19 * at.outward, post, 0.0, 0.2),
        _bar(DULL_METAL, 0.14, base, post, 0.0, 0.97),
        _bar(BRIGHT_METAL, 0.13, shoulder, axle, -0.18, 0.12),
        _bar(BRIGHT_METAL, 0.08, at.shoulder, arm, -0.1, 0.2),
        _bar(BRIGHT_METAL, 0.036, at.shoulder, arm, 0.2, ARM_LENGTH),
    ]
    return Solid(*(jnp.stack(column) for column in zip(*bars, strict=True)))


def _bar(
    grey: float, radius: float, start: Array, frame: tuple[Array, Array], low: float, high: float
) -> Solid:
    """Return a round bar from `low` to `high` along the first axis of a frame."""
    centre = start + (low + high) / 2 * frame[0]
    ends = jnp.asarray(slab((high - low) / 2))
    side = jnp.asarray(tube(radius))
    return Solid(ends, side, centre, _axes(*frame), jnp.ones(()), jnp.full(3, grey))


def _index(number: Float[Array, ""]) -> Array:
    return jnp.round(number).astype(jnp.int32)


def _axes(z: Float[Array, "3"], x: Float[Array, "3"]) -> Float[Array, "3 3"]:
    """Return a frame as rows, from its z-axis and its x-axis."""
    return jnp.stack([x, jnp.cross(z, x), z])


def _prism(sides: int, apothem: float, half_height: float) -> Float[np.ndarray, "plane 4"]:
    angles = 2 * np.pi * np.arange(sides) / sides
    walls = np.stack([np.cos(angles), np.sin(angles), 0 * angles, 0 * angles + apothem], -1)
    return np.concatenate([walls.astype(np.float32), slab(half_height)])


def _pyramid(half_width: float, half_height: float) -> Float[np.ndarray, "plane 4"]:
    """Return four slanted walls that meet at z = half_height, and the floor."""
    slope = half_width / (2 * half_height)
    walls = _prism(4, 0.0, half_height)[:4]
    walls[:, 2:] = slope, slope * half_height
    return np.concatenate([walls, slab(half_height)[1:]])


def _cone(radius: float, half_height: float) -> Float[np.ndarray, "4"]:
    """Return the quadric of a cone whose apex is at z = half_height."""
    k = radius / (2 * half_height)
    return np.array([1.0, -(k**2), 2 * k**2 * half_height, -((k * half_height) ** 2)], np.float32)


def _pad(planes: Float[np.ndarray, "plane 4"]) -> Float[np.ndarray, "8 4"]:
    """Fill up to eight planes with ones that never cut."""
    idle = np.tile(np.array([[0.0, 0.0, 1.0, 100.0]], np.float32), (8 - len(planes), 1))
    return np.concatenate([planes, idle])


# In the order of the factor's values: cone, cube, cylinder, hexagonal, pyramid, sphere.
SHAPE_PLANES = np.stack(
    [
        _pad(slab(0.28)),
        _pad(box(0.27, 0.27, 0.27)),
        _pad(slab(0.28)),
        _pad(_prism(6, 0.245, 0.28)),
        _pad(_pyramid(0.27, 0.28)),
        _pad(slab(100.0)),
    ]
)
SHAPE_QUADRICS = np.array(
    [
        _cone(0.27, 0.28),
        NO_QUADRIC,
        tube(0.255),
        NO_QUADRIC,
        NO_QUADRIC,
        (1.0, 1.0, 0.0, -(0.27**2)),
    ],
    np.float32,
)
