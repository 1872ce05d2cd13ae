"""Rays through the pixels, light, and images.

Only two windows of an image hold solids: one around the post, one around the forearm and its
object. The whole scene is traced there; elsewhere only the floor is seen, and `render_batch` draws
that once for each camera and background.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxsurf.errors import UserError
from jaxsurf.images import batches, pixels
from jaxsurf.images.arm import scene, solids

SAMPLES = 16
"""Rays a pixel: an edge that crosses a pixel changes it in this many steps."""
CHUNK = 8
"""Images drawn at once: few, so that their rays stay near the processor."""

LIGHT = (-0.12, -0.68, 0.73)
"""Direction to the sun; it was fitted to a sphere of MPI3D-toy, as was `KNEE`."""
KNEE = 0.6
"""Where the display curve bends: it lifts the half-lit parts and leaves black and full light."""

# Sides of the windows in image widths (height, width): room for the nearest pose of each camera.
POST_WINDOW = (0.39, 0.16)
ARM_WINDOW = (0.53, 0.53)


@functools.partial(jax.jit, static_argnames=("side", "samples"))
def render(
    factors: Float[Array, "7"], *, side: int = 64, samples: int = SAMPLES
) -> Float[Array, "height width channel"]:
    """Draw one image.

    Args:
        factors: one row in the order of `FACTOR_NAMES`, not checked; size and the two axes may be
            fractions.
        side: height and width in pixels.
        samples: rays a pixel.

    Returns:
        An image in [0, 1]; a pure function of the factors.
    """
    return _draw_robot(_draw_floor(factors, side, samples), factors, side, samples)


def render_batch(
    factors: np.ndarray, *, side: int = 64, samples: int = SAMPLES
) -> UInt8[np.ndarray, "image height width channel"]:
    """Draw many images, in chunks that share one compilation.

    Args:
        factors: one row an image, in the order of `FACTOR_NAMES`; size and the two axes may be
            fractions.
        side: height and width in pixels.
        samples: rays a pixel.

    Returns:
        Images as uint8.

    Raises:
        UserError: a factor is not a value of its range, or a number is not positive.
    """
    rows = scene.check(factors)
    for name, number in (("side", side), ("samples", samples)):
        if number < 1:
            raise UserError(f"{name} is {number}, but must be at least 1")
    floors = _draw_floors(side=side, samples=samples)
    draw = functools.partial(_draw_chunk, side=side, samples=samples)
    return batches.mapped(draw, rows, shared=[floors], size=CHUNK)


@functools.partial(jax.jit, static_argnames=("side", "samples"))
def _draw_floors(*, side: int, samples: int) -> Float[Array, "camera background h w c"]:
    cameras, backgrounds = jnp.meshgrid(jnp.arange(3.0), jnp.arange(3.0), indexing="ij")
    rows = jnp.zeros((3, 3, 7)).at[..., 3].set(cameras).at[..., 4].set(backgrounds)
    draw = functools.partial(_draw_floor, side=side, samples=samples)
    return jax.vmap(jax.vmap(draw))(rows)


@functools.partial(jax.jit, static_argnames=("side", "samples"))
def _draw_chunk(floors: Array, rows: Array, *, side: int, samples: int) -> UInt8[Array, "i h w c"]:
    def draw(row: Float[Array, "7"]) -> UInt8[Array, "h w c"]:
        index = jnp.round(row).astype(jnp.int32)
        return pixels.to_uint8(_draw_robot(floors[index[3], index[4]], row, side, samples))

    return jax.vmap(draw)(rows)


def _draw_floor(factors: Float[Array, "7"], side: int, samples: int) -> Float[Array, "h w c"]:
    view = scene.camera(factors[3])
    rays = _rays(view, jnp.zeros(2), (side, side), side, samples)
    return _pool(_floor(view, rays, factors), (side, side), samples)


def _draw_robot(
    image: Float[Array, "h w c"], factors: Float[Array, "7"], side: int, samples: int
) -> Float[Array, "h w c"]:
    """Trace the whole scene in the two windows, over an image of the floor."""
    view = scene.camera(factors[3])
    windows = []
    for ends, radii, extents in _places(factors):
        shape = tuple(min(side, math.ceil(side * extent) + 1) for extent in extents)
        windows.append((_corner(view, ends, radii, shape, side), shape))
    rays = [_rays(view, corner.astype(float), shape, side, samples) for corner, shape in windows]
    colors = _trace(view, jnp.concatenate(rays, axis=1), factors)
    cut = rays[0].shape[1]
    for (corner, shape), part in zip(windows, (colors[:, :cut], colors[:, cut:]), strict=True):
        tile = _pool(part, shape, samples)
        image = jax.lax.dynamic_update_slice(image, tile, (corner[0], corner[1], 0))
    return image


def _places(factors: Float[Array, "7"]) -> tuple:
    """Return for post and forearm: two balls that span it, and the sides of its window."""
    shoulder = jnp.array(scene.SHOULDER)
    carried = scene.carried(factors, scene.pose(factors)).centre
    reach = scene.OBJECT_REACH * scene.object_scale(factors)
    return (
        (jnp.stack([0 * shoulder, shoulder]), jnp.array([0.3, 0.2]), POST_WINDOW),
        (jnp.stack([shoulder, carried]), jnp.stack([jnp.asarray(0.22), reach]), ARM_WINDOW),
    )


def _corner(
    view: scene.Camera, ends: Array, radii: Array, shape: tuple[int, ...], side: int
) -> Array:
    """Return the first row and column of a window centred on what two balls span in the image."""
    seen = (ends - view.position[None]) @ view.axes.T
    middle = (seen[:, 1::-1] / seen[:, 2:] * scene.FOCAL + 0.5) * side
    spread = (radii / seen[:, 2] * scene.FOCAL * side)[:, None]
    centre = (jnp.min(middle - spread, axis=0) + jnp.max(middle + spread, axis=0)) / 2
    corner = jnp.round(centre - jnp.array(shape) / 2).astype(jnp.int32)
    return jnp.clip(corner, 0, side - jnp.array(shape))


def _rays(
    view: scene.Camera, corner: Array, shape: tuple[int, ...], side: int, samples: int
) -> Float[Array, "3 ray"]:
    """Return directions through the samples of a window's pixels, samples innermost."""
    within = jnp.asarray(_sample_points(samples))
    row = corner[0] + jnp.arange(shape[0])[:, None, None] + within[:, 0][None, None]
    column = corner[1] + jnp.arange(shape[1])[None, :, None] + within[:, 1][None, None]
    down = (row / side - 0.5) / scene.FOCAL
    right = (column / side - 0.5) / scene.FOCAL
    down, right = jnp.broadcast_arrays(down, right)
    axes = view.axes[:, :, None]
    return axes[0] * right.ravel()[None] + axes[1] * down.ravel()[None] + axes[2]


def _sample_points(samples: int) -> Float[np.ndarray, "sample 2"]:
    """Return points spread over the unit square (Roberts' R2 sequence): no two share a row."""
    plastic = 1.32471795724474602596
    steps = np.arange(samples)[:, None] * np.array([[1 / plastic, 1 / plastic**2]])
    return ((steps + 0.5 / samples + 0.5) % 1.0).astype(np.float32)


def _pool(colors: Float[Array, "3 ray"], shape: tuple[int, ...], samples: int) -> Array:
    averaged = colors.reshape(3, *shape, samples).mean(axis=-1)
    return jnp.clip(jnp.moveaxis(averaged, 0, -1), 0.0, 1.0)


def _trace(view: scene.Camera, rays: Array, factors: Array) -> Float[Array, "3 ray"]:
    """Return the colour of whatever each ray meets first."""
    light = jnp.array(LIGHT) / math.hypot(*LIGHT)
    at = scene.pose(factors)

    def meet(seen: tuple[Array, Array], part: solids.Solid) -> tuple[tuple[Array, Array], None]:
        nearest, color = seen
        distance, cosine = solids.hit(part, view.position, rays, light)
        lambert = jnp.maximum(cosine, 0.0)
        shown = (1 + KNEE) * lambert / (lambert + KNEE)
        color = jnp.where((distance < nearest)[None], part.color[:, None] * shown[None], color)
        return (jnp.minimum(nearest, distance), color), None

    seen = jnp.full(rays.shape[1], solids.FAR), _floor(view, rays, factors)
    seen, _ = meet(seen, scene.carried(factors, at))
    (_, color), _ = jax.lax.scan(meet, seen, scene.robot(at))
    return color


def _floor(view: scene.Camera, rays: Array, factors: Array) -> Float[Array, "3 ray"]:
    """Return what rays see where no solid is: the grey ground and the coloured band."""
    below = rays[2] < -1e-3
    t = jnp.where(below, -view.position[2] / jnp.where(below, rays[2], 1.0), 0.0)
    x, y = view.position[0] + t * rays[0], view.position[1] + t * rays[1]
    within = [x**2 + (y - m) ** 2 < r**2 for m, r in (scene.BAND_INNER, scene.BAND_OUTER)]
    banded = below & ~within[0] & within[1] & (y > scene.BAND_NEAR)
    left, deep, high = scene.BAND_LAMP
    light = high * jax.lax.rsqrt((x - left) ** 2 + (y - deep) ** 2 + high**2)
    band = scene.band_color(factors[4])[:, None] * light[None]
    return jnp.where(banded[None], band, scene.FLOOR_COLOR[:, None])
