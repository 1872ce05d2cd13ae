"""All that a working directory holds, on one HTML page.

Frames, scores and losses are those of the files that lie there: nothing is decoded or measured
again. Codes and graph are those of the caches; without one, the codes of a small set are encoded.
"""

import contextlib
import csv
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.errors import UserError
from jaxsurf.images import storage
from jaxsurf.manifold import tour
from jaxsurf.manifold.path import principal_components
from jaxsurf.pipeline import configuration, evaluate
from jaxsurf.pipeline.run import Run, connect, encode_all
from jaxsurf.training.log import read_metrics
from jaxsurf.viewing import plots, report, sheets
from jaxsurf.workdir import read_json, write_text

# What a line of metrics.jsonl holds beside losses; wall-clock figures end in `_s`.
NO_LOSSES = ("step", "epoch", "learning_rate")
# More images than these are encoded by other commands alone: here that would take minutes.
MOST_ENCODED = 20_000
# Images on the map, and those of them with a thumbnail: what a page of a few megabytes holds.
MOST_POINTS, MOST_THUMBNAILS = 20_000, 2_000
# Axes of the map to choose from: the first principal components, and the first latent ones.
NUM_COMPONENTS, MOST_LATENT = 3, 12
# Images that are made small together: large ones don't fit in memory all at once.
AT_ONCE = 100
# Pairs with a dot for each method and figure.
MOST_DOTS = 400

# What is raised where a file does not hold what it should.
_DAMAGES = (LookupError, TypeError, ValueError, AttributeError, OSError, csv.Error)

Codes = Float[np.ndarray, "point latent"]
Axes = Float[np.ndarray, "point axis"]


class View(NamedTuple):
    """All codes, the axes of the latent map, and what places codes on these."""

    codes: Codes
    axes: Sequence[str]
    project: Callable[[Codes], Axes]


def write(run: Run) -> Path:
    """Write `report.html`, which shows what was animated and evaluated, and return its path."""
    config, images = run.config, run.images.images
    # Not the hidden folders that a command leaves which is killed while it replaces one.
    described = (run.workdir.root / "surf").glob("[!.]*/path.json")
    expected = run.workdir.expected
    view, remarks = _view(run)
    pairs = [_pair(run, path, view) for path in sorted(described, key=_numbers)]
    latent_map = None if view is None else _latent_map(run, view)
    if latent_map is not None and len(latent_map.pictured) < len(run.images):
        few, pictured = len(latent_map.points), len(latent_map.pictured)
        shown = f"The map shows {few:,} of {len(run.images):,} images, {pictured:,} of them with a"
        remarks.append(f"{shown} thumbnail, chosen at random")
    page = report.Page(
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
        pairs=pairs,
        latent_map=latent_map,
        remarks=remarks,
    )
    with _intact(run.workdir.root, cure="evaluate again, and animate its pairs again"):
        text = report.render(page)
    write_text(run.workdir.report, text)
    return run.workdir.report


def _curve(path: Path) -> bytes | None:
    lines, curves = read_metrics(path), {}
    with _intact(path, cure="train again in another --workdir"):
        for name in dict.fromkeys(itertools.chain(*lines)):
            # The distance to target codes is that of the first lines alone.
            having = [line for line in lines if name in line]
            values = [float(line[name]) for line in having]
            # A single term of weight 1 is the loss itself.
            same = name != "loss" and values == [line["loss"] for line in having]
            if name not in NO_LOSSES and not name.endswith("_s") and not same:
                curves[name] = [float(line["epoch"]) for line in having], values
    return plots.png(plots.curves(curves, title="Training")) if curves else None


def _evaluation(run: Run) -> report.Evaluation | None:
    path = run.workdir.evaluation
    if not path.exists():
        return None
    saved, pictures = read_json(path), path.with_suffix("")
    with _intact(path, cure="evaluate again"):
        if saved.get("edition") != evaluate.EDITION:
            raise UserError(
                f"{path} was written by another version of jaxsurf", cure="evaluate again"
            )
        # Without the truth no method has some of them.
        shown = {
            metric: column
            for metric, column in evaluate.columns([saved]).items()
            if any(metric in found for found in saved["methods"].values())
        }
        with path.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        methods = list(saved["methods"])
        pairs = [f"{row['source']} to {row['target']}" for row in rows[:: len(methods)]]
        every = evenly(len(pairs), MOST_DOTS)
        each = {}
        for method in methods:
            mine = [row for row in rows if row["method"] == method]
            each[method] = [
                [float(text) if (text := mine[n].get(metric)) else None for n in every]
                for metric in shown
            ]
        distance = pictures / "distance.png"
        return report.Evaluation(
            stale=_stale(run, saved),
            about=evaluate.about(saved),
            columns=shown,
            content=saved,
            distance=_picture(distance) if distance.exists() else None,
            worst={
                f"{source} to {target}": _picture(pictures / f"worst-{number}.png")
                for number, (source, target) in enumerate(saved["worst"]["pairs"], 1)
            },
            pairs=[pairs[n] for n in every],
            each=each,
        )


def _pair(run: Run, path: Path, view: View | None) -> report.Pair:
    saved, folder = read_json(path), path.parent
    with _intact(folder, cure="remove it, or animate the pair again"):
        about = (
            f"{saved['graph']['description']}; the graph path visits {len(saved['nodes']):,} "
            f"images and is {saved['length']:.3g} long."
        )
        if bridges := saved["bridges"]:
            about += f" It {tour.describe_gaps(bridges)}."
        stale, stops, names, marked = _stale(run, saved), None, [], []
        drawn = None if stale else view  # codes of another checkpoint lie elsewhere
        if drawn is not None:
            for end in saved["ends"]:
                inside = end["node"] < len(drawn.codes)
                code = drawn.codes[end["node"]] if inside else end["code"]
                if code is not None:  # of an image from outside neither number nor code is known
                    names.append(end["label"])
                    marked.append(code)
            stops = drawn.project(np.reshape(marked, (-1, drawn.codes.shape[1])))
        return report.Pair(
            label=" to ".join(end["label"] for end in saved["ends"]),
            about=about,
            stale=stale,
            animations=[
                _animated(folder / method, facts, drawn)
                for method, facts in saved["methods"].items()
            ],
            strip=_picture(folder / "strip.png"),
            latent=_picture(folder / "latent.png") if drawn is None else None,
            stops=stops,
            names=names,
        )


def _animated(path: Path, facts: Mapping[str, Any], view: View | None) -> report.Animated:
    kept, projected = evenly(facts["num_frames"], sheets.MOST_FRAMES), None
    if view is not None and facts["points"]:
        projected = view.project(np.array(facts["points"], np.float64)[kept])
    # An animated PNG has the whole opacity, where there is some.
    png, gif = path.with_suffix(".png"), path.with_suffix(".gif")
    film = (png if png.exists() else gif).read_bytes()
    sheet = sheets.of_film(film, frame_ms=facts["frame_ms"], kept=kept)
    steps = [0.0, *facts["frame_steps"]]
    return report.Animated(
        method=path.name,
        facts=facts,
        sheet=sheet,
        numbers=kept,
        errors=[float(facts["frame_errors"][n]) for n in kept],
        steps=[float(steps[n]) for n in kept],
        path=projected,
    )


def evenly(number: int, most: int) -> Int[np.ndarray, "kept"]:
    """Return all places of a list, or so many of them, the first and the last among them."""
    return np.rint(np.linspace(0, number - 1, min(number, most))).astype(np.int64)


def _view(run: Run) -> tuple[View | None, list[str]]:
    """Return what places codes on the map, or None and why they are not known."""
    missing, cached = "The latent map is missing: ", run.workdir.latents.exists()
    if len(run.images) >= MOST_ENCODED and not cached:
        return None, [f"{missing}its codes are not encoded yet, which surf and evaluate do"]
    try:
        codes = encode_all(run).codes
    except UserError as error:
        if cached:
            raise
        return None, [f"{missing}{error}"]  # a model that collapsed or diverged has its page too
    size = codes.shape[1]
    names = [f"latent {number + 1}" for number in range(min(size, MOST_LATENT))]
    if size == 1:
        return View(codes, [*names, ""], lambda some: np.pad(some, [(0, 0), (0, 1)])), []
    if size == 2:
        return View(codes, names, np.asarray), []
    mean, directions, shares = principal_components(codes)
    components = [f"PC {n + 1} ({shares[n]:.0%})" for n in range(NUM_COMPONENTS)]

    def project(some: Codes) -> Axes:
        main = (some - mean) @ directions[:, :NUM_COMPONENTS]
        return np.concatenate([main, some[:, :MOST_LATENT]], axis=1)

    return View(codes, components + names, project), []


def _latent_map(run: Run, view: View) -> report.LatentMap:
    images, order = run.images, np.random.default_rng(0).permutation(len(run.images))
    shown, pictured = np.sort(order[:MOST_POINTS]), np.sort(order[:MOST_THUMBNAILS])
    edges = None
    if run.workdir.graph.exists() and len(shown) == len(images):
        edges, _ = connect(run, encode_all(run)).edges()
        edges = edges[:: len(edges) // plots.MOST_EDGES + 1]
    factors = []
    if images.factors is not None:
        for name, values in zip(images.factor_names, images.factors[shown].T, strict=True):
            labels, period = images.labels.get(name, ()), float(images.periodic.get(name, 0.0))
            factors.append(report.Factor(name=name, values=values, labels=labels, period=period))
    return report.LatentMap(
        axes=view.axes,
        points=view.project(view.codes[shown]),
        numbers=shown,
        files=[images.files[number] for number in shown] if images.files else [],
        factors=factors,
        thumbnails=sheets.of_thumbnails(
            images.look.rgb(storage.take(images.images, some))
            for some in np.array_split(pictured, -(-len(pictured) // AT_ONCE))
        ),
        pictured=np.searchsorted(shown, pictured),
        edges=edges,
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


def _picture(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(b"\x89PNG"):
        raise ValueError(f"{path.name} is no PNG")
    return content


@contextlib.contextmanager
def _intact(path: Path, *, cure: str) -> Iterator[None]:
    """Report results as damaged where their files do not hold what they should."""
    try:
        yield
    except _DAMAGES as error:
        text = f"{path} is damaged ({type(error).__name__}: {error})"
        raise UserError(text, cure=cure) from error
