"""The arm's images: frozen, and different for each value of each factor."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxsurf.images.drawn import arm

GOLDEN = Path(__file__).parents[1] / "golden/arm.png"


@pytest.mark.core
def test_images_are_what_they_were():
    """An image for each shape, colour, camera, band and size, in poses between those of the grid.

    Where images change to the eye, raise the arm's edition, and remove the picture: it is written
    again.
    """
    rows = [
        [i % 6, (i + 2) % 6, (i % 4) / 3, i % 3, (i // 3) % 3, 13 * i % 39 + 0.3, 7 * i % 39 + 0.6]
        for i in range(12)
    ]
    strip = np.concatenate(list(arm.render_batch(np.array(rows), side=32)), axis=1)
    if not GOLDEN.exists():
        Image.fromarray(strip).save(GOLDEN)
        pytest.fail(f"{GOLDEN} was missing and has been written: look at it and run again")
    with Image.open(GOLDEN) as golden:
        np.testing.assert_allclose(strip.astype(int), np.asarray(golden, int), rtol=0, atol=1)


def test_every_value_of_every_factor_changes_the_picture():
    start = np.array([0, 0, 1, 0, 0, 9, 23])
    rows = np.concatenate([np.tile(start, (min(size, 6), 1)) for size in arm.GRID.sizes])
    places = [(place, v) for place, size in enumerate(arm.GRID.sizes) for v in range(min(size, 6))]
    for row, (place, value) in zip(rows, places, strict=True):
        row[place] = value
    images = arm.render_batch(np.unique(rows, axis=0), side=32).astype(np.float32)
    apart = [np.mean((a - b) ** 2) for i, a in enumerate(images) for b in images[:i]]
    assert min(apart) > 0.2
