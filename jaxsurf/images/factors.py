"""Factors of variation: a full grid of named factors, and which of its images a slice picks.

A grid holds one image for every combination of factor values, in C order: the last factor varies
fastest. Image numbers and factor values are thus a pure function of each other, and a slice of a
million images is known without opening one.
"""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int, Shaped

from jaxsurf.errors import UserError

# A stride leaves whole what it would thin to fewer values than this: three camera heights are kinds
# rather than a scale, and two of them would be another experiment.
FEWEST_LEFT = 4


@dataclass(frozen=True)
class Grid:
    """Every combination of some factors' values, in C order.

    Args:
        names: one name a factor; the last varies fastest.
        sizes: how many values each factor takes: 0 .. size - 1.
        labels: names of the values, for the factors that have them, in the order of the values.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return math.prod(self.sizes)

    def indices(
        self, fixed: Mapping[str, int | float | str], free: Sequence[str], *, stride: int = 1
    ) -> Int[np.ndarray, " image"]:
        """Return the image numbers of a slice, ascending.

        Args:
            fixed: the value, or the value's label, of each factor that is held.
            free: the factors that vary. A factor with a single value may be left out of both.
            stride: keeps every stride-th value of each free factor, as `thinned` does.

        Raises:
            UserError: a name or value is unknown, a factor is in both or in neither, or the stride
                is below 1 or thins no factor.
        """
        check_names(self.names, fixed, free)
        check_stride(stride, [self.sizes[self.names.index(name)] for name in free])
        axes = [thinned(self._values(name, fixed, free), stride) for name in self.names]
        return np.ravel_multi_index(np.ix_(*axes), self.sizes).ravel()

    def factors(self, indices: Int[np.ndarray, " image"]) -> Int[np.ndarray, "image factor"]:
        """Return the factor values of images given by number."""
        return np.stack(np.unravel_index(indices, self.sizes), axis=-1)

    def value(self, name: str, value: int | float | str) -> int:
        """Return a factor's value as a number, given as a number or as its label.

        Raises:
            UserError: the factor has no such value.
        """
        size = self.sizes[self.names.index(name)]
        labels = self.labels.get(name, ())
        if isinstance(value, str):
            label = value.strip().lower().replace("_", " ").replace("-", " ")
            number = labels.index(label) if label in labels else -1
        else:
            number = whole(value)
        if not 0 <= number < size:
            allowed = f"0..{size - 1}" + (f" or {', '.join(labels)}" if labels else "")
            raise UserError(f"{name} has no value {value!r}", cure=f"choose from {allowed}")
        return number

    def _values(
        self, name: str, fixed: Mapping[str, int | float | str], free: Sequence[str]
    ) -> Int[np.ndarray, " value"]:
        """Return the values that one factor takes in a slice."""
        size = self.sizes[self.names.index(name)]
        if name in fixed:
            return np.array([self.value(name, fixed[name])])
        if name in free or size == 1:
            return np.arange(size)
        raise undecided(name, size)


def check_names(names: Sequence[str], fixed: Iterable[str], free: Sequence[str]) -> None:
    """Refuse factors that a set does not have, and factors both fixed and free.

    Raises:
        UserError: there is one.
    """
    fixed = list(fixed)
    unknown = [name for name in (*fixed, *free) if name not in names]
    if unknown:
        raise UserError(
            f"no factor is called {', '.join(map(repr, unknown))}",
            cure=f"choose from {', '.join(names)}" if names else "this set has no factors",
        )
    both = [name for name in fixed if name in free]
    if both:
        raise UserError(f"{', '.join(both)} is both fixed and free", cure="keep it in one of them")


def thinned(values: Shaped[np.ndarray, " value"], stride: int) -> Shaped[np.ndarray, " kept"]:
    """Return every stride-th value of a factor, or all if they are fewer than 4 * stride.

    Args:
        values: ascending, each once; the first is always kept.
        stride: 1 keeps all.
    """
    return values[::stride] if len(values) >= FEWEST_LEFT * stride else values


def check_stride(stride: int, sizes: Sequence[int]) -> None:
    """Refuse a stride below 1, and one that would thin nothing.

    Args:
        stride: what `thinned` is to be given.
        sizes: how many values each free factor takes.

    Raises:
        UserError: it is such a stride.
    """
    if stride < 1:
        raise UserError(
            f"the stride is {stride}, but must be at least 1", cure="1 keeps all images"
        )
    most = max(sizes, default=0)
    largest = most // FEWEST_LEFT
    if stride > max(1, largest):
        needed = FEWEST_LEFT * stride
        raise UserError(
            f"a stride of {stride} thins nothing: no free factor takes {needed} values"
            + (f", but {most} at most" if most else ""),
            cure=f"choose one up to {largest}" if largest > 1 else "leave the stride out",
        )


def undecided(name: str, size: int) -> UserError:
    """Return the error of a factor that a slice neither fixes nor frees."""
    return UserError(
        f"{name} takes {size} values, but the slice neither fixes it nor sets it free",
        cure=f"add {name} to `fixed` with a value, or to `free`",
    )


def whole(value: object) -> int:
    """Return a whole number as int, 2.0 as well as 2; -1, which no factor takes, for others."""
    if isinstance(value, float | np.floating) and value.is_integer():
        return int(value)
    return operator.index(value) if isinstance(value, SupportsIndex) else -1


# The order and the names of the data set's own description, https://github.com/rr-learning/disentanglement_dataset
MPI3D = Grid(
    names=(
        "object_color",
        "object_shape",
        "object_size",
        "camera_height",
        "background_color",
        "horizontal_axis",
        "vertical_axis",
    ),
    sizes=(6, 6, 2, 3, 3, 40, 40),
    labels={
        "object_color": ("white", "green", "red", "blue", "brown", "olive"),
        "object_shape": ("cone", "cube", "cylinder", "hexagonal", "pyramid", "sphere"),
        "object_size": ("small", "large"),
        "camera_height": ("top", "centre", "bottom"),
        "background_color": ("purple", "sea green", "salmon"),
    },
)

# The slice of Yadlin & Botchan, "Data Interpolation in Latent Space", with two degrees of freedom:
# white, cone, large, top, purple; 1,600 images. Every source with these factors begins there.
DEFAULT_FIXED: Mapping[str, int] = {
    "object_color": 0,
    "object_shape": 0,
    "object_size": 1,
    "camera_height": 0,
    "background_color": 0,
}
DEFAULT_FREE: tuple[str, ...] = ("horizontal_axis", "vertical_axis")
