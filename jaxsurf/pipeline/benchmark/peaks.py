"""What a chip could do at most, by its makers' data sheets.

Dense products, without sparsity, of one chip. `float32` is what XLA takes for it by default: TF32
on NVIDIA's chips, bfloat16 passes on TPUs, whose figure is then that of bfloat16. Sources: NVIDIA's
data sheets of A100, H100, H200 and L4, Google's pages on Cloud TPU v4, v5e, v5p and v6e.
"""

from collections.abc import Mapping

import jax

# By a part of the name that JAX has for the device: operations a second for bfloat16, and for
# float32 where it is another number.
PEAKS: Mapping[str, Mapping[str, float]] = {
    "A100": {"bfloat16": 312e12, "float32": 156e12},
    "H100 PCIe": {"bfloat16": 756e12, "float32": 378e12},
    "H100": {"bfloat16": 989e12, "float32": 494e12},
    "H200": {"bfloat16": 989e12, "float32": 494e12},
    "L4": {"bfloat16": 121e12, "float32": 60e12},
    "TPU v4": {"bfloat16": 275e12},
    "TPU v5 lite": {"bfloat16": 197e12},
    "TPU v5p": {"bfloat16": 459e12},
    "TPU v6 lite": {"bfloat16": 918e12},
}


def flops_per_s(precision: str, *, num_devices: int = 1) -> float | None:
    """Return the most operations a second of so many devices; None where that isn't known.

    Args:
        precision: `float32` or `bfloat16`.
        num_devices: of the kind that there is.
    """
    kind = jax.devices()[0].device_kind
    for name, peak in PEAKS.items():
        if name in kind:
            return num_devices * peak.get(precision, peak["bfloat16"])
    return None
