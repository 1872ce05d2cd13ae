"""A grid of runs: every combination of some settings' values on top of a common configuration."""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxsurf.errors import UserError
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.workdir import fingerprint

# What members of one program may differ in: these are arguments of the update.
NUMBERS = (
    "optimizer.learning_rate",
    "optimizer.weight_decay",
    "corruption.kind",
    "corruption.strength",
    "objective.mse",
    "objective.l1",
    "objective.bce",
    "objective.perceptual",
    "training.seed",
)
# Of what does not count when a run resumes, the one that says which images are trained on.
PATH = "data.path"
# File systems allow 255 bytes; names are ASCII, and a fingerprint may follow.
MOST_CHARACTERS = 200
# Settings whose change would make losses incomparable: features of different families differ.
FAMILY = ("objective.vgg", "objective.preparation", "objective.layers")


@dataclass(frozen=True)
class Axis:
    """Settings that change together, and the values that they take.

    Attributes:
        names: dotted.
        values: one tuple a step, with a value for each name.
    """

    names: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]

    def __post_init__(self) -> None:
        for name in self.names or ("nothing",):
            over = f"the grid has an axis over {name}"
            if name not in configuration.names():
                raise UserError(over, cure="name settings, such as training.batch_size")
            if name != PATH and name.startswith(configuration.FREE_TO_CHANGE):
                raise UserError(
                    f"{over}, but training does not depend on it", cure="set it for all runs"
                )
            if name.startswith(FAMILY):
                raise UserError(
                    f"{over}, but perceptual losses of different features can't stand in one "
                    "column",
                    cure="make a sweep for each",
                )
        wrong = [step for step in self.values if len(step) != len(self.names)]
        if wrong or not self.values:
            raise UserError(
                f"the grid's axis over {', '.join(self.names)} has "
                f"{wrong[0] if wrong else 'no values'}",
                cure="give tuples with a value for each name, at least one",
            )


@dataclass(frozen=True)
class GridMember:
    """One run of a grid.

    Attributes:
        name: tells it from the others; fit for a folder.
        config: all its settings.
        values: those that the grid gave it, by dotted name.
    """

    name: str
    config: RunConfig
    values: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """What the result depends on, the place of the images among it."""
        return configuration.decisive(self.config) | {PATH: self.config.data.path}

    @property
    def program(self) -> str:
        """What members that can be trained together have in common."""
        shared = {name: value for name, value in self.settings.items() if name not in NUMBERS}
        # A network for features is too dear to be run for members that ignore it.
        shared["perceptual"] = bool(self.config.objective.perceptual)
        return json.dumps(shared, sort_keys=True)


@dataclass(frozen=True)
class Grid:
    """A common configuration and the axes on top of it.

    Attributes:
        base: nested settings.
        axes: the last one varies fastest.
    """

    base: Mapping[str, Any]
    axes: tuple[Axis, ...]

    def __post_init__(self) -> None:
        if not self.axes:
            raise UserError("the grid has no axis", cure="name a setting and its values")
        names = [name for axis in self.axes for name in axis.names]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise UserError(
                f"the grid has several axes over {twice[0]}", cure="give its values in one place"
            )

    def members(self) -> list[GridMember]:
        """Return every combination.

        Raises:
            UserError: a value is wrong, or two members are the same.
        """
        made = [self._member(steps) for steps in itertools.product(*(a.values for a in self.axes))]
        known: dict[str, GridMember] = {}
        for member in made:
            for key in (member.name, json.dumps(member.settings, sort_keys=True)):
                other = known.setdefault(key, member)
                if other is not member:
                    same = "" if other.name == member.name else f", once as {other.name}"
                    raise UserError(
                        f"the grid holds {member.name} twice{same}", cure="name values once"
                    )
        return made

    def groups(self) -> list[list[GridMember]]:
        """Return the members that share a program, in order of first appearance."""
        found: dict[str, list[GridMember]] = {}
        for member in self.members():
            found.setdefault(member.program, []).append(member)
        return list(found.values())

    def _member(self, steps: Sequence[tuple[Any, ...]]) -> GridMember:
        names = [name for axis in self.axes for name in axis.names]
        values = dict(zip(names, itertools.chain(*steps), strict=True))
        nested = {section: dict(settings) for section, settings in self.base.items()}
        for name, value in values.items():
            section, _, setting = name.partition(".")
            nested.setdefault(section, {})[setting] = value
        whole = "-".join(f"{name.partition('.')[2]}_{value}" for name, value in values.items())
        name = re.sub(r"[^A-Za-z0-9_.+-]+", "_", whole)[:MOST_CHARACTERS]
        # A name that can't be kept whole ends in a fingerprint.
        name = name if name == whole else f"{name}-{fingerprint(whole)}"
        return GridMember(name, configuration.from_dict(nested), values)


def make_grid(base: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> Grid:
    """Return the grid of settings by dotted name.

    Args:
        base: what all members share.
        axes: values by name; names that change together have commas between, and tuples of values.

    Raises:
        UserError: an axis is over no setting, or has no such values.
    """
    return from_dict(configuration.nested(base) | {"grid": axes.items()})


def from_dict(nested: Mapping[str, Any]) -> Grid:
    """Return the grid of a file of `configs/`: sections, and axes under `grid`.

    Raises:
        UserError: as `make_grid` does, or there is no grid.
    """
    if "grid" not in nested:
        raise UserError("the file of --config holds no grid", cure="see configs/tiny_grid.py")
    axes = tuple(
        Axis(
            tuple(names.split(",")),
            tuple(value if isinstance(value, tuple) else (value,) for value in values),
        )
        for names, values in nested["grid"]
    )
    return Grid({name: section for name, section in nested.items() if name != "grid"}, axes)
