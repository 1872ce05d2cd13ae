"""What is asked of `launch/paths.py`, and what of it can't go together."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.manifold import search
from jaxsurf.manifold.arrays import array_file
from jaxsurf.manifold.edges.trimming import Trimming
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.pipeline.paths.sample import Sample

Method = Literal["surfing", "linear", "pc"]
# Codes whose way through a graph is sought are of any model: their plain distances are what counts.
# The cube that surfing with a model of ours takes by default was tried on those alone.
GRAPH = GraphConfig(weight="latent")
# What the peers' users are used to.
LINEAR_POINTS, PC_POINTS, PERCENTILES = 6, 10, (5.0, 95.0)


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Straight lines along principal components.

    Attributes:
        components: which, counted from 1; none means all.
        percentiles: of the codes along a component: where a line starts and stops.
        limits: start and stop as distances from the mean, instead of percentiles.
        percentile_spacing: whether points are evenly spaced in percentiles, not in distance.
    """

    components: tuple[int, ...] = ()
    percentiles: tuple[float, ...] = ()
    limits: tuple[float, ...] = ()
    percentile_spacing: bool = False

    def __post_init__(self) -> None:
        for name, span in (("percentiles", self.percentiles), ("limits", self.limits)):
            if span and (len(span) != 2 or not np.isfinite(span).all() or span[0] == span[1]):
                raise UserError(
                    f"--{name} is {','.join(f'{number:g}' for number in span)}",
                    cure="give two different numbers, start and stop: 5,95",
                )
        if any(not 0 <= number <= 100 for number in self.percentiles):
            raise UserError(
                f"--percentiles is {','.join(f'{number:g}' for number in self.percentiles)}",
                cure="give two numbers from 0 to 100",
            )
        if self.limits and (self.percentiles or self.percentile_spacing):
            raise UserError("--limits excludes percentiles", cure="drop one of them")
        if len(set(self.components)) < len(self.components):
            raise UserError("a component is given twice", cure="give it once")

    def check(self, size: int) -> None:
        """Refuse a component that codes of a size do not have.

        Raises:
            UserError: there is one.
        """
        for number in self.components:
            if not 1 <= number <= size:
                raise UserError(
                    f"--components has {number}, but codes of {size} numbers have as many",
                    cure=f"give numbers from 1 to {size}",
                )


@dataclass(frozen=True, kw_only=True)
class PathsConfig:
    """Which way through which codes.

    Attributes:
        latents: the file of codes (see `jaxsurf.manifold.arrays.array_file`).
        anchors: where to pass (see `jaxsurf.pipeline.paths.anchors`).
        method: `surfing` follows a shortest path in the graph, `linear` runs straight from anchor
            to anchor, `pc` along principal components, past the mean or past one anchor.
        loop: whether it goes back to the first anchor.
        order: `given`, or `best`, which starts at the first anchor and is as short as possible.
        graph: for surfing.
        trimming: edges that the graph shall not have.
        sample: which rows take part.
        frames: points on a way, evenly spaced along it.
        points_per_edge: points on each edge, both ends counted; for `linear` an edge leads from
            anchor to anchor.
        lines: for pc.
        snap: whether points are moved to the nearest code; for linear and pc.
        support_radius: how near codes are counted around each point; 0 for not at all.
        verbose: whether every step is told.
    """

    latents: str
    anchors: tuple[str, ...] = ()
    method: Method = "surfing"
    loop: bool = False
    order: search.Order = "given"
    graph: GraphConfig | None = None
    trimming: Trimming = field(default_factory=Trimming)
    sample: Sample = field(default_factory=Sample)
    frames: int | None = None
    points_per_edge: int | None = None
    lines: Lines = field(default_factory=Lines)
    snap: bool = False
    support_radius: float = 0.0
    verbose: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("method", self.method, get_args(Method)),
            ("order", self.order, get_args(search.Order)),
        ):
            if value not in known:
                raise UserError(f"--{name} is {value!r}", cure=f"use one of {', '.join(known)}")
        for flags, given, owners in self._owned():
            if given and self.method not in owners:
                raise UserError(
                    f"{flags} has no meaning with --method={self.method}",
                    cure=f"leave it out, or use --method={' or '.join(owners)}",
                )
        self._check_numbers()
        if self.trimming and (self.graph or GRAPH).kind.startswith("smallest"):
            raise UserError(
                "--max_edge and --avg_neighbors have no meaning with a graph that is to connect all"
                " points",
                cure="use --graph=knn, mutual or radius, and --repair to bridge the gaps",
            )

    def files(self) -> list[Path]:
        """Return the files that are read."""
        anchors = (anchor.strip().removeprefix("codes:") for anchor in self.anchors)
        names = (self.latents, self.sample.index_file, *anchors)
        paths = [array_file.split(name)[0] for name in names]
        return [path for path in paths if path.suffix.lower() in array_file.SUFFIXES]

    def _check_numbers(self) -> None:
        if not (np.isfinite(self.support_radius) and self.support_radius >= 0):
            raise UserError(
                f"--support_radius is {self.support_radius}", cure="give a finite number above 0"
            )
        for name, number in (("frames", self.frames), ("points_per_edge", self.points_per_edge)):
            if number is not None and number < 2:
                raise UserError(f"--{name} is {number}, but ends are counted", cure="use 2 or more")

    def _owned(self) -> tuple[tuple[str, bool, tuple[Method, ...]], ...]:
        """Return flags, whether they were given, and the methods that they belong to."""
        return (
            ("--graph, with what belongs to it,", self.graph is not None, ("surfing",)),
            ("--max_edge or --avg_neighbors", bool(self.trimming), ("surfing",)),
            ("--loop", self.loop, ("surfing", "linear")),
            ("--order=best", self.order == "best", ("surfing", "linear")),
            ("--points_per_edge", self.points_per_edge is not None, ("surfing", "linear")),
            ("--components, --percentiles or --limits", self.lines != Lines(), ("pc",)),
            ("--snap", self.snap, ("linear", "pc")),
        )
