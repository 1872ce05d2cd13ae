"""One HTML page that shows a run: scores, animations, training. It computes nothing itself.

The page is a single file without scripts, fonts or links: images are part of it, so it can be
mailed. Every text that is shown is escaped. What is missing is left out, and a sentence says how to
make it.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxsurf.evaluation.pairs import BASELINE, FLOOR
from jaxsurf.viewing import markup
from jaxsurf.viewing.markup import cell, number, panel, row_name, text
from jaxsurf.writing import write_text

FLOOR_LABEL = "true in-between images (floor)"
WRAPPED_LABEL = "interpolation_mse in the report's uint8 arithmetic, only to compare"
FLOOR_EXPLAINED = (
    "The floor is what true in-between images score; a path that stops at images of the set can "
    "score less."
)
METRIC = (
    "interpolation_mse is the mean squared difference, on 0 to 255, of each frame to the nearest "
    "image of the data set: smaller is closer to real images."
)
# Nothing may be loaded from elsewhere, and nothing may run.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True, kw_only=True)
class Score:
    """The interpolation_mse of one method over many pairs.

    Attributes:
        method: its name.
        mean: over pairs.
        low: of the 95 % interval.
        high: of the 95 % interval.
        ratio: to the mean of `linear`; None where there is none.
        win_rate: share of pairs strictly better than `linear`; None where there is none.
    """

    method: str
    mean: float
    low: float
    high: float
    ratio: float | None
    win_rate: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of many pairs; `stale` says why they no longer fit the run, empty if they do."""

    stale: str
    num_pairs: int
    psnr_db: float
    scores: Sequence[Score]


@dataclass(frozen=True, kw_only=True)
class Animated:
    """One method's animation of a pair; `gif` is None where the file is gone."""

    method: str
    gif: bytes | None
    num_frames: int
    length: float | None
    interpolation_mse: float
    interpolation_mse_wrapped: float | None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An animated pair; pictures are None where their files are gone.

    Attributes:
        label: what is at its ends.
        about: one line: graph, path.
        stale: why it no longer fits the run; empty if it does.
        animations: one a method.
        strip: frames side by side, PNG.
        latent: latent space with the paths, PNG.
    """

    label: str
    about: str
    stale: str
    animations: Sequence[Animated]
    strip: bytes | None
    latent: bytes | None


@dataclass(frozen=True, kw_only=True)
class Page:
    """What is shown.

    Attributes:
        title: of the page.
        about: one line below the title: which images, how many, how large.
        workdir: the working directory, for the commands that make missing parts.
        summary: name and value of what matters most in the configuration.
        settings: the whole configuration as text.
        curve: training losses, PNG.
        evaluation: scores of many pairs.
        pairs: animated pairs.
    """

    title: str
    about: str
    workdir: str
    summary: Mapping[str, str]
    settings: str
    curve: bytes | None
    evaluation: Evaluation | None
    pairs: Sequence[Pair]


def write(path: Path, page: Page) -> None:
    """Write a page at once or not at all.

    Raises:
        UserError: the file can't be written.
    """
    write_text(path, render(page))


def render(page: Page) -> str:
    """Return a page as HTML."""
    style = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    pairs = [_pair(pair) for pair in page.pairs] or [
        _missing(page, "No pair was animated yet.", "surf", "--source=0 --target=1")
    ]
    parts = [
        f"<header><h1>{text(page.title)}</h1>",
        f'<p class="lead">{text(page.about)}</p></header>',
        f"<h2>Scores</h2>{_evaluation(page)}",
        f"<h2>Animations</h2>{''.join(pairs)}",
        f"<h2>Training</h2>{_training(page)}",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(page.title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{chr(10).join(parts)}\n</main>\n</body>\n</html>\n"
    )


def _evaluation(page: Page) -> str:
    """Return the scores of many pairs, or how to make them."""
    found = page.evaluation
    if found is None:
        return _missing(page, "Random pairs were not scored yet.", "evaluate", "--num_pairs=100")
    head = ["method", "interpolation_mse", "95 % interval", "of linear's", "better than linear in"]
    rows = [_score_row(score) for score in found.scores]
    warning = f'<p class="warning">{text(found.stale)}</p>' if found.stale else ""
    return panel(
        f"{warning}<p>Mean interpolation_mse over {found.num_pairs:,} random pairs. The model "
        f"reconstructs the images at {found.psnr_db:.1f} dB.</p>"
        f"{markup.table('Scores', head, rows)}"
        f'<p class="quiet">{METRIC} {FLOOR_EXPLAINED}</p>'
    )


def _score_row(score: Score) -> str:
    """Return a method's row of the score table."""
    if score.method == BASELINE:
        ratio = wins = cell("baseline", aside=True)
    else:
        ratio = cell("" if score.ratio is None else f"{score.ratio:.2f}")
        wins = cell("" if score.win_rate is None else f"{score.win_rate:.0%} of pairs")
    interval = cell(f"{number(score.low)} to {number(score.high)}")
    floor = score.method == FLOOR
    name = row_name(FLOOR_LABEL if floor else score.method)
    cells = f"{name}{cell(number(score.mean))}{interval}{ratio}{wins}"
    return f'<tr class="floor">{cells}</tr>' if floor else f"<tr>{cells}</tr>"


def _pair(pair: Pair) -> str:
    """Return all about a pair."""
    figures = [
        _figure(each.gif, each.method, pair.label)
        for each in pair.animations
        if each.gif is not None
    ]
    parts = [f'<h3>{text(pair.label)}</h3><p class="quiet">{text(pair.about)}</p>']
    if pair.stale:
        parts.append(f'<p class="warning">{text(pair.stale)}</p>')
    if len(figures) < len(pair.animations) or pair.strip is None or pair.latent is None:
        parts.append('<p class="warning">Files are missing: animate the pair again.</p>')
    parts += [f'<div class="animations">{"".join(figures)}</div>', _pair_table(pair)]
    if pair.strip is not None:
        alt = f"frames of {pair.label}, one row a method, first to last from left to right"
        parts.append(
            markup.scroll(f"Frames of {pair.label}", markup.image(pair.strip, alt), kind="strip")
        )
    if pair.latent is not None:
        alt = f"latent space with the graph and the paths of {pair.label}"
        parts.append(f'<div class="latent">{markup.image(pair.latent, alt)}</div>')
    return panel("".join(parts))


def _figure(gif: bytes, method: str, label: str) -> str:
    """Return an animation with its method below."""
    shown = markup.image(gif, f"{method}: animation of {label}", enlarge=True)
    return f"<figure>{shown}<figcaption>{text(method)}</figcaption></figure>"


def _pair_table(pair: Pair) -> str:
    """Return the figures of each animation of a pair."""
    head = ["method", "frames", "latent length", "interpolation_mse", WRAPPED_LABEL]
    rows = [
        f"<tr>{row_name(each.method)}{cell(f'{each.num_frames:,}')}"
        f"{cell(_known(each.length))}"
        f"{cell(number(each.interpolation_mse))}"
        f"{cell(_known(each.interpolation_mse_wrapped), aside=True)}</tr>"
        for each in pair.animations
    ]
    return markup.table(f"Animations of {pair.label}", head, rows)


def _known(value: float | None) -> str:
    """Return a number, nothing for None."""
    return "" if value is None else number(value)


def _training(page: Page) -> str:
    """Return the configuration and the training curve."""
    facts = (f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in page.summary.items())
    curve = (
        "<p>No losses were written down: training writes them to metrics.jsonl.</p>"
        if page.curve is None
        else f'<div class="curve">{markup.image(page.curve, "Losses by epoch of training")}</div>'
    )
    details = f'<summary>All settings</summary><pre tabindex="0">{text(page.settings)}</pre>'
    return panel(f"<dl>{''.join(facts)}</dl>{curve}<details>{details}</details>")


def _missing(page: Page, sentence: str, script: str, flags: str) -> str:
    """Return a sentence about what is missing, with the commands that make it."""
    where = f"--workdir={shlex.quote(page.workdir)}"
    commands = f"python launch/{script}.py {where} {flags}\npython launch/report.py {where}"
    return (
        f'<section class="panel missing"><p>{sentence} To have it here:</p>'
        f'<pre tabindex="0">{text(commands)}</pre></section>'
    )
