"""Plots as SVG that stands in a page: no display, no fonts to fetch, the same bytes for the same figures."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from html import escape
from itertools import cycle
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from openeo_superres.sensor import BANDS

from .tables import REFERENCES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

COLOURS = ("#666666", "#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of the models in turn, bicubic first: told apart by colour-blind readers, too (Okabe and Ito, 2008)."""
STYLE = {
    "font.family": "DejaVu Sans",
    "svg.hashsalt": "openeo-superres",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
PAGE_STYLE: Any = {
    **STYLE,
    "font.size": 10,
    "svg.fonttype": "none",  # the page's own font
    "text.parse_math": False,  # names hold what they like
    "axes.edgecolor": "#999999",
    "axes.labelcolor": "#444444",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "xtick.color": "#999999",
    "ytick.color": "#999999",
    "xtick.labelcolor": "#444444",
    "ytick.labelcolor": "#444444",
}
SHAPES = (("o", "●"), ("s", "■"), ("D", "◆"), ("^", "▲"), ("v", "▼"))
"""A marker in a plot, and the letter that looks like it in the page's key."""
POINTS = 40
"""Of a spectrum as it is drawn."""
WIDTH = 9.6
"""Inches."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How a result is drawn, wherever it is."""

    colour: str
    marker: str
    glyph: str


def marks(labels: Sequence[str]) -> dict[str, Mark]:
    """One per label, in their order: bicubic grey, the truth black, the models in colours."""
    turns = cycle(COLOURS[2:])
    shapes = cycle(SHAPES)
    own = {"bicubic": Mark(COLOURS[0], "x", "✕")} | {name: Mark(COLOURS[1], "", "—") for name in REFERENCES}
    return {label: own.get(label) or Mark(next(turns), *next(shapes)) for label in labels}


def new_figure(width: float, height: float, dpi: float = 100) -> Figure:
    """An empty figure in inches; it lays itself out so that nothing is cut off."""
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def to_svg(figure: Figure, name: str, alt: str) -> str:
    """An ``<svg>`` element for a page of HTML.

    Args:
        figure: Drawn in :data:`PAGE_STYLE`.
        name: Goes before each id, so that several plots may stand in one page: ASCII letters and digits.
        alt: What it shows, for those who can't see it.
    """
    file = io.BytesIO()
    with mpl.rc_context(PAGE_STYLE):
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = file.getvalue().decode()
    text = text[text.index("<svg ") :]
    # names of parts that nothing refers to, a style that would hold for the whole page, and its font
    text = re.sub(r'(?<=<g) id="[^"]*"|<style.*?</style>|font-family: [^;]*; ', "", text, flags=re.DOTALL)
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    # a hundredth of a point is enough
    text = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: _shorter(found[0]), text)
    opening = f'<svg role="img" aria-label="{escape(alt)}" '
    return text.replace("<svg ", opening, 1).rstrip()


def _shorter(numbers: str) -> str:
    return re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), numbers)


def by_band(
    values: Mapping[str, Mapping[str, float | None]],
    drawn: Mapping[str, Mark],
    name: str,
    *,
    unit: str,
    alt: str,
    log: bool = False,
) -> str:
    """A dot per result and band, as SVG; what is not known has none.

    Args:
        values: Label -> band -> value; results without a mark are left out.
        drawn: Label -> how it is drawn.
        name: See :func:`to_svg`.
        unit: Written on the y axis.
        alt: See :func:`to_svg`.
        log: Values on a logarithmic scale; those of 0 or less are left out.
    """
    with mpl.rc_context(PAGE_STYLE):
        figure = new_figure(WIDTH, 3)
        axes = figure.add_subplot()
        bands = [band.name for band in BANDS if any(band.name in row for row in values.values())]
        _rows(axes, {label: [row.get(band) for band in bands] for label, row in values.items()}, drawn)
        axes.set_xticks(range(len(bands)), bands)
        if log and any(value and value > 0 for label in drawn for value in values.get(label, {}).values()):
            axes.set_yscale("log", nonpositive="mask")
            axes.yaxis.set_major_formatter("{x:g}")
        else:
            axes.axhline(0, color="#999999", linewidth=0.8)
        axes.set_ylabel(unit)
    return to_svg(figure, name, alt)


def by_protocol(
    panels: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    drawn: Mapping[str, Mark],
    name: str,
    *,
    unit: str,
    alt: str,
) -> str:
    """Panels side by side, in each a dot per result and protocol, as SVG.

    Args:
        panels: Title -> label -> protocol -> value.
        drawn: Label -> how it is drawn.
        name: See :func:`to_svg`.
        unit: Written on the y axis.
        alt: See :func:`to_svg`.
    """
    with mpl.rc_context(PAGE_STYLE):
        figure = new_figure(WIDTH, 3.4)
        places = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, values) in zip(places, panels.items(), strict=True):
            protocols = list(dict.fromkeys(protocol for row in values.values() for protocol in row))
            rows = {label: [row.get(protocol) for protocol in protocols] for label, row in values.items()}
            _rows(axes, rows, drawn)
            axes.axhline(0, color="#999999", linewidth=0.8)
            axes.set_xticks(range(len(protocols)), protocols, rotation=30, ha="right", rotation_mode="anchor")
            axes.set_title(title, loc="left")
            axes.set_ylabel(unit)
    return to_svg(figure, name, alt)


def _rows(axes: Axes, rows: Mapping[str, Sequence[float | None]], drawn: Mapping[str, Mark]) -> None:
    """Dots of each row at 0, 1, 2 ..., the rows a little beside each other."""
    rows = {label: row for label, row in rows.items() if label in drawn}
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for offset, (label, row) in zip(np.linspace(-0.24, 0.24, len(rows) + 2)[1:-1], rows.items(), strict=True):
        mark = drawn[label]
        y = np.array([np.nan if value is None else value for value in row], float)
        axes.plot(np.arange(len(y)) + offset, y, mark.marker or "_", color=mark.colour, markersize=5.5)


def spectra(
    profiles: Mapping[str, NDArray[np.float64]], drawn: Mapping[str, Mark], name: str, *, alt: str
) -> str:
    """Two panels per band, as SVG: amplitude by spatial frequency, and how far it lies from bicubic's.

    A dotted line stands where the input's own pixels end.

    Args:
        profiles: Label -> ``(bands, n)`` dB, the first bands of :data:`openeo_superres.sensor.BANDS`.
        drawn: Label -> how it is drawn.
        name: See :func:`to_svg`.
        alt: See :func:`to_svg`.
    """
    profiles = {label: _binned(profiles[label]) for label in drawn if label in profiles}
    count = min(len(profile) for profile in profiles.values()) - 1
    columns = 4 if count <= 4 else 5
    bands = [BANDS[start : min(start + columns, count)] for start in range(0, count, columns)]
    with mpl.rc_context(PAGE_STYLE):
        figure = new_figure(WIDTH, 4.2 * len(bands))
        grid = figure.subplots(2 * len(bands), columns, sharex=True, sharey="row", squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        for row, chosen in enumerate(bands):
            for column, band in enumerate(chosen):
                index = row * columns + column
                levels, differences = grid[2 * row : 2 * row + 2, column]
                for label, profile in profiles.items():
                    base = profiles.get("bicubic", profile)
                    _line(levels, profile[-1], profile[index], drawn[label])
                    _line(differences, profile[-1], profile[index] - base[index], drawn[label])
                for axes in (levels, differences):
                    axes.set_visible(True)
                    axes.axvline(2.5 / band.resolution, color="#999999", linewidth=0.8, linestyle=":")
                    axes.tick_params(length=0, labelleft=column == 0, labelbottom=axes is differences)
                levels.set_title(band.name, loc="left")
            grid[2 * row, 0].set_ylabel("amplitude, dB")
            grid[2 * row + 1, 0].set_ylabel("less bicubic's, dB")
        figure.supxlabel("cycles per pixel", fontsize=10, color="#444444")
    return to_svg(figure, name, alt)


def _binned(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """:data:`POINTS` values at most, means of neighbours: ``(bands + 1, n)``, the frequencies last."""
    count = profile.shape[1]
    whole = np.vstack([profile, (np.arange(count) + 0.5) / (2 * count)])
    groups = np.array_split(whole, min(POINTS, count), axis=1)
    return np.stack([group.mean(axis=1) for group in groups], axis=1)


def _line(axes: Axes, frequencies: NDArray[np.float64], levels: NDArray[np.float64], mark: Mark) -> None:
    axes.grid(color="#e5e5e5", linewidth=0.8)
    axes.plot(frequencies, levels, color=mark.colour, linewidth=1.2)
    axes.set_xticks([0, 0.25, 0.5], ["0", "0.25", "0.5"])
