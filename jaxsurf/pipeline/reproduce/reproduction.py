"""The whole reproduction: train, search, measure, animate, draw, judge, and write one page."""

import logging
from dataclasses import dataclass
from pathlib import Path

from jaxsurf.errors import UserError
from jaxsurf.pipeline import experiments
from jaxsurf.pipeline.reproduce import claims, cures, measures, page, pictures, runs
from jaxsurf.pipeline.reproduce.claims import COMBINED, Evidence, Judged
from jaxsurf.pipeline.reproduce.pictures import Animated
from jaxsurf.pipeline.reproduce.runs import Key, Runs
from jaxsurf.pipeline.reproduce.scale import Scale
from jaxsurf.pipeline.sweep import sweep
from jaxsurf.workdir import write_text

PAGE = "reproduction.md"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reproduction:
    """Where the page is, and how many claims hold."""

    path: Path
    judged: list[Judged]

    def __str__(self) -> str:
        told = [f"{self.path}:"]
        for model in experiments.MODELS:
            verdicts = [each.verdicts[model].holds for each in self.judged]
            told.append(
                f"  {model:10} {verdicts.count(True)} claims hold, {verdicts.count(False)} do not, "
                f"{verdicts.count(None)} not measured"
            )
        return "\n".join(told)


def reproduce(scale: Scale, root: Path | str, *, shown: bool = True) -> Reproduction:
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
    if scale.mpi3d and not Path(scale.mpi3d).exists():
        raise UserError(
            f"there is no {scale.mpi3d}", cure="name MPI3D-toy's .npz file with --mpi3d"
        )
    root = Path(root)
    done = runs.train_all(scale, root, shown=shown)
    grids = {
        model: sweep(scale.grid(model), root / f"grid-{model}", shown=shown).results
        for model in experiments.MODELS
    }
    evidence = Evidence(
        runs=done,
        measures=measures.measure_all(done, num_pairs=scale.num_pairs),
        ways={
            model: cures.compare(done[COMBINED, model], num_pairs=scale.num_pairs)
            for model in experiments.MODELS
            if done[COMBINED, model].outcome.good
        },
        grids=grids,
    )
    animated = _draw(done, root)
    judged = claims.judge_all(evidence)
    text = page.markdown(scale, judged, evidence, animated, _pictures(root))
    write_text(root / PAGE, text)
    return Reproduction(root / PAGE, judged)


def _draw(done: Runs, root: Path) -> dict[Key, Animated]:
    """Make the six animations and all pictures, with both models."""
    made = {}
    for model in experiments.MODELS:
        for name in pictures.ANIMATED:
            run = done[name, model]
            if run.outcome.good:
                _log.info("animating %s with %s", name, model)
                made[name, model] = pictures.animate(run, root)
        pictures.show_reconstructions(done, model, root)
        for factor in pictures.THIRD_FACTORS:
            if done[factor, model].outcome.good:
                pictures.show_clusters(done[factor, model], root)
    return made


def _pictures(root: Path) -> list[Path]:
    """Return all pictures that are there, relative to the page."""
    found = [*sorted((root / "figures").rglob("*.png")), *sorted(root.glob("grid-*/losses.png"))]
    return [path.relative_to(root) for path in found]
