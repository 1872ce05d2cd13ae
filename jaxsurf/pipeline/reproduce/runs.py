"""The trained runs of a reproduction: each in a folder of its own, trained once."""

import dataclasses
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jaxsurf.errors import UserError
from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline import configuration, experiments, sweep
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.reproduce.scale import Scale
from jaxsurf.pipeline.run import TrainedRun, check_images, check_settings, open_run
from jaxsurf.pipeline.sweep import Outcome
from jaxsurf.workdir import WorkDir, read_json, write_json

FILE = "reproduction.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One experiment with one model, trained.

    Attributes:
        name: of the experiment.
        model: whose recipe.
        config: of the run.
        workdir: where it lies.
        outcome: how its training ended.
    """

    name: str
    model: str
    config: RunConfig
    workdir: WorkDir
    outcome: Outcome

    @property
    def about(self) -> str:
        """What the experiment is, in a few words."""
        return experiments.EXPERIMENTS[self.name].about

    @cached_property
    def opened(self) -> TrainedRun:
        """The run with its weights; opened once, since several stages need it."""
        return open_run(self.workdir.root)


Key = tuple[str, str]
Runs = dict[Key, Run]


def train_all(scale: Scale, root: Path, *, shown: bool) -> Runs:
    """Train every experiment but the noises, which are the grid's, with both models.

    Args:
        scale: how large.
        root: the folder of the reproduction.
        shown: draw progress bars.

    Returns:
        The runs by experiment and model; one that collapsed or diverged is among them.

    Raises:
        UserError: the folder holds another reproduction, or other images than now.
    """
    check_scale(scale, root)
    asked = {
        (name, model): scale.config(name, model)
        for name in experiments.EXPERIMENTS
        if not name.startswith("noise_")
        for model in experiments.MODELS
    }
    opened: dict[str, ImageSet] = {}
    runs: Runs = {}
    for number, ((name, model), config) in enumerate(asked.items()):
        workdir = WorkDir(root / "runs" / f"{model}-{name}")
        data = str(config.data)
        if data not in opened:
            opened[data] = configuration.open_data(config.data)
        check_settings(workdir, config, extend=None)
        check_images(workdir, config, opened[data])
        ended = sweep.read_outcome(workdir)
        if ended is None:
            _log.info("%d of %d: %s with %s", number + 1, len(asked), name, model)
            ended = sweep.train_and_judge(opened[data], config, workdir, shown=shown)
        runs[name, model] = Run(
            name=name, model=model, config=config, workdir=workdir, outcome=ended
        )
    return runs


def check_scale(scale: Scale, root: Path) -> None:
    """Refuse a folder in which a reproduction of another scale or source was begun; else note it.

    Raises:
        UserError: there is one.
    """
    path, asked = WorkDir(root).check_writable().root / FILE, dataclasses.asdict(scale)
    # The file may have been moved: its images are compared apart.
    asked["mpi3d"] = bool(scale.mpi3d)
    begun = read_json(path, cure="remove it if nothing else is there") if path.exists() else asked
    for name, flag in (("name", "--scale"), ("mpi3d", "--mpi3d")):
        if begun.get(name) != asked[name]:
            raise UserError(
                f"{root} holds a reproduction begun with {flag}={begun.get(name)}, not "
                f"{asked[name]}",
                cure="use that again, or a new --workdir",
            )
    write_json(path, asked)
