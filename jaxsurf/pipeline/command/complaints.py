"""What is wrong with a command line, in plain words.

Flag libraries say it in terms of their own; here it is found out or said again in the user's.
"""

import difflib
import re
import traceback
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from jaxsurf.errors import UserError

# What absl says, and what it means.
PLAIN = (
    (
        r"Unknown command line flag '([^']*)'\. Did you mean: (.*?) \?",
        r"there is no flag --\1; did you mean --\2?",
    ),
    (r"Unknown command line flag '([^']*)'\.?", r"there is no flag --\1; see --help"),
    (r"Missing value for flag (\S+)", r"\1 has no value; give \1=..."),
    (r"flag (--[^=]+)=(.*): invalid literal for int.*", r"\1 is '\2', but must be a whole number"),
    (
        r"flag (--[^=]+)=(.*): could not convert string to float.*",
        r"\1 is '\2', but must be a number",
    ),
    (r"flag (--[^=]+)=(.*): value should be one of <(.*)>", r"\1 is '\2', but must be one of \3"),
)


def in_plain_words(message: str) -> str:
    """Return what absl says of a flag in the user's terms; as it is where it isn't known."""
    line = " ".join(message.split())
    missing = re.findall(r"flag (--\w+)=None: Flag --\w+ must have a value other than None", line)
    if missing:
        several = " are" if len(missing) > 1 else " is"
        return f"{', '.join(missing)}{several} missing; see --help"
    for pattern, meaning in PLAIN:
        match = re.fullmatch(pattern, line)
        if match:
            return match.expand(meaning).replace("|", ", ")
    return line


def check_settings(arguments: Sequence[str], known: Collection[str], flag: str) -> None:
    """Refuse settings on the command line, `--config.section.name=value`, that there are not.

    Args:
        arguments: the command line.
        known: dotted names of all settings.
        flag: `config`, or another flag that names a file of settings.

    Raises:
        UserError: one is not known; the message names what is like it.
    """
    for argument in arguments:
        match = re.match(rf"--?{flag}\.([^=]*)", argument)
        if match and match[1] not in known:
            raise _unknown(match[1], known, flag)


def check_config_file(arguments: Sequence[str], flag: str) -> None:
    """Refuse a `--config` (or another flag for settings) that names no file.

    Raises:
        UserError: there is no such file.
    """
    path = config_file(arguments, flag)
    if path is not None and not path.is_file():
        raise UserError(
            f"--{flag}={path} is {'a folder' if path.is_dir() else 'no file'}",
            cure="give a file with settings, such as configs/arm.py",
        )


def of_config_file(
    arguments: Sequence[str], error: BaseException, flags: Sequence[str] = ("config",)
) -> str:
    """Return what is wrong inside a configuration file, and where.

    Args:
        arguments: the command line.
        error: what came of reading the file.
        flags: those that name such files; the error is of the one where it was raised.
    """
    chain = list(_causes(error))
    paths = [config_file(arguments, flag) for flag in flags]
    path = next((p for p in paths if any(_line(p, each) for each in chain)), paths[0])
    # What was raised deepest below a line of the file; else, the file couldn't even be run.
    deepest = next((each for each in chain[::-1] if _line(path, each)), chain[-1])
    line = _line(path, deepest)
    where = f"{path}, line {line}" if line else f"{path}"
    reason = str(deepest).strip().split("\n")[0]
    return f"{where}: {type(deepest).__name__}: {reason}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, what caused it, what caused that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _line(path: Path | None, error: BaseException) -> int | None:
    """Return the line of a file at which an error was raised; None if it was elsewhere."""
    if isinstance(error, SyntaxError):
        return error.lineno
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if path is not None and Path(frame.filename).absolute() == path.absolute()
    ]
    return lines[-1] if lines else None


def config_file(arguments: Sequence[str], flag: str) -> Path | None:
    """Return the file that `--config=FILE[:VARIANT]` names last; None if there is none."""
    joined = "\n".join(arguments)
    found = re.findall(rf"^--?{flag}[=\n](.*)$", joined, flags=re.MULTILINE)
    if not found:
        return None
    # A drive's colon is no variant's.
    whole = Path(found[-1])
    return whole if whole.is_file() else Path(found[-1].rpartition(":")[0] or found[-1])


def _unknown(name: str, known: Collection[str], flag: str) -> UserError:
    """Return the error of a setting that there is not."""
    inside = [setting for setting in known if setting.startswith(f"{name}.")]
    if inside:
        return UserError(
            f"--{flag}.{name} is a group of settings",
            cure=f"set one of it: {', '.join(f'--{flag}.{setting}' for setting in inside)}",
        )
    close = difflib.get_close_matches(name, known, n=1)
    section = [setting for setting in known if setting.split(".")[0] == name.split(".")[0]]
    choice = section or sorted({setting.split(".")[0] for setting in known})
    return UserError(
        f"--{flag}.{name} is not a setting",
        cure=f"did you mean --{flag}.{close[0]}?" if close else f"choose from {', '.join(choice)}",
    )
