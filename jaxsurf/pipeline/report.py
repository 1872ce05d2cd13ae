"""All that a working directory holds, on one HTML page."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxsurf.errors import UserError
from jaxsurf.evaluation import metrics
from jaxsurf.pipeline.run import configuration
from jaxsurf.pipeline.run.trained import TrainedRun
from jaxsurf.training import journal
from jaxsurf.viewing import figures, markup, report
from jaxsurf.viewing.report import Animated, Evaluation, Page, Pair, Score
from jaxsurf.workdir import WorkDir
from jaxsurf.writing import read_json

METRIC = "interpolation_mse"
# What a line of metrics.jsonl holds beside losses; wall-clock figures end in `_s`.
NO_LOSSES = ("step", "epoch", "learning_rate")
# What files of the wrong shape raise where they are read.
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def write(run: TrainedRun) -> Path:
    """Write `report.html`.

    Args:
        run: a trained run; whatever was animated and evaluated in its working directory is shown.

    Returns:
        The page.

    Raises:
        UserError: a file that the page is made of is damaged, or the page can't be written.
    """
    images = run.images.images
    page = Page(
        title=f"{run.images.name} in {run.config.model.latent_dim} latent dimensions",
        about=f"{len(images):,} images of {images.shape[2]} x {images.shape[1]} pixels; "
        "interpolation by surfing the latent manifold of a denoising autoencoder.",
        workdir=str(run.workdir.root),
        summary=_summary(run),
        settings=json.dumps(configuration.to_dict(run.config), indent=2),
        curve=_curve(run.workdir.metrics),
        evaluation=_evaluation(run),
        pairs=[_pair(run, path) for path in _described(run.workdir)],
    )
    report.write(run.workdir.report, page)
    return run.workdir.report


def _summary(run: TrainedRun) -> dict[str, str]:
    """Return what matters most in the configuration."""
    config = run.config
    return {
        "Data fingerprint": run.images.fingerprint,
        "Model": f"{config.model.name}, {config.model.latent_dim}-D latent space",
        "Corruption": f"{config.corruption.kind}, strength {config.corruption.strength:g}",
        "Training": f"{config.training.num_epochs} epochs, batches of {config.training.batch_size}",
        "Optimizer": f"{config.optimizer.name}, learning rate {config.optimizer.learning_rate:g}",
        "Graph": config.graph.kind,
        "Seed": str(config.training.seed),
        "Checkpoint": f"step {run.step:,}",
    }


def _curve(metrics: Path) -> bytes | None:
    """Return the training losses as a PNG; None if none were written down.

    Raises:
        UserError: the file does not hold what training writes.
    """
    try:
        losses = _losses(journal.read(metrics))
    except MALFORMED as error:
        raise _damaged(metrics, error, cure="train again in another --workdir") from error
    if not losses:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.png"
        figures.curves_figure(path, losses, title="Training", labels=("epoch", "loss"))
        return path.read_bytes()


def _losses(
    lines: Sequence[dict[str, float]],
) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    """Return each loss by epoch; a single term of weight 1 is the loss itself, and left out."""
    if not lines:
        return {}
    names = [name for name in lines[0] if name not in NO_LOSSES and not name.endswith("_s")]
    epochs = [float(line["epoch"]) for line in lines]
    curves = {name: [float(line[name]) for line in lines] for name in names}
    total = curves["loss"]
    return {
        name: (epochs, values)
        for name, values in curves.items()
        if name == "loss" or values != total
    }


def _evaluation(run: TrainedRun) -> Evaluation | None:
    """Return the scores of many pairs; None if there was no evaluation.

    Raises:
        UserError: `evaluation.json` is damaged.
    """
    workdir = run.workdir
    if not workdir.evaluation.exists():
        return None
    saved = read_json(workdir.evaluation)
    try:
        return Evaluation(
            stale=_stale(run, saved),
            num_pairs=int(saved["num_pairs"]),
            psnr_db=metrics.psnr_of_mse(float(saved["reconstruction"]["mse"])),
            scores=[
                _score(method, scores[METRIC], saved["versus"].get(method, {}).get(METRIC, {}))
                for method, scores in saved["methods"].items()
            ],
        )
    except MALFORMED as error:
        raise _damaged(workdir.evaluation, error, cure="evaluate again") from error


def _score(method: str, score: dict[str, float], versus: dict[str, float | None]) -> Score:
    return Score(
        method=method,
        mean=float(score["mean"]),
        low=float(score["low"]),
        high=float(score["high"]),
        ratio=_number(versus.get("ratio")),
        win_rate=_number(versus.get("win_rate")),
    )


def _described(workdir: WorkDir) -> list[Path]:
    """Return the `path.json` of every animated pair, by image number."""

    def order(path: Path) -> list[tuple[int, str]]:
        parts = path.parent.name.split("-")
        return [(int(part) if part.isdecimal() else 0, part) for part in parts]

    return sorted((workdir.root / "surf").glob("*/path.json"), key=order)


def _pair(run: TrainedRun, path: Path) -> Pair:
    """Return an animated pair.

    Raises:
        UserError: its `path.json` or one of its pictures is damaged.
    """
    saved, folder = read_json(path), path.parent
    try:
        stops = [str(end["label"]) for end in saved["ends"]]
        return Pair(
            label=" to ".join(stops),
            about=f"{saved['graph']['description']}; the graph path visits "
            f"{len(saved['nodes']):,} images and is {float(saved['length']):.3g} long."
            + _crossed(saved),
            stale=_stale(run, saved),
            animations=[
                _animated(folder, method, facts) for method, facts in saved["methods"].items()
            ],
            strip=_picture(folder / "strip.png"),
            latent=_picture(folder / "latent.png"),
        )
    except MALFORMED as error:
        cure = f"remove the folder {folder}, or animate the pair again"
        raise _damaged(path, error, cure=cure) from error


def _crossed(saved: dict[str, Any]) -> str:
    """Return a sentence on the gaps that a graph path crosses; none if it crosses none."""
    # What was animated before graphs were repaired says nothing of it.
    bridges = saved.get("bridges", [])
    if not bridges:
        return ""
    places = ", ".join(f"{int(tail)} to {int(head)}" for tail, head in bridges)
    return f" It crosses gaps in the graph, bridged from {places}."


def _animated(folder: Path, method: str, facts: dict[str, Any]) -> Animated:
    return Animated(
        method=method,
        gif=_picture(folder / f"{method}.gif"),
        num_frames=int(facts["num_frames"]),
        length=_number(facts["length"]),
        interpolation_mse=float(facts[METRIC]),
        interpolation_mse_wrapped=_number(facts[f"{METRIC}_wrapped"]),
    )


def _stale(run: TrainedRun, saved: dict[str, Any]) -> str:
    """Return what a result was made with, if it is not this run as it is now."""
    if saved["checkpoint"] == run.step and saved["data"]["fingerprint"] == run.images.fingerprint:
        return ""
    return (
        f"Made with checkpoint {saved['checkpoint']}, but the run is at {run.step} now: "
        "make it again."
    )


def _picture(path: Path) -> bytes | None:
    """Return the content of a picture file; None if there is none.

    Raises:
        UserError: it can't be read, or is no picture.
    """
    try:
        data = path.read_bytes()
        markup.picture_header(data)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise _damaged(path, error, cure="remove it, or animate the pair again") from error
    return data


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _damaged(path: Path, error: Exception, *, cure: str) -> UserError:
    return UserError(f"{path} is damaged ({type(error).__name__}: {error})", cure=cure)
