"""What `import jaxsurf` offers of runs: train one, open one, surf and evaluate it in memory.

Nothing here writes a file but training and `Animation.save`; codes and graph of a run are kept in
its working directory, as the commands keep them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Real

from jaxsurf.errors import UserError
from jaxsurf.frames import animate, media
from jaxsurf.frames.animate import Animation, Timing
from jaxsurf.images import files
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold.graph_config import GraphConfig
from jaxsurf.pipeline import configuration, evaluate, surf
from jaxsurf.pipeline import run as runs
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.evaluate import EvaluateConfig, Evaluation
from jaxsurf.pipeline.run import LAST, TrainedRun
from jaxsurf.pipeline.surf import SurfConfig
from jaxsurf.workdir import WorkDir, write_arrays

IMAGES = "images.npz"

Stop = int | str | Path | Real[np.ndarray, "latent"] | Sequence[float]


class Run(TrainedRun):
    """A trained model with the images and the configuration that it was trained with."""

    def surf(
        self,
        source: Stop,
        target: Stop,
        *,
        frames: int | None = None,
        method: str = "surfing",
        graph: GraphConfig | None = None,
        frame_ms: float = media.FRAME_MS,
    ) -> Animation:
        """Return the animation from one image to another, in memory; `save` writes it.

        Args:
            source: the number of an image, the path of an image file, or a latent code.
            target: the same.
            frames: how many, at constant speed; None is 3 on each edge of the path.
            method: `surfing`, `linear` or `pixel`.
            graph: another graph than the run's own.
            frame_ms: how long a frame is shown, in milliseconds.

        Raises:
            UserError: an end is out of range or unreadable, no path joins the ends, or the method
                is not known.
        """
        config = SurfConfig(
            source=_named(source),
            target=_named(target),
            methods=(method,),
            timing=Timing(frames=frames),
            graph=graph,
            frame_ms=frame_ms,
        )
        return surf.make(self, config).animations[method]

    def evaluate(
        self,
        num_pairs: int = 100,
        *,
        methods: Sequence[str] = animate.METHODS,
        frames: int | None = None,
        graph: GraphConfig | None = None,
        seed: int = 0,
    ) -> Evaluation:
        """Return the scores of methods on random pairs.

        Args:
            num_pairs: how many.
            methods: which; `linear`, the baseline, is scored in any case.
            frames: of each animation, at constant speed; None is 3 on each edge of the path.
            graph: another graph than the run's own.
            seed: of pairs and intervals.

        Raises:
            UserError: there are too many pairs, a method is not known, or no path joins a pair.
        """
        config = EvaluateConfig(
            num_pairs=num_pairs,
            methods=tuple(methods),
            timing=Timing(frames=frames),
            graph=graph,
            seed=seed,
        )
        return evaluate.measure(self, config)


def train(
    config: RunConfig | Mapping[str, object] | ImageSet,
    workdir: Path | str,
    settings: Mapping[str, object] | None = None,
    *,
    extend: bool = False,
    shown: bool = True,
) -> Run:
    """Train a model, or go on where an earlier call with the same arguments stopped.

    Args:
        config: the settings of a run, as `RunConfig` or by dotted name, such as
            `{"data.source": "pictures/", "data.side": 64}`; or images, whose pixels and factors
            are copied into the working directory, so that the run can be opened again.
        workdir: the folder of the run.
        settings: beside images: what differs from the defaults, by dotted name, such as
            `{"training.num_epochs": 50}`.
        extend: allow more epochs than the earlier call was planned for.
        shown: draw a progress bar.

    Raises:
        UserError: a setting or the images are not good, the folder is that of another run,
            training diverges, or the model learns next to nothing.
    """
    if isinstance(config, ImageSet):
        own = [name for name in settings or {} if name.startswith("data.")]
        if own:
            raise UserError(
                f"{own[0]} means nothing where images are given",
                cure="give it to open_images, or to train without images",
            )
        file = WorkDir(Path(workdir)).check_writable().root.absolute() / IMAGES
        named = dict(settings or {}) | {"data.source": "file", "data.path": str(file)}
        images, config = config, configuration.from_dotted(named)
        _keep(images, file)  # when the settings are known to be good
    elif settings is not None:
        raise UserError("settings were given twice", cure="give one of config and settings")
    if isinstance(config, Mapping):
        config = configuration.from_dotted(config)
    return Run(**vars(runs.train(config, workdir, extend=extend, shown=shown)))


def open_run(workdir: Path | str, *, checkpoint: str = LAST) -> Run:
    """Return the run of a working directory.

    Args:
        workdir: the folder that it was trained in.
        checkpoint: `last`, `best` (the lowest loss of those that were kept), or a step.

    Raises:
        UserError: nothing was trained there, there is no such checkpoint, or images or files have
            changed.
    """
    return Run(**vars(runs.open_run(workdir, checkpoint=checkpoint)))


def _named(stop: Stop) -> str:
    """Return a stop as the text that the command line takes."""
    if isinstance(stop, Path):
        return str(Path.cwd() / stop)  # so that a name of digits is no number
    if isinstance(stop, str | int | np.integer):
        return str(stop)
    return f"code:{','.join(repr(float(value)) for value in np.ravel(stop))}"


def _keep(images: ImageSet, file: Path) -> None:
    """Write images and factors to a file, or refuse others than those that it holds."""
    arrays = {"images": images.images}
    if images.factors is not None:
        arrays |= {"factors": images.factors, "factor_names": np.array(images.factor_names)}
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(file, **arrays)
    # Without the recipe, which the file does not hold.
    elif files.open_path(file).fingerprint != dataclasses.replace(images, recipe="").fingerprint:
        raise UserError(f"{file} holds other images or factors", cure="train in another folder")
