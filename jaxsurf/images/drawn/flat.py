"""Flat pictures painted in layers: `torus`, a clock of two hands, and `pole`, a star on a pole.

A layer is given by the signed distance to its edge, negative inside. Of each pixel it covers what a
straight edge at that distance from the pixel's middle would, so that drawing is continuous. Lengths
are in image widths, x to the right and y down from the middle of the image.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real, UInt8

from jaxsurf.images import batches, pixels
from jaxsurf.images.drawn import open_drawn
from jaxsurf.images.image_set import Grid, ImageSet, Request

Ends = tuple[float, float, float]
Color = tuple[float, float, float]
Paint = Color | Float[Array, "3 #height #width"]
Plane = Float[Array, "height width"]
Picture = Float[Array, "3 height width"]

# Images drawn at once: few, so that they stay near the processor.
CHUNK = 16

# The hour hand is short and broad, the minute hand before it long and narrow: where both point the
# same way, the one is seen on both sides of the other, and the other beyond it.
HANDS = ("hour", "minute")
AROUND = 40  # values of a hand, and its period
TORUS = Grid(HANDS, (AROUND, AROUND), continuous=HANDS, periodic=dict.fromkeys(HANDS, AROUND))
WALL, CASE, FACE = (0.36, 0.47, 0.50), (0.16, 0.19, 0.23), (0.95, 0.93, 0.87)
MARK, HOUR, MINUTE = (0.5, 0.5, 0.5), (0.12, 0.36, 0.66), (0.88, 0.27, 0.12)

# The report's own example, from its introduction.
PLACES = ("horizontal", "vertical")
STEPS = 39.0  # from the first value to the last
POLE = Grid(PLACES, (40, 40), continuous=PLACES)
SKY_HIGH, SKY_LOW = (0.25, 0.44, 0.72), (0.84, 0.88, 0.87)
HILLS, FAR_GRASS, NEAR_GRASS = (0.42, 0.55, 0.52), (0.56, 0.66, 0.36), (0.30, 0.45, 0.20)
LIT_WOOD, DARK_WOOD = (0.66, 0.52, 0.40), (0.26, 0.17, 0.12)
STAR, STAR_EDGE = (0.98, 0.76, 0.16), (0.62, 0.20, 0.08)
FOOT = 0.38  # y of the pole's foot


def open_torus(request: Request) -> ImageSet:
    """Return a clock whose two hands turn on their own, clockwise from the top."""
    draw = functools.partial(_draw, _clock)
    return open_drawn(request, name="clock", grid=TORUS, draw=draw, edition=1)


def open_pole(request: Request) -> ImageSet:
    """Return a star at the top of a pole: `horizontal` moves both, `vertical` lifts the star."""
    draw = functools.partial(_draw, _pole)
    return open_drawn(request, name="pole", grid=POLE, draw=draw, edition=1)


def _draw(
    picture: Callable[..., Picture], factors: Real[np.ndarray, "image 2"], *, side: int
) -> UInt8[np.ndarray, "image height width channel"]:
    draw = functools.partial(_draw_chunk, picture=picture, side=side)
    return batches.mapped(draw, np.asarray(factors, np.float32), size=CHUNK)


@functools.partial(jax.jit, static_argnames=("picture", "side"))
def _draw_chunk(
    rows: Float[Array, "i 2"], *, picture: Callable[..., Picture], side: int
) -> UInt8[Array, "i h w c"]:
    middles = (jnp.arange(side) + 0.5) / side - 0.5
    y, x = jnp.meshgrid(middles, middles, indexing="ij")
    painted = jax.vmap(lambda row: picture(row[0], row[1], x, y))(rows)
    return jnp.moveaxis(pixels.to_uint8(painted), 1, -1)


def _over(picture: Picture, paint: Paint, distance: Plane, blur: float = 0.0) -> Picture:
    """Paint a layer over a picture; its edge is as wide as a pixel, or `blur` if that is more."""
    width = max(1 / distance.shape[-1], blur)
    covered = jnp.clip(0.5 - distance / width, 0.0, 1.0)[None]
    return picture + covered * (_spread(paint) - picture)


def _mixed(start: Paint, end: Paint, share: Plane) -> Picture:
    share = jnp.clip(share, 0.0, 1.0)[None]
    return (1 - share) * _spread(start) + share * _spread(end)


def _spread(paint: Paint) -> Float[Array, "3 _ _"]:
    return jnp.array(paint)[:, None, None] if isinstance(paint, tuple) else paint


def _clock(hour: Array, minute: Array, x: Plane, y: Plane) -> Picture:
    def bar(turn: Array | float, ends: Ends, x: Plane = x, y: Plane = y) -> Plane:
        """Return the distance to a rounded bar: its turn; its start, end and half its breadth."""
        start, end, radius = ends
        # A hand and the same hand a turn later are one, to the bit.
        angle = jnp.mod(turn, AROUND) * (2 * jnp.pi / AROUND)
        along, beside = (
            x * jnp.sin(angle) - y * jnp.cos(angle),
            x * jnp.cos(angle) + y * jnp.sin(angle),
        )
        return jnp.hypot(along - jnp.clip(along, start, end), beside) - radius

    from_middle = jnp.hypot(x, y)
    made = _mixed(WALL, 0.8 * _spread(WALL), y + 0.5)
    made = _over(made, 0.6 * made, from_middle - 0.455, blur=0.06)
    made = _over(made, CASE, from_middle - 0.46)
    made = _over(made, FACE, from_middle - 0.415)
    for number in range(12):
        long = number % 3 == 0
        mark = bar(AROUND * number / 12, (0.33 if long else 0.35, 0.375, 0.014 if long else 0.008))
        made = _over(made, MARK, mark)
    for turn, ends, color in (
        (hour, (-0.04, 0.18, 0.066), HOUR),
        (minute, (-0.08, 0.33, 0.034), MINUTE),
    ):
        made = _over(made, 0.82 * made, bar(turn, ends, x - 0.012, y - 0.02), 0.05)
        made = _over(made, color, bar(turn, ends))
    return _over(made, CASE, from_middle - 0.03)


def _pole(horizontal: Array, vertical: Array, x: Plane, y: Plane) -> Picture:
    beside = x - 0.66 * (horizontal / STEPS - 0.5)
    below = y - (0.14 - 0.47 * vertical / STEPS)  # the middle of the star
    made = _mixed(SKY_HIGH, SKY_LOW, (y + 0.5) / 0.7)
    hills = y - 0.17 + 0.05 * jnp.sin(7.0 * x + 0.6) + 0.02 * jnp.sin(17.0 * x)
    made = _over(made, HILLS, -hills)
    made = _over(made, _mixed(FAR_GRASS, NEAR_GRASS, (y - 0.26) / 0.24), 0.26 - y)
    shadow = (jnp.hypot((beside - 0.05) / 2.4, y - FOOT) - 0.03) * 1.5
    made = _over(made, 0.6 * made, shadow, blur=0.04)
    wood = _mixed(LIT_WOOD, DARK_WOOD, (beside + 0.03) / 0.06)
    ends = jnp.maximum(-below, y - FOOT)
    made = _over(made, wood, jnp.maximum(jnp.abs(beside) - 0.03, ends))
    # A tenth of the star, laid to the right, ends at a straight edge from its point to its notch.
    fifth = 2 * jnp.pi / 5
    angle = jnp.abs(jnp.mod(jnp.arctan2(beside, -below) + fifth / 2, fifth) - fifth / 2)
    out, up = (jnp.hypot(beside, below) * turned(angle) for turned in (jnp.cos, jnp.sin))
    point, notch = 0.155, np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)]) * 0.078
    edge = np.array([notch[1], point - notch[0]]) / np.hypot(notch[1], point - notch[0])
    star = edge[0] * (out - point) + edge[1] * up
    made = _over(made, STAR_EDGE, star)
    return _over(made, _mixed(STAR, 0.88 * _spread(STAR), beside / 0.1), star + 0.016)
