"""Latent codes of any origin in, a path through them out: files, numbers and a picture.

No model and no images are needed. `PathsConfig` says what is asked for, `path.json` what came out.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.errors import UserError, printable
from jaxsurf.evaluation.pairs import csv_text
from jaxsurf.manifold import codes_file, connectivity, latent_graph, neighbors, tour
from jaxsurf.manifold import graph as graphs
from jaxsurf.manifold.latent_graph import LatentGraph
from jaxsurf.manifold.path import PATHS, piece_lengths, principal_components, timed
from jaxsurf.pipeline import path_inputs
from jaxsurf.pipeline.path_inputs import Inputs, PathsConfig
from jaxsurf.viewing import plots
from jaxsurf.viewing.plots import LatentPlot
from jaxsurf.workdir import WorkDir, fingerprint, replacing_folder, versions, write_json

_NONE = -1  # of points that are no row of the file, and corners that are no point of the path
_MUCH_LARGER = 4  # times as many neighbors
_SPELLED, _NAMED = 12, 8  # legs in the summary, stops in the picture's title
_FILES = (
    r"path\.json|(lengths|steps)\.csv|latent\.png|nodes\.txt|(codes|pc\d+)(\.npy|(_nodes)?\.txt)"
)
# Columns of `lengths.csv`; `path.json` has those from the third to the last but one.
_LEG = ("way", "leg", "from", "to", "edges", "length", "cost", "straight", "detour")
Table = list[dict[str, Any]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A path, as a polyline and as points along it, which are written."""

    name: str  # what its files are called
    corners: Float[np.ndarray, "corner latent"]
    stops: Sequence[tuple[int, str]]  # corners where it stops, in order, and their labels
    points: Float[np.ndarray, "point latent"]
    at: Int[np.ndarray, "corner"]  # which of the points each corner is, if any
    facts: dict[str, Any]  # what `path.json` says beside
    rows: Int[np.ndarray, "point"]  # of the points, if they are any
    # The rows that the path leads along, if it does; codes from outside are numbered behind them.
    nodes: Int[np.ndarray, "node"]

    def legs(self) -> Table:
        """Return a row for the part from each stop to the next; `detour` is length by straight."""
        costs, lengths, table = self.facts.get("edge_weights"), piece_lengths(self.corners), []
        for number, ((first, start), (last, stop)) in enumerate(pairwise(self.stops), start=1):
            length = float(lengths[first:last].sum())
            straight = float(piece_lengths(self.corners[[first, last]])[0])
            cost = None if costs is None else float(np.sum(costs[first:last]))
            detour = length / straight if straight else None
            leg = (self.name, number, start, stop, last - first, length, cost, straight, detour)
            table.append(dict(zip(_LEG, leg, strict=True)))
        return table

    def length(self) -> float:
        """Return the length of the whole polyline, in latent units."""
        return sum(leg["length"] for leg in self.legs())


def run(config: PathsConfig, out: Path) -> str:
    """Find the path that is asked for, write everything about it, and return a summary.

    The folder is new or empty or of an earlier call, and replaced as a whole.
    """
    _check_folder(out, config)
    inputs = path_inputs.open_inputs(config)
    index = neighbors.Index(inputs.codes)
    if config.method == "pc":
        paths, graph = _follow_components(inputs, config), None
    else:
        paths, graph = _pass_anchors(inputs, index, config)
    paths = [_snap(path, inputs, index) for path in paths] if config.snap else paths
    legs = [leg for path in paths for leg in path.legs()]
    steps = [step for path in paths for step in _tabulate(path, index, config.support_radius)]
    description = _describe(config, inputs, paths, steps, graph)
    with replacing_folder(out) as fresh:
        for path in paths:
            binary, text, *listed = description["methods"][path.name]["files"]
            np.save(fresh / binary, path.points)
            np.savetxt(fresh / text, path.points)
            for file in listed:
                np.savetxt(fresh / file, path.nodes, fmt="%d")
        for name, table in (("lengths.csv", legs), ("steps.csv", steps)):
            (fresh / name).write_text(csv_text(table), encoding="utf-8")
        plots.save(plots.latent(_plot(inputs, paths, graph), width=1100), fresh / "latent.png")
        write_json(fresh / "path.json", description)
    number, size = inputs.codes.shape
    lines = [f"{out}: {inputs.name}, {number:,} codes of {size} numbers"]
    if graph is not None:
        lines.append(f"  {graph.description}; {latent_graph.describe_components(graph)}")
    if bridges := description["bridges"]:
        lines.append(f"  the path {tour.describe_gaps(bridges)}")
    if (proven := description["order_proven"]) is not None:
        lines.append(f"  {tour.describe_order(len(inputs.anchors), proven=proven)}")
    lines += _align(legs[:_SPELLED])
    if len(legs) > _SPELLED:
        lines.append(f"  and {len(legs) - _SPELLED} more in lengths.csv")
    for path in paths:
        lines.append(f"  {path.name}: {len(path.points)} points, length {path.length():.6g}")
    return "\n".join(lines + (_align(steps) if config.verbose else []))


def _check_folder(folder: Path, config: PathsConfig) -> None:
    """Refuse a folder that can't be written, or whose files would be lost."""
    cure = "choose a new or empty folder with --out"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file", cure=cure)
    if folder.resolve() in (place := Path.cwd(), *place.parents):
        raise UserError(f"{folder} is where you are", cure=cure)
    others = sorted(file.name for file in folder.iterdir()) if folder.exists() else []
    if "path.json" in others:  # what an earlier call wrote; names alone may be anybody's
        others = [name for name in others if not re.fullmatch(_FILES, name)]
    anchors = [text.removeprefix("codes:") for text in config.anchors]
    for name in filter(None, (config.latents, config.index_file, *anchors)):
        file, _ = codes_file.split(name)
        # It lies in the folder by its name, or by what that links to.
        if {*file.resolve().parents, file.parent.resolve()} & {folder.resolve()}:
            others.append(file.name)
    if others:
        cause = f"{folder} holds other files, such as {others[0]}, which would be lost"
        raise UserError(cause, cure=cure)
    WorkDir(folder.parent).check_writable(kind="the folder", flag="--out")


def _pass_anchors(
    inputs: Inputs, index: neighbors.Index, config: PathsConfig
) -> tuple[list[Found], LatentGraph | None]:
    """Return the path from anchor to anchor, and the graph that it follows, if it does."""
    anchors, number = inputs.anchors, len(inputs.codes)
    labels, known = [anchor.label for anchor in anchors], len(inputs.values)
    if config.method == "linear":
        graph, codes = None, np.stack([anchor.code for anchor in anchors])
        order, proven = list(range(len(codes))), None
        if config.order == "best":
            apart = neighbors.distances(codes[:, None], codes[None])
            order, proven = tour.best_order(apart, loop=config.loop)
        order += order[:1] * config.loop
        corners, places, nodes, facts = codes[order], range(len(order)), np.empty(0, np.int64), {}
    else:
        asked = config.graph or tour.GRAPH
        built = graphs.build(index, asked, trim=config.trimming or None)
        if asked.kind == "smallest":
            _warn_of_far_codes(built.k, inputs, index)
        places = np.searchsorted(inputs.rows, [anchor.row or 0 for anchor in anchors]).tolist()
        own = [a.code if a.row is None else n for a, n in zip(anchors, places, strict=True)]
        graph, codes, stops = tour.with_anchors(built, index, own)
        latent_graph.check_joined(graph, stops, names=labels)
        visit = tour.through(graph, stops, loop=config.loop, order=config.order, codes=codes)
        all_rows = np.append(inputs.rows, known + np.arange(len(codes) - number))
        corners, places, nodes = codes[visit.nodes], visit.places, all_rows[visit.nodes]
        order, proven = list(visit.order), visit.proven
        facts = {
            "edge_weights": graph.weights_along(visit.nodes).tolist(),
            "bridges": all_rows[graph.bridges_along(visit.nodes)].tolist(),
            "search": visit.method,
        }
    points = timed([PATHS[config.method](corners, places)], config.timing)[0].points
    at = np.arange(len(corners)) * (config.timing.points_per_edge - 1)
    if config.frames is not None:  # only the ends are corners for sure
        at[:] = _NONE
        at[[0, -1]] = 0, len(points) - 1
    rows = np.full(len(points), _NONE)
    if graph is not None:
        mine = (at != _NONE) & (nodes < known)
        rows[at[mine]] = nodes[mine]
    path = Found(
        name=config.method,
        corners=corners,
        stops=[(place, labels[n]) for place, n in zip(places, order, strict=True)],
        points=points,
        at=at,
        facts=facts | {"order_proven": proven, "order": order},
        rows=rows,
        nodes=nodes,
    )
    return [path], graph


def _warn_of_far_codes(k: int, inputs: Inputs, index: neighbors.Index) -> None:
    """Warn where much fewer neighbors than the smallest k join what is nearest to the anchors."""
    codes = np.stack([anchor.code for anchor in inputs.anchors])
    near = index.nearest_to(codes, k=1).indices[:, 0].tolist()
    most = (k - 1) // _MUCH_LARGER
    if (enough := connectivity.joining_k(index, near, most=most)) <= most:
        _log.warning(
            "--graph=smallest needs k = %d to connect all %d codes, though k = %d joins those near "
            "the anchors: the path may cut through gaps. Leave --graph out, whose default bridges "
            "gaps with k = %d, or leave codes that lie far off out with --index_file",
            k,
            len(index.codes),
            enough,
            tour.GRAPH.setting(),
        )


def _follow_components(inputs: Inputs, config: PathsConfig) -> list[Found]:
    """Return a straight path along each component, past an anchor, or the mean without one."""
    size = inputs.codes.shape[1]
    if wrong := [number for number in config.components if not 1 <= number <= size]:
        raise UserError(
            f"--components has {wrong[0]}, but codes of {size} numbers have as many",
            cure=f"give numbers from 1 to {size}",
        )
    (mean, directions, shares), paths = principal_components(inputs.codes), []
    through = inputs.anchors[0].code if inputs.anchors else mean
    span = config.percentiles or path_inputs.PERCENTILES
    count = config.frames or path_inputs.PC_POINTS
    for number in config.components or range(1, size + 1):
        direction = directions[:, number - 1]
        along = (inputs.codes - mean) @ direction
        start, stop = config.limits or np.percentile(along, span)
        values = np.linspace(start, stop, count)
        if config.percentile_spacing:
            values = np.percentile(along, np.linspace(span[0], span[1], count))
        base = through - (through - mean) @ direction * direction
        codes = base + values[:, None] * direction
        path = Found(
            name=f"pc{number}",
            corners=codes,
            stops=[(0, f"{values[0]:.4g}"), (count - 1, f"{values[-1]:.4g}")],
            points=codes,
            at=np.arange(count),
            facts={"component": number, "share": float(shares[number - 1])},
            rows=np.full(count, _NONE),
            nodes=np.empty(0, np.int64),
        )
        paths.append(path)
    return paths


def _snap(path: Found, inputs: Inputs, index: neighbors.Index) -> Found:
    """Return a path whose points are the nearest codes, each but once where it comes repeatedly."""
    nearest = index.nearest_to(path.points, k=1).indices[:, 0]
    fresh = np.append(True, np.diff(nearest) != 0)
    nodes, rows = nearest[fresh], inputs.rows[nearest[fresh]]
    at = np.where(path.at == _NONE, _NONE, (np.cumsum(fresh) - 1)[path.at])
    return replace(path, points=inputs.codes[nodes], at=at, rows=rows, nodes=rows)


def _tabulate(path: Found, index: neighbors.Index, radius: float) -> Table:
    """Return a row a point of a path, with its distances from the point before and from codes."""
    distances = np.append(0.0, piece_lengths(path.points))
    away, loose = np.zeros(len(path.points)), path.rows == _NONE
    if loose.any():
        away[loose] = index.nearest_to(path.points[loose], k=1).distances[:, 0]
    support: list[int | None] = [None] * len(path.points)
    if radius:
        apart = (neighbors.distances(index.codes, point) for point in path.points)
        support = [int(np.count_nonzero(each <= radius)) for each in apart]
    met: dict[int, list[str]] = {}
    for corner, label in path.stops:
        met.setdefault(int(path.at[corner]), []).append(label)
    return [
        {
            "way": path.name,
            "step": step,
            "row": None if loose[step] else int(path.rows[step]),
            "stop": ", ".join(met[step]) if step in met else None,
            "distance": float(distances[step]),
            "along": float(along),
            "away": float(away[step]),  # from the nearest code
            "support": support[step],
        }
        for step, along in enumerate(np.cumsum(distances))
    ]


def _describe(
    config: PathsConfig,
    inputs: Inputs,
    paths: Sequence[Found],
    steps: Table,
    graph: LatentGraph | None,
) -> dict[str, Any]:
    path, known = paths[0], {anchor.label: anchor for anchor in inputs.anchors}
    ends, methods = [], {}
    for place, label in enumerate(known) if config.method == "pc" else path.stops:
        row, code = known[label].row, known[label].code.tolist()
        node = row if graph is None else int(path.nodes[place])
        ends.append({"label": label, "row": row, "code": code, "node": node})
    for each in paths:
        own = [step for step in steps if step["way"] == each.name]
        stem, nodes, facts = "codes", "nodes", {}
        if config.method == "pc":
            stem, nodes, facts = each.name, f"{each.name}_nodes", each.facts
        methods[each.name] = {
            **facts,
            "num_points": len(each.points),
            "length": each.length(),
            "rows": [step["row"] for step in own],
            "farthest_from_codes": max(step["away"] for step in own),
            "support": [step["support"] for step in own] if config.support_radius else None,
            "files": [f"{stem}.npy", f"{stem}.txt", *[f"{nodes}.txt"] * bool(each.nodes.size)],
        }
    return {
        "ends": ends,
        "order": path.facts.get("order", []),
        "loop": config.loop,
        "nodes": [] if graph is None else path.nodes.tolist(),
        "length": sum(each.length() for each in paths),
        "edge_weights": path.facts.get("edge_weights", []),
        "bridges": path.facts.get("bridges", []),
        "graph": None if graph is None else graph.facts(),
        "search": path.facts.get("search"),
        "order_proven": path.facts.get("order_proven"),
        "legs": [{name: leg[name] for name in _LEG[2:-1]} for each in paths for leg in each.legs()],
        "methods": methods,
        "checkpoint": None,
        "data": {
            "name": inputs.name,
            "fingerprint": fingerprint(np.asarray(inputs.values)),
            "rows": len(inputs.values),
            "dimensions": inputs.values.shape[1],
            "rows_used": len(inputs.rows),
            "sample": {
                "index_file": printable(config.index_file),
                **{name: getattr(config, name) for name in ("stride", "subset", "seed")},
            },
        },
        "versions": versions(),
        "seed": config.seed,
    }


def _align(table: Table) -> list[str]:
    """Return a table for people: columns in line, numbers short."""
    cells = [list(table[0])]
    for row in table:
        short = (f"{x:.4g}" if isinstance(x, float) else x for x in row.values())
        cells.append(["-" if x is None else str(x) for x in short])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [f"  {'  '.join(map(str.rjust, row, widths))}".rstrip() for row in cells]


def _plot(inputs: Inputs, paths: Sequence[Found], graph: LatentGraph | None) -> LatentPlot:
    own = {anchor.label: anchor.code for anchor in inputs.anchors}
    lines = {}
    for path in paths:
        last = len(path.stops) - 1
        for number, leg in enumerate(path.legs(), start=1):
            back = number == last > 1 and path.stops[0][1] == path.stops[-1][1]
            name = f"{number} to {1 if back else number + 1}: length {leg['length']:.4g}"
            if "share" in path.facts:
                name = f"{path.name} ({path.facts['share']:.0%}): {leg['from']} to {leg['to']}"
            (first, _), (end, _) = path.stops[number - 1 : number + 1]
            lines[name] = path.corners[first : end + 1]
    labels, how = [label for _, label in paths[0].stops], "straight"
    if graph is not None:
        how = graph.description
    elif "share" in paths[0].facts:
        labels, how = list(own), "along principal components"
    named = ", ".join([*labels[:_NAMED], *["..."][: len(labels) // (_NAMED + 1)]])
    return LatentPlot(
        codes=inputs.codes,
        title=f"{inputs.name}: {named or 'past the mean'}\n{how}",
        lines=lines,
        stops=dict(zip(plots.numbered(labels), (own[label] for label in labels), strict=True)),
        edges=None if graph is None else graph.edges()[0],
        marks=None if graph is not None else np.concatenate([path.points for path in paths]),
        dimensions=2,
    )
