"""Which graph to build: the settings of `jaxsurf.manifold.graph`, checked."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.manifold.edges.weighting import Weight

Search = Literal["exact", "approximate"]
Kind = Literal["smallest", "knn", "mutual", "radius", "smallest-radius"]
# The kinds that a number belongs to, that neighbours make, that connect all points in any case.
OWNERS: dict[str, tuple[Kind, ...]] = {"k": ("knn", "mutual"), "radius": ("radius",)}
_OF_NEIGHBOURS: tuple[Kind, ...] = ("smallest", "knn", "mutual")
_CONNECTED: tuple[Kind, ...] = ("smallest", "smallest-radius")


@dataclass(frozen=True, kw_only=True)
class GraphConfig:
    """Which graph to build."""

    kind: Kind = "smallest"
    k: int = 0
    """Neighbours a point; for `knn` and `mutual` only."""
    radius: float = 0.0
    """Largest distance of joined points, in latent units; for `radius` only."""
    weight: Weight = "density"
    """What an edge costs, see `jaxsurf.manifold.edges.weighting`."""
    spanning_tree: bool = False
    """Whether the Euclidean minimum spanning tree is added."""
    repair: bool = False
    """Whether components are joined by the shortest bridges between them."""
    search: Search = "exact"
    """How neighbours are looked for; `approximate` misses some (see `manifold.approximate`), says
    how many in the graph's description, and is for kinds that neighbours make."""

    def __post_init__(self) -> None:
        _check_known("kind", self.kind, get_args(Kind))
        _check_known("weight", self.weight, get_args(Weight))
        _check_known("search", self.search, get_args(Search))
        if self.search == "approximate" and self.kind not in _OF_NEIGHBOURS:
            raise UserError(
                f"graph.search=approximate has no meaning with graph.kind={self.kind}",
                cure=f"leave it out, or set graph.kind={' or '.join(_OF_NEIGHBOURS)}",
            )
        for name, owners in OWNERS.items():
            if getattr(self, name) and self.kind not in owners:
                raise UserError(
                    f"graph.{name} has no meaning with graph.kind={self.kind}",
                    cure=f"leave it out, or set graph.kind={' or '.join(owners)}",
                )
        if self.kind in OWNERS["k"] and self.k < 1:
            raise UserError(
                f"graph.k is {self.k}", cure=f"give 1 or more with graph.kind={self.kind}"
            )
        if self.kind == "radius" and not (np.isfinite(self.radius) and self.radius > 0):
            raise UserError(
                f"graph.radius is {self.radius}",
                cure="give a finite number above 0 with graph.kind=radius",
            )
        if self.repair and (self.spanning_tree or self.kind in _CONNECTED):
            raise UserError(
                "graph.repair has no meaning with "
                + ("graph.spanning_tree" if self.spanning_tree else f"graph.kind={self.kind}"),
                cure="leave it out: that graph is connected",
            )


def _check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(
            f"graph.{name}={value} is unknown or not built yet",
            cure=f"use one of: {', '.join(known)}",
        )
