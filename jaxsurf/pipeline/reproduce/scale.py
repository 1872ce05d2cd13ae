"""How large a reproduction is: as the report's, or smaller so that a laptop ends it.

`small` keeps every second value of both axes (400 images), shrinks images to 32 x 32, and trains
for fewer epochs. The learning rate falls at the same shares of the run as in the report.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from jaxsurf.errors import UserError
from jaxsurf.pipeline import configuration, experiments, grid
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.experiments import Settings
from jaxsurf.pipeline.grid import Grid

Name = Literal["small", "full"]

SMALL_DATA: Mapping[str, object] = {"data.side": 32, "data.stride": 2}
# Epochs and batch size.
SMALL = (40, 16)
# A batch of 8 for 20 epochs makes as many steps, with half the images through VGG16.
SMALL_PERCEPTUAL = (20, 8)
# Our combination is set beside MSE alone, so it is trained on as many images.
AS_LONG_AS_MSE = "combined_99_1"
# Three times as many images an epoch.
SMALL_THIRD_FACTOR = (16, 16)
# Six runs a model, in half the steps of the others.
SMALL_GRID = (10, 8)
# The rate of the report's long runs would not get far in a three-hundredth of their epochs.
SMALL_LONG_RATE = 3e-3
# Our model's epochs at full scale where a perceptual term slows learning down; else its default.
FULL_PERCEPTUAL_EPOCHS = 600
# As many as an evaluation has by default, and half of them.
NUM_PAIRS: Mapping[Name, int] = {"small": 50, "full": 100}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large, and on which images.

    Attributes:
        name: `small` or `full`.
        mpi3d: MPI3D-toy's file; empty means the arm.
    """

    name: Name = "small"
    mpi3d: str = ""

    def __post_init__(self) -> None:
        if self.name not in get_args(Name):
            raise UserError(f"--scale is {self.name!r}", cure="choose 'small' or 'full'")

    @property
    def num_pairs(self) -> int:
        """Random pairs that interpolations are scored on."""
        return NUM_PAIRS[self.name]

    def config(self, name: str, model: str) -> RunConfig:
        """Return the configuration of an experiment."""
        settings = experiments.settings(name, model) | self._shared()
        experiment = experiments.EXPERIMENTS[name]
        if self.name == "full":
            made = configuration.from_dotted(settings)
            slow = model == "smooth" and experiment.perceptual
            return configuration.lasting(made, FULL_PERCEPTUAL_EPOCHS) if slow else made
        if experiment.three_factors:
            settings = _shortened(settings, *SMALL_THIRD_FACTOR)
        elif experiment.perceptual and name != AS_LONG_AS_MSE:
            settings = _shortened(settings, *SMALL_PERCEPTUAL)
        else:
            settings = _shortened(settings, *SMALL)
        if model == "reference" and experiment.recipe is experiments.LONG:
            settings["optimizer.learning_rate"] = SMALL_LONG_RATE
        return configuration.from_dotted(settings)

    def grid(self, model: str) -> Grid:
        """Return the grid search of a model; of noises alone if it is small or the model ours."""
        base: Settings = {"objective.mse": experiments.SYMMETRIC} | self._shared()
        if model == "reference":
            base = {**experiments.GRID_BASE, **base}
        axes = experiments.GRID_AXES
        if self.name == "small":
            base = _shortened(base, *SMALL_GRID)
        if self.name == "small" or model != "reference":
            axes = {name: axes[name] for name in ("corruption.strength", "corruption.kind")}
        return grid.make_grid(base, axes)

    def _shared(self) -> Settings:
        """Return the images, and the report's own graph: others are compared apart."""
        made: Settings = {"graph.weight": "latent"}
        made |= SMALL_DATA if self.name == "small" else {}
        return made | ({"data.source": "mpi3d_toy", "data.path": self.mpi3d} if self.mpi3d else {})


def _shortened(settings: Settings, epochs: int, batch_size: int) -> Settings:
    """Return settings with so many epochs; the learning rate falls at the same shares of them."""
    shorter = configuration.lasting(configuration.from_dotted(settings), epochs)
    return settings | {
        "training.num_epochs": epochs,
        "training.batch_size": batch_size,
        "optimizer.step_epochs": shorter.optimizer.step_epochs,
    }
