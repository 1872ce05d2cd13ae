"""The table of a sweep: the report's columns, and ours after them; its best; its picture.

`target_loss` is the objective's mean over the last epoch. `MSE_weight` and the loss are on the
report's pixel range [-1, 1], on which squared errors are four times ours.
"""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxsurf.pipeline.run.experiments import SYMMETRIC
from jaxsurf.pipeline.sweep.grid import Axis, GridMember
from jaxsurf.pipeline.sweep.outcome import Outcome
from jaxsurf.training.objective import ObjectiveConfig
from jaxsurf.viewing import plots

REPORTS_COLUMNS = (
    "learning rate",
    "weight decay",
    "num_epochs",
    "batch_size",
    "step_size",
    "dims",
    "MSE_weight",
    "perceptual_weight",
    "out_channels",
    "noise",
    "noise_types",
    "IMAGES_PATH",
    "target_loss",
)
NUM_BEST = 10
BEST_HEADER = "| member | loss | PSNR dB | seconds |\n|---|---|---|---|"

Result = tuple[GridMember, Outcome]


def table(results: Sequence[Result]) -> str:
    """Return all members as CSV, one a line."""
    rows = [_row(member, outcome) for member, outcome in results]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def best(results: Sequence[Result]) -> str:
    """Return the members of smallest loss, and how many failed, in Markdown.

    Losses compare within one weighting of the terms only, so each has a table of its own.
    """
    parts = []
    for weights in dict.fromkeys(_weights(member) for member, _ in results):
        mine = [result for result in results if _weights(result[0]) == weights]
        good = sorted(
            (result for result in mine if result[1].good),
            key=lambda result: result[1].losses["loss"],
        )
        lines = [_line(member, outcome) for member, outcome in good[:NUM_BEST]]
        failed = [f"{member.name} {outcome.state}" for member, outcome in mine if not outcome.good]
        told = f"\n\n{len(failed)} of {len(mine)} failed: {', '.join(failed)}" if failed else ""
        parts.append("\n".join([f"Objective {weights}:\n", BEST_HEADER, *lines]) + told)
    return "\n\n".join(parts)


def save_plot(results: Sequence[Result], axes: Sequence[Axis], path: Path) -> None:
    """Draw the loss of each member against each axis; a series is one weighting of the terms."""
    names = [name for axis in axes for name in axis.names]
    bare = {name: name.partition(".")[2] for name in names}
    count = Counter(bare.values())
    # A setting's section is told only where another has one of the same name.
    label = {name: bare[name] if count[bare[name]] == 1 else name for name in names}
    values = [member.values for member, _ in results]
    figure = plots.grid(
        axes={
            ", ".join(label[name] for name in axis.names): [
                ", ".join(str(of_member[name]) for name in axis.names) for of_member in values
            ]
            for axis in axes
        },
        losses=[outcome.losses.get("loss") if outcome.good else None for _, outcome in results],
        title=f"{len(results)} runs",
        series=[_weights(member) for member, _ in results],
    )
    plots.save(figure, path)


def _weights(member: GridMember) -> str:
    weights = member.config.objective.weights
    return " + ".join(f"{weight:g} {name}" for name, weight in weights.items())


def _line(member: GridMember, outcome: Outcome) -> str:
    psnr = "" if outcome.psnr_db is None else f"{outcome.psnr_db:.1f}"
    shared = f" (with {outcome.together - 1} more)" if outcome.together > 1 else ""
    return (
        f"| {member.name} | {outcome.losses['loss']:.4g} | {psnr} "
        f"| {outcome.training_s:.0f}{shared} |"
    )


def _row(member: GridMember, outcome: Outcome) -> dict[str, Any]:
    """Return one line of the table."""
    config = member.config
    objective = config.objective
    reports = (
        config.optimizer.learning_rate,
        config.optimizer.weight_decay,
        config.training.num_epochs,
        config.training.batch_size,
        config.optimizer.step_epochs,
        config.model.latent_dim,
        objective.mse / SYMMETRIC,
        objective.perceptual,
        config.model.channels,
        config.corruption.strength,
        config.corruption.kind,
        config.data.path or config.data.source,
        outcome.losses.get("loss", ""),
    )
    return dict(zip(REPORTS_COLUMNS, reports, strict=True)) | {
        "member": member.name,
        "state": outcome.state,
        "model": config.model.name,
        "optimizer": config.optimizer.name,
        "seed": config.training.seed,
        "l1_weight": objective.l1,
        "bce_weight": objective.bce,
        "mse": outcome.losses.get("mse", ""),
        # Errors of different features don't compare, so each family has a column of its own.
        f"perceptual_{_family(objective)}": outcome.losses.get("perceptual", ""),
        "psnr_db": "" if outcome.psnr_db is None else outcome.psnr_db,
        "training_s": "" if outcome.training_s is None else outcome.training_s,
        "together": outcome.together,
        "message": outcome.message,
    }


def _family(objective: ObjectiveConfig) -> str:
    """Return the name of the features that a perceptual error is measured on."""
    bare = "" if objective.preparation == "own" else "_unprepared"
    return f"{Path(objective.vgg).stem}{bare}"
