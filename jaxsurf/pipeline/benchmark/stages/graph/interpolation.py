"""How far 55 frames are from the nearest of all images, beside the formula written out.

Pixels are random: what they are changes no time. The formula takes the images as float32 from the
start, all of them against one frame at a time.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float, UInt8

from jaxsurf.evaluation import metrics
from jaxsurf.pipeline.benchmark.rows import Case, Contest, Parts

FRAMES, SIDE = 55, 64
# The report's sets, of two degrees of freedom and of three.
SETS = (1600, 4800)
Pixels = UInt8[np.ndarray, "image height width channel"]


def make_contest(
    number: int, make_peer: Callable[[Pixels, Pixels], Parts], *, side: int = SIDE
) -> Contest:
    """Return the contest with one peer.

    Args:
        number: of images.
        make_peer: from frames and images to its work, frame by frame.
        side: height and width, in pixels.
    """
    rng = np.random.default_rng(0)
    frames, images = (
        rng.integers(256, size=(count, side, side, 3), dtype=np.uint8) for count in (FRAMES, number)
    )
    return Contest(
        ours=lambda: metrics.interpolation_mse(frames, images),
        make_peer=lambda: make_peer(frames, images),
        limit_s=10,
        agree=_agree,
    )


def _agree(
    ours: Sequence[Float[np.ndarray, "frame"]], theirs: Sequence[Float[np.ndarray, "some"]]
) -> None:
    both = np.concatenate([np.atleast_1d(each) for each in theirs]), ours[0]
    if not np.allclose(both[0], both[1][: len(both[0])], rtol=1e-5, atol=0):
        raise ValueError(f"errors are {both[0]} by the peer, {both[1]} by ours")


def _written_out(frames: Pixels, images: Pixels) -> Parts:
    values = images.astype(np.float32)

    def of_frame(frame: UInt8[np.ndarray, "height width channel"]) -> float:
        return np.square(values - frame).mean(axis=(1, 2, 3)).min()

    return Parts(parts=[partial(of_frame, frame) for frame in frames])


def _by_scipy(frames: Pixels, images: Pixels) -> Parts:
    from scipy.spatial.distance import cdist

    flat = images.reshape(len(images), -1).astype(np.float64)

    def of_frame(frame: UInt8[np.ndarray, "height width channel"]) -> float:
        return cdist(frame.reshape(1, -1), flat, "sqeuclidean").min() / frame.size

    return Parts(parts=[partial(of_frame, frame) for frame in frames])


CASES = [
    Case(
        stage="interpolation_mse",
        size=f"{FRAMES} frames, {number:,} images of {SIDE} x {SIDE}",
        prepare=partial(make_contest, number, make_peer),
        peer=name,
        needs=(package,),
    )
    for number in SETS
    for name, package, make_peer in (
        ("NumPy, a frame at a time", "numpy", _written_out),
        ("scipy cdist, a frame at a time", "scipy", _by_scipy),
    )
]
