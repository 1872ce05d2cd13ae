"""The ends of an animation: images of the set by number, and what lies outside of it.

A text of digits is the number of an image; `code:0.1,-2` is a latent code; any other text is an
image file, which is given as `./12` where its name would say something else. An image from outside
is encoded; its code, or the one that was given, joins the graph as a further node, after those of
the set.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from jaxsurf.errors import UserError
from jaxsurf.frames import decode
from jaxsurf.images import picture
from jaxsurf.manifold import encode
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.encode import Latents
from jaxsurf.manifold.outside import attach
from jaxsurf.pipeline.run.distances import make_distance
from jaxsurf.pipeline.run.trained import TrainedRun
from jaxsurf.workdir import fingerprint

_CODE = "code:"
# Neighbours that join what is from outside the set to the graph: as many as the report's k.
OUTSIDE_NEIGHBOURS = 4
# Longer names would fill the plot.
LONGEST_STEM = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class End:
    """One end of an animation.

    Attributes:
        label: what a person calls it: its number, the file's name without suffix, or its code.
        key: its part of a folder's name; ends from outside that differ have different ones.
        image: its pixels; those that it is decoded to where it is a latent code.
        number: its number in the set; None for an end from outside.
        file: where an image from outside lies.
        code: of an end that is a latent code.
    """

    label: str
    key: str
    image: UInt8[np.ndarray, "height width 3"]
    number: int | None = None
    file: str | None = None
    code: Float[np.ndarray, "latent"] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Joined:
    """A graph to which the ends belong, the codes of its nodes, and the node of each end."""

    graph: LatentGraph
    codes: Float[np.ndarray, "node latent"]
    nodes: tuple[int, ...]


def open_end(run: TrainedRun, text: str) -> End:
    """Return the end that a number, a latent code or a file name means.

    Raises:
        UserError: the set has no such number, the code is none of this model's, or the file is no
            image of its size.
    """
    if text.startswith(_CODE):
        return _free_code(run, text)
    if re.fullmatch(r"[+-]?[0-9]+", text):
        number = int(text)
        if not 0 <= number < len(run.images):
            raise UserError(
                f"image {number} is out of range", cure=f"choose 0 to {len(run.images) - 1}"
            )
        return End(
            label=str(number), key=str(number), image=run.images.images[number], number=number
        )
    file = Path(text)
    # os.path.exists takes any text: Path.exists raises where one is too long to be a name.
    if not os.path.exists(text):  # noqa: PTH110  (see above)
        raise UserError(
            f"{text!r} is neither an image number nor a file that exists",
            cure=f"give a number from 0 to {len(run.images) - 1}, the path of an image file, or "
            f"a latent code such as {_CODE}0.1,-2",
        )
    image = picture.open_image(file, side=run.config.data.side or None)
    if image.shape != run.images.images.shape[1:]:
        here, there = (f"{s[1]} x {s[0]}" for s in (image.shape, run.images.images.shape[1:]))
        raise UserError(
            f"{text} is {here} pixels, but the model was trained on {there}",
            cure="resize it, or train with --config.data.side to have images resized",
        )
    stem = re.sub(r"[^A-Za-z0-9]+", "_", file.stem)[:LONGEST_STEM].strip("_")
    key = f"{stem or 'image'}_{fingerprint(image)[:8]}"
    return End(label=file.stem, key=key, image=image, file=text)


def join(run: TrainedRun, latents: Latents, built: LatentGraph, ends: Sequence[End]) -> Joined:
    """Return the graph with the ends from outside as further nodes; equal ones share one.

    Raises:
        UserError: an image's code is not finite.
    """
    outside = {end.key: end for end in ends if end.number is None}
    if outside:
        added = _codes(run, list(outside.values()))
        codes = np.concatenate([latents.codes, added])
        joined = attach(
            built,
            latents.index,
            added,
            k=min(OUTSIDE_NEIGHBOURS, len(latents.codes)),
            distance=make_distance(
                built.weight,
                run.model,
                codes,
                run.images.images,
                np.stack([end.image for end in outside.values()]),
            ),
        )
    else:
        joined, codes = built, latents.codes
    fresh = {key: len(latents.codes) + place for place, key in enumerate(outside)}
    nodes = tuple(fresh[end.key] if end.number is None else end.number for end in ends)
    return Joined(graph=joined, codes=codes, nodes=nodes)


def _codes(run: TrainedRun, outside: Sequence[End]) -> Float[np.ndarray, "new latent"]:
    """Return the codes of ends from outside, their own or those of their images."""
    pictures = [end.image for end in outside if end.code is None]
    encoded = iter(np.empty((0, 0)))
    if pictures:
        # Beside an image of the set, a single one can't be taken for a collapsed model.
        images = np.stack([*pictures, run.images.images[0]])
        encoded = iter(encode.encode_images(run.model, images, batch_size=len(images)).codes)
    return np.stack([next(encoded) if end.code is None else end.code for end in outside])


def _free_code(run: TrainedRun, text: str) -> End:
    """Return the end that a latent code means; its image is what it is decoded to."""
    size = run.config.model.latent_dim
    cure = f"give {size} numbers with commas between: {_CODE}{','.join(['0.1'] * size)}"
    parts = text.removeprefix(_CODE).split(",")
    try:
        code = np.asarray([float(part) for part in parts])
    except ValueError as error:
        raise UserError(f"{text} is no latent code", cure=cure) from error
    if len(code) != size:
        raise UserError(f"{text} has {len(code)} numbers, but latent codes have {size}", cure=cure)
    # Models take float32, in which larger numbers are infinite.
    if not (np.abs(code) <= np.finfo(np.float32).max).all():
        raise UserError(f"{text} is not finite in float32", cure=cure)
    code = code.astype(np.float32)
    image = decode.decode_points(run.model, code[None])[0]
    return End(label=text, key=f"code_{fingerprint(code)[:8]}", image=image, code=code)
