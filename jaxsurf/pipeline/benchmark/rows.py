"""The table of a benchmark: `benchmarks.json`, and the same in Markdown.

Times are in seconds, memory in MiB. `ratio` is the peer's time divided by ours. What was not
measured is null in JSON and an empty cell in Markdown. A row that failed has one more entry in
JSON, `error`; in Markdown its first cell without a figure says so.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxsurf.workdir import write_json, write_text

Key = tuple[str, str, str]
JSON, MARKDOWN = "benchmarks.json", "benchmarks.md"
HEADER = (
    "| stage | size | ours, s | peer | peer, s | peer / ours | peak of ours, MiB |\n"
    "|---|---|---|---|---|---|---|"
)
LEGEND = (
    "Least times of up to three rounds, ours and the peer alternating, both compiled beforehand."
    " Extrapolated from a part of the work where all of it would have taken the peer too long; of"
    " pairs of ends, the same ones are compared. An empty cell was not measured: there is no peer,"
    " or its package is not installed. Memory is the accelerator's where it does the work, else"
    " that of the whole process, interpreter included."
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row.

    Attributes:
        stage: of the pipeline.
        size: what was measured.
        ours_s: our time.
        peer: what ours is compared with; empty for nothing.
        peer_s: its time.
        peak_mib: the most memory that ours took.
        extrapolated: whether a time was computed from others: ours from those of other rows, or the
            peer's from a part of its work.
        share: of the operations that the chip could have done in our time at most.
        error: what went wrong; empty where nothing did.
    """

    stage: str
    size: str
    ours_s: float | None = None
    peer: str = ""
    peer_s: float | None = None
    peak_mib: float | None = None
    extrapolated: bool = False
    share: float | None = None
    error: str = ""

    @property
    def ratio(self) -> float | None:
        """The peer's time divided by ours; None where one is not known."""
        return self.peer_s / self.ours_s if self.peer_s is not None and self.ours_s else None

    @property
    def content(self) -> dict[str, Any]:
        """The row as `benchmarks.json` has it."""
        content = dataclasses.asdict(self) | {"ratio": self.ratio}
        names = ("stage", "size", "ours_s", "peer", "peer_s", "ratio", "peak_mib", "extrapolated")
        further = [name for name in ("share", "error") if content[name]]
        return {name: content[name] for name in (*names, *further)}

    @property
    def key(self) -> Key:
        """What no other row has all of: stage, size and peer."""
        return self.stage, self.size, self.peer

    def __str__(self) -> str:
        ours, peers = _figure(self.ours_s), _figure(self.peer_s)
        if self.error and not ours:
            ours = f"failed: {self.error}"
        elif self.error:
            peers = f"failed: {self.error}"
        if self.extrapolated and self.peer_s is not None:
            peers += " (extrapolated)"
        elif self.extrapolated and self.ours_s is not None:
            ours += " (extrapolated)"
        if self.share is not None:
            ours += f" ({100 * self.share:.2g} % of the chip's peak)"
        cells = (
            *(self.stage, self.size, ours, self.peer, peers),
            *(_figure(self.ratio), _figure(self.peak_mib)),
        )
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def from_content(content: object) -> Row:
    """Return the row that an entry of `benchmarks.json` describes.

    Raises:
        TypeError: it describes none.
    """
    if not isinstance(content, Mapping):
        raise TypeError(f"{content!r} is no row")
    row = Row(**{name: _as_figure(value) for name, value in content.items() if name != "ratio"})
    kinds: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(row)}
    for name, kind in kinds.items():
        if not isinstance(getattr(row, name), kind):
            raise TypeError(f"{name} of a row is {content.get(name)!r}")
    return row


def _as_figure(value: Any) -> Any:  # noqa: ANN401 - whatever a file holds
    """Return a whole number as any other; all else as it is."""
    if type(value) is not int:
        return value
    try:
        return float(value)
    except OverflowError as error:
        raise TypeError(f"no figure is {str(value)[:9]}...") from error


def table(machine: Mapping[str, Any], rows: Sequence[Row], left_out: Sequence[str]) -> str:
    """Return the Markdown.

    Args:
        machine: what `machine.facts` returned.
        rows: those measured so far.
        left_out: names of those that are not measured on this machine.
    """
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    where = ", ".join(
        f"{name.replace('_gib', ' in GiB')} {value}"
        for name, value in machine.items()
        if name != "versions" and value is not None
    )
    lines = [HEADER, *map(str, rows), "", LEGEND, "", f"Machine: {where}; {versions}."]
    if left_out:
        kind = "an accelerator" if machine["accelerator"] is None else "a machine without one"
        lines += ["", f"Not measured here, since they are for {kind}:", ""]
        lines += [f"- {name}" for name in left_out]
    return "\n".join(lines)


def write(
    folder: Path, machine: Mapping[str, Any], rows: Sequence[Row], left_out: Sequence[str]
) -> str:
    """Write both files, and return the Markdown; the arguments are those of `table`.

    Raises:
        UserError: a file cannot be written.
    """
    write_json(folder / JSON, {"machine": dict(machine), "rows": [row.content for row in rows]})
    text = table(machine, rows, left_out)
    write_text(folder / MARKDOWN, text + "\n")
    return text


def _figure(value: float | None) -> str:
    """Return three digits of a figure, or all before the point; nothing for None."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"
