"""Facts about the machine that figures are of; the same at every call on the same machine.

    python -m jaxsurf.pipeline.benchmark.machine

prints them as JSON. They are asked for in a process of their own (`process.facts`): whoever asks an
accelerator for its name holds its memory from then on.
"""

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import jax

from jaxsurf.images import storage
from jaxsurf.workdir import fingerprint, versions

# Ours, and what rows may compare with.
PACKAGES = (
    *("jaxsurf", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "numba", "igraph", "torch"),
    *("scikit-learn", "faiss-cpu", "pykdtree", "networkx", "rustworkx", "networkit"),
)


def facts() -> dict[str, Any]:
    """Return names and sizes of processor, memory and accelerator, and versions.

    `code` is the fingerprint of jaxsurf's own modules. `accelerator` is None where JAX finds none;
    what the system doesn't tell is None too.
    """
    return {
        "cpu": _cpu(),
        "cores": _cores(),
        "memory_gib": _memory_gib(),
        "accelerator": _accelerator(),
        "system": platform.platform(),
        "code": _code(),
        "versions": versions(PACKAGES),
    }


def _cpu() -> str:
    """Return the processor's name, as Linux has it where this is Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int | None:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory_gib() -> float | None:
    total = storage.total_bytes()
    return None if total is None else round(total / storage.GIB, 1)


def _accelerator() -> str | None:
    devices = jax.devices()
    if devices[0].platform == "cpu":
        return None
    return f"{len(devices)} x {devices[0].device_kind}"


def _code() -> str:
    """Return the fingerprint of the package: figures of other code are other figures."""
    modules = sorted(Path(__file__).parents[2].rglob("*.py"))
    return fingerprint(*(path.read_text(encoding="utf-8") for path in modules))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(facts()) + "\n")
