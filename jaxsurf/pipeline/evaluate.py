"""Many random pairs, methods side by side, into `evaluation.json` and `evaluation.csv`."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxsurf.errors import UserError
from jaxsurf.evaluation import metrics, reconstruction, sampling
from jaxsurf.evaluation import pairs as many
from jaxsurf.frames import animate
from jaxsurf.frames.animate import Animation, Route, Timing
from jaxsurf.frames.decode import Frames
from jaxsurf.images import arm
from jaxsurf.manifold import search
from jaxsurf.manifold.components import connectivity
from jaxsurf.manifold.encode import Latents
from jaxsurf.manifold.graph_config import GraphConfig
from jaxsurf.manifold.path import LatentPath
from jaxsurf.manifold.search import NodePath
from jaxsurf.pipeline.run import trained
from jaxsurf.pipeline.run.trained import TrainedRun
from jaxsurf.writing import write_json, write_text

# True in-between images are drawn, which takes longer than decoding; the mean over a path's frames
# hardly depends on how many of them it is taken.
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
    """The content of `evaluation.json`, readable as a table."""

    content: dict[str, Any]

    def __str__(self) -> str:
        psnr_db = metrics.psnr_of_mse(self.content["reconstruction"]["mse"])
        lines = [
            f"reconstruction {psnr_db:.1f} dB{self._sampled}; "
            + self.content["graph"]["description"],
            f"interpolation_mse over {self.content['num_pairs']} random pairs, smaller is better:",
        ]
        if bridged := self.content["bridged_pairs"]:
            lines.insert(1, f"{bridged} of the pairs surf over gaps in the graph, by its bridges")
        for method, scores in self.content["methods"].items():
            score = scores["interpolation_mse"]
            versus = self.content["versus"].get(method, {}).get("interpolation_mse")
            beside = (
                f"   {versus['ratio']:.2f} of linear's, better in {versus['win_rate']:.0%}"
                if versus
                else ""
            )
            lines.append(
                f"  {method:8} {score['mean']:8.2f}  [{score['low']:.2f}, {score['high']:.2f}]"
                + beside
            )
        return "\n".join(lines)

    @property
    def _sampled(self) -> str:
        """That not all images were reconstructed, where that is so."""
        looked_at, whole = (self.content[part]["num_images"] for part in ("reconstruction", "data"))
        return f" ({looked_at:,} of {whole:,} images)" if looked_at < whole else ""


def evaluate(run: TrainedRun, config: EvaluateConfig) -> Evaluation:
    """Score methods on random pairs and write the scores down.

    Args:
        run: a trained run.
        config: how many pairs, which methods.

    Returns:
        What `evaluation.json` says. Where true in-between images can be had (the arm), a
        method `true` holds the floor: their score.

    Raises:
        UserError: too many pairs, an unknown method, or a graph that does not connect a pair.
    """
    summary, rows = measure(run, config)
    write_json(run.workdir.evaluation, summary)
    write_text(run.workdir.evaluation.with_suffix(".csv"), _table(rows))
    return Evaluation(summary)


def measure(
    run: TrainedRun, config: EvaluateConfig
) -> tuple[dict[str, Any], list[dict[str, str | int | float]]]:
    """Return what `evaluate` writes down: the summary, and a row for each pair and method.

    Args:
        run: as in `evaluate`.
        config: as in `evaluate`.

    Raises:
        UserError: as `evaluate` does.
    """
    chosen = many.choose_pairs(len(run.images), config.num_pairs, seed=config.seed)
    latents = trained.encode_all(run)
    built = trained.connect(run, latents, config.graph or run.config.graph)
    for source, target in chosen:
        connectivity.check_joined(built, (source, target))
    pairs = [(int(source), int(target)) for source, target in chosen]
    paths = search.shortest_paths(built, pairs, codes=latents.codes)
    blocks = [slice(start, start + BLOCK) for start in range(0, len(paths), BLOCK)]
    parts = [_score_block(run, config, latents, paths[each], chosen[each]) for each in blocks]
    scores = {
        method: {name: np.concatenate([part[method][name] for part in parts]) for name in values}
        for method, values in parts[0].items()
    }
    mean = reconstruction.mean_mse(run.model, run.images.images)
    summary = many.summarise(
        scores,
        # JSON has no infinity, which is what a perfect reconstruction has.
        reconstruction={
            "mse": mean,
            "psnr_db": metrics.psnr_of_mse(mean) if mean else None,
            "num_images": len(sampling.chosen(len(run.images))),
        },
        seed=config.seed,
    )
    bridged = sum(len(built.bridges_along(path.nodes)) > 0 for path in paths)
    summary |= {"graph": built.facts(), "bridged_pairs": bridged, "checkpoint": run.step}
    summary["data"] = {
        "name": run.images.name,
        "fingerprint": run.images.fingerprint,
        "num_images": len(run.images),
    }
    return summary, many.rows(scores, chosen)


def _score_block(
    run: TrainedRun,
    config: EvaluateConfig,
    latents: Latents,
    paths: Sequence[NodePath],
    chosen: Int[np.ndarray, "pair 2"],
) -> dict[str, many.Scores]:
    """Return the scores of a few pairs by method, the baseline's always among them."""
    routes = [
        Route(
            codes=latents.codes[path.nodes],
            images=run.images.images[[path.nodes[0], path.nodes[-1]]],
        )
        for path in paths
    ]
    methods = tuple(dict.fromkeys((*config.methods, many.BASELINE)))
    made = animate.animate(run.model, routes, methods=methods, timing=config.timing)
    scores = {
        method: many.score(
            [animations[method].frames for animations in made],
            run.images.images,
            paths=_paths([animations[method] for animations in made]),
        )
        for method in methods
    }
    floor = _true_frames(run, chosen)
    if not floor:
        return scores
    # Its other metrics depend on the number of frames, which is not that of the other methods.
    errors = many.score(floor, run.images.images)[METRIC]
    return scores | {many.FLOOR: {METRIC: errors}}


def _paths(animations: Sequence[Animation]) -> list[LatentPath] | None:
    """Return the latent paths of one method's animations; None if it has none."""
    paths = [animation.path for animation in animations if animation.path is not None]
    return paths or None


def _true_frames(run: TrainedRun, chosen: Int[np.ndarray, "pair 2"]) -> list[Frames]:
    """Return true images on the straight line between the factors of each pair's ends.

    Only the arm can be drawn between its grid's values; other sources have none.
    """
    if run.config.data.source != "arm" or run.images.factors is None:
        return []
    ends = run.images.factors[chosen].astype(np.float64)
    if np.ptp(np.delete(ends, _CONTINUOUS, axis=2), axis=(0, 1)).any():
        return []  # colours and shapes have nothing between them
    share = np.linspace(0, 1, TRUE_FRAMES)[None, :, None]
    factors = (1 - share) * ends[:, :1] + share * ends[:, 1:]
    side = run.images.images.shape[1]
    frames = arm.render_batch(factors.reshape(-1, factors.shape[-1]), side=side)
    return list(frames.reshape(len(chosen), TRUE_FRAMES, *frames.shape[1:]))


def _table(rows: list[dict[str, Any]]) -> str:
    """Return rows as CSV text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


_CONTINUOUS = [arm.FACTOR_NAMES.index(name) for name in arm.CONTINUOUS]
