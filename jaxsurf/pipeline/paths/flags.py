"""The flags of `launch/paths.py`, and what reads them."""

from collections.abc import Callable, Sequence
from typing import Any, get_args

from absl import flags

from jaxsurf.errors import UserError
from jaxsurf.manifold import search
from jaxsurf.manifold.edges.trimming import Trimming
from jaxsurf.pipeline.command import options, way_options
from jaxsurf.pipeline.paths.config import GRAPH, Lines, Method, PathsConfig
from jaxsurf.pipeline.paths.sample import Sample

# What is defined here belongs to the script that asked for it, so that its --help shows it.
flags.disclaim_key_flags()


def define() -> Callable[[], PathsConfig]:
    """Define all flags but `--out`; return what reads them."""
    latents = flags.DEFINE_string(
        "latents", None, "File of codes: .npy, .npz, .pkl, .txt or .csv.", required=True
    )
    anchors = flags.DEFINE_list(
        "anchors", [], "Rows, files of rows, code:0.1,-2 or codes:FILE, commas between."
    )
    way = _define_way()
    graph = way_options.define_graph(weights=("latent", "density"), default=GRAPH.weight)
    trimming = _define_trimming()
    speed: Callable[[], dict[str, Any]] = way_options.define_speed(
        "Points on each edge of the way, both ends counted [2, the codes alone; linear, where an "
        "edge leads from anchor to anchor: 6]."
    )
    lines, sample = _define_lines(), _define_sample()

    def config() -> PathsConfig:
        return PathsConfig(
            latents=str(latents.value),
            anchors=tuple(anchors.value or ()),
            graph=graph(),
            trimming=trimming(),
            lines=lines(),
            sample=sample(),
            **way(),
            **speed(),
        )

    return config


def _define_way() -> Callable[[], dict[str, Any]]:
    """Define how to go past anchors; return what reads it."""
    holders = (
        flags.DEFINE_enum(
            "method",
            "surfing",
            get_args(Method),
            "surfing: shortest path in the graph; linear: straight from anchor to anchor; pc: "
            "along principal components.",
        ),
        flags.DEFINE_bool("loop", False, "Go back to the first anchor."),
        flags.DEFINE_enum(
            "order", "given", get_args(search.Order), "Of the anchors; best: the shortest way."
        ),
        flags.DEFINE_bool("snap", False, "Move each point to the nearest code (linear, pc)."),
        flags.DEFINE_float(
            "support_radius", 0.0, "Count the codes that near to each point of the way."
        ),
        flags.DEFINE_bool("verbose", False, "Print every step of the way."),
    )
    return lambda: {holder.name: holder.value for holder in holders}


def _define_trimming() -> Callable[[], Trimming]:
    """Define what edges the graph shall not have; return what reads it."""
    holders = (
        flags.DEFINE_float("max_edge", 0.0, "Leave out longer edges of the graph."),
        flags.DEFINE_float(
            "avg_neighbors", 0.0, "Leave out long edges until points have so many on average."
        ),
    )
    return lambda: Trimming(**{holder.name: float(holder.value or 0) for holder in holders})


def _define_lines() -> Callable[[], Lines]:
    """Define what belongs to `--method=pc`; return what reads it."""
    components = options.define_numbers("components", (), "Which, counted from 1 [all].")
    percentiles = _define_span("percentiles", "Of the codes, where lines start and stop [5,95].")
    limits = _define_span("limits", "Start and stop from the mean, instead of percentiles.")
    spacing = flags.DEFINE_bool(
        "percentile_spacing", False, "Space points evenly in percentiles, not in distance."
    )
    return lambda: Lines(
        components=components(),
        percentiles=percentiles(),
        limits=limits(),
        percentile_spacing=bool(spacing.value),
    )


def _define_sample() -> Callable[[], Sample]:
    """Define which rows take part; return what reads it."""
    index_file = flags.DEFINE_string(
        "index_file", "", "File of the rows that take part: numbers, or a truth value a row."
    )
    stride = flags.DEFINE_integer("stride", 1, "Use every so many rows, and the anchors.")
    subset = flags.DEFINE_integer("subset", 0, "Use so many rows at random, and the anchors.")
    seed = flags.DEFINE_integer("seed", 0, "Of --subset.")
    return lambda: Sample(
        index_file=str(index_file.value or ""),
        stride=int(stride.value),
        subset=int(subset.value),
        seed=int(seed.value),
    )


def _define_span(name: str, text: str) -> Callable[[], tuple[float, ...]]:
    """Define a flag of two numbers; return what reads them, none if it is not given."""
    holder = flags.DEFINE_list(name, [], text)

    def span() -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in _words(holder.value or ()))
        except ValueError as error:
            raise UserError(
                f"--{name} is {','.join(holder.value or ())}",
                cure="give two numbers, start and stop: 5,95",
            ) from error

    return span


def _words(parts: Sequence[str]) -> list[str]:
    return [word for part in parts for word in part.split()]
