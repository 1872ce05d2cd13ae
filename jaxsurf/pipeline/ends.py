"""The ends of an animation: images of the set by number, or image files from outside of it.

A text of digits is a number; a file whose name is one is given as `./12`. An image from outside is
encoded and joined to the graph as a further node, after those of the set.
"""

import functools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxsurf.errors import UserError
from jaxsurf.images import differences, picture
from jaxsurf.manifold import encode, graph
from jaxsurf.manifold.csr import LatentGraph
from jaxsurf.manifold.encode import Latents
from jaxsurf.pipeline.trained import TrainedRun
from jaxsurf.workdir import fingerprint

# Neighbours that join an image from outside the set to the graph: as many as the report's k.
OUTSIDE_NEIGHBOURS = 4
# Longer names would fill the plot.
LONGEST_STEM = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class End:
    """One end of an animation.

    Attributes:
        label: what a person calls it: its number, or the file's name without suffix.
        key: its part of a folder's name; images from outside that differ have different ones.
        image: its pixels.
        number: its number in the set; None for an image from outside.
        file: where an image from outside lies.
    """

    label: str
    key: str
    image: UInt8[np.ndarray, "height width 3"]
    number: int | None = None
    file: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Joined:
    """A graph to which the ends belong, the codes of its nodes, and the node of each end."""

    graph: LatentGraph
    codes: Float[np.ndarray, "node latent"]
    nodes: tuple[int, ...]


def open_end(run: TrainedRun, text: str) -> End:
    """Return the end that a number or a file name means.

    Raises:
        UserError: the set has no such number, or the file is no image of the model's size.
    """
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
            cure=f"give a number from 0 to {len(run.images) - 1}, or the path of an image file",
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
    """Return the graph with the ends from outside as further nodes; equal images share one.

    Raises:
        UserError: an image's code is not finite.
    """
    outside = {end.key: end.image for end in ends if end.number is None}
    if outside:
        # Beside an image of the set, a single one can't be taken for a collapsed model.
        images = np.stack([*outside.values(), run.images.images[0]])
        added = encode.encode_images(run.model, images, batch_size=len(images)).codes[:-1]
        neighbours = min(OUTSIDE_NEIGHBOURS, len(latents.codes))
        joined = graph.attach(
            built,
            latents.codes,
            added,
            k=neighbours,
            distance=functools.partial(_differences, run.images.images, images[:-1]),
        )
        codes = np.concatenate([latents.codes, added])
    else:
        joined, codes = built, latents.codes
    fresh = {key: len(latents.codes) + place for place, key in enumerate(outside)}
    nodes = tuple(fresh[end.key] if end.number is None else end.number for end in ends)
    return Joined(graph=joined, codes=codes, nodes=nodes)


def _differences(
    images: UInt8[np.ndarray, "image height width 3"],
    further: UInt8[np.ndarray, "new height width 3"],
    pairs: Int[np.ndarray, "pair 2"],
) -> Float[np.ndarray, "pair"]:
    """Return how far images are from one another, numbers of `further` going on from `images`'."""
    numbers, places = np.unique(pairs, return_inverse=True)
    outside = numbers >= len(images)
    # Only those compared are put together: the whole set may not fit in memory twice.
    few = [images[numbers[~outside]], further[numbers[outside] - len(images)]]
    return differences.rms(np.concatenate(few), places.reshape(pairs.shape))
