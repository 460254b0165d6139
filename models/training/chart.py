"""Charts that come out the same every time: no display, no fonts but matplotlib's own, no dates."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.text import Text

from openeo_superres.evaluate.plots import COLOURS, STYLE, new_figure
from openeo_superres.output import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

__all__ = ["COLOURS", "FORMATS", "STYLE", "chart_format", "label_dots", "new_figure", "save"]

FORMATS = (".svg", ".png")
LEADER = {"arrowstyle": "-", "color": "#888888", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
"""From a label to its dot."""
PLACES = tuple(
    ((reach * x, reach * y), across, up)
    for reach in (7, 16, 28, 42)
    for x, across in ((1, "left"), (-1, "right"), (0, "center"))
    for y, up in ((0, "center"), (1, "bottom"), (-1, "top"))
    if x or y
)
"""Of a label beside its dot, the best first: offset in points, and how the text is aligned to it."""


def chart_format(path: Path) -> str:
    """The format that a file's name asks for.

    Raises:
        ValueError: If it is neither SVG nor PNG.
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"Expected a chart's name to end in {' or '.join(FORMATS)}, got {path}.")
    return path.suffix.lower().removeprefix(".")


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as SVG or PNG, whole or not at all; the same figure gives the same bytes.

    Raises:
        ValueError: If the name ends in something else.
        OSError: If it can't be written.
    """
    kind = chart_format(path)
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with replacing(path) as part, mpl.rc_context(STYLE):
        figure.savefig(part, format=kind, metadata=metadata)
    return path


def label_dots(
    axes: Axes, labels: Sequence[str], x: Sequence[float], y: Sequence[float], line: np.ndarray
) -> None:
    """Write a label beside each dot, off the other labels, the dots, and as far as it can be the line.

    Args:
        axes: Laid out, its limits final.
        labels: One per dot.
        x: Of the dots, in data coordinates, like all that follows.
        y: Of the dots.
        line: ``(n, 2)``: corners of the line.
    """
    dots = axes.transData.transform(np.column_stack([x, y]))
    corners = axes.transData.transform(line)
    steps = np.linspace(0, 1, 60)[:, None]
    drawn = np.concatenate([a + steps * (b - a) for a, b in pairwise(corners)] or [corners])
    placed: list[Bbox] = []
    for index, (label, *place) in enumerate(zip(labels, x, y, strict=True)):
        text = axes.annotate(label, place, xytext=(0, 0), textcoords="offset points", arrowprops=LEADER)
        text.set(fontsize=9, in_layout=False)
        boxes = [_box(text, *where) for where in PLACES]
        costs = [_cost(box, axes, placed, dots, index) + box.count_contains(drawn) for box in boxes]
        placed.append(_box(text, *PLACES[int(np.argmin(costs))]))


def _cost(box: Bbox, axes: Axes, placed: Sequence[Bbox], dots: np.ndarray, own: int) -> int:
    """What is wrong with a place for the label of a dot; a point of the line counts 1."""
    outside = not (axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1))
    nearest = np.linalg.norm(dots - dots.clip(box.min, box.max), axis=1).argmin()
    return (
        50 * outside
        + 30 * sum(box.overlaps(other) for other in placed)
        + 20 * box.count_contains(dots)
        + 20 * int(nearest != own)
    )


def _box(text: Annotation, offset: tuple[float, float], across: str, up: str) -> Bbox:
    """Put a label somewhere and say what it covers, in pixels, without its leader."""
    text.set_position(offset)
    text.set(ha=across, va=up)
    text.update_positions(text.figure.canvas.get_renderer())
    return Text.get_window_extent(text).padded(1)
