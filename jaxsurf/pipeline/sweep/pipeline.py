"""A grid of runs: trained together or in turn, judged, put into one table and one picture.

What was begun goes on as it began, whichever mode is asked for: a group together that has a
checkpoint of its own, a member in turn that has one. The mode decides for all others.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import jax

from jaxsurf import lock
from jaxsurf.errors import UserError
from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline.run import assembly, configuration, resumption, train
from jaxsurf.pipeline.run.configuration import DataConfig
from jaxsurf.pipeline.sweep import grid, outcome, scores, together
from jaxsurf.pipeline.sweep.grid import Grid, GridMember
from jaxsurf.pipeline.sweep.outcome import Outcome
from jaxsurf.training import features
from jaxsurf.workdir import WorkDir, fingerprint
from jaxsurf.writing import read_json, write_json, write_text

Mode = Literal["auto", "together", "in_turn"]
# XLA's CPU convolutions take three times as long when their kernels are vmapped.
IN_TURN_BACKENDS = ("cpu",)
PUT_BACK = "put it back as the sweep wrote it, or use a new --workdir"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepResult:
    """Every member and how it ended."""

    results: Sequence[scores.Result]
    root: Path

    def __str__(self) -> str:
        return f"{scores.best(self.results)}\n\nall of them: {self.root / 'all_scores.csv'}"


@dataclass
class _Sweep:
    """Where a sweep lies, how it is done, and the images opened last.

    Attributes:
        root: the folder of all.
        together: whether groups that are not begun yet are trained as one program.
        shown: draw progress bars.
        opened: images by what names them; one set at a time.
    """

    root: Path
    together: bool
    shown: bool
    opened: dict[str, ImageSet] = field(default_factory=dict)

    def workdir(self, member: GridMember) -> WorkDir:
        """Return the working directory of a member."""
        return WorkDir(self.root / "members" / member.name)

    def images(self, config: DataConfig) -> ImageSet:
        """Return the images of a configuration."""
        if str(config) not in self.opened:
            self.opened.clear()
            self.opened[str(config)] = configuration.open_data(config)
        return self.opened[str(config)]


def sweep(asked: Grid, root: Path | str, *, mode: Mode = "auto", shown: bool = True) -> SweepResult:
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
    root = Path(root)
    in_turn = mode == "in_turn" or (mode == "auto" and jax.default_backend() in IN_TURN_BACKENDS)
    plan = _Sweep(root, not in_turn, shown)
    _check(asked.groups(), plan)
    with lock.held(root):
        results = _run(asked, plan)
        _write(results, asked, root)
    return SweepResult(results, root)


def _run(asked: Grid, plan: _Sweep) -> list[scores.Result]:
    """Train all that is not done yet."""
    members, groups = asked.members(), asked.groups()
    names = [member.name for member in members]
    _check_grid(names, plan.root)  # another sweep may have begun there meanwhile
    write_json(plan.root / "grid.json", {"members": names})
    found: dict[str, Outcome] = {}
    for number, group in enumerate(groups):
        _log.info("group %d of %d: %d members", number + 1, len(groups), len(group))
        found |= _run_group(group, plan)
    shutil.rmtree(plan.root / "groups", ignore_errors=True)
    return [(member, found[member.name]) for member in members]


def _check(groups: Sequence[Sequence[GridMember]], plan: _Sweep) -> None:
    """Refuse all that may be wrong with any member, before the first is trained."""
    WorkDir(plan.root).check_writable()
    members = [member for group in groups for member in group]
    _check_grid([member.name for member in members], plan.root)
    for member in members:
        resumption.check_settings(plan.workdir(member), member.config, extend=None)
    # Grids have no axis over what the features are of, so one network stands for all.
    objectives = [member.config.objective for member in members]
    features.make_extractor(next((each for each in objectives if each.perceptual), objectives[0]))
    # Images are opened last, which may take long.
    for group in groups:
        images = plan.images(group[0].config.data)
        train.check_images(images)
        assembly.check(group[0].config, images)
        for member in group:
            resumption.check_images(plan.workdir(member), member.config, images)


def _check_grid(names: Sequence[str], root: Path) -> None:
    """Refuse a folder in which another grid was begun."""
    path = root / "grid.json"
    if not path.exists():
        return
    begun = read_json(path, cure=PUT_BACK).get("members", [])
    if sorted(begun) != sorted(names):
        lost, new = ([*(Counter(a) - Counter(b))] for a, b in ((begun, names), (names, begun)))
        differing = f"with {lost[0]}" if lost else f"without {new[0]}"
        raise UserError(
            f"{root} holds another grid, of {len(begun)} members, {differing}",
            cure="use that grid again, or a new --workdir",
        )


def _run_group(group: Sequence[GridMember], plan: _Sweep) -> dict[str, Outcome]:
    """Return the outcomes of a group, those that were there already among them."""
    folder = plan.root / "groups" / fingerprint(*(member.name for member in group))
    found = {
        member.name: ended
        for member in group
        if (ended := outcome.read(plan.workdir(member))) is not None
    }
    todo = [member for member in group if member.name not in found]
    side_by_side = _side_by_side(group, todo, folder, plan)
    names = {member.name for member in side_by_side}
    for member in todo:
        if member.name not in names:
            found[member.name] = _alone(member, plan)
    if side_by_side:
        found |= _as_one(side_by_side, folder, plan)
    shutil.rmtree(folder, ignore_errors=True)
    return found


def _side_by_side(
    group: Sequence[GridMember], todo: Sequence[GridMember], folder: Path, plan: _Sweep
) -> list[GridMember]:
    """Return the members that are trained as one program: all that were begun so, or none yet."""
    if todo and (folder / "checkpoints").is_dir():
        begun = read_json(folder / "members.json", cure=PUT_BACK)["members"]
        return [member for member in group if member.name in begun]
    if not plan.together:
        return []
    return [member for member in todo if not plan.workdir(member).checkpoints.is_dir()]


def _as_one(group: Sequence[GridMember], folder: Path, plan: _Sweep) -> dict[str, Outcome]:
    """Train members as one program."""
    images = plan.images(group[0].config.data)
    write_json(folder / "members.json", {"members": [member.name for member in group]})
    _log.info("%d members together, %s the first", len(group), group[0].name)
    ended = together.train_together(
        [grid.every_epoch(member.config, num_images=len(images)) for member in group],
        [plan.workdir(member).root for member in group],
        images,
        checkpoints=folder / "checkpoints",
        shown=plan.shown,
    )
    return {member.name: each for member, each in zip(group, ended, strict=True)}


def _alone(member: GridMember, plan: _Sweep) -> Outcome:
    """Train a member by itself."""
    _log.info("%s", member.name)
    images = plan.images(member.config.data)
    return outcome.train_and_judge(images, member.config, plan.workdir(member), shown=plan.shown)


def _write(results: Sequence[scores.Result], asked: Grid, root: Path) -> None:
    """Write table, best members and picture."""
    write_text(root / "all_scores.csv", scores.table(results))
    write_text(root / "best.md", scores.best(results) + "\n")
    scores.save_plot(results, asked.axes, root / "losses.png")
