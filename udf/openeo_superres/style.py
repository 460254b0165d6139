"""A style beside a result, by which QGIS shows it in true colour with a stretch that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
import rasterio
from rasterio.enums import Resampling

from .sensor import REFLECTANCE_SCALE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rasterio.io import DatasetReader

TRUE_COLOUR = ("B04", "B03", "B02")
PERCENTILES = (2, 98)
"""Of a band's values, drawn black and full, as QGIS does by default."""
SAMPLE_SIZE = 512
"""Largest edge of the overview that they are taken from, in pixels."""
EMPTY = (0.0, 3000 / REFLECTANCE_SCALE)
"""Reflectances drawn black and full where there is no valid pixel."""
DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def build_style(raster: Path) -> str:
    """A QGIS style (.qml): true colour where B04, B03 and B02 are there, else the first band in grey.

    QGIS takes it by itself if it is beside the raster and has its name but for the suffix.
    """
    with rasterio.open(raster, driver="GTiff") as dataset:
        names = dataset.descriptions
        drawn = TRUE_COLOUR if {*TRUE_COLOUR} <= {*names} else (names[0],)
        indexes = [names.index(name) + 1 for name in drawn]
        limits = [_limits(dataset, index) for index in indexes]
    return DOCTYPE + ET.tostring(_style(indexes, limits), encoding="unicode") + "\n"


def _limits(dataset: DatasetReader, index: int) -> tuple[float, float]:
    """Values drawn black and full, in reflectance: QGIS applies the tags scale and offset first."""
    share = max(1, max(dataset.shape) / SAMPLE_SIZE)
    shape = tuple(max(1, round(size / share)) for size in dataset.shape)
    sample = dataset.read(index, out_shape=shape, masked=True, resampling=Resampling.nearest).compressed()
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return EMPTY
    scale, offset = dataset.scales[index - 1], dataset.offsets[index - 1]
    low, high = (float(value) * scale + offset for value in np.percentile(sample, PERCENTILES))
    # a flat band gets some width
    return low, max(high, low + 1 / REFLECTANCE_SCALE)


def _style(indexes: Sequence[int], limits: Sequence[tuple[float, float]]) -> ET.Element:
    root = ET.Element("qgis", version="3.22", styleCategories="Symbology")
    renderer = ET.SubElement(
        ET.SubElement(root, "pipe"), "rasterrenderer", opacity="1", alphaBand="-1", nodataColor=""
    )
    colours = ("red", "green", "blue") if len(indexes) == 3 else ("gray",)
    renderer.set("type", "multibandcolor" if len(indexes) == 3 else "singlebandgray")
    if len(indexes) == 1:
        renderer.set("gradient", "BlackToWhite")
    for colour, index, (low, high) in zip(colours, indexes, limits, strict=True):
        renderer.set(f"{colour}Band", str(index))
        name = f"{colour}ContrastEnhancement" if len(indexes) == 3 else "contrastEnhancement"
        stretch = ET.SubElement(renderer, name)
        ET.SubElement(stretch, "minValue").text = f"{low:.6g}"
        ET.SubElement(stretch, "maxValue").text = f"{high:.6g}"
        ET.SubElement(stretch, "algorithm").text = "StretchToMinimumMaximum"
    return root
