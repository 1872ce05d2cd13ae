"""A robot arm with MPI3D's seven factors, ray cast: the built-in data and the ground truth.

Factors come in MPI3D's order, one row of seven numbers an image (see `FACTOR_NAMES`). Object size
and the two axes may take any real value in their range; the other four are whole numbers.
`horizontal_axis` turns the forearm about the horizontal axle at the shoulder: it rises, passes
overhead and comes down on the other side. `vertical_axis` turns the whole arm about its post.
Images are NHWC, RGB: float32 in [0, 1] from `render`, uint8 from `render_batch`. Scene, colours and
movement are modelled on MPI3D-toy (Gondal et al., 2019).
"""

from jaxsurf.images.arm.render import render, render_batch
from jaxsurf.images.arm.scene import CONTINUOUS, EDITION, FACTOR_NAMES, FACTOR_SIZES, check, grid

__all__ = [
    "CONTINUOUS",
    "EDITION",
    "FACTOR_NAMES",
    "FACTOR_SIZES",
    "check",
    "grid",
    "render",
    "render_batch",
]
