"""All that a working directory holds, on one HTML page.

Frames, scores and losses are those of the files that lie there: nothing is decoded or measured
again. Codes and graph are those of the caches; without one, the codes of a small set are encoded.
"""

import contextlib
import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.errors import UserError
from jaxsurf.images import storage
from jaxsurf.images.image_set import ImageSet
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
MOST_EDGES = 100_000
# Axes of the map to choose from: the first principal components, and the first latent ones.
NUM_COMPONENTS, MOST_LATENT = 3, 12
# Images that are made small together: large ones don't fit in memory all at once.
AT_ONCE = 100
# Cells along either side of the map that a sample of images is spread over.
SAMPLE_CELLS = 32
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
    described = (run.workdir.root / "surf").glob("*/path.json")
    expected = run.workdir.expected
    view, remarks = _view(run)
    pairs = [_pair(run, path, view) for path in sorted(described, key=_numbers)]
    latent_map = None if view is None else _latent_map(run, view)
    if latent_map is not None:
        remarks += latent_map.left_out
    if any(film.sheet and not film.errors for pair in pairs for film in pair.animations):
        remarks.append(
            "An older version of jaxsurf made some animations: without curves, until they are made "
            "again"
        )
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
        labels, figures = _each_pair(path.with_suffix(".csv"), list(saved["methods"]), list(shown))
        every = evenly(len(labels), MOST_DOTS)
        methods = [
            report.Scored(
                method=method,
                scores=[_score(saved, method, metric) for metric in shown],
                faults=saved["faults"].get(method, []),
                each=figures[method][:, every],
            )
            for method in saved["methods"]
        ]
        worst = {
            f"{int(source)} to {int(target)}": _picture(pictures / f"worst-{number}.png")
            for number, (source, target) in enumerate(saved["worst"]["pairs"], 1)
        }
        return report.Evaluation(
            stale=_stale(run, saved),
            about=evaluate.about(saved),
            columns=list(shown.values()),
            methods=methods,
            distance=_picture(pictures / "distance.png"),
            judged=str(saved["worst"]["method"]),
            worst={label: content for label, content in worst.items() if content is not None},
            pairs=[labels[place] for place in every],
            left_out=len(labels) - len(every),
        )


def _each_pair(
    path: Path, methods: Sequence[str], metrics: Sequence[str]
) -> tuple[list[str], dict[str, Float[np.ndarray, "column pair"]]]:
    """Return the pairs of `evaluation.csv`, and their figures by method, NaN where none is."""
    with _intact(path, cure="evaluate again"):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        labels = [f"{int(row['source'])} to {int(row['target'])}" for row in rows]
        places = {label: place for place, label in enumerate(dict.fromkeys(labels))}
        found = {method: np.full((len(metrics), len(places)), np.nan) for method in methods}
        for label, row in zip(labels, rows, strict=True):
            if row["method"] in found:
                values = [float(row.get(metric) or "nan") for metric in metrics]
                found[row["method"]][:, places[label]] = values
    return list(places), found


def _score(saved: Mapping[str, Any], method: str, metric: str) -> report.Score | None:
    if metric not in saved["methods"][method]:
        return None
    mean, low, high = (float(saved["methods"][method][metric][n]) for n in ("mean", "low", "high"))
    rate = saved["versus"].get(method, {}).get(metric, {}).get("win_rate")
    win_rate = None if rate is None else float(rate)
    return report.Score(mean=mean, low=low, high=high, win_rate=win_rate)


def _pair(run: Run, path: Path, view: View | None) -> report.Pair:
    saved, folder = read_json(path), path.parent
    with _intact(path, cure=f"remove the folder {folder}, or animate the pair again"):
        about = (
            f"{saved['graph']['description']}; the graph path visits {len(saved['nodes']):,} "
            f"images and is {float(saved['length']):.3g} long."
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
                    names.append(str(end["label"]))
                    marked.append(code)
            stops = drawn.project(np.reshape(marked, (-1, drawn.codes.shape[1])))
        animations = [
            _animated(folder, method, facts, drawn) for method, facts in saved["methods"].items()
        ]
        return report.Pair(
            label=" to ".join(str(end["label"]) for end in saved["ends"]),
            about=about,
            stale=stale,
            animations=animations,
            strip=_picture(folder / "strip.png"),
            latent=_picture(folder / "latent.png") if drawn is None else None,
            stops=stops,
            names=names,
        )


def _animated(
    folder: Path, method: str, given: Mapping[str, Any], view: View | None
) -> report.Animated:
    kept, path = evenly(given["num_frames"], sheets.MOST_FRAMES), None
    if view is not None and given.get("points"):
        path = view.project(np.array(given["points"], np.float64)[kept])
    # Those of older versions have no figures of frames.
    errors, steps = given.get("frame_errors") or [], [0.0, *(given.get("frame_steps") or [])]
    frame_ms, length = float(given["frame_ms"]), given.get("length")
    wrapped = given.get("interpolation_mse_wrapped")
    # An animated PNG has the whole opacity, where there is some.
    files = (folder / f"{method}.png", folder / f"{method}.gif")
    file = next((one for one in files if one.exists()), files[-1])
    sheet = None
    if file.exists():
        with _intact(file, cure="remove it, or animate the pair again"):
            sheet = sheets.of_film(file.read_bytes(), frame_ms=frame_ms, kept=kept)
    return report.Animated(
        method=method,
        file=file.name,
        sheet=sheet,
        numbers=kept.tolist(),
        num_frames=given["num_frames"],
        frame_ms=frame_ms,
        length=None if length is None else float(length),
        interpolation_mse=float(given["interpolation_mse"]),
        interpolation_mse_wrapped=None if wrapped is None else float(wrapped),
        errors=[float(errors[n]) for n in kept] if errors else [],
        steps=[float(steps[n]) for n in kept] if errors else [],
        path=path,
    )


def evenly(number: int, most: int) -> Int[np.ndarray, "kept"]:
    """Return all places of a list, or so many of them, the first and the last among them."""
    return np.rint(np.linspace(0, number - 1, min(number, most))).astype(np.int64)


def _view(run: Run) -> tuple[View | None, list[str]]:
    """Return what places codes on the map, or None and why they are not known."""
    missing, cached = "The latent map is missing: ", run.workdir.latents.exists()
    if not cached and len(run.images) >= MOST_ENCODED:
        return None, [f"{missing}its codes are not encoded yet, which surf and evaluate do"]
    try:
        codes = encode_all(run).codes
    except UserError as error:
        if cached:
            raise
        return None, [f"{missing}{error}"]  # a model that collapsed or diverged has its page too
    size = codes.shape[1]
    latent = np.eye(size)[:, :MOST_LATENT]
    names = [f"latent {number + 1}" for number in range(latent.shape[1])]
    if size == 1:
        return View(codes, [*names, ""], lambda some: np.pad(some, [(0, 0), (0, 1)])), []
    if size == 2:
        return View(codes, names, np.asarray), []
    mean, directions, shares = principal_components(codes)
    number = min(size, NUM_COMPONENTS)
    components = [f"PC {n + 1} ({shares[n]:.0%})" for n in range(number)]

    def project(some: Codes) -> Axes:
        return np.concatenate([(some - mean) @ directions[:, :number], some @ latent], axis=1)

    return View(codes, components + names, project), []


def _latent_map(run: Run, view: View) -> report.LatentMap:
    images, points, left_out = run.images, view.project(view.codes), []
    shown = _sample(points, images, MOST_POINTS)
    pictured = shown[_sample(points[shown], images, MOST_THUMBNAILS, numbers=shown)]
    if len(shown) < len(points):
        left_out.append(f"The map shows {len(shown):,} of {len(points):,} images, evenly sampled")
    if len(pictured) < len(shown):
        left_out.append(f"{len(pictured):,} images of the map have a thumbnail, evenly sampled")
    edges = None
    if run.workdir.graph.exists() and len(shown) == len(points):
        edges, _ = connect(run, encode_all(run)).edges()
        if len(edges) > MOST_EDGES:
            left_out.append(f"The {len(edges):,} edges of the graph are too many to be drawn")
            edges = None
    factors = []
    if images.factors is not None:
        for name, values in zip(images.factor_names, images.factors[shown].T, strict=True):
            labels, period = images.labels.get(name, ()), float(images.periodic.get(name, 0.0))
            factors.append(report.Factor(name=name, values=values, labels=labels, period=period))
    return report.LatentMap(
        axes=view.axes,
        points=points[shown],
        numbers=shown,
        num_images=len(points),
        files=[images.files[number] for number in shown] if images.files else [],
        factors=factors,
        thumbnails=sheets.of_thumbnails(
            images.look.rgb(storage.take(images.images, some))
            for some in np.array_split(pictured, -(-len(pictured) // AT_ONCE))
        ),
        pictured=np.searchsorted(shown, pictured),
        edges=edges,
        left_out=left_out,
    )


def _sample(
    points: Axes, images: ImageSet, most: int, *, numbers: Int[np.ndarray, "point"] | None = None
) -> Int[np.ndarray, "kept"]:
    """Return places of at most so many images, ascending, in even shares of labels and of the map.

    Images are put in order by the labels of their factors, within these by cells of the map, and
    every so many of this order is taken.
    """
    if len(points) <= most:
        return np.arange(len(points))
    low, spans = points[:, :2].min(axis=0), np.ptp(points[:, :2], axis=0)
    cells = ((points[:, :2] - low) / np.where(spans > 0, spans, 1) * SAMPLE_CELLS).astype(int)
    keys = [cells[:, 1], cells[:, 0]]
    for name in images.labels:
        if images.factors is not None and name in images.factor_names:
            column = images.factors[:, images.factor_names.index(name)]
            keys.append(column if numbers is None else column[numbers])
    order = np.lexsort(keys)
    return np.sort(order[evenly(len(order), most)])


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


@contextlib.contextmanager
def _intact(path: Path, *, cure: str) -> Iterator[None]:
    """Report a file as damaged where what is read from it has not the shape that it should."""
    try:
        yield
    except _DAMAGES as error:
        text = f"{path} is damaged ({type(error).__name__}: {error})"
        raise UserError(text, cure=cure) from error
