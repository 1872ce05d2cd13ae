"""Many random pairs, methods side by side, into `evaluation.json` and `evaluation.csv`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxsurf.errors import UserError
from jaxsurf.evaluation import metrics, pairs, reconstruction
from jaxsurf.frames import animate
from jaxsurf.frames.animate import Route
from jaxsurf.frames.decode import Frames
from jaxsurf.manifold import shortest_path
from jaxsurf.manifold.encode import Latents
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.manifold.path import Timing
from jaxsurf.manifold.shortest_path import NodePath
from jaxsurf.pipeline.run import Run, connect, encode_all
from jaxsurf.workdir import write_json, write_text

# Drawing takes longer than decoding, and the mean over a path hardly depends on their number.
TRUE_FRAMES = 16
METRIC = "interpolation_mse"
# Pairs that are animated and scored together: some 100 MB of frames a method at 64 x 64.
BLOCK = 100


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How to evaluate.

    Attributes:
        num_pairs: how many random pairs.
        methods: which interpolations; `linear`, the baseline, is scored in any case.
        timing: how many frames.
        graph: another graph than the run's own.
        seed: of pairs and intervals.
    """

    num_pairs: int = 100
    methods: tuple[str, ...] = animate.METHODS
    timing: Timing = field(default_factory=Timing)
    graph: GraphConfig | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        animate.check_methods(self.methods)
        if self.seed < 0:
            raise UserError(f"--seed is {self.seed}", cure="give 0 or more")


@dataclass(frozen=True)
class Evaluation:
    """Scores of many pairs: the content of `evaluation.json`, and the rows of `evaluation.csv`."""

    content: dict[str, Any]
    rows: Sequence[dict[str, Any]]

    def __str__(self) -> str:
        content = self.content
        looked_at, whole = (content[part]["num_images"] for part in ("reconstruction", "data"))
        sampled = f" ({looked_at:,} of {whole:,} images)" if looked_at < whole else ""
        psnr_db = metrics.psnr_of_mse(content["reconstruction"]["mse"])
        graph = "{description}; edges weigh: {weight}".format(**content["graph"])
        lines = [f"reconstruction {psnr_db:.1f} dB{sampled}; {graph}"]
        if bridged := content["bridged_pairs"]:
            lines.append(f"{bridged} of the pairs surf over gaps in the graph, by its bridges")
        lines.append(f"{METRIC} over {content['num_pairs']} random pairs, smaller is better:")
        for method, scores in content["methods"].items():
            score, beside = scores[METRIC], ""
            if versus := content["versus"].get(method, {}).get(METRIC):
                ratio, rate = versus["ratio"], versus["win_rate"]
                beside = f"   {ratio:.2f} of linear's, better in {rate:.0%}"
            interval = f"[{score['low']:.2f}, {score['high']:.2f}]"
            lines.append(f"  {method:8} {score['mean']:8.2f}  {interval}{beside}")
        return "\n".join(lines)


def evaluate(run: Run, config: EvaluateConfig) -> Evaluation:
    """Score methods on random pairs and write the scores down."""
    made = measure(run, config)
    write_json(run.workdir.evaluation, made.content)
    write_text(run.workdir.evaluation.with_suffix(".csv"), pairs.csv_text(made.rows))
    return made


def measure(run: Run, config: EvaluateConfig) -> Evaluation:
    """Return the scores of methods on random pairs.

    Where in-between images can be drawn, a method `true` holds the floor: their score.
    """
    chosen = pairs.choose_pairs(len(run.images), config.num_pairs, seed=config.seed)
    latents = encode_all(run)
    built = connect(run, latents, config.graph or run.config.graph)
    ends = [(int(source), int(target)) for source, target in chosen]
    paths = shortest_path.shortest_paths(built, ends, codes=latents.codes)
    blocks = [slice(start, start + BLOCK) for start in range(0, len(paths), BLOCK)]
    parts = [_score(run, config, latents, paths[each], chosen[each]) for each in blocks]
    scores = {
        method: {name: np.concatenate([part[method][name] for part in parts]) for name in values}
        for method, values in parts[0].items()
    }
    images = run.images.images
    mean = reconstruction.mean_mse(run.model, images)
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
    content = summary | {
        "graph": built.facts(),
        "bridged_pairs": sum(len(built.bridges_along(path.nodes)) > 0 for path in paths),
        "checkpoint": run.step,
        "data": {
            "name": run.images.name,
            "fingerprint": run.images.fingerprint,
            "num_images": len(images),
        },
    }
    return Evaluation(content, pairs.rows(scores, chosen))


def _score(
    run: Run,
    config: EvaluateConfig,
    latents: Latents,
    paths: Sequence[NodePath],
    chosen: Int[np.ndarray, "pair 2"],
) -> dict[str, pairs.Scores]:
    """Return the scores of a few pairs by method, the baseline's always among them."""
    images = run.images.images
    routes = [
        Route(codes=latents.codes[path.nodes], images=images[path.nodes[[0, -1]]]) for path in paths
    ]
    methods = tuple(dict.fromkeys((*config.methods, pairs.BASELINE)))
    made = animate.animate(run.model, routes, methods=methods, timing=config.timing)
    scores = {}
    for method in methods:
        animations = [by_method[method] for by_method in made]
        frames = [animation.frames for animation in animations]
        latent = [animation.path for animation in animations if animation.path is not None]
        scores[method] = pairs.score(frames, images, paths=latent or None)
    if floor := _true_frames(run, chosen):
        # Its other metrics depend on the number of frames, which is not that of the other methods.
        scores[pairs.FLOOR] = {METRIC: pairs.score(floor, images)[METRIC]}
    return scores


def _true_frames(run: Run, chosen: Int[np.ndarray, "pair 2"]) -> list[Frames]:
    """Return true images on the straight line between the factors of each pair's ends.

    Along a periodic factor it is the shorter way round; of two equal ones, that of falling values.
    There are none where images are not drawn, or where what varies has nothing between its values,
    as colours and shapes.
    """
    images = run.images
    if images.draw is None or images.factors is None:
        return []
    ends = images.factors[chosen].astype(np.float64)
    kinds = [name not in images.continuous for name in images.factor_names]
    if np.ptp(ends[:, :, kinds], axis=(0, 1)).any():
        return []
    apart = ends[:, 1] - ends[:, 0]
    for column, name in enumerate(images.factor_names):
        if period := images.periodic.get(name):
            apart[:, column] = (apart[:, column] + period / 2) % period - period / 2
    share = np.linspace(0, 1, TRUE_FRAMES)[None, :, None]
    factors = ends[:, :1] + share * apart[:, None]
    frames = images.draw(factors.reshape(-1, factors.shape[-1]))
    return list(frames.reshape(len(chosen), TRUE_FRAMES, *frames.shape[1:]))
