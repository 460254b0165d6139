"""The picture that shows what models do at 5 m: one window of the sample scene, and spectra of the whole.

A column per model, bicubic and ``cubic_mtf`` first; below, amplitude by spatial frequency and its difference
to bicubic's. There is no reference at 5 m: more detail is not truer detail.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from PIL import Image

from openeo_superres.demo import SAMPLE
from openeo_superres.evaluate import bicubic
from openeo_superres.picture import PAPER, comparison, save_png
from openeo_superres.scene import Window, open_scene
from openeo_superres.sensor import BANDS

from .arguments import positive
from .cards import HELP, labelled, predictor
from .chart import STYLE, new_figure
from .spectra import cycles_per_km, draw, mark_nyquist, name_nyquist, profile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from openeo_superres.card import ModelCard

VIEW: Window = (288, 288, 80, 64)
"""Column, row, width and height in 10 m pixels: fields, a village with its streets, a harbour, water."""
SPECTRA = ("B04", "B07")
"""Bands whose spectra are drawn: one of each resolution."""
SCALE = 2
METRES = 5
DPI = 100
SPECTRA_HEIGHT = 4.2
"""In inches."""
LETTER = 7
"""Pixels of a letter of the caption; few are wider."""
CAPTION = (
    "Sample scene, whole (contains modified Copernicus Sentinel data 2016), each band less its mean. "
    "There is no reference at 5 m: this shows how much detail there is, not how much of it is true."
)


def results(cards: Mapping[str, ModelCard], image: np.ndarray) -> dict[str, np.ndarray]:
    """What bicubic and each model make of an image: ``(10, 2y, 2x)`` DN by label.

    Args:
        cards: By label.
        image: ``(10, y, x)`` DN on the 10 m grid.

    Raises:
        ValueError: If a model's pixels are not 5 m.
    """
    for label, card in cards.items():
        if card.scale != SCALE:
            raise ValueError(f"{label} has scale {card.scale}, only models of scale {SCALE} can be compared.")
    return {"bicubic": bicubic(image)} | {label: predictor(card)(image) for label, card in cards.items()}


def spectra(images: Mapping[str, np.ndarray], width: int) -> Image.Image:
    """Draw radial profiles of :data:`SPECTRA`, and their differences to the first image's.

    Args:
        images: By label: ``(10, 2y, 2x)`` DN without nodata; the first is bicubic.
        width: Of the picture in pixels.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(width / DPI, SPECTRA_HEIGHT, DPI)
        panels = figure.subplots(1, 2 * len(SPECTRA))
        for (levels, differences), name in zip(panels.reshape(-1, 2), SPECTRA, strict=True):
            _spectrum(levels, differences, images, name)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        figure.supxlabel(fill(CAPTION, width // LETTER), fontsize=10)
        figure.canvas.draw()
        return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")


def _spectrum(levels: Axes, differences: Axes, images: Mapping[str, np.ndarray], name: str) -> None:
    """Draw a band's profiles into one panel, and the differences into the other."""
    index, band = next((i, band) for i, band in enumerate(BANDS) if band.name == name)
    profiles = {label: profile(image[index]) for label, image in images.items()}
    per_km = cycles_per_km(*next(iter(images.values())).shape[1:], METRES)
    base = next(iter(profiles.values()))
    draw(levels, per_km, profiles)
    draw(differences, per_km, {label: values - base for label, values in profiles.items()})
    levels.set_title(f"{name}: amplitude", fontsize=11)
    levels.set_ylabel("dB")
    differences.set_title(f"{name}: difference to bicubic", fontsize=11)
    for axes in (levels, differences):
        axes.set_xlim(0, 1000 / (2 * METRES))
        axes.set_xlabel("cycles per km")
        mark_nyquist(axes, band.resolution)
    name_nyquist(levels, band.resolution)


def gallery(images: Mapping[str, np.ndarray], view: Window = VIEW, *, zoom: int = 3) -> Image.Image:
    """Draw a window of each image side by side, and the spectra of the whole images below.

    Args:
        images: By label: ``(10, 2y, 2x)`` DN without nodata; the first is bicubic.
        view: Column, row, width and height in 10 m pixels.
        zoom: Screen pixels per pixel of 5 m.

    Raises:
        ValueError: If the window is not inside the images.
    """
    column, row, width, height = (SCALE * n for n in view)
    rows, columns = next(iter(images.values())).shape[1:]
    check_view(view, columns // SCALE, rows // SCALE)
    windows = {
        label: image[:, row : row + height, column : column + width] for label, image in images.items()
    }
    above = comparison(windows, zoom=zoom)
    below = spectra(images, above.width)
    picture = Image.new("RGB", (above.width, above.height + below.height), PAPER)
    picture.paste(above)
    picture.paste(below, (0, above.height))
    return picture


def check_view(view: Window, columns: int, rows: int) -> None:
    """See that a window lies inside a scene; all in 10 m pixels.

    Raises:
        ValueError: If it does not.
    """
    column, row, width, height = view
    if min(column, row) < 0 or min(width, height) < 1 or column + width > columns or row + height > rows:
        raise ValueError(
            f"Expected a window inside {columns} x {rows} pixels of 10 m, got column {column}, row {row}, "
            f"{width} x {height}."
        )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.gallery", description=__doc__)
    parser.add_argument("models", nargs="*", default=["edsr_4x32"], help=f"{HELP} (default: edsr_4x32)")
    parser.add_argument(
        "--sample", type=Path, default=Path("..") / SAMPLE, help="scene (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, required=True, help="picture to write (.png)")
    parser.add_argument(
        "--window",
        type=int,
        nargs=4,
        default=VIEW,
        metavar=("COL", "ROW", "WIDTH", "HEIGHT"),
        help="what it shows, in 10 m pixels (default: fields, a village, a harbour)",
    )
    parser.add_argument(
        "--zoom", type=positive(int), default=3, help="screen pixels per 5 m pixel (default: %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        cards = labelled(arguments.models)
        scene = open_scene(arguments.sample)
        # before what takes long
        check_view(arguments.window, scene.width, scene.height)
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        images = results(cards, scene.read((0, 0, scene.width, scene.height)))
        save_png(gallery(images, tuple(arguments.window), zoom=arguments.zoom), arguments.output)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{arguments.output}: {', '.join(images)}; {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
