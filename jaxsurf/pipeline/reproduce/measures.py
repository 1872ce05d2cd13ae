"""One experiment with one model: trained, measured, and remembered in its folder.

What is measured is one mapping of figures by name:

- `loss`, the objective's mean over the last epoch; `mse` (on [0, 1]) and `psnr_db` of clean
  reconstructions, their `sharpness` in units of the images' own, and their `colour_error`;
- `k`, the smallest that connects;
- `linear.METRIC` and `surfing.METRIC`, means over random pairs of what `evaluate` measures, and
  `detour`, the path's length in units of the straight line's; `ratio` of the two
  `interpolation_mse`, and `win_rate`, the share of pairs on which surfing's is smaller;
- `right_rate`, where the truth is known: the share of pairs on which surfing's `course` is better;
- `same_value`, where a third factor varies: the share of latent neighbours with the same value;
- of the experiment `COMBINED`, the same metrics as `NAME.METRIC` of each of `INTERPOLATIONS`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Num, UInt8
from scipy import ndimage

from jaxsurf.evaluation import metrics, reconstruction
from jaxsurf.images import pixels
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import neighbors
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.manifold.path import Timing
from jaxsurf.pipeline import configuration, evaluate, experiments, run, sweep
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.evaluate import METRIC, EvaluateConfig
from jaxsurf.pipeline.sweep import Outcome
from jaxsurf.pipeline.train import check_begun
from jaxsurf.workdir import WorkDir, fingerprint, read_json, write_json

METHODS = ("linear", "surfing")
# The report leaves a question open: with this loss, surfing was long and jerky. Its interpolation
# is compared with what it suggests, all points within a radius, with edges that weigh what their
# images differ by, and with constant latent speed.
COMBINED = "combined_70_30"
# As many frames as in the report's `2d_linear.gif`.
_EDGES, _STEADY = Timing(), Timing(frames=55, speed="latent")
INTERPOLATIONS = {
    "constant_speed": (GraphConfig(kind="smallest", weight="latent"), _STEADY),
    "radius": (GraphConfig(kind="smallest-radius", weight="latent"), _EDGES),
    "radius_constant_speed": (GraphConfig(kind="smallest-radius", weight="latent"), _STEADY),
    "density": (GraphConfig(kind="smallest", weight="density"), _EDGES),
    "images": (GraphConfig(kind="smallest", weight="image"), _EDGES),
    "images_cubed": (GraphConfig(kind="smallest", weight="image-density"), _EDGES),
    "images_constant_speed": (GraphConfig(kind="smallest", weight="image"), _STEADY),
}
# Latent neighbours that are asked whether they share the third factor's value.
NEIGHBOURS = 5
# Luminance of R, G, B as stored, gamma and all (ITU-R BT.601).
LUMINANCE = (0.299, 0.587, 0.114)
# What share of the arm's images of 64 pixels its outline takes, and a side that is wider than a
# blurred edge, and about that of the object in them.
OUTLINE, WINDOW = 0.05, 8

Images = UInt8[np.ndarray, "image height width 3"]
Values = Float[np.ndarray, "image"]
Figures = Mapping[str, float]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Measured:
    """One experiment with one model; without weights and figures where training failed."""

    name: str
    model: str
    outcome: Outcome
    opened: run.Run | None = None
    figures: Figures = field(default_factory=dict)

    @property
    def about(self) -> str:
        """What the experiment is, in a few words."""
        return experiments.EXPERIMENTS[self.name].about

    @property
    def by_truth(self) -> str:
        """What the truth says of surfing, in a sentence; empty where it is not known."""
        if "surfing.course" not in self.figures:
            return ""
        residual, course, leaps = (
            [self.figures[f"{method}.{metric}"] for method in ("surfing", "linear")]
            for metric in ("residual", "course", "leaps")
        )
        more = "more" if residual[0] < residual[1] else "no more"
        nearer = "nearer" if course[0] < course[1] else "no nearer"
        return (
            f"{self.about}, {self.model}: surfing's frames are {more} real than the straight "
            f"line's (residual {residual[0]:.1f} against {residual[1]:.1f}); its way is {nearer} "
            f"to a right one ({course[0]:.1f} grid steps off against {course[1]:.1f}, better on "
            f"{self.figures['right_rate']:.0%} of pairs) and leaps {leaps[0]:.1f} times "
            f"({leaps[1]:.1f})"
        )


def make_run(
    name: str, model: str, config: RunConfig, root: Path, num_pairs: int, *, shown: bool
) -> Measured:
    """Train and measure an experiment; what its folder holds already is not made again."""
    workdir, images = WorkDir(root), configuration.open_data(config.data)
    _log.info("%s with %s", name, model)
    check_begun(workdir, config, images, extend=None)
    outcome = sweep.read_outcome(workdir)
    if outcome is None:
        outcome = sweep.train_and_judge(images, config, workdir, shown=shown)
    if not outcome.good:
        return Measured(name, model, outcome)
    opened, path = run.open_run(root), root / "measures.json"
    # Another edition of this module may measure other figures.
    edition = fingerprint(Path(__file__).read_text(encoding="utf-8"))
    made_of = f"{opened.stamp}, {num_pairs} pairs, {edition}"
    saved = read_json(path, cure="remove it: it is made again") if path.exists() else {}
    if saved.get("made_of") != made_of or "figures" not in saved:
        _log.info("measuring %s with %s", name, model)
        figures = _measure(opened, name, num_pairs) | {"loss": outcome.losses["loss"]}
        saved = {"made_of": made_of, "figures": figures}
        write_json(path, saved)
    return Measured(name, model, outcome, opened, saved["figures"])


def factor_values(images: ImageSet, factor: str) -> Num[np.ndarray, "image"]:
    """Return each image's value of a factor."""
    assert images.factors is not None, "a slice by factors has factors"
    return images.factors[:, images.factor_names.index(factor)]


def _measure(opened: run.Run, name: str, num_pairs: int) -> dict[str, float]:
    images = opened.images.images
    outputs = reconstruction.reconstruct(opened.model, images)
    mse = float(metrics.mse(outputs / pixels.PEAK, images / pixels.PEAK).mean())
    content, figures = _evaluate(opened, "surfing", opened.config.graph, _EDGES, num_pairs)
    figures |= {
        "mse": mse,
        "psnr_db": metrics.psnr_of_mse(mse),
        "sharpness": float((sharpness(outputs) / sharpness(images)).mean()),
        "colour_error": float(colour_error(outputs, images).mean()),
        "k": content["graph"]["k"],
        **content["versus"]["surfing"][METRIC],
    }
    if course := content["versus"]["surfing"].get("course"):
        figures["right_rate"] = course["win_rate"]
    if experiments.EXPERIMENTS[name].free:
        values = factor_values(opened.images, name)
        near = neighbors.Index(run.encode_all(opened).codes).nearest(k=NEIGHBOURS)
        figures["same_value"] = float(np.mean(values[near.indices] == values[:, None]))
    for other, (graph, timing) in INTERPOLATIONS.items() if name == COMBINED else ():
        _log.info("measuring %s", other)
        figures = _evaluate(opened, other, graph, timing, num_pairs)[1] | figures
    return figures


def _evaluate(
    opened: run.Run, name: str, graph: GraphConfig, timing: Timing, num_pairs: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return an evaluation's content, and the means of the straight line and of surfing so."""
    # Random pairs: as the report's, and as in published figures.
    given = {"num_pairs": num_pairs, "methods": METHODS, "spread": False}
    content = evaluate.measure(opened, EvaluateConfig(graph=graph, timing=timing, **given)).content
    figures = {}
    for label, method in zip(("linear", name), METHODS, strict=True):
        for metric, values in content["methods"][method].items():
            figures[f"{label}.{metric}"] = values["mean"]
        length = figures[f"{label}.path_length"]
        figures[f"{label}.detour"] = length / figures["linear.path_length"]
    return content, figures


def sharpness(images: Images) -> Values:
    """Return how steep the strongest edges of each image are.

    The mean magnitude of the luminance's Sobel gradient over the pixels where it is largest:
    Tenengrad's gradient (Krotkov, "Focusing", IJCV 1, 1987), with a share of the pixels in place of
    a threshold, so that a weak edge counts as weak rather than not at all. A reconstruction's,
    divided by its original's, is 1 where it is perfect and less where it is blurred; a lost fill
    hardly changes it.
    """
    found = []
    for image in images:
        luminance = image / pixels.PEAK @ np.array(LUMINANCE)
        # Sobel's masks give 8 times the slope.
        slopes = np.hypot(ndimage.sobel(luminance, 0), ndimage.sobel(luminance, 1)) / 8
        inner = slopes[1:-1, 1:-1].ravel()
        number = max(1, round(OUTLINE * len(inner)))
        found.append(np.partition(inner, -number)[-number:].mean())
    return np.array(found)


def colour_error(images: Images, references: Images) -> Values:
    """Return how far the local mean colour of each image is from that of its reference, in 0-255.

    The mean absolute difference, over channels and places, of means over square windows: what is
    left after a box blur of both. Blurred edges hardly change it, a lost fill does.
    """
    found, inside = [], slice(WINDOW // 2, 1 - WINDOW // 2)  # centres of windows inside an image
    for image, other in zip(images, references, strict=True):
        means = ndimage.uniform_filter(image.astype(np.float64) - other, WINDOW, axes=(0, 1))
        found.append(np.abs(means[inside, inside]).mean())
    return np.array(found)
