"""A set of images: pixels, factors where they are known, names, and a fingerprint.

Images follow the convention of `jaxsurf.images.pixels`: uint8, NHWC, RGB. The order of a set is
its identity: latent codes, graphs and paths refer to images by their number in it.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Real, UInt8

from jaxsurf import mapped, workdir
from jaxsurf.errors import UserError
from jaxsurf.images import cache, pixels
from jaxsurf.images import factors as factor_grid


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in a fixed order, which nobody can write to.

    Args:
        images: the pixels, in memory or mapped from a file (`jaxsurf.mapped`).
        name: what a person would call the set; error messages and reports say it.
        factors: the factor values of each image, where they are known.
        factor_names: one name a column of `factors`.
        image_names: one name an image, where they have names of their own, as files have.
        recipe: what the pixels follow from together with the factors, where they are computed;
            it stands for them in the fingerprint, since rounding differs between machines.

    Raises:
        UserError: the pixels do not follow the convention, or the lengths do not agree.
    """

    images: UInt8[np.ndarray, "image height width 3"]
    name: str
    factors: Real[np.ndarray, "image factor"] | None = None
    factor_names: tuple[str, ...] = ()
    image_names: tuple[str, ...] = ()
    recipe: str = ""

    def __post_init__(self) -> None:
        pixels.check(self.images, origin=self.name)
        self._check_factors()
        if self.image_names and len(self.image_names) != len(self):
            raise UserError(f"{self.name} has {len(self)} images, {len(self.image_names)} names")
        # A cached fingerprint holds only as long as nobody changes what it was taken of.
        frozen = self.images.view()
        frozen.flags.writeable = False
        object.__setattr__(self, "images", frozen)

    def __len__(self) -> int:
        return len(self.images)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Fingerprint of pixels (or their recipe), factors and order; other names don't count.

        That of a file is kept in the cache: reading a large one takes minutes.
        """
        content = self.recipe or self.images
        others = () if self.factors is None else (self.factors, *self.factor_names)
        origin = "" if self.recipe else mapped.identity(self.images)
        if not origin:
            return workdir.fingerprint(content, *others)
        made_of = workdir.fingerprint(origin, *others)
        kept = cache.remembered(
            lambda: np.array(workdir.fingerprint(content, *others)),
            name=f"fingerprint-{made_of}",
            made_of=made_of,
        )
        return str(kept)

    def select(
        self,
        *,
        fixed: Mapping[str, int | float] | None = None,
        free: Sequence[str] = (),
        stride: int = 1,
    ) -> "ImageSet":
        """Return the images whose fixed factors have the given values, in this set's order.

        Args:
            fixed: the value of each factor that is held.
            free: the factors that vary; one that has a single value here may be left out of both.
                With `fixed` empty too, all of them.
            stride: keeps every stride-th of the values that each free factor takes in the slice,
                as `factors.thinned` does.

        Raises:
            UserError: the set has no factors, a name or value is unknown, a factor is in both or
                in neither, the stride is below 1 or thins no factor, or no image is left.
        """
        held = dict(fixed or {})
        if not held and not free and stride == 1:
            return self
        if self.factors is None:
            raise UserError(
                f"{self.name} has no factors to pick a slice by",
                cure="leave out fixed, free and stride",
            )
        free = free if held or free else self.factor_names
        factor_grid.check_names(self.factor_names, held, free)
        kept = np.ones(len(self), dtype=bool)
        for name, column in zip(self.factor_names, self.factors.T, strict=True):
            kept &= _matches(name, column, held, free)
        if not kept.any():
            raise UserError(f"no image of {self.name} has {held} at once")
        varying = [self.factor_names.index(name) for name in free]
        kept[kept] = _on_stride(self.factors[kept][:, varying], stride)
        if not kept.any():
            raise UserError(
                f"a stride of {stride} leaves no image of {self.name}, whose factors form no grid",
                cure="choose a smaller one",
            )
        return self._subset(kept)

    def _subset(self, kept: Bool[np.ndarray, " image"]) -> "ImageSet":
        """Return the images marked in `kept`; those in a row stay where they are."""
        numbers = np.flatnonzero(kept)
        first, last = numbers[0], numbers[-1]
        in_a_row = last - first + 1 == len(numbers)
        return ImageSet(
            images=self.images[first : last + 1] if in_a_row else mapped.take(self.images, numbers),
            name=self.name,
            factors=None if self.factors is None else self.factors[kept],
            factor_names=self.factor_names,
            image_names=tuple(np.array(self.image_names)[kept]) if self.image_names else (),
            recipe=self.recipe,
        )

    def _check_factors(self) -> None:
        """Refuse factors that do not fit the images or their names."""
        if self.factors is None:
            if self.factor_names:
                raise UserError(f"{self.name} names factors but has no values of them")
            return
        expected = (len(self), len(self.factor_names))
        if self.factors.shape != expected:
            raise UserError(
                f"the factors of {self.name} have shape {self.factors.shape}, expected {expected}",
                cure="give one row an image and one name a column",
            )


def _matches(
    name: str,
    column: Real[np.ndarray, " image"],
    fixed: Mapping[str, int | float],
    free: Sequence[str],
) -> Bool[np.ndarray, " image"]:
    """Return which images one factor lets into a slice."""
    values = np.unique(column)
    if name in fixed:
        matching = column == fixed[name]
        if not np.any(matching):
            raise UserError(
                f"{name} has no value {fixed[name]!r}", cure=f"choose from {_listed(values)}"
            )
        return matching
    if name in free or len(values) == 1:
        return np.ones(len(column), dtype=bool)
    raise factor_grid.undecided(name, len(values))


def _on_stride(
    columns: Real[np.ndarray, "image factor"], stride: int
) -> Bool[np.ndarray, " image"]:
    """Return which images have, of every factor given, a value that a stride keeps."""
    scales = [np.unique(column) for column in columns.T]
    factor_grid.check_stride(stride, [len(values) for values in scales])
    kept = np.ones(len(columns), dtype=bool)
    for column, values in zip(columns.T, scales, strict=True):
        kept &= np.isin(column, factor_grid.thinned(values, stride))
    return kept


def _listed(values: Real[np.ndarray, " value"]) -> str:
    """Return values as text, the middle of a long list left out."""
    texts = [f"{value:g}" for value in values]
    # Ten fit on a line; beyond that the two ends say what the scale is.
    return ", ".join(texts if len(texts) <= 10 else [*texts[:3], "...", *texts[-2:]])
