"""A graph on disk, good for one origin only: see `jaxsurf.manifold.cache`."""

from pathlib import Path
from typing import cast

from jaxsurf.manifold import cache
from jaxsurf.manifold.edges import csr
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.edges.weighting import Weight

_ARRAYS = ("indptr", "indices", "weights", "bridges")
_FACTS = ("k", "description", "weight", "recall")


def save_graph(path: Path, graph: LatentGraph, *, stamp: str) -> None:
    """Write a graph as a cache bound to `stamp` (see `jaxsurf.manifold.cache`).

    Args:
        path: the .npz file.
        graph: what to keep.
        stamp: names what the graph was made from: the codes' own stamp and the configuration.
    """
    cache.save(path, stamp=stamp, **{name: getattr(graph, name) for name in (*_ARRAYS, *_FACTS)})


def load_graph(path: Path, *, stamp: str) -> LatentGraph:
    """Return a cached graph.

    Args:
        path: the .npz file.
        stamp: what the graph must have been made from.

    Raises:
        StaleCache: it was made from something else.
        UserError: the file is missing, damaged, or holds no symmetric graph.
    """
    arrays = cache.load(path, stamp=stamp, names=(*_ARRAYS, *_FACTS))
    k, description = int(arrays.pop("k")), str(arrays.pop("description"))
    weight, recall = cast(Weight, str(arrays.pop("weight"))), float(arrays.pop("recall"))
    loaded = LatentGraph(**arrays, k=k, description=description, weight=weight, recall=recall)
    return csr.check(loaded, origin=str(path))
