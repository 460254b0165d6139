"""Figures of the explanations, drawn from the sensor's facts and a card's: ``python docs/figures.py``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from openeo_superres import load_card
from openeo_superres.evaluate.plots import STYLE
from openeo_superres.sensor import bands_named

if TYPE_CHECKING:
    from openeo_superres import ModelCard

IMAGES = Path(__file__).parent / "images"
CURVES = {"B02": "#0072b2", "B08": "#d55e00", "B05": "#009e73", "B12": "#cc79a7"}
"""Two of each resolution, the sharpest and the least sharp, and their colours."""
SIZE = 512
"""Of the chunk that is drawn, in 10 m pixels."""


def transfer() -> Figure:
    """Contrast that reaches the image against the frequency on the ground, taken as Gaussian."""
    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    axes = figure.add_subplot()
    frequency = np.linspace(0, 1.1, 400)  # cycles per 10 m
    for band in bands_named(CURVES):
        nyquist = 5 / band.resolution
        label = f"{band.name} ({band.resolution} m)"
        curve = band.mtf ** ((frequency / nyquist) ** 2)
        axes.plot(frequency, 100 * curve, color=CURVES[band.name], label=label)
        axes.plot([nyquist], [100 * band.mtf], "o", color=CURVES[band.name])
    for nyquist, pixel in ((0.25, 20), (0.5, 10), (1.0, 5)):
        axes.axvline(nyquist, color="#888888", linestyle=":", linewidth=1)
        axes.annotate(
            f"pixels of {pixel} m\nend here",
            (nyquist, 100),
            xytext=(4, -4),
            textcoords="offset points",
            va="top",
            fontsize=9,
        )
    ticks = {0: "∞", 0.25: "40 m", 0.5: "20 m", 0.75: "13.3 m", 1.0: "10 m"}
    axes.set(
        xlim=(0, 1.15),
        ylim=(0, 102),
        xlabel="period of a pattern on the ground",
        ylabel="contrast that is left, %",
        xticks=[*ticks],
        xticklabels=[*ticks.values()],
    )
    axes.legend(loc="center right", frameon=False)
    return figure


def chunk(card: ModelCard) -> Figure:
    """A chunk, its margin, and its neighbour, to scale."""
    figure = Figure(figsize=(6.4, 3.7), layout="constrained")
    axes = figure.add_subplot()
    whole = SIZE + 2 * card.margin
    axes.add_patch(Rectangle((-card.margin, -card.margin), whole, whole, color="#56b4e9", alpha=0.35, lw=0))
    axes.add_patch(Rectangle((0, 0), SIZE, SIZE, color="#0072b2", alpha=0.55, lw=0))
    axes.add_patch(Rectangle((SIZE, 0), SIZE, SIZE, fill=False, color="#666666"))
    left = SIZE - card.margin
    axes.add_patch(Rectangle((left, -card.margin), whole, whole, fill=False, color="#666666", linestyle=":"))
    texts = {
        (SIZE / 2, SIZE / 2): f"kept: {SIZE} x {SIZE}\npixels of 10 m",
        (1.5 * SIZE, SIZE / 2): "the next chunk",
    }
    for place, text in texts.items():
        axes.annotate(text, place, ha="center", va="center")
    axes.annotate(
        f"computed: {whole} x {whole}, {(whole / SIZE) ** 2:.2f} times as many "
        f"(margin of {card.name}: {card.margin})",
        (-card.margin, -1.5 * card.margin),
    )
    axes.set(xlim=(-1.2 * card.margin, 2 * SIZE + 1.2 * card.margin))
    axes.set(ylim=(SIZE + 1.2 * card.margin, -3 * card.margin))
    axes.set_aspect("equal")
    axes.axis("off")
    return figure


def draw(folder: Path = IMAGES) -> list[Path]:
    """Write all figures; the same facts give the same bytes."""
    with mpl.rc_context({**STYLE, "svg.fonttype": "path"}):
        figures = {"transfer.svg": transfer(), "chunk.svg": chunk(load_card("edsr_4x32"))}
        for name, figure in figures.items():
            figure.savefig(folder / name, metadata={"Date": None})
    return [folder / name for name in figures]


if __name__ == "__main__":
    draw()
