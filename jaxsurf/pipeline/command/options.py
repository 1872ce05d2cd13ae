"""Flags that launch scripts share, and what reads them as typed values."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from jaxsurf.errors import UserError
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline import grid as grids
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.grid import Axis, Grid
from jaxsurf.training.distributed import Cluster

# Flags that name a file of settings, and which of `configs/` is read where one isn't given.
config_defaults: dict[str, str] = {}

# What is defined here belongs to the script that asked for it, so that its --help shows it.
flags.disclaim_key_flags()


def make_config(changes: Mapping[str, object]) -> ConfigDict:
    """Return all settings for a file of `configs/`: the defaults, with some changed.

    Lists and mappings are texts, so that flags can set them: `data.free` is "name,name",
    `data.fixed` "name=value,name=value".

    Args:
        changes: values by dotted name, such as "model.latent_dim".
    """
    nested = configuration.to_dict(RunConfig())
    nested["data"] |= {"fixed": "", "free": ""}
    layers = nested["objective"]["layers"].items()
    nested["objective"]["layers"] = ",".join(f"{name}={weight}" for name, weight in layers)
    config = ConfigDict(nested)
    config.update_from_flattened_dict(dict(changes))
    return config.lock()


def define_config(name: str = "config", default: str = "") -> Callable[[], RunConfig]:
    """Define `--config`, a file of `configs/` whose settings further flags may change.

    Args:
        name: of the flag.
        default: file in `configs/` that is read where the flag isn't given.
    """
    shown = f" [configs/{default}]" if default else ""
    # Without its own default, which would be read now, before a mistake can be answered.
    holder = config_flags.DEFINE_config_file(
        name, None, f"File with the settings; --{name}.section.name=value changes one{shown}."
    )
    flags.declare_key_flag(name)
    config_defaults[name] = default
    return lambda: configuration.from_dict(_nested(holder.value))


def define_grid() -> Callable[[], Grid]:
    """Define `--config`, a file whose settings are those of a grid; return what reads it."""
    holder = config_flags.DEFINE_config_file(
        "config", None, "File with a grid of settings, such as configs/tiny_grid.py."
    )
    flags.declare_key_flag("config")
    config_defaults["config"] = ""

    def grid() -> Grid:
        nested = _nested(holder.value)
        if "grid" not in nested:
            raise UserError(
                "the file of --config holds no grid", cure="take configs/tiny_grid.py for example"
            )
        axes = tuple(Axis(names, values) for names, values in nested.pop("grid"))
        changed = config_flags.get_override_values(flags.FLAGS["config"])
        idle = [name for axis in axes for name in axis.names if name in changed]
        if idle:
            raise UserError(
                f"--config.{idle[0]} has no effect: the grid has an axis over it",
                cure="change the values in the file of --config",
            )
        return Grid(nested, axes)

    return grid


def make_grid(changes: Mapping[str, object], axes: Mapping[str, Sequence[object]]) -> ConfigDict:
    """Return a grid of runs for a file of `configs/`: `make_config`, with axes on top.

    Args:
        changes: values by dotted name that all runs share.
        axes: the values that a setting takes, by dotted name. Settings that change together are
            named with commas between, and have tuples of values.
    """
    config = make_config(changes)
    with config.unlocked():
        made = grids.make_grid({}, axes).axes
        config.grid = tuple((axis.names, axis.values) for axis in made)
    return config.lock()


def define_workdir(default: str | None = None) -> Callable[[], Path]:
    """Define `--workdir`, which has to be given if there is no default; return what reads it."""
    return _define_folder("workdir", default, "Folder of the run: all files go there.")


def define_out() -> Callable[[], Path]:
    """Define `--out`, which has to be given; return what reads it."""
    return _define_folder("out", None, "Folder that the files go to.")


def _define_folder(name: str, default: str | None, text: str) -> Callable[[], Path]:
    holder = flags.DEFINE_string(name, default, text)
    if default is None:
        flags.mark_flag_as_required(name)

    def folder() -> Path:
        if not holder.value:
            raise UserError(f"--{name} is empty", cure="name a folder; `.` is the current one")
        return Path(holder.value)

    return folder


def define_cluster() -> Callable[[], Cluster | None]:
    """Define `--distributed` and what belongs to it; return what reads them, None without it."""
    wanted = flags.DEFINE_bool(
        "distributed", False, "Be one of several processes that train together."
    )
    coordinator = flags.DEFINE_string(
        "coordinator", "", "HOST:PORT of process 0; where it is missing, the cluster tells."
    )
    number = flags.DEFINE_integer("num_processes", 0, "Number of processes.")
    process = flags.DEFINE_integer("process_id", -1, "Which of them this is, from 0.")

    def cluster() -> Cluster | None:
        told = Cluster(
            coordinator=coordinator.value or "",
            num_processes=number.value or 0,
            process_id=-1 if process.value is None else process.value,
        )
        if wanted.value:
            return told
        if told != Cluster():
            raise UserError(
                "--coordinator, --num_processes and --process_id mean nothing without "
                "--distributed",
                cure="add --distributed",
            )
        return None

    return cluster


def define_checkpoint() -> Callable[[], str]:
    """Define `--checkpoint`; return what reads it."""
    holder = flags.DEFINE_string(
        "checkpoint", "last", "Which weights: last, best (the lowest loss), or a step's."
    )
    return lambda: str(holder.value)


def define_numbers(name: str, default: Sequence[int], text: str) -> Callable[[], tuple[int, ...]]:
    """Define a flag that takes whole numbers with commas between; return what reads them."""
    holder = flags.DEFINE_list(name, [str(number) for number in default], text)

    def numbers() -> tuple[int, ...]:
        try:
            return tuple(int(part) for part in holder.value or ())
        except ValueError as error:
            raise UserError(
                f"--{name} is {','.join(holder.value or ())}", cure="give whole numbers: 0,1,2"
            ) from error

    return numbers


def _nested(config: ConfigDict | None) -> dict[str, Any]:
    """Return the settings of `--config` as nested dicts; refuse a file that makes none."""
    if config is None:
        raise UserError(
            "--config is missing, or get_config() in its file returns nothing",
            cure="for example --config=configs/arm.py, or configs/tiny_grid.py for a sweep",
        )
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"get_config() in the file of --config returned {type(config).__name__}",
            cure="return a ConfigDict, as options.make_config makes it",
        )
    return config.to_dict()
