"""A robot arm with MPI3D's seven factors, ray cast: the built-in data and the ground truth.

Factors come in MPI3D's order, one row of seven numbers an image. Object size and the two axes may
take any real value in their range; the other four are whole numbers. `horizontal_axis` turns the
forearm about the horizontal axle at the shoulder: it rises, passes overhead and comes down on the
other side. `vertical_axis` turns the whole arm about its post.

The two axes nearly close at a seam: half a turn on, one step past the last value of
`vertical_axis`, the arm is that of value 0 tipped over, `horizontal_axis` a being about 37.2 - a.
Images there differ by 9 to 19, those of neighbouring values by 9.3 (root mean square on 0-255), so
that a path across the seam is as right as one that keeps to the grid.

World: z is up, the floor is z = 0, the post stands at the origin and is 1 high, the cameras look
along +y. All was fitted to the published sample images of MPI3D-toy (Gondal et al., 2019).

Solids are traced in two windows of an image, around the post and around the forearm with its
object; elsewhere only the floor is seen, which is drawn once for each camera and background.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real, UInt8

from jaxsurf.images import batches, pixels
from jaxsurf.images.drawn import SIDE, open_drawn, rays
from jaxsurf.images.drawn.rays import Camera, Seen, Solid
from jaxsurf.images.image_set import MPI3D, ImageSet, Request

GRID = dataclasses.replace(MPI3D, continuous=("object_size", "horizontal_axis", "vertical_axis"))

# Rays a pixel: an edge that crosses a pixel changes it in this many steps.
SAMPLES = 16
# Images drawn at once: few, so that their rays stay near the processor.
CHUNK = 8
# Sides of the windows in image widths (height, width): room for the nearest pose of each camera.
POST_WINDOW = (0.39, 0.16)
ARM_WINDOW = (0.53, 0.53)

# NumPy here, since JAX would choose a device while this file is imported.
WHITE, GREEN, RED = (0.95, 0.95, 0.95), (0.16, 0.63, 0.16), (0.88, 0.0, 0.0)
BLUE, BROWN, OLIVE = (0.175, 0.45, 0.87), (0.35, 0.22, 0.145), (0.50, 0.495, 0.20)
OBJECT_COLORS = np.array([WHITE, GREEN, RED, BLUE, BROWN, OLIVE], np.float32)
PURPLE, SEA_GREEN, SALMON = (0.445, 0.335, 0.628), (0.305, 0.420, 0.402), (0.435, 0.300, 0.335)
BAND_COLORS = np.array([PURPLE, SEA_GREEN, SALMON], np.float32)
FLOOR_COLOR = np.full(3, 0.206, np.float32)
BRIGHT_METAL, DULL_METAL, BLACK = 0.78, 0.39, 0.25

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


def _pyramid(half_width: float, half_height: float) -> Float[np.ndarray, "plane 4"]:
    """Return four slanted walls that meet at z = half_height, and the floor."""
    slope = half_width / (2 * half_height)
    walls = rays.prism(4, 0.0, half_height)[:4]
    walls[:, 2:] = slope, slope * half_height
    return np.concatenate([walls, rays.slab(half_height)[1:]])


SHAPES = (
    (rays.slab(0.28), rays.cone(0.27, 0.28)),  # cone
    (rays.prism(4, 0.27, 0.27), rays.NO_QUADRIC),  # cube
    (rays.slab(0.28), rays.tube(0.255)),  # cylinder
    (rays.prism(6, 0.245, 0.28), rays.NO_QUADRIC),  # hexagonal
    (_pyramid(0.27, 0.28), rays.NO_QUADRIC),  # pyramid
    (rays.slab(100.0), (1.0, 1.0, 0.0, -(0.27**2))),  # sphere
)
SHAPE_PLANES = np.stack([rays.filled(planes, 8) for planes, _ in SHAPES])
SHAPE_QUADRICS = np.array([quadric for _, quadric in SHAPES], np.float32)


def open_arm(request: Request) -> ImageSet:
    """Return a slice of the arm's grid; size and axes may be held between two grid values."""
    return open_drawn(request, name="robot arm", grid=GRID, draw=render_batch, edition=1)


def render_batch(
    factors: Real[np.ndarray, "image factor"], *, side: int = SIDE
) -> UInt8[np.ndarray, "image height width channel"]:
    """Draw images of rows of factors, in chunks that share one compilation."""
    rows = np.asarray(factors, np.float32)
    draw = functools.partial(_draw_chunk, side=side)
    return batches.mapped(draw, rows, shared=[_draw_floors(side=side)], size=CHUNK)


@functools.partial(jax.jit, static_argnames="side")
def _draw_floors(*, side: int) -> Float[Array, "camera background h w c"]:
    cameras, backgrounds = jnp.meshgrid(jnp.arange(3.0), jnp.arange(3.0), indexing="ij")
    rows = jnp.zeros((3, 3, 7)).at[..., 3].set(cameras).at[..., 4].set(backgrounds)

    def draw(factors: Float[Array, "7"]) -> Float[Array, "h w c"]:
        view = _camera(factors[3])
        seen = rays.through(view, jnp.zeros(2), (side, side), side, SAMPLES)
        return rays.pool(_floor(view, seen, factors), (side, side), SAMPLES)

    return jax.vmap(jax.vmap(draw))(rows)


@functools.partial(jax.jit, static_argnames="side")
def _draw_chunk(floors: Array, rows: Array, *, side: int) -> UInt8[Array, "i h w c"]:
    return jax.vmap(lambda row: _draw_robot(floors, row, side))(rows)


def _draw_robot(
    floors: Float[Array, "camera background h w c"], factors: Float[Array, "7"], side: int
) -> UInt8[Array, "h w c"]:
    image = floors[_index(factors[3]), _index(factors[4])]
    view, (carried, robot) = _camera(factors[3]), _solids(factors)
    shoulder, reach = jnp.array(SHOULDER), OBJECT_REACH * carried.scale
    windows = []
    # Post and forearm: two balls that span it, and the sides of its window.
    for ends, radii, extents in (
        (jnp.stack([0 * shoulder, shoulder]), jnp.array([0.3, 0.2]), POST_WINDOW),
        (jnp.stack([shoulder, carried.centre]), jnp.stack([jnp.asarray(0.22), reach]), ARM_WINDOW),
    ):
        shape = tuple(min(side, math.ceil(side * extent) + 1) for extent in extents)
        middle, depth = rays.project(view, ends, side)
        spread = (radii / depth * FOCAL * side)[:, None]
        centre = (jnp.min(middle - spread, axis=0) + jnp.max(middle + spread, axis=0)) / 2
        corner = jnp.round(centre - jnp.array(shape) / 2).astype(jnp.int32)
        windows.append((jnp.clip(corner, 0, side - jnp.array(shape)), shape))
    parts = [rays.through(view, corner.astype(float), s, side, SAMPLES) for corner, s in windows]
    directions = jnp.concatenate(parts, axis=1)
    nothing = jnp.full(directions.shape[1], rays.FAR)
    seen = Seen(nothing, _floor(view, directions, factors))
    seen = rays.meet(carried, view, directions, seen)
    seen, _ = jax.lax.scan(
        lambda seen, part: (rays.meet(part, view, directions, seen), None), seen, robot
    )
    cut = parts[0].shape[1]
    colors = seen.color[:, :cut], seen.color[:, cut:]
    for (corner, shape), part in zip(windows, colors, strict=True):
        tile = rays.pool(part, shape, SAMPLES)
        image = jax.lax.dynamic_update_slice(image, tile, (corner[0], corner[1], 0))
    return pixels.to_uint8(image)


def _floor(view: Camera, directions: Array, factors: Array) -> Float[Array, "3 ray"]:
    """Return what rays see where no solid is: the grey ground and the coloured band."""
    below = directions[2] < -1e-3
    t = jnp.where(below, -view.position[2] / jnp.where(below, directions[2], 1.0), 0.0)
    x, y = view.position[0] + t * directions[0], view.position[1] + t * directions[1]
    within = [x**2 + (y - m) ** 2 < r**2 for m, r in (BAND_INNER, BAND_OUTER)]
    banded = below & ~within[0] & within[1] & (y > BAND_NEAR)
    left, deep, high = BAND_LAMP
    light = high * jax.lax.rsqrt((x - left) ** 2 + (y - deep) ** 2 + high**2)
    band = jnp.asarray(BAND_COLORS)[_index(factors[4])][:, None] * light[None]
    return jnp.where(banded[None], band, FLOOR_COLOR[:, None])


def _camera(height: Float[Array, ""]) -> Camera:
    x, y, z, pitch, yaw, roll = jnp.asarray(CAMERAS)[_index(height)]
    flat = jnp.array([jnp.sin(yaw), jnp.cos(yaw), 0.0])
    forward = jnp.cos(pitch) * flat - jnp.sin(pitch) * jnp.array([0.0, 0.0, 1.0])
    right = jnp.array([jnp.cos(yaw), -jnp.sin(yaw), 0.0])
    up = jnp.cross(right, forward)
    tilted_right = jnp.cos(roll) * right + jnp.sin(roll) * up
    tilted_up = jnp.cos(roll) * up - jnp.sin(roll) * right
    axes = jnp.stack([tilted_right, -tilted_up, forward])
    return Camera(jnp.array([x, y, z]), axes, FOCAL)


def _solids(factors: Float[Array, "7"]) -> tuple[Solid, Solid]:
    """Return the object that is carried; and the arm, as bars stacked along a leading axis."""
    up, shoulder = jnp.array([0.0, 0.0, 1.0]), jnp.array(SHOULDER)
    # First the turn about the post, then the tilt about the axle.
    tilt = FIRST_TILT + SWEEP * factors[5] / STEPS
    turn = FIRST_TURN + SWEEP * factors[6] / STEPS
    outward = jnp.array([jnp.cos(turn), jnp.sin(turn), 0.0])
    axle = jnp.array([jnp.sin(turn), -jnp.cos(turn), 0.0])
    along = jnp.cos(tilt) * outward + jnp.sin(tilt) * up
    beside = shoulder - SIDE_OFFSET * axle  # where the forearm begins
    shape = _index(factors[1])
    carried = Solid(
        planes=jnp.asarray(SHAPE_PLANES)[shape],
        quadric=jnp.asarray(SHAPE_QUADRICS)[shape],
        centre=beside + ARM_LENGTH * along,
        axes=_axes(along, axle),  # it turns with the forearm
        scale=SMALL + (1.0 - SMALL) * factors[2],
        color=jnp.asarray(OBJECT_COLORS)[_index(factors[0])],
    )
    post, cross, forearm, base = (up, outward), (axle, outward), (along, axle), 0 * up
    bars = [
        _bar(BRIGHT_METAL, 0.28, base, post, 0.0, 0.07),
        _bar(BLACK, 0.17, base, post, 0.0, 0.075),
        _bar(BRIGHT_METAL, 0.055, base - 0.19 * outward, post, 0.0, 0.2),
        _bar(DULL_METAL, 0.14, base, post, 0.0, 0.97),
        _bar(BRIGHT_METAL, 0.13, shoulder, cross, -0.18, 0.12),
        _bar(BRIGHT_METAL, 0.08, beside, forearm, -0.1, 0.2),
        _bar(BRIGHT_METAL, 0.036, beside, forearm, 0.2, ARM_LENGTH),
    ]
    return carried, Solid(*(jnp.stack(column) for column in zip(*bars, strict=True)))


def _bar(
    grey: float, radius: float, start: Array, frame: tuple[Array, Array], low: float, high: float
) -> Solid:
    """Return a round bar from `low` to `high` along the first axis of a frame."""
    centre = start + (low + high) / 2 * frame[0]
    ends = jnp.asarray(rays.slab((high - low) / 2))
    side = jnp.array(rays.tube(radius))
    return Solid(ends, side, centre, _axes(*frame), jnp.ones(()), jnp.full(3, grey))


def _index(number: Float[Array, ""]) -> Array:
    return jnp.round(number).astype(jnp.int32)


def _axes(z: Float[Array, "3"], x: Float[Array, "3"]) -> Float[Array, "3 3"]:
    """Return a frame as rows, from its z-axis and its x-axis."""
    return jnp.stack([x, jnp.cross(z, x), z])
