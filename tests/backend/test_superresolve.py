"""What a user does, end to end: what comes back is what this machine makes of the same pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import openeo
import pytest
import rasterio
from openeo.rest import OpenEoApiError

from openeo_superres import (
    job_options,
    load_card,
    load_sentinel2,
    save_options,
    superresolve,
    superresolve_local,
)
from openeo_superres.bundle import bundle
from openeo_superres.card import DEFAULT_MODEL

from .conftest import (
    BANDS,
    BOTH,
    CLEAR,
    CLOUDY,
    FAR_NORTH,
    MODEL,
    NORTH,
    Server,
    assert_same,
    download,
    extent,
    finish,
    publish_item,
    read,
    serving,
    tiffs,
    usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable

HOLE = {"left": 280, "top": 185, "width": 90, "height": 70}
"""Around the nodata of the second date."""


@pytest.fixture(scope="module")
def connection(equipped: Server) -> openeo.Connection:
    return equipped.connect()


class TestSynchronous:
    @pytest.mark.parametrize("phase", [(0, 0), (0, 1), (1, 0), (1, 1)])
    @pytest.mark.parametrize(("size", "overlap"), [(64, 26), (51, 27), (40, 29)])
    @pytest.mark.parametrize("mode", ["grid", "upscale"])
    def test_phases_and_sizes(self, connection, expected, tmp_path, phase, size, overlap, mode) -> None:
        box = extent(120 + phase[0], 80 + phase[1], 83, 71)
        cube = load_sentinel2(connection, box, CLEAR)
        fine = superresolve(cube, MODEL, size=size, overlap=overlap, mode=mode)
        assert_same(download(fine, tmp_path), expected[CLEAR[0]], box)

    @pytest.mark.parametrize("shift", [(0.5, 0), (0, 0.5), (0.5, 0.5)])
    def test_extent_inside_10m_pixels(self, connection, expected, tmp_path, shift) -> None:
        box = extent(121 + shift[0], 80 + shift[1], 40, 40)
        fine = superresolve(load_sentinel2(connection, box, CLEAR), MODEL, size=33)
        assert_same(download(fine, tmp_path), expected[CLEAR[0]], box)

    @pytest.mark.parametrize("shift", [0, 0.5, 1, 1.5])
    @pytest.mark.parametrize("mode", ["grid", "upscale"])
    def test_northings_that_float32_rounds(self, connection, expected, tmp_path, shift, mode) -> None:
        """Coordinates half a metre off, as they arrive there, are no reason to refuse or to shift."""
        box = extent(120, 80 + shift, 40, 40, north=FAR_NORTH)
        cube = load_sentinel2(connection, box, CLEAR, collection_id="SENTINEL2_L1C")
        fine = superresolve(cube, MODEL, size=33, mode=mode)
        whole = expected[CLEAR[0]]
        whole = whole.assign_coords(y=whole["y"] + FAR_NORTH - NORTH)
        assert_same(download(fine, tmp_path), whole, box)

    @pytest.mark.parametrize("mode", ["grid", "upscale"])
    @pytest.mark.parametrize("corner", [(-13, -8), (471, -5), (-3, 480), (477, 475)])
    def test_edge_of_the_data(self, connection, expected, tmp_path, mode, corner) -> None:
        box = extent(*corner, 50, 44)
        fine = superresolve(load_sentinel2(connection, box, CLEAR), MODEL, size=39, mode=mode)
        assert_same(download(fine, tmp_path), expected[CLEAR[0]], box)

    @pytest.mark.parametrize("mode", ["grid", "upscale"])
    def test_nodata(self, connection, expected, tmp_path, mode) -> None:
        box = extent(**HOLE)
        fine = superresolve(load_sentinel2(connection, box, CLOUDY), MODEL, size=41, mode=mode)
        result = download(fine, tmp_path)
        assert_same(result, expected[CLOUDY[0]], box)
        assert 0.1 < np.isnan(result).mean() < 0.9

    def test_default_model(self, connection, measured, tmp_path) -> None:
        box = extent(201, 190, 60, 50)
        fine = superresolve(load_sentinel2(connection, box, CLEAR), size=64)
        part = measured[CLEAR[0]][:, 140:290, 150:310]
        assert_same(download(fine, tmp_path), superresolve_local(part), box)

    def test_masked_and_composited(self, connection, tmp_path) -> None:
        box = extent(101, 301, 80, 70)
        cube = load_sentinel2(connection, box, BOTH)
        scl = connection.load_collection("SENTINEL2_L2A", box, list(BOTH), ["SCL"]).band("SCL")
        clear = cube.mask(scl == 9).reduce_dimension(dimension="t", reducer="mean")
        fine = superresolve(clear, MODEL, size=64)
        # without the overlap's data the box alone would differ at its edges
        around = extent(61, 261, 160, 150)
        cube = load_sentinel2(connection, around, BOTH)
        scl = connection.load_collection("SENTINEL2_L2A", around, list(BOTH), ["SCL"]).band("SCL")
        coarse = cube.mask(scl == 9).reduce_dimension(dimension="t", reducer="mean")
        whole = superresolve_local(download(coarse, tmp_path, "a.tif"), MODEL)
        assert_same(download(fine, tmp_path, "b.tif"), whole, box)

    def test_what_follows(self, connection, expected, tmp_path) -> None:
        box = extent(120, 80, 40, 40)
        fine = superresolve(load_sentinel2(connection, box, CLEAR), MODEL, size=64)
        result = download(fine.ndvi(nir="B08", red="B04"), tmp_path)
        image = expected[CLEAR[0]].sel(y=result["y"], x=result["x"])
        red, nir = image.sel(bands="B04"), image.sel(bands="B08")
        np.testing.assert_allclose(result[0], (nir - red) / (nir + red), atol=1e-5)

    @pytest.mark.parametrize("size", [33, 64])
    @pytest.mark.parametrize("mode", ["grid", "upscale"])
    def test_foreign_catalogue(self, connection, equipped, measured, tmp_path, mode, size) -> None:
        """Raw numbers are made DN by the offset that the user states; nothing outside the box is loaded."""
        box = extent(33, 44, 50, 40)
        inside = measured[CLEAR[0]][:, 44:84, 33:83]
        cube = connection.load_stac(publish_item(equipped), box, list(CLEAR), BANDS)
        result = download(superresolve(cube, MODEL, mode=mode, size=size, offset=-100), tmp_path)
        assert_same(result, superresolve_local(inside - 100, MODEL), box)

    @pytest.mark.parametrize("mode", ["grid", "upscale"])
    def test_bands_in_another_order(self, connection, expected, tmp_path, mode) -> None:
        """The model takes them in its own; and it does not take the scene classification."""
        box, names = extent(120, 80, 40, 40), [*BANDS[3::-1], "SCL", *BANDS[:3:-1]]
        cube = connection.load_collection("SENTINEL2_L2A", box, list(CLEAR), names)
        result = download(superresolve(cube, MODEL, size=64, mode=mode), tmp_path)
        whole = expected[CLEAR[0]]
        assert {*result["bands"].to_numpy()} == {*BANDS}
        assert_same(result, whole.sel(bands=result["bands"]), box)

    def test_two_dates_in_one_file(self, connection, expected, tmp_path) -> None:
        """A GeoTIFF that is asked for without a job holds of each pixel the first date that has it."""
        box = extent(**HOLE)
        cube = load_sentinel2(connection, box, BOTH)
        result = download(superresolve(cube, MODEL, size=64), tmp_path)
        assert_same(result, expected[CLEAR[0]], box)


class TestMistakes:
    def test_no_onnxruntime(self, server, tmp_path) -> None:
        """A synchronous call has no archives."""
        cube = load_sentinel2(server.connect(), extent(), CLEAR)
        with pytest.raises(OpenEoApiError, match=r"onnxruntime is missing.*batch jobs only"):
            superresolve(cube, MODEL).download(tmp_path / "a.tif")

    @pytest.mark.parametrize("method", ["bilinear", "cubic"])
    def test_smooth_resampling_in_a_graph(self, connection, tmp_path, method) -> None:
        cube = load_sentinel2(connection, extent(100, 100), CLEAR)
        graph = superresolve(cube, MODEL).flat_graph()
        graph["resamplespatial1"]["arguments"]["method"] = method
        with pytest.raises(OpenEoApiError, match="resampled smoothly"):
            connection.download(graph, tmp_path / "a.tif")

    def test_wrong_runtime_is_silent(self, connection, tmp_path) -> None:
        """Why the client chooses the runtime: nothing but the resolution tells of the mistake."""
        cube = load_sentinel2(connection, extent(100, 100), CLEAR)
        fine = superresolve(cube, MODEL, mode="upscale")
        graph = fine.flat_graph()
        node = graph["applyneighborhood1"]["arguments"]["process"]["process_graph"]["runudf1"]
        node["arguments"]["runtime"] = "Python"
        connection.download(graph, tmp_path / "a.tif", timeout=100)
        result = read(tmp_path / "a.tif")
        assert result.x[1] - result.x[0] == 10


@pytest.fixture
def batch(archive_url: str, tmp_path: Path) -> Callable[..., tuple[openeo.BatchJob, list[Path]]]:
    """Run a cube as a batch job with default options."""

    def run(cube: openeo.DataCube, model: str = MODEL) -> tuple[openeo.BatchJob, list[Path]]:
        options = job_options(model, onnxruntime=archive_url)
        saved = cube.save_result("GTiff", options=save_options(model))
        job = finish(saved.create_job(job_options=options))
        return job, tiffs(job, tmp_path)

    return run


def assert_loaded_once(job: openeo.BatchJob, chunks: int) -> None:
    """Each worker opened the model once, however many chunks it got, in the memory it was given."""
    workers = [worker for worker in usage(job) if worker["chunks"]]
    assert sum(worker["chunks"] for worker in workers) == chunks
    assert [worker["model_loads"] for worker in workers] == [1] * len(workers)
    assert all(worker["virtual_mib"] < 3 << 10 for worker in workers)


class TestBatch:
    @pytest.mark.parametrize("mode", ["grid", "upscale"])
    def test_dates_and_files(self, server, batch, expected, mode) -> None:
        box = extent(**HOLE)
        cube = load_sentinel2(server.connect(), box, BOTH)
        job, paths = batch(superresolve(cube, MODEL, size=64, mode=mode))
        assert [path.name for path in paths] == [f"SR_{MODEL}_{day}Z.tif" for day in expected]
        for path, whole in zip(paths, expected.values(), strict=True):
            assert_same(read(path), whole, box)
        assert_loaded_once(job, chunks=2 * 3 * 2)
        with rasterio.open(paths[0]) as source:
            assert set(source.scales) == {1e-4}
            assert source.tags()["MODEL_SHA256"] == load_card(MODEL).sha256

    @pytest.mark.parametrize("mode", ["grid", "upscale"])
    def test_all_dates_in_one_chunk(self, server, archive_url, expected, tmp_path, mode) -> None:
        """As a graph of one's own may ask: without "P1D"."""
        box, connection = extent(**HOLE), server.connect()
        graph = superresolve(load_sentinel2(connection, box, BOTH), MODEL, size=64, mode=mode).flat_graph()
        arguments = graph["applyneighborhood1"]["arguments"]
        arguments["size"] = [entry for entry in arguments["size"] if entry["dimension"] != "t"]
        options = job_options(MODEL, onnxruntime=archive_url)
        job = finish(connection.create_job(graph, additional=options))
        assert_loaded_once(job, chunks=2 * 3)
        for path, whole in zip(tiffs(job, tmp_path), expected.values(), strict=True):
            assert_same(read(path), whole, box)

    def test_cloud_cover(self, server, batch) -> None:
        cube = load_sentinel2(server.connect(), extent(), BOTH, max_cloud_cover=10)
        _, paths = batch(superresolve(cube, MODEL, size=64))
        assert [path.name for path in paths] == [f"SR_{MODEL}_{CLEAR[0]}Z.tif"]

    def test_model_from_an_archive(self, server, wheel, expected, tmp_path) -> None:
        made = bundle(server.public, MODEL, url=server.publish(""), wheel=wheel)
        box = extent(60, 60)
        cube = load_sentinel2(server.connect(), box, CLEAR)
        fine = superresolve(cube, MODEL, size=64, weights=made.weights)
        assert len(json.dumps(fine.flat_graph())) < 64 << 10
        job = finish(fine.create_job(out_format="GTiff", job_options=made.job_options))
        [path] = tiffs(job, tmp_path)
        assert_same(read(path), expected[CLEAR[0]], box)

    def test_default_model_at_its_default_size(self, server, batch, measured) -> None:
        """The memory of the default options is enough, on a chunk of full size."""
        box = extent(0, 0, 512, 512)
        job, [path] = batch(superresolve(load_sentinel2(server.connect(), box, CLEAR)), DEFAULT_MODEL)
        assert_same(read(path), superresolve_local(measured[CLEAR[0]]), box)
        assert_loaded_once(job, chunks=4)


@pytest.mark.spark
def test_spark_loads_the_model_once(java, onnxruntime_archive, expected, tmp_path) -> None:  # noqa: ARG001
    # eight chunks at once
    with serving(tmp_path, "--executor", "spark", "--batch", "10000") as server:
        (server.public / "onnxruntime.zip").write_bytes(onnxruntime_archive.read_bytes())
        box = extent(101, 100, 120, 100)
        fine = superresolve(load_sentinel2(server.connect(), box, CLEAR), MODEL, size=32)
        options = job_options(MODEL, onnxruntime=server.publish("onnxruntime.zip"))
        job = finish(fine.create_job(out_format="GTiff", job_options=options))
        [path] = tiffs(job, tmp_path)
        assert_same(read(path), expected[CLEAR[0]], box)
        assert len(usage(job)) == 2
        assert_loaded_once(job, chunks=6 * 5)
