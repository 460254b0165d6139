"""The picture of the sensitivity study: a row per measure, a column per perturbation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from training.chart import COLOURS, STYLE, new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = {
    "l1": "L1, DN",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "frr": "FRR, %",
    "consistency": "consistency, DN",
}
"""Measures and their labels."""
COLUMNS = {
    "shift": ("reference shifted", "px"),
    "gain": ("reference's gain wrong", "%"),
    "noise": ("noise added", "reflectance"),
    "pattern": ("stripes added", "reflectance"),
}
"""Perturbations, their titles and units."""
LINES = (COLOURS[1], COLOURS[2], COLOURS[3])
"""Of the candidates in turn: the sharp one, the model's, bicubic's."""
SHADES = ("#000000", "#5b2a86", "#b0479a", "#f08a7b")
"""Of the shifts in turn, from the first to the last: dark to light in grey, too."""
SMALL = 9
DISTANCES = {"l1": 1, "psnr": -1, "ssim": -1}
"""Measures of likeness, and whether less (1) or more (-1) is better."""


def plot(facts: dict[str, Any]) -> Figure:
    """Draw what ``sensitivity.measure`` found: means of the four 10 m bands."""
    with mpl.rc_context({**STYLE, "font.size": SMALL + 1}):
        figure = new_figure(13, 10)
        panels = figure.subplots(len(ROWS), len(COLUMNS) + 1, sharex="col", sharey="row")
        for row, (measure, label) in zip(panels, ROWS.items(), strict=True):
            for axes, kind in zip(row, COLUMNS, strict=False):
                levels = facts["levels"][kind]
                for (name, curves), colour in zip(facts["curves"][kind].items(), LINES, strict=True):
                    _line(axes, levels, curves[measure], label=name, color=colour)
            for (shift, curves), shade in zip(facts["blur"].items(), SHADES, strict=True):
                text = f"shift {float(shift):g} px"
                _line(row[-1], facts["levels"]["blur"], curves[measure], label=text, color=shade)
                if measure in DISTANCES:
                    _best(row[-1], facts["levels"]["blur"], curves[measure], DISTANCES[measure], shade)
            row[0].set_ylabel(label)
        heads = [*COLUMNS.values(), ("sharp image blurred", "MTF of the blur at Nyquist")]
        for above, below, (title, unit) in zip(panels[0], panels[-1], heads, strict=True):
            above.set_title(title, fontsize=SMALL + 2)
            below.set_xlabel(unit)
        for axes in panels[-1, 2:4]:
            axes.set_xticks([0, 0.005, 0.01], ["0", "0.005", "0.01"])
        panels[-1, -1].set_xscale("log")
        panels[-1, -1].set_xticks([1, 0.1, 0.01, 0.001], ["1", "0.1", "0.01", "0.001"])
        panels[-1, -1].minorticks_off()
        panels[-1, -1].invert_xaxis()
        for measure, axes in zip(ROWS, panels[:, 0], strict=True):
            if measure in facts["crossing"]:
                _mark(axes, facts["crossing"][measure]["bicubic"]["mean"])
        _legends(figure, panels[0, 0], panels[0, -1])
    return figure


def _line(axes: Axes, levels: Sequence[float], values: Sequence[float | None], **style: Any) -> None:
    """A curve; what is infinite is left out."""
    axes.plot(levels, [np.nan if value is None else value for value in values], linewidth=1.4, **style)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)


def _best(
    axes: Axes, levels: Sequence[float], values: Sequence[float | None], sign: int, colour: str
) -> None:
    """A dot where a measure likes an image best."""
    errors = [-np.inf if value is None else sign * value for value in values]
    at = int(np.argmin(errors))
    if values[at] is not None:
        axes.plot(levels[at], values[at], "o", color=colour, markersize=4)


def _mark(axes: Axes, level: float | None) -> None:
    """Say from where on the sharp image is no better than bicubic's."""
    if level is None:
        return
    axes.axvline(level, color="#888888", linewidth=0.8, linestyle="--")
    axes.annotate(
        f"{level:.2f} px",
        (level, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(3, -3),
        textcoords="offset points",
        va="top",
        fontsize=SMALL,
        color="#444444",
    )


def _legends(figure: Figure, candidates: Axes, blurs: Axes) -> None:
    """One of the candidates, one of the shifts, above and below."""
    places = ((candidates, "outside upper left"), (blurs, "outside upper right"))
    for axes, place in places:
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc=place, ncols=len(labels), frameon=False, fontsize=SMALL)
