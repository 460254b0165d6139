"""The collections and processes of the back-end on localhost."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from openeo.rest import OpenEoApiError
from rasterio.warp import transform_bounds

from .conftest import BANDS, BOTH, CLEAR, CLOUDY, EDGE, EPSG, NORTH, WEST, download, extent, finish
from .graphs import load


class TestCollections:
    def test_pixels_are_the_sample(self, connection, tmp_path, image) -> None:
        whole = extent(width=EDGE // 10, height=EDGE // 10)
        result = download(load(connection, whole, bands=tuple(BANDS)), tmp_path)
        np.testing.assert_array_equal(result, image)
        assert [*result["bands"].to_numpy()] == BANDS
        assert (result.x[0], result.y[0]) == (WEST + 5, NORTH - 5)

    def test_second_date_has_holes_and_clouds(self, connection, tmp_path) -> None:
        whole = extent(width=EDGE // 10, height=EDGE // 10)
        result = download(load(connection, whole, CLOUDY), tmp_path)
        assert np.isnan(result[:, 210, 310]).all()
        assert not np.isnan(result[:, 300, 10]).any()

    def test_cloud_cover_filters(self, connection, tmp_path) -> None:
        cube = load(connection, temporal=BOTH, max_cloud_cover=10)
        job = finish(cube.create_job(out_format="GTiff"))
        assert [asset.key for asset in job.get_results().get_assets()] == ["openEO_2016-08-01Z.tif"]
        with pytest.raises(OpenEoApiError, match="no data available"):
            load(connection, temporal=BOTH, max_cloud_cover=1).download(tmp_path / "a.tif")

    def test_extent_in_degrees(self, connection, tmp_path, image) -> None:
        box = {"west": -75.72, "south": 37.60, "east": -75.71, "north": 37.61}
        result = download(load(connection, box), tmp_path)
        west, south, east, north = transform_bounds(4326, EPSG, *box.values())
        # the pixels that the box touches
        left, right = int((west - WEST) // 10), int((east - WEST) // 10)
        top, bottom = int((NORTH - north) // 10), int((NORTH - south) // 10)
        assert (result.x[0], result.y[0]) == (WEST + 10 * left + 5, NORTH - 10 * top - 5)
        np.testing.assert_array_equal(result, image[[0, 7], top : bottom + 1, left : right + 1])

    def test_metadata(self, connection) -> None:
        metadata = load(connection).metadata
        assert [dimension.step for dimension in metadata.spatial_dimensions] == [10, 10]
        assert {"Python", "Python-Jep"} <= set(connection.list_udf_runtimes())


class TestProcesses:
    def test_band_arithmetic_and_ndvi(self, connection, tmp_path) -> None:
        cube = load(connection, bands=("B04", "B08"))
        red, nir = cube.band("B04"), cube.band("B08")
        mine = download((nir - red) / (nir + red), tmp_path, "a.tif")
        np.testing.assert_allclose(mine, download(cube.ndvi(), tmp_path, "b.tif"), rtol=1e-6)

    def test_cloud_mask(self, connection, tmp_path) -> None:
        box = extent(100, 300, 150, 150)
        cube = load(connection, box, CLOUDY)
        scl = load(connection, box, CLOUDY, ("SCL",)).band("SCL")
        masked = download(cube.mask((scl == 8) | (scl == 9)), tmp_path, "b.tif")
        share = np.isnan(masked).mean()
        assert 0.2 < share < 0.8
        before = download(cube, tmp_path, "a.tif")
        valid = ~np.isnan(masked.to_numpy())
        np.testing.assert_array_equal(masked.to_numpy()[valid], before.to_numpy()[valid])

    def test_composites(self, connection, tmp_path) -> None:
        cube = load(connection, temporal=BOTH)
        first, second = (download(load(connection, temporal=time), tmp_path) for time in (CLEAR, CLOUDY))
        mean = download(cube.reduce_dimension(dimension="t", reducer="mean"), tmp_path)
        np.testing.assert_allclose(mean[:, 45:, :], ((first + second) / 2)[:, 45:, :])
        month = cube.aggregate_temporal([["2016-08-01", "2016-09-01"]], "max")
        np.testing.assert_array_equal(download(month, tmp_path), np.fmax(first, second))

    def test_first_date_that_has_a_pixel(self, connection, tmp_path) -> None:
        """A GeoTIFF has no dates; a job makes one for each."""
        box = extent(100, 300, 150, 150)
        cube, scl = load(connection, box, BOTH), load(connection, box, BOTH, ("SCL",)).band("SCL")
        first, second = (download(load(connection, box, time), tmp_path) for time in (CLEAR, CLOUDY))
        np.testing.assert_array_equal(download(cube, tmp_path), first)
        # the first date is land everywhere, the second partly cloud
        cloud = download(scl.filter_temporal(*CLOUDY) == 9, tmp_path, "cloud.tif").to_numpy()[0] == 1
        cloud = cloud.repeat(2, 0).repeat(2, 1)
        assert 0.2 < cloud.mean() < 0.8
        result = download(cube.mask(scl == 4), tmp_path)
        np.testing.assert_array_equal(result, np.where(cloud, second, np.nan))

    def test_filters(self, connection, tmp_path) -> None:
        cube = load(connection, extent(100, 100, 60, 60))
        part = download(cube.filter_bbox(extent(110, 120, 20, 10)).filter_bands(["B8A"]), tmp_path, "b.tif")
        before = download(cube, tmp_path, "a.tif")
        np.testing.assert_array_equal(part, before[1:, 20:30, 10:30])
        merged = load(connection, bands=("B02",)).merge_cubes(load(connection, bands=("B8A",)))
        np.testing.assert_array_equal(
            download(merged, tmp_path, "c.tif"), download(load(connection), tmp_path, "d.tif")
        )

    def test_zonal_mean(self, connection, tmp_path) -> None:
        box = {"type": "Polygon", "coordinates": [
            [[-75.72, 37.60], [-75.71, 37.60], [-75.71, 37.61], [-75.72, 37.61], [-75.72, 37.60]]
        ]}  # fmt: skip
        whole = extent(width=512, height=512)
        result = load(connection, whole).aggregate_spatial(box, reducer="mean").execute()
        [(date, [values])] = result.items() if "data" not in result else result["data"].items()
        assert date.startswith("2016-08-01")
        assert len(values) == 2
        part = download(load(connection, whole).filter_spatial(box), tmp_path)
        np.testing.assert_allclose(values, part.mean(("y", "x")), rtol=1e-5)

    def test_geotiff_tags(self, connection, tmp_path) -> None:
        options = {
            "filename_prefix": "SR",
            "bands_metadata": {"B02": {"SCALE": 1e-4, "OFFSET": -0.1, "DESCRIPTION": "blue", "unit": "1"}},
            "file_metadata": {"MODEL": "nearest"},
        }
        job = finish(load(connection).save_result("GTiff", options=options).create_job())
        [path] = [p for p in job.get_results().download_files(tmp_path) if p.suffix == ".tif"]
        assert path.name == "SR_2016-08-01Z.tif"
        with rasterio.open(path) as source:
            assert source.descriptions == ("blue", "B8A")
            assert (source.scales[0], source.offsets[0], source.tags(1)["UNIT"]) == (1e-4, -0.1, "1")
            assert source.tags()["MODEL"] == "nearest"

    def test_netcdf(self, connection, tmp_path) -> None:
        cube = load(connection, temporal=BOTH)
        cube.download(tmp_path / "a.nc", format="netCDF")
        with rasterio.open(f"netcdf:{tmp_path / 'a.nc'}:B8A") as source:
            assert source.count == 2
            np.testing.assert_array_equal(
                source.read(1), download(load(connection), tmp_path).sel(bands="B8A")
            )
