"""Faithful interpolation between images: surf the latent manifold of a denoising autoencoder.

    import jaxsurf

    images = jaxsurf.open_images("pictures/", side=64)
    run = jaxsurf.train(images, "runs/mine")
    run.surf(0, 25, frames=60).save("0-25.gif")

    run = jaxsurf.open_run("runs/mine")
    print(run.evaluate(num_pairs=100))

    path = jaxsurf.find_paths(codes, anchors=[3, 17, 256])

Names are looked up where they are used: importing this package imports nothing else.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxsurf.errors import UserError as UserError
    from jaxsurf.frames.animate import Animation as Animation
    from jaxsurf.images.image_set import ImageSet as ImageSet
    from jaxsurf.images.sources import open_images as open_images
    from jaxsurf.manifold.graph import GraphConfig as GraphConfig
    from jaxsurf.manifold.path import LatentPath as LatentPath
    from jaxsurf.manifold.tour import find_paths as find_paths
    from jaxsurf.pipeline.run import Run as Run
    from jaxsurf.pipeline.run import open_run as open_run
    from jaxsurf.pipeline.train import train as train

_HOMES = {
    "Animation": "jaxsurf.frames.animate",
    "GraphConfig": "jaxsurf.manifold.graph",
    "ImageSet": "jaxsurf.images.image_set",
    "LatentPath": "jaxsurf.manifold.path",
    "Run": "jaxsurf.pipeline.run",
    "UserError": "jaxsurf.errors",
    "find_paths": "jaxsurf.manifold.tour",
    "open_images": "jaxsurf.images.sources",
    "open_run": "jaxsurf.pipeline.run",
    "train": "jaxsurf.pipeline.train",
}
__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # so that it is looked up once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
