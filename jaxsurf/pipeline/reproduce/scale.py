"""How large a reproduction is: as the report's, or smaller so that a laptop ends it.

`small` thins both axes to every second value (400 images), shrinks images to 32 x 32, and trains
for fewer epochs. The learning rate falls at the same shares of the run as in the report.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jaxsurf.errors import UserError
from jaxsurf.pipeline import configuration, experiments
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.grid import Axis, Grid

Name = Literal["small", "full"]

SMALL_DATA: Mapping[str, object] = {"data.side": 32, "data.stride": 2}
SMALL_EPOCHS, SMALL_BATCH = 40, 16
# A batch of 8 for 20 epochs makes as many steps, with half the images through VGG16.
SMALL_PERCEPTUAL_EPOCHS, SMALL_PERCEPTUAL_BATCH = 20, 8
SMALL_GRID_EPOCHS = 15
# The grid of `small`: its noises alone.
SMALL_GRID_AXES = ("corruption.strength", "corruption.kind")
# Our model's epochs at full scale where a perceptual term slows learning down; else its default.
FULL_PERCEPTUAL_EPOCHS = 600


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large, and on which images.

    Attributes:
        name: `small` or `full`.
        mpi3d: MPI3D-toy's file; empty means the arm.
        num_pairs: random pairs that interpolations are scored on.
    """

    name: Name = "small"
    mpi3d: str = ""

    def __post_init__(self) -> None:
        if self.name not in ("small", "full"):
            raise UserError(f"--scale is {self.name!r}", cure="choose 'small' or 'full'")

    @property
    def num_pairs(self) -> int:
        """Random pairs that interpolations are scored on."""
        return 50 if self.name == "small" else 100

    def config(self, name: str, model: str) -> RunConfig:
        """Return the configuration of an experiment."""
        return configuration.from_dict(nested(self._settings(name, model)))

    def grid(self, model: str) -> Grid:
        """Return the grid search of a model."""
        base = dict(experiments.GRID_BASE) if model == "reference" else {"objective.mse": 4.0}
        axes = experiments.GRID_AXES
        if self.name == "small":
            base |= {"training.num_epochs": SMALL_GRID_EPOCHS, "training.batch_size": SMALL_BATCH}
            base |= _falling(model, experiments.GRID_BASE, SMALL_GRID_EPOCHS)
            axes = {axis: axes[axis] for axis in SMALL_GRID_AXES}
        elif model == "smooth":
            axes = {axis: axes[axis] for axis in SMALL_GRID_AXES}
        base |= {"graph.weight": "latent"}
        made = tuple(
            Axis(
                tuple(names.split(",")), tuple(v if isinstance(v, tuple) else (v,) for v in values)
            )
            for names, values in axes.items()
        )
        return Grid(nested(base | self._data()), made)

    def reduction(self, config: RunConfig, reference: RunConfig) -> str:
        """Return in what a run is less than the report's, in a few words; empty for `full`."""
        if self.name == "full":
            return ""
        return (
            f"400 of 1,600 poses, 32 x 32 pixels, {config.training.num_epochs} of "
            f"{reference.training.num_epochs} epochs"
        )

    def _settings(self, name: str, model: str) -> experiments.Settings:
        made = experiments.settings(name, model)
        perceptual = bool(made.get("objective.perceptual"))
        if self.name == "small":
            epochs = SMALL_PERCEPTUAL_EPOCHS if perceptual else SMALL_EPOCHS
            batch = SMALL_PERCEPTUAL_BATCH if perceptual else SMALL_BATCH
            made |= {"training.num_epochs": epochs, "training.batch_size": batch}
            made |= _falling(model, experiments.settings(name, model), epochs)
        elif model == "smooth" and perceptual:
            made |= {"training.num_epochs": FULL_PERCEPTUAL_EPOCHS}
        # The report's own graph, whichever the model; others are compared apart.
        return made | self._data() | {"graph.weight": "latent"}

    def _data(self) -> experiments.Settings:
        made = dict(SMALL_DATA) if self.name == "small" else {}
        return made | ({"data.source": "mpi3d_toy", "data.path": self.mpi3d} if self.mpi3d else {})


def _falling(model: str, made: Mapping[str, object], epochs: int) -> experiments.Settings:
    """Return after how many epochs the learning rate falls, if a run lasts so many."""
    if model != "reference":
        return {}
    falls = int(str(made["training.num_epochs"])) // int(str(made["optimizer.step_epochs"]))
    return {"optimizer.step_epochs": max(1, epochs // falls)}


def nested(dotted: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Return settings by dotted name as sections."""
    sections: dict[str, dict[str, object]] = {}
    for name, value in dotted.items():
        section, _, setting = name.partition(".")
        sections.setdefault(section, {})[setting] = value
    return sections
