"""A run, or codes of any model, explored in a browser.

A stop is a text, as in `surf`, but for files: what a browser sends is never taken for a path. A
picture of the user's is kept in `uploads/` of the working directory, under a name made here, and
`upload:NAME` is the stop that it becomes.
"""

import contextlib
import csv
import functools
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from jaxsurf.errors import UserError
from jaxsurf.evaluation import intervals, metrics, reconstruction
from jaxsurf.evaluation.truth import Truth, make_truth
from jaxsurf.frames import decode
from jaxsurf.images import pixels, storage
from jaxsurf.manifold.graph import KINDS, WEIGHTS
from jaxsurf.manifold.path import Timing
from jaxsurf.pipeline import surf
from jaxsurf.pipeline.explored import ExploredCodes
from jaxsurf.pipeline.run import Run, connect, encode_all, open_run
from jaxsurf.pipeline.surf import SurfConfig, Surfed
from jaxsurf.viewing.explorer import subject
from jaxsurf.workdir import fingerprint, replacing

UPLOAD = "upload:"
LARGEST_PICTURE = 64 * 10**6  # pixels
# What a picture of the user's may be, and the suffix it is kept with.
FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}
NUM_PAIRS = 12
# Metrics by the truth that the methods of a pair are compared by.
BY_TRUTH = ("residual", "course", "progress")
_UPLOADED = re.compile(r"[A-Za-z0-9_]{1,60}\.(png|jpg|webp|bmp|tif)")


class ExploredRun(subject.Subject):
    """A trained run, as the explorer sees it."""

    script = "surf"
    error_name = "interpolation mse"
    decodes = True
    also = surf.ALSO

    def __init__(self, run: Run, opening: Mapping[str, Any]) -> None:
        self.run, self.latents, self.opening = run, encode_all(run), opening
        self._errors: dict[bytes, np.ndarray] = {}
        images, factors = run.images, np.asarray(run.images.factors)
        height, width = images.images.shape[1:3]
        self.title = f"{images.name}, {run.config.model.latent_dim} latent dimensions"
        self.about = f"{len(images):,} images of {width} x {height} pixels; {run.workdir.root}"
        self.kinds, self.weights = tuple(KINDS), tuple(WEIGHTS)
        self.labels = {}
        for column, name in enumerate(images.factor_names):
            values, labels = factors[:, column], images.labels.get(name)
            if np.ptp(values):
                texts = np.array(labels, object)
                named = texts[values.astype(int)] if labels else values.astype(float)
                self.labels[name.replace("_", " ")] = named
        few = len(images) <= reconstruction.SAMPLE
        self.judges = few and intervals.find_grid(images) is not None
        self.pairs, self.pairs_are = _worst_pairs(run.workdir.evaluation.with_suffix(".csv"))
        build = functools.partial(connect, run, self.latents)
        super().__init__(self.latents.index, run.config.graph, run.workdir.root, build)
        self.colours = {**self.colours, "reconstruction error": self._reconstruction_error}

    def _reconstruction_error(self, numbers: subject.Numbers) -> subject.Values:
        if (key := numbers.tobytes()) not in self._errors:
            images = storage.take(self.run.images.images, numbers)
            self._errors[key] = reconstruction.mse(self.run.model, images) * pixels.PEAK**2
        return self._errors[key]

    def warm_up(self, frames: Sequence[int]) -> None:
        """Compile what paths of so many frames and a free code need."""
        last = str(len(self.index.codes) - 1)
        code = "code:" + ",".join(str(value) for value in self.index.codes[:2].mean(axis=0))
        for stop, number in (*(("0", number) for number in frames), (code, frames[0])):
            self._made(subject.Wish(stops=(stop, last), frames=number, graph=self.graph))

    def look(self, number: int) -> tuple[dict[str, subject.Picture], list[str]]:
        """Return an image, its reconstruction, and what is known about it."""
        images = self.run.images
        both = np.stack([images.images[number], self._decoded(self.index.codes[number])])
        image, reconstructed = images.look.rgb(both)
        lines = [f"image {number}", *images.files[number : number + 1]]
        for name, values in self.labels.items():
            shown = values[number] if values.dtype == object else f"{values[number]:g}"
            lines.append(f"{name} {shown}")
        return {"image": image, "reconstruction": reconstructed}, lines

    def pictures(self, numbers: subject.Numbers) -> subject.Pictures:
        """Return images as they are shown."""
        return self.run.images.look.rgb(storage.take(self.run.images.images, numbers))

    def _decoded(self, code: subject.Code) -> UInt8[np.ndarray, "height width _"]:
        return decode.decode_points(self.run.model, code[None])[0]

    def decode(self, code: subject.Code, near: int) -> subject.Picture:
        """Return what a code is decoded to."""
        del near
        return self.run.images.look.rgb(self._decoded(code)[None])[0]

    def _stop(self, text: str) -> str:
        """Return a stop as `surf` takes it; only names that were made here become paths."""
        if text.startswith(UPLOAD):
            name = text.removeprefix(UPLOAD)
            path = self.root / "uploads" / name
            if not _UPLOADED.fullmatch(name) or not path.is_file():
                raise UserError(f"{text!r} is no picture that was uploaded")
            return str(path.absolute())
        if text.startswith("code:") or re.fullmatch(r"[+-]?[0-9]+", text):
            return text
        found = self.run.images.numbers(text)
        if len(found) != 1:
            raise UserError(
                f"{len(found) or 'no'} images are meant by {text!r}",
                cure="give the number of an image, or click one",
            )
        return str(int(found[0]))

    def locate(self, stops: Sequence[str]) -> list[subject.Stop]:
        """Return the names and the codes of stops."""
        opened = [surf.open_stop(self.run, self._stop(stop)) for stop in stops]
        codes = [self.index.codes[s.number or 0] if s.code is None else s.code for s in opened]
        return [(stop.label, code) for stop, code in zip(opened, codes, strict=True)]

    def _config(self, wish: subject.Wish) -> SurfConfig:
        stops = tuple(self._stop(stop) for stop in wish.stops)
        two = len(stops) == 2 and not wish.loop and wish.order == "given"
        return SurfConfig(
            source=stops[0] if two else "",
            target=stops[1] if two else "",
            anchors=() if two else stops,
            loop=wish.loop,
            order=wish.order,
            timing=Timing(frames=wish.frames),
            graph=None if wish.graph == self.graph else wish.graph,
        )

    @functools.lru_cache(maxsize=8)  # noqa: B019  (one run is explored as long as it lives)
    def _made(self, wish: subject.Wish) -> Surfed:
        opened = self.latents, self.connected(wish.graph)
        return surf.make(self.run, self._config(wish), opened, wrapped=False)

    def film(self, wish: subject.Wish) -> subject.Film:
        """Return what `surf` makes of the same stops."""
        made, look = self._made(wish), self.run.images.look
        reels = []
        for method, each in made.animations.items():
            near = made.nearest[method]
            figures = {name: value for name, value in each.metrics.items() if value is not None}
            if each.path is not None:
                figures["path_length"] = each.path.length
            reels.append(
                subject.Reel(
                    method=method,
                    frames=look.rgb(each.frames),
                    points=None if each.path is None else each.path.points,
                    nearest=near.indices,
                    errors=near.mse,
                    steps=metrics.steps(each.frames),
                    figures=figures,
                )
            )
        passed = made.codes[made.visit.nodes[list(made.visit.places)]]
        stops = [(stop.label, code) for stop, code in zip(made.stops, passed, strict=True)]
        return self.described(wish, reels, made.visit, made.graph, stops)

    def _flags(self, wish: subject.Wish) -> dict[str, Any]:
        config = self._config(wish)
        anchors = (";" if "," in "".join(config.anchors) else ",").join(config.anchors)
        ends = {"source": config.source, "target": config.target, "anchors": anchors}
        return {"workdir": self.root, **self.opening, **ends, **super()._flags(wish)}

    def further(self, wish: subject.Wish) -> dict[str, subject.Figures]:
        """Return what the model changes, what is wrong by the truth, and the report's figure."""
        made, images, found = self._made(wish), self.run.images.images, {}
        truth, pair = self._truth_of(made)
        for method, each in made.animations.items():
            changed = metrics.consistency(self.run.model, each.frames).mean()
            found[method] = {"consistency": float(changed)}
            if truth:
                scores = truth.score([each.frames], pair)
                found[method] |= {name: float(scores[name][0]) for name in BY_TRUTH}
            if len(images) <= reconstruction.SAMPLE:
                wrapped = metrics.interpolation_mse_wrapped(each.frames, images).mean()
                found[method]["interpolation_mse_wrapped"] = float(wrapped)
        return found

    @functools.lru_cache(maxsize=8)  # noqa: B019  (as `_made`)
    def off_course(self, wish: subject.Wish) -> dict[str, Any]:
        """Return, by method, grid steps between each frame and the nearest perfect course."""
        made = self._made(wish)
        truth, pair = self._truth_of(made)
        if truth is None:
            return {}
        found = made.animations.items()
        return {method: truth.off_course(each.frames, pair) for method, each in found}

    def _truth_of(self, made: Surfed) -> tuple[Truth | None, np.ndarray]:
        """Return the truth, if it says what is right between the stops, and these as one pair."""
        numbers = [stop.number for stop in made.stops]
        known = None not in numbers and len(numbers) == 2
        return self._truth if known else None, np.array([numbers])

    @functools.cached_property
    def _truth(self) -> Truth | None:
        """The truth as images alone tell it: drawing more takes minutes."""
        return make_truth(self.run.images, rendered=False) if self.judges else None

    def take(self, data: bytes, name: str) -> str:
        """Keep a picture of the user's, and return its stop."""
        suffix = _check_picture(data)
        stem = re.sub(r"[^A-Za-z0-9]+", "_", Path(name).stem)[: surf.LONGEST_STEM].strip("_")
        path = self.root / "uploads" / f"{stem or 'image'}_{fingerprint(data.hex())}{suffix}"
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_bytes(data)
        try:
            surf.open_stop(self.run, str(path.absolute()))
        except UserError:
            path.unlink()
            raise
        return f"{UPLOAD}{path.name}"

    def keep(self, wish: subject.Wish, also: Sequence[str] = ()) -> str:
        """Write the files of `surf`."""
        config = replace(self._config(wish), also=tuple(also))
        opened = self.latents, self.connected(wish.graph)
        with self._lock:
            return str(surf.surf(self.run, config, opened).folder)


def _worst_pairs(path: Path) -> tuple[dict[str, str], str]:
    """Return what is said of pairs of an evaluation that `linear` does worst on, and of all."""
    with (
        contextlib.suppress(FileNotFoundError, LookupError, TypeError, ValueError, csv.Error),
        path.open(encoding="utf-8", newline="") as file,
    ):
        rows = [row for row in csv.DictReader(file) if row["method"] == "linear"]
        by = "course" if rows[0].get("course") else "interpolation_mse"
        errors = {(row["source"], row["target"]): float(row[by]) for row in rows}
        worst = sorted(errors, key=lambda pair: -errors[pair])[:NUM_PAIRS]
        named = by.replace("_", " ")
        said = {f"{a}; {b}": f"{a} to {b}: {named} {errors[a, b]:.1f}" for a, b in worst}
        return said, f"As evaluated: worst {named} of linear first"
    return {}, ""


def _check_picture(data: bytes) -> str:
    """Refuse what is no picture or too large unpacked; return the suffix of its format."""
    bombs = (Image.DecompressionBombWarning, Image.DecompressionBombError)
    try:
        # Its size stands in the head: nothing is unpacked before it is known.
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=list(FORMATS))
        if image.width * image.height > LARGEST_PICTURE:
            raise Image.DecompressionBombError
        image.load()
    except bombs as error:
        cause = f"the picture has more than {LARGEST_PICTURE // 10**6} megapixels"
        raise UserError(cause, cure="make it smaller") from error
    except Exception as error:  # Pillow's are of many kinds
        cure = f"give a {', '.join(FORMATS)} file"
        unknown = isinstance(error, UnidentifiedImageError)  # whose message names an object
        reason = "in no known format" if unknown else error
        raise UserError(f"this is no picture that can be read ({reason})", cure=cure) from error
    return FORMATS[image.format or ""]


def explore(
    workdir: Path | str | None,
    *,
    checkpoint: str = "last",
    data: str | None = None,
    latents: str = "",
    images: str = "",
    labels: str = "",
    port: int = 0,
    opened: bool = False,
) -> None:
    """Serve the explorer of a run, or of codes, until it is interrupted."""
    if not latents and (images or labels or not workdir):
        cure = "give --workdir, or --latents, to which --images and --labels belong"
        raise UserError("there are no codes to explore", cure=cure)
    try:
        from jaxsurf.viewing.explorer import server
    except ImportError as error:
        cure = 'pip install "jaxsurf[explore]"'
        raise UserError("the explorer needs dash and plotly", cure=cure) from error
    if latents:
        name = re.sub(r"[^A-Za-z0-9]+", "_", Path(latents).stem).strip("_")
        root = Path(workdir or f"runs/{name or 'codes'}")
        explored = ExploredCodes(latents, root, images=images, labels=labels)
    else:
        opening = {"checkpoint": checkpoint * (checkpoint != "last"), "data": data or ""}
        run = open_run(Path(str(workdir)), checkpoint=checkpoint, data=data)
        explored = ExploredRun(run, opening)
    server.serve(explored, port=port, opened=opened)
