"""The most memory that this process has taken so far."""

import sys
from pathlib import Path

from jaxsurf.images.storage import MIB


def peak_mib() -> float | None:
    """Return the most memory taken so far, in MiB; None where the system does not tell.

    It is that of the accelerators where JAX has put anything there, else what of this process was
    in the host's memory at once: interpreter, libraries and inputs included.
    """
    return _on_accelerators() or _resident()


def _on_accelerators() -> float:
    """Return what JAX's allocators have given out at most, over all devices."""
    if "jax" not in sys.modules:  # what works without it is not charged for it
        return 0.0
    import jax

    stats = [device.memory_stats() or {} for device in jax.devices() if device.platform != "cpu"]
    return sum(each.get("peak_bytes_in_use", 0) for each in stats) / MIB


def _resident() -> float | None:
    # Linux's other figure, ru_maxrss, begins with what the parent had when it started the process.
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return found[0] / 1024 if found else None
