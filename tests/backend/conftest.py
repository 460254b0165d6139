"""A back-end that is started for the tests, in its own environment, and stopped whatever happens."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openeo
import pytest
import rasterio
import xarray as xr

from openeo_superres import load_sentinel2, superresolve_local
from openeo_superres.bundle import ONNXRUNTIME_VERSION, _download, bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
BACKEND = ROOT / ".venv-backend"
PYTHON = BACKEND / "bin" / "python"
LOCALHOST = "127.0.0.1"
BANDS = ["B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12"]
EPSG = 32618
WEST, NORTH, EDGE = 435_740, 4_165_120, 5120
"""Upper left corner and size of the sample, in metres."""
FAR_NORTH = NORTH + 4_240_000
"""Where SENTINEL2_L1C starts."""
CLEAR, CLOUDY = ("2016-08-01", "2016-08-02"), ("2016-08-11", "2016-08-12")
BOTH = ("2016-08-01", "2016-08-12")
MODEL = "cubic_mtf"
"""Its margin is 26."""
TOLERANCE = 0.01
"""In DN: here and there run different versions of onnxruntime and numpy."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.backend)
            item.add_marker(pytest.mark.allow_hosts([LOCALHOST]))


@dataclass(frozen=True)
class Server:
    """A running back-end."""

    url: str
    public: Path
    """Folder that it serves under /public/."""
    process: subprocess.Popen[str]

    def connect(self) -> openeo.Connection:
        connection = openeo.connect(self.url)
        connection.authenticate_basic("test", "test123")
        return connection

    def publish(self, name: str) -> str:
        """The address of a file in the public folder."""
        return f"{self.url}/public/{name}"


@contextmanager
def serving(folder: Path, *options: str | Path) -> Iterator[Server]:
    """Start a back-end and stop it in the end."""
    if not PYTHON.exists():
        pytest.fail("The back-end's environment is missing: make backend-setup")
    public = folder / "public"
    public.mkdir()
    command = [PYTHON, "-m", "backend", "--attached", "--public", public, *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        url = server.stdout.readline().strip()
        if not url:
            pytest.fail(f"The back-end did not start:\n{(folder / 'log').read_text()}")
        yield Server(url, public, server)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdin.close()
        server.stdout.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A back-end whose image has no onnxruntime."""
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def connection(server: Server) -> openeo.Connection:
    return server.connect()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of onnxruntime, downloaded once and kept beside the back-end's environment."""
    folder = BACKEND / "wheels"
    if kept := list(folder.glob(f"onnxruntime-{ONNXRUNTIME_VERSION}-*.whl")):
        return kept[0]
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(_download(tmp_path_factory.mktemp("wheel")), folder))


@pytest.fixture(scope="session")
def onnxruntime_archive(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """onnxruntime for the back-end's Python."""
    return bundle(tmp_path_factory.mktemp("archives"), MODEL, wheel=wheel).onnxruntime.path


@pytest.fixture(scope="session")
def archive_url(server: Server, onnxruntime_archive: Path) -> str:
    """Where a batch job finds it."""
    shutil.copy(onnxruntime_archive, server.public)
    return server.publish(onnxruntime_archive.name)


@pytest.fixture(scope="session")
def equipped(tmp_path_factory: pytest.TempPathFactory, onnxruntime_archive: Path) -> Iterator[Server]:
    """A back-end whose image has onnxruntime, so that synchronous calls find it."""
    with serving(tmp_path_factory.mktemp("equipped"), "--onnxruntime", onnxruntime_archive) as running:
        yield running


@pytest.fixture(scope="session")
def measured(equipped: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, xr.DataArray]:
    """The collection at 10 m, by date."""
    connection, folder = equipped.connect(), tmp_path_factory.mktemp("measured")
    dates = {CLEAR[0]: CLEAR, CLOUDY[0]: CLOUDY}
    whole = extent(width=512, height=512)
    return {date: download(load_sentinel2(connection, whole, time), folder) for date, time in dates.items()}


@pytest.fixture(scope="session")
def expected(measured: dict[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """The same at 5 m, made here."""
    return {date: superresolve_local(image, MODEL) for date, image in measured.items()}


def assert_same(found: xr.DataArray, whole: xr.DataArray, box: dict[str, Any]) -> None:
    """The result has the pixels of the whole, in the box and at its place; beyond it there is nodata."""
    assert found.dims == ("bands", "y", "x")
    assert [*found["bands"].to_numpy()] == [*whole["bands"].to_numpy()]
    edges = (found.x[0] - 2.5, found.y[-1] - 2.5, found.x[-1] + 2.5, found.y[0] + 2.5)
    assert tuple(map(float, edges)) == (box["west"], box["south"], box["east"], box["north"])
    there = whole.reindex(y=found["y"], x=found["x"])
    np.testing.assert_allclose(found, there, rtol=0, atol=TOLERANCE)


def extent(
    left: float = 0, top: float = 0, width: int = 60, height: int = 50, *, north: float = NORTH
) -> dict[str, Any]:
    """A bounding box in 10 m pixels of the sample, or of what starts elsewhere."""
    west, north = WEST + 10 * left, north - 10 * top
    bounds = {"west": west, "south": north - 10 * height, "east": west + 10 * width, "north": north}
    return {**bounds, "crs": f"EPSG:{EPSG}"}


def pixels(value: int) -> list[dict[str, Any]]:
    """A size or an overlap."""
    return [{"dimension": axis, "value": value, "unit": "px"} for axis in ("x", "y")]


DAILY = [{"dimension": "t", "value": "P1D"}]


def read(path: Path) -> xr.DataArray:
    """A GeoTIFF as ``(bands, y, x)`` with pixel centres."""
    with rasterio.open(path) as source:
        assert source.crs.to_epsg() == EPSG
        step = source.res[0]
        x = source.bounds.left + step * (np.arange(source.width) + 0.5)
        y = source.bounds.top - step * (np.arange(source.height) + 0.5)
        coords = {"bands": list(source.descriptions), "y": y, "x": x}
        return xr.DataArray(source.read(), coords, ("bands", "y", "x"))


def download(cube: openeo.DataCube, folder: Path, name: str = "result.tif") -> xr.DataArray:
    """What a synchronous call gives, of one date."""
    cube.download(folder / name, format="GTiff")
    return read(folder / name)


def tiffs(job: openeo.BatchJob, folder: Path) -> list[Path]:
    """What a finished job made, downloaded."""
    return sorted(path for path in job.get_results().download_files(folder) if path.suffix == ".tif")


def finish(job: openeo.BatchJob) -> openeo.BatchJob:
    """Run a job without printing."""
    return job.start_and_wait(print=lambda *_: None, max_poll_interval=0.5, show_error_logs=False)


def usage(job: openeo.BatchJob) -> list[dict[str, Any]]:
    """What the job's workers reported."""
    return [entry["data"] for entry in job.logs() if "model_loads" in (entry.get("data") or {})]


def pack(folder: Path, target: Path) -> Path:
    """An archive of a folder's content."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return target


def publish_item(server: Server) -> str:
    """The sample as a STAC item beside its files."""
    assets = {}
    for name, bands in (("virginia_10m.tif", BANDS[:4]), ("virginia_20m.tif", BANDS[4:])):
        shutil.copy(ROOT / "examples" / "data" / name, server.public / name)
        listed = [{"name": band} for band in bands]
        assets[name] = {"href": name, "type": "image/tiff; application=geotiff", "eo:bands": listed}
    west, south, east, north = -75.728273, 37.584815, -75.669837, 37.631305
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "sample",
        "properties": {"datetime": "2016-08-01T00:00:00Z", "proj:epsg": EPSG, "eo:cloud_cover": 3.0},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "links": [],
        "assets": assets,
    }
    (server.public / "item.json").write_text(json.dumps(item))
    return server.publish("item.json")


@pytest.fixture(scope="session")
def java() -> str:
    """A Java that Spark runs on."""
    found = shutil.which("java")
    said = found and subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said or "")
    if version is None or int(version[1]) < 17:
        pytest.skip("needs Java 17 or newer")
    return found
