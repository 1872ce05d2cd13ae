"""The report's animations under its own names, and its pictures."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist, squareform

from jaxsurf.evaluation import reconstruction
from jaxsurf.frames import media
from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline import surf
from jaxsurf.pipeline.reproduce.runs import Run, Runs
from jaxsurf.pipeline.run import connect, encode_all
from jaxsurf.pipeline.surf import SurfConfig
from jaxsurf.viewing import plots
from jaxsurf.viewing.plots import LatentPlot
from jaxsurf.workdir import read_json, replacing

# What each experiment's animations are called in the report.
ANIMATED = {
    "mse_2d": "2d_{}.gif",
    "combined_70_30": "2d_{}_with_combined_loss.gif",
    "mse_3d": "3d_{}.gif",
}
METHODS = ("linear", "surfing")
# The report's 2-D example pair, images 801 and 968 of 1,600, as values of the two axes.
EXAMPLE = ((20, 1), (24, 8))
LOSSES = ("mse_2d", "perceptual_2d", "combined_70_30", "combined_30_70", "combined_99_1")
THIRD_FACTORS = ("camera_height", "background_color")
NUM_SHOWN = 9

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Animated:
    """One run's example pair: what `path.json` says of it."""

    pair: tuple[int, int]
    description: dict[str, Any]


def animate(run: Run, root: Path) -> Animated:
    """Make a run's two animations and the figures of its latent space.

    Args:
        run: one of `ANIMATED`, trained well.
        root: the folder of the reproduction.

    Returns:
        The pair and its scores.
    """
    opened = run.opened
    latents = encode_all(opened)
    codes = latents.codes
    # The report's choice: its example in 2-D, the two latents farthest apart in 3-D.
    pair = _farthest(codes) if run.config.model.latent_dim > 2 else example_pair(opened.images)
    folder = opened.workdir.surf(str(pair[0]), str(pair[1]))
    if not _current(folder / "path.json", run):
        surf.surf(opened, SurfConfig(source=str(pair[0]), target=str(pair[1]), methods=METHODS))
    for method in METHODS:
        name = ANIMATED[run.name].format(method)
        _copy(folder / f"{method}.gif", root / "animations" / run.model / name)
    place = root / "figures" / run.model
    _copy(folder / "latent.png", place / f"{run.name}_path.png")
    _copy(folder / "strip.png", place / f"{run.name}_strip.png")
    built = connect(opened, latents, opened.config.graph)
    title = f"{run.about}, {run.model}"
    plain = LatentPlot(codes=codes, title=f"Latent codes: {title}")
    plots.save(plots.latent(plain), _made(place / f"{run.name}_latents.png"))
    joined = LatentPlot(codes=codes, title=f"{built.description}: {title}", edges=built.edges()[0])
    plots.save(plots.latent(joined), _made(place / f"{run.name}_graph.png"))
    return Animated(pair, read_json(folder / "path.json"))


def _current(path: Path, run: Run) -> bool:
    """Return whether an animation is there that was made with the run as it is."""
    if not path.exists():
        return False
    saved = read_json(path, cure="remove its folder: it is made again")
    return saved.get("checkpoint") == run.opened.step and set(saved.get("methods", ())) == set(
        METHODS
    )


def example_pair(images: ImageSet) -> tuple[int, int]:
    """Return the images nearest to the poses of the report's example pair."""
    axes = [images.factor_names.index(name) for name in ("horizontal_axis", "vertical_axis")]
    assert images.factors is not None
    poses = images.factors[:, axes].astype(np.float64)
    source, target = (int(np.square(poses - pose).sum(axis=1).argmin()) for pose in EXAMPLE)
    return source, target


def _farthest(codes: np.ndarray) -> tuple[int, int]:
    """Return the two latents that are farthest apart."""
    first, second = divmod(int(squareform(pdist(codes)).argmax()), len(codes))
    return first, second


def show_reconstructions(runs: Runs, model: str, root: Path) -> None:
    """Draw the same images under each loss, one row a loss."""
    shown = [runs[name, model] for name in LOSSES if runs[name, model].outcome.good]
    if not shown:
        return
    images = shown[0].opened.images.images
    chosen = images[np.linspace(0, len(images) - 1, NUM_SHOWN).round().astype(int)]
    rows = {"original": chosen} | {
        run.about: reconstruction.reconstruct(run.opened.model, chosen) for run in shown
    }
    path = _made(root / "figures" / model / "reconstructions.png")
    media.write_png(path, media.strip(rows, num_shown=NUM_SHOWN, scale=3))


def show_clusters(run: Run, root: Path) -> None:
    """Draw the latent codes of images with a third factor, coloured by it."""
    opened = run.opened
    images = opened.images
    assert images.factors is not None
    values = images.factors[:, images.factor_names.index(run.name)]
    name = run.name.replace("_", " ")
    plot = LatentPlot(
        codes=encode_all(opened).codes,
        title=f"Latent codes by {name}, {run.model}",
        groups=[f"{value:g}" for value in values],
        legend=name,
    )
    plots.save(plots.latent(plot), _made(root / "figures" / run.model / f"clusters_{run.name}.png"))


def _copy(source: Path, target: Path) -> None:
    with replacing(_made(target)) as temporary:
        shutil.copyfile(source, temporary)


def _made(path: Path) -> Path:
    """Return a path whose folder is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
