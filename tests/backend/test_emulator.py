"""The emulation of GeoTrellis: it does what GeoTrellis does, also where that is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from openeo.rest import OpenEoApiError

from .conftest import BOTH, CLEAR, FAR_NORTH, NORTH, WEST, download, extent, finish
from .graphs import HEAD, IDENTITY, METADATA, RECORD, TWICE, load, records, run


class TestChunks:
    @pytest.mark.parametrize(("size", "overlap"), [(32, 0), (32, 5), (33, 8), (16, 16), (128, 20)])
    @pytest.mark.parametrize("runtime", ["Python", "Python-Jep"])
    def test_identity(self, connection, tmp_path, size, overlap, runtime) -> None:
        cube = load(connection, extent(7, 9))
        result = run(cube, IDENTITY, size=size, overlap=overlap, runtime=runtime)
        np.testing.assert_array_equal(download(result, tmp_path, "b.tif"), download(cube, tmp_path, "a.tif"))

    def test_chunk_by_chunk(self, connection) -> None:
        job = finish(run(load(connection, extent(-4, -4, 60, 60)), RECORD).create_job(out_format="GTiff"))
        seen = records(job)
        # the layer is larger than the box by the overlap: 68 pixels are three tiles of 32
        assert len(seen) == 9
        assert {tuple(record["shape"]) for record in seen} == {(2, 40, 40)}
        assert {tuple(record["dims"]) for record in seen} == {("bands", "y", "x")}
        assert {record["kind"] for record in seen} == {"float32 float32"}
        assert seen[0]["bands"] == ["B02", "B8A"]
        first = next(record for record in seen if record["x"][0] == WEST - 115)
        assert first["x"][1] - first["x"][0] == 10
        # 8 pixels without data before the sample and 4 without a neighbour
        corner = next(r for r in seen if r["x"][0] == WEST - 115 and r["y"][0] == NORTH + 115)
        assert corner["nan"] == 2 * (40 * 40 - 28 * 28)

    def test_coordinates_are_rounded(self, connection) -> None:
        """Where the north of SENTINEL2_L1C is, float32 holds no halves."""
        box = extent(100, 100, 20, 20, north=FAR_NORTH)
        cube = connection.load_collection("SENTINEL2_L1C", box, list(CLEAR), ["B02"])
        cube = cube.resample_spatial(resolution=5, method="near")
        [seen, *_] = records(finish(run(cube, RECORD, size=40).create_job(out_format="GTiff")))
        assert seen["y"][0] % 1 == seen["y"][1] % 1 == 0
        assert seen["y"][0] - seen["y"][1] in {4, 6}
        assert seen["x"][1] - seen["x"][0] == 5

    def test_all_dates_in_one_chunk(self, connection, tmp_path) -> None:
        job = finish(run(load(connection, temporal=BOTH), RECORD, time=True).create_job(out_format="GTiff"))
        assert {tuple(record["dims"]) for record in records(job)} == {("t", "bands", "y", "x")}
        job.get_results().download_files(tmp_path)
        dates = sorted(path.name for path in tmp_path.glob("*.tif"))
        assert dates == ["openEO_2016-08-01Z.tif", "openEO_2016-08-11Z.tif"]

    def test_result_without_date_is_stamped(self, connection) -> None:
        code = f"{HEAD}    return XarrayDataCube(array.isel(t=0, drop=True))\n"
        job = finish(run(load(connection), code, time=True).create_job(out_format="GTiff"))
        assert [asset.key for asset in job.get_results().get_assets()] == ["openEO_2020-01-01Z.tif"]

    def test_bands_are_labelled_by_position(self, connection, tmp_path) -> None:
        cube = load(connection)
        code = f"{HEAD}    return XarrayDataCube(array.isel(bands=[1, 0]))\n"
        result = download(run(cube, code), tmp_path, "b.tif")
        before = download(cube, tmp_path, "a.tif")
        np.testing.assert_array_equal(result.sel(bands="B02"), before.sel(bands="B8A"))

    @pytest.mark.parametrize("offset", [(0, 0), (5, 0), (0, 5), (5, 5)])
    def test_tiles_start_at_the_layer(self, connection, tmp_path, offset) -> None:
        """At 5 m the layer may start inside a pixel of 10 m."""
        box = extent(11, 12, 30, 30)
        box = {**box, "west": box["west"] + offset[0], "north": box["north"] - offset[1]}
        cube = load(connection, box).resample_spatial(resolution=5, method="near")
        result = download(run(cube, IDENTITY, size=24, overlap=7), tmp_path, "b.tif")
        np.testing.assert_array_equal(result, download(cube, tmp_path, "a.tif"))
        assert (result.x[0] - 2.5, result.y[0] + 2.5) == (box["west"], box["north"])

    def test_overlap_larger_than_size(self, connection, tmp_path) -> None:
        cube = load(connection, extent(100, 100))
        with pytest.raises(OpenEoApiError, match="overlap"):
            run(cube, IDENTITY, size=16, overlap=17).download(tmp_path / "a.tif")
        before = download(cube, tmp_path, "a.tif")
        shifted = download(run(cube, IDENTITY, size=16, overlap=32), tmp_path, "b.tif")
        assert not np.array_equal(shifted, before)

    def test_too_small(self, connection, tmp_path) -> None:
        with pytest.raises(OpenEoApiError, match="sizes below 4"):
            run(load(connection), IDENTITY, size=2, overlap=0).download(tmp_path / "a.tif")


class TestResolution:
    def test_python_is_silently_wrong(self, connection, tmp_path) -> None:
        cube = load(connection, extent(100, 100))
        result = download(run(cube, TWICE + METADATA, overlap=0), tmp_path, "b.tif")
        before = download(cube, tmp_path, "a.tif")
        assert result.shape == before.shape
        assert result.x[1] - result.x[0] == 10
        # the upper left quarter of what was made of the tile
        np.testing.assert_array_equal(
            result[:, :32, :32], before[:, :16, :16].to_numpy().repeat(2, 1).repeat(2, 2)
        )

    def test_jep_with_metadata(self, connection, tmp_path) -> None:
        cube = load(connection, extent(101, 100))
        result = download(run(cube, TWICE + METADATA, runtime="Python-Jep"), tmp_path, "b.tif")
        before = download(cube, tmp_path, "a.tif")
        np.testing.assert_array_equal(result, before.to_numpy().repeat(2, 1).repeat(2, 2))
        assert (result.x[1] - result.x[0], result.x[0]) == (5, before.x[0] - 2.5)

    def test_jep_without_metadata(self, connection, tmp_path) -> None:
        with pytest.raises(OpenEoApiError, match="same rows and columns"):
            run(load(connection), TWICE, runtime="Python-Jep").download(tmp_path / "a.tif")

    def test_jep_wants_float32(self, connection, tmp_path) -> None:
        code = f"{HEAD}    return XarrayDataCube(array.astype('float64'))\n"
        with pytest.raises(OpenEoApiError, match="float32"):
            run(load(connection), code, runtime="Python-Jep").download(tmp_path / "a.tif")

    def test_jep_counts_the_overlap_twice(self, connection) -> None:
        cube = run(
            load(connection, extent(100, 100, 100, 100)), RECORD, size=128, overlap=16, runtime="Python-Jep"
        )
        [seen] = records(finish(cube.create_job(out_format="GTiff")))[:1]
        assert seen["x"][1] - seen["x"][0] == pytest.approx(12, abs=0.1)

    def test_state(self, connection) -> None:
        """The module lives on in one runtime and not in the other."""
        code = f"""
calls = []
{HEAD}
    calls.append(1)
    print("CALLS", len(calls))
    return XarrayDataCube(array)
"""
        for runtime, most in (("Python", 2), ("Python-Jep", 1)):
            job = finish(run(load(connection), code, runtime=runtime).create_job(out_format="GTiff"))
            calls = [int(e["message"].split()[1]) for e in job.logs() if e["message"].startswith("CALLS")]
            assert len(calls) == 6
            assert max(calls) >= most if runtime == "Python" else max(calls) == most

    @pytest.mark.parametrize("method", ["bilinear", "cubic"])
    def test_only_nearest_keeps_the_samples(self, connection, tmp_path, method) -> None:
        cube = load(connection, extent(100, 100))
        before = download(cube, tmp_path, "a.tif").to_numpy().repeat(2, 1).repeat(2, 2)
        smooth = download(cube.resample_spatial(resolution=5, method=method), tmp_path, "b.tif")
        assert smooth.shape == before.shape
        assert np.isfinite(smooth).all()
        assert 5 < np.abs(smooth - before).mean() < 60
        assert abs(float(smooth.mean()) - before.mean()) < 5
