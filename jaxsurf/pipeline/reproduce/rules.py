"""By what a claim of the report is judged: a rule on measured figures for each.

A verdict tells the figures, and whether the claim holds by the rule. The report mostly says
"sharper", "longer", "lower" without a number; the bounds here are ours, each with its reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxsurf.evaluation import metrics
from jaxsurf.pipeline.evaluate import METRIC
from jaxsurf.pipeline.reproduce import cures
from jaxsurf.pipeline.reproduce.cures import Ways, WayScore
from jaxsurf.pipeline.reproduce.measures import Measures
from jaxsurf.pipeline.sweep import Result

# The mean image has about 24 dB on the arm: below this, nothing is reconstructed.
LEAST_PSNR_DB = 25.0
# One blur with weights 1, 2, 1 leaves 0.77 of an arm image's sharpness: 0.97 can be seen.
SHARP = 0.97
# The report's k.
K_2D, K_3D = 4, 3
# A fill is lost where local colours err half as much again, and the error is twice in decibels.
LOST_COLOUR, LOST_DB = 1.5, 3.0
# It is kept where a quarter of that colour error is gone.
KEPT_COLOUR = 0.75
# "Significantly longer": half as long again. In the report's example it is three times.
LONG = 1.5
# "About 30 %": a fifth at least.
GAIN = 0.2
# "Quite close to the data": within a tenth of surfing's score.
CLOSE = 0.1
# One neighbour in twenty may lie across.
CLUSTERED = 0.95
# No less faithful: a twentieth more at most.
FAITHFUL = 1.05


@dataclass(frozen=True)
class Verdict:
    """What was measured with one model; `holds` is None where it could not be."""

    text: str
    holds: bool | None = None


def blurred(mse: Measures) -> Verdict:
    """MSE alone reconstructs, a bit blurry."""
    text = f"{mse.psnr_db:.1f} dB, sharpness {mse.sharpness:.2f} of the images'"
    return Verdict(text, mse.psnr_db > LEAST_PSNR_DB and mse.sharpness < SHARP)


def connecting(flat: Measures, deep: Measures) -> Verdict:
    """The report's k connects."""
    return Verdict(f"k = {flat.k} and {deep.k}", (flat.k, deep.k) == (K_2D, K_3D))


def surfing(mse: Measures) -> Verdict:
    """Surfing scores lower than the straight line."""
    straight, surfed = (mse.scores[name][METRIC] for name in ("linear", "surfing"))
    text = f"{surfed:.2f} against {straight:.2f}: {mse.ratio:.2f}, better in {mse.win_rate:.0%}"
    return Verdict(text, mse.ratio < 1)


def lost_fill(mse: Measures, perceptual: Measures) -> Verdict:
    """Perceptual loss alone keeps edges and loses the fill."""
    text = (
        f"sharpness {perceptual.sharpness:.2f} (MSE {mse.sharpness:.2f}), {perceptual.psnr_db:.1f} "
        f"dB ({mse.psnr_db:.1f}), colour error {perceptual.colour_error:.2f} "
        f"({mse.colour_error:.2f})"
    )
    keeps_edges = perceptual.sharpness > SHARP * mse.sharpness
    loses_fill = perceptual.colour_error > LOST_COLOUR * mse.colour_error
    return Verdict(text, keeps_edges and loses_fill and perceptual.psnr_db < mse.psnr_db - LOST_DB)


def better_together(mse: Measures, perceptual: Measures, combined: Measures) -> Verdict:
    """Both losses are sharper than MSE, and keep the fill that features lose."""
    text = (
        f"{combined.psnr_db:.1f} dB (perceptual alone {perceptual.psnr_db:.1f}), sharpness "
        f"{combined.sharpness:.2f} (MSE alone {mse.sharpness:.2f}), colour error "
        f"{combined.colour_error:.2f} (perceptual alone {perceptual.colour_error:.2f})"
    )
    keeps_fill = combined.colour_error < KEPT_COLOUR * perceptual.colour_error
    return Verdict(text, keeps_fill and combined.sharpness > mse.sharpness)


def long_way(combined: Measures) -> Verdict:
    """The surfing path is much longer than the straight one."""
    straight, surfed = (combined.scores[name]["path_length"] for name in ("linear", "surfing"))
    detour = surfed / straight
    return Verdict(f"{detour:.2f} times as long as the straight line", detour > LONG)


def jerky(combined: Measures) -> Verdict:
    """Surfing scores lower, but moves less evenly."""
    surfed, straight = (combined.scores[name] for name in ("surfing", "linear"))
    text = (
        f"interpolation_mse {combined.ratio:.2f} of linear's; unevenness of steps "
        f"{surfed['step_unevenness']:.2f} against {straight['step_unevenness']:.2f}"
    )
    uneven = surfed["step_unevenness"] > straight["step_unevenness"]
    return Verdict(text, uneven and combined.ratio < 1)


def near_the_data(combined: Measures) -> Verdict:
    """The straight line stays close to the data."""
    text = f"surfing scores {combined.ratio:.2f} of the straight line"
    return Verdict(text, combined.ratio > 1 - CLOSE)


def smaller_error(flat: Measures, deep: Measures) -> Verdict:
    """A 3-D latent space reconstructs better."""
    drop = 1 - deep.mse / flat.mse
    text = f"{drop:.0%} smaller ({metrics.psnr_of_mse(flat.mse):.1f} and {deep.psnr_db:.1f} dB)"
    return Verdict(text, drop > GAIN)


def clearer(flat: Measures, deep: Measures) -> Verdict:
    """Surfing gains more in 3-D."""
    text = f"surfing / linear {deep.ratio:.2f} in 3-D, {flat.ratio:.2f} in 2-D"
    return Verdict(text, deep.ratio < flat.ratio)


def clusters(third: Measures) -> Verdict:
    """Each value of the third factor has a cluster of its own."""
    assert third.same_value is not None, "measured of runs with three factors"
    text = f"{third.same_value:.1%} of latent neighbours share the value"
    return Verdict(text, third.same_value > CLUSTERED)


def radius(ways: Ways) -> Verdict:
    """A radius graph is shorter and smoother, and no less faithful."""
    return _cured(ways, cures.RADIUS, shorter=True)


def image_weights(ways: Ways) -> Verdict:
    """Edges that weigh image differences are smoother, and no less faithful."""
    return _cured(ways, cures.IMAGES, shorter=False)


def constant_speed(ways: Ways) -> Verdict:
    """Constant speed is smoother, and no less faithful."""
    return _cured(ways, cures.CONSTANT_SPEED, shorter=False)


def _cured(ways: Ways, name: str, *, shorter: bool) -> Verdict:
    """Judge one way beside the report's."""
    if name not in ways:
        return Verdict("no run")
    before, after = ways[cures.REPORTS], ways[name]
    text = (
        f"detour {before.detour:.2f} to {after.detour:.2f}, unevenness {before.unevenness:.2f} to "
        f"{after.unevenness:.2f}, interpolation_mse {before.interpolation_mse:.1f} to "
        f"{after.interpolation_mse:.1f}"
    )
    return Verdict(text, _improves(before, after) and (after.detour < before.detour or not shorter))


def _improves(before: WayScore, after: WayScore) -> bool:
    faithful = after.interpolation_mse <= FAITHFUL * before.interpolation_mse
    return faithful and after.unevenness < before.unevenness


def best_noise(results: Sequence[Result]) -> Verdict:
    """Gaussian noise of 0.2 gives the best clean reconstructions; of runs on pixels alone."""
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
