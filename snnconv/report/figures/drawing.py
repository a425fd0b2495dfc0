"""A blank figure, and the figure as SVG that belongs to the page: its colours, its font, no identifiers, no namespaces.

Matplotlib draws in stand-in colours, one per role; the SVG says `var(--role)` instead, so the page's light and dark themes both
apply. One unit of a figure is one CSS pixel.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from snnconv.report.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLES = ("ink", "muted", "line", "wash", "paper", "source", "candidate", "fault")
INK, MUTED, LINE, WASH, PAPER, SOURCE, CANDIDATE, FAULT = (f"#0102{number:02x}" for number, _ in enumerate(ROLES))
_VARIABLES = {f"#0102{number:02x}": f"var(--{role})" for number, role in enumerate(ROLES)}

SMALL = 10.5
"""The size of small text, in CSS pixels."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "snnconv",
    "font.size": SMALL,
    "text.parse_math": False,
    "text.color": MUTED,
    "axes.edgecolor": LINE,
    "axes.linewidth": 1.0,
    "path.simplify": False,
}
_UNIT = 72.0
_DECIMAL = re.compile(r"-?\d+\.\d+")


@contextmanager
def plotting() -> Iterator[None]:
    """Matplotlib with the settings of these figures and none of the user's."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def blank(width: float, height: float) -> Figure:
    """An empty figure of that many CSS pixels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / _UNIT, height / _UNIT), dpi=_UNIT)


def plain_axes(figure: Figure, left: float, top: float, right: float, bottom: float) -> Axes:
    """Axes without frame and ticks, with margins in pixels on the four sides."""
    width, height = figure.get_size_inches() * _UNIT
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    axes = figure.add_axes(box, frameon=False, xticks=[], yticks=[])
    axes.margins(0)
    return axes


def note(axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], **style: Any) -> None:
    """Text at a place of the axes, in shares of them, moved right and up by an offset in pixels."""
    axes.annotate(text, at, offset, "axes fraction", "offset points", annotation_clip=False, **style)


def as_svg(figure: Figure, label: str) -> str:
    """The figure as an `<svg>` element that `label` describes to those who cannot see it."""
    written = io.StringIO()
    figure.patch.set_visible(False)
    figure.savefig(written, format="svg", metadata={"Date": None})
    drawn = ElementTree.fromstring(written.getvalue())
    box = drawn.get("viewBox", "")
    svg = ElementTree.Element("svg", {"viewBox": box, "width": box.split()[2], "role": "img", "aria-label": printable(label)})
    svg.extend(child for child in map(_cleaned, drawn) if child is not None)
    return ElementTree.tostring(svg, encoding="unicode")


def _cleaned(element: ElementTree.Element) -> ElementTree.Element | None:
    """An element without namespace, identifiers and empty groups; None if nothing is left of it."""
    tag = element.tag.rpartition("}")[2]
    if tag in ("metadata", "defs"):
        return None
    kept = {key: _value(key, value) for key, value in element.attrib.items() if key in _ATTRIBUTES and not _no_turn(key, value)}
    result = ElementTree.Element(tag, kept)
    result.text = element.text if tag == "text" else None
    result.extend(child for child in map(_cleaned, element) if child is not None)
    return None if tag == "g" and not len(result) else result


_ATTRIBUTES = frozenset(("d", "style", "x", "y", "transform"))


def _no_turn(key: str, value: str) -> bool:
    return key == "transform" and value.startswith("rotate(-0 ")


def _value(key: str, value: str) -> str:
    if key == "style":
        parts = (part.partition(": ")[::2] for part in value.split("; "))
        return "; ".join(f"{name}: {_VARIABLES.get(said, said)}" for name, said in parts if name != "font-family")
    return _DECIMAL.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), " ".join(value.split()))
