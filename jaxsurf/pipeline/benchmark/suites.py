"""Suites of cases -> `benchmarks.json` and `benchmarks.md`, written anew after every row.

A case is measured in a process of its own, so that its memory is its own, and may give several
rows. The same command again measures the cases that are not in the files yet; files of another
machine, of other code or of another scale are replaced. `python -m
jaxsurf.pipeline.benchmark.suites CASE SCALE` is such a process: it prints a row of JSON a line.
"""

import json
import logging
import os
import platform
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import jax

from jaxsurf.errors import UserError
from jaxsurf.images import storage
from jaxsurf.pipeline import cli
from jaxsurf.pipeline.benchmark import full_rows, graph_rows, model_rows, rows
from jaxsurf.pipeline.benchmark.rows import Contest, Row
from jaxsurf.workdir import fingerprint, read_json, versions

Scale = Literal["full", "rehearsal"]
# From whether to be small to what is measured; a row comes as it is.
Make = Callable[[bool], Iterator[Contest | Row]]


@dataclass(frozen=True)
class Case:
    """What one process measures: `needs` are packages of baselines, beside jax."""

    make: Make
    needs: str = ""
    limit_s: float = 600.0


_TORCH = "torch"
CASES: Mapping[str, Case] = {
    "train-reference": Case(partial(model_rows.train, "reference", (8, 64)), _TORCH),
    "train-smooth": Case(partial(model_rows.train, "smooth", (8, 64)), _TORCH),
    "long-reference": Case(model_rows.train_long),
    "gpu-tests": Case(model_rows.run_gpu_tests, "pytest"),
    "knn": Case(graph_rows.knn, "scipy, pykdtree"),
    "sweep": Case(model_rows.sweep),
    "decode": Case(model_rows.decode),
    "relaxation": Case(graph_rows.relaxation, "numba"),
    "perceptual-reference": Case(
        partial(model_rows.train, "reference", (8, 64), perceptual=True), _TORCH
    ),
    "perceptual-smooth": Case(
        partial(model_rows.train, "smooth", (8, 64), perceptual=True), _TORCH
    ),
    "batch-512-reference": Case(partial(model_rows.train, "reference", (512,)), _TORCH),
    "batch-512-smooth": Case(partial(model_rows.train, "smooth", (512,)), _TORCH),
    "knn-wide": Case(graph_rows.knn_wide, "faiss-cpu, scikit-learn"),
    "csr": Case(graph_rows.csr, "igraph"),
    "path-cube": Case(partial(graph_rows.paths, "cube"), "igraph"),
    "path-roll": Case(partial(graph_rows.paths, "Swiss roll"), "igraph"),
    "pipeline": Case(graph_rows.pipeline, "networkx"),
    "interpolation_mse": Case(graph_rows.nearest_images),
    "full": Case(full_rows.measure_all, limit_s=7200.0),
}
# The GPU suite is in order of worth, so that a cut at any minute leaves the best.
SUITES: Mapping[str, Sequence[str]] = {
    "gpu": tuple(CASES)[:12],
    "graph": (*tuple(CASES)[12:18], "knn", "relaxation"),
    "train": tuple(name for name in CASES if name.startswith(("train", "perceptual", "batch"))),
    "decode": ("decode",),
    "sweep": ("sweep",),
    "full": ("full",),
    # `full` takes gigabytes of disk, two others what a CPU can't do in time.
    "all": tuple(n for n in CASES if n not in ("full", "long-reference", "gpu-tests")),
}
# Of the GPU suite, planned for eight minutes in all.
_GPU_LIMIT_S = 100.0
_PACKAGES = (
    *("jaxsurf", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "numba", "igraph", "torch"),
    *("scikit-learn", "faiss-cpu", "pykdtree", "networkx"),
)
_log = logging.getLogger(__name__)


def run(suite: str, out: Path, *, scale: str = "full") -> str:
    """Measure the cases of a suite, and return the table in Markdown.

    Args:
        suite: one of `SUITES`.
        out: folder of the two files.
        scale: `rehearsal` does all of it in small, to see that it runs.

    Raises:
        UserError: there is no such suite or scale, or the files can't be written.
    """
    for name, value, known in (("suite", suite, SUITES), ("scale", scale, get_args(Scale))):
        if value not in known:
            raise UserError(f"--{name} is {value!r}", cure=f"choose one of {', '.join(known)}")
    machine = _machine() | {"scale": scale}
    found = _kept(out / rows.JSON, machine)
    # Before the first row: a folder that can't be written is no use after an hour either.
    text = rows.write(out, machine, found)
    for name in SUITES[suite]:
        if any(row.case == name for row in found) and not _has_failed(name, found):
            _log.info("%s: measured before", name)
            continue
        _log.info("%s", name)
        found = [row for row in found if row.case != name]
        limit_s = _GPU_LIMIT_S if suite == "gpu" and scale == "full" else CASES[name].limit_s
        for row in _rows_of(name, scale, limit_s):
            _log.info("%s", row)
            found.append(replace(row, case=name))
            text = rows.write(out, machine, found)
    return text


def _has_failed(name: str, found: Sequence[Row]) -> bool:
    return any(row.error for row in found if row.case == name)


def _rows_of(name: str, scale: str, limit_s: float) -> Iterator[Row]:
    """Yield the rows of a case as its process measures them; what ends it early is a row too."""
    # Compiling takes memory: where programs come from a cache, peaks of some rows would be lower.
    surroundings = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    with subprocess.Popen(
        _command(name, scale),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=surroundings,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(process.stderr or ()))
        reader.start()
        timer = threading.Timer(limit_s, process.kill)
        timer.start()
        for line in process.stdout:
            yield Row(**json.loads(line))
        status = process.wait()
        reader.join()
        in_time = timer.is_alive()
        timer.cancel()
    if status:
        last = said[-1].strip() if said else f"ended with status {status}"
        if status < 0:
            signalled = signal.Signals(-status).name
            last = f"ended by {signalled}, out of memory?" if in_time else f"over {limit_s:g} s"
        else:
            _log.warning("%s", "".join(said).rstrip())
        yield Row(stage=name, size="", error=last)


def _command(name: str, scale: str) -> list[str]:
    return [sys.executable, "-m", __name__, name, scale]


def _kept(path: Path, machine: Mapping[str, Any]) -> list[Row]:
    """Return the rows that a file has of this machine, code and scale."""
    if not path.exists():
        return []
    saved = read_json(path)
    if saved.get("machine") != machine:
        _log.info("%s is of another machine, code or scale: measured anew", path)
        return []
    try:
        listed: Any = saved["rows"]
        return [Row(**{k: v for k, v in each.items() if k != "ratio"}) for each in listed]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error})", cure="remove it") from error


def _machine() -> dict[str, Any]:
    """Return facts of the machine from a process of its own, which frees the accelerator again."""
    done = subprocess.run(
        [sys.executable, "-m", __name__], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"JAX does not start: {last}", cure="see JAX_PLATFORMS")
    return json.loads(done.stdout.splitlines()[-1])


def _facts() -> dict[str, Any]:
    devices, modules = jax.devices(), sorted(Path(__file__).parents[2].rglob("*.py"))
    on_cpu, total = devices[0].platform == "cpu", storage.total_bytes()
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_gib": None if total is None else round(total / storage.GIB, 1),
        "accelerator": None if on_cpu else f"{len(devices)} x {devices[0].device_kind}",
        "system": platform.platform(),
        "code": fingerprint(*(path.read_text(encoding="utf-8") for path in modules)),
        "versions": versions(_PACKAGES),
    }


def _measure(name: str, scale: str) -> Iterator[Row]:
    cli.configure_process()
    for asked in CASES[name].make(scale == "rehearsal"):
        if isinstance(asked, Row):
            yield asked
            continue
        try:
            yield from rows.measure(asked)
        # One contest's defect is no reason to lose the others.
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            yield Row(stage=asked.stage, size=asked.size, error=rows.in_one_line(error))


def _main(arguments: Sequence[str]) -> None:
    # What libraries print must not come between the rows.
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        if not arguments:
            print(json.dumps(_facts()), file=out)
            return
        for row in _measure(*arguments):
            print(json.dumps(asdict(row)), file=out, flush=True)


if __name__ == "__main__":
    _main(sys.argv[1:])
