"""Faithful interpolation between images: surf the latent manifold of a denoising autoencoder.

    import jaxsurf

    images = jaxsurf.open_images("arm", side=32)
    path = jaxsurf.find_paths(codes, anchors=[3, 17, 256])

Names are looked up where they are used: importing this package imports nothing else.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxsurf.images.image_set import ImageSet
    from jaxsurf.images.sources import open_images
    from jaxsurf.manifold.graph_config import GraphConfig
    from jaxsurf.manifold.path import LatentPath
    from jaxsurf.manifold.tour import find_paths

__all__ = ["GraphConfig", "ImageSet", "LatentPath", "find_paths", "open_images"]

_HOMES = {
    "GraphConfig": "jaxsurf.manifold.graph_config",
    "ImageSet": "jaxsurf.images.image_set",
    "LatentPath": "jaxsurf.manifold.path",
    "find_paths": "jaxsurf.manifold.tour",
    "open_images": "jaxsurf.images.sources",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # so that it is looked up once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
