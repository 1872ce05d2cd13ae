"""`reproduction.md`: a row for each claim, and the figures behind it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxsurf.pipeline import experiments, scores
from jaxsurf.pipeline.reproduce.claims import Claim, Evidence, Verdict
from jaxsurf.pipeline.reproduce.cures import Cured
from jaxsurf.pipeline.reproduce.material import ANIMATED, METHODS, Animated
from jaxsurf.pipeline.reproduce.runs import Run
from jaxsurf.pipeline.reproduce.scale import Scale

# Final training losses on [-1, 1], of the score table; None where it has no such run.
PUBLISHED_LOSS: Mapping[str, float] = {
    "mse_2d": 0.0022,
    "perceptual_2d": 0.391211,
    "combined_70_30": 0.024563,
    "combined_30_70": 0.213269,
    "mse_3d": 0.001668,
    "background_color": 0.003013,
}
# Frames, and interpolationMSE in uint8 arithmetic where the report has it.
PUBLISHED_ANIMATION: Mapping[tuple[str, str], tuple[int, float | None]] = {
    ("mse_2d", "linear"): (55, 8.89),
    ("mse_2d", "surfing"): (55, 8.32),
    ("combined_70_30", "linear"): (75, None),
    ("combined_70_30", "surfing"): (233, None),
    ("mse_3d", "linear"): (75, 9.50),
    ("mse_3d", "surfing"): (77, 8.71),
}
HOLDS = {True: "holds", False: "does not hold", None: "not measured"}


def write_page(
    scale: Scale,
    claims: Sequence[Claim],
    evidence: Evidence,
    animated: Mapping[tuple[str, str], Animated],
    figures: Sequence[Path],
) -> str:
    """Return the page, in Markdown.

    Args:
        scale: of the reproduction.
        claims: judged.
        evidence: what they were judged by.
        animated: example pairs, by experiment and model.
        figures: relative paths of the pictures to show.
    """
    parts = [
        "# Reproduction",
        _introduction(scale),
        "## Claims",
        _claims(scale, claims, evidence),
        "## Every run",
        _runs(evidence),
        "## Animations",
        _animations(animated),
        "## The open question: surfing with the combined loss",
        *(_cures(model, ways) for model, ways in evidence.cures.items()),
        "## Grid search",
        *(
            f"### {model}\n\n{scores.best(results)}\n\nAll members: `grid-{model}/all_scores.csv`"
            for model, results in evidence.grids.items()
        ),
        "## Pictures",
        *(f"![{path.stem}]({path.as_posix()})" for path in figures),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(scale: Scale) -> str:
    source = "MPI3D-toy" if scale.mpi3d else "the built-in robot arm, drawn after MPI3D-toy"
    size = {
        "full": "at the report's size",
        "small": "on 400 of the report's 1,600 poses, at 32 x 32 pixels, for fewer epochs",
    }[scale.name]
    return (
        'The experiments of Yadlin & Botchan, "Data Interpolation in Latent Space", run again on '
        f"{source}, {size}. `reference` is the report's model and recipe, `smooth` is ours. "
        f"Interpolations are scored on {scale.num_pairs} random pairs, on the report's graph: "
        "k-NN with the smallest connecting k, edges of latent length. `interpolation_mse` is "
        "computed without the overflow of the published numbers; `wrapped` has it. Losses (a, b) "
        "weigh MSE on [-1, 1] and features of VGG16's Oxford weights at relu3_3, divided by 58; "
        "the report's code fed torchvision's weights without preparation and multiplied by b "
        "twice, so perceptual losses compare in kind, not in size."
    )


def _claims(scale: Scale, claims: Sequence[Claim], evidence: Evidence) -> str:
    models = " | ".join(experiments.MODELS)
    lines = [
        f"| | the report says | {models} | holds? | why | reduced to |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, claim in enumerate(claims, 1):
        verdicts = claim.verdicts
        cells = [verdicts[model].text or "not measured" for model in experiments.MODELS]
        run = evidence.runs[claim.runs[-1], "reference"]
        reduced = scale.reduction(run.config, Scale(name="full").config(run.name, "reference"))
        lines.append(
            f"| {number} | {claim.says} | {' | '.join(cells)} | {_verdict(verdicts)} "
            f"| {claim.why}. | {reduced} |"
        )
    return "\n".join(lines)


def _verdict(verdicts: Mapping[str, Verdict]) -> str:
    told = {model: HOLDS[verdict.holds] for model, verdict in verdicts.items()}
    if len(set(told.values())) == 1:
        return f"**{next(iter(told.values()))}**"
    return "; ".join(f"{model}: **{text}**" for model, text in told.items())


def _runs(evidence: Evidence) -> str:
    lines = [
        "| experiment | model | epochs | training s | loss | published | PSNR dB | sharpness "
        "| colour error | k | linear | surfing | ratio | win rate |",
        "|" + "---|" * 14,
        *(_run(run) for run in evidence.runs.values()),
    ]
    return "\n".join(lines)


def _run(run: Run) -> str:
    """Return a run's line; one that failed has no figures but says so."""
    about = experiments.EXPERIMENTS[run.name].about
    published = PUBLISHED_LOSS.get(run.name) if run.model == "reference" else None
    seconds = run.outcome.training_s
    cells = [
        *(about, run.model, str(run.config.training.num_epochs)),
        "" if seconds is None else f"{seconds:.0f}",
    ]
    found = run.measures
    if found is None:
        cells += [run.outcome.state, _number(published), *[""] * 8]
    else:
        linear, surfing = (found.scores[name]["interpolation_mse"] for name in METHODS)
        cells += [
            *(f"{found.loss:.4g}", _number(published), f"{found.psnr_db:.1f}"),
            *(f"{found.sharpness:.2f}", f"{found.colour_error:.2f}", str(found.k)),
            *(f"{linear:.2f}", f"{surfing:.2f}", f"{found.ratio:.2f}", f"{found.win_rate:.2f}"),
        ]
    return f"| {' | '.join(cells)} |"


def _animations(animated: Mapping[tuple[str, str], Animated]) -> str:
    lines = [
        "| animation | model | images | frames | published | interpolation_mse | wrapped "
        "| published |",
        "|" + "---|" * 8,
    ]
    for (name, model), shown in animated.items():
        for method in METHODS:
            frames, wrapped = PUBLISHED_ANIMATION[name, method]
            facts = shown.description["methods"][method]
            file = ANIMATED[name].format(method)
            lines.append(
                f"| [{file}](animations/{model}/{file}) | {model} | {shown.pair[0]} to "
                f"{shown.pair[1]} | {facts['num_frames']} | {frames} "
                f"| {facts['interpolation_mse']:.2f} | {facts['interpolation_mse_wrapped']:.2f} "
                f"| {_number(wrapped)} |"
            )
    return "\n".join(lines)


def _cures(model: str, ways: Sequence[Cured]) -> str:
    lines = [
        f"### {model}, 0.7 MSE + 0.3 perceptual\n",
        "| way | frames | length / straight | interpolation_mse | worst frame "
        "| largest / mean step | unevenness |",
        "|" + "---|" * 7,
    ]
    for way in ways:
        lines.append(
            f"| {way.way} | {way.num_frames:.0f} | {way.detour:.2f} | {way.interpolation_mse:.2f} "
            f"| {way.worst:.1f} | {way.jump:.2f} | {way.unevenness:.2f} |"
        )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
