"""For all tests: four CPU devices, strict numerics, checked shapes, programs compiled quickly."""

import gc
import os
import pkgutil
import signal
import sys
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

# An accelerator's memory is shared with the processes that tests start.
os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"

# Of all workers and the processes that tests start, for each Python. With a limit JAX locks the
# folder: without one it writes entries in place, and others would read halves of them.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(
    Path(__file__).parent / ".jax_cache" / f"{sys.version_info[0]}.{sys.version_info[1]}"
)
os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(4 << 30)

import jax
import jaxtyping
import pytest

# Annotations are checked at every call, those of jitted functions when they are traced; numba
# compiles functions as they stand. By the numeric tower of PEP 484 an int is a float.
COMPILED = ("jaxsurf.manifold.search_kernels", "jaxsurf.evaluation.pose_kernels")
CHECKED = [
    module.name
    for module in pkgutil.walk_packages([str(Path(__file__).parents[1] / "jaxsurf")], "jaxsurf.")
    if not module.ispkg and module.name not in COMPILED
]
jaxtyping.install_import_hook(
    CHECKED,
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

# What a shell runs in the background ignores SIGINT, and so would the processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Compute on CPUs, but where tests marked `gpu` are asked for."""
    words = config.option.markexpr.split()
    if "gpu" not in words or "not gpu" in config.option.markexpr:
        os.environ["JAX_PLATFORMS"] = "cpu"  # of processes that tests start
        # Most programs run a few times, and would be compiled for longer than that saves. XLA's
        # newer fusions take most of the time; since 0.11 there are no others.
        os.environ["XLA_FLAGS"] += " --xla_backend_optimization_level=1"
        if jax.__version_info__ < (0, 11):
            os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
        jax.config.update("jax_platforms", "cpu")


def pytest_collection_finish() -> None:
    """Keep what is imported out of all later garbage collections, which films ask for."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what needs an accelerator, let wrong types reach their test, compile quickly."""
    # What a function refuses by itself, its annotations may refuse first.
    jaxtyping.config.update("jaxtyping_disable", "refused" in item.name)
    # There, a dozen steps of a program: compiling it is nearly all that a test takes.
    few = item.path.parent.name in ("training", "models")
    jax.config.update("jax_disable_most_optimizations", few)
    if item.get_closest_marker("gpu") and jax.default_backend() == "cpu":
        pytest.skip("needs an accelerator: pytest -m gpu")
