"""The whole pipeline in one call: images trained on, animated, measured, on one page.

Without images it is the robot arm, whose settings are known. A user's own images are looked at
first: how large a side, how many latent dimensions and how many steps are fit for them and for the
time that is given follows from what is seen.
"""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.evaluation import pairs
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import graph, neighbors, targets
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.manifold.path import Timing
from jaxsurf.models.autoencoder import padded
from jaxsurf.pipeline import configuration, evaluate, page, surf
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.evaluate import EvaluateConfig
from jaxsurf.pipeline.run import Run, encode_all, read_config
from jaxsurf.pipeline.setup import compile_run, make_setup
from jaxsurf.pipeline.surf import SurfConfig
from jaxsurf.pipeline.train import check_varied, train, train_on
from jaxsurf.training import loop
from jaxsurf.training.data import make_plan
from jaxsurf.workdir import WorkDir, write_text

# The report's 2-D example pair, and two between which the straight latent line leaves the data.
PAIRS = ((801, 968), (1160, 122), (117, 60))
# Read by the images alone, which is less exact: drawing those between takes longer than training.
EVALUATION = EvaluateConfig(num_pairs=50, timing=Timing(frames=48), truth="images")

# Of the minutes given, training may take this share; the rest is for looking, animating, measuring.
TRAINING_SHARE = 0.55
# Steps that a set should have at least, for which its images are made smaller, and at most.
FEWEST_STEPS, MOST_STEPS = 3_000, 10_000
STEPS_AN_IMAGE, LEAST_STEPS = 150, 200  # more of the same few images teach nothing
# Longer sides that images may be made smaller to, where the time is too short for their own.
SIDES = (256, 192, 128, 96, 64, 48, 32)
LARGEST_AS_IS = 256
PROBED = 64  # the longer side at which the pace of large images is measured
# Steps by which the pace is measured; the first ones compile.
WARM_UP, TIMED = 2, 6
# Where no layout will do: several groups, or more ways to vary than a map can have.
MANY_DIMENSIONS = 6
# Above so many images, decoding along edges takes longer than comparing the images at their ends.
MOST_DECODED = 5_000
FEW_IMAGES = 50
# Of what lies between two random images, the share that neighbours differ by: up to the first one
# sees a motion from one to the next, from the second on none.
SMOOTH, ROUGH = 0.35, 0.7
# Of the same, the share that an image and its copy differ by.
COPY = 0.02

_log = logging.getLogger(__name__)


def quickstart(config: RunConfig, root: Path | str) -> str:
    """Train, animate three pairs, evaluate many, and write the report."""
    _log.info("training in %s (the same command resumes)", root)
    return _show(train(config, root), PAIRS, EVALUATION)


def _show(
    run: Run, ends: Sequence[tuple[int, int]], scoring: EvaluateConfig, expected: str = ""
) -> str:
    for source, target in ends:
        config = SurfConfig(source=str(source), target=str(target), timing=scoring.timing)
        result = surf.surf(run, config)
        _log.info("animated %d -> %d in %s", source, target, result.folder)
    _log.info("evaluating %d pairs", scoring.num_pairs)
    evaluation = evaluate.evaluate(run, scoring)
    page.write(run)
    place = run.workdir.surf("-".join(map(str, ends[0])))
    made = f"animations: {place.parent}, such as {place.name}"
    page_is = f"everything on one page: {run.workdir.report}"
    return "\n".join(filter(None, [str(evaluation), expected, made, page_is]))


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a set of images looks like, before any model."""

    number: int  # of images
    distinct: int  # of these no copies of others; where they are not few, all
    roughness: float  # how much neighbouring images differ, as a share of how much any two do
    groups: int  # between which no image leads over
    residuals: dict[int, float]  # of layouts, by dimensions (see `manifold.targets`)
    dimensions: int | None  # fewest latent ones in which images can be laid out; None if none

    def __str__(self) -> str:
        """Return what to expect, in plain words."""
        lines = []
        if self.distinct < FEW_IMAGES:
            copies = f", {self.distinct} without copies," * (self.distinct < self.number)
            lines.append(
                f"{self.number} images{copies} are few: what lies between them is the model's "
                "guess; with some hundred more it would have been shown"
            )
        if self.roughness >= ROUGH:
            lines.append(
                "neighbouring images differ nearly as much as any two: expect images to melt into "
                "one another rather than to move"
            )
        elif self.roughness <= SMOOTH:
            lines.append("neighbouring images are much alike: expect smooth motion between them")
        else:
            lines.append(
                "neighbouring images differ visibly: expect motion with some melting between them"
            )
        if self.groups > 1:
            lines.append(
                f"the images form {self.groups} groups that no image joins: paths within a group "
                "are sound, those from one to another leap"
            )
        if self.dimensions is None:
            lines.append(
                f"they vary in more ways than {max(self.residuals)} dimensions hold: the map of "
                "codes shows their first principal components, and paths take many turns"
            )
        elif self.distinct >= FEW_IMAGES:
            lines.append(f"a map of {self.dimensions} dimensions holds them")
        return "what to expect: " + "; ".join(lines)


def look(images: ImageSet) -> Seen:
    """Return what a set looks like: how alike, how many groups, how many ways to vary."""
    tried = targets.try_layouts(images.images, 2)
    if tried is None:
        raise UserError(f"the images of {images.name} are all nearly equal", cure="choose others")
    points = tried.points[tried.chosen]
    random = np.random.default_rng(0).integers(len(points), size=(2, 4 * len(points)))
    others = neighbors.distances(points[random[0]], points[random[1]])
    # The first images that are copies of none before, as far as they count as few.
    single, left = points[:0], points
    while len(left) and len(single) < FEW_IMAGES:
        single = np.concatenate([single, left[:1]])
        left = left[neighbors.distances(left, left[:1]) > COPY * float(np.median(others))]
    few = 1 < len(single) < FEW_IMAGES
    points = single if few else points
    k = min(targets.NEIGHBOURS, len(points) - 1)
    nearest = neighbors.Index(points).nearest(k=1).distances[:, 0]
    joined = graph.build(points, GraphConfig(kind="mutual", k=k, weight="latent"))
    sizes = np.bincount(joined.components)
    return Seen(
        number=len(images),
        distinct=len(points) if few else len(images),
        roughness=float(np.median(nearest) / max(np.median(others), 1e-9)),
        groups=int((sizes > 2).sum()) or 1,
        residuals=tried.residuals,
        dimensions=tried.best,
    )


def of_images(
    source: str, root: Path | str, *, minutes: float = 10.0, settings: dict[str, object]
) -> str:
    """Do the same for a user's own images, in about so many minutes.

    Args:
        source: a folder, an array file or a film, as `open_images` takes it.
        root: the folder of the run; where one was begun of these images, it goes on.
        minutes: all together, on this machine.
        settings: settings by dotted name that stay as given.
    """
    begun = WorkDir(Path(root))
    given = {"data.source": source, **settings}
    if begun.begun:
        # Other images than those that began it are refused before training.
        config = configuration.from_dotted(given, read_config(begun)[0])
        images = configuration.open_data(config.data)
        seen = look(images)
        _log.info("going on in %s, with the settings that it was begun with", root)
    else:
        started = time.monotonic()
        images = configuration.open_data(configuration.from_dotted(given).data)
        check_varied(images)
        seen = look(images)
        config, images = _choose(images, seen, given, minutes, started)
    _log.info("%s", seen)
    run = train_on(images, config, root)
    write_text(run.workdir.expected, str(seen))
    # Fewer pairs of large images, which take longer.
    values = images.images[0].size / (64 * 64 * 3)
    wanted = max(10, round(EVALUATION.num_pairs / max(1.0, values)))
    num_pairs = min(wanted, len(images) * (len(images) - 1) // 2)
    return _show(run, _typical(run), replace(EVALUATION, num_pairs=num_pairs), str(seen))


def _choose(
    images: ImageSet, seen: Seen, given: dict[str, object], minutes: float, started: float
) -> tuple[RunConfig, ImageSet]:
    """Return settings, and the images at the side that the time allows."""
    chosen: dict[str, object] = {"model.latent_dim": seen.dimensions or MANY_DIMENSIONS}
    if len(images) > MOST_DECODED:
        chosen["graph.weight"] = "image"
    budget_s = 60 * minutes * TRAINING_SHARE - (time.monotonic() - started)
    longer = max(images.images.shape[1:3])
    config = configuration.from_dotted(chosen | given)
    probed = images
    if longer > 2 * PROBED and "data.side" not in given:
        probed = configuration.open_data(replace(config.data, side=PROBED))
    step_s = _step_s(config, probed)
    sides = [side for side in SIDES if side < longer]
    if longer <= LARGEST_AS_IS:
        sides = [0, *sides]
    for side in [0] if "data.side" in given else sides:
        size = [round(n * side / longer) if side else n for n in images.images.shape[1:3]]
        area = math.prod(map(padded, size))
        needed_s = step_s * area / math.prod(map(padded, probed.images.shape[1:3]))
        steps = int(budget_s / needed_s)
        if steps >= FEWEST_STEPS:
            break
    steps = min(steps, MOST_STEPS, max(FEWEST_STEPS // 3, STEPS_AN_IMAGE * len(images)))
    steps = max(steps, LEAST_STEPS)
    if side:
        config = replace(config, data=replace(config.data, side=side))
        images = configuration.open_data(config.data)
        _log.info(
            "images are made smaller, to fit the time; --side=%d keeps them as they are", longer
        )
    plan = make_plan(config.training, num_images=len(images))
    epochs = max(1, round(steps / plan.steps_per_epoch))
    config = configuration.lasting(config, epochs)
    _log.info(
        "chosen for %g min: %d x %d pixels, d = %d, %d epochs (about %d steps of %.0f ms)",
        *(minutes, *images.images.shape[2:0:-1], config.model.latent_dim, epochs, steps),
        1000 * needed_s,
    )
    return config, images


def _step_s(config: RunConfig, images: ImageSet) -> float:
    """Return the seconds of a step, without those that compile."""
    setup = make_setup(config, images)
    compiled = compile_run(setup)
    feed, times = compiled.make_feed(compiled.plan.num_steps), [time.monotonic()]
    calls = loop.calls(
        compiled.state, first_step=0, bound_step=compiled.bound_step, feed=feed, plan=compiled.plan
    )
    steps = [0]
    for step, _, losses in calls:
        jax.block_until_ready(losses)
        times.append(time.monotonic())
        steps.append(step)
        if len(times) > WARM_UP + TIMED:
            break
    first = min(WARM_UP, len(times) - 2)
    return (times[-1] - times[first]) / (steps[-1] - steps[first])


def _typical(run: Run) -> list[tuple[int, int]]:
    """Return three pairs: one from end to end of the codes, and two by chance."""
    codes = encode_all(run).codes
    first = int(np.square(codes - codes.mean(axis=0)).sum(axis=1).argmax())
    far = (first, int(np.square(codes - codes[first]).sum(axis=1).argmax()))
    some = min(3, len(codes) * (len(codes) - 1) // 2)
    drawn = pairs.choose_pairs(len(codes), some, seed=0).tolist()
    others = [(one, other) for one, other in drawn if {one, other} != {*far}]
    return [far, *others[:2]]
