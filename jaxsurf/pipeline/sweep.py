"""A grid of runs: trained together or in turn, judged, put into one table and one picture.

Every member has a working directory of its own, in which `outcome.json` says how it ended: what has
an outcome is done. Members that share shapes may be trained as one program; while it trains, such a
group is one state with one checkpoint, and every member's metrics go to its own folder. A member
that diverges is marked and carried along: the others do not notice.

What was begun goes on as it began, whichever mode is asked for: a group together that has a
checkpoint of its own, a member in turn that has one. The mode decides for all others.
"""

import contextlib
import dataclasses
import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import jax

from jaxsurf.errors import UserError
from jaxsurf.evaluation import metrics, pairs, reconstruction
from jaxsurf.images.image_set import ImageSet
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.configuration import DataConfig, RunConfig
from jaxsurf.pipeline.experiments import SYMMETRIC
from jaxsurf.pipeline.grid import Grid, GridMember
from jaxsurf.pipeline.setup import CompiledRun, TrainSetup, make_setup
from jaxsurf.pipeline.train import (
    Collapsed,
    check_begun,
    check_learnt,
    check_varied,
    restore_newest,
    train_on,
    write_config,
)
from jaxsurf.training import data, distributed, features, loop, vmapped
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.training.data import Feed
from jaxsurf.training.log import Diverged, GroupLog, read_metrics
from jaxsurf.training.step import TrainState
from jaxsurf.viewing import plots
from jaxsurf.workdir import WorkDir, fingerprint, lock, read_json, write_json, write_text

Mode = Literal["auto", "together", "in_turn"]
# XLA's CPU convolutions take three times as long when their kernels are vmapped.
IN_TURN_BACKENDS = ("cpu",)
PUT_BACK = "put it back as the sweep wrote it, or use a new --workdir"
JUDGED_AGAIN = "remove it: the run is judged again"
OUTCOME_FILE = "outcome.json"
NUM_BEST = 10
BEST_HEADER = "| member | loss | PSNR dB | seconds |\n|---|---|---|---|"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: `finished`, `collapsed` or `diverged`.
        message: what went wrong.
        losses: mean of each over the last epoch; none where the run diverged.
        mse: of the clean images' reconstructions, on [0, 1]; None where the run diverged.
        training_s: wall-clock time; that of the whole group where members were trained together;
            None where the run diverged.
        together: how many members shared that time.
    """

    state: str
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


Result = tuple[GridMember, Outcome]


@dataclass(frozen=True)
class SweepResult:
    """Every member and how it ended."""

    results: Sequence[Result]
    root: Path

    def __str__(self) -> str:
        return f"{best(self.results)}\n\nall of them: {self.root / 'all_scores.csv'}"


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
    in_turn = mode == "in_turn" or (mode == "auto" and jax.default_backend() in IN_TURN_BACKENDS)
    plan = _Sweep(Path(root), not in_turn, shown)
    members, groups = asked.members(), asked.groups()
    names = [member.name for member in members]
    plan.check(groups)
    with lock(plan.root):
        plan.check_names(names)  # another sweep may have begun there meanwhile
        write_json(plan.root / "grid.json", {"members": names})
        found: dict[str, Outcome] = {}
        for number, group in enumerate(groups):
            _log.info("group %d of %d: %d members", number + 1, len(groups), len(group))
            found |= plan.run_group(group)
        shutil.rmtree(plan.root / "groups", ignore_errors=True)
        results = [(member, found[member.name]) for member in members]
        write_text(plan.root / "all_scores.csv", table(results))
        write_text(plan.root / "best.md", best(results) + "\n")
        save_plot(results, asked, plan.root / "losses.png")
    return SweepResult(results, plan.root)


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
        return WorkDir(self.root / "members" / member.name)

    def images(self, config: DataConfig) -> ImageSet:
        if str(config) not in self.opened:
            self.opened.clear()
            self.opened[str(config)] = configuration.open_data(config)
        return self.opened[str(config)]

    def check(self, groups: Sequence[Sequence[GridMember]]) -> None:
        """Refuse all that may be wrong with any member, before the first is trained."""
        WorkDir(self.root).check_writable()
        members = [member for group in groups for member in group]
        self.check_names([member.name for member in members])
        for member in members:
            check_begun(self.workdir(member), member.config, None, extend=None)
        # Grids have no axis over what the features are of, so one network stands for all.
        objectives = [member.config.objective for member in members]
        features.make_extractor(next((one for one in objectives if one.perceptual), objectives[0]))
        # Images are opened last, which may take long.
        for group in groups:
            images = self.images(group[0].config.data)
            make_setup(group[0].config, images, abstract=True)  # do they suit the model?
            check_varied(images)
            for member in group:
                check_begun(self.workdir(member), member.config, images, extend=None)

    def check_names(self, names: Sequence[str]) -> None:
        """Refuse a folder in which another grid was begun."""
        path = self.root / "grid.json"
        begun = read_json(path, cure=PUT_BACK).get("members", []) if path.exists() else names
        if sorted(begun) != sorted(names):
            lost, new = ([*(Counter(a) - Counter(b))] for a, b in ((begun, names), (names, begun)))
            differing = f"with {lost[0]}" if lost else f"without {new[0]}"
            raise UserError(
                f"{self.root} holds another grid, of {len(begun)} members, {differing}",
                cure="use that grid again, or a new --workdir",
            )

    def run_group(self, group: Sequence[GridMember]) -> dict[str, Outcome]:
        """Return the outcomes of a group, those that were there already among them."""
        folder = self.root / "groups" / fingerprint(*(member.name for member in group))
        ended = {member.name: read_outcome(self.workdir(member)) for member in group}
        found = {name: outcome for name, outcome in ended.items() if outcome is not None}
        todo = [member for member in group if member.name not in found]
        as_one: list[GridMember] = []
        if todo and (folder / "checkpoints").is_dir():  # all that were begun so
            begun = read_json(folder / "members.json", cure=PUT_BACK)["members"]
            as_one = [member for member in group if member.name in begun]
        elif self.together:
            as_one = [each for each in todo if not self.workdir(each).checkpoints.is_dir()]
        images = self.images(group[0].config.data)
        for member in todo:
            if member not in as_one:
                _log.info("%s", member.name)
                found[member.name] = train_and_judge(
                    images, member.config, self.workdir(member), shown=self.shown
                )
        if as_one:
            _log.info("%d members together, %s the first", len(as_one), as_one[0].name)
            write_json(folder / "members.json", {"members": [member.name for member in as_one]})
            configs = [member.config for member in as_one]
            workdirs = [self.workdir(member) for member in as_one]
            saved = folder / "checkpoints"
            outcomes = train_together(
                configs, workdirs, images, checkpoints=saved, shown=self.shown
            )
            found |= {m.name: outcome for m, outcome in zip(as_one, outcomes, strict=True)}
        shutil.rmtree(folder, ignore_errors=True)
        return found


def every_epoch(config: RunConfig, *, num_images: int) -> RunConfig:
    """Return the same run with one line of metrics an epoch: the last is the last epoch's mean."""
    steps = data.make_plan(config.training, num_images=num_images).steps_per_epoch
    return dataclasses.replace(
        config, training=dataclasses.replace(config.training, log_every=steps)
    )


def train_and_judge(
    images: ImageSet, config: RunConfig, workdir: WorkDir, *, shown: bool
) -> Outcome:
    """Train a run, or go on training it, and write down how it ended.

    Args:
        images: those that `config.data` names.
        config: of the run.
        workdir: of the run.
        shown: draw a progress bar.

    Raises:
        UserError: as `train` does, but for a model that collapsed or diverged.
        Interrupted: as `train` does.
    """
    config = every_epoch(config, num_images=len(images))
    try:
        run = train_on(images, config, workdir.root, shown=shown)
    except Diverged as error:
        return _write_outcome(workdir, Outcome(state="diverged", message=str(error)))
    return _judge(workdir, config, images, run.model)


def read_outcome(workdir: WorkDir) -> Outcome | None:
    """Return how a run ended; None if it has not.

    Raises:
        UserError: the file is damaged.
    """
    path = workdir.root / OUTCOME_FILE
    if not path.exists():
        return None
    try:
        return Outcome(**read_json(path, cure=JUDGED_AGAIN))
    except TypeError as error:
        raise UserError(f"{path} is damaged ({error})", cure=JUDGED_AGAIN) from error


def _judge(
    workdir: WorkDir, config: RunConfig, images: ImageSet, model: Autoencoder, *, together: int = 1
) -> Outcome:
    """Judge a run that reached its end, and write down how it ended."""
    lines = read_metrics(workdir.metrics)
    if not lines:
        raise UserError(
            f"{workdir.metrics} is missing or empty, so nobody knows what the losses were",
            cure=f"put it back, or remove {workdir.root}: the run is trained again",
        )
    state, message = "finished", ""
    try:
        check_learnt(model, images, config.objective)
    except Collapsed as error:
        state, message = "collapsed", str(error)
    outcome = Outcome(
        state=state,
        message=message,
        losses={name: lines[-1][name] for name in config.objective.losses},
        mse=reconstruction.mean_mse(model, images.images),
        training_s=lines[-1]["elapsed_s"],
        together=together,
    )
    return _write_outcome(workdir, outcome)


def _write_outcome(workdir: WorkDir, outcome: Outcome) -> Outcome:
    write_json(workdir.root / OUTCOME_FILE, dataclasses.asdict(outcome))
    return outcome


def train_together(
    configs: Sequence[RunConfig],
    workdirs: Sequence[WorkDir],
    images: ImageSet,
    *,
    checkpoints: Path,
    shown: bool = True,
) -> list[Outcome]:
    """Train runs as one program; in the end each has a checkpoint of its own.

    Args:
        configs: of runs that differ in nothing but `grid.NUMBERS` and agree on whether there is a
            perceptual term.
        workdirs: of the runs.
        images: of all of them.
        checkpoints: where the group as a whole is saved while it trains.
        shown: draw a progress bar.

    Returns:
        How each run ended, as it is written down in its folder.

    Raises:
        UserError: the images don't suit, a folder can't be written, or a device is too small.
        Interrupted: a signal asked to stop; the group is saved.
    """
    configs = [every_epoch(config, num_images=len(images)) for config in configs]
    setups = [make_setup(config, images).on_host() for config in configs]
    identity = fingerprint(*(setup.identity for setup in setups))
    with contextlib.ExitStack() as stack:
        for workdir, config in zip(workdirs, configs, strict=True):
            stack.enter_context(lock(workdir.check_writable().root))
            write_config(workdir, config, images)
        saved = Checkpoints(checkpoints, of=identity, keep_best=0)
        stack.enter_context(contextlib.closing(saved))
        try:
            states, failed = _fit_together(setups, workdirs, saved, shown=shown)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise UserError(
                f"{len(setups)} members trained together, {workdirs[0].root.name} the first, don't "
                "fit the devices",
                cure="train in turn: --mode=in_turn",
            ) from error
        outcomes = []
        for number, (setup, workdir) in enumerate(zip(setups, workdirs, strict=True)):
            if number in failed:
                lost = Outcome(state="diverged", message=failed[number], together=len(setups))
                outcomes.append(_write_outcome(workdir, lost))
                continue
            state = states[number]
            with contextlib.closing(Checkpoints(workdir.checkpoints, of=setup.identity)) as own:
                own.save(int(state.step), state, {})
            model = setup.with_weights(state)
            outcomes.append(_judge(workdir, setup.config, images, model, together=len(setups)))
        return outcomes


def _fit_together(
    setups: Sequence[TrainSetup],
    workdirs: Sequence[WorkDir],
    checkpoints: Checkpoints,
    *,
    shown: bool,
) -> tuple[list[TrainState], dict[int, str]]:
    """Train from the newest checkpoint, or from the start, to the end.

    Returns:
        The last states, none if every member diverged, and what members have failed of, by number.
    """
    compiled = compile_together(setups)
    states, saved = restore_newest(checkpoints, compiled.state)
    first = int(states.step[0])
    # What stands in the place of a member's open interval is what it failed of.
    runs: list[Any] = saved["runs"] if saved else [None] * len(setups)
    failed = {number: run for number, run in enumerate(runs) if isinstance(run, str)}
    with contextlib.ExitStack() as files:
        logs = []
        for number, (setup, workdir) in enumerate(zip(setups, workdirs, strict=True)):
            mine = None if number in failed else runs[number]
            log = setup.make_log(workdir.metrics, resume_step=first, saved=mine)
            logs.append(files.enter_context(contextlib.closing(log)))
        terms = [setup.config.objective.losses for setup in setups]
        log = GroupLog(logs, terms=terms, failed=failed)
        if first < compiled.plan.num_steps:
            try:
                states = loop.run(
                    states,
                    first_step=first,
                    step_fn=compiled.step_fn,
                    feed=compiled.make_feed(),
                    plan=compiled.plan,
                    log=log,
                    checkpoints=checkpoints,
                    save_every_s=setups[0].config.training.save_every_s,
                    shown=shown,
                )
            except Diverged:  # all of them
                return [], log.failed
    return vmapped.unstack(states, len(setups)), log.failed


def compile_together(setups: Sequence[TrainSetup]) -> CompiledRun:
    """Return what the loop takes of runs that differ in nothing but `grid.NUMBERS`.

    Args:
        setups: of the runs; all or none of them have a perceptual term.
    """
    first, mesh = setups[0], vmapped.make_mesh(len(setups))
    shardings = distributed.Shardings(mesh)
    extract = jax.device_put(features.make_extractor(first.config.objective), shardings.replicated)
    kinds = sorted({setup.config.corruption.kind for setup in setups})
    terms = sorted({term for setup in setups for term in setup.config.objective.weights})
    numbers = [setup.make_hyperparameters(kinds=kinds, terms=terms) for setup in setups]
    hyper = vmapped.stack(numbers, mesh)
    keys = vmapped.stack([setup.streams.order for setup in setups], mesh)
    jitted = vmapped.compile_step(
        first.make_update(), batch_size=first.config.training.batch_size, mesh=mesh
    )

    def make_feed() -> Feed:
        examples = first.make_examples(extract)
        if examples.nbytes > data.room_for(examples):
            raise UserError(
                f"{len(first.images)} images don't fit a device, where members trained together "
                "need them",
                cure="train in turn: --mode=in_turn",
            )
        order_of = data.make_orders(keys, first.plan)
        return data.make_feed(examples, order_of=order_of, plan=first.plan, shardings=shardings)

    def step_fn(states: TrainState, *fed: Any, num_steps: int) -> Any:  # noqa: ANN401
        given = jitted(states, hyper, extract, *fed, num_steps=num_steps)
        return distributed.in_step(given, mesh)

    return CompiledRun(
        state=vmapped.stack([setup.state for setup in setups], mesh),
        plan=first.plan,
        step_fn=step_fn,
        make_feed=make_feed,
    )


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
            "l1_weight": objective.l1,
            "bce_weight": objective.bce,
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
    """Return the members of smallest loss, and how many failed, in Markdown.

    Losses compare within one weighting of the terms only, so each has a table of its own.
    """
    parts = []
    for weights in dict.fromkeys(_weights(member) for member, _ in results):
        mine = [result for result in results if _weights(result[0]) == weights]
        good = [result for result in mine if result[1].good]
        lines = [f"Objective {weights}:\n", BEST_HEADER]
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


def save_plot(results: Sequence[Result], asked: Grid, path: Path) -> None:
    """Draw the loss of each member against each axis; a series is one weighting of the terms."""
    figure = plots.grid(
        axes={
            ", ".join(axis.names): [
                ", ".join(str(member.values[name]) for name in axis.names) for member, _ in results
            ]
            for axis in asked.axes
        },
        losses=[outcome.losses.get("loss") if outcome.good else None for _, outcome in results],
        title=f"{len(results)} runs",
        series=[_weights(member) for member, _ in results],
    )
    plots.save(figure, path)


def _weights(member: GridMember) -> str:
    weights = member.config.objective.weights
    return " + ".join(f"{weight:g} {name}" for name, weight in weights.items())
