"""Latent codes of any origin in, a way through them out: files, numbers and a picture."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.manifold import knn
from jaxsurf.manifold.components import connectivity
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.shortest_paths import visiting
from jaxsurf.pipeline.paths import anchors as places
from jaxsurf.pipeline.paths import folder, picture, straight, support, surfing, tables
from jaxsurf.pipeline.paths import sample as samples
from jaxsurf.pipeline.paths.anchors import Anchor
from jaxsurf.pipeline.paths.config import PathsConfig
from jaxsurf.pipeline.paths.sample import Points, Source
from jaxsurf.pipeline.paths.support import Support
from jaxsurf.pipeline.paths.way import Way
from jaxsurf.viewing import plots
from jaxsurf.workdir import fingerprint, replacing_folder, versions, write_json

# Legs that the summary spells out; all of them are in lengths.csv.
_SPELLED = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class PathsResult:
    """What was written.

    Attributes:
        folder: where.
        description: what `path.json` says.
        summary: the same for people.
    """

    folder: Path
    description: dict[str, Any]
    summary: str

    def __str__(self) -> str:
        return self.summary


@dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    """Everything that there is to tell."""

    source: Source
    points: Points
    anchors: list[Anchor]
    ways: list[Way]
    supports: list[Support]
    graph: LatentGraph | None


def run(config: PathsConfig, out: Path) -> PathsResult:
    """Find the way that is asked for, and write everything about it.

    Args:
        config: which way through which codes.
        out: the folder, new or empty or of an earlier call, which is replaced as a whole.

    Raises:
        UserError: a file or an anchor is not good, no path joins the anchors, or the folder can't
            be written.
    """
    folder.check(out, read=config.files())
    found = _find(config)
    description = _describe(config, found)
    with replacing_folder(out) as fresh:
        for name, files in folder.write_codes(fresh, found.ways).items():
            description["methods"][name]["files"] = files
        legs = [row for way in found.ways for row in tables.lengths(way)]
        tables.write(fresh / folder.LENGTHS, tables.LENGTHS, legs)
        tables.write(fresh / folder.STEPS, tables.STEPS, _steps(found))
        plot = picture.of(found.source.name, found.points, found.anchors, found.ways, found.graph)
        plots.save(plots.latent(plot, width=1100), fresh / folder.PICTURE)
        write_json(fresh / folder.JSON, description)
    return PathsResult(
        folder=out, description=description, summary=_summary(config, found, legs, out)
    )


def _find(config: PathsConfig) -> _Found:
    """Return the codes, the anchors and the ways past them."""
    source = samples.open_source(config.latents, config.sample)
    anchors = places.parse(config.anchors, source)
    if config.method == "pc":
        if len(anchors) > 1:
            raise UserError(
                f"{len(anchors)} anchors were given, but a line along a component passes one",
                cure="give one or none with --method=pc",
            )
        config.lines.check(source.values.shape[1])
    else:
        places.check_visit(anchors, loop=config.loop, best=config.order == "best")
    needed = [anchor.row for anchor in anchors if anchor.row is not None]
    points = samples.take(source, config.sample, needed)
    index, graph = knn.Index(points.codes), None
    if config.method == "surfing":
        way, graph = surfing.surf(points, index, anchors, config, len(source.values))
        ways = [way]
    elif config.method == "linear":
        ways = [straight.linear(anchors, config)]
    else:
        ways = straight.along_components(points, next(iter(anchors), None), config)
    if config.snap:
        ways = [straight.snapped(way, points, index) for way in ways]
    supports = [support.measure(way, index, radius=config.support_radius) for way in ways]
    return _Found(
        source=source, points=points, anchors=anchors, ways=ways, supports=supports, graph=graph
    )


def _steps(found: _Found) -> list[tables.Row]:
    pairs = zip(found.ways, found.supports, strict=True)
    return [row for way, around in pairs for row in tables.steps(way, around)]


def _describe(config: PathsConfig, found: _Found) -> dict[str, Any]:
    """Return the content of `path.json`, without the names of files."""
    way, graph = found.ways[0], found.graph
    return {
        "ends": _ends(config, found),
        "order": way.facts.get("order", []),
        "loop": config.loop,
        "nodes": [] if graph is None or way.nodes is None else way.nodes.tolist(),
        "length": sum(each.length for each in found.ways),
        "edge_weights": way.facts.get("edge_weights", []),
        "bridges": way.facts.get("bridges", []),
        "graph": None if graph is None else graph.facts(),
        "search": way.facts.get("search"),
        "order_proven": way.facts.get("order_proven"),
        "legs": [leg.describe() for each in found.ways for leg in each.legs],
        "methods": {
            each.name: _method(each, around)
            for each, around in zip(found.ways, found.supports, strict=True)
        },
        "checkpoint": None,
        "data": {
            "name": found.source.name,
            "fingerprint": fingerprint(np.asarray(found.source.values)),
            "rows": len(found.source.values),
            "dimensions": found.points.codes.shape[1],
            "rows_used": len(found.points.rows),
            "sample": asdict(config.sample),
        },
        "versions": versions(),
        "seed": config.sample.seed,
    }


def _ends(config: PathsConfig, found: _Found) -> list[dict[str, Any]]:
    """Return the anchors in the order of the visit."""
    way, known = found.ways[0], {anchor.label: anchor for anchor in found.anchors}
    labels = list(known) if config.method == "pc" else way.labels
    at = way.facts.get("places", [])
    return [
        {
            "label": label,
            "row": known[label].row,
            "code": known[label].code.tolist(),
            "node": int(way.nodes[at[place]]) if way.nodes is not None and at else known[label].row,
        }
        for place, label in enumerate(labels)
    ]


def _method(way: Way, around: Support) -> dict[str, Any]:
    """Return what `path.json` says of one way."""
    told = {name: way.facts[name] for name in ("component", "share") if name in way.facts}
    return told | {
        "num_points": len(way.points),
        "length": way.length,
        "rows": [None if row < 0 else row for row in way.rows.tolist()],
        "farthest_from_codes": float(around.away.max()),
        "support": None if around.counts is None else around.counts.tolist(),
    }


def _summary(config: PathsConfig, found: _Found, legs: Sequence[tables.Row], out: Path) -> str:
    """Return what is printed."""
    number, size = found.points.codes.shape
    lines = [f"{out}: {found.source.name}, {number:,} codes of {size} numbers"]
    if found.graph is not None:
        lines.append(f"  {found.graph.description}; {connectivity.of(found.graph)}")
    if bridges := found.ways[0].facts.get("bridges"):
        crossed = ", ".join(f"{tail} to {head}" for tail, head in bridges)
        lines.append(f"  the way crosses gaps in the graph, bridged from {crossed}")
    if (proven := found.ways[0].facts.get("order_proven")) is not None:
        lines.append(f"  {visiting.told(len(found.anchors), proven=proven)}")
    lines.append(tables.text(tables.LENGTHS, legs[:_SPELLED]))
    if len(legs) > _SPELLED:
        lines.append(f"  and {len(legs) - _SPELLED} more in {folder.LENGTHS}")
    lines += [
        f"  {way.name}: {len(way.points)} points, length {way.length:.6g}" for way in found.ways
    ]
    if config.verbose:
        lines.append(tables.text(tables.STEPS, _steps(found)))
    return "\n".join(lines)
