"""The report's claims, each beside what was measured: it holds, it does not, or there is no run.

A claim is judged by a rule on the figures, written here beside it; the words on why are ours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jaxsurf.evaluation import metrics
from jaxsurf.pipeline import experiments
from jaxsurf.pipeline.reproduce.cures import REPORTS, Cured
from jaxsurf.pipeline.reproduce.measures import Measures
from jaxsurf.pipeline.reproduce.runs import Runs
from jaxsurf.pipeline.scores import Result

MSE = "interpolation_mse"
RADIUS = "all within the smallest connecting radius"


@dataclass(frozen=True)
class Verdict:
    """What was measured with one model; `holds` is None where it could not be."""

    text: str
    holds: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of the page.

    Attributes:
        says: what the report says.
        verdicts: by model.
        why: what explains the outcome.
        runs: the experiments that it rests on.
    """

    says: str
    verdicts: Mapping[str, Verdict]
    why: str
    runs: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that claims are judged by.

    Attributes:
        runs: by experiment and model.
        cures: of the combined loss, by model.
        grids: of the grid search, by model.
    """

    runs: Runs
    cures: Mapping[str, Sequence[Cured]]
    grids: Mapping[str, Sequence[Result]]

    def measures(self, names: Sequence[str], model: str) -> list[Measures] | None:
        """Return the measures of some experiments; None if one of them has none."""
        found = [self.runs[name, model].measures for name in names]
        return [each for each in found if each is not None] if None not in found else None

    def failures(self, names: Sequence[str], model: str) -> str:
        """Return what became of the runs that have no measures."""
        runs = [self.runs[name, model] for name in names]
        return ", ".join(f"{run.name} {run.outcome.state}" for run in runs if not run.outcome.good)


Judge = Callable[..., Verdict]


def judge_all(evidence: Evidence) -> list[Claim]:
    """Return every claim of the report, judged."""
    return [
        *(_of_runs(evidence, *parts) for parts in _RUN_CLAIMS),
        Claim(
            says="A graph of all points within a threshold could solve it",
            verdicts={m: _radius(evidence.cures.get(m, ())) for m in experiments.MODELS},
            why="Paths are shorter the more edges a graph has, but a long edge leaves the data; "
            "jerks come from equally many frames on edges of unequal length, which constant speed "
            "cures in either graph. The table below has all ways",
            runs=["combined_70_30"],
        ),
        Claim(
            says="Of six noises, Gaussian of 0.2 is best",
            verdicts={m: _noises(evidence.grids.get(m, ())) for m in experiments.MODELS},
            why="Judged by clean reconstructions. Noise spreads the codes at the price of the "
            "error, and short runs pay first",
            runs=["mse_2d"],
        ),
    ]


def _of_runs(evidence: Evidence, says: str, names: Sequence[str], judge: Judge, why: str) -> Claim:
    verdicts = {}
    for model in experiments.MODELS:
        found = evidence.measures(names, model)
        verdicts[model] = (
            Verdict(evidence.failures(names, model)) if found is None else judge(*found)
        )
    return Claim(says=says, verdicts=verdicts, why=why, runs=names)


def _blurred(mse: Measures) -> Verdict:
    text = f"{mse.psnr_db:.1f} dB, sharpness {mse.sharpness:.2f} of the images'"
    return Verdict(text, mse.sharpness < 0.97)


def _connecting(flat: Measures, deep: Measures) -> Verdict:
    return Verdict(f"k = {flat.k} and {deep.k}", (flat.k, deep.k) == (4, 3))


def _surfing(mse: Measures) -> Verdict:
    linear, surfing = mse.scores["linear"][MSE], mse.scores["surfing"][MSE]
    text = f"{surfing:.2f} against {linear:.2f}: {mse.ratio:.2f}, better in {mse.win_rate:.0%}"
    return Verdict(text, mse.ratio < 1)


def _lost_fill(mse: Measures, perceptual: Measures) -> Verdict:
    text = (
        f"sharpness {perceptual.sharpness:.2f} (MSE {mse.sharpness:.2f}), {perceptual.psnr_db:.1f} "
        f"dB ({mse.psnr_db:.1f}), colour error {perceptual.colour_error:.2f} "
        f"({mse.colour_error:.2f})"
    )
    keeps_edges = perceptual.sharpness > 0.97 * mse.sharpness
    loses_fill = perceptual.colour_error > 1.5 * mse.colour_error
    return Verdict(text, keeps_edges and loses_fill and perceptual.psnr_db < mse.psnr_db - 3)


def _better_together(mse: Measures, perceptual: Measures, combined: Measures) -> Verdict:
    text = (
        f"{combined.psnr_db:.1f} dB (perceptual alone {perceptual.psnr_db:.1f}), sharpness "
        f"{combined.sharpness:.2f} (MSE alone {mse.sharpness:.2f}), colour error "
        f"{combined.colour_error:.2f} (perceptual alone {perceptual.colour_error:.2f})"
    )
    keeps_fill = combined.colour_error < 0.75 * perceptual.colour_error
    return Verdict(text, keeps_fill and combined.sharpness > mse.sharpness)


def _detour(found: Measures) -> float:
    return found.scores["surfing"]["path_length"] / found.scores["linear"]["path_length"]


def _long_way(combined: Measures) -> Verdict:
    detour = _detour(combined)
    return Verdict(f"{detour:.2f} times as long as the straight line", detour > 1.5)


def _jerky(combined: Measures) -> Verdict:
    surfing, linear = (combined.scores[name] for name in ("surfing", "linear"))
    text = (
        f"interpolation_mse {combined.ratio:.2f} of linear's; unevenness of steps "
        f"{surfing['step_unevenness']:.2f} against {linear['step_unevenness']:.2f}"
    )
    uneven = surfing["step_unevenness"] > linear["step_unevenness"]
    return Verdict(text, uneven and combined.ratio < 1)


def _smaller_error(flat: Measures, deep: Measures) -> Verdict:
    drop = 1 - deep.mse / flat.mse
    text = f"{drop:.0%} smaller ({metrics.psnr_of_mse(flat.mse):.1f} and {deep.psnr_db:.1f} dB)"
    return Verdict(text, drop > 0.2)


def _clearer(flat: Measures, deep: Measures) -> Verdict:
    text = f"surfing / linear {deep.ratio:.2f} in 3-D, {flat.ratio:.2f} in 2-D"
    return Verdict(text, deep.ratio < flat.ratio)


def _clusters(third: Measures) -> Verdict:
    assert third.same_value is not None
    text = f"{third.same_value:.1%} of latent neighbours share the value"
    return Verdict(text, third.same_value > 0.95)


def _radius(ways: Sequence[Cured]) -> Verdict:
    by_way = {way.way: way for way in ways}
    if REPORTS not in by_way or RADIUS not in by_way:
        return Verdict("no run")
    near, within = by_way[REPORTS], by_way[RADIUS]
    text = (
        f"detour {near.detour:.2f} to {within.detour:.2f}, unevenness {near.unevenness:.2f} to "
        f"{within.unevenness:.2f}, interpolation_mse {near.interpolation_mse:.1f} to "
        f"{within.interpolation_mse:.1f}"
    )
    shorter = within.detour < near.detour and within.unevenness < near.unevenness
    return Verdict(text, shorter and within.interpolation_mse < 1.05 * near.interpolation_mse)


def _noises(results: Sequence[Result]) -> Verdict:
    """Judge by the mean PSNR of the members that were trained on pixels alone."""
    by_noise: dict[str, list[float]] = {}
    for member, outcome in results:
        noise = f"{member.config.corruption.strength:g} {member.config.corruption.kind}"
        alone = not member.config.objective.perceptual
        if alone and outcome.good and outcome.psnr_db is not None:
            by_noise.setdefault(noise, []).append(outcome.psnr_db)
    if not by_noise:
        return Verdict("no run")
    means = {noise: sum(each) / len(each) for noise, each in by_noise.items()}
    ordered = sorted(means, key=lambda noise: -means[noise])
    text = ", ".join(f"{noise}: {means[noise]:.1f} dB" for noise in ordered)
    return Verdict(text, ordered[0] == "0.2 normal")


_RUN_CLAIMS: tuple[tuple[str, Sequence[str], Judge, str], ...] = (
    (
        "MSE alone reconstructs the images, a bit blurry",
        ["mse_2d"],
        _blurred,
        "Squared error asks for the mean of all images that a code may stand for",
    ),
    (
        "The smallest connecting k is 4 in 2-D and 3 in 3-D",
        ["mse_2d", "mse_3d"],
        _connecting,
        "It depends on the outermost few codes of one training",
    ),
    (
        "2-D: surfing scores 8.32, the straight latent line 8.89: 0.94",
        ["mse_2d"],
        _surfing,
        "The straight line leaves the data where codes fill their plane with bays; surfing stops "
        "at codes of images. Ours is the mean over random pairs, the report's of one pair",
    ),
    (
        "Perceptual loss alone keeps the edges and loses the fill",
        ["mse_2d", "perceptual_2d"],
        _lost_fill,
        "relu3_3 sees edges and textures; an even colour hardly changes it",
    ),
    (
        "0.7 MSE + 0.3 perceptual: sharper, and the fill is kept",
        ["mse_2d", "perceptual_2d", "combined_70_30"],
        _better_together,
        "The perceptual error is some hundred times the pixels', so that 0.3 of it outweighs 0.7 "
        "MSE until the features are nearly right, which takes long (6,000 epochs in the report)",
    ),
    (
        "0.3 MSE + 0.7 perceptual: the same",
        ["mse_2d", "perceptual_2d", "combined_30_70"],
        _better_together,
        "As above, and more so",
    ),
    (
        "(ours) 0.99 MSE + 0.01 perceptual: sharper, and the fill is kept",
        ["mse_2d", "perceptual_2d", "combined_99_1"],
        _better_together,
        "Weights that make both terms about equally large",
    ),
    (
        "Combined loss: the surfing path is significantly longer than the straight one",
        ["combined_70_30"],
        _long_way,
        "Mean over random pairs; the report shows one pair (233 frames against 75)",
    ),
    (
        "Combined loss: surfing scores slightly lower, but moves less smoothly",
        ["combined_70_30"],
        _jerky,
        "Edges of unequal length take equally many frames",
    ),
    (
        "A 3-D latent space lowers the reconstruction error by about 30 %",
        ["mse_2d", "mse_3d"],
        _smaller_error,
        "The poses do not fit a plane without folds",
    ),
    (
        "The advantage of surfing is clearer in 3-D (8.71 against 9.50)",
        ["mse_2d", "mse_3d"],
        _clearer,
        "In 3-D the straight line has more room to miss a curved sheet of codes",
    ),
    (
        "Camera height as third factor: each value has a cluster of its own",
        ["camera_height"],
        _clusters,
        "A factor of three values has nothing between them",
    ),
    (
        "Background colour as third factor: the same",
        ["background_color"],
        _clusters,
        "As above; backgrounds differ more than poses do",
    ),
)
