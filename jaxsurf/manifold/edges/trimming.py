"""A graph without its longest edges.

What joins points far apart joins what the data may not: a cap on lengths leaves gaps as gaps. It
is given as a length, or as what the average number of neighbours may be at most.
"""

from dataclasses import dataclass, replace

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.manifold.edges import csr
from jaxsurf.manifold.edges.csr import LatentGraph


@dataclass(frozen=True, kw_only=True)
class Trimming:
    """Which edges are too long.

    Attributes:
        max_edge: the longest edge that stays, in latent units; 0 for any.
        avg_neighbors: the longest edges go until points have so many neighbours on average; 0 for
            any number.
    """

    max_edge: float = 0.0
    avg_neighbors: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value >= 0):
                raise UserError(f"{name} is {value}", cure="give a finite number above 0")

    def __bool__(self) -> bool:
        return bool(self.max_edge or self.avg_neighbors)

    def __call__(self, graph: LatentGraph) -> LatentGraph:
        """Return a graph without what is too long; of equally long edges, the first in order stay.

        Args:
            graph: its edges weigh their lengths.
        """
        ends, lengths = graph.edges()
        kept, done = np.ones(len(lengths), dtype=bool), []
        if self.max_edge:
            kept &= lengths <= self.max_edge
            done.append(f"edges up to {self.max_edge:g}")
        allowed = int(min(self.avg_neighbors, graph.num_nodes) * graph.num_nodes / 2)
        if self.avg_neighbors:
            kept[np.argsort(lengths, kind="stable")[allowed:]] = False
            done.append(f"{self.avg_neighbors:g} neighbours on average")
        made = csr.from_edges(ends[kept], lengths[kept], num_nodes=graph.num_nodes)
        described = f"{graph.description}, with at most {' and '.join(done)}"
        return replace(
            graph,
            indptr=made.indptr,
            indices=made.indices,
            weights=made.weights,
            description=described if done else graph.description,
        )
