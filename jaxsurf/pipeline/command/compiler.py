"""Tells XLA how to compute convolutions on CPUs.

By default it hands them to YNNPACK, which computes them in one thread, while its other products and
sums, and XLA's own convolutions, use all cores: a step of `smooth` takes a quarter longer
(BUILD_NOTES.md). Products and sums are left where they are.
"""

import os

import jax

FLAG = "--xla_cpu_experimental_ynn_fusion_type"
CHOSEN = f"{FLAG}=individual_dot,reduce"
# XLA ends the process if it does not know a flag, or a value of it: the versions it was tried with.
TRIED_WITH = "0.10."


def share_convolutions() -> None:
    """Let all cores compute convolutions; before JAX has begun to use a device.

    What the user has chosen in XLA_FLAGS stays.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if jax.__version__.startswith(TRIED_WITH) and FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {CHOSEN}".strip()
