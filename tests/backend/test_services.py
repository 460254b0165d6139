"""The services of the back-end on localhost: jobs, workers, stored processes, files."""

from __future__ import annotations

import json
import time
from signal import Signals
from typing import Any

import numpy as np
import openeo
import pandas as pd
import pytest
import requests
from openeo.extra.job_management import CsvJobDatabase, MultiBackendJobManager
from openeo.rest import OpenEoApiError
from openeo.rest.job import JobFailedException

from .conftest import CLEAR, Server, download, extent, finish, pack, publish_item, serving, usage
from .graphs import HEAD, IDENTITY, load, records, run


def test_password(server: Server) -> None:
    stranger = openeo.connect(server.url)
    with pytest.raises(OpenEoApiError, match="403"):
        stranger.authenticate_basic("test", "wrong").list_jobs()


def test_workers_are_bare(connection) -> None:
    """Neither this package nor onnxruntime is there, nor the back-end's own modules."""
    code = f"""{HEAD}
    import importlib.util
    names = ["openeo_superres", "onnxruntime", "backend", "numpy"]
    print("RECORD", json.dumps({{name: bool(importlib.util.find_spec(name)) for name in names}}))
    return XarrayDataCube(array)
"""
    [seen, *_] = records(finish(run(load(connection), code).create_job(out_format="GTiff")))
    assert seen == {"openeo_superres": False, "onnxruntime": False, "backend": False, "numpy": True}


def test_archives_and_memory(connection, server, tmp_path) -> None:
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


def test_stop_and_delete(connection) -> None:
    code = f"{HEAD}    import time; time.sleep(1)\n    return XarrayDataCube(array)\n"
    job = run(load(connection), code, size=4, overlap=0).create_job(out_format="GTiff")
    job.start()
    start = time.monotonic()
    while job.status() == "queued" and time.monotonic() < start + 20:
        time.sleep(0.1)
    job.stop()
    assert job.status() == "canceled"
    job.delete()
    with pytest.raises(OpenEoApiError, match="JobNotFound"):
        job.status()


@pytest.mark.parametrize("signal", [Signals.SIGTERM, Signals.SIGHUP, Signals.SIGINT])
def test_signals_stop_the_server(tmp_path, monkeypatch, signal) -> None:
    """Also while a job runs that has long to go, and nothing is left of it."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    code = f"{HEAD}    import time; time.sleep(1)\n    return XarrayDataCube(array)\n"
    with serving(tmp_path) as server:
        job = run(load(server.connect()), code, size=4, overlap=0).create_job(out_format="GTiff")
        job.start()
        assert [*(tmp_path / "tmp").iterdir()]
        server.process.send_signal(signal)
        assert server.process.wait(10) == 0
    assert [*(tmp_path / "tmp").iterdir()] == []


def test_out_of_memory(connection) -> None:
    code = f"{HEAD}    return XarrayDataCube(array + np.zeros(1 << 28).sum())\n"
    job = run(load(connection), code).create_job(job_options={"python-memory": "1g"}, out_format="GTiff")
    with pytest.raises(JobFailedException):
        finish(job)
    assert "MemoryError" in job.logs(level="error")[0]["message"]


def test_saved_process(connection, server, tmp_path) -> None:
    parameter = openeo.api.process.Parameter.bounding_box("box")
    cube = connection.load_collection("SENTINEL2_L2A", parameter, list(CLEAR), ["B02", "B8A"])
    process = run(cube, IDENTITY)
    connection.save_user_defined_process("copy", process.flat_graph(), [parameter])
    expected = download(load(connection), tmp_path, "a.tif")
    by_id = connection.datacube_from_process("copy", box=extent())
    np.testing.assert_array_equal(download(by_id, tmp_path, "b.tif"), expected)
    definition = openeo.rest.udp.build_process_dict(process, "shared", parameters=[parameter])
    (server.public / "shared.json").write_text(json.dumps(definition))
    by_url = connection.datacube_from_process("shared", namespace=server.publish("shared.json"), box=extent())
    np.testing.assert_array_equal(download(by_url, tmp_path, "c.tif"), expected)


def test_saved_process_too_large(connection) -> None:
    """The store takes less than a request."""
    process = run(load(connection), f"{IDENTITY}\n# {'x' * (1 << 20)}\n")
    parameter = openeo.api.process.Parameter.bounding_box("box")
    with pytest.raises(OpenEoApiError, match="the store has 1048575"):
        connection.save_user_defined_process("large", process.flat_graph(), [parameter])


def test_foreign_stac(connection, server, tmp_path) -> None:
    url = publish_item(server)
    cube = connection.load_stac(url, extent(3, 4), list(CLEAR), ["B02", "B8A"])
    result = download(run(cube, IDENTITY), tmp_path, "a.tif")
    np.testing.assert_array_equal(result, download(load(connection, extent(3, 4)), tmp_path, "b.tif"))


def test_job_manager(server, tmp_path) -> None:
    manager = MultiBackendJobManager(poll_sleep=1, root_dir=tmp_path)
    # a connection of its own: the manager makes it repeat what failed
    manager.add_backend("local", server.connect(), parallel_jobs=2)
    jobs = CsvJobDatabase(tmp_path / "jobs.csv")

    def start(row: Any, connection: openeo.Connection, **_: Any) -> openeo.BatchJob:
        cube = load(connection, extent(int(row["left"]), 0))
        return run(cube, IDENTITY).create_job(out_format="GTiff")

    jobs.initialize_from_df(pd.DataFrame({"left": [0, 60]}))
    manager.run_jobs(job_db=jobs, start_job=start)
    assert set(jobs.read()["status"]) == {"finished"}
    assert len([*tmp_path.glob("job_*/openEO_*.tif")]) == 2


def test_public_files(server) -> None:
    (server.public / "hello.txt").write_text("hello")
    assert requests.get(server.publish("hello.txt"), timeout=5).text == "hello"
    assert requests.get(server.publish("../config.py"), timeout=5).status_code == 404
