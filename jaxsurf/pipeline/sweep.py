"""A grid of runs: every combination of some settings' values, trained, judged, put into one table.

Every member has a working directory of its own, in which `outcome.json` says how it ended: what has
an outcome is done. Members that share shapes may be trained as one program; while it trains, such a
group is one state with one checkpoint, and every member's metrics go to its own folder. A member
that diverges is marked and carried along: the others do not notice. A group that was begun goes on
as it began, whichever mode is asked for.
"""

import contextlib
import dataclasses
import itertools
import json
import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import dacite
import jax

from jaxsurf.errors import UserError
from jaxsurf.evaluation import metrics, pairs, reconstruction
from jaxsurf.images.image_set import ImageSet
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.pipeline import configuration, train
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.experiments import SYMMETRIC
from jaxsurf.pipeline.setup import TrainSetup, compile_together, make_setup
from jaxsurf.training import data, loop, optimizer
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.training.log import Diverged, GroupLog, read_metrics
from jaxsurf.training.objective import TERMS, make_extractor
from jaxsurf.training.step import TrainState, unstack
from jaxsurf.viewing import plots
from jaxsurf.workdir import WorkDir, fingerprint, lock, read_json, write_json, write_text

Mode = Literal["auto", "together", "in_turn"]
PUT_BACK = "put it back as the sweep wrote it, or use a new --workdir"
JUDGED_AGAIN = "remove it: the run is judged again"
REPORTS_TERMS = ("mse", "perceptual")
NUM_BEST = 10
# What members of one program may differ in: these are arguments of the update.
NUMBERS = (
    *(f"optimizer.{number}" for number in optimizer.NUMBERS),
    *(f"objective.{term}" for term in TERMS),
    *("corruption.", "targets.weight", "training.seed"),
)
# Settings whose change would make losses incomparable: features of different families differ.
FAMILY = ("objective.vgg", "objective.preparation", "objective.layers")
# File systems allow 255 bytes; names are ASCII, and a fingerprint may follow.
MOST_CHARACTERS = 200

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """One run of a grid: its name, fit for a folder, and its settings."""

    name: str
    config: RunConfig

    @property
    def settings(self) -> dict[str, Any]:
        """What the result depends on, the place of the images among it."""
        return configuration.decisive(self.config) | {"data.path": self.config.data.path}

    @property
    def program(self) -> str:
        """What members that can be trained together have in common."""
        shared = {n: value for n, value in self.settings.items() if not n.startswith(NUMBERS)}
        # A network for features is too dear to be run for members that ignore it.
        shared["features"] = bool(self.config.objective.perceptual)
        return json.dumps(shared, sort_keys=True)

    @property
    def objective(self) -> str:
        """The weighting of the terms, for people."""
        weights = self.config.objective.weights.items()
        return " + ".join(f"{weight:g} {name}" for name, weight in weights)


@dataclass(frozen=True)
class Grid:
    """Every combination of some settings' values, and by axis the value of each, as texts."""

    members: Sequence[Member]
    axes: Mapping[str, list[str]]

    @property
    def groups(self) -> list[list[Member]]:
        """The members that share a program, in order of first appearance."""
        found: dict[str, list[Member]] = {}
        for member in self.members:
            found.setdefault(member.program, []).append(member)
        return list(found.values())


def make_grid(base: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> Grid:
    """Return the grid of axes by dotted name, the last varying fastest, on what all share.

    Settings that change together have commas between their names, and tuples of values.
    """
    names, steps = ",".join(axes).split(","), []
    for name in names:
        if name.startswith(FAMILY):
            why = "but losses of different features can't stand in one column"
            cure = "make a sweep for each"
            raise UserError(f"the grid has an axis over {name}, {why}", cure=cure)
        if names.count(name) > 1:
            raise UserError(f"the grid has several axes over {name}", cure="name it in one of them")
    for name, values in axes.items():
        steps.append([each if isinstance(each, tuple) else (each,) for each in values])
        if {len(step) for step in steps[-1]} != {len(name.split(","))}:
            cure = "give a value for each name, at least once; several in tuples"
            raise UserError(f"the grid's axis over {name} is {values}", cure=cure)
    members, known = [], {}
    shown = {axis.replace(",", ", "): [] for axis in axes}
    for combined in itertools.product(*steps):
        for texts, some in zip(shown.values(), combined, strict=True):
            texts.append(", ".join(map(str, some)))
        values = dict(zip(names, itertools.chain(*combined), strict=True))
        whole = "-".join(f"{name.partition('.')[2]}_{value}" for name, value in values.items())
        label = re.sub(r"[^A-Za-z0-9_.+-]+", "_", whole)[:MOST_CHARACTERS]
        # A name that can't be kept whole ends in a fingerprint.
        label = label if label == whole else f"{label}-{fingerprint(whole)}"
        member = Member(label, configuration.from_dotted({**base, **values}))
        for key in (label, json.dumps(member.settings, sort_keys=True)):
            if key in known:
                cause = f"the grid holds {label} twice, first as {known[key]}"
                raise UserError(cause, cure="name values once")
            known[key] = label
        members.append(member)
    return Grid(members, shown)


def read_grid(nested: Mapping[str, Any]) -> Grid:
    """Return the grid of a file of `configs/`: sections of settings, and axes under `grid`."""
    if "grid" not in nested:
        raise UserError("the file of --config holds no grid", cure="see configs/tiny_grid.py")
    shared = {name: each for name, each in nested.items() if each and name != "grid"}
    return make_grid(configuration.flat(shared), dict(nested["grid"]))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: `losses` are means over the last epoch, `mse` is of clean images.

    Of members trained together, `training_s` is the time of the whole group.
    """

    state: Literal["finished", "collapsed", "diverged"]
    message: str = ""
    losses: dict[str, float] = field(default_factory=dict)
    mse: float | None = None
    training_s: float | None = None
    together: int = 1

    @property
    def good(self) -> bool:
        """Whether the run ended with a model that has learnt something."""
        return self.state == "finished"

    @property
    def psnr_db(self) -> float | None:
        """Of the reconstructions; None where there are none, or none that err."""
        return metrics.psnr_of_mse(self.mse) if self.mse else None

    def write(self, workdir: WorkDir) -> "Outcome":
        """Write it down in the run's folder."""
        write_json(workdir.root / "outcome.json", dataclasses.asdict(self))
        return self


def read_outcome(workdir: WorkDir) -> Outcome | None:
    """Return how a run ended; None if it has not."""
    path = workdir.root / "outcome.json"
    if not path.exists():
        return None
    values = read_json(path, cure=JUDGED_AGAIN)
    try:
        outcome = dacite.from_dict(Outcome, values, dacite.Config(strict=True))
        if outcome.state != "diverged" and ("loss" not in outcome.losses or not outcome.training_s):
            raise ValueError("no loss or time")
    except (dacite.DaciteError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error})", cure=JUDGED_AGAIN) from error
    return outcome


Result = tuple[Member, Outcome]


def sweep(grid: Grid, root: Path | str, *, mode: Mode = "auto", shown: bool = True) -> list[Result]:
    """Train every member of a grid, and write `all_scores.csv`, `best.md` and `losses.png`.

    Mode `together` trains members that share shapes as one program, `in_turn` one after another;
    `auto` takes `in_turn` on CPUs and `together` on accelerators. A member that collapsed or
    diverged is marked; it does not stop others.
    """
    # XLA's CPU convolutions take three times as long when their kernels are vmapped.
    in_turn = jax.default_backend() == "cpu" if mode == "auto" else mode == "in_turn"
    root, members, groups = WorkDir(Path(root)).check_writable().root, grid.members, grid.groups
    # All that may be wrong with any member is reported before the first is trained. No axis is over
    # what the features are of, so one network stands for all.
    objectives = [member.config.objective for member in members]
    make_extractor(next((one for one in objectives if one.perceptual), objectives[0]))
    opened: dict[str, ImageSet] = {}
    for group in groups:
        key = str(group[0].config.data)
        if key not in opened:
            opened[key] = configuration.open_data(group[0].config.data)
            train.check_varied(opened[key])
        make_setup(group[0].config, opened[key], abstract=True)  # do they suit the model?
        for member in group:
            place = WorkDir(root / "members" / member.name)
            train.check_begun(place, member.config, opened[key], extend=None)
    with lock(root):
        names, path = [member.name for member in members], root / "grid.json"
        begun = read_json(path, cure=PUT_BACK).get("members", []) if path.exists() else names
        if sorted(begun) != sorted(names):
            cause = f"{root} holds another grid, of {len(begun)} members such as {begun[:1]}"
            raise UserError(cause, cure="use that grid again, or a new --workdir")
        write_json(path, {"members": names})
        found: dict[str, Outcome] = {}
        for number, group in enumerate(groups):
            _log.info("group %d of %d: %d members", number + 1, len(groups), len(group))
            images = opened[str(group[0].config.data)]
            found |= _run_group(group, images, root, together=not in_turn, shown=shown)
        shutil.rmtree(root / "groups", ignore_errors=True)
        results = [(member, found[member.name]) for member in members]
        write_text(root / "all_scores.csv", table(results))
        write_text(root / "best.md", best(results) + "\n")
        figure = plots.grid(
            axes=grid.axes,
            losses=[out.losses.get("loss") if out.good else None for _, out in results],
            title=f"{len(results)} runs",
            series=[member.objective for member in members],
        )
        plots.save(figure, root / "losses.png")
    _log.info("all of them: %s", root / "all_scores.csv")
    return results


def _run_group(
    group: Sequence[Member], images: ImageSet, root: Path, *, together: bool, shown: bool
) -> dict[str, Outcome]:
    """Return the outcomes of a group by member, those that were there already among them."""
    saved = root / "groups" / fingerprint(*(member.name for member in group))
    workdirs = {member.name: WorkDir(root / "members" / member.name) for member in group}
    there = {name: read_outcome(workdir) for name, workdir in workdirs.items()}
    found = {name: outcome for name, outcome in there.items() if outcome}
    begun = found or any(workdir.checkpoints.is_dir() for workdir in workdirs.values())
    if len(found) < len(group) and (saved.is_dir() or (together and not begun)):
        _log.info("%d members together, %s the first", len(group), group[0].name)
        found = _train_together(group, workdirs, images, checkpoints=saved, shown=shown)
    for member in group:
        if member.name not in found:
            _log.info("%s", member.name)
            workdir = workdirs[member.name]
            found[member.name] = train_and_judge(images, member.config, workdir, shown=shown)
    shutil.rmtree(saved, ignore_errors=True)
    return found


def _every_epoch(config: RunConfig, num_images: int) -> RunConfig:
    """Return the same run with one line of metrics an epoch: the last is the last epoch's mean."""
    steps = data.make_plan(config.training, num_images=num_images).steps_per_epoch
    return configuration.from_dotted({"training.log_every": steps}, config)


def train_and_judge(
    images: ImageSet, config: RunConfig, workdir: WorkDir, *, shown: bool
) -> Outcome:
    """Train a run on its images, opened already, and write down how it ended, if badly too."""
    config = _every_epoch(config, len(images))
    try:
        run = train.train_on(images, config, workdir.root, shown=shown)
    except Diverged as error:
        return Outcome(state="diverged", message=str(error)).write(workdir)
    return _judge(workdir, config, images, run.model)


def _judge(
    workdir: WorkDir, config: RunConfig, images: ImageSet, model: Autoencoder, *, together: int = 1
) -> Outcome:
    lines, message = read_metrics(workdir.metrics), ""
    if not lines:
        cause = f"{workdir.metrics} is missing or empty, so nobody knows what the losses were"
        cure = f"put it back, or remove {workdir.root}: the run is trained again"
        raise UserError(cause, cure=cure)
    try:
        train.check_learnt(model, images, config.objective)
    except train.Collapsed as error:
        message = str(error)
    return Outcome(
        state="collapsed" if message else "finished",
        message=message,
        losses={name: lines[-1][name] for name in config.objective.losses},
        mse=reconstruction.mean_mse(model, images.images),
        training_s=lines[-1]["elapsed_s"],
        together=together,
    ).write(workdir)


def _train_together(
    group: Sequence[Member],
    workdirs: Mapping[str, WorkDir],
    images: ImageSet,
    *,
    checkpoints: Path,
    shown: bool,
) -> dict[str, Outcome]:
    """Train a group as one run; in the end each member has a checkpoint of its own.

    Meanwhile `checkpoints` holds those of the group as a whole.
    """
    configs = [_every_epoch(member.config, len(images)) for member in group]
    setups = [make_setup(config, images).on_host() for config in configs]
    identity = fingerprint(*(setup.identity for setup in setups))
    with contextlib.ExitStack() as stack:
        for workdir, config in zip(workdirs.values(), configs, strict=True):
            stack.enter_context(lock(workdir.check_writable().root))
            train.write_config(workdir, config, images)
        saved = Checkpoints(checkpoints, of=identity, keep_best=0)
        stack.enter_context(contextlib.closing(saved))
        try:
            states, failed = _fit_together(setups, list(workdirs.values()), saved, shown=shown)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            who = f"{len(group)} members trained together, {group[0].name} the first,"
            cure = "train in turn: --mode=in_turn"
            raise UserError(f"{who} don't fit the devices", cure=cure) from error
        outcomes, together = {}, len(setups)
        for number, (name, workdir) in enumerate(workdirs.items()):
            if number in failed:
                lost = Outcome(state="diverged", message=failed[number], together=together)
                outcomes[name] = lost.write(workdir)
                continue
            setup, state = setups[number], states[number]
            with contextlib.closing(Checkpoints(workdir.checkpoints, of=setup.identity)) as own:
                own.save(int(state.step), state, {})
            model = setup.with_weights(state)
            outcomes[name] = _judge(workdir, setup.config, images, model, together=together)
        return outcomes


def _fit_together(
    setups: Sequence[TrainSetup],
    workdirs: Sequence[WorkDir],
    checkpoints: Checkpoints,
    *,
    shown: bool,
) -> tuple[list[TrainState], dict[int, str]]:
    """Return the last states, none if all diverged, and by number what runs have failed of."""
    compiled = compile_together(setups)
    states, saved = train.restore_newest(checkpoints, compiled.state)
    first = int(states.step[0])
    # What stands in the place of a member's open interval is what it failed of.
    runs: list[Any] = saved["runs"] if saved else [None] * len(setups)
    failed = {number: run for number, run in enumerate(runs) if isinstance(run, str)}
    with contextlib.ExitStack() as files:
        logs = []
        for setup, workdir, run in zip(setups, workdirs, runs, strict=True):
            mine = None if isinstance(run, str) else run
            log = setup.make_log(workdir.metrics, resume_step=first, saved=mine)
            logs.append(files.enter_context(contextlib.closing(log)))
        terms = [setup.config.objective.losses for setup in setups]
        log = GroupLog(logs, terms=terms, failed=failed)
        if first < compiled.plan.num_steps:
            try:
                states = loop.run(
                    states,
                    first_step=first,
                    bound_step=compiled.bound_step,
                    feed=compiled.make_feed(first),
                    plan=compiled.plan,
                    log=log,
                    checkpoints=checkpoints,
                    save_every_s=setups[0].config.training.save_every_s,
                    shown=shown,
                )
            except Diverged:  # all of them
                return [], log.failed
    return unstack(states, len(setups)), log.failed


def table(results: Sequence[Result]) -> str:
    """Return all members as CSV, one a line: the report's columns, and ours after them.

    `target_loss` is the objective's mean over the last epoch. It and `MSE_weight` are on the
    report's pixel range [-1, 1], on which squared errors are four times ours.
    """
    rows = []
    for member, outcome in results:
        config, objective = member.config, member.config.objective
        bare = "" if objective.preparation == "own" else "_unprepared"
        row = {
            "learning rate": config.optimizer.learning_rate,
            "weight decay": config.optimizer.weight_decay,
            "num_epochs": config.training.num_epochs,
            "batch_size": config.training.batch_size,
            "step_size": config.optimizer.step_epochs,
            "dims": config.model.latent_dim,
            "MSE_weight": objective.mse / SYMMETRIC,
            "perceptual_weight": objective.perceptual,
            "out_channels": config.model.channels,
            "noise": config.corruption.strength,
            "noise_types": config.corruption.kind,
            "IMAGES_PATH": config.data.path or config.data.source,
            "target_loss": outcome.losses.get("loss"),
            "member": member.name,
            "state": outcome.state,
            "model": config.model.name,
            "optimizer": config.optimizer.name,
            "seed": config.training.seed,
            **{f"{t}_weight": getattr(objective, t) for t in TERMS if t not in REPORTS_TERMS},
            "mse": outcome.losses.get("mse"),
            # Errors of different features don't compare, so each family has a column of its own.
            f"perceptual_{Path(objective.vgg).stem}{bare}": outcome.losses.get("perceptual"),
            "psnr_db": outcome.psnr_db,
            "training_s": outcome.training_s,
            "together": outcome.together,
            "message": outcome.message,
        }
        rows.append(row)
    return pairs.csv_text(rows)


def best(results: Sequence[Result]) -> str:
    """Return the members of smallest loss of each weighting, and which failed, in Markdown."""
    parts = []
    for objective in dict.fromkeys(member.objective for member, _ in results):
        mine = [result for result in results if result[0].objective == objective]
        good = [result for result in mine if result[1].good]
        head = "| member | loss | PSNR dB | seconds |\n|---|---|---|---|"
        lines = [f"Objective {objective}:\n", head]
        for member, outcome in sorted(good, key=lambda each: each[1].losses["loss"])[:NUM_BEST]:
            psnr = "" if outcome.psnr_db is None else f"{outcome.psnr_db:.1f}"
            shared = f" (with {outcome.together - 1} more)" if outcome.together > 1 else ""
            cells = f"{outcome.losses['loss']:.4g} | {psnr} | {outcome.training_s:.0f}{shared}"
            lines.append(f"| {member.name} | {cells} |")
        failed = [f"{member.name} {outcome.state}" for member, outcome in mine if not outcome.good]
        if failed:
            lines.append(f"\n{len(failed)} of {len(mine)} failed: {', '.join(failed)}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
