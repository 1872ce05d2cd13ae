"""Many pairs, methods side by side: are their animations real, right and even?

What is written is `evaluation.json` (statistics), `evaluation.csv` (a row a pair and method), and
pictures in `evaluation/`: error against the distance of the ends, and the worst pairs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.evaluation import embedding, intervals, metrics, pairs, reconstruction
from jaxsurf.evaluation.intervals import Curves, Ends, PerPair
from jaxsurf.evaluation.truth import LEAP_FRAMES, Truth, faults, make_truth
from jaxsurf.frames import animate
from jaxsurf.frames.animate import Animation, Route
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import shortest_path
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.manifold.path import Timing
from jaxsurf.manifold.shortest_path import NodePath
from jaxsurf.pipeline.run import Run, connect, encode_all
from jaxsurf.viewing import plots
from jaxsurf.viewing.plots import PairPlot
from jaxsurf.viewing.report import Column
from jaxsurf.workdir import replacing_folder, write_json, write_text

METRIC = "interpolation_mse"  # the report's number
# Raised when an older `evaluation.json` lacks what is shown of it.
EDITION = 2
# Pairs that are animated and scored together: some 100 MB of frames a method at 64 x 64.
BLOCK = 100
NUM_WORST = 5
# What the pseudo-method `true` is scored by; the rest depends on how many frames there are.
OF_TRUE = (METRIC, "nearest_image", "residual", "residual_worst")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How to evaluate.

    Attributes:
        num_pairs: how many pairs.
        methods: which interpolations; `linear`, the baseline, is scored in any case.
        timing: how many frames; leaps are counted at 48 in any case, at visible speed where
            `timing` has no other.
        graph: another graph than the run's own.
        truth: what frames are read by, to tell which poses they show: `renders` between the images
            (drawn once, which takes minutes, and kept), the `images` alone, or `none`.
        spread: whether pairs are spread evenly over the distance of their ends, where the truth is
            known; else they are random.
        perceptual: whether to measure steps by VGG16's features too (PPL, PDV), which takes long.
        seed: of pairs and intervals.
    """

    num_pairs: int = 100
    methods: tuple[str, ...] = animate.METHODS
    timing: Timing = field(default_factory=Timing)
    graph: GraphConfig | None = None
    truth: Literal["renders", "images", "none"] = "renders"
    spread: bool = True
    perceptual: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        animate.check_methods(self.methods)
        if self.seed < 0:
            raise UserError(f"--seed is {self.seed}", cure="give 0 or more")


@dataclass(frozen=True)
class Evaluation:
    """Scores of many pairs: the content of `evaluation.json`, and the rows of `evaluation.csv`.

    `worst` are the pairs on which one method does worst, as `content["worst"]` says.
    """

    content: dict[str, Any]
    rows: Sequence[dict[str, Any]]
    worst: Sequence[PairPlot]

    def __str__(self) -> str:
        return side_by_side({"": self})


def evaluate(run: Run, config: EvaluateConfig) -> Evaluation:
    """Score methods on many pairs and write the scores down."""
    made = measure(run, config)
    with replacing_folder(run.workdir.evaluation.with_suffix("")) as fresh:
        if figure := plots.by_distance(made.rows, made.content["worst"]["metric"]):
            plots.save(figure, fresh / "distance.png")
        for number, pair in enumerate(made.worst, 1):
            plots.save(plots.pair(pair), fresh / f"worst-{number}.png")
    write_json(run.workdir.evaluation, made.content)
    write_text(run.workdir.evaluation.with_suffix(".csv"), pairs.csv_text(made.rows))
    return made


def measure(run: Run, config: EvaluateConfig) -> Evaluation:
    """Return the scores of methods on many pairs.

    Where in-between images can be drawn, a method `true` holds what these score.
    """
    images, (chosen, truth, known) = run.images, _choose(run.images, config)
    latents = encode_all(run)
    built = connect(run, latents, config.graph)
    ends = [(int(source), int(target)) for source, target in chosen]
    paths = shortest_path.shortest_paths(built, ends, codes=latents.codes)

    def route(path: NodePath) -> Route:
        shown, anchors = images.images[path.nodes[[0, -1]]], (0, len(path.nodes) - 1)
        return Route(codes=latents.codes[path.nodes], images=shown, anchors=anchors)

    parts = []
    for start in range(0, len(paths), BLOCK):
        some = slice(start, start + BLOCK)
        parts.append(_score(run, config, truth, list(map(route, paths[some])), chosen[some]))
    scores = {
        method: {name: np.concatenate([part[0][method][name] for part in parts]) for name in values}
        for method, values in parts[0][0].items()
    }
    given_away = {}
    for method in [method for method in scores if method != pairs.FLOOR]:
        given_away[method], flawless = faults(scores[method], truth)
        if truth is not None:
            scores[method]["flawless"] = flawless.astype(float)
    mean = reconstruction.mean_mse(run.model, images.images)
    summary = pairs.summarise(
        scores,
        # JSON has no infinity, which is what a perfect reconstruction has.
        reconstruction={
            "mse": mean,
            "psnr_db": metrics.psnr_of_mse(mean) if mean else None,
            "num_images": min(len(images), reconstruction.SAMPLE),
        },
        seed=config.seed,
    )
    judged = "surfing" if "surfing" in config.methods else config.methods[-1]
    error = "course" if truth is not None else "consistency"
    order = np.argsort(-scores[judged][error], kind="stable")[:NUM_WORST]
    content = summary | {
        "timing": asdict(config.timing),
        "edition": EDITION,
        "pairs": "spread" if truth is not None and config.spread else "random",
        "truth": {
            "known": truth is not None,
            "about": known,
            "reading_error": truth.reading_error if truth else None,
            "usual_residual": truth.usual_residual if truth else None,
            "factors": [axis.name for axis in truth.lattice.grid.axes] if truth else [],
        },
        "faults": given_away,
        "worst": {"method": judged, "metric": error, "pairs": chosen[order].tolist()},
        "embedding": embedding.measure(run.model, latents, images, seed=config.seed),
        "curves": {
            method: _joined([part[1][method] for part in parts]).summary() for method in parts[0][1]
        },
        "graph": built.facts(),
        "bridged_pairs": sum(len(built.bridges_along(path.nodes)) > 0 for path in paths),
        "checkpoint": run.step,
        "data": {
            "name": images.name,
            "fingerprint": images.fingerprint,
            "num_images": len(images),
        },
    }
    routes = [route(paths[n]) for n in order]
    errors = [f"{error} {value:.3g}" for value in scores[judged][error][order]]
    worst = _show(run, config, truth, routes, chosen[order], errors)
    return Evaluation(content, pairs.rows(scores, chosen), worst)


def _choose(images: ImageSet, config: EvaluateConfig) -> tuple[Ends, Truth | None, str]:
    """Return the pairs, the truth about them, and how well it is known or why it is not."""
    # A number that is too large is refused before anything that takes long.
    choose = partial(pairs.choose_pairs, len(images), config.num_pairs, seed=config.seed)
    chosen = choose()
    if config.truth == "none":
        return chosen, None, "it was not asked for"
    try:
        truth = make_truth(images, rendered=config.truth == "renders")
    except UserError as error:
        return chosen, None, str(error)
    if config.spread:
        chosen = choose(distance=truth.distance)
    return chosen, truth, truth.description


def about(content: Mapping[str, Any]) -> list[str]:
    """Return what scores rest on, in a few lines: the model, its codes, the pairs, the truth."""
    looked_at, whole = (content[part]["num_images"] for part in ("reconstruction", "data"))
    sampled = f" ({looked_at:,} of {whole:,} images)" if looked_at < whole else ""
    psnr_db = metrics.psnr_of_mse(content["reconstruction"]["mse"])
    graph = "{description}; edges weigh: {weight}".format(**content["graph"])
    lines = [f"reconstruction {psnr_db:.1f} dB{sampled}; {graph}"]
    codes = (
        f"{name} {'not known' if value is None else format(value, '.3g')}"
        for name, value in content["embedding"].items()
    )
    lines.append(f"codes: {', '.join(codes)}")
    if bridged := content["bridged_pairs"]:
        lines.append(f"{bridged} of the pairs surf over gaps in the graph, by its bridges")
    number, known = f"{content['num_pairs']:,}", content["truth"]
    if content["pairs"] == "random":
        lines.append(f"{number} random pairs")
    else:
        lines.append(f"{number} pairs, spread evenly over the distance of their ends")
    about = known["about"] if known["known"] else f"what is right can't be told: {known['about']}"
    if known["usual_residual"] is not None:
        about += f"; so read, true images have a residual of {known['usual_residual']:.2g}"
    return [*lines, about]


def columns(contents: Iterable[Mapping[str, Any]]) -> dict[str, Column]:
    """Return the columns of a table, by metric, that show evaluations side by side."""
    read = all(content["truth"]["known"] for content in contents)
    real = "residual" if read else "consistency"
    return {
        real: Column("real", real, "0-255 squared" if read else "0-255"),
        "course": Column("right", "course", "grid steps"),
        "step_jump": Column("even", "largest step", "of the mean one"),
        "leaps": Column("even", "leaps", f"of {LEAP_FRAMES} frames"),
        METRIC: Column("aside", METRIC, "Yadlin & Botchan's score"),
    }


def table(contents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table of evaluations, by name: a row a method."""
    shown = columns(contents.values())
    rows = [["", *texts] for texts in zip(*shown.values(), strict=True)]
    for name, content in contents.items():
        for method, scores in content["methods"].items():
            cells = [
                "{mean:6.2f} [{low:.2f}, {high:.2f}]".format(**scores[metric])
                if metric in scores
                else "     -"
                for metric in shown
            ]
            rows.append([f"{name} {method}".strip(), *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(["", *map(str.ljust, row, widths)]).rstrip() for row in rows]


def side_by_side(evaluations: Mapping[str, Evaluation]) -> str:
    """Return evaluations of several runs, by name, as one text; that of one run without its name.

    Whatever gives animations of a method away comes first, then methods beside the baseline.
    """
    several = len(evaluations) > 1
    contents = {name if several else "": each.content for name, each in evaluations.items()}
    lines, faulty, beside = [], [], []
    for name, content in contents.items():
        said = about(content)
        lines += [f"{name}:", *(f"  {line}" for line in said)] if several else said
        faults = {method: "; ".join(found) for method, found in content["faults"].items() if found}
        faulty += [f"  {f'{name} {method}'.strip()}: {found}" for method, found in faults.items()]
        for method, versus in content["versus"].items():
            parts = [
                f"{metric} {versus[metric]['ratio']:.2f} ({versus[metric]['win_rate']:.0%})"
                for metric in columns([content])
                if versus.get(metric, {}).get("ratio") is not None
            ]
            if method != pairs.FLOOR:
                one = f"{method} / {pairs.BASELINE} (share of pairs on which it is better)"
                one = f"{name}: {one}" if several else one
                beside.append(f"{one}: {', '.join(parts)}")
    return "\n".join([*lines, *table(contents), *faulty, *beside])


def _score(
    run: Run, config: EvaluateConfig, truth: Truth | None, routes: Sequence[Route], chosen: Ends
) -> tuple[dict[str, dict[str, PerPair]], dict[str, Curves]]:
    """Return scores and curves of a few pairs by method, the baseline's always among them."""
    images = run.images
    methods = tuple(dict.fromkeys((*config.methods, pairs.BASELINE)))

    def animated(timing: Timing) -> dict[str, list[Animation]]:
        made = animate.animate(run.model, routes, methods=methods, timing=timing)
        return {method: [by_method[method] for by_method in made] for method in methods}

    made, scores, curves = animated(config.timing), {}, {}
    counts = [len(animation.frames) for animation in made[pairs.BASELINE]]
    ideal = intervals.true_frames(images, chosen, counts)
    for method, animations in made.items():
        frames = [animation.frames for animation in animations]
        latent = [animation.path for animation in animations if animation.path is not None]
        nearest = metrics.nearest_images(np.concatenate(frames), images.images)
        curve = intervals.make_curves(frames, nearest.indices, images, chosen, truth=ideal)
        known = {"paths": latent or None, "nearest": nearest, "curves": curve, "model": run.model}
        scores[method] = dict(pairs.score(frames, images.images, **known))
        if curve is not None:
            curves[method] = curve
        if truth is not None:
            scores[method] |= truth.score(frames, chosen)
    if truth is not None and truth.metric is not None and "leaps" not in scores[pairs.BASELINE]:
        for method, animations in animated(config.timing.with_frames(LEAP_FRAMES)).items():
            found = truth.score([animation.frames for animation in animations], chosen)
            scores[method]["leaps"] = found["leaps"]
    if config.perceptual:
        timing = config.timing.with_frames(metrics.PERCEPTUAL_FRAMES)
        for method, animations in animated(timing).items():
            frames = [animation.frames for animation in animations]
            scores[method] |= metrics.perceptual(frames, images.look)
    if ideal is not None:
        found = dict(pairs.score(ideal, images.images))
        found |= truth.score(ideal, chosen) if truth is not None else {}
        scores[pairs.FLOOR] = {name: found[name] for name in OF_TRUE if name in found}
    return scores, curves


def _show(
    run: Run,
    config: EvaluateConfig,
    truth: Truth | None,
    routes: Sequence[Route],
    chosen: Ends,
    errors: Sequence[str],
) -> list[PairPlot]:
    shown = []
    made = animate.animate(run.model, routes, methods=config.methods, timing=config.timing)
    courses = [[] for _ in routes] if truth is None else truth.courses(chosen)
    for (source, target), error, by_method, right in zip(
        chosen, errors, made, courses, strict=True
    ):
        known: dict[str, Any] = {}
        if truth is not None:
            grid = truth.lattice.grid
            varying = [axis.column for axis in grid.axes]
            lines = []
            for course in right:
                line = grid.factors(course.poses)[:, varying]
                lines.append(np.insert(line, 1 + np.flatnonzero(~course.joined[:-1]), np.nan, 0))
            known = {
                "poses": {
                    name: grid.factors(truth.lattice.read(each.frames).poses)[:, varying]
                    for name, each in by_method.items()
                },
                "factors": [axis.name for axis in grid.axes],
                "courses": lines,
                "periods": [axis.period or 0.0 for axis in grid.axes],
            }
        rows = {name: run.images.look.rgb(each.frames) for name, each in by_method.items()}
        shown.append(PairPlot(title=f"{source} to {target}: {error}", rows=rows, **known))
    return shown


def _joined(parts: Sequence[Curves]) -> Curves:
    # No part has errors where images can't be drawn.
    errors = [part.error for part in parts if part.error is not None]
    others = (np.concatenate(each) for each in zip(*(part[1:] for part in parts), strict=True))
    return Curves(np.concatenate(errors) if errors else None, *others)
