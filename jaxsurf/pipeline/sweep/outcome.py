"""How the run of a sweep's member ended, kept in its folder: what has an outcome is done."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from jaxsurf.errors import UserError
from jaxsurf.evaluation import metrics, reconstruction
from jaxsurf.images.image_set import ImageSet
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.pipeline.run import collapse, train
from jaxsurf.pipeline.run.collapse import Collapsed
from jaxsurf.pipeline.run.configuration import RunConfig
from jaxsurf.pipeline.sweep import grid
from jaxsurf.training import journal
from jaxsurf.training.losses import Diverged
from jaxsurf.workdir import WorkDir
from jaxsurf.writing import read_json, write_json

FILE = "outcome.json"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of a run.

    Attributes:
        state: `finished`, `collapsed` or `diverged`.
        message: what went wrong.
        losses: mean of each over the last epoch; none where the run diverged.
        mse: of the clean images' reconstructions, on [0, 1]; None where the run diverged.
        training_s: wall-clock time; that of the whole group where members were trained together;
            None where the run diverged.
        together: how many members shared that time.
    """

    state: str
    message: str = ""
    losses: dict[str, float] = dataclasses.field(default_factory=dict)
    mse: float | None = None
    training_s: float | None = None
    together: int = 1

    @property
    def good(self) -> bool:
        """Whether the run ended with a model that has learnt something."""
        return self.state == "finished"

    @property
    def psnr_db(self) -> float | None:
        """Of the reconstructions; None where there are none, or none that err."""
        return metrics.psnr_of_mse(self.mse) if self.mse else None


def train_and_judge(
    images: ImageSet, config: RunConfig, workdir: WorkDir, *, shown: bool
) -> Outcome:
    """Train a run, or go on training it, and write down how it ended.

    Args:
        images: those that `config.data` names.
        config: of the run; it logs once an epoch, so that the last line is the last epoch's mean.
        workdir: of the run.
        shown: draw a progress bar.

    Raises:
        UserError: as `train` does, but for a model that collapsed or diverged.
        Interrupted: as `train` does.
    """
    config = grid.every_epoch(config, num_images=len(images))
    try:
        run = train.train_on(images, config, workdir.root, shown=shown)
    except Diverged as error:
        return write(workdir, Outcome(state="diverged", message=str(error)))
    return judge(workdir, config, images, run.model)


def judge(
    workdir: WorkDir,
    config: RunConfig,
    images: ImageSet,
    model: Autoencoder,
    *,
    together: int = 1,
) -> Outcome:
    """Say how a run that reached its end ended, and write it down.

    Raises:
        UserError: its metrics are gone.
    """
    lines = journal.read(workdir.metrics)
    if not lines:
        raise UserError(
            f"{workdir.metrics} is missing or empty, so nobody knows what the losses were",
            cure=f"put it back, or remove {workdir.root}: the run is trained again",
        )
    last = lines[-1]
    state, message = "finished", ""
    try:
        collapse.check(model, images, config.objective)
    except Collapsed as error:
        state, message = "collapsed", str(error)
    return write(
        workdir,
        Outcome(
            state=state,
            message=message,
            losses={name: last[name] for name in config.objective.losses},
            mse=reconstruction.mean_mse(model, images.images),
            training_s=last["elapsed_s"],
            together=together,
        ),
    )


def write(workdir: WorkDir, outcome: Outcome) -> Outcome:
    """Write an outcome down, and return it."""
    write_json(workdir.root / FILE, dataclasses.asdict(outcome))
    return outcome


def read(workdir: WorkDir) -> Outcome | None:
    """Return how a run ended; None if it has not.

    Raises:
        UserError: the file is damaged.
    """
    path = workdir.root / FILE
    if not path.exists():
        return None
    saved: dict[str, Any] = read_json(path, cure="remove it: the run is judged again")
    try:
        return Outcome(**saved)
    except TypeError as error:
        raise UserError(
            f"{path} is damaged ({error})", cure="remove it: the run is judged again"
        ) from error
