"""Flags -> typed config -> call; a user's error becomes its line and an exit status.

Exit status: 0 all went well; 1 a user's error; 2 flags or a configuration file that can't be read;
128 + n when signal n asked to stop.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, cast, get_args

import jax
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from jaxsurf.errors import UserError
from jaxsurf.frames.animate import METHODS, Timing
from jaxsurf.images import cache
from jaxsurf.manifold.csr import Weight
from jaxsurf.manifold.graph import GraphConfig, Kind
from jaxsurf.pipeline import complaints, configuration
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.training.hooks import Interrupted

USER_ERROR, USAGE_ERROR = 1, 2

# Flags that name a file of settings, and which of `configs/` is read where one isn't given.
_config_defaults: dict[str, str] = {}

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
    _config_defaults[name] = default
    return lambda: _typed(holder.value)


def define_workdir(default: str | None = None) -> Callable[[], Path]:
    """Define `--workdir`, which has to be given if there is no default; return what reads it."""
    holder = flags.DEFINE_string("workdir", default, "Folder of the run: all files go there.")
    if default is None:
        flags.mark_flag_as_required("workdir")

    def workdir() -> Path:
        if not holder.value:
            raise UserError("--workdir is empty", cure="name a folder; `.` is the current one")
        return Path(holder.value)

    return workdir


def define_methods() -> Callable[[], tuple[str, ...]]:
    """Define `--methods`, and `--method` as another name for it; return what reads them."""
    holder = flags.DEFINE_list("methods", list(METHODS), "Interpolations to compare.")
    flags.DEFINE_alias("method", "methods")
    return lambda: tuple(holder.value or ())


def define_end(name: str) -> Callable[[], str]:
    """Define `--source` or `--target`; return what reads it."""
    holder = flags.DEFINE_string(
        name, None, "Image number, or image file that need not be in the set.", required=True
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


def define_timing() -> Callable[[], Timing]:
    """Define `--frames` and `--points_per_edge`; return what reads them."""
    frames = flags.DEFINE_integer("frames", None, "Exact number of frames, at constant speed.")
    per_edge = flags.DEFINE_integer(
        "points_per_edge", None, "Frames on each edge of the graph path, both ends counted [3]."
    )

    def timing() -> Timing:
        if frames.value is not None and per_edge.value is not None:
            raise UserError("--frames and --points_per_edge exclude each other", cure="drop one")
        given = {} if per_edge.value is None else {"points_per_edge": per_edge.value}
        return Timing(frames=frames.value, **given)

    return timing


def define_graph() -> Callable[[], GraphConfig | None]:
    """Define `--graph` and what belongs to it; return what reads them, None for the run's own."""
    kind = flags.DEFINE_enum("graph", None, get_args(Kind), "Graph to search.")
    k = flags.DEFINE_integer("k", None, "Neighbours of each point, for --graph=knn.")
    radius = flags.DEFINE_float("radius", None, "Largest latent distance, for --graph=radius.")
    weight = flags.DEFINE_enum("weight", None, get_args(Weight), "What an edge costs.")

    def graph() -> GraphConfig | None:
        given = {"k": k.value, "radius": radius.value}
        given = {name: value for name, value in given.items() if value is not None}
        for wanted, flag in (("knn", "k"), ("radius", "radius")):
            if kind.value == wanted and flag not in given:
                raise UserError(f"--graph={wanted} needs --{flag} too", cure=f"add --{flag}=...")
        if kind.value is None and not given and weight.value is None:
            return None
        implied: Kind = "knn" if "k" in given else "radius" if given else "smallest"
        given |= {"weight": weight.value} if weight.value else {}
        return GraphConfig(kind=cast(Kind, kind.value) if kind.value else implied, **given)

    return graph


def run(main: Callable[[], object]) -> None:
    """Parse flags, call `main`, write what it returns to standard output, and exit."""
    _prepare()
    _fill_in(sys.argv)
    app.run(lambda argv: sys.exit(_status(main, argv)), flags_parser=_parse)


def _prepare() -> None:
    """Quiet the libraries, let jaxsurf speak, keep compiled programs from one run to the next."""
    absl_logging.set_verbosity(absl_logging.ERROR)  # until flags are parsed
    speaker = logging.getLogger("jaxsurf")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    speaker.addHandler(handler)
    speaker.setLevel(logging.INFO)
    speaker.propagate = False
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache.default_folder() / "compiled"))
        # A new model compiles hundreds of small programs: six seconds, or one from the cache.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _fill_in(argv: list[str]) -> None:
    """Add to a command line the files of settings that it leaves to their defaults."""
    configs = Path(argv[0]).absolute().parents[1] / "configs"
    for name, default in _config_defaults.items():
        if default and complaints.config_file(argv, name) is None:
            argv.insert(1, f"--{name}={configs / default}")


def _parse(argv: Sequence[str]) -> list[str]:
    """Parse flags; whatever is wrong with them ends in one line, also inside a config file."""
    try:
        for name in _config_defaults:
            complaints.check_config_file(argv, name)
            complaints.check_settings(argv, configuration.names(), name)
        rest = flags.FLAGS(list(argv))
    except UserError as error:
        _leave(str(error))
    except flags.Error as error:
        if error.__context__ is not None and "config file" in str(error):
            _leave(complaints.of_config_file(argv, error, tuple(_config_defaults)))
        _leave(complaints.in_plain_words(str(error)))
    # A config file is Python and may raise anything at all.
    except Exception as error:  # noqa: BLE001
        _leave(complaints.of_config_file(argv, error, tuple(_config_defaults)))
    if len(rest) > 1:
        _leave(f"unexpected argument {rest[1]!r}; flags look like --name=value")
    absl_logging.set_verbosity(absl_logging.WARNING)
    return rest


def _status(main: Callable[[], object], argv: Sequence[str]) -> int:
    """Return the exit status of `main`, having written what there is to say."""
    del argv
    signal.signal(signal.SIGTERM, _terminate)  # training has its own way to stop
    try:
        result = main()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return USER_ERROR
    except PermissionError as error:
        sys.stderr.write(
            f"error: {error.filename}: {error.strerror}; change its permissions "
            "or name another place\n"
        )
        return USER_ERROR
    except Interrupted as error:
        sys.stderr.write(f"{error}; the state is saved: the same command goes on from there\n")
        return 128 + error.signal
    except KeyboardInterrupt as error:
        sys.stderr.write("stopped; what was finished is kept\n")
        return 128 + (signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT)
    if result is not None:
        sys.stdout.write(f"{result}\n")
    return 0


class _Terminated(KeyboardInterrupt):
    """SIGTERM, as an exception: what is half done is tidied up on the way out."""


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise _Terminated


def _leave(line: str) -> NoReturn:
    sys.stderr.write(f"error: {' '.join(line.split())}\n")
    sys.exit(USAGE_ERROR)


def _typed(config: ConfigDict | None) -> RunConfig:
    """Return the typed form of `--config`; refuse a bad setting, or a file that makes none."""
    if config is None:
        raise UserError(
            "--config is missing, or get_config() in its file returns nothing",
            cure="for example --config=configs/arm.py",
        )
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"get_config() in the file of --config returned {type(config).__name__}",
            cure="return a ConfigDict, as command.make_config makes it",
        )
    return configuration.from_dict(config.to_dict())
