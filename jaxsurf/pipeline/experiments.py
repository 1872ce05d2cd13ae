"""The report's experiments by name, as settings; `experiments.toml` lists them.

Two recipes for each: `reference` is the report's model, trained as its authors' score table says;
`smooth` is our model, trained in our way for what the experiment is about.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxsurf.errors import check_choice
from jaxsurf.images.image_set import DEFAULT_FIXED, DEFAULT_FREE

Settings = dict[str, object]

MODELS = ("reference", "smooth")
# Ours for the arm's 1,600 images: 7,000 steps, since it begins by target codes.
ARM: Settings = {"training.num_epochs": 70}
# Squared errors on [-1, 1], in units of those on [0, 1].
SYMMETRIC = 4.0

_listed = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
RECIPES: Mapping[str, Mapping[str, object]] = _listed["recipes"]
REFERENCE, ALL_FACTORS = RECIPES["reference"], RECIPES["all_factors"]
GRID_BASE = {**REFERENCE, **RECIPES["short"]}
GRID_AXES: Mapping[str, tuple[Any, ...]] = {
    name: tuple(tuple(each) if isinstance(each, list) else each for each in values)
    for name, values in _listed["grid"].items()
}
NOISES = {
    f"{kind}_{strength}": {"corruption.kind": kind, "corruption.strength": strength}
    for kind in GRID_AXES["corruption.kind"]
    for strength in GRID_AXES["corruption.strength"]
}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One of the report's experiments; `experiments.toml` says what is what."""

    about: str
    shared: Mapping[str, object] = field(default_factory=dict)
    free: str = ""
    recipe: str = "reference"
    own: Mapping[str, object] = field(default_factory=dict)


EXPERIMENTS: Mapping[str, Experiment] = {
    name: Experiment(**values) for name, values in _listed["experiments"].items()
} | {
    f"noise_{name}": Experiment(
        about=f"noise {name.replace('_', ' ')}", shared=noise, recipe="short"
    )
    for name, noise in NOISES.items()
}


def third_factor(name: str) -> Settings:
    """Return the settings with one more factor free, besides the two axes."""
    fixed = ",".join(f"{key}={value}" for key, value in DEFAULT_FIXED.items() if key != name)
    free = ",".join((name, *DEFAULT_FREE))
    return {"data.fixed": fixed, "data.free": free, "model.latent_dim": 3}


def settings(name: str, model: str) -> Settings:
    """Return what an experiment changes in the defaults, with a model in `MODELS`."""
    check_choice("experiment", name, EXPERIMENTS)
    check_choice("model", model, MODELS)
    experiment = EXPERIMENTS[name]
    # Losses are compared with the report's, which knew no targets.
    shared = {**experiment.shared, "targets.kind": "off"}
    shared |= third_factor(experiment.free) if experiment.free else {}
    if model == "reference":
        return {**REFERENCE, **RECIPES[experiment.recipe], **experiment.own, **shared}
    return {"objective.mse": SYMMETRIC, **shared}
