"""A row in a process of its own.

    python -m jaxsurf.pipeline.benchmark.process jaxsurf.pipeline.benchmark.stages.decode 0

measures the first case of a module and ends with a line of JSON on standard output, a list of rows;
without arguments, it tells facts about the machine, since whoever asks an accelerator for its name
holds its memory from then on.
No compiled program comes from an earlier process: compiling takes memory, and would be in some
peaks only.
"""

import dataclasses
import importlib
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jaxsurf.errors import UserError
from jaxsurf.images import storage
from jaxsurf.pipeline import cli
from jaxsurf.pipeline.benchmark.measurement import in_one_line, measure
from jaxsurf.pipeline.benchmark.rows import Case, Row
from jaxsurf.workdir import fingerprint, versions

NAME = "jaxsurf.pipeline.benchmark.process"
# Ours, and what rows may compare with.
PACKAGES = (
    *("jaxsurf", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "numba", "igraph", "torch"),
    *("scikit-learn", "faiss-cpu", "pykdtree", "networkx", "rustworkx", "networkit"),
)


def facts() -> dict[str, Any]:
    """Return names and sizes of processor, memory and accelerator, and versions.

    They are the same at every call on the same machine. `code` is the fingerprint of jaxsurf's own
    modules: figures of other code are other figures. `accelerator` is None where JAX finds none;
    what the system doesn't tell is None too.

    Raises:
        UserError: JAX can't be started.
    """
    done = _run()
    if done.returncode:
        raise UserError(f"JAX does not start: {_ending(done)}", cure="see JAX_PLATFORMS")
    return json.loads(done.stdout.splitlines()[-1])


def rows_of(module: str, number: int, case: Case) -> tuple[list[Row], str]:
    """Return the rows of a module's case of that number, and all its process said if it failed."""
    done = _run(module, str(number))
    if done.returncode:
        found = _failed(case, _ending(done))
    else:
        found = [Row(**row) for row in json.loads(done.stdout.splitlines()[-1])]
    return found, done.stderr if any(row.error for row in found) else ""


def has_peer(case: Case) -> bool:
    """Return whether there is a peer, and all packages that it needs are installed."""
    return bool(case.peer) and all(importlib.util.find_spec(name) for name in case.needs)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    surroundings = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    return subprocess.run(
        [sys.executable, "-m", NAME, *arguments],
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )


def _ending(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        # Nobody else sends it: it is what Linux does to whoever takes too much memory.
        return f"ended by {name}" + ", out of memory?" * (name == "SIGKILL")
    lines = done.stderr.strip().splitlines()
    return lines[-1].strip() if lines else f"ended with status {done.returncode}"


def _failed(case: Case, error: str) -> list[Row]:
    sizes = case.sizes()
    return [Row(stage=case.stage, size=size, peer=case.peer, error=error) for size in sizes]


def _measured(case: Case) -> list[Row]:
    try:
        found = measure(case.prepare(), with_peer=has_peer(case))
    except UserError as error:
        return _failed(case, str(error))
    # One row's defect is no reason to lose the others.
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        return _failed(case, in_one_line(error))
    made = []
    for figure, size in zip(case.figures, case.sizes(), strict=True):
        ours, peer = figure.of(found.ours, found.peer)
        made.append(
            Row(
                stage=case.stage,
                size=size,
                ours_s=ours,
                peer=case.peer,
                peer_s=peer,
                peak_mib=found.peak_mib,
                extrapolated=found.ours.partial or (found.peer is not None and found.peer.partial),
                share=found.share,
                error=found.error,
            )
        )
    return made


def _facts() -> dict[str, Any]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    total, devices = storage.total_bytes(), jax.devices()
    modules = sorted(Path(__file__).parents[2].rglob("*.py"))
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": allowed,
        "memory_gib": None if total is None else round(total / storage.GIB, 1),
        "accelerator": None
        if devices[0].platform == "cpu"
        else f"{len(devices)} x {devices[0].device_kind}",
        "system": platform.platform(),
        "code": fingerprint(*(path.read_text(encoding="utf-8") for path in modules)),
        "versions": versions(PACKAGES),
    }


def _main(arguments: Sequence[str]) -> object:
    if not arguments:
        return _facts()
    # As launch scripts do.
    cli.configure_process()
    module, number = arguments
    found = _measured(importlib.import_module(module).CASES[int(number)])
    return [dataclasses.asdict(row) for row in found]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_main(sys.argv[1:])) + "\n")
