"""Suites of cases -> `benchmarks.json` and `benchmarks.md`, written anew after every row.

A case is measured in a process of its own, so that its memory is its own, and may give several
rows. The same command again measures the cases that are not in the files yet, or whose rows failed;
files of another machine, of other code or of another scale are replaced. `python -m
jaxsurf.pipeline.benchmark.suites CASE SCALE LIMIT_S` is such a process: a row of JSON a line;
without arguments it prints facts of the machine.
"""

import json
import logging
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from jaxsurf.errors import UserError, check_choice
from jaxsurf.images import storage
from jaxsurf.pipeline import cli
from jaxsurf.pipeline.benchmark import graph_rows, model_rows, rows
from jaxsurf.pipeline.benchmark.rows import Contest, Row
from jaxsurf.workdir import fingerprint, read_json, versions

_train = model_rows.train
# From whether to be small to what is measured; a row comes as it is. In order of worth on an
# accelerator, so that a cut at any minute leaves the best.
CASES: Mapping[str, Callable[[bool], Iterator[Contest | Row]]] = {
    "train-reference": partial(_train, "reference", (8, 64)),
    "train-smooth": partial(_train, "smooth", (8, 64)),
    "long-reference": model_rows.train_long,
    "gpu-tests": model_rows.run_gpu_tests,
    "knn": graph_rows.knn,
    "knn-wide": graph_rows.knn_wide,
    "sweep": model_rows.sweep,
    "decode": model_rows.decode,
    "relaxation": graph_rows.relaxation,
    "perceptual-reference": partial(_train, "reference", (8, 64), perceptual=True),
    "perceptual-smooth": partial(_train, "smooth", (8, 64), perceptual=True),
    "batch-512-reference": partial(_train, "reference", (512,)),
    "batch-512-smooth": partial(_train, "smooth", (512,)),
    "csr": graph_rows.csr,
    "path-cube": partial(graph_rows.paths, "cube"),
    "path-roll": partial(graph_rows.paths, "Swiss roll"),
    "pipeline": graph_rows.pipeline,
    "interpolation_mse": graph_rows.nearest_images,
}
SUITES: Mapping[str, Sequence[str]] = {
    "gpu": tuple(CASES)[:13],
    "graph": (*tuple(CASES)[13:18], "knn", "knn-wide", "relaxation"),
    "train": tuple(name for name in CASES if name.startswith(("train", "perceptual", "batch"))),
    "decode": ("decode",),
    "sweep": ("sweep",),
    # But for what a CPU can't do in time.
    "all": tuple(name for name in CASES if name not in ("long-reference", "gpu-tests")),
}
# What a case may take. Where it ends early, what it measured until then stays.
_LIMIT_S, _GPU_LIMIT_S = 900, 170
_PACKAGES = ("jaxsurf", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "numba")
_PACKAGES += ("igraph", "torch", "faiss-cpu", "pykdtree", "networkx")
_log = logging.getLogger(__name__)


def run(suite: str, out: Path, *, scale: str = "full") -> str:
    """Measure a suite's cases, write both files to `out`, and return the table in Markdown."""
    check_choice("--suite", suite, SUITES)
    check_choice("--scale", scale, ("full", "rehearsal"))
    machine = _machine() | {"scale": scale}
    found = _kept(out / rows.JSON, machine)
    # Before the first row: a folder that can't be written is no use after an hour either.
    text = rows.write(out, machine, found)
    for name in SUITES[suite]:
        errors = [row.error for row in found if row.case == name]
        if errors and not any(errors):
            _log.info("%s: measured before", name)
            continue
        _log.info("%s", name)
        found = [row for row in found if row.case != name]
        limit_s = _GPU_LIMIT_S if (suite, scale) == ("gpu", "full") else _LIMIT_S
        unfinished = Row(name, "", error="unfinished", case=name)
        for row in _rows_of(name, scale, limit_s):
            _log.info("%s", row)
            found.append(replace(row, case=name))
            rows.write(out, machine, [*found, unfinished])
        text = rows.write(out, machine, found)
    return text


def _rows_of(name: str, scale: str, limit_s: int) -> Iterator[Row]:
    """Yield the rows of a case as its process measures them; what ends it early is a row too."""
    # Compiling takes memory: where programs come from a cache, peaks of some rows would be lower.
    surroundings = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    if scale == "rehearsal":  # threads of PyTorch wait for one another where cores are taken
        surroundings["OMP_NUM_THREADS"] = "1"
    command = _command(name, scale, str(limit_s))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=surroundings) as process:
        try:
            for line in process.stdout or ():
                yield Row(**json.loads(line))
            status = process.wait()
        finally:  # also where nobody asks for more rows
            process.kill()
    if status:
        known = {-signal.SIGALRM: f"over {limit_s} s", -signal.SIGKILL: "killed, out of memory?"}
        yield Row(name, "", error=known.get(status, f"ended with status {status}"))


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", __name__, *arguments]


def _kept(path: Path, machine: Mapping[str, Any]) -> list[Row]:
    """Return the rows that a file has of this machine, code and scale."""
    saved = read_json(path) if path.exists() else {"machine": machine, "rows": []}
    if saved.get("machine") != machine:
        _log.info("%s is of another machine, code or scale: measured anew", path)
        return []
    try:
        return [Row(**{k: v for k, v in row.items() if k != "ratio"}) for row in saved["rows"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error})", cure="remove it") from error


def _machine() -> dict[str, Any]:
    """Return facts of the machine from a process of its own, which frees the accelerator again."""
    done = subprocess.run(_command(), capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise UserError(f"JAX does not start: {last[0]}", cure="see JAX_PLATFORMS")
    return json.loads(done.stdout.splitlines()[-1])


def _facts() -> dict[str, Any]:
    devices, modules = jax.devices(), sorted(Path(__file__).parents[2].rglob("*.py"))
    on_cpu, total = devices[0].platform == "cpu", storage.total_bytes()
    listed = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", listed.read_text() if listed.exists() else "")
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_gib": None if total is None else round(total / storage.GIB, 1),
        "accelerator": None if on_cpu else f"{len(devices)} x {devices[0].device_kind}",
        "system": platform.platform(),
        "code": fingerprint(*(path.read_text(encoding="utf-8") for path in modules)),
        "versions": versions(_PACKAGES),
    }


def _measure(name: str, scale: str, limit_s: str) -> Iterator[Row]:
    signal.alarm(int(limit_s))
    cli.configure_process()
    small = scale == "rehearsal"
    try:
        for asked in CASES[name](small):
            if isinstance(asked, Row):
                yield asked
            else:
                yield from rows.measure(replace(asked, rounds=1) if small else asked)
    except Exception as failure:  # noqa: BLE001  (a library's, while a row was made)
        yield Row(name, "").failed(failure)


if __name__ == "__main__":
    # What libraries print must not come between the rows.
    with os.fdopen(os.dup(1), "w") as _out:
        os.dup2(2, 1)
        for _each in map(asdict, _measure(*sys.argv[1:])) if sys.argv[1:] else [_facts()]:
            print(json.dumps(_each), file=_out, flush=True)
