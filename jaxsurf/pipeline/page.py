"""All that a working directory holds, on one HTML page."""

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import dacite
from dacite import DaciteError

from jaxsurf.errors import UserError
from jaxsurf.manifold import tour
from jaxsurf.pipeline import configuration, evaluate
from jaxsurf.pipeline.run import Run
from jaxsurf.training.log import read_metrics
from jaxsurf.viewing import plots, report
from jaxsurf.viewing.report import Animated, Evaluation, Page, Pair, Score, Scored
from jaxsurf.workdir import read_json, write_text

# What a line of metrics.jsonl holds beside losses; wall-clock figures end in `_s`.
NO_LOSSES = ("step", "epoch", "learning_rate")

_Kind = TypeVar("_Kind", Score, Animated)


def write(run: Run) -> Path:
    """Write `report.html`, which shows what was animated and evaluated, and return its path."""
    config, images = run.config, run.images.images
    described = (run.workdir.root / "surf").glob("*/path.json")
    expected = run.workdir.expected
    page = Page(
        title=f"{run.images.name} in {config.model.latent_dim} latent dimensions",
        about=f"{len(images):,} images of {images.shape[2]} x {images.shape[1]} pixels; "
        "interpolation by surfing the latent manifold of a denoising autoencoder.",
        read=run.images.account,
        expected=expected.read_text(encoding="utf-8") if expected.exists() else "",
        workdir=str(run.workdir.root),
        summary={
            "Data fingerprint": run.images.fingerprint,
            "Model": f"{config.model.name}, {config.model.latent_dim}-D latent space",
            "Corruption": f"{config.corruption.kind}, strength {config.corruption.strength:g}",
            "Training": f"{config.training.num_epochs} epochs, "
            f"batches of {config.training.batch_size}",
            "Optimizer": f"{config.optimizer.name}, "
            f"learning rate {config.optimizer.learning_rate:g}",
            "Graph": config.graph.kind,
            "Seed": str(config.training.seed),
            "Checkpoint": f"step {run.step:,}",
        },
        settings=json.dumps(configuration.to_dict(config), indent=2),
        curve=_curve(run.workdir.metrics),
        evaluation=_evaluation(run),
        pairs=[_pair(run, path) for path in sorted(described, key=_numbers)],
    )
    write_text(run.workdir.report, report.render(page))
    return run.workdir.report


def _curve(path: Path) -> bytes | None:
    with _intact(path, cure="train again in another --workdir"):
        lines = read_metrics(path)
        if not lines:
            return None
        epochs = [float(line["epoch"]) for line in lines]
        curves = {"loss": (epochs, [float(line["loss"]) for line in lines])}
        # The distance to target codes is that of the first lines alone.
        for name in dict.fromkeys(itertools.chain(*lines)):
            having = [line for line in lines if name in line]
            values = [float(line[name]) for line in having]
            # A single term of weight 1 is the loss itself.
            same = values == [float(line["loss"]) for line in having]
            if name not in NO_LOSSES and not name.endswith("_s") and not same:
                curves[name] = ([float(line["epoch"]) for line in having], values)
    return plots.png(plots.curves(curves, title="Training"))


def _evaluation(run: Run) -> Evaluation | None:
    path = run.workdir.evaluation
    if not path.exists():
        return None
    saved, pictures = read_json(path), path.with_suffix("")
    with _intact(path, cure="evaluate again"):
        if saved.get("edition") != evaluate.EDITION:
            raise UserError(
                f"{path} was written by another version of jaxsurf", cure="evaluate again"
            )
        shown = evaluate.columns([saved])
        methods = []
        for method, found in saved["methods"].items():
            versus = saved["versus"].get(method, {})
            scores = [
                _typed(Score, found[metric] | versus.get(metric, {})) if metric in found else None
                for metric in shown
            ]
            faults = saved["faults"].get(method, [])
            methods.append(Scored(method=method, scores=scores, faults=faults))
        worst = {
            f"{int(source)} to {int(target)}": _picture(pictures / f"worst-{number}.png")
            for number, (source, target) in enumerate(saved["worst"]["pairs"], 1)
        }
        return Evaluation(
            stale=_stale(run, saved),
            about=evaluate.about(saved),
            columns=list(shown.values()),
            methods=methods,
            distance=_picture(pictures / "distance.png"),
            judged=str(saved["worst"]["method"]),
            worst={label: content for label, content in worst.items() if content is not None},
        )


def _pair(run: Run, path: Path) -> Pair:
    saved, folder = read_json(path), path.parent
    with _intact(path, cure=f"remove the folder {folder}, or animate the pair again"):
        about = (
            f"{saved['graph']['description']}; the graph path visits {len(saved['nodes']):,} "
            f"images and is {float(saved['length']):.3g} long."
        )
        if bridges := saved["bridges"]:
            about += f" It {tour.describe_gaps(bridges)}."
        return Pair(
            label=" to ".join(str(end["label"]) for end in saved["ends"]),
            about=about,
            stale=_stale(run, saved),
            animations=[
                _typed(Animated, facts, method=method, gif=_film(folder, method))
                for method, facts in saved["methods"].items()
            ],
            strip=_picture(folder / "strip.png"),
            latent=_picture(folder / "latent.png"),
        )


def _numbers(path: Path) -> list[tuple[int, str]]:
    """Return what sorts the folders of animations by image number."""
    parts = path.parent.name.split("-")
    return [(int(part) if part.isdecimal() else 0, part) for part in parts]


def _stale(run: Run, saved: dict[str, Any]) -> str:
    """Return what a result was made with, if it is not this run as it is now."""
    if saved["checkpoint"] == run.step and saved["data"]["fingerprint"] == run.images.fingerprint:
        return ""
    made = f"Made with checkpoint {saved['checkpoint']}"
    return f"{made}, but the run is at {run.step} now: make it again."


def _picture(path: Path) -> bytes | None:
    if not path.exists():
        return None
    with _intact(path, cure="remove it, or animate the pair again"):
        content = path.read_bytes()
        report.picture(content)
        return content


def _film(folder: Path, method: str) -> bytes | None:
    """Return an animation, with its whole opacity where it has some."""
    return _picture(folder / f"{method}.png") or _picture(folder / f"{method}.gif")


def _typed(kind: type[_Kind], values: Mapping[str, Any], **more: Any) -> _Kind:  # noqa: ANN401
    return dacite.from_dict(kind, {**values, **more}, dacite.Config(type_hooks={float: float}))


@contextlib.contextmanager
def _intact(path: Path, *, cure: str) -> Iterator[None]:
    """Report a file as damaged where what is read from it has not the shape that it should."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OSError, DaciteError) as error:
        text = f"{path} is damaged ({type(error).__name__}: {error})"
        raise UserError(text, cure=cure) from error
