from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
from affine import Affine

from openeo_superres import superresolve_scene
from openeo_superres.style import build_style

SAMPLE = Path(__file__).parents[1] / "examples/data"
WINDOW = (100, 200, 40, 30)


def renderer(path):
    text = build_style(path)
    assert text.startswith("<!DOCTYPE qgis")
    root = ET.fromstring(text)
    assert root.tag == "qgis"
    return root.find("pipe/rasterrenderer")


def limits(element):
    assert element.find("algorithm").text == "StretchToMinimumMaximum"
    return float(element.find("minValue").text), float(element.find("maxValue").text)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
def test_true_colour_in_reflectance(tmp_path, nearest_card, image, dtype):
    """QGIS applies scale and offset before the stretch, so the limits are the same for each type."""
    path = superresolve_scene(
        SAMPLE,
        tmp_path / "o.tif",
        nearest_card,
        window=WINDOW,
        dtype=dtype,
        bands=("B08", "B02", "B03", "B04"),
    )
    found = renderer(path)
    assert found.get("type") == "multibandcolor"
    # numbers from 1, in the order of the file
    assert [found.get(f"{colour}Band") for colour in ("red", "green", "blue")] == ["4", "3", "2"]
    col, row, width, height = WINDOW
    for colour, band in (("red", 2), ("green", 1), ("blue", 0)):
        pixels = image[band, row : row + height, col : col + width]
        expected = np.percentile(pixels, (2, 98)) / 1e4
        assert limits(found.find(f"{colour}ContrastEnhancement")) == pytest.approx(expected, abs=1e-4)


def test_grey_where_a_colour_is_missing(tmp_path, nearest_card):
    path = superresolve_scene(
        SAMPLE, tmp_path / "o.tif", nearest_card, window=WINDOW, bands=("B11", "B04", "B03")
    )
    found = renderer(path)
    assert (found.get("type"), found.get("grayBand")) == ("singlebandgray", "1")
    low, high = limits(found.find("contrastEnhancement"))
    assert 0 < low < high < 1


@pytest.mark.parametrize(("value", "expected"), [(-32768, (0, 0.3)), (500, (0.05, 0.0501))])
def test_nothing_and_flat(tmp_path, value, expected):
    path = tmp_path / "o.tif"
    profile = {"count": 1, "width": 700, "height": 3, "dtype": "int16", "nodata": -32768}
    transform = Affine.translation(0, 9) @ Affine.scale(5, -5)
    with rasterio.open(path, "w", driver="GTiff", transform=transform, **profile) as dataset:
        dataset.write(np.full((1, 3, 700), value, np.int16))
        dataset.descriptions, dataset.scales = ("B11",), (1e-4,)
    assert limits(renderer(path).find("contrastEnhancement")) == pytest.approx(expected)
