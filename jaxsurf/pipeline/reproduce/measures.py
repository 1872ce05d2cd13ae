"""One experiment with one model: trained, measured, and remembered in its folder.

What is measured is one mapping of figures by name:

- `loss`, the objective's mean over the last epoch; `mse` (on [0, 1]) and `psnr_db` of clean
  reconstructions, their `sharpness` in units of the images' own, and their `colour_error`;
- `k`, the smallest that connects;
- `linear.METRIC` and `surfing.METRIC`, means over random pairs of what `evaluate` measures, and
  `detour`, the path's length in units of the straight line's; `ratio` of the two
  `interpolation_mse`, and `win_rate`, the share of pairs on which surfing's is smaller;
- `same_value`, where a third factor varies: the share of latent neighbours with the same value;
- of the experiment `COMBINED`, the same metrics as `NAME.METRIC` of each of `INTERPOLATIONS`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from jaxsurf.evaluation import metrics, reconstruction
from jaxsurf.frames.animate import Timing
from jaxsurf.images import pixels
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import knn
from jaxsurf.manifold.graph_config import GraphConfig
from jaxsurf.pipeline import configuration, evaluate, experiments, sweep
from jaxsurf.pipeline.evaluate import METRIC, EvaluateConfig
from jaxsurf.pipeline.reproduce import appearance
from jaxsurf.pipeline.reproduce.scale import Scale
from jaxsurf.pipeline.run import Run as TrainedRun
from jaxsurf.pipeline.run import encode_all, open_run
from jaxsurf.pipeline.sweep import Outcome
from jaxsurf.pipeline.train import check_begun
from jaxsurf.workdir import WorkDir, fingerprint, read_json, write_json

FILE = "measures.json"
METHODS = ("linear", "surfing")
# The report leaves a question open: with this loss, surfing was long and jerky. Its interpolation
# is compared with what it suggests, all points within a radius, with edges that weigh what their
# images differ by, and with constant speed.
COMBINED = "combined_70_30"
_EDGES, _STEADY = Timing(), Timing(frames=55)  # as in the report's `2d_linear.gif`
INTERPOLATIONS = {
    "constant_speed": (GraphConfig(weight="latent"), _STEADY),
    "radius": (GraphConfig(kind="smallest-radius", weight="latent"), _EDGES),
    "radius_constant_speed": (GraphConfig(kind="smallest-radius", weight="latent"), _STEADY),
    "density": (GraphConfig(weight="density"), _EDGES),
    "images": (GraphConfig(weight="image"), _EDGES),
    "images_cubed": (GraphConfig(weight="image-density"), _EDGES),
    "images_constant_speed": (GraphConfig(weight="image"), _STEADY),
}
# Latent neighbours that are asked whether they share the third factor's value.
NEIGHBOURS = 5

Figures = Mapping[str, float]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One experiment with one model; it has no weights and no figures where training failed."""

    name: str
    model: str
    outcome: Outcome
    opened: TrainedRun | None
    figures: Figures

    @property
    def about(self) -> str:
        """What the experiment is, in a few words."""
        return experiments.EXPERIMENTS[self.name].about


Runs = Mapping[tuple[str, str], Run]  # by experiment and model


def make_run(scale: Scale, name: str, model: str, root: Path, *, shown: bool) -> Run:
    """Train and measure an experiment; what its folder holds already is not made again.

    Args:
        scale: how large.
        name: of the experiment.
        model: whose recipe.
        root: working directory of the run.
        shown: draw a progress bar.

    Raises:
        UserError: the folder holds another run, or as `train` and `evaluate` raise it.
        Interrupted: as `train` does.
    """
    workdir, config = WorkDir(root), scale.config(name, model)
    check_begun(workdir, config, None, extend=None)
    images = configuration.open_data(config.data)
    check_begun(workdir, config, images, extend=None)
    outcome = sweep.read_outcome(workdir)
    if outcome is None:
        outcome = sweep.train_and_judge(images, config, workdir, shown=shown)
    opened, figures = None, {}
    if outcome.good:
        opened, path = open_run(root), root / FILE
        # Another edition of this module may measure other figures.
        edition = fingerprint(Path(__file__).read_text(encoding="utf-8"))
        made_of = f"{opened.stamp}, {scale.num_pairs} pairs, {edition}"
        saved = read_json(path, cure="remove it: it is made again") if path.exists() else {}
        figures = saved.get("figures", {})
        if saved.get("made_of") != made_of:
            _log.info("measuring %s with %s", name, model)
            figures = _measure(opened, name, num_pairs=scale.num_pairs)
            figures["loss"] = outcome.losses["loss"]
            write_json(path, {"made_of": made_of, "figures": figures})
    return Run(name=name, model=model, outcome=outcome, opened=opened, figures=figures)


def factor_values(images: ImageSet, factor: str) -> Num[np.ndarray, "image"]:
    """Return each image's value of a factor."""
    assert images.factors is not None, "a slice by factors has factors"
    return images.factors[:, images.factor_names.index(factor)]


def _measure(run: TrainedRun, name: str, *, num_pairs: int) -> dict[str, float]:
    """Return the figures of an experiment's run."""
    images = run.images.images
    outputs = reconstruction.reconstruct(run.model, images)
    mse = float(metrics.mse(outputs / pixels.PEAK, images / pixels.PEAK).mean())
    sharp = appearance.sharpness(outputs) / appearance.sharpness(images)
    content, figures = _evaluate(run, "surfing", run.config.graph, _EDGES, num_pairs)
    figures |= {
        "mse": mse,
        "psnr_db": metrics.psnr_of_mse(mse),
        "sharpness": float(sharp.mean()),
        "colour_error": float(appearance.colour_error(outputs, images).mean()),
        "k": content["graph"]["k"],
        **content["versus"]["surfing"][METRIC],
    }
    if experiments.EXPERIMENTS[name].three_factors:
        values = factor_values(run.images, name)
        near = knn.nearest(encode_all(run).codes, k=NEIGHBOURS)
        figures["same_value"] = float(np.mean(values[near.indices] == values[:, None]))
    for other, (graph, timing) in INTERPOLATIONS.items() if name == COMBINED else ():
        _log.info("measuring %s", other)
        figures = _evaluate(run, other, graph, timing, num_pairs)[1] | figures
    return figures


def _evaluate(
    run: TrainedRun, name: str, graph: GraphConfig, timing: Timing, num_pairs: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return an evaluation's content, and the means of the straight line and of surfing so."""
    config = EvaluateConfig(num_pairs=num_pairs, methods=METHODS, graph=graph, timing=timing)
    content = evaluate.measure(run, config).content
    figures = {
        f"{label}.{metric}": values["mean"]
        for label, method in zip(("linear", name), METHODS, strict=True)
        for metric, values in content["methods"][method].items()
    }
    straight = figures["linear.path_length"]
    for label in ("linear", name):
        figures[f"{label}.detour"] = figures[f"{label}.path_length"] / straight
    return content, figures
