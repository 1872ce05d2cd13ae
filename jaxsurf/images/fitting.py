"""What becomes of images of any source: which values are black and white, their size and channels.

Sources have their own types, sizes and ranges. A set has one of each: a `Fit` is chosen from what
all of its images are like, and then brings them there, a few at a time.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from jaxsurf.errors import UserError
from jaxsurf.images import pixels

Rows = Shaped[np.ndarray, "image height width channel"]
Size = tuple[int, int]  # height and width

# Floats a rounding error outside of [0, 1] are meant to lie in it.
_ROUNDING = 1e-5
# The bits that cameras and converters give.
_BITS = (8, 10, 12, 14, 16)
# From white of eight bits to white of sixteen.
WIDER = 257


@dataclass(frozen=True)
class Fit:
    """Brings images to the type, range, channels and size of their set."""

    size: Size
    colours: int  # number of channels without opacity
    alpha: bool  # whether opacity follows them; they are multiplied by it
    dtype: str  # the source's type
    values: tuple[float, float]  # black and white, in the source's units
    depth: str  # the type of what comes out

    @classmethod
    def choose(
        cls, size: Size, colours: int, dtype: str, extent: "Extent", asked: str, *, alpha: bool
    ) -> "Fit":
        """Return what brings images to a size, and to the range that they suggest or is asked."""
        kind = np.dtype(dtype)
        values = black_and_white(asked, kind, extent.low, extent.high)
        whole = kind.kind in "iu"
        if kind.itemsize == 1 or (whole and kind.itemsize > 2 and values in ((0, 1), (0, 255))):
            depth = "uint8"
        else:  # which keeps the steps of the source's type
            depth = "uint16" if whole and kind.itemsize == 2 else "float32"
        return cls(size, colours, alpha and not extent.opaque, dtype, values, depth)

    @property
    def channels(self) -> int:
        """Number of channels that come out."""
        return self.colours + self.alpha

    def __call__(self, rows: Rows, *, alpha: bool = False) -> Rows:
        """Return images, whose last channel may be opacity, in the set's form."""
        opacity = rows[..., -1:] if alpha else None
        white = 255 if self.depth == "uint8" else 1.0
        rows = self._shades(rows[..., :-1] if alpha else rows)
        if rows.shape[-1] == 1:
            rows = np.repeat(rows, self.colours, axis=-1)
        elif (rows.shape[-1], self.colours) == (3, 1):
            grey = rows @ np.array([[0.299], [0.587], [0.114]])  # as Pillow weighs them (BT.601)
            rows = (np.rint(grey) if rows.dtype == np.uint8 else grey).astype(rows.dtype)
        elif rows.shape[-1] != self.colours:
            raise UserError(
                f"an image has {rows.shape[-1]} channels, but its set {self.colours}",
                cure="give images of the same channels",
            )
        if opacity is not None:
            opacity = _as_depth(opacity / pixels.peak(opacity.dtype), self.depth)
            if rows.dtype == np.uint8:
                rows = ((rows.astype(np.uint16) * opacity + 127) // 255).astype(np.uint8)
            else:
                rows = rows * opacity
            if not self.alpha:
                rows = rows + (white - opacity)  # premultiplied: never above white
        if self.alpha:
            full = np.full_like(rows[..., :1], white)
            rows = np.concatenate([rows, full if opacity is None else opacity], axis=-1)
        rows = resize(cut(rows, self.size), self.size)
        return np.rint(rows * 65535).astype(np.uint16) if self.depth == "uint16" else rows

    def _shades(self, rows: Rows) -> Rows:
        """Return values from black to white: as uint8, or as float32 from 0 to 1."""
        low, high = self.values
        dtype = rows.dtype
        if str(dtype) != self.dtype:
            if {str(dtype), self.dtype} == {"uint8", "uint16"}:
                low, high = (v * WIDER if dtype == np.uint16 else v / WIDER for v in (low, high))
            else:
                low, high = 0.0, pixels.peak(dtype)
        if self.depth == dtype == "uint8":
            if (low, high) == (0, 255):
                return rows
            return _as_depth((np.arange(256) - low) / (high - low), "uint8")[rows]
        return _as_depth((rows.astype(np.float64) - low) / (high - low), self.depth)


def _as_depth(shades: np.ndarray, depth: str) -> np.ndarray:
    shades = np.clip(shades, 0.0, 1.0)
    if depth == "uint8":
        return np.rint(shades * pixels.PEAK).astype(np.uint8)
    return shades.astype(np.float32)


def eight_bits(deep: Rows) -> pixels.Images:
    """Return images of any depth with eight bits."""
    return _as_depth(deep / pixels.peak(deep.dtype), "uint8")


# Sizes


def choose_size(sizes: Sequence[Size], *, side: int | None, origin: str) -> tuple[Size, int]:
    """Return the size of a set whose images have others, and how many will be cut for it."""
    if side is None:
        counts = Counter(sizes).most_common()
        if len(counts) > 1:
            (one, num_one), (other, num_other) = counts[:2]
            raise UserError(
                f"{origin} holds images of {len(counts)} sizes: {num_one} of {one[1]} x {one[0]}, "
                f"{num_other} of {other[1]} x {other[0]}",
                cure=f"set data.side to scale them all, such as {min(max(one), 128)}",
            )
        return counts[0][0], 0
    own = Counter(scaled(size, side) for size in sizes).most_common()
    return own[0][0], len(sizes) - own[0][1]


def scaled(size: Size, side: int) -> Size:
    """Return a size of the same shape, whose longer side is given."""
    height, width = (max(1, round(edge * side / max(size))) for edge in size)
    return height, width


def cut(rows: Rows, size: Size) -> Rows:
    """Return images without what a resize to some size would squeeze: their centre."""
    (height, width), (down, along) = rows.shape[1:3], size
    if scaled((height, width), max(size)) == size:
        return rows
    new_height = min(height, max(1, round(width * down / along)))
    new_width = min(width, max(1, round(height * along / down)))
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return rows[:, top : top + new_height, left : left + new_width]


def resize(rows: Rows, size: Size) -> Rows:
    """Return images of another size, by Lanczos' filter; floats stay within 0 and 1."""
    if rows.shape[1:3] == size:
        return rows
    made = np.empty((len(rows), *size, rows.shape[-1]), rows.dtype)
    # Pillow takes colours at once, which is quicker; other channels one by one.
    at_once = rows.dtype == np.uint8 and rows.shape[-1] == 3
    for row, out in zip(rows, made, strict=True):
        for place in [...] if at_once else [(..., channel) for channel in range(row.shape[-1])]:
            picture = Image.fromarray(np.ascontiguousarray(row[place]))
            out[place] = picture.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return made if made.dtype == np.uint8 else np.clip(made, 0, 1)


# Ranges


@dataclass(frozen=True)
class Extent:
    """What the values of images reach, and whether none lets anything through."""

    low: float = math.inf
    high: float = -math.inf
    opaque: bool = True

    @classmethod
    def of(
        cls, some: Iterable[np.ndarray], *, alpha: bool, origin: str, white: float = math.inf
    ) -> "Extent":
        """Return that of arrays of images, or of the first that reach beyond `white`.

        Values that are not finite are refused.
        """
        extent = cls()
        for rows in some:
            opaque = not alpha or bool((rows[..., -1] == pixels.peak(rows.dtype)).all())
            shades = rows[..., :-1] if alpha else rows
            low, high = float(shades.min()), float(shades.max())
            if not (math.isfinite(low) and math.isfinite(high)):
                cure = "replace NaN and infinity first"
                raise UserError(f"{origin} holds values that are not finite", cure=cure)
            extent = extent.joined(cls(low, high, opaque))
            if extent.high > white:
                break
        return extent

    def joined(self, other: "Extent") -> "Extent":
        """Return that of both."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        return Extent(low, high, self.opaque and other.opaque)


def black_and_white(asked: str, dtype: np.dtype, low: float, high: float) -> tuple[float, float]:
    """Return the values that are black and white, of a set whose values go from `low` to `high`.

    `auto`: floats in [0, 1] are shades as they are. Whole numbers from 0 up whose largest is 1 are
    masks: 1 is white. Other uint8, and wider types that stay within 255, have white 255; others the
    white of 8, 10, 12, 14 or 16 bits, the first that holds all values, where these take up half of
    it. Of everything else the least and the largest value are black and white.
    """
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    whole = (0.0, 1.0) if limits is None else (float(limits.min), float(limits.max))
    if asked == "full":
        return whole
    if asked != "auto":
        try:
            first, last = map(float, asked.split(","))
        except ValueError:
            first = last = math.nan
        if not -math.inf < first < last < math.inf:
            raise UserError(
                f"data.range is {asked!r}", cure="give auto, full, or two numbers such as 300,380"
            )
        return first, last
    if limits is None and low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return 0.0, 1.0
    if limits is not None and low >= 0:
        if high == 1:
            return 0.0, 1.0
        if dtype == np.uint8 or (high <= 255 and dtype.itemsize > 2):
            return 0.0, 255.0
        white = next((2**bits - 1 for bits in _BITS if high < 2**bits), None)
        if white is not None and high - low >= white / 2:
            return 0.0, float(white)
    return (low, high) if low < high else whole
