"""Pieces of HTML: text, tables, pictures that are part of the page.

Functions that take plain text escape it; those that take `content` or `rows` take HTML.
"""

import base64
import html
import struct
from collections.abc import Iterable, Sequence

# Small pictures are enlarged so many times, as long as several still fit beside each other.
LARGEST_SCALE, WIDEST_PX = 3, 288


def text(plain: str) -> str:
    """Return a text for the content of an element or an attribute."""
    return html.escape(plain, quote=True)


def number(value: float) -> str:
    """Return a number with two decimals, or with three digits where those would show nothing."""
    return f"{value:,.2f}" if abs(value) >= 1 or not value else f"{value:.3g}"


def panel(content: str) -> str:
    """Return content in a box."""
    return f'<section class="panel">{content}</section>'


def row_name(plain: str) -> str:
    """Return the first cell of a row."""
    return f'<th scope="row">{text(plain)}</th>'


def cell(plain: str, *, aside: bool = False) -> str:
    """Return a cell of a row, paler when it is of less weight; an empty one shows a dash."""
    shade = ' class="aside"' if aside else ""
    return f"<td{shade}>{text(plain) or '&ndash;'}</td>"


def table(label: str, head: Sequence[str], rows: Iterable[str]) -> str:
    """Return a table, labelled for those who can't see it."""
    names = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    body = f"<thead><tr>{names}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return scroll(label, f"<table>{body}</table>")


def scroll(label: str, content: str, *, kind: str = "") -> str:
    """Return content that may be wider than a narrow screen; the keyboard can scroll it too."""
    classes = f"scroll {kind}".strip()
    return (
        f'<div class="{classes}" role="region" tabindex="0" aria-label="{text(label)}">'
        f"{content}</div>"
    )


def image(data: bytes, alt: str, *, enlarge: bool = False) -> str:
    """Return a picture that is part of the page.

    Args:
        data: content of a GIF or PNG file.
        alt: what there is to see.
        enlarge: show a small one in a whole multiple of its size.

    Returns:
        The element, with the size at which it is shown, so that nothing moves while it loads.

    Raises:
        ValueError: the data is neither a GIF nor a PNG.
    """
    kind, width, height = picture_header(data)
    scale = max(1, min(LARGEST_SCALE, WIDEST_PX // width)) if enlarge else 1
    encoded = base64.b64encode(data).decode("ascii")
    return (
        f'<img src="data:image/{kind};base64,{encoded}" alt="{text(alt)}" '
        f'width="{scale * width}" height="{scale * height}">'
    )


def picture_header(data: bytes) -> tuple[str, int, int]:
    """Return kind, width and height of a GIF or PNG; both have them at a fixed place.

    Raises:
        ValueError: the data is neither, or has no pixels.
    """
    kind, width, height = "", 0, 0
    if len(data) >= 10 and data.startswith((b"GIF87a", b"GIF89a")):
        kind, (width, height) = "gif", struct.unpack("<HH", data[6:10])
    elif len(data) >= 24 and data.startswith(b"\x89PNG\r\n\x1a\n"):
        kind, (width, height) = "png", struct.unpack(">II", data[16:24])
    if not width or not height:
        raise ValueError("the data is neither a GIF nor a PNG")
    return kind, width, height
