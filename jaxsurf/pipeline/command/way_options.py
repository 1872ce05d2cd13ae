"""Flags that say which way to go, and what reads them: stops, methods, timing, graph."""

from collections.abc import Callable, Sequence
from typing import Any, cast, get_args

from absl import flags

from jaxsurf.errors import UserError
from jaxsurf.frames.animate import METHODS, Timing
from jaxsurf.manifold.edges.weighting import Weight
from jaxsurf.manifold.graph_config import OWNERS, GraphConfig, Kind, Search
from jaxsurf.manifold.search import Order

# What is defined here belongs to the script that asked for it, so that its --help shows it.
flags.disclaim_key_flags()


def define_stops() -> Callable[[], dict[str, Any]]:
    """Define `--source` and `--target`, `--anchors` and its own; return what reads them by name."""
    end = "Image number, image file that need not be in the set, or latent code (code:0.1,-2)."
    source = flags.DEFINE_string("source", "", end)
    target = flags.DEFINE_string("target", "", end)
    anchors = flags.DEFINE_string(
        "anchors", "", "Instead of both, two or more of the same; semicolons part latent codes."
    )
    loop = flags.DEFINE_bool("loop", False, "Go back from the last anchor to the first.")
    order = flags.DEFINE_enum(
        "order", "given", get_args(Order), "Of the anchors; best: the shortest from the first."
    )

    def stops() -> dict[str, Any]:
        text = anchors.value or ""
        parted = [part.strip() for part in text.split(";" if ";" in text else ",")]
        return {
            "source": source.value or "",
            "target": target.value or "",
            "anchors": tuple(filter(None, parted)),
            "loop": bool(loop.value),
            "order": order.value,
        }

    return stops


def define_methods() -> Callable[[], tuple[str, ...]]:
    """Define `--methods`, and `--method` as another name for it; return what reads them."""
    holder = flags.DEFINE_list("methods", list(METHODS), "Interpolations to compare.")
    flags.DEFINE_alias("method", "methods")
    return lambda: tuple(holder.value or ())


def define_timing() -> Callable[[], Timing]:
    """Define `--frames` and `--points_per_edge`; return what reads them."""
    speed = define_speed("Frames on each edge of the graph path, both ends counted [3].")
    return lambda: Timing(**speed())


def define_speed(per_edge_text: str) -> Callable[[], dict[str, int]]:
    """Define `--frames` and `--points_per_edge`; return what reads the one that was given."""
    frames = flags.DEFINE_integer("frames", None, "Exact number of frames, at constant speed.")
    per_edge = flags.DEFINE_integer("points_per_edge", None, per_edge_text)

    def speed() -> dict[str, int]:
        if frames.value is not None and per_edge.value is not None:
            raise UserError("--frames and --points_per_edge exclude each other", cure="drop one")
        holders = (frames, per_edge)
        return {holder.name: holder.value for holder in holders if holder.value is not None}

    return speed


def define_graph(
    *, weights: Sequence[Weight] = get_args(Weight), default: Weight | None = None
) -> Callable[[], GraphConfig | None]:
    """Define `--graph` and what belongs to it; return what reads them, None if none is given.

    Args:
        weights: what `--weight` takes.
        default: its value where others of these flags are given, instead of the usual one.
    """
    kind = flags.DEFINE_enum("graph", None, get_args(Kind), "Graph to search.")
    k = flags.DEFINE_integer("k", None, "Neighbours of each point, for --graph=knn or mutual.")
    radius = flags.DEFINE_float("radius", None, "Largest latent distance, for --graph=radius.")
    weight = flags.DEFINE_enum("weight", None, weights, "What an edge costs.")
    tree = flags.DEFINE_bool("spanning_tree", None, "Add the Euclidean minimum spanning tree.")
    repair = flags.DEFINE_bool("repair", None, "Bridge gaps between the graph's components.")
    search = flags.DEFINE_enum(
        "search", None, get_args(Search), "For neighbours; approximate (faiss) misses some [exact]."
    )

    def graph() -> GraphConfig | None:
        holders = (k, radius, weight, tree, repair, search)
        given: dict[str, Any] = {
            holder.name: holder.value for holder in holders if holder.value is not None
        }
        for flag, owners in OWNERS.items():
            if kind.value in owners and flag not in given:
                raise UserError(
                    f"--graph={kind.value} needs --{flag} too", cure=f"add --{flag}=..."
                )
        if kind.value is None and not given:
            return None
        implied: Kind = "knn" if "k" in given else "radius" if "radius" in given else "smallest"
        if default:
            given.setdefault("weight", default)
        return GraphConfig(kind=cast(Kind, kind.value or implied), **given)

    return graph
