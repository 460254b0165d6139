import warnings
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine
from products import EPSG, NORTH, WEST, write_image

from openeo_superres.bandfile import inspect_raster, opened
from openeo_superres.errors import SceneError
from openeo_superres.grid import assemble
from openeo_superres.readers import offset as offset_module
from openeo_superres.readers.offset import check_offset

GRID = {"crs": f"EPSG:{EPSG}", "transform": Affine(10, 0, WEST, 0, -10, NORTH)}


def scene_of(path, raised, band="B02"):
    """A scene of one band, as if its metadata said whether 1000 is to be taken off."""
    raster = inspect_raster(path)
    raster = replace(raster, bands={band: 0}, scales=(1e-4,), offsets=(-0.1 if raised else 0.0,))
    return assemble("test", str(path), [raster], [band], name="test")


def flat(tmp_path, numbers):
    return write_image(tmp_path / "B02.tif", np.asarray(numbers, np.uint16), 10)


def mirrored(image, size):
    """A band of the sample, mirrored to a square of so many pixels."""
    height, width = image.shape
    return np.pad(image, ((0, size - height), (0, size - width)), mode="symmetric").astype(np.uint16)


def warned(scene, *, raised):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_offset(scene, raised=raised)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("suffix", [".jp2", ".tif"])
@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("true", [True, False])
def test_pixels_that_contradict_the_metadata_are_warned_of(tmp_path, sample, suffix, said, true):
    numbers = sample[0][2].astype(np.uint16) + np.uint16(1000 * true)
    messages = warned(scene_of(write_image(tmp_path / f"B04{suffix}", numbers, 10), said, "B04"), raised=said)
    if said == true:
        assert messages == []
    else:
        (message,) = messages
        assert message.startswith(str(tmp_path))
        assert ("1000 DN too dark" if said else "1000 DN too bright") in message
        assert "compare with the original product" in message


@pytest.mark.parametrize(("dark", "count"), [(10, 0), (11, 1)])
def test_more_than_a_thousandth_of_dark_pixels_contradicts(tmp_path, dark, count):
    numbers = np.full((100, 100), 900)
    numbers.flat[:dark] = 899
    assert len(warned(scene_of(flat(tmp_path, numbers), raised=True), raised=True)) == count


@pytest.mark.parametrize(("value", "count"), [(1000, 0), (1001, 1)])
def test_a_first_percentile_above_1000_contradicts(tmp_path, value, count):
    numbers = np.full((100, 100), 3000)
    numbers.flat[:101] = value  # the percentile is the 100th of 10 000
    numbers.flat[:99] = 5
    assert len(warned(scene_of(flat(tmp_path, numbers), raised=False), raised=False)) == count


def test_bands_are_pooled(tmp_path):
    """One band may be bright all over."""
    bright, dark = np.full((60, 60), 2000, np.uint16), np.full((60, 60), 300, np.uint16)
    rasters = []
    for band, numbers in (("B02", bright), ("B03", dark)):
        raster = inspect_raster(write_image(tmp_path / f"{band}.tif", numbers, 10))
        rasters.append(replace(raster, bands={band: 0}, scales=(1e-4,)))
    check_offset(assemble("test", "two", rasters, ["B02", "B03"], name="two"), raised=False)
    assert warned(assemble("test", "one", rasters[:1], ["B02"], name="one"), raised=False)


@pytest.mark.parametrize("raised", [True, False])
def test_a_scene_without_valid_pixels_says_nothing(tmp_path, raised):
    assert warned(scene_of(flat(tmp_path, np.zeros((60, 60))), raised), raised=raised) == []


def test_the_edge_of_the_swath_says_nothing(tmp_path, image, monkeypatch):
    """Coarser pixels mix numbers with nodata there."""
    size = 1536
    numbers = mirrored(image[0], size) + np.uint16(1000)
    rows, cols = np.indices((size, size))
    numbers[cols > 0.8 * size - 0.2 * rows] = 0
    options = {"BLOCKXSIZE": "512", "BLOCKYSIZE": "512", "RESOLUTIONS": "6"}
    path = write_image(tmp_path / "B02.jp2", numbers, 10, **options)
    monkeypatch.setattr(offset_module, "SMALLEST", 64)
    scene = scene_of(path, raised=True)
    with opened(str(path), "JP2OpenJPEG") as dataset:
        parts = list(offset_module._samples(dataset, 0))
    assert {part.shape for part in parts} == {(64, 64)}
    valid = np.concatenate([part[part > 0] for part in parts])
    assert np.mean(valid < offset_module.DARK) > offset_module.DARK_SHARE
    assert warned(scene, raised=True) == []


def test_little_of_a_tile_is_read(tmp_path):
    """Of a whole tile without overviews five blocks, whatever its layout."""
    for layout in ({"tiled": True}, {"tiled": True, "blockxsize": 1024, "blockysize": 1024}, {}):
        path = tmp_path / "B02.tif"
        profile = {"width": 10980, "height": 10980, "count": 1, "dtype": "uint16", "sparse_ok": True}
        with rasterio.open(path, "w", driver="GTiff", **GRID, **profile, **layout):
            pass
        with opened(str(path), "GTiff") as dataset:
            shapes = [part.shape for part in offset_module._samples(dataset, 0)]
        assert len(shapes) == 5
        assert 5 * 200**2 < sum(height * width for height, width in shapes) <= 5 * 1024**2


def test_overviews_are_read_whole(tmp_path, image):
    size = 2048
    path = write_image(tmp_path / "B02.tif", mirrored(image[0], size), 10)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8, 16])
    with opened(str(path), "GTiff") as dataset:
        (part,) = offset_module._samples(dataset, 0)
    assert part.shape == (256, 256)
    assert np.mean(part) == pytest.approx(np.mean(mirrored(image[0], size)), rel=0.1)


def test_a_file_that_is_cut_short_is_an_error(tmp_path, image):
    path = write_image(tmp_path / "B02.jp2", image[0].astype(np.uint16), 10)
    scene = scene_of(path, raised=False)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SceneError, match="B02"):
        check_offset(scene, raised=False)
