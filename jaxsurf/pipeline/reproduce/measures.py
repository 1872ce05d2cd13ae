"""What is measured of one trained run, kept beside it: `measures.json` has it once and for all."""

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxsurf.evaluation import appearance, metrics, reconstruction
from jaxsurf.images import pixels
from jaxsurf.manifold import knn
from jaxsurf.pipeline import evaluate, trained
from jaxsurf.pipeline.evaluate import EvaluateConfig
from jaxsurf.pipeline.trained import TrainedRun
from jaxsurf.training import journal
from jaxsurf.workdir import read_json, write_json

FILE = "measures.json"
# Latent neighbours that are asked whether they share the third factor's value.
NEIGHBOURS = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Measures:
    """One run in numbers.

    Attributes:
        step: of the checkpoint that was measured.
        loss: the objective's mean over the last log interval.
        mse: of clean reconstructions, on [0, 1].
        sharpness: of the reconstructions, in units of the images' own.
        colour_error: of local mean colours, on 0-255.
        k: the smallest that connects.
        scores: what `evaluation.json` says of each method: means by metric.
        ratio: surfing's interpolation_mse over linear's.
        win_rate: share of pairs on which surfing's is smaller.
        same_value: share of latent neighbours with the same value of the first free factor.
    """

    step: int
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


def measure(run: TrainedRun, *, num_pairs: int) -> Measures:
    """Return the measures of a run, from its folder or made now.

    Args:
        run: trained.
        num_pairs: random pairs to score interpolations on.

    Raises:
        UserError: as `evaluate` does.
    """
    path = run.workdir.root / FILE
    if path.exists():
        saved = read_json(path, cure="remove it: it is made again")
        if saved.get("step") == run.step and saved.keys() == _NAMES:
            return Measures(**saved)
    _log.info("measuring %s", run.workdir.root)
    images = run.images.images
    outputs = reconstruction.reconstruct(run.model, images)
    sharp = appearance.sharpness(outputs) / appearance.sharpness(images)
    content, _ = evaluate.measure(run, EvaluateConfig(num_pairs=num_pairs))
    versus = content["versus"]["surfing"][evaluate.METRIC]
    made = Measures(
        step=run.step,
        loss=journal.read(run.workdir.metrics)[-1]["loss"],
        mse=float(metrics.mse(outputs / pixels.PEAK, images / pixels.PEAK).mean()),
        sharpness=float(sharp.mean()),
        colour_error=float(appearance.colour_error(outputs, images).mean()),
        k=content["graph"]["k"],
        scores=means(content),
        ratio=versus["ratio"],
        win_rate=versus["win_rate"],
        same_value=_same_value(run),
    )
    write_json(path, dataclasses.asdict(made))
    return made


def means(content: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the mean of each metric by method, of what `evaluation.json` says."""
    return {
        method: {metric: values["mean"] for metric, values in by_metric.items()}
        for method, by_metric in content["methods"].items()
    }


def _same_value(run: TrainedRun) -> float | None:
    """Return how many latent neighbours share a value of the first free factor."""
    free = run.config.data.free
    if not free or run.images.factors is None:
        return None
    values = run.images.factors[:, run.images.factor_names.index(free[0])]
    near = knn.nearest(trained.encode_all(run).codes, k=NEIGHBOURS)
    return float(np.mean(values[near.indices] == values[:, None]))


_NAMES = {field.name for field in dataclasses.fields(Measures)}
