"""The table of a comparison: a row a member, and our medians."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxsurf.evaluation import metrics

OURS, REFERENCE = "ours", "reference"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trained and evaluated member; a collapsed one may have no graph, and no scores."""

    side: str
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


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows and our medians, in Markdown."""
    return "\n".join([HEADER, *map(str, rows), "", *_medians(rows)])


def scores(content: dict[str, Any]) -> dict[str, Any]:
    """Return a row's figures from what `evaluation.json` says."""
    methods = {
        name: by_metric["interpolation_mse"]["mean"]
        for name, by_metric in content["methods"].items()
    }
    versus = content["versus"]["surfing"]["interpolation_mse"]
    return {
        "psnr_db": metrics.psnr_of_mse(content["reconstruction"]["mse"]),
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
            if row.latent_dim == latent_dim and row.side == OURS and row.ratio is not None
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
