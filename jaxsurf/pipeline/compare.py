"""Models side by side: same images, same time, same pairs, several seeds and latent sizes.

Every member is a run of its own in a folder of its own, so a comparison resumes where it was
stopped. `smooth` takes its own number of epochs; `reference` then gets as many epochs of the
report's recipe as fit into the same training time, with the learning rate falling at the same
shares of the run (every quarter, as 150 of 600 epochs).
"""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.evaluation import metrics, reconstruction
from jaxsurf.pipeline import evaluate, train, trained
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.evaluate import EvaluateConfig
from jaxsurf.pipeline.train import Collapsed
from jaxsurf.training import journal
from jaxsurf.workdir import WorkDir, write_text

# The learning rate of the report's recipe falls this often during a run.
FALLS = 4
# Epochs whose time is taken: the first one pays for compilation.
PROBE_EPOCHS = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """What to compare.

    Attributes:
        ours: configuration whose model is ours; latent size and seed are replaced.
        reference: configuration of the report's model; epochs are replaced too.
        latent_dims: latent sizes.
        seeds: random seeds of our model; the reference is trained with the first.
        num_pairs: random pairs of each evaluation.
    """

    ours: RunConfig
    reference: RunConfig
    latent_dims: tuple[int, ...] = (2, 3)
    seeds: tuple[int, ...] = (0, 1, 2)
    num_pairs: int = 100


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trained and evaluated member; a collapsed one may have no graph, and no scores."""

    model: str
    latent_dim: int
    seed: int
    epochs: int
    training_s: float
    psnr_db: float
    k: int | None = None
    linear: float | None = None
    surfing: float | None = None
    floor: float | None = None
    ratio: float | None = None
    win_rate: float | None = None
    collapsed: bool = False

    def __str__(self) -> str:
        name = f"{self.model} (collapsed)" if self.collapsed else self.model
        scores = (self.linear, self.surfing, self.floor, self.ratio, self.win_rate)
        cells = [
            *(name, str(self.latent_dim), str(self.seed), str(self.epochs)),
            *(f"{self.training_s:.0f}", f"{self.psnr_db:.1f}"),
            "" if self.k is None else str(self.k),
            *("" if score is None else f"{score:.2f}" for score in scores),
        ]
        return f"| {' | '.join(cells)} |"


HEADER = (
    "| model | d | seed | epochs | training s | PSNR dB | k | linear | surfing | true images"
    " | surfing / linear | win rate |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def compare(config: CompareConfig, root: Path) -> str:
    """Train and evaluate every member, and write `comparison.md`.

    Args:
        config: the members.
        root: the folder of all of them.

    Returns:
        The table, in Markdown.

    Raises:
        UserError: as `train` and `evaluate` do, but for a collapsed model, which has a row.
    """
    rows = []
    for latent_dim in config.latent_dims:
        ours = [
            _member(_with(config.ours, latent_dim=latent_dim, seed=seed), root, config.num_pairs)
            for seed in config.seeds
        ]
        budget_s = float(np.median([row.training_s for row in ours]))
        reference = _fitted(
            _with(config.reference, latent_dim=latent_dim, seed=config.seeds[0]), root, budget_s
        )
        rows += [*ours, _member(reference, root, config.num_pairs)]
    table = "\n".join([HEADER, *map(str, rows), "", *_medians(rows)])
    write_text(root / "comparison.md", table + "\n")
    return table


def _with(config: RunConfig, *, latent_dim: int, seed: int) -> RunConfig:
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, latent_dim=latent_dim),
        training=dataclasses.replace(config.training, seed=seed),
    )


def _folder(config: RunConfig, root: Path, *, suffix: str = "") -> Path:
    name = f"{config.model.name}-d{config.model.latent_dim}-seed{config.training.seed}{suffix}"
    return root / name


def _fitted(config: RunConfig, root: Path, budget_s: float) -> RunConfig:
    """Return the configuration with as many epochs as fit into a time, at least one."""
    existing = WorkDir(_folder(config, root))
    if existing.begun:
        return trained.read_config(existing)[0]
    probe = dataclasses.replace(
        config,
        training=dataclasses.replace(config.training, num_epochs=PROBE_EPOCHS, log_every=1),
    )
    folder = _folder(config, root, suffix="-probe")
    _train(probe, folder)
    lines = journal.read(WorkDir(folder).metrics)
    epochs = max(1, round(budget_s / _epoch_s(lines)))
    return dataclasses.replace(
        config,
        training=dataclasses.replace(config.training, num_epochs=epochs),
        optimizer=dataclasses.replace(config.optimizer, step_epochs=max(1, epochs // FALLS)),
    )


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


def _member(config: RunConfig, root: Path, num_pairs: int) -> Row:
    """Train and evaluate one member."""
    folder = _folder(config, root)
    collapsed = _train(config, folder)
    lines = journal.read(WorkDir(folder).metrics)
    shared: dict[str, Any] = {
        "model": config.model.name,
        "latent_dim": config.model.latent_dim,
        "seed": config.training.seed,
        "epochs": config.training.num_epochs,
        "training_s": lines[-1]["elapsed_s"],
        "collapsed": collapsed,
    }
    run = trained.open_run(folder)
    try:
        result = evaluate.evaluate(run, EvaluateConfig(num_pairs=num_pairs))
    except UserError as error:
        if not collapsed:
            raise
        _log.warning("%s has no scores: %s", folder.name, error)
        mean = float(reconstruction.mse(run.model, run.images.images).mean())
        return Row(**shared, psnr_db=metrics.psnr_of_mse(mean))
    _log.info("%s", result)
    return Row(**shared, **_scores(result.content))


def _scores(content: dict[str, Any]) -> dict[str, Any]:
    """Return a row's figures from what `evaluation.json` says."""
    methods = {
        name: metrics["interpolation_mse"]["mean"] for name, metrics in content["methods"].items()
    }
    versus = content["versus"]["surfing"]["interpolation_mse"]
    return {
        "psnr_db": content["reconstruction"]["psnr_db"],
        "k": content["graph"]["k"] or None,
        "linear": methods["linear"],
        "surfing": methods["surfing"],
        "ratio": versus["ratio"],
        "win_rate": versus["win_rate"],
        "floor": methods.get("true"),
    }


def _medians(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for each latent size on our model's medians over the seeds with scores."""
    lines = []
    for latent_dim in sorted({row.latent_dim for row in rows}):
        mine = [
            row
            for row in rows
            if row.latent_dim == latent_dim and row.model == "smooth" and row.ratio is not None
        ]
        if mine:
            median = {
                name: np.median([vars(row)[name] for row in mine])
                for name in ("psnr_db", "ratio", "win_rate")
            }
            lines.append(
                f"d = {latent_dim}, medians of {len(mine)} seeds: PSNR {median['psnr_db']:.1f} dB,"
                f" surfing / linear {median['ratio']:.2f}, win rate {median['win_rate']:.2f}"
            )
    return lines
