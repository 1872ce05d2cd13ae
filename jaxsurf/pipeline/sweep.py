"""A grid of runs: trained together or in turn, judged, put into one table and one picture."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import jax

from jaxsurf.errors import UserError
from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline import configuration, grid, outcome, resumption, scores, together, train
from jaxsurf.pipeline.grid import Grid, GridMember
from jaxsurf.pipeline.outcome import Outcome
from jaxsurf.training.losses import Diverged
from jaxsurf.viewing import grids
from jaxsurf.viewing.grids import GridPlot
from jaxsurf.workdir import WorkDir, fingerprint, write_text

Mode = Literal["auto", "together", "in_turn"]
# XLA's CPU convolutions take three times as long when their kernels are vmapped.
IN_TURN_BACKENDS = ("cpu",)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepResult:
    """Every member and how it ended."""

    results: Sequence[scores.Result]
    root: Path

    def __str__(self) -> str:
        return f"{scores.best(self.results)}\n\nall of them: {self.root / 'all_scores.csv'}"


def sweep(asked: Grid, root: Path, *, mode: Mode = "auto", shown: bool = True) -> SweepResult:
    """Train every member of a grid, and write `all_scores.csv`, `best.md` and `losses.png`.

    Args:
        asked: the grid.
        root: the folder of all; each member has a working directory in `members/`.
        mode: `together` trains members that share shapes as one program, `in_turn` one after
            another; `auto` takes `in_turn` on CPUs and `together` on accelerators.
        shown: draw progress bars.

    Returns:
        Every member's outcome. One that collapsed or diverged is marked; it does not stop others.

    Raises:
        UserError: bad data or settings, an unwritable folder, or one that holds another grid.
        Interrupted: a signal asked to stop; the same call goes on from there.
    """
    if mode not in get_args(Mode):
        raise UserError(f"--mode is {mode!r}", cure=f"choose one of {get_args(Mode)}")
    if mode == "auto":
        mode = "in_turn" if jax.default_backend() in IN_TURN_BACKENDS else "together"
    run = _together if mode == "together" else _in_turn
    groups = asked.groups()
    found: dict[str, Outcome] = {}
    opened: dict[str, ImageSet] = {}
    for number, group in enumerate(groups):
        _log.info("group %d of %d: %d members, %s", number + 1, len(groups), len(group), mode)
        found |= _run_group(group, root, opened, run, shown=shown)
    results = [(member, found[member.name]) for member in asked.members()]
    _write(results, asked, root)
    return SweepResult(results, root)


Runner = Callable[..., dict[str, Outcome]]


def _run_group(
    group: Sequence[GridMember],
    root: Path,
    opened: dict[str, ImageSet],
    run: Runner,
    *,
    shown: bool,
) -> dict[str, Outcome]:
    """Return the outcomes of a group, those that were there already among them."""
    found: dict[str, Outcome] = {}
    for member in group:
        workdir = _workdir(root, member)
        resumption.check_settings(workdir, member.config, extend=False)
        ended = outcome.read(workdir)
        if ended is not None:
            found[member.name] = ended
    todo = [member for member in group if member.name not in found]
    if not todo:
        return found
    data = todo[0].config.data
    if str(data) not in opened:
        opened.clear()
        opened[str(data)] = configuration.open_data(data)
    # All of a group that began together have to go on together.
    return found | run(group if run is _together else todo, root, opened[str(data)], shown=shown)


def _together(
    group: Sequence[GridMember], root: Path, images: ImageSet, *, shown: bool
) -> dict[str, Outcome]:
    """Train a group as one program."""
    name = fingerprint(*(member.name for member in group))
    ended = together.train_together(
        [grid.every_epoch(member.config, num_images=len(images)) for member in group],
        [_workdir(root, member).root for member in group],
        images,
        checkpoints=root / "groups" / name,
        shown=shown,
    )
    return {member.name: each for member, each in zip(group, ended, strict=True)}


def _in_turn(
    group: Sequence[GridMember], root: Path, images: ImageSet, *, shown: bool
) -> dict[str, Outcome]:
    """Train one member after the other."""
    return {member.name: _alone(member, root, images, shown=shown) for member in group}


def _alone(member: GridMember, root: Path, images: ImageSet, *, shown: bool) -> Outcome:
    workdir = _workdir(root, member)
    config = grid.every_epoch(member.config, num_images=len(images))
    _log.info("%s", member.name)
    try:
        run = train.train_on(images, config, workdir.root, shown=shown)
    except Diverged as error:
        return outcome.write(workdir, Outcome(state="diverged", message=str(error)))
    return outcome.judge(workdir, config, images, run.model)


def _workdir(root: Path, member: GridMember) -> WorkDir:
    return WorkDir(root / "members" / member.name)


def _write(results: Sequence[scores.Result], asked: Grid, root: Path) -> None:
    """Write table, best members and picture."""
    write_text(root / "all_scores.csv", scores.table(results))
    write_text(root / "best.md", scores.best(results) + "\n")
    axes = {
        ", ".join(name.partition(".")[2] for name in axis.names): [
            ", ".join(str(member.values[name]) for name in axis.names) for member, _ in results
        ]
        for axis in asked.axes
    }
    grids.axes_figure(
        root / "losses.png",
        GridPlot(
            title=f"{len(results)} runs",
            axes=axes,
            losses=[each.losses.get("loss") for _, each in results],
            failed=[not each.good for _, each in results],
        ),
    )
