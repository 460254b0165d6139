"""The picture of the discrepancy analysis: where patches lie, and the lines between two sensors."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import PowerNorm

from training.chart import COLOURS, STYLE, new_figure

from .comparison import BANDS, GROUPS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

LABELS = {
    "slope": "slope",
    "intercept": "intercept, DN",
    "rmse": "RMSE about the line, DN",
    "correlation": "correlation",
}
TWO = dict(zip(GROUPS, (COLOURS[2], COLOURS[3]), strict=True))
"""Of the resolutions."""
SHADES = "YlGnBu"
"""From light to dark: told apart in grey and by colour-blind readers, too."""
SITES = 30
"""Drawn at most."""


def plot(facts: dict[str, Any]) -> Figure:
    """Draw what ``discrepancy.simulation`` or ``discrepancy.dataset`` found."""
    with mpl.rc_context({**STYLE, "font.size": 9}):
        figure = new_figure(12, 7.6)
        above, below = figure.subfigures(2, 1)
        above.suptitle(_title(facts), fontsize=11)
        panels = above.subplots(1, 3)
        _distances(panels[0], facts["histograms"]["distance"])
        if "recovered" in facts:
            _recovered(panels[1:], facts["recovered"]["shift"])
        else:
            _by_site(panels[1:], facts["sites"])
        below.suptitle("line per band and patch: other sensor = slope x Sentinel-2 + intercept", fontsize=11)
        panels = below.subplots(1, len(LABELS), sharey=True)
        for axes, (name, label) in zip(panels, LABELS.items(), strict=True):
            shades = _by_band(axes, facts["histograms"][name], facts["all"]["patches"])
            axes.set_xlabel(label)
        ticks = [0, 0.05, 0.2, 0.5, 1]
        below.colorbar(shades, ax=panels, label="part of the patches", pad=0.01, aspect=30, ticks=ticks)
    return figure


def _title(facts: dict[str, Any]) -> str:
    if "recovered" in facts:
        return f"{facts['all']['patches']} simulated pairs, whose true discrepancy is known"
    return f"SEN2VENµS {facts['version']}: {facts['all']['patches']} patches of {len(facts['sites'])} sites"


def _distances(axes: Axes, histogram: Mapping[str, Any]) -> None:
    """A line of steps for each resolution."""
    edges = np.array(histogram["edges"])
    for group, counts in histogram["counts"].items():
        axes.stairs(counts, edges, color=TWO[group], linewidth=1.4, label=f"{group} bands")
    axes.set(title="how far the other image lies off", xlabel="distance, m", ylabel="patches")
    axes.set_xlim(edges[0], edges[-1])
    axes.legend(frameon=False)
    axes.grid(color="#dddddd", linewidth=0.6)


def _by_band(axes: Axes, histogram: Mapping[str, Any], patches: int) -> QuadMesh:
    """A histogram for each band, in a row of shades; white where there is none."""
    counts = np.array([histogram["counts"][band] for band in BANDS], float)
    edges = np.array(histogram["edges"])
    rows = np.arange(len(BANDS) + 1) - 0.5
    shades = axes.pcolormesh(
        edges, rows, np.ma.masked_equal(counts / patches, 0), cmap=SHADES, norm=PowerNorm(0.5, 0, 1)
    )
    axes.set_yticks(range(len(BANDS)), BANDS)
    axes.set_ylim(rows[-1], rows[0])
    return shades


def _recovered(panels: np.ndarray, shifts: Mapping[str, Any]) -> None:
    """Found against true shifts, and what is wrong with them."""
    for axes, (group, found) in zip(panels, shifts.items(), strict=True):
        true, seen = np.transpose(found["points"])
        axes.plot(true, seen - true, ".", color=TWO[group], markersize=3)
        axes.axhline(0, color="#888888", linewidth=0.8)
        axes.set(
            title=f"{group} bands: error of the shift that is found",
            xlabel="true shift down or right, m",
            ylabel="found less true, m",
        )
        axes.grid(color="#dddddd", linewidth=0.6)


def _by_site(panels: np.ndarray, sites: Mapping[str, Any]) -> None:
    """Median distance, with the 10th to the 90th percentile, of the sites that lie off most."""
    there = {site: found for site, found in sites.items() if found["patches"]}
    for axes, group, colour in zip(panels, GROUPS, cycle(TWO.values()), strict=False):
        spreads = {site: found["shift"][group]["distance"] for site, found in there.items()}
        order = sorted(
            (s for s in spreads if spreads[s]["median"] is not None), key=lambda s: -spreads[s]["median"]
        )
        order = order[:SITES]
        for place, site in enumerate(order):
            spread = spreads[site]
            axes.plot([spread["p10"], spread["p90"]], [place, place], color=colour, linewidth=1)
            axes.plot(spread["median"], place, "o", color=colour, markersize=4)
        axes.set_yticks(range(len(order)), order, fontsize=7)
        axes.invert_yaxis()
        axes.set(title=f"{group} bands: by site", xlabel="distance, m (median, 10 to 90 %)")
        axes.grid(color="#dddddd", linewidth=0.6, axis="x")
