"""What a user did wrong, and a request to stop: what a command reports in one line."""

import math
import signal
from collections.abc import Collection


class UserError(Exception):
    """A mistake of the user's, or of the user's files: one line that names cause and cure.

    Launch scripts print the line on standard error and end with status 1, without a traceback.
    Anything else that is raised is a defect of jaxsurf.
    """

    def __init__(self, cause: str, *, cure: str = "") -> None:
        line = f"{cause}; {cure}" if cure else cause
        super().__init__(printable(" ".join(line.split())))


def printable(text: str) -> str:
    r"""Return a text of one line as it can be printed and kept: names of files may hold any bytes.

    `caf\xe9.png` is one whose name is not UTF-8.
    """
    return "".join(map(_printable, text))


def _printable(one: str) -> str:
    if one.isprintable():
        return one
    byte = ord(one) - 0xDC00  # how Python holds bytes of names that are not UTF-8
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else one.encode("unicode_escape").decode()


def check_choice(name: str, value: object, known: Collection[str]) -> None:
    """Refuse a value that is none of the known ones."""
    if value not in known:
        raise UserError(f"{name} {value!r} is not known", cure=f"use one of: {', '.join(known)}")


def check_least(name: str, value: float, least: float) -> None:
    """Refuse a number below the least one, and one that is not finite."""
    if not least <= value < math.inf:
        raise UserError(f"{name} is {value}, but must be at least {least}, and finite")


class Interrupted(Exception):  # noqa: N818  (it says what happened)
    """A signal asked to stop; the state is saved, and the same command goes on from there."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number
