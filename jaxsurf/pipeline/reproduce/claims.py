"""The report's claims, each judged on what was measured.

Most are the report's own sentences; where one is not, it says whose it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jaxsurf.pipeline import experiments
from jaxsurf.pipeline.reproduce import rules
from jaxsurf.pipeline.reproduce.cures import Ways
from jaxsurf.pipeline.reproduce.measures import Measures
from jaxsurf.pipeline.reproduce.rules import Verdict
from jaxsurf.pipeline.reproduce.runs import Key, Runs
from jaxsurf.pipeline.sweep import Result

COMBINED = "combined_70_30"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim, and how it is judged.

    Attributes:
        says: what the report says.
        names: experiments that it rests on; none for the grid search.
        judge: takes their measures, in that order; or the ways of `COMBINED`, or a grid's results.
        holding: what explains it where it holds.
        failing: what explains it where it does not.
    """

    says: str
    names: tuple[str, ...] = ()
    judge: Callable[..., Verdict]
    holding: str
    failing: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that claims are judged by.

    Attributes:
        runs: by experiment and model.
        measures: of those that did not fail.
        ways: to interpolate with the combined loss, by model.
        grids: of the grid search, by model.
    """

    runs: Runs
    measures: Mapping[Key, Measures]
    ways: Mapping[str, Ways]
    grids: Mapping[str, Sequence[Result]]


@dataclass(frozen=True)
class Judged:
    """A claim with its verdicts by model."""

    claim: Claim
    verdicts: Mapping[str, Verdict]

    @property
    def why(self) -> str:
        """What explains the outcome; empty where nothing was measured."""
        outcomes = {verdict.holds for verdict in self.verdicts.values()} - {None}
        told = [self.claim.holding] * (True in outcomes) + [self.claim.failing] * (
            False in outcomes
        )
        return " Where not: ".join(told) if len(told) > 1 else "".join(told)


def judge_all(evidence: Evidence) -> list[Judged]:
    """Return every claim, judged."""
    models = experiments.MODELS
    return [
        *(Judged(c, {m: _of_runs(evidence, c, m) for m in models}) for c in RUN_CLAIMS),
        *(Judged(c, {m: c.judge(evidence.ways.get(m, {})) for m in models}) for c in CURE_CLAIMS),
        Judged(GRID_CLAIM, {m: GRID_CLAIM.judge(evidence.grids.get(m, ())) for m in models}),
    ]


def _of_runs(evidence: Evidence, claim: Claim, model: str) -> Verdict:
    """Judge a claim on its runs; tell what became of them where one failed."""
    keys = [(name, model) for name in claim.names]
    if all(key in evidence.measures for key in keys):
        return claim.judge(*(evidence.measures[key] for key in keys))
    failed = [evidence.runs[key] for key in keys if key not in evidence.measures]
    return Verdict(", ".join(f"{run.name} {run.outcome.state}" for run in failed))


_DOMINATED = (
    "The perceptual error is some hundred times the pixels', so its weight decides until the "
    "features are nearly right, which takes long (up to 6,000 epochs in the report)."
)
_BOTH = "Features ask for edges, pixels for the fill."

RUN_CLAIMS: tuple[Claim, ...] = (
    Claim(
        says="MSE alone reconstructs the images, a bit blurry",
        names=("mse_2d",),
        judge=rules.blurred,
        holding="Squared error asks for the mean of all images that a code may stand for.",
        failing="Too few steps to reconstruct anything, or so many that nothing is blurred.",
    ),
    Claim(
        says="The smallest connecting k is 4 in 2-D and 3 in 3-D",
        names=("mse_2d", "mse_3d"),
        judge=rules.connecting,
        holding="It depends on the outermost few codes of one training.",
        failing="It depends on the outermost few codes of one training.",
    ),
    Claim(
        says="2-D: surfing scores 8.32, the straight latent line 8.89: 0.94",
        names=("mse_2d",),
        judge=rules.surfing,
        holding="The straight line leaves the data where codes fill their plane with bays; surfing "
        "stops at codes of images. Ours is the mean over random pairs, the report's of one.",
        failing="The error of reconstruction outweighs that of leaving the data.",
    ),
    Claim(
        says="Perceptual loss alone keeps the edges and loses the fill",
        names=("mse_2d", "perceptual_2d"),
        judge=rules.lost_fill,
        holding="relu3_3 sees edges and textures; an even colour hardly changes it.",
        failing="Features tell more of a colour than in the report, or fewer edges are learnt yet.",
    ),
    Claim(
        says="0.7 MSE + 0.3 perceptual: sharper, and the fill is kept",
        names=("mse_2d", "perceptual_2d", COMBINED),
        judge=rules.better_together,
        holding=_BOTH,
        failing=_DOMINATED,
    ),
    Claim(
        says="(score table) 0.3 MSE + 0.7 perceptual: the same",
        names=("mse_2d", "perceptual_2d", "combined_30_70"),
        judge=rules.better_together,
        holding=_BOTH,
        failing=_DOMINATED,
    ),
    Claim(
        says="(ours) 0.99 MSE + 0.01 perceptual: the same",
        names=("mse_2d", "perceptual_2d", "combined_99_1"),
        judge=rules.better_together,
        holding=f"{_BOTH} With these weights both terms are about equally large.",
        failing="Too few steps: features slow the pixels down.",
    ),
    Claim(
        says="Combined loss: the surfing path is significantly longer than the straight one",
        names=(COMBINED,),
        judge=rules.long_way,
        holding="Codes fill a plane with bays, and edges go round them.",
        failing="The mean over random pairs; the report shows one pair (233 frames against 75).",
    ),
    Claim(
        says="Combined loss: surfing scores slightly lower, but moves less smoothly",
        names=(COMBINED,),
        judge=rules.jerky,
        holding="Edges of unequal length take equally many frames.",
        failing="The error of reconstruction outweighs that of leaving the data.",
    ),
    Claim(
        says="Combined loss: the straight line is always quite close to the data",
        names=(COMBINED,),
        judge=rules.near_the_data,
        holding="Where the straight line stays on the data, there is nothing to go round.",
        failing="Codes leave room between them that the straight line crosses.",
    ),
    Claim(
        says="A 3-D latent space lowers the reconstruction error by about 30 %",
        names=("mse_2d", "mse_3d"),
        judge=rules.smaller_error,
        holding="The poses do not fit a plane without folds.",
        failing="Steps, not dimensions, are what is short.",
    ),
    Claim(
        says="The advantage of surfing is clearer in 3-D (8.71 against 9.50)",
        names=("mse_2d", "mse_3d"),
        judge=rules.clearer,
        holding="In 3-D the straight line has more room to miss a curved sheet of codes.",
        failing="The error of reconstruction outweighs that of leaving the data.",
    ),
    Claim(
        says="Camera height as third factor: each value has a cluster of its own",
        names=("camera_height",),
        judge=rules.clusters,
        holding="A factor of three values has nothing between them.",
        failing="The factor is not learnt yet: images that differ in it share their codes.",
    ),
    Claim(
        says="(score table) background colour as third factor: the same",
        names=("background_color",),
        judge=rules.clusters,
        holding="A factor of three values has nothing between them.",
        failing="The factor is not learnt yet: on the arm, the background is a thin arc whose "
        "colour changes a tenth of what poses change.",
    ),
)

CURE_CLAIMS: tuple[Claim, ...] = (
    Claim(
        says="A graph of all points within a threshold could solve it",
        names=(COMBINED,),
        judge=rules.radius,
        holding="More edges make shorter paths of fewer corners.",
        failing="Long edges leave the data.",
    ),
    Claim(
        says="(ours) edges that weigh image differences solve it",
        names=(COMBINED,),
        judge=rules.image_weights,
        holding="Steps of equal difference are what looks smooth.",
        failing="They change which images are passed, not how fast.",
    ),
    Claim(
        says="(ours) constant speed solves it",
        names=(COMBINED,),
        judge=rules.constant_speed,
        holding="Jerks come from equally many frames on edges of unequal length.",
        failing="Equal latent steps are not equal steps of the image.",
    ),
)

GRID_CLAIM = Claim(
    says="Of six noises, Gaussian of 0.2 is best",
    judge=rules.best_noise,
    holding="Judged by clean reconstructions.",
    failing="Judged by clean reconstructions. Noise spreads the codes at the price of the error, "
    "and short runs pay first.",
)
