"""`reproduction.md`: a row for each claim, and the figures behind it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxsurf.pipeline import experiments, sweep
from jaxsurf.pipeline.evaluate import METRIC
from jaxsurf.pipeline.reproduce.claims import COMBINED, Evidence, Judged
from jaxsurf.pipeline.reproduce.cures import Ways
from jaxsurf.pipeline.reproduce.measures import Measures
from jaxsurf.pipeline.reproduce.pictures import ANIMATED, METHODS, Animated
from jaxsurf.pipeline.reproduce.rules import Verdict
from jaxsurf.pipeline.reproduce.runs import Key, Run
from jaxsurf.pipeline.reproduce.scale import Scale

# Final training losses on [-1, 1], of the runs that the score table has.
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


def markdown(
    scale: Scale,
    judged: Sequence[Judged],
    evidence: Evidence,
    animated: Mapping[Key, Animated],
    pictures: Sequence[Path],
) -> str:
    """Return the page.

    Args:
        scale: of the reproduction.
        judged: its claims.
        evidence: what they were judged by.
        animated: example pairs, by experiment and model.
        pictures: their paths, relative to the page.
    """
    parts = [
        "# Reproduction",
        _introduction(scale),
        "## Claims",
        _claims(scale, judged, evidence),
        "## Every run",
        _runs(evidence),
        "## Animations",
        _animations(animated),
        "## The open question: surfing with the combined loss",
        *(_ways(model, ways) for model, ways in evidence.ways.items()),
        "## Grid search",
        *(
            f"### {model}\n\n{sweep.best(results)}\n\nAll members: `grid-{model}/all_scores.csv`"
            for model, results in evidence.grids.items()
        ),
        "## Pictures",
        *(f"![{path.stem}]({path.as_posix()})" for path in pictures),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(scale: Scale) -> str:
    source = "MPI3D-toy" if scale.mpi3d else "the built-in robot arm, drawn after MPI3D-toy"
    size = {
        "full": "at the report's size",
        "small": "on fewer and smaller images, for fewer epochs, as each row says",
    }[scale.name]
    return (
        'The experiments of Yadlin & Botchan, "Data Interpolation in Latent Space", run again on '
        f"{source}, {size}. `reference` is the report's model and recipe, `smooth` is ours. "
        f"Interpolations are scored on {scale.num_pairs} random pairs, on the report's graph: "
        "k-NN with the smallest connecting k, edges of latent length. `interpolation_mse` is "
        "computed without the overflow of the published numbers; `wrapped` has it. Losses (a, b) "
        "weigh MSE on [-1, 1] and features of VGG16's Oxford weights at relu3_3, divided by 58; "
        "the report's code fed torchvision's weights without preparation and multiplied by b "
        "twice, so perceptual losses compare in kind, not in size. Published losses of MSE alone "
        "are of the small object; here, as in the report's text, it is the large one."
    )


def _claims(scale: Scale, judged: Sequence[Judged], evidence: Evidence) -> str:
    models = " | ".join(experiments.MODELS)
    lines = [
        f"| | the report says | {models} | holds? | why | reduced to |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, each in enumerate(judged, 1):
        cells = [each.verdicts[model].text or "no run" for model in experiments.MODELS]
        reduced = "; ".join(_reductions(scale, each, evidence))
        lines.append(
            f"| {number} | {each.claim.says} | {' | '.join(cells)} | {_verdict(each.verdicts)} "
            f"| {each.why} | {reduced} |"
        )
    return "\n".join(lines)


def _reductions(scale: Scale, judged: Judged, evidence: Evidence) -> list[str]:
    """Return in what the runs behind a claim are less than at full scale; equal ones once."""
    full = Scale(name="full", mpi3d=scale.mpi3d)
    told: dict[str, list[str]] = {}
    for model in experiments.MODELS:
        for name in judged.claim.names:
            here, there = evidence.runs[name, model].config, full.config(name, model)
            told.setdefault(scale.reduction(here, there), []).append(f"{name} {model}")
        if not judged.claim.names:
            here, there = (each.grid(model).members()[0].config for each in (scale, full))
            told.setdefault(scale.reduction(here, there), []).append(f"grid {model}")
    return [f"{', '.join(names)}: {reduced}" for reduced, names in told.items() if reduced]


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
        *(_run(run, evidence.measures.get(key)) for key, run in evidence.runs.items()),
    ]
    return "\n".join(lines)


def _run(run: Run, found: Measures | None) -> str:
    """Return a run's line; one that failed has no figures but says so."""
    published = PUBLISHED_LOSS.get(run.name) if run.model == "reference" else None
    seconds = run.outcome.training_s
    cells = [
        *(run.about, run.model, str(run.config.training.num_epochs)),
        "" if seconds is None else f"{seconds:.0f}",
    ]
    if found is None:
        cells += [run.outcome.state, _number(published), *[""] * 8]
    else:
        linear, surfing = (found.scores[name][METRIC] for name in METHODS)
        cells += [
            *(f"{found.loss:.4g}", _number(published), f"{found.psnr_db:.1f}"),
            *(f"{found.sharpness:.2f}", f"{found.colour_error:.2f}", str(found.k)),
            *(f"{linear:.2f}", f"{surfing:.2f}", f"{found.ratio:.2f}", f"{found.win_rate:.2f}"),
        ]
    return f"| {' | '.join(cells)} |"


def _animations(animated: Mapping[Key, Animated]) -> str:
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
                f"| {facts[METRIC]:.2f} | {facts[f'{METRIC}_wrapped']:.2f} "
                f"| {_number(wrapped)} |"
            )
    return "\n".join(lines)


def _ways(model: str, ways: Ways) -> str:
    lines = [
        f"### {model}, {experiments.EXPERIMENTS[COMBINED].about}\n",
        "| way | frames | length / straight | interpolation_mse | worst frame "
        "| largest / mean step | unevenness |",
        "|" + "---|" * 7,
    ]
    for name, way in ways.items():
        lines.append(
            f"| {name} | {way.num_frames:.0f} | {way.detour:.2f} | {way.interpolation_mse:.2f} "
            f"| {way.worst:.1f} | {way.jump:.2f} | {way.unevenness:.2f} |"
        )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
