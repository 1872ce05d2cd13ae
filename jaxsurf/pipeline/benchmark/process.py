"""A row in a process of its own.

    python -m jaxsurf.pipeline.benchmark.process jaxsurf.pipeline.benchmark.stages.decode 0

measures the first row of a suite and ends with a line of JSON on standard output. No compiled
program comes from an earlier process: compiling takes memory, and would be in some peaks only.
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
from jaxsurf.pipeline.benchmark import timing
from jaxsurf.pipeline.benchmark.cases import Case
from jaxsurf.pipeline.benchmark.rows import Row

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


def measure(module: str, number: int, case: Case) -> tuple[Row, str]:
    """Return a measured row, and where it failed all that its process said.

    Args:
        module: the suite's, dotted.
        number: of the row in the module's `CASES`.
        case: the same row.
    """
    done = _run(f"{PACKAGE}.process", module, str(number))
    if done.returncode:
        row = dataclasses.replace(_empty(case), error=_ending(done))
    else:
        row = Row(**json.loads(done.stdout.splitlines()[-1]))
    return row, done.stderr if row.error else ""


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


def _empty(case: Case) -> Row:
    return Row(stage=case.stage, size=case.size, peer=case.peer)


def _measured(case: Case) -> Row:
    """Return a row, measured in this process."""
    row = _empty(case)
    try:
        found = timing.measure(case.prepare(), with_peer=has_peer(case))
    except UserError as error:
        return dataclasses.replace(row, error=str(error))
    # One row's defect is no reason to lose the others.
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        return dataclasses.replace(row, error=timing.in_one_line(error))
    return dataclasses.replace(row, **dataclasses.asdict(found))


if __name__ == "__main__":
    _, suite, position = sys.argv
    measured = _measured(importlib.import_module(suite).CASES[int(position)])
    sys.stdout.write(json.dumps(dataclasses.asdict(measured)) + "\n")
