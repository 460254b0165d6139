"""Pictures that compare results: a row per composite, a column per result, one stretch for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .errors import OutputError
from .output import replacing
from .sensor import BAND_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

GAP = 8
"""Screen pixels around each panel."""
LABEL_HEIGHT = 30
"""Screen pixels of the line of text above a panel."""
FONT_SIZES = range(20, 8, -1)
"""Screen pixels, the best first."""
PAPER, INK = (255, 255, 255), (20, 20, 20)
PERCENTILES = (0.5, 99.5)
"""Of a band's values, drawn black and full; what lies outside is clipped."""


@dataclass(frozen=True, slots=True)
class Composite:
    """Three bands as red, green and blue."""

    title: str
    bands: tuple[str, str, str]


COMPOSITES = (
    Composite("true colour", ("B04", "B03", "B02")),
    Composite("red edge", ("B05", "B06", "B07")),
    Composite("SWIR", ("B12", "B8A", "B04")),
)


def stretch_limits(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Values drawn black and full: ``(2, bands)``, from the valid pixels of ``(bands, y, x)``."""
    limits = np.nanpercentile(image, PERCENTILES, axis=(1, 2)).astype(np.float64)
    # a flat band gets some width, so that the division holds
    limits[1] = np.maximum(limits[1], limits[0] + 1)
    return limits


def colours(image: NDArray[np.float32], limits: NDArray[np.float64]) -> NDArray[np.uint8]:
    """``(3, y, x)`` to ``(y, x, 3)`` uint8 by a linear stretch; NaN is black."""
    low, high = limits[:, :, None, None]
    shares = np.clip((image - low) / (high - low), 0, 1)
    drawn: NDArray[np.uint8] = np.nan_to_num(shares * 255).round().astype(np.uint8).transpose(1, 2, 0)
    return drawn


def comparison(
    images: Mapping[str, NDArray[np.float32]],
    composites: Sequence[Composite] = COMPOSITES,
    *,
    bands: Sequence[str] = BAND_NAMES,
    zoom: int = 3,
) -> Image.Image:
    """Draw results side by side.

    Args:
        images: By their label, from left to right: ``(bands, y, x)`` DN, all of one shape. The first one
            decides the stretch of each band, for all.
        composites: From top to bottom; left out where bands are missing. With none left, the first band is
            drawn in grey.
        bands: In the order of the images.
        zoom: Screen pixels per pixel of the images, which are repeated, not resampled.
    """
    drawable = [composite for composite in composites if {*composite.bands} <= {*bands}]
    composites = drawable or [Composite("grey", (bands[0],) * 3)]
    height, width = (zoom * n for n in next(iter(images.values())).shape[1:])
    step_x, step_y = width + GAP, height + LABEL_HEIGHT + GAP
    size = (GAP + step_x * len(images), GAP + step_y * len(composites))
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    titles = [f"{composite.title} ({', '.join(composite.bands)})" for composite in composites]
    font = _font([f"{label}: {title}" for label in images for title in titles], width)
    for row, (composite, title) in enumerate(zip(composites, titles, strict=True)):
        indices = [bands.index(band) for band in composite.bands]
        limits = None
        for column, (label, image) in enumerate(images.items()):
            pixels = image[indices]
            limits = stretch_limits(pixels) if limits is None else limits
            corner = (GAP + column * step_x, GAP + row * step_y)
            draw.text(corner, f"{label}: {title}", fill=INK, font=font)
            drawn = colours(pixels, limits).repeat(zoom, axis=0).repeat(zoom, axis=1)
            picture.paste(Image.fromarray(drawn), (corner[0], corner[1] + LABEL_HEIGHT))
    return picture


def _font(texts: Sequence[str], width: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """The largest font in which each text fits over its panel, within what can be read."""
    fonts = [ImageFont.load_default(size) for size in FONT_SIZES]
    return next((font for font in fonts if max(map(font.getlength, texts)) <= width), fonts[-1])


def save_png(picture: Image.Image, path: Path) -> Path:
    """Write a PNG whole or not at all, over an earlier one.

    Raises:
        OutputError: If it can't be written there.
    """
    try:
        with replacing(path) as part:
            picture.save(part, format="PNG", optimize=True)
    except OSError as error:
        raise OutputError(f"{path} can't be written: {error.strerror or error}.") from error
    return path
