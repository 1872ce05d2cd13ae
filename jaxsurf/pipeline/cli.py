"""Command lines: flags and settings in, one call, an exit status out.

A script of `launch/` defines flags with what stands here and hands `run` a function. Exit status:
0 all went well; 1 a user's error; 2 a command line or a file of settings that can't be read; 130
and 143 stopped by SIGINT and SIGTERM. A user's mistake ends in one line on standard error, before
what takes long is imported.
"""

import atexit
import ctypes
import gc
import inspect
import io
import logging
import os
import re
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, cast, get_args, get_origin, get_type_hints

from absl import flags
from ml_collections import ConfigDict, config_flags

from jaxsurf.errors import Interrupted, UserError, printable
from jaxsurf.manifold.graph import KINDS, GraphConfig

# Flags that name a file of settings: the file in `configs/` that is read where one isn't given, and
# what holds the settings.
_config_files: dict[str, tuple[str, flags.FlagHolder[Any]]] = {}

_makers = {
    bool: flags.DEFINE_bool,
    float: flags.DEFINE_float,
    int: flags.DEFINE_integer,
    str: flags.DEFINE_string,
}

# With the beginnings of jax's versions that know each: XLA ends the process otherwise.
XLA_FLAGS = {
    # By default XLA hands convolutions to YNNPACK, which computes them in one thread. Products and
    # sums stay with it: it uses all cores for them.
    "--xla_cpu_experimental_ynn_fusion_type=individual_dot,reduce": ("0.10.",),
    # By default some kernels add up in the order of the moment, and all are chosen by how long they
    # took when a program was compiled, so that a resumed run would end otherwise.
    "--xla_gpu_deterministic_ops=true": ("0.10.", "0.11.", "0.12."),
}
# Parameters of malloc.h with their values.
MALLOC = {"mmap threshold": (-3, 2**30), "trim threshold": (-1, 2**31 - 1), "most arenas": (-8, 1)}

# Imports make a million objects that stay; looking for garbage among them takes a fifth longer.
gc.set_threshold(100_000)

# What is defined here belongs to the script that asked for it, so that its --help shows it.
flags.disclaim_key_flags()


def run(main: Callable[[], object]) -> NoReturn:
    """Parse flags, call `main`, write what it returns to standard output, and exit."""
    atexit.register(gc.freeze)  # spares a walk over a million objects: half a second
    if {"-h", "-help", "--help", "--helpfull", "--helpshort"}.intersection(sys.argv):
        sys.stdout.write(describe())
        sys.exit()
    status, line = 2, ""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be in no encoding at all
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _parse(sys.argv)
        _prepare()
        status = 1
        result = main()
        for said in () if result is None else str(result).split("\n"):
            sys.stdout.write(f"{printable(said)}\n")
        status = 0
    except (UserError, PermissionError) as error:
        line = f"error: {error}"
    except Interrupted as error:
        status = 128 + error.signal
        line = f"{error}; the state is saved: the same command goes on from there"
    except KeyboardInterrupt:
        status, line = 128 + signal.SIGINT, "stopped by SIGINT; what was finished is kept"
    except Exception:  # noqa: BLE001  (a defect, shown as the interpreter would)
        line = traceback.format_exc().rstrip()
    sys.stderr.write(f"{line}\n" if line else "")
    if (jax := sys.modules.get("jax")) and jax.distributed.is_initialized():
        from jaxsurf.training import distributed

        distributed.leave(status)  # others of the run may still go on
    sys.exit(status)


def _parse(argv: list[str]) -> None:
    for name, (default, _) in _config_files.items():
        if default and not any(re.match(rf"--?{name}(=|$)", each) for each in argv):
            configs = Path(argv[0]).absolute().parents[1] / "configs"
            argv.insert(1, f"--{name}={configs / default}")
    try:
        rest = flags.FLAGS(argv)
        for name, (_, holder) in _config_files.items():
            if not hasattr(holder.value, "get"):  # raises what reading the file did
                cure = "return cli.make_config(...)"
                raise UserError(f"get_config() of --{name} returns no settings", cure=cure)
    # A file of settings is Python and may raise anything at all.
    except Exception as error:
        raise UserError(_explain(error, argv)) from error
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}", cure="flags look like --name=value")


def _explain(error: BaseException, argv: Sequence[str]) -> str:
    """Return the message of an error; of one that a file of settings raised, its line too."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    files = {str(Path(each.rpartition("=")[2].partition(":")[0]).absolute()) for each in argv}
    for each in reversed(chain):
        for frame in reversed(traceback.extract_tb(each.__traceback__)):
            if str(Path(frame.filename).absolute()) in files and not isinstance(each, UserError):
                return f"{frame.filename}, line {frame.lineno}: {type(each).__name__}: {each}"
    where, is_file, _ = str(error).partition("Error whilst parsing config file")
    if is_file:  # which has a whole traceback behind it
        return f"{where}{type(chain[-1]).__name__}: {chain[-1]}"
    if isinstance(error, OSError):
        return "the file of settings can't be read: " + re.sub(r"(?s).*(?=\[Errno)", "", str(error))
    return f"no setting {chain[:2][-1].args[0]}" if type(chain[-1]) is KeyError else str(error)


def _prepare() -> None:
    configure_process()
    import jax

    from jaxsurf.images import storage

    # Where saving fails, threads of tensorstore's end later, in tracebacks beside the one line.
    late = "Event loop is closed"
    sys.unraisablehook = lambda e: str(e.exc_value) == late or sys.__unraisablehook__(e)
    sys.excepthook = lambda *it: str(it[1]) == late or sys.__excepthook__(*it)
    logging.basicConfig(format="%(message)s", force=True)  # libraries did it before
    logging.getLogger("jaxsurf").setLevel(logging.INFO)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(storage.cache_folder() / "compiled"))
        # A new model compiles hundreds of small programs: six seconds, or one from the cache.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def configure_process() -> None:
    """Give XLA its flags and have the allocator keep freed memory, before JAX uses a device.

    What the user has chosen in XLA_FLAGS stays.
    """
    import jax

    chosen = os.environ.get("XLA_FLAGS", "")
    for flag, versions in XLA_FLAGS.items():
        if jax.__version__.startswith(versions) and flag.partition("=")[0] not in chosen:
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    # XLA takes a step's scratch memory anew at every call. What is larger than 32 MiB glibc gives
    # back each time, and the system clears it page by page when it is asked for again: a third to a
    # half of a step of `reference`. Blocks above 1 GiB, such as whole sets of images, it still
    # gives back. One arena for all threads, since a heap of a thread's own ends at 64 MiB.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in MALLOC.values():
            mallopt(parameter, value)


def describe() -> str:
    """Return what `--help` prints: what the script is for, its flags, and settings if any."""
    lines = [sys.modules["__main__"].__doc__ or "", flags.FLAGS.main_module_help()]
    if _config_files:
        from jaxsurf.pipeline.configuration import RunConfig

        changed = " or ".join(f"--{name}.NAME=VALUE" for name in _config_files)
        lines.append(f"\n\nSettings, each changed by {changed}:\n")
        defaults = make_config({}).to_dict()
        for section in fields(RunConfig):
            for name, meaning in attributes(cast(type, section.type)).items():
                first, *rest = textwrap.wrap(meaning, 60)
                setting, default = f"{section.name}.{name}", defaults[section.name][name]
                lines.append(f"  {setting:27} {default!s:11} {first}")
                lines += [f"{'':42}{line}" for line in rest]
    return "\n".join(lines) + "\n"


def attributes(kind: type) -> dict[str, str]:
    """Return what each attribute of a class means, from its docstring and those of its bases."""
    docs = [inspect.cleandoc(each.__doc__ or "") for each in kind.__mro__]
    text = "\n".join(doc.partition("Attributes:\n")[2] for doc in docs)
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    meanings = {name: " ".join(text.split()) for name, text in found}
    return {name: text[0].upper() + text[1:] for name, text in meanings.items()}


def make_config(
    changes: Mapping[str, object], axes: Mapping[str, Sequence[object]] | None = None
) -> ConfigDict:
    """Return all settings for a file of `configs/`: the defaults, with some changed by dotted name.

    Lists and mappings are texts, so that flags can set them: `data.free` is "name,name",
    `data.fixed` "name=value,name=value". No flag can set what a grid's axes change.
    """
    from jaxsurf.pipeline import configuration

    nested = configuration.to_dict(configuration.RunConfig())
    nested["data"] |= {"fixed": "", "free": "", "show": ""}
    layers = nested["objective"]["layers"].items()
    nested["objective"]["layers"] = ",".join(f"{name}={weight}" for name, weight in layers)
    config: Any = ConfigDict(nested)
    config.update_from_flattened_dict(dict(changes))
    if axes:
        config.grid = axes.items()
        for section, _, name in (name.partition(".") for name in ",".join(axes).split(",")):
            if name in config.get(section, ()):
                del config[section][name]
    return config.lock()


def define_config(name: str = "config", default: str = "") -> Callable[[], dict[str, Any]]:
    """Define `--config`, a file of settings; return what reads them as nested dicts.

    Where the flag isn't given, the default in `configs/` is read.
    """
    shown = f"such as configs/{default or 'arm.py'}{' (the default)' * bool(default)}"
    # Without its own default, which would be read now, before a mistake can be reported.
    holder = config_flags.DEFINE_config_file(name, None, f"File with the settings, {shown}.")
    flags.declare_key_flag(name)
    _config_files[name] = default, holder
    if not default:
        flags.mark_flag_as_required(name)

    return lambda: cast(ConfigDict, holder.value).to_dict()


def define_string(name: str, default: str | None = None) -> flags.FlagHolder[str]:
    """Define `--workdir` or such, which has to be given if it has no default."""
    texts = {
        "workdir": "Folder of the run: all files go there.",
        "out": "Folder that the files go to.",
        "data": "Where the images are now, if they were moved after training.",
        "checkpoint": "Which weights: last, best (the lowest loss), or a step's.",
    }
    required = default is None and name != "data"
    holder = flags.DEFINE_string(name, default, texts[name], required=required)
    flags.register_validator(name, lambda text: text != "", "is empty; `.` is the current folder")
    return cast("flags.FlagHolder[str]", holder)


class _TupleParser(flags.ArgumentParser):
    """Reads values with commas between, or semicolons where values hold commas."""

    def __init__(self, kind: Callable[[str], object]) -> None:
        self.kind = kind

    def parse(self, argument: str) -> tuple[object, ...]:
        words = argument.split(";" if ";" in argument else ",")
        return tuple(self.kind(word.strip()) for word in words if word.strip())


def define_fields(
    kind: type, /, *, defaults: bool = True, exclusive: Sequence[str] = (), **renamed: str
) -> Callable[[], dict[str, Any]]:
    """Define a flag for each field of a class of settings, of the field's type and meaning.

    Fields that are themselves of such a class are left out; `exclusive` are flags of which one at
    most may be given, `renamed` those of another name than their field's. Returned is what reads
    the values that are given, by the fields' names.
    """
    hints, meanings = get_type_hints(kind), attributes(kind)
    holders: dict[str, flags.FlagHolder[Any]] = {}
    for item in fields(kind):
        hint, required = hints[item.name], item.default is MISSING
        first, *_ = get_args(hint) or (hint,)
        if is_dataclass(first):
            continue
        choice = next((each for each in (hint, first) if get_origin(each) is Literal), None)
        name, text = renamed.get(item.name, item.name), meanings[item.name]
        if defaults and not required and item.default:
            words = item.default if isinstance(item.default, tuple) else [item.default]
            text += f" [{','.join(map(str, words))}]"
        if choice:
            holders[item.name] = flags.DEFINE_enum(name, None, get_args(choice), text)
        elif get_origin(hint) is tuple:
            holders[item.name] = flags.DEFINE(_TupleParser(first), name, None, text)
        else:
            holders[item.name] = _makers[first](name, None, text, required=required)
    if exclusive:
        flags.mark_flags_as_mutual_exclusive(list(exclusive))
    return lambda: {n: holder.value for n, holder in holders.items() if holder.value is not None}


def define_graph() -> Callable[[GraphConfig], GraphConfig | None]:
    """Define `--graph`, a graph's kind, and its other fields; return what reads another graph.

    It takes the usual one, which the flags change; a kind, or what its kind does not need but
    another one does, begins a new one, of which the weight alone is the usual one's.
    """
    read = define_fields(GraphConfig, kind="graph", defaults=False)

    def graph(usual: GraphConfig) -> GraphConfig | None:
        given = read()
        meant = [name for name, kind in KINDS.items() if kind.setting in given]
        if "kind" in given or (meant and usual.kind not in meant):
            new: dict[str, Any] = {"kind": [*meant, ""][0], "weight": usual.weight}
            return GraphConfig(**new | given)
        if given.get("spanning_tree") and "repair" not in given:
            usual = replace(usual, repair=False)  # the tree connects as well
        return replace(usual, **given) if given else None

    return graph
