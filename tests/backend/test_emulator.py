"""The back-end itself: it does what GeoTrellis does, also where that is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import openeo
import pytest
import rasterio
import requests
from openeo.extra.job_management import MultiBackendJobManager
from openeo.rest import OpenEoApiError
from openeo.rest.job import JobFailedException

from .conftest import (
    BANDS,
    BOTH,
    CLEAR,
    CLOUDY,
    DAILY,
    EDGE,
    NORTH,
    WEST,
    Server,
    download,
    extent,
    finish,
    pack,
    pixels,
    publish_item,
    usage,
)

if TYPE_CHECKING:
    pass

HEAD = """
import numpy as np, xarray, json
from openeo.udf import XarrayDataCube
from openeo.metadata import CubeMetadata

def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:
    array = cube.get_array()
"""
IDENTITY = f"{HEAD}    return XarrayDataCube(array)\n"
TWICE = f"""{HEAD}
    values = array.values.repeat(2, axis=-2).repeat(2, axis=-1)
    coords = {{"bands": array["bands"].values}}
    return XarrayDataCube(xarray.DataArray(values, coords, array.dims))
"""
METADATA = """
def apply_metadata(metadata: CubeMetadata, context: dict) -> CubeMetadata:
    steps = [dimension.step / 2 for dimension in metadata.spatial_dimensions]
    return metadata.resample_spatial(resolution=steps)
"""
RECORD = f"""{HEAD}
    record = {{"dims": array.dims, "shape": array.shape, "nan": int(np.isnan(array.values).sum())}}
    record["kind"] = str(array.dtype) + " " + str(array.x.dtype)
    record["x"] = array.x.values[:2].tolist() + array.x.values[-1:].tolist()
    record["y"] = array.y.values[:2].tolist()
    record["bands"] = array["bands"].values.tolist()
    print("RECORD", json.dumps(record))
    return XarrayDataCube(array)
"""


def load(
    connection: openeo.Connection,
    spatial: dict[str, Any] | None = None,
    temporal: tuple[str, str] = CLEAR,
    bands: tuple[str, ...] = ("B02", "B8A"),
    **options: Any,
) -> openeo.DataCube:
    return connection.load_collection(
        "SENTINEL2_L2A",
        spatial_extent=extent() if spatial is None else spatial,
        temporal_extent=list(temporal),
        bands=list(bands),
        **options,
    )


def run(
    cube: openeo.DataCube,
    code: str,
    *,
    size: int = 32,
    overlap: int = 4,
    runtime: str = "Python",
    time: bool = False,
    context: dict | None = None,
) -> openeo.DataCube:
    udf = openeo.UDF(code, runtime=runtime, context=context or {})
    sizes = pixels(size) if time else pixels(size) + DAILY
    return cube.apply_neighborhood(udf, size=sizes, overlap=pixels(overlap))


def records(job: openeo.BatchJob) -> list[dict[str, Any]]:
    lines = [entry["message"] for entry in job.logs()]
    return [json.loads(line.removeprefix("RECORD")) for line in lines if line.startswith("RECORD")]


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

    def test_extent_in_degrees(self, connection, tmp_path) -> None:
        box = {"west": -75.72, "south": 37.60, "east": -75.71, "north": 37.61}
        result = download(load(connection, box), tmp_path)
        assert result.sizes["x"] > 85
        assert (result.x[0] - 5 - WEST) % 10 == 0

    def test_metadata(self, connection) -> None:
        metadata = load(connection).metadata
        assert [dimension.step for dimension in metadata.spatial_dimensions] == [10, 10]
        assert {"Python", "Python-Jep"} <= set(connection.list_udf_runtimes())


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
        assert not np.array_equal(smooth, before)


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


class TestServices:
    def test_request_too_large(self, connection) -> None:
        udf = f"{IDENTITY}\n# {'x' * (2 << 20)}\n"
        with pytest.raises(OpenEoApiError, match="413"):
            run(load(connection), udf).execute()

    def test_password(self, server: Server) -> None:
        stranger = openeo.connect(server.url)
        with pytest.raises(OpenEoApiError, match="403"):
            stranger.authenticate_basic("test", "wrong").list_jobs()

    def test_errors_reach_the_user(self, connection, tmp_path) -> None:
        code = f"{HEAD}    raise ValueError('the cause')\n"
        cube = run(load(connection), code)
        with pytest.raises(OpenEoApiError, match="the cause"):
            cube.download(tmp_path / "a.tif")
        job = cube.create_job(out_format="GTiff")
        with pytest.raises(JobFailedException):
            finish(job)
        [entry] = list(job.logs(level="error"))
        assert "the cause" in entry["message"]
        assert "line 8, in apply_datacube" in entry["message"]

    def test_workers_are_bare(self, connection) -> None:
        """Neither this package nor onnxruntime is there, nor the back-end's own modules."""
        code = f"""{HEAD}
    import importlib.util
    names = ["openeo_superres", "onnxruntime", "backend", "numpy"]
    print("RECORD", json.dumps({{name: bool(importlib.util.find_spec(name)) for name in names}}))
    return XarrayDataCube(array)
"""
        [seen, *_] = records(finish(run(load(connection), code).create_job(out_format="GTiff")))
        assert seen == {"openeo_superres": False, "onnxruntime": False, "backend": False, "numpy": True}

    def test_archives_and_memory(self, connection, server, tmp_path) -> None:
        (tmp_path / "content").mkdir()
        (tmp_path / "content" / "answer.py").write_text("VALUE = 42\n")
        pack(tmp_path / "content", server.public / "answer.zip")
        code = f"""{HEAD}
    import sys, resource
    sys.path.append("deps")
    import answer
    print("RECORD", json.dumps([answer.VALUE, resource.getrlimit(resource.RLIMIT_AS)[0]]))
    return XarrayDataCube(array)
"""
        cube = run(load(connection), code)
        options = {"udf-dependency-archives": [f"{server.publish('answer.zip')}#deps"], "python-memory": "2g"}
        job = finish(cube.create_job(out_format="GTiff", job_options=options))
        assert records(job)[0] == [42, 2 << 30]
        assert sum(worker["chunks"] for worker in usage(job)) == 6
        with pytest.raises(OpenEoApiError, match="No module named 'answer'"):
            cube.download(tmp_path / "a.tif")

    def test_out_of_memory(self, connection) -> None:
        code = f"{HEAD}    return XarrayDataCube(array + np.zeros(1 << 28).sum())\n"
        job = run(load(connection), code).create_job(job_options={"python-memory": "1g"}, out_format="GTiff")
        with pytest.raises(JobFailedException):
            finish(job)
        assert "MemoryError" in job.logs(level="error")[0]["message"]

    def test_saved_process(self, connection, server, tmp_path) -> None:
        parameter = openeo.api.process.Parameter.bounding_box("box")
        cube = connection.load_collection("SENTINEL2_L2A", parameter, list(CLEAR), ["B02", "B8A"])
        process = run(cube, IDENTITY)
        connection.save_user_defined_process("copy", process.flat_graph(), [parameter])
        expected = download(load(connection), tmp_path, "a.tif")
        by_id = connection.datacube_from_process("copy", box=extent())
        np.testing.assert_array_equal(download(by_id, tmp_path, "b.tif"), expected)
        definition = openeo.rest.udp.build_process_dict(process, "shared", parameters=[parameter])
        (server.public / "shared.json").write_text(json.dumps(definition))
        by_url = connection.datacube_from_process(
            "shared", namespace=server.publish("shared.json"), box=extent()
        )
        np.testing.assert_array_equal(download(by_url, tmp_path, "c.tif"), expected)

    def test_foreign_stac(self, connection, server, tmp_path) -> None:
        url = publish_item(server)
        cube = connection.load_stac(url, extent(3, 4), list(CLEAR), ["B02", "B8A"])
        result = download(run(cube, IDENTITY), tmp_path, "a.tif")
        np.testing.assert_array_equal(result, download(load(connection, extent(3, 4)), tmp_path, "b.tif"))

    def test_job_manager(self, connection, tmp_path) -> None:
        manager = MultiBackendJobManager(poll_sleep=1, root_dir=tmp_path)
        manager.add_backend("local", connection, parallel_jobs=2)
        jobs = openeo.extra.job_management.CsvJobDatabase(tmp_path / "jobs.csv")

        def start(row: Any, connection: openeo.Connection, **_: Any) -> openeo.BatchJob:
            cube = load(connection, extent(int(row["left"]), 0))
            return run(cube, IDENTITY).create_job(out_format="GTiff")

        import pandas as pd  # noqa: PLC0415

        jobs.initialize_from_df(pd.DataFrame({"left": [0, 60]}))
        manager.run_jobs(job_db=jobs, start_job=start)
        assert set(jobs.read()["status"]) == {"finished"}
        assert len([*tmp_path.glob("job_*/openEO_*.tif")]) == 2

    def test_public_files(self, server) -> None:
        (server.public / "hello.txt").write_text("hello")
        assert requests.get(server.publish("hello.txt"), timeout=5).text == "hello"
        assert requests.get(server.publish("../config.py"), timeout=5).status_code == 404
