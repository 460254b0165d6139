"""The picture of the trust study: what intervals cover beside what they say, and where they are wide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap

from openeo_superres.evaluate import wald_pair, wald_truth
from openeo_superres.sensor import BAND_NAMES
from openeo_superres.trust import calibration, half_width
from training.cards import predictor
from training.chart import COLOURS, STYLE, new_figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from openeo_superres.card import ModelCard
    from openeo_superres.evaluate import Image

BAND = "B08"
"""Of the maps."""
VIEW = (slice(300, 480), slice(300, 480))
"""Rows and columns of them, in 10 m pixels: fields, a village, woods."""
SMALL = 9


@dataclass(frozen=True, slots=True)
class Maps:
    """A window of :data:`BAND`: ``(y, x)`` DN."""

    truth: np.ndarray
    half_width: np.ndarray
    error: np.ndarray
    """Absolute."""


def maps(card: ModelCard, scene: tuple[Image, Image]) -> Maps:
    """Super-resolve a degraded scene (Wald x2), and cut out a window."""
    pair = wald_pair(*scene)
    output, truth = predictor(card, threads=1)(pair.input), wald_truth(pair)
    widths = half_width(pair.input, output, calibration(card), coarse=card.coarse)
    index = BAND_NAMES.index(BAND)
    error = np.abs(output[index] - truth[index])
    return Maps(truth[index][VIEW], widths[index][VIEW], error[VIEW])


def plot(facts: Mapping[str, Any], window: Maps) -> Figure:
    """Draw what a model's intervals cover, and a window of them.

    Args:
        facts: Of the model, as :meth:`training.coverage.Report.facts` has them.
        window: Of the same model.
    """
    with mpl.rc_context({**STYLE, "font.size": SMALL}):
        figure = new_figure(11, 6.2)
        left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
        _reliability(left.subplots(), facts)
        panels = right.subplots(2, 2)
        missed = window.error > window.half_width
        high = float(np.quantile(window.half_width, 0.99))
        low, top = np.quantile(window.truth, [0.01, 0.99])
        pictures = (
            (f"{BAND} of T33UUB, truth", window.truth, {"cmap": "gray", "vmin": low, "vmax": top}),
            ("half-width of the 90 % interval, DN", window.half_width, {"vmin": 0, "vmax": high}),
            ("absolute error, DN", window.error, {"vmin": 0, "vmax": high}),
            (
                f"outside of the interval: {missed.mean():.1%}",
                missed,
                {"cmap": ListedColormap(["#eeeeee", "#d55e00"]), "vmin": 0, "vmax": 1},
            ),
        )
        for axes, (title, image, how) in zip(panels.flat, pictures, strict=True):
            drawn = axes.imshow(image, interpolation="nearest", **how)
            axes.set_title(title, fontsize=SMALL + 1)
            axes.set_axis_off()
            if "cmap" not in how:
                right.colorbar(drawn, ax=axes, shrink=0.75, extend="max")
        figure.supxlabel(
            "At the Wald scale: a real scene, degraded by 2 (20 m bands: 4), super-resolved and compared "
            "with itself. Nothing is proven at 5 m.",
            fontsize=SMALL,
        )
        # drawn within the style
        figure.canvas.draw()
    return figure


def _reliability(axes: Axes, facts: Mapping[str, Any]) -> None:
    """Share that is covered, by the level that is stated."""
    curves = dict(facts["reliability"])
    levels = 100 * np.array(curves.pop("levels"))
    axes.plot([50, 100], [50, 100], color="#888888", linewidth=0.8)
    for (label, shares), colour in zip(curves.items(), COLOURS[1:], strict=False):
        elsewhere = " to " in label
        axes.plot(
            levels,
            100 * np.array(shares),
            color=colour,
            linestyle="--" if elsewhere else "-",
            marker="o",
            markersize=3,
            linewidth=1.3,
            label=f"calibrated elsewhere: {label}" if elsewhere else f"tested on {label}",
        )
    axes.set(
        xlabel="stated level, %", ylabel="covered, mean of the ten bands, %", xlim=(49, 100), ylim=(45, 100)
    )
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.legend(frameon=False, fontsize=SMALL)
