"""What a setting is given as, on a command line or in a file -> what its type asks for."""

import typing
from collections.abc import Mapping, Sequence
from typing import Any

from jaxsurf.errors import UserError


def typed(value: Any, hint: Any, *, name: str) -> Any:  # noqa: ANN401  (unchecked input)
    """Return a value as its type asks, or say what it should be."""
    origin = typing.get_origin(hint)
    if origin is tuple:
        return _names(value, name=name)
    if origin is Mapping:
        weighed = typing.get_args(hint)[1] is float
        return _assignments(value, name=name, usual=1.0 if weighed else None)
    if origin is typing.Literal:
        return value  # its dataclass names the choices
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UserError(f"{name} is {value!r}, but must be of type {hint.__name__}")
    return value


def _names(value: Any, *, name: str) -> tuple[str, ...]:  # noqa: ANN401  (unchecked input)
    """Return names given as a list, or as a text with commas as the command line has it."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Sequence) or not all(isinstance(part, str) for part in parts):
        raise UserError(f"{name} is {value!r}, but must be names with commas between")
    return tuple(part.strip() for part in parts if part.strip())


def _assignments(
    value: Any,  # noqa: ANN401  (unchecked input)
    *,
    name: str,
    usual: float | None,
) -> dict[str, int | float | str]:
    """Return values by name, given as a mapping or as a text such as `size=1,color=white`.

    A name without a value has the usual one, if there is one.
    """
    if isinstance(value, Mapping):
        return dict(value)
    assigned: dict[str, int | float | str] = {}
    for part in _names(value, name=name):
        key, equals, text = part.partition("=")
        if not equals and usual is not None:
            assigned[key] = usual
            continue
        if not equals or not key or not text:
            raise UserError(f"{name} has {part!r}, but must be like factor=value,factor=value")
        assigned[key.strip()] = _number(text.strip())
    return assigned


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
