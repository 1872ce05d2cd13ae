"""Versions of Python and of packages, which are written down beside results."""

import platform
from collections.abc import Iterable
from importlib import metadata

# Everything that a result may depend on.
DECISIVE = ("jaxsurf", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "igraph")


def of(packages: Iterable[str] = DECISIVE) -> dict[str, str]:
    """Return the versions of Python and of packages, without those that are not installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
