"""The configuration of a run: typed, printable, comparable.

Every section is the frozen dataclass of the module that uses it; a setting is added there alone.
Settings come nested by section (JSON), or by dotted name (`model.latent_dim`).
"""

import contextlib
import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dacite

from jaxsurf.errors import UserError, check_least
from jaxsurf.images import files, sources
from jaxsurf.images.image_set import ImageSet, Reading
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.manifold.targets import TargetsConfig
from jaxsurf.models.autoencoder import ModelConfig
from jaxsurf.training.corruption import CorruptionConfig
from jaxsurf.training.data import TrainingConfig
from jaxsurf.training.objective import ObjectiveConfig
from jaxsurf.training.optimizer import OptimizerConfig

# What may change when a run resumes, since it changes no result of training.
FREE_TO_CHANGE = (
    "training.log_every",
    "training.save_every_s",
    "training.keep_",
    "graph.",
    "data.path",
    "data.show",
    "data.skip_unreadable",
    "data.max_pixels",
    "objective.feature_cache_mib",
)


@dataclass(frozen=True, kw_only=True)
class DataConfig(Reading):
    """Which images, and how they are read.

    Attributes:
        source: a name such as `arm`, `loop`, `mpi3d_toy` or `tfds:NAME` (a wrong one lists all), a
            folder of images or an array file.
        path: where the source's files are, if it needs any.
        fixed: values of the factors that are held (`object_color=red,object_size=1`).
        free: factors that vary (`horizontal_axis,vertical_axis`); with `fixed` empty too, the
            source's own default slice.
        stride: keeps every stride-th value of each free factor that takes at least 4 * stride; with
            2, the arm's default slice has 20 x 20 images.
        side: the longer side that images are scaled to; 0 leaves them as they are.
    """

    source: str = "arm"
    path: str = ""
    fixed: Mapping[str, int | float | str] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    stride: int = 1
    side: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "free", tuple(self.free))
        check_least("data.stride", self.stride, 1)
        check_least("data.side", self.side, 0)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a trained model depends on, and how its graph is built by default."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    corruption: CorruptionConfig = field(default_factory=CorruptionConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    targets: TargetsConfig = field(default_factory=TargetsConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)


def open_data(config: DataConfig) -> ImageSet:
    """Return the images that a configuration names."""
    settings: dict[str, Any] = vars(config) | {"side": config.side or None}
    return sources.open_images(**settings)


def resolved(config: DataConfig) -> DataConfig:
    """Return the same data, found from any folder: paths of files are absolute.

    That of a table beside the images, or in their folder, stays relative to them, and moves along.
    """
    own = not sources.is_named(config.source) and config.source not in sources.OWN
    named = ["path", *["source"] * own]
    given = {name: getattr(config, name) for name in named}
    paths = {name: str(Path(path).absolute()) for name, path in given.items() if path}
    if config.factors:
        images = Path(sources.split(paths.get("path") or paths.get("source", ""))[0])
        folder = images if images.is_dir() else images.parent
        table = files.table_of(images, config.factors).absolute()
        beside = table.is_relative_to(folder)
        paths["factors"] = str(table.relative_to(folder) if beside else table)
    return dataclasses.replace(config, **paths)


def moved(config: DataConfig, place: str | Path) -> DataConfig:
    """Return the same data, whose files lie in another place now."""
    if sources.is_named(config.source) or config.source in sources.OWN:
        return dataclasses.replace(config, path=str(place))
    return dataclasses.replace(config, source=str(place), path="")


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return a configuration as nested dicts of JSON values."""
    values = dataclasses.asdict(config)
    values["data"] |= {name: list(getattr(config.data, name)) for name in ("free", "show")}
    return values


def names() -> tuple[str, ...]:
    """Return the dotted name of every setting."""
    sections = to_dict(RunConfig()).items()
    return tuple(f"{section}.{name}" for section, values in sections for name in values)


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that nested dicts describe; what is left out has its default.

    Lists and mappings may be texts, as flags give them: `name,name` and `name=value,name=value`.
    """
    try:
        return dacite.from_dict(RunConfig, values, dacite.Config(strict=True, type_hooks=_READERS))
    except dacite.UnexpectedDataError as error:
        given = {".".join(name.split(".")[:2]) for name in flat(values)}
        unknown = sorted(given - {*names(), *to_dict(RunConfig())})
        raise UserError(
            f"{', '.join(unknown)} is not a setting", cure="launch/train.py --help lists them"
        ) from error
    except dacite.WrongTypeError as error:
        kind, origin = error.field_type, typing.get_origin(error.field_type)
        if origin is typing.Literal:
            wanted = f"one of {', '.join(typing.get_args(kind))}"
        else:
            wanted = _FORMATS.get(origin) or f"of type {kind.__name__}"
        section, _, name = (error.field_path or "").partition(".")
        given = values[section][name] if name else values[section]
        raise UserError(f"config.{error.field_path} is {given!r}, but must be {wanted}") from error


def from_dotted(settings: Mapping[str, Any], base: RunConfig | None = None) -> RunConfig:
    """Return a configuration, by default that of all defaults, with settings by dotted name."""
    sections: dict[str, dict[str, Any]] = to_dict(base) if base else {}
    for name, value in settings.items():
        section, _, setting = name.partition(".")
        sections.setdefault(section, {})[setting] = value
    return from_dict(sections)


def lasting(config: RunConfig, epochs: int) -> RunConfig:
    """Return the same run with so many epochs; the learning rate falls at the same shares."""
    falls = config.training.num_epochs / config.optimizer.step_epochs
    steps = {"optimizer.step_epochs": max(1, round(epochs / falls))}
    return from_dotted({"training.num_epochs": epochs, **steps}, config)


def decisive(config: RunConfig) -> dict[str, Any]:
    """Return the settings that a trained model depends on, by dotted name."""
    every = flat(to_dict(config)).items()
    free = {name for name, _ in every if name.startswith(FREE_TO_CHANGE)}
    if config.objective.perceptual:
        free.discard("data.show")  # features are those of what is shown
    return {name: value for name, value in every if name not in free}


def decisive_text(config: RunConfig, *, but: tuple[str, ...]) -> str:
    """Return the same as one text, without those whose names begin with some."""
    kept = {name: value for name, value in decisive(config).items() if not name.startswith(but)}
    return json.dumps(kept, sort_keys=True)


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted name."""
    found: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


# Readers get what a flag or a file gives, and leave what they can't read for the type check.


def _names(value: Any) -> Any:  # noqa: ANN401
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words):
        return value
    return tuple(word.strip() for word in words if word.strip())


def _numbers(value: Any) -> Any:  # noqa: ANN401
    """Return the whole numbers of a text such as `2,0,1`."""
    words = _names(value)
    if isinstance(value, str) and all(word.isdecimal() for word in words):
        return tuple(map(int, words))
    return tuple(value) if isinstance(value, list) else value


def _assignments(value: Any, usual: float | None = None) -> Any:  # noqa: ANN401
    """Return what a text such as `size=1,color=white` assigns; a bare name has the usual value."""
    if not isinstance(value, str):
        return value
    assigned: dict[str, Any] = {}
    for part in _names(value):
        name, equals, text = (word.strip() for word in part.partition("="))
        if not name or (equals and not text) or (not equals and usual is None):
            return value
        assigned[name] = text if equals else usual
        for kind in (float, int):
            with contextlib.suppress(ValueError):
                assigned[name] = kind(text)
    return assigned


# Truth values are no numbers: as texts they are refused.
_READERS: dict[Any, Any] = {
    int: lambda value: str(value) if isinstance(value, bool) else value,
    float: lambda value: {int: float, bool: str}.get(type(value), lambda other: other)(value),
    tuple[str, ...]: _names,
    tuple[int, ...]: _numbers,
    Mapping[str, float]: functools.partial(_assignments, usual=1.0),
    Mapping[str, int | float | str]: _assignments,
}
_ASSIGNMENTS = "like name=value,name=value"
_FORMATS = {
    tuple: "names with commas between",
    Mapping: _ASSIGNMENTS,
    types.UnionType: _ASSIGNMENTS,  # of a mapping's values; nothing else takes several types
}
