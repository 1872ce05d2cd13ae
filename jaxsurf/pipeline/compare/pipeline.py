"""Models side by side: same images, same time, same pairs, several seeds and latent sizes.

Every member is a run of its own in a folder of its own, so a comparison resumes where it was
stopped. Ours takes its own number of epochs; the reference then gets as many epochs of the
report's recipe as fit into the same training time, with the learning rate falling at the same
shares of the run (every quarter, as 150 of 600 epochs).
"""

import dataclasses
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.evaluation import metrics, reconstruction
from jaxsurf.pipeline import evaluate
from jaxsurf.pipeline.compare import table
from jaxsurf.pipeline.compare.table import OURS, REFERENCE, Row
from jaxsurf.pipeline.evaluate import EvaluateConfig
from jaxsurf.pipeline.run import configuration, train, trained
from jaxsurf.pipeline.run.collapse import Collapsed
from jaxsurf.pipeline.run.configuration import RunConfig
from jaxsurf.training import journal, plan
from jaxsurf.workdir import WorkDir
from jaxsurf.writing import write_text

# What the pace is taken from, whichever is more: the first step pays for compilation, and losses
# are written down a step late, so that few steps tell nothing.
PROBE_EPOCHS, PROBE_STEPS = 2, 50

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """What to compare.

    Attributes:
        ours: of our model; latent size and seed are replaced.
        reference: of the report's model; epochs are replaced too.
        latent_dims: latent sizes.
        seeds: random seeds of our model; the reference is trained with the first.
        num_pairs: random pairs of each evaluation.
    """

    ours: RunConfig
    reference: RunConfig
    latent_dims: tuple[int, ...] = (2, 3)
    seeds: tuple[int, ...] = (0, 1, 2)
    num_pairs: int = 100

    def __post_init__(self) -> None:
        for name in ("latent_dims", "seeds"):
            if not getattr(self, name):
                raise UserError(f"--{name} is empty", cure="give at least one number")
        if min(self.seeds) < 0 or min(self.latent_dims) < 1:
            raise UserError("--seeds must not be negative, and --latent_dims at least 1")
        if self.num_pairs < 1:
            raise UserError(f"--num_pairs is {self.num_pairs}", cure="give at least 1")


@dataclass(frozen=True)
class Member:
    """A run of one side, and where it lies."""

    side: str
    config: RunConfig
    root: Path

    @property
    def folder(self) -> Path:
        """The run's working directory."""
        size, seed = self.config.model.latent_dim, self.config.training.seed
        return self.root / f"{self.side}-d{size}-seed{seed}"

    def lasting(self, epochs: int) -> "Member":
        """Return the same run with so many epochs; the learning rate falls at the same shares."""
        return dataclasses.replace(self, config=configuration.lasting(self.config, epochs))


def compare(config: CompareConfig, root: Path | str) -> str:
    """Train and evaluate every member, and write `comparison.md`.

    Args:
        config: the members.
        root: the folder of all of them.

    Returns:
        The table, in Markdown.

    Raises:
        UserError: as `train` and `evaluate` do, but for a collapsed model, which has a row.
    """
    rows, root = [], Path(root)
    for latent_dim in config.latent_dims:
        ours = [
            _row(Member(OURS, _with(config.ours, latent_dim=latent_dim, seed=seed), root), config)
            for seed in config.seeds
        ]
        budget_s = float(np.median([row.training_s for row in ours]))
        reference = _with(config.reference, latent_dim=latent_dim, seed=config.seeds[0])
        rows += [*ours, _row(_fitted(Member(REFERENCE, reference, root), budget_s), config)]
    written = table.markdown(rows)
    write_text(root / "comparison.md", written + "\n")
    return written


def _with(config: RunConfig, *, latent_dim: int, seed: int) -> RunConfig:
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, latent_dim=latent_dim),
        training=dataclasses.replace(config.training, seed=seed),
    )


def _fitted(member: Member, budget_s: float) -> Member:
    """Return the member with as many epochs as fit into a time, at least one."""
    if WorkDir(member.folder).begun:
        begun, _ = trained.read_config(WorkDir(member.folder))
        return member.lasting(begun.training.num_epochs)
    probe = dataclasses.replace(
        member.config,
        training=dataclasses.replace(
            member.config.training, num_epochs=_probe_epochs(member.config), log_every=1
        ),
    )
    folder = member.folder.with_name(f"{member.folder.name}-probe")
    _train(probe, folder)
    lines = journal.read(WorkDir(folder).metrics)
    return member.lasting(max(1, round(budget_s / _epoch_s(lines))))


def _probe_epochs(config: RunConfig) -> int:
    num_images = len(configuration.open_data(config.data))
    steps_per_epoch = plan.make_plan(config.training, num_images=num_images).steps_per_epoch
    return max(PROBE_EPOCHS, math.ceil(PROBE_STEPS / steps_per_epoch))


def _epoch_s(lines: Sequence[dict[str, float]]) -> float:
    """Return the seconds of an epoch without compilation: the pace after the first line."""
    last, first = lines[-1], lines[0]
    return (last["elapsed_s"] - first["elapsed_s"]) / (last["epoch"] - first["epoch"])


def _train(config: RunConfig, folder: Path) -> bool:
    """Train a member; return whether it collapsed."""
    try:
        train.train(config, folder)
    except Collapsed as error:
        _log.warning("%s: %s", folder.name, error)
        return True
    return False


def _row(member: Member, asked: CompareConfig) -> Row:
    """Train and evaluate one member."""
    config, folder = member.config, member.folder
    collapsed = _train(config, folder)
    lines = journal.read(WorkDir(folder).metrics)
    shared: dict[str, Any] = {
        "side": member.side,
        "model": config.model.name,
        "latent_dim": config.model.latent_dim,
        "seed": config.training.seed,
        "epochs": config.training.num_epochs,
        "training_s": lines[-1]["elapsed_s"],
        "collapsed": collapsed,
    }
    run = trained.open_run(folder)
    try:
        result = evaluate.evaluate(run, EvaluateConfig(num_pairs=asked.num_pairs))
    except UserError as error:
        if not collapsed:
            raise
        _log.warning("%s has no scores: %s", folder.name, error)
        mean = reconstruction.mean_mse(run.model, run.images.images)
        return Row(**shared, psnr_db=metrics.psnr_of_mse(mean))
    _log.info("%s", result)
    return Row(**shared, **table.scores(result.content))
