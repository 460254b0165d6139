"""The examples, run as a user runs them, against the back-end on localhost."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.features import geometry_mask

from openeo_superres import build_process, load_card, superresolve_local

from .conftest import EPSG, MODEL, NORTH, ROOT, TOLERANCE, WEST, Server, read

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = ROOT / "examples"


@pytest.fixture
def example(server: Server, archive_url: str, tmp_path: Path) -> Callable[..., str]:
    """Run a script; what it prints."""

    def run(script: str, *arguments: object, own: bool = True) -> str:
        command = [sys.executable, EXAMPLES / script, server.url, *arguments]
        command += ["--user", "test", "--password", "test123", "--output", tmp_path]
        command += ["--onnxruntime", archive_url] if own else []
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="module")
def fine(cube: xr.DataArray) -> xr.DataArray:
    """The sample at 5 m, made here."""
    return superresolve_local(cube, MODEL)


def assert_same(path: Path, fine: xr.DataArray) -> None:
    """A file holds the pixels that are made here of the same place."""
    found = read(path)
    there = fine.sel(bands=found["bands"], y=found["y"], x=found["x"])
    np.testing.assert_allclose(found, there, rtol=0, atol=TOLERANCE)


def test_batch_job(example, tmp_path, fine):
    box = [WEST + 400, NORTH - 1300, WEST + 1000, NORTH - 800]
    example("batch_job.py", "--model", MODEL, "--bbox", *box)
    [path] = tmp_path.glob("*.tif")
    assert path.name == f"SR_{MODEL}_2016-08-01Z.tif"
    assert_same(path, fine)
    with rasterio.open(path) as source:
        assert (*source.bounds,) == (*box,)
        assert source.res == (5, 5)
        assert set(source.scales) == {1e-4}
        assert source.tags()["MODEL_SHA256"] == load_card(MODEL).sha256


def test_many_areas(example, tmp_path, fine):
    areas = json.loads((EXAMPLES / "areas.geojson").read_text(encoding="utf-8"))
    areas["features"] = areas["features"][:2]
    (tmp_path / "areas.geojson").write_text(json.dumps(areas))
    arguments = ["--areas", tmp_path / "areas.geojson", "--model", MODEL, "--poll", 1]
    names = [feature["properties"]["name"] for feature in areas["features"]]
    printed = example("many_areas.py", *arguments)
    jobs = dict(re.findall(r"(\w+) +(j-\w+) finished", printed))
    assert [*jobs] == names
    for job in jobs.values():
        [path] = tmp_path.glob(f"job_{job}/*.tif")
        assert_same(path, fine)
    # started again, it finds all done
    assert example("many_areas.py", *arguments) == printed


def test_parcel_ndvi(example, fine):
    printed = example("parcel_ndvi.py", "--model", MODEL)
    rows = re.findall(r"(\d{4}-\d\d-\d\d) (\w[\w ]*?) +(cloudy|-?[\d.]+)\n", printed)
    parcels = geopandas.read_file(EXAMPLES / "parcels.geojson").to_crs(EPSG)
    assert [row[:2] for row in rows] == [
        (date, name) for date in ("2016-08-01", "2016-08-11") for name in parcels["name"]
    ]
    ndvi = (fine.sel(bands="B08") - fine.sel(bands="B04")) / (fine.sel(bands="B08") + fine.sel(bands="B04"))
    transform = Affine(5, 0, WEST, 0, -5, NORTH)
    for (_, name, mean), place in zip(rows, parcels.geometry, strict=False):
        inside = ~geometry_mask([place], ndvi.shape, transform)
        assert float(mean) == pytest.approx(float(ndvi.where(inside).mean()), abs=2e-3), name
    cloudy = {name for _, name, mean in rows if mean == "cloudy"}
    assert cloudy == {"forest"}


def test_published_process(example, server, archive_url, tmp_path, fine):
    process = build_process(MODEL, onnxruntime=archive_url)
    (server.public / "process.json").write_text(json.dumps(process))
    printed = example("published_process.py", server.publish("process.json"), own=False)
    assert process["id"] in printed
    [path] = tmp_path.glob("*.tif")
    assert_same(path, fine)


def test_apex_benchmark_scenario(server, archive_url, tmp_path):
    """What APEx would run, on a smaller area and with an archive that fits here."""
    service = EXAMPLES / "apex/algorithm_catalog/PLACEHOLDER_PROVIDER/sentinel2_superresolution"
    shutil.copy(service / "openeo_udp" / "sentinel2_superresolution.json", server.public)
    path = service / "benchmark_scenarios" / "sentinel2_superresolution.json"
    [scenario] = json.loads(path.read_text(encoding="utf-8"))
    call = scenario["process_graph"]["superresolution1"]
    call["namespace"] = server.publish("sentinel2_superresolution.json")
    extent = call["arguments"]["spatial_extent"]
    extent.update(east=extent["west"] + 500, south=extent["north"] - 500)
    options = {**scenario["job_options"], "udf-dependency-archives": [f"{archive_url}#onnx_deps"]}
    job = server.connect().create_job(scenario["process_graph"], additional=options)
    job.start_and_wait(print=lambda *_: None, max_poll_interval=0.5)
    job.get_results().download_files(tmp_path)
    image = read(tmp_path / "sentinel2_superresolution_2016-08-01Z.tif")
    assert image.shape == (10, 100, 100)
    assert np.isfinite(image).all()


def test_probe_backend(example, archive_url):
    printed = example("probe_backend.py")
    found = dict(re.findall(r"^(call|job|job with the archive): (.*)$", printed, re.MULTILINE))
    assert [*found] == ["call", "job", "job with the archive"]
    assert all("numpy 2.3." in line and "xarray 2024.7.0" in line for line in found.values())
    assert [re.search("onnxruntime (.*)", line)[1] for line in found.values()] == [
        "missing",
        "missing",
        "1.20.1",
    ]
    assert re.search(r"^Runtime Python 3\S*: .*numpy 2", printed, re.MULTILINE)
    assert printed.splitlines()[-1] == f"A batch job with the archive can run it: onnxruntime={archive_url!r}"


def test_probe_backend_of_an_archive_that_is_not_there(example, server):
    printed = example("probe_backend.py", "--onnxruntime", server.publish("nothing.zip"), own=False)
    assert re.search(r"^job with the archive: not found out\. Batch job .* error", printed, re.MULTILINE)
    assert "'openeo-superres bundle' makes one" in printed.splitlines()[-1]


def test_notebook(server, archive_url, tmp_path):
    pytest.importorskip("nbclient", reason="needs the extra notebook: make backend-setup")
    folder = shutil.copytree(EXAMPLES / "notebooks" / "openeo", tmp_path / "openeo")
    settings = {"BACKEND": server.url, "USER": "test", "PASSWORD": "test123", "ONNXRUNTIME": archive_url}
    environment = {**os.environ, **{f"OPENEO_{key}": value for key, value in settings.items()}}
    command = [Path(sys.executable).with_name("jupyter-execute"), "--inplace", "--kernel_name=python3"]
    for name in (folder / ".tests").read_text(encoding="utf-8").split():
        done = subprocess.run(
            [*command, name], capture_output=True, text=True, check=False, cwd=folder, env=environment
        )
        assert done.returncode == 0, done.stderr
        cells = json.loads((folder / name).read_text(encoding="utf-8"))["cells"]
        outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
        assert sum("image/png" in output for output in outputs) == 1
        # the super-resolved image agrees with what was measured, bicubic does not
        table = next(text for output in outputs if "B8A" in (text := "".join(output.get("text/plain", ""))))
        rows = re.findall(r"^B\w+ +([\d.]+) +([\d.]+)$", table, re.MULTILINE)
        assert len(rows) == 10
        assert all(float(ours) < 5 < float(cubic) for cubic, ours in rows)
