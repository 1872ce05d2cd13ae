"""The whole pipeline in one call: the arm, trained, animated, measured."""

import logging
from pathlib import Path

from jaxsurf.manifold.path import Timing
from jaxsurf.pipeline import evaluate, page, surf
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.evaluate import EvaluateConfig
from jaxsurf.pipeline.surf import SurfConfig
from jaxsurf.pipeline.train import train

# The report's 2-D example pair, and two between which the straight latent line leaves the data.
PAIRS = ((801, 968), (1160, 122), (117, 60))
# Read by the images alone, which is less exact: drawing those between takes longer than training.
EVALUATION = EvaluateConfig(num_pairs=50, timing=Timing(frames=48), truth="images")

_log = logging.getLogger(__name__)


def quickstart(config: RunConfig, root: Path | str) -> str:
    """Train, animate three pairs, evaluate many, and write the report."""
    _log.info("training in %s (the same command resumes)", root)
    run = train(config, root)
    for source, target in PAIRS:
        result = surf.surf(run, SurfConfig(source=str(source), target=str(target)))
        _log.info("animated %d -> %d in %s", source, target, result.folder)
    _log.info("evaluating %d pairs", EVALUATION.num_pairs)
    evaluation = evaluate.evaluate(run, EVALUATION)
    page.write(run)
    first = "-".join(map(str, PAIRS[0]))
    return (
        f"{evaluation}\nanimations: {run.workdir.surf(first)}\n"
        f"everything on one page: {run.workdir.report}"
    )
