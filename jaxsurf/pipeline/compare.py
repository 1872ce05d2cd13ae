"""Models side by side: same images, same time, same pairs, several seeds and latent sizes.

Every member is a run of its own in a folder of its own, so a comparison resumes where it was
stopped. The reference gets as many epochs of the report's recipe as fit into the training time of
ours, with the learning rate falling at the same shares of the run.
"""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.evaluation.pairs import FLOOR
from jaxsurf.pipeline import configuration, evaluate, sweep
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.evaluate import METRIC, EvaluateConfig
from jaxsurf.pipeline.run import open_run, read_config
from jaxsurf.pipeline.train import train_on
from jaxsurf.training import data
from jaxsurf.training.log import read_metrics
from jaxsurf.workdir import WorkDir, write_text

# What the pace is taken from, whichever is more: few steps tell nothing.
PROBE_EPOCHS, PROBE_STEPS = 2, 50
# Name of each column, and how its figure is written; one that is missing is an empty cell.
COLUMNS = {
    "model": "{}",
    "d": "{}",
    "seed": "{}",
    "epochs": "{}",
    "training s": "{:.0f}",
    "PSNR dB": "{:.1f}",
    "k": "{}",
    "linear": "{:.2f}",
    "surfing": "{:.2f}",
    "true images": "{:.2f}",
    "surfing / linear": "{:.2f}",
    "win rate": "{:.2f}",
}
MEDIANS = ("PSNR dB", "surfing / linear", "win rate")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """What to compare: settings of both models, of which size, seed and epochs are replaced.

    Attributes:
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
        for name, least in (("latent_dims", 1), ("seeds", 0), ("num_pairs", 1)):
            given = getattr(self, name)
            if given == () or np.min(given) < least:
                raise UserError(f"--{name} is {given}", cure=f"give {least} or more")


def compare(config: CompareConfig, root: Path | str) -> str:
    """Train and evaluate every member; return the table in Markdown, also in `comparison.md`."""
    rows, lines, root = [], [], Path(root)
    for size in config.latent_dims:
        sized, mine = {"model.latent_dim": size}, []
        for seed in config.seeds:
            own = configuration.from_dotted({**sized, "training.seed": seed}, config.ours)
            mine.append(_row(own, root / f"ours-d{size}-seed{seed}", config.num_pairs))
        times = [row["training s"] for row in mine if row["training s"] is not None]
        if not times:
            raise UserError("all our runs diverged", cure="lower config.optimizer.learning_rate")
        seed = config.seeds[0]
        folder = root / f"reference-d{size}-seed{seed}"
        baseline = configuration.from_dotted({**sized, "training.seed": seed}, config.reference)
        fitted = _fitted(baseline, folder, float(np.median(times)))
        rows += [*mine, _row(fitted, folder, config.num_pairs)]
        if scored := [row for row in mine if "win rate" in row]:
            middle = (np.median([row[name] for row in scored]) for name in MEDIANS)
            texts = (f"{n} {COLUMNS[n].format(m)}" for n, m in zip(MEDIANS, middle, strict=True))
            lines.append(f"d = {size}, medians of {len(scored)} seeds: {', '.join(texts)}")
    cells = [
        ["" if row.get(name) is None else form.format(row[name]) for name, form in COLUMNS.items()]
        for row in rows
    ]
    table = [list(COLUMNS), ["---"] * len(COLUMNS), *cells]
    written = "\n".join([*(f"| {' | '.join(line)} |" for line in table), "", *lines])
    write_text(root / "comparison.md", written + "\n")
    return written


def _fitted(config: RunConfig, folder: Path, budget_s: float) -> RunConfig:
    """Return a configuration with as many epochs as fit into a time, at least one."""
    if WorkDir(folder).begun:
        begun, _ = read_config(WorkDir(folder))
        return configuration.lasting(config, begun.training.num_epochs)
    images = configuration.open_data(config.data)
    steps_per_epoch = data.make_plan(config.training, num_images=len(images)).steps_per_epoch
    epochs = max(PROBE_EPOCHS, math.ceil(PROBE_STEPS / steps_per_epoch))
    probe = folder.with_name(f"{folder.name}-probe")
    changes = {"training.num_epochs": epochs, "training.log_every": 1}
    train_on(images, configuration.from_dotted(changes, config), probe)
    # The first line waited for compilation.
    first, *_, last = read_metrics(WorkDir(probe).metrics)
    epoch_s = (last["elapsed_s"] - first["elapsed_s"]) / (last["epoch"] - first["epoch"])
    return configuration.lasting(config, max(1, round(budget_s / epoch_s)))


def _row(config: RunConfig, folder: Path, num_pairs: int) -> dict[str, Any]:
    """Train and evaluate one member; one that failed may have no graph, and no scores."""
    images = configuration.open_data(config.data)
    outcome = sweep.train_and_judge(images, config, WorkDir(folder), shown=True)
    failed = "" if outcome.good else f" ({outcome.state})"
    row = {
        "model": config.model.name + failed,
        "d": config.model.latent_dim,
        "seed": config.training.seed,
        "epochs": config.training.num_epochs,
        "training s": outcome.training_s,
        "PSNR dB": outcome.psnr_db,
    }
    try:
        # On random pairs, as published figures are, and without what takes longer.
        scoring = EvaluateConfig(num_pairs=num_pairs, truth="none")
        result = evaluate.evaluate(open_run(folder), scoring)
    except UserError as error:
        if outcome.good:
            raise
        _log.warning("%s has no scores: %s", folder.name, error)
        return row
    _log.info("%s", result)
    means = {name: each[METRIC]["mean"] for name, each in result.content["methods"].items()}
    versus = result.content["versus"]["surfing"][METRIC]
    return row | {
        "k": result.content["graph"]["k"] or None,
        "linear": means["linear"],
        "surfing": means["surfing"],
        "true images": means.get(FLOOR),
        "surfing / linear": versus["ratio"],
        "win rate": versus["win_rate"],
    }
