"""What the picture of a way shows."""

from collections.abc import Sequence

import numpy as np

from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.pipeline.paths.anchors import Anchor
from jaxsurf.pipeline.paths.sample import Points
from jaxsurf.pipeline.paths.way import Way
from jaxsurf.viewing import plots
from jaxsurf.viewing.plots import MOST_DOTS, LatentPlot, Line

# Stops that the title names.
_NAMED = 8


def of(
    name: str,
    points: Points,
    anchors: Sequence[Anchor],
    ways: Sequence[Way],
    graph: LatentGraph | None,
) -> LatentPlot:
    """Return what is drawn.

    Args:
        name: of the file of codes.
        points: the codes that take part.
        anchors: where the ways pass.
        ways: one, or several that share no stops.
        graph: that a way follows, if it does.
    """
    along = ways[0].name.startswith("pc")
    codes = {anchor.label: anchor.code for anchor in anchors}
    labels = list(codes) if along else ways[0].labels
    few = graph is not None and len(points.codes) <= MOST_DOTS
    edges = graph.edges()[0] if graph is not None and few else None
    if edges is not None:
        edges = edges[(edges < len(points.codes)).all(axis=1)]  # but for codes from outside
    return LatentPlot(
        codes=points.codes,
        title=_title(name, labels, ways, graph),
        lines=_lines(ways) if along else _legs(ways[0]),
        stops=dict(zip(plots.numbered(labels), (codes[label] for label in labels), strict=True)),
        edges=edges,
        marks=None if graph is not None else np.concatenate([way.points for way in ways]),
        dimensions=2,
    )


def _legs(way: Way) -> list[Line]:
    """Return the parts of a way past anchors, numbered as its stops are."""
    last = len(way.legs)
    looped = last > 1 and way.labels[0] == way.labels[-1]
    return [
        Line(
            name=f"{number} {'back to 1' if looped and number == last else f'to {number + 1}'}: "
            f"length {leg.length:.4g}",
            points=leg.corners,
            dashed=looped and number == last,
        )
        for number, leg in enumerate(way.legs, start=1)
    ]


def _lines(ways: Sequence[Way]) -> list[Line]:
    """Return ways along principal components."""
    return [
        Line(
            name=f"PC {way.facts['component']} ({way.facts['share']:.0%}): {leg.start} to "
            f"{leg.stop}",
            points=leg.corners,
        )
        for way in ways
        for leg in way.legs
    ]


def _title(name: str, labels: Sequence[str], ways: Sequence[Way], graph: LatentGraph | None) -> str:
    shown = [*labels[:_NAMED], *(["..."] if len(labels) > _NAMED else [])]
    if ways[0].name.startswith("pc"):
        past = f"past {labels[0]}" if labels else "past the mean"
        return f"{name}: along principal components, {past}"
    how = "straight" if graph is None else graph.description
    return f"{name}: {', '.join(shown)}\n{how}"
