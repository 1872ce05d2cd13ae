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
from jaxsurf.training import optimizer
from jaxsurf.training.objective import TERMS
from jaxsurf.workdir import fingerprint

# What members of one program may differ in: these are arguments of the update.
NUMBERS = (
    *(f"optimizer.{number}" for number in optimizer.NUMBERS),
    *(f"objective.{term}" for term in TERMS),
    *("corruption.", "targets.weight", "training.seed"),
)
# Settings whose change would make losses incomparable: features of different families differ.
FAMILY = ("objective.vgg", "objective.preparation", "objective.layers")
# File systems allow 255 bytes; names are ASCII, and a fingerprint may follow.
MOST_CHARACTERS = 200


@dataclass(frozen=True)
class Member:
    """One run of a grid: its name, fit for a folder; its settings; those that the grid gave it."""

    name: str
    config: RunConfig
    values: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """What the result depends on, the place of the images among it."""
        return configuration.decisive(self.config) | {"data.path": self.config.data.path}

    @property
    def program(self) -> str:
        """What members that can be trained together have in common."""
        shared = {n: value for n, value in self.settings.items() if not n.startswith(NUMBERS)}
        # A network for features is too dear to be run for members that ignore it.
        shared["features"] = bool(self.config.objective.perceptual)
        return json.dumps(shared, sort_keys=True)

    @property
    def objective(self) -> str:
        """The weighting of the terms, for people."""
        weights = self.config.objective.weights.items()
        return " + ".join(f"{weight:g} {name}" for name, weight in weights)


@dataclass(frozen=True)
class Grid:
    """Every combination of some settings' values; axes by their settings, commas between."""

    axes: Sequence[str]
    members: Sequence[Member]

    @property
    def groups(self) -> list[list[Member]]:
        """The members that share a program, in order of first appearance."""
        found: dict[str, list[Member]] = {}
        for member in self.members:
            found.setdefault(member.program, []).append(member)
        return list(found.values())


def make_grid(base: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> Grid:
    """Return the grid of axes by dotted name, the last varying fastest, on what all share.

    Settings that change together have commas between their names, and tuples of values.
    """
    names, steps = ",".join(axes).split(","), []
    for name in names:
        if name.startswith(FAMILY):
            raise UserError(
                f"the grid has an axis over {name}, but losses of different features can't stand "
                "in one column",
                cure="make a sweep for each",
            )
        if names.count(name) > 1:
            raise UserError(f"the grid has several axes over {name}", cure="name it in one of them")
    for name, values in axes.items():
        steps.append([each if isinstance(each, tuple) else (each,) for each in values])
        if {len(step) for step in steps[-1]} != {len(name.split(","))}:
            raise UserError(
                f"the grid's axis over {name} is {values}",
                cure="give a value for each name, at least once; several in tuples",
            )
    members: list[Member] = []
    known: dict[str, Member] = {}
    for combined in itertools.product(*steps):
        values = dict(zip(names, itertools.chain(*combined), strict=True))
        whole = "-".join(f"{name.partition('.')[2]}_{value}" for name, value in values.items())
        label = re.sub(r"[^A-Za-z0-9_.+-]+", "_", whole)[:MOST_CHARACTERS]
        # A name that can't be kept whole ends in a fingerprint.
        label = label if label == whole else f"{label}-{fingerprint(whole)}"
        member = Member(label, configuration.from_dotted({**base, **values}), values)
        for key in (label, json.dumps(member.settings, sort_keys=True)):
            if (other := known.setdefault(key, member)) is not member:
                raise UserError(
                    f"the grid holds {label} twice, first as {other.name}", cure="name values once"
                )
        members.append(member)
    return Grid(list(axes), members)


def from_dict(nested: Mapping[str, Any]) -> Grid:
    """Return the grid of a file of `configs/`: sections of settings, and axes under `grid`."""
    if "grid" not in nested:
        raise UserError("the file of --config holds no grid", cure="see configs/tiny_grid.py")
    base = configuration.flat(
        {name: each for name, each in nested.items() if each and name != "grid"}
    )
    return make_grid(base, dict(nested["grid"]))
