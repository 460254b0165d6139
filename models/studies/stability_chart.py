"""The picture of the stability study: a change at 5 m, and how much of it the sensor sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from openeo_superres.evaluate import bicubic
from openeo_superres.evaluate.stability import EDGE, visible
from openeo_superres.sensor import BAND_NAMES
from training.chart import COLOURS, STYLE, new_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from openeo_superres.evaluate import Image, Predict

    Facts = dict[str, Any]

BAND = "B07"
"""Of the windows."""
VIEW = 56
"""Edge of the windows in 10 m pixels, from the corner where figures begin."""


def plot(facts: Facts, dates: Sequence[Image], models: Mapping[str, Predict]) -> Figure:
    """Draw the last change of the series in a window, and figures of all models by band.

    Args:
        facts: Of ``studies.stability``.
        dates: Inputs ``(10, y, x)`` DN.
        models: By label; drawn are bicubic and the default, or the last.
    """
    label = "edsr_4x32" if "edsr_4x32" in models else [*models][-1]
    first, second = dates[-2:]
    change = models[label](second) - models[label](first)
    seen = visible(change)
    coarse = (second - first).repeat(2, axis=1).repeat(2, axis=2)
    windows = {
        "input, 20 m pixels": coarse,
        "bicubic": bicubic(second) - bicubic(first),
        label: change,
        f"{label}: in the input": seen,
        f"{label}: not in it": change - seen,
    }
    with mpl.rc_context(STYLE):
        figure = new_figure(12, 6.2)
        above, below = figure.subfigures(2, 1, height_ratios=(1, 1.15))
        _windows(above.subplots(1, len(windows)), windows)
        above.suptitle(
            f"Change of {BAND} from one date to the next, less its mean: blue is darker, red brighter",
            fontsize=11,
        )
        shares, floor, truth = below.subplots(1, 3)
        labels = [name for name in facts["models"] if name not in {"bicubic", "cubic_mtf"}]
        _bars(shares, facts, labels, ("consecutive", "share_varying"), 100)
        shares.set(title="varying change that is not in the band's input", ylabel="%")
        _bars(floor, facts, labels, ("consecutive", "unseen"), 1)
        _bars(floor, facts, labels, ("noise", "unseen"), 1, marks=True)
        floor.set(title="the same; dashes: by noise of 8 DN alone", ylabel="DN")
        _bars(truth, facts, labels, ("wald", "explained"), 100)
        truth.axhline(0, color="#000000", linewidth=0.6)
        truth.set(title="true such change that is added, at Wald scale", ylabel="%")
        handles, names = shares.get_legend_handles_labels()
        if handles:
            below.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
        for axes in (shares, floor, truth):
            axes.title.set_fontsize(10)
        return figure


def _windows(panels: np.ndarray, windows: Mapping[str, Image]) -> None:
    """Draw one band of each image, all in the same colours."""
    index = BAND_NAMES.index(BAND)
    part = slice(2 * EDGE, 2 * (EDGE + VIEW))
    images = {name: image[index, part, part] for name, image in windows.items()}
    mean = images["bicubic"].mean()
    limit = np.percentile(np.abs(images["bicubic"] - mean), 99)
    for axes, (name, image) in zip(np.ravel(panels), images.items(), strict=True):
        offset = 0 if name.endswith("not in it") else mean
        axes.imshow(image - offset, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_title(name, fontsize=10)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)


def _bars(
    axes: Axes,
    facts: Facts,
    labels: Sequence[str],
    key: tuple[str, str],
    factor: float,
    *,
    marks: bool = False,
) -> None:
    """A group of bars, or of dashes, for each band, one for each model."""
    width = 0.8 / max(len(labels), 1)
    for index, label in enumerate(labels):
        values = facts["models"][label][key[0]][key[1]]
        heights = [factor * (values[band] or 0) for band in BAND_NAMES]
        place = np.arange(len(BAND_NAMES)) - 0.4 + (index + 0.5) * width
        if marks:
            axes.hlines(heights, place - width / 2, place + width / 2, color="#000000", linewidth=1.2)
        else:
            # the colours that these models have in the other pictures: bicubic and cubic_mtf come first
            axes.bar(place, heights, width, color=COLOURS[(index + 2) % len(COLOURS)], label=label)
    axes.set_xticks(np.arange(len(BAND_NAMES)), BAND_NAMES, fontsize=8)
