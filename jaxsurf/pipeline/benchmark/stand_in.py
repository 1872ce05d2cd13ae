"""A generated set of MPI3D's exact format and size, where the real one is not at hand.

    python -m jaxsurf.pipeline.benchmark.stand_in FILE.npz

One image for every combination of the seven factors, all of them visible: two limbs turn about a
shoulder and an elbow, an object of one of six shapes, six colours and two sizes hangs at their end,
before one of three grounds, seen from one of three heights. Flat figures with soft edges: a minute
of work, where the arm's renderer would take an hour. The same on every call.
"""

import itertools
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxsurf.images.image_set import MPI3D
from jaxsurf.workdir import replacing

COLOURS = (
    (235, 235, 230),
    (60, 170, 70),
    (200, 50, 45),
    (50, 80, 190),
    (125, 80, 45),
    (130, 130, 40),
)
GROUNDS = ((70, 50, 110), (60, 140, 120), (220, 130, 110))
LIMB = (25, 25, 30)
# Of the half-width of the picture.
RADII = (0.13, 0.2)
UPPER, LOWER, LIMB_RADIUS = 0.5, 0.4, 0.05
SHOULDER = (0.0, 0.55)
# Both joints' sweep to either side, in radians; how much each height of the camera flattens what
# it sees, and by how much that moves up or down.
SHOULDER_SWEEP, ELBOW_SWEEP = 1.3, 2.0
CAMERAS = ((0.75, 0.1), (1.0, 0.0), (0.85, -0.15))
# Shapes as half-planes (outward normal x, y; distance from the middle), y downwards; none: a disk.
SLANT = 0.8944, -0.4472
SHAPES = (
    ((SLANT[0], SLANT[1], 0.45), (-SLANT[0], SLANT[1], 0.45), (0.0, 1.0, 0.8)),
    ((1.0, 0.0, 0.8), (-1.0, 0.0, 0.8), (0.0, 1.0, 0.8), (0.0, -1.0, 0.8)),
    ((1.0, 0.0, 0.5), (-1.0, 0.0, 0.5), (0.0, 1.0, 1.0), (0.0, -1.0, 1.0)),
    tuple((np.cos(a), np.sin(a), 0.85) for a in np.arange(6) * np.pi / 3),
    ((0.7071, -0.7071, 0.5), (-0.7071, -0.7071, 0.5), (0.0, 1.0, 0.4)),
    (),
)

Images = UInt8[np.ndarray, "image height width 3"]
Distances = Float[np.ndarray, "pose row column"]
Place = tuple[Float[np.ndarray, "pose 1 1"], Float[np.ndarray, "pose 1 1"]]


@dataclass(frozen=True)
class Cover:
    """What a figure hides in the images of all poses, one seldom hiding much.

    Attributes:
        places: numbers of the pixels, all images counted through.
        shares: how much of each is hidden, on 0-255.
    """

    places: Int[np.ndarray, "pixel"]
    shares: UInt8[np.ndarray, "pixel"]

    def paint(self, images: Images, colour: tuple[int, int, int]) -> None:
        """Lay a colour over images, in place."""
        pixels = images.reshape(-1, 3)
        share = self.shares[:, None].astype(np.uint16)
        under = pixels[self.places].astype(np.uint16)
        mixed = under * (255 - share) + np.array(colour, np.uint16) * share
        pixels[self.places] = (mixed + 127) // 255


def write(path: Path, *, side: int = 64) -> None:
    """Write the set as a stored .npz file of MPI3D's format.

    Args:
        path: the file.
        side: height and width of the images, in pixels.

    Raises:
        UserError: the file cannot be written.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(MPI3D), side, side, 3)}
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w") as archive,
        archive.open("images.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for block in blocks(side):
            member.write(np.ascontiguousarray(block).data)


def blocks(side: int) -> Iterator[Images]:
    """Yield the images of all poses, for one combination of the other five factors after another.

    Args:
        side: as for `write`.
    """
    *_, heights, grounds, _, _ = MPI3D.sizes
    scenes = [_Scene(side, CAMERAS[height]) for height in range(heights)]
    bare = [[scene.bare(GROUNDS[ground]) for ground in range(grounds)] for scene in scenes]
    held: dict[tuple[int, int, int], Cover] = {}
    for colour, shape, size, height, ground in itertools.product(*map(range, MPI3D.sizes[:5])):
        if (shape, size, height) not in held:
            held[shape, size, height] = scenes[height].figure(SHAPES[shape], RADII[size])
        images = bare[height][ground].copy()
        held[shape, size, height].paint(images, COLOURS[colour])
        yield images


class _Scene:
    """What one camera sees of the arm in all its poses."""

    def __init__(self, side: int, camera: tuple[float, float]) -> None:
        flat, shift = camera
        line = (2 * np.arange(side, dtype=np.float32) + 1) / side - 1
        self.soft = side / 2  # an edge is as wide as a pixel
        self.x, self.y = line[None, None, :], ((line - shift) / flat)[None, :, None]
        turns, bends = np.meshgrid(
            np.linspace(-SHOULDER_SWEEP, SHOULDER_SWEEP, MPI3D.sizes[5], dtype=np.float32),
            np.linspace(-ELBOW_SWEEP, ELBOW_SWEEP, MPI3D.sizes[6], dtype=np.float32),
            indexing="ij",
        )
        first, second = turns.reshape(-1, 1, 1), (turns + bends).reshape(-1, 1, 1)
        self.elbow = SHOULDER[0] + UPPER * np.sin(first), SHOULDER[1] - UPPER * np.cos(first)
        self.hand = self.elbow[0] + LOWER * np.sin(second), self.elbow[1] - LOWER * np.cos(second)

    def bare(self, ground: tuple[int, int, int]) -> Images:
        """Return all poses of the arm, its hand empty, before a ground that darkens upwards."""
        light = 1 + 0.15 * self.y[0] * np.ones_like(self.x[0])
        shades = np.clip(light[..., None] * np.array(ground), 0, 255).astype(np.uint8)
        images = np.repeat(shades[None], len(self.hand[0]), axis=0)
        for ends in ((SHOULDER, self.elbow), (self.elbow, self.hand)):
            self._cover(self._limb(*ends)).paint(images, LIMB)
        return images

    def figure(self, planes: tuple[tuple[float, float, float], ...], radius: float) -> Cover:
        """Return what the object at the hand hides in all poses."""
        x, y = self.x - self.hand[0], self.y - self.hand[1]
        if not planes:
            return self._cover(np.hypot(x, y) - radius)
        outside = np.full(np.broadcast_shapes(x.shape, y.shape), -np.inf, np.float32)
        for across, along, distance in planes:
            plane = np.float32(across) * x + np.float32(along) * y - np.float32(distance * radius)
            np.maximum(outside, plane, out=outside)
        return self._cover(outside)

    def _limb(self, start: Place | tuple[float, float], end: Place) -> Distances:
        """Return how far pixels are from a limb, negative within it."""
        along = end[0] - start[0], end[1] - start[1]
        x, y = self.x - start[0], self.y - start[1]
        share = (x * along[0] + y * along[1]) / (along[0] ** 2 + along[1] ** 2)
        share = np.clip(share, 0, 1)
        return np.hypot(x - share * along[0], y - share * along[1]) - LIMB_RADIUS

    def _cover(self, distances: Distances) -> Cover:
        """Return what lies within a figure, its edge softened over a pixel."""
        shares = np.clip(0.5 - distances * self.soft, 0, 1).ravel()
        places = np.flatnonzero(shares)
        return Cover(places, np.rint(255 * shares[places]).astype(np.uint8))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
