"""The picture of the fine-tuning study: what it does to each measure, and to the spectra."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from openeo_superres.sensor import BANDS
from training.chart import COLOURS, STYLE, new_figure
from training.spectra import draw, mark_nyquist, name_nyquist

from .finetuning_table import BLIND, KNOWING, Measure, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Facts = dict[str, Any]

METRES = 20
"""Of the pixels that spectra are compared on."""
SHOWN = {
    "compared with the truth": (
        ("gain, 10 m bands\nWald x2, dB", KNOWING, ("x2", "gain10")),
        ("gain, 10 m bands\nWald x4, dB", KNOWING, ("x4", "gain10")),
        ("gain, 20 m bands\nWald x4, dB", KNOWING, ("x4", "gain20")),
        ("improvement, 10 m bands\nWald x2, opensr-test", KNOWING, ("x2", "opensr", "10", "improvement")),
        ("hallucination, 10 m bands\nWald x2, opensr-test", KNOWING, ("x2", "opensr", "10", "hallucination")),
    ),
    "no matter where the detail lies": (
        ("FRR, 10 m bands\nWald x2, %", BLIND, ("x2", "frr10")),
        ("FRR, 10 m bands\nWald x4, %", BLIND, ("x4", "frr10")),
        ("FRR, 20 m bands\nWald x4, %", BLIND, ("x4", "frr20")),
        ("BRISQUE, true colour\n5 m, less bicubic's", BLIND, ("native", "brisque", "true colour")),
        ("BRISQUE, red edge\n5 m, less bicubic's", BLIND, ("native", "brisque", "red edge")),
    ),
}
"""Rows of small panels: title, where the measure stands, and its path."""
WORSE, BETTER, SAME = COLOURS[3], COLOURS[2], COLOURS[0]
LINES = (COLOURS[1], COLOURS[0], COLOURS[2], COLOURS[3])
"""Of the spectra of the truth, bicubic, the network before and after."""
STYLES = (("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."))
"""Of the scenes in turn."""


def plot(facts: Facts) -> Figure:
    """Draw what :func:`studies.finetuning.measure` found; panels of judges that were not asked stay out."""
    with mpl.rc_context({**STYLE, "font.size": 9}):
        figure = new_figure(12, 10)
        parts = figure.subfigures(3, 1, height_ratios=(1, 1, 1.25))
        for part, (title, panels) in zip(parts, SHOWN.items(), strict=False):
            part.suptitle(f"{title} (up is better)", fontweight="bold")
            measured = [panel for panel in panels if _figures(facts, _measure(*panel[1:]))]
            for axes, (name, *asked) in zip(part.subplots(1, len(measured)), measured, strict=True):
                _slope(axes, facts, _measure(*asked))
                axes.set_title(name, fontsize=9)
        parts[0].axes[0].legend(fontsize=8, frameon=False)
        _spectra(parts[-1], facts)
    return figure


def _measure(measures: tuple[Measure, ...], path: tuple[str, ...]) -> Measure:
    return next(asked for asked in measures if asked.path == path)


def _figures(facts: Facts, asked: Measure) -> dict[str, list[float]]:
    """Before and after, by scene; of those that have it."""
    found = {
        name: [figure_of(scene, asked, label) for label in facts["weights"]]
        for name, scene in facts["scenes"].items()
    }
    return {name: values for name, values in found.items() if None not in values}


def _slope(axes: Axes, facts: Facts, asked: Measure) -> None:
    """A line per scene, from before to after, in the colour of what it means."""
    for (scene, (before, after)), (marker, line) in zip(_figures(facts, asked).items(), STYLES, strict=False):
        gained = asked.better * (after - before)
        colour = BETTER if gained > 0 else WORSE if gained < 0 else SAME
        axes.plot([0, 1], [before, after], color=colour, marker=marker, linestyle=line, linewidth=2)
        for place, value, side in ((0, before, "right"), (1, after, "left")):
            shift = (-6 if side == "right" else 6, 0)
            axes.annotate(
                f"{value:.{asked.digits}f}",
                (place, value),
                xytext=shift,
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=8,
            )
        axes.plot([], [], color="#444444", marker=marker, linestyle=line, label=scene)
    axes.set_xticks([0, 1], ["before", "after"])
    axes.set_xlim(-0.6, 1.6)
    axes.margins(y=0.25)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if asked.better < 0:
        axes.invert_yaxis()


def _spectra(part: Any, facts: Facts) -> None:
    """What the spectra of bicubic and of both networks have more or less than the truth's, first scene."""
    scene, found = next((name, scene["spectra"]) for name, scene in facts["scenes"].items())
    part.suptitle(f"spectra at Wald x4, {scene}: difference to the truth, dB", fontweight="bold")
    bands = [band for band in BANDS if band.name in found]
    per_km = np.array(found["per_km"])
    panels = part.subplots(1, len(bands), sharey=True)
    for axes, band in zip(panels, bands, strict=True):
        levels = {
            "truth" if label == "reference" else label: np.subtract(values, found[band.name]["reference"])
            for label, values in found[band.name].items()
        }
        draw(axes, per_km, levels, LINES)
        mark_nyquist(axes, 4 * band.resolution)
        axes.set(title=band.name, xlabel="cycles per km", xlim=(0, 1000 / (2 * METRES)))
    # the name of the mark needs room above the truth
    panels[0].set_ylim(top=1.5)
    name_nyquist(panels[0], 4 * bands[0].resolution)
    handles, names = panels[0].get_legend_handles_labels()
    part.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
