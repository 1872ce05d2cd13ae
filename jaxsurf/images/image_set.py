"""A set of images with its factors, and slices of it.

Images follow the convention of `jaxsurf.images.pixels`: uint8, NHWC. The order of a set is its
identity: latent codes, graphs and paths refer to images by their number in it. A slice of a grid of
a million images is known without opening one.
"""

import contextlib
import dataclasses
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Real, Shaped, UInt8

from jaxsurf import workdir
from jaxsurf.errors import UserError, check_least
from jaxsurf.images import pixels, storage

# A stride leaves whole what it would thin to fewer values: three camera heights are no scale.
FEWEST_LEFT = 4

Fixed = Mapping[str, int | float | np.number | str]
Labels = Mapping[str, Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a user's own files are read.

    Attributes:
        key: which array of a file holds the images, where several could; as in `file.npz:imgs`.
        range: which values are black and white: `auto` (what type and values suggest), `full` (the
            whole type; of floats 0 to 1), or two numbers such as `300,380`.
        show: which one, two or three channels are shown (`2,0,1`); usually the first three.
        factors: a table beside the images, a row an image: CSV with a head, and names of files or
            numbers of images in its first column.
        skip_unreadable: leave out pictures that can't be read, instead of refusing all.
        max_pixels: pictures with more pixels are refused, before they are unpacked.
    """

    key: str = ""
    range: str = "auto"
    show: tuple[int, ...] = ()
    factors: str = ""
    skip_unreadable: bool = False
    max_pixels: int = 178_956_970  # Pillow's own limit for what is no attack

    def __post_init__(self) -> None:
        object.__setattr__(self, "show", tuple(self.show))
        given: object = self.range
        if isinstance(given, Sequence) and not isinstance(given, str):  # as Python has numbers
            object.__setattr__(self, "range", ",".join(map(str, given)))


@dataclass(frozen=True)
class Request:
    """What is asked of a source; `sources.open_images` describes each part."""

    source: str
    path: str | Path = ""
    fixed: Fixed = field(default_factory=dict)
    free: Sequence[str] = ()
    stride: int = 1
    side: int | None = None
    cache_dir: str | Path | None = None
    reading: Reading = field(default_factory=Reading)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in a fixed order, which nobody can write to."""

    images: UInt8[np.ndarray, "image height width channel"]  # in memory or mapped from a file
    name: str  # what a person would call the set, in messages and reports
    factors: Real[np.ndarray, "image factor"] | None = None  # of each image, where they are known
    factor_names: tuple[str, ...] = ()  # one a column of `factors`
    # What computed pixels follow from, with the factors; it stands for them in the fingerprint,
    # since rounding differs between machines.
    recipe: str = ""
    # Makes images of the same size from rows of factors, where these can be drawn.
    draw: Callable[[Real[np.ndarray, "image factor"]], pixels.Images] | None = None
    # Factors of which `draw` takes any value; between two values it goes straight.
    continuous: tuple[str, ...] = ()
    # Periods of factors that come back to themselves: one period on, the image is the same.
    periodic: Mapping[str, float] = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)  # names of the values 0, 1, ... given in words
    # The same images with more than 256 steps from black to white, uint16 or float32. Models are
    # trained on these and given these.
    deep: Shaped[np.ndarray, "image height width channel"] | None = None
    source_range: tuple[float, float] = (0.0, pixels.PEAK)  # black and white, in source units
    source_dtype: str = "uint8"  # of the source's values
    look: pixels.Look = pixels.RGB  # how channels are shown; of fewer than three, as is usual
    files: tuple[str, ...] = ()  # the name of each image, where it has one
    account: str = ""  # what was taken of the source, what was left out and why, in a line
    _file: str = field(init=False, default="")

    def __post_init__(self) -> None:
        pixels.check(self.images, origin=self.name)
        num_channels = self.images.shape[-1]
        if self.look == pixels.RGB and num_channels < 3:
            object.__setattr__(self, "look", pixels.Look.usual(num_channels))
        shown, num_channels = self.look.channels, num_channels - self.look.alpha
        if len(shown) not in (1, 2, 3) or not 0 <= min(shown) <= max(shown) < num_channels:
            raise UserError(
                f"{self.name} has {num_channels} channels, but "
                f"{', '.join(map(str, shown)) or 'none'} are to be shown",
                cure=f"give one to three from 0 to {num_channels - 1}",
            )
        expected = (len(self), len(self.factor_names))
        shape = (len(self), 0) if self.factors is None else self.factors.shape
        if shape != expected:
            raise UserError(
                f"the factors of {self.name} have shape {shape}, expected {expected}",
                cure="give one row an image and one name a column",
            )
        if len(set(self.factor_names)) < len(self.factor_names):
            raise UserError(
                f"factors of {self.name} have the same name: {', '.join(self.factor_names)}",
                cure="rename one",
            )
        # As the file is now: another may take its place later.
        object.__setattr__(self, "_file", storage.whole_file(self.model_input))
        # A cached fingerprint holds only as long as nobody changes what it was taken of.
        for name in ("images", "deep"):
            if getattr(self, name) is not None:
                frozen = getattr(self, name).view()
                frozen.flags.writeable = False
                object.__setattr__(self, name, frozen)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def model_input(self) -> Shaped[np.ndarray, "image height width channel"]:
        """What models are given: the images, as deep as they are."""
        return self.images if self.deep is None else self.deep

    def in_source_units(self, images: Float[np.ndarray, "*shape"]) -> Shaped[np.ndarray, "*shape"]:
        """Return images on [0, 1] in the units and the type of the source."""
        low, high = self.source_range
        scaled = low + np.clip(images, 0.0, 1.0).astype(np.float64) * (high - low)
        dtype = np.dtype(self.source_dtype)
        if dtype.kind == "f":
            return scaled.astype(dtype)
        limits = np.iinfo(dtype)  # beyond which black or white may lie
        # The largest of 64 bits is no float64.
        highest = np.nextafter(limits.max, 0) if dtype.itemsize == 8 else limits.max
        return np.rint(scaled).clip(limits.min, highest).astype(dtype)

    def numbers(self, text: str) -> Int[np.ndarray, " image"]:
        """Return the images that a text means: the name of a file, or values of factors.

        A file of the set is named as in `files`, or by the end of that alone; factors as in
        `angle=30,light=left`. No file may be meant, or several images.
        """
        ends = [name == text for name in self.files]
        if not any(ends):
            ends = [name.endswith(f"/{text}") for name in self.files]
        if any(ends) or "=" not in text or self.factors is None:
            return np.flatnonzero(np.array(ends, bool))
        parts = [part.partition("=") for part in text.split(",")]
        fixed = {name.strip(): value.strip() for name, _, value in parts}
        if len(fixed) < len(parts):
            raise UserError(f"{text} names a factor twice", cure="name each once")
        return self._matching(fixed, [name for name in self.factor_names if name not in fixed])

    @functools.cached_property
    def fingerprint(self) -> str:
        """Fingerprint of pixels (or their recipe), factors and order; other names don't count."""
        # That of a mapped file is kept in the cache: reading a large one takes minutes.
        others = () if self.factors is None else (self.factors, *self.factor_names)
        if self.deep is not None or self.look.alpha:
            others += (
                self.model_input.dtype.str,
                str(self.look.alpha),
                *map(str, self.source_range),
            )
        name = f"fingerprint-{workdir.fingerprint(self._file, *others)}.txt"
        kept = storage.cache_folder() / name if self._file and not self.recipe else None
        if kept is not None and kept.exists():
            return kept.read_text(encoding="utf-8")
        content = self.recipe or self.model_input
        found = workdir.fingerprint(content, *others, read=storage.chunks)
        if kept is not None:
            with contextlib.suppress(UserError):  # it is computed again the next time
                workdir.write_text(kept, found)
        return found

    def select(
        self, *, fixed: Fixed | None = None, free: Sequence[str] = (), stride: int = 1
    ) -> "ImageSet":
        """Return the images of a slice, described as in `sources.open_images`, in their order."""
        fixed = fixed or {}
        if not fixed and not free and stride == 1:
            return self
        if self.factors is None:
            raise UserError(
                f"{self.name} has no factors to pick a slice by",
                cure="leave out fixed, free and stride",
            )
        numbers = self._matching(fixed, free or (() if fixed else self.factor_names), stride)
        first, last = numbers[0], numbers[-1]
        in_a_row = last - first + 1 == len(numbers)  # these stay where they are

        def chosen(rows: np.ndarray) -> np.ndarray:
            return rows[first : last + 1] if in_a_row else storage.take(rows, numbers)

        return dataclasses.replace(
            self,
            images=chosen(self.images),
            deep=None if self.deep is None else chosen(self.deep),
            factors=self.factors[numbers],
            files=tuple(self.files[number] for number in numbers) if self.files else (),
        )

    def _matching(
        self, fixed: Fixed, free: Sequence[str], stride: int = 1
    ) -> Int[np.ndarray, " image"]:
        columns = () if self.factors is None else self.factors.T
        values = dict(zip(self.factor_names, map(np.unique, columns), strict=True))
        axes = _slice(self, values, fixed, free, stride)
        meant = np.ones(len(self), bool)
        for column, axis, every in zip(columns, axes, values.values(), strict=True):
            if len(axis) < len(every):
                meant &= np.isin(column, axis)
        if not meant.any():
            cure = "choose others, leave some out, or take a smaller stride"
            raise UserError(f"no image of {self.name} has these values at once", cure=cure)
        return np.flatnonzero(meant)


@dataclass(frozen=True)
class Grid:
    """Every combination of some factors' values, in C order: the last factor varies fastest."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]  # a factor takes the values 0 .. size - 1
    labels: Labels = field(default_factory=dict)  # names of values, in the order of the values
    continuous: tuple[str, ...] = ()  # may be held between two values, where images are drawn
    periodic: Mapping[str, float] = field(default_factory=dict)  # as of an `ImageSet`
    held: Fixed = field(default_factory=dict)  # in the default slice; other factors are free there

    def __len__(self) -> int:
        return math.prod(self.sizes)

    def rows(self, asked: Request) -> Real[np.ndarray, "image factor"]:
        """Return the factor values of a slice, one row an image, in the grid's order.

        A factor with a single value may be neither fixed nor free. Of a value at which a periodic
        one is held, whole periods are taken off.
        """
        fixed, free = asked.fixed, asked.free
        if not fixed and not free:
            fixed, free = self.held, [name for name in self.names if name not in self.held]
        values = {name: np.arange(n) for name, n in zip(self.names, self.sizes, strict=True)}
        axes = _slice(self, values, fixed, free, asked.stride)
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(self.names))


def _slice(
    of: ImageSet | Grid,
    values: Mapping[str, Real[np.ndarray, " _value"]],
    fixed: Fixed,
    free: Sequence[str],
    stride: int,
) -> list[Real[np.ndarray, " _value"]]:
    unknown = [name for name in (*fixed, *free) if name not in values]
    if unknown:
        raise UserError(
            f"no factor is called {', '.join(map(repr, unknown))}",
            cure=f"choose from {', '.join(values)}" if values else "this set has no factors",
        )
    most = max((len(values[name]) for name in free), default=0)
    largest = max(1, most // FEWEST_LEFT)
    check_least("the stride", stride, 1)
    if stride > largest:
        raise UserError(
            f"a stride of {stride} thins nothing: no free factor takes {FEWEST_LEFT * stride} "
            f"values, but {most} at most",
            cure=f"choose one up to {largest}" if largest > 1 else "leave the stride out",
        )
    axes = []
    for name, some in values.items():
        if len(some) > 1 and (name in fixed) == (name in free):
            raise UserError(
                f"{name} takes {len(some)} values, and has to be either fixed or free",
                cure="name it in `fixed`, with a value, or in `free`",
            )
        if name in fixed:
            axes.append(_held(of, name, fixed[name], some))
        else:
            axes.append(some[::stride] if len(some) >= FEWEST_LEFT * stride else some)
    return axes


def _held(
    of: ImageSet | Grid,
    name: str,
    given: int | float | np.number | str,
    values: Real[np.ndarray, " _value"],
) -> Real[np.ndarray, "1"]:
    labels, period = of.labels.get(name, ()), of.periodic.get(name)
    key, names = _plain(given), [_plain(label) for label in labels]
    numbered = any(isinstance(each, float) for each in names)  # labels such as 1, 2, 10
    wanted = math.nan
    if given in labels:
        wanted = labels.index(given)
    elif key in names:
        wanted = names.index(key)
    elif isinstance(key, float) and not numbered:
        wanted = key
    if period is not None and wanted not in values:
        # Values may begin below 0, as degrees from -180 do.
        first = float(values[0])
        wanted = first + (wanted - first) % period
    if wanted in values:  # 2.0 is 2, 2.5 is none of them
        return values[values == wanted]
    drawn = isinstance(of, Grid) and name in of.continuous
    if drawn and values[0] <= wanted <= (period or values[-1]):
        return np.array([wanted])
    texts = [] if numbered else [f"{value:g}" for value in values]
    # Ten fit on a line; beyond that the two ends show what the scale is.
    texts = texts if len(texts) <= 10 else [*texts[:3], "...", *texts[-2:]]
    known = " or ".join(", ".join(some) for some in (texts, labels) if some)
    raise UserError(f"{name} has no value {given!r}", cure=f"choose from {known}")


def _plain(word: object) -> float | str:
    try:
        return float(str(word))
    except ValueError:
        return re.sub("[-_]", " ", str(word).strip().lower())


# The slice of Yadlin & Botchan, "Data Interpolation in Latent Space", with two degrees of freedom:
# white, cone, large, top, purple; 1,600 images.
DEFAULT_FIXED: Mapping[str, int] = {
    "object_color": 0,
    "object_shape": 0,
    "object_size": 1,
    "camera_height": 0,
    "background_color": 0,
}
DEFAULT_FREE: tuple[str, ...] = ("horizontal_axis", "vertical_axis")

# The order and the names of the data set's own description, https://github.com/rr-learning/disentanglement_dataset
MPI3D = Grid(
    names=(*DEFAULT_FIXED, *DEFAULT_FREE),
    sizes=(6, 6, 2, 3, 3, 40, 40),
    labels={
        "object_color": ("white", "green", "red", "blue", "brown", "olive"),
        "object_shape": ("cone", "cube", "cylinder", "hexagonal", "pyramid", "sphere"),
        "object_size": ("small", "large"),
        "camera_height": ("top", "centre", "bottom"),
        "background_color": ("purple", "sea green", "salmon"),
    },
    held=DEFAULT_FIXED,
)
