"""A grid of runs: every combination of some settings' values on top of a common configuration."""

import dataclasses
import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxsurf.errors import UserError
from jaxsurf.pipeline.run import configuration
from jaxsurf.pipeline.run.configuration import RunConfig
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
        unknown = [name for name in self.names if name not in configuration.names()]
        if unknown or not self.names:
            raise UserError(
                f"the grid has an axis over {', '.join(unknown) or 'nothing'}",
                cure="name settings, such as training.batch_size",
            )
        idle = [name for name in self.names if not _counts(name)]
        if idle:
            raise UserError(
                f"the grid has an axis over {idle[0]}, but training does not depend on it",
                cure="set it for all runs",
            )
        family = [name for name in self.names if name.startswith(FAMILY)]
        if family:
            raise UserError(
                f"the grid has an axis over {family[0]}, but perceptual losses of different "
                "features can't stand in one column",
                cure="make a sweep for each",
            )
        wrong = [step for step in self.values if len(step) != len(self.names)]
        if wrong or not self.values:
            raise UserError(
                f"the grid's axis over {', '.join(self.names)} has "
                f"{wrong[0] if wrong else 'no values'}",
                cure="give tuples with a value for each name, at least one",
            )


def make_grid(base: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> "Grid":
    """Return the grid of settings by dotted name.

    Args:
        base: what all members share.
        axes: values by name; names that change together have commas between, and tuples of values.

    Raises:
        UserError: an axis is over no setting, or has no such values.
    """
    made = (
        Axis(
            tuple(names.split(",")),
            tuple(value if isinstance(value, tuple) else (value,) for value in values),
        )
        for names, values in axes.items()
    )
    return Grid(configuration.nested(base), tuple(made))


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
    def program(self) -> str:
        """What members that can be trained together have in common."""
        shared = {name: value for name, value in self._settings() if name not in NUMBERS}
        # A network for features is too dear to be run for members that ignore it.
        shared["perceptual"] = bool(self.config.objective.perceptual)
        return json.dumps(shared, sort_keys=True)

    @property
    def identity(self) -> str:
        """What two runs have in common whose results are the same."""
        return json.dumps(dict(self._settings()), sort_keys=True)

    def _settings(self) -> list[tuple[str, Any]]:
        """Return the settings that the result depends on, its images' place among them."""
        return [*configuration.decisive(self.config).items(), (PATH, self.config.data.path)]


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
        names = Counter(name for axis in self.axes for name in axis.names)
        twice = [name for name, count in names.items() if count > 1]
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
        for member, key in ((each, key) for each in made for key in (each.identity, each.name)):
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

    def _member(self, steps: tuple[tuple[Any, ...], ...]) -> GridMember:
        values = {
            name: value
            for axis, step in zip(self.axes, steps, strict=True)
            for name, value in zip(axis.names, step, strict=True)
        }
        nested = {section: dict(settings) for section, settings in self.base.items()}
        for name, value in values.items():
            section, _, setting = name.partition(".")
            nested.setdefault(section, {})[setting] = value
        config = configuration.from_dict(nested)
        return GridMember(_name(values), config, values)


def every_epoch(config: RunConfig, *, num_images: int) -> RunConfig:
    """Return the same run with one line of metrics an epoch: the last is the last epoch's mean."""
    steps = -(-num_images // config.training.batch_size)
    training = dataclasses.replace(config.training, log_every=steps)
    return dataclasses.replace(config, training=training)


def _counts(name: str) -> bool:
    """Return whether the result of a run depends on a setting."""
    return name == PATH or not name.startswith(configuration.FREE_TO_CHANGE)


def _name(values: Mapping[str, Any]) -> str:
    """Return values as the name of a folder; one that can't be kept whole ends in a fingerprint."""
    whole = "-".join(f"{name.partition('.')[2]}_{value}" for name, value in values.items())
    name = re.sub(r"[^A-Za-z0-9_.+-]+", "_", whole)[:MOST_CHARACTERS]
    return name if name == whole else f"{name}-{fingerprint(whole)}"
