"""What a search finds: a walk along the edges of a graph."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

Compiled = Literal["dijkstra", "bidirectional", "astar", "landmarks"]
Engine = Literal["igraph", Compiled]


@dataclass(frozen=True, eq=False)
class NodePath:
    """A shortest path through a graph.

    Attributes:
        nodes: source first, target last; one node where these are the same.
        length: the sum of the weights of its edges, in float64.
        method: how it was searched for (see `jaxsurf.manifold.search`).
    """

    nodes: Int[np.ndarray, "step"]
    length: float
    method: Engine
