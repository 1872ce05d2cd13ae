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
    """Which graph to build.

    Attributes:
        kind: `smallest` k that connects all; `knn` with k neighbours a point; `mutual`: both ends
            have to be among the other's k nearest; `radius`: all within it; `smallest-radius` that
            connects all.
        k: neighbours a point; for `knn` and `mutual` only.
        radius: largest distance of joined points, in latent units; for `radius` only.
        weight: what an edge costs: its `latent` length, or `density`: its cube, so that paths keep
            to where images lie densely; `image`: how far the images at its ends are apart (root
            mean square, on 0-255), or `image-density`: its cube; `decoded`: how far the decoded
            ends are apart; `pullback`: the length of the whole decoded edge.
        spanning_tree: add the Euclidean minimum spanning tree, which connects any graph.
        repair: join the graph's components by the shortest bridges between them; results say where
            a path crosses one.
        search: how neighbours are looked for: `exact`, or `approximate` (faiss), quicker in many
            dimensions, which misses some; `path.json` says how many.
    """

    kind: Kind = "smallest"
    k: int = 0
    radius: float = 0.0
    weight: Weight = "density"
    spanning_tree: bool = False
    repair: bool = False
    search: Search = "exact"

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
