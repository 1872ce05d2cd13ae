"""What is asked of `launch/paths.py`, and what of it can't go together."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.manifold.edges.trimming import Trimming
from jaxsurf.manifold.graph_config import GraphConfig
from jaxsurf.manifold.tour import Order

Method = Literal["surfing", "linear", "pc"]
# Codes are of any model: their plain distances are what counts. The cube that surfing with a model
# of ours takes by default was tried on those alone.
GRAPH = GraphConfig(weight="latent")
# What cryoDRGN's users are used to.
LINEAR_POINTS, PC_POINTS, PERCENTILES = 6, 10, (5.0, 95.0)


@dataclass(frozen=True, kw_only=True)
class PathsConfig:
    """Which path through which codes; all but `graph` and `trimming` are flags of these names.

    Attributes:
        latents: file of codes: .npy, .npz, .pkl, .txt or .csv.
        anchors: where to pass: rows, files of rows, code:0.1,-2 or codes:FILE, commas between.
        method: `surfing`: shortest path in the graph; `linear`: straight from anchor to anchor;
            `pc`: along principal components, past the mean or past one anchor.
        loop: go back to the first anchor.
        order: of the anchors: `given`, or `best`, which starts at the first one and is as short as
            possible.
        graph: for surfing.
        trimming: edges that the graph shall not have.
        frames: points on the path, evenly spaced along it; for `pc` 10 if nothing is given.
        points_per_edge: points on each edge of the path, both ends counted; 2, the codes alone, if
            nothing is given. For `linear`, where an edge leads from anchor to anchor, 6.
        components: which principal components, counted from 1; all if nothing is given.
        percentiles: of the codes along a component: where its line starts and stops; 5,95 if
            nothing is given.
        limits: start and stop as distances from the mean, instead of percentiles.
        percentile_spacing: space points evenly in percentiles, not in distance.
        snap: move each point to the nearest code (linear, pc).
        support_radius: count the codes that near to each point of the path.
        index_file: file of the rows that take part: row numbers, or a truth value for each row.
        stride: use every so many of these rows, and the anchors.
        subset: use so many of these rows at random, and the anchors.
        seed: of `--subset`.
        verbose: print every step of the path.
    """

    latents: str
    anchors: tuple[str, ...] = ()
    method: Method = "surfing"
    loop: bool = False
    order: Order = "given"
    graph: GraphConfig | None = None
    trimming: Trimming = field(default_factory=Trimming)
    frames: int | None = None
    points_per_edge: int | None = None
    components: tuple[int, ...] = ()
    percentiles: tuple[float, ...] = ()
    limits: tuple[float, ...] = ()
    percentile_spacing: bool = False
    snap: bool = False
    support_radius: float = 0.0
    index_file: str = ""
    stride: int = 1
    subset: int = 0
    seed: int = 0
    verbose: bool = False

    def __post_init__(self) -> None:
        methods, orders, each = get_args(Method), get_args(Order), self.points_per_edge
        by_percent = self.percentiles or self.percentile_spacing
        for name, bad, cure in (
            ("method", self.method not in methods, f"one of {', '.join(methods)}"),
            ("order", self.order not in orders, f"one of {', '.join(orders)}"),
            ("frames", self.frames is not None and self.frames < 2, "2 or more: ends count"),
            ("points_per_edge", each is not None and each < 2, "2 or more: ends count"),
            ("components", len({*self.components}) < len(self.components), "each but once"),
            ("percentiles", not _is_span(self.percentiles, 0, 100), "two numbers such as 5,95"),
            ("limits", not _is_span(self.limits, -np.inf, np.inf), "two numbers such as -1,1"),
            ("limits", bool(self.limits and by_percent), "them alone: they exclude percentiles"),
            ("support_radius", not 0 <= self.support_radius < np.inf, "a finite number above 0"),
            ("stride", self.stride < 1, "1 or more"),
            ("subset", self.subset < 0 or self.subset == 1, "2 or more, or leave it out"),
            ("seed", self.seed < 0, "0 or more"),
        ):
            if bad:
                raise UserError(f"--{name} is {getattr(self, name)}", cure=f"give {cure}")
        along_lines = self.components or self.limits or by_percent
        for flags, given, owners in (
            ("--graph, with what belongs to it,", self.graph, ("surfing",)),
            ("--max_edge or --avg_neighbors", self.trimming, ("surfing",)),
            ("--loop", self.loop, ("surfing", "linear")),
            ("--order=best", self.order == "best", ("surfing", "linear")),
            ("--points_per_edge", self.points_per_edge is not None, ("surfing", "linear")),
            ("--components, --percentiles or --limits", along_lines, ("pc",)),
            ("--snap", self.snap, ("linear", "pc")),
        ):
            if given and self.method not in owners:
                raise UserError(
                    f"{flags} has no meaning with --method={self.method}",
                    cure=f"leave it out, or use --method={' or '.join(owners)}",
                )
        if self.trimming and (self.graph or GRAPH).kind.startswith("smallest"):
            raise UserError(
                "--max_edge and --avg_neighbors have no meaning with a graph that is to connect all"
                " points",
                cure="use --graph=knn, mutual or radius, and --repair to bridge the gaps",
            )


def _is_span(span: tuple[float, ...], lowest: float, highest: float) -> bool:
    """Return whether these are two different finite numbers in a range, or none."""
    inside = all(lowest <= number <= highest and abs(number) < np.inf for number in span)
    return not span or (len(span) == 2 and span[0] != span[1] and inside)
