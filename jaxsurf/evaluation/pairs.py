"""Scores of many pairs, methods side by side, with bootstrap intervals.

Smaller is better for every metric but those of `LARGER`. A pseudo-method `true`, whose frames are
real in-between images, gives the floor: the score of frames that are right but in no data set. A
path that stops at images of the set can score less.
"""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.errors import UserError
from jaxsurf.evaluation import intervals, metrics
from jaxsurf.evaluation.intervals import Animations, Curves, PerPair
from jaxsurf.evaluation.metrics import Nearest
from jaxsurf.images.pixels import Images
from jaxsurf.manifold.path import LatentPath
from jaxsurf.models.autoencoder import Autoencoder

BASELINE = "linear"
FLOOR = "true"
LARGER = ("progress", "flawless")
# The percentiles of 2,000 resamples lie within about 0.005 of the wanted probability (Efron &
# Tibshirani, An Introduction to the Bootstrap, 1993, ask for 1,000 or more).
NUM_RESAMPLES = 2000
# Pairs to choose from, for each that is asked for: the far ones are few among random ones.
SURPLUS = 200
INTERVAL_PERCENT = (2.5, 97.5)

Scores = Mapping[str, PerPair]


def choose_pairs(
    num_points: int,
    num_pairs: int,
    *,
    seed: int,
    distance: Callable[[Int[np.ndarray, "some 2"]], Float[np.ndarray, "some"]] | None = None,
) -> Int[np.ndarray, "pair 2"]:
    """Return source and target of pairs of different points, each joined at most once.

    Most random pairs are about equally far apart. With `distance`, which returns that of the ends
    of each pair, the chosen ones are spread evenly over it, from near to far; else they are random.
    """
    available = num_points * (num_points - 1) // 2
    if not 1 <= num_pairs <= available:
        raise UserError(
            f"{num_pairs} pairs can't be chosen among {num_points} points",
            cure=f"ask for 1 to {available} with --num_pairs" if available else "",
        )
    random = np.random.default_rng(seed)
    drawn = num_pairs if distance is None else min(available, SURPLUS * num_pairs)
    # The n-th of (0, 1), (0, 2), (1, 2), (0, 3), ...: l (l - 1) / 2 come before (0, l).
    numbers = random.choice(available, drawn, replace=False)
    larger = np.array([(1 + math.isqrt(1 + 8 * n)) // 2 for n in numbers.tolist()])
    pairs = np.stack([numbers - larger * (larger - 1) // 2, larger], axis=-1)
    pairs = random.permuted(pairs, axis=1)
    if distance is None:
        return pairs
    lengths = distance(pairs)
    order, each = np.argsort(lengths, kind="stable"), np.arange(num_pairs)
    # One in each of so many equal parts of the distance, and no pair twice.
    wanted = lengths.max() * (each + random.uniform(size=num_pairs)) / num_pairs
    places = np.searchsorted(lengths[order], wanted)
    places = np.maximum.accumulate(places - each) + each
    return pairs[order[np.minimum(places, drawn - num_pairs + each)]]


def score(
    frames: Animations,
    images: Images,
    *,
    paths: Sequence[LatentPath] | None = None,
    nearest: Nearest | None = None,
    curves: Curves | None = None,
    model: Autoencoder | None = None,
) -> Scores:
    """Return the scores of one method's animations of all pairs: by metric, one value a pair.

    These are `interpolation_mse` (mean over frames, 0-255 squared, as in the report),
    `interpolation_mse_worst` (worst frame), `nearest_image` (the same distance as a root mean
    square on 0-255, mean over frames), the `step_*` figures of `metrics.smoothness` and
    `num_frames`; where what they need is given, also `path_length` (of latent paths), `consistency`
    (of a model, mean over the frames that `intervals.chosen` names) and those of the curves.
    `nearest` is the data image nearest to each frame, pair after pair, if it is known already.
    """
    nearest = nearest or metrics.nearest_images(np.concatenate(frames), images)
    errors = np.split(nearest.mse, np.cumsum([len(some) for some in frames])[:-1])
    steps = [metrics.smoothness(some) for some in frames]
    scores = {
        "interpolation_mse": np.array([values.mean() for values in errors]),
        "interpolation_mse_worst": np.array([values.max() for values in errors]),
        "nearest_image": np.array([np.sqrt(values).mean() for values in errors]),
        **{f"step_{name}": np.array([step[name] for step in steps]) for name in steps[0]},
        "num_frames": np.array([float(len(some)) for some in frames]),
    }
    if paths is not None:
        scores["path_length"] = np.array([path.length for path in paths])
    if model is not None:
        some = [each[intervals.chosen(len(each))] for each in frames]
        cuts = np.cumsum([len(each) for each in some])[:-1]
        changes = np.split(metrics.consistency(model, np.concatenate(some)), cuts)
        scores["consistency"] = np.array([values.mean() for values in changes])
    return scores if curves is None else scores | curves.scores()


def summarise(
    scores: Mapping[str, Scores], *, reconstruction: Mapping[str, float | None], seed: int
) -> dict[str, Any]:
    """Return the content of `evaluation.json` for what `score` returned, by method.

    The seed is that of the resampling. `versus` is against `linear`, where it is there: for metrics
    that both have, the ratio of means and the share of pairs strictly better.
    """
    (num_pairs,) = {len(values) for of_method in scores.values() for values in of_method.values()}
    methods, versus, baseline = {}, {}, scores.get(BASELINE, {})
    for method, by_metric in scores.items():
        methods[method] = {name: interval(each, seed=seed) for name, each in by_metric.items()}
        if baseline and method != BASELINE:
            versus[method] = {}
            for metric in [name for name in by_metric if name in baseline]:
                values, others = by_metric[metric], baseline[metric]
                # JSON's null where the baseline is zero.
                ratio = float(values.mean() / others.mean()) if others.any() else None
                better = values > others if metric in LARGER else values < others
                versus[method][metric] = {"ratio": ratio, "win_rate": float(np.mean(better))}
    found = {"num_pairs": num_pairs, "reconstruction": dict(reconstruction)}
    return found | {"methods": methods, "versus": versus}


def interval(values: PerPair, *, seed: int) -> dict[str, float]:
    """Return the mean over pairs and its 95 % bootstrap percentile interval.

    Pairs are resampled with replacement (Efron & Tibshirani 1993, chapter 13).
    """
    random = np.random.default_rng(seed)
    chosen = random.integers(len(values), size=(NUM_RESAMPLES, len(values)), dtype=np.int32)
    low, high = np.percentile(values[chosen].mean(axis=1), INTERVAL_PERCENT)
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def rows(
    scores: Mapping[str, Scores], pairs: Int[np.ndarray, "pair 2"]
) -> list[dict[str, str | int | float]]:
    """Return the content of `evaluation.csv`; a metric that a method lacks is an empty text."""
    names = list(dict.fromkeys(metric for by_metric in scores.values() for metric in by_metric))
    return [
        {"source": int(source), "target": int(target), "method": method}
        | {name: float(by_metric[name][i]) if name in by_metric else "" for name in names}
        for i, (source, target) in enumerate(pairs)
        for method, by_metric in scores.items()
    ]


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows that share their names as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
