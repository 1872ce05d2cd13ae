"""An empty figure and its PNG file, and the colours that are drawn with.

Drawn with matplotlib's Agg canvas and without pyplot, so nothing global changes and figures may be
drawn from threads.
"""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxsurf.writing import replacing

DPI = 100
# Okabe & Ito's colours are told apart by colour-blind readers too (Color Universal Design, 2008).
# Their yellow is left out: on white it is hardly seen.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")


def make_figure(width: int, height: int) -> Figure:
    """Return an empty figure of a size in pixels."""
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG.

    Raises:
        UserError: the file can't be written.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def plain(text: str) -> str:
    """Return a text as matplotlib draws it literally: names of files and factors may hold `$`."""
    return text.replace("$", r"\$")
