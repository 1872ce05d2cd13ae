"""A grid of runs: every combination of some settings' values on top of a common configuration."""

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxsurf.errors import UserError
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.configuration import RunConfig

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
        shared = {
            name: value
            for name, value in configuration.decisive(self.config).items()
            if name not in NUMBERS
        }
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

    def members(self) -> list[GridMember]:
        """Return every combination.

        Raises:
            UserError: a value is wrong, or two members are the same.
        """
        made = [self._member(steps) for steps in itertools.product(*(a.values for a in self.axes))]
        names = [member.name for member in made]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"the grid holds {twice or 'one run'} twice", cure="name values once")
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
            nested[section][setting] = value
        config = configuration.from_dict(nested)
        return GridMember(_name(values), config, values)


def every_epoch(config: RunConfig, *, num_images: int) -> RunConfig:
    """Return the same run with one line of metrics an epoch: the last is the last epoch's mean."""
    steps = -(-num_images // config.training.batch_size)
    training = dataclasses.replace(config.training, log_every=steps)
    return dataclasses.replace(config, training=training)


def _name(values: Mapping[str, Any]) -> str:
    """Return values as the name of a folder."""
    parts = [f"{name.partition('.')[2]}_{value}" for name, value in values.items()]
    return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", part) for part in parts)
