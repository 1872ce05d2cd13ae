"""The whole road in one call: the arm, trained, animated, measured."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxsurf.pipeline import evaluate, report, surf, train
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.evaluate import EvaluateConfig
from jaxsurf.pipeline.surf import SurfConfig

# The report's 2-D example pair, and two that turn the arm far round.
PAIRS = ((801, 968), (46, 1513), (1190, 130))
NUM_PAIRS = 100

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class QuickstartResult:
    """What the newcomer is told at the end."""

    workdir: Path
    evaluation: dict[str, Any]

    def __str__(self) -> str:
        methods = self.evaluation["methods"]
        lines = [
            f"reconstruction {self.evaluation['reconstruction']['psnr_db']:.1f} dB;"
            f" {self.evaluation['graph']}",
            f"interpolation_mse of {self.evaluation['num_pairs']} random pairs, smaller is better:",
        ]
        for method, scores in methods.items():
            score = scores["interpolation_mse"]
            versus = self.evaluation["versus"].get(method, {}).get("interpolation_mse")
            beside = f"   {versus['ratio']:.2f} of linear's" if versus else ""
            wins = f", better in {versus['win_rate']:.0%}" if versus else ""
            lines.append(
                f"  {method:8} {score['mean']:8.2f}  [{score['low']:.2f}, {score['high']:.2f}]"
                f"{beside}{wins}"
            )
        first = self.workdir / "surf" / f"{PAIRS[0][0]}-{PAIRS[0][1]}"
        lines += [f"animations: {first}", f"everything on one page: {self.workdir / 'report.html'}"]
        return "\n".join(lines)


def quickstart(config: RunConfig, root: Path) -> QuickstartResult:
    """Train, animate three pairs, evaluate a hundred, and write the report.

    Args:
        config: of the run.
        root: the working directory.

    Returns:
        Where everything is, and the scores.
    """
    _log.info("training in %s (the same command resumes)", root)
    run = train.train(config, root)
    for source, target in PAIRS:
        result = surf.surf(run, SurfConfig(source=str(source), target=str(target)))
        _log.info("animated %d -> %d in %s", source, target, result.folder)
    _log.info("evaluating %d random pairs", NUM_PAIRS)
    evaluation = evaluate.evaluate(run, EvaluateConfig(num_pairs=NUM_PAIRS))
    report.write(run)
    return QuickstartResult(workdir=root, evaluation=evaluation)
