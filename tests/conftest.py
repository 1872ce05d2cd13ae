"""Four CPU devices, strict numerics and a warm compilation cache for every test."""

import os
from pathlib import Path

# Four devices share two cores with whatever else runs: XLA would abort where one has waited for the
# others for forty seconds.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_cpu_collective_timeout_seconds=120",
        "--xla_cpu_collective_call_terminate_timeout_seconds=120",
    ]
).strip()

import jax

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
