"""Suites of rows -> `benchmarks.json` and `benchmarks.md`, written anew after every row.

The same call again goes on: rows that the folder has already, of this machine and this very code,
are kept, those of other suites too. A file of another machine or code is replaced.
"""

import dataclasses
import importlib
import itertools
import logging
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxsurf.errors import UserError
from jaxsurf.pipeline.benchmark import inputs, process, rows, stages
from jaxsurf.pipeline.benchmark.rows import Case, Key, Row, Total
from jaxsurf.workdir import read_json

# Name -> modules; a new suite is a new module in `stages/`, or a package that names its `MODULES`.
SUITES = {}
for _found in pkgutil.iter_modules(stages.__path__, f"{stages.__name__}."):
    _names = [""]
    if _found.ispkg:
        _names = [f".{name}" for name in importlib.import_module(_found.name).MODULES]
    SUITES[_found.name.rpartition(".")[2]] = tuple(_found.name + name for name in _names)
ALL = "all"
# Take gigabytes of disk and half an hour: measured only where they are named.
APART = ("full",)

_log = logging.getLogger(__name__)


def names() -> tuple[str, ...]:
    """Return what `run` takes."""
    return (*SUITES, ALL)


def run(suite: str, out: Path) -> str:
    """Measure the rows of a suite, each in a process of its own.

    Args:
        suite: one of `names()`.
        out: folder of the two files.

    Returns:
        The table, in Markdown. A row that failed says so there.

    Raises:
        UserError: there is no such suite, or the files can't be written.
    """
    if suite not in names():
        raise UserError(f"--suite is {suite!r}", cure=f"choose one of {', '.join(names())}")
    chosen = (
        [SUITES[suite]] if suite != ALL else [SUITES[name] for name in SUITES if name not in APART]
    )
    listed = [
        (module, number, case)
        for module in itertools.chain(*chosen)
        for number, case in enumerate(importlib.import_module(module).CASES)
    ]
    machine = process.facts()
    left_out = [f"{case.stage}: {case.size}" for *_, case in listed if not _suits(case, machine)]
    found = _kept(out, machine)
    # Before the first row: a folder that can't be written is no use after an hour either.
    text = rows.write(out, machine, list(found.values()), left_out)
    with inputs.shared(out):
        for module, number, case in listed:
            if _suits(case, machine):
                found |= {row.key: row for row in _rows(module, number, case, found)}
                text = rows.write(out, machine, list(found.values()), left_out)
    return text


def _rows(module: str, number: int, case: Case | Total, found: Mapping[Key, Row]) -> list[Row]:
    # Those that are there, or extrapolated from those, or measured.
    if isinstance(case, Total):
        return [_extrapolated(case, found)]
    kept = [found.get((case.stage, size, case.peer)) for size in case.sizes()]
    # Whether measuring a row again would add nothing to it.
    complete = [
        row
        for row in kept
        if row and not row.error and (row.peer_s is not None or not process.has_peer(case))
    ]
    name = f"{case.stage}: {case.size}" + (case.peer and f", beside {case.peer}")
    if len(complete) == len(kept):
        _log.info("%s: measured before", name)
        return complete
    _log.info("%s", name)
    measured, said = process.rows_of(module, number, case)
    for row in measured:
        _log.info("%s", row)
    if said:
        _log.warning("%s", said.rstrip())
    return measured


def _extrapolated(total: Total, found: Mapping[Key, Row]) -> Row:
    sizes = {row.size: row for row in found.values() if row.stage == total.stage}
    parts = [sizes[size] for size in total.parts if size in sizes]
    times = [part.ours_s for part in parts if part.ours_s is not None]
    whole = Row(stage=total.stage, size=total.size, extrapolated=True)
    if missing := len(total.parts) - len(times):
        error = f"{missing} of the {len(total.parts)} rows that it is made of have no time"
        return dataclasses.replace(whole, error=error)
    peaks = [part.peak_mib for part in parts if part.peak_mib is not None]
    return dataclasses.replace(
        whole, ours_s=total.times * sum(times), peak_mib=max(peaks, default=None)
    )


def _suits(case: Case | Total, machine: dict[str, Any]) -> bool:
    kind = "cpu" if machine["accelerator"] is None else "accelerator"
    return case.where in ("anywhere", kind)


def _kept(out: Path, machine: dict[str, Any]) -> dict[Key, Row]:
    # The rows that a folder has of this machine and code.
    path = out / rows.JSON
    if not path.exists():
        return {}
    saved = read_json(path)
    before: Any = saved.get("machine")
    now = machine["versions"]
    # Packages may have been installed since.
    if not (
        isinstance(before, dict)
        and isinstance(before.get("versions"), dict)
        and before["versions"].items() <= now.items()
        and before | {"versions": now} == machine
    ):
        _log.info("%s is of another machine or of other code: measured anew", path)
        return {}
    try:
        found: Sequence[Row] = [rows.from_content(content) for content in saved["rows"]]
    except (KeyError, TypeError, OverflowError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else error
        raise UserError(f"{path} is damaged ({reason})", cure="remove it") from error
    return {row.key: row for row in found}
