"""Sources that are drawn: images computed from factors, at the values of a grid and between them.

A drawn source is a grid of factors, a function that draws rows of them, and an edition that is
raised when its images change to the eye (trained runs are bound to it). `arm` and `turntable` are
ray cast, with `rays`; `flat` holds those whose shapes are painted over one another.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxsurf import workdir
from jaxsurf.errors import UserError
from jaxsurf.images import storage
from jaxsurf.images.image_set import Grid, ImageSet, Request
from jaxsurf.images.pixels import Images

# That of MPI3D's images.
SIDE = 64


def open_drawn(
    request: Request, *, name: str, grid: Grid, draw: Callable[..., Images], edition: int
) -> ImageSet:
    """Return a slice of a source, drawn once and cached as long as no file of this folder changes.

    `draw` takes rows of factors in the grid's order, as float32, and `side=`; it returns uint8.
    """
    if request.path:
        raise UserError(
            f"the {request.source} is drawn, not read from {request.path}", cure="leave path out"
        )
    rows = grid.rows(request).astype(np.float32)
    side = SIDE if request.side is None else request.side
    code = [file.read_text(encoding="utf-8") for file in sorted(Path(__file__).parent.glob("*.py"))]
    images = storage.cached(
        lambda: [draw(rows, side=side)],
        shape=(len(rows), side, side, 3),
        name=f"{request.source}-{side}-{workdir.fingerprint(rows)}",
        made_of=workdir.fingerprint(*code),
        folder=request.cache_dir,
    )
    return ImageSet(
        images,
        name=name,
        factors=rows,
        factor_names=grid.names,
        recipe=f"{request.source}, edition {edition}, side {side}",
        draw=lambda rows: draw(rows, side=side),
        continuous=grid.continuous,
        periodic=grid.periodic,
    )
