"""The report's experiments by name, as settings.

Two recipes for each: `reference` is the report's model, trained as its authors' score table says;
`smooth` is our model, trained in our way for what the experiment is about. A weight of 4 on squared
errors in [0, 1] is the report's weight of 1 on [-1, 1], so a pair (a, b) of the report stands here
as (4 a, b). Sources: Yadlin & Botchan, "Data Interpolation in Latent Space", and the score table
beside its authors' code.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxsurf.errors import UserError
from jaxsurf.images.image_set import DEFAULT_FIXED, DEFAULT_FREE, MPI3D

Settings = dict[str, object]

MODELS = ("reference", "smooth")
# Squared errors on [-1, 1], in units of those on [0, 1].
SYMMETRIC = 4.0

REFERENCE: Mapping[str, object] = {
    "model.name": "reference",
    "model.channels": 64,
    "corruption.kind": "normal",
    "corruption.strength": 0.2,
    "objective.mse": SYMMETRIC,
    "optimizer.name": "reference",
    "optimizer.learning_rate": 1e-2,
    "optimizer.weight_decay": 1e-5,
    "optimizer.step_epochs": 150,
    "training.num_epochs": 600,
    "training.batch_size": 16,
    "training.seed": 42,
    "graph.weight": "latent",
}
# The score table's long runs with perceptual loss: slowly, since a rate of 1e-2 made three of ten
# collapse.
LONG: Mapping[str, object] = {
    "model.channels": 128,
    "optimizer.learning_rate": 1e-3,
    "optimizer.step_epochs": 3000,
    "training.num_epochs": 6000,
}
SHORT: Mapping[str, object] = {
    "optimizer.step_epochs": 75,
    "training.num_epochs": 300,
    "training.batch_size": 4,
}
# The report's grid search: 162 runs.
GRID_BASE: Mapping[str, object] = {**REFERENCE, **SHORT}
GRID_AXES: Mapping[str, tuple[object, ...]] = {
    "training.batch_size": (4, 8, 16),
    "objective.mse,objective.perceptual": (
        (SYMMETRIC, 0.0),
        (0.7 * SYMMETRIC, 0.3),
        (0.0, 1.0),
    ),
    "model.channels": (64, 128, 256),
    "corruption.strength": (0.1, 0.2, 0.5),
    "corruption.kind": ("normal", "white"),
}
# All of MPI3D: seven factors, and a dimension for each and one to spare. Batches for accelerators.
# Every point has ten neighbours and, since the smallest k that connects a million
# points would be that of the loneliest, a spanning tree.
ALL_FACTORS: Mapping[str, object] = {
    "data.source": "mpi3d_toy",
    "data.free": ",".join(MPI3D.names),
    "model.latent_dim": 8,
    "training.num_epochs": 20,
    "training.batch_size": 512,
    "graph.kind": "knn",
    "graph.k": 10,
    "graph.spanning_tree": True,
}
NOISES = tuple(
    (kind, strength)
    for kind in GRID_AXES["corruption.kind"]
    for strength in GRID_AXES["corruption.strength"]
)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One of the report's experiments.

    Attributes:
        about: what it is, in a few words.
        shared: settings that make it this experiment, whichever the model.
        recipe: how the report trained it, where that differs from `REFERENCE`.
    """

    about: str
    shared: Mapping[str, object]
    recipe: Mapping[str, object]

    @property
    def perceptual(self) -> bool:
        """Whether features are compared, which takes many times as long as pixels alone."""
        return bool(self.shared.get("objective.perceptual"))

    @property
    def three_factors(self) -> bool:
        """Whether three factors vary: three times as many images."""
        return "data.free" in self.shared


def _losses(a: float, b: float) -> Settings:
    return {"objective.mse": SYMMETRIC * a, "objective.perceptual": b}


def third_factor(name: str) -> Settings:
    """Return the settings with one more factor free, besides the two axes."""
    fixed = ",".join(f"{key}={value}" for key, value in DEFAULT_FIXED.items() if key != name)
    free = ",".join((name, *DEFAULT_FREE))
    return {"data.fixed": fixed, "data.free": free, "model.latent_dim": 3}


WHITE: Settings = {"corruption.kind": "white"}
BATCH_8: Settings = {"training.batch_size": 8}

EXPERIMENTS: Mapping[str, Experiment] = {
    "mse_2d": Experiment(about="MSE alone", shared={}, recipe=BATCH_8),
    "perceptual_2d": Experiment(
        about="perceptual loss alone", shared=_losses(0.0, 1.0), recipe=LONG
    ),
    "combined_70_30": Experiment(
        about="0.7 MSE + 0.3 perceptual", shared=_losses(0.7, 0.3), recipe=LONG
    ),
    "combined_30_70": Experiment(
        about="0.3 MSE + 0.7 perceptual",
        shared=_losses(0.3, 0.7),
        recipe={**SHORT, "corruption.strength": 0.1},
    ),
    "combined_99_1": Experiment(
        about="0.99 MSE + 0.01 perceptual, ours", shared=_losses(0.99, 0.01), recipe=LONG
    ),
    "mse_3d": Experiment(
        about="MSE alone, 3-D latent space", shared={"model.latent_dim": 3}, recipe={}
    ),
    "camera_height": Experiment(
        about="camera height as third factor",
        shared=third_factor("camera_height"),
        recipe={**BATCH_8, **WHITE},
    ),
    "background_color": Experiment(
        about="background colour as third factor",
        shared=third_factor("background_color"),
        recipe={**BATCH_8, **WHITE},
    ),
} | {
    f"noise_{kind}_{strength}": Experiment(
        about=f"noise {strength} {kind}",
        shared={"corruption.kind": kind, "corruption.strength": strength},
        recipe=SHORT,
    )
    for kind, strength in NOISES
}


def settings(name: str, model: str) -> Settings:
    """Return what an experiment changes in the defaults, by dotted name.

    Args:
        name: in `EXPERIMENTS`.
        model: in `MODELS`.

    Raises:
        UserError: there is no such experiment or recipe.
    """
    if name not in EXPERIMENTS:
        raise UserError(
            f"there is no experiment {name!r}", cure=f"choose from {', '.join(EXPERIMENTS)}"
        )
    if model not in MODELS:
        raise UserError(
            f"there is no recipe for a model {model!r}", cure=f"choose from {', '.join(MODELS)}"
        )
    experiment = EXPERIMENTS[name]
    if model == "reference":
        return {**REFERENCE, **experiment.recipe, **experiment.shared}
    return {"objective.mse": SYMMETRIC, **experiment.shared}
