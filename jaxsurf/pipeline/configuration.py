"""The configuration of a run: typed, printable, comparable.

Every part is the frozen dataclass of the module that uses it; here they are put together, turned
into JSON and back, and compared when a run resumes.
"""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxsurf.errors import UserError
from jaxsurf.images import sources
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold.graph_config import GraphConfig
from jaxsurf.models.autoencoder import ModelConfig
from jaxsurf.pipeline import setting_values
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
    "objective.feature_cache_mib",
)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images.

    Attributes:
        source: what `images.sources.open_images` takes: `arm`, `mpi3d_toy`, `tfds:NAME`, a folder,
            an array file.
        path: where the source's files are, if it needs any.
        fixed: values of the factors that are held.
        free: factors that vary; with `fixed` empty too, the source's own default slice.
        stride: keeps every stride-th value of each free factor that takes at least 4 * stride.
        side: resize to this side; 0 leaves images as they are.
    """

    source: str = "arm"
    path: str = ""
    fixed: Mapping[str, int | float | str] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    stride: int = 1
    side: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "free", tuple(self.free))
        if self.stride < 1:
            raise UserError(
                f"data.stride is {self.stride}, but must be at least 1", cure="1 keeps all images"
            )
        if self.side < 0:
            raise UserError(f"data.side is {self.side}, but must not be negative")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a trained model depends on, and how its graph is built by default."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    corruption: CorruptionConfig = field(default_factory=CorruptionConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)


def open_data(config: DataConfig) -> ImageSet:
    """Return the images that a configuration names.

    Raises:
        UserError: they can't be opened.
    """
    return sources.open_images(
        config.source,
        path=config.path,
        fixed=config.fixed,
        free=config.free,
        stride=config.stride,
        side=config.side or None,
    )


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return a configuration as nested dicts of JSON values."""
    nested = dataclasses.asdict(config)
    nested["data"]["free"] = list(config.data.free)
    return nested


def names() -> tuple[str, ...]:
    """Return the dotted name of every setting."""
    sections = to_dict(RunConfig())
    return tuple(f"{section}.{name}" for section, values in sections.items() for name in values)


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that nested dicts describe; what is left out has its default.

    Raises:
        UserError: a key is unknown, or a value is of the wrong type or out of range.
    """
    sections = {item.name: item for item in dataclasses.fields(RunConfig)}
    _refuse_unknown(values, sections, prefix="config")
    return RunConfig(
        **{
            name: _section(sections[name].type, part, prefix=f"config.{name}")
            for name, part in values.items()
        }
    )


def from_dotted(settings: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of settings by dotted name; what is left out has its default.

    Raises:
        UserError: as `from_dict` does.
    """
    return from_dict(nested(settings))


def nested(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return settings by dotted name as sections."""
    sections: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        section, _, setting = name.partition(".")
        sections.setdefault(section, {})[setting] = value
    return sections


def lasting(config: RunConfig, epochs: int) -> RunConfig:
    """Return the same run with so many epochs; the learning rate falls at the same shares."""
    falls = config.training.num_epochs / config.optimizer.step_epochs
    return dataclasses.replace(
        config,
        training=dataclasses.replace(config.training, num_epochs=epochs),
        optimizer=dataclasses.replace(config.optimizer, step_epochs=max(1, round(epochs / falls))),
    )


def differences(old: RunConfig, new: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Return the settings whose change would change the result: dotted name -> both values."""
    before, after = decisive(old), decisive(new)
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }


def decisive(config: RunConfig) -> dict[str, Any]:
    """Return the settings that a trained model depends on, by dotted name."""
    return {
        name: value
        for name, value in flat(to_dict(config)).items()
        if not name.startswith(FREE_TO_CHANGE)
    }


def _section(kind: Any, values: Mapping[str, Any], *, prefix: str) -> Any:  # noqa: ANN401  (any dataclass)
    """Return one part; its class is only known at run time."""
    if not isinstance(values, Mapping):
        raise UserError(f"{prefix} is {values!r}, but must be a group of settings")
    hints = typing.get_type_hints(kind)
    _refuse_unknown(values, hints, prefix=prefix)
    return kind(
        **{
            name: setting_values.typed(value, hints[name], name=f"{prefix}.{name}")
            for name, value in values.items()
        }
    )


def _refuse_unknown(values: Mapping[str, Any], known: Mapping[str, Any], *, prefix: str) -> None:
    for name in values:
        if name not in known:
            raise UserError(
                f"{prefix}.{name} is not a setting", cure=f"choose from {', '.join(known)}"
            )


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted name."""
    found: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found
