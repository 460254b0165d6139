"""The picture of the downstream study: a window with small waters, and who finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from skimage.measure import label, regionprops

from openeo_superres.evaluate import BORDER
from training.chart import COLOURS, STYLE, new_figure

from . import maps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from openeo_superres.evaluate import Image

    from .maps import Map

    Facts = dict[str, Any]

SHAPE = (40, 56)
"""Rows and columns of the window, in 10 m pixels."""
SMALL = (5, 64)
"""Sizes of the bodies that a window is chosen for."""
TRUE, MAPPED = "#e69f00", "#56b4e9"
"""Colours of outlines: of the true water, of the candidate's."""
WHISKERS = {"ecolor": "#8a8a8a", "linewidth": 1}
LIMITS = (-0.8, 0.4)
"""Of NDWI, from black to white."""


def busiest(water: Map) -> tuple[slice, slice]:
    """The window of :data:`SHAPE` with the centres of most small bodies, of these the one with most water.

    A border is left out.
    """
    centres = np.zeros(water.shape)
    for body in regionprops(label(water, connectivity=2)):
        if SMALL[0] <= body.area <= SMALL[1]:
            centres[tuple(round(value) for value in body.centroid)] = 1
    rows, columns = (min(edge, n) for edge, n in zip(SHAPE, water.shape, strict=True))
    sums = np.pad(centres + water / (rows * columns + 1), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    count = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    edge = min(BORDER, (min(count.shape) - 1) // 2)
    inner = count[edge : count.shape[0] - edge, edge : count.shape[1] - edge]
    row, column = (int(n) + edge for n in np.unravel_index(inner.argmax(), inner.shape))
    return slice(row, row + rows), slice(column, column + columns)


def draw(scene: str, facts: Facts, images: Mapping[str, Image], truth: Image) -> Figure:
    """Draw a scene's picture: NDWI and outlines in a window of some candidates, bars of all.

    Args:
        scene: Its name.
        facts: What ``studies.downstream.measure`` says of it.
        images: By label ``(4, y, x)`` DN.
        truth: Of the scene itself.
    """
    window = busiest(maps.water(truth))
    shown = {"truth": truth, **{name: images[name] for name in _shown(images)}}
    with mpl.rc_context(STYLE):
        figure = new_figure(12, 6.6)
        above, below = figure.subfigures(2, 1, height_ratios=(1, 1.3))
        for axes, (name, image) in zip(np.ravel(above.subplots(1, len(shown))), shown.items(), strict=True):
            _window(axes, name, image, truth, window)
        above.suptitle(
            f"{scene}: NDWI, from black to white; orange: true water, blue: water as mapped from 20 m pixels",
            fontsize=11,
        )
        found, invented, edges = below.subplots(1, 3)
        water, boundaries = facts["water"]["scores"], facts["boundaries"]["scores"]
        sizes = [f"{name} px" for name in maps.CLASSES]
        counts = [f"{size}\n(of {facts['truth']['bodies'][size[:-3]]})" for size in sizes]
        for axes, kind, names, title in (
            (found, "found", counts, "true water bodies found, by size"),
            (invented, "invented", sizes, "mapped water bodies that are not there, by size"),
        ):
            _bars(axes, water, [f"{kind} {name}" for name in maps.CLASSES], names, title)
        reach = [f"f1 {n}" for n in maps.TOLERANCES]
        names = [f"within {n} px" if n else "same pixel" for n in maps.TOLERANCES]
        _bars(edges, {name: boundaries[name] for name in water}, reach, names, "field boundaries: F1")
        handles, labels = found.get_legend_handles_labels()
        below.legend(
            handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9
        )
        below.suptitle(
            "Whole scene, with 90 % intervals. Wald scale, 20 m to 10 m: no proof of anything at 5 m",
            fontsize=11,
        )
    return figure


def _shown(images: Mapping[str, Image]) -> list[str]:
    """Candidates whose windows are drawn: the interpolations, and the default or the last network."""
    networks = [name for name in images if name not in {"nearest", "bicubic", "cubic_mtf", "truth + noise"}]
    default = ["edsr_4x32"] if "edsr_4x32" in networks else networks[-1:]
    return [name for name in ("bicubic", "cubic_mtf", *default) if name in images]


def _window(axes: Axes, name: str, image: Image, truth: Image, window: tuple[slice, slice]) -> None:
    """Draw a candidate's NDWI, the outline of its water and of the true one."""
    part, true = image[:, *window], truth[:, *window]
    axes.imshow(maps.ratio("NDWI", part), cmap="gray", vmin=LIMITS[0], vmax=LIMITS[1])
    outlines = [(true, TRUE, 2.2)] if name == "truth" else [(true, TRUE, 2.2), (part, MAPPED, 1.1)]
    for source, colour, width in outlines:
        rows, columns = maps.outline(maps.water(source))
        axes.plot(columns, rows, color=colour, linewidth=width, solid_capstyle="round")
    axes.set(title=name, xticks=[], yticks=[])
    axes.set_xlim(-0.5, part.shape[2] - 0.5)
    axes.set_ylim(part.shape[1] - 0.5, -0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _bars(axes: Axes, scores: Mapping[str, Facts], keys: list[str], names: list[str], title: str) -> None:
    """A group of bars for each score, a bar for each candidate, with its interval."""
    width = 0.86 / len(scores)
    for index, (candidate, of) in enumerate(scores.items()):
        values = np.array([[0.0 if v is None else 100 * v for v in of[key]] for key in keys])
        value, low, high = values.T
        place = np.arange(len(keys)) - 0.43 + (index + 0.5) * width
        error = [np.maximum(value - low, 0), np.maximum(high - value, 0)]
        colour = {"nearest": "#bbbbbb", "truth + noise": "#f0e442"}.get(candidate)
        others = [name for name in scores if name not in {"nearest", "truth + noise"}]
        colour = colour or COLOURS[others.index(candidate) % len(COLOURS)]
        axes.bar(
            place,
            value,
            width,
            yerr=error,
            color=colour,
            label=candidate,
            ecolor="#8a8a8a",
            error_kw={"linewidth": 1},
        )
    axes.set_xticks(np.arange(len(keys)), names)
    axes.set_title(title, fontsize=10)
    axes.set_ylim(0, 100)
    axes.set_ylabel("%")
