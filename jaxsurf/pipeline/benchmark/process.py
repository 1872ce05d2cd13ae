"""A row in a process of its own.

    python -m jaxsurf.pipeline.benchmark.process jaxsurf.pipeline.benchmark.stages.decode 0

measures the first case of a module and ends with a line of JSON on standard output, a list of rows.
No compiled program comes from an earlier process: compiling takes memory, and would be in some
peaks only.
"""

import dataclasses
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import traceback
from typing import Any

from jaxsurf.errors import UserError
from jaxsurf.models import cpu_kernels
from jaxsurf.pipeline.benchmark import timing
from jaxsurf.pipeline.benchmark.cases import Case
from jaxsurf.pipeline.benchmark.figures import Figure
from jaxsurf.pipeline.benchmark.rows import Row
from jaxsurf.pipeline.benchmark.timing import Measured

PACKAGE = "jaxsurf.pipeline.benchmark"


def facts() -> dict[str, Any]:
    """Return what `machine.facts` does, without holding an accelerator from then on.

    Raises:
        UserError: JAX can't be started.
    """
    done = _run(f"{PACKAGE}.machine")
    if done.returncode:
        raise UserError(f"JAX does not start: {_ending(done)}", cure="see JAX_PLATFORMS")
    return json.loads(done.stdout.splitlines()[-1])


def measure(module: str, number: int, case: Case) -> tuple[list[Row], str]:
    """Return the rows of a case, and where it failed all that its process said.

    Args:
        module: the one that lists the case, dotted.
        number: of the case in the module's `CASES`.
        case: the same case.
    """
    done = _run(f"{PACKAGE}.process", module, str(number))
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
        [sys.executable, "-m", *arguments],
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )


def _ending(done: subprocess.CompletedProcess[str]) -> str:
    """Return how a process ended that has not said so itself."""
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
    """Return the rows of a case, measured in this process."""
    try:
        found = timing.measure(case.prepare(), with_peer=has_peer(case))
    except UserError as error:
        return _failed(case, str(error))
    # One row's defect is no reason to lose the others.
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        return _failed(case, timing.in_one_line(error))
    sizes = zip(case.figures, case.sizes(), strict=True)
    return [_row(case, figure, size, found) for figure, size in sizes]


def _row(case: Case, figure: Figure, size: str, found: Measured) -> Row:
    ours, peer = figure.of(found.ours, found.peer)
    return Row(
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


if __name__ == "__main__":
    # As launch scripts do.
    cpu_kernels.configure()
    _, module_name, position = sys.argv
    measured = _measured(importlib.import_module(module_name).CASES[int(position)])
    sys.stdout.write(json.dumps([dataclasses.asdict(row) for row in measured]) + "\n")
