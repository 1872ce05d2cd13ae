"""The trained runs of a reproduction: each in a folder of its own, trained once."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline import configuration, experiments, outcome, resumption, train, trained
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.outcome import Outcome
from jaxsurf.pipeline.reproduce import measures
from jaxsurf.pipeline.reproduce.measures import Measures
from jaxsurf.pipeline.reproduce.scale import Scale
from jaxsurf.pipeline.trained import TrainedRun
from jaxsurf.training.losses import Diverged
from jaxsurf.workdir import WorkDir

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One experiment with one model.

    Attributes:
        name: of the experiment.
        model: whose recipe.
        config: of the run.
        folder: its working directory.
        scale: of the reproduction.
        outcome: how its training ended.
    """

    name: str
    model: str
    config: RunConfig
    folder: Path
    scale: Scale
    outcome: Outcome

    @cached_property
    def opened(self) -> TrainedRun:
        """The run with its weights."""
        return trained.open_run(self.folder)

    @cached_property
    def measures(self) -> Measures | None:
        """What was measured; None where training collapsed or diverged."""
        if not self.outcome.good:
            return None
        return measures.measure(self.opened, num_pairs=self.scale.num_pairs)


Runs = dict[tuple[str, str], Run]


def train_all(scale: Scale, root: Path, *, shown: bool) -> Runs:
    """Train every experiment but the noises, which are the grid's, with both models.

    Args:
        scale: how large.
        root: the folder of the reproduction.
        shown: draw progress bars.

    Returns:
        The runs by experiment and model; one that collapsed or diverged is among them.
    """
    asked = list(_asked(scale))
    opened: dict[str, ImageSet] = {}
    runs: Runs = {}
    for number, (name, model, config) in enumerate(asked):
        folder = root / "runs" / f"{model}-{name}"
        _log.info("%d of %d: %s with %s", number + 1, len(asked), name, model)
        data = str(config.data)
        if outcome.read(WorkDir(folder)) is None and data not in opened:
            opened[data] = configuration.open_data(config.data)
        ended = _end(config, folder, opened.get(data), shown=shown)
        runs[name, model] = Run(
            name=name, model=model, config=config, folder=folder, scale=scale, outcome=ended
        )
    return runs


def _asked(scale: Scale) -> Iterator[tuple[str, str, RunConfig]]:
    for name in experiments.EXPERIMENTS:
        if not name.startswith("noise_"):
            for model in experiments.MODELS:
                yield name, model, scale.config(name, model)


def _end(config: RunConfig, folder: Path, images: ImageSet | None, *, shown: bool) -> Outcome:
    """Return how a run ended; train it, or go on training it, if it has not."""
    workdir = WorkDir(folder)
    resumption.check_settings(workdir, config, extend=False)
    ended = outcome.read(workdir)
    if ended is not None or images is None:
        assert ended is not None, "images are opened for every run that has not ended"
        return ended
    try:
        run = train.train_on(images, config, folder, shown=shown)
    except Diverged as error:
        return outcome.write(workdir, Outcome(state="diverged", message=str(error)))
    return outcome.judge(workdir, config, images, run.model)
