"""Tells XLA how to compile.

- Convolutions on CPUs: by default XLA hands them to YNNPACK, which computes them in one thread,
  while its other products and sums, and XLA's own convolutions, use all cores: a step of `smooth`
  takes a quarter longer (BUILD_NOTES.md). Products and sums are left where they are.
- Kernels on GPUs: by default some add up in the order of the moment, and all are chosen by how long
  they took when a program was compiled, so that a run which goes on in a new process would end
  otherwise. XLA is asked for neither.
"""

import os
from dataclasses import dataclass

import jax


@dataclass(frozen=True)
class Flag:
    """One of XLA's flags.

    Attributes:
        name: of the flag.
        value: that is given.
        versions: beginnings of jax's version that have it; XLA ends the process if it does not know
            a flag, or a value of it.
    """

    name: str
    value: str
    versions: tuple[str, ...]


FLAGS = (
    Flag("--xla_cpu_experimental_ynn_fusion_type", "individual_dot,reduce", ("0.10.",)),
    Flag("--xla_gpu_deterministic_ops", "true", ("0.10.", "0.11.", "0.12.")),
)


def configure() -> None:
    """Give XLA its flags; before JAX has begun to use a device.

    What the user has chosen in XLA_FLAGS stays.
    """
    chosen = os.environ.get("XLA_FLAGS", "")
    given = [
        f"{flag.name}={flag.value}"
        for flag in FLAGS
        if jax.__version__.startswith(flag.versions) and flag.name not in chosen
    ]
    os.environ["XLA_FLAGS"] = " ".join([chosen, *given]).strip()
