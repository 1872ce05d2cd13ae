"""The report's claims, which `claims.toml` lists, judged by their rules on what was measured."""

import math
import operator
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from jaxsurf.pipeline import experiments
from jaxsurf.pipeline.reproduce.measures import Figures, Measured
from jaxsurf.pipeline.sweep import Result

GRID = "grid"
_COMPARISONS = {"<": operator.lt, "<=": operator.le, "==": operator.eq, ">": operator.gt}
_OUTCOMES = {True: "holds", False: "does not hold", None: "not measured"}


@dataclass(frozen=True)
class Verdict:
    """What was measured with one model; `holds` is None where it could not be."""

    text: str
    holds: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the report says, the rules that all have to hold, and what explains either outcome."""

    says: str
    rules: Sequence[str]
    holding: str
    failing: str
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)  # by model

    @property
    def names(self) -> list[str]:
        """The experiments that it rests on, or `GRID`."""
        figures = [part for rule in self.rules for part in rule.split() if part[0].isalpha()]
        return list(dict.fromkeys(figure.partition(".")[0] for figure in figures))

    @property
    def outcome(self) -> str:
        """Whether it holds: once for all models, or of each."""
        found = {m: f"**{_OUTCOMES[verdict.holds]}**" for m, verdict in self.verdicts.items()}
        if len(set(found.values())) == 1:
            return next(iter(found.values()))
        return "; ".join(f"{model}: {text}" for model, text in found.items())

    @property
    def why(self) -> str:
        """What explains the outcome; empty where nothing was measured."""
        outcomes = {verdict.holds for verdict in self.verdicts.values()}
        reasons = {True: self.holding, False: self.failing}
        return " Where not: ".join(text for holds, text in reasons.items() if holds in outcomes)


def judge_all(
    runs: Mapping[tuple[str, str], Measured], grids: Mapping[str, Sequence[Result]]
) -> list[Claim]:
    """Return every claim, judged on runs by experiment and model, and grid searches by model."""
    listed = tomllib.loads(Path(__file__).with_name("claims.toml").read_text(encoding="utf-8"))
    judged = []
    for claim in (Claim(**values) for values in listed["claims"]):
        verdicts = {}
        for model in experiments.MODELS:
            figures = {n: runs[n, model].figures for n in claim.names if n != GRID}
            if GRID in claim.names:
                figures[GRID] = _noises(grids.get(model, ()))
            failed = [
                f"{n} {'failed' if n == GRID else runs[n, model].outcome.state}"
                for n, found in figures.items()
                if not found
            ]
            verdicts[model] = Verdict(", ".join(failed)) if failed else _judge(claim, figures)
        judged.append(replace(claim, verdicts=verdicts))
    return judged


def _judge(claim: Claim, measured: Mapping[str, Figures]) -> Verdict:
    """Judge rules such as `A.x < 0.8 * B.y` by their figures, by the names before the dots."""
    values = {f"{name}.{n}": value for name, each in measured.items() for n, value in each.items()}
    texts, held = [], []
    for rule in claim.rules:
        figure, sign, *bound = rule.replace(" * ", " ").split()
        figures = [word for word in (figure, *bound) if word[0].isalpha()]
        labels = [word.partition(".")[2] for word in figures]
        if unknown := [n for n, word in zip(labels, figures, strict=True) if word not in values]:
            return Verdict(f"{', '.join(unknown)} not known")
        value, *besides = (values[word] for word in figures)
        texts.append(f"{labels[0]} {value:.3g}")
        for beside in besides:
            texts[-1] += f" against {beside:.3g}" + (f" ({value / beside:.2f})" if beside else "")
        limit = math.prod(values[word] if word in values else float(word) for word in bound)
        held.append(_COMPARISONS[sign](value, limit))
    return Verdict("; ".join(texts), all(held))


def _noises(results: Sequence[Result]) -> Figures:
    """Return the mean PSNR by noise of a grid's good runs on pixels alone.

    It is 0 where a noise has none; where all have none, nothing is returned.
    """
    found = defaultdict(list)
    for member, outcome in results:
        corruption, alone = member.config.corruption, not member.config.objective.perceptual
        if alone and outcome.good and outcome.psnr_db is not None:
            found[f"{corruption.kind}_{corruption.strength}"].append(outcome.psnr_db)
    noises = experiments.NOISES if found else ()
    return {noise: fmean(found.get(noise, [0.0])) for noise in noises}
