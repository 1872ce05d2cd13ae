"""A house with its garden on a turntable, ray cast: `loop`, whose one factor comes back to itself.

`turn` takes 360 values, a degree each, counterclockwise seen from above. World: z is up, the axle
stands at the origin, the garden is z = 0, and the camera looks along +y and down. All of it is
given in the table's own frame, which turns; the light does not.

Nothing is repeated around the table, so that no two turns look alike, and what is large lies on all
sides of the axle, so that every degree changes the image about as much.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real, UInt8

from jaxsurf.images import batches, pixels
from jaxsurf.images.drawn import SIDE, open_drawn, rays
from jaxsurf.images.drawn.rays import Camera, Seen, Solid
from jaxsurf.images.image_set import Grid, ImageSet, Request

PERIOD = 360.0
GRID = Grid(("turn",), (360,), continuous=("turn",), periodic={"turn": PERIOD})

# Rays a pixel, and where pixels are large, so that a degree moves an edge by a small part of one:
# as many an image as 64 x 64 pixels have, but at most so many a pixel.
SAMPLES, MOST_SAMPLES = 16, 64
CHUNK = 8  # images at once, as of the arm

# Of the camera: what it points at, its distance from there, pitch down, focal in image widths.
AIM, DISTANCE, PITCH, FOCAL = (0.0, 0.0, 0.22), 4.6, 0.52, 1.62

RADIUS = 1.26  # of the table
GRASS, POND = (0.46, 0.66, 0.30), (0.25, 0.52, 0.80)
PATH, FLOWERS = (0.86, 0.78, 0.58), (0.62, 0.36, 0.62)
SKY_LOW, SKY_HIGH = (0.82, 0.84, 0.86), (0.55, 0.62, 0.72)


def _part(
    color: tuple[float, float, float],
    centre: tuple[float, float, float],
    planes: Float[np.ndarray, "plane 4"],
    quadric: rays.Quadric = rays.NO_QUADRIC,
) -> tuple[np.ndarray, ...]:
    """Return a `Solid` of six planes, in the table's frame."""
    values = rays.filled(planes, 6), quadric, centre, np.eye(3), 1.0, color
    return tuple(np.asarray(value, np.float32) for value in values)


def _box(*half: float) -> Float[np.ndarray, "6 4"]:
    normals = np.concatenate([np.eye(3), -np.eye(3)])
    return np.concatenate([normals, np.tile(half, 2)[:, None]], axis=1)


# Two slopes, two ends, the floor of the attic; the ridge is 0.45 above it.
SLOPE = np.array([0.0, 0.62, 0.785])
SLOPES = (*SLOPE, 0.353), (*(SLOPE * [1, -1, 1]), 0.353)
GABLE = np.array([*SLOPES, (1, 0, 0, 0.62), (-1, 0, 0, 0.62), (0, 0, -1, 0)])
PARTS = (
    _part((0.55, 0.42, 0.30), (0.0, 0.0, -0.071), rays.slab(0.07), rays.tube(RADIUS)),  # rim
    _part((0.93, 0.86, 0.70), (-0.1, 0.04, 0.275), _box(0.52, 0.4, 0.275)),  # walls
    _part((0.76, 0.20, 0.14), (-0.1, 0.04, 0.5), GABLE),  # roof
    _part((0.48, 0.24, 0.20), (-0.36, 0.23, 0.81), _box(0.09, 0.09, 0.31)),  # chimney
    _part((0.20, 0.32, 0.56), (0.42, -0.06, 0.19), _box(0.02, 0.11, 0.19)),  # door
    _part((0.24, 0.36, 0.44), (-0.125, -0.36, 0.31), _box(0.325, 0.02, 0.11)),  # windows
    _part((0.24, 0.36, 0.44), (-0.62, 0.13, 0.31), _box(0.02, 0.13, 0.11)),
    _part((0.10, 0.38, 0.20), (0.72, 0.56, 0.4), rays.slab(0.4), rays.cone(0.34, 0.4)),  # fir
    _part((0.96, 0.72, 0.12), (0.62, -0.66, 0.2), rays.slab(9.0), (1, 1, 0, -(0.2**2))),  # ball
)


def open_loop(request: Request) -> ImageSet:
    """Return the turns of the table; one may be held between two degrees."""
    return open_drawn(request, name="turntable", grid=GRID, draw=_draw, edition=1)


def _draw(
    factors: Real[np.ndarray, "image 1"], *, side: int
) -> UInt8[np.ndarray, "image height width channel"]:
    # Whole turns go first, so that a turn and the next one's are the same image to the bit.
    rows = np.mod(np.asarray(factors, np.float32), np.float32(PERIOD))
    return batches.mapped(functools.partial(_draw_chunk, side=side), rows, size=CHUNK)


@functools.partial(jax.jit, static_argnames="side")
def _draw_chunk(rows: Float[Array, "i 1"], *, side: int) -> UInt8[Array, "i h w c"]:
    down, level = math.sin(PITCH), math.cos(PITCH)
    forward, below = (0.0, level, -down), (0.0, -down, -level)
    view = Camera(
        jnp.array(AIM) - DISTANCE * jnp.array(forward),
        jnp.array([(1.0, 0.0, 0.0), below, forward]),
        FOCAL,
    )
    samples = min(MOST_SAMPLES, max(SAMPLES, SAMPLES * SIDE**2 // side**2))
    house = Solid(*(jnp.stack(each) for each in zip(*PARTS, strict=True)))
    directions = rays.through(view, jnp.zeros(2), (side, side), side, samples)

    def draw(row: Float[Array, "1"]) -> UInt8[Array, "h w c"]:
        angle = row[0] * (2 * jnp.pi / PERIOD)
        x, y, up = jnp.eye(3)
        right = jnp.cos(angle) * x + jnp.sin(angle) * y
        axes = jnp.stack([right, jnp.cross(up, right), up])

        def meet(seen: Seen, part: Solid) -> tuple[Seen, None]:
            # Not a matrix product, which accelerators may round.
            centre = (part.centre[:, None] * axes).sum(axis=0)
            turned = part._replace(centre=centre, axes=axes)
            return rays.meet(turned, view, directions, seen), None

        seen, _ = jax.lax.scan(meet, _ground(view, directions, axes), house)
        return pixels.to_uint8(rays.pool(seen.color, (side, side), samples))

    return jax.vmap(draw)(rows)


def _ground(view: Camera, directions: Array, axes: Float[Array, "3 3"]) -> Seen:
    """Return what rays see without solids: the top of the table, and what is behind it."""
    t = -view.position[2] / directions[2]
    world = [view.position[i] + t * directions[i] for i in (0, 1)]
    x, y = (axes[i, 0] * world[0] + axes[i, 1] * world[1] for i in (0, 1))
    on_top = x**2 + y**2 < RADIUS**2

    def laid(color: Array, over: tuple[float, ...], where: Array) -> Array:
        return jnp.where(where[None], jnp.array(over)[:, None], color)

    # The grass is lighter to one side: a texture without an edge.
    shade = 1.0 + 0.16 * x / RADIUS - 0.1 * y / RADIUS
    color = jnp.array(GRASS)[:, None] * shade[None]
    color = laid(color, FLOWERS, jnp.hypot((x - 0.28) / 1.7, y - 0.98) < 0.17)
    color = laid(color, PATH, (jnp.abs(y + 0.06 - 0.25 * (x - 0.5) ** 2) < 0.13) & (x > 0.4))
    color = laid(color, POND, jnp.hypot(x + 0.42, (y + 0.80) / 0.66) < 0.42)
    high = jnp.clip(0.5 + 0.9 * (directions[2] + math.sin(PITCH)), 0.0, 1.0)
    sky = jnp.array(SKY_LOW)[:, None] * (1 - high)[None] + jnp.array(SKY_HIGH)[:, None] * high[None]
    return Seen(jnp.where(on_top, t, rays.FAR), jnp.where(on_top[None], color, sky))
