"""The whole reproduction: train, search, animate, draw, judge, and write one page."""

import logging
from dataclasses import dataclass
from pathlib import Path

from jaxsurf.errors import UserError
from jaxsurf.pipeline import experiments, sweep
from jaxsurf.pipeline.reproduce import claims, cures, material, page, runs
from jaxsurf.pipeline.reproduce.claims import Evidence
from jaxsurf.pipeline.reproduce.material import Animated
from jaxsurf.pipeline.reproduce.runs import Runs
from jaxsurf.pipeline.reproduce.scale import Scale
from jaxsurf.workdir import write_text

PAGE = "reproduction.md"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reproduction:
    """Where the page is, and how many claims hold."""

    path: Path
    judged: list[claims.Claim]

    def __str__(self) -> str:
        told = [f"{self.path}:"]
        for model in experiments.MODELS:
            verdicts = [claim.verdicts[model].holds for claim in self.judged]
            told.append(
                f"  {model:10} {verdicts.count(True)} claims hold, {verdicts.count(False)} do not, "
                f"{verdicts.count(None)} not measured"
            )
        return "\n".join(told)


def reproduce(scale: Scale, root: Path, *, shown: bool = True) -> Reproduction:
    """Run every experiment of the report, and write `reproduction.md`.

    What is finished is kept: the same call again goes on where the last one stopped.

    Args:
        scale: how large, on which images.
        root: the folder of the reproduction.
        shown: draw progress bars.

    Returns:
        The page and the verdicts.

    Raises:
        UserError: bad data, an unwritable folder, or one that holds another reproduction.
        Interrupted: a signal asked to stop; what was trained is saved.
    """
    _check_path(scale)
    trained = runs.train_all(scale, root, shown=shown)
    grids = {
        model: sweep.sweep(scale.grid(model), root / f"grid-{model}", shown=shown).results
        for model in experiments.MODELS
    }
    animated = _animate(trained, root)
    compared = {
        model: cures.compare(trained["combined_70_30", model])
        for model in experiments.MODELS
        if trained["combined_70_30", model].outcome.good
    }
    evidence = Evidence(runs=trained, cures=compared, grids=grids)
    judged = claims.judge_all(evidence)
    text = page.write_page(scale, judged, evidence, animated, _pictures(root))
    write_text(root / PAGE, text)
    return Reproduction(root / PAGE, judged)


def _check_path(scale: Scale) -> None:
    if scale.mpi3d and not Path(scale.mpi3d).exists():
        raise UserError(
            f"there is no {scale.mpi3d}", cure="name MPI3D-toy's .npz file with --mpi3d"
        )


def _animate(trained: Runs, root: Path) -> dict[tuple[str, str], Animated]:
    """Make the six animations and all figures, with both models."""
    made = {}
    for model in experiments.MODELS:
        for name in material.ANIMATED:
            run = trained[name, model]
            if run.outcome.good:
                _log.info("animating %s with %s", name, model)
                made[name, model] = material.animate(run, root)
        material.show_reconstructions(trained, model, root)
        for factor in material.THIRD_FACTORS:
            if trained[factor, model].outcome.good:
                material.show_clusters(trained[factor, model], root)
    return made


def _pictures(root: Path) -> list[Path]:
    """Return all pictures that are there, relative to the page."""
    found = [*sorted((root / "figures").rglob("*.png")), *sorted(root.glob("grid-*/losses.png"))]
    return [path.relative_to(root) for path in found]
