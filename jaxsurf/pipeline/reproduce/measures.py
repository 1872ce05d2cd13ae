"""What is measured of a trained run, kept beside it: `measures.json` has it once and for all."""

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxsurf.evaluation import metrics, reconstruction
from jaxsurf.images import pixels
from jaxsurf.manifold import knn
from jaxsurf.pipeline import evaluate, experiments
from jaxsurf.pipeline.evaluate import EvaluateConfig
from jaxsurf.pipeline.reproduce import appearance
from jaxsurf.pipeline.reproduce.runs import Key, Run, Runs
from jaxsurf.pipeline.run import TrainedRun, encode_all
from jaxsurf.workdir import read_json, write_json

FILE = "measures.json"
REMOVE = "remove it: it is made again"
# Latent neighbours that are asked whether they share the third factor's value.
NEIGHBOURS = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Measures:
    """One run in numbers.

    Attributes:
        loss: the objective's mean over the last epoch.
        mse: of clean reconstructions, on [0, 1].
        sharpness: of the reconstructions, in units of the images' own.
        colour_error: of local mean colours, on 0-255.
        k: the smallest that connects.
        scores: the mean over pairs of each metric, by method.
        ratio: surfing's interpolation_mse over linear's.
        win_rate: share of pairs on which surfing's is smaller.
        same_value: share of latent neighbours with the same value of the third factor.
    """

    loss: float
    mse: float
    sharpness: float
    colour_error: float
    k: int
    scores: dict[str, dict[str, float]]
    ratio: float
    win_rate: float
    same_value: float | None

    @property
    def psnr_db(self) -> float:
        """Of clean reconstructions."""
        return metrics.psnr_of_mse(self.mse)


def measure_all(runs: Runs, *, num_pairs: int) -> dict[Key, Measures]:
    """Return the measures of all runs that did not fail.

    Args:
        runs: of the reproduction.
        num_pairs: random pairs to score interpolations on.

    Raises:
        UserError: as `evaluate` does.
    """
    good = {key: run for key, run in runs.items() if run.outcome.good}
    return {key: _remembered(run, num_pairs=num_pairs) for key, run in good.items()}


def _remembered(run: Run, *, num_pairs: int) -> Measures:
    """Return a run's measures from its folder, or made now."""
    path = run.workdir.root / FILE
    made_of = f"{run.opened.stamp}, {num_pairs} pairs"
    if path.exists():
        saved = read_json(path, cure=REMOVE)
        if saved.get("made_of") == made_of and saved.get("measures", {}).keys() == _NAMES:
            return Measures(**saved["measures"])
    _log.info("measuring %s with %s", run.name, run.model)
    measures = _measured(run, num_pairs=num_pairs)
    write_json(path, {"made_of": made_of, "measures": dataclasses.asdict(measures)})
    return measures


def _measured(run: Run, *, num_pairs: int) -> Measures:
    images = run.opened.images.images
    outputs = reconstruction.reconstruct(run.opened.model, images)
    sharp = appearance.sharpness(outputs) / appearance.sharpness(images)
    content = evaluate.measure(run.opened, EvaluateConfig(num_pairs=num_pairs)).content
    versus = content["versus"]["surfing"][evaluate.METRIC]
    third = experiments.EXPERIMENTS[run.name].three_factors
    return Measures(
        loss=run.outcome.losses["loss"],
        mse=float(metrics.mse(outputs / pixels.PEAK, images / pixels.PEAK).mean()),
        sharpness=float(sharp.mean()),
        colour_error=float(appearance.colour_error(outputs, images).mean()),
        k=content["graph"]["k"],
        scores=means(content),
        ratio=versus["ratio"],
        win_rate=versus["win_rate"],
        same_value=_same_value(run.opened, run.name) if third else None,
    )


def means(content: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the mean of each metric by method, of what `evaluation.json` says."""
    return {
        method: {metric: values["mean"] for metric, values in by_metric.items()}
        for method, by_metric in content["methods"].items()
    }


def _same_value(run: TrainedRun, factor: str) -> float:
    """Return how many latent neighbours share a factor's value."""
    assert run.images.factors is not None, "a slice by factors has factors"
    values = run.images.factors[:, run.images.factor_names.index(factor)]
    near = knn.nearest(encode_all(run).codes, k=NEIGHBOURS)
    return float(np.mean(values[near.indices] == values[:, None]))


_NAMES = {field.name for field in dataclasses.fields(Measures)}
