"""The whole reproduction: train, search, measure, animate, draw, judge, and write one page.

At the scale `small` every second value of both axes is kept (400 images), images shrink to 32 x 32,
and runs are shorter. The learning rate falls at the same shares of a run as in the report.
"""

import itertools
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.spatial.distance import pdist, squareform

from jaxsurf.evaluation import reconstruction
from jaxsurf.frames import media
from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline import configuration, experiments
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.experiments import Settings
from jaxsurf.pipeline.reproduce import claims, measures
from jaxsurf.pipeline.reproduce.measures import COMBINED, METHODS, Measured
from jaxsurf.pipeline.run import Run, connect, encode_all
from jaxsurf.pipeline.surf import SurfConfig, surf
from jaxsurf.pipeline.sweep import Grid, best, make_grid, sweep
from jaxsurf.viewing import plots, report
from jaxsurf.viewing.plots import LatentPlot
from jaxsurf.workdir import WorkDir, read_json, replacing, write_text

PAGE = "reproduction.md"
# What each experiment's animations are called in the report.
ANIMATED = {
    "mse_2d": "2d_{}.gif",
    COMBINED: "2d_{}_with_combined_loss.gif",
    "mse_3d": "3d_{}.gif",
}
# The report's 2-D example pair, images 801 and 968 of 1,600, as values of the two axes.
EXAMPLE = ((20, 1), (24, 8))
LOSSES = ("mse_2d", "perceptual_2d", COMBINED, "combined_30_70", "combined_99_1")
NUM_SHOWN = 9

SMALL_DATA: Mapping[str, object] = {"data.side": 32, "data.stride": 2}
# Epochs and batch size at the scale `small`.
SMALL = {
    "pixels": (40, 16),
    "perceptual": (20, 8),  # as many steps, with half the images through VGG16
    "third factor": (16, 16),  # three times as many images an epoch
    "grid": (10, 8),  # six runs a model, in half the steps
}
# Our combination is set beside MSE alone, so it is trained on as many images.
AS_LONG_AS_MSE = "combined_99_1"
# The rate of the report's long runs would not get far in a three-hundredth of their epochs.
SMALL_LONG_RATE = 3e-3
# Our model's epochs at full scale where a perceptual term slows learning down; else its default.
FULL_PERCEPTUAL_EPOCHS = 600
# As many as an evaluation has by default, and half of them.
NUM_PAIRS = {"small": 50, "full": 100}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large, and on which images.

    Attributes:
        name: `small` or `full`.
        mpi3d: MPI3D-toy's file; empty means the arm.
    """

    name: Literal["small", "full"] = "small"
    mpi3d: str = ""

    def config(self, name: str, model: str) -> RunConfig:
        """Return the configuration of an experiment."""
        settings = experiments.settings(name, model) | self._shared()
        experiment, perceptual = experiments.EXPERIMENTS[name], "objective.perceptual" in settings
        if self.name == "full":
            made = configuration.from_dotted(settings)
            slow = model == "smooth" and perceptual
            return configuration.lasting(made, FULL_PERCEPTUAL_EPOCHS) if slow else made
        kind = "perceptual" if perceptual and name != AS_LONG_AS_MSE else "pixels"
        settings = _shortened(settings, "third factor" if experiment.free else kind)
        if model == "reference" and experiment.recipe == "long":
            settings["optimizer.learning_rate"] = SMALL_LONG_RATE
        return configuration.from_dotted(settings)

    def grid(self, model: str) -> Grid:
        """Return the grid search of a model; of noises alone if it is small or the model ours."""
        plain: Settings = {"objective.mse": experiments.SYMMETRIC, "targets.kind": "off"}
        own = experiments.GRID_BASE if model == "reference" else plain
        base, axes = {**own, **self._shared()}, experiments.GRID_AXES
        if self.name == "small":
            base = _shortened(base, "grid")
        if self.name == "small" or model != "reference":
            axes = {name: axes[name] for name in ("corruption.strength", "corruption.kind")}
        return make_grid(base, axes)

    def _shared(self) -> Settings:
        """Return the images, and the report's own graph: others are compared apart."""
        made: Settings = {"graph.kind": "smallest", "graph.weight": "latent"}
        made |= SMALL_DATA if self.name == "small" else {}
        return made | ({"data.source": "mpi3d_toy", "data.path": self.mpi3d} if self.mpi3d else {})


def _shortened(settings: Settings, kind: str) -> Settings:
    epochs, batch_size = SMALL[kind]
    shorter = configuration.lasting(configuration.from_dotted(settings), epochs)
    shared = {"training.num_epochs": epochs, "training.batch_size": batch_size}
    return {**settings, **shared, "optimizer.step_epochs": shorter.optimizer.step_epochs}


def reproduce(scale: Scale, root: Path | str, *, shown: bool = True) -> str:
    """Run every experiment of the report, write `reproduction.md`, and return a summary.

    What is finished is kept.
    """
    root = WorkDir(Path(root)).check_writable().root
    # The noises are the grid's.
    names = [name for name in experiments.EXPERIMENTS if not name.startswith("noise_")]
    runs: dict[tuple[str, str], Measured] = {}
    for name, model in itertools.product(names, experiments.MODELS):
        folder, number = root / "runs" / f"{model}-{name}", NUM_PAIRS[scale.name]
        config = scale.config(name, model)
        runs[name, model] = measures.make_run(name, model, config, folder, number, shown=shown)
    grids = {
        model: sweep(scale.grid(model), root / f"grid-{model}", shown=shown)
        for model in experiments.MODELS
    }
    animated = {}
    for key, run in runs.items():
        if run.opened and run.name in ANIMATED:
            animated[key] = _animate(run, run.opened, root)
        if run.opened and experiments.EXPERIMENTS[run.name].free:
            factor = run.name.replace("_", " ")
            values = measures.factor_values(run.opened.images, run.name)
            plot = LatentPlot(
                codes=encode_all(run.opened).codes,
                title=f"Latent codes by {factor}, {run.model}",
                groups=[f"{value:g}" for value in values],
                legend=factor,
            )
            path = root / "figures" / run.model / f"clusters_{run.name}.png"
            plots.save(plots.latent(plot), path)
    for model in experiments.MODELS:
        _draw_reconstructions([runs[name, model] for name in LOSSES], root / "figures" / model)
    judged = claims.judge_all(runs, grids)
    pictures = [*sorted((root / "figures").rglob("*.png")), *sorted(root.glob("grid-*/losses.png"))]
    page = render(
        scale,
        judged=judged,
        runs=runs,
        animated=animated,
        best={model: best(results) for model, results in grids.items()},
        pictures=[path.relative_to(root) for path in pictures],
    )
    write_text(root / PAGE, page)
    lines = [f"{root / PAGE}:"]
    for model in experiments.MODELS:
        held = [each.verdicts[model].holds for each in judged]
        counts = f"{held.count(True)} claims hold, {held.count(False)} do not"
        lines.append(f"  {model:10} {counts}, {held.count(None)} not measured")
    told = [run.by_truth for run in runs.values() if run.name in ANIMATED and run.by_truth]
    return "\n".join([*lines, *(f"  {line}" for line in told)])


def example_pair(images: ImageSet) -> tuple[int, int]:
    """Return the images nearest to the poses of the report's example pair."""
    values = [measures.factor_values(images, f"{axis}_axis") for axis in ("horizontal", "vertical")]
    poses = np.stack(values, axis=1).astype(np.float64)
    source, target = (int(np.square(poses - pose).sum(axis=1).argmin()) for pose in EXAMPLE)
    return source, target


def render(scale: Scale, **parts: Any) -> str:  # noqa: ANN401  (what the template asks for)
    """Return the page as Markdown: `reproduction.md.jinja`, filled in."""
    return report.fill(
        Path(__file__).with_name("reproduction.md.jinja"),
        models=experiments.MODELS,
        files=ANIMATED,
        methods=METHODS,
        combined=COMBINED,
        decisive=configuration.decisive,
        full=Scale(name="full", mpi3d=scale.mpi3d),
        scale=scale,
        num_pairs=NUM_PAIRS[scale.name],
        **parts,
    )


def _animate(run: Measured, opened: Run, root: Path) -> dict[str, Any]:
    """Make a run's two animations and the pictures of its latent space; return `path.json`."""
    latents = encode_all(opened)
    # The report's choice: its example in 2-D, the two latents farthest apart in 3-D.
    pair = example_pair(opened.images)
    if opened.config.model.latent_dim > 2:
        distances = squareform(pdist(latents.codes))
        pair = divmod(int(distances.argmax()), len(distances))
    source, target = (str(number) for number in pair)
    made, figures = opened.workdir.surf(source, target), root / "figures" / run.model
    path = made / "path.json"
    saved = read_json(path, cure=f"remove {made}: it is made again") if path.exists() else {}
    if saved.get("checkpoint") != opened.step or set(saved.get("methods", ())) != set(METHODS):
        _log.info("animating %s with %s", run.name, run.model)
        surf(opened, SurfConfig(source=source, target=target, methods=METHODS))
        saved = read_json(path)
    animations, named = root / "animations" / run.model, ANIMATED[run.name]
    copies = {f"{method}.gif": animations / named.format(method) for method in METHODS}
    copies["latent.png"] = figures / f"{run.name}_path.png"
    copies["strip.png"] = figures / f"{run.name}_strip.png"
    for name, copy in copies.items():
        with replacing(copy) as temporary:
            shutil.copyfile(made / name, temporary)
    graph = connect(opened, latents, opened.config.graph)
    shown = {"latents": ("Latent codes", None), "graph": (graph.description, graph.edges()[0])}
    for what, (title, edges) in shown.items():
        title = f"{title}: {run.about}, {run.model}"
        plot = LatentPlot(codes=latents.codes, title=title, edges=edges)
        plots.save(plots.latent(plot), figures / f"{run.name}_{what}.png")
    return saved


def _draw_reconstructions(runs: list[Measured], folder: Path) -> None:
    rows = {}
    for run in runs:
        if run.opened:
            images, look = run.opened.images.images, run.opened.images.look
            chosen = images[np.linspace(0, len(images) - 1, NUM_SHOWN).round().astype(int)]
            rows["original"] = look.rgb(chosen)
            rows[run.about] = look.rgb(reconstruction.reconstruct(run.opened.model, chosen))
    if rows:
        strip = media.strip(rows, num_shown=NUM_SHOWN, scale=3)
        media.write_png(folder / "reconstructions.png", strip)
