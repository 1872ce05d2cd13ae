"""Flags -> typed config -> call; a user's error becomes its line and an exit status.

Exit status: 0 all went well; 1 a user's error; 2 flags or a configuration file that can't be read;
128 + n when signal n asked to stop:
143 for SIGTERM, 130 for SIGINT. Then what was done is saved, and the same command goes on from
there (`jaxsurf.stopping`).
"""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import jax
from absl import app, flags
from absl import logging as absl_logging

from jaxsurf import stopping
from jaxsurf.errors import Interrupted, UserError
from jaxsurf.images import storage
from jaxsurf.models import cpu_kernels
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.command import complaints, options
from jaxsurf.stopping import Stopped
from jaxsurf.training import distributed

USER_ERROR, USAGE_ERROR = 1, 2


def run(main: Callable[[], object]) -> None:
    """Parse flags, call `main`, write what it returns to standard output, and exit."""
    _prepare()
    _fill_in(sys.argv)
    app.run(lambda argv: _end(main, argv), flags_parser=_parse)


def _prepare() -> None:
    """Make ready what works beneath: allocator, compiler and its cache, what libraries say."""
    cpu_kernels.configure()
    absl_logging.set_verbosity(absl_logging.ERROR)  # until flags are parsed
    sys.unraisablehook, sys.excepthook = _show_unraisable, _show
    speaker = logging.getLogger("jaxsurf")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    speaker.addHandler(handler)
    speaker.setLevel(logging.INFO)
    speaker.propagate = False
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(storage.cache_folder() / "compiled"))
        # A new model compiles hundreds of small programs: six seconds, or one from the cache.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _show_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Show an error that no caller can be told of, but for what libraries leave behind.

    A request to stop that came in a destructor, where nothing can be raised, is made once more.
    """
    if isinstance(unraisable.exc_value, Stopped):
        stopping.ask_again(unraisable.exc_value.signal)
        return
    # A progress bar that a signal kept from being made whole fails when it is taken down.
    half_made = getattr(unraisable.object, "__qualname__", "") == "tqdm.__del__"
    if not half_made and not _is_late_write(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an error that nobody took, but for what tensorstore leaves behind."""
    if not _is_late_write(error):
        sys.__excepthook__(kind, error, trace)


def _is_late_write(error: BaseException | None) -> bool:
    """Return whether an error is one of tensorstore's threads, which print it in either way.

    Where saving a checkpoint fails, some of its writes end after the loop that waited for them, and
    each would print a traceback beside the line that says what happened.
    """
    return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"


def _fill_in(argv: list[str]) -> None:
    """Add to a command line the files of settings that it leaves to their defaults."""
    configs = Path(argv[0]).absolute().parents[1] / "configs"
    for name, default in options.config_defaults.items():
        if default and complaints.config_file(argv, name) is None:
            argv.insert(1, f"--{name}={configs / default}")


def _parse(argv: Sequence[str]) -> list[str]:
    """Parse flags; whatever is wrong with them ends in one line, also inside a config file."""
    try:
        for name in options.config_defaults:
            complaints.check_config_file(argv, name)
            complaints.check_settings(argv, configuration.names(), name)
        rest = flags.FLAGS(list(argv))
    except UserError as error:
        _leave(str(error))
    except flags.Error as error:
        if error.__context__ is not None and "config file" in str(error):
            _leave(complaints.of_config_file(argv, error, tuple(options.config_defaults)))
        _leave(complaints.in_plain_words(str(error)))
    # A config file is Python and may raise anything at all.
    except Exception as error:  # noqa: BLE001
        _leave(complaints.of_config_file(argv, error, tuple(options.config_defaults)))
    if len(rest) > 1:
        _leave(f"unexpected argument {rest[1]!r}; flags look like --name=value")
    absl_logging.set_verbosity(absl_logging.WARNING)
    return rest


def _status(main: Callable[[], object], argv: Sequence[str]) -> int:
    """Return the exit status of `main`, having written what there is to say."""
    del argv
    status, line = 0, ""
    try:
        with stopping.watched(), _seen_through():
            result = main()
    except UserError as error:
        status, line = USER_ERROR, f"error: {error}"
    except PermissionError as error:
        cure = "change its permissions or name another place"
        status, line = USER_ERROR, f"error: {error.filename}: {error.strerror}; {cure}"
    except Interrupted as error:
        status = stopping.exit_status(error.signal)
        line = f"{error}; the state is saved: the same command goes on from there"
    except Stopped as error:
        status, line = stopping.exit_status(error.signal), f"{error}; what was finished is kept"
    else:
        if result is not None:
            sys.stdout.write(f"{result}\n")
    # Here the exception is gone, and with it what it kept alive, such as a progress bar that was
    # being made: that has had its last word, and the last line is ours.
    if line:
        sys.stderr.write(f"{line}\n")
    return status


@contextlib.contextmanager
def _seen_through() -> Iterator[None]:
    """Raise `Stopped` where it came inside a function that compiled code had called.

    If that code goes on as though nothing was raised, the interpreter makes a `SystemError` of it.
    """
    try:
        yield
    except SystemError as error:
        if not (number := _request_behind(error)):
            raise
        raise Stopped(number) from None


def _request_behind(error: BaseException | None) -> int:
    """Return the signal that an error comes from, or 0."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__cause__
    return error.signal if error is not None else 0


def _end(main: Callable[[], object], argv: Sequence[str]) -> NoReturn:
    """Call `main` and exit; where other processes of a run still go on, not waiting for them."""
    try:
        status = _status(main, argv)
    except Exception:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        status = 1
    if jax.distributed.is_initialized():
        distributed.leave(status)
    sys.exit(status)


def _leave(line: str) -> NoReturn:
    sys.stderr.write(f"error: {' '.join(line.split())}\n")
    sys.exit(USAGE_ERROR)
