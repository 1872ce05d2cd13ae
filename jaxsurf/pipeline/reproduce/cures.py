"""The report's open question: with the combined loss, surfing was long and jerky. What cures it?

The report's way (k-NN graph, latent lengths, equally many frames an edge) beside what it suggests
(a graph of all points within a radius), edges that weigh what their images differ by, and constant
speed. All on the same random pairs; a cure moves more evenly, and is no less faithful.
"""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from jaxsurf.frames.animate import Timing
from jaxsurf.manifold.components import connecting
from jaxsurf.manifold.graph_config import GraphConfig
from jaxsurf.pipeline import evaluate
from jaxsurf.pipeline.evaluate import EvaluateConfig
from jaxsurf.pipeline.reproduce.measures import REMOVE, means
from jaxsurf.pipeline.reproduce.runs import Run
from jaxsurf.pipeline.run import encode_all
from jaxsurf.workdir import read_json, write_json

FILE = "cures.json"
STRAIGHT = "straight latent line"
REPORTS = "k-NN graph, latent lengths (the report's)"
CONSTANT_SPEED = "k-NN graph, latent lengths, constant speed"
RADIUS = "all within the smallest connecting radius (suggested)"
RADIUS_CONSTANT = "all within that radius, constant speed"
DENSITY = "k-NN graph, density weights"
IMAGES = "k-NN graph, image differences"
IMAGES_CUBED = "k-NN graph, image differences cubed"
IMAGES_CONSTANT = "k-NN graph, image differences, constant speed"
FRAMES = 55  # as in the report's `2d_linear.gif`

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WayScore:
    """One way to interpolate, as means over pairs.

    Attributes:
        num_frames: of an animation.
        detour: length of the latent path in units of the straight line's.
        interpolation_mse: distance to the nearest image, on 0-255 squared.
        worst: the same of the worst frame.
        jump: largest step between frames over the mean step.
        unevenness: coefficient of variation of the steps.
    """

    num_frames: float
    detour: float
    interpolation_mse: float
    worst: float
    jump: float
    unevenness: float


Ways = Mapping[str, WayScore]


def compare(run: Run, *, num_pairs: int) -> Ways:
    """Return every way's scores, from the run's folder or measured now.

    Args:
        run: trained well.
        num_pairs: random pairs.

    Raises:
        UserError: as `evaluate` does.
    """
    path = run.workdir.root / FILE
    made_of = f"{run.opened.stamp}, {num_pairs} pairs"
    if path.exists():
        saved = read_json(path, cure=REMOVE)
        if saved.get("made_of") == made_of:
            return {name: WayScore(**score) for name, score in saved["ways"].items()}
    ways = _measured(run, num_pairs=num_pairs)
    scores = {name: dataclasses.asdict(score) for name, score in ways.items()}
    write_json(path, {"made_of": made_of, "ways": scores})
    return ways


def _measured(run: Run, *, num_pairs: int) -> Ways:
    radius = connecting.smallest_radius(encode_all(run.opened).codes)
    latent = GraphConfig(weight="latent")
    within = GraphConfig(kind="radius", radius=radius, weight="latent")
    images = GraphConfig(weight="image")
    an_edge, steady = Timing(), Timing(frames=FRAMES)
    found: dict[str, WayScore] = {}
    for name, graph, timing in (
        (REPORTS, latent, an_edge),
        (CONSTANT_SPEED, latent, steady),
        (RADIUS, within, an_edge),
        (RADIUS_CONSTANT, within, steady),
        (DENSITY, GraphConfig(weight="density"), an_edge),
        (IMAGES, images, an_edge),
        (IMAGES_CUBED, GraphConfig(weight="image-density"), an_edge),
        (IMAGES_CONSTANT, images, steady),
    ):
        _log.info("%s, %s: %s", run.name, run.model, name)
        config = EvaluateConfig(
            num_pairs=num_pairs, methods=("linear", "surfing"), graph=graph, timing=timing
        )
        scores = means(evaluate.measure(run.opened, config).content)
        straight = scores["linear"]["path_length"]
        found.setdefault(STRAIGHT, _score(scores["linear"], straight))
        found[name] = _score(scores["surfing"], straight)
    return found


def _score(score: dict[str, float], straight: float) -> WayScore:
    return WayScore(
        num_frames=score["num_frames"],
        detour=score["path_length"] / straight,
        interpolation_mse=score[evaluate.METRIC],
        worst=score[f"{evaluate.METRIC}_worst"],
        jump=score["step_jump"],
        unevenness=score["step_unevenness"],
    )
