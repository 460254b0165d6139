"""Cubes over the processes of a cluster: dask.distributed on this machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from conftest import write_model
from dask.diagnostics import ProgressBar

from openeo_superres import DEFAULT_MODEL, list_models, load_card, local, superresolve_local
from openeo_superres.errors import ModelError
from openeo_superres.sensor import BAND_NAMES

distributed = pytest.importorskip("distributed", reason="distributed is not installed: pip install '.[test]'")

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.timeout(120),
    # rioxarray multiplies transforms as affine would rather not have it
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
]

HERE = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def cluster():
    """Two processes of one thread, as the docs advise."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, **HERE) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture(scope="module")
def pixels(cube) -> xr.DataArray:
    """Part of the scene on odd pixels, with holes."""
    part = cube[:, 101:251, 33:173].copy(deep=True)
    part[:, 40:70, 60:100] = np.nan
    part[6, 100:103, :50] = np.nan
    return part


@pytest.fixture(scope="module")
def path(pixels, tmp_path_factory):
    path = tmp_path_factory.mktemp("cube") / "cube.tif"
    written = pixels.rename(bands="band").assign_attrs(long_name=BAND_NAMES).drop_vars("band")
    written.rio.write_crs(32618).rio.write_nodata(np.nan).rio.to_raster(path, tiled=True)
    return path


@pytest.fixture
def lazy(path) -> xr.DataArray:
    """The same, read by whichever process needs it."""
    source = rioxarray.open_rasterio(path, chunks={"x": 64, "y": 64})
    cube = source.rename(band="bands").assign_coords(bands=list(source.attrs["long_name"]))
    yield cube
    source.close()


def large(edge: int, chunk: int) -> xr.DataArray:
    """A cube of any size that weighs nothing."""
    data = da.zeros((10, edge, edge), chunks=(10, chunk, chunk), dtype=np.float32)
    return xr.DataArray(data, {"bands": list(BAND_NAMES)}, ("bands", "y", "x"))


def watch(client) -> None:
    """Workers forget their models, and count from now on what they open and how much runs at once."""

    def start() -> None:
        import threading  # noqa: PLC0415

        from openeo_superres import local, udf  # noqa: PLC0415

        # not twice one around the other
        open_model = getattr(udf, "really_open", udf._open)
        resolve = getattr(udf, "really_resolve", local.superresolve_chunk)
        lock = threading.Lock()

        def counting(weights, provider, threads):
            model = open_model(weights, provider, threads)
            udf.opened.append((model.name, threads))
            return model

        def tracking(*arguments, **options):
            with lock:
                udf.started += 1
                udf.running += 1
                udf.most = max(udf.most, udf.running)
            try:
                return resolve(*arguments, **options)
            finally:
                with lock:
                    udf.running -= 1

        udf._cache().clear()
        udf.opened, udf.started, udf.running, udf.most = [], 0, 0, 0
        udf.really_open, udf.really_resolve = open_model, resolve
        udf._open, local.superresolve_chunk = counting, tracking

    client.run(start)


class Seen(NamedTuple):
    """What a worker did."""

    opened: list[tuple[str, int]]
    """Models, and threads of each."""
    started: int
    """Tiles."""
    most: int
    """Tiles at once."""


def seen(client) -> dict[str, Seen]:
    """By worker."""

    def look():
        from openeo_superres import udf  # noqa: PLC0415

        return sorted(udf.opened), udf.started, udf.most

    return {address: Seen(*values) for address, values in client.run(look).items()}


# ---- pixels


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("name", ["cubic_mtf", DEFAULT_MODEL])
def test_a_cluster_gives_what_numpy_gives(pixels, lazy, name):
    expected = superresolve_local(pixels, name, size=80, threads=1)
    result = superresolve_local(lazy, name, size=80).compute()
    np.testing.assert_array_equal(result, expected)
    assert np.isnan(expected).any()


def test_a_killed_worker_changes_nothing(client, pixels, lazy):
    expected = superresolve_local(pixels, "cubic_mtf", size=32, threads=1)
    watch(client)
    address, pid = next(iter(client.run(os.getpid).items()))
    future = client.compute(superresolve_local(lazy, "cubic_mtf", size=32))
    while seen(client)[address].started < 3:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    assert not future.done()
    np.testing.assert_array_equal(future.result(), expected)
    client.wait_for_workers(2)
    assert pid not in client.run(os.getpid).values()


# ---- sessions


def test_a_process_opens_a_model_once(client, lazy):
    watch(client)
    for name in ("cubic_mtf", "edsr_2x32", "cubic_mtf"):
        superresolve_local(lazy, name, size=64).compute()
    for worker in seen(client).values():
        assert worker.opened == [("cubic_mtf", 1), ("edsr_2x32", 1)]
        assert worker.most == 1


def test_threads_are_those_asked_for(client, lazy):
    watch(client)
    superresolve_local(lazy, "cubic_mtf", size=64, threads=2).compute()
    assert [worker.opened for worker in seen(client).values()] == [[("cubic_mtf", 2)]] * 2


def test_tasks_of_a_process_share_its_session(pixels, lazy):
    expected = superresolve_local(pixels, "cubic_mtf", size=64, threads=1)
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, **HERE) as cluster,
        distributed.Client(cluster) as client,
    ):
        watch(client)
        np.testing.assert_array_equal(superresolve_local(lazy, "cubic_mtf", size=64).compute(), expected)
        (worker,) = seen(client).values()
        assert worker.opened == [("cubic_mtf", 1)]
        assert worker.most == 2


# ---- what travels


@pytest.mark.parametrize("name", list_models())
def test_weights_travel_once(name):
    weights = load_card(name).read_weights()
    graph = dict(superresolve_local(large(4096, 1024), name).__dask_graph__())
    tasks = [cloudpickle.dumps(task) for task in graph.values()]
    assert sum(weights in task for task in tasks) == 1
    assert sorted(map(len, tasks))[-2] < 3000
    whole = cloudpickle.dumps(graph)
    assert whole.count(weights) == 1
    assert len(whole) - len(weights) < 64 * 3000


@pytest.mark.usefixtures("client")
def test_graphs_are_small(lazy):
    """distributed warns of large ones, and warnings are errors."""
    threshold = len(load_card("edsr_2x32").read_weights()) + 400_000
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": threshold}):
        superresolve_local(lazy, "edsr_2x32", size=32)[:, :60, :60].compute()
        with pytest.warns(UserWarning, match="Sending large graph"):
            superresolve_local(lazy.compute().chunk(), "edsr_2x32", size=32)[:, :60, :60].compute()


@pytest.mark.usefixtures("client")
def test_a_worker_needs_no_model_of_its_own(pixels, lazy, tmp_path):
    card = write_model(tmp_path, name="travels")
    result = superresolve_local(lazy, card.path.with_suffix(".json"))
    for file in (card.path, card.path.with_suffix(".json")):
        file.unlink()
    np.testing.assert_array_equal(result.compute(), pixels.to_numpy().repeat(2, axis=1).repeat(2, axis=2))


@pytest.mark.usefixtures("client")
def test_a_large_model_is_read_where_the_card_says(pixels, lazy, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "TRAVELS", 100)
    card = write_model(tmp_path, name="stays")
    result = superresolve_local(lazy, card)
    assert card.read_weights() not in cloudpickle.dumps(dict(result.__dask_graph__()))
    np.testing.assert_array_equal(result.compute(), pixels.to_numpy().repeat(2, axis=1).repeat(2, axis=2))
    shutil.move(card.path, tmp_path / "elsewhere.onnx")
    with pytest.raises(ModelError, match=r"stays\.onnx.*expected them at this path on every machine"):
        result.compute()
    with pytest.raises(ModelError, match="can't be read"):
        superresolve_local(lazy, card)


# ---- memory


def test_memory_of_a_worker_is_bounded(client, nearest_card):
    """Many tiles take hardly more than a few: results are handed on, not kept."""

    def peak() -> float:
        from pathlib import Path  # noqa: PLC0415

        status = Path("/proc/self/status").read_text(encoding="ascii")
        # the peak from now on
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    peaks = []
    for edge in (256, 256, 1024):
        client.run(peak)
        fine = superresolve_local(large(edge, 128), nearest_card, size=128)
        fine.max().compute()
        peaks.append(max(client.run(peak).values()))
    assert peaks[-1] - peaks[-2] < fine.nbytes / 2 / 2


# ---- progress


def test_progress_is_seen(client, lazy, capsys):
    fine = superresolve_local(lazy, "cubic_mtf", size=64)
    distributed.progress(client.persist(fine))
    assert "100% Completed" in capsys.readouterr().out
    with dask.config.set(scheduler="threads", num_workers=2), ProgressBar():
        fine.compute()
    assert "100% Completed" in capsys.readouterr().out


# ---- docs


DOCS = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text(encoding="utf-8")


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(path, image, tmp_path) -> Path:
    """What the recipes start from: a cube, and products."""
    shutil.copy(path, tmp_path / "cube.tif")
    (tmp_path / "products").mkdir()
    (tmp_path / "fine").mkdir()
    for name in ("first", "second"):
        with rasterio.open(
            tmp_path / "products" / f"{name}.tif",
            "w",
            driver="GTiff",
            count=10,
            height=60,
            width=80,
            dtype="float32",
            nodata=np.nan,
            crs=32618,
            transform=rasterio.transform.from_origin(435_740, 4_165_120, 10, 10),
        ) as target:
            target.write(image[:, :60, :80])
            target.descriptions = BAND_NAMES
    return tmp_path


@pytest.mark.filterwarnings("ignore:Port 8787 is already in use")
def test_a_cluster_to_try_it_on():
    found = {}
    exec(snippets("python")[0], found)
    with found["cluster"] as cluster:
        assert found["address"] == cluster.scheduler.address
        assert [worker["nthreads"] for worker in cluster.scheduler_info["workers"].values()] == [1, 1]


def test_the_recipe_for_one_cube(client, pixels, folder, capsys):
    exec(snippets("python")[1], {"address": client.scheduler.address, "folder": folder})
    assert "100% Completed" in capsys.readouterr().out
    with rasterio.open(folder / "fine.tif") as result:
        assert result.descriptions == BAND_NAMES
        assert result.transform[:6] == (5, 0, float(pixels["x"][0]) - 5, 0, -5, float(pixels["y"][0]) + 5)
        np.testing.assert_array_equal(result.read(), superresolve_local(pixels, threads=1))


def test_the_recipe_for_one_machine(pixels, folder, capsys):
    found = {"folder": folder}
    exec(snippets("python")[2], found)
    assert "100% Completed" in capsys.readouterr().out
    expected = superresolve_local(pixels, "cubic_mtf", threads=1).mean(("x", "y"))
    np.testing.assert_allclose(found["mean"], expected, rtol=1e-5)


def test_the_recipe_for_many_products(client, folder):
    exec(snippets("python")[3], {"address": client.scheduler.address, "folder": folder})
    assert sorted(path.name for path in (folder / "fine").glob("*.tif")) == [
        f"{name}_SR5M_{DEFAULT_MODEL}.tif" for name in ("first", "second")
    ]


def test_the_job_array(folder):
    (script,) = snippets("bash")
    (folder / "products.txt").write_text("products/first.tif\nproducts/second.tif\n", encoding="utf-8")
    place = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": place, "SLURM_ARRAY_TASK_ID": "2", "SLURM_CPUS_PER_TASK": "1"}
    subprocess.run(["/bin/bash", "-ec", script], cwd=folder, env=environment, check=True, capture_output=True)
    assert [path.name for path in (folder / "fine").glob("*.tif")] == [f"second_SR5M_{DEFAULT_MODEL}.tif"]


@pytest.mark.parametrize("name", list_models())
def test_the_table_of_memory_is_that_of_the_cards(name):
    card = load_card(name)
    cells = []
    for size in (256, 512):
        edge = size + 2 * card.margin
        cells.append(f"{card.memory * edge**2 / 2**20:.0f} ({edge**2 / size**2:.2f})")
    assert f"| `{name}` | {' | '.join(cells)} |" in DOCS
