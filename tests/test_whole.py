"""Whole products, from the files to the file: the same pixels as from a cube, on the same ground."""

import numpy as np
import pytest
import rasterio
import xarray as xr
from products import write_safe
from theia_files import theia_image, write_theia

from openeo_superres import superresolve_local, superresolve_scene
from openeo_superres.scene import open_scene
from openeo_superres.sensor import BAND_NAMES

SIZE = 192
TILE = 64


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    """An L1C product whose numbers are raised by 1000."""
    return write_safe(tmp_path_factory.mktemp("safe"), size=SIZE, zipped=True)


@pytest.fixture(scope="module")
def theia(tmp_path_factory):
    return write_theia(tmp_path_factory.mktemp("theia"))


def as_cube(source, pixels):
    """Pixels (bands, y, x) on the scene's grid as a cube."""
    scene = open_scene(source)
    coords = {
        "bands": list(BAND_NAMES),
        "y": scene.transform.f - 5 - 10.0 * np.arange(scene.height),
        "x": scene.transform.c + 5 + 10.0 * np.arange(scene.width),
    }
    return xr.DataArray(pixels, coords, ("bands", "y", "x"))


@pytest.mark.parametrize("model", ["edsr_4x32", "cubic_mtf"])
@pytest.mark.parametrize("kind", ["safe", "theia"])
def test_a_product_gives_what_its_pixels_give(kind, model, request, image, tmp_path):
    source = request.getfixturevalue(kind)
    pixels = image[:, :SIZE, :SIZE] if kind == "safe" else theia_image("L2A")
    local = superresolve_local(as_cube(source, pixels), model, size=TILE).to_numpy()
    with rasterio.open(
        superresolve_scene(source, tmp_path / "out.tif", model, dtype="float32", size=TILE)
    ) as result:
        whole = result.read()
    assert np.isfinite(local).any()
    np.testing.assert_array_equal(np.isnan(whole), np.isnan(local))
    difference = np.abs(whole - local)
    assert np.nanmax(difference - np.maximum(0.01, 2e-6 * np.abs(local))) <= 0
    # and in integers it is that, rounded
    with rasterio.open(superresolve_scene(source, tmp_path / "int.tif", model, size=TILE)) as result:
        integers = result.read()
    rounded = np.where(np.isnan(whole), -32768, np.rint(np.clip(whole, -32767, 32767)))
    np.testing.assert_array_equal(integers, rounded)


@pytest.mark.parametrize("kind", ["safe", "theia"])
def test_the_borders_of_a_product_stay(kind, request, tmp_path):
    """The outermost pixels, too: nothing is cut off, nothing is shifted."""
    source = request.getfixturevalue(kind)
    scene = open_scene(source)
    with rasterio.open(
        superresolve_scene(source, tmp_path / "out.tif", "cubic_mtf", dtype="float32", size=TILE)
    ) as result:
        assert tuple(result.bounds) == scene.bounds
        assert (result.crs, result.res) == (scene.crs, (5, 5))
        valid = result.read_masks() != 0
    there = np.isfinite(scene.read((0, 0, scene.width, scene.height)))
    np.testing.assert_array_equal(valid, there.repeat(2, axis=1).repeat(2, axis=2))
    edges = (valid[:, 0], valid[:, -1], valid[:, :, 0], valid[:, :, -1])
    assert any(edge.any() for edge in edges)
